"""A policy in use: the question whether an image may be run, and the answer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Self

from ocikit.errors import PolicyError, PolicyRequirementError
from ocikit.image.signature.evaluate import evaluate, kind_of

if TYPE_CHECKING:
    from ocikit.image.signature.evaluate import Unparsed
    from ocikit.image.signature.rules import PolicyRules

__all__ = ["PolicyContext"]

_log = logging.getLogger(__name__)


class PolicyContext:
    """A policy that images are held against, for as long as the context is open.

    Unlike its namesake in containers/image a context may be used by several threads at once: the policy
    is immutable, and a question leaves nothing behind.

    Args:
        policy: The policy.
    """

    def __init__(self, policy: PolicyRules) -> None:
        self._policy: PolicyRules | None = policy

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
        match = self.policy.requirements_for(image.reference)
        failures = []
        for number, requirement in enumerate(match.requirements):
            try:
                evaluate(requirement, image)
            except PolicyRequirementError as error:
                failures.append(f"[{number}] {kind_of(requirement)}: {error}")
        if failures:
            raise PolicyRequirementError(
                f"{image.reference}: not allowed by the policy, scope {match.scope!r}: {'; '.join(failures)}"
            )
        _log.debug("%s: allowed by the policy, scope %r", image.reference, match.scope)

    def close(self) -> None:
        """End the use of the policy; closing twice is nothing. Questions under way are answered."""
        self._policy = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
