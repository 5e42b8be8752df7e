"""Variants of an index: the same image for the same platform, its layers in another compression.

An entry for an image in zstd says so by an annotation (containers/image); one that says nothing is in gzip.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit._tuples import NamedTuple
from ocikit.errors import ManifestTypeRejectedError, NotSupportedError
from ocikit.image.compression import Compression
from ocikit.spec import mediatypes

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ocikit.image.manifest import AnyIndex
    from ocikit.spec import Descriptor, Digest

__all__ = ["ZSTD", "PlatformKey", "compression_of_entry", "is_zstd", "marks", "missing_variants", "platform_key"]

#: The annotation of an entry for an image in zstd; its value is ``true``.
ZSTD: Final = "io.github.containers.compression.zstd"

_UNKNOWN: Final = "unknown"


class PlatformKey(NamedTuple):
    """A platform, comparable: entries with equal keys are for the same machines."""

    os: str = ""
    architecture: str = ""
    variant: str = ""
    os_version: str = ""
    #: In alphabetical order: which comes first means nothing.
    os_features: tuple[str, ...] = ()


def is_zstd(annotations: Mapping[str, str]) -> bool:
    """Say whether the annotations of an entry mark an image in zstd."""
    return annotations.get(ZSTD) == "true"


def marks(compression: Compression) -> dict[str, str]:
    """Return the annotations that mark the entry of an image in some compression."""
    return {ZSTD: "true"} if compression is Compression.ZSTD else {}


def compression_of_entry(entry: Descriptor) -> Compression:
    """Say how the layers of an image are compressed by what an index says of it: zstd when it is marked, else gzip.

    Args:
        entry: The entry.
    """
    return Compression.ZSTD if is_zstd(entry.annotations) else Compression.GZIP


def platform_key(entry: Descriptor) -> PlatformKey:
    """Return what makes the platform of an entry equal to that of another; all empty when it names none.

    Args:
        entry: The entry.
    """
    platform = entry.platform
    if platform is None:
        return PlatformKey()
    features = tuple(sorted(platform.os_features))
    return PlatformKey(platform.os, platform.architecture, platform.variant, platform.os_version, features)


def missing_variants(
    index: AnyIndex,
    wanted: Collection[Compression],
    *,
    known: Mapping[Digest, frozenset[Compression | None]] | None = None,
    to: str | None = None,
) -> list[tuple[Descriptor, Compression]]:
    """Say what is to be made so that every platform has an image in every wanted compression.

    Attestations, artifacts and indexes within the index have no variants, nor have images without layers.

    Args:
        index: The index.
        wanted: gzip, zstd or both.
        known: How the layers of images are compressed, by the digest that the index has for them; what the index says
            counts for others.
        to: The type that the index will have; None for its own.

    Returns:
        Entries to make a variant of, the first of their platform, each with the compression that it lacks; in the order
        of the index.

    Raises:
        NotSupportedError: Layers are not written in one of the formats.
        ManifestTypeRejectedError: Variants in zstd are asked for in Docker's list, which has no way to mark them.
    """
    _check_wanted(wanted, to if to is not None else index.MEDIA_TYPE)
    found = dict(known or {})
    images = [entry for entry in index.manifests if _is_image(entry) and found.get(entry.digest) != frozenset()]
    there: set[tuple[PlatformKey, Compression | None]] = set()
    for entry in images:
        compressions = found.get(entry.digest, {compression_of_entry(entry)})
        if len(compressions) == 1:
            there |= {(platform_key(entry), compression) for compression in compressions}
    missing: list[tuple[Descriptor, Compression]] = []
    for entry in images:
        for compression in dict.fromkeys(wanted):
            if (variant := (platform_key(entry), compression)) not in there:
                there.add(variant)
                missing.append((entry, compression))
    return missing


def _check_wanted(wanted: Collection[Compression], media_type: str) -> None:
    for compression in wanted:
        if compression not in {Compression.GZIP, Compression.ZSTD}:
            raise NotSupportedError(f"{compression.value.lower()}: variants are made in gzip and zstd")
    if Compression.ZSTD in wanted and media_type == mediatypes.DOCKER_MANIFEST_LIST:
        raise ManifestTypeRejectedError(
            "Docker's list of manifests cannot say which entries are in zstd; convert it to an OCI index"
        )


def _is_image(entry: Descriptor) -> bool:
    platform = entry.platform
    if entry.artifact_type or entry.media_type in mediatypes.INDEXES:
        return False
    return platform is None or _UNKNOWN not in {platform.os, platform.architecture}
