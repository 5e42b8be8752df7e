"""Which hash a signature in a bundle was made with.

Signatures beside images are made with SHA-256 by any key. In bundles each curve has a hash of its size (sigstore's
registry of algorithms), and by older programs SHA-256 there as well. None of them is weak, so each will do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocikit.errors import InvalidSignatureError

if TYPE_CHECKING:
    from ocikit.image.signature.sigstore.keys import PublicKey

__all__ = ["verify_bundle_signature"]


def verify_bundle_signature(key: PublicKey, signature: bytes, data: bytes) -> None:
    """Return when a key made a signature of a bundle.

    Args:
        key: The key.
        signature: The signature; of ECDSA, DER.
        data: What is signed.

    Raises:
        InvalidSignatureError: It did not.
    """
    try:
        key.verify(signature, data)
    except InvalidSignatureError:
        if not key.is_ecdsa or not _verifies_by_size(key, signature, data):
            raise


def _verifies_by_size(key: PublicKey, signature: bytes, data: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - loaded when first needed
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA  # noqa: PLC0415
    from cryptography.hazmat.primitives.hashes import SHA384, SHA512  # noqa: PLC0415

    by_size = {384: SHA384(), 521: SHA512()}.get(key.key.curve.key_size)
    if by_size is None:
        return False
    try:
        key.key.verify(signature, data, ECDSA(by_size))
    except InvalidSignature:
        return False
    return True
