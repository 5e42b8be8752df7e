"""Parts of open files, and the one anonymous file for what has to be put aside.

Content is verified while it is written. Of something large, writing and hashing go on side by side, and the disk
begins to write what has arrived while the rest still comes: what is left to flush at the end is little.
"""

from __future__ import annotations

import errno
import os
import queue
import tempfile
import threading
from typing import TYPE_CHECKING, Final, Protocol

from ocikit._fs import Descriptor, FlushBehind, no_fork
from ocikit._tuples import NamedTuple
from ocikit.errors import LayoutError
from ocikit.image.layout.blobs import receive

if TYPE_CHECKING:
    from typing import Self

    from ocikit.image.types import BlobInfo, ByteStream
    from ocikit.spec import Digest

__all__ = ["OpenFile", "Pieces", "Region", "Spool", "receive_at"]

_CHUNK: Final = 1 << 20
_DIRECTORY: Final = "/var/tmp"  # noqa: S108 (for large files, as containers/image has it)
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# From which size on a second thread is worth its while, and how far the reader may be ahead of it, in pieces.
_LARGE: Final = 4 << 20
_AHEAD: Final = 4
# After so much the disk is told to begin.
# Content of unknown size gets room in such pieces. What is not used of the last one is a hole.
_EXTENT: Final = 4 << 20


class OpenFile(Protocol):
    """What has a descriptor until it is closed."""

    def fileno(self) -> int:
        """Return the descriptor; -1 when it is closed."""


class Region(NamedTuple):
    """A part of an open file.

    Attributes:
        file: The file.
        offset: Where the part begins.
        size: Its bytes.
    """

    file: OpenFile
    offset: int
    size: int

    def open(self, what: str) -> RegionStream:
        """Return a stream of the part; it has a descriptor of its own.

        Raises:
            LayoutError: The file was closed.
        """
        return RegionStream(self, what)


class RegionStream:
    """A part of a file as a stream, independent of where anybody else reads the file.

    Args:
        region: The part.
        what: What it is, for messages.
    """

    def __init__(self, region: Region, what: str) -> None:
        self._file = duplicate(region.file, what)
        self._start = self._position = region.offset
        self._end = region.offset + region.size
        self._what = what

    def read(self, size: int = -1, /) -> bytes:
        """See :class:`~ocikit.image.types.ByteStream`.

        Raises:
            LayoutError: The file became shorter.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(_CHUNK), b""))
        wanted = min(size, self._end - self._position)
        if wanted <= 0:
            return b""
        data = os.pread(self._file.fd, wanted, self._position)
        if not data:
            raise LayoutError(f"{self._what}: the file became shorter while it was read")
        self._position += len(data)
        return data

    def seek(self, position: int) -> None:
        """Go on reading at a position within the part."""
        self._position = self._start + position

    def move(self, region: Region) -> None:
        """Go on with another part of the same file."""
        self._start = self._position = region.offset
        self._end = region.offset + region.size

    def close(self) -> None:
        """Close the descriptor; closing twice is nothing."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Pieces(NamedTuple):
    """Content that lies in several parts of one file, one after the other."""

    regions: tuple[Region, ...]

    @property
    def size(self) -> int:
        """All of it, in bytes."""
        return sum(region.size for region in self.regions)

    def open(self, what: str) -> PiecesStream:
        """Return a stream of it; it has a descriptor of its own.

        Raises:
            LayoutError: The file was closed.
        """
        return PiecesStream(self, what)


class PiecesStream:
    """Content that lies in several parts of a file, as a stream.

    Args:
        pieces: The parts.
        what: What it is, for messages.
    """

    def __init__(self, pieces: Pieces, what: str) -> None:
        self._left = list(reversed(pieces.regions))
        self._stream = self._left.pop().open(what) if self._left else None

    def read(self, size: int = -1, /) -> bytes:
        """See :class:`~ocikit.image.types.ByteStream`."""
        if size < 0:
            return b"".join(iter(lambda: self.read(_CHUNK), b""))
        if self._stream is None or size == 0:
            return b""
        while not (data := self._stream.read(size)) and self._left:
            self._stream.move(self._left.pop())
        return data

    def close(self) -> None:
        """Close the descriptor; closing twice is nothing."""
        if self._stream is not None:
            self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def duplicate(file: OpenFile, what: str) -> Descriptor:
    """Return a descriptor of our own of an open file.

    Args:
        file: The file.
        what: What is done with it, for messages.

    Raises:
        LayoutError: It was closed.
    """
    with no_fork:  # under which descriptors are closed: the number is that of this file until it is duplicated
        fd = file.fileno()
        if fd < 0:
            raise LayoutError(f"{what}: the archive was closed")
        return Descriptor(os.dup(fd))


def write_all(fd: int, data: bytes, position: int, where: str) -> None:
    """Write all of ``data`` at a position of a file.

    Args:
        fd: The file.
        data: The bytes.
        position: Where they go.
        where: What the file is called when there is no room for it.
    """
    try:
        view = memoryview(data)
        while view:
            written = os.pwrite(fd, view, position)
            view, position = view[written:], position + written
    except OSError as error:
        hint = "; SystemContext(big_files_temporary_dir=…) names another place" if error.errno in _FULL else ""
        raise OSError(error.errno, f"{error.strerror} (temporary file{hint})", where) from error


class _Behind:
    """Writes pieces to a file in a thread of its own, in their order, at the places they are given for.

    The thread has a descriptor of its own, so that it never writes into what has the number of a file that was closed.
    """

    def __init__(self, file: OpenFile, where: str, *, flush: bool) -> None:
        self._source = file
        self._where = where
        self._flush = flush
        self._error: Exception | None = None
        self._behind: FlushBehind | None = None
        # Bounded by the semaphore and not by the queue: the end can be said without waiting.
        self._queue: queue.SimpleQueue[tuple[bytes, int] | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(_AHEAD)
        self._abandoned = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ocikit-archive", daemon=True)

    def write(self, data: bytes, position: int) -> None:
        """Have a piece written soon; what went wrong with earlier ones is raised."""
        self._room.acquire()
        self._queue.put((data, position))
        self.check()

    def check(self) -> None:
        """Raise what went wrong."""
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        self._file = duplicate(self._source, self._where)
        try:
            self._thread.start()
        except BaseException:
            # Nothing was given to it to write, so whether it is there or not, nobody needs the descriptor.
            self._queue.put(None)
            self._file.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        interrupted: BaseException | None = None
        self._abandoned = kind is not None
        while not self._ended.is_set():
            try:
                self._queue.put(None)
                # And not join(): a thread whose join() was interrupted passes for one that has ended.
                self._ended.wait()
            except BaseException as error:  # noqa: BLE001 - Ctrl-C, or what else a signal handler raises
                self._abandoned = True
                interrupted = error
        self._thread.join()
        if interrupted is not None:
            raise interrupted

    def _run(self) -> None:
        try:
            while (piece := self._queue.get()) is not None:
                if self._error is None and not self._abandoned:
                    try:
                        self._write(*piece)
                    except Exception as error:  # noqa: BLE001 - it is raised where the content is read
                        self._error = error
                self._room.release()
        finally:
            self._file.close()
            self._ended.set()

    def _write(self, data: bytes, position: int) -> None:
        write_all(self._file.fd, data, position, self._where)
        if self._behind is None:
            self._behind = FlushBehind(self._file.fd, position)
        if self._flush:
            self._behind.reached(position + len(data))


def receive_at(
    file: OpenFile, position: int, stream: ByteStream, info: BlobInfo, what: str, *, where: str, flush: bool
) -> Digest:
    """Write content of a known size into its place, verified.

    Args:
        file: The file; when it is closed meanwhile, the rest goes where nobody finds it.
        position: The place.
        stream: The content.
        info: What is known of it; the size is.
        what: What it is, for messages.
        where: The file, for messages.
        flush: Whether the file is to be on disk in the end, so that the disk may as well begin.

    Raises:
        VerificationError: The content is not what ``info`` says; the place is void.
        LayoutError: The file was closed.
        OSError: It cannot be written.
    """

    def pass_on(data: bytes) -> None:
        nonlocal position
        write(data, position)
        position += len(data)

    if info.size < _LARGE:
        with duplicate(file, what) as own:

            def write(data: bytes, position: int) -> None:
                write_all(own.fd, data, position, where)

            return receive(stream, info, pass_on, what)[0]
    with _Behind(file, where, flush=flush) as behind:
        write = behind.write
        digest, _ = receive(stream, info, pass_on, what)
    behind.check()
    return digest


class Spool:
    """One anonymous temporary file for many pieces of content; several threads may put some at the same time.

    Args:
        directory: Where the file is made; None for ``$TMPDIR``, else ``/var/tmp``.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, directory: str | None) -> None:
        self._where = directory or os.environ.get("TMPDIR") or _DIRECTORY
        # The descriptor is ours: closed in forked children, as every one that is open for long.
        with tempfile.TemporaryFile(dir=self._where, buffering=0) as file:
            self._file = Descriptor(os.dup(file.fileno()))
        self._end = 0
        self._lock = threading.Lock()

    @property
    def where(self) -> str:
        """The directory it is in."""
        return self._where

    def fileno(self) -> int:
        """Return its descriptor; -1 when it is closed."""
        return self._file.fd

    def close(self) -> None:
        """Close the file, which removes it; streams that are open stay readable."""
        self._file.close()

    def put(self, stream: ByteStream, info: BlobInfo, what: str) -> tuple[Digest, Pieces]:
        """Store content, verified.

        Args:
            stream: The content.
            info: What is known of it.
            what: What it is, for messages.

        Returns:
            The digest of the content, and where it is.

        Raises:
            VerificationError: The content is not what ``info`` says.
            OSError: It cannot be written.
        """
        if info.size >= 0:
            start = self.reserve(info.size)
            digest = receive_at(self._file, start, stream, info, what, where=self._where, flush=False)
            return digest, Pieces((Region(self._file, start, info.size),))
        growing = _Growing(self)
        digest, _ = receive(stream, info, growing.append, what)
        return digest, growing.pieces()

    def pour(self, stream: ByteStream) -> Pieces:
        """Store all that is left of a stream, whatever it is."""
        growing = _Growing(self)
        while data := stream.read(_CHUNK):
            growing.append(data)
        return growing.pieces()

    def reserve(self, size: int) -> int:
        """Set a region aside and return where it begins."""
        with self._lock:
            start = self._end
            self._end += size
        return start

    def region(self, start: int, size: int) -> Region:
        """Return a region that was written piece by piece; what was not written in it is zeros."""
        if os.fstat(self._file.fd).st_size < start + size:
            os.ftruncate(self._file.fd, start + size)
        return Region(self._file, start, size)

    def write(self, data: bytes, position: int) -> None:
        """Write all of ``data`` at a position."""
        write_all(self._file.fd, data, position, self._where)


class _Growing:
    """Content of which nobody knows how much there will be: it gets room bit by bit."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._parts: list[list[int]] = []  # where each begins, and its size
        self._room = 0  # at the end of the last

    def append(self, data: bytes) -> None:
        while data:
            if not self._room:
                start, self._room = self._spool.reserve(_EXTENT), _EXTENT
                # What nobody came in between goes on where it was.
                if not self._parts or sum(self._parts[-1]) != start:
                    self._parts.append([start, 0])
            last = self._parts[-1]
            part, data = data[: self._room], data[self._room :]
            self._spool.write(part, sum(last))
            last[1] += len(part)
            self._room -= len(part)

    def pieces(self) -> Pieces:
        return Pieces(tuple(Region(self._spool, start, size) for start, size in self._parts))
