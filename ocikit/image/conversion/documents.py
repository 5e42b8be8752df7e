"""Manifests as plain data: checked as their classes check them, kept whole, written as containers/image writes them.

Classes would do for what is known. What is changed here is the document itself, so that fields that nobody here
knows stay in it, and its keys in their order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from attrs import field, frozen

from ocikit.image.conversion.layers import Family
from ocikit.image.manifest import parse_manifest
from ocikit.spec._json import dumps, loads

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from ocikit.image.manifest import AnyManifest

__all__ = ["EMPTY", "PLATFORM", "Converted", "Raw", "arranged", "counted", "losses", "read", "write"]

#: A JSON object.
Raw = dict[str, Any]

#: Values that are as good as absent for a field that may be absent.
EMPTY: Final[tuple[object, ...]] = (None, "", [], {})

# The fields of a descriptor in the order in which containers/image writes them; in Docker's lists a platform follows.
_DESCRIPTOR: Final = {
    Family.OCI: ("mediaType", "digest", "size", "urls", "annotations", "data", "platform", "artifactType"),
    Family.DOCKER: ("mediaType", "size", "digest", "urls"),
}
#: The fields of a platform, likewise; the last is Docker's, and reserved in OCI's.
PLATFORM: Final = ("architecture", "os", "os.version", "os.features", "variant", "features")

# Go writes these as escapes, so that JSON may stand in HTML; they occur in strings only.
_ESCAPED: Final = {character: f"\\u{ord(character):04x}".encode() for character in "<>&\u2028\u2029"}

# Go writes a list that was never made as null, and classes read it as an empty one.
_LISTS: Final = ("layers", "manifests")

_SHOWN_FIELDS: Final = 5


@frozen(kw_only=True)
class Converted:
    """A manifest in another type.

    Attributes:
        data: Its bytes.
        media_type: Its type.
        lost: What the other type has no words for, each with how many there were (``annotations of the manifest: 3``).
    """

    data: bytes = field(repr=False)
    media_type: str
    lost: tuple[str, ...] = ()


def read(data: bytes, media_type: str) -> tuple[AnyManifest, Raw]:
    """Parse a manifest twice: into its class, which checks it, and into plain data.

    Args:
        data: The manifest.
        media_type: Its type.

    Raises:
        ManifestError: It is not what its type says, or ambiguous.
        NotSupportedError: The type is Docker's schema 1.
        LimitExceededError: It is too large or nested too deeply.
    """
    manifest, document = parse_manifest(data, media_type), cast("Raw", loads(data))
    for key in _LISTS:
        if key in document and document[key] is None:
            document[key] = []
    return manifest, document


def write(document: Raw) -> bytes:
    """Write plain data as Go's ``json.Marshal`` would: compact, and with ``<``, ``>`` and ``&`` as escapes.

    Equal documents are equal bytes, here and there, so that digests are the same.
    """
    data = dumps(document)
    for character, escape in _ESCAPED.items():
        data = data.replace(character.encode(), escape)
    return data


def arranged(descriptor: Mapping[str, Any], family: Family, media_type: str) -> Raw:
    """Return a descriptor in the form of a family, with what the family has no words for left out.

    Args:
        descriptor: The descriptor.
        family: Docker has no annotations and nothing unknown; OCI takes everything.
        media_type: Its type there.
    """
    values = {**descriptor, "mediaType": media_type}
    order = _DESCRIPTOR[family]
    result = {key: values[key] for key in order if values.get(key) not in EMPTY}
    if family is Family.OCI:
        result |= {key: value for key, value in values.items() if key not in order}
    return result


def counted(counts: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    """Put counts in words, those of nothing left out."""
    return tuple(f"{what}: {count:,}" for what, count in counts if count)


def losses(what: str, objects: Collection[Mapping[str, Any]], kept: Collection[str]) -> Iterator[tuple[str, int]]:
    """Count what is not kept of some objects of one kind.

    Args:
        what: What they are.
        objects: The objects.
        kept: The fields that are kept.
    """
    yield f"annotations of {what}", sum(len(one.get("annotations") or {}) for one in objects)
    yield f"content embedded in {what}", sum(one.get("data") not in EMPTY for one in objects)
    known = {*kept, "annotations", "data"}
    others = [key for one in objects for key, value in one.items() if key not in known and value not in EMPTY]
    names = sorted(set(others))
    shown = ", ".join(name[:40] for name in names[:_SHOWN_FIELDS]) + (", …" if len(names) > _SHOWN_FIELDS else "")
    yield f"other fields of {what} ({shown})", len(others)
