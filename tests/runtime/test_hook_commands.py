"""Hooks as data: what runc writes down of them, what they read, and the error of one that did not do well."""

from __future__ import annotations

import errno
import json
import struct

import pytest

from ocikit.errors import HookError, SetupError, StateError
from ocikit.runtime.hook_commands import HookCommand, commands, hooks_document, parse_hooks
from ocikit.runtime.plan.hooks import hook_failure, hook_step, report_failure, state_text
from ocikit.runtime.plan.steps import Op
from ocikit.spec import Hook, Hooks


def test_hooks_are_read_as_runc_writes_them() -> None:
    """Nulls are nothing, times are nanoseconds, and without arguments a program has its own name."""
    entry = {"path": "/bin/true", "args": None, "env": None, "dir": "", "timeout": None}
    full = {"path": "/bin/true", "args": ["a", "b"], "env": ["C=d"], "timeout": 1_500_000_000}
    assert parse_hooks({"poststop": [entry, full], "prestart": None}, "poststop", "x") == (
        HookCommand("$.hooks.poststop[0]", "/bin/true", ("/bin/true",)),
        HookCommand("$.hooks.poststop[1]", "/bin/true", ("a", "b"), ("C=d",), 1_500_000_000),
    )
    assert parse_hooks({"prestart": None}, "prestart", "x") == parse_hooks({}, "prestart", "x") == ()
    for wrong in (7, {}, {"path": 1}, full | {"args": "text"}, full | {"env": [1]}, full | {"timeout": 0}):
        with pytest.raises(StateError, match=r"config.Hooks.poststop\[0\]"):
            parse_hooks({"poststop": [wrong]}, "poststop", "x")
    with pytest.raises(StateError, match="array"):
        parse_hooks({"poststop": {"0": full}}, "poststop", "x")


def test_the_state_is_one_document() -> None:
    """With the pid of whoever reads it between its parts, or without one, it is the same JSON."""
    before, after = state_text("a", "/b", {"c": "d\udc80"}, "created")
    assert json.loads(before + b"12" + after)["pid"] == 12
    assert state_text("a", "/b", {}, "stopped", None) == (
        b'{"ociVersion":"1.3.0","id":"a","status":"stopped","bundle":"/b"}',
        b"",
    )


def test_hooks_survive_the_way_through_a_state() -> None:
    """What is written is what is read, and a time that Go cannot hold is the longest that it can."""
    hooks = Hooks(poststop=(Hook(path="/bin/a", args=("x",), env=("A=b",), timeout=3), Hook(path="/bin/c")))
    document = json.loads(json.dumps(hooks_document(hooks)))
    assert parse_hooks(document, "poststop", "x") == commands(hooks, "poststop")
    assert document["prestart"] is None
    (longest,) = commands(Hooks(prestart=(Hook(path="/bin/a", timeout=1 << 62),)), "prestart")
    assert longest.timeout == (1 << 63) - 1
    assert commands(None, "prestart") == ()


def test_times_are_whole_milliseconds() -> None:
    """The helper counts milliseconds, and a time that is less than one is not the absence of a limit."""
    state = state_text("a", "/b", {}, "created")
    for nanoseconds, milliseconds in ((None, 0), (1, 1), (1_000_000, 1), (1_000_001, 2)):
        step = hook_step(HookCommand("$.hooks.poststop[0]", "/bin/a", ("a",), (), nanoseconds), state)
        assert step.arguments[0] == milliseconds


def test_what_became_of_a_hook() -> None:
    """Everything that the helper can say of one is an error that a person can read."""
    words = b"$.hooks.poststart[2] /bin/do it\0last words"
    for value, message in (
        (errno.EACCES, "/bin/do it could not be executed: Permission denied"),
        (0x10000 | 7 << 8, r"/bin/do it failed \(exit code 7\); it wrote: last words"),
        (0x10000 | 11 | 0x80, r"was killed: segmentation fault \(signal 11\)"),
        (0x20000, "its time was up"),
        (0x30000, "it was interrupted"),
    ):
        with pytest.raises(HookError, match=message) as caught:
            raise hook_failure(value, words)
        assert (caught.value.path, caught.value.program) == ("$.hooks.poststart[2]", "/bin/do it")
        assert caught.value.output == b"last words"


def test_reports_of_what_happened_after_start() -> None:
    """Init tells whoever starts it which step failed; what is no report is none."""
    report = struct.Struct("=IIiI")
    assert report_failure(b"") is report_failure(b"\0" * 15) is None
    hook = report_failure(report.pack(4, 70, 0x20000, Op.HOOK) + b"$.hooks.startContainer[0] /bin/a\0")
    assert isinstance(hook, HookError)
    assert hook.path == "$.hooks.startContainer[0]"
    program = report_failure(report.pack(4, 71, errno.ENOEXEC, Op.EXEC))
    assert isinstance(program, SetupError)
    assert (program.action, program.errno) == ("execute the program", errno.ENOEXEC)
    assert isinstance(report_failure(report.pack(4, 71, -5, 9999)), SetupError)
