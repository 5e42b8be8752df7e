"""A process in the foreground: it gets the signals that the command gets, and its end is the end of the command."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from typing import TYPE_CHECKING

from ocikit.errors import NotRunningError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.runtime.container import Container
    from ocikit.runtime.status import ExitStatus

__all__ = ["exit_code", "wait"]

#: What nobody can catch, and what is about this process and not about the container.
_KEPT = frozenset({signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGPIPE})


def wait(container: Container) -> int:
    """Wait for the end of a container, passing on signals; return its exit code, 128 and more for a signal."""
    with _signals() as arrived, container._init().held() as process:  # noqa: SLF001 - a poll needs the descriptor
        waiting = select.poll()
        waiting.register(arrived, select.POLLIN)
        if process is not None:
            waiting.register(process, select.POLLIN)
        while process is not None:
            ready = {fd for fd, _ in waiting.poll()}
            if process in ready:
                break
            for number in os.read(arrived, 512):
                with contextlib.suppress(NotRunningError):
                    container.signal(number)
    return exit_code(container.wait())


def exit_code(status: ExitStatus) -> int:
    """Return what a shell makes of how a process ended; 255 when nobody knows."""
    if status.signal is not None:
        return 128 + status.signal
    return status.exit_code if status.exit_code is not None else 255


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """Collect the signals that this process gets; yield a descriptor from which their numbers can be read."""
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    before = {}
    for number in sorted(signal.valid_signals() - _KEPT):
        with contextlib.suppress(OSError):  # the C library keeps some for itself
            before[number] = signal.signal(number, lambda *_: None)
    try:
        yield reading
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        os.close(reading)
        os.close(writing)
