"""What the source has: every manifest that is to be copied, verified, allowed by the policy and parsed.

All of it happens before anything is written. What becomes of the manifests is decided elsewhere
(:mod:`ocikit.image.copy.decisions`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import frozen

from ocikit.errors import ImageNotFoundError, LimitExceededError, ManifestError
from ocikit.image.config import check_config
from ocikit.image.conversion.digests import SCHEMA1
from ocikit.image.conversion.layers import is_layer
from ocikit.image.copy.options import ImageListSelection
from ocikit.image.legacy import as_schema2
from ocikit.image.platform import platform_name
from ocikit.image.types import BlobInfo
from ocikit.image.unparsed import MAX_DEPTH, UnparsedImage
from ocikit.spec import mediatypes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.image.copy.options import CopyOptions
    from ocikit.image.manifest import AnyIndex, ImageManifest
    from ocikit.image.signature.context import PolicyContext
    from ocikit.image.types import ImageSource
    from ocikit.spec import Descriptor, Digest, Platform

__all__ = [
    "MAX_MANIFEST_BYTES",
    "AnySource",
    "SourceImage",
    "SourceIndex",
    "SourceLayer",
    "SourceManifest",
    "read_manifests",
]

#: The size of all manifests of one copy together, in bytes.
MAX_MANIFEST_BYTES: Final = 32 * 1024 * 1024


@frozen(kw_only=True)
class SourceManifest:
    """A manifest to copy, as the source has it.

    Attributes:
        instance: The digest by which an index that is copied lists it; None for what the copy is about.
        digest: The digest it has.
        data: Its bytes.
        media_type: Its type.
        description: The image, for messages.
        signatures: Its signatures at the source.
    """

    instance: Digest | None
    digest: Digest
    data: bytes
    media_type: str
    description: str
    signatures: tuple[bytes, ...] = ()


@frozen(kw_only=True)
class SourceLayer:
    """A layer of an image, as the source keeps it.

    Attributes:
        descriptor: What the manifest states.
        digest: The digest of what the source keeps: another one when it keeps layers in another form.
        info: What else is known of that.
    """

    descriptor: Descriptor
    digest: Digest
    info: BlobInfo

    @property
    def media_type(self) -> str:
        """Its type: what the source says of it, or the manifest when the source says nothing that is known."""
        return self.info.media_type if is_layer(self.info.media_type) else self.descriptor.media_type


@frozen(kw_only=True)
class SourceImage(SourceManifest):
    """The manifest of an image.

    Attributes:
        parsed: What it says.
        layers: Its layers, the lowest first.
        is_chosen: Whether it was chosen from an index that is not copied.
        was: The type that it has at the source, when that is one that is only read: Docker's schema 1. Then ``data``
            and ``media_type`` are those of the schema 2 that it was turned into.
    """

    parsed: ImageManifest
    layers: tuple[SourceLayer, ...] = ()
    is_chosen: bool = False
    was: str = ""


@frozen(kw_only=True)
class SourceIndex(SourceManifest):
    """An index.

    Attributes:
        parsed: What it says.
        left_out: What it lists and is not copied.
    """

    parsed: AnyIndex
    left_out: frozenset[Digest] = frozenset()


#: What there is to copy.
AnySource = SourceImage | SourceIndex


def read_manifests(source: ImageSource, context: PolicyContext, options: CopyOptions) -> tuple[AnySource, ...]:
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
    return tuple(_Reader(source, context, options).top())


class _Reader:
    def __init__(self, source: ImageSource, context: PolicyContext, options: CopyOptions) -> None:
        self._source = source
        self._context = context
        self._options = options
        self._seen: dict[Digest, Descriptor] = {}
        self._bytes = 0

    def top(self) -> Iterator[AnySource]:
        image = UnparsedImage(self._source)
        if not self._is_index(image):
            yield self._image(image, instance=None)
        elif self._options.image_list_selection is ImageListSelection.SYSTEM:
            chosen = image.for_platform(self._options.source_ctx, prefer_gzip=self._options.prefer_gzip_instances)
            yield self._image(chosen, instance=None)
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
        wanted, platforms = set(self._options.instances), self._options.instance_platforms
        missing = sorted(wanted.difference(entry.digest for entry in index.manifests))
        if missing:
            raise ImageNotFoundError(f"{image.description}: the index does not list {', '.join(missing)}")
        for platform in platforms:
            if not any(_is_for(entry, platform) for entry in index.manifests):
                there = sorted({platform_name(entry.platform) for entry in index.manifests if entry.platform})
                raise ImageNotFoundError(
                    f"{image.description}: the index lists nothing for {platform_name(platform)}, only for "
                    f"{', '.join(there) or 'no platform at all'}"
                )
        return tuple(
            entry
            for entry in index.manifests
            if entry.digest in wanted or any(_is_for(entry, platform) for platform in platforms)
        )

    def _index(self, image: UnparsedImage, entries: tuple[Descriptor, ...], *, depth: int) -> Iterator[AnySource]:
        if depth > MAX_DEPTH:
            raise LimitExceededError(f"{image.description}: indexes nested in each other", MAX_DEPTH)
        if not entries:
            self._context.is_running_image_allowed(image)
        for entry in entries:
            entry.embedded_content()
            first = self._seen.setdefault(entry.digest, entry)
            if (first.media_type, first.size) != (entry.media_type, entry.size):
                raise ManifestError(
                    f"{image.description}: lists {entry.digest} as {first.media_type} of {first.size:,} bytes, and as "
                    f"{entry.media_type} of {entry.size:,}"
                )
            # The same manifest listed twice, for two platforms say, is one manifest to copy.
            if first is not entry:
                continue
            yield from self._entry(UnparsedImage(self._source, entry), depth=depth)
        index = image.index()
        copied = {entry.digest for entry in entries}
        data, media_type = image.manifest()
        yield SourceIndex(
            instance=image.instance,
            digest=image.digest(),
            data=data,
            media_type=media_type,
            description=image.description,
            signatures=() if self._options.remove_list_signatures else self._signatures(image),
            parsed=index,
            left_out=frozenset(entry.digest for entry in index.manifests if entry.digest not in copied),
        )

    def _entry(self, image: UnparsedImage, *, depth: int) -> Iterator[AnySource]:
        if self._is_index(image):
            yield from self._index(image, image.index().manifests, depth=depth + 1)
        else:
            yield self._image(image, instance=image.instance)

    def _image(self, image: UnparsedImage, *, instance: Digest | None) -> SourceImage:
        self._context.is_running_image_allowed(image)
        data, media_type = image.manifest()
        manifest: ImageManifest
        was = ""
        if media_type in SCHEMA1:
            was, media_type = media_type, mediatypes.DOCKER_MANIFEST
            data, manifest = as_schema2(self._source, data, image.description)
        else:
            manifest = image.image_manifest()
        check_config(manifest.config, image.description)
        for descriptor in (manifest.config, *manifest.layers):
            # Before anything is written: what could not be verified later.
            descriptor.digest.hasher()
            descriptor.embedded_content()
        return SourceImage(
            instance=instance,
            digest=image.digest(),
            data=data,
            media_type=media_type,
            description=image.description,
            signatures=self._signatures(image),
            parsed=manifest,
            layers=tuple(self._layers(image, manifest)),
            is_chosen=instance != image.instance,
            was=was,
        )

    def _layers(self, image: UnparsedImage, manifest: ImageManifest) -> Iterator[SourceLayer]:
        infos = self._source.layer_infos_for_copy(image.instance)
        if infos is None:
            infos = tuple(map(BlobInfo.from_descriptor, manifest.layers))
        if len(infos) != len(manifest.layers):
            raise ManifestError(
                f"{image.description}: {len(infos)} layers in the source, {len(manifest.layers)} in the manifest"
            )
        for number, (descriptor, info) in enumerate(zip(manifest.layers, infos, strict=True)):
            if info.digest is None:
                raise ManifestError(f"{image.description}: the source has no digest for layer {number}")
            yield SourceLayer(descriptor=descriptor, digest=info.digest, info=info)

    def _signatures(self, image: UnparsedImage) -> tuple[bytes, ...]:
        return () if self._options.remove_signatures else image.signatures()


def _is_for(entry: Descriptor, wanted: Platform) -> bool:
    found = entry.platform
    if found is None or (found.os, found.architecture) != (wanted.os, wanted.architecture):
        return False
    return not wanted.variant or found.variant == wanted.variant
