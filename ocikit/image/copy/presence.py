"""Whether there is anything to do at all: an image copied onto itself, or onto the very same image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.errors import ImageError, NotSupportedError
from ocikit.image.context import SystemContext
from ocikit.image.copy.options import CopyOptions
from ocikit.image.copy.reading import SourceImage
from ocikit.image.stored_signature import signature_digest
from ocikit.image.subject import walk_referrers
from ocikit.image.types import BlobInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ocikit.image.copy.decisions import Decision
    from ocikit.image.copy.reading import AnySource
    from ocikit.image.types import ImageReference, ImageSource
    from ocikit.spec import Digest

__all__ = ["is_onto_itself", "is_unchanged", "what_is_there"]

# What may be asked for that does something to an image although it is where it is to be.
_ASKED_OF_OPTIONS: Final = (
    "force_manifest_mime_type",
    "force_compression_format",
    "sparse_manifest_list_action",
    "ensure_compression_variants_exist",
    "download_foreign_layers",
    "verify_diff_ids",
    "remove_signatures",
    "remove_list_signatures",
    "signs",
    "oci_encrypt_layers",
    "oci_decrypt_config",
)
_PLAIN_OPTIONS: Final = CopyOptions()
_PLAIN_CONTEXT: Final = SystemContext()
_ASKED_OF_CONTEXT: Final = ("compression_format", "compression_level", "dir_force_compress", "dir_force_decompress")


def is_onto_itself(
    manifests: Sequence[AnySource], source: ImageReference, destination: ImageReference, options: CopyOptions
) -> bool:
    """Say whether an image would be copied onto itself, and nothing is to be done to it there."""
    if source != destination or options.source_ctx != options.destination_ctx:
        return False
    there = options.destination_ctx or _PLAIN_CONTEXT
    asked = any(getattr(options, name) != getattr(_PLAIN_OPTIONS, name) for name in _ASKED_OF_OPTIONS)
    asked = asked or any(getattr(there, name) != getattr(_PLAIN_CONTEXT, name) for name in _ASKED_OF_CONTEXT)
    return not asked and not any(isinstance(one, SourceImage) and (one.is_chosen or one.was) for one in manifests)


def what_is_there(
    destination: ImageReference, manifests: Sequence[AnySource], options: CopyOptions
) -> frozenset[Digest] | None:
    """Look whether a destination has these very manifests, signatures and blobs. One that cannot be read has not.

    Blobs count as there when they have the right size. The destination is read before it is opened to be written.

    Returns:
        What refers to the manifests there, as far as that matters; None when something is missing.
    """
    if destination.is_stream:
        return None
    try:
        with destination.new_image_source(options.destination_ctx) as there:
            if not all(_has_image(there, manifest) for manifest in manifests):
                return None
            found = (walk_referrers(there, manifest.digest) for manifest in manifests if options.referrers)
            return frozenset(one.descriptor.digest for some in found for one in some)
    except (ImageError, OSError, NotSupportedError):
        return None


def _has_image(there: ImageSource, manifest: AnySource) -> bool:
    return (
        there.get_manifest(manifest.instance)[0] == manifest.data
        # Places keep them in an order, and a spelling, of their own.
        and _told_apart(there.get_signatures(manifest.instance)) == _told_apart(manifest.signatures)
        and all(_has(there, info) for info in _blobs(manifest))
    )


def _told_apart(signatures: Iterable[bytes]) -> set[Digest]:
    return set(map(signature_digest, signatures))


def _blobs(manifest: AnySource) -> Iterator[BlobInfo]:
    if isinstance(manifest, SourceImage):
        yield BlobInfo.from_descriptor(manifest.parsed.config)
        yield from (layer.info for layer in manifest.layers if not layer.info.urls)


def _has(there: ImageSource, info: BlobInfo) -> bool:
    stream, size = there.get_blob(info)
    stream.close()
    return info.size < 0 or size in {-1, info.size}


def is_unchanged(decisions: Sequence[Decision]) -> bool:
    """Say whether every manifest stays as it is, and none is added."""
    return not any(decision.changes or decision.variant is not None for decision in decisions)
