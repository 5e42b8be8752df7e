"""Packets, the frames that everything in OpenPGP consists of (RFC 9580 §4), and the numbers inside them."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from ocikit.errors import InvalidSignatureError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Packet", "Reader", "Tag", "read_packets"]


class Tag(enum.IntEnum):
    """The kinds of packets that have a meaning here (RFC 9580 §5)."""

    ENCRYPTED_SESSION_KEY = 1
    SIGNATURE = 2
    PASSWORD_SESSION_KEY = 3
    ONE_PASS_SIGNATURE = 4
    SECRET_KEY = 5
    PUBLIC_KEY = 6
    SECRET_SUBKEY = 7
    COMPRESSED = 8
    ENCRYPTED = 9
    LITERAL = 11
    USER_ID = 13
    PUBLIC_SUBKEY = 14
    USER_ATTRIBUTE = 17
    ENCRYPTED_PROTECTED = 18
    ENCRYPTED_AEAD = 20


# Only these may have a length that is not known beforehand (RFC 9580 §4.2.1.4).
_STREAMED: Final = frozenset({Tag.COMPRESSED, Tag.ENCRYPTED, Tag.LITERAL, Tag.ENCRYPTED_PROTECTED, Tag.ENCRYPTED_AEAD})
_LEAST_FIRST_PART: Final = 512
_MOST_PARTS: Final = 16_384


@frozen(kw_only=True)
class Packet:
    """One packet.

    Attributes:
        tag: Its kind.
        body: What is in it.
    """

    tag: int
    body: bytes = field(repr=False)


class Reader:
    """Takes bytes apart from front to back.

    Args:
        data: The bytes.
        what: What they are, for messages.
    """

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._at = 0
        self.what = what

    @property
    def left(self) -> int:
        """How many bytes were not taken."""
        return len(self._data) - self._at

    @property
    def taken(self) -> bytes:
        """What was taken so far."""
        return self._data[: self._at]

    def take(self, count: int) -> bytes:
        """Take so many bytes.

        Raises:
            InvalidSignatureError: There are fewer.
        """
        if count > self.left:
            raise InvalidSignatureError(
                f"{self.what}: ends too early: {count:,} bytes expected from byte {self._at:,} on, found {self.left:,}"
            )
        self._at += count
        return self._data[self._at - count : self._at]

    def rest(self) -> bytes:
        """Take everything that is left."""
        return self.take(self.left)

    def number(self, size: int) -> int:
        """Take a number of so many bytes, the most significant first (RFC 9580 §3.1)."""
        return int.from_bytes(self.take(size), "big")

    def mpi(self) -> int:
        """Take a number that says how many bits it has (RFC 9580 §3.2).

        Leading zeros are let through: GnuPG writes some in numbers of Ed25519, and they change no value.
        """
        return int.from_bytes(self.take((self.number(2) + 7) // 8), "big")

    def end(self) -> None:
        """Return when everything was taken.

        Raises:
            InvalidSignatureError: There is more.
        """
        if self.left:
            raise InvalidSignatureError(f"{self.what}: {self.left:,} bytes more than expected follow")


def read_packets(data: bytes, *, what: str, most: int) -> Iterator[Packet]:
    """Yield the packets in some bytes, which have to be packets to the end.

    Args:
        data: The bytes.
        what: What they are, for messages.
        most: How many packets there may be.

    Raises:
        InvalidSignatureError: They are malformed, or too many.
    """
    reader = Reader(data, what)
    for _ in range(most):
        if not reader.left:
            return
        yield _packet(reader)
    if reader.left:
        raise InvalidSignatureError(f"{what}: more than {most:,} packets")


def _packet(reader: Reader) -> Packet:
    first = reader.number(1)
    if not first & 0x80:
        raise InvalidSignatureError(f"{reader.what}: expected a packet of OpenPGP, found the byte 0x{first:02x}")
    if first & 0x40:
        tag = first & 0x3F
        return Packet(tag=tag, body=_body(reader, tag))
    # The old format (RFC 9580 §4.2.2): four bits of tag, and how long the length is.
    tag, kind = (first >> 2) & 0x0F, first & 3
    if kind < 3:
        return Packet(tag=tag, body=reader.take(reader.number(1 << kind)))
    _may_be_streamed(reader, tag)
    return Packet(tag=tag, body=reader.rest())


def _may_be_streamed(reader: Reader, tag: int) -> None:
    if tag not in _STREAMED:
        raise InvalidSignatureError(f"{reader.what}: a packet with the tag {tag} does not say how long it is")


def _body(reader: Reader, tag: int) -> bytes:
    """Take the body of a packet in the current format (RFC 9580 §4.2.1), put together when it comes in parts."""
    first = reader.number(1)
    if not 224 <= first < 255:
        return reader.take(_length(reader, first))
    _may_be_streamed(reader, tag)
    if 1 << (first & 0x1F) < _LEAST_FIRST_PART:
        raise InvalidSignatureError(
            f"{reader.what}: the first part of a packet has less than {_LEAST_FIRST_PART} bytes"
        )
    parts = []
    while 224 <= first < 255:
        parts.append(reader.take(1 << (first & 0x1F)))
        first = reader.number(1)
        if len(parts) == _MOST_PARTS:
            raise InvalidSignatureError(f"{reader.what}: a packet in more than {_MOST_PARTS:,} parts")
    parts.append(reader.take(_length(reader, first)))
    return b"".join(parts)


def _length(reader: Reader, first: int) -> int:
    if first < 192:
        return first
    if first < 224:
        return ((first - 192) << 8) + reader.number(1) + 192
    return reader.number(4)
