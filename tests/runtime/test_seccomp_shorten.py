"""A shorter program decides the same: both are run on a machine of our own."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
from bpf_machine import ARCHITECTURES, MACHINE, decide
from hypothesis import given
from hypothesis import strategies as st
from seccomp_profiles import SUB, profile, program

from ocikit.runtime.seccomp import compile as compiling
from ocikit.runtime.seccomp.shorten import shorten
from ocikit.runtime.seccomp.stub import INSTRUCTION

LOAD, AND, JUMP, EQUAL, GREATER, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x54, 0x05, 0x15, 0x25, 0x35, 0x45, 0x06
ARGUMENTS = (0, 1, 2, 0x7E02_0000, 0x1000_0000, 0x1000_00FF, 1 << 32, 2**64 - 1)
PROFILES = ("/usr/share/containers/seccomp.json", str(Path(__file__).parent.parent / "bench/seccomp.json"))


@pytest.mark.parametrize("path", PROFILES)
def test_profiles_of_engines(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every system call of every architecture, and those that are none, with arguments of all kinds."""
    document = json.loads(Path(path).read_bytes())
    entries = [
        {key: entry[key] for key in ("names", "action", "args", "errnoRet") if entry.get(key)}
        for entry in document["syscalls"]
    ]
    wanted = profile("SCMP_ACT_ERRNO", *entries, architectures=[MACHINE, *SUB])
    monkeypatch.setattr(compiling, "_programs", type(compiling._programs)())
    short = program(wanted)
    monkeypatch.setattr(compiling, "_programs", type(compiling._programs)())
    monkeypatch.setattr(compiling, "shorten", lambda whole: whole)
    long = program(profile("SCMP_ACT_ERRNO", *entries, architectures=[MACHINE, *SUB]))
    assert len(short) < len(long) / 2
    limits = (0x4000_0000, 0x7FFF_FFFF, 0xFFFF_FFFF)
    numbers = {*range(700), *range(0x4000_0000, 0x4000_02C0), *range(0xF0000, 0xF0010), *limits}
    for name, asked in product((MACHINE, *SUB), sorted(numbers)):
        for value in ARGUMENTS[:: 1 if asked < 700 else 5]:
            given_to = short, long
            one, other = (decide(code, asked, (value,) * 6, ARCHITECTURES[name]) for code in given_to)
            assert one == other, (name, asked, value)


_targets = st.integers(0, 6)


@st.composite
def _programs(draw: st.DrawFn) -> bytes:
    """Any program that the kernel would take: jumps lead forward, and the end is a return."""
    length = draw(st.integers(1, 24))
    found = []
    for number in range(length):
        left = length - number - 1
        code = draw(st.sampled_from([LOAD, AND, JUMP, EQUAL, EQUAL, GREATER, AT_LEAST, ANY_BIT, RETURN]))
        code = code if left else RETURN
        then, otherwise = (min(draw(_targets), max(left - 1, 0)) for _ in range(2))
        value = draw(st.integers(0, 8) | st.sampled_from([0xFFFF_FFFF, 0xFFFF_FFFE]))
        if code == JUMP:
            then, otherwise, value = 0, 0, then
        elif code == LOAD:
            then, otherwise, value = 0, 0, 4 * (value % 8)
        elif code not in {EQUAL, GREATER, AT_LEAST, ANY_BIT}:
            then = otherwise = 0
        found.append(INSTRUCTION.pack(code, then, otherwise, value))
    return b"".join(found)


@given(code=_programs(), asked=st.integers(0, 9), values=st.lists(st.integers(0, 9), min_size=6, max_size=6))
def test_any_program(code: bytes, asked: int, values: list[int]) -> None:
    """Whatever the instructions are, and however they jump."""
    short = shorten(code)
    assert len(short) <= len(code)
    for number in (asked, 0xFFFF_FFFF, 0xFFFF_FFFE):
        assert decide(short, number, values) == decide(code, number, values)


def test_far_jumps() -> None:
    """What lies further away than a comparison can jump is reached all the same."""
    load = INSTRUCTION.pack(LOAD, 0, 0, 0)
    block = [INSTRUCTION.pack(AND, 0, 0, 0xFF)] * 300 + [INSTRUCTION.pack(RETURN, 0, 0, 1)]
    start = [INSTRUCTION.pack(JUMP, 0, 0, 301), *block, INSTRUCTION.pack(RETURN, 0, 0, 2)]
    code = b"".join([load, INSTRUCTION.pack(EQUAL, 1, 0, 5), *start])
    code += INSTRUCTION.pack(JUMP, 0, 0, 0) * 10 + INSTRUCTION.pack(RETURN, 0, 0, 3)
    assert [decide(shorten(code), asked) for asked in (4, 5, 6)] == [2, 1, 2]


def test_what_is_not_known_stays() -> None:
    """An instruction that is none of those that libseccomp writes leaves the program alone."""
    code = INSTRUCTION.pack(0x04, 0, 0, 1) + INSTRUCTION.pack(RETURN, 0, 0, 0)
    assert shorten(code) == code
    assert shorten(b"") == b""


def test_a_long_list_stays() -> None:
    """What would take a step for every two of its comparisons is left alone, and at once."""
    length = 3000
    code = INSTRUCTION.pack(LOAD, 0, 0, 0)
    code += b"".join(INSTRUCTION.pack(EQUAL, 0, 1, 2 * at) + INSTRUCTION.pack(RETURN, 0, 0, at) for at in range(length))
    code += INSTRUCTION.pack(RETURN, 0, 0, 1)
    assert shorten(code) == code
