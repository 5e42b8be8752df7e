"""How far copies are, counted from what they tell: totals that never go backwards, and the state of every blob."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Literal

from attrs import frozen

from ocikit.image.copy.progress import (
    ArtifactDone,
    ArtifactFailed,
    ArtifactRead,
    ArtifactSkipped,
    ArtifactsPlanned,
    NewArtifact,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocikit.image.copy.progress import ProgressEvent
    from ocikit.image.types import BlobInfo

    State = Literal["planned", "new", "read", "done", "skipped", "failed"]

__all__ = ["BlobProgress", "ProgressTally"]

_STATES: Final[Mapping[type, State]] = {
    NewArtifact: "new",
    ArtifactRead: "read",
    ArtifactDone: "done",
    ArtifactSkipped: "skipped",
    ArtifactFailed: "failed",
}


@frozen(kw_only=True)
class BlobProgress:
    """How far one blob is.

    Attributes:
        number: Its number, which no other blob of this process has.
        artifact: The blob at the source.
        state: What was told of it last: ``planned``, ``new``, ``read``, or how it ended: ``done``, ``skipped``,
            ``failed``.
        offset: How much of it is dealt with, in bytes. All of it when it was skipped.
        size: Its size in bytes, as the manifest states it; -1 as long as nobody knows it.
    """

    number: int
    artifact: BlobInfo
    state: State
    offset: int
    size: int


class ProgressTally:
    """Counts what copies tell. May be told by several threads, and be looked at by others."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._blobs: dict[int, BlobProgress] = {}
        self._size = 0
        self._offset = 0

    @property
    def size(self) -> int:
        """How much there is to copy, in bytes, as far as the manifests state it; more when another copy begins."""
        return self._size

    @property
    def offset(self) -> int:
        """How much of it is dealt with: copied, or there already. Never less than before."""
        return self._offset

    @property
    def blobs(self) -> tuple[BlobProgress, ...]:
        """Every blob that was planned."""
        with self._guard:
            return tuple(self._blobs.values())

    def __call__(self, event: ProgressEvent) -> tuple[BlobProgress, ...]:
        """Count an event; return the blobs that it is about, as they are now."""
        with self._guard:
            if isinstance(event, ArtifactsPlanned):
                return tuple(self._planned(number, info) for number, info in event.artifacts.items())
            return (self._counted(event),)

    def _planned(self, number: int, info: BlobInfo) -> BlobProgress:
        self._size += max(info.size, 0)
        return self._kept(BlobProgress(number=number, artifact=info, state="planned", offset=0, size=info.size))

    def _counted(
        self, event: NewArtifact | ArtifactRead | ArtifactDone | ArtifactSkipped | ArtifactFailed
    ) -> BlobProgress:
        before = self._blobs.get(event.number) or self._planned(event.number, event.artifact)
        size, offset = before.size, before.offset
        if isinstance(event, NewArtifact | ArtifactRead | ArtifactDone):
            offset = max(offset, event.offset)
        if isinstance(event, ArtifactSkipped):
            offset = max(offset, size)
        if size < 0 and isinstance(event, ArtifactDone):
            size = offset
        elif size >= 0:
            offset = size if isinstance(event, ArtifactDone) else min(offset, size)
        self._size += max(size, 0) - max(before.size, 0)
        # What has no size does not count before it has one: more would be done than there is.
        self._offset += (offset if size >= 0 else 0) - (before.offset if before.size >= 0 else 0)
        return self._kept(
            BlobProgress(
                number=event.number, artifact=before.artifact, state=_STATES[type(event)], offset=offset, size=size
            )
        )

    def _kept(self, blob: BlobProgress) -> BlobProgress:
        self._blobs[blob.number] = blob
        return blob
