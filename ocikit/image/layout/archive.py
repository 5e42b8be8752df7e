"""A layout in a tar file: its documents and blobs, by the names that the image specification gives them.

The archive itself, how it is read in place or in one pass, and how it is written, is
:mod:`ocikit.image.archive`.
"""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Final

from ocikit.errors import BlobNotFoundError, InvalidDigestError, LayoutError
from ocikit.image.archive.members import Members
from ocikit.image.archive.writer import ArchiveWriter
from ocikit.image.layout.attaching import attach_signatures
from ocikit.image.layout.blobs import read_document
from ocikit.image.layout.index import LayoutIndex
from ocikit.image.layout.signatures import Held
from ocikit.image.layout.store import check_version
from ocikit.image.types import BlobInfo
from ocikit.spec import (
    IMAGE_BLOBS_DIR,
    IMAGE_INDEX_FILE,
    IMAGE_LAYOUT_FILE,
    IMAGE_LAYOUT_VERSION,
    Digest,
    ImageLayout,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ocikit.image.archive.target import Target
    from ocikit.image.layout.attaching import NewSignatures
    from ocikit.image.types import ByteStream
    from ocikit.spec import Descriptor

__all__ = ["ArchiveReader", "LayoutArchiveWriter", "blob_member"]

_DOCKER_FILE: Final = "manifest.json"
_DOCKER_HINT: Final = "; it looks like one of `docker save`: name it as docker-archive:{}"
_DEEPER_HINT: Final = "; there is one in the directory {0!r} in it: pack what is in there, tar -C {0!r} -cf app.tar ."
_EMPTY_HINT: Final = "; there is nothing in it"
_DEEPEST: Final = 3


class ArchiveReader:
    """An open archive of a layout; its blobs may be read by several threads.

    Args:
        origin: The file, or an open file object, as for :class:`~ocikit.image.archive.members.Members`; or what was
            found in it, owned from now on.
        temporary_directory: As there.
        where: The file, for messages; None when it is a path.

    Raises:
        LayoutError: It is no tar file, or no layout is in it, or not one of a known version.
        CompressionError: Its compressed data is damaged.
        LimitExceededError: It is larger than it may be.
        OSError: It cannot be opened.
    """

    def __init__(
        self, origin: str | ByteStream | Members, temporary_directory: str | None = None, *, where: str | None = None
    ) -> None:
        self._where = where if where is not None else str(origin)
        self._members = (
            origin
            if isinstance(origin, Members)
            else Members(origin, where=self._where, wanted=_is_of_layout, temporary_directory=temporary_directory)
        )
        try:
            check_version(self._document(IMAGE_LAYOUT_FILE), f"{self._where}: {IMAGE_LAYOUT_FILE}")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file; streams that are open stay readable."""
        self._members.close()

    @property
    def is_docker(self) -> bool:
        """Whether `docker save` wrote it: its own list of images is in it, too."""
        return _DOCKER_FILE in self._members

    def index(self) -> LayoutIndex:
        """Return the index.json of the archive.

        Raises:
            LayoutError: It is missing or no index.
            LimitExceededError: It is larger than 4 MiB.
        """
        return LayoutIndex.from_bytes(self._document(IMAGE_INDEX_FILE), f"{self._where}: {IMAGE_INDEX_FILE}")

    def open_blob(self, digest: Digest) -> tuple[ByteStream, int]:
        """Open a blob and return it with its size; its content is not verified.

        Raises:
            BlobNotFoundError: It is not there.
            LayoutError: It is a link that leads to nothing in the archive.
        """
        name = blob_member(digest)
        try:
            region = self._members.find(name)
        except BlobNotFoundError:
            raise BlobNotFoundError(f"{self._where}: a manifest refers to {name}, it is not in the archive") from None
        return region.open(f"{self._where}: {name}"), region.size

    def blob_sizes(self) -> Iterator[tuple[Digest, int]]:
        """Yield every blob in the archive, listed or not, with its size in bytes."""
        for name in self._members.names():
            directory, algorithm, encoded = [*name.split("/"), "", ""][:3]
            with contextlib.suppress(InvalidDigestError, BlobNotFoundError, LayoutError):
                digest = Digest(f"{algorithm}:{encoded}")
                if directory == IMAGE_BLOBS_DIR and blob_member(digest) == name:
                    yield digest, self._members.find(name).size

    def _hint(self) -> str:
        ends = f"/{IMAGE_LAYOUT_FILE}", f"/{_DOCKER_FILE}"
        deeper = next((name for name in self._members.names() if name.endswith(ends)), None)
        if deeper is not None:
            return _DEEPER_HINT.format(deeper.rpartition("/")[0])
        return "" if self._members.names() else _EMPTY_HINT

    def _document(self, name: str) -> bytes:
        try:
            region = self._members.find(name)
        except BlobNotFoundError:
            hint = _DOCKER_HINT.format(self._where) if self.is_docker else self._hint()
            raise LayoutError(
                f"{self._where}: there is no {name} in it: this is not an archive of an OCI layout{hint}"
            ) from None
        with region.open(f"{self._where}: {name}") as stream:
            return read_document(stream, f"{self._where}: {name}")


def _is_of_layout(name: str) -> bool:
    parts = name.split("/")
    if parts[-1] in {IMAGE_LAYOUT_FILE, _DOCKER_FILE}:
        return len(parts) <= _DEEPEST  # those further down only for what can be said of them
    if len(parts) == 3 and parts[0] == IMAGE_BLOBS_DIR:
        with contextlib.suppress(InvalidDigestError):
            return blob_member(Digest(f"{parts[1]}:{parts[2]}")) == name
    return name == IMAGE_INDEX_FILE


def blob_member(digest: Digest) -> str:
    """Return the name that a blob has in an archive."""
    return f"{IMAGE_BLOBS_DIR}/{digest.algorithm}/{digest.hex}"


class LayoutArchiveWriter:
    """The archive of a layout while it is written; blobs may be put by several threads.

    ``oci-layout`` comes first, then large blobs in the order in which they were announced or put, then small ones in
    the order of their names, ``index.json`` at the end; all have the same time and belong to root.

    Args:
        target: Where it goes; owned from now on.
        mtime: The time that files in the archive have, in seconds since the epoch.
        temporary_directory: As for :class:`~ocikit.image.archive.regions.Spool`.
    """

    def __init__(self, target: Target, *, mtime: int, temporary_directory: str | None) -> None:
        self._writer = ArchiveWriter(target, mtime=mtime, temporary_directory=temporary_directory)
        version = ImageLayout(image_layout_version=IMAGE_LAYOUT_VERSION)
        self._writer.add(IMAGE_LAYOUT_FILE, version.to_json())
        self._directories: set[str] = set()

    def close(self) -> None:
        """Give up what was not committed; closing twice is nothing."""
        self._writer.close()

    def announce(self, info: BlobInfo) -> None:
        """Keep a place for a blob that will be put later: the order of places is the order of these calls."""
        if info.digest is not None:
            self._add_directory(info.digest)
            self._writer.announce(blob_member(info.digest), info.size)

    def size(self, digest: Digest) -> int | None:
        """Return the size of a blob that is there; None when it is not."""
        return self._writer.size(blob_member(digest))

    def put(self, stream: ByteStream, info: BlobInfo, what: str) -> tuple[Digest, int]:
        """Write a blob, verified.

        Args:
            stream: The content.
            info: What is known of it.
            what: What it is, for messages.

        Returns:
            The digest of the content, and its size.

        Raises:
            VerificationError: The content is not what ``info`` says.
            OSError: It cannot be written.
        """
        if info.digest is not None:
            self._add_directory(info.digest)
        return self._writer.put(stream, info, blob_member, what)

    def commit(
        self,
        descriptor: Descriptor,
        name: str | None,
        referrers: Sequence[Descriptor] = (),
        signatures: Sequence[NewSignatures] = (),
    ) -> None:
        """Finish the archive and have it appear.

        Args:
            descriptor: The one image in it.
            name: Its name; None for none.
            referrers: The manifests beside it that have it as their subject.
            signatures: Its signatures, and those of manifests that it lists.

        Raises:
            OSError: It cannot be written; what was there before is still there.
        """
        index = LayoutIndex.empty(IMAGE_INDEX_FILE)
        index.put(descriptor, name)
        for referrer in referrers:
            index.put_referrer(referrer)
        for one in signatures:
            attach_signatures(index, one.subject or descriptor, one, Held(), self._put)
        self._writer.add(IMAGE_INDEX_FILE, index.to_bytes(), last=True)
        self._writer.commit()

    def _put(self, data: bytes) -> None:
        digest = Digest.from_bytes(data)
        if self.size(digest) is None:
            self.put(io.BytesIO(data), BlobInfo(digest=digest, size=len(data)), f"blob {digest} with signatures")

    def _add_directory(self, digest: Digest) -> None:
        for name in (IMAGE_BLOBS_DIR, f"{IMAGE_BLOBS_DIR}/{digest.algorithm}"):
            self._writer.add_directory(name)
