"""What a monitor is given when it is started, and told when there is something to watch."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
from typing import TYPE_CHECKING, Final, Self

from ocikit import _fs
from ocikit._fs import Descriptor
from ocikit._tuples import NamedTuple
from ocikit.errors import SetupError, SystemCallError
from ocikit.runtime import channel
from ocikit.runtime.plan.monitor import Given
from ocikit.runtime.plan.steps import Slot
from ocikit.runtime.state.documents import ATTACH_FILE, LOG_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocikit.runtime.options import CreateOptions, LogOptions

__all__ = ["Keeper", "log_of", "run_time"]

_BACKLOG: Final = 64
_PID: Final = struct.Struct("=i")

#: How long a container may run that may not run for ever, in seconds: a hundred years.
_LONGEST: Final = 3_155_760_000


class _Log(NamedTuple):
    """Where a log is."""

    directory: str
    name: str


def log_of(options: LogOptions, state: str) -> _Log:
    """Return where a log is.

    Args:
        options: What was asked for.
        state: The directory of the container's state.
    """
    if options.path is None:
        return _Log(state, LOG_FILE)
    directory, name = os.path.split(os.path.abspath(os.fsdecode(options.path)))
    return _Log(directory, name)


def run_time(options: CreateOptions) -> int:
    """Return how long a container may run, in milliseconds; 0 for as long as it likes.

    Raises:
        ValueError: That is no time.
    """
    if options.timeout is None:
        return 0
    # Nobody means more than a century, and the kernel counts in 64 bits.
    if not isinstance(options.timeout, (int, float)) or not 0 < options.timeout <= _LONGEST:
        expected = f"a number of seconds above 0, up to {_LONGEST}"
        raise ValueError(f"timeout: expected {expected}, or None, found {options.timeout!r}")
    return max(1, round(options.timeout * 1000))


class Keeper:
    """Holds the descriptors of a monitor until it has them; a context manager."""

    def __init__(self, directory: int, streams: Mapping[int, int], *, owned: bool, root: str) -> None:
        """Open what a monitor is given.

        Args:
            directory: The directory of the container's state, whose lock is held by this descriptor.
            streams: Our ends of the standard streams that are the monitor's, by number.
            owned: Whether the container goes with this process.
            root: The state root.

        Raises:
            SystemCallError: Something cannot be opened.
        """
        self._stack = contextlib.ExitStack()
        self._given: dict[Given, int] = {}
        #: What ends the monitor when it is closed before :meth:`introduce`: there is nothing to watch.
        self.control: Descriptor
        with contextlib.ExitStack() as stack:
            self.control, theirs = map(stack.enter_context, channel.open_pair())
            self._given[Given.CONTROL] = theirs.fd
            # A copy of the descriptor would hold the lock for as long as the monitor lives.
            self._open(stack, Given.DIRECTORY, ".", directory)
            if owned:
                self._open(stack, Given.ROOT, root)
                self._given[Given.OWNER] = stack.enter_context(Descriptor(os.pidfd_open(os.getpid()))).fd
            for number, fd in streams.items():
                os.set_blocking(fd, False)
                self._given[Given(Given.STDIN + number)] = fd
            self._stack = stack.pop_all()

    def listen(self, directory: int) -> None:
        """Make the socket that clients attach to.

        Args:
            directory: The directory of the container's state.

        Raises:
            SystemCallError: It cannot be made.
        """
        try:
            with _fs.no_fork:
                listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
                descriptor = self._stack.enter_context(Descriptor(listener.detach()))
            server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=descriptor.fd)
            try:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(ATTACH_FILE, dir_fd=directory)
                # The path of a state directory may be longer than that of a socket.
                server.bind(f"/proc/self/fd/{directory}/{ATTACH_FILE}")
                os.chmod(ATTACH_FILE, 0o600, dir_fd=directory)
                server.listen(_BACKLOG)
            finally:
                server.detach()
        except OSError as error:
            raise SystemCallError("make the socket to attach to", error.errno or errno.EIO, ATTACH_FILE) from error
        self._given[Given.LISTENER] = descriptor.fd

    def log_to(self, log: _Log) -> None:
        """Open the directory of the log, and see that the log can be written.

        Raises:
            SystemCallError: It cannot.
        """
        directory = self._open(self._stack, Given.LOG, log.directory)
        try:
            # Without waiting for somebody who reads a fifo, and without getting a terminal.
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            with Descriptor(os.open(log.name, flags, 0o600, dir_fd=directory)) as opened:
                # Anything else would be renamed when the log has become too long: /dev/null, say.
                wrong = 0 if stat.S_ISREG(os.fstat(opened.fd).st_mode) else errno.EINVAL
        except OSError as error:
            wrong = error.errno or errno.EIO
        if wrong:
            raise SystemCallError(
                "open the log", wrong, f"{log.directory.rstrip('/')}/{log.name}", "it must be a regular file"
            )

    def _open(self, stack: contextlib.ExitStack, what: Given, path: str, dir_fd: int | None = None) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        try:
            opened = stack.enter_context(Descriptor(os.open(path, flags, dir_fd=dir_fd)))
        except OSError as error:
            raise SystemCallError("open a directory for the monitor", error.errno or errno.EIO, path) from error
        self._given[what] = opened.fd
        return opened.fd

    @property
    def passed(self) -> dict[int, int]:
        """The descriptors of the monitor, by slot."""
        return {Slot.MONITOR + which: fd for which, fd in self._given.items()}

    def introduce(self, pid: int, terminal: int | None) -> None:
        """Tell the monitor who the container's first process is: from now on it watches.

        Args:
            pid: The process, a child of the monitor.
            terminal: Our side of its terminal, of which the monitor gets a copy; None when it has none.

        Raises:
            SetupError: The monitor is gone.
        """
        try:
            channel.say(self.control, _PID.pack(pid), fd=terminal)
        except OSError as error:
            action, remedy = "tell the monitor of its container", "the monitor was killed in the meantime"
            raise SetupError(action, error.errno or errno.EIO, remedy=remedy) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
