"""Children whose objects were forgotten while they ran: somebody has to reap them when they have ended.

Nobody waits for them, and a thread that did would be one more than the host asked for. So they are looked at whenever
the next container or process is started; until then an ended one costs its entry in the table of processes.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocikit.runtime.process import Init

__all__ = ["reap", "remember"]

# Reentrant, because objects are forgotten by whatever the garbage collector interrupts.
_lock = threading.RLock()
_running: dict[Init, Callable[[], object]] = {}


def remember(process: Init, collect: Callable[[], object]) -> None:
    """Keep a child whose object is forgotten.

    Args:
        process: The child.
        collect: Finds out how it ended, and reaps it.
    """
    if process.exit_status is None:
        with _lock:
            _running[process] = collect


def reap() -> None:
    """Collect those that have ended."""
    if not _running:
        return
    with _lock:
        ended = [process for process in list(_running) if process.wait(0)]
        collections = [_running.pop(process) for process in ended]
    for collect in collections:
        collect()


def _after_fork_in_child() -> None:
    """Forget a lock that a thread held which does not exist here, and children that are somebody else's."""
    global _lock  # noqa: PLW0603 - the old lock may be held for ever
    _lock = threading.RLock()
    _running.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
