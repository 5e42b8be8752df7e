"""The MUSTs of the image specification 1.1 that can be seen in a document alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ocikit.errors import NotSupportedError, VerificationError
from ocikit.spec import mediatypes
from ocikit.spec._checks import Finding, Rule, media_type, required, shown
from ocikit.spec.descriptor import Descriptor, Platform
from ocikit.spec.docker import DockerManifest, DockerManifestList
from ocikit.spec.image import Image, ImageLayout, Index, Manifest, RootFS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["RULES"]

# RFC 3986: a scheme, and nothing but reserved, unreserved and percent-encoded characters.
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*", re.ASCII)


def _platform(platform: Platform | Image) -> Iterator[Finding]:
    yield from required(platform.architecture, "architecture")
    yield from required(platform.os, "os")


def _descriptor(descriptor: Descriptor) -> Iterator[Finding]:
    yield from media_type(descriptor.media_type, "mediaType")
    if descriptor.artifact_type:
        yield from media_type(descriptor.artifact_type, "artifactType")
    if descriptor.size < 0:
        yield ["size"], f"must not be negative, found {descriptor.size}"
    for index, url in enumerate(descriptor.urls):
        if not _URI.fullmatch(url):
            yield ["urls", index], f"expected a URI (RFC 3986), found {shown(url)}"
    try:
        descriptor.embedded_content()
    except VerificationError as error:
        yield ["data"], f"is not the content that the descriptor refers to: {error}"
    except NotSupportedError:
        return  # nobody here can tell


def _schema_version(document: Manifest | Index | DockerManifest | DockerManifestList) -> Iterator[Finding]:
    if document.schema_version != 2:
        yield ["schemaVersion"], f"must be 2, found {document.schema_version}"


def _oci(document: Manifest | Index) -> Iterator[Finding]:
    yield from _schema_version(document)
    if document.media_type and document.media_type != document.MEDIA_TYPE:
        yield ["mediaType"], f"must be {document.MEDIA_TYPE}, found {shown(document.media_type)}"
    if document.artifact_type:
        yield from media_type(document.artifact_type, "artifactType")


def _manifest(manifest: Manifest) -> Iterator[Finding]:
    yield from _oci(manifest)
    if manifest.config.media_type == mediatypes.EMPTY_JSON and not manifest.artifact_type:
        yield ["artifactType"], "is REQUIRED because config is the empty descriptor"


def _docker(document: DockerManifest | DockerManifestList) -> Iterator[Finding]:
    yield from _schema_version(document)
    if document.media_type != document.MEDIA_TYPE:
        yield ["mediaType"], f"must be {document.MEDIA_TYPE}, found {shown(document.media_type)}"


def _rootfs(rootfs: RootFS) -> Iterator[Finding]:
    if rootfs.type != "layers":
        yield ["type"], f"must be layers, found {shown(rootfs.type)}"


def _layout(layout: ImageLayout) -> Iterator[Finding]:
    yield from required(layout.image_layout_version, "imageLayoutVersion")


#: What is checked in an object of each class.
RULES: Final[Mapping[type, Rule]] = {
    Descriptor: _descriptor,
    DockerManifest: _docker,
    DockerManifestList: _docker,
    Image: _platform,
    ImageLayout: _layout,
    Index: _oci,
    Manifest: _manifest,
    Platform: _platform,
    RootFS: _rootfs,
}
