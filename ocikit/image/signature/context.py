"""A policy in use: the question whether an image may be run, and the answer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Self

from ocikit.errors import OCIKitError, PolicyError, PolicyRequirementError
from ocikit.image.signature.evaluate import Evaluation, parsed_signatures
from ocikit.image.signature.requirements import InsecureAcceptAnything, SignedBaseLayer, SignedBy
from ocikit.image.signature.rules import PolicyRules
from ocikit.image.signature.wording import kind_of
from ocikit.image.stored_signature import SimpleSignature

if TYPE_CHECKING:
    from ocikit.image.signature.evaluate import Unparsed
    from ocikit.image.signature.requirements import Requirement
    from ocikit.image.signature.verified import VerifiedSignature
    from ocikit.image.stored_signature import StoredSignature

__all__ = ["PolicyContext"]

_log = logging.getLogger(__name__)


class PolicyContext:
    """A policy that images are held against, for as long as the context is open.

    Unlike its namesake in containers/image a context may be used by several threads at once. The keys and certificates
    of the policy are read when they are first needed, and once: a context sees no later change of their files.

    Args:
        policy: The policy.
        require_signatures: Whether an image is refused that no requirement asks a signature of, as with
            ``insecureAcceptAnything`` alone (RequireSignatureVerification of containers/image).
    """

    def __init__(self, policy: PolicyRules, *, require_signatures: bool = False) -> None:
        if not isinstance(policy, PolicyRules):
            raise TypeError(f"expected a policy, such as Policy.from_file(path), found {type(policy).__name__}")
        self._policy: PolicyRules | None = policy
        self._require_signatures = require_signatures
        self._evaluation = Evaluation()

    @property
    def policy(self) -> PolicyRules:
        """The policy.

        Raises:
            PolicyError: The context is closed.
        """
        if self._policy is None:
            raise PolicyError("the policy context is closed; make a new one")
        return self._policy

    def is_running_image_allowed(self, image: Unparsed) -> None:
        """Return when the policy allows the image to be run; nothing of its content is parsed before.

        Args:
            image: The image, or one instance of an index.

        Raises:
            PolicyRequirementError: It is not allowed; the message names each requirement that failed, and why.
            PolicyError: The context is closed.
        """
        self._evaluated(image, all_of_them=False)

    def verify(self, image: Unparsed) -> tuple[VerifiedSignature, ...]:
        """Return who signed an image that the policy allows to be run: every signature that a requirement accepts.

        Args:
            image: The image, or one instance of an index.

        Raises:
            PolicyRequirementError: It is not allowed; the message names each requirement that failed, and why.
            PolicyError: The context is closed.
        """
        return self._evaluated(image, all_of_them=True)

    def get_signatures_with_accepted_author(self, image: Unparsed) -> tuple[VerifiedSignature, ...]:
        """Return the simple signatures of an image that the policy accepts, each by itself.

        A signature counts when one requirement accepts it and none refuses it. This says nothing about whether the
        image may be run: see :meth:`is_running_image_allowed`.

        Args:
            image: The image, or one instance of an index.

        Raises:
            PolicyRequirementError: The signatures, or the keys of the policy, cannot be read.
            PolicyError: The context is closed.
        """
        requirements = self.policy.requirements_for(image.reference).requirements
        found: list[VerifiedSignature] = []
        for signature in parsed_signatures(image):
            if isinstance(signature, SimpleSignature):
                found += self._with_accepted_author(signature, requirements, image)
        return tuple(found)

    def _with_accepted_author(
        self, signature: StoredSignature, requirements: tuple[Requirement, ...], image: Unparsed
    ) -> tuple[VerifiedSignature, ...]:
        accepted: VerifiedSignature | None = None
        for requirement in requirements:
            if isinstance(requirement, InsecureAcceptAnything | SignedBaseLayer):
                continue  # says nothing about who made it
            if not isinstance(requirement, SignedBy):
                return ()
            self._evaluation.examiner(requirement)  # keys that cannot be read are nothing that a signature lacks
            try:
                accepted = self._evaluation.judged(requirement, signature, image)
            except OCIKitError:
                return ()
        return () if accepted is None else (accepted,)

    def _evaluated(self, image: Unparsed, *, all_of_them: bool) -> tuple[VerifiedSignature, ...]:
        match = self.policy.requirements_for(image.reference)
        failures: list[str] = []
        accepted: list[VerifiedSignature] = []
        for number, requirement in enumerate(match.requirements):
            try:
                accepted += self._evaluation.accepted(requirement, image, all_of_them=all_of_them)
            except PolicyRequirementError as error:
                failures.append(f"[{number}] {kind_of(requirement)}: {error}")
        if self._require_signatures and not failures and not accepted:
            failures.append(
                "no requirement asks for a signature, and one was asked for by the caller (require_signatures); "
                "sigstoreSigned and signedBy ask for one"
            )
        if failures:
            raise PolicyRequirementError(
                f"{image.reference}: not allowed by the policy, scope {match.scope!r}: {'; '.join(failures)}",
                tuple(failures),
            )
        _log.debug("%s: allowed by the policy, scope %r", image.reference, match.scope)
        return tuple(dict.fromkeys(accepted))

    def close(self) -> None:
        """End the use of the policy; closing twice is nothing. Questions under way are answered."""
        self._policy = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
