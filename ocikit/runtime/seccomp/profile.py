"""A profile of the configuration, checked and flattened: every word a number, every name a rule of its own.

Pure. What is not accepted here is refused with its JSON path; whether libseccomp and the kernel can do the rest, they
say themselves (``compile.py``, ``kernel.py``).
"""

from __future__ import annotations

import enum
from collections import Counter
from typing import TYPE_CHECKING

from ocikit._tuples import NamedTuple
from ocikit.errors import ValidationError
from ocikit.runtime.seccomp import codes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.spec import LinuxSeccomp, LinuxSyscall

__all__ = [
    "PATH",
    "Condition",
    "HandOver",
    "Profile",
    "Rule",
    "canonical",
    "check_listener",
    "flags_of",
    "flatten",
    "hand_over",
]

#: Where the profile stands in a configuration.
PATH = "$.linux.seccomp"

_MAX_ARGUMENTS = 6
_EPERM = 1
_NUMBERED = {"SCMP_ACT_ERRNO": codes.MAX_ERRNO, "SCMP_ACT_TRACE": codes.MAX_MESSAGE}


class Condition(NamedTuple):
    """A comparison of one argument."""

    argument: int
    #: As libseccomp numbers it.
    operator: int
    value: int
    #: What the masked argument is compared with, when ``value`` is a mask.
    second: int


class Rule(NamedTuple):
    """What is done about one system call."""

    name: str
    #: What the filter returns.
    action: int
    #: All of them must hold.
    conditions: tuple[Condition, ...]
    #: Where it stands in the configuration.
    path: str


class Profile(NamedTuple):
    """A filter, before it is compiled."""

    #: What the filter returns for everything that no rule is about.
    default: int
    #: As libseccomp numbers them, without the native one unless it was asked for.
    architectures: tuple[tuple[int, str], ...]
    rules: tuple[Rule, ...]


class HandOver(enum.IntEnum):
    """The system call that a descriptor leaves the filtered process with."""

    SENDMSG = 0
    SENDMMSG = 1


def canonical(seccomp: LinuxSeccomp) -> tuple[object, ...]:
    """Return what of a profile decides how it is compiled, as plain data."""
    calls = tuple(
        (call.names, call.action, call.errno_ret, tuple((a.index, a.op, a.value, a.value_two) for a in call.args))
        for call in seccomp.syscalls
    )
    return (seccomp.default_action, seccomp.default_errno_ret, tuple(seccomp.architectures), calls)


def flatten(seccomp: LinuxSeccomp) -> Profile:
    """Check a profile and turn its words into numbers.

    Raises:
        ValidationError: It violates the specification, or no runtime can keep it; with everything that is wrong.
    """
    wrong = [f"{PATH}{str(one).removeprefix('$')}" for one in seccomp.validate()] or [*_violations(seccomp)]
    if wrong:
        raise ValidationError(tuple(wrong))
    return Profile(
        _action(seccomp.default_action, seccomp.default_errno_ret),
        tuple(
            (codes.ARCHITECTURES[name].token, f"{PATH}.architectures[{number}]")
            for number, name in enumerate(seccomp.architectures)
        ),
        tuple(rule for number, call in enumerate(seccomp.syscalls) for rule in _rules(call, number)),
    )


def _violations(seccomp: LinuxSeccomp) -> Iterator[str]:
    """Yield what the specification leaves open and nobody can do."""
    if seccomp.default_action == "SCMP_ACT_NOTIFY":
        yield f"{PATH}.defaultAction: SCMP_ACT_NOTIFY cannot be the default: nobody could hand over the listener"
    yield from _number(seccomp.default_action, seccomp.default_errno_ret, f"{PATH}.defaultErrnoRet")
    for number, call in enumerate(seccomp.syscalls):
        path = f"{PATH}.syscalls[{number}]"
        yield from _number(call.action, call.errno_ret, f"{path}.errnoRet")
        for position, argument in enumerate(call.args):
            if argument.index >= _MAX_ARGUMENTS:
                expected = f"expected an argument from 0 to {_MAX_ARGUMENTS - 1}"
                yield f"{path}.args[{position}].index: {expected}, found {argument.index}"
        if call.action == "SCMP_ACT_NOTIFY" and "write" in call.names:
            # A runtime that hands the listener over by its number (runc) would wait for an agent that has not got it.
            yield f"{path}.names: SCMP_ACT_NOTIFY cannot be used for the write syscall: runtimes need it"


def _number(action: str, number: int | None, path: str) -> Iterator[str]:
    highest = _NUMBERED.get(action, 0)
    if number is not None and number > highest:
        yield f"{path}: expected a number up to {highest} with {action}, found {number}"


def _action(word: str, number: int | None) -> int:
    value = codes.ACTIONS[word].value
    if word in _NUMBERED:
        value |= _EPERM if number is None else number
    return value


def _rules(call: LinuxSyscall, number: int) -> Iterator[Rule]:
    path = f"{PATH}.syscalls[{number}]"
    action = _action(call.action, call.errno_ret)
    conditions = tuple(
        Condition(one.index, codes.OPERATORS[one.op].in_library, one.value, one.value_two) for one in call.args
    )
    # A filter cannot demand two things of one argument at once. As runc has it, and everybody after it, each condition
    # is a rule of its own then: one of them is enough.
    twice = max(Counter(one.argument for one in conditions).values(), default=0) > 1
    choices = [(one,) for one in conditions] if twice else [conditions]
    for name in call.names:
        for chosen in choices:
            yield Rule(name, action, chosen, path)


def flags_of(seccomp: LinuxSeccomp) -> tuple[str, ...]:
    """Return the flags of a profile, or what runtimes set where it says nothing about them."""
    return ("SECCOMP_FILTER_FLAG_SPEC_ALLOW",) if seccomp.flags is None else tuple(seccomp.flags)


def check_listener(seccomp: LinuxSeccomp) -> bool:
    """Tell whether a profile asks an agent about system calls; if it does, it has to say where the agent is.

    Raises:
        ValidationError: It does not, or asks for what only such a profile has.
    """
    asks = any(call.action == "SCMP_ACT_NOTIFY" for call in seccomp.syscalls)
    if asks and not seccomp.listener_path:
        raise ValidationError((f"{PATH}.listenerPath: needed by SCMP_ACT_NOTIFY, whose agent listens there",))
    if seccomp.listener_metadata and not seccomp.listener_path:
        raise ValidationError((f"{PATH}.listenerMetadata: must not be set without listenerPath",))
    if not asks and "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" in (seccomp.flags or ()):
        reason = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV is about SCMP_ACT_NOTIFY, which no system call has"
        raise ValidationError((f"{PATH}.flags: {reason}",))
    return asks


def hand_over(seccomp: LinuxSeccomp) -> HandOver:
    """Return the system call that the listener is handed over with: one that the filter lets pass.

    Raises:
        ValidationError: There is none.
    """
    for name, how in (("sendmsg", HandOver.SENDMSG), ("sendmmsg", HandOver.SENDMMSG)):
        if _surely_passes(seccomp, name):
            return how
    reason = "the listener is handed over with sendmsg or sendmmsg: one of them must be allowed without conditions"
    raise ValidationError((f"{PATH}.syscalls: SCMP_ACT_NOTIFY: {reason}",))


def _surely_passes(seccomp: LinuxSeccomp, name: str) -> bool:
    about = [call for call in seccomp.syscalls if name in call.names]
    falls_through = all(call.args for call in about)
    return all(call.action in codes.PASSING for call in about) and (
        not falls_through or seccomp.default_action in codes.PASSING
    )
