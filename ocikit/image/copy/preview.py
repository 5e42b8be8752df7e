"""What a copy would do: the same reading and the same decisions, and then nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from ocikit.image.copy.blobs import without_copying
from ocikit.image.copy.decisions import as_it_is, decide
from ocikit.image.copy.options import CopyOptions
from ocikit.image.copy.presence import is_onto_itself
from ocikit.image.copy.reading import read_manifests
from ocikit.image.copy.referring import find_referrers
from ocikit.image.copy.results import BlobOutcome
from ocikit.image.copy.signing import kept_signatures, prepare_signing
from ocikit.image.copy.transfers import StoredBlob, transfers
from ocikit.image.policy import policy_context
from ocikit.image.transports import as_reference

if TYPE_CHECKING:
    from ocikit.image.copy.decisions import Decision
    from ocikit.image.copy.reading import AnySource
    from ocikit.image.copy.transfers import Transfer
    from ocikit.image.reference import Named
    from ocikit.image.signature.context import PolicyContext
    from ocikit.image.signature.rules import PolicyRules
    from ocikit.image.types import ImageReference
    from ocikit.spec import Digest

__all__ = ["CopyPlan", "PlannedBlob", "PlannedManifest", "plan"]

_MOVED = frozenset({BlobOutcome.COPIED, BlobOutcome.CONVERTED})


@frozen(kw_only=True)
class PlannedManifest:
    """A manifest that a copy would write.

    Attributes:
        source_digest: Its digest at the source.
        media_type: The type it would have.
        changes: What would change in it, in words; nothing when it stays as it is, and with it its digest.
        lost: What its new type has no place for, in words.
        is_listed: Whether an index that is copied lists it; if not, it is what the copy is about.
    """

    source_digest: Digest
    media_type: str
    changes: tuple[str, ...]
    lost: tuple[str, ...]
    is_listed: bool


@frozen(kw_only=True)
class PlannedBlob:
    """A blob that a copy would need.

    Attributes:
        source_digest: Its digest at the source.
        size: Its size at the source in bytes; -1 when it is not known.
        media_type: Its type at the source.
        outcome: What would become of it.
    """

    source_digest: Digest
    size: int
    media_type: str
    outcome: BlobOutcome


@frozen(kw_only=True)
class CopyPlan:
    """What a copy would do.

    Attributes:
        source: Where the image is.
        destination: Where it would go.
        manifests: The manifests in the order in which they would be written, the one that the copy is about last.
        blobs: Every blob once, in the order of the manifests.
        referrers: The digests of the manifests that refer to the image and would be copied with it.
        signatures: The digests of the signatures that would be kept; how many would be added is not known.
        signed_by: Who would sign what is written, in words.
        sign_identity: What they would call it; None when nobody signs.
    """

    source: ImageReference
    destination: ImageReference
    manifests: tuple[PlannedManifest, ...]
    blobs: tuple[PlannedBlob, ...]
    referrers: tuple[Digest, ...] = ()
    signatures: tuple[Digest, ...] = ()
    signed_by: tuple[str, ...] = ()
    sign_identity: Named | None = None

    @property
    def bytes_to_copy(self) -> int:
        """The bytes that would be read at the source, as far as their number is known."""
        return sum(max(blob.size, 0) for blob in self.blobs if blob.outcome in _MOVED)

    @property
    def bytes_reused(self) -> int:
        """The bytes that are at the destination already."""
        return sum(max(blob.size, 0) for blob in self.blobs if blob.outcome is BlobOutcome.REUSED)

    @property
    def preserves_digests(self) -> bool:
        """Whether every manifest would stay as it is."""
        return not any(manifest.changes for manifest in self.manifests)

    def __str__(self) -> str:
        lines = [f"{self.source} -> {self.destination}"]
        for manifest in self.manifests:
            lines.append(f"  {manifest.source_digest}  {'changed' if manifest.changes else 'unchanged'}")
            lines += [f"    {change}" for change in manifest.changes]
            lines += [f"    lost: {text}" for text in manifest.lost]
        lines += [f"  signed by {who} as {self.sign_identity}" for who in self.signed_by]
        lines += [f"  {blob.outcome.value:<9} {blob.size:>14,}  {blob.source_digest}" for blob in self.blobs]
        lines.append(f"  {self.bytes_to_copy:,} bytes to copy, {self.bytes_reused:,} there already")
        return "\n".join(lines)


def plan(
    policy: PolicyRules | PolicyContext | None,
    *,
    dest: str | ImageReference,
    src: str | ImageReference,
    options: CopyOptions | None = None,
) -> CopyPlan:
    """Say what :func:`image` would do, without doing it.

    Manifests are read, verified and held against the policy as for a copy, and what would be refused is refused. No
    blob is read, except for configurations whose diffIDs matter, and nothing is written; keys that are to decrypt
    layers are tried on them, and who is to sign is made ready. What is known only when layers are read, such as the
    digest of a recompressed one, is not in the plan.

    Args:
        policy: As for :func:`image`.
        dest: Likewise.
        src: Likewise.
        options: Likewise.

    Returns:
        What would be copied, reused, converted and skipped, what would change in manifests, and how many bytes it is.

    Raises:
        OCIKitError: As for :func:`image`.
        OSError: A file could not be read.
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
            return _nothing(source_reference, manifests)
        with destination_reference.new_image_destination(options.destination_ctx) as destination:
            decisions = decide(manifests, source, destination, options)
            referrers = find_referrers(decisions, source, destination, options)
            blobs = tuple(
                _planned(one, without_copying(one, destination, must_read=options.verify_diff_ids))
                for one in transfers(decisions, (transfer for one in referrers for transfer in one.transfers))
            )
    return CopyPlan(
        source=source_reference,
        destination=destination_reference,
        manifests=tuple(map(_manifest, decisions)),
        blobs=blobs,
        referrers=tuple(one.digest for one in referrers if not one.is_listed),
        signatures=kept_signatures(decisions),
        signed_by=tuple(one.description for one in signing.signers) if signing is not None else (),
        sign_identity=signing.identity if signing is not None else None,
    )


def _nothing(reference: ImageReference, manifests: tuple[AnySource, ...]) -> CopyPlan:
    decisions = [as_it_is(manifest) for manifest in manifests]
    return CopyPlan(
        source=reference,
        destination=reference,
        manifests=tuple(map(_manifest, decisions)),
        blobs=tuple(
            PlannedBlob(
                source_digest=one.digest,
                size=one.info.size,
                media_type=one.info.media_type,
                outcome=BlobOutcome.REUSED,
            )
            for one in transfers(decisions)
        ),
        signatures=kept_signatures(decisions),
    )


def _manifest(decision: Decision) -> PlannedManifest:
    variant = decision.variant
    made = (f"one more instance of it is made, compressed by {variant.compression}",) if variant is not None else ()
    return PlannedManifest(
        source_digest=decision.manifest.digest,
        media_type=decision.media_type,
        changes=(*made, *decision.changes),
        lost=decision.lost,
        is_listed=decision.manifest.instance is not None,
    )


def _planned(transfer: Transfer, stored: StoredBlob | None) -> PlannedBlob:
    is_changed = transfer.work is not None or transfer.cipher is not None
    outcome = BlobOutcome.CONVERTED if is_changed else BlobOutcome.COPIED
    return PlannedBlob(
        source_digest=transfer.digest,
        size=transfer.info.size,
        media_type=transfer.info.media_type,
        outcome=stored.outcome if stored is not None else outcome,
    )
