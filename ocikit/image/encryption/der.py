"""As much of the Distinguished Encoding Rules (X.690) as PKCS #7 takes: elements of definite length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit._tuples import NamedTuple
from ocikit.errors import EncryptionError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "INTEGER",
    "OCTET_STRING",
    "OID",
    "SEQUENCE",
    "SET",
    "Element",
    "elements",
    "encode",
    "integer",
    "issuer_and_serial",
    "only",
    "read_oid",
    "write_oid",
]

# The first byte of an element: universal classes, SEQUENCE and SET constructed.
INTEGER, OCTET_STRING, OID, SEQUENCE, SET = 0x02, 0x04, 0x06, 0x30, 0x31

_MOST_ELEMENTS: Final = 10_000
_LONG_TAG: Final = 0x1F
_MOST_OID_BYTES: Final = 64


class Element(NamedTuple):
    """One element.

    Attributes:
        tag: Its first byte: class, form and number.
        content: What is in it.
    """

    tag: int
    content: bytes

    def __bytes__(self) -> bytes:
        return encode(self.tag, self.content)


def elements(data: bytes, *, what: str) -> tuple[Element, ...]:
    """Return the elements that some bytes are, one after the other.

    Args:
        data: The bytes.
        what: What they are, for messages.

    Raises:
        EncryptionError: They are something else, or too many.
    """
    found = []
    for one in _elements(data, what):
        found.append(one)
        if len(found) > _MOST_ELEMENTS:
            raise EncryptionError(f"{what}: more than {_MOST_ELEMENTS:,} elements")
    return tuple(found)


def _elements(data: bytes, what: str) -> Iterator[Element]:
    at = 0
    while at < len(data):
        tag = data[at]
        if tag & _LONG_TAG == _LONG_TAG:
            raise EncryptionError(f"{what}: a tag of more than one byte")
        length, start = _length(data, at + 1, what)
        if start + length > len(data):
            raise EncryptionError(f"{what}: an element of {length:,} bytes, and {len(data) - start:,} are left")
        yield Element(tag, data[start : start + length])
        at = start + length


def _length(data: bytes, at: int, what: str) -> tuple[int, int]:
    """Return the length that is written at a place, and where what it is about begins (X.690 §8.1.3)."""
    if at >= len(data):
        raise EncryptionError(f"{what}: ends within an element")
    first = data[at]
    if first < 0x80:
        return first, at + 1
    size = first & 0x7F
    if not 1 <= size <= 4:
        raise EncryptionError(f"{what}: expected a definite length of up to four bytes (DER)")
    if at + 1 + size > len(data):
        raise EncryptionError(f"{what}: ends within an element")
    return int.from_bytes(data[at + 1 : at + 1 + size]), at + 1 + size


def only(data: bytes, tag: int, *, what: str) -> bytes:
    """Return the content of the one element that some bytes are.

    Args:
        data: The bytes.
        tag: The first byte that the element must have.
        what: What it is, for messages.

    Raises:
        EncryptionError: They are something else.
    """
    found = elements(data, what=what)
    if len(found) != 1 or found[0].tag != tag:
        tags = ", ".join(f"{one.tag:#04x}" for one in found[:5])
        raise EncryptionError(f"{what}: expected one element {tag:#04x}, found {tags or 'nothing'}")
    return found[0].content


def encode(tag: int, *parts: bytes) -> bytes:
    """Write an element.

    Args:
        tag: Its first byte.
        parts: What is in it, one after the other.
    """
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(length))) + length + content


def integer(value: int) -> bytes:
    """Write a number that is not negative."""
    return encode(INTEGER, value.to_bytes(value.bit_length() // 8 + 1))


def write_oid(text: str) -> bytes:
    """Write an object identifier (X.690 §8.19).

    Args:
        text: The identifier, as numbers with dots.
    """
    first, second, *rest = map(int, text.split("."))
    content = b""
    for number in (first * 40 + second, *rest):
        septets = [number & 0x7F]
        while number := number >> 7:
            septets.append(0x80 | number & 0x7F)
        content += bytes(reversed(septets))
    return encode(OID, content)


def read_oid(element: Element, *, what: str) -> str:
    """Return an object identifier as numbers with dots.

    Args:
        element: The element.
        what: What it is, for messages.

    Raises:
        EncryptionError: It is something else.
    """
    content = element.content
    if element.tag != OID or not 1 <= len(content) <= _MOST_OID_BYTES or content[-1] & 0x80:
        raise EncryptionError(f"{what}: expected an object identifier")
    numbers, number = [], 0
    for byte in content:
        number = number << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - first * 40, *numbers[1:])))


def issuer_and_serial(tbs: bytes, *, what: str) -> bytes:
    """Return IssuerAndSerialNumber of a certificate, byte for byte as the certificate has it.

    Args:
        tbs: TBSCertificate, DER (RFC 5280 §4.1).
        what: The certificate, for messages.

    Raises:
        EncryptionError: It is malformed.
    """
    members = elements(only(tbs, SEQUENCE, what=what), what=what)
    # [0] version, which is left out of certificates of the first version.
    members = members[1:] if members and members[0].tag == 0xA0 else members
    if [one.tag for one in members[:3]] != [INTEGER, SEQUENCE, SEQUENCE]:
        raise EncryptionError(f"{what}: expected a certificate")
    return encode(SEQUENCE, bytes(members[2]), bytes(members[0]))
