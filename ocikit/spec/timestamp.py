"""Points in time as documents write them: RFC 3339, section 5.6, to the nanosecond."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Self

from ocikit.errors import ParseError

if TYPE_CHECKING:
    import datetime as dt

__all__ = ["Timestamp"]

# Compiled with the first of them: configurations have none.
_GRAMMAR: Final = r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(?:[Zz]|([+-](?:[01]\d|2[0-3]):[0-5]\d))"


class Timestamp(str):
    """A point in time, kept as written, checked when it is made; it is a string and compares as one.

    A string because documents have nanoseconds, which :class:`datetime.datetime` would lose.

    >>> Timestamp("2015-10-31T22:22:56.015925234Z").datetime.year
    2015

    Raises:
        ParseError: The text is not a time in the format of RFC 3339; its path is ``$``.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Check the text and make it a point in time."""
        self = super().__new__(cls, text)
        try:
            self.datetime  # noqa: B018 - the calendar decides whether there is such a day
        except ValueError as error:
            reason = f"expected a time such as 2015-10-31T22:22:56.015925234Z (RFC 3339), found {text[:80]!r}"
            raise ParseError("$", reason) from error
        return self

    @classmethod
    def from_datetime(cls, moment: dt.datetime) -> Self:
        """Write a time.

        Raises:
            ValueError: The time has no time zone, so which moment it means is not known.
        """
        if moment.utcoffset() is None:
            raise ValueError("a time without a time zone is no point in time; give one, such as datetime.UTC")
        return cls(moment.isoformat().replace("+00:00", "Z"))

    @property
    def datetime(self) -> dt.datetime:
        """The time with its zone; digits below a microsecond are cut off."""
        import datetime as dt  # noqa: PLC0415 - most readers of a document never look at its times

        match = re.fullmatch(_GRAMMAR, self, re.ASCII)
        if match is None:
            raise ValueError(f"not a time in the format of RFC 3339: {str(self)[:80]!r}")
        day, clock, fraction, offset = match.groups()
        microseconds = (fraction or "0")[:6].ljust(6, "0")
        return dt.datetime.fromisoformat(f"{day}T{clock}.{microseconds}{offset or '+00:00'}")

    def __repr__(self) -> str:
        return f"Timestamp({str(self)!r})"
