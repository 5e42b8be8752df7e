"""Digests: content identifiers such as ``sha256:6c3c…`` (image specification, descriptor.md)."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Final, Self

from ocikit.errors import DigestMismatchError, InvalidDigestError, NotSupportedError

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["Digest"]


@functools.cache
def _grammar() -> re.Pattern[str]:
    # Compiled with the first digest: configurations have none.
    return re.compile(r"([a-z0-9]+(?:[+._-][a-z0-9]+)*):([a-zA-Z0-9=_-]+)", re.ASCII)


#: The algorithms that can be computed here, with the number of hexadecimal digits each has.
_REGISTERED: Final = {"sha256": 64, "sha512": 128}
_LOWER_HEX: Final = frozenset("0123456789abcdef")


class Digest(str):
    """A digest, checked when it is made; it is a string and compares as one.

    A digest of an algorithm that the specification does not register is accepted, as it
    asks for, when it follows the grammar; it can be carried along but not computed.

    >>> digest = Digest.from_bytes(b"{}")
    >>> digest.algorithm, digest.hex[:12]
    ('sha256', '44136fa355b3')

    Raises:
        InvalidDigestError: The text is not a digest.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Check the text and make it a digest."""
        match = _grammar().fullmatch(text)
        if match is None:
            raise InvalidDigestError(f"expected a digest such as sha256:<64 hexadecimal digits>, found {text[:160]!r}")
        algorithm, encoded = match.groups()
        digits = _REGISTERED.get(algorithm)
        if digits is not None and not (len(encoded) == digits and _LOWER_HEX.issuperset(encoded)):
            raise InvalidDigestError(
                f"a {algorithm} digest has {digits} lower-case hexadecimal digits, found {text[:160]!r}"
            )
        return super().__new__(cls, text)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The same as calling the class.

        Raises:
            InvalidDigestError: The text is not a digest.
        """
        return cls(text)

    @classmethod
    def from_bytes(cls, data: bytes, algorithm: str = "sha256") -> Self:
        """The digest of some bytes.

        Raises:
            NotSupportedError: The algorithm is not sha256 or sha512.
        """
        hasher = _hasher(algorithm)
        hasher.update(data)
        return cls.from_hasher(hasher)

    @classmethod
    def from_hasher(cls, hasher: _Hash) -> Self:
        """The digest of what a hasher (of :meth:`hasher` or :mod:`hashlib`) has been fed."""
        return cls(f"{hasher.name}:{hasher.hexdigest()}")

    @property
    def algorithm(self) -> str:
        """The part before the colon, such as ``sha256``."""
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        """The part after the colon: hexadecimal digits for the registered algorithms. Safe as a file name."""
        return self.partition(":")[2]

    def hasher(self) -> _Hash:
        """A fresh hasher of this digest's algorithm, for content that arrives piece by piece.

        Raises:
            NotSupportedError: The algorithm is not sha256 or sha512.
        """
        return _hasher(self.algorithm)

    def verify(self, data: bytes, *, what: str = "content") -> None:
        """Check that some bytes have this digest.

        Args:
            data: The bytes.
            what: What they are, for the message.

        Raises:
            DigestMismatchError: They have another one.
            NotSupportedError: The algorithm is not sha256 or sha512.
        """
        actual = Digest.from_bytes(data, self.algorithm)
        if actual != self:
            raise DigestMismatchError(what, self, actual)

    def __repr__(self) -> str:
        return f"Digest({str(self)!r})"


def _hasher(algorithm: str) -> _Hash:
    import hashlib  # noqa: PLC0415 - loads OpenSSL, which a program that only reads documents never needs

    if algorithm not in _REGISTERED:
        raise NotSupportedError(f"digests of algorithm {algorithm!r} cannot be computed here, only sha256 and sha512")
    return hashlib.new(algorithm, usedforsecurity=True)
