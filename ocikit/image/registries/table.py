"""A table of TOML, looked into: values of a kind, or an error that says where.

As in containers/image keys fit in any case, and those that are not known are ignored: files are shared with programs
that know more. That is logged, as it may be a misspelled ``blocked``.
"""

from __future__ import annotations

import logging
import tomllib
from typing import TYPE_CHECKING, Final

from ocikit.errors import InvalidConfigurationError, LimitExceededError
from ocikit.spec._json import json_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Table", "load_toml"]

# What the parser does for a key grows with the square of its parts.
_MOST_DOTS: Final = 128
_MOST_SHOWN: Final = 5

_log = logging.getLogger(__name__)

_KINDS: Final = {str: "a string", bool: "true or false", list: "an array", dict: "a table"}


def load_toml(data: bytes, source: str) -> dict[str, object]:
    """Parse TOML.

    Args:
        data: The document.
        source: The file, for messages.

    Raises:
        InvalidConfigurationError: It is no TOML, or too deep.
        LimitExceededError: A line has more than 128 dots.
    """
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.count(b".") > _MOST_DOTS:
            raise LimitExceededError(
                f"{source}: dots in line {number}", _MOST_DOTS, line.count(b"."), "write an array in several lines"
            )
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidConfigurationError("$", f"expected TOML: {error}", source) from error


class Table:
    """A table, and where it stands.

    Args:
        values: What is in it.
        known: The keys that are looked for.
        source: The file.
        path: The JSON path of the table.

    Raises:
        InvalidConfigurationError: A key is there twice, in different cases.
    """

    __slots__ = ("_path", "_source", "_values")

    def __init__(self, values: Mapping[str, object], known: tuple[str, ...], source: str, path: str = "$") -> None:
        self._source = source
        self._path = path
        self._values: dict[str, object] = {}
        unknown = []
        for key, value in values.items():
            name = key.lower()
            if name not in known:
                unknown.append(key)
            elif name in self._values:
                raise InvalidConfigurationError(self.path(key), "the key is there twice", source)
            else:
                self._values[name] = value
        if unknown:
            shown = ", ".join(self.path(key) for key in unknown[:_MOST_SHOWN])
            _log.warning("%s: %d unknown keys are ignored: %s", source, len(unknown), shown)

    def path(self, key: str, index: int | None = None) -> str:
        """Return the JSON path of a value.

        Args:
            key: Its key.
            index: Its place in the array of that key.
        """
        return json_path([key] if index is None else [key, index], self._path)

    def error(self, key: str, reason: str, index: int | None = None) -> InvalidConfigurationError:
        """Return the error that says that a value will not do.

        Args:
            key: Its key.
            reason: What was expected, and what was found.
            index: Its place in the array of that key.
        """
        return InvalidConfigurationError(self.path(key, index), reason, self._source)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def string(self, key: str) -> str:
        """Return a string; an empty one where there is none."""
        value = self._values.get(key, "")
        if isinstance(value, str):
            return value
        raise self._unfit(key, value, str)

    def boolean(self, key: str) -> bool:
        """Return a boolean; False where there is none."""
        value = self._values.get(key, False)
        if isinstance(value, bool):
            return value
        raise self._unfit(key, value, bool)

    def strings(self, key: str) -> tuple[str, ...] | None:
        """Return an array of strings; None where there is none."""
        if key not in self._values:
            return None
        found = []
        for index, value in enumerate(self._array(key)):
            if not isinstance(value, str):
                raise self._unfit(key, value, str, index)
            found.append(value)
        return tuple(found)

    def pairs(self, key: str) -> Iterator[tuple[str, str, str]]:
        """Yield a table of strings: each key, its value, and its path."""
        inner = self._mapping(key)
        for name, value in inner.items():
            path = json_path([name], self.path(key))
            if not isinstance(value, str):
                raise InvalidConfigurationError(path, _unfit(value, str), self._source)
            yield name, value, path

    def table(self, key: str, known: tuple[str, ...]) -> Table:
        """Return a table within this one; an empty one where there is none."""
        return Table(self._mapping(key), known, self._source, self.path(key))

    def tables(self, key: str, known: tuple[str, ...]) -> Iterator[Table]:
        """Yield the tables of an array."""
        for index, value in enumerate(self._array(key)):
            if not isinstance(value, dict):
                raise self._unfit(key, value, dict, index)
            yield Table(value, known, self._source, self.path(key, index))

    def _mapping(self, key: str) -> dict[str, object]:
        value = self._values.get(key, {})
        if isinstance(value, dict):
            return value
        raise self._unfit(key, value, dict)

    def _array(self, key: str) -> list[object]:
        value = self._values.get(key, [])
        if isinstance(value, list):
            return value
        raise self._unfit(key, value, list)

    def _unfit(self, key: str, value: object, kind: type, index: int | None = None) -> InvalidConfigurationError:
        return self.error(key, _unfit(value, kind), index)


def _unfit(value: object, kind: type) -> str:
    return f"expected {_KINDS[kind]}, found {_KINDS.get(type(value)) or f'a value of type {type(value).__name__}'}"
