"""What is refused of a profile, what is added to a filter, and how runc writes a profile down."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
from seccomp_profiles import NOTIFIED, SUB, arg, call, profile, program

from ocikit.errors import LimitExceededError, UnsupportedFieldError, ValidationError
from ocikit.runtime.plan.compiler import Surroundings, compile_plan
from ocikit.runtime.plan.steps import Op
from ocikit.runtime.seccomp import filter_for, supported_flags
from ocikit.runtime.seccomp.profile import HandOver
from ocikit.runtime.seccomp.record import profile_of, seccomp_record
from ocikit.spec import LinuxSeccomp, Spec

WIRE = Path(__file__).parents[2] / "ocikit/_native/wire.h"

# ------------------------------------------------------------------------------------------------------------- refusal


def refused(seccomp: LinuxSeccomp) -> str:
    """Return why a profile is refused."""
    with pytest.raises((ValidationError, UnsupportedFieldError, LimitExceededError)) as caught:
        filter_for(seccomp)
    return str(caught.value)


@pytest.mark.parametrize(
    ("seccomp", "reason"),
    [
        (profile("SCMP_ACT_BOGUS"), r"\$\.linux\.seccomp\.defaultAction: .*SCMP_ACT_BOGUS"),
        (profile("SCMP_ACT_NOTIFY", listenerPath="/x"), r"defaultAction: SCMP_ACT_NOTIFY cannot be the default"),
        (profile("SCMP_ACT_ERRNO", defaultErrnoRet=4095), r"defaultErrnoRet: expected a number up to 4094 .*, found"),
        (profile("SCMP_ACT_ALLOW", defaultErrnoRet=1), r"defaultErrnoRet: .*takes no errno"),
        (profile("SCMP_ACT_ALLOW", call("read", errnoRet=5000)), r"syscalls\[0\]\.errnoRet: .* up to 4094"),
        (profile("SCMP_ACT_ALLOW", call("read", action="SCMP_ACT_TRACE", errnoRet=65536)), r"up to 65535"),
        (profile("SCMP_ACT_ALLOW", call("read", action="SCMP_ACT_KILL", errnoRet=1)), r"takes no errno"),
        (profile("SCMP_ACT_ALLOW", call("read"), call()), r"syscalls\[1\]\.names: at least one"),
        (profile("SCMP_ACT_ALLOW", call("read", args=[arg(6, "EQ", 1)])), r"args\[0\]\.index: .* from 0 to 5, found 6"),
        (profile("SCMP_ACT_ALLOW", call("read", args=[arg(0, "LIKE", 1)])), r"SCMP_CMP_LIKE"),
        (profile("SCMP_ACT_ALLOW", architectures=["SCMP_ARCH_VAX"]), r"architectures\[0\].*SCMP_ARCH_VAX"),
        (profile("SCMP_ACT_ALLOW", architectures=["SCMP_ARCH_S390X"]), r"architectures\[0\]: .* byte order"),
        (profile("SCMP_ACT_ALLOW", flags=["SECCOMP_FILTER_FLAG_NEW_LISTENER"]), r"flags\[0\].*NEW_LISTENER"),
        (profile("SCMP_ACT_ALLOW", flags=["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]), r"which no system call has"),
        (profile("SCMP_ACT_ALLOW", call("read", **NOTIFIED)), r"listenerPath: needed by SCMP_ACT_NOTIFY"),
        (profile("SCMP_ACT_ALLOW", listenerMetadata="x"), r"listenerMetadata: must not be set without listenerPath"),
        (profile("SCMP_ACT_ALLOW", call("write", **NOTIFIED), listenerPath="/x"), r"cannot be used for the write"),
        (
            profile("SCMP_ACT_ALLOW", call("sendmsg", "sendmmsg", **NOTIFIED), listenerPath="/x"),
            r"handed over with sendmsg or sendmmsg: one of them must be allowed",
        ),
        (profile("SCMP_ACT_ERRNO", call("read", **NOTIFIED), listenerPath="/x"), r"sendmsg or sendmmsg"),
        (
            profile("SCMP_ACT_ALLOW", *(call("read", args=[arg(0, "EQ", 1)], errnoRet=n) for n in (1, 2))),
            r"syscalls\[1\]: read: contradicts an earlier entry",
        ),
        (
            profile("SCMP_ACT_ALLOW", *(call("read", args=[arg(0, "EQ", n << 32 | n)]) for n in range(2500))),
            r"instructions of the filter: limit 4,096, found",
        ),
        (
            profile("SCMP_ACT_ALLOW", call("read", args=[arg(0, "EQ", n) for n in range(4097)])),
            r"calls with conditions: limit 4,096, found 4,097",
        ),
        (LinuxSeccomp(default_action="SCMP_ACT_ALLOW", syscalls=(7,)), r"syscalls\[0\]: expected"),  # type: ignore[arg-type]
        (LinuxSeccomp(default_action="SCMP_ACT_ALLOW", architectures=None), r"architectures: expected"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused(seccomp: LinuxSeccomp, reason: str) -> None:
    """With the place in the configuration, and before anything is made."""
    assert re.search(reason, refused(seccomp))


def test_profiles_that_break_rules_are_refused_when_they_are_known_too() -> None:
    """What is not part of the compiled program is checked every time."""
    good = profile("SCMP_ACT_ALLOW", call("getppid"))
    filter_for(good)
    assert "flags" in refused(attrs.evolve(good, flags=("SECCOMP_FILTER_FLAG_BOGUS",)))


def test_a_plan_needs_the_filter_of_its_profile() -> None:
    """A plan that has a profile and no filter would run without one: it is not made."""
    spec = Spec.default().with_process(terminal=False).with_linux(seccomp=profile())
    with pytest.raises(UnsupportedFieldError, match=r"\$\.linux\.seccomp"):
        compile_plan(spec, Surroundings(bundle="/"))
    plan = compile_plan(attrs.evolve(spec, mounts=()), Surroundings(bundle="/", seccomp=filter_for(profile())))
    assert [step.strings for step in plan.steps if step.op == Op.SECCOMP] == [(program(profile()),)]


# --------------------------------------------------------------------------------------------------------------- flags


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (None, 1 << 2),
        ([], 0),
        (["SECCOMP_FILTER_FLAG_LOG"], 1 << 1),
        (["SECCOMP_FILTER_FLAG_TSYNC"], 0),
        (["SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"], 6),
    ],
)
def test_flags(flags: list[str] | None, expected: int) -> None:
    """No list of flags is not the same as an empty one: runtimes then allow speculation."""
    fields = {} if flags is None else {"flags": flags}
    made = filter_for(profile("SCMP_ACT_ALLOW", **fields))
    assert made is not None
    assert made.flags == expected


def test_flags_of_a_listener() -> None:
    """An agent is asked for by the rules; how long a call waits for it, by a flag."""
    notified = profile("SCMP_ACT_ALLOW", call("mkdir", **NOTIFIED), listenerPath="/a", listenerMetadata="b")
    made = filter_for(notified)
    assert made is not None
    assert (made.flags, made.listener) == (8 | 4, ("/a", "b", HandOver.SENDMSG))
    waiting = filter_for(attrs.evolve(notified, flags=("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",)))
    assert waiting is not None
    assert waiting.flags == 8 | 32


def test_flags_that_this_kernel_has() -> None:
    """All of the specification, on kernels from 5.19 on."""
    flags = {"SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"}
    release = tuple(int(part) for part in os.uname().release.split(".")[:2])
    newer = {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"} if release >= (5, 19) else set()
    assert set(supported_flags()) == flags | newer


@pytest.mark.parametrize(
    ("default", "calls", "how"),
    [
        ("SCMP_ACT_ALLOW", [call("sendmsg", **NOTIFIED)], HandOver.SENDMMSG),
        ("SCMP_ACT_ALLOW", [call("sendmsg", args=[arg(0, "EQ", 9)])], HandOver.SENDMMSG),
        ("SCMP_ACT_LOG", [call("sendmmsg")], HandOver.SENDMSG),
        ("SCMP_ACT_ERRNO", [call("sendmsg", action="SCMP_ACT_LOG")], HandOver.SENDMSG),
        (
            "SCMP_ACT_ERRNO",
            [
                call("sendmsg", action="SCMP_ACT_ALLOW", args=[arg(0, "EQ", 9)]),
                call("sendmmsg", action="SCMP_ACT_ALLOW"),
            ],
            HandOver.SENDMMSG,
        ),
    ],
)  # fmt: skip
def test_how_the_listener_is_handed_over(default: str, calls: list[dict[str, Any]], how: HandOver) -> None:
    """With a system call that the filter surely lets pass."""
    made = filter_for(profile(default, *calls, call("mkdir", **NOTIFIED), listenerPath="/a"))
    assert made is not None
    assert made.listener is not None
    assert made.listener.how == how


def test_the_helper_knows_the_same_ways() -> None:
    """The numbers of both sides are one."""
    text = WIRE.read_text()
    assert all(f"#define WIRE_BY_{how.name} {how.value}U" in text for how in HandOver)


# --------------------------------------------------------------------------------------------------------------- state


def test_the_record_of_runc() -> None:
    """What runc keeps: numbers for words, one entry for each name, and its own names of architectures."""
    full = profile(
        "SCMP_ACT_ERRNO",
        call("read", "write", action="SCMP_ACT_TRACE", errnoRet=7, args=[arg(2, "MASKED_EQ", 3, 1), arg(1, "GT", 4)]),
        call("mkdir", action="SCMP_ACT_NOTIFY"),
        defaultErrnoRet=38,
        architectures=["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
        flags=[],
        listenerPath="/a",
        listenerMetadata="b",
    )
    args = [{"index": 2, "value": 3, "value_two": 1, "op": 7}, {"index": 1, "value": 4, "value_two": 0, "op": 3}]
    assert seccomp_record(full) == {
        "default_action": 2,
        "architectures": ["amd64", "x32"],
        "flags": [],
        "syscalls": [
            {"name": "read", "action": 5, "errnoRet": 7, "args": args},
            {"name": "write", "action": 5, "errnoRet": 7, "args": args},
            {"name": "mkdir", "action": 7, "errnoRet": None, "args": []},
        ],
        "default_errno_ret": 38,
        "listener_path": "/a",
        "listener_metadata": "b",
    }
    bare: dict[str, Any] = {"default_action": 4, "architectures": None, "syscalls": [], "default_errno_ret": None}
    assert seccomp_record(profile()) == {**bare, "flags": ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]}
    assert seccomp_record(None) is None


def test_records_are_read_back() -> None:
    """What was written down becomes the same filter; a number that stands for nothing is an error."""
    args = [arg(0, "GT", 4), arg(1, "MASKED_EQ", 3, 1)]
    entries = (call("getsid", "acct", action="SCMP_ACT_TRACE", errnoRet=7, args=args), call("getpgid", **NOTIFIED))
    full = profile("SCMP_ACT_LOG", *entries, architectures=[*SUB], flags=[], listenerPath="/a", listenerMetadata="b")
    record = seccomp_record(full)
    assert record is not None
    assert filter_for(profile_of(record)) == filter_for(full)
    for flags, expected in ((None, ()), (["SECCOMP_FILTER_FLAG_LOG"], ("SECCOMP_FILTER_FLAG_LOG",))):
        read = profile_of({**record, "flags": flags})
        assert read is not None
        assert read.flags == expected
    without = profile_of({name: value for name, value in record.items() if name != "flags"})
    assert without is not None
    assert without.flags is None
    assert profile_of(None) is None
    with pytest.raises(KeyError):
        profile_of({**record, "default_action": 99})


# -------------------------------------------------------------------------------------------------------------- library


def test_without_libseccomp() -> None:
    """One error that says what to install; configurations without a profile do not need it."""
    script = (
        "import ctypes, ctypes.util, os, sys\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "assert libc.unshare(0x20000) == 0\n"
        "assert libc.mount(None, b'/', None, 0x44000, None) == 0\n"
        "loaded = ctypes.CDLL(sys.argv[1])\n"
        "line = next(line for line in open('/proc/self/maps') if sys.argv[1] in line)\n"
        "os.execv(sys.executable, [sys.executable, '-c', sys.argv[2], os.path.realpath(line.split()[-1])])\n"
    )
    hidden = (
        "import ctypes, sys\n"
        "assert ctypes.CDLL(None).mount(b'/dev/null', sys.argv[1].encode(), None, 0x1000, None) == 0\n"
        "from ocikit.errors import MissingDependencyError\n"
        "from ocikit.runtime.seccomp import filter_for\n"
        "from ocikit.spec import LinuxSeccomp\n"
        "assert filter_for(None) is None\n"
        "try: filter_for(LinuxSeccomp(default_action='SCMP_ACT_ALLOW'))\n"
        "except MissingDependencyError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "libseccomp.so.2", hidden], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "install the package libseccomp2 (Debian, Ubuntu)" in done.stdout
    assert "filters need libseccomp" in done.stdout
