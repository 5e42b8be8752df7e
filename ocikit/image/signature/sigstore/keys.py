"""Public keys: read, compared, and what they verify.

sigstore signs with ECDSA over any of the NIST curves, RSA (PKCS #1 v1.5) and Ed25519, with SHA-256 whatever the size of
the key.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self

from ocikit.errors import InvalidSignatureError
from ocikit.image.given import in_words, pem_bytes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

__all__ = ["PublicKey"]

_MOST_PEM_BYTES: Final = 64 * 1024
# What an attacker who chooses a certificate could make a verification cost.
_MOST_RSA_BITS: Final = 16384
# What is given for a public key by mistake: where that belongs.
_HINTS: Final = {
    "PGP ": "; keys of OpenPGP are for signedBy",
    "PRIVATE KEY": "; that stays with who signs, here is the public half of it",
    "CERTIFICATE": "; certificates are trusted by pki and fulcio",
    "no PEM": "",
    "nothing": "",
}


class PublicKey:
    """A public key of a kind that sigstore signs with. Equal keys are equal.

    Args:
        key: The key as ``cryptography`` has it.

    Raises:
        InvalidSignatureError: It is of another kind.
    """

    def __init__(self, key: PublicKeyTypes) -> None:
        self._key: Any = _of_known_kind(key)

    @classmethod
    def read(cls, pem: bytes | str, *, what: str) -> Self:
        """Read a key.

        Args:
            pem: The key, PEM.
            what: What it is, for messages.

        Raises:
            InvalidSignatureError: It is malformed, or of a kind that sigstore does not sign with.
            TypeError: Something is given that is no PEM.
        """
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - loaded when first needed
        from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

        data = pem_bytes(pem, what, "read the file first")
        if len(data) > _MOST_PEM_BYTES:
            raise InvalidSignatureError(f"{what}: {len(data):,} bytes are no public key")
        try:
            return cls(load_pem_public_key(data))
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise InvalidSignatureError(f"{what}: expected a public key, PEM, {_found(data, error)}") from error

    @property
    def key(self) -> Any:  # noqa: ANN401 - one of several classes without a common one
        """The key as ``cryptography`` has it."""
        return self._key

    @cached_property
    def der(self) -> bytes:
        """The key as SubjectPublicKeyInfo, DER (RFC 5280 §4.1)."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

        der: bytes = self._key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return der

    @cached_property
    def pem(self) -> bytes:
        """The key, PEM, as every implementation writes it."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

        pem: bytes = self._key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of :attr:`der`, hexadecimal; of the key of a log, the name of the log."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def is_ecdsa(self) -> bool:
        """Whether the key is one for ECDSA."""
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey  # noqa: PLC0415

        return isinstance(self._key, EllipticCurvePublicKey)

    def verify(self, signature: bytes, data: bytes) -> None:
        """Return when the key made the signature.

        Args:
            signature: The signature; of ECDSA, DER.
            data: What is signed.

        Raises:
            InvalidSignatureError: It did not.
        """
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415

        try:
            if self.is_ecdsa:
                self._key.verify(signature, data, ECDSA(SHA256()))
            elif isinstance(self._key, RSAPublicKey):
                self._key.verify(signature, data, PKCS1v15(), SHA256())
            else:
                self._key.verify(signature, data)
        except InvalidSignature as error:
            raise InvalidSignatureError(f"was not made by the key {self} over this content") from error

    def __str__(self) -> str:
        return f"SHA256:{self.fingerprint}"

    def __repr__(self) -> str:
        return f"PublicKey({self})"

    def __eq__(self, other: object) -> bool:
        return self.der == other.der if isinstance(other, PublicKey) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.der)


def _found(data: bytes, error: Exception) -> str:
    """Say what is there, and what it may have been given for; of a public key, why it is not read."""
    found = in_words(data)
    for sign, hint in _HINTS.items():
        if sign in found:
            return f"found {found}{hint}"
    return f"found {found}: {error}"


def _of_known_kind(key: object) -> object:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415

    if isinstance(key, RSAPublicKey) and key.key_size > _MOST_RSA_BITS:
        raise InvalidSignatureError(f"a key for RSA of {key.key_size:,} bits; at most {_MOST_RSA_BITS:,} are read")
    if not isinstance(key, RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey):
        raise InvalidSignatureError(f"a key of the kind {type(key).__name__}; expected ECDSA, RSA or Ed25519")
    return key
