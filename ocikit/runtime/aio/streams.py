"""The pipes of a container or of a further process, or its terminal, as streams of asyncio."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING, Any, Final, Self

from ocikit.runtime.aio.work import deserted, regardless

if TYPE_CHECKING:
    from typing import IO

    from ocikit.runtime.console import Console
    from ocikit.runtime.container import Container
    from ocikit.runtime.pipes import Connected

__all__ = ["Streams", "connect", "streams"]

#: How long a line may be that is read as a line, in bytes.
_LIMIT: Final = 1 << 20


class Streams:
    """The other ends of what has pipes to us, or our side of its terminal. A context manager, which closes them."""

    def __init__(self, console: Console | None = None) -> None:
        #: What it reads; None unless that is a pipe, or a terminal.
        self.stdin: asyncio.StreamWriter | None = None
        #: What it writes, or what its terminal shows; None unless that is a pipe, or a terminal.
        self.stdout: asyncio.StreamReader | None = None
        #: What it writes to its standard error; None unless that is a pipe.
        self.stderr: asyncio.StreamReader | None = None
        #: Its terminal, for the size; None when it has none, or somebody else got it.
        self.console = console
        self._ends: list[_End] = []
        #: Where they are waited for.
        self.loop = asyncio.get_running_loop()

    async def close(self) -> None:
        """Close the streams; what was written and did not fit into the pipe is dropped. Closing twice is nothing."""
        self.abort()
        for end in self._ends:
            await regardless(end.lost)

    def abort(self) -> None:
        """Close the streams, without waiting for the loop to do so."""
        for end in self._ends:
            end.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if deserted(self.loop, kind):
            self.abort()
        else:
            await self.close()

    async def read(self, file: IO[bytes]) -> asyncio.StreamReader:
        """Take over a file to read from."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(_LIMIT, loop)
        end = _End(reader, file, loop, reads=True)
        self._ends.append(end)
        await loop.connect_read_pipe(lambda: end, file)
        return reader

    async def write(self, file: IO[bytes]) -> asyncio.StreamWriter:
        """Take over a file to write to."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(_LIMIT, loop)  # a writer waits by means of it; there is nothing to read
        end = _End(reader, file, loop, reads=False)
        self._ends.append(end)
        transport, _ = await loop.connect_write_pipe(lambda: end, file)
        return asyncio.StreamWriter(transport, end, reader, loop)


class _End(asyncio.StreamReaderProtocol):
    """What a loop tells about one end of a pipe, or of a terminal."""

    def __init__(
        self, reader: asyncio.StreamReader, file: IO[bytes], loop: asyncio.AbstractEventLoop, *, reads: bool
    ) -> None:
        super().__init__(reader, loop=loop)
        #: Done when the file is closed.
        self.lost: asyncio.Future[None] = loop.create_future()
        self._of = loop
        self._file = file
        self._reads = reads
        self._connected: Any = None  # a transport that goes one way

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connected = transport
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, OSError) and exc.errno == errno.EIO:
            exc = None  # nobody has the terminal open any more: that is how it ends
        super().connection_lost(exc)
        if not self.lost.done():
            self.lost.set_result(None)

    def abort(self) -> None:
        """Close the file; closing twice is nothing."""
        transport = self._connected
        if transport is None or self._of.is_closed():
            self._file.close()
        elif self._reads:
            transport.close()
        elif not transport.is_closing() or transport.get_write_buffer_size():
            transport.abort()  # else it would be closed when somebody has read what is left


async def connect(of: Connected) -> Streams:
    """Take the pipes of something away from it, or a copy of its terminal, as streams of the running loop."""
    found = Streams(of.console)
    if of.console is not None:
        files: list[IO[bytes] | None] = [_copy(of.console, "wb"), _copy(of.console, "rb"), None]
    else:
        files = [of.stdin, of.stdout, of.stderr]
        # Whoever closed them from now on would close what the loop waits for.
        of.stdin = of.stdout = of.stderr = None
    stdin, stdout, stderr = files
    try:
        found.stdin = await found.write(stdin) if stdin is not None else None
        found.stdout = await found.read(stdout) if stdout is not None else None
        found.stderr = await found.read(stderr) if stderr is not None else None
    except BaseException as error:
        found.abort()
        for file in files:
            if file is not None:
                file.close()
        if deserted(found.loop, type(error)):
            raise GeneratorExit from None  # whatever asyncio says when its loop is closed
        raise
    return found


def _copy(console: Console, mode: str) -> IO[bytes]:
    return open(os.dup(console.fileno()), mode, buffering=0)


async def streams(container: Container) -> Streams:
    """Take the pipes of a container that was created with some, or its terminal, as streams.

    They are the container's no more: its attributes for them are None from then on. A terminal can be resized by its
    :class:`~ocikit.runtime.Console` as before, and is to be read and written here. Nothing may have been read before.

    Args:
        container: The container, created or running.

    Raises:
        ValueError: There is neither a pipe nor a terminal, or they were taken before.
    """
    if container.console is None and not (container.stdin or container.stdout or container.stderr):
        raise ValueError(f'container {container.id} has no pipe and no terminal here; create it with stdout="pipe"')
    return await connect(container)
