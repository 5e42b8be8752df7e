"""Whether a signature calls an image what the policy wants it to be called (containers-policy.json(5), signedIdentity).

Pure: names in, a reason out. What a signature says is looked at only after it was verified.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import evolve

from ocikit.errors import InvalidReferenceError
from ocikit.image.reference import parse_normalized_named
from ocikit.image.signature.identity import (
    ExactReference,
    ExactRepository,
    MatchExact,
    MatchRepoDigestOrExact,
    MatchRepository,
    RemapIdentity,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocikit.image.reference import Named
    from ocikit.image.signature.identity import SignedIdentity
    from ocikit.image.types import ImageReference

__all__ = ["why_not_identity"]


def why_not_identity(identity: SignedIdentity, image: ImageReference, signed: str) -> str | None:
    """Say why what a signature calls an image is not what the policy wants; None when it is.

    Args:
        identity: What the policy wants.
        image: What the image was asked for by.
        signed: What the signature calls it.
    """
    try:
        name = parse_normalized_named(signed)
    except InvalidReferenceError as error:
        return f"calls the image {signed!r}, which is no name of an image: {error}"
    try:
        wanted = _WANTED[type(identity)](identity, image.docker_reference)
    except InvalidReferenceError as error:
        return f"calls the image {str(name)!r}, and the name of {image} cannot be remapped: {error}"
    if wanted is None:
        return (
            f"calls the image {str(name)!r}, and {image} has no name in a registry to compare that with; give the "
            "policy a signedIdentity of exactReference or exactRepository"
        )
    reason = _COMPARED[type(identity)](wanted, name)
    return None if reason is None else f"calls the image {str(name)!r}: {reason}"


def _its_own(identity: object, image: Named | None) -> Named | None:
    del identity
    return image


def _remapped(identity: RemapIdentity, image: Named | None) -> Named | None:
    if image is None or not f"{image.name}/".startswith(f"{identity.prefix}/"):
        return image
    text = identity.signed_prefix + image.name.removeprefix(identity.prefix)
    name = parse_normalized_named(text)
    if name.name != text:
        # A host alone, say, would be read as a repository of Docker Hub.
        raise InvalidReferenceError(f"{text!r} is not a repository with its registry")
    return evolve(image, domain=name.domain, path=name.path)


def _exactly(wanted: Named, signed: Named) -> str | None:
    if wanted.is_name_only or signed.is_name_only:
        return "a name with neither a tag nor a digest is not exact"
    return None if str(wanted) == str(signed) else f"expected exactly {str(wanted)!r}"


def _repository(wanted: Named, signed: Named) -> str | None:
    return None if wanted.name == signed.name else f"expected the repository {wanted.name!r}"


def _digest_or_exactly(wanted: Named, signed: Named) -> str | None:
    # An image that is named by its digest was held against that: it cannot be another one of the repository.
    if wanted.tag is None and wanted.digest is not None and not signed.is_name_only:
        return _repository(wanted, signed)
    return _exactly(wanted, signed)


# What each kind wants an image to be called; None when it asks for the image's own name, and there is none.
_WANTED: Final[dict[type, Callable[[Any, Named | None], Named | None]]] = {
    MatchExact: _its_own,
    MatchRepoDigestOrExact: _its_own,
    MatchRepository: _its_own,
    ExactReference: lambda identity, _: parse_normalized_named(identity.docker_reference),
    ExactRepository: lambda identity, _: parse_normalized_named(identity.docker_repository),
    RemapIdentity: _remapped,
}

# How each kind compares that with what was signed.
_COMPARED: Final[dict[type, Callable[[Named, Named], str | None]]] = {
    MatchExact: _exactly,
    MatchRepoDigestOrExact: _digest_or_exactly,
    MatchRepository: _repository,
    ExactReference: _exactly,
    ExactRepository: _repository,
    RemapIdentity: _digest_or_exactly,
}
