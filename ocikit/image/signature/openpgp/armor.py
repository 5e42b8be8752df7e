"""ASCII armor: binary data in text, between two lines of dashes (RFC 9580 §6)."""

from __future__ import annotations

import base64
import binascii
import itertools
import re
from typing import Final

from ocikit.errors import InvalidSignatureError

__all__ = ["armored_blocks", "is_armored"]

_HEAD: Final = re.compile(rb"^-----BEGIN PGP ([A-Z0-9 ,/]{1,40})-----[ \t\r]*\n", re.MULTILINE)
_SIGN: Final = b"-----BEGIN PGP "


def is_armored(data: bytes) -> bool:
    """Say whether some bytes are text with armor in it; every packet begins with a byte that no text begins with."""
    return data[:1] < b"\x80" and _SIGN in data


def armored_blocks(data: bytes, kind: str, *, what: str) -> list[bytes]:
    """Return what is in each armored block of a text, which may have other text around them.

    The checksum at the end of a block is not looked at, as RFC 9580 §6.1 wants it: it protects against nothing.

    Args:
        data: The text.
        kind: What the blocks have to be (``"PUBLIC KEY BLOCK"``).
        what: What it is, for messages.

    Raises:
        InvalidSignatureError: A block is malformed or another kind of block.
    """
    blocks = []
    at = 0
    while (head := _HEAD.search(data, at)) is not None:
        if head[1].decode() != kind:
            raise InvalidSignatureError(f"{what}: expected blocks of PGP {kind}, found PGP {head[1].decode()}")
        tail = b"-----END PGP " + head[1] + b"-----"
        end = data.find(tail, head.end())
        if end < 0:
            raise InvalidSignatureError(f"{what}: a block of PGP {kind} has no end")
        blocks.append(_content(data[head.end() : end], what))
        at = end + len(tail)
    if not blocks:
        raise InvalidSignatureError(f"{what}: expected an armored block of PGP {kind}, found none")
    return blocks


def _content(text: bytes, what: str) -> bytes:
    """Return what is between the lines of dashes: perhaps headers and an empty line, base64, perhaps a checksum."""
    lines = [line.strip() for line in text.split(b"\n")]
    lines = [*itertools.dropwhile(lambda line: b":" in line, lines)]
    if lines and lines[-1] == b"":
        lines.pop()
    if lines and len(lines[-1]) == 5 and lines[-1].startswith(b"="):
        lines.pop()
    try:
        return base64.b64decode(b"".join(lines), validate=True)
    except binascii.Error as error:
        raise InvalidSignatureError(f"{what}: an armored block is not base64: {error}") from error
