"""One layer on its way from a source to the file system: decompressed, counted, and verified twice.

The blob must have the digest and the size that the manifest states, its plain bytes the diffID that the config
states, padding after the end of the archive included. Both are computed while the bytes pass, so
nothing is read twice and nothing is stored; whoever applies the bytes meanwhile keeps the result to himself until
:meth:`VerifiedLayer.verify` has returned.

Reading, the first hash and decompression are done on a thread of their own: they let the interpreter go, and on
a second processor they cost the applier nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.errors import DigestMismatchError, ImageError, UnpackError
from ocikit.image.ahead import ReadAhead
from ocikit.image.checked import CheckedStream
from ocikit.image.compression import DecompressedStream, ExpansionLimits
from ocikit.spec import Digest

if TYPE_CHECKING:
    from typing import Self

    from ocikit.image.limits import Limits
    from ocikit.image.types import BlobInfo, ByteStream

__all__ = ["VerifiedLayer"]

_PIECE: Final = 1 << 20


class _Blob(CheckedStream):
    """The stored bytes of a layer. That they cannot be read is an error of unpacking."""

    def read(self, size: int = -1, /) -> bytes:
        try:
            return super().read(size)
        except OSError as error:
            if isinstance(error, ImageError):
                raise
            raise UnpackError(f"read {self._what}", error.errno or 0, error.filename) from error


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
        self._plain = ReadAhead(self._decompressed, f"ocikit {what}")

    def _decompressed(self) -> ByteStream:
        limits = ExpansionLimits(ratio=self._limits.ratio, ratio_from_bytes=self._limits.ratio_from_bytes)
        return DecompressedStream(self._blob, limits=limits, what=self._what)

    def read(self, size: int = -1, /) -> bytes:
        """Return between 1 and ``size`` plain bytes; ``b""`` only at the end. A negative size is any.

        Raises:
            SizeMismatchError: The blob has another size than the manifest states.
            DigestMismatchError: The blob, read to its end, has another digest.
            CompressionError: The blob is damaged.
            LimitExceededError: More comes out than the limits allow.
            UnpackError: The blob cannot be read.
        """
        data = self._plain.read(size)
        self._hasher.update(data)
        self.total_bytes += len(data)
        if self.total_bytes > self._limits.total_bytes:
            raise self._limits.exceeded("total_bytes", f"{self._what}: bytes of an image after decompression")
        return data

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
        self._plain.close()
        self._blob.verify()

    def close(self) -> None:
        """End the thread and close the blob; closing twice is nothing."""
        self._plain.close()
        self._blob.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
