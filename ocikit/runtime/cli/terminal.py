"""The terminal of the caller, connected with that of a process in the foreground."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import termios
import tty
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Terminal"]

_PIECE: Final = 1 << 16
_WINDOW_BYTES: Final = 8  # struct winsize: four numbers of 16 bits


class Terminal:
    """Both terminals. A context manager: within it the caller's is in raw mode, so that every key reaches the process.

    A caller without a terminal is no error: what the process writes still goes to standard output.
    """

    def __init__(self, console: int) -> None:
        """Find the caller's terminal.

        Args:
            console: Our end of the terminal of the process; it remains the caller's of this.
        """
        self._console = console
        self._opened: list[int] = []
        self._host = self._find()
        self._before: list[Any] | None = None
        self._typed = b""
        self._reads_keys = True
        self._open = True

    def _find(self) -> int | None:
        for fd in (2, 1, 0):
            if os.isatty(fd):
                return fd
        with contextlib.suppress(OSError):
            self._opened.append(os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY))
            return self._opened[0]
        return None

    def __enter__(self) -> Self:
        os.set_blocking(self._console, False)
        modes = termios.tcgetattr(self._console)
        modes[1] &= ~termios.ONLCR  # the caller's terminal sees to line ends
        termios.tcsetattr(self._console, termios.TCSANOW, modes)
        if self._host is not None:
            self._before = termios.tcgetattr(self._host)
            tty.setraw(self._host)
        self.resize()
        return self

    def __exit__(self, *_: object) -> None:
        if self._host is not None and self._before is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._host, termios.TCSADRAIN, self._before)
        for fd in self._opened:
            os.close(fd)

    def resize(self) -> None:
        """Give the terminal of the process the size that the caller's has."""
        if self._host is None:
            return
        with contextlib.suppress(OSError):  # it may be gone by now
            size = fcntl.ioctl(self._host, termios.TIOCGWINSZ, bytes(_WINDOW_BYTES))
            if size != bytes(_WINDOW_BYTES):
                fcntl.ioctl(self._console, termios.TIOCSWINSZ, size)

    def register(self, waiting: select.poll) -> None:
        """Say what is waited for."""
        if self._open:
            waiting.register(self._console, select.POLLIN | (select.POLLOUT if self._typed else 0))
        if self._reads_keys and not self._typed:
            waiting.register(0, select.POLLIN)

    def serve(self, ready: Mapping[int, int]) -> None:
        """Carry on what has come."""
        if 0 in ready:
            self._read_keys()
        if self._typed:
            self._type()
        if self._console in ready and self._open:
            self._show()

    def finish(self) -> None:
        """Show what the process left behind, which has ended; what others write to its terminal is not waited for."""
        while self._open and self._show():
            pass

    def _read_keys(self) -> None:
        try:
            self._typed = os.read(0, _PIECE)
        except OSError:
            self._typed = b""
        self._reads_keys = bool(self._typed)

    def _type(self) -> None:
        try:
            self._typed = self._typed[os.write(self._console, self._typed) :]
        except BlockingIOError:
            return
        except OSError:
            self._typed = b""

    def _show(self) -> bool:
        try:
            data = os.read(self._console, _PIECE)
        except BlockingIOError:
            return False
        except OSError:  # EIO: nobody has the terminal open any more
            data = b""
        if not data:
            self._open = False
            return False
        with contextlib.suppress(OSError):  # nobody reads it: the process is not to wait for that
            while data:
                data = data[os.write(1, data) :]
        return True
