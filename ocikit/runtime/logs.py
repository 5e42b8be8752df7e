"""The log of a container, as its monitor writes it: read whole, its end, or as it grows, from any process.

Lines come back as the bytes that the container wrote, whatever these were. A line that is torn, because the disk was
full or the machine went down, is left out.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import stat
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Final, Literal, Self

from ocikit import _sys
from ocikit._fs import Descriptor
from ocikit._tuples import NamedTuple
from ocikit.runtime.state.documents import parse_time

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator

__all__ = ["LogLine", "LogReader"]

_PIECE: Final = 1 << 16

#: What a monitor writes for the longest line that it knows is a tenth of this.
_LONGEST_LINE: Final = 1 << 20

#: How long the end of a container may go unnoticed that leaves no other sign, in seconds: its monitor was killed.
_GLANCE: Final = 1.0

_STREAMS: Final = frozenset({"stdout", "stderr"})

#: Without waiting for somebody who writes to a fifo.
_TO_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class LogLine(NamedTuple):
    """What a container wrote, up to the end of a line; or a part of a line that is very long, or the last one."""

    #: When it was written, as far as the monitor could tell; digits below a microsecond are cut off.
    time: dt.datetime
    #: Where to; what was written to a terminal is ``stdout``.
    stream: Literal["stdout", "stderr"]
    #: The bytes, with the line feed at the end of a line.
    data: bytes

    @property
    def partial(self) -> bool:
        """Whether the line goes on in the next one of this stream, or was never brought to its end."""
        return not self.data.endswith(b"\n")

    @property
    def text(self) -> str:
        """The line as text without its line feed; what is no UTF-8 is replaced."""
        return self.data.removesuffix(b"\n").decode(errors="replace")


def _parse_json(line: bytes) -> LogLine | None:
    document = json.loads(line)
    if not isinstance(document, dict):
        return None
    text, stream, moment = document.get("log"), document.get("stream"), document.get("time")
    when = parse_time(moment) if isinstance(moment, str) else None
    if not isinstance(text, str) or stream not in _STREAMS or when is None:
        return None
    return LogLine(when, stream, text.encode("utf-8", "surrogateescape"))


def _parse_cri(line: bytes) -> LogLine | None:
    moment, stream, tag, data = line.removesuffix(b"\n").split(b" ", 3)
    when, name = parse_time(moment.decode()), stream.decode()
    if when is None or name not in _STREAMS or tag not in {b"F", b"P"}:
        return None
    return LogLine(when, "stderr" if name == "stderr" else "stdout", data + (b"\n" if tag == b"F" else b""))


_PARSERS: Final[dict[str, Callable[[bytes], LogLine | None]]] = {"json": _parse_json, "cri": _parse_cri}


class _File:
    """One file of a log, from a place in it on."""

    def __init__(self, descriptor: Descriptor, offset: int = 0) -> None:
        self.descriptor = descriptor
        self._rest = b""
        os.lseek(descriptor.fd, offset, os.SEEK_SET)

    @property
    def identity(self) -> tuple[int, int]:
        found = os.fstat(self.descriptor.fd)
        return found.st_dev, found.st_ino

    def lines(self) -> Iterator[bytes]:
        """Yield the lines that are there by now."""
        while piece := os.read(self.descriptor.fd, _PIECE):
            *whole, self._rest = (self._rest + piece).split(b"\n")
            yield from (line + b"\n" for line in whole)
            if len(self._rest) > _LONGEST_LINE:
                self._rest = b""  # nothing that a monitor has written


class LogReader:
    """Reads a log; a context manager, and an iterator of :class:`LogLine`.

    With ``follow``, iterating waits for more, and comes to its end with the container. For event loops there are
    :meth:`fileno` and :meth:`wait`.
    """

    def __init__(
        self,
        path: str,
        log_format: str,
        files: int,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: dt.datetime | None = None,
        stream: str | None = None,
        is_over: Callable[[], bool] | None = None,
        state: str | None = None,
    ) -> None:
        """Open a log; see :meth:`Container.logs`.

        Args:
            path: The file that is written to.
            log_format: ``json`` or ``cri``.
            files: How many files there are at most.
            follow: Wait for more.
            tail: Begin with the last lines.
            since: Leave out what is older.
            stream: Leave out the other one.
            is_over: Tells whether nothing more will be written.
            state: The directory of the container's state, where its end shows.
        """
        if tail is not None and tail < 0:
            raise ValueError(f"tail: expected a number of lines, found {tail}")
        if stream is not None and stream not in _STREAMS:
            raise ValueError(f"stream: expected stdout or stderr, found {stream!r}")
        self._path, self._count = path, files
        self._parse = _PARSERS[log_format]
        self._since, self._stream = since, stream
        self._is_over = is_over if follow and is_over is not None else lambda: True
        self._closing = contextlib.ExitStack()
        # A loop over a log that nobody gave a name is the usual thing: what is forgotten is closed.
        weakref.finalize(self, self._closing.close).atexit = False
        self._current = self._closing.enter_context(contextlib.ExitStack())
        self._file: _File | None = None
        self._ready: deque[LogLine] = deque()
        self._ended = False
        self._epoll = select.epoll()
        self._closing.callback(self._epoll.close)
        self._watches: list[int] = []
        try:
            if follow:
                self._watch(state)
            self._open_first(tail)
        except BaseException:
            self.close()
            raise

    def _watch(self, state: str | None) -> None:
        for directory in dict.fromkeys((os.path.dirname(self._path), state)):
            if directory is None:
                continue
            with contextlib.suppress(FileNotFoundError):
                watch = self._closing.enter_context(Descriptor(_sys.watch_directory(directory))).fd
                self._watches.append(watch)
                self._epoll.register(watch, select.EPOLLIN)

    def _open_first(self, tail: int | None) -> None:
        """Begin with the oldest file, or with the one that the last lines begin in."""
        left = tail
        for name in self._names():
            opened = _open(name)
            if opened is not None:
                offset, left = _tail(opened.fd, left) if left is not None else (0, None)
                self._replace(_File(opened, offset))
                if left == 0:
                    return

    def _names(self) -> list[str]:
        """Return the files of the log, the newest first."""
        return [self._path, *(f"{self._path}.{number}" for number in range(1, self._count))]

    def _replace(self, file: _File | None) -> None:
        self._current.close()
        self._file = file
        if file is not None:
            self._current.enter_context(file.descriptor)

    def fileno(self) -> int:
        """Return a descriptor that is readable when it is time to ask :meth:`wait` with a timeout of zero."""
        return self._epoll.fileno()

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to come."""
        return self._ended and not self._ready

    def wait(self, timeout: float | None = None) -> LogLine | None:
        """Wait for the next line.

        Args:
            timeout: How long, in seconds; None waits as long as it takes.

        Returns:
            None when there was none in that time, or there is none to come (:attr:`ended`).
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            if self._ready:
                return self._ready.popleft()
            if self._ended:
                return None
            is_over = self._is_over()  # before the last look: what is written before the end is read
            self._read()
            self._ended = is_over and not self._ready
            if self._ready or self._ended:
                continue
            left = _GLANCE if deadline is None else min(_GLANCE, deadline - time.monotonic())
            if left <= 0:
                return None
            self._epoll.poll(left)

    def _read(self) -> None:
        """Take in what is there by now, from one file to the next."""
        for watch in self._watches:
            with contextlib.suppress(BlockingIOError):
                while os.read(watch, _PIECE):
                    pass
        while True:
            newer = self._newer()  # before the last look at a file: nothing is written to one that was put aside
            if self._file is not None:
                self._take(self._file)
            if newer is None:
                return
            self._replace(newer)

    def _newer(self) -> _File | None:
        """Open the file that comes after this one, if there is one by now."""
        identity = self._file.identity if self._file is not None else None
        found = None
        for name in self._names():
            opened = _open(name)
            if opened is not None:
                candidate = _File(opened)
                if candidate.identity == identity:
                    candidate.descriptor.close()
                    return found
                if found is not None:
                    found.descriptor.close()
                found = candidate
        # Ours is gone: what is the oldest now comes next.
        return found

    def _take(self, file: _File) -> None:
        for line in file.lines():
            found = None
            with contextlib.suppress(ValueError, RecursionError):
                found = self._parse(line)
            if found is None or (self._stream is not None and found.stream != self._stream):
                continue
            if self._since is None or found.time >= self._since:
                self._ready.append(found)

    def close(self) -> None:
        """Stop reading. Closing twice is nothing."""
        self._ended = True
        self._ready.clear()
        self._replace(None)
        self._closing.close()

    def __iter__(self) -> Iterator[LogLine]:
        while (line := self.wait()) is not None:
            yield line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open(name: str) -> Descriptor | None:
    """Open a file of a log; None when there is none, or something that no monitor has put there."""
    try:
        opened = Descriptor(os.open(name, _TO_READ))
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise
    if stat.S_ISREG(os.fstat(opened.fd).st_mode):
        return opened
    opened.close()
    return None


def _tail(fd: int, lines: int) -> tuple[int, int]:
    """Return where the last lines of a file begin, and how many more there would have to be before it."""
    size = end = os.lseek(fd, 0, os.SEEK_END)
    if lines == 0:
        return size, 0
    found = 0
    while end > 0:
        begin = max(0, end - _PIECE)
        piece = os.pread(fd, end - begin, begin)
        at = len(piece)
        # The line feed at the very end begins no line.
        while (at := piece.rfind(b"\n", 0, at)) >= 0:
            if begin + at == size - 1:
                continue
            found += 1
            if found == lines:
                return begin + at + 1, 0
        end = begin
    return 0, lines - found - (size > 0)
