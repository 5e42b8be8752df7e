"""A manifest or an index with other descriptors in it, and everything else as it was.

What is not replaced stays: unknown fields, annotations, the order of keys. A document in which nothing is replaced is
the same bytes; another one is written compactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.errors import ManifestError, ManifestTypeRejectedError
from ocikit.image.conversion.documents import EMPTY, Raw, read, write
from ocikit.image.conversion.layers import Family, converted, family_of, is_layer
from ocikit.image.conversion.variants import is_zstd
from ocikit.image.manifest import parse_manifest
from ocikit.spec import DockerManifestList, Index

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ocikit.spec import Descriptor, Digest

__all__ = ["with_replaced_entries", "with_replaced_layers"]

# What an entry says of bytes that are another's now.
_OF_THE_BYTES: Final = ("urls", "data")


def with_replaced_layers(
    data: bytes, media_type: str, layers: Sequence[Descriptor | None], config: Descriptor | None = None
) -> bytes:
    """Return the manifest of an image with other layers, another configuration, or both.

    A descriptor takes the whole place of the one before: make it from that with :func:`attrs.evolve`, so that
    annotations and unknown fields come along. Its embedded ``data`` must be that of its own digest, or None.

    Args:
        data: The manifest.
        media_type: Its type: Docker's schema 2 or OCI.
        layers: What takes the place of each layer, the lowest first; None for those that stay.
        config: What takes the place of the configuration; None when it stays.

    Raises:
        ManifestError: The manifest is malformed, or has another number of layers.
        ManifestTypeRejectedError: A Docker manifest is to get a layer for which Docker has no type, or annotations.
        VerificationError: A new descriptor embeds content that is not its own.
    """
    manifest, document = read(data, media_type)
    if isinstance(manifest, Index | DockerManifestList):
        raise ManifestError(f"expected the manifest of an image, found an index ({media_type})")
    if len(layers) != len(manifest.layers):
        raise ManifestError(f"the manifest has {len(manifest.layers):,} layers, given were {len(layers):,}")
    if config is None and all(layer is None for layer in layers):
        return data
    if config is not None:
        document["config"] = _merged(document["config"], config, media_type)
    for number, layer in enumerate(layers):
        if layer is not None:
            _check_family(layer, media_type)
            document["layers"][number] = _merged(document["layers"][number], layer, media_type)
    return _written(document, media_type)


def with_replaced_entries(
    data: bytes,
    media_type: str,
    replaced: Mapping[Digest, Descriptor],
    *,
    dropped: Collection[Digest] = (),
    added: Sequence[Descriptor] = (),
    without_annotations: Collection[str] = (),
) -> bytes:
    """Return an index with other manifests in it.

    Of a descriptor in ``replaced`` type, digest and size take the place of those of every entry with the old digest.
    Its annotations are added to those of the entry, its platform is taken when the entry has none; URLs and content
    that the entry had for the old bytes go. Everything else is the entry's and stays.

    When something is added, entries for images in zstd move behind all others, as containers/image has it: who knows
    nothing of variants takes the first entry for its platform, and may not know zstd either.

    Args:
        data: The index.
        media_type: Its type: Docker's list or OCI.
        replaced: The new manifest for each old digest.
        dropped: Digests of entries that go.
        added: Entries that come, at the end.
        without_annotations: Keys of annotations that the replaced entries lose before they get new ones.

    Raises:
        ManifestError: The index is malformed, or lists none with a digest that is to be replaced or dropped.
        ManifestTypeRejectedError: Docker's list is to get annotations, or an entry without a platform.
    """
    index, document = read(data, media_type)
    if not isinstance(index, Index | DockerManifestList):
        raise ManifestError(f"expected an index, found the manifest of an image ({media_type})")
    if not (replaced or dropped or added):
        return data
    _check_listed(index, [*replaced, *dropped])
    entries = [
        _replaced(raw, replaced.get(entry.digest), without_annotations)
        for raw, entry in zip(document["manifests"], index.manifests, strict=True)
        if entry.digest not in dropped
    ]
    for new in replaced.values():
        _check_docker(new, (), media_type)
    if added:
        entries = sorted([*entries, *(_added(entry, media_type) for entry in added)], key=_is_zstd)
    document["manifests"] = entries
    return _written(document, media_type)


def _replaced(entry: Raw, new: Descriptor | None, without_annotations: Collection[str]) -> Raw:
    if new is None:
        return entry
    changed = {"mediaType": new.media_type, "digest": str(new.digest), "size": new.size}
    gone = _OF_THE_BYTES if new.digest != entry["digest"] else ()
    result = {key: value for key, value in entry.items() if key not in gone} | changed
    kept = {key: value for key, value in (entry.get("annotations") or {}).items() if key not in without_annotations}
    annotations = {**kept, **new.annotations}
    if annotations:
        result["annotations"] = annotations
    else:
        result.pop("annotations", None)
    if result.get("platform") in EMPTY and new.platform is not None:
        result["platform"] = new.platform.to_dict()
    return result


def _merged(old: Raw, descriptor: Descriptor, media_type: str) -> Raw:
    _check_docker(descriptor, old, media_type)
    descriptor.embedded_content()
    new = descriptor.to_dict()
    return {key: new[key] for key in old if key in new} | new


def _added(descriptor: Descriptor, media_type: str) -> Raw:
    _check_docker(descriptor, (), media_type)
    if family_of(media_type) is Family.DOCKER and descriptor.platform is None:
        raise ManifestTypeRejectedError(
            f"{descriptor.digest} cannot be added to Docker's list of manifests without a platform; say which"
        )
    descriptor.embedded_content()
    return descriptor.to_dict()


def _check_docker(descriptor: Descriptor, old: Collection[str], media_type: str) -> None:
    """Refuse to bring into Docker's documents what they have no words for; what was there before may stay."""
    new = {"annotations": descriptor.annotations, "data": descriptor.data, "artifactType": descriptor.artifact_type}
    strange = [key for key, value in new.items() if value and key not in old]
    if strange and family_of(media_type) is Family.DOCKER:
        raise ManifestTypeRejectedError(
            f"the descriptor of {descriptor.digest} has {' and '.join(strange)}, for which Docker's manifests have no "
            "words; leave that out, or write an OCI manifest"
        )


def _check_family(layer: Descriptor, media_type: str) -> None:
    if family_of(media_type) is Family.OCI:
        return
    if not is_layer(layer.media_type) or converted(layer.media_type, media_type) != layer.media_type:
        raise ManifestTypeRejectedError(f"a layer of type {layer.media_type} does not belong into a {media_type}")


def _check_listed(index: Index | DockerManifestList, digests: Collection[Digest]) -> None:
    listed = {entry.digest for entry in index.manifests}
    missing = sorted(set(digests) - listed)
    if missing:
        raise ManifestError(f"the index does not list {', '.join(missing[:5])}, so nothing can take the place of it")


def _is_zstd(entry: Raw) -> bool:
    return is_zstd(entry.get("annotations") or {})


def _written(document: Raw, media_type: str) -> bytes:
    data = write(document)
    parse_manifest(data, media_type)
    return data
