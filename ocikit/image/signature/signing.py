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

__all__ = ["identity_of", "signatures_by"]

_log = logging.getLogger(__name__)


def identity_of(identity: str | Named | None, reference: ImageReference) -> Named:
    """Return what signatures are to call an image.

    Args:
        identity: What was asked for; None for the name that its place gives it.
        reference: The image in its place.

    Raises:
        InvalidReferenceError: What was asked for is no name of an image.
        SigningError: It has neither a tag nor a digest, or nothing says what the image is called.
    """
    named = parse_normalized_named(identity) if isinstance(identity, str) else identity
    named = named if named is not None else reference.docker_reference
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
