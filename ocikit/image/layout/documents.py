"""The documents of an image in a layout, each verified against the descriptor that leads to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ocikit.errors import LimitExceededError, ManifestError
from ocikit.image.config import CONFIGS, check_config, parse_config
from ocikit.image.layout.blobs import read_document
from ocikit.image.manifest import check_size, normalise_media_type, parse_manifest
from ocikit.image.platform import choose_instance
from ocikit.image.unparsed import MAX_DEPTH
from ocikit.spec import DockerManifestList, Index

if TYPE_CHECKING:
    from ocikit.image.context import SystemContext
    from ocikit.image.manifest import AnyManifest, ImageManifest
    from ocikit.image.types import ByteStream
    from ocikit.spec import Descriptor, Digest, Image

__all__ = ["BlobReader", "image_for_platform", "read_config_of", "read_manifest", "read_verified"]


class BlobReader(Protocol):
    """An open layout, in a directory or in an archive."""

    def open_blob(self, digest: Digest) -> tuple[ByteStream, int]:
        """Open a blob and return it with its size; not verified."""


def read_verified(layout: BlobReader, descriptor: Descriptor, what: str) -> bytes:
    """Return a document that a descriptor leads to.

    Args:
        layout: Where it is, unless the descriptor has it in it.
        descriptor: What is said of it.
        what: What it is, for messages.

    Raises:
        VerificationError: It is not what the descriptor says.
        BlobNotFoundError: It is not there.
        LimitExceededError: It is larger than 4 MiB.
    """
    data = descriptor.embedded_content()
    if data is None:
        stream, _ = layout.open_blob(descriptor.digest)
        with stream:
            data = read_document(stream, what)
        descriptor.verify(data, what=what)
    check_size(data, what)
    return data


def read_manifest(layout: BlobReader, descriptor: Descriptor, what: str) -> AnyManifest:
    """Return the manifest or index that a descriptor leads to.

    Args:
        layout: Where it is.
        descriptor: What is said of it.
        what: What it is, for messages.

    Raises:
        VerificationError: It is not what the descriptor says.
        BlobNotFoundError: It is not there.
        ManifestError: It is malformed, or of another type than the descriptor says.
        LimitExceededError: It is larger than 4 MiB.
    """
    data = read_verified(layout, descriptor, what)
    try:
        return parse_manifest(data, normalise_media_type(descriptor.media_type, data))
    except ManifestError as error:
        raise ManifestError(f"{what}: {error}") from error


def image_for_platform(
    layout: BlobReader, descriptor: Descriptor, sys: SystemContext | None, what: str
) -> tuple[Descriptor, ImageManifest]:
    """Return the image that a descriptor leads to, or of an index the one for a platform.

    Args:
        layout: Where it is.
        descriptor: What index.json says of it.
        sys: Chooses the platform, see :func:`~ocikit.image.platform.choose_instance`.
        what: The image, for messages.

    Returns:
        What is said of its manifest, and the manifest.

    Raises:
        ImageNotFoundError: There is none for the platform.
        AmbiguousImageError: Nothing says which it would be.
        VerificationError: A manifest is not what it is listed as.
        ManifestError: A manifest is malformed.
        LimitExceededError: Indexes are nested too deeply, or one of them is larger than 4 MiB.
    """
    for _ in range(MAX_DEPTH + 1):
        manifest = read_manifest(layout, descriptor, f"manifest of {what}")
        if not isinstance(manifest, Index | DockerManifestList):
            return descriptor, manifest
        descriptor = choose_instance(manifest, sys, what=what)
    raise LimitExceededError(f"{what}: indexes nested in each other", MAX_DEPTH)


def read_config_of(layout: BlobReader, manifest: ImageManifest, what: str) -> Image | None:
    """Return the configuration of an image; None when the manifest is that of an artifact.

    Args:
        layout: Where it is.
        manifest: The manifest of the image.
        what: The image, for messages.

    Raises:
        VerificationError: It is not what the manifest says.
        ManifestError: It is malformed.
        BlobNotFoundError: It is not there.
        LimitExceededError: It is larger than 4 MiB.
    """
    if manifest.config.media_type not in CONFIGS:
        return None
    check_config(manifest.config, what)
    name = f"config of {what}"
    return parse_config(read_verified(layout, manifest.config, name), name)
