"""The media types of layers: of which family, how compressed, whether they may be given away with the image."""

from __future__ import annotations

import enum
from typing import Final

from ocikit._tuples import NamedTuple
from ocikit.errors import ManifestError, ManifestTypeRejectedError, NotSupportedError
from ocikit.image.compression import Compression
from ocikit.spec import mediatypes

__all__ = [
    "ABOUT_ENCRYPTION",
    "ENCRYPTED",
    "Family",
    "converted",
    "distributable",
    "family_of",
    "is_encrypted",
    "is_layer",
    "is_nondistributable",
    "layer_compression",
    "layer_media_type",
    "with_compression",
]

#: What the media type of an encrypted OCI layer ends with.
ENCRYPTED: Final = "+encrypted"
#: What the annotations of an encrypted layer begin with that are about its encryption.
ABOUT_ENCRYPTION: Final = "org.opencontainers.image.enc."


class Family(enum.Enum):
    """Whose media types they are; the value is the name for messages."""

    OCI = "OCI"
    DOCKER = "Docker"


_FAMILIES: Final = {
    mediatypes.IMAGE_MANIFEST: Family.OCI,
    mediatypes.IMAGE_INDEX: Family.OCI,
    mediatypes.DOCKER_MANIFEST: Family.DOCKER,
    mediatypes.DOCKER_MANIFEST_LIST: Family.DOCKER,
    mediatypes.DOCKER_MANIFEST_SCHEMA1: Family.DOCKER,
    mediatypes.DOCKER_MANIFEST_SCHEMA1_SIGNED: Family.DOCKER,
}


class _Kind(NamedTuple):
    family: Family
    compression: Compression | None
    distributable: bool


_COMPRESSIONS: Final = frozenset({Compression.GZIP, Compression.ZSTD})

# What is written: one media type for each kind that there is.
_WRITTEN: Final = {
    _Kind(Family.OCI, None, True): mediatypes.IMAGE_LAYER,
    _Kind(Family.OCI, Compression.GZIP, True): mediatypes.IMAGE_LAYER_GZIP,
    _Kind(Family.OCI, Compression.ZSTD, True): mediatypes.IMAGE_LAYER_ZSTD,
    _Kind(Family.OCI, None, False): mediatypes.IMAGE_LAYER_NONDISTRIBUTABLE,
    _Kind(Family.OCI, Compression.GZIP, False): mediatypes.IMAGE_LAYER_NONDISTRIBUTABLE_GZIP,
    _Kind(Family.OCI, Compression.ZSTD, False): mediatypes.IMAGE_LAYER_NONDISTRIBUTABLE_ZSTD,
    _Kind(Family.DOCKER, None, True): mediatypes.DOCKER_LAYER,
    _Kind(Family.DOCKER, Compression.GZIP, True): mediatypes.DOCKER_LAYER_GZIP,
    _Kind(Family.DOCKER, None, False): mediatypes.DOCKER_FOREIGN_LAYER,
    _Kind(Family.DOCKER, Compression.GZIP, False): mediatypes.DOCKER_FOREIGN_LAYER_GZIP,
}

# What is read: that, and Docker layers in zstd. Docker never defined a type for them; builders invented two.
_KINDS: Final = {media_type: kind for kind, media_type in _WRITTEN.items()} | {
    f"{mediatypes.DOCKER_LAYER}.{suffix}": _Kind(Family.DOCKER, Compression.ZSTD, True) for suffix in ("zst", "zstd")
}


def family_of(manifest_type: str) -> Family:
    """Say whose media types a manifest or index of a type holds.

    Args:
        manifest_type: The media type of the manifest or index.

    Raises:
        ManifestError: It is not the type of a manifest.
    """
    family = _FAMILIES.get(manifest_type)
    if family is None:
        raise ManifestError(f"{manifest_type!r} is not the type of a manifest; known are {', '.join(_FAMILIES)}")
    return family


def is_encrypted(media_type: str) -> bool:
    """Say whether content of this type is encrypted."""
    return media_type.endswith(ENCRYPTED)


def is_layer(media_type: str) -> bool:
    """Say whether this is the type of a layer of a file system, encrypted or not."""
    return _kind_of(media_type) is not None


def is_nondistributable(media_type: str) -> bool:
    """Say whether this is the type of a layer that may stay away from a destination, which has its URLs instead."""
    kind = _kind_of(media_type)
    return kind is not None and not kind.distributable


def layer_compression(media_type: str) -> Compression | None:
    """Say how a layer of this type claims to be compressed; None when it is not.

    Raises:
        ManifestError: It is not the type of a layer.
    """
    return _known(media_type).compression


def layer_media_type(family: Family | str, compression: Compression | None, *, distributable: bool = True) -> str:
    """Return the media type of a layer.

    Args:
        family: Whose type, or the type of the manifest that it is for.
        compression: How the layer is compressed; None for not at all.
        distributable: Whether it may be given away with the image.

    Raises:
        ManifestTypeRejectedError: Docker's manifests have no type for layers in zstd.
        NotSupportedError: No manifest has a type for this compression.
        ManifestError: ``family`` is not the type of a manifest.
    """
    if isinstance(family, str):
        family = family_of(family)
    if compression is not None and compression not in _COMPRESSIONS:
        raise NotSupportedError(
            f"no manifest has a media type for layers compressed by {compression.value.lower()}; recompress the layer "
            "with gzip or zstd, or store it plain"
        )
    found = _WRITTEN.get(_Kind(family, compression, distributable))
    if found is None:
        raise ManifestTypeRejectedError(
            "Docker's manifests have no media type for layers compressed by zstd; write an OCI manifest, or recompress "
            "the layers with gzip"
        )
    return found


def converted(media_type: str, to: str) -> str:
    """Return the type of the same layer in a manifest of another type; how it is compressed stays.

    Args:
        media_type: The type of the layer.
        to: The type of the manifest that it goes to.

    Raises:
        ManifestError: One of them is not known.
        ManifestTypeRejectedError: Docker's manifests have no type for such a layer (zstd, encrypted).
    """
    kind, family = _known(media_type), family_of(to)
    if kind.family is family:
        return media_type
    if is_encrypted(media_type):
        raise ManifestTypeRejectedError(
            f"Docker's manifests have no media type for encrypted layers ({media_type}); write an OCI manifest, or "
            "decrypt the image first"
        )
    return layer_media_type(family, kind.compression, distributable=kind.distributable)


def with_compression(media_type: str, compression: Compression | None) -> str:
    """Return the type of the same layer in another compression.

    Args:
        media_type: The type of the layer.
        compression: How it will be compressed; None for not at all.

    Raises:
        ManifestError: It is not the type of a layer.
        ManifestTypeRejectedError: Docker's manifests have no type for layers in zstd.
        NotSupportedError: No manifest has a type for this compression, or the layer is encrypted.
    """
    kind = _known(media_type)
    if is_encrypted(media_type):
        raise NotSupportedError(f"an encrypted layer ({media_type}) cannot be recompressed; decrypt the image first")
    return layer_media_type(kind.family, compression, distributable=kind.distributable)


def distributable(media_type: str) -> str:
    """Return the type of the same layer once it may be given away with the image: as if it never had been restricted.

    Raises:
        ManifestError: It is not the type of a layer.
    """
    kind = _known(media_type)
    if kind.distributable:
        return media_type
    suffix = ENCRYPTED if is_encrypted(media_type) else ""
    return _WRITTEN[_Kind(kind.family, kind.compression, True)] + suffix


def _kind_of(media_type: str) -> _Kind | None:
    kind = _KINDS.get(media_type.removesuffix(ENCRYPTED))
    return None if kind is not None and kind.family is Family.DOCKER and is_encrypted(media_type) else kind


def _known(media_type: str) -> _Kind:
    kind = _kind_of(media_type)
    if kind is None:
        raise ManifestError(f"{media_type[:160]!r} is not the type of a layer; known are {', '.join(_KINDS)}")
    return kind
