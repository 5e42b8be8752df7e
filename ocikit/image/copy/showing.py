"""Progress shown: as lines of JSON, which need nothing, and as bars of tqdm and rich, which need those.

Each of these is given to a copy, or to several at a time, as :attr:`CopyOptions.progress`.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, Final, Protocol

from ocikit.errors import MissingDependencyError
from ocikit.image.copy.progress import ArtifactFailed, ArtifactsPlanned
from ocikit.image.copy.tally import ProgressTally

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

    from rich.progress import Progress, TaskID

    from ocikit.image.copy.progress import ProgressEvent
    from ocikit.image.copy.tally import BlobProgress

__all__ = ["ProgressBars", "progress_lines", "progress_rich", "progress_tqdm"]

_ENDED: Final = frozenset({"done", "skipped", "failed"})
_SHORT: Final = 19  # sha256: and twelve digits


class _Writable(Protocol):
    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...


def progress_lines(file: _Writable) -> Callable[[ProgressEvent], None]:
    """Return a callable that writes each event as one line of JSON, whole and at once.

    Every line has ``event``: ``planned`` with all ``blobs``, or ``new``, ``read``, ``done``, ``skipped``, ``failed``
    with one (``number``, ``digest``, ``media_type``, ``offset``, ``size``); and ``total_offset`` and ``total_size`` of
    everything. There is no line break within: after ``data:`` and before an empty line it is a server-sent event.

    Args:
        file: Takes the lines; flushed after each. What it raises ends the copy.
    """
    tally, guard = ProgressTally(), threading.Lock()

    def tell(event: ProgressEvent) -> None:
        with guard:
            told = tally(event)
            blobs = [_fields(one) for one in told]
            line: dict[str, object]
            if isinstance(event, ArtifactsPlanned):
                line = {"event": "planned", "blobs": blobs}
            else:
                line = {"event": told[0].state, **blobs[0]}
            if isinstance(event, ArtifactFailed):
                line |= {"error": str(event.error), "error_type": type(event.error).__name__}
            line |= {"total_offset": tally.offset, "total_size": tally.size}
            file.write(json.dumps(line) + "\n")
            file.flush()

    return tell


def _fields(blob: BlobProgress) -> dict[str, object]:
    return {
        "number": blob.number,
        "digest": str(blob.artifact.digest),
        "media_type": blob.artifact.media_type,
        "offset": blob.offset,
        "size": blob.size if blob.size >= 0 else None,
    }


class ProgressBars(Protocol):
    """What shows progress: called with every event, closed at the end of the ``with`` block."""

    def __call__(self, event: ProgressEvent, /) -> None:
        """Show an event."""

    def close(self) -> None:
        """Show nothing more; closing twice is nothing."""

    def __enter__(self) -> Self:
        """Return this object."""

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """Close."""


def progress_tqdm(**options: Any) -> ProgressBars:  # noqa: ANN401 - whatever tqdm takes
    """Return a bar of tqdm for all bytes of all copies that it is given to.

    Args:
        options: For ``tqdm.tqdm``, such as ``file`` and ``desc``.

    Raises:
        MissingDependencyError: There is no tqdm.
    """
    try:
        import tqdm.auto  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingDependencyError("bars are shown by tqdm: install it, or ocikit[progress]") from error
    settings: Mapping[str, Any] = {"unit": "B", "unit_scale": True, "unit_divisor": 1024, "total": 0, **options}
    return _Tqdm(tqdm.auto.tqdm(**settings))


def progress_rich(progress: Progress | None = None) -> ProgressBars:
    """Return bars of rich: one for everything, and one for each blob that is on its way.

    Args:
        progress: Where they are shown, for instance between bars of others; started and stopped by its owner. None for
            a new one.

    Raises:
        MissingDependencyError: There is no rich.
    """
    try:
        from rich import progress as rich_progress  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingDependencyError("bars are shown by rich: install it, or ocikit[progress]") from error
    if progress is not None:
        return _Rich(progress, owned=False)
    made = rich_progress.Progress(
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.DownloadColumn(binary_units=True),
        rich_progress.TransferSpeedColumn(),
        rich_progress.TimeRemainingColumn(),
    )
    made.start()
    return _Rich(made, owned=True)


class _Bars:
    """Bars over one tally, moved by one thread at a time."""

    def __init__(self) -> None:
        self._tally = ProgressTally()
        self._guard = threading.Lock()

    def __call__(self, event: ProgressEvent, /) -> None:
        with self._guard:
            self._show(self._tally(event))

    def _show(self, blobs: tuple[BlobProgress, ...]) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Tqdm(_Bars):
    def __init__(self, bar: Any) -> None:  # noqa: ANN401 - one of several classes of tqdm
        super().__init__()
        self._bar = bar

    def _show(self, blobs: tuple[BlobProgress, ...]) -> None:
        del blobs
        self._bar.total = self._tally.size
        self._bar.update(self._tally.offset - self._bar.n)

    def close(self) -> None:
        self._bar.close()


class _Rich(_Bars):
    def __init__(self, progress: Progress, *, owned: bool) -> None:
        super().__init__()
        self._progress = progress
        self._owned = owned
        self._all = progress.add_task("blobs", total=0)
        self._tasks: dict[int, TaskID] = {}

    def _show(self, blobs: tuple[BlobProgress, ...]) -> None:
        for blob in blobs:
            self._show_one(blob)
        self._progress.update(self._all, total=self._tally.size, completed=self._tally.offset)

    def _show_one(self, blob: BlobProgress) -> None:
        if blob.state in _ENDED:
            task = self._tasks.pop(blob.number, None)
            if task is not None:
                self._progress.remove_task(task)
        elif blob.state != "planned":
            size = blob.size if blob.size >= 0 else None
            if blob.number not in self._tasks:
                self._tasks[blob.number] = self._progress.add_task(str(blob.artifact.digest)[:_SHORT], total=size)
            self._progress.update(self._tasks[blob.number], completed=blob.offset)

    def close(self) -> None:
        with self._guard:
            for task in self._tasks.values():
                self._progress.remove_task(task)
            self._tasks.clear()
            if self._owned:
                self._progress.stop()
