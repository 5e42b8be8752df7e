"""The way of a layer from its blob to the applier: both digests, the size, the limits, and a thread that ends."""

from __future__ import annotations

import bz2
import gzip
import io
import threading
from typing import Any

import pytest
from layers import file, layer

from ocikit.errors import (
    CompressionError,
    DigestMismatchError,
    LimitExceededError,
    OCIKitError,
    SizeMismatchError,
    UnpackError,
)
from ocikit.image.compression import CompressedStream, Compression
from ocikit.image.limits import Limits
from ocikit.image.types import BlobInfo
from ocikit.image.verified import VerifiedLayer
from ocikit.spec import Digest

PLAIN = layer(file(b"f", b"content" * 10_000))


def zstd(data: bytes) -> bytes:
    """Compress with zstd."""
    return CompressedStream(io.BytesIO(data), Compression.ZSTD).read()


def opened(blob: bytes, *, plain: bytes = PLAIN, limits: Limits | None = None, **claims: object) -> VerifiedLayer:
    """Open a blob as a layer, with its own digests and size unless something else is claimed."""
    digest = claims.get("digest", Digest.from_bytes(blob))
    size = claims.get("size", len(blob))
    return VerifiedLayer(
        io.BytesIO(blob),
        BlobInfo(digest=digest, size=size),  # type: ignore[arg-type]
        diff_id=claims.get("diff_id", Digest.from_bytes(plain)),  # type: ignore[arg-type]
        limits=limits or Limits(),
        before=claims.get("before", 0),  # type: ignore[arg-type]
        what="layer 7",
    )


BLOBS = {
    "plain": PLAIN,
    "gzip": gzip.compress(PLAIN),
    "gzip in members": gzip.compress(PLAIN[:1000]) + gzip.compress(PLAIN[1000:]),
    "zstd": zstd(PLAIN),
    "zstd in frames": zstd(PLAIN[:1000]) + b"\x50\x2a\x4d\x18\x04\0\0\0skip" + zstd(PLAIN[1000:]),
    "bzip2": bz2.compress(PLAIN),
}


@pytest.mark.parametrize("kind", BLOBS)
def test_the_plain_bytes_come_out_verified(kind: str) -> None:
    """Whatever the compression, what comes out is the plain layer, and verification returns."""
    with opened(BLOBS[kind]) as stream:
        pieces = list(iter(lambda: stream.read(10_000), b""))
        stream.verify()
    assert b"".join(pieces) == PLAIN
    assert stream.total_bytes == len(PLAIN)


def test_a_size_that_nobody_knows() -> None:
    """Without a stated size the digests decide."""
    with opened(BLOBS["gzip"], size=-1) as stream:
        stream.verify()
    assert stream.total_bytes == len(PLAIN)


def test_other_algorithms() -> None:
    """Both digests may be sha512."""
    blob = BLOBS["gzip"]
    claims: dict[str, Any] = {
        "digest": Digest.from_bytes(blob, "sha512"),
        "diff_id": Digest.from_bytes(PLAIN, "sha512"),
    }
    with opened(blob, **claims) as stream:
        stream.verify()
    assert stream.total_bytes == len(PLAIN)


OTHER = Digest.from_bytes(b"something else")

WRONG: dict[str, tuple[bytes, dict[str, Any], type[OCIKitError], str]] = {
    "another digest": (BLOBS["gzip"], {"digest": OTHER}, DigestMismatchError, "^layer 7: expected digest sha256:"),
    "another diffID": (BLOBS["gzip"], {"diff_id": OTHER}, DigestMismatchError, "^diffID of layer 7: expected digest"),
    "another diffID of a plain layer": (PLAIN, {"diff_id": OTHER}, DigestMismatchError, "^diffID of layer 7"),
    "a larger size": (BLOBS["gzip"], {"size": 1 << 20}, SizeMismatchError, "layer 7: expected 1,048,576 bytes, found"),
    "a smaller size": (BLOBS["gzip"], {"size": 5}, SizeMismatchError, "layer 7: expected 5 bytes, found"),
    "truncated": (BLOBS["gzip"][:-20], {}, CompressionError, "layer 7: the gzip data is truncated"),
    "truncated on the way": (BLOBS["gzip"][:-20], {"digest": OTHER, "size": -1}, DigestMismatchError, "layer 7"),
    "garbage behind it": (BLOBS["gzip"] + b"garbage", {}, CompressionError, "followed by something"),
    "zeros behind it": (BLOBS["gzip"] + bytes(512), {}, CompressionError, "followed by something"),
    "damaged": (BLOBS["gzip"][:20] + b"\xff" * 20 + BLOBS["gzip"][40:], {}, CompressionError, "damaged"),
    "padding that the diffID does not have": (gzip.compress(PLAIN + bytes(512)), {}, DigestMismatchError, "diffID"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_not_what_it_claims_to_be(kind: str) -> None:
    """A wrong digest, diffID or size, and damage, are errors that say which layer it is."""
    blob, claims, error, message = WRONG[kind]
    with opened(blob, **claims) as stream, pytest.raises(error, match=message):
        stream.verify()


def test_the_wrong_blob_is_told_from_a_damaged_one() -> None:
    """After damage the blob itself can still be verified, so that a wrong blob is called that."""
    with opened(b"\x1f\x8b\x08 no gzip at all" + bytes(100_000), digest=OTHER) as stream:
        with pytest.raises(CompressionError):
            stream.read(100)
        with pytest.raises(DigestMismatchError, match="layer 7"):
            stream.verify_blob()


BOMB = gzip.compress(bytes(8 << 20))


def test_a_ratio_beyond_the_limit() -> None:
    """A bomb is stopped by its ratio once it is large enough for that to count."""
    limits = Limits(ratio=100, ratio_from_bytes=1 << 20)
    with opened(BOMB, limits=limits) as stream, pytest.raises(LimitExceededError, match="for each compressed byte"):
        stream.verify()
    assert stream.total_bytes <= 3 << 20


def test_more_bytes_than_the_limit() -> None:
    """The plain bytes of all layers together are bounded, and the error says how to raise the bound."""
    limits = Limits(total_bytes=4 << 20)
    with opened(BOMB, limits=limits) as stream, pytest.raises(LimitExceededError, match=r"Limits\(total_bytes=") as e:
        stream.verify()
    assert e.value.limit == 4 << 20
    with opened(BLOBS["gzip"], limits=limits, before=4 << 20) as stream, pytest.raises(LimitExceededError):
        stream.verify()


def test_the_thread_ends_when_nobody_reads_on() -> None:
    """Closing in the middle ends the thread, also when it is far ahead and waits."""
    blob = gzip.compress(bytes(64 << 20), compresslevel=1)
    before = threading.active_count()
    with opened(blob) as stream:
        assert stream.read(10) == bytes(10)
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
    stream.close()
    assert stream.read(10) == b""


class Broken(io.BytesIO):
    """A blob on a disk that fails."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Fail."""
        del size
        raise OSError(5, "Input/output error", "/blobs/x")


def test_a_blob_that_cannot_be_read() -> None:
    """A failing disk is reported as that, by the layer it failed for."""
    info = BlobInfo(digest=OTHER, size=10)
    with (
        VerifiedLayer(Broken(), info, diff_id=OTHER, limits=Limits(), what="layer 7") as stream,
        pytest.raises(UnpackError, match="read layer 7 at /blobs/x: Input/output error"),
    ):
        stream.read(10)


def test_a_layer_without_a_digest() -> None:
    """What cannot be verified is not begun."""
    with pytest.raises(ValueError, match="cannot be verified"):
        VerifiedLayer(io.BytesIO(), BlobInfo(), diff_id=OTHER, limits=Limits())
