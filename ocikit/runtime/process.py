"""The first process of a container, held by descriptor: is it alive, how did it end, send it a signal.

A process id says nothing: the number may belong to somebody else by now. A process is what a descriptor refers to
that was opened *before* its start time was compared. What is never touched, whatever a state says: process 1, this
process, the processes it descends from, and the kernel's own.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import threading
import time
import weakref
from typing import TYPE_CHECKING, Final

from ocikit import _sys
from ocikit.errors import NotRunningError, NotSupportedError, SystemCallError
from ocikit.runtime import reaping
from ocikit.runtime.host.procfs import ancestors, read_stat
from ocikit.runtime.status import ExitStatus

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator

    from ocikit.runtime.host.procfs import Stat

__all__ = ["Init", "adopt_init", "check_signal", "find_init", "glance", "open_process"]

# A process that ends shows as ended a moment before the kernel can say how; only when somebody else reaps it.
_KERNEL_PAUSES: Final = (0.0, 0.001, 0.004, 0.015, 0.05)


def check_signal(number: int, lowest: int = 0) -> None:
    """Refuse what is no number of a signal.

    Raises:
        TypeError: It is no number at all.
        ValueError: There is no such signal.
    """
    if not isinstance(number, int):
        raise TypeError(f"signal: expected a number, such as signal.SIGTERM, found {number!r}")
    if not lowest <= number < signal.NSIG:
        raise ValueError(f"signal {number}: expected a number from {lowest} to {signal.NSIG - 1}")


def open_process(pid: int, start_time: int) -> int | None:
    """Open the process that was started with this id at this time.

    Returns:
        A descriptor, which the caller closes; None when that process is gone, or must not be touched.
    """
    if pid <= 1:
        return None
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        if error.errno in {errno.ESRCH, errno.EINVAL}:
            return None
        raise SystemCallError("open process", error.errno or errno.EIO, f"/proc/{pid}") from error
    try:
        stat = read_stat(pid)
        if stat is not None and _is_init(stat, pid, start_time):
            kept, pidfd = pidfd, -1
            return kept
        return None
    finally:
        if pidfd >= 0:
            os.close(pidfd)


def glance(pid: int, start_time: int) -> bool | None:
    """Tell whether a process is alive, without opening it; None when that takes a closer look."""
    stat = read_stat(pid) if pid > 1 else None
    if stat is None or not _is_init(stat, pid, start_time):
        return False
    # A process whose first thread has ended looks like a dead one, and lives as long as its other threads.
    return None if stat.state in {"Z", "X"} else True


def _is_init(stat: Stat, pid: int, start_time: int) -> bool:
    return stat.start_time == start_time and not stat.of_kernel and pid not in ancestors()


class Init:
    """The first process of a container. One object per process, however many containers refer to it.

    Made by :func:`adopt_init` and :func:`find_init`.
    """

    def __init__(self, pid: int, start_time: int, pidfd: int | None) -> None:
        #: Its id in the pid namespace of this process.
        self.pid = pid
        #: When it was started, in clock ticks since boot.
        self.start_time = start_time
        #: How it ended; None before :meth:`collect`.
        self.exit_status: ExitStatus | None = None
        self._pidfd = pidfd
        self._identity = _identity(pidfd)
        self._holders = 0
        # Reentrant, because a container that is forgotten is destroyed by whatever the garbage collector interrupts.
        self._holding = threading.RLock()
        self._collecting = threading.RLock()

    def __del__(
        self, close: Callable[[int], None] = os.close, stat: Callable[[int], os.stat_result] = os.fstat
    ) -> None:
        # When the interpreter ends, the names of this module may be gone already.
        pidfd, self._pidfd = getattr(self, "_pidfd", None), None
        if pidfd is not None:
            try:
                found = stat(pidfd)
                if (found.st_dev, found.st_ino) == self._identity:
                    close(pidfd)
            except OSError:
                pass

    def renew_locks(self) -> None:
        """Forget, in a forked child, locks that are held by threads which do not exist there."""
        self._holding, self._collecting, self._holders = threading.RLock(), threading.RLock(), 0

    @contextlib.contextmanager
    def held(self) -> Iterator[int | None]:
        """Yield a descriptor of the process, which stays open for the length of the block; None when it is gone.

        When it is known how the process ended, nobody needs the descriptor, and the last one to hold it closes it.

        Raises:
            SystemCallError: This process has closed it, and it cannot be opened again.
        """
        with self._holding:
            if self._pidfd is not None and _identity(self._pidfd) != self._identity:
                self._open_again()
            pidfd = self._pidfd
            self._holders += 1
        try:
            yield pidfd
        finally:
            with self._holding:
                self._holders -= 1
                unneeded = None
                if self.exit_status is not None and self._holders == 0:
                    unneeded, self._pidfd = self._pidfd, None
            if unneeded is not None:
                os.close(unneeded)

    def _open_again(self) -> None:
        """Replace a descriptor that the host has closed; what has its number now is the host's."""
        self._pidfd = None
        if not self.start_time:
            remedy = "this process has closed a descriptor that was not its own"
            raise SystemCallError(f"hold process {self.pid}", errno.EBADF, remedy=remedy)
        self._pidfd = open_process(self.pid, self.start_time)
        self._identity = _identity(self._pidfd)

    def alive(self) -> bool:
        """Tell whether the process runs, or waits to be let run."""
        with self.held() as pidfd:
            return self.exit_status is None and pidfd is not None and not _ended(pidfd, 0)

    def signal(self, number: int) -> None:
        """Send a signal.

        Raises:
            NotRunningError: The process has ended.
            SystemCallError: The kernel refused.
        """
        with self.held() as pidfd:
            # The kernel takes signals for a process that has ended until its parent reaps it.
            if pidfd is None or self.exit_status is not None or _ended(pidfd, 0):
                raise NotRunningError("container not running")
            try:
                signal.pidfd_send_signal(pidfd, number)
            except ProcessLookupError:
                raise NotRunningError("container not running") from None
            except OSError as error:
                raise SystemCallError(f"send signal {number}", error.errno or errno.EIO) from error

    def wait(self, timeout: float | None) -> bool:
        """Wait for the end of the process, at most ``timeout`` seconds (None: as long as it takes).

        Returns:
            Whether it has ended.
        """
        with self.held() as pidfd:
            return pidfd is None or self.exit_status is not None or _ended(pidfd, timeout)

    def collect(
        self, written: Callable[[], ExitStatus | None], write: Callable[[ExitStatus], ExitStatus | None]
    ) -> ExitStatus:
        """Find out how the process ended, after it did; reap it if it is a child of ours.

        Several threads may ask; one of them finds out and all get the answer.

        Args:
            written: Returns what somebody else wrote down about the end.
            write: Writes down what was found out, before the process is reaped and nobody else can; returns what it
                could add to it, or None.
        """
        with self._collecting, self.held() as pidfd:
            if self.exit_status is None:
                self.exit_status = self._find_out(pidfd, written, write)
            return self.exit_status

    def _find_out(
        self,
        pidfd: int | None,
        written: Callable[[], ExitStatus | None],
        write: Callable[[ExitStatus], ExitStatus | None],
    ) -> ExitStatus:
        if pidfd is None:
            return written() or ExitStatus(None, None)
        child, status = _peek(pidfd)
        if not child:
            # Whoever waited for it knows more than the kernel tells others.
            found = written()
            if found is not None and found.known:
                return found
        if status is None:
            status = self._ask_kernel(pidfd)
        if status is None:
            found = written()
            if found is not None:
                return found
        found = ExitStatus.from_wait_status(status, _now())
        if status is not None:
            found = write(found) or found
        if child:
            reaping.collect(pidfd)
        return found

    def _ask_kernel(self, pidfd: int) -> int | None:
        """Ask how a process ended whose parent is somebody else, or was faster."""
        for pause in _KERNEL_PAUSES:
            time.sleep(pause)
            stat = read_stat(self.pid)
            if stat is not None and stat.start_time == self.start_time and stat.state == "Z":
                return stat.exit_status
            with contextlib.suppress(OSError, NotSupportedError):
                status = _sys.pidfd_exit_status(pidfd)
                if status is not None:
                    return status
        return None


def _identity(pidfd: int | None) -> tuple[int, int] | None:
    """Return what a descriptor refers to; None when it is closed.

    Processes have inodes of their own since Linux 6.9. Before that they all have one, with other anonymous files.
    """
    try:
        found = os.fstat(pidfd) if pidfd is not None else None
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found is not None else None


def _ended(pidfd: int, timeout: float | None) -> bool:
    waiting = select.poll()
    waiting.register(pidfd, select.POLLIN)
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        # In pieces: poll takes its time in a C int of milliseconds.
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if waiting.poll(None if left is None else min(left * 1000, 1e9)):
            return True
        if left is not None and left <= 0:
            return False


def _peek(pidfd: int) -> tuple[bool, int | None]:
    """Return whether the process is a child of ours, and how it ended if it is; the child is left to be reaped."""
    try:
        result = reaping.look(pidfd)
    except ChildProcessError:
        return False, None
    if result is None:
        return True, None
    exited = result.si_code == os.CLD_EXITED
    return True, result.si_status << 8 if exited else result.si_status


def _now() -> dt.datetime:
    import datetime as dt  # noqa: PLC0415 - needed once in the life of a container

    return dt.datetime.now(dt.UTC)


# Only the one object of a process may reap it: else two threads that wait for one container could both try, and the
# slower one would find nothing.
_registry_lock = threading.RLock()
_registry: weakref.WeakValueDictionary[tuple[int, int], Init] = weakref.WeakValueDictionary()


def adopt_init(pid: int, start_time: int, pidfd: int) -> Init:
    """Take charge of a process that this process has just started; the descriptor is owned from now on."""
    init = Init(pid, start_time, pidfd)
    with _registry_lock:
        _registry[pid, start_time] = init
    return init


def find_init(pid: int, start_time: int) -> Init:
    """Return the process that a state names; one that has ended if it cannot be found, or must not be touched."""
    with _registry_lock:
        known = _registry.get((pid, start_time))
        if known is None:
            known = Init(pid, start_time, open_process(pid, start_time))
            _registry[pid, start_time] = known
        return known


def _after_fork_in_child() -> None:
    """Forget locks that threads held which do not exist here."""
    global _registry_lock  # noqa: PLW0603 - the old lock may be held for ever
    _registry_lock = threading.RLock()
    for init in list(_registry.values()):
        init.renew_locks()


os.register_at_fork(after_in_child=_after_fork_in_child)
