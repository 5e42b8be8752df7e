"""What seccomp(2) of this kernel can do; asking changes nothing."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from typing import Final

from ocikit.runtime.seccomp import codes

__all__ = ["supported_flags", "supports"]

_SECCOMP: Final = {"x86_64": 317, "aarch64": 277}
_SET_MODE_FILTER: Final = 1


@functools.cache
def supports(flags: int) -> bool:
    """Tell whether the kernel takes some SECCOMP_FILTER_FLAG_*.

    When it does not say (a filter around this process keeps it from being asked), it is assumed to.
    """
    number = _SECCOMP.get(os.uname().machine)
    if number is None:
        return True
    libc = ctypes.CDLL(None, use_errno=True)
    call = libc.syscall
    call.argtypes = (ctypes.c_long, ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p)
    call.restype = ctypes.c_long
    # Flags are looked at before the program is, and there is none.
    call(number, _SET_MODE_FILTER, flags, None)
    return ctypes.get_errno() != errno.EINVAL


def supported_flags() -> tuple[str, ...]:
    """Return the names of the flags that can be set here, of those in the specification."""
    return tuple(name for name, flag in codes.FLAGS.items() if supports(with_listener(flag)))


def with_listener(flags: int) -> int:
    """Add the flag that WAIT_KILLABLE_RECV has no meaning without."""
    return flags | (codes.NEW_LISTENER if flags & codes.WAIT_KILLABLE_RECV else 0)
