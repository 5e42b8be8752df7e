"""What a synchronisation tells back: one entry for each image, and sums. Only data."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from pathlib import Path

    from ocikit.image.copy.preview import CopyPlan
    from ocikit.image.copy.results import CopyResult
    from ocikit.image.types import ImageReference
    from ocikit.spec import Digest

__all__ = ["SyncOutcome", "SyncReport", "SyncedImage"]


class SyncOutcome(enum.StrEnum):
    """What became of an image. The values stay the same from version to version."""

    #: It was copied, or some of it that was missing.
    COPIED = "copied"
    #: The very same image was there already.
    UNCHANGED = "unchanged"
    #: It is not there, or is not gone.
    FAILED = "failed"
    #: It was at the destination and not at the source, and is gone.
    DELETED = "deleted"
    #: Nothing was done, as was asked for or because something else failed.
    SKIPPED = "skipped"


@frozen(kw_only=True)
class SyncedImage:
    """An image and what became of it, or would.

    Attributes:
        source: Where it was; the path or the name of a place that could not be read; None for what the source does not
            have.
        destination: Where it is now, or would be, or was; None when that is not known.
        outcome: What became of it.
        digest: The digest of its manifest at the destination; None when it is not there, or nobody looked.
        bytes_copied: The bytes that were copied.
        bytes_reused: The bytes that were there already.
        result: What the copy said.
        plan: What a copy would do, of a run that does nothing.
        error: Why it failed.
        reason: Why nothing was done, or why it was deleted.
    """

    source: ImageReference | Path | str | None
    destination: ImageReference | None
    outcome: SyncOutcome
    digest: Digest | None = None
    bytes_copied: int = 0
    bytes_reused: int = 0
    result: CopyResult | None = None
    plan: CopyPlan | None = None
    error: Exception | None = None
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as JSON has it."""
        return {
            "source": str(self.source) if self.source is not None else None,
            "destination": str(self.destination) if self.destination is not None else None,
            "outcome": str(self.outcome),
            "digest": str(self.digest) if self.digest is not None else None,
            "bytesCopied": self.bytes_copied,
            "bytesReused": self.bytes_reused,
            "error": f"{type(self.error).__name__}: {self.error}" if self.error is not None else None,
            "reason": self.reason,
        }


@frozen(kw_only=True)
class SyncReport:
    """What became of every image.

    Attributes:
        images: The images in the order of the source, then those that the source does not have.
        ignored: What was in a directory of images and is none: hidden and unfinished files, and other files.
        dry_run: Whether nothing was done, and this is what would be.
    """

    images: tuple[SyncedImage, ...] = ()
    ignored: tuple[Path, ...] = ()
    dry_run: bool = False

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failed

    @property
    def copied(self) -> tuple[SyncedImage, ...]:
        """The images that were copied."""
        return self.with_outcome(SyncOutcome.COPIED)

    @property
    def unchanged(self) -> tuple[SyncedImage, ...]:
        """The images that were there already."""
        return self.with_outcome(SyncOutcome.UNCHANGED)

    @property
    def failed(self) -> tuple[SyncedImage, ...]:
        """The images, and the places, with an error."""
        return self.with_outcome(SyncOutcome.FAILED)

    @property
    def deleted(self) -> tuple[SyncedImage, ...]:
        """The images that are gone."""
        return self.with_outcome(SyncOutcome.DELETED)

    @property
    def skipped(self) -> tuple[SyncedImage, ...]:
        """The images that nothing was done about."""
        return self.with_outcome(SyncOutcome.SKIPPED)

    @property
    def bytes_copied(self) -> int:
        """The bytes that were copied, of all images together."""
        return sum(one.bytes_copied for one in self.images)

    @property
    def bytes_reused(self) -> int:
        """The bytes that were there already, counted for every image that needs them."""
        return sum(one.bytes_reused for one in self.images)

    def with_outcome(self, outcome: SyncOutcome) -> tuple[SyncedImage, ...]:
        """Return the entries with an outcome.

        Args:
            outcome: The outcome.
        """
        return tuple(one for one in self.images if one.outcome is outcome)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON has it."""
        return {
            "dryRun": self.dry_run,
            "images": [one.to_dict() for one in self.images],
            "ignored": [str(path) for path in self.ignored],
            "bytesCopied": self.bytes_copied,
            "bytesReused": self.bytes_reused,
        }

    def __str__(self) -> str:
        from ocikit.image.syncing.display import report_text  # noqa: PLC0415 - for those who show it

        return report_text(self)

    def _repr_html_(self) -> str:
        """Return the report for a notebook."""
        from ocikit.image.syncing.display import report_html  # noqa: PLC0415 - for notebooks

        return report_html(self)
