"""The manifests of a copy, with the blobs as they are at the destination; what an index lists is written before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve, frozen

from ocikit.image.compression import Compression
from ocikit.image.conversion.layers import is_encrypted, is_layer, layer_compression
from ocikit.image.conversion.variants import marks
from ocikit.image.copy.options import SparseManifestListAction
from ocikit.image.copy.reading import SourceIndex
from ocikit.image.copy.results import CopiedBlob
from ocikit.image.copy.rewriting import NewLayer, rewrite_image, rewrite_index
from ocikit.image.copy.transfers import key_of
from ocikit.image.manifest import parse_manifest
from ocikit.spec import Descriptor, Digest, DockerManifest, Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ocikit.image.conversion.documents import Converted
    from ocikit.image.copy.decisions import Decision, LayerDecision
    from ocikit.image.copy.options import CompressionVariant, CopyOptions
    from ocikit.image.copy.transfers import Key, StoredBlob, Transfer
    from ocikit.image.types import ImageDestination

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
    decisions: Sequence[Decision], stored: Mapping[Key, StoredBlob], options: CopyOptions
) -> tuple[WrittenManifest, ...]:
    """Return the manifests as they are to be written, in the same order.

    Args:
        decisions: What becomes of them; what an index lists before the index.
        stored: The blobs at the destination.
        options: What was asked for.

    Raises:
        ManifestError: The type of a manifest has no place for what its layers turned out to be.
        NotSupportedError: Likewise.
    """
    return tuple(_Writer(stored, options).all(decisions))


class _Writer:
    def __init__(self, stored: Mapping[Key, StoredBlob], options: CopyOptions) -> None:
        self._stored = stored
        self._strips = options.sparse_manifest_list_action is SparseManifestListAction.STRIP_SPARSE
        self._replaced: dict[Digest, Descriptor] = {}  # what took the place of a manifest
        # What the next index gets besides.
        self._variants: list[tuple[WrittenManifest, CompressionVariant]] = []

    def all(self, decisions: Sequence[Decision]) -> Iterator[WrittenManifest]:
        for decision in decisions:
            made = self._made(decision)
            if decision.variant is not None:
                self._variants.append((made, decision.variant))
            elif made.digest != decision.manifest.digest:
                self._replaced[decision.manifest.digest] = Descriptor(
                    media_type=made.media_type, digest=made.digest, size=len(made.data)
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
                source, decision.media_type, [_new_layer(layer, self._stored) for layer in decision.layers]
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
        added = [_variant_entry(*one, index) for one in self._variants]
        self._variants.clear()
        return rewrite_index(
            index,
            decision.media_type,
            replaced={digest: self._replaced[digest] for digest in kept if digest in self._replaced},
            dropped=dropped,
            added=added,
        )


def _new_layer(layer: LayerDecision, stored: Mapping[Key, StoredBlob]) -> NewLayer | None:
    """Return the layer as it is now, by its content rather than by what was said of it; None when it stays."""
    stated, media_type = layer.source.descriptor, layer.source.info.media_type
    blob = stored[key_of(layer)]
    if not is_layer(media_type) or is_encrypted(media_type):
        return None
    compression = blob.compression if blob.was_read else layer_compression(media_type)
    new = NewLayer(digest=blob.digest, size=blob.size, compression=compression, is_distributable=layer.is_downloaded)
    stays = (stated.digest, stated.size) == (new.digest, new.size)
    is_told = is_layer(stated.media_type) and layer_compression(stated.media_type) is compression
    return None if stays and is_told and not layer.is_downloaded else new


def _variant_entry(variant: WrittenManifest, asked: CompressionVariant, index: SourceIndex) -> Descriptor:
    """Return the entry for one more instance: like the one it was made from, with the mark of its compression."""
    original = variant.decision.manifest.digest
    entry = next(entry for entry in index.parsed.manifests if entry.digest == original)
    return evolve(
        entry,
        media_type=variant.media_type,
        digest=variant.digest,
        size=len(variant.data),
        annotations={**entry.annotations, **marks(Compression.from_name(asked.compression))},
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
            types.setdefault((parsed.config.digest, None), parsed.config.media_type)
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


def put_manifests(manifests: Sequence[WrittenManifest], destination: ImageDestination) -> None:
    """Store the manifests, then their signatures; nothing is visible before the destination commits.

    Args:
        manifests: The manifests, the one that the copy is about last.
        destination: Where they go.

    Raises:
        OCIKitError: As the destination gives it.
    """
    for manifest in manifests:
        destination.put_manifest(manifest.data, manifest.instance)
    for manifest in manifests:
        if manifest.decision.manifest.signatures and manifest.decision.variant is None:
            destination.put_signatures(manifest.decision.manifest.signatures, manifest.instance)
