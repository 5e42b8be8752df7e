"""Numbers that servers state in headers, where they are numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["stated_number"]

# Longer ones count nothing that there is, and take their time to be read.
_MOST_DIGITS: Final = 18


def stated_number(headers: Mapping[str, str], name: str) -> int | None:
    """Return the number in a header; None where there is none, or something else.

    Args:
        headers: The headers.
        name: The name of the header.
    """
    text = headers.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None
