"""Transport ``oci``: an image in a layout directory, ``oci:path[:name]`` or ``oci:path:@N``.

The path ends at the first colon. A name is what the annotation ``org.opencontainers.image.ref.name`` says in
index.json; ``@N`` is the entry at position N, counted from 0, to read or delete only. With neither, the
layout must hold exactly one image, or a new one gets no name.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

from ocikit.errors import InvalidReferenceError
from ocikit.image.layout.partial import begin_blob
from ocikit.image.layout.removal import delete_image
from ocikit.image.layout.store import Access, Layout
from ocikit.image.transports._layout_image import LayoutDestination, LayoutSource, split_reference
from ocikit.image.transports._paths import PathReference, resolve, validate_scope
from ocikit.image.types import BlobInfo, ImageTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import BinaryIO

    from ocikit.image.layout.attaching import NewSignatures
    from ocikit.image.types import ByteStream, PartialBlob, SystemContext
    from ocikit.spec import Descriptor

__all__ = ["TRANSPORT", "LayoutReference"]

_POSITION_DIGITS: Final = 9


class _Transport(ImageTransport):
    @property
    def name(self) -> str:
        return "oci"

    def parse_reference(self, reference: str) -> LayoutReference:
        path, name = split_reference(reference)
        position = None
        if name is not None and name.startswith("@"):
            position, name = _position(name[1:], reference), None
        return LayoutReference(path=path, resolved=resolve(path, reference), name=name, position=position)

    def validate_policy_configuration_scope(self, scope: str) -> None:
        validate_scope(scope)


def _position(text: str, reference: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _POSITION_DIGITS):
        raise InvalidReferenceError(
            f"{reference!r}: expected the position of an image after @, a number from 0, found {text!r}"
        )
    return int(text)


#: The transport.
TRANSPORT: Final = _Transport()


@frozen(kw_only=True)
class LayoutReference(PathReference):
    """An image in a layout directory.

    Attributes:
        path: The directory, as it was written.
        resolved: The directory, absolute and without symbolic links: what is opened.
        name: The name of the image; None for none.
        position: The position of the image in index.json, in place of a name.
    """

    name: str | None = None
    position: int | None = None

    @property
    def transport(self) -> ImageTransport:
        """``oci``."""
        return TRANSPORT

    @property
    def string_within_transport(self) -> str:
        """``path:name``, ``path:@N`` or ``path``."""
        if self.position is not None:
            return f"{self.path}:@{self.position}"
        return f"{self.path}:{self.name}" if self.name is not None else self.path

    def new_image_source(self, sys: SystemContext | None = None) -> LayoutSource:
        """See :class:`ImageReference`."""
        layout = Layout(self.resolved, Access.READ, shared_blobs=_shared(sys))
        return LayoutSource(self, layout, self.name, self.position)

    def new_image_destination(self, sys: SystemContext | None = None) -> LayoutDestination:
        """See :class:`ImageReference`."""
        if self.position is not None:
            raise InvalidReferenceError(
                f"{self}: a position names an image that is there; a new one gets a name or none"
            )
        return _Destination(self, sys)

    def delete_image(self, sys: SystemContext | None = None) -> None:
        """See :class:`ImageReference`. Waits until nobody else has the layout open."""
        with Layout(self.resolved, Access.REMOVE, shared_blobs=_shared(sys)) as layout:
            delete_image(layout, self.name, self.position)


def _shared(sys: SystemContext | None) -> str | None:
    return sys.oci_shared_blob_dir_path if sys is not None else None


class _Destination(LayoutDestination):
    def __init__(self, reference: LayoutReference, sys: SystemContext | None) -> None:
        super().__init__(reference, reference.name, sys)
        self._path = reference.resolved
        self._shared_blobs = _shared(sys)
        self._lock = threading.Lock()
        self._layout: Layout | None = None
        # A layout that is not there yet is made when there is something to put into it.
        if self._is_there():
            self._open()

    def _is_there(self) -> bool:
        if self._shared_blobs is not None:
            return True
        try:
            return bool(os.listdir(self._path))
        except FileNotFoundError:
            return False
        except OSError:
            return True  # and what is wrong with it is told when it is opened

    def _open(self) -> Layout:
        with self._lock:
            if self._layout is None:
                self._layout = Layout(self._path, Access.WRITE, shared_blobs=self._shared_blobs)
            return self._layout

    def try_reusing_blob(self, info: BlobInfo, *, can_substitute: bool = False) -> BlobInfo | None:
        del can_substitute  # which other blob has the same content is not recorded in a layout
        if self._layout is None or info.digest is None:
            return None
        size = self._layout.blobs.size(info.digest)
        if size is None or 0 <= info.size != size:
            return None
        return evolve(info, size=size)

    def begin_blob(self, info: BlobInfo, go_on: Callable[[], object]) -> PartialBlob | BlobInfo | None:
        return begin_blob(self._open().blobs, info, go_on)

    def put_local_blob(self, file: BinaryIO, info: BlobInfo) -> BlobInfo | None:
        return self._open().blobs.link(file, info)

    def close(self) -> None:
        if self._layout is not None:
            self._layout.close()

    def _store(self, stream: ByteStream, info: BlobInfo) -> BlobInfo:
        return self._open().blobs.put(stream, info)

    def _publish(
        self,
        descriptor: Descriptor | None,
        name: str | None,
        referrers: Sequence[Descriptor],
        signatures: Sequence[NewSignatures],
    ) -> None:
        self._open().add(descriptor, name, referrers, signatures)
