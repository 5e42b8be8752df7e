"""The documents of an archive of ``docker save``, as data: which images, of which members, under which names. No I/O.

``manifest.json`` lists the images: the member with the configuration, the members with the layers, the names. Docker
before 1.10 read ``repositories`` and a directory for each layer, named by an id that means nothing to anybody; both
are written so that it still can. Nobody has specified any of it.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve, frozen

from ocikit.errors import InvalidDigestError, InvalidReferenceError, LayoutError, LimitExceededError, ParseError
from ocikit.image.archive.members import plain
from ocikit.image.reference import parse_normalized_named
from ocikit.spec import Digest, mediatypes
from ocikit.spec._json import describe, dumps, loads

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ocikit.image.reference import Named

__all__ = [
    "MANIFEST_FILE",
    "MANIFEST_LIMIT",
    "REPOSITORIES_FILE",
    "SavedImage",
    "diff_ids",
    "docker_manifest",
    "legacy_layers",
    "manifest_document",
    "parse_manifest",
    "parse_tag",
    "repositories_document",
]

#: The list of images.
MANIFEST_FILE: Final = "manifest.json"
#: The names of images, for Docker before 1.10.
REPOSITORIES_FILE: Final = "repositories"
#: The size up to which the list of images is read, in bytes.
MANIFEST_LIMIT: Final = 1 << 20

# By lower-case key. Docker, podman and whatever else is written in Go reads keys in any case, and Jib writes them so.
_KEYS: Final = {key.lower(): key for key in ("Config", "RepoTags", "Layers")}
_MOST_IMAGES: Final = 1000
_MOST_TAGS: Final = 10_000
_LATEST: Final = "latest"
# What Docker before 1.10 wants to know of the image that a layer is the top of.
_LEGACY_KEYS: Final = ("architecture", "config", "container", "container_config", "created", "docker_version", "os")


@frozen(kw_only=True)
class SavedImage:
    """An image as the list of images has it.

    Attributes:
        config: The member with its configuration.
        repo_tags: Its names, as they stand there.
        layers: The members with its layers, the lowest first.
    """

    config: str
    repo_tags: tuple[str, ...]
    layers: tuple[str, ...]

    def is_named(self, named: Named) -> bool:
        """Say whether the image has a name, however that is abbreviated."""
        return any(parse_tag(tag) == named for tag in self.repo_tags)


def parse_tag(tag: str) -> Named | None:
    """Return a name as it stands in a list of images, with everything filled in; None when it is none."""
    try:
        named = parse_normalized_named(tag)
    except InvalidReferenceError:
        return None
    return named if named.tag is not None and named.digest is None else None


def tagged(named: Named) -> Named:
    """Return a name with a tag: ``latest`` when it has none.

    Raises:
        InvalidReferenceError: It has a digest, which no archive records.
    """
    if named.digest is not None:
        raise InvalidReferenceError(f"{named}: images in such an archive have tags, not digests")
    return named if named.tag is not None else evolve(named, tag=_LATEST)


def parse_manifest(data: bytes, where: str) -> tuple[SavedImage, ...]:
    """Read the list of images.

    Args:
        data: The document.
        where: It, for messages.

    Raises:
        LayoutError: It is malformed.
        LimitExceededError: There are more than 1,000 images in it, or 10,000 names.
    """
    document = _loaded(data, where)
    if not isinstance(document, list):
        raise LayoutError(f"{where}: $: expected an array of images")
    if len(document) > _MOST_IMAGES:
        raise LimitExceededError(f"images in {where}", _MOST_IMAGES, len(document))
    images = tuple(_image(entry, f"{where}: $[{number}]") for number, entry in enumerate(document))
    tags = sum(len(image.repo_tags) for image in images)
    if tags > _MOST_TAGS:
        raise LimitExceededError(f"names of images in {where}", _MOST_TAGS, tags)
    return images


def _image(entry: object, where: str) -> SavedImage:
    if not isinstance(entry, dict):
        raise LayoutError(f"{where}: expected an object")
    known = _spelled(entry, where)
    config = known.get("Config")
    if not isinstance(config, str):
        raise LayoutError(f"{where}.Config: expected the name of a member, found {describe(config)}")
    return SavedImage(
        config=_member(config, f"{where}.Config"),
        repo_tags=tuple(_strings(known, "RepoTags", where)),
        layers=tuple(_member(layer, f"{where}.Layers") for layer in _strings(known, "Layers", where)),
    )


def _spelled(entry: dict[str, Any], where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in entry.items():
        name = _KEYS.get(key.lower())
        if name in found:
            raise LayoutError(f"{where}.{name}: is there in two spellings, of which readers take one or the other")
        if name is not None:
            found[name] = value
    return found


def _strings(entry: dict[str, Any], key: str, where: str) -> Iterable[str]:
    value = entry.get(key)
    if value is None:  # how Go writes an empty list
        return ()
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise LayoutError(f"{where}.{key}: expected an array of strings")
    return value


def _member(name: str, where: str) -> str:
    try:
        found = plain(os.fsencode(name))
    except UnicodeEncodeError:
        found = None
    if found is None:
        raise LayoutError(f"{where}: {name!r} is not the name of a member of the archive")
    return found


def manifest_document(images: Iterable[SavedImage]) -> bytes:
    """Write the list of images."""
    return dumps(
        [
            {"Config": image.config, "RepoTags": list(image.repo_tags) or None, "Layers": list(image.layers)}
            for image in images
        ]
    )


def repositories_document(tops: Iterable[tuple[Named, str]]) -> bytes:
    """Write the names of images, for Docker before 1.10.

    Args:
        tops: Each name with the id of the top layer of its image.
    """
    found: dict[str, dict[str, str]] = {}
    for named, top in tops:
        found.setdefault(named.name, {})[named.tag or _LATEST] = top
    return dumps({name: dict(sorted(tags.items())) for name, tags in sorted(found.items())})


def diff_ids(config: bytes, where: str) -> tuple[Digest, ...]:
    """Return the digests of the plain layers that a configuration states.

    Args:
        config: The configuration.
        where: It, for messages.

    Raises:
        LayoutError: It is malformed, or states none.
    """
    rootfs = _in_any_case(_document(config, where), "rootfs", where)
    found = _in_any_case(rootfs, "diff_ids", where) if isinstance(rootfs, dict) else None
    if found is None and isinstance(rootfs, dict):
        return ()
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise LayoutError(f"{where}: $.rootfs.diff_ids: expected an array of digests; is this a configuration?")
    try:
        return tuple(Digest(one) for one in found)
    except InvalidDigestError as error:
        raise LayoutError(f"{where}: $.rootfs.diff_ids: {error}") from error


def _in_any_case(document: dict[str, Any], key: str, where: str) -> object:
    found = [value for name, value in document.items() if name.lower() == key]
    if len(found) > 1:
        raise LayoutError(f"{where}: {key} is there in two spellings, of which readers take one or the other")
    return found[0] if found else None


def _loaded(data: bytes, where: str) -> object:
    try:
        return loads(data)
    except ParseError as error:
        raise LayoutError(f"{where}: {error}") from error
    except LimitExceededError as error:
        raise error.within(where) from error


def _document(config: bytes, where: str) -> dict[str, Any]:
    document = _loaded(config, where)
    if not isinstance(document, dict):
        raise LayoutError(f"{where}: $: expected an object")
    return document


def docker_manifest(config: bytes, layers: Iterable[tuple[Digest, int]]) -> bytes:
    """Return the manifest of an image, of which an archive holds only the parts.

    Byte for byte as containers/image has it, but for the type of the layers: they are plain, and called so.

    Args:
        config: The configuration.
        layers: Digest and size of each plain layer, the lowest first.
    """
    digest = Digest.from_bytes(config)
    return dumps(
        {
            "schemaVersion": 2,
            "mediaType": mediatypes.DOCKER_MANIFEST,
            "config": {"mediaType": mediatypes.DOCKER_CONFIG, "size": len(config), "digest": digest},
            "layers": [{"mediaType": mediatypes.DOCKER_LAYER, "size": size, "digest": one} for one, size in layers],
        }
    )


def legacy_layers(config: bytes, layers: Sequence[Digest], where: str) -> Iterator[tuple[str, bytes]]:
    """Yield for each layer the id that Docker before 1.10 knows it by, and the document about it, as skopeo does.

    The id is the digest of the document together with the chain of layers up to this one: unique, and always the same.

    Args:
        config: The configuration.
        layers: The digests of the plain layers, the lowest first.
        where: The configuration, for messages.
    """
    whole = _document(config, where)
    parent = chain = ""
    for number, layer in enumerate(layers, 1):
        about: dict[str, Any] = {"parent": parent} if parent else {}
        if number == len(layers):
            about |= {key: whole.get(key) for key in _LEGACY_KEYS}
        chain = Digest.from_bytes(f"{chain} {layer}".encode()) if chain else layer
        parent = hashlib.sha256(_sorted(about | {"layer_id": chain})).hexdigest()
        yield parent, _sorted(about | {"id": parent})


def _sorted(document: dict[str, Any]) -> bytes:
    return dumps(dict(sorted(document.items())))
