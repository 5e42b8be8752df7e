"""What decrypts a layer: the secret half, which is wrapped for the recipients, and the public one beside it.

Both are JSON as ocicrypt writes it; bytes in them are base64 (RFC 4648 §4).
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final, Self

from attrs import field, frozen

from ocikit.errors import EncryptionError, LimitExceededError, ParseError
from ocikit.spec._json import describe, dumps, loads

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CIPHER", "HMAC_BYTES", "KEY_BYTES", "NONCE_BYTES", "LayerOptions", "decoded"]

#: The one cipher that there is.
CIPHER: Final = "AES_256_CTR_HMAC_SHA256"
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 16
HMAC_BYTES: Final = 32

_MOST_BYTES: Final = 64 * 1024
_NESTED: Final = 8


@frozen(kw_only=True)
class LayerOptions:
    """What one layer is encrypted with.

    Attributes:
        symmetric_key: The key of the cipher and of the HMAC; 32 bytes, secret.
        nonce: The first counter block; 16 bytes.
        hmac: The HMAC of the encrypted bytes.
        digest: What was encrypted, as whoever encrypted says; nothing vouches for it. Empty when that is not said.
    """

    symmetric_key: bytes = field(repr=False)
    nonce: bytes = field(repr=False)
    hmac: bytes
    digest: str = ""

    def private(self) -> bytes:
        """Return the secret half, as it is wrapped."""
        document = {
            "symkey": _encoded(self.symmetric_key),
            "digest": self.digest,
            "cipheroptions": {"nonce": _encoded(self.nonce)},
        }
        return dumps(document)

    def public(self) -> bytes:
        """Return the public half."""
        return dumps({"cipher": CIPHER, "hmac": _encoded(self.hmac), "cipheroptions": {}})

    @classmethod
    def read(cls, private: bytes, public: bytes, *, what: str) -> Self:
        """Put the halves together.

        Args:
            private: The secret half, unwrapped.
            public: The public half.
            what: The layer, for messages.

        Raises:
            EncryptionError: One of them is malformed, or asks for another cipher.
        """
        secret = _document(private, f"{what}: the wrapped options")
        known = _document(public, f"{what}: the public options")
        cipher = known.get("cipher")
        if cipher != CIPHER:
            raise EncryptionError(f"{what}: expected the cipher {CIPHER}, found {_shown(cipher)}")
        nonces = {
            _bytes(half["cipheroptions"], "nonce", NONCE_BYTES, what)
            for half in (known, secret)
            if "nonce" in half["cipheroptions"]
        }
        if len(nonces) != 1:
            # Readers that look in one half first would decrypt to other bytes than those that look in the other.
            raise EncryptionError(f"{what}: expected one nonce in the options, found {len(nonces)}")
        digest = secret.get("digest")
        return cls(
            symmetric_key=_bytes(secret, "symkey", KEY_BYTES, what),
            nonce=nonces.pop(),
            hmac=_bytes(known, "hmac", HMAC_BYTES, what),
            digest=digest if isinstance(digest, str) else "",
        )


def decoded(text: str, *, what: str) -> bytes:
    """Decode base64 (RFC 4648 §4), strictly.

    Args:
        text: The text.
        what: What it is, for messages.

    Raises:
        EncryptionError: It is something else.
    """
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise EncryptionError(f"{what}: expected base64: {error}") from None


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _document(data: bytes, what: str) -> dict[str, Any]:
    try:
        document = loads(data, max_bytes=_MOST_BYTES, max_depth=_NESTED)
    except (ParseError, LimitExceededError) as error:
        # Without the error it came from: what cannot be parsed may be a part of a secret.
        raise EncryptionError(f"{what}: {error}") from None
    if not isinstance(document, dict):
        raise EncryptionError(f"{what}: expected an object, found {describe(document)}")
    cipher_options = document.get("cipheroptions")
    if cipher_options is None:
        cipher_options = {}
    if not isinstance(cipher_options, dict):
        raise EncryptionError(f"{what}: $.cipheroptions: expected an object, found {describe(cipher_options)}")
    return document | {"cipheroptions": cipher_options}


def _bytes(members: Mapping[str, object], key: str, size: int, what: str) -> bytes:
    value = members.get(key)
    if not isinstance(value, str):
        raise EncryptionError(f"{what}: {key}: expected base64 of {size} bytes, found {describe(value)}")
    data = decoded(value, what=f"{what}: {key}")
    if len(data) != size:
        raise EncryptionError(f"{what}: {key}: expected {size} bytes, found {len(data)}")
    return data


def _shown(cipher: object) -> str:
    return repr(cipher[:80]) if isinstance(cipher, str) else describe(cipher)
