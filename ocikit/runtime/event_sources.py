"""What tells of events: files of cgroups, and descriptors that become ready when there is something new in them."""

from __future__ import annotations

import abc
import contextlib
import errno
import os
from typing import TYPE_CHECKING, Final, Generic, Literal, TypeVar

from ocikit._tuples import NamedTuple
from ocikit.errors import CgroupError
from ocikit.runtime.cgroups.files import GONE, flat
from ocikit.runtime.cgroups.hierarchies import UNIFIED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "IN",
    "RESOURCES",
    "MemoryLevel",
    "OutOfMemory",
    "Resource",
    "Source",
    "Stall",
    "memory_level",
    "out_of_memory",
    "pressure",
]

# EPOLLIN, EPOLLPRI and EPOLLET, as numbers: other systems import this module, too.
IN: Final = 1
_CHANGED: Final = 2
_EDGE: Final = 1 << 31

_LONGEST: Final = 4096  # of the files that are read here, in bytes

T_co = TypeVar("T_co", covariant=True)

#: What processes wait for.
Resource = Literal["memory", "cpu", "io"]
RESOURCES: Final = ("memory", "cpu", "io")


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


class Source(abc.ABC, Generic[T_co]):
    """A file of a cgroup, and a descriptor that tells when it says something new."""

    #: What the descriptor is waited for.
    mask = _CHANGED

    def __init__(self, path: str, flags: int = os.O_RDONLY) -> None:
        self._closing = contextlib.ExitStack()
        # Held, because the path may be that of a namesake one day.
        self._file = self.fd = self._keep(os.open(path, flags | os.O_CLOEXEC))

    def _keep(self, fd: int) -> int:
        self._closing.callback(os.close, fd)
        return fd

    def _text(self) -> str:
        """Return what the file says; nothing when the cgroup is gone."""
        try:
            return os.pread(self._file, _LONGEST, 0).decode("ascii", "replace")
        except OSError as error:
            if error.errno in GONE:
                return ""
            raise CgroupError("read", error.errno or errno.EIO) from error

    def gone(self) -> bool:
        """Tell whether the cgroup was removed."""
        try:
            os.pread(self._file, 1, 0)
        except OSError as error:
            return error.errno in GONE
        return False

    def tell(self, events: int) -> None:
        """Hear from epoll that the descriptor tells of something."""

    @abc.abstractmethod
    def news(self) -> T_co | None:
        """Return what has happened since the last time."""

    def close(self) -> None:
        """Close what was opened."""
        self._closing.close()

    @contextlib.contextmanager
    def _complete(self) -> Iterator[None]:
        """Close everything when the rest of the opening fails."""
        try:
            yield
        except BaseException:
            self.close()
            raise


class _Told(Source[T_co]):
    """A file of v1 that tells an eventfd."""

    mask = IN

    def __init__(self, cgroup: str, file: str, argument: str = "") -> None:
        super().__init__(f"{cgroup}/{file}")
        with self._complete():
            self.fd = self._keep(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
            control = os.open(f"{cgroup}/cgroup.event_control", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(control, f"{self.fd} {self._file} {argument}".encode())
            finally:
                os.close(control)

    def _times(self) -> int:
        """Return how often it was told since the last time; the removal of the cgroup is told, too, and not counted."""
        with contextlib.suppress(BlockingIOError):
            times = os.eventfd_read(self.fd)
            return 0 if self.gone() else times
        return 0


class _OutOfMemoryV1(_Told[OutOfMemory]):
    def __init__(self, cgroup: str) -> None:
        super().__init__(cgroup, "memory.oom_control")
        self._seen = flat(self._text())

    def news(self) -> OutOfMemory | None:
        times = self._times()
        if not times:
            return None
        before, self._seen = self._seen, flat(self._text())
        kills = self._seen["oom_kill"] - before.get("oom_kill", 0) if "oom_kill" in self._seen else None
        return OutOfMemory(times, kills)


class _OutOfMemoryV2(Source[OutOfMemory]):
    def __init__(self, path: str) -> None:
        super().__init__(path)
        with self._complete():
            self._seen = flat(self._text())  # what it says before this is no news

    def news(self) -> OutOfMemory | None:
        # Reading is what makes the next change one.
        now = flat(self._text())
        kills = now["oom_kill"] - self._seen.get("oom_kill", 0) if "oom_kill" in now else None
        times = max(now.get("oom", 0) - self._seen.get("oom", 0), kills or 0)
        if times <= 0:
            return None
        self._seen = now
        return OutOfMemory(times, kills)


class _Level(_Told[MemoryLevel]):
    def __init__(self, cgroup: str, level: str) -> None:
        super().__init__(cgroup, "memory.pressure_level", level)
        self._level = level

    def news(self) -> MemoryLevel | None:
        return MemoryLevel(self._level) if self._times() else None


class _Pressure(Source[Stall]):
    """A trigger of PSI.

    Whoever polls it first takes what it tells, and that is the kernel itself, when our epoll is waited for in another
    one: there it only sees that somebody is there to be asked. So what counts is that we were woken at all, which
    an edge keeps until it is fetched. But others with triggers on the same file may be what woke us: then the time
    that processes have waited since the last event decides.
    """

    mask = IN | _CHANGED | _EDGE

    def __init__(self, path: str, resource: Resource, stall: float, window: float) -> None:
        super().__init__(path, os.O_RDWR)
        self._resource = resource
        self._stall = round(stall * 1e6)
        self._told = 0
        with self._complete():
            self._waited = self._total()
            os.write(self.fd, f"some {self._stall} {round(window * 1e6)}\0".encode())

    def _total(self) -> int:
        """Return how long some processes have waited so far, in microseconds; -1 when the cgroup is gone."""
        for line in self._text().splitlines():
            if line.startswith("some "):
                return int(line.rpartition("total=")[2])
        return -1

    def tell(self, events: int) -> None:
        self._told |= events

    def news(self) -> Stall | None:
        told, self._told = self._told, 0
        total = self._total() if told else -1
        if total < 0 or not (told & _CHANGED or total - self._waited >= self._stall):
            return None
        self._waited = total
        return Stall(self._resource)


@contextlib.contextmanager
def _opening(path: str, remedy: str | None = None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CgroupError("watch", error.errno or errno.EIO, path, remedy) from error


def _in_v2(paths: Mapping[str, str], file: str) -> str:
    """Return the path of a file in the v2 cgroup."""
    if UNIFIED not in paths:
        raise CgroupError("watch", errno.ENOENT, file, "it takes cgroup v2, or the memory controller of v1")
    return f"{paths[UNIFIED]}/{file}"


def out_of_memory(paths: Mapping[str, str]) -> Source[OutOfMemory]:
    """Open what tells of memory that is used up.

    Args:
        paths: Cgroups, by controller.

    Raises:
        CgroupError: None of them counts memory, or the kernel refuses.
    """
    if "memory" in paths:
        with _opening(f"{paths['memory']}/memory.oom_control"):
            return _OutOfMemoryV1(paths["memory"])
    path = _in_v2(paths, "memory.events")
    with _opening(path, "is the memory controller enabled for this cgroup?"):
        return _OutOfMemoryV2(path)


def pressure(paths: Mapping[str, str], resource: Resource, stall: float, window: float) -> Source[Stall]:
    """Open what tells of processes that wait too long.

    Args:
        paths: Cgroups, by controller.
        resource: What they wait for.
        stall: How long they may wait within the window, in seconds.
        window: The window, in seconds.

    Raises:
        CgroupError: The kernel does not measure it, or takes no such times.
    """
    path = _in_v2(paths, f"{resource}.pressure")
    remedy = "it takes v2, PSI, and a window of 0.5 to 10 seconds; multiples of 2 without CAP_SYS_RESOURCE"
    with _opening(path, remedy):
        return _Pressure(path, resource, stall, window)


def memory_level(paths: Mapping[str, str], level: str) -> Source[MemoryLevel]:
    """Open what tells that the kernel has to work for free memory (v1).

    Args:
        paths: Cgroups, by controller.
        level: ``low``, ``medium`` or ``critical``.

    Raises:
        CgroupError: There is no v1 memory controller.
    """
    if "memory" not in paths:
        raise CgroupError("watch memory", errno.ENOENT, None, "only v1 has levels; watch for stalls on v2")
    with _opening(f"{paths['memory']}/memory.pressure_level"):
        return _Level(paths["memory"], level)
