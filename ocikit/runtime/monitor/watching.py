"""A monitor as others see it: has it written down how its container ended, and is it gone?"""

from __future__ import annotations

import contextlib
import signal
import time
from typing import TYPE_CHECKING, Final

from ocikit.errors import NotRunningError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocikit.runtime.process import Init

__all__ = ["await_record", "dismiss"]

_FIRST_PAUSE: Final = 0.0005
_LONGEST_PAUSE: Final = 0.05

#: How long a monitor may take to die of SIGKILL, in seconds. It takes longer only when the kernel waits for the disk
#: that the log is on.
_LAST_MOMENTS: Final = 2.0


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
