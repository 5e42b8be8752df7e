"""Files of configuration as bytes: bounded, and never waiting for anybody."""

from __future__ import annotations

import os
import stat

from ocikit.errors import InvalidConfigurationError, LimitExceededError

__all__ = ["read_file"]


def read_file(path: str, limit: int, what: str, *, dir_fd: int | None = None) -> bytes | None:
    """Return the content of a file; None where there is none.

    Args:
        path: The file; where it is a link, what that leads to, unless ``dir_fd`` is given.
        limit: How long it may be, in bytes.
        what: What the file is, for messages.
        dir_fd: The directory that it is in.

    Raises:
        LimitExceededError: It is longer.
        InvalidConfigurationError: It is a directory, a pipe, a socket or a block device.
        OSError: It cannot be read.
    """
    if "\0" in path:
        raise InvalidConfigurationError("$", f"there is a zero byte in the path of this {what}", repr(path))
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | (0 if dir_fd is None else os.O_NOFOLLOW)
    try:
        fd = os.open(path, flags, dir_fd=dir_fd)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        mode = os.fstat(fd).st_mode
        # /dev/null is what people give to have none. Who reads a pipe waits for somebody else.
        if not (stat.S_ISREG(mode) or stat.S_ISCHR(mode)):
            raise InvalidConfigurationError("$", f"expected a file with {what}, found something that is no file", path)
        data = bytearray()
        while len(data) <= limit and (part := os.read(fd, limit + 1 - len(data))):
            data += part
    finally:
        os.close(fd)
    if len(data) > limit:
        raise LimitExceededError(f"{path}: bytes of {what}", limit)
    return bytes(data)
