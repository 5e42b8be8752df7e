"""What happens during a copy, told while it happens: what is planned, and how every blob begins, goes on and ends.

A blob is told from others by its number, which no other blob of this process has: several copies may be told to the
same callable, and one blob may become two. Every blob that is planned ends once: done, skipped or failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocikit.image.types import BlobInfo

__all__ = [
    "ArtifactDone",
    "ArtifactFailed",
    "ArtifactRead",
    "ArtifactSkipped",
    "ArtifactsPlanned",
    "NewArtifact",
    "ProgressEvent",
]


@frozen(kw_only=True)
class ArtifactsPlanned:
    """The manifests are read: these blobs are wanted. The first event of a copy.

    Attributes:
        artifacts: The blobs by their numbers, with the sizes that the manifests state, in the order of the manifests.
    """

    artifacts: Mapping[int, BlobInfo]

    @property
    def size(self) -> int:
        """The sizes of all that have one, in bytes."""
        return sum(max(one.size, 0) for one in self.artifacts.values())


@frozen(kw_only=True)
class NewArtifact:
    """The copy of a blob begins; a second time, where what was there of it turns out to be something else.

    Attributes:
        artifact: The blob.
        offset: How much of it was there from an earlier copy, in bytes: it is not read again.
        number: Its number.
    """

    artifact: BlobInfo
    offset: int = 0
    number: int = -1


@frozen(kw_only=True)
class ArtifactRead:
    """Some of a blob was read.

    Attributes:
        artifact: The blob.
        number: Its number.
        offset: How much of it was read so far, in bytes; never less than before.
        offset_update: How much of it was read since the event before, in bytes.
    """

    artifact: BlobInfo
    number: int = -1
    offset: int
    offset_update: int


@frozen(kw_only=True)
class ArtifactDone:
    """A blob is at the destination, verified.

    Attributes:
        artifact: The blob as it is there: of what was recompressed or encrypted, digest and size are others now.
        number: Its number.
        offset: How much was read of it, in bytes: its size at the source.
        offset_update: How much of it was read since the event before, in bytes.
    """

    artifact: BlobInfo
    number: int = -1
    offset: int
    offset_update: int


@frozen(kw_only=True)
class ArtifactSkipped:
    """A blob is not copied: it is at the destination already, or stays where its URLs say.

    Attributes:
        artifact: The blob.
        number: Its number.
    """

    artifact: BlobInfo
    number: int = -1


@frozen(kw_only=True)
class ArtifactFailed:
    """The copy ends with an error, and this blob was not done before that.

    Attributes:
        artifact: The blob.
        number: Its number.
        error: What ended the copy: what happened to this blob, or to another one.
    """

    artifact: BlobInfo
    number: int = -1
    error: BaseException = field(eq=False)


ProgressEvent = ArtifactsPlanned | NewArtifact | ArtifactRead | ArtifactDone | ArtifactSkipped | ArtifactFailed
