"""What happens to a container's memory while it runs: it was used up, or processes have to wait for it.

No threads: a watch is one descriptor that becomes readable, and waits when it is asked to. It comes to its end by
itself, when the container's first process ends, or its cgroup is gone.
"""

from __future__ import annotations

import abc
import contextlib
import errno
import os
import select
import time
from typing import TYPE_CHECKING, Final, Generic, Literal, Self, TypeVar

from ocikit._tuples import NamedTuple
from ocikit.errors import CgroupError
from ocikit.runtime.cgroups.files import flat, read_file
from ocikit.runtime.cgroups.hierarchies import UNIFIED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["MemoryLevel", "MemoryLevelWatch", "OutOfMemory", "OutOfMemoryWatch", "Stall", "StallWatch", "Watch"]

# EPOLLIN and EPOLLPRI, as numbers: other systems import this module, too.
_IN: Final = 1
_CHANGED: Final = 2

T = TypeVar("T")


class OutOfMemory(NamedTuple):
    """Memory was used up since the last time."""

    #: How often; at least once.
    times: int
    #: How many processes were killed because of it since the last time. v1 counts a moment after it tells.
    kills: int | None


class Stall(NamedTuple):
    """Processes waited for longer than they should, within the time that was asked about."""

    #: For what they waited: ``memory``, ``cpu`` or ``io``.
    resource: str


class MemoryLevel(NamedTuple):
    """The kernel has to work for free memory (v1)."""

    #: ``low``, ``medium`` or ``critical``.
    level: str


class Watch(abc.ABC, Generic[T]):
    """Waits for something to happen to a container; a context manager, and an iterator that ends with the container."""

    def __init__(self, process: int | None) -> None:
        self._epoll = select.epoll()
        self._process = process
        self._ended = process is None
        self._fds: list[int] = []
        #: What tells of events.
        self._source = -1
        #: The cgroup that they are about.
        self._path = ""
        if process is not None:
            self._epoll.register(process, _IN)

    @abc.abstractmethod
    def _news(self, *, told: bool) -> T | None:
        """Return what has happened, given whether the source tells of something."""

    def fileno(self) -> int:
        """Return a descriptor that is readable when it is time to ask :meth:`wait` with a timeout of zero.

        There may be nothing all the same: v2 tells of everything that happens to memory.
        """
        return self._epoll.fileno()

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to come."""
        return self._ended

    def wait(self, timeout: float | None = None) -> T | None:
        """Wait for the next event.

        Args:
            timeout: How long, in seconds; None waits as long as it takes.

        Returns:
            None when there was none in that time, or there is none to come (:attr:`ended`).

        Raises:
            CgroupError: The kernel does not tell.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._ended:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = {fd for fd, _ in self._epoll.poll(left)}
            self._ended = self._process in ready or not os.path.isdir(self._path)
            # What happened right before the end comes before the end.
            found = self._news(told=self._source in ready)
            if found is not None:
                return found
            if left is not None and left <= 0:
                return None
        return None

    def __iter__(self) -> Iterator[T]:
        while (event := self.wait()) is not None:
            yield event

    def close(self) -> None:
        """Stop watching. Closing twice is nothing."""
        self._ended = True
        self._epoll.close()
        while self._fds:
            os.close(self._fds.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _opening(self, path: str, remedy: str | None = None) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.close()
            raise CgroupError("watch", error.errno or errno.EIO, path, remedy) from error

    def _in_v2(self, paths: Mapping[str, str], file: str) -> str:
        """Return the path of a file in the v2 cgroup, which the events are about."""
        if UNIFIED not in paths:
            self.close()
            raise CgroupError("watch", errno.ENOENT, file, "it takes cgroup v2, or the memory controller of v1")
        self._path = paths[UNIFIED]
        return f"{self._path}/{file}"

    def _listen_v1(self, cgroup: str, file: str, argument: str = "") -> None:
        """Have a file of v1 tell an eventfd."""
        self._path = cgroup
        with self._opening(f"{cgroup}/{file}"), contextlib.ExitStack() as stack:
            about = os.open(f"{cgroup}/{file}", os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, about)
            control = os.open(f"{cgroup}/cgroup.event_control", os.O_WRONLY | os.O_CLOEXEC)
            stack.callback(os.close, control)
            self._source = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._fds.append(self._source)
            os.write(control, f"{self._source} {about} {argument}".encode())
            self._epoll.register(self._source, _IN)

    def _told_v1(self) -> int:
        """Return how often the eventfd was told since the last time, if the cgroup is still there."""
        with contextlib.suppress(BlockingIOError):
            times = os.eventfd_read(self._source)
            return times if os.path.isdir(self._path) else 0  # its removal is told, too
        return 0


class OutOfMemoryWatch(Watch[OutOfMemory]):
    """Waits for a container to use up its memory."""

    def __init__(self, paths: Mapping[str, str], process: int | None) -> None:
        """Watch some cgroups.

        Args:
            paths: The cgroups of a container, by controller.
            process: A descriptor of its first process, which is not closed; with None the watch has ended.

        Raises:
            CgroupError: No cgroup of it counts memory, or the kernel refuses.
        """
        super().__init__(process)
        self._v2 = "memory" not in paths
        if not self._v2:
            self._listen_v1(paths["memory"], "memory.oom_control")
        else:
            file = self._in_v2(paths, "memory.events")
            with self._opening(file, "is the memory controller enabled for this cgroup?"):
                self._source = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
                self._fds.append(self._source)
                os.pread(self._source, 4096, 0)  # what it says before this is no news
                self._epoll.register(self._source, _CHANGED)
        self._seen = self._counters()

    def _counters(self) -> dict[str, int]:
        return flat(read_file(f"{self._path}/{'memory.events' if self._v2 else 'memory.oom_control'}"))

    def _news(self, *, told: bool) -> OutOfMemory | None:
        if self._v2 and told:
            with contextlib.suppress(OSError):
                os.pread(self._source, 4096, 0)  # so that the next change is one
        times = self._told_v1() if told and not self._v2 else 0
        if not self._v2 and not times:
            return None
        before, now = self._seen, self._counters()
        kills = now["oom_kill"] - before.get("oom_kill", 0) if "oom_kill" in now else None
        if self._v2:
            times = max(now.get("oom", 0) - before.get("oom", 0), kills or 0)
        if times <= 0:
            return None
        self._seen = now
        return OutOfMemory(times, kills)


class StallWatch(Watch[Stall]):
    """Waits for processes of a container to wait too long for something (PSI, in the v2 hierarchy)."""

    def __init__(
        self,
        paths: Mapping[str, str],
        process: int | None,
        *,
        resource: Literal["memory", "cpu", "io"] = "memory",
        stall: float = 0.2,
        window: float = 2.0,
    ) -> None:
        """Watch some cgroups.

        Args:
            paths: The cgroups of a container, by controller.
            process: A descriptor of its first process, which is not closed; with None the watch has ended.
            resource: What is waited for.
            stall: How long they may wait within the window, in seconds.
            window: The window, in seconds: half a second to ten; two, four and so on without CAP_SYS_RESOURCE.

        Raises:
            CgroupError: The kernel does not measure it, or takes no such times.
        """
        super().__init__(process)
        self._resource = resource
        file = self._in_v2(paths, f"{resource}.pressure")
        remedy = "it takes v2, PSI, and a window of 0.5 to 10 seconds; multiples of 2 without CAP_SYS_RESOURCE"
        with self._opening(file, remedy):
            self._source = os.open(file, os.O_RDWR | os.O_CLOEXEC)
            self._fds.append(self._source)
            os.write(self._source, f"some {round(stall * 1e6)} {round(window * 1e6)}\0".encode())
            self._epoll.register(self._source, _CHANGED)

    def _news(self, *, told: bool) -> Stall | None:
        return Stall(self._resource) if told and os.path.isdir(self._path) else None


class MemoryLevelWatch(Watch[MemoryLevel]):
    """Waits for the kernel to have to work for free memory (v1)."""

    def __init__(
        self, paths: Mapping[str, str], process: int | None, level: Literal["low", "medium", "critical"] = "medium"
    ) -> None:
        """Watch some cgroups.

        Args:
            paths: The cgroups of a container, by controller.
            process: A descriptor of its first process, which is not closed; with None the watch has ended.
            level: How hard it has to work for it.

        Raises:
            CgroupError: There is no v1 memory controller.
        """
        super().__init__(process)
        self._level = level
        if "memory" not in paths:
            self.close()
            raise CgroupError("watch memory", errno.ENOENT, None, "only v1 has levels; watch for stalls on v2")
        self._listen_v1(paths["memory"], "memory.pressure_level", level)

    def _news(self, *, told: bool) -> MemoryLevel | None:
        return MemoryLevel(self._level) if told and self._told_v1() else None
