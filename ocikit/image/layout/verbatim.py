"""The entries of an index.json as they are written, so that those nobody changes are written back byte for byte.

To parse a document and write it anew keeps its meaning and not its bytes: numbers, escapes and spaces are written in
many ways, and whoever put an entry there may compare. Pure.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

__all__ = ["element_texts"]

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_DECODER: Final = json.JSONDecoder()


def element_texts(document: str, key: str) -> list[tuple[Any, str]]:
    """Return the elements of an array in an object, each as it is read and as it is written.

    Args:
        document: The object, of which is known that it is JSON and has no key twice; nothing for none.
        key: The key of the array; elements are returned only when there is such an array.
    """
    if not document:
        return []
    position = _after(document, document.index("{") + 1)
    while document[position] != "}":
        name, position = _DECODER.raw_decode(document, position)
        position = _after(document, _after(document, position) + 1)  # the colon
        if name == key and document[position] == "[":
            return _elements(document, position)
        _, position = _DECODER.raw_decode(document, position)
        position = _next(document, position)
    return []


def _elements(document: str, position: int) -> list[tuple[Any, str]]:
    found = []
    position = _after(document, position + 1)
    while document[position] != "]":
        value, end = _DECODER.raw_decode(document, position)
        found.append((value, document[position:end]))
        position = _next(document, end)
    return found


def _after(document: str, position: int) -> int:
    """Return where the next character is that is no space."""
    match = _SPACE.match(document, position)
    return match.end() if match is not None else position


def _next(document: str, position: int) -> int:
    """Return where the next member or element begins, or where there are no more."""
    position = _after(document, position)
    return _after(document, position + 1) if document[position] == "," else position
