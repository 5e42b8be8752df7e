"""What takes a few milliseconds is done in a thread of its own, whole or not at all.

Not in the pool of the loop: work that waits for something (a paused container, a hook) would keep it from work that
ends the wait. A task that is cancelled tells the work to stop, and is over when what the work did is undone. When
nobody is left to take the result, because the loop is closed or the task forgotten, the work is undone as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import threading
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from ocikit.runtime.uninterrupted import Cancellation, told_by

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["apart", "deserted", "in_thread", "kept", "like", "regardless"]

_log = logging.getLogger("ocikit.runtime")

P = ParamSpec("P")
T = TypeVar("T")

#: What has to be undone even when nobody comes back to it, because the loop is closed. Without this, the collector
#: would take apart the task and what the task has in one go, in any order.
kept: set[object] = set()


async def in_thread(work: Callable[[], T], undo: Callable[[T], object] | None = None) -> T:
    """Do some work in a thread.

    Args:
        work: The work; a call or several of the runtime.
        undo: Undoes it when nobody takes the result, because the task was cancelled. None when it is to be done to
            its end.

    Raises:
        BaseException: What the work raises.
    """
    job = _Job(work, undo, asyncio.get_running_loop())
    kept.add(job)
    try:
        job.start()
        await asyncio.shield(job.over)
        return job.take()
    except asyncio.CancelledError:
        job.leave()
        await regardless(job.over)
        raise
    except BaseException:
        job.leave()  # without waiting: the loop may be closed
        raise
    finally:
        kept.discard(job)


async def regardless(future: asyncio.Future[None]) -> None:
    """Wait for something, also in a task that is cancelled over and over."""
    while not future.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(future)


def deserted(loop: asyncio.AbstractEventLoop, kind: type[BaseException] | None) -> bool:
    """Tell whether a block ends in a task that nobody will come back to, so that nothing can be awaited in it.

    Args:
        loop: The loop of the task. When it is closed, what it was asked for fails in its own ways.
        kind: What ends the block.
    """
    return loop.is_closed() or (kind is not None and issubclass(kind, GeneratorExit))


class _Job(Generic[T]):
    def __init__(
        self, work: Callable[[], T], undo: Callable[[T], object] | None, loop: asyncio.AbstractEventLoop
    ) -> None:
        #: Done when nothing happens any more, the undoing included.
        self.over: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._work = work
        self._undo = undo
        self._cancellation = Cancellation()
        self._lock = threading.Lock()
        self._results: list[T] = []
        self._failures: list[BaseException] = []
        self._finished = self._left = False

    def start(self) -> None:
        threading.Thread(target=self._run, name="ocikit").start()

    def _run(self) -> None:
        try:
            with told_by(self._cancellation):
                result = self._work()
        except BaseException as error:  # noqa: BLE001 - it is raised again where it is waited for
            self._failures.append(error)
        else:
            self._results.append(result)
        with self._lock:
            self._finished = True
            left = self._left
        if left or not self._tell():
            self._take_back()
            self._tell()

    def _tell(self) -> bool:
        """Tell who waits; return whether there is a loop to wait in."""
        try:
            self._loop.call_soon_threadsafe(_finish, self.over)
        except RuntimeError:  # it is closed
            return False
        return True

    def take(self) -> T:
        """Return the result, or raise what the work raised, when it is over."""
        if self._failures:
            raise self._failures.pop()
        return self._results.pop()

    def leave(self) -> None:
        """Do without the result: stop the work, or undo it."""
        with self._lock:
            self._left = True
            finished = self._finished
        if not finished:
            self._cancellation.cancel()
        elif self._results and self._undo is not None:
            self.over = self._loop.create_future()
            apart(self._undone)

    def _undone(self) -> None:
        self._take_back()
        self._tell()

    def _take_back(self) -> None:
        self._failures.clear()  # of no interest any more; its traceback would keep alive all that it refers to
        with self._lock:
            results, self._results = self._results, []
        if not results or self._undo is None:
            return
        self._cancellation.cancel()
        try:
            with told_by(self._cancellation):
                self._undo(results.pop())
        except Exception as error:  # noqa: BLE001 - nobody waits for it; it is told
            _log.warning("what a cancelled task had begun could not be undone: %s", error)


def apart(work: Callable[[], object]) -> None:
    """Do some work in a thread that nobody waits for."""
    try:
        threading.Thread(target=work, name="ocikit").start()
    except RuntimeError:  # no threads any more: the interpreter is shutting down
        work()


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def like(
    function: Callable[P, object],
) -> Callable[[Callable[..., Coroutine[Any, Any, T]]], Callable[P, Coroutine[Any, Any, T]]]:
    """Say that a coroutine function takes the arguments of another function; what it returns is its own."""

    def declare(twin: Callable[..., Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        own = inspect.signature(twin).return_annotation
        twin.__signature__ = inspect.signature(function).replace(return_annotation=own)  # type: ignore[attr-defined]
        return twin

    return declare
