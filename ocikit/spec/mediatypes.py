"""Media types of the image specification (media-types.md), and Docker's beside them."""

from __future__ import annotations

from typing import Final

#: A content descriptor.
DESCRIPTOR: Final = "application/vnd.oci.descriptor.v1+json"
#: The ``oci-layout`` file.
LAYOUT_HEADER: Final = "application/vnd.oci.layout.header.v1+json"
#: An image index.
IMAGE_INDEX: Final = "application/vnd.oci.image.index.v1+json"
#: An image manifest.
IMAGE_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
#: An image configuration.
IMAGE_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
#: The unused blob ``{}``.
EMPTY_JSON: Final = "application/vnd.oci.empty.v1+json"

#: A layer, uncompressed.
IMAGE_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
#: A layer compressed with gzip.
IMAGE_LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
#: A layer compressed with zstd.
IMAGE_LAYER_ZSTD: Final = "application/vnd.oci.image.layer.v1.tar+zstd"
#: A layer with distribution restrictions, uncompressed; deprecated.
IMAGE_LAYER_NONDISTRIBUTABLE: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar"
#: A layer with distribution restrictions, compressed with gzip; deprecated.
IMAGE_LAYER_NONDISTRIBUTABLE_GZIP: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
#: A layer with distribution restrictions, compressed with zstd; deprecated.
IMAGE_LAYER_NONDISTRIBUTABLE_ZSTD: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"

#: Docker's image manifest, version 2, schema 2.
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
#: Docker's list of manifests for several platforms.
DOCKER_MANIFEST_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
#: Docker's image manifest, version 2, schema 1, unsigned; long deprecated.
DOCKER_MANIFEST_SCHEMA1: Final = "application/vnd.docker.distribution.manifest.v1+json"
#: Docker's image manifest, version 2, schema 1, signed; long deprecated.
DOCKER_MANIFEST_SCHEMA1_SIGNED: Final = "application/vnd.docker.distribution.manifest.v1+prettyjws"
#: Docker's image configuration.
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
#: Docker's layer, uncompressed.
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"
#: Docker's layer, compressed with gzip.
DOCKER_LAYER_GZIP: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
#: Docker's layer that stays where its URL says, uncompressed.
DOCKER_FOREIGN_LAYER: Final = "application/vnd.docker.image.rootfs.foreign.diff.tar"
#: Docker's layer that stays where its URL says, compressed with gzip.
DOCKER_FOREIGN_LAYER_GZIP: Final = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"

#: The types of documents that list layers or other manifests.
MANIFESTS: Final = frozenset(
    {
        IMAGE_INDEX,
        IMAGE_MANIFEST,
        DOCKER_MANIFEST,
        DOCKER_MANIFEST_LIST,
        DOCKER_MANIFEST_SCHEMA1,
        DOCKER_MANIFEST_SCHEMA1_SIGNED,
    }
)

#: The types of manifests that list other manifests.
INDEXES: Final = frozenset({IMAGE_INDEX, DOCKER_MANIFEST_LIST})
