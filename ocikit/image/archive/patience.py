"""File objects of others, read and written to their end also when they are non-blocking: they are waited for.

A pipe or socket that is non-blocking says with None, or with an error, that there is nothing to read yet or no room to
write. Taken for an answer it would be the end of an archive that is not whole.
"""

from __future__ import annotations

import errno
import os
import select
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from typing import Self

    from ocikit.image.types import ByteStream

__all__ = ["PatientReader", "WritableStream", "flush", "write"]

_CHUNK: Final = 1 << 20
# How often in a row nothing may be written without a word about why.
_MOST_IDLE: Final = 16


class WritableStream(Protocol):
    """What an archive is written to: a file object, a socket's ``makefile("wb")``."""

    def write(self, data: bytes, /) -> int | None:
        """Write bytes; return how many that were, None for none because there is no room yet, as ``io.RawIOBase``.

        What is non-blocking also has ``fileno``, which is waited for.
        """


class PatientReader:
    """A stream whose ``read`` returns when there is something to read, or at the end; what is in it is not closed.

    Args:
        stream: The file object; None from its ``read``, or :exc:`BlockingIOError`, is for nothing yet.
    """

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        #: Whether nothing was read yet.
        self.is_empty = True

    def read(self, size: int = -1, /) -> bytes:
        """See :class:`~ocikit.image.types.ByteStream`.

        Raises:
            BlockingIOError: There is nothing yet, and no descriptor to wait for.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(_CHUNK), b""))
        while (data := self._read(size)) is None:
            _wait(self._stream, select.POLLIN, "read")
        self.is_empty = self.is_empty and not data
        return data

    def close(self) -> None:
        """Leave the stream open: whoever opened it closes it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, size: int) -> bytes | None:
        try:
            return self._stream.read(size)
        except BlockingIOError:
            return None


def write(to: WritableStream, data: bytes) -> None:
    """Write all of some data, in as many calls as it takes.

    Args:
        to: The file object.
        data: The bytes.

    Raises:
        BlockingIOError: There is no room yet, and no descriptor to wait for.
        OSError: It cannot be written, or ``write`` writes nothing, again and again.
    """
    view, idle = memoryview(data), 0
    while view:
        try:
            written = to.write(view)  # type: ignore[arg-type]  # every writer takes what is like bytes
        except BlockingIOError as error:  # from a buffer, which may have taken a part
            written = getattr(error, "characters_written", 0) or None
        if written is None:
            _wait(to, select.POLLOUT, "write")
            continue
        idle = idle + 1 if written <= 0 else 0
        if idle == _MOST_IDLE:
            raise OSError(
                errno.EIO, f"{type(to).__name__}.write() writes nothing: it returned {written} again and again"
            )
        view = view[max(written, 0) :]


def flush(to: WritableStream) -> None:
    """Flush a file object, if it has anything like that.

    Raises:
        OSError: As :func:`write`.
    """
    act = getattr(to, "flush", None)
    while act is not None:
        try:
            act()
        except BlockingIOError:
            _wait(to, select.POLLOUT, "flush")
        else:
            return


def _wait(stream: object, event: int, method: str) -> None:
    """Wait until a file object, which said that it would block, is ready."""
    try:
        fd: int = stream.fileno()  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        fd = -1
    # What has a blocking descriptor has waited already: its None means something else, and poll would say ready.
    if fd < 0 or os.get_blocking(fd):
        raise BlockingIOError(
            errno.EAGAIN, f"{type(stream).__name__}.{method}() says it would block, and has no descriptor to wait for"
        )
    poll = select.poll()
    poll.register(fd, event)
    poll.poll()
