"""The side of a terminal that its user holds, or hands to somebody who does.

The pseudo-terminal itself is made in the container, by its own devpts. What comes out is one descriptor: a
:class:`Console` keeps it here, a console socket (the protocol of runc: one message, one descriptor) hands it on.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import termios
import weakref
from typing import TYPE_CHECKING, Final, Self

from ocikit._fs import Descriptor
from ocikit.runtime.host.listener import connect, refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocikit.runtime.launch import Launch

__all__ = ["Console", "Reception"]

_SIZE: Final = struct.Struct("=4H")  # struct winsize: rows, columns, and twice nothing
_LARGEST: Final = 0xFFFF

#: How long the other end of a console socket may take, in seconds.
_TIMEOUT: Final = 10
_LISTENER: Final = "it must be a unix stream socket that somebody accepts connections at"

#: What runc calls the descriptor when it sends one.
_NAME: Final = b"/dev/ptmx"


class Console:
    """The side of a pseudo-terminal that a terminal emulator has: what is written is typed, what is read is shown.

    Closing it is hanging up: the programs at the other side get SIGHUP, and can neither read nor write any more. That
    happens at the end of this process, too; a container that is to outlive it is given a console socket instead.
    """

    def __init__(self, fd: int) -> None:
        """Take over a descriptor.

        Args:
            fd: The descriptor; owned from now on. Forked children of this process do not keep it open.
        """
        self._descriptor = Descriptor(fd)
        weakref.finalize(self, self._descriptor.close).atexit = False

    def __repr__(self) -> str:
        return f"<Console {'closed' if self.closed else self.fileno()}>"

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._descriptor.fd < 0

    def fileno(self) -> int:
        """Return the descriptor, for polling and for functions of :mod:`termios`.

        Raises:
            ValueError: It is closed.
        """
        if self.closed:
            raise ValueError("the console is closed")
        return self._descriptor.fd

    def read(self, size: int = 65536) -> bytes:
        """Read what the programs wrote, waiting until there is something.

        Args:
            size: How much at most, in bytes.

        Returns:
            What there is; nothing when no program has the terminal open any more.

        Raises:
            BlockingIOError: There is nothing, and the descriptor was made non-blocking.
        """
        try:
            return os.read(self.fileno(), size)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return b""

    def write(self, data: bytes) -> int:
        """Type something; return how many bytes of it there was room for."""
        return os.write(self.fileno(), data)

    def size(self) -> tuple[int, int]:
        """Return rows and columns."""
        rows, columns, _, _ = _SIZE.unpack(fcntl.ioctl(self.fileno(), termios.TIOCGWINSZ, bytes(_SIZE.size)))
        return rows, columns

    def resize(self, rows: int, columns: int) -> None:
        """Set the size; the programs in the foreground get SIGWINCH.

        Raises:
            ValueError: No terminal has that size.
        """
        if not (0 <= rows <= _LARGEST and 0 <= columns <= _LARGEST):
            raise ValueError(f"size: expected 0 to {_LARGEST} rows and columns, found {rows} and {columns}")
        fcntl.ioctl(self.fileno(), termios.TIOCSWINSZ, _SIZE.pack(rows, columns, 0, 0))

    def raw(self) -> None:
        """Let bytes through as they are: no echo, no line editing, no signals by key, no carriage returns added."""
        modes = termios.tcgetattr(self.fileno())
        modes[0] &= ~(
            termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
            | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
        )  # fmt: skip
        modes[1] &= ~termios.OPOST
        modes[2] = modes[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        modes[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        termios.tcsetattr(self.fileno(), termios.TCSANOW, modes)

    def close(self) -> None:
        """Hang up; closing twice is nothing."""
        self._descriptor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Reception:
    """Takes the descriptor of a terminal that is being made, to keep it or to send it away.

    A context manager: what was taken is closed if the block fails.
    """

    def __init__(self, socket_path: str | None = None, prepare: Callable[[Console], None] | None = None) -> None:
        """Connect to the console socket, if there is one, so that nothing is made for nobody.

        Args:
            socket_path: The console socket; None keeps what is taken.
            prepare: What is done with it then, before there is a program that could look at it.

        Raises:
            SetupError: Nobody listens there.
        """
        #: What was taken and kept.
        self.console: Console | None = None
        self._path = socket_path
        self._prepare = prepare
        self._connection: socket.socket | None = None
        if socket_path is not None:
            action = "connect to the console socket"
            self._connection = connect(socket_path, action, what="the path", remedy=_LISTENER, timeout=_TIMEOUT)

    def take(self, _: Launch, fd: int) -> None:
        """Take the descriptor; it remains the caller's, a copy is kept or sent.

        Raises:
            SetupError: The other end of the socket does not take it.
        """
        if self._connection is None:
            self.console = Console(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0))
            if self._prepare is not None:
                self._prepare(self.console)
            return
        try:
            socket.send_fds(self._connection, [_NAME], [fd], socket.MSG_NOSIGNAL)
        except OSError as error:
            raise refused("send the terminal to its console socket", error, self._path, _LISTENER) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()
        if kind is not None and self.console is not None:
            self.console.close()
