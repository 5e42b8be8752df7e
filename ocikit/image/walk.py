"""Find directories below a root one name at a time, so that no path can lead out of it.

A path in a layer may hold any name, and any symbolic link may be on the way, so it is never handed to the kernel
as a whole. Each name is opened in the descriptor of the directory above it and never through a symbolic link;
the target of a link is read and walked in the same way, with ``/`` and ``..`` ending at the root. Somebody
who exchanges directories for links meanwhile changes where below the root one arrives, never whether.
"""

from __future__ import annotations

import errno
import os
import weakref
from typing import TYPE_CHECKING, Final

from ocikit.errors import LayerError

if TYPE_CHECKING:
    from ocikit.image.limits import Limits

__all__ = ["Directory", "Walker"]

# O_PATH needs no permission to read, and with O_NOFOLLOW and O_DIRECTORY opens directories and nothing else. Linux
# alone has it; elsewhere this module can be imported.
_WALK: Final = getattr(os, "O_PATH", 0) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Directories that are held open. A tar file lists directory by directory, so that few are needed at a time.
_OPEN_DIRECTORIES: Final = 128
# Names looked at on the way to one directory, those in the targets of links included.
_STEPS: Final = 2048
_LINKS: Final = 255


class Directory:
    """An open directory; it is closed when nobody refers to it any more, or with its walker.

    Attributes:
        path: Its path below the root, free of symbolic links; empty for the root.
        fd: A descriptor, opened with ``O_PATH``.
    """

    __slots__ = ("__weakref__", "fd", "path")

    def __init__(self, path: bytes, fd: int) -> None:
        self.path = path
        self.fd = fd

    def child(self, name: bytes) -> bytes:
        """Return the path of ``name`` in this directory."""
        return self.path + b"/" + name if self.path else name

    def open(self) -> int:
        """Return a descriptor that the directory can be listed and changed with; the caller closes it.

        Raises:
            OSError: As the system call gives it.
        """
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)

    def names(self) -> list[bytes]:
        """Return the names in the directory.

        Raises:
            OSError: As the system calls give it.
        """
        fd = self.open()
        try:
            return [os.fsencode(name) for name in os.listdir(fd)]
        finally:
            os.close(fd)

    def close(self) -> None:
        """Close the directory; closing twice is nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    # By the last reference and not by the cache: a caller may still hold a directory that the cache gave up, and a
    # descriptor that is closed under it could by then be another directory.
    __del__ = close


class Walker:
    """The ways to the directories below a root, with the last ones held open.

    Args:
        root_fd: The root; not closed.
        limits: The bounds; of these, ``depth`` is kept here.
    """

    def __init__(self, root_fd: int, *, limits: Limits) -> None:
        self._limits = limits
        # All that are open: an error holds those that the calls it went through were at.
        self._open: weakref.WeakSet[Directory] = weakref.WeakSet()
        self._root = self._opened(b"", ".", root_fd)
        # By path without links, and by every path with links that was asked for.
        self._cache: dict[bytes, Directory] = {}

    def close(self) -> None:
        """Close every directory; nothing can be found any more."""
        for directory in list(self._open):
            directory.close()
        self._cache.clear()

    def forget(self) -> None:
        """Look everything up again from now on: a directory or a symbolic link was removed."""
        self._cache.clear()

    def cached(self, path: bytes) -> Directory | None:
        """Return the directory at ``path`` when it is known without looking."""
        return self._cache.get(path)

    def remember(self, path: bytes, directory: Directory) -> None:
        """Let ``path`` stand for a directory until :meth:`forget`."""
        if len(self._cache) >= _OPEN_DIRECTORIES:
            self._cache.clear()
        self._cache[path] = directory

    def find(self, path: bytes) -> Directory | None:
        """Return the directory at ``path``, symbolic links followed inside the root; None when there is none.

        Args:
            path: Its path below the root, cleaned.

        Raises:
            LayerError: There are too many links on the way, or they lead in circles.
            LimitExceededError: The directory is deeper than the limit.
            OSError: As the system calls give it.
        """
        found, missing = self.resolve(path)
        return None if missing else found

    def resolve(self, path: bytes) -> tuple[Directory, list[bytes]]:
        """Return the deepest directory on the way to ``path`` and the names below it that are no directories.

        Raises:
            LayerError: As :meth:`find`.
            LimitExceededError: As :meth:`find`.
            OSError: As the system calls give it.
        """
        here, pending = self._nearest(path)
        missing: list[bytes] = []
        steps = links = 0
        while pending:
            name = pending.pop()
            steps += 1
            if not name or name == b".":
                continue
            if name == b"..":
                # As text, once something is missing: what is not there has no other parent.
                if missing:
                    missing.pop()
                else:
                    here = self.exact(here.path.rpartition(b"/")[0])
            elif missing or (found := self._step(here, name)) is None:
                missing.append(name)
            elif isinstance(found, Directory):
                here = found
            else:
                links += 1
                here = self._root if found.startswith(b"/") else here
                pending.extend(reversed(found.split(b"/")))
            if links > _LINKS or steps > _STEPS:
                raise LayerError(f"the symbolic links on the way to {path!r} lead in circles or too far")
        if not missing:
            self.remember(path, here)
        return here, missing

    def exact(self, path: bytes) -> Directory:
        """Return the directory at a path that has no symbolic links in it.

        Raises:
            OSError: There is no such directory (any more).
        """
        here, pending = self._nearest(path)
        while pending:
            here = self.enter(here, pending.pop())
        return here

    def enter(self, here: Directory, name: bytes) -> Directory:
        """Return the directory called ``name`` in a directory.

        Raises:
            LimitExceededError: It is deeper than the limit.
            OSError: There is none; ``ENOTDIR`` when ``name`` is a symbolic link.
        """
        path = here.child(name)
        found = self._cache.get(path)
        if found is None:
            self.check_depth(path)
            found = self._opened(path, name, here.fd)
            self.remember(path, found)
        return found

    def _opened(self, path: bytes, name: str | bytes, dir_fd: int) -> Directory:
        directory = Directory(path, os.open(name, _WALK, dir_fd=dir_fd))
        self._open.add(directory)
        return directory

    def check_depth(self, path: bytes) -> None:
        """Refuse a directory that is deeper than the limit.

        Raises:
            LimitExceededError: It is.
        """
        depth = path.count(b"/") + 1
        if depth > self._limits.depth:
            raise self._limits.exceeded("depth", f"directories above a file, at {path[:60]!r}…", depth)

    def _nearest(self, path: bytes) -> tuple[Directory, list[bytes]]:
        """Return the deepest open directory on the way, and the names from there, last first."""
        pending: list[bytes] = []
        while path:
            found = self._cache.get(path)
            if found is not None:
                return found, pending
            path, _, name = path.rpartition(b"/")
            pending.append(name)
        return self._root, pending

    def _step(self, here: Directory, name: bytes) -> Directory | bytes | None:
        """Return the directory ``name``, or the target when it is a symbolic link, or None."""
        try:
            return self.enter(here, name)
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            try:
                return os.readlink(name, dir_fd=here.fd)
            except OSError as error:
                if error.errno in {errno.EINVAL, errno.ENOENT}:
                    return None
                raise
