"""Files on their way: under a name of their own until they are whole, and locked so that all can see who writes.

A file that nobody holds the lock of is what a crash left behind; the next writer removes it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
from typing import TYPE_CHECKING, Final

from ocikit._fs import TEMPORARY_PREFIX, Descriptor, fsync_directory, located
from ocikit._tuples import NamedTuple
from ocikit.image.layout.appending import Appender

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

__all__ = ["PARTIAL_PREFIX", "StaleFile", "TemporaryFile", "find_stale", "has_name", "remove_stale"]

# Apart from the files of _fs.atomic_write, which live for a moment and hold no lock.
_PREFIX: Final = TEMPORARY_PREFIX + "new-"
#: What the names of partial blobs begin with (:mod:`~ocikit.image.layout.partial`), which stay when nobody writes them.
PARTIAL_PREFIX: Final = TEMPORARY_PREFIX + "part-"
_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class StaleFile(NamedTuple):
    """A temporary file that nobody writes any more."""

    #: Its name in its directory.
    name: str
    #: Its size in bytes.
    size: int


class TemporaryFile:
    """A file that does not have its name yet; gone at the end of the ``with`` block unless :meth:`rename` was called.

    Args:
        directory_fd: The directory it is made in; on the file system of its final place. Stays open while the
            file is in use.
        mode: Its permissions, less the umask: who keeps others out of new files keeps them out of these.

    Raises:
        OSError: As the system calls give it.
    """

    def __init__(self, directory_fd: int, *, mode: int = 0o644) -> None:
        self._directory_fd = directory_fd
        self._name: str | None = None
        self._file: Descriptor | None = None
        try:
            while True:
                # The name first: when Ctrl-C takes the descriptor away, there is still something to remove it by.
                self._name = _PREFIX + secrets.token_hex(8)
                self._file = Descriptor(self._opened(self._name, mode))
                fcntl.flock(self.fileno(), fcntl.LOCK_EX)
                if os.fstat(self.fileno()).st_nlink:
                    break
                # Somebody took it for a leftover in the moment before it was locked.
                self._file.close()
        except BaseException:
            self.close()
            raise
        self._appender = Appender(self.fileno())

    def _opened(self, name: str, mode: int) -> int:
        try:
            return os.open(name, _NEW, mode, dir_fd=self._directory_fd)
        except OSError as error:
            # Where one may not write is what counts, and not what would have been written.
            raise located(OSError(error.errno, error.strerror), self._directory_fd) from error

    def fileno(self) -> int:
        """Return the descriptor, open for reading and writing; -1 when it is closed."""
        return self._file.fd if self._file is not None else -1

    def write(self, data: bytes) -> None:
        """Append all of ``data``; it is in the file when that has its name."""
        try:
            self._appender.write(data)
        except OSError as error:
            raise located(error, self._directory_fd) from error

    def rename(self, name: str, directory_fd: int) -> None:
        """Give the file its name, in place of what has it; the content is on disk before the name is.

        The directory is not flushed: several renames may share that.

        Args:
            name: The name, without a slash.
            directory_fd: The directory it is in.
        """
        if self._name is None:
            raise FileNotFoundError(errno.ENOENT, "the temporary file has its name already", name)
        try:
            self._appender.flush()
            os.fsync(self.fileno())
        except OSError as error:
            raise located(error, self._directory_fd, name) from error
        os.rename(self._name, name, src_dir_fd=self._directory_fd, dst_dir_fd=directory_fd)
        self._name = None

    def close(self) -> None:
        """Close the file, and remove it unless it was renamed; closing twice is nothing."""
        name, self._name = self._name, None
        if name is not None:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._directory_fd)
        if self._file is not None:
            self._file.close()

    # Ctrl-C may come after this was made and before the with block was entered.
    __del__ = close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def has_name(fd: int, name: str, directory_fd: int) -> bool:
    """Say whether an open file is still the one that has a name in a directory.

    Whoever waited for its lock has to know: it may have been renamed, removed or replaced meanwhile.
    """
    try:
        found = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    own = os.fstat(fd)
    return (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)


def _partial(name: str, status: os.stat_result) -> bool:
    del status
    return name.startswith(PARTIAL_PREFIX)


def remove_stale(
    directory_fd: int, *, prefix: str = _PREFIX, spared: Callable[[str, os.stat_result], bool] = _partial
) -> tuple[StaleFile, ...]:
    """Remove the temporary files in a directory that nobody is writing any more.

    Args:
        directory_fd: The directory.
        prefix: What their names begin with. :data:`~ocikit._fs.TEMPORARY_PREFIX` includes files that are
            written without a lock: only for those who keep all their writers out.
        spared: What stays all the same, by its name and state; partial blobs unless somebody knows better.

    Returns:
        What was removed.
    """
    removed = _each_stale(directory_fd, prefix, spared, lambda name: os.unlink(name, dir_fd=directory_fd))
    if removed:
        fsync_directory(directory_fd)
    return removed


def find_stale(
    directory_fd: int, *, prefix: str = _PREFIX, spared: Callable[[str, os.stat_result], bool] = _partial
) -> tuple[StaleFile, ...]:
    """Return what :func:`remove_stale` would remove, and leave it there."""
    return _each_stale(directory_fd, prefix, spared, lambda _: None)


def _each_stale(
    directory_fd: int, prefix: str, spared: Callable[[str, os.stat_result], bool], act: Callable[[str], None]
) -> tuple[StaleFile, ...]:
    names = [name for name in os.listdir(directory_fd) if name.startswith(prefix)]
    found = (_act_if_stale(directory_fd, name, spared, act) for name in sorted(names))
    return tuple(one for one in found if one is not None)


def _act_if_stale(
    directory_fd: int, name: str, spared: Callable[[str, os.stat_result], bool], act: Callable[[str], None]
) -> StaleFile | None:
    # Whatever is not ours to remove stays: this tidies up, nobody waits for it.
    with contextlib.suppress(OSError):
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with Descriptor(os.open(name, flags, dir_fd=directory_fd)) as file:
            status = os.fstat(file.fd)
            if not stat.S_ISREG(status.st_mode) or spared(name, status):
                return None
            fcntl.flock(file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not has_name(file.fd, name, directory_fd):
                return None  # it was finished before it was locked, and the name may be another's now
            act(name)
            return StaleFile(name, status.st_size)
    return None
