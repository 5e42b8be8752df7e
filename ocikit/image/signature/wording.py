"""Requirements and identities in words, for explanations and refusals. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ocikit.image.reference import parse_normalized_named
from ocikit.image.signature.identity import (
    ExactReference,
    ExactRepository,
    MatchDigest,
    MatchExact,
    MatchRepoDigestOrExact,
    MatchRepository,
    RemapIdentity,
)
from ocikit.image.signature.requirements import (
    InsecureAcceptAnything,
    Reject,
    SignedBaseLayer,
    SignedBy,
    SigstoreSigned,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocikit.image.signature.identity import SignedIdentity
    from ocikit.image.signature.requirements import Requirement

__all__ = ["identity_in_words", "kind_of", "requirement_in_words", "signers_in_words"]


def kind_of(requirement: Requirement) -> str:
    """Return the ``type`` of a requirement as policy.json has it."""
    name = type(requirement).__name__
    return name[0].lower() + name[1:]


def requirement_in_words(requirement: Requirement) -> str:
    """Say what a requirement asks of an image."""
    return _REQUIREMENTS[type(requirement)](requirement)


def identity_in_words(identity: SignedIdentity) -> str:
    """Say what a signature has to call an image."""
    return _IDENTITIES[type(identity)](identity)


def signers_in_words(requirement: SignedBy | SigstoreSigned) -> str:
    """Say who may have made a signature."""
    if isinstance(requirement, SignedBy):
        return _keys(requirement, "keyData")
    if requirement.fulcio is not None:
        who = requirement.fulcio
        return f"{who.subject_email} (by a certificate that {who.ca_path or 'caData'} gave by way of {who.oidc_issuer})"
    if requirement.pki is not None:
        pki = requirement.pki
        who_else = " and ".join(filter(None, (pki.subject_email, pki.subject_hostname)))
        return f"{who_else} (by a certificate of {pki.ca_roots_path or 'caRootsData'})"
    return _keys(requirement, "keyDatas" if requirement.key_datas is not None else "keyData")


def _keys(requirement: SignedBy | SigstoreSigned, data: str) -> str:
    paths = (requirement.key_path,) if requirement.key_path is not None else requirement.key_paths
    return f"a key of {' or '.join(paths)}" if paths else f"a key of the policy itself ({data})"


def _signed_by(requirement: SignedBy) -> str:
    if requirement.key_type != "GPGKeys":
        return f"a simple signature by {requirement.key_type}: reserved, never met; the policy should say GPGKeys"
    calls = identity_in_words(requirement.signed_identity)
    return f"a simple signature (OpenPGP) by {signers_in_words(requirement)} that calls the image {calls}"


def _sigstore_signed(requirement: SigstoreSigned) -> str:
    calls = identity_in_words(requirement.signed_identity)
    logs = (
        requirement.rekor_public_key_path,
        requirement.rekor_public_key_paths,
        requirement.rekor_public_key_data,
        requirement.rekor_public_key_datas,
    )
    logged = " and is in the transparency log" if any(logs) else ""
    return f"a sigstore signature by {signers_in_words(requirement)} that calls the image {calls}{logged}"


def _without_tag(name: str) -> str:
    """Return the repository that is compared: a tag may stand behind it in a policy, and counts for nothing."""
    named = parse_normalized_named(name)
    return name if named.is_name_only else f"{named.name}, whatever the tag (what {name} has behind it does not count)"


_REQUIREMENTS: Final[dict[type, Callable[[Any], str]]] = {
    InsecureAcceptAnything: lambda _: "nothing: every image is allowed, whoever made it",
    Reject: lambda _: "no image is allowed here",
    SignedBy: _signed_by,
    SignedBaseLayer: lambda _: "a signed base layer: was never defined, and is never met",
    SigstoreSigned: _sigstore_signed,
}

_IDENTITIES: Final[dict[type, Callable[[Any], str]]] = {
    MatchExact: lambda _: "exactly what it is asked for by",
    MatchRepoDigestOrExact: lambda _: "what it is asked for by (an image asked for by digest: its repository)",
    MatchRepository: lambda _: "by its repository, whatever the tag",
    ExactReference: lambda identity: f"exactly {identity.docker_reference}",
    ExactRepository: lambda identity: f"something in the repository {_without_tag(identity.docker_repository)}",
    RemapIdentity: lambda identity: (
        f"what it is asked for by, with {identity.signed_prefix} in the place of {identity.prefix}"
    ),
    MatchDigest: lambda _: "anything, or nothing: that it is about this manifest will do",
}
