"""Who signed an image, by what a policy asks: a question of its own, before anything is copied or run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from ocikit.image.policy import policy_context
from ocikit.image.transports import as_reference
from ocikit.image.unparsed import UnparsedImage, walk_manifests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.image.signature.context import PolicyContext
    from ocikit.image.signature.rules import PolicyRules
    from ocikit.image.signature.verified import VerifiedSignature
    from ocikit.image.types import ImageReference, SystemContext
    from ocikit.spec import Digest

__all__ = ["Verification", "VerifiedImage", "verify"]


@frozen(kw_only=True)
class VerifiedImage:
    """An image that a policy allows, and who signed it.

    Attributes:
        digest: The digest of its manifest, which is what the signatures are about.
        signatures: Every signature that the policy accepts.
    """

    digest: Digest
    signatures: tuple[VerifiedSignature, ...]


@frozen(kw_only=True)
class Verification:
    """What a policy found about an image; whoever has one knows that the image is allowed.

    ``print`` shows who signed what, a notebook as a table.

    Attributes:
        reference: The image.
        scope: The scope of the policy that counted.
        images: The image, or those of an index.
    """

    reference: ImageReference
    scope: str
    images: tuple[VerifiedImage, ...]

    @property
    def signatures(self) -> tuple[VerifiedSignature, ...]:
        """The signatures of all images."""
        return tuple(signature for image in self.images for signature in image.signatures)

    def __str__(self) -> str:
        from ocikit._display import text  # noqa: PLC0415 - only what is shown needs it

        return "\n".join(
            f"{name:<9} {text.printable(value, text.LONGEST_LINE)}".rstrip() for name, value in self._rows()
        )

    def _repr_html_(self) -> str:
        from ocikit._display import html, text  # noqa: PLC0415 - only what is shown needs it

        rows = [(name, html.code(value, text.LONGEST_LINE)) for name, value in self._rows()]
        return html.facts(rows, caption="verified")

    def _rows(self) -> Iterator[tuple[str, str]]:
        yield "image", str(self.reference)
        yield "scope", self.scope
        for image in self.images:
            yield "manifest", str(image.digest)
            for signature in image.signatures:
                yield "signed", _in_words(signature)
            if not image.signatures:
                yield "", "no signature was asked for"


def _in_words(signature: VerifiedSignature) -> str:
    vouched = f", vouched for by {signature.issuer}" if signature.issuer is not None else ""
    called = f"as {signature.docker_reference}" if signature.docker_reference is not None else "without a name"
    return f"by {signature.signer}{vouched} {called} ({signature.kind.value})"


def verify(
    reference: str | ImageReference,
    policy: PolicyRules | PolicyContext | None = None,
    *,
    sys: SystemContext | None = None,
    all_instances: bool = False,
    require_signatures: bool = True,
) -> Verification:
    """Hold an image against a policy, and return who signed it.

    Args:
        reference: The image, a reference or an image name.
        policy: The policy; None for the policy of the system.
        sys: The circumstances; chooses the platform.
        all_instances: Whether every image that an index lists, as far as it is there, has to be allowed, rather than
            the one for the platform. An index is not an image: its own signatures do not count for those in it.
        require_signatures: Whether an image is refused that the policy asks no signature of. A context that is given
            as the policy has its own say in this.

    Returns:
        What the policy found.

    Raises:
        PolicyRequirementError: The policy does not allow the image; the message names each requirement that failed, and
            why, ``failures`` has them one by one.
        PolicyNotFoundError: No policy was given and the system has none.
        InvalidPolicyError: The policy of the system is malformed.
        InvalidReferenceError: ``reference`` is not an image name.
        ImageNotFoundError: There is no such image, or none for the platform.
        VerificationError: A manifest is not what it is claimed to be.
        OSError: The place cannot be read.
    """
    place = as_reference(reference)
    with (
        policy_context(policy, sys, require_signatures=require_signatures) as context,
        place.new_image_source(sys) as source,
    ):
        top = UnparsedImage(source)
        chosen = _images(top) if all_instances else [top.for_platform(sys)]
        images = [VerifiedImage(digest=one.digest(), signatures=context.verify(one)) for one in chosen]
        scope = context.policy.requirements_for(place).scope
    return Verification(reference=place, scope=scope, images=tuple(images))


def _images(top: UnparsedImage) -> Iterator[UnparsedImage]:
    """Yield every image; an index that has none stands for itself, so that nothing is allowed unasked."""
    nothing = True
    for one in walk_manifests(top):
        if not one.is_index():
            nothing = False
            yield one
    if nothing:
        yield top
