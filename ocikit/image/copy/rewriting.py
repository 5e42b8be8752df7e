"""Manifests as they will be: other layers, another type, other entries. Pure: bytes in, bytes out.

What nobody here knows stays in a manifest that is rewritten; a manifest in which nothing changes is not rewritten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

from ocikit.image.conversion.documents import Converted
from ocikit.image.conversion.edits import with_replaced_entries, with_replaced_layers
from ocikit.image.conversion.indexes import convert_index
from ocikit.image.conversion.layers import (
    ABOUT_ENCRYPTION,
    ENCRYPTED,
    is_encrypted,
    is_layer,
    is_nondistributable,
    layer_media_type,
)
from ocikit.image.conversion.manifests import convert_manifest
from ocikit.image.conversion.variants import ZSTD
from ocikit.image.manifest import parse_manifest
from ocikit.spec import DockerManifest, Manifest, mediatypes

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ocikit.image.compression import Compression
    from ocikit.image.copy.reading import SourceManifest
    from ocikit.spec import Descriptor, Digest

__all__ = ["NewLayer", "rewrite_image", "rewrite_index"]

# What an annotation says about the bytes of a layer; they are other bytes now.
_ABOUT_BYTES: Final = ("io.github.containers.zstd-chunked.", "containerd.io/snapshot/stargz/", "org.estargz.")


@frozen(kw_only=True)
class NewLayer:
    """A layer as it is at the destination.

    Attributes:
        digest: Its digest.
        size: Its size in bytes.
        compression: How it is compressed; of what is encrypted, within.
        is_encrypted: Whether it is encrypted.
        encryption: What its annotations say of its encryption; None for what they said before.
        is_distributable: Whether it is an ordinary layer now, if it was one that stays elsewhere before.
    """

    digest: Digest
    size: int
    compression: Compression | None
    is_encrypted: bool = False
    encryption: Mapping[str, str] | None = None
    is_distributable: bool = False


def rewrite_image(manifest: SourceManifest, media_type: str, layers: Sequence[NewLayer | None]) -> Converted:
    """Return the manifest of an image with other layers and of another type.

    Args:
        manifest: The manifest at the source.
        media_type: The type it gets.
        layers: For each layer what takes its place; None for those that stay.

    Raises:
        ManifestError: The new type has no place for something that matters.
        NotSupportedError: It has no name for the compression of a layer, or the manifest is no image.
    """
    data, own = manifest.data, manifest.media_type
    lost: tuple[str, ...] = ()
    # Layers are replaced while the manifest is of the type that has a name for every compression.
    if own != media_type and media_type == mediatypes.IMAGE_MANIFEST:
        converted = convert_manifest(data, own, media_type)
        data, own, lost = converted.data, media_type, converted.lost
    if any(layers):
        parsed = parse_manifest(data, own)
        if not isinstance(parsed, Manifest | DockerManifest):
            raise TypeError(f"{manifest.description}: not the manifest of an image")
        pairs = zip(parsed.layers, layers, strict=True)
        replaced = [_replaced(old, new, own) if new is not None else None for old, new in pairs]
        data = with_replaced_layers(data, own, replaced, None)
    if own != media_type:
        converted = convert_manifest(data, own, media_type)
        data, lost = converted.data, converted.lost
    return Converted(data=data, media_type=media_type, lost=lost)


def _replaced(old: Descriptor, new: NewLayer, manifest_type: str) -> Descriptor:
    media_type = old.media_type
    keeps_away = is_nondistributable(media_type) and not new.is_distributable
    suffix = ENCRYPTED if new.is_encrypted else ""
    if is_layer(media_type):
        media_type = layer_media_type(manifest_type, new.compression, distributable=not keeps_away) + suffix
    elif not new.is_encrypted:
        media_type = media_type.removesuffix(ENCRYPTED)
    same = (old.digest, old.size) == (new.digest, new.size)
    return evolve(
        old,
        media_type=media_type,
        digest=new.digest,
        size=new.size,
        urls=old.urls if same and not new.is_distributable else (),
        data=old.data if same else None,
        annotations=_annotations(old, new),
    )


def _annotations(old: Descriptor, new: NewLayer) -> dict[str, str]:
    gone = () if (old.digest, old.size) == (new.digest, new.size) else _ABOUT_BYTES
    if new.encryption is not None or (is_encrypted(old.media_type) and not new.is_encrypted):
        gone = (*gone, ABOUT_ENCRYPTION)
    kept = {key: value for key, value in old.annotations.items() if not key.startswith(gone)}
    return {**kept, **(new.encryption or {})}


def rewrite_index(
    manifest: SourceManifest,
    media_type: str,
    *,
    replaced: Mapping[Digest, Descriptor],
    dropped: Collection[Digest] = (),
    added: Sequence[Descriptor] = (),
) -> Converted:
    """Return an index with other entries and of another type.

    Args:
        manifest: The index at the source.
        media_type: The type it gets.
        replaced: What takes the place of entries that are listed and not dropped: type, digest, size, and the
            annotations that say how the image is compressed.
        dropped: The entries that go.
        added: The entries that come, at the end.

    Raises:
        ManifestError: The new type has no place for something that matters.
        NotSupportedError: Likewise.
    """
    data, own = manifest.data, manifest.media_type
    lost: tuple[str, ...] = ()
    # What goes first cannot be in the way of a conversion, what comes last need not be converted.
    if dropped:
        data = with_replaced_entries(data, own, {}, dropped=dropped)
    if media_type != own:
        converted = convert_index(data, own, media_type, replaced=replaced)
        data, lost = converted.data, converted.lost
        replaced = {new.digest: new for new in replaced.values()}
    if replaced and media_type == mediatypes.IMAGE_INDEX:
        # How an image is compressed is said by its entry, and may be something else now.
        data = with_replaced_entries(data, media_type, replaced, without_annotations=[ZSTD])
    elif replaced and media_type == own:
        data = with_replaced_entries(data, own, replaced)
    if added:
        data = with_replaced_entries(data, media_type, {}, added=added)
    return Converted(data=data, media_type=media_type, lost=lost)
