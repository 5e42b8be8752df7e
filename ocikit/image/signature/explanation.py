"""What a policy asks of an image, and why: which scopes could have counted, which one does, what it requires. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import frozen

from ocikit.image.signature.identity import ExactReference, ExactRepository, MatchDigest
from ocikit.image.signature.requirements import InsecureAcceptAnything, SignedBaseLayer, SignedBy, SigstoreSigned
from ocikit.image.signature.wording import kind_of, requirement_in_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.image.signature.requirements import Requirement
    from ocikit.image.signature.rules import PolicyRules
    from ocikit.image.types import ImageReference

__all__ = ["ExplainedRequirement", "PolicyExplanation", "explain"]


@frozen(kw_only=True)
class ExplainedRequirement:
    """A requirement of a policy, in words.

    Attributes:
        requirement: The requirement.
        kind: Its ``type`` in policy.json.
        asks: What it asks of the image.
        never_met_because: Why this image cannot meet it, whoever signs it; None when it can.
    """

    requirement: Requirement
    kind: str
    asks: str
    never_met_because: str | None = None


@frozen(kw_only=True)
class PolicyExplanation:
    """Which scope of a policy counts for an image, and what is asked there.

    ``print`` shows it as text, a notebook as a table.

    Attributes:
        reference: The image.
        scope: The scope that counts: ``"default"``, or the transport and the scope as ``"oci:/var/images"``.
        looked_for: Every scope that could have counted, the most specific first, and whether the policy has it. The
            first that it has is the one that counts.
        requirements: What is asked there, all of which must hold.
    """

    reference: ImageReference
    scope: str
    looked_for: tuple[tuple[str, bool], ...]
    requirements: tuple[ExplainedRequirement, ...]

    @property
    def asks_for_signatures(self) -> bool:
        """Whether any requirement asks for a signature."""
        return any(isinstance(one.requirement, SignedBy | SigstoreSigned) for one in self.requirements)

    @property
    def accepts_anything(self) -> bool:
        """Whether every image is allowed here, whoever made it."""
        return all(isinstance(one.requirement, InsecureAcceptAnything) for one in self.requirements)

    def __str__(self) -> str:
        from ocikit._display import text  # noqa: PLC0415 - only what is shown needs it

        return "\n".join(
            f"{name:<8} {text.printable(value, text.LONGEST_LINE)}".rstrip() for name, value in self._rows()
        )

    def _repr_html_(self) -> str:
        from ocikit._display import html, text  # noqa: PLC0415 - only what is shown needs it

        rows = [(name, html.code(value, text.LONGEST_LINE)) for name, value in self._rows()]
        return html.facts(rows, caption="policy")

    def _rows(self) -> Iterator[tuple[str, str]]:
        yield "image", str(self.reference)
        for scope, is_there in self.looked_for:
            counts = ": counts" if scope == self.scope else "" if is_there else ": not in the policy"
            yield "scope", f"{scope}{counts}"
        for number, one in enumerate(self.requirements):
            yield f"[{number}]", f"{one.kind}: {one.asks}"
            if one.never_met_because is not None:
                yield "", f"can never be met: {one.never_met_because}"


def explain(policy: PolicyRules, reference: ImageReference) -> PolicyExplanation:
    """Explain what a policy asks of an image.

    Args:
        policy: The policy.
        reference: The image.
    """
    name = reference.transport.name
    there = policy.transports.get(name, {})
    scopes = (reference.policy_configuration_identity, *reference.policy_configuration_namespaces, "")
    looked_for = [(f"{name}:{scope}", scope in there) for scope in dict.fromkeys(scopes)]
    match = policy.requirements_for(reference)
    return PolicyExplanation(
        reference=reference,
        scope=match.scope,
        looked_for=(*looked_for, ("default", True)),
        requirements=tuple(_explained(one, reference) for one in match.requirements),
    )


_OWN_NAME: Final = (ExactReference, ExactRepository, MatchDigest)


def _explained(requirement: Requirement, reference: ImageReference) -> ExplainedRequirement:
    return ExplainedRequirement(
        requirement=requirement,
        kind=kind_of(requirement),
        asks=requirement_in_words(requirement),
        never_met_because=_obstacle(requirement, reference),
    )


def _obstacle(requirement: Requirement, reference: ImageReference) -> str | None:
    if isinstance(requirement, SignedBaseLayer):
        return "how to find a base layer was never defined"
    if isinstance(requirement, SignedBy) and requirement.key_type != "GPGKeys":
        return f"the keyType {requirement.key_type} is reserved; use GPGKeys"
    if not isinstance(requirement, SignedBy | SigstoreSigned) or isinstance(requirement.signed_identity, _OWN_NAME):
        return None
    if reference.docker_reference is None:
        return (
            f"images of {reference.transport.name}: have no name in a registry that a signature could be compared "
            "with; give a signedIdentity of exactReference or exactRepository"
        )
    return None
