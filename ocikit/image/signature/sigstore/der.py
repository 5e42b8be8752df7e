"""DER (X.690), as far as timestamps need it: elements one after the other, each with the tag that is expected.

Only what the distinguished rules allow is read: one form of every length, and nothing after the end.
"""

from __future__ import annotations

from typing import Final

from ocikit._tuples import NamedTuple
from ocikit.errors import InvalidSignatureError

__all__ = ["INTEGER", "OBJECT_IDENTIFIER", "OCTET_STRING", "SEQUENCE", "SET", "Element", "Elements"]

INTEGER: Final = 0x02
OCTET_STRING: Final = 0x04
OBJECT_IDENTIFIER: Final = 0x06
SEQUENCE: Final = 0x30
SET: Final = 0x31

_LONG: Final = 0x80
_MOST_LENGTH_BYTES: Final = 4
_MULTIPLE_BYTES: Final = 0x1F


class Element(NamedTuple):
    """One element.

    Attributes:
        tag: What it is, one byte.
        content: What is in it.
        raw: All of its bytes.
    """

    tag: int
    content: bytes
    raw: bytes


class Elements:
    """Elements that follow each other, read from the first to the last.

    Args:
        data: Their bytes.
        what: What they are, for messages.
    """

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._what = what
        self._at = 0

    @property
    def next_tag(self) -> int | None:
        """The tag of the next element; None at the end."""
        return self._data[self._at] if self._at < len(self._data) else None

    def any(self) -> Element:
        """Return the next element, whatever it is.

        Raises:
            InvalidSignatureError: There is none, or it is malformed.
        """
        start, data = self._at, self._data
        if len(data) - start < 2:
            raise self._fault("ends too early")
        tag, size = data[start], data[start + 1]
        begin = start + 2
        if tag & _MULTIPLE_BYTES == _MULTIPLE_BYTES:
            raise self._fault("has a tag of several bytes")
        if size & _LONG:
            count = size & ~_LONG
            if not 1 <= count <= _MOST_LENGTH_BYTES:
                raise self._fault("has an element of no definite length, or a very long one")
            octets = data[begin : begin + count]
            size, begin = int.from_bytes(octets, "big"), begin + count
            if octets[:1] == b"\0" or size < _LONG:
                raise self._fault("has a length that is not in its shortest form")
        if begin + size > len(data):
            raise self._fault("ends too early")
        self._at = begin + size
        return Element(tag, data[begin : self._at], data[start : self._at])

    def take(self, tag: int, name: str) -> Element:
        """Return the next element, which must be of a kind.

        Args:
            tag: Its tag.
            name: What it is, for messages.

        Raises:
            InvalidSignatureError: It is of another kind, malformed, or not there.
        """
        if self.next_tag != tag:
            found = "nothing" if self.next_tag is None else f"tag {self.next_tag:#04x}"
            raise self._fault(f"expected {name}, tag {tag:#04x}, found {found}")
        return self.any()

    def inside(self, tag: int, name: str) -> Elements:
        """Return what is in the next element, which must be of a kind.

        Args:
            tag: Its tag.
            name: What it is, for messages.

        Raises:
            InvalidSignatureError: As :meth:`take`.
        """
        return Elements(self.take(tag, name).content, self._what)

    def optional(self, tag: int) -> Element | None:
        """Return the next element when it is of a kind; otherwise None, and it stays the next one.

        Args:
            tag: Its tag.

        Raises:
            InvalidSignatureError: It is malformed.
        """
        return self.any() if self.next_tag == tag else None

    def whole(self, name: str) -> int:
        """Return the next element, a number.

        Args:
            name: What it is, for messages.

        Raises:
            InvalidSignatureError: As :meth:`take`.
        """
        return int.from_bytes(self.take(INTEGER, name).content, "big", signed=True)

    def end(self) -> None:
        """Return when everything was read.

        Raises:
            InvalidSignatureError: There is more.
        """
        if self.next_tag is not None:
            raise self._fault(f"has {len(self._data) - self._at:,} bytes more than it should")

    def _fault(self, reason: str) -> InvalidSignatureError:
        return InvalidSignatureError(f"{self._what} is malformed: {reason}")
