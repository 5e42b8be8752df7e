"""The one door to the C: typed calls, results turned into exceptions.

Hazardous ground: nothing here checks what is asked for. The rooms above do, and they import this module and never
the extension. It is loaded with the first call that needs it, so that everything else works without it.
"""

from __future__ import annotations

import errno
import functools
import os
import time
from typing import TYPE_CHECKING

from ocikit.errors import NotSupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ocikit._native._launcher import _Interface, _Library

__all__ = [
    "RESOLVE_BENEATH",
    "RESOLVE_IN_ROOT",
    "RESOLVE_NO_MAGICLINKS",
    "RESOLVE_NO_SYMLINKS",
    "RESOLVE_NO_XDEV",
    "Inbox",
    "Spawned",
    "attach_device_filter",
    "capabilities",
    "channel",
    "helper_executable",
    "memory_file",
    "namespaces",
    "openat2",
    "pidfd_exit_status",
    "say",
    "schedule",
    "spawn",
    "start_helper",
    "watch_directory",
    "wire_operations",
]

#: openat2(2): refuse to cross a mount point.
RESOLVE_NO_XDEV = 0x01
#: openat2(2): refuse links such as those of /proc/self/fd, which are no paths.
RESOLVE_NO_MAGICLINKS = 0x02
#: openat2(2): refuse every symbolic link.
RESOLVE_NO_SYMLINKS = 0x04
#: openat2(2): refuse to leave the directory, by ``..``, an absolute path or a link.
RESOLVE_BENEATH = 0x08
#: openat2(2): take the directory for the root of everything.
RESOLVE_IN_ROOT = 0x10

# How often a lookup is tried again that went up ("..") while something was renamed, anywhere on the machine.
_LOOKUPS = 2000
_LOOKUP_PAUSE = 0.001  # seconds

_WORDS = 4000  # WIRE_WORDS of wire.h


@functools.cache
def _native() -> tuple[_Library, _Interface]:
    try:
        from ocikit._native._launcher import ffi, lib  # noqa: PLC0415 - the first call that needs C loads it
    except ImportError as error:
        raise NotSupportedError(
            f"the compiled part of ocikit could not be loaded ({error}); it needs Linux on x86_64 or aarch64 and is "
            "built by 'pip install ocikit' with gcc and the libc headers (Debian: gcc, libc6-dev, python3-dev)"
        ) from error
    return lib, ffi


def _check(result: int, path: str | bytes | None = None) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result), path)
    return result


def openat2(directory: int, path: str | bytes, flags: int, mode: int, resolve: int) -> int:
    """Open a file with a lookup that cannot leave a directory.

    Args:
        directory: The directory that the lookup starts in.
        path: The path.
        flags: ``O_*``.
        mode: The mode of a file that is created; 0 when none may be.
        resolve: ``RESOLVE_*``.

    Raises:
        OSError: As the kernel gives it.
        ValueError: There is a NUL in the path, which C would take for its end.
        NotSupportedError: The compiled part is missing.
    """
    lib, _ = _native()
    name = os.fsencode(path)
    if b"\0" in name:
        raise ValueError(f"{path!r}: a path has no NUL in it")
    for _ in range(_LOOKUPS):
        result = lib.ocikit_openat2(directory, name, flags, mode, resolve)
        if result != -errno.EAGAIN:
            break
        # Somebody renames or mounts all the time; that must not keep others from looking files up.
        time.sleep(_LOOKUP_PAUSE)
    return _check(result, path)


def namespaces(directory: str, names: Sequence[str]) -> list[int]:
    """Return which namespaces a process is in: the numbers of their inodes, 0 for none.

    Args:
        directory: ``/proc/PID/ns`` of the process.
        names: Those of the namespaces in there.

    Raises:
        OSError: As open(2) and readlink(2) give it.
        NotSupportedError: The compiled part is missing.
    """
    lib, ffi = _native()
    found = ffi.new("uint64_t[]", len(names))
    _check(lib.ocikit_namespaces(directory.encode(), "\0".join(names).encode(), len(names), found), directory)
    return list(found)


def capabilities() -> tuple[int, int]:
    """Return what this thread may do.

    Returns:
        A mask of the capabilities in effect, and one of those that it could pass on: permitted, and in its bounding
        set.

    Raises:
        OSError: As capget(2) gives it.
        NotSupportedError: The compiled part is missing.
    """
    lib, ffi = _native()
    effective, passable = ffi.new("uint64_t *"), ffi.new("uint64_t *")
    _check(lib.ocikit_capabilities(effective, passable))
    return int(effective[0]), int(passable[0])


def pidfd_exit_status(pidfd: int) -> int | None:
    """Ask the kernel for the wait status of a process that was reaped by somebody else.

    Args:
        pidfd: A descriptor of the process, opened before it ended.

    Returns:
        The status in the form of ``waitpid``; None while the process runs, and on kernels before 6.15.
    """
    lib, ffi = _native()
    status = ffi.new("int *")
    return int(status[0]) if _check(lib.ocikit_pidfd_exit(pidfd, status)) else None


def attach_device_filter(cgroup: int, program: bytes) -> None:
    """Let a program, in place of those before it, decide which devices can be used in a v2 cgroup.

    It goes away with the cgroup.

    Args:
        cgroup: A descriptor of the cgroup's directory, opened for reading.
        program: Instructions of eBPF, of the type for devices of cgroups.

    Raises:
        OSError: As the kernel gives it; ``EPERM`` without CAP_BPF and CAP_NET_ADMIN.
        NotSupportedError: The compiled part is missing.
    """
    lib, _ = _native()
    _check(lib.ocikit_device_filter(cgroup, program, len(program) // 8))


def schedule(pid: int, attributes: bytes) -> None:
    """Set how a process is scheduled.

    Args:
        pid: The process; a child of this one, so that the number is its own.
        attributes: ``struct sched_attr`` (sched_setattr(2)), its size in its first word.

    Raises:
        OSError: As the kernel gives it.
        NotSupportedError: The compiled part is missing.
    """
    lib, _ = _native()
    _check(lib.ocikit_schedule(pid, attributes))


def watch_directory(path: str | bytes) -> int:
    """Return a descriptor that is readable when something in a directory was written, made, renamed or removed.

    What it tells is to be read, and of no other use. The caller closes it.

    Raises:
        OSError: As inotify_init1(2) and inotify_add_watch(2) give it.
        NotSupportedError: The compiled part is missing.
    """
    lib, _ = _native()
    return _check(lib.ocikit_watch(os.fsencode(path)), path)


class Spawned:
    """A process that may be there: filled by the C before any Python runs again.

    An interrupt (Ctrl-C) that arrives right after the process was made therefore loses nothing: whoever made this
    object finds the process in it.
    """

    __slots__ = ("_pid", "_pidfd")

    def __init__(self) -> None:
        _, ffi = _native()
        self._pid = ffi.new("int *", -1)
        self._pidfd = ffi.new("int *", -1)

    @property
    def pid(self) -> int:
        """The process id; -1 when there is no process."""
        return int(self._pid[0])

    @property
    def pidfd(self) -> int:
        """A descriptor of the process, owned by this object; -1 when there is none."""
        return int(self._pidfd[0])

    def take_pidfd(self) -> int:
        """Hand the descriptor over to the caller."""
        pidfd = self.pidfd
        self._pidfd[0] = -1
        return pidfd

    def close(self) -> None:
        """Close the descriptor; closing twice is nothing."""
        if self.pidfd >= 0:
            os.close(self.take_pidfd())


def spawn(process: Spawned, executable: int, fds: Sequence[int]) -> None:
    """Start a program without copying this process.

    The calling thread is suspended until the program runs (some tenths of a millisecond); others go on.

    Args:
        process: Where the process is put.
        executable: A descriptor of the program.
        fds: The descriptors that the program gets, as 0, 1, 2, …; where there is -1, it gets none.

    Raises:
        OSError: As clone(2) or execveat(2) give it; a process that failed to execute is in ``process``.
    """
    lib, ffi = _native()
    _check(lib.ocikit_spawn(executable, ffi.new("int[]", list(fds)), len(fds), process._pid, process._pidfd))  # noqa: SLF001


def channel() -> tuple[int, int]:
    """Make a channel to a helper; return its ends, which the caller closes.

    Raises:
        OSError: As socketpair(2) gives it.
        NotSupportedError: The compiled part is missing.
    """
    lib, ffi = _native()
    ours, theirs = ffi.new("int *"), ffi.new("int *")
    _check(lib.ocikit_channel(ours, theirs))
    return int(ours[0]), int(theirs[0])


def say(end: int, word: bytes, fd: int | None = None, *, wait: bool = True) -> None:
    """Say a word to whoever is at the other end of a channel.

    Args:
        end: Our end.
        word: The word.
        fd: A descriptor that goes along; it stays the caller's.
        wait: Whether to wait when there is no room.

    Raises:
        OSError: As sendmsg(2) gives it; ``EPIPE`` when nobody is there.
    """
    lib, _ = _native()
    # After a signal, its handler in Python has its turn.
    while (result := lib.ocikit_say(end, word, len(word), -1 if fd is None else fd, wait)) == -errno.EINTR:
        pass
    _check(result)


class Inbox:
    """Where messages of the helper arrive; filled by the C, for the same reason as :class:`Spawned`."""

    __slots__ = ("_fd", "_said", "_step", "_value", "words")

    def __init__(self) -> None:
        _, ffi = _native()
        #: What the last message said beside its numbers (``WIRE_WORDS``).
        self.words = b""
        self._said = ffi.new("unsigned int *")
        self._step = ffi.new("unsigned int *")
        self._value = ffi.new("int *")
        self._fd = ffi.new("int *", -1)

    @property
    def said(self) -> int:
        """What the last message was (``enum wire_said``)."""
        return int(self._said[0])

    @property
    def step(self) -> int:
        """The index of the step it came from."""
        return int(self._step[0])

    @property
    def answer(self) -> int:
        """Its value: a process id, a tag or an errno."""
        return int(self._value[0])

    @property
    def fd(self) -> int:
        """The descriptor that came with a message, owned by this object; -1 when none did."""
        return int(self._fd[0])

    def take_fd(self) -> int:
        """Hand the descriptor over to the caller."""
        fd = self.fd
        self._fd[0] = -1
        return fd

    def close(self) -> None:
        """Close a descriptor that came with a message; closing twice is nothing."""
        if self.fd >= 0:
            os.close(self.take_fd())

    def receive(self, channel: int) -> bool:
        """Read the message that ``channel`` is known to have.

        Returns:
            False when there is none, because the other end is closed.

        Raises:
            OSError: As recvmsg(2) gives it.
        """
        lib, ffi = _native()
        words, count = ffi.new("char[]", _WORDS), ffi.new("unsigned int *", _WORDS)
        result = lib.ocikit_receive(channel, self._said, self._step, self._value, self._fd, words, count)
        self.words = bytes(ffi.buffer(words, count[0]))
        return bool(_check(result))


def start_helper(process: Spawned, fds: Sequence[int]) -> None:
    """Start the static helper, with the arguments and errors of :func:`spawn`.

    Raises:
        NotSupportedError: The compiled part is missing, or this host forbids executable memory files.
    """
    executable = helper_executable()
    try:
        spawn(process, executable, fds)
    finally:
        os.close(executable)


def helper_executable() -> int:
    """Return a descriptor of the static helper, which the caller closes.

    The helper is in a memory file that is sealed against every change: what a container finds at ``/proc/PID/exe`` is
    neither a file of the host nor anything that can be written to. It is a new one each time, which costs less than
    0.02 ms: who is root in a container and gets hold of the file can give it another mode and owner, open it for
    writing, or take a lease, and each of these keeps the kernel from executing it again.

    Raises:
        NotSupportedError: The compiled part is missing, or this host forbids executable memory files.
    """
    lib, _ = _native()
    try:
        return _check(lib.ocikit_memory_file(b"ocikit-helper", lib.ocikit_helper(), lib.ocikit_helper_length(), True))
    except PermissionError as error:
        raise NotSupportedError(
            "this host forbids executable memory files; set the sysctl vm.memfd_noexec to 0 or 1"
        ) from error


def memory_file(name: str, data: bytes) -> int:
    """Return a descriptor of a new memory file with some content; the caller closes it.

    Raises:
        OSError: As memfd_create(2) and write(2) give it.
        NotSupportedError: The compiled part is missing.
    """
    lib, _ = _native()
    return _check(lib.ocikit_memory_file(name.encode(), data, len(data), False))


def wire_operations() -> Iterator[tuple[str, int]]:
    """Yield the name and the number of strings of every step that the helper knows, in the order of their numbers."""
    lib, ffi = _native()
    number = 0
    while (name := lib.ocikit_op_name(number)) != ffi.NULL:
        yield ffi.string(name).decode(), lib.ocikit_op_strings(number)
        number += 1
