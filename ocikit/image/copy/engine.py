"""Copying an image: opened, held against the policy, verified, written, and visible only at the very end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from attrs import evolve

from ocikit.errors import ManifestTypeRejectedError
from ocikit.image.copy.blobs import compression_of, copy_blobs
from ocikit.image.copy.decisions import as_it_is, decide
from ocikit.image.copy.options import CopyOptions
from ocikit.image.copy.presence import is_onto_itself, is_unchanged, what_is_there
from ocikit.image.copy.reading import read_manifests
from ocikit.image.copy.referring import find_referrers, put_referrers
from ocikit.image.copy.results import BlobOutcome, CopyResult
from ocikit.image.copy.signing import kept_signatures, prepare_signing, put_signatures
from ocikit.image.copy.transfers import StoredBlob, transfers
from ocikit.image.copy.writing import WrittenManifest, copied_blobs, put_in_another_type, put_manifests, written
from ocikit.image.policy import policy_context
from ocikit.image.transports import as_reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ocikit.image.copy.reading import AnySource
    from ocikit.image.copy.referring import CopiedReferrer
    from ocikit.image.copy.results import CopiedBlob
    from ocikit.image.signature.context import PolicyContext
    from ocikit.image.signature.rules import PolicyRules
    from ocikit.image.types import ImageReference
    from ocikit.spec import Digest

__all__ = ["image"]

_log = logging.getLogger(__name__)


def image(
    policy: PolicyRules | PolicyContext | None,
    *,
    dest: str | ImageReference,
    src: str | ImageReference,
    options: CopyOptions | None = None,
) -> CopyResult:
    """Copy an image from one place to another; unchanged, unless the destination or the options want it changed.

    Everything is verified on the way: manifests against the digests they are asked for by, blobs against digest
    and size while they stream. The policy is held against every image before it is parsed; what refers to an image
    goes with the image that is allowed. What the destination has already is not copied. The image becomes visible in
    one step when all of it is there; a copy that fails or is ended leaves nothing visible behind.

    A manifest is converted to another type when the destination does not take its own, layers are recompressed when
    that is asked for; digests change only then, and what is signed is never changed. The signatures of the source are
    kept, unless the options drop them; the options may add others.

    Args:
        policy: Which images may be copied; None for the policy of the system (:meth:`Policy.default`).
        dest: Where to, a reference or an image name such as ``"oci:/var/lib/app/images:latest"``.
        src: Where from, likewise.
        options: How to; None for the defaults.

    Returns:
        What was written, and what was copied, reused and skipped.

    Raises:
        PolicyNotFoundError: No policy was given and the system has none.
        PolicyRequirementError: The policy does not allow the image.
        InvalidReferenceError: ``dest`` or ``src`` is not an image name.
        ImageNotFoundError: There is no such image, or none for the platform.
        VerificationError: Something is not what it is claimed to be.
        ManifestError: A manifest is malformed or ambiguous.
        ManifestTypeRejectedError: The destination takes no type of manifest that the image can have.
        DigestChangeError: The image would have to change and must not; the message says what and why.
        SigningError: It cannot be signed as was asked for; nothing is visible at the destination.
        NotSupportedError: The destination does not store the signatures, or a layer cannot be compressed as asked.
        EncryptionError: No key decrypts a layer, or what decrypts it was changed.
        LimitExceededError: A manifest is too large, or there are too many.
        OSError: A file could not be read or written.
        BaseException: Whatever ``options.progress`` raised.
    """
    options = options or CopyOptions()
    source_reference, destination_reference = as_reference(src), as_reference(dest)
    signing = prepare_signing(options, destination_reference)
    with (
        policy_context(policy, options.source_ctx) as context,
        source_reference.new_image_source(options.source_ctx) as source,
    ):
        manifests = read_manifests(source, context, options)
        if is_onto_itself(manifests, source_reference, destination_reference, options):
            return _result(destination_reference, *_unchanged(manifests))
        looks = options.optimize_destination_image_already_exists and not (options.verify_diff_ids or options.signs)
        there = what_is_there(destination_reference, manifests, options) if looks else None
        with destination_reference.new_image_destination(options.destination_ctx) as destination:
            decisions = decide(manifests, source, destination, options)
            referrers = find_referrers(decisions, source, destination, options)
            if there is not None and is_unchanged(decisions) and there.issuperset(_referring(referrers)):
                return evolve(
                    _result(destination_reference, *_unchanged(manifests)), referrers=tuple(_referring(referrers))
                )
            wanted = transfers(decisions, (transfer for one in referrers for transfer in one.transfers))
            stored = copy_blobs(wanted, source, destination, options)
            new = written(decisions, stored, options, lambda layer: compression_of(source, layer))
            new = put_manifests(new, destination, options)
            signatures = put_signatures(new, destination, signing)
            put_referrers(referrers, destination)
            try:
                destination.commit()
            except ManifestTypeRejectedError:
                new = put_in_another_type(new, destination, options, is_referred_to=bool(referrers))
                signatures = put_signatures(new[-1:], destination, signing)
                destination.commit()
    _log.debug("%s copied to %s: %s, %d blobs", source_reference, destination_reference, new[-1].digest, len(stored))
    result = _result(destination_reference, new, copied_blobs(wanted, stored, new))
    return evolve(result, referrers=tuple(_referring(referrers)), signatures=signatures)


def _referring(referrers: tuple[CopiedReferrer, ...]) -> Iterator[Digest]:
    return (one.digest for one in referrers if not one.is_listed)


def _result(
    reference: ImageReference, manifests: Sequence[WrittenManifest], blobs: tuple[CopiedBlob, ...]
) -> CopyResult:
    top = manifests[-1]
    return CopyResult(
        reference=reference,
        manifest=top.data,
        media_type=top.media_type,
        digest=top.digest,
        instances=tuple(manifest.digest for manifest in manifests if manifest.is_listed),
        blobs=blobs,
        signatures=kept_signatures(manifest.decision for manifest in manifests),
        lost=tuple(dict.fromkeys(text for manifest in manifests for text in manifest.lost)),
    )


def _unchanged(
    manifests: tuple[AnySource, ...],
) -> tuple[tuple[WrittenManifest, ...], tuple[CopiedBlob, ...]]:
    """Return what a copy says of manifests and blobs when all of it is at the destination."""
    decisions = [as_it_is(manifest) for manifest in manifests]
    wanted = transfers(decisions)
    stored = {one.key: StoredBlob(digest=one.digest, size=one.info.size, outcome=BlobOutcome.REUSED) for one in wanted}
    new = written(decisions, stored, CopyOptions(), lambda _: None)
    return new, copied_blobs(wanted, stored, new)
