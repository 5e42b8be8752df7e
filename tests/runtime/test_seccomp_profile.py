"""Profiles become filters: what a filter decides, run on a machine of our own."""

from __future__ import annotations

import errno
import json
import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from bpf_machine import ARCHITECTURES, MACHINE, decide
from hypothesis import given
from hypothesis import strategies as st
from seccomp_profiles import SUB, arg, call, number, profile, program

from ocikit.runtime.seccomp import codes, filter_for
from ocikit.runtime.seccomp import compile as compiling
from ocikit.runtime.seccomp.beginning import allowing, enosys_stub
from ocikit.runtime.seccomp.library import library
from ocikit.spec import LinuxSeccomp

if TYPE_CHECKING:
    from collections.abc import Callable

ALLOW, LOG, TRAP, KILL, KILL_PROCESS, NOTIFY = 0x7FFF_0000, 0x7FFC_0000, 0x0003_0000, 0, 0x8000_0000, 0x7FC0_0000
ERRNO, TRACE = 0x0005_0000, 0x7FF0_0000
EPERM, ENOSYS = ERRNO | errno.EPERM, ERRNO | errno.ENOSYS

#: Names that x86_64 and aarch64 have.
NAMES = ("read", "write", "close", "lseek", "getpid", "socket", "ioctl", "openat", "clone", "personality")


# ---------------------------------------------------------------------------------------------------------- decisions


@pytest.mark.parametrize(
    ("action", "fields", "returned"),
    [
        ("SCMP_ACT_ERRNO", {}, EPERM),
        ("SCMP_ACT_ERRNO", {"errnoRet": 77}, ERRNO | 77),
        ("SCMP_ACT_ERRNO", {"errnoRet": 0}, ERRNO),
        ("SCMP_ACT_ERRNO", {"errnoRet": 4094}, ERRNO | 4094),
        ("SCMP_ACT_TRACE", {}, TRACE | errno.EPERM),
        ("SCMP_ACT_TRACE", {"errnoRet": 0xFFFF}, TRACE | 0xFFFF),
        ("SCMP_ACT_KILL", {}, KILL),
        ("SCMP_ACT_KILL_THREAD", {}, KILL),
        ("SCMP_ACT_KILL_PROCESS", {}, KILL_PROCESS),
        ("SCMP_ACT_TRAP", {}, TRAP),
        ("SCMP_ACT_LOG", {}, LOG),
        ("SCMP_ACT_ALLOW", {}, ALLOW),
    ],
)
def test_actions(action: str, fields: dict[str, int], returned: int) -> None:
    """Each action is what the kernel knows it as, for one call and as the default."""
    code = program(profile("SCMP_ACT_ALLOW", call("getpid", action=action, **fields)))
    assert (decide(code, number("getpid")), decide(code, number("read"))) == (returned, ALLOW)
    default = {"defaultErrnoRet": fields["errnoRet"]} if fields else {}
    code = program(
        profile(action, call("read", action="SCMP_ACT_ALLOW"), call("getpid", action=action, **fields), **default)
    )
    assert (decide(code, number("getpid")), decide(code, number("read"))) == (returned, ALLOW)


@pytest.mark.parametrize(
    ("condition", "yes", "no"),
    [
        (arg(1, "EQ", 5), (5,), (4, 6, 5 | 1 << 40)),
        (arg(1, "NE", 5), (4, 6, 5 | 1 << 40), (5,)),
        (arg(1, "LT", 5), (0, 4), (5, 6, 1 << 63)),
        (arg(1, "LE", 5), (0, 5), (6, 1 << 63)),
        (arg(1, "GE", 5), (5, 6, 1 << 63), (0, 4)),
        (arg(1, "GT", 5), (6, 1 << 63), (0, 5)),
        (arg(1, "MASKED_EQ", 0xF0, 0x30), (0x30, 0x3F, 0xFF30), (0x20, 0x130 | 0x40)),
        (arg(5, "EQ", 2**64 - 1), (), (2**64 - 1,)),
    ],
)
def test_operators(condition: dict[str, Any], yes: tuple[int, ...], no: tuple[int, ...]) -> None:
    """Each operator compares the argument with the value, all 64 bits of it."""
    code = program(profile("SCMP_ACT_ALLOW", call("getpid", args=[condition])))
    assert [decide(code, number("getpid"), (0, value)) for value in yes] == [EPERM] * len(yes)
    assert [decide(code, number("getpid"), (0, value)) for value in no] == [ALLOW] * len(no)


def test_conditions_on_different_arguments_must_all_hold() -> None:
    """That is an AND."""
    code = program(profile("SCMP_ACT_ALLOW", call("getpid", args=[arg(0, "EQ", 1), arg(1, "EQ", 2)])))
    asked = [(1, 2), (1, 3), (2, 2), (2, 3)]
    assert [decide(code, number("getpid"), values) for values in asked] == [EPERM, ALLOW, ALLOW, ALLOW]


def test_of_conditions_on_one_argument_one_is_enough() -> None:
    """That is an OR, of all conditions of the entry: as runc has it."""
    conditions = [arg(0, "EQ", 1), arg(0, "EQ", 2), arg(1, "EQ", 9)]
    code = program(profile("SCMP_ACT_ALLOW", call("getpid", args=conditions)))
    asked = [(1, 0), (2, 0), (3, 9), (3, 0)]
    assert [decide(code, number("getpid"), values) for values in asked] == [EPERM, EPERM, EPERM, ALLOW]


def test_names_that_nobody_knows_are_left_out() -> None:
    """What has no number here cannot be called by it."""
    code = program(profile("SCMP_ACT_ALLOW", call("no_such_call", "getpid", "a\0b", "")))
    assert decide(code, number("getpid")) == EPERM


def test_entries_without_effect_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """Of two entries for one name the earlier one counts; who reads the log learns it."""
    with caplog.at_level(logging.INFO, "ocikit.runtime"):
        code = program(profile("SCMP_ACT_ERRNO", call("getpid", action="SCMP_ACT_ALLOW"), call("getpid", errnoRet=61)))
    assert decide(code, number("getpid")) == ALLOW
    assert "$.linux.seccomp.syscalls[1]: getpid has another action in an earlier entry" in caplog.text


_conditions = st.builds(
    arg,
    st.integers(0, 5),
    st.sampled_from(["EQ", "NE", "LT", "LE", "GE", "GT", "MASKED_EQ"]),
    st.sampled_from([0, 1, 7, 0xFFFF_FFFF, 1 << 32, 2**64 - 1]),
    st.sampled_from([0, 1, 1 << 32]),
)
_COMPARE: Final[dict[str, Callable[[int, int, int], bool]]] = {
    "EQ": lambda a, b, _: a == b,
    "NE": lambda a, b, _: a != b,
    "LT": lambda a, b, _: a < b,
    "LE": lambda a, b, _: a <= b,
    "GE": lambda a, b, _: a >= b,
    "GT": lambda a, b, _: a > b,
    "MASKED_EQ": lambda a, b, two: a & b == two,
}


@given(
    rules=st.dictionaries(
        st.sampled_from(NAMES), st.lists(_conditions, max_size=3, unique_by=lambda one: one["index"]), max_size=6
    ),
    asked=st.sampled_from(NAMES),
    values=st.lists(st.sampled_from([0, 1, 7, 8, 1 << 32, (1 << 32) + 1, 2**64 - 1]), min_size=6, max_size=6),
)
def test_filters_decide_as_they_were_told(
    rules: dict[str, list[dict[str, Any]]], asked: str, values: list[int]
) -> None:
    """Whatever the rules are, the filter says what reading them says."""
    entries = [call(name, action="SCMP_ACT_ALLOW", args=args) for name, args in rules.items()]
    code = program(profile("SCMP_ACT_ERRNO", *entries, call("openat2", errnoRet=2)))
    holds = asked in rules and all(
        _COMPARE[one["op"].removeprefix("SCMP_CMP_")](values[one["index"]], one["value"], one["valueTwo"])
        for one in rules[asked]
    )
    assert decide(code, number(asked), values) == (ALLOW if holds else EPERM)


def test_long_profiles_decide_like_short_ones() -> None:
    """Many rules become a tree, which is faster, and means the same."""
    used = library()
    names = [name for name in map(_name_of, range(300)) if name]
    entries = [call(name, errnoRet=at + 1) for at, name in enumerate(names)]
    code = program(profile("SCMP_ACT_ALLOW", *entries))
    for at, name in enumerate(names):
        assert decide(code, number(name)) == ERRNO | (at + 1)
    unknown = next(free for free in range(300, 4000) if _name_of(free) is None)
    assert decide(code, unknown) == ALLOW
    assert used.native == ARCHITECTURES[MACHINE]


def _name_of(call_number: int) -> str | None:
    import ctypes  # noqa: PLC0415

    function = ctypes.CDLL("libseccomp.so.2").seccomp_syscall_resolve_num_arch
    function.restype = ctypes.c_char_p
    found = function(ctypes.c_uint32(ARCHITECTURES[MACHINE]), call_number)
    return found.decode() if found else None


def _of_podman(**fields: Any) -> LinuxSeccomp:
    """Return the default profile of podman, with hundreds of names and with conditions."""
    document = json.loads(Path("/usr/share/containers/seccomp.json").read_bytes())
    entries = [
        {key: entry[key] for key in ("names", "action", "args") if entry.get(key)} for entry in document["syscalls"]
    ]
    return profile("SCMP_ACT_ERRNO", *entries, **fields)


def test_the_default_profile_of_podman_compiles() -> None:
    """For several architectures, too."""
    made = program(_of_podman(architectures=[MACHINE, *SUB]))
    assert decide(made, number("read")) == ALLOW
    assert decide(made, number("kexec_load")) == EPERM
    assert decide(made, 5000) == ENOSYS


# ------------------------------------------------------------------------------------------------------------ allowed


@given(
    native=st.sets(st.integers(0, 500)),
    sub=st.sets(st.integers(-10100, 400)),
    asked=st.lists(st.integers(0, 510), min_size=30, max_size=30),
)
def test_what_is_allowed_is_found(native: set[int], sub: set[int], asked: list[int]) -> None:
    """Everything else falls through to the filter behind, and everything of other architectures."""
    ours, theirs = ARCHITECTURES[MACHINE], ARCHITECTURES[SUB[0]]
    code = allowing({ours: native, theirs: sub}) + b"\x06\0\0\0\x34\x12\0\0"
    for one in asked:
        assert decide(code, one) == (ALLOW if one in native else 0x1234)
        assert decide(code, one, (), theirs) == (ALLOW if one in sub else 0x1234)
        assert decide(code, one, (), 0xC000_00F3) == 0x1234


def test_far_jumps() -> None:
    """A search is longer than a comparison can jump when hardly any of many numbers lie next to each other."""
    ours, theirs = ARCHITECTURES[MACHINE], ARCHITECTURES[SUB[0]]
    code = allowing({ours: range(0, 1000, 2), theirs: range(1, 300, 3)}) + b"\x06\0\0\0\x34\x12\0\0"
    for one in range(1001):
        assert decide(code, one) == (ALLOW if one < 1000 and one % 2 == 0 else 0x1234)
        assert decide(code, one, (), theirs) == (ALLOW if one < 300 and one % 3 == 1 else 0x1234)


@pytest.mark.parametrize(
    "seccomp",
    [
        _of_podman(architectures=[MACHINE, *SUB]),
        _of_podman(architectures=["SCMP_ARCH_X32"] if MACHINE == "SCMP_ARCH_X86_64" else []),
        _of_podman(architectures=["SCMP_ARCH_RISCV64"]),
        profile(
            "SCMP_ACT_KILL",
            call("read", "socket", "shmget", "ipc", "chown32", "openat", "mmap", action="SCMP_ACT_ALLOW"),
            call("close", "openat", action="SCMP_ACT_ALLOW", args=[arg(0, "EQ", 3)]),
            call("write", "mmap", action="SCMP_ACT_LOG"),
            call("write", "getpid", "listen"),
            architectures=[*SUB],
        ),
    ],
    ids=["podman", "x32", "of another machine", "all kinds"],
)
def test_what_is_allowed_is_what_libseccomp_allows(seccomp: LinuxSeccomp, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter decides as one that libseccomp makes alone."""
    ours = program(seccomp)
    monkeypatch.setattr(compiling, "allowed_names", lambda *_: frozenset())
    compiling._programs.clear()
    theirs = program(LinuxSeccomp.from_dict(seccomp.to_dict()))
    assert ours != theirs or "SCMP_ARCH_RISCV64" in seccomp.architectures
    for arch in ARCHITECTURES.values():
        for one in (*range(500), 0xF_0002, *range(0x4000_0000, 0x4000_0250), 0xFFFF_FFFF):
            for value in (0, 3):
                asked = one, (value,), arch
                assert decide(ours, *asked) == decide(theirs, *asked), tuple(map(hex, (one, value, arch)))
    compiling._programs.clear()


# --------------------------------------------------------------------------------------------------------------- stub


@pytest.mark.parametrize(
    ("known", "cases"),
    [
        ({0xC000_003E: [0, 435]}, [(0xC000_003E, 435, None), (0xC000_003E, 436, ENOSYS), (0xC000_003E, 10**6, ENOSYS)]),
        ({0xC000_003E: [435]}, [(0xC000_003E, 0x4000_0000 + 500, None), (0x4000_0003, 999, None)]),
        (
            {0xC000_003E: [435], 0x4000_003E: [0x4000_0000, 0x4000_0223], 0x4000_0003: [-10060, 400]},
            [
                (0xC000_003E, 435, None),
                (0xC000_003E, 436, ENOSYS),
                (0xC000_003E, 0x4000_0223, None),
                (0xC000_003E, 0x4000_0224, ENOSYS),
                (0xC000_003E, 0xFFFF_FFFF, ENOSYS),
                (0x4000_0003, 400, None),
                (0x4000_0003, 401, ENOSYS),
                (0xC000_00B7, 9999, None),
            ],
        ),
        (
            {0xC000_00B7: [293], 0x4000_0028: [400, 0xF0002, 0xF0005]},
            [
                (0xC000_00B7, 293, None),
                (0xC000_00B7, 294, ENOSYS),
                (0x4000_0028, 400, None),
                (0x4000_0028, 401, ENOSYS),
                (0x4000_0028, 0xF0002, None),
                (0x4000_0028, 0xF0006, None),
            ],
        ),
        ({0x4000_0003: [-1, -10060], 0x8: [4000]}, [(0x4000_0003, 1, None)]),
    ],
)  # fmt: skip
def test_what_is_newer_than_the_profile(known: dict[int, list[int]], cases: list[tuple[int, int, int | None]]) -> None:
    """Numbers above the highest one that is named do not exist; all others are left to the filter behind."""
    code = enosys_stub(known) + b"\x06\0\0\0\x34\x12\0\0"
    for architecture, asked, returned in cases:
        assert decide(code, asked, (), architecture) == (0x1234 if returned is None else returned), (
            hex(architecture),
            asked,
        )


def test_the_stub_of_a_profile() -> None:
    """It knows the highest number of each architecture of the profile, whatever is done about that call."""
    entries = [call("read", "getpid", action="SCMP_ACT_ALLOW"), call("openat2")]
    code = program(profile("SCMP_ACT_ERRNO", *entries, architectures=list(SUB)))
    for name in (MACHINE, *SUB):
        highest = number("openat2", name)
        arch = ARCHITECTURES[name]
        assert [decide(code, highest + more, (), arch) for more in (-1, 0, 1)] == [EPERM, EPERM, ENOSYS]
        assert decide(code, number("getpid", name), (), arch) == ALLOW


@pytest.mark.parametrize(
    ("default", "fields", "returned"),
    [
        ("SCMP_ACT_ALLOW", {}, ALLOW),
        ("SCMP_ACT_LOG", {}, LOG),
        ("SCMP_ACT_TRACE", {}, TRACE | 1),
        ("SCMP_ACT_ERRNO", {}, ENOSYS),
        ("SCMP_ACT_ERRNO", {"defaultErrnoRet": errno.ENOSYS}, ENOSYS),
        ("SCMP_ACT_KILL", {}, ENOSYS),
        ("SCMP_ACT_TRAP", {}, ENOSYS),
    ],
)
def test_where_there_is_a_stub(default: str, fields: dict[str, int], returned: int) -> None:
    """Only profiles that refuse what they do not name, with anything but ENOSYS, need one."""
    code = program(profile(default, call("read", errnoRet=9), **fields))
    assert (decide(code, 5000), decide(code, number("read"))) == (returned, ERRNO | 9)


def test_architectures() -> None:
    """The native one is always filtered; of others, those that are asked for. What comes by another way is killed."""
    without = program(profile("SCMP_ACT_ALLOW", call("getpid")))
    other = ARCHITECTURES[SUB[0]]
    assert decide(without, number("getpid")) == EPERM
    assert decide(without, number("getpid", SUB[0]), (), other) == KILL
    both = program(profile("SCMP_ACT_ALLOW", call("getpid"), architectures=[SUB[0], MACHINE, SUB[0]]))
    assert decide(both, number("getpid")) == decide(both, number("getpid", SUB[0]), (), other) == EPERM
    assert decide(both, number("read", SUB[0]), (), other) == ALLOW


def test_the_table_of_architectures() -> None:
    """The numbers are libseccomp's own, for all that it has a name for."""
    tokens = {one.name: one.token for one in codes.ARCHITECTURES.values()}
    theirs = {name: library().architecture(_IN_LIBRARY.get(name, name)) for name in tokens}
    known = {name: token for name, token in theirs.items() if token}
    assert known == {name: tokens[name] for name in known}
    assert len(known) > 15


#: Where the library for Go, whose names runc writes down, differs from libseccomp itself.
_IN_LIBRARY = {"amd64": "x86_64", "arm64": "aarch64", "loong64": "loongarch64"}


# --------------------------------------------------------------------------------------------------------------- cache


def test_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same profile, read anew, gets the same program, from any number of threads; another one does not."""
    compiled = []
    real = compiling._compile

    def count(*args: Any, **more: Any) -> bytes:
        compiled.append(1)
        return real(*args, **more)

    monkeypatch.setattr(compiling, "_compile", count)
    text = profile("SCMP_ACT_ALLOW", call("getsid", errnoRet=123)).to_json()
    programs = []
    threads = [
        threading.Thread(target=lambda: programs.append(program(LinuxSeccomp.from_json(text)))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(one) for one in programs}) == len(compiled) == 1
    assert program(profile("SCMP_ACT_ALLOW", call("getsid", errnoRet=124))) != programs[0]


def test_not_all_are_kept() -> None:
    """Whoever compiles one profile after the other does not fill the memory."""
    for value in range(compiling._KEPT + 5):
        filter_for(profile("SCMP_ACT_ALLOW", call("getsid", errnoRet=value)))
    assert len(compiling._programs) == compiling._KEPT
