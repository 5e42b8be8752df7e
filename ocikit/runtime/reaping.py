"""Children of this process, by descriptor: are they, how did they end, and at last let go of."""

from __future__ import annotations

import contextlib
import os
from typing import Final

__all__ = ["collect", "is_child", "look", "peek", "reap"]

_P_PIDFD: Final = 3  # os.P_PIDFD, which is missing where Python was built with old headers
_WALL: Final = 0x4000_0000  # __WALL: wait for the child whatever its exit signal is


def is_child(pidfd: int) -> bool:
    """Tell whether a process is a child of this one, ended or not."""
    try:
        look(pidfd)
    except OSError:
        return False
    return True


def look(pidfd: int) -> os.waitid_result | None:
    """Return how a child ended, and leave it to be reaped; None when it has not.

    Raises:
        ChildProcessError: It is none, or somebody else was faster.
    """
    return os.waitid(_P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT | _WALL)


def peek(pidfd: int) -> os.waitid_result | None:
    """Wait for the end of a child, and leave it to be reaped.

    Raises:
        ChildProcessError: It is none, or somebody else was faster.
    """
    return os.waitid(_P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT | _WALL)


def reap(pidfd: int) -> None:
    """Wait for the end of a child of this process that ends, or has ended; its exit status is lost."""
    # A host that ignores SIGCHLD or waits for every child may have been faster.
    with contextlib.suppress(ChildProcessError):
        os.waitid(_P_PIDFD, pidfd, os.WEXITED | _WALL)


def collect(pidfd: int) -> None:
    """Reap a child of this process if it has ended, without waiting."""
    with contextlib.suppress(ChildProcessError):
        os.waitid(_P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | _WALL)
