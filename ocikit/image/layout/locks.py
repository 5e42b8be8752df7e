"""Who waits for whom: shared for those who rely on blobs, exclusive for those who remove some.

A lock on a directory would make a thread that holds it, and asks for it again the other way, wait for itself
for ever. That is noticed here and is an error.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from typing import TYPE_CHECKING, Final

from ocikit._fs import ProcessLocks, lock_directory
from ocikit.errors import LayoutBusyError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["hold"]

# What a file system says that has no such locks.
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})

# The directories (device, inode) that are locked here, by which threads and whether exclusively; what a forked
# parent holds means nothing.
_held: dict[tuple[int, int], list[tuple[int, bool]]] = {}
_guard = ProcessLocks()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_held.clear)


@contextlib.contextmanager
def hold(path: str, *, exclusive: bool, where: str, dir_fd: int | None = None, required: bool = True) -> Iterator[None]:
    """Hold the lock of a directory for the length of a ``with`` block, however long others take to give it up.

    Args:
        path: The directory; not followed when it is a symbolic link.
        exclusive: Keep everybody else out, rather than only those who want to be alone.
        where: What is locked, for messages.
        dir_fd: The directory that a relative path starts at.
        required: Whether it is an error when the file system has no locks.

    Raises:
        LayoutBusyError: This thread itself holds the lock in a way that would make it wait for ever.
        OSError: The directory cannot be opened or locked.
    """
    status = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
    key, thread = (status.st_dev, status.st_ino), threading.get_ident()
    with _guard.of():
        own = any(holder == thread and (exclusive or alone) for holder, alone in _held.get(key, ()))
    if own:
        raise LayoutBusyError(
            f"{where}: an image in it is open in this thread; close that source or destination first, "
            "or leave its with block"
        )
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock_directory(path, exclusive=exclusive, dir_fd=dir_fd))
        except OSError as error:
            if required or error.errno not in _NO_LOCKS:
                raise
        with _guard.of():
            _held.setdefault(key, []).append((thread, exclusive))
        try:
            yield
        finally:
            with _guard.of():
                holders = _held.get(key, [])
                if (thread, exclusive) in holders:
                    holders.remove((thread, exclusive))
                if not holders:
                    _held.pop(key, None)
