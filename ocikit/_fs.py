"""The cellar: directories held by descriptor, files that appear whole, locks that order writers.

Three ideas, used by every room that touches a file system:

* **Below a root by descriptor.** A path that somebody else wrote (an image, a bundle) is resolved by the
  kernel relative to an open directory, with every symbolic link scoped to that directory. A path is looked
  up once; what was opened is what is used.
* **Whole or not at all.** A file is written under a temporary name, flushed, renamed and its directory
  flushed, so that a crash leaves the old file or the new one.
* **A directory is its own lock.** ``flock`` on the directory needs no file beside the data that other tools
  would trip over, works between threads and between processes, and goes away with its holder.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
from typing import TYPE_CHECKING, Self

from ocikit import _sys

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

__all__ = [
    "DIRECTORY",
    "TEMPORARY_PREFIX",
    "Descriptor",
    "FlushBehind",
    "ProcessLocks",
    "above_standard_streams",
    "atomic_write",
    "fsync_directory",
    "located",
    "lock_directory",
    "no_fork",
    "open_in_root",
    "remove_tree",
    "write_whole",
]

#: Flags that open a directory, and only a directory, without following a link in the last component.
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

#: Every temporary file of ours begins with this, so that the next writer recognises what a crash left.
TEMPORARY_PREFIX = ".ocikit-tmp-"

_LOCK_POLL_SECONDS = 0.01
_FLUSHED_AT_ONCE = 32 << 20

_LAST_STANDARD_STREAM = 2

# Linux alone has it. Elsewhere this module is imported for its files and locks, and what asks for it is refused.
_PLACE = getattr(os, "O_PATH", 0)

# Descriptors that must not live on in a forked child of the host: a child that holds a copy of a lock's
# descriptor holds the lock, for as long as it runs and without knowing.
_not_in_children: set[int] = set()

#: Held by a thread while what it opens or closes is not in the list, or still in it: no other thread forks meanwhile.
#: For moments only.
no_fork = threading.RLock()


def _close_in_child() -> None:
    for fd in _not_in_children:
        with contextlib.suppress(OSError):
            os.close(fd)
    _not_in_children.clear()
    no_fork.release()


os.register_at_fork(before=no_fork.acquire, after_in_parent=no_fork.release, after_in_child=_close_in_child)


def above_standard_streams(fd: int) -> int:
    """Return a descriptor, which is owned, or a copy in its place that is none of 0, 1 and 2.

    In a host that has closed its standard streams, whatever is opened next takes their numbers, and whoever inherits
    standard streams inherits that.

    Raises:
        OSError: There are too many open descriptors; this one is closed.
    """
    if fd > _LAST_STANDARD_STREAM:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _LAST_STANDARD_STREAM + 1)
    finally:
        os.close(fd)


class ProcessLocks:
    """Locks for the threads of one process: new ones in a forked child, where nobody is left to give up the old ones.

    For what lives as long as the process does: they are renewed as long as it forks.

    Args:
        count: How many there are. Several things may share one.
    """

    def __init__(self, count: int = 1) -> None:
        self._count = count
        self._renew()
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._locks = [threading.Lock() for _ in range(self._count)]

    def of(self, key: Hashable = None) -> threading.Lock:
        """Return the lock of something, to be held in a ``with`` statement.

        Args:
            key: What it is.
        """
        return self._locks[hash(key) % self._count]


class Descriptor:
    """An open file descriptor that closes at the end of a ``with`` block, and in forked children.

    It is never that of a standard stream.

    Args:
        fd: The descriptor; owned from now on.
    """

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = above_standard_streams(fd)
        _not_in_children.add(self.fd)

    def fileno(self) -> int:
        """Return the descriptor; -1 when it is closed."""
        return self.fd

    def close(self) -> None:
        """Close the descriptor; closing twice is nothing."""
        with no_fork:
            fd, self.fd = self.fd, -1
            if fd in _not_in_children:
                _not_in_children.discard(fd)
                os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_in_root(root_fd: int, path: str | bytes, flags: int = _PLACE, mode: int = 0) -> int:
    """Open ``path`` below the directory ``root_fd`` as if that directory were ``/``.

    Absolute paths and absolute symbolic links start at the root, ``..`` stops at it, and links such as those of
    ``/proc/self/fd`` are refused.

    Args:
        root_fd: An open directory.
        path: The path, in terms of that root.
        flags: As for :func:`os.open`; close-on-exec is always added.
        mode: The mode of a file that is created.

    Raises:
        OSError: As for :func:`os.open`; ``ELOOP`` for a magic link.
        NotSupportedError: The compiled part is missing or the kernel is older than 5.6.
    """
    return _sys.openat2(root_fd, path, flags | os.O_CLOEXEC, mode, _sys.RESOLVE_IN_ROOT | _sys.RESOLVE_NO_MAGICLINKS)


def remove_tree(name: str, *, dir_fd: int) -> None:
    """Remove a file, or a directory with everything below it; what is not there is removed already.

    No symbolic link is followed, also when somebody exchanges directories for links meanwhile. Directories
    that their owner may not enter are made so, as images hold some and the unprivileged must be able to remove them.
    One directory is open at a time: what runs in a container nests them deeper than there are descriptors.

    Args:
        name: The name in that directory, without a slash.
        dir_fd: The directory it is in.

    Raises:
        OSError: As the system calls give it; what was removed by then stays removed. ``EBUSY`` when somebody moves
            a directory away while it is emptied.
    """
    fd = _open_or_unlink(name, dir_fd)
    if fd is None:
        return
    try:
        levels = [_Level(name, fd)]
        while levels[-1].names or len(levels) > 1:
            if levels[-1].names:
                child = levels[-1].names.pop()
                below = _open_or_unlink(child, fd)
                if below is not None:
                    fd = _exchanged(fd, below)
                    levels.append(_Level(child, fd))
                continue
            emptied = levels.pop()
            fd = _exchanged(fd, os.open("..", DIRECTORY, dir_fd=fd))
            levels[-1].check(fd)
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(emptied.name, dir_fd=fd)
    finally:
        os.close(fd)
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(name, dir_fd=dir_fd)


class _Level:
    """A directory that is being emptied, on the way down to the one that is open."""

    __slots__ = ("identity", "name", "names")

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self.identity = _identity(fd)
        self.names = os.listdir(fd)

    def check(self, fd: int) -> None:
        # What is above a directory changes when somebody moves it.
        if _identity(fd) != self.identity:
            raise OSError(errno.EBUSY, "a directory was moved away while it was emptied", self.name)


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _exchanged(old: int, new: int) -> int:
    os.close(old)
    return new


def _open_or_unlink(name: str, dir_fd: int) -> int | None:
    """Open a directory that is to be emptied; remove anything else of that name."""
    try:
        return _open_to_empty(name, dir_fd)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=dir_fd)
        return None


def _open_to_empty(name: str, dir_fd: int) -> int:
    if os.geteuid() == 0:
        return os.open(name, DIRECTORY, dir_fd=dir_fd)
    place = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        if os.fstat(place).st_mode & 0o700 != 0o700:
            # fchmod wants a descriptor that was opened for reading, which is what the mode does not allow.
            os.chmod(f"/proc/self/fd/{place}", 0o700)
        return os.open(".", DIRECTORY, dir_fd=place)
    finally:
        os.close(place)


def write_whole(fd: int, data: bytes) -> None:
    """Write all of some data, in as many calls as it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def fsync_directory(directory_fd: int) -> None:
    """Make renames in a directory durable; file systems that cannot sync a directory are left alone."""
    try:
        os.fsync(directory_fd)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise


def atomic_write(
    directory_fd: int,
    name: str,
    data: bytes,
    *,
    mode: int = 0o644,
    durable: bool = True,
    temporary: str | None = None,
) -> None:
    """Write a file so that at every moment the old content or the new content is there, whole.

    Args:
        directory_fd: The directory the file is in.
        name: Its name, without a slash.
        data: Its content.
        mode: Its permissions, regardless of the umask.
        durable: Flush file and directory to the disk before returning. State that dies with the
            machine anyway (below ``/run``) has no need of it.
        temporary: The name that the file has while it is written, of which a crash may have left one; for those who
            hold a lock, where what is left must not lie about. None for one that nobody else has.

    Raises:
        OSError: As the system calls give it; nothing is left behind.
    """
    if temporary is not None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory_fd)
    temporary = temporary or TEMPORARY_PREFIX + os.urandom(8).hex()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        # Within the block that removes it: Ctrl-C may come as soon as the file is there.
        fd = os.open(temporary, flags, 0o600, dir_fd=directory_fd)
        try:
            write_whole(fd, data)
            os.fchmod(fd, mode)
            if durable:
                os.fsync(fd)
        except OSError as error:
            raise located(error, directory_fd, name) from error
        finally:
            os.close(fd)
        os.rename(temporary, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=directory_fd)
        raise
    if durable:
        fsync_directory(directory_fd)


def located(error: OSError, directory_fd: int, name: str = "") -> OSError:
    """Return the error of a call that knew only descriptors ("no space left on device") with the path it is about.

    Args:
        error: The error.
        directory_fd: The directory that the file is in.
        name: The name of the file; empty when it has none that anybody knows.
    """
    if error.filename is not None:
        return error
    with contextlib.suppress(OSError):
        directory = os.readlink(f"/proc/self/fd/{directory_fd}")
        name = f"{directory}/{name}" if name else directory
    return OSError(error.errno, error.strerror, name or None)


@contextlib.contextmanager
def lock_directory(
    path: str | bytes | os.PathLike[str], *, exclusive: bool, timeout: float | None = None, dir_fd: int | None = None
) -> Iterator[int]:
    """Hold a lock on a directory for the length of a ``with`` block.

    Args:
        path: The directory; its last component is not followed when it is a symbolic link.
        exclusive: Keep everybody else out, rather than only those who want to be alone.
        timeout: The longest time to wait, in seconds; None waits as long as it takes.
        dir_fd: The directory that a relative path starts at.

    Yields:
        A descriptor of the directory that is at ``path`` now.

    Raises:
        FileNotFoundError: The directory is not there, or was removed while waiting.
        TimeoutError: The lock was not free in time.
        OSError: As the system calls give it.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    with no_fork:
        directory = Descriptor(os.open(path, DIRECTORY, dir_fd=dir_fd))
    with directory:
        try:
            _flock(directory.fd, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH, deadline, path)
            _check_found(path, dir_fd, directory.fd)
            yield directory.fd
        finally:
            _unlock(directory.fd)


def _check_found(path: str | bytes | os.PathLike[str], dir_fd: int | None, held_fd: int) -> None:
    # Whoever held the lock may have removed the directory and another may have made it anew: a lock on
    # a directory that nobody can find any more orders nothing.
    now = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
    held = os.fstat(held_fd)
    if (now.st_dev, now.st_ino) != (held.st_dev, held.st_ino):
        raise FileNotFoundError(
            errno.ENOENT, "the directory was replaced while its lock was waited for", os.fsdecode(path)
        )


def _unlock(fd: int) -> None:
    # Said, and not left to closing: to list a directory, Python copies its descriptor, and that copy may be in a child
    # that was forked meanwhile.
    with no_fork:
        if fd in _not_in_children:  # else this is a forked child, and the lock its parent's
            fcntl.flock(fd, fcntl.LOCK_UN)


def _flock(fd: int, operation: int, deadline: float | None, path: str | bytes | os.PathLike[str]) -> None:
    if deadline is None:
        fcntl.flock(fd, operation)
        return
    while True:
        try:
            fcntl.flock(fd, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TimeoutError(f"{os.fsdecode(path)}: another process or thread holds the lock") from None
            time.sleep(_LOCK_POLL_SECONDS)
        else:
            return


class FlushBehind:
    """Has the disk begin to write what is appended to a file, a piece at a time: little is left to do for an fsync.

    Args:
        fd: The file.
        start: Where what is appended begins.
    """

    def __init__(self, fd: int, start: int = 0) -> None:
        self._fd = fd
        self._told = start

    def reached(self, end: int) -> None:
        """Say how far the file was written by now. Nothing is waited for, and what is read soon stays in memory."""
        advise = getattr(os, "posix_fadvise", None)
        if end - self._told < _FLUSHED_AT_ONCE or advise is None:
            return
        with contextlib.suppress(OSError):
            # What the kernel does first when pages will not be needed again is to write those that are dirty.
            advise(self._fd, self._told, end - self._told, os.POSIX_FADV_DONTNEED)
        self._told = end
