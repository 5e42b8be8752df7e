"""A layer on its way through decryption, perhaps another compression, and encryption.

What is decrypted is held against the digest of the blob, the HMAC and the diffID before the destination has all of it.
Nothing is remembered of such layers: each encryption gives other bytes, and a key would have to be remembered with it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ocikit.image.checked import CheckedStream
from ocikit.image.compression import DETECTION_BYTES, detect
from ocikit.image.copy.recompression import DiffIDCheck, Recompressed
from ocikit.image.copy.results import BlobOutcome
from ocikit.image.copy.transfers import StoredBlob
from ocikit.image.encryption import DecryptedStream, EncryptedStream, wrap_options
from ocikit.image.types import BlobInfo

if TYPE_CHECKING:
    from typing import Self

    from ocikit.image.copy.ciphers import CipherWork
    from ocikit.image.copy.transfers import Transfer
    from ocikit.image.types import ByteStream, ImageDestination

__all__ = ["put_enciphered"]


def put_enciphered(
    transfer: Transfer, cipher: CipherWork, stream: ByteStream, destination: ImageDestination
) -> StoredBlob:
    """Store a layer whose encryption changes.

    Args:
        transfer: The layer.
        cipher: What is done to its encryption.
        stream: The layer as the source has it; not closed.
        destination: Where it goes.

    Raises:
        VerificationError: The blob, or what is in it, is not what it is claimed to be.
        EncryptionError: The HMAC is another one.
        CompressionError: What was decrypted is damaged.
    """
    what, work = f"layer {transfer.digest}", transfer.work
    with contextlib.ExitStack() as stack:
        opened: CheckedStream | DecryptedStream = CheckedStream(stream, transfer.digest, transfer.info.size, what)
        if cipher.decrypt is not None:
            opened = DecryptedStream(opened, cipher.decrypt, what)
        start = _Start(opened)
        plain: ByteStream = start
        if work is not None:
            plain = stack.enter_context(Recompressed(opened, transfer))
        elif transfer.diff_id is not None:
            plain = stack.enter_context(DiffIDCheck(start, transfer))
        is_untouched = work is None and cipher.decrypt is None
        sealed = EncryptedStream(plain, transfer.digest if is_untouched else None) if cipher.encrypt else None
        is_plain = work is not None and work.compression is None and sealed is None
        put = destination.put_blob(
            sealed or plain,
            BlobInfo(digest=transfer.diff_id if is_plain else None, media_type=transfer.info.media_type),
        )
        if put.digest is None:
            raise TypeError(f"{destination.reference}: put_blob has not said which digest it stored")
        return StoredBlob(
            digest=put.digest,
            size=put.size,
            outcome=BlobOutcome.CONVERTED,
            was_read=True,
            compression=work.compression if work is not None else detect(start.start),
            annotations=wrap_options(cipher.encrypt, sealed.options()) if cipher.encrypt and sealed else None,
        )


class _Start:
    """A stream that keeps its first bytes, by which compression is recognised."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self.start = b""

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        if len(self.start) < DETECTION_BYTES:
            self.start += data[: DETECTION_BYTES - len(self.start)]
        return data

    def close(self) -> None:
        """Leave the stream open: whoever opened it closes it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
