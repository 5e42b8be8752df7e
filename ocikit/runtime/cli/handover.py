"""What a caller hands over, and what it gets handed: descriptors, process ids, sockets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from ocikit.runtime.cli.dispatch import CommandError

if TYPE_CHECKING:
    import socket

__all__ = ["PidfdSocket", "check_terminal", "descriptors", "write_pid"]

_FIRST = 3  # after the standard streams


def check_terminal(terminal: bool, console_socket: str, *, detached: bool) -> None:  # noqa: FBT001
    """Refuse a terminal that nobody would have, and a socket that nothing would be sent to.

    Raises:
        CommandError: It is one of these.
    """
    if detached and terminal and not console_socket:
        raise CommandError("cannot allocate tty if runc will detach without setting console socket")
    if console_socket and not (detached and terminal):
        raise CommandError("cannot use console socket if runc will not detach or allocate tty")


def descriptors(preserved: int, *, activation: bool) -> tuple[int, tuple[int, ...]]:
    """Find the descriptors that the program is to get beside its standard streams.

    Args:
        preserved: How many the caller asked for, after those of socket activation.
        activation: Whether those of socket activation (sd_listen_fds(3)) are passed on.

    Returns:
        How many are of socket activation, and all of them.

    Raises:
        CommandError: One of them is not open.
    """
    listening = _activated() if activation else 0
    if preserved < 0:
        raise CommandError(f"--preserve-fds: expected 0 or more, found {preserved}")
    fds = tuple(range(_FIRST, _FIRST + listening + preserved))
    for number, fd in enumerate(fds):
        try:
            os.fstat(fd)
        except OSError:
            which = number - listening
            raise CommandError(
                f"unable to stat preserved-fd {which} (of {preserved}): descriptor {fd} is not open"
            ) from None
    return listening, fds


def _activated() -> int:
    """Return how many descriptors this process, and no parent of it, was passed to listen at."""
    pid, count = os.environ.get("LISTEN_PID", ""), os.environ.get("LISTEN_FDS", "")
    if pid.isascii() and pid.isdigit() and count.isascii() and count.isdigit() and int(pid) == os.getpid():
        return int(count)
    return 0


def write_pid(path: str, pid: int) -> None:
    """Write a process id to a file, which is whole or not there; nothing without a path."""
    if not path:
        return
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}")
    with open(temporary, "x", encoding="ascii") as file:
        file.write(str(pid))
    os.rename(temporary, path)


class PidfdSocket:
    """A socket that is sent a descriptor of a process. Connected first, so that nothing is made for nobody."""

    def __init__(self, path: str) -> None:
        """Connect to a unix socket; without a path nothing is connected, and nothing sent.

        Raises:
            CommandError: Nobody listens there.
        """
        self._socket: socket.socket | None = None
        if path:
            self._socket = _connect(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._socket.close()

    def send(self, pid: int, name: str) -> None:
        """Send a descriptor of a process that this one has started, together with the kind of process it is."""
        if self._socket is None:
            return
        import socket  # noqa: PLC0415 - asked for rarely

        pidfd = os.pidfd_open(pid)
        try:
            socket.send_fds(self._socket, [name.encode()], [pidfd])
        finally:
            os.close(pidfd)


def _connect(path: str) -> socket.socket:
    import socket  # noqa: PLC0415 - asked for rarely

    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
    except OSError as error:
        connection.close()
        raise CommandError(f"connect to {path}: {error.strerror or error}") from error
    return connection
