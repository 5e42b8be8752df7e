"""What a created container waits at: ``exec.fifo``, in the protocol of runc.

Init, all set up, opens the fifo for writing, and that blocks until somebody reads. Who starts the container opens it
for reading, reads the one byte that init writes, and removes the fifo: its absence is what makes a container started.

Init of ours keeps its end open until its program is executed. So the end of the fifo tells whoever started it that this
has happened, and what comes before it, why it could not.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat
from typing import TYPE_CHECKING

from ocikit._fs import Descriptor
from ocikit.errors import NotRunningError, RunningError, StateError, SystemCallError
from ocikit.runtime.state.documents import FIFO_FILE

if TYPE_CHECKING:
    from ocikit.runtime.uninterrupted import Cancellation

__all__ = ["exists", "make", "outcome", "release"]

_MODE = 0o622
_POLL_MILLISECONDS = 200
_LONGEST_REPORT = 1 << 16


def make(directory: int, owner: tuple[int, int]) -> Descriptor:
    """Make the fifo, replacing what an interrupted creation left.

    Args:
        directory: The container's directory.
        owner: User and group of the container's root, as this host knows them.

    Returns:
        A descriptor that can neither be read nor written, for init to open again.
    """
    try:
        try:
            os.mkfifo(FIFO_FILE, _MODE, dir_fd=directory)
        except FileExistsError:
            os.unlink(FIFO_FILE, dir_fd=directory)
            os.mkfifo(FIFO_FILE, _MODE, dir_fd=directory)
        # The umask may have taken from the mode what init needs to write as the container's user.
        os.chmod(FIFO_FILE, _MODE, dir_fd=directory)
        if owner != (os.geteuid(), os.getegid()):
            # Who is not root can give nothing away; by its mode, init may write to it all the same.
            with contextlib.suppress(PermissionError):
                os.chown(FIFO_FILE, *owner, dir_fd=directory, follow_symlinks=False)
        return Descriptor(os.open(FIFO_FILE, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory))
    except OSError as error:
        raise SystemCallError("make fifo", error.errno or errno.EIO, FIFO_FILE) from error


def exists(directory: int) -> bool:
    """Tell whether a container still waits for start."""
    try:
        return stat.S_ISFIFO(os.stat(FIFO_FILE, dir_fd=directory, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def release(directory: int, pidfd: int | None, cancellation: Cancellation) -> Descriptor:
    """Let a created container go on to its program.

    Args:
        directory: Its directory, whose lock is held.
        pidfd: A descriptor of its init; None when that is gone.
        cancellation: Ends the wait for init.

    Returns:
        Our end of the fifo, for :func:`outcome`.

    Raises:
        RunningError: Somebody else has started it.
        NotRunningError: Init has ended before it came to the fifo.
    """
    try:
        fifo = Descriptor(
            os.open(FIFO_FILE, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        )
    except FileNotFoundError:
        raise RunningError("cannot start an already running container") from None
    try:
        _wait_for_init(fifo.fd, pidfd, cancellation)
        os.unlink(FIFO_FILE, dir_fd=directory)
    except BaseException:
        fifo.close()
        raise
    return fifo


def outcome(fifo: int, cancellation: Cancellation) -> bytes:
    """Wait until the program of a released container is executed, or cannot be.

    Init of ours keeps its end open until then; runc's closes it at once.

    Args:
        fifo: Our end.
        cancellation: Ends the wait.

    Returns:
        What init says of a failure (``wire_message`` and words); nothing when there was none.
    """
    found = b""
    waiting = select.poll()
    waiting.register(fifo, select.POLLIN)
    while True:
        cancellation.check()
        if not waiting.poll(_POLL_MILLISECONDS):
            continue
        with contextlib.suppress(BlockingIOError):
            piece = os.read(fifo, _LONGEST_REPORT)
            found += piece
            if not piece or len(found) > _LONGEST_REPORT:
                return found


def _wait_for_init(fifo: int, pidfd: int | None, cancellation: Cancellation) -> None:
    if not stat.S_ISFIFO(os.fstat(fifo).st_mode):
        raise StateError(f"{FIFO_FILE}: expected a fifo, found something else")
    if pidfd is None:
        raise NotRunningError("cannot start a container that has stopped")
    waiting = select.poll()
    waiting.register(fifo, select.POLLIN)
    waiting.register(pidfd, select.POLLIN)
    while True:
        cancellation.check()
        ready = dict(waiting.poll(_POLL_MILLISECONDS))
        if ready.get(fifo, 0) & select.POLLIN and os.read(fifo, 1):
            return
        if pidfd in ready:
            raise NotRunningError("cannot start a container that has stopped: its init ended before it was started")
