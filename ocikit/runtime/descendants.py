"""The descendants of a process, ended together: for who has no cgroup that says who they are.

Whoever has left the tree, by a parent that ended before its child did, is not found. So everybody who is found is
stopped before the first one is killed, from the top down: who is stopped starts nobody.
"""

from __future__ import annotations

import contextlib
import os
import signal

from ocikit._fs import Descriptor
from ocikit.runtime.host.procfs import children_of_threads, read_stat

__all__ = ["kill_descendants"]


def kill_descendants(pid: int, pidfd: int) -> None:
    """Kill the descendants of a process; itself is stopped, and the caller's to kill.

    Args:
        pid: The process, in the pid namespace of this process.
        pidfd: A descriptor of it: nobody else has its number meanwhile.
    """
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
    with contextlib.ExitStack() as stack:
        found: dict[int, Descriptor] = {}
        waiting = [pid]
        while waiting:
            parent = waiting.pop()
            for child in children_of_threads(parent):
                held = None if child in found else _hold(child, parent)
                if held is not None:
                    found[child] = stack.enter_context(held)
                    with contextlib.suppress(ProcessLookupError):
                        signal.pidfd_send_signal(held.fd, signal.SIGSTOP)
                    waiting.append(child)
        for process in found.values():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process.fd, signal.SIGKILL)


def _hold(pid: int, parent: int) -> Descriptor | None:
    """Open a child of a process; None when it is gone, or its number is somebody else's by now."""
    try:
        held = Descriptor(os.pidfd_open(pid))
    except OSError:
        return None
    stat = read_stat(pid)
    if stat is not None and stat.parent == parent:
        return held
    held.close()
    return None
