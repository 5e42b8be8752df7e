"""Whether an image meets a requirement.

One function for each kind of requirement; each returns when the requirement is met and raises
:class:`~ocikit.errors.PolicyRequirementError` with the reason when it is not. Whatever cannot be
verified is not met.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from ocikit.errors import PolicyRequirementError
from ocikit.image.signature.requirements import (
    InsecureAcceptAnything,
    Reject,
    SignedBaseLayer,
    SignedBy,
    SigstoreSigned,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocikit.image.signature.requirements import Requirement
    from ocikit.image.types import ImageReference

__all__ = ["Unparsed", "evaluate", "kind_of"]

_NO_VERIFICATION: Final = "this version of ocikit verifies no signatures, so nothing that has to be signed is accepted"


class Unparsed(Protocol):
    """An image of which nothing was parsed yet: what a policy is allowed to look at."""

    @property
    def reference(self) -> ImageReference:
        """What the image was asked for by."""

    def manifest(self) -> tuple[bytes, str]:
        """Return the manifest's verified bytes and its media type as served."""

    def signatures(self) -> tuple[bytes, ...]:
        """Return the signatures as they are stored, unverified."""


def evaluate(requirement: Requirement, image: Unparsed) -> None:
    """Return when the image meets the requirement.

    Raises:
        PolicyRequirementError: It does not; the message is the reason.
    """
    _EVALUATIONS[type(requirement)](requirement, image)


def kind_of(requirement: Requirement) -> str:
    """Return the ``type`` of a requirement as policy.json has it."""
    name = type(requirement).__name__
    return name[0].lower() + name[1:]


def _accept(requirement: InsecureAcceptAnything, image: Unparsed) -> None:
    del requirement, image


def _reject(requirement: Reject, image: Unparsed) -> None:
    del requirement, image
    raise PolicyRequirementError("every image is rejected in this scope")


def _signed_by(requirement: SignedBy, image: Unparsed) -> None:
    del image
    if requirement.key_type != "GPGKeys":
        raise PolicyRequirementError(f"the keyType {requirement.key_type} is reserved and never met; use GPGKeys")
    paths = (requirement.key_path,) if requirement.key_path is not None else requirement.key_paths
    keys = f"the keys in {', '.join(paths)}" if paths else "the keys in keyData"
    raise PolicyRequirementError(f"needs a simple signature by one of {keys}; {_NO_VERIFICATION}")


def _signed_base_layer(requirement: SignedBaseLayer, image: Unparsed) -> None:
    del requirement, image
    raise PolicyRequirementError("is in the grammar, but how to find a base layer was never defined: it always denies")


def _sigstore_signed(requirement: SigstoreSigned, image: Unparsed) -> None:
    del image
    if requirement.fulcio is not None:
        by = f"{requirement.fulcio.subject_email} (certificate by way of {requirement.fulcio.oidc_issuer})"
    elif requirement.pki is not None:
        by = f"{requirement.pki.subject_email or requirement.pki.subject_hostname} (certificate of the given authority)"
    else:
        paths = (requirement.key_path,) if requirement.key_path is not None else requirement.key_paths
        by = f"a key of {', '.join(paths)}" if paths else "a key of the policy itself"
    raise PolicyRequirementError(f"needs a sigstore signature by {by}; {_NO_VERIFICATION}")


_EVALUATIONS: Final[dict[type[Any], Callable[[Any, Unparsed], None]]] = {
    InsecureAcceptAnything: _accept,
    Reject: _reject,
    SignedBy: _signed_by,
    SignedBaseLayer: _signed_base_layer,
    SigstoreSigned: _sigstore_signed,
}
