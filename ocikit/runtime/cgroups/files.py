"""Files of control groups: read, written, and taken apart.

Paths are used as they stand: there are no links in a cgroup file system, and nobody but the kernel makes files in it.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from ocikit.errors import CgroupError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["GONE", "flat", "nested", "number", "read_file", "read_number", "write_file"]

_PIECE: Final = 1 << 15

#: What the kernel says of a file of a cgroup that was removed.
GONE = frozenset({errno.ENOENT, errno.ENODEV})


def read_file(path: str, *, dir_fd: int | None = None) -> str | None:
    """Return the text of a file of a cgroup; None when the cgroup, or this file of it, is not there.

    Raises:
        CgroupError: The kernel refuses.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=dir_fd)
        try:
            parts = []
            while part := os.read(fd, _PIECE):
                parts.append(part)
        finally:
            os.close(fd)
        return b"".join(parts).decode("ascii", "replace")
    except OSError as error:
        # ENOTSUP: a threaded v2 cgroup lists no processes, and a kernel without it tells of no pressure.
        if error.errno in GONE | {errno.EOPNOTSUPP, errno.ENOTDIR}:
            return None
        raise CgroupError("read", error.errno or errno.EIO, path) from error


def write_file(path: str, value: str, *, dir_fd: int | None = None) -> None:
    """Write a value into an existing file of a cgroup.

    Raises:
        OSError: As the kernel gives it.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=dir_fd)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def number(text: str) -> int | None:
    """Read a number; None for ``max``, and for what is none."""
    text = text.strip()
    return int(text) if text.lstrip("-").isdecimal() else None


def read_number(path: str) -> int | None:
    """Read a file with one number; None when it is not there, or says ``max``."""
    return number(read_file(path) or "")


def flat(text: str | None) -> dict[str, int]:
    """Read lines of a name and a number."""
    found = {}
    for line in (text or "").splitlines():
        name, _, value = line.partition(" ")
        amount = number(value)
        if amount is not None:
            found[name] = amount
    return found


def nested(text: str | None) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield, of lines such as ``8:0 rbytes=1 wbytes=2``, the first word with the pairs that follow it."""
    for line in (text or "").splitlines():
        name, *pairs = line.split() or [""]
        if name:
            yield name, dict(pair.split("=", 1) for pair in pairs if "=" in pair)
