"""What ``signedBy`` asks of one signature: an OpenPGP message by a key of the policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocikit.errors import InvalidSignatureError
from ocikit.image.signature.simple_signing import verify_simple
from ocikit.image.signature.trusted import read_keyring
from ocikit.image.signature.verified import SignatureKind, VerifiedSignature
from ocikit.image.stored_signature import SimpleSignature

if TYPE_CHECKING:
    from ocikit.image.signature.requirements import SignedBy
    from ocikit.image.stored_signature import StoredSignature

__all__ = ["SignedByExaminer"]


class SignedByExaminer:
    """Holds signatures against the keys of a requirement.

    Args:
        requirement: The requirement.

    Raises:
        PolicyRequirementError: Its keys cannot be read.
    """

    def __init__(self, requirement: SignedBy) -> None:
        self._keyring = read_keyring(requirement)

    def concerns(self, signature: StoredSignature) -> bool:
        """Say whether a signature is of the kind that is looked at here."""
        return isinstance(signature, SimpleSignature)

    def verified(self, signature: StoredSignature) -> tuple[VerifiedSignature, ...]:
        """Return what a signature says, verified.

        Args:
            signature: One that :meth:`concerns` this.

        Raises:
            OCIKitError: It is not valid, or was made by somebody else.
        """
        if not isinstance(signature, SimpleSignature):
            raise InvalidSignatureError("is of another kind")
        message, payload = verify_simple(signature, self._keyring)
        verified = VerifiedSignature(
            kind=SignatureKind.SIMPLE,
            digest=payload.digest,
            docker_reference=payload.docker_reference,
            signer=", ".join(message.user_ids) or message.fingerprint,
            key=message.fingerprint,
            creator=payload.creator,
            created=payload.created or message.created,
        )
        return (verified,)
