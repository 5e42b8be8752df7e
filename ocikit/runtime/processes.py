"""The processes of a container, as a list to look at.

What a process is called and was started with is what it says of itself: any bytes. Processes come and go while they
are read; what is gone by the end is left out.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import stat
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, overload

from ocikit._fs import open_in_root
from ocikit._tuples import NamedTuple
from ocikit.errors import NotSupportedError
from ocikit.runtime.host import procfs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ocikit.runtime.handle import Handle

__all__ = ["ProcessInfo", "ProcessList", "look"]

# Bounds of what is read, in bytes: of a command line, a file "status" (it lists all groups), a file of users.
_COMMAND_LIMIT: Final = 4096
_STATUS_LIMIT: Final = 1 << 20
_PASSWD_LIMIT: Final = 1 << 18

# Names of users are shorter everywhere; numbers of users have ten digits at most.
_LONGEST_NAME: Final = 256
_LONGEST_NUMBER: Final = 10

_HEADER: Final = ("PID", "IN", "PPID", "USER", "STATE", "THREADS", "CPU", "MEMORY", "STARTED", "COMMAND")


class ProcessInfo(NamedTuple):
    """A process of a container, at one moment."""

    #: Its id, in the pid namespace of this process.
    pid: int
    #: Its id as it knows it itself: in its own, innermost pid namespace.
    container_pid: int
    #: The id of its parent, in the pid namespace of this process; 0 when that is not to be seen from here.
    ppid: int
    #: Its effective user id, in the user namespace of this process.
    uid: int
    #: What the container calls this user: its name by ``etc/passwd`` below the container's root, else its number in
    #: the container's user namespace. The number in ours, where that cannot be told.
    user: str
    #: One letter (proc_pid_stat(5)): ``R`` runs, ``S`` sleeps, ``D`` waits for a disk, ``T`` is stopped,
    #: ``Z`` has ended.
    state: str
    #: How many threads it has.
    threads: int
    #: Time of processors that it has used, in seconds.
    cpu_time: float
    #: Memory that it has in use, in bytes; what is shared counts in full.
    rss: int
    #: When it was started.
    started: dt.datetime
    #: Its arguments, as it shows them itself; bytes that are no UTF-8 are ``surrogateescape``. At most 4096 bytes
    #: are read: what is longer ends in "…". ``("[name]",)`` for a process that shows none.
    command: tuple[str, ...]


class ProcessList(Sequence[ProcessInfo]):
    """The processes of a container, sorted by :attr:`ProcessInfo.pid`.

    As text it is a table for a terminal, in a notebook one in HTML; the tables have at most 500 rows, and what could do
    harm in them is escaped.
    """

    __slots__ = ("_processes",)

    def __init__(self, processes: tuple[ProcessInfo, ...] = ()) -> None:
        self._processes = processes

    def __repr__(self) -> str:
        return f"ProcessList({self._processes!r})"

    def __str__(self) -> str:
        from ocikit._display.text import table  # noqa: PLC0415 - for those who show it

        return table(map(_row, self._processes), _HEADER)

    def _repr_html_(self) -> str:
        from ocikit._display.html import code, table  # noqa: PLC0415 - for those who show it

        rows = map(_row, self._processes)
        return table([(*row[:-1], code(row[-1])) for row in rows], [name.lower() for name in _HEADER])

    def __eq__(self, other: object) -> bool:
        return self._processes == other._processes if isinstance(other, ProcessList) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._processes)

    def __len__(self) -> int:
        return len(self._processes)

    @overload
    def __getitem__(self, index: int) -> ProcessInfo: ...
    @overload
    def __getitem__(self, index: slice) -> ProcessList: ...
    def __getitem__(self, index: int | slice) -> ProcessInfo | ProcessList:
        return ProcessList(self._processes[index]) if isinstance(index, slice) else self._processes[index]


def _row(one: ProcessInfo) -> tuple[int, int, int, str, str, int, str, str, str, str]:
    from ocikit._display.text import moment, seconds, size  # noqa: PLC0415 - for those who show it

    used = seconds(one.cpu_time), size(one.rss), moment(one.started)
    command = " ".join(one.command).rstrip(" ")
    return one.pid, one.container_pid, one.ppid, one.user, one.state, one.threads, *used, command


def look(container: Handle) -> ProcessList:
    """Return the processes of a container.

    Raises:
        CgroupError: The kernel does not tell which they are.
    """
    users = _Users(container)
    found = [one for pid in container.processes() if (one := _read(pid, users)) is not None]
    # A number that was given to somebody else between the list and its reading is not in the list any more.
    still = set(container.processes())
    return ProcessList(tuple(one for one in found if one.pid in still))


def _read(pid: int, users: _Users) -> ProcessInfo | None:
    """Return what is known of a process; None when it is gone, or is not to be seen."""
    try:
        directory = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return _read_in(directory, pid, users)
        finally:
            os.close(directory)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def _read_in(directory: int, pid: int, users: _Users) -> ProcessInfo:
    usage = procfs.Usage.parse(procfs.read_in(directory, "stat", _STATUS_LIMIT))
    status = procfs.read_in(directory, "status", _STATUS_LIMIT)
    uid = int(procfs.status_field(status, b"Uid")[1])
    ticks = os.sysconf("SC_CLK_TCK")
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - usage.start_time / ticks
    return ProcessInfo(
        pid=pid,
        container_pid=int((procfs.status_field(status, b"NSpid") or [b"%d" % pid])[-1]),
        ppid=usage.parent,
        uid=uid,
        user=users.name(uid),
        state=usage.state,
        threads=usage.threads,
        cpu_time=usage.cpu_ticks / ticks,
        rss=usage.rss_pages * os.sysconf("SC_PAGE_SIZE"),
        started=dt.datetime.now(dt.UTC) - dt.timedelta(seconds=age),
        command=_command(directory, usage.comm),
    )


def _command(directory: int, comm: bytes) -> tuple[str, ...]:
    data = procfs.read_in(directory, "cmdline", _COMMAND_LIMIT + 1)
    if not data.strip(b"\0"):
        return (f"[{_decode(comm)}]",)
    if len(data) > _COMMAND_LIMIT:
        data = data[:_COMMAND_LIMIT] + "…".encode()
    return tuple(_decode(data.removesuffix(b"\0")).split("\0"))


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


class _Users:
    """What a container calls its users; found out when it is first asked for."""

    def __init__(self, container: Handle) -> None:
        self._container = container
        self._known: dict[int, str] = {}
        self._names: Mapping[int, str] | None = None
        self._ranges: tuple[tuple[int, int, int], ...] = ()

    def name(self, uid: int) -> str:
        """Return what the container calls a user that has this number here."""
        if uid not in self._known:
            if self._names is None:
                self._ranges = _id_map(self._container)
                self._names = _names_of_users(self._container.rootfs) if self._ranges else {}
            inside = _inside(uid, self._ranges)
            self._known[uid] = self._names.get(inside, str(inside)) if inside is not None else str(uid)
        return self._known[uid]


def _inside(uid: int, ranges: tuple[tuple[int, int, int], ...]) -> int | None:
    return next((inside + uid - here for inside, here, count in ranges if here <= uid < here + count), None)


def _id_map(container: Handle) -> tuple[tuple[int, int, int], ...]:
    """Return which numbers of users in the container are which of ours: of its first process, if that lives."""
    try:
        own = os.stat("/proc/self/ns/user").st_ino == os.stat(f"/proc/{container.pid}/ns/user").st_ino
        with open(f"/proc/{container.pid}/uid_map", "rb", buffering=0) as file:
            rows = [tuple(map(int, line.split())) for line in file.read().splitlines()]
    except OSError:
        return ()
    if not container._alive():  # noqa: SLF001 - part of looking at it
        return ()  # it may have been another process with this number
    # A map is read in the words of the reader; who reads his own gets those of the namespace around it.
    return ((0, 0, 1 << 32),) if own else tuple((inside, here, count) for inside, here, count in rows)


def _names_of_users(rootfs: str) -> Mapping[int, str]:
    """Return the names in ``etc/passwd`` below a root; the first of each number."""
    names: dict[int, str] = {}
    with contextlib.suppress(OSError, NotSupportedError):
        for uid, name in _entries(_regular_file(rootfs, "etc/passwd", _PASSWD_LIMIT)):
            names.setdefault(uid, name)
    return names


def _entries(data: bytes) -> Iterator[tuple[int, str]]:
    for line in data.split(b"\n"):
        name, *fields = line.split(b":")
        number = fields[1] if len(fields) > 1 else b""
        if 0 < len(name) <= _LONGEST_NAME and number.isdigit() and len(number) <= _LONGEST_NUMBER:
            yield int(number), _decode(name)


def _regular_file(rootfs: str, path: str, limit: int) -> bytes:
    """Return the first bytes of a file below a root; what is there may be a fifo or a device, which is never opened."""
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        place = open_in_root(root, path)
    finally:
        os.close(root)
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            return b""
        fd = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    finally:
        os.close(place)
    try:
        return os.read(fd, limit)
    finally:
        os.close(fd)
