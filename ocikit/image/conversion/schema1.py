"""Docker's image manifest version 2, schema 1: read, and turned into schema 2 or OCI. It is never written.

A manifest of this type has no configuration. It lists layers with the highest first (``fsLayers``), and for each the
configuration that the image had there, as JSON in a string (``history[].v1Compatibility``). The one of the highest is
that of the image; the others are its history. A step that changed no file is marked ``throwaway``, and its layer (the
gzip of an empty tar) is no layer of the image. Digests of the uncompressed layers are not known: whoever converts has
read the layers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from ocikit.errors import InvalidDigestError, LimitExceededError, ManifestError, ParseError
from ocikit.image.conversion.digests import SCHEMA1, schema1_digest, schema1_payload
from ocikit.image.conversion.documents import EMPTY, Raw, arranged, write
from ocikit.image.conversion.layers import converted, family_of
from ocikit.image.conversion.manifests import CONFIG_TYPES
from ocikit.image.manifest import check_size, parse_manifest
from ocikit.spec import Descriptor, Digest, Image, mediatypes
from ocikit.spec._json import describe, loads

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "EMPTY_LAYER",
    "SCHEMA1",
    "Schema1",
    "Schema1Entry",
    "parse_schema1",
    "schema1_digest",
    "schema1_layers",
    "schema1_payload",
    "schema1_to_oci",
    "schema1_to_schema2",
]

#: The layer that stands for none: 32 bytes, the gzip of an empty tar, as Docker has always made it.
EMPTY_LAYER: Final = Digest("sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4")

_MOST_ENTRIES: Final = 4096
_ID: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)

# The fields that are read, and what they hold. Docker's reader takes keys in any case; ours refuses the other cases.
_MANIFEST: Final[dict[str, type]] = {
    "schemaVersion": int,
    "name": str,
    "tag": str,
    "architecture": str,
    "fsLayers": list,
    "history": list,
    "mediaType": str,
}
_V1: Final[dict[str, type]] = {
    "id": str,
    "parent": str,
    "created": str,
    "author": str,
    "comment": str,
    "throwaway": bool,
    "container_config": dict,
}
# Fields of manifests of other types: with one of them the document could be either (CVE-2021-41190).
_FOREIGN: Final = frozenset({"config", "layers", "manifests"})
# What a step says of itself and not of the image.
_OF_THE_STEP: Final = frozenset({"id", "parent", "parent_id", "layer_id", "throwaway", "Size"})
_NAMES: Final = {int: "a number", str: "a string", list: "an array", bool: "true or false", dict: "an object"}


@frozen(kw_only=True)
class Schema1Entry:
    """One step of an image.

    Attributes:
        digest: The layer.
        throwaway: Whether the step changed no file, so that the layer is none of the image.
        v1: The configuration after this step, as it was written.
    """

    digest: Digest
    throwaway: bool
    v1: Mapping[str, Any] = field(repr=False, hash=False)


@frozen(kw_only=True)
class Schema1:
    """A manifest of Docker's schema 1.

    Attributes:
        name: What it says of its name; nobody vouches for that.
        tag: What it says of its tag, likewise.
        architecture: The architecture it is for, by its Go name; may be empty.
        entries: The steps, the first (lowest) first; at least one.
    """

    name: str
    tag: str
    architecture: str
    entries: tuple[Schema1Entry, ...]

    @property
    def layers(self) -> tuple[Digest, ...]:
        """The layers of the image, the lowest first, without those that stand for none. The same may be there twice."""
        return tuple(entry.digest for entry in self.entries if not entry.throwaway)


def parse_schema1(data: bytes) -> Schema1:
    """Read a manifest of Docker's schema 1, signed or not.

    Args:
        data: The manifest; verified before by whoever calls this (:func:`schema1_digest`). Nothing is read of it that
            the digest does not cover.

    Raises:
        ManifestError: It is malformed or ambiguous, or its steps do not follow each other.
        LimitExceededError: It is larger than 4 MiB, or has too many layers.
    """
    document = _checked(_loaded(schema1_payload(data), "schema 1 manifest"), _MANIFEST, "$")
    if foreign := sorted(key for key in document if key.casefold() in _FOREIGN and document[key] is not None):
        raise ManifestError(
            f"$.{foreign[0]}: does not belong in a schema 1 manifest; with it the document is ambiguous"
        )
    if document.get("schemaVersion") != 1:
        raise ManifestError(f"$.schemaVersion: expected 1, found {describe(document.get('schemaVersion'))}")
    if document.get("mediaType") not in {None, "", *SCHEMA1}:
        raise ManifestError(f"says of itself that it is {document['mediaType'][:160]!r}, and is a schema 1 manifest")
    return Schema1(
        name=document.get("name") or "",
        tag=document.get("tag") or "",
        architecture=document.get("architecture") or "",
        entries=_entries(document),
    )


def schema1_layers(data: bytes) -> tuple[Digest, ...]:
    """Return the layers of a manifest of Docker's schema 1, the lowest first, without those that stand for none.

    Sizes and diffIDs are not known; all of them are gzip or plain.

    Args:
        data: The manifest.

    Raises:
        ManifestError: As for :func:`parse_schema1`.
        LimitExceededError: Likewise.
    """
    return parse_schema1(data).layers


def schema1_to_schema2(data: bytes, diff_ids: Sequence[Digest], layers: Sequence[Descriptor]) -> tuple[bytes, bytes]:
    """Turn a manifest of Docker's schema 1 into a configuration and a manifest of schema 2.

    The configuration has every field that the highest step has, less those about the step, and what the others say as
    history. Its bytes are those that containers/image makes for what Go wrote, but for what that invents: a time for
    steps without one (year 1), and empty fields for images made before Docker 1.8.3. Times stay as they are written.

    Args:
        data: The manifest.
        diff_ids: The digests of the layers of :func:`schema1_layers`, uncompressed.
        layers: Their descriptors; recompressed ones may have other digests.

    Returns:
        The configuration, and the manifest that refers to it.

    Raises:
        ManifestError: As for :func:`parse_schema1`; or the numbers of layers differ, or what comes out is no image.
        ManifestTypeRejectedError: A layer is compressed by zstd, for which schema 2 has no type.
        LimitExceededError: As for :func:`parse_schema1`, or the configuration is larger than 4 MiB.
    """
    return _turned(data, diff_ids, layers, mediatypes.DOCKER_MANIFEST)


def schema1_to_oci(data: bytes, diff_ids: Sequence[Digest], layers: Sequence[Descriptor]) -> tuple[bytes, bytes]:
    """Turn a manifest of Docker's schema 1 into a configuration and an OCI manifest.

    As :func:`schema1_to_schema2`; the configuration is the same, so that the image has the same ID.

    Args:
        data: The manifest.
        diff_ids: The digests of the layers of :func:`schema1_layers`, uncompressed.
        layers: Their descriptors.

    Returns:
        The configuration, and the manifest that refers to it.

    Raises:
        ManifestError: As for :func:`schema1_to_schema2`.
        LimitExceededError: Likewise.
    """
    return _turned(data, diff_ids, layers, mediatypes.IMAGE_MANIFEST)


def _loaded(data: bytes | str, where: str) -> Raw:
    try:
        document = loads(data)
    except ParseError as error:
        raise ManifestError(f"{where}: {error}") from error
    if not isinstance(document, dict):
        raise ManifestError(f"{where}: expected a JSON object, found {describe(document)}")
    return document


def _checked(document: Raw, known: Mapping[str, type], where: str) -> Raw:
    """Refuse fields of the wrong type, and those that only some readers would take for known ones."""
    folded = {name.casefold(): name for name in known}
    for key, value in document.items():
        name = folded.get(key.casefold())
        if name is not None and name != key:
            raise ManifestError(f"{where}: {key[:40]!r} differs only in case from {name!r}; parsers disagree about it")
        if name is None or value is None:
            continue
        kind = known[name]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ManifestError(f"{where}.{name}: expected {_NAMES[kind]}, found {describe(value)}")
    return document


def _entries(document: Raw) -> tuple[Schema1Entry, ...]:
    layers, history = document.get("fsLayers") or [], document.get("history") or []
    if len(layers) != len(history) or not layers:
        raise ManifestError(
            f"expected as many entries in $.history as in $.fsLayers, at least one, found {len(history):,} and "
            f"{len(layers):,}"
        )
    if len(layers) > _MOST_ENTRIES:
        raise LimitExceededError("layers of a schema 1 manifest", _MOST_ENTRIES, len(layers))
    entries = [_entry(number, *pair) for number, pair in enumerate(zip(layers, history, strict=True))]
    return tuple(_chain(entries[::-1]))


def _entry(number: int, layer: object, history: object) -> Schema1Entry:
    digest = _member(layer, "blobSum", f"$.fsLayers[{number}]")
    where = f"$.history[{number}].v1Compatibility"
    v1 = _checked(_loaded(_member(history, "v1Compatibility", f"$.history[{number}]"), where), _V1, where)
    if not _ID.fullmatch(v1.get("id") or ""):
        raise ManifestError(f"{where}: $.id: expected 64 hexadecimal digits, found {(v1.get('id') or '')[:80]!r}")
    _command(v1, where)
    try:
        return Schema1Entry(digest=Digest(digest), throwaway=bool(v1.get("throwaway")), v1=v1)
    except InvalidDigestError as error:
        raise ManifestError(f"$.fsLayers[{number}].blobSum: {error}") from error


def _member(value: object, name: str, where: str) -> str:
    found = _checked(value, {name: str}, where).get(name) if isinstance(value, dict) else None
    if not isinstance(found, str):
        raise ManifestError(f"{where}: expected an object with a string {name!r}, found {describe(value)}")
    return found


def _command(v1: Mapping[str, Any], where: str = "") -> str:
    """Return the command that made a step, in one line."""
    config: Raw = v1.get("container_config") or {}
    words = _checked(config, {"Cmd": list}, f"{where}: $.container_config").get("Cmd") or []
    if not all(isinstance(word, str) for word in words):
        raise ManifestError(f"{where}: $.container_config.Cmd: expected strings")
    return " ".join(words)


def _chain(entries: list[Schema1Entry]) -> Iterator[Schema1Entry]:
    """Yield the steps, the lowest first; each names the one before it as its parent, and no two are the same.

    Old Dockers wrote a step twice in a row; the second says nothing new and is left out.
    """
    before: Schema1Entry | None = None
    seen: set[str] = set()
    for entry in entries:
        identity, parent = entry.v1["id"], entry.v1.get("parent") or ""
        if before is not None and identity == before.v1["id"]:
            if entry.digest != before.digest:
                raise ManifestError(f"two steps with the ID {identity} have different layers")
            continue
        expected = before.v1["id"] if before is not None else ""
        if parent != expected:
            raise ManifestError(
                f"step {identity}: expected the one below it as its parent ({expected or 'none'}), found "
                f"{parent[:80] or 'none'}"
            )
        if identity in seen:
            raise ManifestError(f"two steps have the ID {identity}")
        seen.add(identity)
        before = entry
        yield entry


def _turned(
    data: bytes, diff_ids: Sequence[Digest], layers: Sequence[Descriptor], manifest_type: str
) -> tuple[bytes, bytes]:
    image = parse_schema1(data)
    if not len(image.layers) == len(diff_ids) == len(layers):
        raise ManifestError(
            f"the manifest has {len(image.layers):,} layers; given were {len(diff_ids):,} diffIDs and {len(layers):,} "
            "descriptors"
        )
    family = family_of(manifest_type)
    config = _config(image, diff_ids)
    about = Descriptor.from_content(CONFIG_TYPES[family], config)
    manifest = write(
        {
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": arranged(about.to_dict(), family, about.media_type),
            "layers": [
                arranged(layer.to_dict(), family, converted(layer.media_type, manifest_type)) for layer in layers
            ],
        }
    )
    parse_manifest(manifest, manifest_type)
    return config, manifest


def _config(image: Schema1, diff_ids: Sequence[Digest]) -> bytes:
    top = image.entries[-1].v1
    config = {key: value for key, value in top.items() if key not in _OF_THE_STEP}
    config["architecture"] = config.get("architecture") or image.architecture
    # Whoever wrote this format for anything else said so.
    config["os"] = config.get("os") or "linux"
    config["rootfs"] = {"type": "layers", "diff_ids": [str(digest) for digest in diff_ids]}
    config["history"] = [_history(entry) for entry in image.entries]
    data = write(dict(sorted(config.items())))
    check_size(data, "configuration")
    try:
        Image.from_json(data)
    except ParseError as error:
        raise ManifestError(f"the configuration of this schema 1 manifest: {error}") from error
    return data


def _history(entry: Schema1Entry) -> Raw:
    said = {
        "created": entry.v1.get("created"),
        "author": entry.v1.get("author"),
        "created_by": _command(entry.v1),
        "comment": entry.v1.get("comment"),
    }
    return {key: value for key, value in said.items() if value not in EMPTY} | (
        {"empty_layer": True} if entry.throwaway else {}
    )
