"""index.json of a layout, as data: which images there are, by name or by number, and how that changes.

The document is kept as it was read. Entries that are not touched are written back byte for byte, and fields that nobody
here knows with the meaning they had: other tools keep things there. No I/O.
"""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any, Final

from ocikit.errors import AmbiguousImageError, ImageNotFoundError, LayoutError, LimitExceededError, ParseError
from ocikit.image.attachment_manifest import ATTESTATIONS, IMAGE, IMAGE_INDEX, KIND, SIGNATURES, attachment_subject
from ocikit.image.bundle_manifest import is_bundle_type
from ocikit.image.layout.verbatim import element_texts
from ocikit.image.simple_manifest import SIMPLE_SIGNING
from ocikit.spec import Descriptor, Digest, mediatypes
from ocikit.spec._json import dumps, loads
from ocikit.spec.annotation_keys import REF_NAME

if TYPE_CHECKING:
    from collections.abc import Container

__all__ = ["FULL_NAME", "SAVED", "SUBJECT_HINT", "LayoutIndex", "attached_to", "fallback_subject", "is_signature_type"]

# Entries of other types (bare configs, foreign things) carry names that are not names of images.
_IMAGES: Final = mediatypes.MANIFESTS
_NAMES_SHOWN: Final = 10
_POSITION_DIGITS: Final = 10
#: The annotation for the full name that containerd, and with it Docker, BuildKit and nerdctl, calls an image by. What
#: they write for ``ref.name`` is only the tag.
FULL_NAME: Final = "io.containerd.image.name"
#: The annotation by which the entry of a signature says what it signs, so that those of others need not be read.
SUBJECT_HINT: Final = "vnd.ocikit.subject"
#: What cosign marks that is no image.
_MARKS: Final = frozenset({SIGNATURES, ATTESTATIONS})
#: What it marks as an image that it has saved.
SAVED: Final = frozenset({IMAGE, IMAGE_INDEX})
_FALLBACK: Final = re.compile("(sha256)-([0-9a-f]{64})")


def fallback_subject(name: str) -> Digest | None:
    """Return the digest that a name in index.json stands for, when it is that of a list of referrers.

    Args:
        name: The name, such as ``sha256-<hex>`` (distribution specification, "referrers tag schema").
    """
    found = _FALLBACK.fullmatch(name)
    return Digest(f"{found[1]}:{found[2]}") if found is not None else None


def is_signature_type(artifact_type: str) -> bool:
    """Say whether artifacts of a type are signatures.

    Args:
        artifact_type: The type, as an entry of index.json or a manifest states it.
    """
    return artifact_type == SIMPLE_SIGNING or is_bundle_type(artifact_type)


def attached_to(name: str) -> Digest | None:
    """Return the digest that a name in index.json stands for, when what it leads to is there because of that manifest.

    Args:
        name: The name: that of a list of referrers, or of what cosign attaches (``sha256-<hex>.sig``).
    """
    return fallback_subject(name) or attachment_subject(name)


class LayoutIndex:
    """The content of an index.json.

    Args:
        document: The parsed document; owned from now on.
        where: The file, for messages.
        text: What it was read from; empty when it is new.
    """

    def __init__(self, document: dict[str, Any], where: str, text: bytes = b"") -> None:
        self._document = document
        self._where = where
        self._text = text
        # They are held, so that no other object can come to have the identity of one that was removed.
        self._read = list(self._entries) if text else []

    @classmethod
    def empty(cls, where: str) -> LayoutIndex:
        """Return the index of a layout that has no images yet."""
        return cls({"schemaVersion": 2, "mediaType": mediatypes.IMAGE_INDEX, "manifests": []}, where)

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> LayoutIndex:
        """Read an index.json; only what every entry needs is checked, entries themselves when they are used.

        Raises:
            LayoutError: It is no index.
            LimitExceededError: It is larger than 4 MiB, or nested too deeply.
        """
        try:
            document = loads(data)
        except ParseError as error:
            raise LayoutError(f"{where}: {error}") from error
        except LimitExceededError as error:
            raise error.within(where) from error
        if not isinstance(document, dict):
            raise LayoutError(f"{where}: $: expected an object")
        entries = document.get("manifests")
        if entries is None and "manifests" in document:
            document["manifests"] = entries = []  # how Go writes an empty list
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise LayoutError(f"{where}: $.manifests: expected an array of descriptors; is this an OCI layout?")
        if document.get("schemaVersion") != 2:
            raise LayoutError(f"{where}: $.schemaVersion: expected 2, found {document.get('schemaVersion')!r}")
        return cls(document, where, data)

    def to_bytes(self) -> bytes:
        """Write the document; entries that were not changed as they were read, byte for byte."""
        as_read = dict(zip(map(id, self._read), element_texts(self._text.decode(), "manifests"), strict=False))
        entries = []
        for entry in self._entries:
            was, text = as_read.get(id(entry), (None, ""))
            entries.append(text.encode() if was == entry else dumps(entry))
        members = (
            dumps(key) + b":" + (b"[" + b",".join(entries) + b"]" if key == "manifests" else dumps(value))
            for key, value in self._document.items()
        )
        return b"{" + b",".join(members) + b"}"

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def _entries(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self._document["manifests"]
        return entries

    def descriptor(self, position: int) -> Descriptor:
        """Return the entry at a position.

        Raises:
            LayoutError: It is no descriptor.
        """
        try:
            found = Descriptor.from_dict(self._entries[position])
        except ParseError as error:
            path = error.path.removeprefix("$")
            raise LayoutError(f"{self._where}: $.manifests[{position}]{path}: {error.reason}") from error
        if found.size < 0:
            raise LayoutError(f"{self._where}: $.manifests[{position}].size: expected a size, found {found.size}")
        return found

    def name(self, position: int) -> str | None:
        """Return the name of the entry at a position; None when it has none."""
        return _name(self._entries[position])

    def full_name(self, position: int) -> str | None:
        """Return the name that containerd gave the entry at a position, with registry and tag; None when it did not."""
        return _full_name(self._entries[position])

    def label(self, position: int) -> str:
        """Return what people call the entry at a position: its name, else ``@N``."""
        return self.name(position) or f"@{position}"

    def names(self) -> list[str]:
        """Return the names of all images, in order, repeated ones too."""
        return [name for entry in self._entries if _is_image(entry) and (name := _name(entry)) is not None]

    def find(self, name: str | None, position: int | None) -> int:
        """Return the position of an image.

        Args:
            name: Its name, or when none is called so the one that containerd gave it; None for the only image there is.
            position: Its position, in place of a name.

        Raises:
            ImageNotFoundError: There is none.
            AmbiguousImageError: There are several.
            LayoutError: An entry that had to be looked at is no descriptor.
        """
        if position is not None:
            if position >= len(self):
                raise ImageNotFoundError(f"{self._where}: no image @{position}, there are {len(self)} (counted from 0)")
            return position
        if name is not None:
            return self._find_name(name)
        if not len(self):
            raise ImageNotFoundError(f"{self._where}: there are no images in it")
        only = self.only()
        if only is not None:
            return only
        count = sum(not _is_attached(entry) for entry in self._entries) or len(self)
        raise AmbiguousImageError(
            f"{self._where}: there are {count} images in it, choose one by its name or as @0 to @{len(self) - 1}; "
            f"names are {self._known()}"
        )

    def only(self) -> int | None:
        """Return the position of what somebody asks for who gives no name; None when that could be several.

        What is only listed for what it says about an image is not asked for, unless there is nothing else.
        """
        alone = [number for number, entry in enumerate(self._entries) if not _is_attached(entry)]
        if len(alone) == 1:
            return alone[0]
        return 0 if len(self) == 1 else None

    def _find_name(self, name: str) -> int:
        images = [(number, entry) for number, entry in enumerate(self._entries) if _is_image(entry)]
        found = [number for number, entry in images if _name(entry) == name]
        found = found or [number for number, entry in images if _full_name(entry) == name]
        if not found:
            raise ImageNotFoundError(f"{self._where}: no image is named {name!r}; names are {self._known()}")
        digests = {self.descriptor(number).digest for number in found}
        if len(digests) > 1:
            choices = " or ".join(f"@{number}" for number in found)
            raise AmbiguousImageError(
                f"{self._where}: {len(digests)} different images are named {name!r}; choose {choices}"
            )
        return found[0]

    def _known(self) -> str:
        # What is only there because of an image is not what somebody looks for.
        names = sorted(name for name in set(self.names()) if attached_to(name) is None)
        more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        return (", ".join(map(repr, names[:_NAMES_SHOWN])) or "none") + more

    def put(self, descriptor: Descriptor, name: str | None) -> None:
        """Add an image, as containers/image does.

        An older image of the same name stays and loses its name. An entry without a name for
        the same manifest becomes this one; what others put into that entry stays.

        Args:
            descriptor: The manifest; only its type, digest and size are written.
            name: The name it gets; None for none.
        """
        same = [entry for entry in self._entries if entry.get("digest") == descriptor.digest]
        # The entry that has the name already stays where it is.
        entry = next((entry for entry in same if _name(entry) == name), None)
        for other in self._entries if name is not None else ():
            if other is not entry and _name(other) == name:
                _remove_name(other)
        if entry is None:
            entry = next((entry for entry in same if _name(entry) is None), None)
        if entry is None:
            entry = {}
            self._entries.append(entry)
        entry.update(mediaType=descriptor.media_type, digest=str(descriptor.digest), size=descriptor.size)
        if name is not None and _name(entry) != name:
            noted = entry.get("annotations")
            entry["annotations"] = {**(noted if isinstance(noted, dict) else {}), REF_NAME: name}

    def put_referrer(self, descriptor: Descriptor) -> None:
        """Add a manifest that says something about another one, without a name; one that is there stays as it is.

        Args:
            descriptor: The manifest; its type, digest, size and artifact type are written. Its annotations are not, but
                for :data:`SUBJECT_HINT`: one of them could be a name.
        """
        if any(entry.get("digest") == descriptor.digest for entry in self._entries):
            return
        entry: dict[str, Any] = {
            "mediaType": descriptor.media_type,
            "digest": str(descriptor.digest),
            "size": descriptor.size,
        }
        if descriptor.artifact_type:
            entry["artifactType"] = descriptor.artifact_type
        if (hint := descriptor.annotations.get(SUBJECT_HINT)) is not None:
            entry["annotations"] = {SUBJECT_HINT: hint}
        self._entries.append(entry)

    def put_attachment(self, descriptor: Descriptor, name: str, kind: str) -> None:
        """List a manifest with attached signatures in place of all that have its name, which it takes up.

        Args:
            descriptor: The manifest; its type, digest and size are written.
            name: The name: it says which manifest they are attached to.
            kind: What cosign is to take it for.
        """
        same = [entry for entry in self._entries if _is_image(entry) and _name(entry) == name]
        noted = same[0].get("annotations") if same else {}
        entry = {
            "mediaType": descriptor.media_type,
            "digest": str(descriptor.digest),
            "size": descriptor.size,
            "annotations": {**(noted if isinstance(noted, dict) else {}), KIND: kind, REF_NAME: name},
        }
        if not same:
            self._entries.append(entry)
            return
        gone = set(map(id, same[1:]))
        self._entries[:] = [entry if one is same[0] else one for one in self._entries if id(one) not in gone]

    def mark(self, digest: Digest, kind: str) -> None:
        """Say for cosign what a manifest is, wherever it is listed without saying so.

        Args:
            digest: The digest of the manifest.
            kind: What it is.
        """
        for entry in self._entries:
            if _is_image(entry) and entry.get("digest") == digest and _noted(entry, KIND) is None:
                noted = entry.get("annotations")
                entry["annotations"] = {**(noted if isinstance(noted, dict) else {}), KIND: kind}

    def is_signature(self, position: int) -> bool:
        """Say whether the entry at a position lists signatures, or what else cosign attaches, rather than an image."""
        name = self.name(position)
        if name is not None:
            return attachment_subject(name) is not None
        return is_signature_type(self.artifact_type(position)) or self.is_marked(position)

    def kind(self, position: int) -> str | None:
        """Return what cosign says of the entry at a position; None when it says nothing."""
        return _noted(self._entries[position], KIND)

    def artifact_type(self, position: int) -> str:
        """Return the type of artifact that the entry at a position states; empty when it states none."""
        value = self._entries[position].get("artifactType")
        return value if isinstance(value, str) else ""

    def subject_hint(self, position: int) -> str | None:
        """Return what the entry at a position says that its manifest is about; the manifest is what counts."""
        return _noted(self._entries[position], SUBJECT_HINT)

    def is_marked(self, position: int) -> bool:
        """Say whether cosign has marked the entry at a position as signatures or attestations."""
        return self.kind(position) in _MARKS

    def is_saved(self, digest: Digest) -> bool:
        """Say whether cosign has marked a manifest, in an entry without a name, as an image that it has saved."""
        same = (entry for entry in self._entries if entry.get("digest") == digest)
        return any(_name(entry) is None and _noted(entry, KIND) in SAVED for entry in same)

    def lookup(self, text: str) -> int:
        """Return the position of an image by its name, its position as ``@0``, or the digest of its manifest.

        A name comes first: other tools write names that look like the others.

        Raises:
            ImageNotFoundError: There is none.
            AmbiguousImageError: Several different images have the name.
        """
        if text not in self.names():
            if text.startswith("@") and text[1:].isascii() and text[1:].isdigit() and len(text) <= _POSITION_DIGITS:
                return self.find(None, int(text[1:]))
            for number, entry in enumerate(self._entries):
                if _is_image(entry) and entry.get("digest") == text:
                    return number
        return self.find(text, None)

    def tag(self, position: int, name: str) -> None:
        """Give an image a further name; an older image of that name stays and loses it.

        An entry without a name for the same manifest gets the name, else a copy of the entry does.

        Args:
            position: Where the image is.
            name: The name.

        Raises:
            LayoutError: What is there is no descriptor.
        """
        self.descriptor(position)
        chosen = self._entries[position]
        same = [entry for entry in self._entries if entry.get("digest") == chosen["digest"]]
        entry = next((one for one in same if _name(one) == name), None)
        for other in filter(_is_image, self._entries):
            if other is not entry and _name(other) == name:
                _remove_name(other)
        if entry is None:
            nameless = [one for one in (chosen, *same) if _name(one) is None]
            entry = nameless[0] if nameless else copy.deepcopy(chosen)
            if not nameless:
                self._entries.append(entry)
            noted = entry.get("annotations")
            entry["annotations"] = {**(noted if isinstance(noted, dict) else {}), REF_NAME: name}

    def untag(self, position: int) -> None:
        """Take the name away from every entry that lists the same manifest by it.

        An entry that then says nothing that another one does not say goes.

        Args:
            position: Where one of them is.
        """
        name, digest = self.name(position), self._entries[position].get("digest")
        for entry in [one for one in self._entries if one.get("digest") == digest]:
            if name is not None and _name(entry) == name:
                _remove_name(entry)
                if any(one is not entry and _says_all_of(one, entry) for one in self._entries):
                    self._entries[:] = [one for one in self._entries if one is not entry]

    def remove(self, position: int) -> None:
        """Remove the entry at a position."""
        del self._entries[position]

    def drop(self, digests: Container[str]) -> None:
        """Remove every entry of some manifests, by whatever name."""
        self._document["manifests"] = self.without(digests)._entries  # noqa: SLF001 - of this class

    def without(self, digests: Container[str]) -> LayoutIndex:
        """Return what the index would be without the entries of some manifests."""
        left = [entry for entry in self._entries if str(entry.get("digest")) not in digests]
        return LayoutIndex({**self._document, "manifests": left}, self._where)

    def correct(self, position: int, *, media_type: str | None = None, size: int | None = None) -> None:
        """Change what the entry at a position says of its manifest.

        Args:
            position: Where it is.
            media_type: The type it has in truth; None to leave it.
            size: The size it has in truth, in bytes; None to leave it.
        """
        if media_type is not None:
            self._entries[position]["mediaType"] = media_type
        if size is not None:
            self._entries[position]["size"] = size

    def digests(self) -> set[Digest]:
        """Return the digests of all entries that have one, whatever they are."""
        found = set()
        for position in range(len(self)):
            try:
                found.add(self.descriptor(position).digest)
            except LayoutError:
                continue
        return found


def _is_image(entry: dict[str, Any]) -> bool:
    media_type = entry.get("mediaType")
    return isinstance(media_type, str) and media_type in _IMAGES


def _is_attached(entry: dict[str, Any]) -> bool:
    name = _name(entry)
    if name is None:
        return bool(entry.get("artifactType")) or _noted(entry, KIND) in _MARKS
    return attached_to(name) is not None


def _name(entry: dict[str, Any]) -> str | None:
    return _noted(entry, REF_NAME)


def _full_name(entry: dict[str, Any]) -> str | None:
    return _noted(entry, FULL_NAME)


def _noted(entry: dict[str, Any], key: str) -> str | None:
    noted = entry.get("annotations")
    value = noted.get(key) if isinstance(noted, dict) else None
    return value if isinstance(value, str) and value else None


def _says_all_of(entry: dict[str, Any], other: dict[str, Any]) -> bool:
    noted, also = entry.get("annotations"), other.get("annotations", {})
    if isinstance(also, dict):
        also = also.items() <= noted.items() if isinstance(noted, dict) else not also
    return bool(also) and all(entry.get(key) == value for key, value in other.items() if key != "annotations")


def _remove_name(entry: dict[str, Any]) -> None:
    del entry["annotations"][REF_NAME]
    if not entry["annotations"]:
        del entry["annotations"]
