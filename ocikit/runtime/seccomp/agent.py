"""The other end: how a Python program becomes the agent that decides about system calls of containers.

An agent listens at the path that profiles name (``listenerPath``). For each process it gets one connection
(:func:`receive_listener`), and from the descriptor that comes with it one notification after the other::

    received = receive_listener(connection)
    for notification in notifications(received.fd):
        notification.fail(received.fd, errno.EPERM)
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import select
import socket
import struct
from typing import TYPE_CHECKING, Final, Self

from ocikit._tuples import NamedTuple
from ocikit.errors import LimitExceededError, ParseError, SystemCallError
from ocikit.spec import ContainerProcessState
from ocikit.spec.state import SECCOMP_FD_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Notification", "ReceivedListener", "notifications", "receive_listener"]

_MAX_BYTES: Final = 4 * 1024 * 1024
_MAX_FDS: Final = 253  # SCM_MAX_FD: what one message can carry
_PIECE: Final = 1 << 16

# linux/seccomp.h: struct seccomp_notif (with struct seccomp_data in it), struct seccomp_notif_resp, and what they are
# received and sent with.
_NOTIFICATION: Final = struct.Struct("=QIIiIQ6Q")
_ANSWER: Final = struct.Struct("=QqiI")
_RECEIVE: Final = 0xC050_2100
_SEND: Final = 0xC018_2101
_CONTINUE: Final = 1


class ReceivedListener(NamedTuple):
    """What an agent is told about a process."""

    #: The descriptor that notifications come from; the receiver closes it. It is readable when there is one.
    fd: int
    #: Which process of which container it is about.
    state: ContainerProcessState


def receive_listener(connection: socket.socket) -> ReceivedListener:
    """Receive what a runtime sends to an agent, up to the end of the connection.

    Args:
        connection: A connection that was accepted. Its timeout, if it has one, is how long each part may take.

    Raises:
        ParseError: That was no state of a process with a listener.
        LimitExceededError: It has more than 4 MiB.
        OSError: The connection failed, or timed out.
    """
    data = bytearray()
    fds: list[int] = []
    try:
        while piece := _receive(connection, fds):
            data += piece
            if len(data) > _MAX_BYTES:
                raise LimitExceededError("state of a process: bytes", _MAX_BYTES)
        state = ContainerProcessState.from_json(bytes(data))
        if SECCOMP_FD_NAME not in state.fds or len(state.fds) != len(fds):
            found = f"found {len(fds)} for {', '.join(state.fds) or 'none'}"
            raise ParseError("$.fds", f"expected a descriptor for each name, and {SECCOMP_FD_NAME} among them; {found}")
        return ReceivedListener(fds.pop(state.fds.index(SECCOMP_FD_NAME)), state)
    finally:
        for fd in fds:
            os.close(fd)


def _receive(connection: socket.socket, fds: list[int]) -> bytes:
    room = socket.CMSG_SPACE(_MAX_FDS * array.array("i").itemsize)
    data, control, _, _ = connection.recvmsg(_PIECE, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in control:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            numbers = array.array("i")
            numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
            fds += numbers
    return data


class Notification(NamedTuple):
    """A system call that waits for an answer (seccomp_unotify(2)).

    What its arguments point to is in the memory of the process, and the process can change it while the agent looks:
    never let a call go on (:meth:`proceed`) because of what its arguments point to.
    """

    #: Names the call in answers.
    id: int
    #: The thread, as the agent sees it; 0 when it does not.
    pid: int
    #: The number of the system call.
    number: int
    #: AUDIT_ARCH_*: what the number is to be read by.
    architecture: int
    #: Where the program is.
    instruction_pointer: int
    #: All six, whether the call has so many or not.
    arguments: tuple[int, ...]

    @classmethod
    def receive(cls, fd: int) -> Self | None:
        """Wait for the next notification.

        Args:
            fd: The listener.

        Returns:
            None when a process was gone before its notification could be received.

        Raises:
            SystemCallError: The descriptor is no listener.
        """
        # The kernel wants it all zero.
        data = bytearray(_NOTIFICATION.size)
        while True:
            try:
                fcntl.ioctl(fd, _RECEIVE, data)
                break
            except InterruptedError:
                continue
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return None
                raise SystemCallError("receive a notification of seccomp", error.errno or errno.EIO) from error
        number, pid, _, call, architecture, pointer, *arguments = _NOTIFICATION.unpack(data)
        return cls(number, pid, call, architecture, pointer, tuple(arguments))

    def succeed(self, fd: int, result: int = 0) -> None:
        """Let the program believe that its call was carried out, with a result.

        Raises:
            SystemCallError: The answer was refused.
        """
        self._answer(fd, result, 0, 0)

    def fail(self, fd: int, number: int) -> None:
        """Let the call fail with an errno.

        Raises:
            SystemCallError: The answer was refused.
        """
        self._answer(fd, 0, -number, 0)

    def proceed(self, fd: int) -> None:
        """Let the kernel carry the call out.

        Raises:
            SystemCallError: The answer was refused.
        """
        self._answer(fd, 0, 0, _CONTINUE)

    def _answer(self, fd: int, result: int, error: int, flags: int) -> None:
        try:
            fcntl.ioctl(fd, _SEND, _ANSWER.pack(self.id, result, error, flags))
        except OSError as failed:
            # A process that is gone, or was interrupted by a signal, needs no answer any more.
            if failed.errno != errno.ENOENT:
                raise SystemCallError("answer a notification of seccomp", failed.errno or errno.EIO) from failed


def notifications(fd: int) -> Iterator[Notification]:
    """Wait for notifications, and yield one after the other until no process is left that could cause any.

    Each is to be answered; until it is, its process waits. They may be answered in any order, by any thread.

    Args:
        fd: The listener.

    Raises:
        SystemCallError: The descriptor is no listener.
    """
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    # Without a process that has the filter there is nothing but POLLHUP.
    while all(event & select.POLLIN for _, event in waiting.poll()):
        notification = Notification.receive(fd)
        if notification is not None:
            yield notification
