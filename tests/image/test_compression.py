"""Compressed streams: recognised, read to the end, and refused when anything is wrong with them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import subprocess
import zlib
from typing import TYPE_CHECKING, Self

import pytest

from ocikit.errors import CompressionError, LimitExceededError, NotSupportedError
from ocikit.image.compression import (
    CompressedStream,
    Compression,
    DecompressedStream,
    ExpansionLimits,
    _zstd,
    detect,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PLAIN = b"".join(b"line %d of a file that compresses\n" % number for number in range(30_000)) + os.urandom(100_000)


def _zstd_compress(data: bytes) -> bytes:
    return bytes(_zstd().compress(data))


FORMATS: dict[Compression, Callable[[bytes], bytes]] = {
    Compression.GZIP: gzip.compress,
    Compression.ZSTD: _zstd_compress,
    Compression.BZIP2: bz2.compress,
    Compression.XZ: lzma.compress,
}


class Trickle:
    """A stream that gives a few bytes at a time, as a pipe may."""

    def __init__(self, data: bytes, step: int) -> None:
        self._inner = io.BytesIO(data)
        self._step = step

    def read(self, size: int = -1, /) -> bytes:
        """Read at most the step."""
        return self._inner.read(min(size, self._step))

    def close(self) -> None:
        """Nothing to release."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.mark.parametrize("compression", FORMATS)
def test_reads_each_format(compression: Compression) -> None:
    """Every format is recognised by content and read whole, with both sides counted."""
    packed = FORMATS[compression](PLAIN)
    stream = DecompressedStream(io.BytesIO(packed))
    assert stream.read() == PLAIN
    assert stream.read(10) == b""
    assert stream.compression is compression
    assert (stream.bytes_in, stream.bytes_out) == (len(packed), len(PLAIN))


@pytest.mark.parametrize("compression", FORMATS)
@pytest.mark.parametrize("step", [1, 7, 4096])
def test_the_size_of_reads_does_not_matter(compression: Compression, step: int) -> None:
    """Members back to back come out as one stream however the bytes arrive and are asked for."""
    pack = FORMATS[compression]
    packed = pack(b"first") + pack(b"") + pack(PLAIN[:5000]) + pack(b"last")
    stream = DecompressedStream(Trickle(packed, step))
    pieces = list(iter(lambda: stream.read(step), b""))
    assert b"".join(pieces) == b"first" + PLAIN[:5000] + b"last"
    assert all(len(piece) <= step for piece in pieces)


def test_plain_data_passes_through() -> None:
    """What is not compressed comes out as it is, short and empty data included."""
    for data in (b"", b"x", b"BZh9-is-a-file-name", PLAIN):
        stream = DecompressedStream(io.BytesIO(data))
        assert stream.compression is None
        assert stream.read() == data


def test_reads_what_others_write() -> None:
    """The output of gzip is read, and zstd with frames in between that are to be skipped."""
    by_gzip = subprocess.run(["gzip", "-9n"], input=PLAIN, check=True, capture_output=True).stdout
    assert DecompressedStream(io.BytesIO(by_gzip * 2)).read() == PLAIN * 2
    skippable = b"\x5f\x2a\x4d\x18" + (300_000).to_bytes(4, "little") + bytes(300_000)
    packed = skippable + _zstd_compress(b"one") + skippable + _zstd_compress(b"two") + skippable
    assert detect(packed[:10]) is Compression.ZSTD
    assert DecompressedStream(io.BytesIO(packed)).read() == b"onetwo"


def test_many_tiny_members_are_read_in_linear_time() -> None:
    """A stream of thousands of members comes out whole; the input is not copied for each of them."""
    packed = gzip.compress(b"x", mtime=0) * 20_000
    assert DecompressedStream(io.BytesIO(packed)).read() == b"x" * 20_000


@pytest.mark.parametrize("compression", FORMATS)
def test_truncation_is_an_error(compression: Compression) -> None:
    """A stream that ends within a member is refused, wherever it is cut."""
    packed = FORMATS[compression](PLAIN[:100_000])
    for size in (11, len(packed) // 2, len(packed) - 1):
        with pytest.raises(CompressionError, match="truncated"):
            DecompressedStream(io.BytesIO(packed[:size]), what="layer 7").read()


@pytest.mark.parametrize("compression", FORMATS)
@pytest.mark.parametrize("tail", [b"garbage", b"\0" * 512, b"\x1f"])
def test_what_follows_the_end_is_refused(compression: Compression, tail: bytes) -> None:
    """Bytes after the last member are refused, so that no two readers see different content."""
    packed = FORMATS[compression](PLAIN[:100_000]) + tail
    with pytest.raises(CompressionError, match=r"layer 7: the .* data is followed by"):
        DecompressedStream(io.BytesIO(packed), what="layer 7").read()


@pytest.mark.parametrize("compression", FORMATS)
def test_damage_is_an_error(compression: Compression) -> None:
    """A flipped bit is found, by the structure or by the checksum of the format."""
    packed = bytearray(FORMATS[compression](PLAIN[:100_000]))
    packed[len(packed) // 2] ^= 1
    if compression is Compression.ZSTD:
        packed = bytearray(_zstd().compress(PLAIN, options={_zstd().CompressionParameter.checksum_flag: 1}))
        packed[-1] ^= 1
    with pytest.raises(CompressionError, match="damaged"):
        DecompressedStream(io.BytesIO(bytes(packed))).read()


@pytest.mark.parametrize("compression", FORMATS)
def test_bombs_are_stopped_while_they_are_small(compression: Compression) -> None:
    """A total and a ratio bound what comes out; what came out until then is not much more than the bound."""
    bomb = FORMATS[compression](bytes(20 << 20))
    stream = DecompressedStream(io.BytesIO(bomb), limits=ExpansionLimits(total_bytes=3 << 20))
    with pytest.raises(LimitExceededError, match="after decompression"):
        stream.read()
    assert stream.bytes_out <= 4 << 20
    stream = DecompressedStream(io.BytesIO(bomb), limits=ExpansionLimits(ratio=20, ratio_from_bytes=2 << 20))
    with pytest.raises(LimitExceededError, match="for each compressed byte"):
        stream.read()
    assert stream.bytes_out <= 4 << 20


def test_a_total_bounds_plain_data_too() -> None:
    """The total counts when nothing is compressed; the ratio does not."""
    limits = ExpansionLimits(total_bytes=10, ratio=1, ratio_from_bytes=0)
    assert DecompressedStream(io.BytesIO(b"x" * 10), limits=limits).read() == b"x" * 10
    with pytest.raises(LimitExceededError):
        DecompressedStream(io.BytesIO(b"x" * 11), limits=limits).read()


def test_windows_of_zstd_are_bounded() -> None:
    """A frame that asks for more than 128 MiB of window is refused before that is allocated."""
    zstd = _zstd()
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 28})
    packed = compressor.compress(b"x") + compressor.flush()
    with pytest.raises(CompressionError, match=r"(?i)memory|window"):
        DecompressedStream(io.BytesIO(packed)).read()


def test_closing_closes_the_stream_below() -> None:
    """Both directions close what they read from, and may be closed twice."""
    for make in (DecompressedStream, lambda below: CompressedStream(below, Compression.GZIP)):
        below = io.BytesIO(PLAIN)
        with make(below) as stream:
            stream.read(10)
        stream.close()
        assert below.closed


@pytest.mark.parametrize(("compression", "level"), [(Compression.GZIP, 1), (Compression.ZSTD, 1)])
def test_compresses(compression: Compression, level: int) -> None:
    """What is compressed here others read, and equal input gives equal bytes."""
    packed = CompressedStream(io.BytesIO(PLAIN), compression).read()
    assert packed == CompressedStream(Trickle(PLAIN, 1 << 20), compression).read()
    if compression is Compression.GZIP:
        assert subprocess.run(["gzip", "-dc"], input=packed, check=True, capture_output=True).stdout == PLAIN
    else:
        assert _zstd().decompress(packed) == PLAIN
    fast = CompressedStream(io.BytesIO(PLAIN), compression, level)
    pieces = list(iter(lambda: fast.read(1000), b""))
    assert all(0 < len(piece) <= 1000 for piece in pieces)
    assert DecompressedStream(io.BytesIO(b"".join(pieces))).read() == PLAIN


def test_gzip_has_no_time_in_it() -> None:
    """The header of gzip says nothing about when and where it was made."""
    packed = CompressedStream(io.BytesIO(b"x"), Compression.GZIP).read()
    assert packed[4:8] == bytes(4)
    assert zlib.decompress(packed, 31) == b"x"


def test_names() -> None:
    """Formats are found by name in any case; unknown ones are refused."""
    assert Compression.from_name("Gzip") is Compression.GZIP
    assert Compression.from_name("xz") is Compression.XZ
    with pytest.raises(NotSupportedError, match="'lz4' is not known"):
        Compression.from_name("lz4")
