"""Archives that several images come from: opened once, and read by all of them.

A compressed archive is read from its beginning to its end when it is opened, whichever image of it is wanted.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from typing import TYPE_CHECKING

from ocikit.image.layout.archive import ArchiveReader
from ocikit.image.transports._layout_image import LayoutSource
from ocikit.image.transports.oci_archive import ArchiveReference
from ocikit.image.types import ImageReference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TypeGuard

    from ocikit.image.context import SystemContext
    from ocikit.image.layout.index import LayoutIndex
    from ocikit.image.transports._layout_image import LayoutReader
    from ocikit.image.types import ByteStream, ImageDestination, ImageSource, ImageTransport
    from ocikit.spec import Digest

__all__ = ["Archives"]


def _is_file(reference: ImageReference) -> TypeGuard[ArchiveReference]:
    return isinstance(reference, ArchiveReference) and reference.stream is None


class Archives:
    """The archives of one call, each open from its first image to its last one.

    Args:
        wanted: Every image that will be asked for, by as many references as there will be questions.
        sys: The circumstances.
    """

    def __init__(self, wanted: Iterable[ImageReference], sys: SystemContext | None) -> None:
        archives = Counter(one.resolved for one in wanted if _is_file(one))
        self._left = {path: count for path, count in archives.items() if count > 1}
        self._temporary = sys.big_files_temporary_dir if sys is not None else None
        self._open: dict[str, ArchiveReader] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def source(self, reference: ImageReference) -> Iterator[ImageReference]:
        """Return what an image is to be opened by, for the length of a ``with`` block.

        Args:
            reference: The image.

        Raises:
            OCIKitError: The archive cannot be read.
            OSError: Likewise.
        """
        if not _is_file(reference) or reference.resolved not in self._left:
            yield reference
            return
        try:
            yield _Lent(reference, _Kept(self._opened(reference.resolved)))
        finally:
            self._given_back(reference.resolved)

    def _opened(self, path: str) -> ArchiveReader:
        with self._lock:
            if path not in self._open:
                self._open[path] = ArchiveReader(path, self._temporary)
            return self._open[path]

    def _given_back(self, path: str) -> None:
        with self._lock:
            self._left[path] -= 1
            if self._left[path] == 0 and path in self._open:
                self._open.pop(path).close()

    def close(self) -> None:
        """Close what is open; nobody reads it any more."""
        while self._open:
            self._open.popitem()[1].close()


class _Kept:
    """An archive that stays open when an image in it is closed."""

    def __init__(self, archive: LayoutReader) -> None:
        self._archive = archive

    def index(self) -> LayoutIndex:
        return self._archive.index()

    def open_blob(self, digest: Digest) -> tuple[ByteStream, int]:
        return self._archive.open_blob(digest)

    def blob_sizes(self) -> Iterator[tuple[Digest, int]]:
        return self._archive.blob_sizes()

    def close(self) -> None:
        pass


class _Lent(ImageReference):
    """A reference that opens an image in an archive that is open; to everybody else it is the one it stands for."""

    __slots__ = ("_archive", "_reference")

    def __init__(self, reference: ArchiveReference, archive: _Kept) -> None:
        self._reference = reference
        self._archive = archive

    @property
    def transport(self) -> ImageTransport:
        return self._reference.transport

    @property
    def string_within_transport(self) -> str:
        return self._reference.string_within_transport

    @property
    def policy_configuration_identity(self) -> str:
        return self._reference.policy_configuration_identity

    @property
    def policy_configuration_namespaces(self) -> tuple[str, ...]:
        return self._reference.policy_configuration_namespaces

    def new_image_source(self, sys: SystemContext | None = None) -> ImageSource:
        del sys
        return LayoutSource(self._reference, self._archive, self._reference.name, None)

    def new_image_destination(self, sys: SystemContext | None = None) -> ImageDestination:
        return self._reference.new_image_destination(sys)

    def delete_image(self, sys: SystemContext | None = None) -> None:
        self._reference.delete_image(sys)
