"""Which entries of an index.json may lead to signatures, and of what: told without reading a manifest. Pure.

An index.json may have very many entries, of which nearly all are images with names. Only what may matter is made a
descriptor.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from ocikit.errors import LayoutError
from ocikit.image.attachment_manifest import SIGNATURES, attachment_of
from ocikit.image.layout.index import SAVED, fallback_subject, is_signature_type
from ocikit.spec import mediatypes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ocikit.image.layout.index import LayoutIndex
    from ocikit.spec import Descriptor, Digest

__all__ = ["LARGEST_UNKNOWN", "MOST_UNKNOWN", "Artifacts", "SignatureEntries"]

#: How many entries are looked at that say nothing of what they are, and how large such a manifest may be, in bytes.
MOST_UNKNOWN: Final = 100
LARGEST_UNKNOWN: Final = 64 << 10
# cosign lists its bundles by the type of their configuration, which is empty.
_SAYS_NOTHING: Final = frozenset({"", mediatypes.EMPTY_JSON})
_ALONE: Final = frozenset({mediatypes.IMAGE_MANIFEST, mediatypes.DOCKER_MANIFEST})


@frozen(kw_only=True)
class Artifacts:
    """Entries of artifacts with a subject, of which some may be signatures.

    Attributes:
        typed: Those that say that they are.
        unknown: Those that say nothing, and are small; at most a hundred.
    """

    typed: dict[Digest, Descriptor] = field(factory=dict)
    unknown: dict[Digest, Descriptor] = field(factory=dict)

    def add(self, entry: Descriptor) -> None:
        """Sort an entry in, if it may be one of them."""
        if entry.media_type != mediatypes.IMAGE_MANIFEST:
            return
        if is_signature_type(entry.artifact_type):
            self.typed[entry.digest] = entry
        elif entry.artifact_type in _SAYS_NOTHING and self._takes(entry):
            self.unknown[entry.digest] = entry

    def _takes(self, entry: Descriptor) -> bool:
        return entry.size <= LARGEST_UNKNOWN and len(self.unknown) < MOST_UNKNOWN


class SignatureEntries:
    """The entries of an index.json that may lead to signatures, by how they do.

    Args:
        index: The index.json, as it is now.
    """

    def __init__(self, index: LayoutIndex) -> None:
        self._index = index
        self._named: dict[Digest, list[int]] = {}
        self._lists: dict[Digest, list[int]] = {}
        self._hinted: dict[str, list[int]] = {}
        self._marked: list[int] = []
        self._others: list[int] = []
        self._saved: list[int] = []
        for position in range(len(index)):
            self._sort(position)

    def named(self, subject: Digest) -> Iterator[Descriptor]:
        """Yield the manifests of signatures that are named after a manifest."""
        return self._descriptors(self._named.get(subject, ()), _ALONE)

    def lists(self, subject: Digest) -> Iterator[Descriptor]:
        """Yield the lists of referrers that are named after a manifest."""
        return self._descriptors(self._lists.get(subject, ()), {mediatypes.IMAGE_INDEX})

    def marked(self) -> Iterator[Descriptor]:
        """Yield the manifests of signatures that cosign has marked, and that have no name."""
        return self._descriptors(self._marked, _ALONE)

    def hinted(self, subject: Digest) -> Artifacts:
        """Return the artifacts of which the entry says that they are about a manifest."""
        return self._artifacts(self._hinted.get(subject, ()))

    def others(self) -> Artifacts:
        """Return the artifacts of which no entry says what they are about."""
        return self._artifacts(self._others)

    def saved(self) -> frozenset[Digest]:
        """Return the manifests that cosign has marked, in an entry without a name, as an image that it has saved."""
        return frozenset(entry.digest for entry in self._descriptors(self._saved, mediatypes.MANIFESTS))

    def _sort(self, position: int) -> None:
        index = self._index
        name, kind = index.name(position), index.kind(position)
        if name is not None:
            if (subject := attachment_of(name)) is not None:
                self._named.setdefault(subject, []).append(position)
            elif (subject := fallback_subject(name)) is not None:
                self._lists.setdefault(subject, []).append(position)
            elif is_signature_type(index.artifact_type(position)):
                self._others.append(position)
        elif (hint := index.subject_hint(position)) is not None:
            self._hinted.setdefault(hint, []).append(position)
        elif kind == SIGNATURES:
            self._marked.append(position)
        else:
            self._others.append(position)
            if kind in SAVED:
                self._saved.append(position)

    def _artifacts(self, positions: Iterable[int]) -> Artifacts:
        found = Artifacts()
        for entry in self._descriptors(positions, {mediatypes.IMAGE_MANIFEST}):
            found.add(entry)
        return found

    def _descriptors(self, positions: Iterable[int], media_types: Iterable[str]) -> Iterator[Descriptor]:
        # What is listed a thousand times is still read once.
        found: set[tuple[Digest, int, str]] = set()
        for position in positions:
            with contextlib.suppress(LayoutError):
                entry = self._index.descriptor(position)
                same = entry.digest, entry.size, entry.artifact_type or ""
                if entry.media_type in media_types and same not in found:
                    found.add(same)
                    yield entry
