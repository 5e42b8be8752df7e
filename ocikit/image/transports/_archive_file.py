"""References to archives: a file by its path, standard input and output as ``-``, or any open file object."""

from __future__ import annotations

import os
import sys
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from ocikit.errors import LayoutError
from ocikit.image.archive.target import StreamTarget, file_target
from ocikit.image.compression import Compression
from ocikit.image.transports._paths import PathReference, resolve
from ocikit.image.types import ImageTransport

if TYPE_CHECKING:
    from ocikit.image.archive.target import Target
    from ocikit.image.types import ByteStream, ImageReference, SystemContext

__all__ = ["ArchiveFileReference", "ArchiveTransport", "place", "temporary_directory"]

_STANDARD: Final = "-"
_FILE_OBJECT: Final = "<file object>"


class ArchiveTransport(ImageTransport):
    """A transport whose places are single files."""

    @abstractmethod
    def file_reference(self, file: object, name: str | None) -> ImageReference:
        """Return the reference to an image in an open file object.

        Args:
            file: It is read to read an image, and written to to write one; never closed.
            name: The name of the image; None for the only one, or for none.

        Raises:
            InvalidReferenceError: The name is outside the grammar of the transport.
        """


class _StandardStreams:
    """Standard input where something is read, standard output where something is written."""

    __slots__ = ()


@frozen(kw_only=True)
class ArchiveFileReference(PathReference):
    """A reference to an archive.

    A stream is read or written once: references to one are equal only to themselves.

    Attributes:
        path: The file, as it was written; ``-`` for standard input and output.
        resolved: The file, absolute and without symbolic links: what is opened; the same as ``path`` for a stream.
        stream: An open file object in place of a file; None for a file.
    """

    stream: Any = field(default=None, repr=False)

    @property
    def is_stream(self) -> bool:
        """Whether it is no file."""
        return self.stream is not None

    @property
    def policy_configuration_identity(self) -> str:
        """The resolved path; ``""`` for a stream, which nothing but the default of the transport can match."""
        return self.resolved if self.stream is None else ""

    @property
    def policy_configuration_namespaces(self) -> tuple[str, ...]:
        """The directories above it; none for a stream."""
        return super().policy_configuration_namespaces if self.stream is None else ()

    def origin(self) -> str | ByteStream:
        """Return what the archive is read from.

        Raises:
            LayoutError: There is no standard input or it is a terminal, or the file object is not for reading.
        """
        if self.stream is None:
            return self.resolved
        stream: ByteStream = self._stream("read", sys.stdin)
        if getattr(stream, "isatty", bool)():
            raise LayoutError(f"{self}: the archive would be read from a terminal; give it a file or a pipe")
        return stream

    def target(self, sys: SystemContext | None, *, replace: bool) -> Target:
        """Return where the archive is written to.

        Args:
            sys: The circumstances.
            replace: Whether a file that is there and not empty is replaced.

        Raises:
            LayoutError: Something is there that is not replaced, or it is not for writing.
            NotSupportedError: There is no such compression.
            OSError: Nothing can be written there.
        """
        wanted = sys.archive_compression if sys is not None else None
        compression = Compression.from_name(wanted) if wanted is not None else None
        aside = temporary_directory(sys)
        if self.stream is None:
            return file_target(self.resolved, compression=compression, temporary_directory=aside, replace=replace)
        return StreamTarget(self._writing(), compression=compression, temporary_directory=aside)

    def _writing(self) -> Any:  # noqa: ANN401 - whatever has a method write
        return self._stream("write", sys.stdout)

    def _stream(self, method: str, standard: object) -> Any:  # noqa: ANN401 - whatever has the method
        found = getattr(standard, "buffer", None) if isinstance(self.stream, _StandardStreams) else self.stream
        if not callable(getattr(found, method, None)):
            raise LayoutError(f"{self}: expected something with a method {method}, found {type(found).__name__}")
        return found


def place(path: str, reference: str) -> dict[str, Any]:
    """Return what a path in a reference leads to, as arguments of :class:`ArchiveFileReference`.

    Args:
        path: The path; ``-`` for standard input and output.
        reference: What it was found in, for messages.

    Raises:
        InvalidReferenceError: It is empty, or leads nowhere.
    """
    if path == _STANDARD:
        return {"path": path, "resolved": path, "stream": _StandardStreams()}
    return {"path": path, "resolved": resolve(path, reference)}


def opened(file: object) -> dict[str, Any]:
    """Return an open file object as arguments of :class:`ArchiveFileReference`."""
    name = getattr(file, "name", None)
    path = os.fspath(name) if isinstance(name, str) else _FILE_OBJECT
    return {"path": path, "resolved": path, "stream": file}


def temporary_directory(sys: SystemContext | None) -> str | None:
    """Return where large temporary files go; None for the default."""
    return sys.big_files_temporary_dir if sys is not None else None
