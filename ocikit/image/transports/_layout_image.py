"""Images of a layout, wherever the layout is: what ``oci`` and ``oci-archive`` have in common."""

from __future__ import annotations

import contextlib
import io
from abc import abstractmethod
from typing import TYPE_CHECKING, Final, Protocol

from attrs import evolve

from ocikit.errors import BlobNotFoundError, InvalidReferenceError, LayoutError, ManifestTypeRejectedError
from ocikit.image.layout.attaching import NewSignatures, parse_signatures
from ocikit.image.layout.blobs import read_document
from ocikit.image.layout.index import SUBJECT_HINT, is_signature_type
from ocikit.image.layout.names import NAME_GRAMMAR, is_name
from ocikit.image.layout.referrers import find_referrers
from ocikit.image.layout.signatures import SignatureFinder
from ocikit.image.manifest import check_size, guess_media_type, parse_manifest
from ocikit.image.subject import require_referrer
from ocikit.image.types import BlobInfo, ImageDestination, ImageSource, LayerCompression
from ocikit.spec import Descriptor, Digest, Manifest, mediatypes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from ocikit.image.layout.index import LayoutIndex
    from ocikit.image.stored_signature import StoredSignature
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

    def blob_sizes(self) -> Iterator[tuple[Digest, int]]:
        """Yield every blob, listed or not, with its size in bytes."""

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
        self._finder: SignatureFinder | None = None
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

    def get_signatures(self, instance: Digest | None = None) -> tuple[bytes, ...]:
        """See :class:`ImageSource`.

        Raises:
            VerificationError: What holds signatures is not what it is listed as.
            ManifestError: It is malformed.
            LimitExceededError: There are too many signatures.
        """
        if self._finder is None:
            self._finder = SignatureFinder(self._layout, self._index, str(self._reference))
        return self._finder.of(instance if instance is not None else self._descriptor.digest)

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
        self._instances: dict[Digest, Descriptor] = {}
        self._referrers: list[Descriptor] = []
        self._artifacts: dict[Digest, set[Digest]] = {}
        self._signatures: dict[Digest | None, list[StoredSignature]] = {}
        self._required: Digest | None = None

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
        descriptor = Descriptor(media_type=media_type, digest=digest, size=len(manifest))
        if instance is None:
            self._descriptor = descriptor
        else:
            self._instances[instance] = descriptor

    @property
    def supports_signatures(self) -> bool:
        """They become manifests beside the image, as cosign lays them out."""
        return True

    def put_signatures(self, signatures: tuple[bytes, ...], instance: Digest | None = None) -> None:
        """See :class:`ImageDestination`. Those that are kept already stay, and are not added again.

        Raises:
            InvalidSignatureError: One has no form that is known.
            LimitExceededError: There are more than 128, or one is larger than 4 MiB.
        """
        what = f"{self._reference}" + (f", instance {instance}" if instance is not None else "")
        parsed = parse_signatures(signatures, what)
        if parsed:
            self._signatures.setdefault(instance, []).extend(parsed)

    def require_manifest(self, digest: Digest) -> None:
        """See :class:`ImageDestination`."""
        self._required = digest

    @property
    def supports_referrers(self) -> bool:
        """Manifests need no name in a layout."""
        return True

    def put_referrer(self, manifest: bytes) -> None:
        """See :class:`ImageDestination`."""
        what = f"manifest for {self._reference}"
        check_size(manifest, what)
        subject, descriptor = require_referrer(manifest, what)
        self._store(io.BytesIO(manifest), BlobInfo(digest=descriptor.digest, size=descriptor.size))
        # As annotations of a manifest nobody knows what they would say of an entry.
        hint = {SUBJECT_HINT: str(subject)} if is_signature_type(descriptor.artifact_type) else {}
        self._referrers.append(evolve(descriptor, annotations=hint))
        parsed = parse_manifest(manifest, descriptor.media_type)
        if isinstance(parsed, Manifest) and hint:
            self._artifacts.setdefault(subject, set()).update(layer.digest for layer in parsed.layers)

    def commit(self) -> None:
        """See :class:`ImageDestination`.

        Signatures, too, can be added to an image that is there.

        Raises:
            ImageNotFoundError: There is no image of this name that signatures could be added to.
            BlobNotFoundError: There is no such manifest.
        """
        if self._descriptor is None and not self._referrers and not self._signatures:
            raise LayoutError(f"{self._reference}: nothing to commit: no manifest was put")
        self._publish(self._descriptor, self._name, self._referrers, [*self._new_signatures()])

    def _new_signatures(self) -> Iterator[NewSignatures]:
        for instance, signatures in self._signatures.items():
            subject = self._instances.get(instance) if instance is not None else self._descriptor
            artifacts = self._artifacts.get(subject.digest, ()) if subject is not None else ()
            yield NewSignatures(
                subject=subject,
                instance=instance,
                required=self._required,
                signatures=tuple(signatures),
                artifacts=frozenset(artifacts),
            )

    @abstractmethod
    def _store(self, stream: ByteStream, info: BlobInfo) -> BlobInfo:
        """Store a blob, verified."""

    @abstractmethod
    def _publish(
        self,
        descriptor: Descriptor | None,
        name: str | None,
        referrers: Sequence[Descriptor],
        signatures: Sequence[NewSignatures],
    ) -> None:
        """Make the image visible, if there is one, and what refers to it."""
