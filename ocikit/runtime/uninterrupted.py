"""Work that Ctrl-C cannot cut in two.

Python raises an interrupt in the main thread, between any two of its instructions: right after a process or a
directory was made and before anybody knows of it. So what must be done whole or not at all is done in another thread,
where no interrupt arrives, while the main thread waits; when it is interrupted, the work is told to stop, undoes
itself, and only then the interrupt goes on. In other threads nothing interrupts, and the work is done right there;
whoever waits for such a thread may tell its work to stop.

The other thread stays, and sleeps until there is more to do: to start one takes longer than most of the work.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Cancellation", "Cancelled", "told_by", "uninterrupted"]

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


_telling = threading.local()


@contextlib.contextmanager
def told_by(cancellation: Cancellation) -> Iterator[None]:
    """While this block does work in a thread other than the main one, ``cancellation`` tells that to stop."""
    _telling.cancellation = cancellation
    try:
        yield
    finally:
        del _telling.cancellation


_is_ending = sys.is_finalizing

# After what time who waits looks whether there was an interrupt.
_LOOK_SECONDS = 0.5

# How often work is told to stop by whoever is interrupted while telling it.
_TELLINGS = 5


class _End:
    """The end of some work, which can be waited for.

    :class:`threading.Event` and the start of a :class:`threading.Thread` are Python: an interrupt in the middle of them
    leaves a lock held for ever, or lets go of one that another thread holds.
    """

    def __init__(self) -> None:
        self._over = False
        self._gate = _thread.allocate_lock()
        self._gate.acquire()

    def come(self) -> None:
        """Let go on who waits; once."""
        self._over = True
        self._gate.release()

    def wait(self) -> None:
        """Wait for it; who was interrupted may wait again."""
        while not self._over:
            # An interrupt that comes after Python has looked for one, and before the thread sleeps, wakes nobody.
            self._gate.acquire(timeout=_LOOK_SECONDS)


class _Job(Generic[T]):
    def __init__(self, work: Callable[[Cancellation], T], undo: Callable[[T], object] | None) -> None:
        self.cancellation = Cancellation()
        self.done = _End()
        self._work = work
        self._undo = undo
        self._claim = threading.Lock()
        self._results: list[T] = []
        self._failures: list[BaseException] = []

    def run(self, worker: _Worker | None = None) -> None:
        """Do the work, unless somebody else does; the worker is free again before anybody hears of the end."""
        claimed = self._claim.acquire(blocking=False)
        try:
            if claimed:
                self._results.append(self._work(self.cancellation))
        except BaseException as error:  # noqa: BLE001 - it is raised again where it is waited for
            self._failures.append(error)
        finally:
            if worker is not None:
                _idle.append(worker)
            if claimed:
                self.done.come()

    def abandon(self) -> None:
        """Stop the work and undo what it did. Further interrupts have to wait for that, too."""
        if self._claim.acquire(blocking=False):
            return  # the thread had not come to it, and now never will
        self.tell()
        _wait_regardless(self.done)
        self._failures.clear()  # of no interest any more; its traceback would keep everything alive that it refers to
        if self._results and self._undo is not None:
            undo, result = self._undo, self._results.pop()
            rest: _Job[object] = _Job(lambda _: undo(result), None)
            rest.finish()

    def tell(self) -> None:
        """Tell the work to stop, whatever interrupts."""
        for _ in range(_TELLINGS):
            try:
                self.cancellation.cancel()
            except BaseException:  # noqa: BLE001, S112 - an interrupt, whatever it raises: tell it again
                continue
            return

    def finish(self) -> None:
        """Do the work to its end, whatever interrupts."""
        while True:
            try:
                # It may have been started before, and be started twice: only one of the threads does the work.
                _thread.start_new_thread(self.run, ())
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
        return self._results[0]  # it stays, to be undone if an interrupt comes before we have returned


class _Worker:
    """A thread that does one job after another."""

    def __init__(self) -> None:
        self._gate = _thread.allocate_lock()
        self._gate.acquire()
        self._job: _Job[Any] | None = None

    def give(self, job: _Job[Any]) -> None:
        """Have a job done, soon. Who is interrupted here takes it back (:meth:`_Job.abandon`)."""
        self._job = job
        self._gate.release()

    def work(self) -> None:
        while True:
            self._gate.acquire()
            job, self._job = self._job, None
            if job is not None:
                job.run(self)
            del job  # and with it the results, which are the caller's


# Those who sleep. One that is lost to an interrupt sleeps for ever; and none of them exists in a forked child.
_idle: list[_Worker] = []
os.register_at_fork(after_in_child=_idle.clear)


def _have_done(job: _Job[Any]) -> None:
    """Have a job done by a worker, or by this thread when there can be none."""
    worker = None
    with contextlib.suppress(IndexError):
        worker = _idle.pop()
    if worker is None:
        worker = _Worker()
        try:
            _thread.start_new_thread(worker.work, ())
        except RuntimeError:  # no threads any more: the interpreter is shutting down
            job.run()
            return
    worker.give(job)


def _wait_regardless(end: _End) -> None:
    while True:
        try:
            end.wait()
        except BaseException:  # noqa: BLE001, S112 - whoever is impatient has to wait for the cleaning up
            continue
        return


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
    # While the interpreter ends, other threads sleep for ever, and what is forgotten then is interrupted by nobody.
    if threading.get_ident() != threading.main_thread().ident or _is_ending():
        return work(getattr(_telling, "cancellation", None) or Cancellation())
    job = _Job(work, undo)
    try:
        _have_done(job)
        job.done.wait()
        return job.result()
    except BaseException:
        if finish:
            job.tell()
            job.finish()
        else:
            job.abandon()
        raise
