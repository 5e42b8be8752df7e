"""What is to be copied: every manifest verified, allowed by the policy and parsed, before anything is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import frozen

from ocikit.errors import ImageNotFoundError, LimitExceededError, NotSupportedError
from ocikit.image.config import check_config
from ocikit.image.copy.options import ImageListSelection
from ocikit.image.unparsed import MAX_DEPTH, UnparsedImage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.image.copy.options import CopyOptions
    from ocikit.image.manifest import AnyIndex, ImageManifest
    from ocikit.image.signature.context import PolicyContext
    from ocikit.image.types import ImageSource
    from ocikit.spec import Descriptor, Digest

__all__ = ["MAX_MANIFEST_BYTES", "PlannedBlob", "PlannedManifest", "make_plan"]

#: The size of all manifests of one copy together, in bytes.
MAX_MANIFEST_BYTES: Final = 32 * 1024 * 1024


@frozen(kw_only=True)
class PlannedBlob:
    """A blob that a manifest needs.

    Attributes:
        descriptor: What the manifest says of it.
        is_config: Whether it is the configuration rather than a layer.
    """

    descriptor: Descriptor
    is_config: bool = False


@frozen(kw_only=True)
class PlannedManifest:
    """A manifest to write, and the blobs it needs.

    Attributes:
        instance: The digest by which an index that is copied lists it; None for the image itself.
        digest: The digest it has.
        data: Its bytes.
        media_type: Its type.
        blobs: What it needs, the configuration first; nothing for an index.
        signatures: Its signatures at the source.
        is_chosen: Whether it was chosen from an index that is not copied.
    """

    instance: Digest | None
    digest: Digest
    data: bytes
    media_type: str
    blobs: tuple[PlannedBlob, ...] = ()
    signatures: tuple[bytes, ...] = ()
    is_chosen: bool = False


def make_plan(source: ImageSource, context: PolicyContext, options: CopyOptions) -> tuple[PlannedManifest, ...]:
    """Read, verify, allow and parse every manifest that is to be copied.

    Args:
        source: Where the image is.
        context: The policy; held against every image by itself, before the image is parsed. An index is not an
            image; it is held against the policy only when nothing in it is.
        options: What to copy.

    Returns:
        The manifests in the order in which they are written: what an index lists before the index, the one that
        the copy is about last.

    Raises:
        PolicyRequirementError: The policy does not allow one of the images.
        ImageNotFoundError: The index has no image for the platform, or not the instance that was asked for.
        OCIKitError: As the source, verification and parsing give it.
    """
    return tuple(_Planner(source, context, options).top())


class _Planner:
    def __init__(self, source: ImageSource, context: PolicyContext, options: CopyOptions) -> None:
        self._source = source
        self._context = context
        self._options = options
        self._seen: set[Digest] = set()
        self._bytes = 0

    def top(self) -> Iterator[PlannedManifest]:
        image = UnparsedImage(self._source)
        if not self._is_index(image):
            yield self._image(image, instance=None)
        elif self._options.image_list_selection is ImageListSelection.SYSTEM:
            yield self._image(image.for_platform(self._options.source_ctx), instance=None)
        else:
            yield from self._index(image, self._selected(image, image.index()), depth=1)

    def _is_index(self, image: UnparsedImage) -> bool:
        self._bytes += len(image.manifest()[0])
        if self._bytes > MAX_MANIFEST_BYTES:
            raise LimitExceededError(f"bytes of all manifests of {image.reference}", MAX_MANIFEST_BYTES)
        return image.is_index()

    def _selected(self, image: UnparsedImage, index: AnyIndex) -> tuple[Descriptor, ...]:
        if self._options.image_list_selection is ImageListSelection.ALL:
            return index.manifests
        wanted = set(self._options.instances)
        entries = tuple(entry for entry in index.manifests if entry.digest in wanted)
        missing = sorted(wanted.difference(entry.digest for entry in entries))
        if missing:
            raise ImageNotFoundError(f"{image.description}: the index does not list {', '.join(missing)}")
        return entries

    def _index(self, image: UnparsedImage, entries: tuple[Descriptor, ...], *, depth: int) -> Iterator[PlannedManifest]:
        if depth > MAX_DEPTH:
            raise LimitExceededError(f"{image.description}: indexes nested in each other", MAX_DEPTH)
        if not entries:
            self._context.is_running_image_allowed(image)
        for entry in entries:
            # The same manifest listed twice, for two platforms say, is one manifest to copy.
            if entry.digest in self._seen:
                continue
            self._seen.add(entry.digest)
            yield from self._entry(UnparsedImage(self._source, entry), depth=depth)
        data, media_type = image.manifest()
        yield PlannedManifest(
            instance=image.instance,
            digest=image.digest(),
            data=data,
            media_type=media_type,
            signatures=self._signatures(image),
        )

    def _entry(self, image: UnparsedImage, *, depth: int) -> Iterator[PlannedManifest]:
        if self._is_index(image):
            yield from self._index(image, image.index().manifests, depth=depth + 1)
        else:
            yield self._image(image, instance=image.instance)

    def _image(self, image: UnparsedImage, *, instance: Digest | None) -> PlannedManifest:
        self._context.is_running_image_allowed(image)
        data, media_type = image.manifest()
        manifest = image.image_manifest()
        return PlannedManifest(
            instance=instance,
            digest=image.digest(),
            data=data,
            media_type=media_type,
            blobs=tuple(self._blobs(image, manifest)),
            signatures=self._signatures(image),
            is_chosen=instance != image.instance,
        )

    def _blobs(self, image: UnparsedImage, manifest: ImageManifest) -> Iterator[PlannedBlob]:
        self._check_layer_infos(image, manifest)
        check_config(manifest.config, image.description)
        yield PlannedBlob(descriptor=_checked(manifest.config), is_config=True)
        for layer in manifest.layers:
            yield PlannedBlob(descriptor=_checked(layer))

    def _check_layer_infos(self, image: UnparsedImage, manifest: ImageManifest) -> None:
        infos = self._source.layer_infos_for_copy(image.instance)
        if infos is not None and [info.digest for info in infos] != [layer.digest for layer in manifest.layers]:
            raise NotSupportedError(
                f"{image.description}: the source keeps the layers in another form than its manifest says; manifests "
                "are only copied unchanged in this version"
            )

    def _signatures(self, image: UnparsedImage) -> tuple[bytes, ...]:
        return () if self._options.remove_signatures else image.signatures()


def _checked(descriptor: Descriptor) -> Descriptor:
    """Refuse, before anything is written, what could not be verified later."""
    descriptor.digest.hasher()
    descriptor.embedded_content()
    return descriptor
