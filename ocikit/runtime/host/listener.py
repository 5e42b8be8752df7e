"""Who listens at a socket whose path is in the configuration: whether it can be meant."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
from typing import Final

from ocikit.errors import SetupError

__all__ = ["connect", "refuse_stranger", "refused"]

_CREDENTIALS: Final = struct.Struct("=iII")  # struct ucred
_MAX_PATH: Final = 107  # bytes of sun_path (unix(7)), and the NUL behind them


def connect(path: str, action: str, *, what: str, remedy: str, timeout: int) -> socket.socket:
    """Connect to a stream socket that somebody who is meant listens at.

    Args:
        path: Its path.
        action: What is to be done, for the error.
        what: What the path is, for the error.
        remedy: What there must be.
        timeout: How long it may take to connect, and later to send, in seconds.

    Raises:
        SetupError: Nobody listens there, or somebody who may be a stranger.
    """
    name = os.fsencode(path)
    if len(name) > _MAX_PATH or b"\0" in name:
        raise SetupError(action, errno.ENAMETOOLONG, path, f"{what} must have at most {_MAX_PATH} bytes, and no NUL")
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC))
        # By the kernel's own timeout: with Python's, connect(2) to somebody whose queue is full fails at once.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", timeout, 0))
        try:
            connection.connect(name)
        except OSError as error:
            raise refused(action, error, path, remedy) from error
        refuse_stranger(connection, path, action)
        stack.pop_all()
    return connection


def refused(action: str, error: OSError, path: str | None, remedy: str) -> SetupError:
    """Return the error of a socket that could not be connected to or written to."""
    number = errno.ETIMEDOUT if error.errno == errno.EAGAIN else error.errno or errno.EIO
    return SetupError(action, number, path, remedy)


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
