"""Where the bytes of blobs are: in memory, or in files of a directory; and how they get there."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import shutil
import tempfile
import threading
from typing import Protocol

from ocikit.errors import LimitExceededError, SystemCallError
from ocikit.testing.pieces import FilePiece, Piece

__all__ = ["BlobStore", "FileContent", "MemoryContent", "Sink", "StoredContent"]


class StoredContent(Protocol):
    """The bytes of a blob."""

    @property
    def size(self) -> int:
        """How many."""

    def pieces(self, start: int, end: int) -> tuple[Piece, ...]:
        """Return the bytes from one position to another; who sends them closes them."""

    def discard(self) -> None:
        """Let go of them; a second time does nothing. Who sends them sends them to their end."""


class Sink(Protocol):
    """Bytes on their way in."""

    @property
    def size(self) -> int:
        """How many there are."""

    def write(self, data: memoryview) -> None:
        """Add some.

        Raises:
            LimitExceededError: There is no room for them.
        """

    def cut(self, size: int) -> None:
        """Forget everything after so many bytes."""

    def finish(self) -> StoredContent:
        """Return what came in; nothing is added any more."""

    def discard(self) -> None:
        """Forget what came in; a second time does nothing."""


class _Room:
    """How many bytes may still be kept."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        with self._lock:
            if self._used + count > self._limit:
                raise LimitExceededError(
                    "bytes that the registry keeps",
                    self._limit,
                    self._used + count,
                    "RegistryLimits(stored_bytes=…) raises it",
                )
            self._used += count

    def give_back(self, count: int) -> None:
        with self._lock:
            self._used -= count


class MemoryContent:
    """Bytes in memory."""

    def __init__(self, data: bytes | bytearray | memoryview, room: _Room) -> None:
        self._data = memoryview(data).toreadonly()
        self._room = room
        self._counted = len(self._data)

    @property
    def size(self) -> int:
        """How many."""
        return len(self._data)

    def pieces(self, start: int, end: int) -> tuple[Piece, ...]:
        """Return the bytes from one position to another."""
        return (self._data[start:end],)

    def discard(self) -> None:
        """Let go of them; who sends them keeps them until then."""
        self._room.give_back(self._counted)
        self._counted = 0


class FileContent:
    """Bytes in a file that is opened for each answer.

    Args:
        path: The file; its last part is no link.
        room: Where its bytes are counted; None for a file that is somebody else's, which is never removed.
    """

    def __init__(self, path: str, room: _Room | None) -> None:
        self._path = path
        self._room = room
        self._size = os.stat(path).st_size

    @property
    def size(self) -> int:
        """How many."""
        return self._size

    def pieces(self, start: int, end: int) -> tuple[Piece, ...]:
        """Return the bytes from one position to another."""
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        return (FilePiece(io.FileIO(descriptor), start, end - start),)

    def discard(self) -> None:
        """Remove the file, if it is one of the registry."""
        if self._room:
            self._room.give_back(self._size)
            self._room = None
            with contextlib.suppress(FileNotFoundError):  # the whole directory may be gone
                os.unlink(self._path)


class _MemorySink:
    def __init__(self, room: _Room) -> None:
        self._data = bytearray()
        self._room = room

    @property
    def size(self) -> int:
        return len(self._data)

    def write(self, data: memoryview) -> None:
        self._room.take(len(data))
        self._data += data

    def cut(self, size: int) -> None:
        self._room.give_back(len(self._data) - size)
        del self._data[size:]

    def finish(self) -> StoredContent:
        data, self._data = self._data, bytearray()
        return MemoryContent(data, self._room)

    def discard(self) -> None:
        self._room.give_back(len(self._data))
        self._data = bytearray()


class _FileSink:
    def __init__(self, directory: str, room: _Room) -> None:
        self._path = os.path.join(directory, secrets.token_hex(16))
        self._file = open(self._path, "xb", buffering=0)  # noqa: SIM115 - closed by finish and discard
        self._room = room
        self._size = 0

    @property
    def size(self) -> int:
        return self._size

    def write(self, data: memoryview) -> None:
        self._room.take(len(data))
        self._size += len(data)
        while data:
            data = data[self._file.write(data) :]

    def cut(self, size: int) -> None:
        self._file.truncate(size)
        self._file.seek(size)
        self._room.give_back(self._size - size)
        self._size = size

    def finish(self) -> StoredContent:
        self._file.close()
        return FileContent(self._path, self._room)

    def discard(self) -> None:
        if not self._file.closed:
            self._file.close()
            self._room.give_back(self._size)
            with contextlib.suppress(FileNotFoundError):  # the whole directory may be gone
                os.unlink(self._path)


class BlobStore:
    """Keeps bytes in memory, or in a directory of its own that it removes at the end.

    Args:
        directory: Where the directory of its own is made; None: in memory.
        limit: The most bytes that are kept.
    """

    def __init__(self, directory: str | os.PathLike[str] | None, limit: int) -> None:
        self._room = _Room(limit)
        self._directory: str | None = None
        if directory is not None:
            try:
                self._directory = tempfile.mkdtemp(prefix="registry-", dir=os.path.abspath(directory))
            except OSError as error:
                action = "make a directory for the blobs of the registry"
                raise SystemCallError(action, error.errno or 0, os.fspath(directory)) from error

    def sink(self) -> Sink:
        """Return a place for the bytes of one blob."""
        return _FileSink(self._directory, self._room) if self._directory else _MemorySink(self._room)

    def close(self) -> None:
        """Remove everything."""
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)
