"""Blobs that nothing refers to any more: found from index.json on, and removed.

Whatever might be a reference counts as one, see :mod:`~ocikit.image.layout.reachability`. Nobody else has the layout
open meanwhile: a copy, which puts its blobs first and names them last, holds it until they are named.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from attrs import frozen

from ocikit.image.layout.opening import open_layout
from ocikit.image.layout.partial import find_partial, remove_partial
from ocikit.image.layout.saved import needed_blobs
from ocikit.image.layout.store import Access

if TYPE_CHECKING:
    import os

    from ocikit.image.context import SystemContext
    from ocikit.image.layout.store import Layout
    from ocikit.image.layout.temporary import StaleFile
    from ocikit.spec import Digest

__all__ = ["CollectedBlob", "CollectionReport", "gc"]


@frozen(kw_only=True)
class CollectedBlob:
    """A blob that nothing in the layout refers to.

    Attributes:
        digest: Its digest.
        size: Its size in bytes.
    """

    digest: Digest
    size: int


@frozen(kw_only=True)
class CollectionReport:
    """What :func:`gc` removed from a layout, or would remove.

    Attributes:
        path: The layout.
        removed: The blobs that went, in the order of their digests.
        temporaries: The names of files that went too: what a crash had left, and the parts of blobs that nobody is at.
        bytes_freed: What the files that went had in them. One that another layout has by a hard link stays there, and
            its room is not free.
        kept: How many blobs stayed.
        kept_bytes: What they have in them.
        young: Blobs that nothing refers to, and that stayed because they were younger than asked for.
        dry_run: Whether nothing was removed, and this is what would have been.
        shared_blobs: Whether the blobs are in a directory that layouts share, from which nothing is ever removed.
    """

    path: str
    removed: tuple[CollectedBlob, ...] = ()
    temporaries: tuple[str, ...] = ()
    bytes_freed: int = 0
    kept: int = 0
    kept_bytes: int = 0
    young: tuple[Digest, ...] = ()
    dry_run: bool = False
    shared_blobs: bool = False

    def __str__(self) -> str:
        from ocikit.image.display.layouts import collection_text  # noqa: PLC0415 - for those who show it

        return collection_text(self)

    def _repr_html_(self) -> str:
        """Return the report for a notebook."""
        from ocikit.image.display.layouts import collection_html  # noqa: PLC0415 - for notebooks

        return collection_html(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON has it."""
        return {
            "path": self.path,
            "dryRun": self.dry_run,
            "sharedBlobs": self.shared_blobs,
            "removed": [{"digest": one.digest, "size": one.size} for one in self.removed],
            "temporaries": [*self.temporaries],
            "bytesFreed": self.bytes_freed,
            "kept": self.kept,
            "keptBytes": self.kept_bytes,
            "young": [*self.young],
        }


def gc(
    layout: str | os.PathLike[str],
    sys: SystemContext | None = None,
    *,
    dry_run: bool = False,
    min_age: float = 0.0,
) -> CollectionReport:
    """Remove the blobs of a layout that nothing in it refers to, parts of blobs, and what crashes have left.

    What any entry of index.json leads to stays: indexes in indexes, manifests, configurations, layers, subjects, and
    whatever else looks like a reference in any document up to 4 MiB. So do bundles about what cosign has saved, which
    no index.json lists, and files that are no blobs. This waits
    until nobody else has the layout open, and keeps everybody out for its time; programs that lock nothing (skopeo,
    umoci) must not write meanwhile, unless ``min_age`` gives them time. Killed at any moment, it has removed fewer
    blobs than it would have, and no other.

    Args:
        layout: The directory, or a name of it (``oci:/srv/layout``).
        sys: The circumstances. Nothing is removed from a shared blob directory.
        dry_run: Remove nothing, and report what would go.
        min_age: How old a blob, or a part of one, must be to go, in seconds since it was written.

    Raises:
        LayoutError: The directory is no layout, index.json is damaged, or a blob is a link, so that what it refers to
            is not known; no blob was removed.
        LimitExceededError: More documents are embedded in one another than anybody means; no blob was removed.
        LayoutBusyError: This thread has the layout open.
        OSError: It cannot be read or written.
    """
    with open_layout(layout, Access.READ if dry_run else Access.REMOVE, sys) as opened:
        stale = _stale(opened, dry_run=dry_run, min_age=min_age)
        index = opened.index()
        needed = set() if opened.has_shared_blobs else needed_blobs(opened, index)
        removed: list[CollectedBlob] = []
        young: list[Digest] = []
        kept = kept_bytes = 0
        for digest, size, age in _blobs(opened):
            if digest not in needed and age >= min_age:
                removed.append(CollectedBlob(digest=digest, size=size))
                continue
            kept, kept_bytes = kept + 1, kept_bytes + size
            if digest not in needed:
                young.append(digest)
        for blob in removed if not dry_run else ():
            opened.blobs.remove(blob.digest)
        return CollectionReport(
            path=opened.path,
            removed=tuple(removed),
            temporaries=tuple(one.name for one in stale),
            bytes_freed=sum([one.size for one in removed] + [one.size for one in stale]),
            kept=kept,
            kept_bytes=kept_bytes,
            young=tuple(young),
            dry_run=dry_run,
            shared_blobs=opened.has_shared_blobs,
        )


def _stale(layout: Layout, *, dry_run: bool, min_age: float) -> list[StaleFile]:
    """Return the files that are no blobs and go; with them, unless it is a dry run, the parts that nobody is at."""
    found = layout.leftovers() if dry_run else layout.tidied
    if not layout.has_shared_blobs:
        found += (find_partial if dry_run else remove_partial)(layout.blobs, min_age=min_age)
    return [*dict.fromkeys(found)]


def _blobs(layout: Layout) -> list[tuple[Digest, int, float]]:
    """Return the blobs that are the layout's own, with size and age."""
    if layout.has_shared_blobs:
        return []
    now = time.time()
    return [(one.digest, one.size, now - one.modified) for one in layout.blobs.files() if one.digest is not None]
