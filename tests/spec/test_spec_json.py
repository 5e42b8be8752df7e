"""Reading JSON text: what is refused, with which path, and which limits hold."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from spec_strategies import json_data

from ocikit.errors import LimitExceededError, ParseError, ValidationError
from ocikit.spec import _json
from ocikit.spec._json import dumps, json_path, loads


@given(json_data)
def test_json_survives_a_round_trip(data: object) -> None:
    """What is written is read back as the same data, compact or indented, as bytes or text."""
    assert loads(dumps(data)) == data
    assert loads(dumps(data, indent=2).decode()) == data


REFUSED = {
    "empty": (b"", "$", "not JSON"),
    "two documents": (b"{}{}", "$", "not JSON"),
    "trailing comma": (b'{"a": 1,}', "$", "line 1, column"),
    "single quotes": (b"{'a': 1}", "$", "not JSON"),
    "comment": (b"{} // no", "$", "not JSON"),
    "not UTF-8": (b'{"a": "\xff"}', "$", "byte 7 is not UTF-8"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "$", "not UTF-8"),
    "byte order mark": (b"\xef\xbb\xbf{}", "$", "byte order mark"),
    "NaN": (b'{"a": NaN}', "$", "NaN"),
    "infinity": (b"[-Infinity]", "$", "-Infinity"),
    "number beyond double": (b"[1e999]", "$", "does not fit a double"),
    "number with too many digits": (b"[" + b"9" * 5000 + b"]", "$", "digits"),
    "raw newline in a string": (b'"a\nb"', "$", "control character"),
    "half a surrogate pair": (rb'{"a": ["x", "\ud83d"]}', "$.a[1]", "surrogate"),
    "half a surrogate pair in a key": (rb'{"a": {"\uDC00": 1}}', "$.a", "surrogate"),
    "lone surrogate in text": ('{"a": "\ud800"}', "$", "surrogate"),
    "duplicate key": (b'{"a": {"b": 1, "c": 2, "b": 3}}', "$.a.b", "more than once"),
    "duplicate key in an array": (b'[0, {"x.y": 1, "x.y": 1}]', '$[1]["x.y"]', "more than once"),
    "duplicate key behind an escape": (rb'{"layers": [], "l\u0061yers": []}', "$.layers", "more than once"),
    "duplicate keys around a duplicate key": (b'{"a": {"b": 1, "b": 2}, "a": 1}', "$.a", "more than once"),
}


@pytest.mark.parametrize(("data", "path", "reason"), REFUSED.values(), ids=REFUSED)
def test_bad_text_is_refused_with_its_path(data: bytes | str, path: str, reason: str) -> None:
    """Text that is not JSON, or that parsers disagree about, is a ParseError that says where and why."""
    with pytest.raises(ParseError) as caught:
        loads(data)
    assert caught.value.path == path
    assert reason in caught.value.reason


def test_a_surrogate_pair_is_a_character() -> None:
    """Both halves of an escaped pair together are one character."""
    assert loads(rb'["\ud83d\ude00"]') == ["\U0001f600"]


def test_duplicate_keys_may_be_allowed() -> None:
    """With allow_duplicate_keys the last one wins, as in Go."""
    assert loads(b'{"a": 1, "a": 2}', allow_duplicate_keys=True) == {"a": 2}


def test_size_is_limited_in_bytes() -> None:
    """A document of exactly max_bytes is read, one byte more is refused, whether it comes as bytes or text."""
    text = '"ä"'
    assert loads(text, max_bytes=4) == "ä"
    for data in (text, text.encode()):
        with pytest.raises(LimitExceededError, match="limit 3, found 4"):
            loads(data, max_bytes=3)


def test_the_default_size_limit_is_four_mebibytes() -> None:
    """Nothing larger than 4 MiB is read unless the caller says so."""
    data = b'"' + b"x" * (4 * 1024 * 1024 - 1) + b'"'
    with pytest.raises(LimitExceededError):
        loads(data)
    assert len(str(loads(data, max_bytes=len(data)))) == len(data) - 2


def test_depth_is_limited() -> None:
    """Nesting to the limit is read and one level more is refused, arrays and objects counted together."""
    assert loads(b'[{"a":' * 50 + b"1" + b"}]" * 50) is not None
    with pytest.raises(LimitExceededError, match="depth"):
        loads(b"[" * 101 + b"]" * 101)
    with pytest.raises(LimitExceededError, match="depth"):
        loads(b"[[]]", max_depth=1)


def test_brackets_in_strings_are_not_depth() -> None:
    """Only real nesting counts, whatever strings contain."""
    tricky = ["[" * 500, '\\"[[[', "{" * 500, "\\", '"']
    assert loads(json.dumps(tricky).encode()) == tricky


def test_siblings_are_not_depth() -> None:
    """A document may have any number of objects next to each other."""
    assert len(loads(b"[" + b"{}," * 1000 + b"{}]")) == 1001  # type: ignore[arg-type]


def test_depth_is_checked_before_the_parser_recurses() -> None:
    """A bomb of brackets is a clear error even where the host raised the recursion limit."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(10**6)
    try:
        with pytest.raises(LimitExceededError):
            loads(b"[" * (_json.MAX_BYTES - 1))
    finally:
        sys.setrecursionlimit(before)


def test_more_depth_than_the_interpreter_has_is_a_parse_error() -> None:
    """A caller who allows any depth gets an error of ours, not a RecursionError."""
    with pytest.raises(ParseError):
        loads(b"[" * 100_000 + b"]" * 100_000, max_depth=10**9)


def test_surrogates_are_not_written() -> None:
    """Undecodable bytes, as file names may have, are refused with their path when a document is written."""
    with pytest.raises(ValidationError, match=r"^\$\.a\[1\]: holds a lone surrogate"):
        dumps({"a": ["x", "\udcff"]})


def test_paths_quote_what_is_no_identifier() -> None:
    """A path can be read back: odd keys are quoted and long ones cut."""
    assert json_path(["mounts", 3, "options"]) == "$.mounts[3].options"
    assert json_path(["os.version"]) == '$["os.version"]'
    assert json_path(['a"b']) == '$["a\\"b"]'
    assert len(json_path(["." * 1000])) < 120


def test_strings_without_an_end() -> None:
    """A document of brackets and one string that never ends is refused in the time that reading it takes."""
    with pytest.raises((LimitExceededError, ParseError)):
        loads(b"[" * 200 + b'"' + b'\\"' * 2_000_000)
