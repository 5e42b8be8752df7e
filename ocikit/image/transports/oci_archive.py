"""Transport ``oci-archive``: an image in a layout in a tar file, ``oci-archive:file[:name]``.

The path ends at the first colon. Read are tar files plain or compressed, recognised by their content. Written are
plain ones, as skopeo does: the layers in them are compressed already, and a plain archive is read in place.
An archive that is there is replaced; images are never added to one, or deleted from it.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

from ocikit.errors import InvalidReferenceError, LayoutError, NotSupportedError
from ocikit.image.layout.archive import ArchiveReader, Region, Spool, write_archive
from ocikit.image.layout.blobs import blob_name
from ocikit.image.layout.index import LayoutIndex
from ocikit.image.transports._layout_image import LayoutDestination, LayoutSource, split_reference
from ocikit.image.transports._paths import PathReference, resolve, validate_scope
from ocikit.image.types import BlobInfo, ImageTransport
from ocikit.spec import IMAGE_INDEX_FILE, IMAGE_LAYOUT_FILE, IMAGE_LAYOUT_VERSION, Digest, ImageLayout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocikit.image.types import ByteStream, SystemContext
    from ocikit.spec import Descriptor

__all__ = ["TRANSPORT", "ArchiveReference"]


class _Transport(ImageTransport):
    @property
    def name(self) -> str:
        return "oci-archive"

    def parse_reference(self, reference: str) -> ArchiveReference:
        path, name = split_reference(reference)
        if name is not None and name.startswith("@"):
            raise InvalidReferenceError(
                f"{reference!r}: images in an archive have names, not positions such as {name!r}"
            )
        return ArchiveReference(path=path, resolved=resolve(path, reference), name=name)

    def validate_policy_configuration_scope(self, scope: str) -> None:
        validate_scope(scope)


#: The transport.
TRANSPORT: Final = _Transport()


@frozen(kw_only=True)
class ArchiveReference(PathReference):
    """An image in an archive of a layout.

    Attributes:
        path: The file, as it was written.
        resolved: The file, absolute and without symbolic links: what is opened.
        name: The name of the image; None for the only one, or for none.
    """

    name: str | None = None

    @property
    def transport(self) -> ImageTransport:
        """``oci-archive``."""
        return TRANSPORT

    @property
    def string_within_transport(self) -> str:
        """``file:name`` or ``file``."""
        return f"{self.path}:{self.name}" if self.name is not None else self.path

    def new_image_source(self, sys: SystemContext | None = None) -> LayoutSource:
        """See :class:`ImageReference`."""
        return LayoutSource(self, ArchiveReader(self.resolved, _temporary(sys)), self.name, None)

    def new_image_destination(self, sys: SystemContext | None = None) -> LayoutDestination:
        """See :class:`ImageReference`. Nothing is written beside the file before commit."""
        place = Path(self.resolved)
        if place.exists() and not place.is_file():
            raise LayoutError(f"{self}: something is there that is no file, and is not replaced")
        return _Destination(self, sys)

    def delete_image(self, sys: SystemContext | None = None) -> None:
        """See :class:`ImageReference`.

        Raises:
            NotSupportedError: Always.
        """
        del sys
        raise NotSupportedError(f"{self}: images are not deleted from archives; remove the file")


def _temporary(sys: SystemContext | None) -> str | None:
    return sys.big_files_temporary_dir if sys is not None else None


class _Destination(LayoutDestination):
    def __init__(self, reference: ArchiveReference, sys: SystemContext | None) -> None:
        super().__init__(reference, reference.name, sys)
        self._path = reference.resolved
        self._mtime = sys.destination_timestamp if sys is not None else 0
        self._spool = Spool(_temporary(sys))
        self._blobs: dict[Digest, Region] = {}
        self._lock = threading.Lock()

    def try_reusing_blob(self, info: BlobInfo, *, can_substitute: bool = False) -> BlobInfo | None:
        del can_substitute  # which other blob has the same content is not recorded in a layout
        with self._lock:
            region = self._blobs.get(info.digest) if info.digest is not None else None
        if region is None or 0 <= info.size != region.size:
            return None
        return evolve(info, size=region.size)

    def close(self) -> None:
        self._spool.close()

    def _store(self, stream: ByteStream, info: BlobInfo) -> BlobInfo:
        digest, region = self._spool.put(stream, info, blob_name(info, str(self._reference)))
        with self._lock:
            self._blobs[digest] = region
        return evolve(info, digest=digest, size=region.size)

    def _publish(self, descriptor: Descriptor | None, name: str | None, referrers: Sequence[Descriptor]) -> None:
        if descriptor is None:
            raise NotSupportedError(
                f"{self._reference}: nothing is added to an archive that is there; copy the image to an oci: layout, "
                "add to it there, and copy it with its referrers to a new archive"
            )
        index = LayoutIndex.empty(self._path)
        index.put(descriptor, name)
        for referrer in referrers:
            index.put_referrer(referrer)
        documents = {
            IMAGE_LAYOUT_FILE: ImageLayout(image_layout_version=IMAGE_LAYOUT_VERSION).to_json(),
            IMAGE_INDEX_FILE: index.to_bytes(),
        }
        write_archive(self._path, documents, self._blobs, mtime=self._mtime)
