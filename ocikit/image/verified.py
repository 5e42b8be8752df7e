"""One layer on its way from a source to the file system: decompressed, counted, and verified twice.

The blob must have the digest and the size that the manifest states, its plain bytes the diffID that the config
states, padding after the end of the archive included. Both are computed while the bytes pass, so
nothing is read twice and nothing is stored; whoever applies the bytes meanwhile keeps the result to himself until
:meth:`VerifiedLayer.verify` has returned.

Reading, the first hash and decompression are done on a thread of their own: they let the interpreter go, and on
a second processor they cost the applier nothing.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Final

from ocikit.errors import DigestMismatchError, ImageError, SizeMismatchError, UnpackError
from ocikit.image.compression import DecompressedStream, ExpansionLimits
from ocikit.spec import Digest

if TYPE_CHECKING:
    from typing import Self

    from ocikit.image.limits import Limits
    from ocikit.image.types import BlobInfo, ByteStream

__all__ = ["VerifiedLayer"]

_PIECE: Final = 1 << 20
# How far the thread may be ahead, in pieces: enough to cover a large file being written.
_AHEAD: Final = 8
_POLL_SECONDS: Final = 0.05


class _Blob:
    """The stored bytes of a layer, hashed and counted while they are read."""

    def __init__(self, stream: ByteStream, digest: Digest, size: int, what: str) -> None:
        self._stream = stream
        self._expected_digest = digest
        self._expected_size = size
        self._what = what
        self._hasher = digest.hasher()
        self._size = 0

    def read(self, size: int = -1, /) -> bytes:
        try:
            data = self._stream.read(size)
        except OSError as error:
            if isinstance(error, ImageError):
                raise
            raise UnpackError(f"read {self._what}", error.errno or 0, error.filename) from error
        self._hasher.update(data)
        self._size += len(data)
        if self._size > self._expected_size >= 0:
            raise SizeMismatchError(self._what, self._expected_size, self._size)
        return data

    def verify(self) -> None:
        """Read what is left and compare."""
        while self.read(_PIECE):
            pass
        if self._size != self._expected_size >= 0:
            raise SizeMismatchError(self._what, self._expected_size, self._size)
        actual = Digest.from_hasher(self._hasher)
        if actual != self._expected_digest:
            raise DigestMismatchError(self._what, self._expected_digest, actual)

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class VerifiedLayer:
    """The plain bytes of one layer.

    Args:
        stream: The blob; closed with this one.
        info: What the manifest says of it; its digest is given.
        diff_id: What the config says of its plain bytes.
        limits: The bounds; of these, the ratio is kept here, and ``total_bytes`` together with ``before``.
        before: Plain bytes of the layers before this one.
        what: What the layer is called in errors ("layer 2").

    Raises:
        NotSupportedError: A digest is of an algorithm that cannot be computed here.
    """

    def __init__(
        self,
        stream: ByteStream,
        info: BlobInfo,
        *,
        diff_id: Digest,
        limits: Limits,
        before: int = 0,
        what: str = "layer",
    ) -> None:
        if info.digest is None:
            raise ValueError(f"{what}: a layer without a digest cannot be verified")
        self._blob = _Blob(stream, info.digest, info.size, what)
        self._diff_id = diff_id
        self._limits = limits
        self._what = what
        self._hasher = diff_id.hasher()
        #: Plain bytes of this layer and those before it, read so far.
        self.total_bytes = before
        self._rest = memoryview(b"")
        self._ended = False
        self._stopped = False
        self._pieces: queue.Queue[bytes | BaseException] = queue.Queue(_AHEAD)
        self._thread = threading.Thread(target=self._produce, name=f"ocikit {what}", daemon=True)
        self._thread.start()

    def read(self, size: int = -1, /) -> bytes:
        """Return between 1 and ``size`` plain bytes; ``b""`` only at the end. A negative size is any.

        Raises:
            SizeMismatchError: The blob is larger than the manifest states.
            CompressionError: The blob is damaged.
            LimitExceededError: More comes out than the limits allow.
            UnpackError: The blob cannot be read.
        """
        if not self._rest:
            piece = b"" if self._ended else self._next()
            if not 0 <= size < len(piece):
                return piece
            self._rest = memoryview(piece)
        end = size if size >= 0 else len(self._rest)
        data, self._rest = bytes(self._rest[:end]), self._rest[end:]
        return data

    def _next(self) -> bytes:
        piece = self._pieces.get()
        if isinstance(piece, BaseException):
            self._ended = True
            raise piece
        self._ended = not piece
        self._hasher.update(piece)
        self.total_bytes += len(piece)
        if self.total_bytes > self._limits.total_bytes:
            raise self._limits.exceeded("total_bytes", f"{self._what}: bytes of an image after decompression")
        return piece

    def _produce(self) -> None:
        limits = ExpansionLimits(ratio=self._limits.ratio, ratio_from_bytes=self._limits.ratio_from_bytes)
        try:
            plain = DecompressedStream(self._blob, limits=limits, what=self._what)
            while not self._stopped:
                piece = plain.read(_PIECE)
                self._pieces.put(piece)
                if not piece:
                    break
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to whoever reads
            self._pieces.put(error)

    def verify(self) -> None:
        """Return when the layer, read to its end, is the one that manifest and config name.

        Raises:
            DigestMismatchError: The blob has another digest, or its plain bytes another diffID.
            SizeMismatchError: The blob has another size.
        """
        while self.read(_PIECE):
            pass
        self.verify_blob()
        actual = Digest.from_hasher(self._hasher)
        if actual != self._diff_id:
            raise DigestMismatchError(f"diffID of {self._what}", self._diff_id, actual)

    def verify_blob(self) -> None:
        """Return when the blob is the one that the manifest names; no plain bytes can be read after that.

        For whoever met damage in the plain bytes: when the blob itself is the wrong one, that is the error to report.

        Raises:
            DigestMismatchError: The blob has another digest.
            SizeMismatchError: The blob has another size.
        """
        self._stop()
        self._blob.verify()

    def _stop(self) -> None:
        self._stopped = self._ended = True
        self._rest = memoryview(b"")
        while self._thread.is_alive():
            # The thread may be waiting for room to put what nobody will read.
            try:
                self._pieces.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
        self._thread.join()

    def close(self) -> None:
        """End the thread and close the blob; closing twice is nothing."""
        self._stop()
        self._blob.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
