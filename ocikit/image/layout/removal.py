"""Which blobs go with an image that is deleted: those that nothing else in the layout refers to.

What was attached to the image (manifests without a name that have it as their subject, and the index of them that is
named after its digest) goes with it, unless the image is still there by another name. Otherwise it would keep the
blobs of the image, and nobody could ask for it any more.

Two walks over the same graph with opposite doubts. What the image owns is followed only through verified
documents and known fields. What the others need is followed through everything that might be a reference.
A doubt thus leaves a blob behind; it never takes one that is needed.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from ocikit.errors import ImageError, InvalidDigestError, LayoutError, LimitExceededError, NotSupportedError, ParseError
from ocikit.image.layout.index import attached_to
from ocikit.image.layout.reachability import document_of, reachable
from ocikit.image.layout.signatures import Claims
from ocikit.spec import Digest
from ocikit.spec._json import loads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ocikit.image.layout.index import LayoutIndex
    from ocikit.image.layout.store import Layout

__all__ = ["delete_image"]

# The fields of a manifest that hold what belongs to it. A subject does not: it is what the manifest belongs to.
_LEAVES: Final = ("config", "layers")
_BRANCHES: Final = ("manifests",)
_SUBJECT: Final = ("subject",)


def delete_image(layout: Layout, name: str | None, position: int | None) -> None:
    """Delete an image from a layout that was opened to remove.

    The image leaves index.json first, with what was attached to it: a crash leaves blobs that nothing refers to, never
    an image without some. Where it cannot be known what the others refer to, all blobs stay.

    Args:
        layout: The layout.
        name: The name of the image; None for the only one.
        position: Its position in index.json, in place of a name.

    Raises:
        ImageNotFoundError: There is none.
        AmbiguousImageError: There are several.
        LayoutError: index.json is damaged.
        OSError: The layout cannot be written.
    """
    with layout.changing_index() as index:
        number = index.find(name, position)
        owned = _owned(layout, index.descriptor(number).digest)
        index.remove(number)
        try:
            owned = _remove_attached(layout, index, owned)
            needed = owned if layout.has_shared_blobs else reachable(layout, index.to_bytes())
        except (LayoutError, LimitExceededError):
            needed = owned  # what the others refer to is not known: gc says why, once somebody wants the room
    for blob in owned - needed:
        layout.blobs.remove(blob)


def _remove_attached(layout: Layout, index: LayoutIndex, gone: set[Digest]) -> set[Digest]:
    """Remove the entries that only say something about what is gone; return that with what they consist of."""
    loose = _attached(layout, index)
    if not loose:
        return gone
    # What is about something that is kept is kept, with all that it needs; what is about something gone is gone.
    kept = reachable(layout, index.without(loose).to_bytes())
    staying = _followers(loose, kept, lambda digest: reachable(layout, digest.encode(), kept))
    leaving = {digest: subject for digest, subject in loose.items() if digest not in staying}
    gone = set(gone)
    index.drop(_followers(leaving, gone, lambda digest: _owned(layout, digest)))
    return gone


def _followers(loose: dict[Digest, Digest], known: set[Digest], brings: Callable[[Digest], set[Digest]]) -> set[Digest]:
    """Return the entries that are about something known, or about what such an entry brings along, and so on.

    What they bring becomes known, too, so that nothing is looked at twice.
    """
    about: dict[Digest, list[Digest]] = {}
    for digest, subject in loose.items():
        about.setdefault(subject, []).append(digest)
    found: set[Digest] = set()
    pending = [digest for subject in about.keys() & known for digest in about[subject]]
    while pending:
        digest = pending.pop()
        if digest not in found:
            found.add(digest)
            brought = brings(digest)
            known |= brought
            pending += [one for subject in about.keys() & brought for one in about[subject]]
    return found


def _attached(layout: Layout, index: LayoutIndex) -> dict[Digest, Digest]:
    """Return the entries that nobody asks for by a name of their own, each with what it is about."""
    loose: dict[Digest, set[Digest]] = {}
    named = set()
    claims = Claims(layout, layout.path)
    for position in range(len(index)):
        with contextlib.suppress(LayoutError):
            digest, name = index.descriptor(position).digest, index.name(position)
            named_after = attached_to(name) if name is not None else None
            subjects = {named_after} if named_after is not None else set()
            if name is None:
                subjects = _subjects(layout, index, position, claims)
            if subjects:
                loose.setdefault(digest, set()).update(subjects)
            elif name is not None:
                named.add(digest)
    # What says something about several is nobody's alone.
    alone = {digest: next(iter(subjects)) for digest, subjects in loose.items() if len(subjects) == 1}
    return {digest: subject for digest, subject in alone.items() if digest not in named}


def _subjects(layout: Layout, index: LayoutIndex, position: int, claims: Claims) -> set[Digest]:
    """Return what an entry without a name is about: its subject, or what the signatures in it say that they sign."""
    entry = index.descriptor(position)
    found = _listed(_verified(layout, entry.digest), _SUBJECT)
    if found or not index.is_marked(position):
        return found
    try:
        return claims.of_manifest(entry)
    except (ImageError, LimitExceededError, NotSupportedError):
        return set()


def _owned(layout: Layout, root: Digest) -> set[Digest]:
    """Return what an image consists of: as far as that is beyond doubt."""
    found: set[Digest] = set()
    pending = {root}
    while pending:
        digest = pending.pop()
        if digest not in found:
            found.add(digest)
            manifest = _verified(layout, digest)
            found |= _listed(manifest, _LEAVES)
            pending |= _listed(manifest, _BRANCHES)
    return found


def _verified(layout: Layout, digest: Digest) -> object:
    try:
        data = document_of(layout, digest)
        digest.verify(data)
        return loads(data)
    except (ImageError, ParseError, LimitExceededError, NotSupportedError):
        return None


def _listed(manifest: object, keys: Iterable[str]) -> set[Digest]:
    found = set()
    for key in keys if isinstance(manifest, dict) else ():
        value = manifest.get(key)  # type: ignore[attr-defined]  # the line above says so
        for descriptor in value if isinstance(value, list) else [value]:
            if isinstance(descriptor, dict) and isinstance(descriptor.get("digest"), str):
                with contextlib.suppress(InvalidDigestError):
                    found.add(Digest(descriptor["digest"]))
    return found
