"""Who tells what happens to the blobs of a copy: every one of them ends, and who wants no more is told no more."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from ocikit.image.copy.progress import ArtifactDone, ArtifactFailed, ArtifactSkipped, ArtifactsPlanned

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from ocikit.image.copy.progress import ProgressEvent
    from ocikit.image.copy.transfers import Key, Transfer

__all__ = ["Telling"]

_numbers: Final = itertools.count()


class Telling:
    """Tells the events of one copy, for the length of a ``with`` block.

    Args:
        tell: Who is told; None for nobody.
        wanted: The blobs.
    """

    def __init__(self, tell: Callable[[ProgressEvent], object] | None, wanted: Sequence[Transfer]) -> None:
        self._tell = tell
        #: The number of each blob.
        self.numbers: Mapping[Key, int] = {one.key: next(_numbers) for one in wanted}
        self._open = {self.numbers[one.key]: one.info for one in wanted}

    def __call__(self, event: ProgressEvent) -> None:
        """Tell an event."""
        if self._tell is None:
            return
        if isinstance(event, ArtifactDone | ArtifactSkipped | ArtifactFailed):
            self._open.pop(event.number, None)
        try:
            self._tell(event)
        except BaseException:
            self._tell = None  # it has ended the copy, and knows
            raise

    def __enter__(self) -> Self:
        self(ArtifactsPlanned(artifacts=dict(self._open)))
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        if exc is not None:
            for number, info in tuple(self._open.items()):
                self(ArtifactFailed(artifact=info, number=number, error=exc))
