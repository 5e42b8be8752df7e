"""Descriptors that become readable, awaited: the end of a process, and whatever tells of one thing after the other.

Every wait has a descriptor of its own, a copy: a loop has one reader for each descriptor, and any number of tasks may
wait for one container.
"""

from __future__ import annotations

import asyncio
import fcntl
import select
import time
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

from ocikit._fs import Descriptor
from ocikit.runtime.aio.work import in_thread
from ocikit.runtime.child import ContainerProcess

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Literal

    from ocikit.runtime.container import Container
    from ocikit.runtime.events import Event
    from ocikit.runtime.status import ExitStatus

__all__ = ["AsyncStream", "copied", "ended", "events", "wait"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


async def wait(of: Container | ContainerProcess, timeout: float | None = None) -> ExitStatus:
    """Wait until a container, or a further process in one, has ended.

    Args:
        of: The container or the process.
        timeout: How long, in seconds; None waits as long as it takes.

    Returns:
        How it ended. Any number of tasks, threads and processes may wait for one container.

    Raises:
        TimeoutError: It has not ended in that time; it goes on.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    if await ended(of, timeout):
        try:
            return await in_thread(lambda: of.wait(0))
        except TimeoutError:
            # Its attendant was killed, and the process itself goes on.
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if isinstance(of, ContainerProcess) and await ended(of._process, left):  # noqa: SLF001 - as it does itself
                return await in_thread(of.wait)
    who = f"process {of.pid}" if isinstance(of, ContainerProcess) else f"container {of.id}"
    raise TimeoutError(f"{who} has not ended after {timeout} seconds")


class Held(Protocol):
    """Something that ends."""

    def held(self) -> contextlib.AbstractContextManager[int | None]:
        """Give a descriptor that is readable when it has ended; None when that was before."""
        ...


async def ended(of: Held, timeout: float | None = None) -> bool:
    """Wait until something has ended; return whether it has, at most ``timeout`` seconds later."""
    with of.held() as fd:
        return fd is None or _is_readable(fd) or await _readable(fd, timeout)


def _has_ended(of: Held) -> bool:
    with of.held() as fd:
        return fd is None or _is_readable(fd)


def _is_readable(fd: int) -> bool:
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    return bool(waiting.poll(0))


async def _readable(fd: int, timeout: float | None = None) -> bool:
    loop = asyncio.get_running_loop()
    told: asyncio.Future[None] = loop.create_future()
    with copied(fd) as own:
        loop.add_reader(own.fd, _tell, told)
        try:
            async with asyncio.timeout(timeout):
                await told
        except TimeoutError:
            return _is_readable(fd)
        finally:
            if not loop.is_closed():
                loop.remove_reader(own.fd)
    return True


def copied(fd: int) -> Descriptor:
    """Return another descriptor of what ``fd`` refers to."""
    return Descriptor(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0))


def _tell(told: asyncio.Future[None]) -> None:
    if not told.done():
        told.set_result(None)


class Source(Protocol[T_co]):
    """What tells of one thing after the other, without a loop."""

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to come."""
        ...

    def fileno(self) -> int:
        """Return a descriptor that is readable when it is time to ask."""
        ...

    def wait(self, timeout: float | None = None) -> T_co | None:
        """Return what there is, at most ``timeout`` seconds later; None when there is nothing."""
        ...

    def close(self) -> None:
        """Stop; closing twice is nothing."""
        ...


class AsyncStream(Generic[T]):
    """One thing after the other, for ``async for``; a context manager, too.

    What is not fetched waits: nothing is lost between two iterations, nor when one of them is cancelled. Closed by
    whoever iterates, or when it is forgotten.
    """

    def __init__(
        self,
        source: Source[T],
        before: Callable[[], Awaitable[object]] | None = None,
        *,
        glance: float | None = None,
    ) -> None:
        """Take over what tells of the things.

        Args:
            source: Tells of them; closed with the stream.
            before: Done each time before the source is asked, because the source would take long for it.
            glance: How often to ask a source whose descriptor does not tell of everything, in seconds.
        """
        self._glance = glance
        self._source = source
        self._before = before

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to come."""
        return self._source.ended

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._source.ended:
            if self._before is not None:
                await self._before()
            # The source may have more than its descriptor tells of.
            item = self._source.wait(0)
            if item is not None:
                return item
            if not self._source.ended:
                await _readable(self._source.fileno(), self._glance)
        self.close()
        raise StopAsyncIteration

    def close(self) -> None:
        """Stop. Closing twice is nothing."""
        self._source.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


def events(
    container: Container,
    *,
    pressure: Sequence[Literal["memory", "cpu", "io"]] = (),
    stall: float = 0.2,
    window: float = 2.0,
) -> AsyncStream[Event]:
    """Watch everything that happens to a container from now on, until it has ended.

    Args:
        container: The container.
        pressure: As for :meth:`Container.events`.
        stall: As there.
        window: As there.

    Returns:
        What :meth:`Container.events` gives, for ``async for``.

    Raises:
        CgroupError: The kernel does not measure that pressure, takes no such times, or lets nobody watch.
        ValueError: There is no such pressure.
    """

    async def collect() -> None:
        if _has_ended(container):
            await in_thread(lambda: container.wait(0))

    return AsyncStream(container.events(pressure=pressure, stall=stall, window=window), collect)
