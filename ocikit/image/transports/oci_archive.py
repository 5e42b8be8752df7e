"""Transport ``oci-archive``: an image in a layout in a tar file, ``oci-archive:file[:name]``.

The path ends at the first colon; ``-`` is standard input or output. Read are tar files plain or compressed,
recognised by their content. Written are plain ones, as skopeo does, unless a compression is asked for: the layers in
them are compressed already, and a plain archive is read in place.
An archive that is there is replaced; images are never added to one, or deleted from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

from ocikit.errors import InvalidReferenceError, NotSupportedError
from ocikit.image.layout.archive import ArchiveReader, LayoutArchiveWriter
from ocikit.image.layout.blobs import blob_name
from ocikit.image.layout.names import is_name
from ocikit.image.transports._archive_file import (
    ArchiveFileReference,
    ArchiveTransport,
    opened,
    place,
    temporary_directory,
)
from ocikit.image.transports._layout_image import LayoutDestination, LayoutSource, split_reference
from ocikit.image.transports._paths import validate_scope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocikit.image.layout.attaching import NewSignatures
    from ocikit.image.types import BlobInfo, ByteStream, ImageTransport, SystemContext
    from ocikit.spec import Descriptor

__all__ = ["TRANSPORT", "ArchiveReference"]


class _Transport(ArchiveTransport):
    @property
    def name(self) -> str:
        return "oci-archive"

    def parse_reference(self, reference: str) -> ArchiveReference:
        path, name = split_reference(reference)
        if name is not None and name.startswith("@"):
            raise InvalidReferenceError(
                f"{reference!r}: images in an archive have names, not positions such as {name!r}"
            )
        return ArchiveReference(**place(path, reference), name=name)

    def file_reference(self, file: object, name: str | None) -> ArchiveReference:
        if name is not None and not is_name(name):
            raise InvalidReferenceError(f"{name!r} is no name of an image in a layout")
        return ArchiveReference(**opened(file), name=name)

    def validate_policy_configuration_scope(self, scope: str) -> None:
        validate_scope(scope)


#: The transport.
TRANSPORT: Final = _Transport()


@frozen(kw_only=True)
class ArchiveReference(ArchiveFileReference):
    """An image in an archive of a layout.

    Attributes:
        path: The file, as it was written; ``-`` for standard input and output.
        resolved: The file, absolute and without symbolic links: what is opened.
        stream: An open file object in place of a file.
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
        """See :class:`ImageReference`. A stream is read to its end."""
        archive = ArchiveReader(self.origin(), temporary_directory(sys), where=self.resolved)
        return LayoutSource(self, archive, self.name, None)

    def new_image_destination(self, sys: SystemContext | None = None) -> LayoutDestination:
        """See :class:`ImageReference`. A stream is written at commit, and not before."""
        return _Destination(self, sys)

    def delete_image(self, sys: SystemContext | None = None) -> None:
        """See :class:`ImageReference`.

        Raises:
            NotSupportedError: Always.
        """
        del sys
        raise NotSupportedError(f"{self}: images are not deleted from archives; remove the file")


class _Destination(LayoutDestination):
    def __init__(self, reference: ArchiveReference, sys: SystemContext | None) -> None:
        super().__init__(reference, reference.name, sys)
        self._archive = LayoutArchiveWriter(
            reference.target(sys, replace=True),
            mtime=sys.destination_timestamp if sys is not None else 0,
            temporary_directory=temporary_directory(sys),
        )

    def try_reusing_blob(self, info: BlobInfo, *, can_substitute: bool = False) -> BlobInfo | None:
        del can_substitute  # which other blob has the same content is not recorded in a layout
        size = self._archive.size(info.digest) if info.digest is not None else None
        if size is None or 0 <= info.size != size:
            # Blobs are asked for in the order of the manifests, and put by whichever thread is first. One that is to
            # be compressed will be another.
            if size is None and not self._compress:
                self._archive.announce(info)
            return None
        return evolve(info, size=size)

    def close(self) -> None:
        self._archive.close()

    def _store(self, stream: ByteStream, info: BlobInfo) -> BlobInfo:
        digest, size = self._archive.put(stream, info, blob_name(info, str(self._reference)))
        return evolve(info, digest=digest, size=size)

    def _publish(
        self,
        descriptor: Descriptor | None,
        name: str | None,
        referrers: Sequence[Descriptor],
        signatures: Sequence[NewSignatures],
    ) -> None:
        if descriptor is None:
            raise NotSupportedError(
                f"{self._reference}: nothing is added to an archive that is there; copy the image to an oci: layout, "
                "add to it there, and copy it, with its referrers if there are any, to a new archive"
            )
        self._archive.commit(descriptor, name, referrers, signatures)
