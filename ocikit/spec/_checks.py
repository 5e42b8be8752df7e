"""Checks that the rules of several classes share; each yields what it finds wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

__all__ = [
    "SEMANTIC_VERSION",
    "Finding",
    "Rule",
    "absolute",
    "all_of",
    "annotation_keys",
    "cpu_list",
    "distinct",
    "media_type",
    "one_of",
    "required",
    "semantic_version",
    "shown",
    "without_newline",
]

#: A violation inside an object: the keys and indexes that lead to the value, and what is wrong with it.
Finding = tuple[Sequence[str | int], str]

#: Finds what is wrong in one object.
Rule = Callable[[Any], Iterator[Finding]]

#: Major, minor, patch and pre-release of Semantic Versioning 2.0.0.
SEMANTIC_VERSION: Final = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-((?:0|[1-9]\d*|\d*[A-Za-z-][\dA-Za-z-]*)(?:\.(?:0|[1-9]\d*|\d*[A-Za-z-][\dA-Za-z-]*))*))?"
    r"(?:\+[\dA-Za-z-]+(?:\.[\dA-Za-z-]+)*)?",
    re.ASCII,
)
# Compiled with the first use; most configurations have nothing of the kind.
_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_MEDIA_TYPE: Final = f"{_NAME}/{_NAME}"
_DRIVE: Final = r"[A-Za-z]:[\\/]|\\\\"
_RANGE: Final = r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*"


def shown(text: str) -> str:
    """A value in a message: quoted, and cut when it is long."""
    return repr(text if len(text) <= 80 else f"{text[:77]}...")


def required(value: object, *steps: str | int) -> Iterator[Finding]:
    """A value that must be there and not empty."""
    if not value:
        yield steps, "is REQUIRED"


def one_of(value: str, words: Iterable[str], *steps: str | int) -> Iterator[Finding]:
    """A required value out of a list."""
    if not value:
        yield steps, "is REQUIRED"
    elif value not in words:
        yield steps, f"expected one of {', '.join(words)}, found {shown(value)}"


def all_of(values: Iterable[str], words: Iterable[str], *steps: str | int) -> Iterator[Finding]:
    """Values that are all out of a list."""
    for index, value in enumerate(values):
        yield from one_of(value, words, *steps, index)


def absolute(value: str, *steps: str | int) -> Iterator[Finding]:
    """A required path that is absolute, in the way of POSIX or of Windows."""
    if not value:
        yield steps, "is REQUIRED"
    elif not value.startswith("/") and not re.match(_DRIVE, value, re.ASCII):
        yield steps, f"expected an absolute path, found {shown(value)}"


def annotation_keys(annotations: Mapping[str, str]) -> Iterator[Finding]:
    """Annotations, whose keys must say something."""
    if "" in annotations:
        yield ["annotations", ""], "keys must not be empty"


def distinct(values: Iterable[str], what: str, *steps: str) -> Iterator[Finding]:
    """Values that must not repeat; the steps after the first follow the index."""
    seen: dict[str, int] = {}
    for index, value in enumerate(values):
        first = seen.setdefault(value, index)
        if first != index:
            yield (steps[0], index, *steps[1:]), f"repeats the {what} {shown(value)} of entry {first}"


def media_type(value: str, *steps: str | int) -> Iterator[Finding]:
    """A media type by the naming requirements of RFC 6838, section 4.2."""
    if not re.fullmatch(_MEDIA_TYPE, value, re.ASCII):
        yield steps, f"expected a media type (RFC 6838), found {shown(value)}"


def semantic_version(value: str, *steps: str | int) -> Iterator[Finding]:
    """A required version in the format of Semantic Versioning 2.0.0."""
    if not value:
        yield steps, "is REQUIRED"
    elif not SEMANTIC_VERSION.fullmatch(value):
        yield steps, f"expected a version such as 1.3.0 (SemVer 2.0.0), found {shown(value)}"


def cpu_list(value: str, *steps: str | int) -> Iterator[Finding]:
    """An optional list of numbers and ranges, such as ``0-3,7``."""
    if value and not all(map(_is_range, value.split(","))):
        yield steps, f"expected numbers and ranges such as 0-3,7, found {shown(value)}"


def _is_range(text: str) -> bool:
    match = re.fullmatch(_RANGE, text, re.ASCII)
    return match is not None and int(match[1]) <= int(match[2] or match[1])


def without_newline(value: str, *steps: str | int) -> Iterator[Finding]:
    """A value that is one line."""
    if "\n" in value:
        yield steps, f"must not contain newlines, found {shown(value)}"
