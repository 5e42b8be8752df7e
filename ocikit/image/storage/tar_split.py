"""The exact tar stream that a layer was made from: its headers and padding from a tar-split, its files from the store.

A tar-split (``ID.tar-split.gz``) is lines of JSON in the order of the stream. A line of type 2 is a piece of it
(``payload``, in base64). A line of type 1 stands for the content of a file, of which it has the name (``name``, or
``name_raw`` in base64 when that is no UTF-8), the size, and a checksum (crc64) that nobody needs who compares digests.

The names come from whoever made the image. Each is looked up below the directory of the layer as if that were the root
of everything: links within it lead to where they led when the layer was unpacked, none leads out, and the last
component is never followed.
"""

from __future__ import annotations

import base64
import binascii
import errno
import io
import os
import stat
from typing import TYPE_CHECKING, Final

from ocikit._fs import open_in_root
from ocikit.errors import LayoutError, LimitExceededError, ParseError
from ocikit.spec._json import loads

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import Self

    from ocikit._fs import Descriptor
    from ocikit.image.types import ByteStream

__all__ = ["MOST_LINE_BYTES", "TarSplitStream"]

#: The size up to which one line is read, in bytes: that of the largest headers that are unpacked, and more.
MOST_LINE_BYTES: Final = 16 << 20

_FILE: Final = 1
_SEGMENT: Final = 2
_CHUNK: Final = 1 << 20
# Headers are small, and whoever reads hashes and writes what it gets at once.
_ENOUGH: Final = 1 << 18
_LOOK: Final = getattr(os, "O_PATH", 0) | os.O_NOFOLLOW
_NOT_THERE: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO, errno.EXDEV, errno.EISDIR}
)


class TarSplitStream:
    """The tar stream of a layer, put together while it is read.

    Args:
        lines: The tar-split, decompressed; owned from now on.
        directory: The files of the layer; owned from now on.
        what: The layer, for messages.
    """

    def __init__(self, lines: ByteStream, directory: Descriptor, what: str) -> None:
        self._lines = lines
        self._directory = directory
        self._what = what
        self._pieces = self._produce()
        self._rest = memoryview(b"")

    def read(self, size: int = -1, /) -> bytes:
        """Return between 1 and ``size`` bytes; ``b""`` only at the end. A negative size reads to the end.

        Raises:
            LayoutError: The tar-split is malformed, or a file is not as it says.
            CompressionError: The tar-split is damaged.
            LimitExceededError: A line of it is too long.
            OSError: A file cannot be read.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(_CHUNK), b""))
        if not self._rest:
            piece = next(self._pieces, b"")
            if len(piece) <= size:
                return piece
            self._rest = memoryview(piece)
        data, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return data

    def close(self) -> None:
        """Close the tar-split and the directory; closing twice is nothing."""
        self._pieces.close()
        self._rest = memoryview(b"")
        self._lines.close()
        self._directory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _produce(self) -> Generator[bytes]:
        waiting = bytearray()
        for number, line in enumerate(self._split(), 1):
            where = f"{self._what}: line {number} of its tar-split"
            name, size, segment = _entry(line, where)
            waiting += segment
            if size:
                yield from self._flushed(waiting)
                yield from self._content(name, size, where)
            elif len(waiting) >= _ENOUGH:
                yield from self._flushed(waiting)
        yield from self._flushed(waiting)

    def _flushed(self, waiting: bytearray) -> Iterator[bytes]:
        if waiting:
            yield bytes(waiting)
            waiting.clear()

    def _split(self) -> Iterator[bytes]:
        begun: list[bytes] = []
        length = 0
        while data := self._lines.read(_CHUNK):
            *lines, rest = data.split(b"\n")
            for line in lines:
                yield b"".join([*begun, line])
                begun.clear()
                length = 0
            begun.append(rest)
            length += len(rest)
            if length > MOST_LINE_BYTES:
                raise LimitExceededError(f"{self._what}: bytes of a line of its tar-split", MOST_LINE_BYTES)
        yield b"".join(begun)

    def _content(self, name: bytes, size: int, where: str) -> Iterator[bytes]:
        shown = f"{where}: {name[:200]!r}"
        with self._open(name, size, shown) as file:
            left = size
            while left:
                data = file.read(min(left, _CHUNK))
                if not data:
                    raise LayoutError(f"{shown}: the file became shorter while it was read")
                left -= len(data)
                yield data

    def _open(self, name: bytes, size: int, shown: str) -> io.FileIO:
        try:
            # Looked at before it is opened: opening a device may do something.
            place = open_in_root(self._directory.fd, name, _LOOK)
        except OSError as error:
            if error.errno in _NOT_THERE:
                raise LayoutError(
                    f"{shown}: expected a file in the directory of the layer, which is not there: {error.strerror}; "
                    "the store is damaged, or the layer was changed"
                ) from error
            raise _explained(error, shown) from error
        except ValueError as error:
            raise LayoutError(f"{shown}: not the name of a file: {error}") from error
        try:
            status = os.fstat(place)
            if not stat.S_ISREG(status.st_mode) or status.st_size != size:
                found = f"{status.st_size:,} bytes" if stat.S_ISREG(status.st_mode) else "something else"
                raise LayoutError(f"{shown}: expected a regular file of {size:,} bytes, found {found}")
            return io.FileIO(os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC))
        except PermissionError as error:
            raise _explained(error, shown) from error
        finally:
            os.close(place)


def _explained(error: OSError, shown: str) -> OSError:
    if not isinstance(error, PermissionError):
        return error
    # A store of a user holds files of the ids that the user was given, and may not read them as itself.
    hint = "in a store of a user, some files can be read by `podman unshare` and by root alone"
    return PermissionError(error.errno, f"{error.strerror} ({hint})", shown)


def _entry(line: bytes, where: str) -> tuple[bytes, int, bytes]:
    """Return the name and the size of the file that a line stands for, or the piece of the stream that it is."""
    if not line:
        return b"", 0, b""
    try:
        entry = loads(line, max_bytes=MOST_LINE_BYTES)
    except ParseError as error:
        raise LayoutError(f"{where}: {error}") from error
    kind = entry.get("type") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(kind, int) or kind not in {_FILE, _SEGMENT}:
        raise LayoutError(f"{where}: expected an object of type {_FILE} (file) or {_SEGMENT} (segment)")
    if kind == _SEGMENT:
        return b"", 0, _decoded(entry, "payload", where)
    size = entry.get("size", 0)
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise LayoutError(f"{where}: size: expected the size of a file")
    return _decoded(entry, "name_raw", where) or _name(entry, where), size, b""


def _name(entry: dict[str, object], where: str) -> bytes:
    name = entry.get("name", "")
    if not isinstance(name, str):
        raise LayoutError(f"{where}: name: expected a string")
    return name.encode()


def _decoded(entry: dict[str, object], key: str, where: str) -> bytes:
    text = entry.get(key) or ""
    try:
        if isinstance(text, str):
            return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise LayoutError(f"{where}: {key}: expected base64: {error}") from error
    raise LayoutError(f"{where}: {key}: expected base64")
