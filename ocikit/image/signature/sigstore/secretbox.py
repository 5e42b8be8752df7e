"""NaCl's secretbox (XSalsa20 and Poly1305), which the files of private keys are encrypted by.

``cryptography`` has Poly1305 and no Salsa20; a key is at most a few thousand bytes, so that Python is fast enough.
Salsa20: D. J. Bernstein, "The Salsa20 family of stream ciphers"; XSalsa20: "Extending the Salsa20 nonce"; how both are
put together: "Cryptography in NaCl" §§9-10.
"""

from __future__ import annotations

import struct
from typing import Final

__all__ = ["KEY_BYTES", "NONCE_BYTES", "TAG_BYTES", "seal", "unseal"]

#: The size of a key, in bytes.
KEY_BYTES: Final = 32
#: The size of a nonce, in bytes; a key never seals twice with the same.
NONCE_BYTES: Final = 24
#: How many bytes longer the sealed text is.
TAG_BYTES: Final = 16

_WORDS: Final = struct.Struct("<16I")
_MASK: Final = 0xFFFFFFFF
_BLOCK_BYTES: Final = 64
_CONSTANTS: Final = struct.unpack("<4I", b"expand 32-byte k")
# The words that a quarter round mixes: four columns, then four rows.
_QUARTERS: Final = (
    *((0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11)),
    *((0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14)),
)
_DOUBLE_ROUNDS: Final = 10


def seal(key: bytes, nonce: bytes, text: bytes) -> bytes:
    """Encrypt a text.

    Args:
        key: 32 bytes.
        nonce: 24 bytes that were never used with this key.
        text: The text.

    Returns:
        The tag, then the encrypted text.
    """
    from cryptography.hazmat.primitives.poly1305 import Poly1305  # noqa: PLC0415 - loaded when first needed

    stream = _stream(key, nonce, KEY_BYTES + len(text))
    sealed = _xor(text, stream[KEY_BYTES:])
    return Poly1305.generate_tag(stream[:KEY_BYTES], sealed) + sealed


def unseal(key: bytes, nonce: bytes, sealed: bytes) -> bytes:
    """Decrypt what :func:`seal` made; nothing of it is decrypted before the tag was verified, in constant time.

    Args:
        key: 32 bytes.
        nonce: 24 bytes.
        sealed: The tag, then the encrypted text.

    Raises:
        cryptography.exceptions.InvalidSignature: It was sealed by another key, or changed since.
    """
    from cryptography.hazmat.primitives.poly1305 import Poly1305  # noqa: PLC0415 - loaded when first needed

    tag, encrypted = sealed[:TAG_BYTES], sealed[TAG_BYTES:]
    Poly1305.verify_tag(_stream(key, nonce, KEY_BYTES), encrypted, tag)
    return _xor(encrypted, _stream(key, nonce, KEY_BYTES + len(encrypted))[KEY_BYTES:])


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _stream(key: bytes, nonce: bytes, size: int) -> bytes:
    """Return the first bytes of the stream of XSalsa20; of secretbox, the first 32 are the key of Poly1305."""
    if len(key) != KEY_BYTES or len(nonce) != NONCE_BYTES:
        raise ValueError(f"secretbox takes {KEY_BYTES} bytes of key and {NONCE_BYTES} of nonce")
    derived = _hsalsa20(key, nonce[:16])
    blocks = range(-(-size // _BLOCK_BYTES))
    return b"".join(_salsa20(derived, nonce[16:] + struct.pack("<Q", number)) for number in blocks)[:size]


def _salsa20(key: bytes, position: bytes) -> bytes:
    before = _state(key, position)
    return _WORDS.pack(*((a + b) & _MASK for a, b in zip(before, _mixed(before), strict=True)))


def _hsalsa20(key: bytes, position: bytes) -> bytes:
    """Derive a key from a key and the beginning of a long nonce: the words that nobody sees, without the addition."""
    mixed = _mixed(_state(key, position))
    return struct.pack("<8I", *(mixed[at] for at in (0, 5, 10, 15, 6, 7, 8, 9)))


def _state(key: bytes, position: bytes) -> tuple[int, ...]:
    words = struct.unpack("<12I", key + position)
    c = _CONSTANTS
    return (c[0], *words[:4], c[1], *words[8:], c[2], *words[4:8], c[3])


def _mixed(state: tuple[int, ...]) -> list[int]:
    x = list(state)
    for _ in range(_DOUBLE_ROUNDS):
        for a, b, c, d in _QUARTERS:
            x[b] ^= _rotated(x[a] + x[d], 7)
            x[c] ^= _rotated(x[b] + x[a], 9)
            x[d] ^= _rotated(x[c] + x[b], 13)
            x[a] ^= _rotated(x[d] + x[c], 18)
    return x


def _rotated(number: int, by: int) -> int:
    number &= _MASK
    return (number << by | number >> (32 - by)) & _MASK
