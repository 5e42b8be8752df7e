"""Hashes and kinds of keys, by the numbers that OpenPGP has for them (RFC 9580 §9), and what is still trusted."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from ocikit.errors import InvalidSignatureError
from ocikit.image.signature.openpgp.packets import Reader

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["KEY_KINDS", "SHA1_ENDS", "Hash", "KeyKind", "hash_of", "key_kind_of", "verify"]

#: Until when SHA-1 is believed in what keys say about themselves: the day on which Sequoia ceases to, too.
SHA1_ENDS: Final = dt.datetime(2023, 2, 1, tzinfo=dt.UTC)

# Below this, factors and logarithms are within reach of who wants them enough (NIST SP 800-131A).
_LEAST_BITS: Final = 2048
# What an attacker who chooses a key could make one verification cost.
_MOST_BITS: Final = 16384

# Object identifiers of curves (RFC 9580 §9.2), DER without tag and length, and their names in ``cryptography``.
_CURVES: Final = {
    bytes.fromhex("2a8648ce3d030107"): "SECP256R1",
    bytes.fromhex("2b81040022"): "SECP384R1",
    bytes.fromhex("2b81040023"): "SECP521R1",
    bytes.fromhex("2b2403030208010107"): "BrainpoolP256R1",
    bytes.fromhex("2b240303020801010b"): "BrainpoolP384R1",
    bytes.fromhex("2b240303020801010d"): "BrainpoolP512R1",
    bytes.fromhex("2b8104000a"): "SECP256K1",
}
_ED25519_LEGACY: Final = bytes.fromhex("2b06010401da470f01")


@frozen(kw_only=True)
class Hash:
    """A hash.

    Attributes:
        number: Its number.
        name: What it is called.
        algorithm: Its name in :mod:`hashlib`.
        bits: The length of its digests.
        salt: How many bytes of salt a signature of version 6 has with it (RFC 9580 §9.5).
        strong: Whether nobody finds two texts of one digest.
    """

    number: int
    name: str
    algorithm: str
    bits: int
    salt: int = 0
    strong: bool = True

    def digest(self, *parts: bytes) -> bytes:
        """Return the digest of parts, one after the other.

        Raises:
            InvalidSignatureError: This Python has not got the hash.
        """
        try:
            state = hashlib.new(self.algorithm, usedforsecurity=False)
        except ValueError as error:
            raise InvalidSignatureError(f"cannot be verified: the hash {self.name} is not there: {error}") from error
        for part in parts:
            state.update(part)
        return state.digest()


_HASHES: Final = {
    one.number: one
    for one in (
        Hash(number=1, name="MD5", algorithm="md5", bits=128, strong=False),
        Hash(number=2, name="SHA-1", algorithm="sha1", bits=160, strong=False),
        Hash(number=3, name="RIPEMD-160", algorithm="ripemd160", bits=160, strong=False),
        Hash(number=8, name="SHA-256", algorithm="sha256", bits=256, salt=16),
        Hash(number=9, name="SHA-384", algorithm="sha384", bits=384, salt=24),
        Hash(number=10, name="SHA-512", algorithm="sha512", bits=512, salt=32),
        Hash(number=11, name="SHA-224", algorithm="sha224", bits=224, salt=16),
        Hash(number=12, name="SHA3-256", algorithm="sha3_256", bits=256, salt=16),
        Hash(number=14, name="SHA3-512", algorithm="sha3_512", bits=512, salt=32),
    )
}


def hash_of(number: int) -> Hash:
    """Return the hash with this number.

    Raises:
        InvalidSignatureError: There is none.
    """
    if number not in _HASHES:
        raise InvalidSignatureError(f"the hash algorithm {number} is not known")
    return _HASHES[number]


@frozen(kw_only=True)
class KeyKind:
    """A kind of key that makes signatures.

    Attributes:
        name: What it is called.
        verify: Called with the key, the signature, the digest and its hash; raises one of :data:`_REFUSALS`.
    """

    name: str
    verify: Callable[[Reader, Reader, bytes, Hash], None]


def key_kind_of(number: int) -> KeyKind:
    """Return the kind of key with this number.

    Raises:
        InvalidSignatureError: There is none, or it makes no signatures.
    """
    if number not in KEY_KINDS:
        raise InvalidSignatureError(
            f"cannot be verified: keys of the algorithm {number} make no signatures that are known here"
        )
    return KEY_KINDS[number]


def verify(number: int, key: bytes, signature: bytes, digest: bytes, hash_: Hash) -> None:
    """Return when a key made a signature.

    Args:
        number: The algorithm of the key.
        key: What its packet says beside that (RFC 9580 §5.5.5).
        signature: What the packet of the signature says of it (RFC 9580 §5.2.3).
        digest: What is signed.
        hash_: Its hash.

    Raises:
        InvalidSignatureError: It did not, or is malformed, weak, or of no known kind.
    """
    from cryptography.exceptions import (  # noqa: PLC0415 - loaded when first needed
        InternalError,
        InvalidSignature,
        UnsupportedAlgorithm,
    )

    kind = key_kind_of(number)
    try:
        kind.verify(
            Reader(key, f"a key for {kind.name}"), Reader(signature, f"a signature by {kind.name}"), digest, hash_
        )
    except InvalidSignature as error:
        raise InvalidSignatureError("is not one of this key over this content") from error
    except InvalidSignatureError as error:
        raise InvalidSignatureError(f"cannot be verified: {error}") from error
    except (ValueError, TypeError, OverflowError, UnsupportedAlgorithm, InternalError) as error:
        raise InvalidSignatureError(f"cannot be verified: the key for {kind.name} cannot be used: {error}") from error


def _prehashed(hash_: Hash) -> Any:  # noqa: ANN401 - a class of a library that is loaded when first needed
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed  # noqa: PLC0415

    algorithm = getattr(hashes, hash_.algorithm.upper(), None)
    if algorithm is None:
        raise InvalidSignatureError(f"signatures with {hash_.name} are not verified")
    return Prehashed(algorithm())


def _size(bits: int, what: str) -> None:
    if not _LEAST_BITS <= bits <= _MOST_BITS:
        raise InvalidSignatureError(
            f"a key for {what} of {bits:,} bits; those of {_LEAST_BITS:,} to {_MOST_BITS:,} are accepted"
        )


def _long_enough(hash_: Hash, bits: int, what: str) -> None:
    """A digest that is shorter than what it is signed with takes from the strength of the key (RFC 9580 §5.2.3.2)."""
    if hash_.bits < min(bits, 512):
        raise InvalidSignatureError(f"{what} of {bits} bits with {hash_.name}, which is shorter than that")


def _rsa(key: Reader, signature: Reader, digest: bytes, hash_: Hash) -> None:
    """RSA with the padding of PKCS #1 v1.5 (RFC 9580 §5.2.3.1, §5.5.5.1)."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers  # noqa: PLC0415

    modulus, exponent = key.mpi(), key.mpi()
    key.end()
    value = signature.mpi()
    signature.end()
    bits = modulus.bit_length()
    _size(bits, "RSA")
    # A number that is longer than the modulus is left as it is, and does not verify.
    raw = value.to_bytes(max((bits + 7) // 8, (value.bit_length() + 7) // 8), "big")
    RSAPublicNumbers(exponent, modulus).public_key().verify(raw, digest, PKCS1v15(), _prehashed(hash_))


def _dsa(key: Reader, signature: Reader, digest: bytes, hash_: Hash) -> None:
    """DSA (RFC 9580 §5.2.3.2, §5.5.5.2)."""
    from cryptography.hazmat.primitives.asymmetric.dsa import DSAParameterNumbers, DSAPublicNumbers  # noqa: PLC0415

    p, q, g, y = key.mpi(), key.mpi(), key.mpi(), key.mpi()
    key.end()
    der = _two_numbers(signature)
    _size(p.bit_length(), "DSA")
    _long_enough(hash_, q.bit_length(), "DSA")
    DSAPublicNumbers(y, DSAParameterNumbers(p, q, g)).public_key().verify(der, digest, _prehashed(hash_))


def _two_numbers(signature: Reader) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature  # noqa: PLC0415

    der = encode_dss_signature(signature.mpi(), signature.mpi())
    signature.end()
    return der


def _point(key: Reader) -> tuple[bytes, bytes]:
    """Take the identifier of a curve and a point on it (RFC 9580 §5.5.5.4)."""
    curve = key.take(key.number(1))
    point = key.take((key.number(2) + 7) // 8)
    key.end()
    return curve, point


def _ecdsa(key: Reader, signature: Reader, digest: bytes, hash_: Hash) -> None:
    """ECDSA (RFC 9580 §5.2.3.2, §5.5.5.4)."""
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    identifier, point = _point(key)
    if identifier not in _CURVES:
        raise InvalidSignatureError(f"a key for ECDSA on a curve that is not known: {identifier.hex()}")
    if point[:1] != b"\x04":
        raise InvalidSignatureError("a key for ECDSA is not a point that is written in full")
    curve = getattr(ec, _CURVES[identifier])()
    der = _two_numbers(signature)
    _long_enough(hash_, curve.key_size, "ECDSA")
    public = ec.EllipticCurvePublicKey.from_encoded_point(curve, point)
    public.verify(der, digest, ec.ECDSA(_prehashed(hash_)))


def _eddsa_legacy(key: Reader, signature: Reader, digest: bytes, hash_: Hash) -> None:
    """Ed25519 as GnuPG introduced it (RFC 9580 §5.2.3.3, §5.5.5.5): with any hash."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    del hash_
    identifier, point = _point(key)
    if identifier != _ED25519_LEGACY:
        raise InvalidSignatureError(f"a key for EdDSA on a curve that is not known: {identifier.hex()}")
    if len(point) != 33 or point[0] != 0x40:
        raise InvalidSignatureError("a key for Ed25519 is not a byte 0x40 and 32 more")
    both = (signature.mpi(), signature.mpi())
    signature.end()
    if max(both) >> 256:
        raise InvalidSignatureError("a signature by Ed25519 of more than 64 bytes")
    raw = b"".join(number.to_bytes(32, "big") for number in both)
    Ed25519PublicKey.from_public_bytes(point[1:]).verify(raw, digest)


def _ed25519(key: Reader, signature: Reader, digest: bytes, hash_: Hash) -> None:
    """Ed25519 (RFC 9580 §5.2.3.4, §5.5.5.9)."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    _long_enough(hash_, 256, "Ed25519")
    raw = signature.take(64)
    signature.end()
    Ed25519PublicKey.from_public_bytes(key.rest()).verify(raw, digest)


def _ed448(key: Reader, signature: Reader, digest: bytes, hash_: Hash) -> None:
    """Ed448 (RFC 9580 §5.2.3.5, §5.5.5.10)."""
    from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey  # noqa: PLC0415

    _long_enough(hash_, 512, "Ed448")
    raw = signature.take(114)
    signature.end()
    Ed448PublicKey.from_public_bytes(key.rest()).verify(raw, digest)


#: The kinds of keys that make signatures (RFC 9580 §9.1).
KEY_KINDS: Final = {
    1: KeyKind(name="RSA", verify=_rsa),
    3: KeyKind(name="RSA", verify=_rsa),
    17: KeyKind(name="DSA", verify=_dsa),
    19: KeyKind(name="ECDSA", verify=_ecdsa),
    22: KeyKind(name="EdDSA", verify=_eddsa_legacy),
    27: KeyKind(name="Ed25519", verify=_ed25519),
    28: KeyKind(name="Ed448", verify=_ed448),
}
