"""The state root: a directory with one directory per container, shared with runc and with every other ocikit.

What is in it decides what is signalled and removed, so it is used only if nobody else could have written it. A
container's directory is its lock, held by whoever creates, starts or destroys it; making the directory is what claims
an id. Everything below the root goes through its descriptor.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Self

from ocikit import _fs
from ocikit._tuples import NamedTuple
from ocikit.errors import ExistError, InvalidIDError, NotExistError, StateError, SystemCallError
from ocikit.runtime.state.documents import MAX_STATE_BYTES, OWN_FILE, STATE_FILE, validate_id

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["StateRoot", "default_root", "root_path"]

# runc's modes: others may pass through to exec.fifo, which only they who know its name can open.
_ROOT_MODE = 0o700
_ROOT_OF_ROOT = "/run/runc"
# As runc's, and sticky, which means nothing for the owner: mkdir gives it in the same moment in which it makes the
# directory. So one that is still empty tells whose it is, runc's or ours.
_CONTAINER_MODE = 0o1711

# What a lock is waited for: creating takes milliseconds, destroying at most the time a process takes to die.
_LOCK_SECONDS = 60.0


def default_root() -> str:
    """Return the state root that runc uses when it is told none.

    ``/run/runc`` for root, whatever its environment says; ``$XDG_RUNTIME_DIR/runc`` for other users, and for those who
    are root in a user namespace of theirs, unless ``$USER`` says that they want to be taken for root.
    """
    directory = os.environ.get("XDG_RUNTIME_DIR")
    return os.path.join(directory, "runc") if directory and _is_somebody_else() else _ROOT_OF_ROOT


def root_path(root: str | os.PathLike[str] | None) -> str:
    """Return the absolute path of a state root; that of :func:`default_root` for None."""
    return os.path.abspath(os.fsdecode(root)) if root is not None and os.fspath(root) else default_root()


def _is_somebody_else() -> bool:
    if os.geteuid() != 0:
        return True
    from ocikit.runtime.host.rootless import this_process  # noqa: PLC0415 - only if there is another place to go

    return os.environ.get("USER") != "root" and not this_process().initial


def _elsewhere(path: str) -> str | None:
    """Return where somebody who is not root could have state, instead of where root has it."""
    if path == _ROOT_OF_ROOT and not os.environ.get("XDG_RUNTIME_DIR"):
        return "set XDG_RUNTIME_DIR to a directory of this user's, or give a state root"
    return None


class StateFile(NamedTuple):
    """An open file of a container's directory, which is to be trusted."""

    fd: int
    status: os.stat_result

    def read(self) -> bytes:
        """Return what is in it."""
        return _read_all(self.fd)


class StateRoot:
    """An open state root."""

    def __init__(self, path: str, directory: _fs.Descriptor) -> None:
        #: Its path, as it was given.
        self.path = path
        self._directory = directory

    @classmethod
    def open(cls, path: str) -> Self:
        """Open a state root.

        Raises:
            FileNotFoundError: There is none.
            StateError: Somebody else could have written what is in it.
            SystemCallError: It cannot be opened.
        """
        if not path:
            raise StateError("the state root has no name; give a directory such as /run/runc")
        try:
            directory = _fs.Descriptor(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        except FileNotFoundError:
            raise
        except OSError as error:
            raise SystemCallError("open state root", error.errno or errno.EIO, path, _elsewhere(path)) from error
        try:
            _trust(directory.fd, path)
        except BaseException:
            directory.close()
            raise
        return cls(path, directory)

    @classmethod
    def make(cls, path: str) -> Self:
        """Open a state root, making it if there is none.

        Raises:
            StateError: Somebody else could have written what is in it.
            SystemCallError: It cannot be made or opened.
        """
        try:
            if path:
                os.makedirs(path, _ROOT_MODE, exist_ok=True)
            return cls.open(path)
        except FileNotFoundError as error:
            raise SystemCallError("make state root", errno.ENOENT, path) from error
        except (SystemCallError, StateError):
            raise
        except OSError as error:
            raise SystemCallError("make state root", error.errno or errno.EIO, path, _elsewhere(path)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._directory.close()

    def ids(self) -> list[str]:
        """Return the ids of everything that may be a container, sorted.

        Raises:
            SystemCallError: The directory cannot be read.
        """
        found = []
        try:
            with os.scandir(self._directory.fd) as entries:
                for entry in entries:
                    with contextlib.suppress(InvalidIDError):
                        if entry.is_dir(follow_symlinks=False):
                            found.append(validate_id(entry.name))
        except OSError as error:
            raise SystemCallError("list state root", error.errno or errno.EIO, self.path) from error
        return sorted(found)

    @contextlib.contextmanager
    def directory(self, container_id: str) -> Iterator[int]:
        """Open the directory of a container, without locking it.

        Raises:
            NotExistError: There is none.
            StateError: Somebody else could have written what is in it.
        """
        where = self._where(container_id)
        try:
            opened = _fs.Descriptor(os.open(container_id, _fs.DIRECTORY, dir_fd=self._directory.fd))
        except OSError as error:
            raise _unusable(error, container_id, where) from error
        with opened:
            _trust(opened.fd, where)
            yield opened.fd

    @contextlib.contextmanager
    def lock(self, container_id: str, timeout: float = _LOCK_SECONDS) -> Iterator[int]:
        """Hold the lock of a container that exists.

        Args:
            container_id: Its id.
            timeout: How long to wait for the lock, in seconds.

        Yields:
            A descriptor of its directory.

        Raises:
            NotExistError: There is none, or it was removed while the lock was waited for.
            StateError: Somebody else could have written what is in it.
            TimeoutError: The lock was not free in time.
        """
        where = self._where(container_id)
        with contextlib.ExitStack() as stack:
            lock = _fs.lock_directory(container_id, exclusive=True, timeout=timeout, dir_fd=self._directory.fd)
            try:
                fd = stack.enter_context(lock)
            except TimeoutError:
                raise
            except OSError as error:
                raise _unusable(error, container_id, where) from error
            _trust(fd, where)
            yield fd

    @contextlib.contextmanager
    def claim(self, container_id: str) -> Iterator[int]:
        """Make the directory of a new container, and hold its lock.

        What an interrupted creation by ocikit left behind is locked and handed out as it is: whoever calls this
        looks for :data:`OWN_FILE` in it.

        Yields:
            A descriptor of the directory.

        Raises:
            ExistError: There is a container with this id, or remains that are not ours.
        """
        with contextlib.ExitStack() as stack:
            for _ in range(100):
                self._mkdir(container_id)
                try:
                    fd = stack.enter_context(self.lock(container_id))
                except NotExistError:
                    continue  # whoever cleans up was between our two steps
                if not self.is_unfinished(fd):
                    raise ExistError(f"container with given ID already exists: {container_id} in {self.path}")
                break
            else:
                raise ExistError(
                    f"container {container_id} in {self.path} is being removed and made again all the time"
                )
            yield fd

    def is_unfinished(self, fd: int) -> bool:
        """Tell whether a directory whose lock is held is a creation by ocikit that never came to its end.

        Whoever creates holds the lock until the state is written: there is none, and whoever was creating is gone.
        """
        names = set(os.listdir(fd))
        if STATE_FILE in names:
            return False
        nothing_yet = all(name.startswith(_fs.TEMPORARY_PREFIX) for name in names)
        return OWN_FILE in names or (nothing_yet and bool(os.fstat(fd).st_mode & stat.S_ISVTX))

    def _mkdir(self, container_id: str) -> None:
        try:
            os.mkdir(container_id, _CONTAINER_MODE, dir_fd=self._directory.fd)
        except FileExistsError:
            return
        except OSError as error:
            action = "make directory of container"
            raise SystemCallError(action, error.errno or errno.EIO, self._where(container_id)) from error
        # The umask may have taken away what others need to reach exec.fifo.
        os.chmod(container_id, _CONTAINER_MODE, dir_fd=self._directory.fd)

    def remove(self, container_id: str, fd: int) -> None:
        """Remove the directory of a container, whose lock is held.

        The state goes first and our own file last, so that what an interruption leaves is recognised.

        Raises:
            SystemCallError: It cannot be removed.
        """
        where = self._where(container_id)
        try:
            for _ in range(100):
                self._empty(fd)
                try:
                    os.rmdir(container_id, dir_fd=self._directory.fd)
                except FileNotFoundError:
                    return
                except OSError as error:
                    # Somebody may just have written down how the container ended.
                    if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                        raise
                else:
                    return
        except OSError as error:
            raise SystemCallError("remove directory of container", error.errno or errno.EIO, where) from error
        raise SystemCallError("remove directory of container", errno.ENOTEMPTY, where)

    def _empty(self, fd: int) -> None:
        last = (STATE_FILE, OWN_FILE)
        others = [name for name in os.listdir(fd) if name not in last]
        for name in (*others, *last):
            try:
                os.unlink(name, dir_fd=fd)
            except FileNotFoundError:
                continue
            except IsADirectoryError:
                _fs.remove_tree(name, dir_fd=fd)

    def remove_empty(self, container_id: str) -> bool:
        """Remove a directory if there is nothing in it, and tell whether there was nothing in it."""
        try:
            os.rmdir(container_id, dir_fd=self._directory.fd)
        except OSError:
            return False
        return True

    def read(self, fd: int, name: str, container_id: str) -> bytes | None:
        """Read a file of a container's directory; None when there is none.

        Raises:
            StateError: It is no regular file, too large, or somebody else could have written it.
        """
        with self.file(fd, name, container_id) as file:
            return None if file is None else file.read()

    @contextlib.contextmanager
    def file(self, fd: int, name: str, container_id: str) -> Iterator[StateFile | None]:
        """Open a file of a container's directory.

        Yields:
            The file; None when there is none.

        Raises:
            StateError: It is no regular file, too large, or somebody else could have written it.
        """
        where = f"{self._where(container_id)}/{name}"
        try:
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            file = _fs.Descriptor(os.open(name, flags, dir_fd=fd))
        except FileNotFoundError:
            yield None
            return
        except OSError as error:
            raise StateError(f"{where}: cannot be opened ({error.strerror}); expected a regular file") from error
        with file:
            found = os.fstat(file.fd)
            if not stat.S_ISREG(found.st_mode):
                raise StateError(f"{where}: expected a regular file")
            _check_owner(found, where)
            if found.st_size > MAX_STATE_BYTES:
                raise StateError(f"{where}: {found.st_size:,} bytes; expected at most {MAX_STATE_BYTES:,}")
            yield StateFile(file.fd, found)

    def _where(self, container_id: str) -> str:
        return f"{self.path.rstrip('/')}/{container_id}"


def _unusable(error: OSError, container_id: str, where: str) -> Exception:
    if error.errno == errno.ENOENT:
        return NotExistError(f"container does not exist: {where}")
    if error.errno in {errno.ENOTDIR, errno.ELOOP}:
        return StateError(f"{where}: expected the directory of container {container_id}, found something else")
    return SystemCallError("open directory of container", error.errno or errno.EIO, where)


def _trust(fd: int, where: str) -> None:
    """Refuse what somebody beside root and this user could have written."""
    _check_owner(os.fstat(fd), where)


def _check_owner(found: os.stat_result, where: str) -> None:
    if found.st_uid not in {0, os.geteuid()}:
        raise StateError(f"{where}: belongs to user {found.st_uid}; expected root or user {os.geteuid()}")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = stat.S_IMODE(found.st_mode)
        raise StateError(f"{where}: mode {mode:04o} lets others write; expected {_ROOT_MODE:04o} or less than 0755")


def _read_all(fd: int) -> bytes:
    parts = []
    left = MAX_STATE_BYTES + 1
    while left > 0 and (part := os.read(fd, min(left, 1 << 16))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
