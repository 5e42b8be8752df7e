"""The interfaces that every transport implements and every engine uses, mirrored from containers/image.

A *transport* names a kind of place (``oci``, ``dir``). It parses text into a *reference*, which names one image
in such a place. A reference opens a *source* to read the image or a *destination* to write one. Engines
(copy, inspect, unpack) see only these interfaces; what they may rely on is the contract written at each method.

Three rules hold for all of them:

* **Sources do not verify.** What a source returns is what the place holds. Whoever uses it compares digest and
  size first; the engines do.
* **Destinations do verify.** A blob is stored only when it has the digest and the size it was announced with,
  so that an engine that passes a blob on unchanged hashes it once, not twice.
* **Nothing is visible before** :meth:`ImageDestination.commit`. Closing a destination without it leaves no image
  behind. Content-addressed blobs may remain where the place shares them between images; they are whole.

This file is contracts and values only: no I/O, no transport.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from ocikit.errors import NotSupportedError
from ocikit.image.blob import BlobInfo, ByteStream, PartialBlob
from ocikit.image.context import SystemContext

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO, Self

    from ocikit.image.reference import Named
    from ocikit.spec import Descriptor, Digest

__all__ = [
    "BlobInfo",
    "ByteStream",
    "ImageDestination",
    "ImageReference",
    "ImageSource",
    "ImageTransport",
    "LayerCompression",
    "PartialBlob",
    "SystemContext",
]


class LayerCompression(enum.Enum):
    """What a destination wants done to the compression of layers; see ``desired_layer_compression``."""

    #: Keep every layer byte for byte.
    PRESERVE = "preserve"
    #: Compress plain layers, and recompress others when a format is asked for.
    COMPRESS = "compress"
    #: Store plain layers.
    DECOMPRESS = "decompress"


class ImageTransport(ABC):
    """A kind of place that images are kept in."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name that stands before the first colon of an image name."""

    @abstractmethod
    def parse_reference(self, reference: str) -> ImageReference:
        """Parse what follows ``name:`` in an image name.

        Raises:
            InvalidReferenceError: The text is not in the grammar of the transport.
        """

    @abstractmethod
    def validate_policy_configuration_scope(self, scope: str) -> None:
        """Refuse a scope of policy.json that no reference of this transport could ever match.

        The empty scope (the default of a transport) is valid everywhere and is not passed here.

        Raises:
            ValueError: The scope can never match; the message says why.
        """


class ImageReference(ABC):
    """The name of one image, or of the place for one. Immutable; nothing needs to exist there yet."""

    __slots__ = ()

    @property
    @abstractmethod
    def transport(self) -> ImageTransport:
        """The transport the reference belongs to."""

    @property
    @abstractmethod
    def string_within_transport(self) -> str:
        """The text that :meth:`ImageTransport.parse_reference` makes an equal reference from."""

    @property
    def docker_reference(self) -> Named | None:
        """The registry-like name of the image; None when the place has none (``oci``, ``dir``)."""
        return None

    @property
    def is_stream(self) -> bool:
        """Whether the place can be read or written only once, in one go (standard input and output, file objects)."""
        return False

    @property
    @abstractmethod
    def policy_configuration_identity(self) -> str:
        """The most specific scope of policy.json for this image; ``""`` when only the default can match."""

    @property
    @abstractmethod
    def policy_configuration_namespaces(self) -> tuple[str, ...]:
        """Further scopes of policy.json, from most to least specific, without the identity and without ``""``."""

    @abstractmethod
    def new_image_source(self, sys: SystemContext | None = None) -> ImageSource:
        """Open the image for reading; the caller closes the source.

        Raises:
            ImageNotFoundError: The place exists and the image is not in it.
            AmbiguousImageError: The reference fits more than one image.
            LayoutError: The place is not what the transport expects.
            OSError: The place cannot be opened.
            NotSupportedError: Images of this transport are not read.
        """

    @abstractmethod
    def new_image_destination(self, sys: SystemContext | None = None) -> ImageDestination:
        """Open the place for writing; the caller commits and closes the destination.

        Raises:
            LayoutError: Something else is there that is not to be overwritten.
            OSError: The place cannot be made or opened.
            NotSupportedError: Images of this transport are not written.
        """

    @abstractmethod
    def delete_image(self, sys: SystemContext | None = None) -> None:
        """Delete the image, and the blobs that nothing else in the place refers to.

        Raises:
            ImageNotFoundError: The place exists and the image is not in it.
            AmbiguousImageError: The reference fits more than one image.
            NotSupportedError: Images of this transport are not deleted.
        """

    def __str__(self) -> str:
        return f"{self.transport.name}:{self.string_within_transport}"


class _Closing(ABC):
    """A ``with`` block around an open source or destination."""

    @abstractmethod
    def close(self) -> None:
        """Release what is held; closing twice is nothing."""

    def interrupt(self) -> None:  # noqa: B027 - most places have nothing to do for it
        """Have what other threads wait for in here end soon, with an error: nothing of it is wanted any more.

        Only :meth:`close` follows. Whoever waits for nothing but a disk has nothing to do for it.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ImageSource(_Closing):
    """An open image: its manifest, its blobs, its signatures, as the place holds them.

    Nothing is verified here. A source sees the image as it was when it was opened, and what it was
    opened on stays readable until :meth:`close`.
    """

    @property
    @abstractmethod
    def reference(self) -> ImageReference:
        """The reference the source was opened from."""

    @abstractmethod
    def get_manifest(self, instance: Digest | None = None) -> tuple[bytes, str]:
        """Return the bytes of a manifest and its media type; the bytes are **not verified**.

        Args:
            instance: The digest of a manifest that the image's index lists; None for the image itself,
                which may be an index.

        Returns:
            The exact bytes, and the media type that the place states for them; ``""`` when it states none.

        Raises:
            BlobNotFoundError: There is no such manifest.
            LimitExceededError: The manifest is larger than 4 MiB.
        """

    @abstractmethod
    def get_blob(self, info: BlobInfo) -> tuple[ByteStream, int]:
        """Open a blob; the bytes are **not verified**.

        Args:
            info: The blob; its digest is given, its URLs may be used.

        Returns:
            The stream, which the caller closes, and the size of the blob; -1 when it is not known.

        Raises:
            BlobNotFoundError: There is no such blob.
        """

    def local_blob(self, info: BlobInfo) -> BinaryIO | None:
        """Open the file that a blob is kept in, when it is a file with just this content; the caller closes it.

        Args:
            info: The blob; its digest is given.

        Returns:
            The file, **not verified**; None where blobs are not files, or this one is not there.
        """
        del info
        return None

    @property
    def resumes_blobs(self) -> bool:
        """Whether :meth:`get_blob_from` opens blobs in the middle, at less cost than reading what comes before.

        Only then are the parts of blobs that arrived kept at the destination.
        """
        return False

    def get_blob_from(self, info: BlobInfo, offset: int) -> tuple[ByteStream, int]:
        """Open a blob in the middle; the bytes are **not verified**. Several threads may do so at the same time.

        Args:
            info: The blob; its digest and its size are given.
            offset: How many bytes are left out, fewer than there are.

        Returns:
            The stream, which the caller closes, and the size of the whole blob; -1 when it is not known.

        Raises:
            BlobNotFoundError: There is no such blob.
            NotSupportedError: Blobs are not resumed.
        """
        del info, offset
        raise NotSupportedError(f"{self.reference}: blobs are read from their beginning there")

    @property
    @abstractmethod
    def has_thread_safe_get_blob(self) -> bool:
        """Whether several threads may call :meth:`get_blob`, and read its streams, at the same time."""

    def get_signatures(self, instance: Digest | None = None) -> tuple[bytes, ...]:
        """Return the signatures of a manifest, each as it is stored; **not verified**.

        Args:
            instance: As for :meth:`get_manifest`.
        """
        del instance
        return ()

    def get_referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        """Return the manifests in this place that say something about another one (signatures, SBOMs, attestations).

        They have it as their ``subject`` (image specification, manifest.md); :meth:`get_manifest` with the digest of
        one returns it. What the place says of them is **not verified**.

        Args:
            subject: The digest of the manifest that they are about; it need not be that of the image itself.

        Returns:
            A descriptor for each, with ``artifact_type`` and the annotations of its manifest as far as the place knows
            them; nothing where none are kept.

        Raises:
            VerificationError: The place had to be looked through, and a manifest in it is not what it is listed as.
            LimitExceededError: There are too many manifests to look through.
        """
        del subject
        return ()

    def layer_infos_for_copy(self, instance: Digest | None = None) -> tuple[BlobInfo, ...] | None:
        """Return what to copy in place of the layers of the manifest, one for each; None for the layers themselves.

        For places that keep layers in another form than the manifest says. Duplicates are meaningful.

        Args:
            instance: As for :meth:`get_manifest`.
        """
        del instance
        return None


class ImageDestination(_Closing):
    """A place for one image that is being written.

    The order is: all blobs, then the manifests of instances, then the manifest of the image itself, then
    signatures, then :meth:`commit`. Closing without commit abandons the image.
    """

    @property
    @abstractmethod
    def reference(self) -> ImageReference:
        """The reference the destination was opened from."""

    @property
    @abstractmethod
    def supported_manifest_mime_types(self) -> tuple[str, ...]:
        """The media types of manifests that are accepted, best first; empty when every type is."""

    @property
    def supports_signatures(self) -> bool:
        """Whether :meth:`put_signatures` stores signatures."""
        return False

    @property
    def desired_layer_compression(self) -> LayerCompression:
        """What is to be done to the compression of layers."""
        return LayerCompression.PRESERVE

    @property
    @abstractmethod
    def accepts_foreign_layer_urls(self) -> bool:
        """Whether a layer that only has URLs may stay away from the destination."""

    @property
    def must_match_runtime_os(self) -> bool:
        """Whether only images for the running operating system can be stored."""
        return False

    @property
    @abstractmethod
    def has_thread_safe_put_blob(self) -> bool:
        """Whether several threads may call :meth:`put_blob` at the same time."""

    @abstractmethod
    def put_blob(self, stream: ByteStream, info: BlobInfo, *, is_config: bool = False) -> BlobInfo:
        """Store a blob, verified while it is read; it is there whole or not at all.

        Args:
            stream: The content, read to its end; not closed.
            info: What is known of it. A digest and a size that are given must be those of the content.
            is_config: Whether the blob is a config rather than a layer.

        Returns:
            ``info`` with the digest and the size of what was stored; without a digest given, sha256.

        Raises:
            DigestMismatchError: The content has another digest.
            SizeMismatchError: The content has another size.
            UploadLostError: What was read of it is lost, and the blob may be put again, with another stream of the
                same content. The destination says so as often as it wants to be tried again.
            OSError: The place cannot be written.
        """

    def begin_blob(self, info: BlobInfo, go_on: Callable[[], object]) -> PartialBlob | BlobInfo | None:
        """Begin a blob that may take more than one process to arrive, or go on with it; others who want it wait.

        In place of :meth:`put_blob`, for a blob that is stored as it is, from a source that resumes blobs. When
        somebody else is at it, this waits: until it is there, or until it is given up, and then the part that is
        there is taken over, also from a process that was killed.

        Args:
            info: The blob.
            go_on: Called while this waits or reads what is there; whatever it raises ends that.

        Returns:
            The blob, for the caller to complete and close; ``info`` when it is there by now, which stays so until the
            destination is closed; None when no parts are kept here, or not of this blob, or somebody else is at it
            and nothing comes: it is to be put as a whole.

        Raises:
            OSError: The place cannot be read or written.
        """
        del info, go_on
        return None

    def put_local_blob(self, file: BinaryIO, info: BlobInfo) -> BlobInfo | None:
        """Store a blob by giving its file a second name, verified; it is there whole or not at all.

        Args:
            file: The file, see :meth:`ImageSource.local_blob`; not closed.
            info: What is known of it; its digest is given.

        Returns:
            ``info`` with the size of what was stored; None when the file cannot have a second name here (another file
            system, a place that keeps no files).

        Raises:
            DigestMismatchError: The file has another digest.
            SizeMismatchError: The file has another size.
        """
        del file, info
        return None

    @abstractmethod
    def try_reusing_blob(self, info: BlobInfo, *, can_substitute: bool = False) -> BlobInfo | None:
        """Say whether the blob is there already, so that it need not be copied.

        What is there stays there until the destination is closed.

        Args:
            info: The blob; its digest is given.
            can_substitute: Whether another blob with the same content (in another compression) will do.

        Returns:
            The blob that is there, with its size; None when it is to be copied.
        """

    @abstractmethod
    def put_manifest(self, manifest: bytes, instance: Digest | None = None) -> None:
        """Store a manifest; it is not visible as an image before :meth:`commit`.

        Args:
            manifest: The exact bytes.
            instance: The digest of a manifest that the image's index lists; None for the image itself.

        Raises:
            ManifestTypeRejectedError: The destination does not take this type; another may be tried.
            DigestMismatchError: The bytes do not have the digest ``instance``.
            LimitExceededError: The manifest is larger than 4 MiB.
        """

    def put_signatures(self, signatures: tuple[bytes, ...], instance: Digest | None = None) -> None:
        """Store the signatures of a manifest that was put before, or, where the place allows that, is there.

        To those of a manifest that is there they are added.

        Args:
            signatures: The signatures, each as it is stored.
            instance: As for :meth:`put_manifest`.

        Raises:
            NotSupportedError: The destination stores none, and there are some.
        """
        del instance
        if signatures:
            raise NotSupportedError(
                f"{self.reference}: signatures cannot be stored there; copy without them, or to a place that keeps them"
            )

    def require_manifest(self, digest: Digest) -> None:
        """Let :meth:`commit` fail when signatures are put to an image that is there, and is no longer this one.

        Args:
            digest: The digest of the image that they are for: another may get its name, or its place, at any time.
        """
        del digest

    @property
    def supports_referrers(self) -> bool:
        """Whether :meth:`put_referrer` stores manifests."""
        return False

    def put_referrer(self, manifest: bytes) -> None:
        """Store a manifest that has another one as its ``subject``, beside the image; its blobs were put before.

        It is found by :meth:`ImageSource.get_referrers` from :meth:`commit` on. A commit without any call of
        :meth:`put_manifest` adds the referrers and leaves the image that is there as it is.

        Args:
            manifest: The exact bytes.

        Raises:
            NotSupportedError: The destination stores none.
            ManifestError: It has no subject.
            LimitExceededError: The manifest is larger than 4 MiB.
        """
        del manifest
        raise NotSupportedError(f"{self.reference}: manifests that refer to an image cannot be stored there")

    @abstractmethod
    def commit(self) -> None:
        """Make the image visible, whole, in one step; durable when this returns.

        Raises:
            LayoutError: No manifest was put, or the place changed into something else meanwhile.
            ManifestTypeRejectedError: The place turns out not to take the type of the manifest of the image itself;
                it, and its signatures, may be put in another type before another commit.
            NotSupportedError: Only referrers or signatures were put, and nothing is added to what is there (archives).
            OSError: The place cannot be written; the image is not visible.
        """
