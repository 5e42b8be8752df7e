"""JSON text to plain data and back, under limits; nothing here knows a specification.

Every document that ocikit reads comes from somebody else, so reading is strict where
lenient parsers disagree with each other: the text is UTF-8, object keys are unique,
``NaN`` and ``Infinity`` are refused, numbers fit a double and strings are whole Unicode
(the I-JSON rules that the image specification asks for). Size and depth are limited
before the recursive parser sees the text.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ocikit.errors import LimitExceededError, ParseError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["MAX_BYTES", "MAX_DEPTH", "Fault", "describe", "dumps", "json_path", "loads"]

#: The size up to which a document is read when the caller says nothing: 4 MiB, in bytes.
MAX_BYTES: Final = 4 * 1024 * 1024

#: How many arrays and objects may be nested in each other when the caller says nothing.
MAX_DEPTH: Final = 100

# Not compiled before they are needed: in errors, and for text that is rare.
_PLAIN_KEY = r"[A-Za-z_][A-Za-z0-9_]*"
_SURROGATE = "[\ud800-\udfff]"

# One that does not end is one, too: looked for again from each quotation mark in it, it would take for ever.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


class Fault(Exception):  # noqa: N818 - never leaves this room: it becomes a ParseError or a ValidationError
    """What is wrong with a value; its place is added step by step while the stack unwinds."""

    def __init__(self, reason: str, *steps: str | int) -> None:
        super().__init__(reason)
        self.reason = reason
        self._steps: list[str | int] = list(reversed(steps))

    def at(self, step: str | int) -> None:
        """Add the key or index under which the faulty value lies."""
        self._steps.append(step)

    @property
    def path(self) -> str:
        """The JSON path of the faulty value, as far as it is known."""
        return json_path(reversed(self._steps))


def json_path(steps: Iterable[str | int], root: str = "$") -> str:
    """Write the way to a value as a JSON path.

    Args:
        steps: Keys and indexes from the outside in.
        root: What the steps start from.

    Returns:
        For example ``$.mounts[3].options``; a key that is no identifier is quoted (``$["os.version"]``).
    """
    return root + "".join(_step(step) for step in steps)


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    if re.fullmatch(_PLAIN_KEY, step, re.ASCII):
        return f".{step}"
    shown = step if len(step) <= 100 else f"{step[:97]}..."
    return f"[{json.dumps(shown)}]"


_NAMES: Final = {
    dict: "an object",
    list: "an array",
    tuple: "an array",
    str: "a string",
    float: "a number with a fraction or exponent",
    bytes: "bytes",
    type(None): "null",
}


def describe(value: object) -> str:
    """Name a value in an error message: its kind, and the value itself when that is short and harmless."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        # Converting a huge integer to decimal costs quadratic time and is refused by Python itself.
        return str(value) if value.bit_length() <= 128 else "an integer of more than 128 bits"
    return _NAMES.get(type(value)) or f"a Python object of type {type(value).__name__}"


def loads(
    data: bytes | str,
    *,
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
    allow_duplicate_keys: bool = False,
) -> object:
    """Parse one JSON document.

    Args:
        data: The document; bytes are UTF-8 without a byte order mark.
        max_bytes: The size up to which it is read, in bytes.
        max_depth: How many arrays and objects may be nested in each other.
        allow_duplicate_keys: Let the last of several equal keys win, instead of refusing them.

    Returns:
        dict, list, str, int, float, bool or None.

    Raises:
        ParseError: The text is not JSON, or breaks a rule of I-JSON.
        LimitExceededError: It is too large or too deep.
    """
    raw, text = _both(data, max_bytes)
    if text.startswith("\ufeff"):
        raise ParseError("$", "not JSON: begins with a byte order mark")
    _check_depth(raw, max_depth)
    decoder = _LENIENT if allow_duplicate_keys else _STRICT
    try:
        document: object = decoder.decode(text)
    except _DuplicateKeyError:
        raise _duplicate(text) from None
    except json.JSONDecodeError as error:
        raise ParseError("$", f"not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    except (ValueError, RecursionError) as error:
        # ValueError: a number that the hooks below refuse, or with more digits than Python converts.
        # RecursionError: the caller allowed more depth than the interpreter has left.
        raise ParseError("$", f"not JSON that can be read here: {error}") from None
    if _SURROGATE_ESCAPE.search(text):
        _check_unicode(document)
    return document


def dumps(document: object, *, indent: int | str | None = None) -> bytes:
    """Write plain data as JSON.

    Args:
        document: What :func:`loads` returns.
        indent: Spaces (a number) or text per level; None for the compact form without any white space.

    Returns:
        UTF-8 without a trailing newline.

    Raises:
        ValidationError: A string cannot be written as UTF-8, such as one with undecodable bytes of a file name.
    """
    separators = (",", ":") if indent is None else None
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators)
    try:
        return text.encode()
    except UnicodeEncodeError:
        steps = next(_broken_strings(document))
        reason = "holds a lone surrogate (undecodable bytes?), which JSON cannot carry"
        raise ValidationError((f"{json_path(steps)}: {reason}",)) from None


def _both(data: bytes | str, max_bytes: int) -> tuple[bytes, str]:
    if len(data) > max_bytes:  # a string has at least as many bytes as characters
        raise _too_large(max_bytes, len(data))
    if not isinstance(data, str):
        try:
            return data, data.decode()
        except UnicodeDecodeError as error:
            raise ParseError("$", f"not JSON: byte {error.start} is not UTF-8") from None
    try:
        raw = data.encode()
    except UnicodeEncodeError as error:
        raise ParseError("$", f"not JSON: character {error.start} is a lone surrogate") from None
    if len(raw) > max_bytes:
        raise _too_large(max_bytes, len(raw))
    return raw, data


def _too_large(limit: int, found: int) -> LimitExceededError:
    return LimitExceededError("JSON document bytes", limit, found, "max_bytes raises the limit")


def _check_depth(raw: bytes, max_depth: int) -> None:
    """Refuse deep nesting before the parser recurses into it: a host may have raised the recursion limit."""
    if raw.count(b"[") + raw.count(b"{") <= max_depth:
        return
    depth = 0
    for bracket in _STRING.sub(b"", raw).translate(None, _ALL_BUT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > max_depth:
            raise LimitExceededError("JSON nesting depth", max_depth, remedy="max_depth raises the limit")


class _DuplicateKeyError(Exception):
    """Some object has two equal keys; which one is found out afterwards, off the fast path."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _DuplicateKeyError
    return result


def _finite(text: str) -> float:
    value = float(text)
    if abs(value) == float("inf"):
        raise ValueError(f"number {text[:40]} does not fit a double")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


_STRICT: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_no_constant)
_LENIENT: Final = json.JSONDecoder(parse_float=_finite, parse_constant=_no_constant)


class _Pairs(dict[str, Any]):
    """An object that remembers its first repeated key."""

    repeated: str | None = None


def _remember(pairs: list[tuple[str, Any]]) -> _Pairs:
    result = _Pairs()
    for name, value in pairs:
        if name in result and result.repeated is None:
            result.repeated = name
        result[name] = value
    return result


def _duplicate(text: str) -> ParseError:
    try:
        document = json.JSONDecoder(object_pairs_hook=_remember).decode(text)
    except (ValueError, RecursionError) as error:
        # The repeated key was met before what else is wrong, further on.
        return ParseError("$", f"not JSON, and a key appears more than once in its object: {error}")
    # A fault inside a value that was replaced is not seen any more, but the key that replaced it is.
    steps = next(
        (*steps, value.repeated)
        for steps, value in _walk(document, ())
        if isinstance(value, _Pairs) and value.repeated is not None
    )
    return ParseError(json_path(steps), "key appears more than once in its object")


def _walk(value: object, steps: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], object]]:
    yield steps, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(item, (*steps, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, (*steps, index))


def _broken_strings(document: object) -> Iterator[tuple[str | int, ...]]:
    for steps, value in _walk(document, ()):
        if isinstance(value, str) and re.search(_SURROGATE, value):
            yield steps
        if isinstance(value, dict) and any(re.search(_SURROGATE, key) for key in value):
            yield steps


def _check_unicode(document: object) -> None:
    for steps in _broken_strings(document):
        raise ParseError(json_path(steps), "holds half of a surrogate pair, which is no character")
