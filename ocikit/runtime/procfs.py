"""What /proc says about a process; nothing in here trusts a process id for longer than one read."""

from __future__ import annotations

import os

__all__ = ["own_capabilities", "start_time"]

_STATE_FIELD = 2  # proc_pid_stat(5) counts from 1 and has two fields before the parenthesis closes
_START_TIME_FIELD = 21
_DEAD = frozenset({b"Z", b"X", b"x"})


def start_time(pid: int) -> int | None:
    """Return when a living process was started, in clock ticks since boot (proc_pid_stat(5), field 22).

    Returns:
        None when there is no such process, or it has ended and only waits to be reaped.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:  # noqa: PTH123 - pathlib costs more than the read
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name of the program may hold spaces and parentheses; it ends with the last one.
    fields = text[text.rindex(b")") + 2 :].split()
    if fields[0] in _DEAD:
        return None
    return int(fields[_START_TIME_FIELD - _STATE_FIELD])


def own_capabilities() -> int:
    """Return the mask of the capabilities that this process could pass on: permitted and in its bounding set."""
    mask = 0xFFFF_FFFF_FFFF_FFFF
    fd = os.open("/proc/thread-self/status", os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = os.read(fd, 1 << 16)
    finally:
        os.close(fd)
    for line in status.splitlines():
        if line.startswith((b"CapPrm:", b"CapBnd:")):
            mask &= int(line.split()[1], 16)
    return mask
