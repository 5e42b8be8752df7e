"""An init that nobody introduced: the process that made it was killed before it could say so.

Init waits for an answer then, and whoever launched it for a word about init, both for ever. It is recognised by what it
has and nobody else: the other end of the channel.
"""

from __future__ import annotations

import contextlib
import os

from ocikit._fs import Descriptor
from ocikit.runtime.host.procfs import children, children_of_threads, read_stat

__all__ = ["find", "is_abandoned"]

_DEAD = frozenset({"Z", "X"})


def find(inode: int) -> Descriptor | None:
    """Return a child of this process that has a socket open; None when there is none.

    Args:
        inode: The socket, which no other child ever had.

    Returns:
        A pidfd, which the caller closes.
    """
    for pid in children_of_threads(os.getpid()):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            process = stack.enter_context(Descriptor(os.pidfd_open(pid)))
            if _has_open(pid, f"socket:[{inode}]"):  # looked at now that it is held
                stack.pop_all()
                return process
    return None


def is_abandoned(attendant: int) -> bool:
    """Tell whether the child of a monitor or attendant that was to make init is gone, and init is not.

    Args:
        attendant: The process id of the monitor or attendant, a child of this process.
    """
    found = [(pid, stat) for pid in children(attendant) if (stat := read_stat(pid)) is not None]
    # Init leads a session of its own, and the child that makes it does not. One that is gone is reaped, or is not.
    return bool(found) and not any(stat.state not in _DEAD and not _leads_session(pid) for pid, stat in found)


def _leads_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


def _has_open(pid: int, what: str) -> bool:
    directory = f"/proc/{pid}/fd"
    for name in os.listdir(directory):
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(f"{directory}/{name}") == what:
                return True
    return False
