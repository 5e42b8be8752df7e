"""Work that Ctrl-C cannot cut in two.

Python raises an interrupt in the main thread, between any two of its instructions: right after a process or a
directory was made and before anybody knows of it. So what must be done whole or not at all is done in a thread of its
own, where no interrupt arrives, while the main thread waits; when it is interrupted, the work is told to stop, undoes
itself, and only then the interrupt goes on. In other threads nothing interrupts, and the work is done right there.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Generic, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Cancellation", "Cancelled", "uninterrupted"]

T = TypeVar("T")


class Cancelled(BaseException):
    """Ends work that nobody waits for any more."""


class Cancellation:
    """How work learns that it is to stop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        self._wake: list[Callable[[], object]] = []

    @classmethod
    def of_old(cls) -> Self:
        """Return how work learns that it was to stop before it began."""
        cancelled = cls()
        cancelled.cancel()
        return cancelled

    def check(self) -> None:
        """Raise :class:`Cancelled` if the work is to stop."""
        if self._cancelled:
            raise Cancelled

    @contextlib.contextmanager
    def waking(self, wake: Callable[[], object]) -> Iterator[None]:
        """While this block waits for something, ``wake`` is how to end the wait."""
        with self._lock:
            self.check()
            self._wake.append(wake)
        try:
            yield
        finally:
            with self._lock:
                self._wake.remove(wake)

    @contextlib.contextmanager
    def hurrying(self, wake: Callable[[], object]) -> Iterator[None]:
        """While this block cleans up, which has to be done also by work that is to stop, ``wake`` asks it to hurry."""
        with self._lock:
            if self._cancelled:
                wake()
            self._wake.append(wake)
        try:
            yield
        finally:
            with self._lock:
                self._wake.remove(wake)

    def cancel(self) -> None:
        """Tell the work to stop."""
        with self._lock:
            self._cancelled = True
            for wake in self._wake:
                wake()


class _Job(Generic[T]):
    def __init__(self, work: Callable[[Cancellation], T], undo: Callable[[T], object] | None) -> None:
        self.cancellation = Cancellation()
        self.done = threading.Event()
        self._work = work
        self._undo = undo
        self._claim = threading.Lock()
        self._results: list[T] = []
        self._failures: list[BaseException] = []

    def run(self) -> None:
        if not self._claim.acquire(blocking=False):
            return
        try:
            self._results.append(self._work(self.cancellation))
        except BaseException as error:  # noqa: BLE001 - it is raised again where it is waited for
            self._failures.append(error)
        finally:
            self.done.set()

    def abandon(self) -> None:
        """Stop the work and undo what it did. Further interrupts have to wait for that, too."""
        if self._claim.acquire(blocking=False):
            return  # the thread had not come to it, and now never will
        self.cancellation.cancel()
        _wait_regardless(self.done)
        self._failures.clear()  # of no interest any more; its traceback would keep everything alive that it refers to
        if self._results and self._undo is not None:
            undo, result = self._undo, self._results.pop()
            rest: _Job[object] = _Job(lambda _: undo(result), None)
            rest.finish()

    def finish(self) -> None:
        """Do the work to its end, whatever interrupts."""
        while True:
            try:
                # It may have been started before, and be started twice: only one of the threads does the work.
                threading.Thread(target=self.run, name="ocikit").start()
                break
            except RuntimeError:  # no threads any more: the interpreter is shutting down
                self.run()
                break
            except BaseException:  # noqa: BLE001, S112 - whoever is impatient has to wait
                continue
        _wait_regardless(self.done)

    def result(self) -> T:
        if self._failures:
            raise self._failures.pop()
        return self._results.pop()


def _wait_regardless(event: threading.Event) -> None:
    while not event.is_set():
        try:
            while not event.is_set():
                event.wait()
        except BaseException:  # noqa: BLE001, S112 - whoever is impatient has to wait for the cleaning up
            continue


def uninterrupted(
    work: Callable[[Cancellation], T], undo: Callable[[T], object] | None = None, *, finish: bool = False
) -> T:
    """Do some work as a whole.

    Args:
        work: The work. It undoes itself when it raises.
        undo: Undoes the work after it is done, if the interrupt comes between its end and our return.
        finish: Do it to its end also when interrupted, because it cleans up; the interrupt comes after it. The work is
            told, and may hurry.

    Raises:
        BaseException: What the work raises, or what interrupted this thread.
    """
    if threading.current_thread() is not threading.main_thread():
        return work(Cancellation())
    job = _Job(work, undo)
    try:
        try:
            threading.Thread(target=job.run, name="ocikit").start()
        except RuntimeError:  # no threads any more: the interpreter is shutting down
            job.run()
        job.done.wait()
        return job.result()
    except BaseException:
        if finish:
            job.cancellation.cancel()
            job.finish()
        else:
            job.abandon()
        raise
