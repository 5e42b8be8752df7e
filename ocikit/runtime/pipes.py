"""The pipes of something that runs, fed and read until it ends; or its terminal, which is both."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import time
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

from ocikit.errors import LimitExceededError
from ocikit.runtime.stdio import broken_pipes_raise

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocikit.runtime.console import Console

__all__ = ["DRAIN_SECONDS", "OUTPUT_LIMIT", "Connected", "Pipes", "too_much", "typed"]

#: What may be written to each pipe when the caller says nothing: 64 MiB, in bytes.
OUTPUT_LIMIT: Final = 64 * 1024 * 1024

_PIECE: Final = 1 << 16

# A pipe may have been handed to somebody else, who keeps it open: its end is not waited for longer.
DRAIN_SECONDS: Final = 2.0

_END_OF_INPUT: Final = b"\x04"  # Ctrl-D


def typed(data: bytes) -> bytes:
    """Return what is typed at a terminal for a program that is to read ``data`` and then the end of its input."""
    # The end is a key of its own, which at the end of an unfinished line means the end of the line.
    return data + (_END_OF_INPUT if data.endswith(b"\n") or not data else _END_OF_INPUT * 2)


def too_much(stream: str, name: str, limit: int) -> LimitExceededError:
    """Return the error of something that wrote more than it may to one of its streams."""
    remedy = "it was killed; raise output_limit, or give it a file"
    return LimitExceededError(f"{stream} of {name} in bytes", limit, remedy=remedy)


class Connected(Protocol):
    """What has pipes to us, or a terminal: a container, or a further process in one."""

    stdin: BinaryIO | None
    stdout: BinaryIO | None
    stderr: BinaryIO | None
    console: Console | None


class Pipes:
    """The pipes of a container, or of a further process."""

    def __init__(self, of: Connected, name: str, data: bytes | memoryview | None, limit: int) -> None:
        """Take over reading and writing.

        Args:
            of: Whose pipes they are.
            name: What to call it in errors.
            data: What it gets to read; None when nothing is said about its input.
            limit: How much it may write to each pipe, in bytes.
        """
        self._name = name
        self._limit = limit
        self._input = memoryview(b"" if data is None else data)
        self._stdin = of.stdin
        self._waiting = select.poll()
        self._outputs: dict[int, tuple[str, bytearray]] = {}
        for stream, file in (("stdout", of.console or of.stdout), ("stderr", of.stderr)):
            if file is not None:
                self._add(file.fileno(), select.POLLIN)
                self._outputs[file.fileno()] = stream, bytearray()
        #: Descriptors of those outputs that have not come to their end.
        self.open = set(self._outputs)
        self._feeding = -1
        if of.console is not None and data is not None:
            self._type(of.console.fileno(), bytes(data))
        elif of.stdin is not None:
            self._feeding = of.stdin.fileno()
            self._add(self._feeding, select.POLLOUT)

    def _add(self, fd: int, events: int) -> None:
        os.set_blocking(fd, False)
        self._waiting.register(fd, events)

    def _type(self, console: int, data: bytes) -> None:
        self._input = memoryview(typed(data))
        self._feeding = console
        self._waiting.modify(console, select.POLLIN | select.POLLOUT)

    def serve(self, process: int, timeout: float | None) -> bool:
        """Feed and read until a process has ended.

        Args:
            process: A descriptor that is readable then.
            timeout: How long, in seconds; None for as long as it takes.

        Returns:
            Whether it has ended.

        Raises:
            LimitExceededError: Too much was written.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        self._waiting.register(process, select.POLLIN)
        try:
            while True:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                ready = self._waiting.poll(None if left is None else min(left * 1000 + 1, 1e9))
                self._serve(ready, process)
                if any(fd == process for fd, _ in ready):
                    return True
        finally:
            self._waiting.unregister(process)

    def _serve(self, ready: Iterable[tuple[int, int]], process: int = -1) -> None:
        for fd, events in ready:
            if fd in self.open and events & ~select.POLLOUT:
                self._read(fd)
            if fd == self._feeding and fd != process and events & ~select.POLLIN:
                self._feed(fd)

    def _read(self, fd: int) -> None:
        stream, data = self._outputs[fd]
        try:
            piece = os.read(fd, _PIECE)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            piece = b""  # nobody has the terminal open any more
        data += piece
        if len(data) > self._limit:
            raise too_much(stream, self._name, self._limit)
        if not piece:
            self._waiting.unregister(fd)
            self.open.discard(fd)
            self._feeding = -1 if fd == self._feeding else self._feeding

    def _feed(self, fd: int) -> None:
        try:
            with broken_pipes_raise():
                self._input = self._input[os.write(fd, self._input[:_PIECE]) :]
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno not in {errno.EPIPE, errno.EIO}:
                raise
            self._input = self._input[:0]  # it does not want to read any more
        if not self._input:
            self._stop_feeding(fd)

    def _stop_feeding(self, fd: int) -> None:
        self._feeding = -1
        if fd in self.open:
            self._waiting.modify(fd, select.POLLIN)
        elif self._stdin is not None:
            self._waiting.unregister(fd)
            self._stdin.close()

    def finish(self) -> tuple[bytes, bytes]:
        """Return what was written, to the end of the pipes, when what writes to them has ended."""
        if self._feeding >= 0 and self._feeding not in self.open:
            self._waiting.unregister(self._feeding)
        self._feeding = -1
        deadline = time.monotonic() + DRAIN_SECONDS
        while self.open and (left := deadline - time.monotonic()) > 0:
            self._serve(self._waiting.poll(left * 1000 + 1))
        return self.outputs()

    def rest(self) -> tuple[bytes, bytes]:
        """Return what was written by something that was killed, as far as there is room for it."""
        with contextlib.suppress(LimitExceededError):
            return self.finish()
        return self.outputs()

    def outputs(self) -> tuple[bytes, bytes]:
        """Return what was written so far to standard output, or the terminal, and to standard error."""
        found = {name: bytes(data) for name, data in self._outputs.values()}
        return found.get("stdout", b""), found.get("stderr", b"")
