"""The locks that podman and its kin hold while they change something: fcntl on ``layers.lock`` and the like.

Ours belong to the open file and not to the process (open file description locks), so that closing another descriptor
of the same file does not give them up. To those of other processes they are the same.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time
from typing import Final

from ocikit._fs import Descriptor, no_fork

__all__ = ["exclusive_lock", "shared_lock"]

_POLL_SECONDS: Final = 0.02
#: How long a store may be locked by others before that is an error: it may be somebody else's, who never lets go.
_PATIENCE_SECONDS: Final = 120.0
# What a file system says that has no such locks.
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})
_HELD: Final = frozenset({errno.EAGAIN, errno.EACCES})


def shared_lock(directory_fd: int, name: str, where: str, *, patience: float = _PATIENCE_SECONDS) -> Descriptor | None:
    """Keep others from changing what a lock file stands for, until the descriptor is closed.

    Args:
        directory_fd: The directory that the lock file is in.
        name: Its name.
        where: The lock file, for messages.
        patience: How long to wait for those who write, in seconds.

    Returns:
        The descriptor that holds the lock; None when there is no such file, as in a store that nobody writes.

    Raises:
        TimeoutError: The store is locked for longer than ``patience``.
        OSError: The file cannot be opened.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with no_fork:
            file = Descriptor(os.open(name, flags, dir_fd=directory_fd))
    except FileNotFoundError:
        return None
    try:
        _wait(file.fd, fcntl.F_RDLCK, where, time.monotonic() + patience)
    except BaseException:
        file.close()
        raise
    return file


def exclusive_lock(directory_fd: int, name: str, where: str, *, patience: float = _PATIENCE_SECONDS) -> Descriptor:
    """Keep others from reading and changing what a lock file stands for, until the descriptor is closed.

    Args:
        directory_fd: The directory that the lock file is in.
        name: Its name; it is made where it is not there, and stays.
        where: The lock file, for messages.
        patience: How long to wait for others, in seconds.

    Returns:
        The descriptor that holds the lock.

    Raises:
        TimeoutError: Others hold it for longer than ``patience``.
        OSError: The file cannot be opened or made.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with no_fork:
        file = Descriptor(os.open(name, flags, 0o644, dir_fd=directory_fd))
    try:
        _wait(file.fd, fcntl.F_WRLCK, where, time.monotonic() + patience)
    except BaseException:
        file.close()
        raise
    return file


def _wait(fd: int, kind: int, where: str, deadline: float) -> None:
    request = struct.pack("hhqqi", kind, os.SEEK_SET, 0, 0, 0)
    while True:
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, request)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return
            if error.errno not in _HELD:
                raise
        else:
            return
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{where}: somebody is writing there, and has not let go of the lock in time")
        time.sleep(_POLL_SECONDS)
