"""The manifests of a copy, with the blobs as they are at the destination; what an index lists is written before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve, frozen

from ocikit.errors import ManifestTypeRejectedError
from ocikit.image.compression import Compression
from ocikit.image.conversion.layers import is_encrypted, is_layer, layer_compression
from ocikit.image.conversion.manifests import convert_manifest
from ocikit.image.conversion.variants import ZSTD, marks
from ocikit.image.copy.options import FORCIBLE, SparseManifestListAction
from ocikit.image.copy.reading import SourceIndex
from ocikit.image.copy.results import CopiedBlob
from ocikit.image.copy.rewriting import NewLayer, rewrite_image, rewrite_index
from ocikit.image.copy.transfers import key_of
from ocikit.image.manifest import parse_manifest
from ocikit.spec import Descriptor, Digest, DockerManifest, Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ocikit.image.conversion.documents import Converted
    from ocikit.image.copy.decisions import Decision, LayerDecision
    from ocikit.image.copy.options import CompressionVariant, CopyOptions
    from ocikit.image.copy.transfers import Key, StoredBlob, Transfer
    from ocikit.image.types import ImageDestination

    #: Says how a layer is compressed.
    Look = Callable[[LayerDecision], Compression | None]

__all__ = ["WrittenManifest", "copied_blobs", "put_manifests", "written"]


@frozen(kw_only=True)
class WrittenManifest:
    """A manifest as it is at the destination.

    Attributes:
        decision: What it was before, and why it is what it is.
        data: Its bytes.
        media_type: Its type.
        digest: Its digest.
        lost: What its type has no place for, in words.
    """

    decision: Decision
    data: bytes
    media_type: str
    digest: Digest
    lost: tuple[str, ...] = ()

    @property
    def is_listed(self) -> bool:
        """Whether an index that is written lists it; if not, it is what the copy is about."""
        return self.decision.manifest.instance is not None

    @property
    def instance(self) -> Digest | None:
        """What :meth:`ImageDestination.put_manifest` is to be told."""
        return self.digest if self.is_listed else None


def written(
    decisions: Sequence[Decision], stored: Mapping[Key, StoredBlob], options: CopyOptions, look: Look
) -> tuple[WrittenManifest, ...]:
    """Return the manifests as they are to be written, in the same order.

    Args:
        decisions: What becomes of them; what an index lists before the index.
        stored: The blobs at the destination.
        options: What was asked for.
        look: Says how a layer is compressed that was not read by this copy.

    Raises:
        ManifestError: The type of a manifest has no place for what its layers turned out to be.
        NotSupportedError: Likewise.
    """
    return tuple(_Writer(stored, options, look).all(decisions))


class _Writer:
    def __init__(self, stored: Mapping[Key, StoredBlob], options: CopyOptions, look: Look) -> None:
        self._stored = stored
        self._look = look
        self._seen: dict[Key, Compression | None] = {}  # what looking found: an image, and its entry, ask for the same
        self._strips = options.sparse_manifest_list_action is SparseManifestListAction.STRIP_SPARSE
        self._replaced: dict[Digest, Descriptor] = {}  # what took the place of a manifest
        # What the next index gets besides.
        self._variants: list[tuple[WrittenManifest, CompressionVariant, Descriptor]] = []

    def all(self, decisions: Sequence[Decision]) -> Iterator[WrittenManifest]:
        for decision in decisions:
            made = self._made(decision)
            if decision.variant is not None and decision.entry is not None:
                self._variants.append((made, decision.variant, decision.entry))
            elif made.digest != decision.manifest.digest:
                self._replaced[decision.manifest.digest] = Descriptor(
                    media_type=made.media_type,
                    digest=made.digest,
                    size=len(made.data),
                    annotations=self._marks(decision),
                )
            yield made

    def _made(self, decision: Decision) -> WrittenManifest:
        source = decision.manifest
        if not decision.changes and decision.variant is None:
            return WrittenManifest(
                decision=decision, data=source.data, media_type=source.media_type, digest=source.digest
            )
        if isinstance(source, SourceIndex):
            converted = self._index(decision, source)
        else:
            converted = rewrite_image(
                source, decision.media_type, [self._new_layer(layer) for layer in decision.layers]
            )
        return WrittenManifest(
            decision=decision,
            data=converted.data,
            media_type=converted.media_type,
            digest=Digest.from_bytes(converted.data),
            lost=converted.lost,
        )

    def _index(self, decision: Decision, index: SourceIndex) -> Converted:
        dropped = index.left_out if self._strips else frozenset()
        kept = [entry.digest for entry in index.parsed.manifests if entry.digest not in dropped]
        added = [_variant_entry(*one) for one in self._variants]
        self._variants.clear()
        return rewrite_index(
            index,
            decision.media_type,
            replaced={digest: self._replaced[digest] for digest in kept if digest in self._replaced},
            dropped=dropped,
            added=added,
        )

    def _new_layer(self, layer: LayerDecision) -> NewLayer | None:
        """Return the layer as it is now, by its content rather than by what was said of it; None when it stays."""
        stated, media_type = layer.source.descriptor, layer.source.media_type
        blob = self._stored[key_of(layer)]
        stays = (stated.digest, stated.size) == (blob.digest, blob.size)
        if layer.cipher.work is None and (not is_layer(media_type) or is_encrypted(media_type)):
            return None if stays and layer.cipher.annotations is None else _as_it_is(layer, blob)
        compression = self._compression(layer, blob)
        is_told = is_layer(stated.media_type) and layer_compression(stated.media_type) is compression
        if stays and is_told and not layer.is_downloaded:
            return None
        return NewLayer(
            digest=blob.digest,
            size=blob.size,
            compression=compression,
            is_encrypted=layer.cipher.is_encrypted(media_type),
            encryption=blob.annotations,
            is_distributable=layer.is_downloaded,
        )

    def _compression(self, layer: LayerDecision, blob: StoredBlob) -> Compression | None:
        if blob.was_read:
            return blob.compression
        if layer.stays_away:
            return layer_compression(layer.source.media_type)
        key = key_of(layer)
        if key not in self._seen:
            self._seen[key] = self._look(layer)
        return self._seen[key]

    def _marks(self, decision: Decision) -> dict[str, str]:
        """Return what the entry of an image says of its compression: zstd, when all of its layers are in it."""
        found = {self._compression(layer, self._stored[key_of(layer)]) for layer in decision.layers}
        return marks(Compression.ZSTD) if found == {Compression.ZSTD} else {}


def _as_it_is(layer: LayerDecision, blob: StoredBlob) -> NewLayer:
    """Return a layer into which nobody looks: encrypted, or of a type that is not known."""
    media_type = layer.source.media_type
    return NewLayer(
        digest=blob.digest,
        size=blob.size,
        compression=layer_compression(media_type) if is_layer(media_type) else None,
        is_encrypted=is_encrypted(media_type),
        encryption=layer.cipher.annotations,
    )


def _variant_entry(variant: WrittenManifest, asked: CompressionVariant, entry: Descriptor) -> Descriptor:
    """Return the entry for one more instance: like the one it was made from, with the mark of its compression."""
    others = {key: value for key, value in entry.annotations.items() if key != ZSTD}
    return evolve(
        entry,
        media_type=variant.media_type,
        digest=variant.digest,
        size=len(variant.data),
        annotations={**others, **marks(Compression.from_name(asked.compression))},
        data=None,
    )


def copied_blobs(
    wanted: Sequence[Transfer], stored: Mapping[Key, StoredBlob], manifests: Sequence[WrittenManifest]
) -> tuple[CopiedBlob, ...]:
    """Return what became of every blob, once, in the order of the manifests, as the manifests state it now.

    Args:
        wanted: The blobs that the manifests needed.
        stored: What became of them.
        manifests: The manifests as they are now.
    """
    types: dict[Key, str] = {}
    for manifest in manifests:
        parsed = parse_manifest(manifest.data, manifest.media_type)
        if isinstance(parsed, Manifest | DockerManifest):
            types.setdefault((parsed.config.digest, None, None), parsed.config.media_type)
            for layer, now in zip(manifest.decision.layers, parsed.layers, strict=True):
                types.setdefault(key_of(layer), now.media_type)
    return tuple(
        CopiedBlob(
            digest=stored[one.key].digest,
            size=stored[one.key].size,
            media_type=types.get(one.key, one.info.media_type),
            outcome=stored[one.key].outcome,
            source_digest=one.digest,
        )
        for one in wanted
    )


def put_manifests(
    manifests: Sequence[WrittenManifest], destination: ImageDestination, options: CopyOptions
) -> tuple[WrittenManifest, ...]:
    """Store the manifests; nothing is visible before the destination commits.

    An image that the destination rejects in its type, although it did not say so before, is tried in the other one.

    Args:
        manifests: The manifests, the one that the copy is about last.
        destination: Where they go.
        options: What was asked for.

    Returns:
        The manifests as they were stored.

    Raises:
        ManifestTypeRejectedError: The destination takes none of the types that the image can have.
        OCIKitError: As the destination gives it.
    """
    put = []
    for manifest in manifests:
        try:
            destination.put_manifest(manifest.data, manifest.instance)
            put.append(manifest)
        except ManifestTypeRejectedError:
            other = _other_type(manifest, destination, options)
            if other is None:
                raise
            destination.put_manifest(other.data, other.instance)
            put.append(other)
    return tuple(put)


def put_in_another_type(
    manifests: Sequence[WrittenManifest],
    destination: ImageDestination,
    options: CopyOptions,
    *,
    is_referred_to: bool = False,
) -> tuple[WrittenManifest, ...]:
    """Put the image itself in another type, after the destination rejected it only when it was to become visible.

    Called where :class:`ManifestTypeRejectedError` is handled, which is raised again when there is no other type.

    Args:
        manifests: The manifests as they were stored, the one that the copy is about last.
        destination: Where they go.
        options: What was asked for.
        is_referred_to: Whether something is copied that refers to it, by its digest.

    Returns:
        The manifests as they were stored.

    Raises:
        ManifestTypeRejectedError: The image can have no other type.
    """
    other = None if is_referred_to else _other_type(manifests[-1], destination, options)
    if other is None:
        raise  # noqa: PLE0704 - there is one, by contract
    destination.put_manifest(other.data, other.instance)
    return (*manifests[:-1], other)


def _other_type(
    manifest: WrittenManifest, destination: ImageDestination, options: CopyOptions
) -> WrittenManifest | None:
    """Return an image in the type that was not tried yet; None when there is none, or it must stay as it is."""
    is_bound = options.preserve_digests or options.force_manifest_mime_type or manifest.decision.manifest.signatures
    named = destination.reference.docker_reference
    if is_bound or manifest.is_listed or (named is not None and named.digest is not None):
        return None
    others = [one for one in FORCIBLE if one != manifest.media_type]
    if len(others) == len(FORCIBLE):
        return None
    converted = convert_manifest(manifest.data, manifest.media_type, others[0])
    return evolve(
        manifest,
        data=converted.data,
        media_type=converted.media_type,
        digest=Digest.from_bytes(converted.data),
        lost=(*manifest.lost, *converted.lost),
    )
