"""A process in the foreground: it gets the signals and the keys that the command gets, and ends the command."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from typing import TYPE_CHECKING, Final, Protocol, Self

from ocikit.errors import NotRunningError
from ocikit.runtime.cli.aside import put_aside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from types import FrameType

    from ocikit.runtime.cli.terminal import Terminal
    from ocikit.runtime.console import Console
    from ocikit.runtime.status import ExitStatus

__all__ = ["Attended", "Signals", "attend", "prepare", "terminal_of"]

#: What nobody can catch, and what is about this process and not about the container.
_KEPT: Final = frozenset({signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGURG, signal.SIGPIPE})

_NOBODY_KNOWS: Final = 255


class Attended(Protocol):
    """A process that can be attended to: a container, or a further process in one."""

    def signal(self, number: int) -> None:
        """Send it a signal."""
        ...

    def wait(self) -> ExitStatus:
        """Wait for its end."""
        ...


class Signals:
    """The signals that this process gets, collected from the moment this is made until they are asked for.

    A context manager: at its end signals mean what they meant before.
    """

    def __init__(self) -> None:
        self._reading, self._writing = map(put_aside, os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK))
        self._before: dict[int, object] = {}

    def fileno(self) -> int:
        """Return what can be read when there are some."""
        return self._reading

    def __enter__(self) -> Self:
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        # A child's end is not told to us by a signal, but a caller that ignores them would have the kernel forget it.
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in sorted(signal.valid_signals() - _KEPT):
            with contextlib.suppress(OSError):  # the C library keeps some for itself
                self._before[number] = signal.signal(number, _collected)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)  # type: ignore[arg-type]
        os.close(self._reading)
        os.close(self._writing)

    def take(self) -> bytes:
        """Return the numbers of those that came."""
        try:
            return os.read(self._reading, 4096)
        except BlockingIOError:
            return b""


def _collected(number: int, frame: FrameType | None) -> None:
    """Do nothing: the number is in the pipe."""


@contextlib.contextmanager
def terminal_of(console: Console | None) -> Iterator[Terminal | None]:
    """Connect the caller's terminal with that of the process; yield None for a process without one."""
    if console is None:
        yield None
        return
    from ocikit.runtime.cli.terminal import Terminal  # noqa: PLC0415 - only for processes with a terminal

    with Terminal(console) as terminal:
        yield terminal


def prepare(console: Console) -> None:
    """Make a terminal ready for :func:`terminal_of`, before there is a program that could look at it."""
    from ocikit.runtime.cli import terminal  # noqa: PLC0415 - only for processes with a terminal

    terminal.prepare(console)


def attend(
    process: Attended, held: AbstractContextManager[int | None], signals: Signals, terminal: Terminal | None
) -> int:
    """Wait for the end of a process, passing on signals.

    Args:
        process: The process.
        held: Gives a descriptor that is readable when it has ended; its number may be somebody else's by then.
        signals: What is passed on.
        terminal: Its terminal, if it has one.

    Returns:
        Its exit code, 128 and more for a signal.
    """
    with held as ending:
        if ending is not None:
            _pass_on(process, ending, signals, terminal)
    if terminal is not None:
        terminal.finish()
    return _exit_code(process.wait())


def _pass_on(process: Attended, ending: int, signals: Signals, terminal: Terminal | None) -> None:
    while True:
        waiting = select.poll()
        waiting.register(ending, select.POLLIN)
        waiting.register(signals.fileno(), select.POLLIN)
        if terminal is not None:
            terminal.register(waiting)
        ready = dict(waiting.poll())
        for number in signals.take():
            if number == signal.SIGWINCH and terminal is not None:
                terminal.resize()
            elif number != signal.SIGWINCH:
                with contextlib.suppress(NotRunningError):
                    process.signal(number)
        if terminal is not None:
            terminal.serve(ready)
        if ending in ready:
            return


def _exit_code(status: ExitStatus) -> int:
    if status.signal is not None:
        return 128 + status.signal
    return status.exit_code if status.exit_code is not None else _NOBODY_KNOWS
