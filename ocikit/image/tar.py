"""Read tar files as they stream by: strict about what is malformed, at home with every writer in use.

:class:`TarReader` goes through an uncompressed stream once and yields a :class:`TarMember` for each file, with
long names, pax records and sparse maps already applied. Names are bytes, as in the file. Nothing is ever written,
no path is interpreted: what a name may do to a file system is for whoever unpacks to decide.

    reader = TarReader(stream)
    for member in reader:
        if member.type is TarType.REGULAR:
            for offset, data in reader.data():
                os.pwrite(fd, data, offset)

What is understood and what is not is stated at :class:`TarReader`. No size in a header is believed: nothing is
allocated by it, and data that is not there is an error.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol

from attrs import field, frozen

from ocikit.errors import ImageError, LayoutError, LimitExceededError
from ocikit.image._tar_format import (
    BLOCK,
    Header,
    TarFault,
    attributes,
    decimal,
    gnu_long_name,
    gnu_sparse_extension,
    gnu_sparse_header,
    parse_header,
    pax_records,
    pax_time,
    sparse_pairs,
    validate_sparse,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Readable", "TarLimits", "TarMember", "TarReader", "TarType"]

# What is read ahead, and the size of the pieces that data comes in: large enough that reading, hashing and
# decompressing release the interpreter for a while.
_CHUNK = 1 << 20
_ZERO_BLOCK = bytes(BLOCK)
# -1 means "leave it alone" to chown(2): a member with that owner would silently stay the owner's who unpacks.
_NO_ID = 0xFFFF_FFFF
_LATEST_SECOND = 10**15
_SPARSE_NUMBER_BYTES = 21


class TarType(enum.Enum):
    """What a member is."""

    REGULAR = "regular file"
    HARD_LINK = "hard link"
    SYMLINK = "symbolic link"
    CHARACTER_DEVICE = "character device"
    BLOCK_DEVICE = "block device"
    DIRECTORY = "directory"
    FIFO = "fifo"


_TYPES = {
    b"\0": TarType.REGULAR,
    b"0": TarType.REGULAR,
    b"1": TarType.HARD_LINK,
    b"2": TarType.SYMLINK,
    b"3": TarType.CHARACTER_DEVICE,
    b"4": TarType.BLOCK_DEVICE,
    b"5": TarType.DIRECTORY,
    b"6": TarType.FIFO,
    b"7": TarType.REGULAR,  # contiguous, where anybody still knows what that is
    b"S": TarType.REGULAR,  # sparse, in the way of old GNU tar
}
_EXTENDED = frozenset(b"LKxg"[i : i + 1] for i in range(4))


class Readable(Protocol):
    """What a tar file is read from."""

    def read(self, size: int, /) -> bytes:
        """Return between 1 and ``size`` bytes; ``b""`` only at the end."""


@frozen(kw_only=True)
class TarLimits:
    """Bounds on what one tar file may hold; exceeding one is a :class:`~ocikit.errors.LimitExceededError`."""

    #: Members, the extended headers between them included.
    members: int = 2_000_000
    #: Bytes of one extended header: a long name, or all pax records of a member, its attributes included.
    extended_header_bytes: int = 1 << 20
    #: Bytes of one file, holes included.
    file_bytes: int = 1 << 40
    #: Segments of one sparse file.
    sparse_segments: int = 65_536


@frozen(kw_only=True)
class TarMember:
    """One file in a tar file."""

    #: The name as it stands, bytes of any encoding.
    name: bytes
    #: What it is.
    type: TarType
    #: The bytes of the file, holes included; 0 for everything but regular files.
    size: int = 0
    #: Permissions with set-uid, set-gid and sticky; no file type.
    mode: int
    #: The numeric owner, below 2**32 - 1.
    uid: int
    #: The numeric group, below 2**32 - 1.
    gid: int
    #: The time of the last modification, in nanoseconds since the epoch; may be negative.
    mtime_ns: int
    #: The target of a link, as it stands.
    linkname: bytes = b""
    #: Major number of a device.
    major: int = 0
    #: Minor number of a device.
    minor: int = 0
    #: Extended attributes by name.
    xattrs: Mapping[str, bytes] = field(factory=dict)
    #: Offset and length of the segments that hold data, when the file is sparse.
    sparse: tuple[tuple[int, int], ...] | None = None
    #: Where in the stream the stored data begins.
    offset: int
    #: How many bytes the stream holds for it; less than the size when the file is sparse.
    stored_size: int = 0


class TarReader:
    """An iterator over the members of an uncompressed tar file, which also gives their data.

    Understood are v7, ustar, pax and GNU tar, base-256 numbers, GNU long names, sparse files of all four GNU
    generations, attributes in ``SCHILY.xattr.*`` and ``LIBARCHIVE.xattr.*``. Refused are unknown member types
    (multi-volume and incremental archives among them), wrong checksums, negative sizes and owners, and files that
    end early. Global pax headers are skipped, as every container engine does: ``git archive`` puts a
    comment there, anything else in one would rename or re-own all members behind it. The file ends
    at two blocks of zeros, or where the stream ends between members, or in the padding of the last one.

    Args:
        stream: The tar file; read in large pieces, past the end of the archive too.
        limits: Bounds on what it may hold.
        error: The class of the errors for what is malformed.
        seekable_size: The size of ``stream`` when it also has ``seek``: data nobody asked for is then skipped
            without reading it. The stream must stand at its start.
    """

    def __init__(
        self,
        stream: Readable,
        *,
        limits: TarLimits | None = None,
        error: type[ImageError] = LayoutError,
        seekable_size: int | None = None,
    ) -> None:
        self._stream = stream
        self._limits = limits or TarLimits()
        self._error = error
        self._seekable_size = seekable_size
        self._buffer = b""
        self._start = 0  # of what is unread in the buffer
        self._position = 0  # in the stream, of what is unread
        self._remaining = 0  # stored bytes of the current member that are unread
        self._padding = 0
        self._count = 0
        self._member: TarMember | None = None
        self._ended = False

    def __iter__(self) -> Iterator[TarMember]:
        return self

    def __next__(self) -> TarMember:
        """Return the next member, passing over what is unread of the last one.

        Raises:
            ImageError: The file is malformed (the class that was asked for).
            LimitExceededError: The file holds more than the limits allow.
        """
        self.skip()
        try:
            member = None if self._ended else self._next()
        except TarFault as fault:
            raise self._error(f"tar header at byte {self._position:,}: {fault}") from None
        self._member = member
        if member is None:
            self._ended = True
            raise StopIteration
        return member

    def read(self, size: int = -1) -> bytes:
        """Return the stored data of the current member: up to ``size`` bytes, ``b""`` at its end.

        A negative size reads all that is left, which the caller has checked to be little. Sparse files are
        better read with :meth:`data`, which knows where each piece belongs.

        Raises:
            ImageError: The file ends within the data.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(_CHUNK), b""))
        wanted = min(size, self._remaining)
        if not wanted:
            return b""
        data = self._some(wanted)
        if not data:
            raise self._truncated()
        self._remaining -= len(data)
        return data

    def data(self) -> Iterator[tuple[int, bytes]]:
        """Yield the data of the current member in pieces of at most 1 MiB, each with its offset in the file.

        Raises:
            ImageError: The file ends within the data.
        """
        member = self._member
        if member is None:
            return
        segments = ((0, member.stored_size),) if member.sparse is None else member.sparse
        for start, length in segments:
            offset, end = start, start + length
            while offset < end:
                piece = self.read(min(_CHUNK, end - offset))
                if not piece:
                    return
                yield offset, piece
                offset += len(piece)

    def skip(self) -> None:
        """Pass over what is unread of the current member.

        Raises:
            ImageError: The file ends within it.
        """
        if self._remaining or self._padding:
            self._discard(self._remaining, self._padding)
            self._remaining = self._padding = 0

    def drain(self) -> int:
        """Read the stream to its end, past the end of the archive, for whoever hashes it; return how much that was.

        Padding after the end of the archive belongs to the digest of a layer.
        """
        count = len(self._buffer) - self._start
        self._buffer, self._start = b"", 0
        while data := self._stream.read(_CHUNK):
            count += len(data)
        self._position += count
        self._ended = True
        self._remaining = self._padding = 0
        return count

    # The members

    def _next(self) -> TarMember | None:
        records: dict[bytes, bytes] = {}
        pairs: list[bytes] = []  # of the first generation of sparse maps, which repeats its keywords
        names: dict[bytes, bytes] = {}
        while True:
            block = self._header_block()
            if block is None:
                if records or names:
                    raise TarFault("the archive ends after an extended header, without the member it belongs to")
                return None
            header = parse_header(block)
            if header.type not in _EXTENDED:
                return self._member_from(header, block, records, pairs, names)
            data = self._extended(header)
            if header.type == b"x":
                found = pax_records(data)
                records = dict(found)
                pairs = [value for key, value in found if key in {b"GNU.sparse.offset", b"GNU.sparse.numbytes"}]
            elif header.type != b"g":
                names[header.type] = gnu_long_name(data)

    def _header_block(self) -> bytes | None:
        block = self._block(optional=True)
        if block == _ZERO_BLOCK:
            block = self._block(optional=True)
            if block and block != _ZERO_BLOCK:
                raise TarFault("a single block of zeros within the archive, expected two at its end")
            return None
        if not block:
            return None
        self._count += 1
        if self._count > self._limits.members:
            raise LimitExceededError("members of a tar file", self._limits.members)
        return block

    def _extended(self, header: Header) -> bytes:
        limit = self._limits.extended_header_bytes
        if not 0 <= header.size <= limit:
            raise LimitExceededError("bytes of an extended tar header", limit, header.size)
        return self._take(header.size + -header.size % BLOCK)[: header.size]

    def _member_from(
        self,
        header: Header,
        block: bytes,
        records: dict[bytes, bytes],
        pairs: list[bytes],
        names: dict[bytes, bytes],
    ) -> TarMember:
        # GNU names win over pax names, as in Go's reader: no writer gives both.
        name = names.get(b"L") or records.get(b"GNU.sparse.name") or records.get(b"path") or header.name
        kind = _TYPES.get(header.type)
        if kind is None:
            raise TarFault(f"{name!r} has the unknown type {header.type!r}")
        if header.type == b"\0" and name.endswith(b"/"):
            kind = TarType.DIRECTORY  # v7 had no type for it
        stored = self._number(records, b"size", header.size) if kind is TarType.REGULAR else 0
        size, sparse = stored, None
        self._padding = -stored % BLOCK
        if kind is TarType.REGULAR:
            unmapped, size, stored = self._sparse(header, block, records, pairs, stored)
            if size > self._limits.file_bytes:
                raise LimitExceededError(f"bytes of {name!r} in a tar file", self._limits.file_bytes, size)
            if unmapped is not None:
                sparse = validate_sparse(unmapped, size, stored)
        self._remaining = stored
        return TarMember(
            name=name,
            type=kind,
            size=size,
            mode=header.mode,
            uid=self._id(records, b"uid", header.uid),
            gid=self._id(records, b"gid", header.gid),
            mtime_ns=self._mtime(records, header.mtime),
            linkname=names.get(b"K") or records.get(b"linkpath") or header.linkname,
            major=header.major,
            minor=header.minor,
            xattrs=attributes(records) if records else {},
            sparse=sparse,
            offset=self._position,
            stored_size=stored,
        )

    @staticmethod
    def _number(records: Mapping[bytes, bytes], keyword: bytes, default: int) -> int:
        # An empty value takes a record back.
        text = records.get(keyword)
        return decimal(text, keyword.decode()) if text else default

    def _id(self, records: Mapping[bytes, bytes], keyword: bytes, default: int) -> int:
        value = self._number(records, keyword, default)
        if value >= _NO_ID:
            raise TarFault(f"the {keyword.decode()} {value} is no owner a file can have")
        return value

    @staticmethod
    def _mtime(records: Mapping[bytes, bytes], default: int) -> int:
        text = records.get(b"mtime")
        if text:
            return pax_time(text)
        if abs(default) >= _LATEST_SECOND:
            raise TarFault(f"the time {default} s is beyond what a file can have")
        return default * 1_000_000_000

    # Sparse files

    def _sparse(
        self, header: Header, block: bytes, records: dict[bytes, bytes], pairs: list[bytes], stored: int
    ) -> tuple[list[tuple[int, int]] | None, int, int]:
        """Return the sparse map or None, the size of the file, and how much of the stored data is the file's."""
        if header.type == b"S":
            segments, size = self._gnu_sparse(block)
            return segments, size, stored
        version = (records.get(b"GNU.sparse.major"), records.get(b"GNU.sparse.minor"))
        if version == (b"1", b"0"):
            used, segments = self._sparse_map_in_data(stored)
            return segments, self._number(records, b"GNU.sparse.realsize", 0), stored - used
        if version not in {(None, None), (b"0", b"0"), (b"0", b"1")}:
            raise TarFault(f"a sparse file of the unknown version {version}")
        listed = records.get(b"GNU.sparse.map")
        numbers = listed.split(b",") if listed else pairs
        if not numbers and b"GNU.sparse.size" not in records:
            return None, stored, stored
        self._check_segments(len(numbers) // 2)
        return sparse_pairs(numbers), self._number(records, b"GNU.sparse.size", stored), stored

    def _gnu_sparse(self, block: bytes) -> tuple[list[tuple[int, int]], int]:
        segments, size, more = gnu_sparse_header(block)
        while more:
            found, more = gnu_sparse_extension(self._take(BLOCK))
            segments.extend(found)
            self._check_segments(len(segments))
        return segments, size

    def _sparse_map_in_data(self, stored: int) -> tuple[int, list[tuple[int, int]]]:
        text = bytearray()
        limit = min(stored, _SPARSE_NUMBER_BYTES * (2 * self._limits.sparse_segments + 1) + BLOCK)
        lines, count = 0, -1
        while count < 0 or lines < 1 + 2 * count:
            if len(text) + BLOCK > limit:
                raise TarFault("the sparse map at the start of the data does not end within it")
            block = self._take(BLOCK)
            text += block
            lines += block.count(b"\n")
            if count < 0 and lines:
                count = decimal(bytes(text.partition(b"\n")[0]), "number of sparse segments")
                self._check_segments(count)
        return len(text), sparse_pairs(bytes(text).split(b"\n")[1 : 1 + 2 * count])

    def _check_segments(self, count: int) -> None:
        if count > self._limits.sparse_segments:
            raise LimitExceededError("segments of a sparse file in a tar file", self._limits.sparse_segments, count)

    # The stream

    def _truncated(self) -> ImageError:
        name = f" within {self._member.name!r}" if self._member is not None and self._remaining else ""
        return self._error(f"the tar file ends early, at byte {self._position:,}{name}: is it truncated?")

    def _some(self, size: int) -> bytes:
        """Return 1 to ``size`` bytes; ``b""`` at the end of the stream."""
        available = len(self._buffer) - self._start
        if available:
            data = self._buffer[self._start : self._start + size]
            self._start += len(data)
        elif size >= _CHUNK:
            data = self._stream.read(_CHUNK)
        else:
            self._buffer, self._start = self._stream.read(_CHUNK), 0
            data = self._buffer[:size]
            self._start = len(data)
        self._position += len(data)
        return data

    def _take(self, size: int) -> bytes:
        """Return exactly ``size`` bytes."""
        data = self._some(size) if size else b""
        while len(data) < size:
            more = self._some(size - len(data))
            if not more:
                raise self._truncated()
            data += more
        return data

    def _block(self, *, optional: bool) -> bytes:
        """Return the next block; ``b""`` when the stream ends before it and that may be."""
        first = self._some(BLOCK)
        if len(first) == BLOCK or (not first and optional):
            return first
        return first + self._take(BLOCK - len(first))

    def _discard(self, size: int, padding: int) -> None:
        """Pass over data and the padding behind it. The file may end within the padding: `umoci insert` writes none."""
        available = len(self._buffer) - self._start
        left = size + padding
        if left <= available:
            self._start += left
            self._position += left
            return
        if self._seekable_size is not None:
            self._seek(self._position + size, padding, self._seekable_size)
            return
        while left:
            data = self._some(min(left, _CHUNK))
            if not data:
                if left > padding:
                    raise self._truncated()
                return
            left -= len(data)

    def _seek(self, position: int, padding: int, end: int) -> None:
        if position > end:
            raise self._truncated()
        position = min(position + padding, end)
        self._stream.seek(position)  # type: ignore[attr-defined]  # promised by seekable_size
        self._buffer, self._start, self._position = b"", 0, position
