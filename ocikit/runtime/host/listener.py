"""Who listens at a socket whose path is in the configuration: whether it can be meant."""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from typing import Final

from ocikit.errors import SetupError

__all__ = ["refuse_stranger"]

_CREDENTIALS: Final = struct.Struct("=iII")  # struct ucred


def refuse_stranger(connection: socket.socket, path: str, action: str) -> None:
    """Refuse a listener that somebody else may have put where everybody may put something.

    Such as a socket in ``/tmp``: whoever was there first would be given the terminal of a container, or decide about
    its system calls. It is the rule that the kernel has for fifos (``fs.protected_fifos``, proc_sys_fs(5)).

    Args:
        connection: A connection to it.
        path: Its path.
        action: What was to be done, for the error.

    Raises:
        SetupError: Everybody may write to its directory, and it belongs neither to root, nor to this user, nor to the
            owner of that directory.
    """
    _, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    if uid in {0, os.geteuid()}:
        return
    directory = os.stat(os.path.dirname(os.path.abspath(path)))
    if directory.st_mode & stat.S_IWOTH and uid != directory.st_uid:
        remedy = f"user {uid} listens there, where everybody may put something; have it in a directory of your own"
        raise SetupError(action, errno.EACCES, path, remedy)
