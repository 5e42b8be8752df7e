"""Attached to a container that has a monitor: what it writes is seen as it is written, and it can be written to.

Any number of processes may be attached (sixteen at a time). Nobody is waited for: who does not read is let go, and
learns it by an error; the log has everything.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
import time
import weakref
from typing import TYPE_CHECKING, Final, Literal, Self

from ocikit._fs import Descriptor, no_fork
from ocikit._tuples import NamedTuple
from ocikit.errors import DetachedError, NotRunningError, SystemCallError
from ocikit.runtime.state.documents import ATTACH_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Attachment", "Chunk"]

# The packets of wire.h (WIRE_CLIENT_*).
_HELLO: Final = b"h"
_OVER: Final = b"x"
_INPUT: Final = b"i"
_END: Final = b"c"
_SIZE: Final = struct.Struct("=c2H")
_STREAMS: Final[dict[bytes, Literal["stdout", "stderr"]]] = {b"o": "stdout", b"e": "stderr"}
_CAN_WRITE: Final = 1
_CAN_RESIZE: Final = 2
_BYTES: Final = 8192
_PACKET: Final = 1 << 14

#: How long a monitor may take to take somebody in, in seconds.
_TIMEOUT: Final = 10.0

_LARGEST: Final = 0xFFFF

_DEAF: Final = "it has ended, or its monitor was killed"


class Chunk(NamedTuple):
    """What a container wrote at once."""

    #: Where to; what was written to a terminal is ``stdout``.
    stream: Literal["stdout", "stderr"]
    data: bytes


class Attachment:
    """A connection with a container, made by :meth:`Container.attach`.

    A context manager, and an iterator of :class:`Chunk` that ends with the container. The container goes on when it is
    closed. Forked children of this process do not keep it open.
    """

    def __init__(self, directory: int, container_id: str) -> None:
        """Attach to a container.

        Args:
            directory: The directory of its state.
            container_id: Its id, for errors.

        Raises:
            NotRunningError: It has ended, or its monitor was killed.
            SystemCallError: The monitor takes nobody in.
        """
        self._id = container_id
        self._ended = False
        self._descriptor = self._connect(directory)
        weakref.finalize(self, self._descriptor.close).atexit = False
        try:
            self._abilities = self._greet()
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<Attachment to {self._id}>"

    def _connect(self, directory: int) -> Descriptor:
        with no_fork:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            descriptor = Descriptor(connection.detach())
        try:
            with self._socket(descriptor) as attached:
                # A monitor that has too many to take in is asked to wait for, but not for ever.
                attached.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", int(_TIMEOUT), 0))
                attached.connect(f"/proc/self/fd/{directory}/{ATTACH_FILE}")
                attached.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", 0, 0))
        except OSError as error:
            descriptor.close()
            if error.errno in {errno.ECONNREFUSED, errno.ENOENT}:
                raise NotRunningError(f"nobody can attach to container {self._id}: {_DEAF}") from None
            raise SystemCallError("attach", error.errno or errno.EIO, ATTACH_FILE) from error
        return descriptor

    @staticmethod
    @contextlib.contextmanager
    def _socket(descriptor: Descriptor) -> Iterator[socket.socket]:
        attached = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=descriptor.fd)
        try:
            yield attached
        finally:
            attached.detach()

    def _greet(self) -> int:
        """Wait until the monitor has taken us in: what is written from now on is seen."""
        packet = self._receive(_TIMEOUT)
        if packet is None:
            remedy = "sixteen can be attached at a time; somebody has to let go"
            raise SystemCallError("attach", errno.ETIMEDOUT, ATTACH_FILE, remedy)
        if packet[:1] != _HELLO or len(packet) < len(_HELLO) + 1:
            raise NotRunningError(f"container {self._id} has ended, and its monitor is about to")
        return packet[1]

    def _receive(self, timeout: float | None) -> bytes | None:
        """Return the next packet; nothing at the end, None when there is none in time."""
        waiting = select.poll()
        waiting.register(self._descriptor.fd, select.POLLIN)
        if not waiting.poll(None if timeout is None else min(timeout * 1000, 1e9)):
            return None
        with self._socket(self._descriptor) as attached:
            for _ in range(2):
                try:
                    return attached.recv(_PACKET, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    return None
                except ConnectionResetError:
                    # The monitor has not read all of what we wrote. That is told first, and once.
                    continue
        return b""

    @property
    def writable(self) -> bool:
        """Whether the container has an input that those who attach can write to."""
        return bool(self._abilities & _CAN_WRITE)

    @property
    def terminal(self) -> bool:
        """Whether this is a terminal, which can be resized."""
        return bool(self._abilities & _CAN_RESIZE)

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to come."""
        return self._ended

    def fileno(self) -> int:
        """Return a descriptor that is readable when there is something to :meth:`read`."""
        return self._descriptor.fd

    def read(self, timeout: float | None = None) -> Chunk | None:
        """Return what the container writes next.

        Args:
            timeout: How long to wait for it, in seconds; None waits as long as it takes.

        Returns:
            None when there was nothing in that time, or there is nothing to come (:attr:`ended`).

        Raises:
            DetachedError: We did not read fast enough and were let go, or the monitor was killed.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._ended:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            packet = self._receive(left)
            if packet is None:
                if left is not None and left <= 0:
                    return None
                continue
            if not packet:
                self._ended = True
                why = "this process did not read fast enough, or its monitor was killed"
                raise DetachedError(f"container {self._id}: the connection has ended before the container has: {why}")
            if packet[:1] in _STREAMS:
                return Chunk(_STREAMS[packet[:1]], packet[1:])
            self._ended = packet[:1] == _OVER
        return None

    wait = read

    def write(self, data: bytes) -> None:
        """Write to the standard input of the container, or type at its terminal.

        Waits while the container does not read.

        Args:
            data: The bytes.

        Raises:
            ValueError: The container has no input that could be written to.
            DetachedError: The container has ended, or its monitor is gone.
        """
        if not self.writable:
            raise ValueError('write: nobody would read it; create the container with stdin="monitor", or a terminal')
        view = memoryview(data)
        for at in range(0, len(view), _BYTES):
            self._say(_INPUT + bytes(view[at : at + _BYTES]))

    def close_stdin(self) -> None:
        """Let the container read the end of its standard input; at a terminal, type Ctrl-D instead."""
        self._say(_END)

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of the terminal.

        Args:
            rows: Its height in characters.
            columns: Its width in characters.

        Raises:
            ValueError: There is no terminal, or none can have that size.
            DetachedError: The monitor is gone.
        """
        if not self.terminal:
            raise ValueError("resize: the container has no terminal")
        if not (0 <= rows <= _LARGEST and 0 <= columns <= _LARGEST):
            raise ValueError(f"resize: expected numbers from 0 to {_LARGEST}, found {rows} and {columns}")
        self._say(_SIZE.pack(b"s", rows, columns))

    def _say(self, packet: bytes) -> None:
        try:
            with self._socket(self._descriptor) as attached:
                attached.send(packet, socket.MSG_NOSIGNAL)
        except OSError as error:
            raise DetachedError(f"container {self._id} does not hear any more: {_DEAF} ({error.strerror})") from None

    def close(self) -> None:
        """Let go of the container, which goes on. Closing twice is nothing."""
        self._ended = True
        self._descriptor.close()

    def __iter__(self) -> Iterator[Chunk]:
        while (chunk := self.read()) is not None:
            yield chunk

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
