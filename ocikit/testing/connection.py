"""One connection: heads and bodies in, answers out, and every way to end it. Knows nothing of registries."""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Final

from ocikit.testing.messages import Head, Refusal
from ocikit.testing.pieces import FilePiece, Piece

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["ClientGoneError", "Connection", "RequestBody", "uncounted"]

_STEP: Final = 1 << 20
#: How a request may begin; an empty line before it is allowed.
_FIRST: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ\r\n")
_CHUNK: Final = re.compile(rb"[0-9A-Fa-f]{1,12}")
#: The longest line that opens a chunk, or of what follows the last one.
_MAX_LINE: Final = 8 << 10
_MAX_TRAILERS: Final = 100
#: What a client may still send after an answer, before the connection is closed over it.
_LINGER_BYTES: Final = 256 << 20
#: How long is waited until what was sent has arrived, before a reset that would take it back.
_ARRIVAL_SECONDS: Final = 5.0


class ClientGoneError(Exception):
    """The client has gone, or the registry is being stopped. Never leaves this room."""


class Connection:
    """A socket with what is left of the bytes that were read from it.

    Args:
        sock: The socket; it belongs to the connection from here on.
        number: Its number.
        is_plain: Whether bytes go over it as they are.
    """

    def __init__(self, sock: socket.socket, number: int, *, is_plain: bool) -> None:
        self.number = number
        self._socket = sock
        self._is_plain = is_plain
        self._ahead = b""
        self._buffer: memoryview | None = None
        self._closing = threading.Lock()

    def shake_hands(self) -> bool:
        """Do the handshake of TLS, where there is one; tell whether it went well."""
        if self._is_plain:
            return True
        try:
            self._socket.do_handshake()  # type: ignore[attr-defined]  # of the sockets of TLS
        except (OSError, ValueError):  # ValueError: it was aborted
            return False
        return True

    def read_head(self, limit: int) -> bytes | None:
        """Return the next head, without the empty line that ends it; None: there is none.

        Raises:
            ClientGoneError: The connection broke off within it.
            Refusal: It is longer than the limit, or no head.
        """
        data = bytearray(self._ahead)
        while (end := data.find(b"\r\n\r\n")) < 0:
            if data and data[0] not in _FIRST:
                # Somebody tries TLS, and waits for an answer: an end to it.
                raise Refusal(400, "UNSUPPORTED", "expected a request, found what cannot begin one")
            if len(data) > limit:
                raise Refusal(431, "UNSUPPORTED", f"expected a head of at most {limit} bytes")
            more = self._receive(64 << 10)
            if not more:
                if data.strip():
                    raise ClientGoneError
                return None
            data += more
        self._ahead = bytes(data[end + 4 :])
        return bytes(data[:end]).lstrip(b"\r\n")

    def _receive(self, count: int) -> bytes:
        try:
            return self._socket.recv(count)
        except OSError as error:
            raise ClientGoneError from error

    def read_line(self) -> bytes:
        """Return the next line, without its end.

        Raises:
            ClientGoneError: The connection broke off within it, or it is too long for any client.
        """
        while (end := self._ahead.find(b"\n")) < 0:
            if len(self._ahead) > _MAX_LINE:
                raise ClientGoneError  # whatever this is, it is no client
            more = self._receive(64 << 10)
            if not more:
                raise ClientGoneError
            self._ahead += more
        line, self._ahead = self._ahead[:end], self._ahead[end + 1 :]
        return line.rstrip(b"\r")

    def read_some(self, count: int) -> memoryview:
        """Return at least one byte of what comes next, good until more is read.

        Raises:
            ClientGoneError: Nothing more comes.
        """
        if self._ahead:
            data, self._ahead = self._ahead[:count], self._ahead[count:]
            return memoryview(data)
        if self._buffer is None:
            self._buffer = memoryview(bytearray(_STEP))
        try:
            found = self._socket.recv_into(self._buffer, min(count, _STEP))
        except OSError as error:
            raise ClientGoneError from error
        if not found:
            raise ClientGoneError
        return self._buffer[:found]

    def send(self, data: bytes | memoryview, *, more: bool = False) -> None:
        """Send bytes.

        Args:
            data: The bytes.
            more: Whether others follow at once, so that they may travel together.

        Raises:
            ClientGoneError: Nobody takes them.
        """
        try:
            if more and self._is_plain and hasattr(socket, "MSG_MORE"):
                self._socket.sendall(data, socket.MSG_MORE)
            else:
                self._socket.sendall(data)
        except OSError as error:
            raise ClientGoneError from error

    def send_piece(self, piece: Piece, count: Callable[[int], None]) -> None:
        """Send a piece of a body; the file of one goes by the kernel, where it can.

        Args:
            piece: The piece.
            count: Told how many bytes have gone.

        Raises:
            ClientGoneError: Nobody takes it.
        """
        if isinstance(piece, FilePiece) and self._is_plain and hasattr(os, "sendfile"):
            self._send_file(piece, count)
            return
        left = memoryview(piece.read() if isinstance(piece, FilePiece) else piece)
        while left:
            try:
                sent = self._socket.send(left[:_STEP])
            except OSError as error:
                raise ClientGoneError from error
            count(sent)
            left = left[sent:]

    def _send_file(self, piece: FilePiece, count: Callable[[int], None]) -> None:
        sent = 0
        while sent < piece.length:
            start, left = piece.start + sent, piece.length - sent
            try:
                gone = os.sendfile(self._socket.fileno(), piece.file.fileno(), start, left)
            except OSError as error:
                raise ClientGoneError from error
            if not gone:
                raise ClientGoneError  # the file has become shorter
            count(gone)
            sent += gone

    def is_client_gone(self) -> bool:
        """Tell whether the client has closed the connection, or it was aborted."""
        try:
            poll = select.poll()
            poll.register(self._socket, getattr(select, "POLLRDHUP", 0) | select.POLLIN)
            events = poll.poll(0)[0][1] if poll.poll(0) else 0
            if events & ~select.POLLIN:
                return True
            return bool(events) and not socket.socket.recv(self._socket, 1, socket.MSG_PEEK)
        except (OSError, ValueError):
            return True

    def abort(self) -> None:
        """End the connection from another thread: whoever waits for it goes on, and finds it ended."""
        with self._closing, contextlib.suppress(OSError):  # it is at its end anyway
            # Not the one of TLS, which takes from the other thread what it is using.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def let_go(self) -> None:
        """Close the socket in a forked child; the connection of the parent goes on."""
        with contextlib.suppress(OSError):  # it was being closed
            os.close(self._socket.detach())

    def close(self) -> None:
        """Close the connection; a second time does nothing."""
        with self._closing:
            self._socket.close()

    def close_in_order(self) -> None:
        """Close the connection so that the client gets what was sent, even when it is still sending itself."""
        with contextlib.suppress(OSError, ClientGoneError):  # there is nobody to be polite to
            socket.socket.shutdown(self._socket, socket.SHUT_WR)
            left = _LINGER_BYTES
            self._ahead = b""
            while left > 0:
                # What comes is not looked at, so that it need not be decrypted either.
                data = socket.socket.recv(self._socket, _STEP)
                if not data:
                    break
                left -= len(data)
        self.close()

    def reset(self, stopped: threading.Event) -> None:
        """Reset the connection; what was sent has arrived before, if the client takes it."""
        self._wait_for_arrival(stopped)
        with contextlib.suppress(OSError):  # it is at its end anyway
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def _wait_for_arrival(self, stopped: threading.Event) -> None:
        try:
            import fcntl  # noqa: PLC0415 - not everywhere
            import termios  # noqa: PLC0415 - not everywhere
        except ImportError:
            return
        deadline = time.monotonic() + _ARRIVAL_SECONDS
        with contextlib.suppress(OSError):  # it is at its end anyway
            while time.monotonic() < deadline and not stopped.is_set():
                answer = fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
                if not struct.unpack("i", answer)[0]:
                    return
                time.sleep(0.001)


def uncounted(_: int) -> None:
    """Count nothing, as it is counted already."""


class RequestBody:
    """The body of a request, read once and piece by piece.

    Args:
        connection: Where it comes from.
        head: The head it follows.
        count: Told how many bytes came.
    """

    def __init__(self, connection: Connection, head: Head, count: Callable[[int], None]) -> None:
        self._connection = connection
        self._left = head.length or 0
        self._chunked = head.length is None
        self._waiting = "100-continue" in (head.headers.get("expect") or "").lower()
        self._count = count
        #: Read no more than so many bytes, then call what a fault wants.
        self._limit: tuple[int, Callable[[], None]] | None = None
        self._got = 0
        self._in_chunk = False
        #: Whether it is no body, so that nobody knows where the next head is.
        self._broken = False

    @property
    def is_read(self) -> bool:
        """Whether nothing of it is left."""
        return not self._chunked and not self._left

    def break_off(self, at: int, then: Callable[[], None]) -> None:
        """Call something as soon as so many bytes have been read, or the body ends: it raises."""
        self._limit = at, then

    def read(self) -> Iterator[memoryview]:
        """Yield the body; each piece is good until the next.

        Raises:
            ClientGoneError: It broke off.
            Refusal: It is not in chunks as it should be.
        """
        self._invite()
        while self._limit is None or self._got < self._limit[0]:
            if not self._left and not (self._chunked and self._next_chunk()):
                break
            room = self._left if self._limit is None else min(self._left, self._limit[0] - self._got)
            data = self._connection.read_some(room)
            self._left -= len(data)
            self._got += len(data)
            self._count(len(data))
            yield data
        if self._limit is not None:
            self._limit[1]()

    def _invite(self) -> None:
        if self._waiting and not self.is_read:
            self._connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._waiting = False

    def _next_chunk(self) -> bool:
        """Begin the next chunk (RFC 9112, section 7.1); tell whether there is one."""
        if self._in_chunk and self._connection.read_line():
            raise self._not_chunked("the end of a chunk")
        self._in_chunk = True
        size = self._connection.read_line().partition(b";")[0].strip()
        if not _CHUNK.fullmatch(size):
            raise self._not_chunked(f"the size of a chunk, found {size[:40]!r}")
        self._left = int(size, 16)
        if self._left:
            return True
        for _ in range(_MAX_TRAILERS):
            if not self._connection.read_line():
                self._chunked = False
                return False
        raise self._not_chunked(f"at most {_MAX_TRAILERS} lines after the last chunk")

    def _not_chunked(self, expected: str) -> Refusal:
        self._broken = True
        return Refusal(400, "UNSUPPORTED", f"expected {expected}")

    def is_short(self, limit: int) -> bool:
        """Whether what is left comes unasked, and is at most so many bytes, as far as is known."""
        return self.is_read or not (self._broken or self._waiting or self._left > limit)

    def skip(self, limit: int) -> bool:
        """Read what is left, if it is short; tell whether nothing is left."""
        self._limit = None
        self._count = uncounted
        try:
            if not self.is_short(limit):
                return False
            for piece in self.read():
                limit -= len(piece)
                if not self.is_short(limit):
                    return False
        except (Refusal, ClientGoneError):
            return False
        return True
