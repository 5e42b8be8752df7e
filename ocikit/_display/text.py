r"""Text that is safe to show, and tables of it for a terminal.

A terminal obeys what is written to it: escape sequences rename its window and write over lines that were there before.
What cannot be printed is therefore shown as ``\x1b`` and the like, and never written.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

__all__ = [
    "LONGEST_CELL",
    "LONGEST_LINE",
    "MOST_ROWS",
    "Cell",
    "Quantity",
    "cell_text",
    "moment",
    "printable",
    "seconds",
    "size",
    "table",
]

#: The most characters that are shown of one thing.
LONGEST_CELL: Final = 160
#: Of a line by which somebody decides whom to trust: what stands at its end counts as much as its beginning.
LONGEST_LINE: Final = 4000

#: The most rows that are shown of one table; how many more there are is said.
MOST_ROWS: Final = 500

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


class Quantity(str):
    """A number that was given a unit: tables put it to the right."""

    __slots__ = ()


#: What a table holds; None is something that is not known.
Cell: TypeAlias = str | int | None


def printable(text: str, limit: int = LONGEST_CELL) -> str:
    """Return text with everything in it that cannot be seen, or moves what can be seen, written as an escape.

    That is: control characters, separators of lines, marks that turn the direction of writing, and bytes that are no
    UTF-8. It is for people: a backslash stays one, and what is returned cannot be turned back.

    Args:
        text: The text, perhaps with lone surrogates (``surrogateescape``).
        limit: How many characters of it are looked at; what is cut ends in "…".
    """
    shown = text if len(text) <= limit else text[: limit - 1]
    if not shown.isprintable():
        shown = "".join(one if one.isprintable() else _escape(one) for one in shown)
    return shown if len(text) <= limit else f"{shown}…"


def blanked(text: str) -> str:
    """Return text with blanks for everything in it that cannot be seen, or moves what can be seen.

    It is for a line of a message, where escapes would be taken for what was said.

    Args:
        text: The text.
    """
    return "".join(one if one.isprintable() else " " for one in text)


def _escape(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte that was not UTF-8
        return f"\\x{number - 0xDC00:02x}"
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


def size(number: float) -> Quantity:
    """Return a number of bytes as people read it: ``512 B``, ``1.5 MiB``."""
    value, unit = float(number), 0
    while abs(value) >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return Quantity(f"{value:.0f} B" if unit == 0 else f"{value:.{1 if abs(value) < 99.95 else 0}f} {_UNITS[unit]}")


def seconds(number: float) -> Quantity:
    """Return a time as people read it: ``0.02 s``, ``5:07``, ``2:00:00``."""
    if number < 60:
        return Quantity(f"{number:.2f} s")
    minutes, rest = divmod(int(number), 60)
    hours, minutes = divmod(minutes, 60)
    return Quantity(f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}")


def moment(when: dt.datetime) -> Quantity:
    """Return a moment in the time zone of this host, to the second."""
    return Quantity(when.astimezone().strftime("%Y-%m-%d %H:%M:%S"))


def cell_text(cell: Cell) -> str:
    """Return what is shown of a cell."""
    return "unknown" if cell is None else printable(str(cell))


def table(rows: Iterable[Sequence[Cell]], header: Sequence[str]) -> str:
    """Return a table with aligned columns, without a line break at its end.

    Args:
        rows: The cells of each row; at most :data:`MOST_ROWS` are shown.
        header: The title of each column.
    """
    kept = list(rows)
    more = len(kept) - MOST_ROWS
    kept = kept[:MOST_ROWS]
    right = [bool(kept) and all(isinstance(row[at], int | Quantity) for row in kept) for at in range(len(header))]
    shown = [tuple(header), *(tuple(map(cell_text, row)) for row in kept)]
    widths = [max(_width(row[at]) for row in shown) for at in range(len(header))]
    lines = ["  ".join(map(_aligned, row, widths, right)).rstrip() for row in shown]
    return "\n".join([*lines, f"… and {more} more"] if more > 0 else lines)


def _aligned(text: str, width: int, right: bool) -> str:  # noqa: FBT001 - one of three columns that map goes through
    space = " " * (width - _width(text))
    return space + text if right else text + space


def _width(text: str) -> int:
    """Return how many columns of a terminal printable text takes."""
    if text.isascii():
        return len(text)
    return sum(_columns(one) for one in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1
