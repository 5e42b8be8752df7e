"""Kills first processes and monitors of the soak's own containers, by descriptor, at moments nobody else knows."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import select
import signal
import threading
import time
from typing import TYPE_CHECKING, Self

from ocikit._fs import Descriptor
from ocikit._sys import pidfd_exit_status

if TYPE_CHECKING:
    from ocikit import runtime

__all__ = ["Hunter", "kernel_tells"]


def kernel_tells() -> bool:
    """Tell whether this kernel says how a process ended that somebody else has reaped (Linux 6.15)."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    with Descriptor(os.pidfd_open(pid)) as process:
        os.waitpid(pid, 0)
        with contextlib.suppress(OSError):
            return pidfd_exit_status(process.fd) == 0
    return False


class _Lookout:
    """One prey, for the length of a ``with`` block."""

    def __init__(self, hunter: Hunter, prey: str, pidfd: int | None) -> None:
        self._hunter, self._prey = hunter, prey
        self._pidfd = pidfd
        self._lock = threading.Lock()
        #: Whom the hunter got: ``init`` or ``monitor``; empty when it came too late.
        self.killed = ""

    def strike(self) -> None:
        """Kill it, unless the block is over."""
        with self._lock:
            if self._pidfd is None or select.select([self._pidfd], [], [], 0)[0]:
                return
            with contextlib.suppress(ProcessLookupError):  # it has ended in this moment
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
                self.killed = self._prey
                self._hunter.count(self._prey)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._pidfd is not None:
                os.close(self._pidfd)
                self._pidfd = None


class Hunter:
    """A thread that kills when it is time to; a context manager."""

    def __init__(self) -> None:
        #: Whether the kernel tells how somebody ended whose parent was killed.
        self.kernel_tells = kernel_tells()
        #: How many were killed, by kind.
        self.kills = {"init": 0, "monitor": 0}
        self._due: list[tuple[float, int, _Lookout]] = []
        self._number = itertools.count()
        self._changed = threading.Condition()
        self._over = False
        self._thread = threading.Thread(target=self._hunt, name="hunter")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._over = True
            self._changed.notify()
        self._thread.join()

    def _hunt(self) -> None:
        while True:
            with self._changed:
                if self._over:
                    return
                left = self._due[0][0] - time.monotonic() if self._due else None
                if left is None or left > 0:
                    self._changed.wait(left)
                    continue
                lookout = heapq.heappop(self._due)[2]
            lookout.strike()

    def count(self, prey: str) -> None:
        """Note a kill."""
        with self._changed:
            self.kills[prey] += 1

    def look_out(self, container: runtime.Container, prey: str, delay: float) -> _Lookout:
        """Have somebody of a container killed in a moment.

        Args:
            container: The container.
            prey: ``init``, ``monitor``, or empty for nobody.
            delay: When, in seconds from now.
        """
        lookout = _Lookout(self, prey, _open(container, prey) if prey else None)
        if prey:
            with self._changed:
                heapq.heappush(self._due, (time.monotonic() + delay, next(self._number), lookout))
                self._changed.notify()
        return lookout

    def kill(self, container: runtime.Container, prey: str) -> None:
        """Kill somebody of a container now, and see them end."""
        pidfd = _open(container, prey)
        if pidfd is None:
            raise RuntimeError(f"the {prey} of container {container.id} has ended before it was killed")
        with Descriptor(pidfd) as process:
            self.count(prey)
            signal.pidfd_send_signal(process.fd, signal.SIGKILL)
            waiting = select.poll()
            waiting.register(process.fd, select.POLLIN)
            if not waiting.poll(60_000):
                raise RuntimeError(f"the {prey} of container {container.id} was killed, and does not end")


def _open(container: runtime.Container, prey: str) -> int | None:
    """Return a descriptor of our own for a process of a container; None when that has ended."""
    process = container._init() if prey == "init" else container._find_monitor()
    if process is None:
        return None
    with process.held() as pidfd:
        return os.dup(pidfd) if pidfd is not None else None
