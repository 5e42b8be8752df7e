"""What happens during a copy, told while it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from ocikit.image.types import BlobInfo

__all__ = ["ArtifactDone", "ArtifactRead", "ArtifactSkipped", "NewArtifact", "ProgressEvent"]


@frozen(kw_only=True)
class NewArtifact:
    """The copy of a blob begins; a second time, where what was there of it turns out to be something else.

    Attributes:
        artifact: The blob.
        offset: How much of it was there from an earlier copy, in bytes: it is not read again.
    """

    artifact: BlobInfo
    offset: int = 0


@frozen(kw_only=True)
class ArtifactRead:
    """Some of a blob was read.

    Attributes:
        artifact: The blob.
        offset: How much of it was read so far, in bytes.
        offset_update: How much of it was read since the event before, in bytes.
    """

    artifact: BlobInfo
    offset: int
    offset_update: int


@frozen(kw_only=True)
class ArtifactDone:
    """A blob is at the destination, verified.

    Attributes:
        artifact: The blob as it is there.
        offset: Its size in bytes.
        offset_update: How much of it was read since the event before, in bytes.
    """

    artifact: BlobInfo
    offset: int
    offset_update: int


@frozen(kw_only=True)
class ArtifactSkipped:
    """A blob is not copied: it is at the destination already, or stays where its URLs say.

    Attributes:
        artifact: The blob.
    """

    artifact: BlobInfo


ProgressEvent = NewArtifact | ArtifactRead | ArtifactDone | ArtifactSkipped
