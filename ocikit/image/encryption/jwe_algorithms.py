"""What encrypts in a JWE: the content (RFC 7518 §5), and the key of the content for one recipient (RFC 7518 §4)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Any, Final

from ocikit._tuples import NamedTuple
from ocikit.errors import EncryptionError
from ocikit.image.encryption.jwk import base64url, curve_of, from_base64url, point_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocikit.image.encryption.keys import JweRecipient, PrivateKey

__all__ = ["CONTENT", "CONTENT_KEY_BYTES", "Sealed", "open_content", "seal", "unwrap", "wrap"]

#: The way in which content is encrypted, and the size of its key.
CONTENT: Final = "A256GCM"
CONTENT_KEY_BYTES: Final = 32

_GCM_IV, _GCM_TAG, _CBC_IV = 12, 16, 16
# Bytes of the key (RFC 7518 §5.1); for CBC half of it is for the HMAC.
_GCM: Final = {"A128GCM": 16, "A192GCM": 24, "A256GCM": 32}
_CBC: Final = {"A128CBC-HS256": (32, "sha256"), "A192CBC-HS384": (48, "sha384"), "A256CBC-HS512": (64, "sha512")}

#: Bytes of the key that wraps the key of the content (RFC 7518 §4.6).
_ECDH: Final = {"ECDH-ES+A128KW": 16, "ECDH-ES+A192KW": 24, "ECDH-ES+A256KW": 32}
_OAEP: Final = ("RSA-OAEP", "RSA-OAEP-256")


class Sealed(NamedTuple):
    """Encrypted content.

    Attributes:
        iv: The initialisation vector.
        ciphertext: What was encrypted.
        tag: What vouches for it.
    """

    iv: bytes
    ciphertext: bytes
    tag: bytes


def seal(key: bytes, content: bytes, aad: bytes) -> Sealed:
    """Encrypt content by AES-256-GCM (RFC 7518 §5.3).

    Args:
        key: The key, 32 bytes, never used before.
        content: The content.
        aad: What is vouched for besides.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - loaded when first needed

    iv = secrets.token_bytes(_GCM_IV)
    sealed = AESGCM(key).encrypt(iv, content, aad)
    return Sealed(iv, sealed[:-_GCM_TAG], sealed[-_GCM_TAG:])


def open_content(encryption: str, key: bytes, sealed: Sealed, aad: bytes, *, what: str) -> bytes:
    """Decrypt content.

    Args:
        encryption: How it is encrypted (RFC 7518 §5.1).
        key: The key.
        sealed: The content.
        aad: What is vouched for besides.
        what: What it is, for messages.

    Raises:
        EncryptionError: The key is another one, or something was changed.
    """
    if encryption in _GCM:
        return _open_gcm(_GCM[encryption], key, sealed, aad, what)
    if encryption in _CBC:
        _check_sizes(what, key=(key, _CBC[encryption][0]), iv=(sealed.iv, _CBC_IV))
        return _open_cbc(_CBC[encryption][1], key, sealed, aad, what)
    raise EncryptionError(f"{what}: enc: expected {', '.join((*_GCM, *_CBC))}, found {encryption[:80]!r}")


def _open_gcm(size: int, key: bytes, sealed: Sealed, aad: bytes, what: str) -> bytes:
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - loaded when first needed
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    _check_sizes(what, key=(key, size), iv=(sealed.iv, _GCM_IV), tag=(sealed.tag, _GCM_TAG))
    try:
        return AESGCM(key).decrypt(sealed.iv, sealed.ciphertext + sealed.tag, aad)
    except InvalidTag:
        raise EncryptionError(f"{what}: the tag does not fit: something in it was changed") from None


def _open_cbc(name: str, key: bytes, sealed: Sealed, aad: bytes, what: str) -> bytes:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # noqa: PLC0415
    from cryptography.hazmat.primitives.padding import PKCS7  # noqa: PLC0415

    half = len(key) // 2
    # RFC 7518 §5.2.2.2: the HMAC before anything else.
    bits = (len(aad) * 8).to_bytes(8)
    tag = hmac.new(key[:half], aad + sealed.iv + sealed.ciphertext + bits, name).digest()[:half]
    if not hmac.compare_digest(tag, sealed.tag):
        raise EncryptionError(f"{what}: the tag does not fit: something in it was changed")
    cipher = Cipher(algorithms.AES(key[half:]), modes.CBC(sealed.iv)).decryptor()
    padding = PKCS7(128).unpadder()
    try:
        padded = cipher.update(sealed.ciphertext) + cipher.finalize()
        return padding.update(padded) + padding.finalize()
    except ValueError:
        raise EncryptionError(f"{what}: the content is padded wrongly") from None


def _check_sizes(what: str, **parts: tuple[bytes, int]) -> None:
    for name, (data, size) in parts.items():
        if len(data) != size:
            raise EncryptionError(f"{what}: {name}: expected {size} bytes, found {len(data)}")


def wrap(recipient: JweRecipient, content_key: bytes) -> tuple[dict[str, Any], bytes]:
    """Wrap the key of the content for a recipient.

    Args:
        recipient: Who.
        content_key: The key.

    Returns:
        The header for the recipient, and the wrapped key.

    Raises:
        EncryptionError: The key of the recipient is too small.
    """
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - loaded when first needed

    header: dict[str, Any] = {"alg": recipient.algorithm}
    if recipient.key_id:
        header["kid"] = recipient.key_id
    if recipient.algorithm in _OAEP:
        try:
            return header, recipient.key.encrypt(content_key, _oaep(recipient.algorithm))
        except (ValueError, UnsupportedAlgorithm) as error:
            raise EncryptionError(f"JWE: {recipient.algorithm}: the key of the recipient: {error}") from error
    return _wrap_ecdh(recipient, content_key, header)


def _wrap_ecdh(recipient: JweRecipient, content_key: bytes, header: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - loaded when first needed
    from cryptography.hazmat.primitives.keywrap import aes_key_wrap  # noqa: PLC0415

    curve, size = curve_of(recipient.key, what="JWE")
    ephemeral = ec.generate_private_key(recipient.key.curve)
    point = ephemeral.public_key().public_numbers()
    header["epk"] = {
        "kty": "EC",
        "crv": curve,
        "x": base64url(point.x.to_bytes(size)),
        "y": base64url(point.y.to_bytes(size)),
    }
    shared = ephemeral.exchange(ec.ECDH(), recipient.key)
    return header, aes_key_wrap(_agreed(shared, recipient.algorithm, b"", b""), content_key)


def unwrap(key: PrivateKey, header: Mapping[str, Any], wrapped: bytes, *, what: str) -> bytes:
    """Unwrap the key of the content.

    Args:
        key: The private key.
        header: What is said of the recipient; with an ``alg``.
        wrapped: The wrapped key.
        what: The recipient, for messages.

    Raises:
        EncryptionError: It was wrapped for another key or in a way that is not known, or is damaged.
    """
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - loaded when first needed

    algorithm = header["alg"]
    if algorithm not in _OAEP and algorithm not in _ECDH:
        # The recipient may be another one, with a key of another kind.
        raise EncryptionError(f"{what}: alg: expected {', '.join((*_OAEP, *_ECDH))}, found {algorithm[:80]!r}")
    if key.is_rsa != (algorithm in _OAEP):
        raise EncryptionError(f"{what}: {algorithm} is for a key of another kind")
    if algorithm in _ECDH:
        return _unwrap_ecdh(key, header, wrapped, what)
    try:
        unwrapped: bytes = key.key.decrypt(wrapped, _oaep(algorithm))
    except UnsupportedAlgorithm as error:
        raise EncryptionError(f"{what}: {algorithm}: {error}") from error
    except ValueError:
        raise EncryptionError(f"{what}: {algorithm}: is for another key") from None
    return unwrapped


def _unwrap_ecdh(key: PrivateKey, header: Mapping[str, Any], wrapped: bytes, what: str) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ec import ECDH  # noqa: PLC0415 - loaded when first needed
    from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap  # noqa: PLC0415

    algorithm, ephemeral = header["alg"], header.get("epk")
    if not isinstance(ephemeral, dict):
        raise EncryptionError(f"{what}: {algorithm}: expected the key of the sender (epk), and there is none")
    point = point_of(ephemeral, what=f"{what}: epk")
    if point.curve.name != key.key.curve.name:
        raise EncryptionError(f"{what}: {algorithm}: is for a key on another curve")
    parties = [from_base64url(header.get(name, ""), what=f"{what}: {name}") for name in ("apu", "apv")]
    shared = key.key.exchange(ECDH(), point)
    try:
        return aes_key_unwrap(_agreed(shared, algorithm, *parties), wrapped)
    except (InvalidUnwrap, ValueError):
        raise EncryptionError(f"{what}: {algorithm}: is for another key") from None


def _oaep(algorithm: str) -> Any:  # noqa: ANN401 - of cryptography
    from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP  # noqa: PLC0415
    from cryptography.hazmat.primitives.hashes import SHA1, SHA256  # noqa: PLC0415

    # RFC 7518 §4.3: SHA-1 is what RSA-OAEP is; nothing here rests on its collisions.
    kind = SHA256 if algorithm == "RSA-OAEP-256" else SHA1
    return OAEP(mgf=MGF1(kind()), algorithm=kind(), label=None)


def _agreed(shared: bytes, algorithm: str, sender: bytes, receiver: bytes) -> bytes:
    """Derive the key that wraps (RFC 7518 §4.6.2, Concat KDF of NIST SP 800-56A); one round of SHA-256 is enough."""
    size = _ECDH[algorithm]
    parts = (algorithm.encode(), sender, receiver)
    about = b"".join(len(part).to_bytes(4) + part for part in parts) + (size * 8).to_bytes(4)
    return hashlib.sha256((1).to_bytes(4) + shared + about).digest()[:size]
