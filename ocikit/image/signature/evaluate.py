"""Whether an image meets a requirement, and whose signatures say so.

Each kind of requirement that asks for signatures has an *examiner*, which knows its keys and judges one signature at a
time: valid, by whom, about what. What is the same for all of them is here: any one good signature meets a requirement,
a bad one spoils nothing, and what a signature calls the image is looked at only after it was verified. Whatever cannot
be verified is not met.
"""

from __future__ import annotations

from itertools import starmap
from typing import TYPE_CHECKING, Final, Protocol

from ocikit.errors import (
    DigestMismatchError,
    InvalidSignatureError,
    NotSupportedError,
    OCIKitError,
    PolicyRequirementError,
)
from ocikit.image.signature.identity import MatchDigest
from ocikit.image.signature.matching import why_not_identity
from ocikit.image.signature.requirements import (
    InsecureAcceptAnything,
    Reject,
    SignedBaseLayer,
    SignedBy,
    SigstoreSigned,
)
from ocikit.image.signature.wording import signers_in_words
from ocikit.image.stored_signature import MAX_SIGNATURES, parse_signature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocikit.image.signature.requirements import Requirement
    from ocikit.image.signature.verified import VerifiedSignature
    from ocikit.image.stored_signature import StoredSignature
    from ocikit.image.types import ImageReference
    from ocikit.spec import Digest

# How many digests a refusal names, and how many signatures for one reason.
_MOST_SHOWN: Final = 3

__all__ = ["Evaluation", "Unparsed", "parsed_signatures"]


class Unparsed(Protocol):
    """An image of which nothing was parsed yet: what a policy is allowed to look at."""

    @property
    def reference(self) -> ImageReference:
        """What the image was asked for by."""

    def check_digest(self, digest: Digest) -> None:
        """Return when the manifest has this digest; the manifest was verified before.

        Raises:
            OCIKitError: It has another one, or it cannot be told.
        """

    def signatures(self) -> tuple[bytes, ...]:
        """Return the signatures as they are stored, unverified."""


class Examiner(Protocol):
    """What a requirement asks of one signature."""

    def concerns(self, signature: StoredSignature) -> bool:
        """Say whether a signature is of the kind that is looked at here."""

    def verified(self, signature: StoredSignature) -> tuple[VerifiedSignature, ...]:
        """Return what a signature says, verified: one for each manifest that it is about.

        Raises:
            OCIKitError: It is not valid, or was made by somebody else.
        """


class Evaluation:
    """Requirements held against images; what a requirement has of keys is read once.

    May be used by several threads.
    """

    def __init__(self) -> None:
        self._examiners: dict[SignedBy | SigstoreSigned, Examiner] = {}

    def accepted(
        self, requirement: Requirement, image: Unparsed, *, all_of_them: bool
    ) -> tuple[VerifiedSignature, ...]:
        """Return the signatures by which an image meets a requirement; none when it asks for none.

        Args:
            requirement: The requirement.
            image: The image.
            all_of_them: Whether to look at all signatures, also when one has met the requirement.

        Raises:
            PolicyRequirementError: The image does not meet it; the message is the reason.
        """
        if not isinstance(requirement, SignedBy | SigstoreSigned):
            _UNSIGNED[type(requirement)]()
            return ()
        examiner = self.examiner(requirement)
        accepted: list[VerifiedSignature] = []
        refused: dict[str, list[int]] = {}
        others = 0
        for number, signature in enumerate(parsed_signatures(image), 1):
            if not isinstance(signature, OCIKitError) and not examiner.concerns(signature):
                others += 1
                continue
            try:
                accepted.append(self.judged(requirement, signature, image))
            except OCIKitError as error:
                refused.setdefault(str(error), []).append(number)
            else:
                if not all_of_them:
                    break
        if not accepted:
            raise PolicyRequirementError(_refusal(requirement, refused, others))
        return tuple(accepted)

    def judged(
        self, requirement: SignedBy | SigstoreSigned, signature: StoredSignature | OCIKitError, image: Unparsed
    ) -> VerifiedSignature:
        """Return what a signature says, when it meets the requirement.

        Args:
            requirement: The requirement.
            signature: The signature, or why it is none.
            image: The image.

        Raises:
            OCIKitError: It does not meet it.
        """
        if isinstance(signature, OCIKitError):
            raise signature
        verified = self.examiner(requirement).verified(signature)
        about = [one for one in verified if _is_about(one, image)]
        if not about:
            found = ", ".join(str(one.digest) for one in verified[:_MOST_SHOWN])
            raise InvalidSignatureError(f"is about another manifest: {found}")
        reasons = []
        for one in about:
            reason = _why_not_called(requirement, one, image)
            if reason is None:
                return one
            reasons.append(reason)
        raise InvalidSignatureError(reasons[0])

    def examiner(self, requirement: SignedBy | SigstoreSigned) -> Examiner:
        """Return what holds signatures against a requirement.

        Args:
            requirement: The requirement.

        Raises:
            PolicyRequirementError: Its keys cannot be read, or it can never be met.
        """
        examiner = self._examiners.get(requirement)
        if examiner is None:
            examiner = self._examiners[requirement] = _make_examiner(requirement)
        return examiner


def _is_about(signature: VerifiedSignature, image: Unparsed) -> bool:
    try:
        image.check_digest(signature.digest)
    except (DigestMismatchError, NotSupportedError):  # another manifest, or a digest that nobody here computes
        return False
    return True


def _why_not_called(
    requirement: SignedBy | SigstoreSigned, signature: VerifiedSignature, image: Unparsed
) -> str | None:
    if isinstance(requirement.signed_identity, MatchDigest):
        return None
    if signature.docker_reference is None:
        return "does not say what the image is called, which the policy asks for (matchDigest does not)"
    return why_not_identity(requirement.signed_identity, image.reference, signature.docker_reference)


def _make_examiner(requirement: SignedBy | SigstoreSigned) -> Examiner:
    # Cryptography is loaded when a signature is asked for.
    if isinstance(requirement, SigstoreSigned):
        from ocikit.image.signature.sigstore_signed import SigstoreSignedExaminer  # noqa: PLC0415

        return SigstoreSignedExaminer(requirement)
    if requirement.key_type != "GPGKeys":
        raise PolicyRequirementError(f"the keyType {requirement.key_type} is reserved and never met; use GPGKeys")
    from ocikit.image.signature.signed_by import SignedByExaminer  # noqa: PLC0415

    return SignedByExaminer(requirement)


def parsed_signatures(image: Unparsed) -> Iterator[StoredSignature | OCIKitError]:
    """Yield each signature of an image, or what is wrong with it."""
    try:
        blobs = image.signatures()
    except OCIKitError as error:
        raise PolicyRequirementError(f"the signatures of the image cannot be read: {error}") from error
    if len(blobs) > MAX_SIGNATURES:
        raise PolicyRequirementError(f"the image has {len(blobs)} signatures; at most {MAX_SIGNATURES} are looked at")
    for blob in blobs:
        try:
            yield parse_signature(blob)
        except OCIKitError as error:
            yield error


def _refusal(requirement: SignedBy | SigstoreSigned, refused: dict[str, list[int]], others: int) -> str:
    kind = "simple (OpenPGP)" if isinstance(requirement, SignedBy) else "sigstore"
    wanted = f"needs a {kind} signature by {signers_in_words(requirement)}"
    if refused:
        return f"{wanted}: {'; '.join(starmap(_refused, refused.items()))}"
    if others:
        return f"{wanted}, and the image has only signatures of other kinds: {others}"
    return f"{wanted}, and the image has no signature"


def _refused(reason: str, numbers: list[int]) -> str:
    # An image that was signed every night has a hundred of them, refused for one reason.
    which = ", ".join(map(str, numbers[:_MOST_SHOWN]))
    more = f" and {len(numbers) - _MOST_SHOWN} more" if len(numbers) > _MOST_SHOWN else ""
    return f"signature{'s' if len(numbers) > 1 else ''} {which}{more}: {reason}"


def _accept() -> None:
    return None


def _reject() -> None:
    raise PolicyRequirementError("every image is rejected in this scope")


def _signed_base_layer() -> None:
    raise PolicyRequirementError("is in the grammar, but how to find a base layer was never defined: it always denies")


# What becomes of an image where no signature is asked for.
_UNSIGNED: Final[dict[type, Callable[[], None]]] = {
    InsecureAcceptAnything: _accept,
    Reject: _reject,
    SignedBaseLayer: _signed_base_layer,
}
