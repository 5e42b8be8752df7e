"""Standard input, output and error of a container: where they come from, and our end of those that are pipes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO, Final, Literal, Protocol, Self

from ocikit._fs import Descriptor

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["HasFileno", "Stdio", "Stream"]


class HasFileno(Protocol):
    """An open file of any kind."""

    def fileno(self) -> int:
        """Return its descriptor."""
        ...


#: What a standard stream of a container is: that of this process, nothing, a pipe to this process, a descriptor or
#: an open file, or for standard error also the container's standard output.
Stream = Literal["inherit", "null", "pipe", "stdout"] | int | HasFileno

_NAMES: Final = ("stdin", "stdout", "stderr")
_STDERR: Final = 2


class Stdio:
    """The three streams. A context manager: at its end the container's ends are closed, ours only after a failure."""

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
            return number
        if stream == "null":
            return self._keep(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
        if stream == "pipe":
            return self._pipe(number)
        if stream == "stdout" and number == _STDERR:
            return self._fds[1]
        if isinstance(stream, int) and not isinstance(stream, bool):
            fd = stream
        elif not isinstance(stream, (str, bool)) and hasattr(stream, "fileno"):
            fd = stream.fileno()
        else:
            choices = "'inherit', 'null', 'pipe'" + (", 'stdout'" if number == _STDERR else "")
            raise ValueError(f"{_NAMES[number]}: expected {choices}, a descriptor or an open file, found {stream!r}")
        os.fstat(fd)  # a descriptor that is not open is found here, and not in the middle of something
        return fd

    def _keep(self, fd: int) -> int:
        self._to_close.append(Descriptor(fd))
        return fd

    def _pipe(self, number: int) -> int:
        reading, writing = os.pipe2(os.O_CLOEXEC)
        theirs, ours, mode = (reading, writing, "wb") if number == 0 else (writing, reading, "rb")
        self._keep(theirs)
        self.files[number] = open(ours, mode)  # type: ignore[assignment]  # noqa: SIM115
        if self._owner is not None:
            os.fchown(theirs, *self._owner)
        return theirs
