"""The listener goes to its agent: one connection, one message, one descriptor (config-linux.md, "listenerPath")."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from ocikit.runtime.host.listener import connect, refused
from ocikit.spec import ContainerProcessState
from ocikit.spec.state import SECCOMP_FD_NAME

if TYPE_CHECKING:
    from ocikit.runtime.seccomp.compile import Listener
    from ocikit.spec import State

__all__ = ["send_listener"]

#: How long an agent may take to accept the connection, and to take what it is sent, in seconds.
_TIMEOUT: Final = 10

_ACTION = "hand the listener of the seccomp filter over: failed to connect with seccomp agent"
_REMEDY = "linux.seccomp.listenerPath must be a stream socket that the agent listens at"


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
    what = "linux.seccomp.listenerPath"
    with connect(listener.path, _ACTION, what=what, remedy=_REMEDY, timeout=_TIMEOUT) as connection:
        try:
            _send(connection, message.to_json(), fd)
        except OSError as error:
            raise refused(_ACTION, error, listener.path, _REMEDY) from error


def _send(connection: socket.socket, message: bytes, fd: int) -> None:
    # The descriptor with the first bytes, and only with them.
    sent = socket.send_fds(connection, [message], [fd], socket.MSG_NOSIGNAL)
    while sent < len(message):
        sent += connection.send(message[sent:], socket.MSG_NOSIGNAL)
