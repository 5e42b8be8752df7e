"""What becomes of every manifest: its type at the destination, and what is done to each of its layers.

Everything that the copy will change is decided, and said in words, before the first blob is read. A manifest that must
not change and would have to is refused here, with all the reasons on both sides. No blob is touched.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from attrs import evolve, field, frozen

from ocikit._tuples import NamedTuple
from ocikit.errors import DigestChangeError, ManifestError, ManifestTypeRejectedError, NotSupportedError
from ocikit.image.compression import Compression, check_level
from ocikit.image.config import read_config
from ocikit.image.conversion.layers import (
    is_encrypted,
    is_layer,
    is_nondistributable,
    layer_compression,
)
from ocikit.image.conversion.variants import missing_variants
from ocikit.image.copy.ciphers import Cipher, cipher_changes, ciphers
from ocikit.image.copy.options import FORCIBLE, CompressionVariant, SparseManifestListAction
from ocikit.image.copy.reading import SourceImage, SourceIndex
from ocikit.image.copy.rewriting import NewLayer, rewrite_image, rewrite_index
from ocikit.image.types import LayerCompression
from ocikit.spec import mediatypes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ocikit.image.copy.options import CopyOptions
    from ocikit.image.copy.reading import AnySource, SourceLayer, SourceManifest
    from ocikit.image.types import ImageDestination, ImageSource
    from ocikit.spec import Descriptor, Digest

__all__ = ["Decision", "LayerDecision", "Work", "as_it_is", "decide"]

_WRITTEN: Final = (Compression.GZIP, Compression.ZSTD)
# What leaves signatures behind, of an image and of an index.
_REMEDIES: Final = ("remove_signatures=True", "remove_list_signatures=True")


@frozen(kw_only=True)
class Work:
    """What is to be done to a layer: it gets another compression.

    Attributes:
        compression: The new one; None for none.
        level: The level for it; None for the format's default.
    """

    compression: Compression | None
    level: int | None = None

    def __str__(self) -> str:
        return f"compressed by {_word(self.compression)}" if self.compression is not None else "decompressed"


@frozen(kw_only=True)
class LayerDecision:
    """What becomes of a layer.

    Attributes:
        source: The layer.
        work: What is done to its compression; None when it stays as it is.
        cipher: What becomes of its encryption.
        diff_id: What its plain bytes must be, when somebody will look.
        stays_away: Whether it is not copied, because its URLs say where it is.
        is_downloaded: Whether it comes from its URLs rather than from the source.
    """

    source: SourceLayer
    work: Work | None = None
    cipher: Cipher = field(factory=Cipher)
    diff_id: Digest | None = None
    stays_away: bool = False
    is_downloaded: bool = False


@frozen(kw_only=True)
class Decision:
    """What becomes of a manifest.

    Attributes:
        manifest: The manifest at the source.
        media_type: Its type at the destination.
        layers: What becomes of its layers; nothing for an index.
        changes: What changes, in words; nothing when its bytes stay.
        lost: What the new type has no place for, in words.
        variant: The compression of which this is one more instance, beside the manifest as it is; None for the manifest
            itself.
        entry: What an index says of the manifest that this is a variant of.
    """

    manifest: SourceManifest
    media_type: str
    layers: tuple[LayerDecision, ...] = ()
    changes: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    variant: CompressionVariant | None = None
    entry: Descriptor | None = None


def decide(
    manifests: tuple[AnySource, ...],
    source: ImageSource,
    destination: ImageDestination,
    options: CopyOptions,
) -> tuple[Decision, ...]:
    """Decide what becomes of every manifest.

    Args:
        manifests: The manifests, what an index lists before the index.
        source: Where they are; configurations are read from it when their diffIDs are needed.
        destination: Where they go; it says what it takes and what it wants.
        options: What was asked for.

    Returns:
        The decisions in the order in which the manifests are written.

    Raises:
        DigestChangeError: A manifest would have to change and must not.
        ManifestTypeRejectedError: The destination takes no type that the manifest can have.
        NotSupportedError: A layer cannot be compressed as asked for, or the destination stores no signatures.
        DigestMismatchError: The destination is named by another digest.
        EncryptionError: No key decrypts a layer, or there is no layer with a number that was asked for.
        OCIKitError: A configuration that had to be read is damaged.
    """
    return tuple(_Decider(source, destination, options).all(manifests))


def as_it_is(manifest: SourceManifest) -> Decision:
    """Return the decision for a manifest in which nothing is changed."""
    layers = manifest.layers if isinstance(manifest, SourceImage) else ()
    return Decision(
        manifest=manifest,
        media_type=manifest.media_type,
        layers=tuple(LayerDecision(source=layer) for layer in layers),
    )


def _word(compression: Compression | None) -> str:
    return compression.value.lower() if compression is not None else "no compression"


class _Decider:
    def __init__(self, source: ImageSource, destination: ImageDestination, options: CopyOptions) -> None:
        self._source = source
        self._destination = destination
        self._options = options
        self._supported = destination.supported_manifest_mime_types
        self._wanted = _wanted_work(destination, options)
        self._changed: dict[Digest, str] = {}  # manifests that change, and what changes first in them
        self._types: dict[Digest, str] = {}  # and the types that they get

    def all(self, manifests: tuple[AnySource, ...]) -> Iterator[Decision]:
        images: dict[Digest, Decision] = {}
        for manifest in manifests:
            if isinstance(manifest, SourceIndex):
                variants = tuple(self._variants(manifest, images))
                yield from variants
                decision = self._index(manifest, variants)
            else:
                decision = images[manifest.digest] = self._image(manifest)
            self._check(decision)
            if decision.changes:
                self._changed[manifest.digest] = decision.changes[0]
                self._types[manifest.digest] = decision.media_type
            yield decision

    # Images

    def _image(self, manifest: SourceImage, variant: CompressionVariant | None = None) -> Decision:
        layers = tuple(self._layers(manifest, variant))
        media_type = self._image_type(manifest, layers)
        changes = [*_layer_changes(layers)]
        if manifest.was:
            changes.insert(0, f"its type {manifest.was} is read and not written")
        lost: tuple[str, ...] = ()
        if media_type != manifest.media_type:
            changes.insert(0, f"its type {manifest.media_type} becomes {media_type}")
            lost = self._lost(manifest, layers, media_type)
        return Decision(
            manifest=manifest, media_type=media_type, layers=layers, changes=tuple(changes), lost=lost, variant=variant
        )

    def _layers(self, manifest: SourceImage, variant: CompressionVariant | None) -> Iterator[LayerDecision]:
        enciphered = ciphers(manifest, self._options)
        works = [
            self._work(manifest, number, variant, is_opened=cipher.decrypts) for number, cipher in enumerate(enciphered)
        ]
        diff_ids: tuple[Digest | None, ...] = (None,) * len(works)
        if self._options.verify_diff_ids:
            _check_readable(manifest, enciphered)
        # Whoever knows a public key can encrypt for it, so what is decrypted is never believed.
        if self._options.verify_diff_ids or any(works) or any(cipher.decrypts for cipher in enciphered):
            diff_ids = self._diff_ids(manifest) or diff_ids
        for layer, work, cipher, diff_id in zip(manifest.layers, works, enciphered, diff_ids, strict=True):
            is_read = work is not None or cipher.decrypts or self._options.verify_diff_ids
            is_foreign = bool(layer.info.urls) and is_nondistributable(layer.media_type)
            is_downloaded = is_foreign and self._options.download_foreign_layers
            stays_away = is_foreign and not is_downloaded and self._destination.accepts_foreign_layer_urls
            yield LayerDecision(
                source=layer,
                work=None if stays_away else work,
                cipher=Cipher() if stays_away else cipher,
                diff_id=diff_id if is_read else None,
                stays_away=stays_away,
                is_downloaded=is_downloaded,
            )

    def _work(
        self, manifest: SourceImage, number: int, variant: CompressionVariant | None, *, is_opened: bool
    ) -> Work | None:
        wanted, layer = self._wanted, manifest.layers[number]
        if variant is not None:
            wanted = _Wanted(Work(compression=Compression.from_name(variant.compression), level=variant.level), True)
        if wanted is None or not is_layer(layer.media_type):
            return None
        if is_encrypted(layer.media_type) and not is_opened:
            raise NotSupportedError(
                f"{manifest.description}: layer {number} is encrypted and cannot be {wanted.work}; decrypt it first "
                "(oci_decrypt_config)"
            )
        there = layer_compression(layer.media_type)
        if there is wanted.work.compression:
            # A layer that has the form and that the manifest calls otherwise goes through the work, to be called right.
            return wanted.work if wanted.is_exact and _is_mislabelled(layer) else None
        return None if there is not None and not wanted.is_exact else wanted.work

    def _diff_ids(self, manifest: SourceImage) -> tuple[Digest, ...] | None:
        config = read_config(self._source, manifest.parsed.config, manifest.description)
        if config is None:
            return None
        found = config.rootfs.diff_ids
        if len(found) != len(manifest.layers):
            raise ManifestError(
                f"{manifest.description}: {len(manifest.layers)} layers in the manifest, {len(found)} in the config"
            )
        for diff_id in found:
            diff_id.hasher()  # before anything is written: what could not be compared later
        return found

    def _image_type(self, manifest: SourceImage, layers: tuple[LayerDecision, ...]) -> str:
        own, forced = manifest.media_type, self._options.force_manifest_mime_type
        is_sealed = any(layer.cipher.is_encrypted(layer.source.media_type) for layer in layers)
        if forced is not None:
            if is_sealed and forced == mediatypes.DOCKER_MANIFEST:
                raise ManifestTypeRejectedError(
                    f"{manifest.description}: {forced} was forced, which has no place for encrypted layers"
                )
            return self._acceptable(manifest, forced)
        # Docker has no name for a layer that is compressed by zstd, or encrypted.
        is_zstd = any(layer.work is not None and layer.work.compression is Compression.ZSTD for layer in layers)
        needs_oci = is_zstd or is_sealed
        if self._takes(own) and not (needs_oci and own == mediatypes.DOCKER_MANIFEST):
            return own
        for candidate in self._supported or tuple(FORCIBLE):
            if candidate in FORCIBLE and not (needs_oci and candidate == mediatypes.DOCKER_MANIFEST):
                return candidate
        raise self._rejected(manifest, f"; only {mediatypes.IMAGE_MANIFEST} has encrypted layers" if is_sealed else "")

    def _lost(self, manifest: SourceImage, layers: tuple[LayerDecision, ...], media_type: str) -> tuple[str, ...]:
        """Convert with the layers as they will be, to find out now whether that can be done."""
        with _about(manifest):
            return rewrite_image(manifest, media_type, [_expected(layer) for layer in layers]).lost

    # Indexes

    def _variants(self, manifest: SourceIndex, images: Mapping[Digest, Decision]) -> Iterator[Decision]:
        wanted = self._options.ensure_compression_variants_exist
        by_compression = {Compression.from_name(one.compression): one for one in wanted}
        if not by_compression:
            return
        known = {digest: _compressions(decision) for digest, decision in images.items()}
        media_type = self._index_type(manifest)
        for entry, compression in missing_variants(manifest.parsed, tuple(by_compression), known=known, to=media_type):
            original = images.get(entry.digest)
            if original is not None and isinstance(original.manifest, SourceImage):
                yield evolve(self._image(original.manifest, by_compression[compression]), entry=entry)

    def _index(self, manifest: SourceIndex, variants: tuple[Decision, ...]) -> Decision:
        media_type = self._index_type(manifest)
        changes = [
            f"its entry {entry.digest} changes: {self._changed[entry.digest]}"
            for entry in manifest.parsed.manifests
            if entry.digest in self._changed
        ]
        if media_type != manifest.media_type:
            changes.insert(0, f"its type {manifest.media_type} becomes {media_type}")
        if self._strips and manifest.left_out:
            changes.append(f"it loses the {len(manifest.left_out)} entries that are not copied")
        changes += [f"it gets one more instance of {one.manifest.digest}, {_of_variant(one)}" for one in variants]
        lost: tuple[str, ...] = ()
        if media_type != manifest.media_type:
            with _about(manifest):
                dropped = manifest.left_out if self._strips else frozenset()
                lost = rewrite_index(
                    manifest, media_type, replaced=self._expected_entries(manifest), dropped=dropped
                ).lost
        return Decision(manifest=manifest, media_type=media_type, changes=tuple(changes), lost=lost)

    def _expected_entries(self, manifest: SourceIndex) -> dict[Digest, Descriptor]:
        return {
            entry.digest: evolve(entry, media_type=self._types[entry.digest])
            for entry in manifest.parsed.manifests
            if entry.digest in self._types
        }

    @property
    def _strips(self) -> bool:
        return self._options.sparse_manifest_list_action is SparseManifestListAction.STRIP_SPARSE

    def _index_type(self, manifest: SourceManifest) -> str:
        forced = self._options.force_manifest_mime_type
        if forced is not None:
            return self._acceptable(manifest, FORCIBLE[forced])
        if self._takes(manifest.media_type):
            return manifest.media_type
        for candidate in self._supported:
            if candidate in mediatypes.INDEXES:
                return candidate
        raise self._rejected(manifest, "; copy one image of it: ImageListSelection.SYSTEM")

    # What holds for both

    def _takes(self, media_type: str) -> bool:
        return not self._supported or media_type in self._supported

    def _acceptable(self, manifest: SourceManifest, media_type: str) -> str:
        if not self._takes(media_type):
            raise self._rejected(manifest, f", and {media_type} was forced")
        return media_type

    def _rejected(self, manifest: SourceManifest, more: str = "") -> ManifestTypeRejectedError:
        return ManifestTypeRejectedError(
            f"{self._destination.reference}: takes manifests of the types {', '.join(self._supported)}, "
            f"{manifest.description} has one of type {manifest.media_type}{more}"
        )

    def _check(self, decision: Decision) -> None:
        manifest = decision.manifest
        if manifest.signatures and not self._destination.supports_signatures:
            raise NotSupportedError(
                f"{self._destination.reference}: stores no signatures, and {manifest.description} has "
                f"{len(manifest.signatures)}; copy with remove_signatures=True, or to a place that stores them"
            )
        named = self._named_digest(manifest)
        reasons = [*self._reasons(manifest, named)]
        if decision.changes and reasons and decision.variant is None:
            raise DigestChangeError(manifest.description, decision.changes, tuple(reasons))
        if named is not None:
            named.verify(manifest.data, what=f"manifest for {self._destination.reference}")

    def _named_digest(self, manifest: SourceManifest) -> Digest | None:
        named = self._destination.reference.docker_reference
        return named.digest if named is not None and manifest.instance is None else None

    def _reasons(self, manifest: SourceManifest, named: Digest | None) -> Iterator[str]:
        """Yield why a manifest must stay as it is."""
        if self._options.preserve_digests:
            yield "preserve_digests was asked for"
        if manifest.signatures:
            yield (
                f"it has {len(manifest.signatures)} signatures, which hold for these bytes only "
                f"({_REMEDIES[isinstance(manifest, SourceIndex)]} leaves them behind)"
            )
        if named is not None:
            yield f"the destination is named by the digest {named}"


@contextlib.contextmanager
def _about(manifest: SourceManifest) -> Iterator[None]:
    """Say which image it is in the errors of conversions, which only see bytes."""
    try:
        yield
    except ManifestError as error:
        raise ManifestError(f"{manifest.description}: {error}") from error
    except NotSupportedError as error:
        raise NotSupportedError(f"{manifest.description}: {error}") from error


def _expected(layer: LayerDecision) -> NewLayer | None:
    """Return a layer as it will be, as far as that can be said before it was read."""
    info, media_type, work = layer.source.info, layer.source.media_type, layer.work
    if not is_layer(media_type) or (is_encrypted(media_type) and not layer.cipher.decrypts):
        return None
    return NewLayer(
        digest=layer.source.digest,
        size=info.size if info.size >= 0 else layer.source.descriptor.size,
        compression=work.compression if work is not None else layer_compression(media_type),
        is_encrypted=layer.cipher.is_encrypted(media_type),
        is_distributable=layer.is_downloaded,
    )


def _is_mislabelled(layer: SourceLayer) -> bool:
    """Whether the manifest lists the very bytes that the source keeps, and states another compression for them."""
    stated = layer.descriptor
    if stated.digest != layer.digest or not is_layer(stated.media_type):
        return False
    return layer_compression(stated.media_type) is not layer_compression(layer.media_type)


def _layer_changes(layers: tuple[LayerDecision, ...]) -> Iterator[str]:
    for number, layer in enumerate(layers):
        stated, kept = layer.source.descriptor.digest, layer.source.digest
        if kept != stated:
            yield f"layer {number} is kept at the source as {kept}, not as {stated}"
        if layer.is_downloaded:
            yield f"layer {number} is fetched from its URLs and loses them"
        yield from cipher_changes(layer.cipher, number)
        if layer.work is not None:
            yield f"layer {number} {_of_work(layer.source, layer.work)}"


def _of_work(layer: SourceLayer, work: Work) -> str:
    there = _word(layer_compression(layer.media_type))
    if _is_mislabelled(layer) and work.compression is layer_compression(layer.media_type):
        return f"is listed with {_word(layer_compression(layer.descriptor.media_type))} and has {there}"
    return f"({there}) is {work}"


def _check_readable(manifest: SourceImage, enciphered: tuple[Cipher, ...]) -> None:
    for number, (layer, cipher) in enumerate(zip(manifest.layers, enciphered, strict=True)):
        if is_encrypted(layer.media_type) and not cipher.decrypts:
            raise NotSupportedError(
                f"{manifest.description}: layer {number} is encrypted, its diffID cannot be verified; decrypt it "
                "(oci_decrypt_config), or copy without verify_diff_ids"
            )


def _compressions(decision: Decision) -> frozenset[Compression | None]:
    """Say how the layers of an image will be compressed; nothing of an image without any that could be recompressed."""
    return frozenset(
        layer.work.compression if layer.work is not None else layer_compression(layer.source.media_type)
        for layer in decision.layers
        if is_layer(layer.source.media_type)
    )


def _of_variant(decision: Decision) -> str:
    return f"compressed by {decision.variant.compression}" if decision.variant is not None else ""


class _Wanted(NamedTuple):
    """What a destination, or the caller, wants done to layers: all of them, or only those that are not compressed."""

    work: Work
    is_exact: bool


def _wanted_work(destination: ImageDestination, options: CopyOptions) -> _Wanted | None:
    desired, sys = destination.desired_layer_compression, options.destination_ctx
    if desired is LayerCompression.PRESERVE:
        return None
    if desired is LayerCompression.DECOMPRESS:
        return _Wanted(Work(compression=None), is_exact=True)
    name, level = (sys.compression_format, sys.compression_level) if sys is not None else (None, None)
    compression = Compression.from_name(name) if name is not None else Compression.GZIP
    if compression not in _WRITTEN:
        known = " and ".join(map(_word, _WRITTEN))
        raise NotSupportedError(f"destination_ctx.compression_format: layers are compressed by {known}, not by {name}")
    check_level(compression, level)
    return _Wanted(Work(compression=compression, level=level), is_exact=name is not None)
