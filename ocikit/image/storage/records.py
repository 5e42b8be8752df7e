"""What a store says of its images and layers: images.json and layers.json, read strictly as far as they are used."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from ocikit.errors import InvalidDigestError, LayoutError, LimitExceededError, ParseError
from ocikit.spec import Digest
from ocikit.spec._json import loads

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MOST_BYTES", "ImageRecord", "LayerRecord", "big_data_file", "parse_images", "parse_layers"]

#: The size up to which images.json and layers.json are read, in bytes: that of some 60,000 layers.
MOST_BYTES: Final = 32 << 20

# What separates values in them. Memory goes by the number of values and not by that of bytes: an empty object takes 3
# bytes of the file and 64 of memory.
_MOST_SEPARATORS: Final = 2_000_000

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_PLAIN_KEY: Final = re.compile(r"[a-z0-9.]+")
_MANIFEST_KEY: Final = "manifest-"
_EXPECTED_DIFF_ID: Final = "expected-layer-diffid"
_MOST_SIGNATURES: Final = 128


@frozen(kw_only=True)
class LayerRecord:
    """A layer of a store, as layers.json has it.

    Attributes:
        id: Its name in the store, safe as a file name.
        parent: The layer below it; empty for none.
        diff_digest: The digest of its plain tar stream; None when it is not known.
        diff_size: The size of that in bytes; -1 when it is not known.
    """

    id: str
    parent: str
    diff_digest: Digest | None
    diff_size: int


@frozen(kw_only=True)
class ImageRecord:
    """An image of a store, as images.json has it.

    Attributes:
        id: Its name in the store, safe as a file name; for most images the digits of the digest of their config.
        names: The names that lead to it.
        layer: Its uppermost layer; empty for none.
        manifest_digests: The digests of the manifests that are kept for it.
        data_keys: The keys of the data that is kept for it.
        signature_sizes: The sizes of the signatures of its manifest, in bytes.
        signatures_sizes: The same for each manifest by its digest.
    """

    id: str
    names: tuple[str, ...]
    layer: str
    manifest_digests: frozenset[str]
    data_keys: frozenset[str] = field(repr=False)
    signature_sizes: tuple[int, ...]
    signatures_sizes: Mapping[str, tuple[int, ...]]


def big_data_file(key: str) -> str:
    """Return the name of the file that holds the data with a key.

    Args:
        key: The key: ``manifest``, or with characters that are not in file names, a digest.
    """
    if _PLAIN_KEY.fullmatch(key):
        return key
    return "=" + base64.b64encode(key.encode()).decode()


def parse_images(data: bytes, where: str) -> tuple[ImageRecord, ...]:
    """Parse an images.json.

    Args:
        data: Its content.
        where: The file, for messages.

    Raises:
        LayoutError: It is malformed, or a name in it is not safe.
        LimitExceededError: It is larger than 32 MiB, or holds too many values.
    """
    return tuple(_image(_Fields(one, f"{where}: $[{number}]")) for number, one in enumerate(_records(data, where)))


def parse_layers(data: bytes, where: str) -> tuple[LayerRecord, ...]:
    """Parse a layers.json.

    Args:
        data: Its content.
        where: The file, for messages.

    Raises:
        LayoutError: It is malformed, or a name in it is not safe.
        LimitExceededError: It is larger than 32 MiB, or holds too many values.
    """
    return tuple(_layer(_Fields(one, f"{where}: $[{number}]")) for number, one in enumerate(_records(data, where)))


def _records(data: bytes, where: str) -> list[object]:
    if (separators := data.count(b",")) > _MOST_SEPARATORS:
        raise LimitExceededError(f"{where}: values in it", _MOST_SEPARATORS, separators)
    try:
        document = loads(data, max_bytes=MOST_BYTES)
    except ParseError as error:
        raise LayoutError(f"{where}: {error}") from error
    if document is None:
        return []
    if not isinstance(document, list):
        raise LayoutError(f"{where}: expected a list of records")
    return document


class _Fields:
    """The fields of one record, each of the type that it must have."""

    def __init__(self, record: object, where: str) -> None:
        if not isinstance(record, dict):
            raise LayoutError(f"{where}: expected an object")
        self._record: dict[str, object] = record
        self._where = where

    def fault(self, key: str, expected: str) -> LayoutError:
        return LayoutError(f"{self._where}.{key}: expected {expected}, found {str(self._record.get(key))[:80]!r}")

    def text(self, key: str) -> str:
        value = self._record.get(key, "")
        if not isinstance(value, str):
            raise self.fault(key, "a string")
        return value

    def identifier(self, key: str, *, required: bool = False) -> str:
        value = self.text(key)
        if (required or value) and not _ID.fullmatch(value):
            raise self.fault(key, "letters, digits and _ . - (it is the name of a file)")
        return value

    def digest(self, key: str) -> Digest | None:
        value = self.text(key)
        try:
            return Digest(value) if value else None
        except InvalidDigestError as error:
            raise self.fault(key, "a digest") from error

    def size(self, key: str) -> int:
        value = self._record.get(key)
        if value is None:
            return -1
        if not isinstance(value, int) or isinstance(value, bool) or value < -1:
            raise self.fault(key, "a size")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._record.get(key) or []
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise self.fault(key, "a list of strings")
        return tuple(value)

    def mapping(self, key: str) -> dict[str, object]:
        value = self._record.get(key) or {}
        if not isinstance(value, dict):
            raise self.fault(key, "an object")
        return value

    def sizes(self, key: str) -> tuple[int, ...]:
        return self._sizes(key, self._record.get(key) or [])

    def sizes_by_key(self, key: str) -> dict[str, tuple[int, ...]]:
        return {name: self._sizes(key, value or []) for name, value in self.mapping(key).items()}

    def _sizes(self, key: str, value: object) -> tuple[int, ...]:
        sound = isinstance(value, list) and len(value) <= _MOST_SIGNATURES
        if not sound or not all(isinstance(size, int) and size >= 0 for size in value):  # type: ignore[attr-defined]
            raise self.fault(key, f"up to {_MOST_SIGNATURES} sizes of signatures")
        return tuple(value)  # type: ignore[arg-type]

    def embedded(self, key: str) -> _Fields:
        """The fields of a document that is kept as text."""
        where = f"{self._where}.{key}"
        try:
            return _Fields(loads(self.text(key) or "{}"), where)
        except ParseError as error:
            raise LayoutError(f"{where}: {error}") from error


def _image(fields: _Fields) -> ImageRecord:
    metadata = fields.embedded("metadata")
    keys = fields.texts("big-data-names")
    kept = {key.removeprefix(_MANIFEST_KEY) for key in keys if key.startswith(_MANIFEST_KEY)}
    return ImageRecord(
        id=fields.identifier("id", required=True),
        names=fields.texts("names"),
        layer=fields.identifier("layer"),
        manifest_digests=frozenset(kept | {fields.text("digest")} - {""}),
        data_keys=frozenset(keys),
        signature_sizes=metadata.sizes("signature-sizes"),
        signatures_sizes=metadata.sizes_by_key("signatures-sizes"),
    )


def _layer(fields: _Fields) -> LayerRecord:
    digest = fields.digest("diff-digest")
    if digest is None:
        # A layer that was pulled in parts has a digest that was stated and that nobody has verified.
        stated = fields.mapping("flags").get(_EXPECTED_DIFF_ID)
        digest = _Fields({_EXPECTED_DIFF_ID: stated or ""}, "$.flags").digest(_EXPECTED_DIFF_ID)
    return LayerRecord(
        id=fields.identifier("id", required=True),
        parent=fields.identifier("parent"),
        diff_digest=digest,
        diff_size=fields.size("diff-size"),
    )
