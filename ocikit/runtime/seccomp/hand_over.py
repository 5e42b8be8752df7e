"""The listener goes to its agent: one connection, one message, one descriptor (config-linux.md, "listenerPath")."""

from __future__ import annotations

import array
import errno
import socket
import struct
from typing import TYPE_CHECKING, Final

from ocikit.errors import SetupError
from ocikit.runtime.host.listener import refuse_stranger
from ocikit.spec import ContainerProcessState
from ocikit.spec.state import SECCOMP_FD_NAME

if TYPE_CHECKING:
    from ocikit.runtime.seccomp.compile import Listener
    from ocikit.spec import State

__all__ = ["send_listener"]

#: How long an agent may take to accept the connection, and to take what it is sent, in seconds.
_TIMEOUT: Final = 10

_ACTION = "hand the listener of the seccomp filter over: failed to connect with seccomp agent"
_MAX_PATH: Final = 107  # bytes of sun_path (unix(7)), and the NUL behind them


def send_listener(listener: Listener, fd: int, pid: int, state: State) -> None:
    """Tell an agent about a process, and give it the descriptor that notifications of its system calls come from.

    Args:
        listener: Where the agent is, and what it is told.
        fd: The descriptor; it stays the caller's.
        pid: The process, as this process sees it.
        state: The container that it belongs to.

    Raises:
        SetupError: There is no agent at that path, or it does not take the message within ten seconds.
    """
    message = ContainerProcessState(fds=(SECCOMP_FD_NAME,), pid=pid, metadata=listener.metadata, state=state)
    path = listener.path.encode("utf-8", "surrogateescape")
    if len(path) > _MAX_PATH or b"\0" in path:
        remedy = f"linux.seccomp.listenerPath must have at most {_MAX_PATH} bytes, and no NUL"
        raise SetupError(_ACTION, errno.ENAMETOOLONG, listener.path, remedy)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        # By the kernel's own timeout: with Python's, connect(2) to an agent whose queue is full fails at once.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", _TIMEOUT, 0))
        try:
            connection.connect(path)
            refuse_stranger(connection, listener.path, _ACTION)
            _send(connection, message.to_json(), fd)
        except SetupError:
            raise
        except OSError as error:
            timed_out = error.errno == errno.EAGAIN
            number = errno.ETIMEDOUT if timed_out else error.errno or errno.EIO
            remedy = "linux.seccomp.listenerPath must be a stream socket that the agent listens at"
            raise SetupError(_ACTION, number, listener.path, remedy) from error


def _send(connection: socket.socket, message: bytes, fd: int) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
    # The descriptor with the first bytes, and only with them.
    sent = connection.sendmsg([message], rights, socket.MSG_NOSIGNAL)
    while sent < len(message):
        sent += connection.send(message[sent:], socket.MSG_NOSIGNAL)
