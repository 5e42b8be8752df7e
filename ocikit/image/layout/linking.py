"""Blobs that one file serves for two layouts: verified once, and believed as long as the file is untouched.

A second name costs nothing, and reading a file to verify it costs what copying it would. So what was verified is
remembered, for as long as the process lives, by what the kernel changes whenever the content may have changed: inode,
size, times of modification and of change. A second name changes the latter too; whoever gives it, here, looks before
and after.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from ocikit._tuples import NamedTuple
from ocikit.errors import DigestMismatchError, SizeMismatchError
from ocikit.spec import Digest

if TYPE_CHECKING:
    from ocikit.image.types import BlobInfo

__all__ = ["give_name", "verify_file"]

_PIECE: Final = 1 << 20
_REMEMBERED: Final = 100_000
# The longest that a clock of a file system stands still.
_GRAIN_NS: Final = 20_000_000
# What link(2) says where a file cannot have another name: another file system, none that has links, too many of them,
# a file that this process may not link to (protected_hardlinks).
_CANNOT: Final = frozenset({errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.ENOENT})


class _Untouched(NamedTuple):
    """What stays the same as long as nobody touches a file."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


_verified: OrderedDict[_Untouched, Digest] = OrderedDict()
_lock = threading.Lock()


def _identity(fd: int) -> _Untouched:
    status = os.fstat(fd)
    return _Untouched(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _remember(identity: _Untouched, digest: Digest) -> None:
    with _lock:
        _verified[identity] = digest
        if len(_verified) > _REMEMBERED:
            _verified.popitem(last=False)


def verify_file(fd: int, info: BlobInfo, what: str) -> None:
    """Return when a file is the blob that it is said to be; it is read unless that was done before.

    Args:
        fd: The file.
        info: What it must be; its digest is given.
        what: What it is, for messages.

    Raises:
        SizeMismatchError: It has another size.
        DigestMismatchError: It has another digest.
        OSError: It cannot be read.
    """
    if info.digest is None:
        raise ValueError(f"{what}: a file without a digest cannot be verified")
    before = _identity(fd)
    if 0 <= info.size != before.size:
        raise SizeMismatchError(what, info.size, before.size)
    with _lock:
        known = _verified.get(before)
    if known == info.digest:
        return
    hasher, position = info.digest.hasher(), 0
    while data := os.pread(fd, _PIECE, position):
        hasher.update(data)
        position += len(data)
    actual = Digest.from_hasher(hasher)
    if actual != info.digest:
        raise DigestMismatchError(what, info.digest, actual)
    # Times have a grain: what was written to within the last moment could be written to again without a trace.
    if _identity(fd) == before and _is_settled(before):
        _remember(before, actual)


def _is_settled(identity: _Untouched) -> bool:
    now = time.time_ns()
    return all(now - then > _GRAIN_NS for then in (identity.mtime_ns, identity.ctime_ns))


def give_name(fd: int, name: str, directory_fd: int) -> bool:
    """Give an open file one more name; say whether that could be done.

    Args:
        fd: The file; verified before.
        name: The name, without a slash; it does not exist.
        directory_fd: The directory.

    Raises:
        FileExistsError: The name exists.
        OSError: As the system call gives it.
    """
    before = _identity(fd)
    try:
        os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=directory_fd, follow_symlinks=True)
    except OSError as error:
        if error.errno in _CANNOT:
            return False
        raise
    after = _identity(fd)
    with _lock:
        known = _verified.get(before)
    if known is not None and after[:4] == before[:4]:
        _remember(after, known)
    return True
