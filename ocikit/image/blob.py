"""A blob on its way: what is known of it, its bytes as a stream, and the part of it that arrived before.

Contracts and values only, as in :mod:`ocikit.image.types`, which hands them on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

    from ocikit.spec import Descriptor, Digest

__all__ = ["BlobInfo", "ByteStream", "PartialBlob"]


class ByteStream(Protocol):
    """A readable stream of bytes: files, ``io.BytesIO`` and HTTP responses are such streams."""

    def read(self, size: int = -1, /) -> bytes:
        """Return between 1 and ``size`` bytes, fewer when that is convenient; ``b""`` only at the end.

        A negative size reads to the end.
        """

    def close(self) -> None:
        """Release what the stream holds; closing twice is nothing."""

    def __enter__(self) -> Self:
        """Return the stream itself."""

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
        /,
    ) -> None:
        """Close the stream."""


@frozen(kw_only=True)
class BlobInfo:
    """What is known about a blob: a descriptor in which everything may still be unknown.

    Attributes:
        digest: The digest of the blob; None when it is not known before the blob was read.
        size: The size in bytes; -1 when it is not known.
        media_type: The media type as the manifest states it; empty when it is not known.
        urls: Where else the content may be fetched from (nondistributable layers).
        annotations: Annotations of the descriptor, carried along.
    """

    digest: Digest | None = None
    size: int = -1
    media_type: str = ""
    urls: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(factory=dict)

    @classmethod
    def from_descriptor(cls, descriptor: Descriptor) -> Self:
        """Return what a descriptor says of its content.

        Args:
            descriptor: The descriptor, of a manifest or an index.
        """
        return cls(
            digest=descriptor.digest,
            size=descriptor.size,
            media_type=descriptor.media_type,
            urls=descriptor.urls,
            annotations=descriptor.annotations,
        )


class PartialBlob(ABC):
    """A blob of which a destination has a part, or nothing yet, and that is the caller's alone to go on with.

    What is there was read, and is verified when the rest has come: no sooner can anybody tell whether it is right.
    """

    @property
    @abstractmethod
    def offset(self) -> int:
        """How many bytes are there: where the next one belongs."""

    @property
    @abstractmethod
    def start(self) -> bytes:
        """The first bytes that are there, enough to tell how the blob is compressed; fewer when fewer are there."""

    @abstractmethod
    def complete(self, stream: ByteStream) -> BlobInfo:
        """Add what is missing, and store the blob: there whole and verified, or not at all.

        Args:
            stream: The content from :attr:`offset` on, read to its end; not closed.

        Returns:
            What was stored.

        Raises:
            DigestMismatchError: The whole has another digest. Nothing is there any more, :attr:`offset` is 0, and
                the blob can be completed from its beginning.
            SizeMismatchError: It has another size; likewise.
            OSError: The place cannot be written.
            BaseException: Whatever the stream raised; what had come by then stays.
        """

    @abstractmethod
    def close(self) -> None:
        """Leave what is there, if it is worth it, to whoever wants the blob next. Closing twice is nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
