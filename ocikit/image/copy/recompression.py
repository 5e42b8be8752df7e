"""A layer on its way into another compression, and the proof that its plain bytes stay the same.

Reading, the hash of what is stored, and decompression are done by one thread, the hash of the plain bytes and
compression by the one that stores them. What was recompressed once is remembered as long as the process lives, by
digests that were verified here: the same layer of another image need not be done again.
"""

from __future__ import annotations

import queue
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ocikit.errors import CompressionError, DigestMismatchError
from ocikit.image.ahead import ReadAhead
from ocikit.image.checked import CheckedStream
from ocikit.image.compression import CompressedStream, DecompressedStream
from ocikit.image.limits import DEFAULT_LIMITS
from ocikit.spec import Digest

if TYPE_CHECKING:
    from typing import Self

    from ocikit.image.copy.transfers import Key, Transfer
    from ocikit.image.encryption import DecryptedStream
    from ocikit.image.types import ByteStream

__all__ = ["DiffIDCheck", "Known", "Made", "Recompressed"]

_AHEAD: Final = 8
_REMEMBERED: Final = 10_000


class Recompressed:
    """The bytes of a layer in the compression that it is to have.

    Args:
        stored: The blob as the source has it, or what was decrypted of it.
        transfer: What is to be done.
    """

    def __init__(self, stored: CheckedStream | DecryptedStream, transfer: Transfer) -> None:
        work, what = transfer.work, f"layer {transfer.digest}"
        if work is None:
            raise ValueError(f"{what}: nothing is to be done to it")
        self._stored = stored
        self._ahead = ReadAhead(
            lambda: DecompressedStream(stored, limits=DEFAULT_LIMITS.expansion, what=what), "ocikit recompression"
        )
        plain: ByteStream = self._ahead
        if transfer.diff_id is not None:
            plain = CheckedStream(plain, transfer.diff_id, -1, f"diffID of {what}")
        if work.compression is not None:
            plain = CompressedStream(plain, work.compression, work.level)
        self._stream = plain

    def read(self, size: int = -1, /) -> bytes:
        """Return between 1 and ``size`` bytes; ``b""`` only at the end.

        Raises:
            VerificationError: The blob, or its plain bytes, are not what they are claimed to be.
            CompressionError: The blob is damaged.
            EncryptionError: It was decrypted, and its HMAC is another one.
            LimitExceededError: More comes out of it than an image may have.
        """
        try:
            return self._stream.read(size)
        except CompressionError:
            self._ahead.close()
            self._stored.verify()  # when it is the wrong layer, that is the error to report
            raise

    def close(self) -> None:
        """End the thread; the stream of the source stays open."""
        self._ahead.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class DiffIDCheck:
    """A stream that passes on what it reads, while a thread decompresses and hashes the same bytes.

    Args:
        stream: The blob; not closed.
        transfer: The layer; its diffID is given.
    """

    def __init__(self, stream: ByteStream, transfer: Transfer) -> None:
        if transfer.diff_id is None:
            raise ValueError(f"layer {transfer.digest}: no diffID to compare with")
        self._stream = stream
        self._expected = transfer.diff_id
        self._what = f"layer {transfer.digest}"
        self._pieces: queue.Queue[bytes] = queue.Queue(_AHEAD)
        self._found: Digest | BaseException | None = None
        self._thread = threading.Thread(target=self._hash, name="ocikit diffID", daemon=True)
        self._thread.start()

    def read(self, size: int = -1, /) -> bytes:
        """Return what the stream returns.

        Raises:
            DigestMismatchError: The stream has ended, and its plain bytes have another digest.
            CompressionError: It has ended, and is damaged.
        """
        data = self._stream.read(size)
        if data:
            self._pieces.put(data)
        elif size:
            self._compare()
        return data

    def _compare(self) -> None:
        self.close()
        if isinstance(self._found, BaseException):
            raise self._found
        if self._found != self._expected:
            raise DigestMismatchError(f"diffID of {self._what}", self._expected, self._found or Digest.from_bytes(b""))

    def _hash(self) -> None:
        source = _Queued(self._pieces)
        try:
            plain = DecompressedStream(source, limits=DEFAULT_LIMITS.expansion, what=self._what)
            hasher = self._expected.hasher()
            while piece := plain.read(1 << 20):
                hasher.update(piece)
            self._found = Digest.from_hasher(hasher)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to whoever reads
            self._found = error
        # Whoever reads goes on, and must not wait for room.
        while source.read():
            pass

    def close(self) -> None:
        """End the thread; the stream stays open. Closing twice is nothing."""
        if self._thread.is_alive():
            self._pieces.put(b"")
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Queued:
    """What was put into a queue, as a stream; an empty piece is its end."""

    def __init__(self, pieces: queue.Queue[bytes]) -> None:
        self._pieces = pieces
        self._ended = False

    def read(self, size: int = -1, /) -> bytes:
        del size  # pieces are small enough as they come
        if self._ended:
            return b""
        piece = self._pieces.get()
        self._ended = not piece
        return piece

    def close(self) -> None:
        """There is nothing to close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@frozen(kw_only=True)
class Made:
    """What came out of a layer that was recompressed.

    Attributes:
        digest: The digest.
        size: The size in bytes.
        diff_id: What the plain bytes were found to be; None when nobody looked.
    """

    digest: Digest
    size: int
    diff_id: Digest | None


class Known:
    """What came out of layers that were recompressed here, by the layer and what was done to it."""

    def __init__(self) -> None:
        self._results: OrderedDict[Key, Made] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> Made | None:
        """Return what came out; None when it is not known."""
        with self._lock:
            return self._results.get(key)

    def put(self, key: Key, made: Made) -> None:
        """Remember a result; the oldest is forgotten when there are too many."""
        with self._lock:
            self._results[key] = made
            if len(self._results) > _REMEMBERED:
                self._results.popitem(last=False)
