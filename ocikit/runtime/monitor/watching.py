"""A monitor as others see it: has it written down how its container ended, and is it gone?"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Final

from ocikit.errors import NotRunningError
from ocikit.runtime.process import Init, find_init

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocikit.runtime.state.documents import Monitored

__all__ = ["await_record", "dismiss", "find_monitor"]

_FIRST_PAUSE: Final = 0.0005
_LONGEST_PAUSE: Final = 0.05

#: How long a monitor may take to die of SIGKILL, in seconds. It takes longer only when the kernel waits for the disk
#: that the log is on.
_LAST_MOMENTS: Final = 2.0

#: What a monitor is called, for those who may not see what it holds.
_NAME: Final = "ocikit:monitor\n"


def find_monitor(noted: Monitored, directory: int) -> Init:
    """Return the monitor of a container; one that has ended if it cannot be found, or is none.

    A note is no proof: whoever is ended with the container must hold its directory, as a monitor does.

    Args:
        noted: What is noted of it.
        directory: The directory of the container's state.
    """
    found = find_init(noted.pid, noted.start_time)
    if not found.alive() or _holds(noted.pid, os.fstat(directory)):
        return found
    return found if not found.alive() else Init(noted.pid, noted.start_time, None)


def _holds(pid: int, directory: os.stat_result) -> bool:
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.stat(f"/proc/{pid}/fd/{name}"), directory):
                    return True
    except PermissionError:
        with open(f"/proc/{pid}/comm", encoding="ascii", errors="replace") as file:
            return file.read() == _NAME
    except OSError:
        pass  # it has ended meanwhile
    return False


def await_record(monitor: Init, is_written: Callable[[], bool], timeout: float | None) -> bool:
    """Wait until a monitor has written down how its container ended, which happened; or until it is gone.

    Args:
        monitor: The monitor.
        is_written: Tells whether it has.
        timeout: How long, in seconds; None waits as long as it takes.

    Returns:
        Whether there is nothing more to wait for.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = _FIRST_PAUSE
    while not is_written():
        left = pause if deadline is None else min(pause, deadline - time.monotonic())
        if left <= 0:
            return False
        # Its end is the one thing about it that can be waited for; what it writes comes a moment earlier.
        if monitor.wait(left):
            return True
        pause = min(pause * 2, _LONGEST_PAUSE)
    return True


def dismiss(monitor: Init) -> None:
    """End a monitor whose container is removed: it has nothing left to do. Reap it if it is a child of this process."""
    with contextlib.suppress(NotRunningError):
        monitor.signal(signal.SIGKILL)
    if monitor.wait(_LAST_MOMENTS):
        monitor.collect(lambda: None, lambda _: None)
