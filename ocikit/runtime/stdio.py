"""Standard input, output and error of a container: where they come from, and our end of those that are pipes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import stat
from typing import TYPE_CHECKING, BinaryIO, Final, Literal, Protocol, Self

from ocikit._fs import Descriptor, above_standard_streams, no_fork

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["HasFileno", "Stdio", "Stream", "broken_pipes_raise", "check_preserved", "with_terminal"]


class HasFileno(Protocol):
    """An open file of any kind."""

    def fileno(self) -> int:
        """Return its descriptor."""
        ...


#: What a standard stream of a container is: that of this process, nothing, a pipe to this process, a descriptor or
#: an open file; the monitor's, if the container has one (it logs output, and serves those who attach); or for standard
#: error also the container's standard output.
Stream = Literal["inherit", "null", "pipe", "monitor", "stdout"] | int | HasFileno

_NAMES: Final = ("stdin", "stdout", "stderr")
_STDERR: Final = 2
_EVERYBODY: Final = 0o666


_MAX_PRESERVED: Final = 128  # what there is room for, from Slot.PRESERVED on


def check_preserved(fds: Sequence[int]) -> None:
    """Refuse descriptors for a program that are too many, or not open here.

    Raises:
        ValueError: They are.
    """
    if len(fds) > _MAX_PRESERVED:
        raise ValueError(f"preserve_fds: expected at most {_MAX_PRESERVED}, found {len(fds)}")
    for fd in fds:
        try:
            os.fstat(fd)
        except OSError as error:
            raise ValueError(f"preserve_fds: expected open descriptors, found {fd}: {error.strerror}") from None


def with_terminal(streams: tuple[Stream, Stream, Stream]) -> tuple[Stream, Stream, Stream]:
    """Return the streams of a process until its terminal takes their place: nothing.

    Args:
        streams: What was asked for.

    Raises:
        ValueError: Something was.
    """
    for name, stream in zip(_NAMES, streams, strict=True):
        if stream != "inherit":
            raise ValueError(f"{name}: the terminal of the process takes its place; leave it out, found {stream!r}")
    return "null", "null", "null"


class Stdio:
    """The three streams. A context manager: at its end the container's ends are closed, ours only after a failure.

    Made before anything else is opened: what a process opens that has no standard streams takes their numbers.
    """

    def __init__(self, streams: Sequence[Stream], owner: tuple[int, int] | None = None) -> None:
        """Open what has to be opened.

        Args:
            streams: Standard input, output and error.
            owner: User and group of the container's process, as this host knows them. Pipes are given to them, so
                that the process can open ``/dev/stdout``; None leaves pipes to this process's user.

        Raises:
            ValueError: A stream is none of what it can be.
        """
        #: Our ends, by number of the stream; none for streams that are no pipes.
        self.files: dict[int, BinaryIO] = {}
        #: The monitor's ends of those streams that are the monitor's, by number.
        self.monitored: dict[int, int] = {}
        self._to_close: list[Descriptor] = []
        self._fds: list[int] = []
        self._owner = owner
        try:
            for number, stream in enumerate(streams):
                self._fds.append(self._open(number, stream))
        except BaseException:
            self._close_all()
            raise

    @property
    def fds(self) -> tuple[int, int, int]:
        """The container's ends, as descriptors of this process."""
        return self._fds[0], self._fds[1], self._fds[2]

    def descriptors(self) -> tuple[str, ...]:
        """Return what the container's ends are, as ``readlink`` shows them."""
        return tuple(os.readlink(f"/proc/self/fd/{fd}") for fd in self._fds)

    def give(self) -> None:
        """Give to the owner what was opened by others, too: files, pipes and sockets; no terminal and no device.

        Other OCI runtimes do so for whoever calls them. What cannot be given away stays whose it is.
        """
        if self._owner is None:
            return
        for fd in self.fds:
            kind = stat.S_IFMT(os.fstat(fd).st_mode)
            if kind not in {stat.S_IFCHR, stat.S_IFBLK}:
                with contextlib.suppress(OSError):
                    os.fchown(fd, *self._owner)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._close_theirs()
        else:
            self._close_all()

    def _close_theirs(self) -> None:
        for descriptor in self._to_close:
            descriptor.close()

    def _close_all(self) -> None:
        self._close_theirs()
        for file in self.files.values():
            file.close()

    def _open(self, number: int, stream: Stream) -> int:
        if stream == "inherit":
            return self._inherit(number)
        if stream == "null":
            return self._null()
        if stream == "pipe":
            return self._pipe(number)
        if stream == "monitor":
            return self._monitored(number)
        if stream == "stdout" and number == _STDERR:
            return self._fds[1]
        if isinstance(stream, int) and not isinstance(stream, bool):
            fd = stream
        elif not isinstance(stream, (str, bool)) and hasattr(stream, "fileno"):
            fd = stream.fileno()
        else:
            choices = "'inherit', 'null', 'pipe', 'monitor'" + (", 'stdout'" if number == _STDERR else "")
            raise ValueError(f"{_NAMES[number]}: expected {choices}, a descriptor or an open file, found {stream!r}")
        return self._copy(fd)

    def _inherit(self, number: int) -> int:
        try:
            return self._copy(number)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            return self._null()  # this process has no such stream

    def _copy(self, fd: int) -> int:
        # A copy, made now: what the number means by the time it is used is somebody else's affair.
        return self._keep(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0))

    def _null(self) -> int:
        return self._keep(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))

    def _keep(self, fd: int) -> int:
        kept = Descriptor(fd)
        self._to_close.append(kept)
        return kept.fd

    def _pipe(self, number: int) -> int:
        # A forked child of this process with a copy of their end would keep the pipe open.
        with no_fork:
            theirs, ours = self._ends(number)
            theirs = self._keep(theirs)
        self.files[number] = open(ours, "wb" if number == 0 else "rb")  # noqa: SIM115
        return self._given(theirs)

    def _monitored(self, number: int) -> int:
        with no_fork:
            theirs, ours = map(self._keep, self._ends(number))
        self.monitored[number] = ours
        return self._given(theirs)

    @staticmethod
    def _ends(number: int) -> tuple[int, int]:
        """Return the container's end of a new pipe, and the other one."""
        reading, writing = map(above_standard_streams, os.pipe2(os.O_CLOEXEC))
        return (reading, writing) if number == 0 else (writing, reading)

    def _given(self, pipe: int) -> int:
        if self._owner is not None:
            self._give(pipe, self._owner)
        return pipe

    @staticmethod
    def _give(pipe: int, owner: tuple[int, int]) -> None:
        try:
            os.fchown(pipe, *owner)
        except PermissionError:
            # Who is not root can give nothing away; nobody finds a pipe but by way of a process that has it.
            os.fchmod(pipe, _EVERYBODY)


@contextlib.contextmanager
def broken_pipes_raise() -> Iterator[None]:
    """While this block writes to pipes, one that nobody reads is an error, also in a host that lets SIGPIPE end it.

    The signal is blocked in this thread only, which is the one that gets it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
    try:
        yield
    except BrokenPipeError:
        if signal.SIGPIPE not in before:
            signal.sigtimedwait({signal.SIGPIPE}, 0)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
