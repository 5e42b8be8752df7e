"""What /proc says about a process; nothing in here trusts a process id for longer than one read."""

from __future__ import annotations

import contextlib
import os
import re

from ocikit._tuples import NamedTuple

__all__ = [
    "OwnStatus",
    "Stat",
    "Usage",
    "ancestors",
    "children",
    "children_of_threads",
    "own_status",
    "pid_of",
    "read",
    "read_in",
    "read_stat",
    "start_time",
    "status_field",
    "unescape",
]

_PIECE = 1 << 16
_PF_KTHREAD = 0x0020_0000  # include/linux/sched.h
_ESCAPE = re.compile(r"\\([0-7]{3})")
_DEAD = frozenset({"Z", "X", "x"})


class Stat(NamedTuple):
    """Some fields of ``/proc/PID/stat`` (proc_pid_stat(5))."""

    #: One letter; ``Z`` for a process that has ended and was not reaped.
    state: str
    #: Process id of the parent.
    parent: int
    #: When it was started, in clock ticks since boot.
    start_time: int
    #: In the form of ``waitpid``; right for state ``Z``, and 0 for whom the kernel does not want to tell.
    exit_status: int
    #: Whether it is a thread of the kernel, which no signal ends.
    of_kernel: bool

    @classmethod
    def parse(cls, text: bytes) -> Stat:
        """Read the file; the name of the program in it may hold spaces and parentheses, and ends with the last one."""
        # The manual counts the fields from 1, and the first one after the name is number 3.
        fields = text[text.rindex(b")") + 2 :].split()
        of_kernel = bool(int(fields[6]) & _PF_KTHREAD)
        return cls(fields[0].decode(), int(fields[1]), int(fields[19]), int(fields[49]), of_kernel)


class Usage(NamedTuple):
    """Further fields of ``/proc/PID/stat``: what a process is called, and what it uses."""

    #: The name of its program or thread, which the process chooses: any bytes but NUL, fifteen at most.
    comm: bytes
    #: One letter, as in :class:`Stat`.
    state: str
    #: Process id of the parent.
    parent: int
    #: In programs and in the kernel for them, in clock ticks.
    cpu_ticks: int
    #: How many threads it has.
    threads: int
    #: When it was started, in clock ticks since boot.
    start_time: int
    #: How much memory it has in use, in pages.
    rss_pages: int

    @classmethod
    def parse(cls, text: bytes) -> Usage:
        """Read the file."""
        end = text.rindex(b")")
        fields = text[end + 2 :].split()
        numbers = [int(fields[number - 3]) for number in (4, 14, 15, 20, 22, 24)]
        parent, user, system, threads, start_time, rss_pages = numbers
        comm = text[text.index(b"(") + 1 : end]
        return cls(comm, fields[0].decode(), parent, user + system, threads, start_time, rss_pages)


def status_field(text: bytes, name: bytes) -> list[bytes]:
    """Return the words of a field of ``/proc/PID/status`` (proc_pid_status(5)); none when it is not there.

    The kernel escapes line feeds in the name of a process, and nothing else: a line ends there and nowhere else.
    """
    prefix = name + b":"
    return next((line[len(prefix) :].split() for line in text.split(b"\n") if line.startswith(prefix)), [])


def read(path: str) -> bytes:
    """Return what is in a file. An open file of Python's own would ask for its kind, size and place before.

    Raises:
        OSError: As the kernel gives it.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = b""
        while piece := os.read(fd, _PIECE):
            data += piece
        return data
    finally:
        os.close(fd)


def read_in(directory_fd: int, name: str, limit: int) -> bytes:
    """Return the first bytes of a file of a process, whose directory in /proc is open: no other process can be meant.

    Raises:
        ProcessLookupError: The process is gone, or a thread of the kernel.
        FileNotFoundError: The process is gone.
        PermissionError: It is not to be seen.
    """
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory_fd)
    try:
        data = b""
        while len(data) < limit and (piece := os.read(fd, limit - len(data))):
            data += piece
        return data
    finally:
        os.close(fd)


def read_stat(pid: int) -> Stat | None:
    """Return what the kernel says of a process; None when there is none with this id."""
    try:
        return Stat.parse(read(f"/proc/{pid}/stat"))
    except (FileNotFoundError, ProcessLookupError):
        return None


def ancestors() -> frozenset[int]:
    """Return the ids of process 1, this process, and every process that it descends from."""
    found = {0, 1}
    pid = os.getpid()
    while pid not in found:
        found.add(pid)
        stat = read_stat(pid)
        pid = stat.parent if stat is not None else 0
    return frozenset(found)


def children(pid: int) -> tuple[int, ...]:
    """Return the ids of the children of a process of one thread; none when it is gone."""
    try:
        return tuple(map(int, read(f"/proc/{pid}/task/{pid}/children").split()))
    except (FileNotFoundError, ProcessLookupError):
        return ()


def children_of_threads(pid: int) -> list[int]:
    """Return the ids of the children of all threads of a process; none when it is gone."""
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found += map(int, read(f"/proc/{pid}/task/{thread}/children").split())
    return found


def pid_of(pidfd: int) -> int:
    """Return the process id that a descriptor stands for; -1 when the process has ended and was reaped.

    Returns:
        0 when it is a process of another pid namespace, or the descriptor one of something else.
    """
    lines = read(f"/proc/thread-self/fdinfo/{pidfd}").splitlines()
    return int(next((line.split()[1] for line in lines if line.startswith(b"Pid:")), b"0"))


def unescape(text: str) -> str:
    """Return a path as it is: the kernel writes spaces and the like as numbers (proc_pid_mountinfo(5))."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)


def start_time(pid: int) -> int | None:
    """Return when a living process was started, in clock ticks since boot (proc_pid_stat(5), field 22).

    Returns:
        None when there is no such process, or it has ended and only waits to be reaped.
    """
    stat = read_stat(pid)
    return None if stat is None or stat.state in _DEAD else stat.start_time


class OwnStatus(NamedTuple):
    """What ``/proc/thread-self/status`` says of this thread."""

    #: Mask of the capabilities in effect.
    effective: int
    #: Mask of those that it could pass on: permitted, and in its bounding set.
    passable: int
    #: Its umask, which asking the kernel for would change for a moment.
    umask: int


def own_status() -> OwnStatus:
    """Return what this thread is and may do."""
    text = read("/proc/thread-self/status")

    def number(name: bytes, base: int) -> int:
        return int(text[text.index(name) + len(name) :].split(b"\n", 1)[0], base)

    # Kernels before 4.7 do not tell the umask.
    umask = number(b"\nUmask:", 8) if b"\nUmask:" in text else 0o022
    return OwnStatus(number(b"\nCapEff:", 16), number(b"\nCapPrm:", 16) & number(b"\nCapBnd:", 16), umask)
