"""Descriptors of our own, kept out of the way of those that a caller passes on by number."""

from __future__ import annotations

import os
from typing import Final

__all__ = ["put_aside"]

# Containers are passed descriptors from 3 on, at most some hundred; a process may have at least 1024.
_FIRST: Final = 500


def put_aside(fd: int) -> int:
    """Move a descriptor to a high number, and return that."""
    import fcntl  # noqa: PLC0415 - most commands are used without

    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST)
    finally:
        os.close(fd)
