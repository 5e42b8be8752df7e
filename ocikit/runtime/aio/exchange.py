"""Streams that are fed and read until something ends, with the same outcome as :mod:`ocikit.runtime.pipes`."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final, Self

from ocikit.errors import LimitExceededError
from ocikit.runtime.aio.readiness import ended
from ocikit.runtime.aio.work import deserted
from ocikit.runtime.pipes import DRAIN_SECONDS, too_much, typed

if TYPE_CHECKING:
    from ocikit.runtime.aio.readiness import Held
    from ocikit.runtime.aio.streams import Streams

__all__ = ["Exchange"]

_PIECE: Final = 1 << 16


class Exchange:
    """Feeds and reads for the length of an ``async with`` block."""

    def __init__(self, streams: Streams, name: str, data: bytes | memoryview | None, limit: int) -> None:
        """Say what is exchanged.

        Args:
            streams: The streams, which remain open.
            name: Whose they are, for errors.
            data: What is to be read from them; None when nothing is said about it.
            limit: How much may be written to each, in bytes.
        """
        self._streams = streams
        self._name = name
        self._limit = limit
        self._input = data
        self._outputs = {"stdout": bytearray(), "stderr": bytearray()}
        self._reading: set[asyncio.Task[None]] = set()
        self._others: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Self:
        streams = self._streams
        for name, reader in (("stdout", streams.stdout), ("stderr", streams.stderr)):
            if reader is not None:
                self._reading.add(asyncio.create_task(self._read(name, reader)))
        if streams.stdin is not None and (streams.console is None or self._input is not None):
            self._others.add(asyncio.create_task(self._feed(streams.stdin, bytes(self._input or b""))))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        tasks = self._reading | self._others
        if not self._loop.is_closed():
            for task in tasks:
                task.cancel()
        if not deserted(self._loop, kind):
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def open(self) -> bool:
        """Whether a stream that is read has not come to its end."""
        return any(not task.done() for task in self._reading)

    async def serve(self, of: Held, timeout: float | None) -> bool:
        """Feed and read until something has ended; return whether it has, at most ``timeout`` seconds later.

        Raises:
            LimitExceededError: Too much was written.
        """
        ending = asyncio.create_task(ended(of, timeout))
        self._others.add(ending)
        while not ending.done():
            waiting = {task for task in self._reading if not task.done()}
            done, _ = await asyncio.wait({ending, *waiting}, return_when=asyncio.FIRST_COMPLETED)
            for task in done & waiting:
                task.result()
        return ending.result()

    async def finish(self) -> tuple[bytes, bytes]:
        """Return what was written, to the end of the streams, when what writes to them has ended.

        Raises:
            LimitExceededError: It is too much.
        """
        if self._reading:
            # A pipe may have been handed to somebody else, who keeps it open: its end is not waited for longer.
            done, _ = await asyncio.wait(self._reading, timeout=DRAIN_SECONDS)
            for task in done:
                task.result()
        return self.outputs()

    async def rest(self) -> tuple[bytes, bytes]:
        """Return what was written by something that was killed, as far as there is room for it."""
        with contextlib.suppress(LimitExceededError):
            return await self.finish()
        return self.outputs()

    def outputs(self) -> tuple[bytes, bytes]:
        """Return what was written so far to standard output, or the terminal, and to standard error."""
        return bytes(self._outputs["stdout"]), bytes(self._outputs["stderr"])

    async def _read(self, name: str, reader: asyncio.StreamReader) -> None:
        data = self._outputs[name]
        while piece := await reader.read(_PIECE):
            data += piece
            if len(data) > self._limit:
                raise too_much(name, self._name, self._limit)

    async def _feed(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        terminal = self._streams.console is not None
        left = memoryview(typed(data) if terminal else data)
        try:
            while left:
                writer.write(left[:_PIECE])
                await writer.drain()
                left = left[_PIECE:]
            if not terminal:
                writer.close()
                await writer.wait_closed()
        except OSError:
            pass  # it does not want to read any more
