"""Images in archives of ``docker save``, wherever those are: what two transports have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import evolve

from ocikit.errors import BlobNotFoundError, LayoutError, ManifestError, ManifestTypeRejectedError
from ocikit.image.archive.docker import parse_tag, tagged
from ocikit.image.layout.blobs import blob_name
from ocikit.image.manifest import check_size, guess_media_type, parse_manifest
from ocikit.image.reference import parse_normalized_named
from ocikit.image.types import ImageDestination, ImageSource, LayerCompression
from ocikit.spec import DockerManifest, mediatypes

if TYPE_CHECKING:
    from ocikit.image.archive.docker_reader import DockerArchive
    from ocikit.image.archive.docker_writer import DockerArchiveWriter
    from ocikit.image.reference import Named
    from ocikit.image.types import BlobInfo, ByteStream, ImageReference, SystemContext
    from ocikit.spec import Digest

__all__ = ["DockerDestination", "DockerSource", "additional_tags", "parse_tag", "parse_tagged"]

_ACCEPTED: Final = (mediatypes.DOCKER_MANIFEST,)
_PLAIN_LAYERS: Final = frozenset({mediatypes.DOCKER_LAYER, mediatypes.IMAGE_LAYER})


def parse_tagged(text: str) -> Named:
    """Parse a name as people write it; without a tag it gets ``latest``.

    Raises:
        InvalidReferenceError: It is outside the grammar, or has a digest.
    """
    return tagged(parse_normalized_named(text))


def additional_tags(sys: SystemContext | None) -> tuple[Named, ...]:
    """Return the further names that an image gets.

    Raises:
        InvalidReferenceError: One of them is outside the grammar.
    """
    return tuple(map(parse_tagged, sys.docker_archive_additional_tags)) if sys is not None else ()


class DockerSource(ImageSource):
    """One image of an archive of ``docker save``.

    Args:
        reference: What it was opened from.
        archive: The archive; owned from now on.
        named: The name of the image; None for the only one.
        position: Its position in the list of images, in place of a name.
    """

    def __init__(
        self, reference: ImageReference, archive: DockerArchive, named: Named | None, position: int | None
    ) -> None:
        self._reference = reference
        self._archive = archive
        try:
            self._image = archive.load(archive.find(named, position))
        except BaseException:
            archive.close()
            raise

    @property
    def reference(self) -> ImageReference:
        """See :class:`ImageSource`."""
        return self._reference

    @property
    def has_thread_safe_get_blob(self) -> bool:
        """Layers are parts of a file."""
        return True

    def get_manifest(self, instance: Digest | None = None) -> tuple[bytes, str]:
        """See :class:`ImageSource`. It was made when the image was opened."""
        if instance is not None:
            raise BlobNotFoundError(f"{self._reference}: such archives hold no indexes, and no instance {instance}")
        check_size(self._image.manifest, f"manifest of {self._reference}")
        return self._image.manifest, mediatypes.DOCKER_MANIFEST

    def get_blob(self, info: BlobInfo) -> tuple[ByteStream, int]:
        """See :class:`ImageSource`."""
        if info.digest is None:
            raise LayoutError(f"{self._reference}: a blob is found by its digest, and none was given")
        return self._archive.open_blob(self._image, info.digest)

    def close(self) -> None:
        """See :class:`ImageSource`."""
        self._archive.close()


class DockerDestination(ImageDestination):
    """A place for one image in an archive of ``docker save``.

    Args:
        reference: What it was opened from.
        writer: The archive.
        tags: The names that the image gets.
        alone: Whether it is the only image, so that the archive is finished and given up with it.
    """

    def __init__(
        self, reference: ImageReference, writer: DockerArchiveWriter, tags: tuple[Named, ...], *, alone: bool
    ) -> None:
        self._reference = reference
        self._writer = writer
        self._tags = tags
        self._alone = alone
        self._manifest: DockerManifest | None = None

    @property
    def reference(self) -> ImageReference:
        """See :class:`ImageDestination`."""
        return self._reference

    @property
    def supported_manifest_mime_types(self) -> tuple[str, ...]:
        """Docker's manifest, which says all that the list of images does."""
        return _ACCEPTED

    @property
    def desired_layer_compression(self) -> LayerCompression:
        """Layers are plain."""
        return LayerCompression.DECOMPRESS

    @property
    def accepts_foreign_layer_urls(self) -> bool:
        """There is no place for URLs in such an archive."""
        return False

    @property
    def has_thread_safe_put_blob(self) -> bool:
        """Every blob is written by itself."""
        return True

    def put_blob(self, stream: ByteStream, info: BlobInfo, *, is_config: bool = False) -> BlobInfo:
        """See :class:`ImageDestination`.

        Raises:
            NotSupportedError: The layer is compressed.
        """
        what = blob_name(info, str(self._reference))
        digest, size = self._writer.put(stream, info, what, is_config=is_config)
        return evolve(info, digest=digest, size=size)

    def try_reusing_blob(self, info: BlobInfo, *, can_substitute: bool = False) -> BlobInfo | None:
        """See :class:`ImageDestination`."""
        del can_substitute  # all layers are plain: no other has the same content
        size = self._writer.size(info.digest) if info.digest is not None else None
        if size is None or 0 <= info.size != size:
            if size is None and info.media_type in _PLAIN_LAYERS:
                self._writer.announce(info)
            return None
        return evolve(info, size=size)

    def put_manifest(self, manifest: bytes, instance: Digest | None = None) -> None:
        """See :class:`ImageDestination`."""
        what = f"manifest for {self._reference}"
        check_size(manifest, what)
        media_type = guess_media_type(manifest)
        if instance is not None or media_type not in _ACCEPTED:
            raise ManifestTypeRejectedError(
                f"{what}: the type {media_type} is not stored there, only {' and '.join(_ACCEPTED)} of one platform"
            )
        parsed = parse_manifest(manifest, media_type)
        if not isinstance(parsed, DockerManifest):
            raise ManifestError(f"{what}: expected {_ACCEPTED[0]}, found {media_type}")
        self._manifest = parsed

    def commit(self) -> None:
        """See :class:`ImageDestination`.

        Raises:
            ManifestError: The layers are not the ones that the configuration states.
        """
        if self._manifest is None:
            raise LayoutError(f"{self._reference}: nothing to commit: no manifest was put")
        self._writer.add_image(self._manifest, self._tags)
        if self._alone:
            self._writer.commit()

    def close(self) -> None:
        """See :class:`ImageDestination`."""
        if self._alone:
            self._writer.close()
