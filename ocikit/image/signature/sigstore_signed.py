"""What ``sigstoreSigned`` asks of one signature: by a key of the policy, or by whoever its authority vouches for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from ocikit.errors import InvalidSignatureError
from ocikit.image.signature.sigstore.attachment import verify_attachment
from ocikit.image.signature.sigstore.bundle import verify_bundle
from ocikit.image.signature.trusted import read_trust
from ocikit.image.signature.verified import SignatureKind, VerifiedSignature
from ocikit.image.stored_signature import BUNDLE, SIGSTORE_PAYLOAD, SigstoreSignature

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.image.signature.requirements import SigstoreSigned
    from ocikit.image.signature.sigstore.statement import BundleClaim
    from ocikit.image.signature.sigstore.trust import Signatory
    from ocikit.image.stored_signature import StoredSignature
    from ocikit.spec import Digest

__all__ = ["SigstoreSignedExaminer"]


class SigstoreSignedExaminer:
    """Holds signatures against the keys and authorities of a requirement.

    Args:
        requirement: The requirement.

    Raises:
        PolicyRequirementError: Its keys or certificates cannot be read.
    """

    def __init__(self, requirement: SigstoreSigned) -> None:
        self._trust = read_trust(requirement)

    def concerns(self, signature: StoredSignature) -> bool:
        """Say whether a signature is of the kind that is looked at here."""
        return isinstance(signature, SigstoreSignature) and signature.media_type in {SIGSTORE_PAYLOAD, BUNDLE}

    def verified(self, signature: StoredSignature) -> tuple[VerifiedSignature, ...]:
        """Return what a signature says, verified: of a bundle perhaps about several manifests.

        Args:
            signature: One that :meth:`concerns` this.

        Raises:
            OCIKitError: It is not valid, or was made by somebody else.
        """
        if not isinstance(signature, SigstoreSignature):
            raise InvalidSignatureError("is of another kind")
        if signature.media_type == BUNDLE:
            return tuple(_claimed(*verify_bundle(signature.payload, self._trust)))
        signatory, payload = verify_attachment(signature, self._trust)
        verified = _verified(SignatureKind.SIGSTORE, signatory, payload.digest, payload.docker_reference)
        return (evolve(verified, creator=payload.creator, created=payload.created),)


def _claimed(signatory: Signatory, claim: BundleClaim) -> Iterator[VerifiedSignature]:
    for subject in claim.subjects:
        for digest in subject.digests:
            yield _verified(SignatureKind.BUNDLE, signatory, digest, subject.docker_reference)


def _verified(
    kind: SignatureKind, signatory: Signatory, digest: Digest, docker_reference: str | None
) -> VerifiedSignature:
    entry = signatory.entry
    return VerifiedSignature(
        kind=kind,
        digest=digest,
        docker_reference=docker_reference,
        signer=signatory.email or signatory.hostname or str(signatory.key),
        key=signatory.key.fingerprint,
        issuer=signatory.issuer,
        logged=entry.integrated_time if entry is not None else None,
        log_index=entry.log_index if entry is not None else None,
    )
