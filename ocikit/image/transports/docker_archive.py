"""Transport ``docker-archive``: an image in a file of ``docker save``, ``docker-archive:file[:name[:tag]]``.

The path ends at the first colon; ``-`` is standard input or output. A name is one of a registry, with ``latest`` where
there is no tag; ``file:@N`` is the image at position N of the list, counted from 0, to read only. With neither, the
file must hold exactly one image, or a new one gets no name.
A file that is there and not empty is not written to: such archives are made in one piece, by
:class:`ocikit.image.docker_archive.Writer` with several images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from ocikit.errors import InvalidReferenceError, LayoutError, NotSupportedError
from ocikit.image.archive.docker_reader import DockerArchive
from ocikit.image.archive.docker_writer import DockerArchiveWriter
from ocikit.image.transports._archive_file import (
    ArchiveFileReference,
    ArchiveTransport,
    opened,
    place,
    temporary_directory,
)
from ocikit.image.transports._docker_image import DockerDestination, DockerSource, additional_tags, parse_tagged

if TYPE_CHECKING:
    from ocikit.image.reference import Named
    from ocikit.image.types import ImageTransport, SystemContext

__all__ = ["TRANSPORT", "DockerArchiveReference"]

_POSITION_DIGITS: Final = 9


class _Transport(ArchiveTransport):
    @property
    def name(self) -> str:
        return "docker-archive"

    def parse_reference(self, reference: str) -> DockerArchiveReference:
        path, _, rest = reference.partition(":")
        return DockerArchiveReference(**place(path, reference), **_image(rest))

    def file_reference(self, file: object, name: str | None) -> DockerArchiveReference:
        return DockerArchiveReference(**opened(file), **_image(name or ""))

    def validate_policy_configuration_scope(self, scope: str) -> None:
        raise ValueError(f"{scope!r} can never match: docker-archive knows no scope but '', the default")


def _image(text: str) -> dict[str, Any]:
    if not text.startswith("@"):
        return {"named": parse_tagged(text) if text else None}
    digits = text[1:]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _POSITION_DIGITS):
        raise InvalidReferenceError(f"{text!r}: expected the position of an image after @, a number from 0")
    return {"position": int(digits)}


#: The transport.
TRANSPORT: Final = _Transport()


@frozen(kw_only=True)
class DockerArchiveReference(ArchiveFileReference):
    """An image in an archive of ``docker save``.

    Attributes:
        path: The file, as it was written; ``-`` for standard input and output.
        resolved: The file, absolute and without symbolic links: what is opened.
        stream: An open file object in place of a file.
        named: The name of the image, with a tag; None for the only one, or for none.
        position: The position of the image in the list, in place of a name.
        writer: The archive that is being written, when this is one of several images for it.
    """

    named: Named | None = None
    position: int | None = None
    writer: DockerArchiveWriter | None = field(default=None, repr=False)

    @property
    def transport(self) -> ImageTransport:
        """``docker-archive``."""
        return TRANSPORT

    @property
    def string_within_transport(self) -> str:
        """``file:name:tag``, ``file:@N`` or ``file``."""
        if self.position is not None:
            return f"{self.path}:@{self.position}"
        return f"{self.path}:{self.named}" if self.named is not None else self.path

    @property
    def docker_reference(self) -> Named | None:
        """The name that was asked for."""
        return self.named

    @property
    def policy_configuration_identity(self) -> str:
        """``""``: the name is what the file says of itself, and the path says nothing about the name."""
        return ""

    @property
    def policy_configuration_namespaces(self) -> tuple[str, ...]:
        """None."""
        return ()

    def new_image_source(self, sys: SystemContext | None = None) -> DockerSource:
        """See :class:`ImageReference`. A stream is read to its end."""
        if self.writer is not None:
            raise LayoutError(f"{self}: the archive is being written, and is read when it is there")
        archive = DockerArchive(self.origin(), where=self.resolved, temporary_directory=temporary_directory(sys))
        return DockerSource(self, archive, self.named, self.position)

    def new_image_destination(self, sys: SystemContext | None = None) -> DockerDestination:
        """See :class:`ImageReference`. A stream is written at commit, and not before.

        Raises:
            InvalidReferenceError: A further tag is outside the grammar.
        """
        if self.position is not None:
            raise InvalidReferenceError(
                f"{self}: a position names an image that is there; a new one gets a name or none"
            )
        tags = ((self.named,) if self.named is not None else ()) + additional_tags(sys)
        if self.writer is not None:
            return DockerDestination(self, self.writer, tags, alone=False)
        return DockerDestination(self, self.new_writer(sys), tags, alone=True)

    def new_writer(self, sys: SystemContext | None = None) -> DockerArchiveWriter:
        """Open the archive for writing; the caller commits and closes it.

        Raises:
            LayoutError: Something is there that is not empty.
            OSError: It cannot be written.
        """
        return DockerArchiveWriter(
            self.target(sys, replace=False),
            where=str(self),
            mtime=sys.destination_timestamp if sys is not None else 0,
            temporary_directory=temporary_directory(sys),
        )

    def delete_image(self, sys: SystemContext | None = None) -> None:
        """See :class:`ImageReference`.

        Raises:
            NotSupportedError: Always.
        """
        del sys
        raise NotSupportedError(f"{self}: images are not deleted from archives; remove the file")
