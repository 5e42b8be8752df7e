"""An index, from Docker's list of manifests to OCI and back; the manifests in it are converted one by one before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.errors import ManifestTypeRejectedError
from ocikit.image.conversion.documents import EMPTY, PLATFORM, Converted, Raw, arranged, counted, losses, read, write
from ocikit.image.conversion.edits import with_replaced_entries
from ocikit.image.conversion.layers import Family, family_of
from ocikit.image.manifest import parse_manifest
from ocikit.spec import mediatypes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ocikit.spec import Descriptor, Digest

__all__ = ["convert_index"]

_INDEX: Final = frozenset({"schemaVersion", "mediaType", "manifests"})
_ENTRY: Final = frozenset({"mediaType", "size", "digest", "urls", "platform"})
_DOCKER_IMAGES: Final = frozenset(
    {
        mediatypes.DOCKER_MANIFEST,
        mediatypes.DOCKER_MANIFEST_SCHEMA1,
        mediatypes.DOCKER_MANIFEST_SCHEMA1_SIGNED,
    }
)


def convert_index(
    data: bytes, media_type: str, to: str, *, replaced: Mapping[Digest, Descriptor] | None = None
) -> Converted:
    """Convert an index into another type.

    From Docker to OCI nothing is lost, and entries for Docker's manifests may stay as they are. Docker's list takes
    images in Docker's types only, each with a platform; none is invented for an entry that names none, as
    containers/image does, which takes that of the machine it happens to run on.

    Args:
        data: The index.
        media_type: Its type: Docker's list or OCI.
        to: The type it shall have, one of the same.
        replaced: The manifest that takes the place of another, by the digest of that one: what its conversion gave. A
            platform in it counts for an entry that names none; the configuration of the image knows it.

    Returns:
        The index, and what Docker's type has no words for.

    Raises:
        ManifestError: The index is malformed, or lists none with a digest that is to be replaced.
        ManifestTypeRejectedError: It cannot be said in that type: it is no index, or an artifact, or an entry is one,
            or an index itself, or has no platform, or is not of a Docker type.
        LimitExceededError: It is larger than 4 MiB, or would be.
    """
    if media_type not in mediatypes.INDEXES or to not in mediatypes.INDEXES:
        raise ManifestTypeRejectedError(
            f"an index ({' or '.join(sorted(mediatypes.INDEXES))}) can be converted into the other type; asked for was "
            f"{media_type} as {to}"
        )
    edited = with_replaced_entries(data, media_type, replaced or {})
    if media_type == to:
        return Converted(data=edited, media_type=to)
    family = family_of(to)
    _, document = read(edited, media_type)
    entries = document["manifests"]
    if family is Family.DOCKER:
        _check_image_index(document)
        for number, entry in enumerate(entries):
            _check_docker(number, entry)
    result: Raw = {
        "schemaVersion": 2,
        "mediaType": to,
        "manifests": [_entry(entry, family) for entry in entries],
    }
    lost: tuple[str, ...] = ()
    if family is Family.OCI:
        result |= {key: value for key, value in document.items() if key not in _INDEX}
    else:
        lost = counted(_lost(document, entries))
    written = write(result)
    parse_manifest(written, to)
    return Converted(data=written, media_type=to, lost=lost)


def _entry(entry: Raw, family: Family) -> Raw:
    result = arranged(entry, family, entry["mediaType"])
    platform = entry.get("platform")
    if platform:
        # Docker's ``features`` are reserved in OCI's: an unknown field, which stays.
        known = {key: platform[key] for key in PLATFORM if platform.get(key) not in EMPTY}
        others = {key: value for key, value in platform.items() if key not in PLATFORM}
        result["platform"] = known | (others if family is Family.OCI else {})
    return result


def _check_image_index(document: Raw) -> None:
    for key in ("artifactType", "subject"):
        if document.get(key) not in EMPTY:
            raise ManifestTypeRejectedError(
                f"this is the index of an artifact ($.{key}); Docker's list is for images only, so it can only be "
                "copied as it is"
            )


def _check_docker(number: int, entry: Raw) -> None:
    """Refuse an entry that nobody who reads Docker's list would understand."""
    platform = entry.get("platform") or {}
    reason = remedy = ""
    if entry["mediaType"] in mediatypes.INDEXES:
        reason, remedy = "it is an index itself", "list its images instead"
    elif entry.get("artifactType") not in EMPTY:
        reason, remedy = f"it is an artifact of type {entry['artifactType'][:100]!r}", "leave it out"
    elif entry["mediaType"] not in _DOCKER_IMAGES:
        reason = f"it is of type {entry['mediaType'][:100]!r}"
        remedy = "convert it too, or leave it out when it is no image (an attestation, say)"
    elif not (platform.get("os") and platform.get("architecture")):
        reason, remedy = "it names no platform", "say which with the manifest that takes its place"
    if reason:
        raise ManifestTypeRejectedError(
            f"entry {number} ({entry['digest'][:140]}) cannot be listed in Docker's list of manifests: {reason}; "
            f"{remedy}, or keep the OCI index"
        )


def _lost(document: Raw, entries: list[Raw]) -> Iterator[tuple[str, int]]:
    yield from losses("the index", [document], _INDEX)
    yield from losses("its entries", entries, _ENTRY)
    yield from losses("its platforms", [entry["platform"] for entry in entries], PLATFORM)
