"""Members of JSON documents, read with their types: what is missing, malformed or unknown is named by its path.

The documents are messages of Protocol Buffers in their JSON form: numbers may be strings of digits, and what has the
value that a member has by itself (0, nothing, no items) is left out.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any, Final, Self

from attrs import frozen

from ocikit.errors import InvalidSignatureError, LimitExceededError, ParseError
from ocikit.spec._json import describe, json_path, loads

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Members", "decode_base64"]

_DIGITS: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_MOST: Final = 2**63 - 1
# Of the name of a member that nobody knows.
_MOST_SHOWN: Final = 100


def decode_base64(text: str) -> bytes | None:
    """Decode base64 in its one usual form (RFC 4648 §4, padded); None for anything else.

    Args:
        text: The text.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    # Bits after the end would make two texts of the same bytes.
    return data if base64.b64encode(data).decode() == text else None


@frozen(kw_only=True)
class Members:
    """An object of a document.

    Attributes:
        what: The document, for messages.
        path: Where in it the object is.
        values: Its members.
    """

    what: str
    path: str
    values: Mapping[str, Any]

    @classmethod
    def read(cls, data: bytes, what: str) -> Self:
        """Read a document that is an object.

        Args:
            data: Its bytes.
            what: What it is, for messages.

        Raises:
            InvalidSignatureError: It is none.
        """
        try:
            document = loads(data)
        except (ParseError, LimitExceededError) as error:
            raise InvalidSignatureError(f"{what} is no JSON document: {error}") from error
        return cls._of(document, what, "$")

    @classmethod
    def _of(cls, value: object, what: str, path: str) -> Self:
        if not isinstance(value, dict):
            raise InvalidSignatureError(f"{what}: {path}: expected an object, found {describe(value)}")
        return cls(what=what, path=path, values=value)

    def fault(self, key: str, reason: str) -> InvalidSignatureError:
        """Return the error for a member.

        Args:
            key: Its name.
            reason: What is wrong with it.
        """
        return InvalidSignatureError(f"{self.what}: {json_path([key[:_MOST_SHOWN]], self.path)}: {reason}")

    def has(self, key: str) -> bool:
        """Say whether there is a member; null is none.

        Args:
            key: Its name.
        """
        return self.values.get(key) is not None

    def only(self, *keys: str) -> Self:
        """Refuse members that are not known, and return the object.

        Args:
            keys: The names of those that are.

        Raises:
            InvalidSignatureError: There is another one.
        """
        for key in self.values:
            if key not in keys:
                raise self.fault(key, f"unknown; expected {', '.join(keys)} and nothing else")
        return self

    def text(self, key: str) -> str:
        """Return a text that must be there.

        Args:
            key: The name of the member.

        Raises:
            InvalidSignatureError: It is missing, empty or of another type.
        """
        value = self.values.get(key)
        if value is None or value == "":
            raise self.fault(key, "missing")
        if not isinstance(value, str):
            raise self.fault(key, f"expected a string, found {describe(value)}")
        return value

    def exactly(self, key: str, *expected: str) -> str:
        """Return a text that must be one of a few.

        Args:
            key: The name of the member.
            expected: The texts.

        Raises:
            InvalidSignatureError: It is another one.
        """
        value = self.text(key)
        if value not in expected:
            raise self.fault(key, f"expected {' or '.join(map(repr, expected))}, found {value[:100]!r}")
        return value

    def base64(self, key: str) -> bytes:
        """Return bytes that must be there.

        Args:
            key: The name of the member.

        Raises:
            InvalidSignatureError: They are missing, or are not base64.
        """
        data = decode_base64(self.text(key))
        if data is None:
            raise self.fault(key, "not base64 (RFC 4648 §4, padded)")
        return data

    def whole(self, key: str) -> int:
        """Return a whole number; 0 when it is left out.

        Args:
            key: The name of the member.

        Raises:
            InvalidSignatureError: It is none, or is negative or does not fit 64 bits.
        """
        value = self.values.get(key)
        if isinstance(value, str) and _DIGITS.fullmatch(value):
            value = int(value)
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
            raise self.fault(key, f"expected a whole number from 0 to 2^63 - 1, found {describe(value)}")
        return value

    def object(self, key: str) -> Self:
        """Return an object that must be there.

        Args:
            key: The name of the member.

        Raises:
            InvalidSignatureError: It is missing or of another type.
        """
        if not self.has(key):
            raise self.fault(key, "missing")
        return self._of(self.values[key], self.what, json_path([key], self.path))

    def items(self, key: str, most: int) -> tuple[Any, ...]:
        """Return a list; an empty one when it is left out.

        Args:
            key: The name of the member.
            most: How many items there may be.

        Raises:
            InvalidSignatureError: It is none, or there are more.
        """
        value = self.values.get(key)
        if value is None:
            return ()
        if not isinstance(value, list):
            raise self.fault(key, f"expected a list, found {describe(value)}")
        if len(value) > most:
            raise self.fault(key, f"{len(value):,} items, at most {most} are read")
        return tuple(value)

    def objects(self, key: str, most: int) -> tuple[Self, ...]:
        """Return a list of objects; an empty one when it is left out.

        Args:
            key: The name of the member.
            most: How many there may be.

        Raises:
            InvalidSignatureError: It is none, or there are more.
        """
        path = json_path([key], self.path)
        return tuple(self._of(item, self.what, f"{path}[{n}]") for n, item in enumerate(self.items(key, most)))
