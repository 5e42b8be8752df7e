"""The configuration of a bundle, as it is read: once for all containers that are made from the same bytes."""

from __future__ import annotations

import errno
import functools
import os
from typing import TYPE_CHECKING, Final

from ocikit.errors import BundleError, LimitExceededError, SystemCallError

if TYPE_CHECKING:
    from ocikit.spec import Spec

__all__ = ["read_spec"]

_MAX_CONFIG_BYTES: Final = 4 * 1024 * 1024
_PIECE: Final = 1 << 16


def read_spec(bundle: str, name: str = "config.json") -> Spec:
    """Read the configuration of a bundle.

    Args:
        bundle: Its directory.
        name: The file, below the bundle or absolute.

    Raises:
        BundleError: There is none.
        ParseError: It cannot be read.
        LimitExceededError: It is larger than 4 MiB.
        SystemCallError: It cannot be opened.
    """
    path = os.path.join(bundle, name)
    try:
        data = _read(path)
    except FileNotFoundError:
        raise BundleError(f"{bundle}: expected a bundle, but there is no {name} in it") from None
    except OSError as error:
        raise SystemCallError("read the configuration", error.errno or errno.EIO, path) from error
    if len(data) > _MAX_CONFIG_BYTES:
        raise LimitExceededError(f"{path}: bytes", _MAX_CONFIG_BYTES)
    return _parse_spec(data)


def _read(path: str) -> bytes:
    """Return what is in a file, or enough of it to be too much. An open file of Python's own takes longer to make."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = b""
        while len(data) <= _MAX_CONFIG_BYTES and (piece := os.read(fd, _PIECE)):
            data += piece
        return data
    finally:
        os.close(fd)


@functools.lru_cache(maxsize=32)
def _parse_spec(data: bytes) -> Spec:
    """Read a configuration; one that was read before is the same object, of which much is known already."""
    from ocikit.spec import Spec  # noqa: PLC0415 - the classes of the specification are many

    return Spec.from_json(data)
