"""The log of a container, and a connection with it, for event loops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.runtime.aio.readiness import AsyncStream
from ocikit.runtime.aio.work import in_thread
from ocikit.runtime.attachment import Chunk

if TYPE_CHECKING:
    import datetime as dt
    from typing import Literal

    from ocikit.runtime.attachment import Attachment
    from ocikit.runtime.container import Container
    from ocikit.runtime.logs import LogLine

__all__ = ["Attached", "attach", "logs"]

#: How long the end of a container may go unnoticed whose monitor was killed, in seconds: nothing tells of it.
_GLANCE: Final = 1.0


class Attached(AsyncStream[Chunk]):
    """A connection with a container, made by :func:`attach`: what it writes, for ``async for``.

    A context manager. The container goes on when it is closed.
    """

    def __init__(self, attachment: Attachment) -> None:
        """Take over a connection.

        Args:
            attachment: The connection; closed with this one.
        """
        super().__init__(attachment)
        #: The connection itself; what it reads is to be read here.
        self.attachment = attachment

    async def write(self, data: bytes) -> None:
        """Write to the standard input of the container, or type at its terminal; waits while it does not read.

        Args:
            data: The bytes.

        Raises:
            ValueError: The container has no input that could be written to.
            DetachedError: The container has ended, or its monitor is gone.
        """
        await in_thread(lambda: self.attachment.write(data))

    async def close_stdin(self) -> None:
        """Let the container read the end of its standard input, after what was written."""
        await in_thread(self.attachment.close_stdin)

    async def resize(self, rows: int, columns: int) -> None:
        """Set the size of the terminal; see :meth:`ocikit.runtime.Attachment.resize`."""
        await in_thread(lambda: self.attachment.resize(rows, columns))


async def attach(container: Container) -> Attached:
    """See what a container writes from now on, and write to it; see :meth:`Container.attach`.

    Args:
        container: The container.

    Raises:
        NotSupportedError: Its streams are not the monitor's.
        NotRunningError: It has ended, or its monitor is gone.
        NotExistError: It was destroyed.
    """
    return Attached(await in_thread(container.attach))


def logs(
    container: Container,
    *,
    follow: bool = False,
    tail: int | None = None,
    since: dt.datetime | None = None,
    stream: Literal["stdout", "stderr"] | None = None,
) -> AsyncStream[LogLine]:
    """Read what a container wrote; see :meth:`Container.logs`.

    Args:
        container: The container.
        follow: Wait for more, to the end of the container.
        tail: Begin with so many of the last lines.
        since: Leave out what was written before this time.
        stream: Leave out what was written to the other one.

    Raises:
        NotSupportedError: The container has no log.
        NotExistError: It was destroyed.
        SystemCallError: The log cannot be read.
    """
    return AsyncStream(container.logs(follow=follow, tail=tail, since=since, stream=stream), glance=_GLANCE)
