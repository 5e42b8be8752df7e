"""Sockets that are waited for no longer than is worth while, and that another thread can end.

The timeout of a socket bounds each wait, so that whoever sends a byte now and then is waited for for ever. Here a
thread says until when it waits for all of something, and for whom: what is read in that thread ends then, or as soon as
that is not wanted any more.
"""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BoundedSocket", "Call", "waiting", "waiting_on"]


class _Waiting(threading.local):
    """What this thread waits for."""

    call: Call | None = None
    until: float | None = None


_now = _Waiting()


class Call:
    """Everything that is asked for somebody: ended by :meth:`cancel`, from whatever thread."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()
        # Adding and discarding take no lock, which a forked child could find held for ever.
        self._sockets: set[BoundedSocket] = set()

    @property
    def is_cancelled(self) -> bool:
        """Whether nothing is wanted any more."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """End what is waited for at the moment; what is asked from now on is not begun."""
        self._cancelled.set()
        for one in self._sockets.copy():
            one.hang_up()

    def sleep(self, seconds: float) -> None:
        """Wait, unless nothing is wanted any more.

        Args:
            seconds: How long.
        """
        self._cancelled.wait(seconds)

    @contextlib.contextmanager
    def at(self, one: BoundedSocket) -> Iterator[None]:
        """Wait for a socket.

        Args:
            one: The socket.

        Raises:
            OSError: Nothing is wanted any more.
        """
        self._sockets.add(one)
        try:
            # In this order: whoever cancels meanwhile either finds the socket or is seen here.
            if self.is_cancelled:
                raise ConnectionAbortedError("it is not wanted any more")
            yield
        finally:
            self._sockets.discard(one)


@contextlib.contextmanager
def waiting(call: Call, seconds: float | None = None) -> Iterator[None]:
    """Bound what this thread reads and writes within a ``with`` block.

    Args:
        call: For whom it is.
        seconds: How long all of it may take; None for as long as something comes.
    """
    before, _now.call = _now.call, call
    try:
        with waiting_on(seconds):
            yield
    finally:
        _now.call = before


@contextlib.contextmanager
def waiting_on(seconds: float | None) -> Iterator[None]:
    """Bound what this thread goes on reading for whom it reads already, unless that is bounded by less.

    Args:
        seconds: How long all of it may take; None for as long as something comes.
    """
    before = _now.until
    if seconds is not None:
        until = time.monotonic() + seconds
        _now.until = until if before is None else min(before, until)
    try:
        yield
    finally:
        _now.until = before


class BoundedSocket:
    """A socket, with what is read and written bounded by :func:`waiting`.

    Args:
        plain: The socket.
    """

    def __init__(self, plain: socket.socket) -> None:
        self._plain = plain

    def __getattr__(self, name: str) -> object:
        return getattr(self._plain, name)

    def makefile(self, mode: str = "rb", buffering: int | None = None) -> io.BufferedReader:
        """Return a file to read from: what http.client asks for."""
        del mode, buffering
        return io.BufferedReader(_Reader(self, self._plain.makefile("rb", buffering=0)), 64 * 1024)

    def sendall(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of something: what http.client asks for."""
        with self.bounded():
            self._plain.sendall(data)

    def hang_up(self) -> None:
        """End what somebody waits for here."""
        with contextlib.suppress(OSError):
            self._plain.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def bounded(self) -> Iterator[None]:
        """Wait here for no longer than this thread waits."""
        call, until = _now.call, _now.until
        usual = self._plain.gettimeout()
        if until is not None:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError("it takes too long, although something comes now and then")
            if usual is None or left < usual:
                self._plain.settimeout(left)
        try:
            with call.at(self) if call is not None else contextlib.nullcontext():
                yield
        except OSError as error:
            if call is not None and call.is_cancelled:
                raise ConnectionAbortedError("it is not wanted any more") from error
            raise
        finally:
            if until is not None:
                with contextlib.suppress(OSError):
                    self._plain.settimeout(usual)


class _Reader(io.RawIOBase):
    def __init__(self, bounded: BoundedSocket, plain: socket.SocketIO) -> None:
        self._bounded = bounded
        self._raw = plain

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:  # noqa: ANN401 - any buffer
        with self._bounded.bounded():
            return self._raw.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
            super().close()
