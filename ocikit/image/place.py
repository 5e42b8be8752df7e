"""Where an unpacked image may be put, and how it appears there: whole, or not at all.

An unpacked image holds set-uid programs, device nodes and files of any owner, made by somebody else. On a
directory that other users of the host can enter, they could run those; on one that they can write to, they
could exchange what was unpacked for something of their own before it is used. Such places are refused.

A directory is made under a temporary name beside its own and renamed when it is whole. It is locked
meanwhile, so that the next one who makes a directory beside it knows what a killed process left and removes that.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ocikit._fs import DIRECTORY, TEMPORARY_PREFIX, Descriptor, lock_directory, remove_tree
from ocikit.errors import UnpackError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["new_directory"]

_PREFIX: Final = f"{TEMPORARY_PREFIX}tree-"
_TAKEN: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR})


@contextlib.contextmanager
def new_directory(path: str | os.PathLike[str], *, keeps_others_out: bool) -> Iterator[int]:
    """Make a directory that appears under its name when the block ends well, and otherwise never.

    Directories above it that are missing are made with mode 0700.

    Args:
        path: The directory; it does not exist, or is empty.
        keeps_others_out: Whether the new directory will have mode 0700, or the like. If not, a directory above it
            must keep other users out.

    Yields:
        A descriptor of the new directory, which has mode 0700 and no inherited attributes.

    Raises:
        UnpackError: The place is not safe, or taken, or cannot be written.
    """
    target = Path(os.path.abspath(path))
    with contextlib.ExitStack() as stack:
        try:
            parent_fd = stack.enter_context(_open_parent(target)).fd
            _check_parent(parent_fd, target)
            if not keeps_others_out:
                _check_privacy(target)
            _check_free(parent_fd, target)
            _remove_stale(parent_fd)
            name, fd = _make_temporary(parent_fd, stack)
        except OSError as error:
            raise _reported("make the directory", error, target) from error
        try:
            yield fd
            try:
                os.rename(name, target.name, src_dir_fd=parent_fd, dst_dir_fd=parent_fd)
            except OSError as error:
                remedy = "something else was put there meanwhile" if error.errno in _TAKEN else None
                raise _reported("put the image in its place", error, target, remedy) from error
        except BaseException:
            # What cannot be removed now, the next one to come will try; the error is what matters.
            with contextlib.suppress(OSError):
                remove_tree(name, dir_fd=parent_fd)
            raise


def _reported(action: str, error: OSError, path: Path, remedy: str | None = None) -> UnpackError:
    return error if isinstance(error, UnpackError) else UnpackError(action, error.errno or errno.EIO, str(path), remedy)


def _refused(target: Path, number: int, remedy: str) -> UnpackError:
    return UnpackError("unpack an image", number, str(target), remedy)


def _open_parent(target: Path) -> Descriptor:
    if not target.name:
        raise _refused(target, errno.EINVAL, "give the path of a directory that is to be made")
    missing = []
    above = target.parent
    while not os.path.lexists(above):
        missing.append(above)
        above = above.parent
    for directory in reversed(missing):
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
    return Descriptor(os.open(target.parent, DIRECTORY & ~os.O_NOFOLLOW))


def _check_parent(parent_fd: int, target: Path) -> None:
    info = os.fstat(parent_fd)
    if info.st_uid not in {0, os.geteuid()}:
        raise _refused(target, errno.EPERM, f"{target.parent} belongs to another user (uid {info.st_uid})")
    # In a sticky directory such as /tmp only the owner of a file can rename or remove it.
    if info.st_mode & stat.S_IWOTH and not info.st_mode & stat.S_ISVTX:
        raise _refused(target, errno.EPERM, f"every user can write to {target.parent}: use another directory")
    if info.st_mode & stat.S_IWGRP and not info.st_mode & stat.S_ISVTX and info.st_gid not in {0, os.getegid()}:
        raise _refused(target, errno.EPERM, f"group {info.st_gid} can write to {target.parent}: use another directory")


def _check_privacy(target: Path) -> None:
    """Refuse a place that other users can get at, set-uid programs and all."""
    parent = target.parent.resolve()
    if all(directory.stat().st_mode & stat.S_IXOTH for directory in (parent, *parent.parents)):
        raise _refused(
            target,
            errno.EPERM,
            f"other users can enter {target.parent} and would find set-uid programs in it: chmod 0700 it, or give a "
            "path in a directory that does not exist yet",
        )


def _check_free(parent_fd: int, target: Path) -> None:
    try:
        if not stat.S_ISDIR(os.stat(target.name, dir_fd=parent_fd, follow_symlinks=False).st_mode):
            raise _refused(target, errno.EEXIST, "there is something else of that name")
        with Descriptor(os.open(target.name, DIRECTORY, dir_fd=parent_fd)) as there:
            if os.listdir(there.fd):
                raise _refused(target, errno.ENOTEMPTY, "an image is unpacked into a new or an empty directory")
    except FileNotFoundError:
        pass


def _make_temporary(parent_fd: int, stack: contextlib.ExitStack) -> tuple[str, int]:
    while True:
        name = _PREFIX + secrets.token_hex(8)
        os.mkdir(name, 0o700, dir_fd=parent_fd)
        try:
            fd = stack.enter_context(lock_directory(name, exclusive=True, timeout=0, dir_fd=parent_fd))
        except (FileNotFoundError, TimeoutError):
            # Somebody found it before it was locked, took it for a leftover and removed it.
            continue
        _forget_inheritance(fd)
        return name, fd


def _remove_stale(parent_fd: int) -> None:
    for name in os.listdir(parent_fd):
        if name.startswith(_PREFIX):
            # What cannot be locked is in use, what cannot be removed is somebody else's.
            with (
                contextlib.suppress(OSError, TimeoutError),
                lock_directory(name, exclusive=True, timeout=0, dir_fd=parent_fd),
            ):
                remove_tree(name, dir_fd=parent_fd)


def _forget_inheritance(fd: int) -> None:
    """Take from a new directory what it has from the one above: group, set-gid bit, access control lists."""
    os.fchown(fd, os.geteuid(), os.getegid())
    os.fchmod(fd, 0o700)
    for name in ("system.posix_acl_default", "system.posix_acl_access"):
        with contextlib.suppress(OSError):
            os.removexattr(fd, name)
