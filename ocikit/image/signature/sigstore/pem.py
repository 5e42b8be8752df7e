"""PEM (RFC 7468), read strictly: blocks of known kinds, base64 in one way only, and a bound on everything."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Final

from ocikit._tuples import NamedTuple
from ocikit.errors import InvalidSignatureError, LimitExceededError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["CERTIFICATE", "PUBLIC_KEY", "Block", "read_block", "read_blocks", "write_block"]

#: The label of a certificate.
CERTIFICATE: Final = "CERTIFICATE"
#: The label of a public key.
PUBLIC_KEY: Final = "PUBLIC KEY"

# No character of a body is a hyphen, so that a block that does not end is given up at the next line of hyphens.
_BLOCK: Final = re.compile(
    rb"^-----BEGIN ([A-Z0-9 ]{1,40})-----[ \t]*\r?\n([A-Za-z0-9+/=\s]*+)^-----END \1-----[ \t]*(?:\r?\n|\Z)",
    re.MULTILINE,
)
_HYPHENS: Final = b"-----"


class Block(NamedTuple):
    """One block.

    Attributes:
        label: What it is.
        der: Its content.
    """

    label: str
    der: bytes


def read_blocks(
    text: bytes | str,
    *,
    what: str,
    labels: Collection[str],
    most: int,
    most_bytes: int,
    explained: bool = False,
) -> tuple[Block, ...]:
    """Read blocks, one after the other.

    Args:
        text: The text.
        what: What it is, for messages.
        labels: The labels that are expected.
        most: How many blocks there may be.
        most_bytes: How many bytes there may be.
        explained: Allow text between the blocks (RFC 7468 §2), as people write it into files.

    Returns:
        The blocks, at least one.

    Raises:
        InvalidSignatureError: There is no block, one that is malformed or of another kind, or something else.
        LimitExceededError: There are too many blocks or bytes.
    """
    # What is not ASCII is in no block, whatever it is replaced by.
    data = text.encode("ascii", "replace") if isinstance(text, str) else text
    if len(data) > most_bytes:
        raise LimitExceededError(f"bytes of {what}", most_bytes, len(data))
    blocks: list[Block] = []
    for one in _pieces(data, what, explained=explained):
        label = one[1].decode()
        if label not in labels:
            raise InvalidSignatureError(f"{what}: expected PEM of a {' or '.join(labels)}, found a {label}")
        if len(blocks) == most:
            raise LimitExceededError(f"PEM blocks in {what}", most)
        blocks.append(Block(label, _content(one[2], what)))
    if not blocks:
        raise InvalidSignatureError(f"{what}: expected PEM of a {' or '.join(labels)}, found none")
    return tuple(blocks)


def read_block(text: bytes | str, *, what: str, labels: Collection[str], most_bytes: int) -> Block:
    """Read one block, beside which there is nothing.

    Args:
        text: The text.
        what: What it is, for messages.
        labels: The labels that are expected.
        most_bytes: How many bytes there may be.

    Raises:
        InvalidSignatureError: It is not exactly one block, malformed, of another kind, or too large.
    """
    try:
        block, *more = read_blocks(text, what=what, labels=labels, most=2, most_bytes=most_bytes)
    except LimitExceededError as error:
        raise InvalidSignatureError(str(error)) from error
    if more:
        raise InvalidSignatureError(f"{what}: expected one PEM block, found more")
    return block


def write_block(label: str, der: bytes) -> bytes:
    """Write a block, in lines of 64 characters.

    Args:
        label: What it is.
        der: Its content.
    """
    text = base64.b64encode(der)
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return b"\n".join([f"-----BEGIN {label}-----".encode(), *lines, f"-----END {label}-----".encode(), b""])


def _pieces(data: bytes, what: str, *, explained: bool) -> Iterator[re.Match[bytes]]:
    at = 0
    for one in _BLOCK.finditer(data):
        _check_between(data[at : one.start()], what, explained=explained)
        at = one.end()
        yield one
    _check_between(data[at:], what, explained=explained)


def _check_between(text: bytes, what: str, *, explained: bool) -> None:
    if _HYPHENS in text:
        raise InvalidSignatureError(f"{what}: a PEM block is malformed")
    if text.strip() and not explained:
        raise InvalidSignatureError(f"{what}: {len(text):,} bytes are in no PEM block")


def _content(text: bytes, what: str) -> bytes:
    compact = b"".join(text.split())
    try:
        der = base64.b64decode(compact, validate=True)
    except binascii.Error as error:
        raise InvalidSignatureError(f"{what}: a PEM block is no base64: {error}") from error
    if base64.b64encode(der) != compact:
        raise InvalidSignatureError(f"{what}: a PEM block is base64 that nobody writes")
    return der
