"""What state.json says is read with tolerance, and refused where it would be acted on."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocikit.errors import InvalidIDError, StateError
from ocikit.runtime.state.documents import (
    MAX_STATE_BYTES,
    OwnRecord,
    format_time,
    parse_exit,
    parse_own,
    parse_state,
    parse_time,
    validate_id,
)
from ocikit.runtime.status import ExitStatus

#: The least that runc needs to manage somebody else's container.
LEAST: dict[str, Any] = {
    "id": "x",
    "init_process_pid": 4711,
    "init_process_start": 815,
    "created": "2026-01-02T03:04:05.123456789Z",
    "config": {"labels": ["bundle=/b", "org.example=a=b"], "namespaces": [{"type": "NEWPID"}], "rootfs": "/b/rootfs"},
    "cgroup_paths": {"": "/sys/fs/cgroup/x"},
}


def state(**changed: Any) -> bytes:
    """Return a state with some keys changed; None takes a key away."""
    return json.dumps({name: value for name, value in (LEAST | changed).items() if value is not None}).encode()


@pytest.mark.parametrize("good", ["a", "A9_+-.", ".hidden", "..a", "a..", "-", "x" * 255])
def test_ids_that_are_names_of_directories(good: str) -> None:
    """An id is made of letters, digits and four marks."""
    assert validate_id(good) == good


@pytest.mark.parametrize(
    "bad", ["", ".", "..", "a/b", "/", "a,b", "a b", "ä", "a\n", "٣", "a\0", "x" * 256, "a:b", "~"]
)
def test_ids_that_are_refused(bad: str) -> None:
    """Whatever is no plain name of a directory is refused, letters of other alphabets and a final newline included."""
    with pytest.raises(InvalidIDError):
        validate_id(bad)


def test_the_least_state_that_runc_accepts_is_read() -> None:
    """The keys that runc itself cannot do without are enough."""
    record = parse_state(state(), "name")
    assert (record.id, record.pid, record.start_time) == ("name", 4711, 815)
    assert (record.bundle, record.rootfs) == ("/b", "/b/rootfs")
    assert record.annotations == {"org.example": "a=b"}
    assert record.cgroup_paths == {"": "/sys/fs/cgroup/x"}
    assert record.private_pids


def test_an_empty_state_is_a_stopped_container() -> None:
    """A state without anything names no process, no cgroup and no pid namespace of its own."""
    record = parse_state(b"{}", "x")
    assert (record.pid, record.cgroup_paths, record.private_pids) == (-1, {}, False)


def test_a_joined_pid_namespace_is_shared() -> None:
    """Only a pid namespace that was made for the container ends with it."""
    joined = {"namespaces": [{"type": "NEWPID", "path": "/proc/1/ns/pid"}]}
    assert not parse_state(state(config=joined), "x").private_pids


HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"{",
    "no UTF-8": b'{"id": "\xff"}',
    "a list": b"[]",
    "null": b"null",
    "deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "large": b" " * (MAX_STATE_BYTES + 1),
    "an endless number": b'{"init_process_pid": ' + b"9" * 10_000 + b"}",
    "pid a string": state(init_process_pid="1"),
    "pid a truth": state(init_process_pid=True),
    "pid a fraction": state(init_process_pid=1.5),
    "pid far below zero": state(init_process_pid=-2),
    "pid that cannot be": state(init_process_pid=2**31),
    "start a list": state(init_process_start=[]),
    "start too large": state(init_process_start=2**64),
    "cgroups a list": state(cgroup_paths=["/"]),
    "cgroups numbers": state(cgroup_paths={"memory": 1}),
    "cgroups relative": state(cgroup_paths={"memory": "x"}),
    "cgroups with NUL": state(cgroup_paths={"memory": "/a\0b"}),
    "cgroups half a character": b'{"cgroup_paths": {"memory": "/\\ud800"}}',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_states_are_refused(text: bytes) -> None:
    """What cannot be read, or names impossible things, is an error that says so."""
    with pytest.raises(StateError):
        parse_state(text, "x")


SHOWN_ONLY = {"config": 7, "created": [1], "namespace_paths": 3, "external_descriptors": None, "rootless": "yes"}


@pytest.mark.parametrize("name", SHOWN_ONLY)
def test_what_is_only_shown_may_be_anything(name: str) -> None:
    """A key that decides nothing never keeps a container from being managed."""
    assert parse_state(state(**{name: SHOWN_ONLY[name]}), "x").pid == 4711


KEYS = ("config", "labels", "namespaces", "type", "cgroup_paths", "init_process_pid", "Hooks", "path", "x")
LEAVES = st.none() | st.booleans() | st.integers() | st.text()


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner)))
def test_any_json_is_read_or_refused(document: Any) -> None:
    """There is no document that does anything else."""
    try:
        record = parse_state(json.dumps(document).encode(), "x")
    except StateError:
        return
    assert record.pid >= -1
    assert all(path.startswith("/") for path in record.cgroup_paths.values())


def test_our_own_record_survives_a_round_trip() -> None:
    """What is written down is what is read."""
    own = OwnRecord("detached", {"": "/sys/fs/cgroup/a/b"}, ("/sys/fs/cgroup/a",), "2026-01-01T00:00:00+00:00")
    assert parse_own(own.to_json(), "x") == own


@pytest.mark.parametrize("text", [b"{}", b"[]", b'{"lifetime": "scope"}', b'{"lifetime": "x", "cgroup_parents": []}'])
def test_damaged_records_of_ours_are_refused(text: bytes) -> None:
    """A file that we did not write proves nothing."""
    with pytest.raises(StateError):
        parse_own(text, "x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"exit_code": 7}', ExitStatus(7, None)),
        (b'{"signal": 9}', ExitStatus(None, 9)),
        (b"{}", ExitStatus(None, None)),
        (b'{"exit_code": 300}', ExitStatus(None, None)),
        (b'{"exit_code": true, "signal": "KILL"}', ExitStatus(None, None)),
    ],
)
def test_exit_status_on_disk(text: bytes, expected: ExitStatus) -> None:
    """A status that could not have been one is unknown."""
    assert parse_exit(text, "x") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T03:04:05.123456789Z", "2026-01-02T03:04:05.123456+00:00"),
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05+00:00"),
        ("2026-01-02T03:04:05.5+02:00", "2026-01-02T03:04:05.500000+02:00"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+00:00"),
    ],
)
def test_times_of_go(text: str, expected: str) -> None:
    """Times as Go writes them are read to the microsecond."""
    found = parse_time(text)
    assert found is not None
    assert found.isoformat() == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z", "2026-01-01", "2026-01-01T00:00:00"])
def test_what_is_no_time(text: str) -> None:
    """A time that cannot be read is not known."""
    assert parse_time(text) is None


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "2026-01-02T03:04:50Z"),
        (123450000, "2026-01-02T03:04:50.12345Z"),
        (1000, "2026-01-02T03:04:50.000001Z"),
        (10, "2026-01-02T03:04:50.00000001Z"),
    ],
)
def test_times_are_written_as_runc_does(nanoseconds: int, text: str) -> None:
    """Without zeros at the end, and read again as they were, to the microsecond."""
    moment = dt.datetime(2026, 1, 2, 3, 4, 50, nanoseconds // 1000, dt.UTC)
    whole = int(moment.replace(microsecond=0).timestamp()) * 10**9
    assert format_time(whole + nanoseconds) == text
    assert parse_time(text) == moment
