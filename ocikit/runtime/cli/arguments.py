"""Options as runc reads them: ``--name value``, ``--name=value``, ``-name``, before and after other arguments.

One and two dashes mean the same, and nothing is abbreviated. ``--`` ends the options. What follows a certain number of
arguments is left alone, for verbs whose last arguments are a command with options of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ocikit._tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["Option", "Options", "UsageError", "parse"]


class UsageError(Exception):
    """Words that are no use of the command; the message is that of runc."""


class Option(NamedTuple):
    """An option of the command or of a verb."""

    #: Its names without dashes; the first one is what it is looked up by.
    names: tuple[str, ...]
    #: What it means, for the help text; empty for one that is read and does nothing.
    help: str
    #: What its value is: a key of the table of readers below.
    kind: str = "text"
    #: Its value when it is not given.
    default: Any = None


class Options:
    """Options that were given, and the defaults of the others."""

    def __init__(self, values: Mapping[str, Any], given: frozenset[str]) -> None:
        self._values = values
        self._given = given

    def given(self, name: str) -> bool:
        """Tell whether an option was given."""
        return name in self._given

    def flag(self, name: str) -> bool:
        """Return the value of an option of kind ``flag``."""
        return bool(self._values[name])

    def text(self, name: str) -> str:
        """Return the value of an option of kind ``text``; empty when it has none."""
        return str(self._values[name] or "")

    def number(self, name: str) -> int:
        """Return the value of an option of kind ``number``; 0 when it has none."""
        return int(self._values[name] or 0)

    def seconds(self, name: str) -> float:
        """Return the value of an option of kind ``duration``, in seconds."""
        return float(self._values[name])

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the values of an option of kind ``texts``, which may be given more than once."""
        return tuple(self._values[name] or ())

    def numbers(self, name: str) -> tuple[int, ...]:
        """Return the values of an option of kind ``numbers``, which may be given more than once."""
        return tuple(self._values[name] or ())


def parse(options: Sequence[Option], words: Sequence[str], *, stop_after: int | None) -> tuple[Options, list[str]]:
    """Read the words that follow the command or a verb.

    Args:
        options: Those that there are.
        words: What was said.
        stop_after: After how many arguments that are no options everything else is an argument; None reads options
            to the end.

    Returns:
        The options, and the other arguments.

    Raises:
        UsageError: There is no such option, or it has a value that it cannot have.
    """
    by_name = {name: option for option in options for name in option.names}
    values: dict[str, Any] = {option.names[0]: option.default for option in options}
    given: set[str] = set()
    arguments: list[str] = []
    waiting = iter(words)
    for word in waiting:
        if word == "--":
            break
        if len(word) < 2 or not word.startswith("-"):
            arguments.append(word)
            if len(arguments) == stop_after:
                break
            continue
        option, value = _read(by_name, word, waiting)
        name = option.names[0]
        values[name] = (*(values[name] or ()), value) if option.kind in _REPEATED else value
        given.add(name)
    return Options(values, frozenset(given)), [*arguments, *waiting]


def _read(by_name: Mapping[str, Option], word: str, following: Iterator[str]) -> tuple[Option, Any]:
    name, equals, text = word.removeprefix("-").removeprefix("-").partition("=")
    option = by_name.get(name)
    if option is None:
        raise UsageError(f"flag provided but not defined: -{name}")
    if option.kind == "flag":
        if not equals:
            return option, True
    elif not equals:
        found = next(following, None)
        if found is None:
            raise UsageError(f"flag needs an argument: -{name}")
        text = found
    try:
        return option, _READERS[option.kind](text)
    except ValueError:
        from json import dumps  # noqa: PLC0415 - quotes as the other runtimes do; needed for errors only

        what = "boolean value" if option.kind == "flag" else "value"
        raise UsageError(f"invalid {what} {dumps(text)} for flag -{name}: parse error") from None


_BOOLEANS = dict.fromkeys("1 t T true TRUE True".split(), True) | dict.fromkeys(
    "0 f F false FALSE False".split(), False
)

#: Units of durations, in seconds.
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def _flag(text: str) -> bool:
    if text not in _BOOLEANS:
        raise ValueError(text)
    return _BOOLEANS[text]


def _number(text: str) -> int:
    # What int() takes beside digits (blanks, underscores, digits of other scripts) is no number here.
    if not (text.isascii() and text.removeprefix("-").isdigit()):
        raise ValueError(text)
    return int(text)


def _duration(text: str) -> float:
    import re  # noqa: PLC0415 - one option of one verb

    parts = re.findall(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s|us|µs|ns)", text, re.ASCII)
    if not parts or "".join(map("".join, parts)) != text:
        raise ValueError(text)
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


_READERS: dict[str, Callable[[str], Any]] = {
    "flag": _flag,
    "text": str,
    "number": _number,
    "duration": _duration,
    "texts": str,
    "numbers": _number,
}

_REPEATED = frozenset({"texts", "numbers"})
