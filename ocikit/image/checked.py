"""A stream that vouches for what it was announced as: whoever reads it to its end has the very content, or an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.errors import DigestMismatchError, SizeMismatchError
from ocikit.spec import Digest

if TYPE_CHECKING:
    from typing import Self

    from ocikit.image.types import ByteStream

__all__ = ["CheckedStream"]

_PIECE: Final = 1 << 20


class CheckedStream:
    """Content that is hashed and counted while it is read, and compared where it ends.

    Args:
        stream: The content; closed with this one.
        digest: The digest that it must have.
        size: The size that it must have, in bytes; -1 for any.
        what: What it is, for messages ("layer 2").

    Raises:
        NotSupportedError: The digest is of an algorithm that cannot be computed here.
    """

    def __init__(self, stream: ByteStream, digest: Digest, size: int, what: str) -> None:
        self._stream = stream
        self._expected_digest = digest
        self._expected_size = size
        self._what = what
        self._hasher = digest.hasher()
        #: Bytes read so far.
        self.size = 0

    def read(self, size: int = -1, /) -> bytes:
        """Return between 1 and ``size`` bytes; ``b""`` only at the end, when everything was as announced.

        Raises:
            DigestMismatchError: The content has ended, and has another digest.
            SizeMismatchError: There is more, or less, of it.
        """
        data = self._stream.read(size)
        self._hasher.update(data)
        self.size += len(data)
        if self.size > self._expected_size >= 0:
            raise SizeMismatchError(self._what, self._expected_size, self.size)
        if not data and size:
            self._compare()
        return data

    def _compare(self) -> None:
        if self.size != self._expected_size >= 0:
            raise SizeMismatchError(self._what, self._expected_size, self.size)
        actual = Digest.from_hasher(self._hasher)
        if actual != self._expected_digest:
            raise DigestMismatchError(self._what, self._expected_digest, actual)

    def verify(self) -> None:
        """Read what is left and compare.

        Raises:
            VerificationError: As :meth:`read`.
        """
        while self.read(_PIECE):
            pass

    def close(self) -> None:
        """Close the stream; closing twice is nothing."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
