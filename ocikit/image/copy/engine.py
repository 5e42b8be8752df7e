"""Copying an image: opened, held against the policy, verified, written, and visible only at the very end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ocikit.errors import ManifestTypeRejectedError, NotSupportedError
from ocikit.image.copy.blobs import copy_blobs, unchanged
from ocikit.image.copy.options import CopyOptions, CopyResult
from ocikit.image.copy.plan import make_plan
from ocikit.image.policy import policy_context
from ocikit.image.transports import as_reference
from ocikit.image.types import LayerCompression

if TYPE_CHECKING:
    from ocikit.image.copy.options import CopiedBlob
    from ocikit.image.copy.plan import PlannedManifest
    from ocikit.image.signature.context import PolicyContext
    from ocikit.image.signature.rules import PolicyRules
    from ocikit.image.types import ImageDestination, ImageReference, SystemContext

__all__ = ["image"]

_log = logging.getLogger(__name__)


def image(
    policy: PolicyRules | PolicyContext | None,
    *,
    dest: str | ImageReference,
    src: str | ImageReference,
    options: CopyOptions | None = None,
) -> CopyResult:
    """Copy an image, unchanged, from one place to another.

    Everything is verified on the way: manifests against the digests they are asked for by, blobs against digest
    and size while they stream. The policy is held against every image before it is parsed. What the destination
    has already is not copied. The image becomes visible in one step when all of it is there; a copy that fails
    or is ended leaves nothing visible behind.

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
        ManifestTypeRejectedError: The destination does not take manifests of this type.
        NotSupportedError: The copy would have to change the image, or to store signatures that the destination
            does not store.
        LimitExceededError: A manifest is too large, or there are too many.
        OSError: A file could not be read or written.
        BaseException: Whatever ``options.progress`` raised.
    """
    options = options or CopyOptions()
    source_reference, destination_reference = as_reference(src), as_reference(dest)
    _check_compression(options.destination_ctx)
    with (
        policy_context(policy, options.source_ctx) as context,
        source_reference.new_image_source(options.source_ctx) as source,
    ):
        plan = make_plan(source, context, options)
        if source_reference == destination_reference and _is_there(plan, options):
            return _result(destination_reference, plan, unchanged(blob for manifest in plan for blob in manifest.blobs))
        with destination_reference.new_image_destination(options.destination_ctx) as destination:
            for manifest in plan:
                _check_acceptable(manifest, destination)
            blobs = copy_blobs((blob for manifest in plan for blob in manifest.blobs), source, destination, options)
            _put_manifests(plan, destination)
            destination.commit()
    _log.debug("%s copied to %s: %s, %d blobs", source_reference, destination_reference, plan[-1].digest, len(blobs))
    return _result(destination_reference, plan, blobs)


def _result(reference: ImageReference, plan: tuple[PlannedManifest, ...], blobs: tuple[CopiedBlob, ...]) -> CopyResult:
    top = plan[-1]
    return CopyResult(
        reference=reference,
        manifest=top.data,
        media_type=top.media_type,
        digest=top.digest,
        instances=tuple(manifest.instance for manifest in plan if manifest.instance is not None),
        blobs=blobs,
    )


def _is_there(plan: tuple[PlannedManifest, ...], options: CopyOptions) -> bool:
    """Say whether a copy of an image onto itself would change nothing."""
    same_place = options.source_ctx == options.destination_ctx
    return same_place and not options.remove_signatures and not plan[-1].is_chosen


def _check_compression(sys: SystemContext | None) -> None:
    if sys is not None and (sys.compression_format is not None or sys.compression_level is not None):
        raise NotSupportedError(
            "destination_ctx.compression_format: layers are copied as they are in this version; leave it out"
        )


def _check_acceptable(manifest: PlannedManifest, destination: ImageDestination) -> None:
    """Refuse before the first blob what the destination would refuse after the last."""
    accepted = destination.supported_manifest_mime_types
    if accepted and manifest.media_type not in accepted:
        raise ManifestTypeRejectedError(
            f"{destination.reference}: takes {', '.join(accepted)}; the image has a manifest of type "
            f"{manifest.media_type}, and manifests are only copied unchanged in this version. "
            "A dir: destination takes every type"
        )
    if manifest.blobs and destination.desired_layer_compression is not LayerCompression.PRESERVE:
        raise NotSupportedError(
            f"{destination.reference}: wants layers recompressed; they are copied as they are in this version"
        )
    if manifest.signatures and not destination.supports_signatures:
        raise NotSupportedError(
            f"{destination.reference}: stores no signatures, and the image has {len(manifest.signatures)}; "
            "copy with remove_signatures=True, or to a place that stores them"
        )
    named = destination.reference.docker_reference
    if named is not None and named.digest is not None and manifest.instance is None:
        named.digest.verify(manifest.data, what=f"manifest for {destination.reference}")


def _put_manifests(plan: tuple[PlannedManifest, ...], destination: ImageDestination) -> None:
    for manifest in plan:
        destination.put_manifest(manifest.data, manifest.instance)
    for manifest in plan:
        if manifest.signatures:
            destination.put_signatures(manifest.signatures, manifest.instance)
