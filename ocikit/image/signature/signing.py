"""Making signatures of a manifest: what it is called, and one signature by each signer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ocikit.errors import SigningError
from ocikit.image.reference import Named, parse_normalized_named

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocikit.image.signature.signer import Signer
    from ocikit.image.types import ImageReference
    from ocikit.spec import Digest

__all__ = ["check_signers", "identity_of", "named_by", "signatures_by"]

_log = logging.getLogger(__name__)


def check_signers(signers: Iterable[object]) -> None:
    """Return when all of these can sign.

    Args:
        signers: Whoever is to sign.

    Raises:
        TypeError: Something is none: a key, a name of a file, a class.
    """
    for one in signers:
        is_one = callable(getattr(one, "sign", None)) and isinstance(getattr(one, "description", None), str)
        if not is_one or isinstance(one, type):
            found = f"the class {one.__name__}" if isinstance(one, type) else type(one).__name__
            raise TypeError(f"expected signers, such as signature.SigstoreSigner(key), found {found}")


def named_by(identity: str | Named) -> Named:
    """Return a name of an image that may be given as text.

    Args:
        identity: The name.

    Raises:
        InvalidReferenceError: It is no name of an image.
        TypeError: It is something else.
    """
    if isinstance(identity, Named):
        return identity
    if not isinstance(identity, str):
        raise TypeError(
            "identity: expected what the image is called, such as 'registry.example.com/app:1.2', found "
            f"{type(identity).__name__}"
        )
    return parse_normalized_named(identity)


def identity_of(identity: str | Named | None, reference: ImageReference) -> Named:
    """Return what signatures are to call an image.

    Args:
        identity: What was asked for; None for the name that its place gives it.
        reference: The image in its place.

    Raises:
        InvalidReferenceError: What was asked for is no name of an image.
        SigningError: It has neither a tag nor a digest, or nothing says what the image is called.
    """
    named = named_by(identity) if identity is not None else reference.docker_reference
    if named is None:
        raise SigningError(
            f"{reference}: images there have no name in a registry, which a signature has to call the image by; give "
            "one as the identity, such as registry.example.com/team/app:1.2"
        )
    if named.is_name_only:
        raise SigningError(
            f"{str(named)!r} has neither a tag nor a digest, and a signature is about one image; add one"
        )
    return named


def signatures_by(signers: Iterable[Signer], digest: Digest, identity: Named) -> tuple[bytes, ...]:
    """Return the signatures of a manifest, one by each signer, as they are stored.

    Args:
        signers: Who signs.
        digest: The digest of the manifest.
        identity: What they call it.

    Raises:
        SigningError: A signature cannot be made.
    """
    blobs = []
    for signer in signers:
        blobs.append(signer.sign(digest, identity).to_blob())
        _log.debug("%s signed as %s by %s", digest, identity, signer.description)
    return tuple(blobs)
