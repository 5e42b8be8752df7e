"""A further process of a container, as whoever started it holds it."""

from __future__ import annotations

import contextlib
import os
import signal as signals
import threading
import weakref
from typing import TYPE_CHECKING, BinaryIO, Self

from ocikit.errors import NotRunningError
from ocikit.runtime.stdio import broken_pipes_raise
from ocikit.runtime.uninterrupted import uninterrupted

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocikit.runtime.console import Console
    from ocikit.runtime.process import Init
    from ocikit.runtime.status import ExitStatus

__all__ = ["ContainerProcess", "reap_forgotten"]

# Processes that ran when their objects were forgotten. Somebody has to reap them: it is done with the next one.
_forgotten: set[Init] = set()
_forgetting = threading.Lock()


class ContainerProcess:
    """A process in a container beside its first one, made by :meth:`Container.exec`.

    It is a child of this process: only this process learns how it ends. As a context manager, it is killed at the end
    of the block if it still runs. When this object is forgotten, the process goes on.
    """

    def __init__(self, process: Init, container_id: str, pid: int) -> None:
        self._process = process
        self._container_id = container_id
        self._owner = os.getpid()
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
        weakref.finalize(self, _forget, process).atexit = False

    def __repr__(self) -> str:
        return f"<ContainerProcess {self.pid} in {self._container_id}>"

    def held(self) -> contextlib.AbstractContextManager[int | None]:
        """Yield a descriptor of the process that stays open for a ``with`` block, to poll it; None when it is gone."""
        return self._process.held()

    def poll(self) -> ExitStatus | None:
        """Return how the process ended; None while it runs."""
        return self.wait() if self._process.wait(0) else None

    def wait(self, timeout: float | None = None) -> ExitStatus:
        """Wait until the process has ended.

        Args:
            timeout: How long, in seconds; None waits as long as it takes.

        Returns:
            How it ended. Any number of threads may wait for one process.

        Raises:
            TimeoutError: It has not ended in that time; it goes on.
        """
        if self._process.exit_status is not None:
            return self._process.exit_status
        if not self._process.wait(timeout):
            raise TimeoutError(f"process {self.pid} in {self._container_id} has not ended after {timeout} seconds")
        return uninterrupted(lambda _: _collect(self._process), finish=True)

    def signal(self, number: int) -> None:
        """Send a signal to the process, and to no other.

        Args:
            number: The signal, such as :data:`signal.SIGTERM`.

        Raises:
            NotRunningError: It has ended.
            ValueError: There is no such signal.
            SystemCallError: The kernel refused.
        """
        if not 0 <= number < signals.NSIG:
            raise ValueError(f"signal {number}: expected a number from 0 to {signals.NSIG - 1}")
        try:
            self._process.signal(number)
        except NotRunningError:
            raise NotRunningError(f"process {self.pid} in container {self._container_id} has ended") from None

    def kill(self) -> None:
        """Kill the process, and no other; one that has ended is nothing to do."""
        with contextlib.suppress(NotRunningError):
            self.signal(signals.SIGKILL)

    def close(self) -> None:
        """Close the pipes to the process and its terminal; it goes on. Closing twice is nothing."""
        if self.console is not None:
            self.console.close()
        for file in (self.stdin, self.stdout, self.stderr):
            if file is not None:
                with contextlib.suppress(BrokenPipeError), broken_pipes_raise():
                    file.close()

    def end(self) -> None:
        """Kill the process if it runs, wait for it, and close what connects us with it."""
        self.kill()
        self.wait()
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if os.getpid() == self._owner:  # and no forked child of it
            self.end()
        else:
            self.close()


def _collect(process: Init) -> ExitStatus:
    return process.collect(_unknown, _unwritten)


def _unknown() -> ExitStatus | None:
    """Return what is written down about the end of a further process: nothing."""
    return None


_unwritten: Callable[[ExitStatus], None] = lambda _: None  # noqa: E731 - nobody else can ask for it


def _forget(process: Init) -> None:
    if process.exit_status is None:
        with _forgetting:
            _forgotten.add(process)


def reap_forgotten() -> None:
    """Reap those whose objects were forgotten before they ended."""
    if not _forgotten:
        return
    with _forgetting:
        ended = {process for process in _forgotten if process.wait(0)}
        _forgotten.difference_update(ended)
    for process in ended:
        _collect(process)
