"""A further process of a container, as whoever started it holds it."""

from __future__ import annotations

import contextlib
import functools
import os
import signal as signals
import time
import weakref
from typing import TYPE_CHECKING, BinaryIO, Self

from ocikit.errors import CgroupError, LimitExceededError, NotRunningError, RunTimeoutError
from ocikit.runtime import forgotten
from ocikit.runtime.host.procfs import start_time
from ocikit.runtime.pipes import OUTPUT_LIMIT, Pipes
from ocikit.runtime.process import Init, adopt_init, check_signal
from ocikit.runtime.status import Completed
from ocikit.runtime.stdio import broken_pipes_raise
from ocikit.runtime.uninterrupted import uninterrupted

if TYPE_CHECKING:
    from ocikit.runtime.cgroups.branch import Branch
    from ocikit.runtime.console import Console
    from ocikit.runtime.status import ExitStatus

__all__ = ["ContainerProcess"]

_held: weakref.WeakSet[Init] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    """Forget locks that threads held which do not exist here."""
    for process in list(_held):
        process.renew_locks()


os.register_at_fork(after_in_child=_after_fork_in_child)


class ContainerProcess:
    """A process in a container beside its first one, made by :meth:`Container.exec`.

    Its parent is an attendant, a tiny process outside of the container, which ends in the same way: nothing in the
    container ever waits for this process. Only this process learns how it ended. As a context manager, it is killed at
    the end of the block if it still runs, with all that it started. When this object is forgotten, the process goes on.
    """

    def __init__(
        self, container_id: str, pid: int, pidfd: int, attendant: tuple[int, int] | None, branch: Branch | None = None
    ) -> None:
        self._container_id = container_id
        self._branch = branch
        self._process = self._attendant = Init(pid, 0, pidfd)
        _held.add(self._process)
        if attendant is not None:
            self._attendant = adopt_init(attendant[0], start_time(attendant[0]) or 0, attendant[1])
        self._owner = os.getpid()
        self._status: ExitStatus | None = None
        self._outlived = False
        #: The process id, in the pid namespace of this process.
        self.pid = pid
        #: The other end of its standard input; None unless that is a pipe.
        self.stdin: BinaryIO | None = None
        #: The other end of its standard output, in the same way.
        self.stdout: BinaryIO | None = None
        #: The other end of its standard error, in the same way.
        self.stderr: BinaryIO | None = None
        #: Our side of its terminal; None when it has none, or a console socket got it.
        self.console: Console | None = None
        collect = functools.partial(_collect, self._attendant, branch)
        weakref.finalize(self, forgotten.remember, self._attendant, collect).atexit = False

    def __repr__(self) -> str:
        return f"<ContainerProcess {self.pid} in {self._container_id}>"

    def held(self) -> contextlib.AbstractContextManager[int | None]:
        """Give a descriptor, for the length of a ``with`` block, that is readable when it is known how it ended.

        None when that is known already.
        """
        return self._attendant.held()

    def poll(self) -> ExitStatus | None:
        """Return how the process ended; None while it runs."""
        try:
            return self.wait(0)
        except TimeoutError:
            return None

    def wait(self, timeout: float | None = None) -> ExitStatus:
        """Wait until the process has ended.

        Args:
            timeout: How long, in seconds; None waits as long as it takes.

        Returns:
            How it ended. Any number of threads may wait for one process.

        Raises:
            TimeoutError: It has not ended in that time; it goes on.
        """
        if self._status is None:
            deadline = None if timeout is None else time.monotonic() + timeout
            self._wait_for(self._attendant, timeout)
            # Who outlives the attendant is known to have done so by everybody who asks later.
            self._outlived = self._outlived or self._process.alive()
            status = uninterrupted(lambda _: _collect(self._attendant, self._branch), finish=True)
            if status.signal == signals.SIGKILL:
                # Was it the attendant that somebody killed? The kernel may know how the process itself ended.
                self._wait_for(self._process, None if deadline is None else max(0.0, deadline - time.monotonic()))
                itself = _collect(self._process, self._branch)
                status = itself if itself.known or self._outlived else status
            self._status = status
        return self._status

    def _wait_for(self, process: Init, timeout: float | None) -> None:
        if not process.wait(timeout):
            raise TimeoutError(f"process {self.pid} in {self._container_id} has not ended in time")

    def communicate(
        self,
        input: bytes | None = None,  # noqa: A002 - the name that subprocess.Popen.communicate gives it
        timeout: float | None = None,
        *,
        output_limit: int = OUTPUT_LIMIT,
    ) -> Completed:
        """Feed and read its pipes, or its terminal, until it has ended.

        Args:
            input: What it reads from a standard input that is a pipe, or what is typed at its terminal.
            timeout: How long it may take from now on, in seconds; then it is killed, with all that it started.
            output_limit: How much it may write to each pipe, in bytes; then it is killed in the same way.

        Returns:
            How it ended, and what it wrote to those streams that are pipes; what was written to a terminal is its
            standard output.

        Raises:
            RunTimeoutError: It took too long; the error, which is a TimeoutError, has what it wrote so far.
            LimitExceededError: It wrote too much.
            ValueError: There is input, and neither a pipe nor a terminal to give it to.
        """
        if input and self.stdin is None and self.console is None:
            raise ValueError('input: nothing would read it; start the process with stdin="pipe", or a terminal')
        who = f"process {self.pid} in container {self._container_id}"
        pipes = Pipes(self, who, None if input is None else memoryview(input), output_limit)
        try:
            with self.held() as ending:
                in_time = ending is None or pipes.serve(ending, timeout)
        except LimitExceededError:
            self.kill_all()
            raise
        if not in_time:
            message = f"{who} has not ended after {timeout} seconds and was killed, with all that it started"
            try:
                self.kill_all()
            except CgroupError as error:
                # Under v1, for example, those in a paused container die when it is resumed.
                raise RunTimeoutError(f"{message}, but does not end: {error}", *pipes.rest()) from error
            self.wait()
            raise RunTimeoutError(message, *pipes.rest())
        status = self.wait()
        return Completed(status.exit_code, status.signal, *pipes.finish())

    def signal(self, number: int) -> None:
        """Send a signal to the process, and to no other.

        Args:
            number: The signal, such as :data:`signal.SIGTERM`.

        Raises:
            NotRunningError: It has ended.
            ValueError: There is no such signal.
            SystemCallError: The kernel refused.
        """
        check_signal(number)
        try:
            self._process.signal(number)
        except NotRunningError:
            raise NotRunningError(f"process {self.pid} in container {self._container_id} has ended") from None

    def kill(self) -> None:
        """Kill the process, and no other; one that has ended is nothing to do."""
        with contextlib.suppress(NotRunningError):
            self.signal(signals.SIGKILL)

    def kill_all(self) -> None:
        """Kill the process and everything that it started, whatever became of those who stand between.

        They are known by the cgroup that the process was given. Where it has none (it was told to be in another one, or
        this user may make none), those are killed who descend from it by parents that live.

        Raises:
            CgroupError: Somebody does not end.
        """
        try:
            if self._branch is not None:
                uninterrupted(lambda _: self._branch.kill() if self._branch is not None else None, finish=True)
        finally:
            # Whoever may write to cgroups can have gone to another one.
            self._kill_descendants()

    def _kill_descendants(self) -> None:
        with self._process.held() as pidfd:
            if pidfd is not None and self._process.alive():
                from ocikit.runtime.descendants import kill_descendants  # noqa: PLC0415 - for those without a cgroup

                kill_descendants(self.pid, pidfd)
        self.kill()

    def close(self) -> None:
        """Close the pipes to the process and its terminal; it goes on. Closing twice is nothing."""
        if self.console is not None:
            self.console.close()
        for file in (self.stdin, self.stdout, self.stderr):
            if file is not None:
                with contextlib.suppress(BrokenPipeError), broken_pipes_raise():
                    file.close()

    def end(self) -> None:
        """Kill the process if it runs, with all that it started, wait for it, and close what connects us with it."""
        if self._process.alive():
            self.kill_all()
        self.wait()
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if os.getpid() == self._owner:  # and no forked child of it
            self.end()
        else:
            self.close()


def _collect(attendant: Init, branch: Branch | None) -> ExitStatus:
    status = attendant.collect(lambda: None, lambda _: None)
    if branch is not None:
        branch.remove()
    return status
