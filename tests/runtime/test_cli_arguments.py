"""Options are read as other OCI runtimes read them."""

from __future__ import annotations

import pytest

from ocikit.runtime.cli.arguments import Option, UsageError, parse
from ocikit.runtime.cli.manual import manual
from ocikit.runtime.cli.verbs import GLOBAL_OPTIONS, VERBS

OPTIONS = (
    Option(("bundle", "b"), "", "text"),
    Option(("force", "f"), "", "flag"),
    Option(("preserve-fds",), "", "number"),
    Option(("env", "e"), "", "texts"),
    Option(("gid", "g"), "", "numbers"),
    Option(("interval",), "", "duration", 5.0),
)


@pytest.mark.parametrize(
    "words",
    [
        ("--bundle", "x", "id"),
        ("--bundle=x", "id"),
        ("-bundle", "x", "id"),
        ("-bundle=x", "id"),
        ("-b", "x", "id"),
        ("-b=x", "id"),
        ("--b=x", "id"),
        ("id", "--bundle", "x"),
        ("id", "-b=x"),
        ("-b", "y", "-b", "x", "id"),
    ],
)
def test_one_value_in_many_ways(words: tuple[str, ...]) -> None:
    """One dash or two, a blank or an equals sign, before or after the arguments; the last one counts."""
    options, arguments = parse(OPTIONS, words, stop_after=None)
    assert (options.text("bundle"), arguments) == ("x", ["id"])
    assert options.given("bundle")
    assert not options.given("force")


@pytest.mark.parametrize(
    ("words", "value"),
    [((), False), (("-f",), True), (("--force=false",), False), (("-f=1",), True), (("-f", "-f=F"), False)],
)
def test_flags(words: tuple[str, ...], value: bool) -> None:  # noqa: FBT001
    """A flag takes a value only after an equals sign."""
    options, arguments = parse(OPTIONS, [*words, "true"], stop_after=None)
    assert (options.flag("force"), arguments) == (value, ["true"])


def test_options_that_are_repeated() -> None:
    """Some options may be given more than once, and a comma is part of a value."""
    options, _ = parse(OPTIONS, ["-e", "A=1,2", "--env=B=", "-g", "5", "-g=6"], stop_after=None)
    assert options.texts("env") == ("A=1,2", "B=")
    assert options.numbers("gid") == (5, 6)


def test_where_options_end() -> None:
    """Two dashes end them, and so does a number of arguments, for what is a command of its own; one dash is a word."""
    assert parse(OPTIONS, ["--", "-f", "x"], stop_after=None)[1] == ["-f", "x"]
    options, arguments = parse(OPTIONS, ["-f", "id", "ls", "-f", "--", "-x"], stop_after=1)
    assert (options.flag("force"), arguments) == (True, ["id", "ls", "-f", "--", "-x"])
    assert parse(OPTIONS, ["-b", "-"], stop_after=None)[0].text("bundle") == "-"
    assert parse(OPTIONS, ["-"], stop_after=None)[1] == ["-"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5), ("100ms", 0.1), ("1m30s", 90), ("1.5h", 5400), ("250us", 0.00025)]
)
def test_durations(text: str, seconds: float) -> None:
    """Durations have units, and may have several."""
    assert parse(OPTIONS, ["--interval", text], stop_after=None)[0].seconds("interval") == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--bogus"], "flag provided but not defined: -bogus"),
        (["-bogus=1"], "flag provided but not defined: -bogus"),
        (["--bundle"], "flag needs an argument: -bundle"),
        (["--preserve-fds", "x"], 'invalid value "x" for flag -preserve-fds: parse error'),
        (["--preserve-fds", "1_0"], 'invalid value "1_0" for flag -preserve-fds: parse error'),
        (["--preserve-fds", "٣"], "invalid value"),
        (["-f=maybe"], 'invalid boolean value "maybe" for flag -f: parse error'),
        (["--interval", "5"], 'invalid value "5" for flag -interval: parse error'),
        (["--bund", "x"], "flag provided but not defined: -bund"),
    ],
)
def test_what_is_no_option(words: list[str], message: str) -> None:
    """Unknown options, missing values and values that are none are refused in the words of runc."""
    with pytest.raises(UsageError, match=message):
        parse(OPTIONS, words, stop_after=None)


@pytest.mark.parametrize("name", ["", *VERBS])
def test_the_manual_tells_everything(name: str) -> None:
    """Every option that does something is in the help text."""
    text = manual(name)
    for option in VERBS[name].options if name else GLOBAL_OPTIONS:
        assert not option.help or f"--{option.names[0]}" in text
