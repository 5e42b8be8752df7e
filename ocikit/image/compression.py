"""Compressed streams: recognised by their content, read piece by piece, never trusted.

:class:`DecompressedStream` recognises gzip, zstd, bzip2 and xz by their first bytes, whatever a name or a media
type claims, and passes everything else through. Damage, truncation and bytes after the end are errors; how
much comes out is bounded on request. :class:`CompressedStream` is the other direction.

The modules of the formats are imported when the first such stream is met. All of them let other threads run
while they work.
"""

from __future__ import annotations

import enum
import os
from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol

from attrs import frozen

from ocikit.errors import CompressionError, LimitExceededError, MissingDependencyError, NotSupportedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Self

    from ocikit.image.types import ByteStream

__all__ = [
    "DETECTION_BYTES",
    "CompressedStream",
    "Compression",
    "DecompressedStream",
    "ExpansionLimits",
    "check_level",
    "detect",
]

#: How many bytes :func:`detect` looks at.
DETECTION_BYTES: Final = 10

# What is read from the compressed side at once, and the most that is produced at once.
_INPUT: Final = 1 << 18
_OUTPUT: Final = 1 << 20
# The first piece that a new member is fed. A decompressor hands back a copy of what follows its member, so that
# a file of many tiny members would be copied once for each if they were fed all of it.
_FIRST_PIECE: Final = 1 << 12
# Every member costs a decompressor. Files of many members have one for each file in a layer, and those have a header.
_MANY_MEMBERS: Final = 50_000
_SMALLEST_MEMBER: Final = 64
# The largest window (zstd) and dictionary (xz) that a stream may ask for, in bytes: a frame can claim gigabytes.
_WINDOW_LOG: Final = 27
_XZ_MEMORY: Final = (1 << _WINDOW_LOG) + (1 << 24)
# More threads take more memory, and are waiting for what is to be compressed.
_ZSTD_WORKERS: Final = 4
# What one of them gets at a time. By default it is far more, several times over for each layer; levels with large
# windows need it.
_ZSTD_JOB: Final = 2 << 20
_ZSTD_LARGE_WINDOWS: Final = 10


class Compression(enum.Enum):
    """A format of compression; the value is the name that containers/image has for it."""

    GZIP = "gzip"
    ZSTD = "zstd"
    BZIP2 = "bzip2"
    XZ = "Xz"

    @classmethod
    def from_name(cls, name: str) -> Compression:
        """Return the format that ``name`` stands for, in any case.

        Raises:
            NotSupportedError: No format has this name.
        """
        for member in cls:
            if member.value.lower() == name.lower():
                return member
        known = ", ".join(member.value.lower() for member in cls)
        raise NotSupportedError(f"compression {name!r} is not known, expected one of {known}")


def detect(start: bytes) -> Compression | None:
    """Say how data is compressed by its first :data:`DETECTION_BYTES` bytes; None when it is not.

    Fewer bytes are enough when the data has no more.
    """
    if start[:3] == b"\x1f\x8b\x08":
        return Compression.GZIP
    if start[:4] == b"\x28\xb5\x2f\xfd" or (start[1:4] == b"\x2a\x4d\x18" and start[0] & 0xF0 == 0x50):
        return Compression.ZSTD
    if start[:6] == b"\xfd7zXZ\0":
        return Compression.XZ
    # The three letters alone could begin the name of the first file in a tar.
    if start[:3] == b"BZh" and start[4:10] in {b"1AY&SY", b"\x17rE8P\x90"}:
        return Compression.BZIP2
    return None


@frozen(kw_only=True)
class ExpansionLimits:
    """Bounds on what may come out of a compressed stream."""

    #: Bytes that may come out in all; None for any number.
    total_bytes: int | None = None
    #: Bytes that may come out for each byte that went in.
    ratio: int = 250
    #: How many bytes may come out before the ratio counts: small things may be very compressible.
    ratio_from_bytes: int = 256 << 20


class _Decompressor(Protocol):
    """One member of a compressed file, in the way of :mod:`bz2`, :mod:`lzma` and ``compression.zstd``."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes | memoryview, max_length: int) -> bytes: ...


class _Inflate:
    """:mod:`zlib` in the way of the others."""

    def __init__(self) -> None:
        self._inner = _module("zlib").decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data)

    def decompress(self, data: bytes | memoryview, max_length: int) -> bytes:
        return bytes(self._inner.decompress(data or self._inner.unconsumed_tail, max_length))


def _module(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingDependencyError(f"the module {name} of the standard library is missing in this Python") from error


def _zstd() -> ModuleType:
    try:
        return import_module("compression.zstd")
    except ImportError:
        pass
    try:
        return import_module("backports.zstd")
    except ImportError as error:
        raise MissingDependencyError("zstd data needs Python 3.14 or the package backports.zstd") from error


def _new_zstd() -> _Decompressor:
    zstd = _zstd()
    options = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
    decompressor: _Decompressor = zstd.ZstdDecompressor(options=options)
    return decompressor


def _new_bzip2() -> _Decompressor:
    decompressor: _Decompressor = _module("bz2").BZ2Decompressor()
    return decompressor


def _new_xz() -> _Decompressor:
    lzma = _module("lzma")
    decompressor: _Decompressor = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    return decompressor


# For each format what makes a decompressor, and what that raises when the data is damaged.
_READERS: Final[dict[Compression, tuple[Callable[[], _Decompressor], Callable[[], type[Exception]]]]] = {
    Compression.GZIP: (_Inflate, lambda: _module("zlib").error),
    Compression.ZSTD: (_new_zstd, lambda: _zstd().ZstdError),
    Compression.BZIP2: (_new_bzip2, lambda: OSError),
    Compression.XZ: (_new_xz, lambda: _module("lzma").LZMAError),
}


class DecompressedStream:
    """The plain bytes of a stream that may be compressed.

    Several members one after the other are one stream, as gzip, zstd, bzip2 and xz have it; skippable frames
    of zstd are skipped. Anything else after a member is refused, zeros too: it would be content that one
    program sees and another does not. The compressed stream is read to its end, so that whoever hashes it on the
    way has all of it.

    Args:
        stream: The stream; closed with this one.
        limits: Bounds on what may come out.
        what: What the stream is, for messages ("layer 2").

    Raises:
        MissingDependencyError: The format needs a module that is not installed.
    """

    def __init__(self, stream: ByteStream, *, limits: ExpansionLimits | None = None, what: str = "stream") -> None:
        self._stream = stream
        self._limits = limits or ExpansionLimits()
        self._what = what
        #: Bytes that were read from the compressed side.
        self.bytes_in = 0
        #: Bytes that came out.
        self.bytes_out = 0
        self._whole = memoryview(b"")  # the last that was read
        self._input = self._whole  # the end of it that is unread
        self._piece = 0
        self._members = 0
        self._fill(DETECTION_BYTES)
        #: How the stream is compressed; None when it is plain.
        self.compression: Compression | None = detect(bytes(self._input[:DETECTION_BYTES]))
        self._decompressor: _Decompressor | None = None
        self._damaged: type[Exception] = CompressionError
        if self.compression is not None:
            self._new, damaged = _READERS[self.compression]
            self._damaged = damaged()

    def read(self, size: int = -1, /) -> bytes:
        """Return between 1 and ``size`` plain bytes, at most 1 MiB; ``b""`` only at the end.

        A negative size reads to the end.

        Raises:
            CompressionError: The data is damaged, truncated, or followed by something else.
            LimitExceededError: More comes out than the limits allow.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(_OUTPUT), b""))
        if size == 0:
            return b""
        wanted = min(size, _OUTPUT)
        if self.compression is None:
            data = self._plain(wanted)
        else:
            try:
                data = self._expand(wanted)
            except self._damaged as error:
                raise self._fault(f"damaged: {error}") from error
        self.bytes_out += len(data)
        self._check_limits()
        return data

    def close(self) -> None:
        """Close the compressed stream too; closing twice is nothing."""
        self._decompressor = None
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _plain(self, size: int) -> bytes:
        if self._input:
            data, self._input = bytes(self._input[:size]), self._input[size:]
            return data
        data = self._stream.read(size)
        self.bytes_in += len(data)
        return data

    def _expand(self, size: int) -> bytes:
        while True:
            current = self._decompressor
            if current is None or current.eof:
                if not self._begin():
                    return b""
                continue
            data = current.decompress(self._next_piece() if current.needs_input else b"", size)
            if current.eof and (unused := len(current.unused_data)):
                # They are the end of the last piece, which the rest of the input follows in memory.
                self._input = self._whole[len(self._whole) - len(self._input) - unused :]
            if data:
                return data

    def _begin(self) -> bool:
        """Begin the next member; say whether there is one."""
        if not self._fill(DETECTION_BYTES):
            return False
        if detect(bytes(self._input[:DETECTION_BYTES])) is not self.compression:
            raise self._fault("followed by something that is not part of it")
        self._decompressor = self._new()
        self._piece = _FIRST_PIECE
        self._members += 1
        if self._members > _MANY_MEMBERS and self.bytes_in < _SMALLEST_MEMBER * self._members:
            raise LimitExceededError(
                f"{self._what}: members of fewer than {_SMALLEST_MEMBER} bytes in a compressed stream", _MANY_MEMBERS
            )
        return True

    def _next_piece(self) -> memoryview:
        if not self._input and not self._fill(1):
            raise self._fault("truncated: it ends within a member")
        piece, self._input = self._input[: self._piece], self._input[self._piece :]
        self._piece = min(2 * self._piece, _INPUT)
        return piece

    def _fill(self, wanted: int) -> int:
        """Have at least ``wanted`` bytes of input, fewer at the end of the stream; return how many there are."""
        while len(self._input) < wanted:
            data = self._stream.read(_INPUT)
            if not data:
                break
            self.bytes_in += len(data)
            self._whole = memoryview(bytes(self._input) + data if self._input else data)
            self._input = self._whole
        return len(self._input)

    def _fault(self, reason: str) -> CompressionError:
        name = self.compression.value.lower() if self.compression is not None else "plain"
        position = self.bytes_in - len(self._input)
        return CompressionError(f"{self._what}: the {name} data is {reason} (at compressed byte {position:,})")

    def _check_limits(self) -> None:
        limits, out = self._limits, self.bytes_out
        if limits.total_bytes is not None and out > limits.total_bytes:
            raise LimitExceededError(f"{self._what}: bytes after decompression", limits.total_bytes)
        if self.compression is None or out <= limits.ratio_from_bytes:
            return
        if out > limits.ratio * (self.bytes_in - len(self._input)):
            raise LimitExceededError(f"{self._what}: bytes after decompression for each compressed byte", limits.ratio)


class _Compressor(Protocol):
    def compress(self, data: bytes) -> bytes: ...
    def flush(self) -> bytes: ...


def _new_gzip_compressor(level: int | None) -> _Compressor:
    zlib = _module("zlib")
    # 31 asks for a gzip header, in which zlib leaves name and time away: equal content gives equal bytes.
    compressor: _Compressor = zlib.compressobj(level=-1 if level is None else level, wbits=31)
    return compressor


def _new_zstd_compressor(level: int | None) -> _Compressor:
    zstd = _zstd()
    parameter = zstd.CompressionParameter
    options = {parameter.compression_level: level} if level is not None else {}
    # Threads of the library's own, where it was built with them. How many there are changes no byte of what comes out;
    # whether there are any does.
    most = parameter.nb_workers.bounds()[1]
    if most:
        options[parameter.nb_workers] = min(os.cpu_count() or 1, _ZSTD_WORKERS, most)
    if most and (level is None or level < _ZSTD_LARGE_WINDOWS):
        options[parameter.job_size] = _ZSTD_JOB
    compressor: _Compressor = zstd.ZstdCompressor(options=options)
    return compressor


def _new_bzip2_compressor(level: int | None) -> _Compressor:
    compressor: _Compressor = _module("bz2").BZ2Compressor(9 if level is None else level)
    return compressor


def _new_xz_compressor(level: int | None) -> _Compressor:
    lzma = _module("lzma")
    compressor: _Compressor = lzma.LZMACompressor(format=lzma.FORMAT_XZ, preset=level)
    return compressor


_WRITERS: Final[dict[Compression, Callable[[int | None], _Compressor]]] = {
    Compression.GZIP: _new_gzip_compressor,
    Compression.ZSTD: _new_zstd_compressor,
    Compression.BZIP2: _new_bzip2_compressor,
    Compression.XZ: _new_xz_compressor,
}


def _new_compressor(compression: Compression, level: int | None) -> _Compressor:
    try:
        return _WRITERS[compression](level)
    except (ValueError, OverflowError, TypeError, *_failures(compression)) as error:
        raise ValueError(f"{compression.value.lower()} has no compression level {level!r}: {error}") from error


def _failures(compression: Compression) -> tuple[type[Exception]]:
    return (_READERS[compression][1](),)


def check_level(compression: Compression, level: int | None) -> None:
    """Refuse a level that a format does not have.

    Raises:
        ValueError: It has no such level.
        MissingDependencyError: The format needs a module that is not installed.
    """
    _new_compressor(compression, level)


class CompressedStream:
    """A stream, compressed while it is read. Equal content, format and level give equal bytes.

    Args:
        stream: The plain stream; closed with this one.
        compression: The format.
        level: As the format has it; None for its default.

    Raises:
        ValueError: The format has no such level.
        MissingDependencyError: The format needs a module that is not installed.
    """

    def __init__(self, stream: ByteStream, compression: Compression, level: int | None = None) -> None:
        self._stream = stream
        self._compressor: _Compressor | None = _new_compressor(compression, level)
        self._output = memoryview(b"")
        self.compression = compression

    def read(self, size: int = -1, /) -> bytes:
        """Return between 1 and ``size`` compressed bytes; ``b""`` only at the end. A negative size reads all."""
        if size < 0:
            return b"".join(iter(lambda: self.read(_OUTPUT), b""))
        if size == 0:
            return b""
        while not self._output and self._compressor is not None:
            data = self._stream.read(_OUTPUT)
            self._output = memoryview(self._compressor.compress(data) if data else self._compressor.flush())
            if not data:
                self._compressor = None
        result, self._output = bytes(self._output[:size]), self._output[size:]
        return result

    def close(self) -> None:
        """Close the plain stream too; closing twice is nothing."""
        self._compressor = None
        self._output = memoryview(b"")
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
