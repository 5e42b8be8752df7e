"""Images of a layout, wherever the layout is: what ``oci`` and ``oci-archive`` have in common."""

from __future__ import annotations

import contextlib
import io
from abc import abstractmethod
from typing import TYPE_CHECKING, Final, Protocol

from ocikit.errors import BlobNotFoundError, InvalidReferenceError, LayoutError, ManifestTypeRejectedError
from ocikit.image.layout.blobs import read_document
from ocikit.image.layout.names import NAME_GRAMMAR, is_name
from ocikit.image.layout.referrers import find_referrers
from ocikit.image.manifest import check_size, guess_media_type
from ocikit.image.subject import require_referrer
from ocikit.image.types import BlobInfo, ImageDestination, ImageSource, LayerCompression
from ocikit.spec import Descriptor, Digest, mediatypes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

    from ocikit.image.layout.index import LayoutIndex
    from ocikit.image.subject import SubjectTable
    from ocikit.image.types import ByteStream, ImageReference, SystemContext

__all__ = ["LayoutDestination", "LayoutReader", "LayoutSource", "split_reference"]

_ACCEPTED: Final = (mediatypes.IMAGE_MANIFEST, mediatypes.IMAGE_INDEX)


def split_reference(reference: str) -> tuple[str, str | None]:
    """Split ``path[:name]`` at its first colon; a name that is empty is none.

    Raises:
        InvalidReferenceError: The name is outside its grammar; names that begin with ``@`` are not checked.
    """
    path, _, name = reference.partition(":")
    if name and not name.startswith("@") and not is_name(name):
        raise InvalidReferenceError(f"{reference!r}: {name!r} is no name of an image: expected {NAME_GRAMMAR}")
    return path, name or None


class LayoutReader(Protocol):
    """An open layout, in a directory or in an archive."""

    def index(self) -> LayoutIndex:
        """Return its index.json."""

    def open_blob(self, digest: Digest) -> tuple[ByteStream, int]:
        """Open a blob and return it with its size; not verified."""

    def close(self) -> None:
        """Close it."""


class LayoutSource(ImageSource):
    """One image of a layout.

    Manifests that are read by digest are verified here already, beyond what is promised: only here it is
    known what index.json says about the one that the image begins with.

    Args:
        reference: What it was opened from.
        layout: The layout; owned from now on.
        name: The name of the image; None for the only one.
        position: Its position in index.json, in place of a name.
    """

    def __init__(self, reference: ImageReference, layout: LayoutReader, name: str | None, position: int | None) -> None:
        self._reference = reference
        self._layout = layout
        self._subjects: SubjectTable | None = None
        try:
            self._index = layout.index()
            self._descriptor = self._index.descriptor(self._index.find(name, position))
        except BaseException:
            layout.close()
            raise

    @property
    def reference(self) -> ImageReference:
        """See :class:`ImageSource`."""
        return self._reference

    @property
    def has_thread_safe_get_blob(self) -> bool:
        """Blobs are files, or parts of one."""
        return True

    def get_manifest(self, instance: Digest | None = None) -> tuple[bytes, str]:
        """See :class:`ImageSource`.

        Raises:
            VerificationError: The bytes are not what index.json, or ``instance``, says.
        """
        what = f"manifest of {self._reference}" + (f", instance {instance}" if instance is not None else "")
        if instance is not None:
            data = self._read(instance, what)
            instance.verify(data, what=what)
            return data, ""
        embedded = self._descriptor.embedded_content()
        if embedded is not None:
            return embedded, self._descriptor.media_type
        data = self._read(self._descriptor.digest, what)
        self._descriptor.verify(data, what=what)
        return data, self._descriptor.media_type

    def get_blob(self, info: BlobInfo) -> tuple[ByteStream, int]:
        """See :class:`ImageSource`."""
        if info.digest is None:
            raise LayoutError(f"{self._reference}: a blob of a layout is found by its digest, and none was given")
        return self._layout.open_blob(info.digest)

    def local_blob(self, info: BlobInfo) -> BinaryIO | None:
        """See :class:`ImageSource`."""
        with contextlib.suppress(BlobNotFoundError):
            stream, _ = self.get_blob(info)
            if isinstance(stream, io.FileIO):
                return stream
            stream.close()
        return None

    def get_referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        """See :class:`ImageSource`. All of the layout is looked through, once.

        Raises:
            VerificationError: A manifest of the layout is not what it is listed as.
            LimitExceededError: There are too many to look through.
        """
        if self._subjects is None:
            self._subjects = find_referrers(self._layout, self._index, str(self._reference))
        return self._subjects.of(subject)

    def close(self) -> None:
        """See :class:`ImageSource`."""
        self._layout.close()

    def _read(self, digest: Digest, what: str) -> bytes:
        stream, _ = self._layout.open_blob(digest)
        with stream:
            return read_document(stream, what)


class LayoutDestination(ImageDestination):
    """A place for one image in a layout.

    Args:
        reference: What it was opened from.
        name: The name that the image gets; None for none.
        sys: The circumstances.
    """

    def __init__(self, reference: ImageReference, name: str | None, sys: SystemContext | None) -> None:
        self._reference = reference
        self._name = name
        self._compress = sys is not None and sys.compression_format is not None
        self._descriptor: Descriptor | None = None
        self._referrers: list[Descriptor] = []

    @property
    def reference(self) -> ImageReference:
        """See :class:`ImageDestination`."""
        return self._reference

    @property
    def supported_manifest_mime_types(self) -> tuple[str, ...]:
        """Manifests and indexes of the image specification."""
        return _ACCEPTED

    @property
    def desired_layer_compression(self) -> LayerCompression:
        """Layers stay as they are, and digests with them, unless a format was asked for."""
        return LayerCompression.COMPRESS if self._compress else LayerCompression.PRESERVE

    @property
    def accepts_foreign_layer_urls(self) -> bool:
        """The image specification allows layers that are elsewhere."""
        return True

    @property
    def has_thread_safe_put_blob(self) -> bool:
        """Every blob is written by itself."""
        return True

    def put_blob(self, stream: ByteStream, info: BlobInfo, *, is_config: bool = False) -> BlobInfo:
        """See :class:`ImageDestination`."""
        del is_config
        return self._store(stream, info)

    def put_manifest(self, manifest: bytes, instance: Digest | None = None) -> None:
        """See :class:`ImageDestination`."""
        what = f"manifest for {self._reference}" + (f", instance {instance}" if instance is not None else "")
        check_size(manifest, what)
        media_type = guess_media_type(manifest)
        if media_type not in _ACCEPTED:
            raise ManifestTypeRejectedError(
                f"{what}: the type {media_type} is not stored in a layout, only {' and '.join(_ACCEPTED)}"
            )
        digest = instance if instance is not None else Digest.from_bytes(manifest)
        digest.verify(manifest, what=what)
        self._store(io.BytesIO(manifest), BlobInfo(digest=digest, size=len(manifest)))
        if instance is None:
            self._descriptor = Descriptor(media_type=media_type, digest=digest, size=len(manifest))

    @property
    def supports_referrers(self) -> bool:
        """Manifests need no name in a layout."""
        return True

    def put_referrer(self, manifest: bytes) -> None:
        """See :class:`ImageDestination`."""
        what = f"manifest for {self._reference}"
        check_size(manifest, what)
        _, descriptor = require_referrer(manifest, what)
        self._store(io.BytesIO(manifest), BlobInfo(digest=descriptor.digest, size=descriptor.size))
        self._referrers.append(descriptor)

    def commit(self) -> None:
        """See :class:`ImageDestination`."""
        if self._descriptor is None and not self._referrers:
            raise LayoutError(f"{self._reference}: nothing to commit: no manifest was put")
        self._publish(self._descriptor, self._name, self._referrers)

    @abstractmethod
    def _store(self, stream: ByteStream, info: BlobInfo) -> BlobInfo:
        """Store a blob, verified."""

    @abstractmethod
    def _publish(self, descriptor: Descriptor | None, name: str | None, referrers: Sequence[Descriptor]) -> None:
        """Make the image visible, if there is one, and what refers to it."""
