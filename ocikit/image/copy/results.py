"""What a copy tells back: what was written, and what became of every blob. Only data."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    from ocikit.image.types import ImageReference
    from ocikit.spec import Digest

__all__ = ["BlobOutcome", "CopiedBlob", "CopyResult"]


class BlobOutcome(enum.Enum):
    """What became of a blob."""

    #: It was copied.
    COPIED = "copied"
    #: It was at the destination already.
    REUSED = "reused"
    #: It stays where its URLs say (nondistributable layers).
    SKIPPED = "skipped"
    #: It was stored in another compression, or encrypted, or decrypted.
    CONVERTED = "converted"
    #: The file of the source has a second name at the destination.
    LINKED = "linked"


@frozen(kw_only=True)
class CopiedBlob:
    """A blob of the image and what became of it.

    Attributes:
        digest: Its digest at the destination.
        size: Its size there in bytes; -1 when a plan does not know it yet.
        media_type: Its media type as the manifest at the destination states it.
        outcome: What became of it.
        source_digest: Its digest at the source: another one when it was converted; None when there was no such blob.
    """

    digest: Digest
    size: int
    media_type: str
    outcome: BlobOutcome
    source_digest: Digest | None = None


@frozen(kw_only=True)
class CopyResult:
    """What a copy did.

    Attributes:
        reference: Where the image is now.
        manifest: The manifest (or index) exactly as it was written.
        media_type: The media type of that manifest.
        digest: The digest of that manifest.
        instances: The digests of the manifests that were written below an index, in the order of the index.
        blobs: Every blob once, in the order of the manifests.
        referrers: The digests of the manifests that refer to the image and were copied with it.
        signatures: The digests of the signatures that the image, and what is below its index, was to have: those that
            were kept and those that were added, be they there already or not.
        lost: What the type of manifest at the destination has no place for, in words, such as
            ``"annotations of the manifest: 3"``; nothing when the image was not converted.
    """

    reference: ImageReference
    manifest: bytes = field(repr=False)
    media_type: str
    digest: Digest
    instances: tuple[Digest, ...] = ()
    blobs: tuple[CopiedBlob, ...] = ()
    referrers: tuple[Digest, ...] = ()
    signatures: tuple[Digest, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def copied(self) -> tuple[CopiedBlob, ...]:
        """The blobs that were copied."""
        return self._with(BlobOutcome.COPIED)

    @property
    def converted(self) -> tuple[CopiedBlob, ...]:
        """The blobs that were stored in another compression, or encrypted, or decrypted."""
        return self._with(BlobOutcome.CONVERTED)

    @property
    def linked(self) -> tuple[CopiedBlob, ...]:
        """The blobs whose file has a second name at the destination now."""
        return self._with(BlobOutcome.LINKED)

    @property
    def reused(self) -> tuple[CopiedBlob, ...]:
        """The blobs that were at the destination already."""
        return self._with(BlobOutcome.REUSED)

    @property
    def skipped(self) -> tuple[CopiedBlob, ...]:
        """The blobs that stay where their URLs say."""
        return self._with(BlobOutcome.SKIPPED)

    def _with(self, outcome: BlobOutcome) -> tuple[CopiedBlob, ...]:
        return tuple(blob for blob in self.blobs if blob.outcome is outcome)
