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

    from ocikit.runtime.console import Console

__all__ = ["Terminal", "prepare"]

_PIECE: Final = 1 << 16
_WINDOW_BYTES: Final = 8  # struct winsize: four numbers of 16 bits


def prepare(console: Console) -> None:
    """Make the terminal of a process, before there is one, what :class:`Terminal` counts on.

    It has the size of the caller's, and leaves the ends of lines to that: what is written arrives as it was written
    where the caller has a file instead.
    """
    host, opened = _find()
    with contextlib.suppress(termios.error):
        modes = termios.tcgetattr(console.fileno())
        modes[1] &= ~termios.ONLCR
        termios.tcsetattr(console.fileno(), termios.TCSANOW, modes)
    if host is not None:
        _resize(console.fileno(), host)
    for fd in opened:
        os.close(fd)


def _find() -> tuple[int | None, list[int]]:
    """Return a descriptor of the caller's terminal, and what was opened for this."""
    for fd in (2, 1, 0):
        if os.isatty(fd):
            return fd, []
    with contextlib.suppress(OSError):
        opened = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
        return opened, [opened]
    return None, []


def _resize(console: int, host: int) -> None:
    with contextlib.suppress(OSError):  # one of them may be gone by now
        size = fcntl.ioctl(host, termios.TIOCGWINSZ, bytes(_WINDOW_BYTES))
        if size != bytes(_WINDOW_BYTES):
            fcntl.ioctl(console, termios.TIOCSWINSZ, size)


class Terminal:
    """Both terminals. A context manager: within it the caller's is in raw mode, so that every key reaches the process.

    A caller without a terminal is no error: what the process writes still goes to standard output.
    """

    def __init__(self, console: Console) -> None:
        """Find the caller's terminal.

        Args:
            console: Our side of the terminal of the process; it remains the caller's of this.
        """
        self._console = console.fileno()
        self._host, self._opened = _find()
        self._before: list[Any] | None = None
        self._typed = b""
        self._reads_keys = True
        self._open = True

    def __enter__(self) -> Self:
        os.set_blocking(self._console, False)
        if self._host is not None:
            self._before = termios.tcgetattr(self._host)
            tty.setraw(self._host)
            modes = termios.tcgetattr(self._host)
            modes[1] |= termios.OPOST  # it ends lines, since the other one does not
            termios.tcsetattr(self._host, termios.TCSANOW, modes)
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
        if self._host is not None:
            _resize(self._console, self._host)

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
