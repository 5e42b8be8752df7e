"""What happens to a container while it runs: memory was used up, processes have to wait, it has ended.

No threads: a watch is one descriptor that becomes readable, and waits when it is asked to. It comes to its end by
itself, when the container's first process ends, or its cgroup is gone.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
import weakref
from typing import TYPE_CHECKING, Generic, Literal, Self, TypeVar

from ocikit._tuples import NamedTuple
from ocikit.errors import CgroupError
from ocikit.runtime.cgroups.files import GONE
from ocikit.runtime.event_sources import (
    IN,
    RESOURCES,
    MemoryLevel,
    OutOfMemory,
    Stall,
    memory_level,
    out_of_memory,
)
from ocikit.runtime.event_sources import pressure as open_pressure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ocikit.runtime.event_sources import Resource, Source
    from ocikit.runtime.status import ExitStatus

__all__ = [
    "Event",
    "EventStream",
    "Exited",
    "MemoryLevel",
    "MemoryLevelWatch",
    "OutOfMemory",
    "OutOfMemoryWatch",
    "Stall",
    "StallWatch",
    "Watch",
]

T = TypeVar("T")


class Exited(NamedTuple):
    """The first process of the container has ended; nothing comes after this."""

    #: How it ended.
    status: ExitStatus


#: What an :class:`EventStream` gives.
Event = OutOfMemory | Stall | Exited


class Watch(Generic[T]):
    """Waits for something to happen to a container; a context manager, and an iterator that ends with the container."""

    def __init__(
        self, sources: Sequence[Source[T]], process: int | None, closing: contextlib.ExitStack | None = None
    ) -> None:
        """Take over what tells of events; use the classes below.

        Args:
            sources: What tells of them; closed with the watch.
            process: A descriptor of the container's first process, which is not closed; with None the watch has ended.
            closing: What else is closed with it.
        """
        self._ended = process is None
        self._process = process
        self._sources = {source.fd: source for source in sources}
        with contextlib.ExitStack() as stack:
            if closing is not None:
                stack.enter_context(closing.pop_all())
            for source in sources:
                stack.callback(source.close)
            self._epoll = stack.enter_context(select.epoll())
            if process is not None:
                self._epoll.register(process, IN)
            for source in sources:
                self._epoll.register(source.fd, source.mask)
            self._closing = weakref.finalize(self, stack.pop_all().close)
            self._closing.atexit = False
        for fd, events in self._epoll.poll(0):  # an edge, at first, is there for no reason
            if fd in self._sources:
                self._sources[fd].tell(events)

    def fileno(self) -> int:
        """Return a descriptor that is readable when it is time to ask :meth:`wait` with a timeout of zero.

        There may be nothing all the same: v2 tells of everything that happens to memory. While there is more than
        was fetched, it stays readable.
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
            # One at a time: what else there is keeps the descriptor readable.
            ready = self._epoll.poll(left, 1)
            if not ready and left is not None and left <= 0:
                return None
            for fd, events in ready:
                found = self._last() if fd == self._process else self._heard(fd, events)
                if found is not None:
                    return found
        return None

    def _heard(self, fd: int, events: int) -> T | None:
        source = self._sources[fd]
        source.tell(events)
        found = source.news()
        if found is None and source.gone():
            self._epoll.unregister(fd)
            del self._sources[fd]
            self._without(len(self._sources))
        return found

    def _without(self, left: int) -> None:
        """Go on when a cgroup was removed, or end."""
        self._ended = not left

    def _last(self) -> T | None:
        """Return what happened right before the end, one after the other, and then the end."""
        for fd, events in self._epoll.poll(0):
            if fd in self._sources:
                self._sources[fd].tell(events)
        for source in self._sources.values():
            found = source.news()
            if found is not None:
                return found
        self._ended = True
        return self._end()

    def _end(self) -> T | None:
        """Return the event that the end is."""
        return None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        event = self.wait()
        if event is None:
            raise StopIteration
        return event

    def close(self) -> None:
        """Stop watching. Closing twice is nothing."""
        self._ended = True
        self._closing()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
        super().__init__([out_of_memory(paths)], process)


class StallWatch(Watch[Stall]):
    """Waits for processes of a container to wait too long for something (PSI, in the v2 hierarchy)."""

    def __init__(
        self,
        paths: Mapping[str, str],
        process: int | None,
        *,
        resource: Resource = "memory",
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
        super().__init__([open_pressure(paths, resource, stall, window)], process)


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
        super().__init__([memory_level(paths, level)], process)


class EventStream(Watch[Event]):
    """Everything that happens to a container, in one place; made by :meth:`Container.events`.

    :class:`Exited` comes always and last. When the cgroups are removed before that, nothing more is heard of them.
    """

    def __init__(
        self,
        held: contextlib.AbstractContextManager[int | None],
        paths: Mapping[str, str],
        status: Callable[[], ExitStatus],
        *,
        pressure: Sequence[Resource] = (),
        stall: float = 0.2,
        window: float = 2.0,
    ) -> None:
        """Watch a container.

        Args:
            held: Gives a descriptor of its first process, for as long as the stream is open; None when that has ended.
            paths: Its cgroups, by controller.
            status: Finds out how the process ended, after it did.
            pressure: For what processes are not to wait too long.
            stall: How long they may wait within the window, in seconds.
            window: The window, in seconds: half a second to ten; two, four and so on without CAP_SYS_RESOURCE.

        Raises:
            CgroupError: The kernel does not measure that pressure, takes no such times, or lets nobody watch.
            ValueError: There is no such pressure.
        """
        if isinstance(pressure, str) or not set(pressure) <= set(RESOURCES):
            raise ValueError(f"pressure: expected some of {', '.join(RESOURCES)}, found {pressure!r}")
        self._status = status
        with contextlib.ExitStack() as stack:
            process = stack.enter_context(held)
            sources: list[Source[Event]] = []
            if process is None:
                process = os.eventfd(1, os.EFD_CLOEXEC)  # as readable as the descriptor of what has ended
                stack.callback(os.close, process)
            else:
                for source in _asked_for(paths, pressure, stall, window):
                    stack.callback(source.close)
                    sources.append(source)
            super().__init__(sources, process, stack)

    def _without(self, left: int) -> None:
        pass  # the process may be somewhere else by now, and its end is what is waited for

    def _end(self) -> Exited:
        return Exited(self._status())


def _asked_for(
    paths: Mapping[str, str], pressure: Sequence[Resource], stall: float, window: float
) -> Iterator[Source[Event]]:
    for resource in dict.fromkeys(pressure):
        yield open_pressure(paths, resource, stall, window)
    try:
        yield out_of_memory(paths)
    except CgroupError as error:
        if error.errno not in GONE:
            raise  # else nothing counts memory, and there is no such event
