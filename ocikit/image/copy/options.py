"""What a copy may be told, and what it tells back: choices and results, only data."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable

    from attrs import Attribute

    from ocikit.image.copy.progress import ProgressEvent
    from ocikit.image.types import ImageReference, SystemContext
    from ocikit.spec import Digest

__all__ = ["BlobOutcome", "CopiedBlob", "CopyOptions", "CopyResult", "ImageListSelection"]


class ImageListSelection(enum.Enum):
    """What to copy of an index; an image that is none is copied whatever is selected."""

    #: The image for the running platform, or for the one that ``source_ctx`` chooses; the index itself is not copied.
    SYSTEM = "system"
    #: The index and everything it lists, indexes within it included.
    ALL = "all"
    #: The index, and of what it lists only ``instances``. The index stays as it is: it lists manifests that are
    #: not there.
    SPECIFIC = "specific"


def _at_least_one(_: object, attribute: Attribute[int], value: int) -> None:
    if value < 1:
        raise ValueError(f"CopyOptions.{attribute.name} must be at least 1, not {value}")


def _selection(_: object, attribute: Attribute[ImageListSelection], value: object) -> None:
    # Anything else would select nothing: the copy would be an index without any of its images.
    if value not in tuple(ImageListSelection):
        known = ", ".join(map(str, ImageListSelection))
        raise ValueError(f"CopyOptions.{attribute.name}: expected one of {known}, found {value!r}")


@frozen(kw_only=True)
class CopyOptions:
    """How to copy an image.

    Attributes:
        image_list_selection: What to copy of an index.
        instances: The digests of the manifests to copy with :attr:`ImageListSelection.SPECIFIC`.
        source_ctx: The circumstances at the source; chooses the platform, and names the policy file when no policy is
            given.
        destination_ctx: The circumstances at the destination.
        preserve_digests: Fail rather than change a byte of a manifest. Manifests are never changed in this version, so
            it always holds.
        remove_signatures: Leave the signatures of the source behind.
        progress: Called with every event of the copy, in the thread that copies. What it raises ends the copy, with
            nothing visible at the destination, and reaches the caller unchanged.
        progress_interval: The least time between two events about the reading of one blob, in seconds; 0 for one with
            every chunk.
        max_parallel: How many blobs are copied at the same time, where source and destination allow that; else one
            after another.
    """

    image_list_selection: ImageListSelection = field(default=ImageListSelection.SYSTEM, validator=_selection)
    instances: tuple[Digest, ...] = ()
    source_ctx: SystemContext | None = None
    destination_ctx: SystemContext | None = None
    preserve_digests: bool = False
    remove_signatures: bool = False
    progress: Callable[[ProgressEvent], object] | None = None
    progress_interval: float = 0.1
    max_parallel: int = field(default=6, validator=_at_least_one)

    def __attrs_post_init__(self) -> None:
        specific = self.image_list_selection is ImageListSelection.SPECIFIC
        if specific and not self.instances:
            raise ValueError("ImageListSelection.SPECIFIC needs instances: the digests of the manifests to copy")
        if self.instances and not specific:
            raise ValueError("instances are only for ImageListSelection.SPECIFIC")


class BlobOutcome(enum.Enum):
    """What became of a blob."""

    #: It was copied.
    COPIED = "copied"
    #: It was at the destination already.
    REUSED = "reused"
    #: It stays where its URLs say (nondistributable layers).
    SKIPPED = "skipped"


@frozen(kw_only=True)
class CopiedBlob:
    """A blob of the image and what became of it.

    Attributes:
        digest: Its digest.
        size: Its size in bytes.
        media_type: Its media type as the manifest states it.
        outcome: What became of it.
    """

    digest: Digest
    size: int
    media_type: str
    outcome: BlobOutcome


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
    """

    reference: ImageReference
    manifest: bytes = field(repr=False)
    media_type: str
    digest: Digest
    instances: tuple[Digest, ...] = ()
    blobs: tuple[CopiedBlob, ...] = ()

    @property
    def copied(self) -> tuple[CopiedBlob, ...]:
        """The blobs that were copied."""
        return self._with(BlobOutcome.COPIED)

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
