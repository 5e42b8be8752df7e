"""A profile becomes a filter, by libseccomp; filters are kept, because compiling one takes milliseconds."""

from __future__ import annotations

import errno
import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from ocikit._tuples import NamedTuple
from ocikit.errors import LimitExceededError, UnsupportedFieldError, ValidationError
from ocikit.runtime.late_log import log as _log
from ocikit.runtime.once import Once
from ocikit.runtime.seccomp import codes
from ocikit.runtime.seccomp.beginning import INSTRUCTION, allowed_names, allowing, enosys_stub
from ocikit.runtime.seccomp.kernel import supports
from ocikit.runtime.seccomp.library import library
from ocikit.runtime.seccomp.profile import PATH, HandOver, canonical, check_listener, flags_of, flatten, hand_over

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocikit.runtime.seccomp.library import Library, LibraryFilter
    from ocikit.runtime.seccomp.profile import Profile, Rule
    from ocikit.spec import LinuxSeccomp

__all__ = ["Filter", "Listener", "filter_for"]

#: How many programs are kept; one and what it was made from are some kilobytes each.
_KEPT = 32

_MAX_INSTRUCTIONS: Final = 4096  # BPF_MAXINSNS

#: libseccomp compares each of these with all others: it would be busy for minutes with what is too long in the end.
_MAX_CONDITIONAL: Final = 4096
_ENOSYS: Final = 38

#: What a program stands for when libseccomp refuses a rule.
_REASONS: Final = {
    errno.EEXIST: "contradicts an earlier entry, which has another action under the same conditions",
    errno.EOPNOTSUPP: "this kernel does not know the action",
}

_programs: OrderedDict[str, bytes] = OrderedDict()
_lock = threading.Lock()


class Listener(NamedTuple):
    """Where an agent waits for the descriptor that it gets notifications from."""

    #: Path of its socket, on the host.
    path: str
    #: What it is told.
    metadata: str
    #: The system call that the descriptor leaves the container with.
    how: HandOver


class Filter(NamedTuple):
    """A filter that can be loaded."""

    #: The instructions, an array of struct sock_filter.
    program: bytes
    #: SECCOMP_FILTER_FLAG_* (seccomp(2)).
    flags: int
    #: Who is asked about system calls with SCMP_ACT_NOTIFY; None when there are none.
    listener: Listener | None = None


def filter_for(seccomp: LinuxSeccomp | None) -> Filter | None:
    """Compile a profile, or take the program from an earlier time.

    Args:
        seccomp: The profile of a configuration; None when it has none.

    Raises:
        ValidationError: The profile violates the specification or contradicts itself.
        UnsupportedFieldError: The kernel or libseccomp cannot do what it asks for.
        LimitExceededError: It makes a longer program than the kernel takes.
        MissingDependencyError: libseccomp is not installed.
        NotSupportedError: This system has no seccomp.
    """
    return None if seccomp is None else _once(seccomp)


def _filter_for(seccomp: LinuxSeccomp) -> Filter:
    used = library()
    try:
        content = canonical(seccomp)
    except (AttributeError, TypeError):
        flatten(seccomp)  # which says what in it is of the wrong type
        raise
    key = repr((content, used.native, used.version))
    # One at a time: whoever waits for the same profile finds it compiled.
    with _lock:
        program = _programs.get(key)
        if program is None:
            program = _programs[key] = _compile(flatten(seccomp), used, stub=_wants_stub(seccomp))
            if len(_programs) > _KEPT:
                _programs.popitem(last=False)
        else:
            _programs.move_to_end(key)
    return _with_flags(seccomp, program)


_once: Once[LinuxSeccomp, Filter] = Once(_filter_for)


def _with_flags(seccomp: LinuxSeccomp, program: bytes) -> Filter:
    """Add to a program what is not part of it."""
    listener = None
    if check_listener(seccomp):
        listener = Listener(seccomp.listener_path, seccomp.listener_metadata, hand_over(seccomp))
    flags = codes.NEW_LISTENER if listener is not None else 0
    for number, name in enumerate(flags_of(seccomp)):
        flag = codes.FLAGS.get(name)
        if flag is None:
            expected = f"expected one of {', '.join(codes.FLAGS)}"
            raise ValidationError((f"{PATH}.flags[{number}]: {expected}, found {name!r}",))
        if not supports(flags | flag):
            raise UnsupportedFieldError(f"{PATH}.flags[{number}]", f"this kernel does not know {name}")
        flags |= flag
    return Filter(program, flags, listener)


def _wants_stub(seccomp: LinuxSeccomp) -> bool:
    """Tell whether unknown system calls would fail in a way that programs do not expect.

    A tracer sees system calls before the kernel has looked whether it knows them, and may want to.
    """
    if seccomp.default_action in codes.PASSING | {"SCMP_ACT_TRACE"}:
        return False
    return not (seccomp.default_action == "SCMP_ACT_ERRNO" and seccomp.default_errno_ret == _ENOSYS)


def _compile(profile: Profile, used: Library, *, stub: bool) -> bytes:
    _warn_of_contradictions(profile)
    conditional = sum(1 for rule in profile.rules if rule.conditions)
    if conditional > _MAX_CONDITIONAL:
        raise LimitExceededError(f"{PATH}.syscalls: calls with conditions", _MAX_CONDITIONAL, conditional)
    with used.filter(profile.default) as made:
        numbers = _numbers(profile.rules, _add_architectures(made, profile, used), used)
        allowed = allowed_names(profile, numbers)
        native = numbers[used.native]
        # What happens anyway is no rule: libseccomp refuses it.
        left = [rule for rule in profile.rules if rule.name not in allowed and rule.action != profile.default]
        rules = sum(_add_rule(made, rule, native.get(rule.name), used) for rule in left)
        try:
            program = made.program(rules)
        except OSError as error:
            reason = f"libseccomp {used.version} cannot compile it: {error.strerror}"
            raise UnsupportedFieldError(PATH, reason) from error
    if allowed:
        program = allowing({token: [known[name] for name in allowed] for token, known in numbers.items()}) + program
    if stub:
        program = enosys_stub({token: known.values() for token, known in numbers.items()}) + program
    length = len(program) // INSTRUCTION.size
    if length > _MAX_INSTRUCTIONS:
        raise LimitExceededError(f"{PATH}: instructions of the filter", _MAX_INSTRUCTIONS, length)
    return program


def _warn_of_contradictions(profile: Profile) -> None:
    """Say when an entry has no effect because of an earlier one; libseccomp does not."""
    actions: dict[str, int] = {}
    for rule in profile.rules:
        if rule.conditions or rule.action == profile.default:
            continue
        if actions.setdefault(rule.name, rule.action) != rule.action:
            # A note, not a warning: profiles that everybody uses have such entries, and mean nothing by them.
            _log.info("%s: %s has another action in an earlier entry, which counts", rule.path, rule.name)


def _add_architectures(made: LibraryFilter, profile: Profile, used: Library) -> list[int]:
    """Add architectures beside the native one; return all."""
    found = [used.native]
    for token, path in profile.architectures:
        if token in found:
            continue
        failed = made.add_architecture(token)
        if failed:
            reason = "has another byte order than this machine" if failed == -errno.EDOM else "is not known"
            raise UnsupportedFieldError(path, f"to libseccomp {used.version}, the architecture {reason}")
        found.append(token)
    return found


def _add_rule(made: LibraryFilter, rule: Rule, number: int | None, used: Library) -> int:
    """Add a rule about the native number of a system call; return how many were."""
    if number is None:
        # Profiles name the system calls of all kernels. What has no number cannot be called by programs that use
        # libseccomp's table, and falls to the default action.
        _log.debug("%s: libseccomp %s does not know the system call %r", rule.path, used.version, rule.name)
        return 0
    failed = made.add_rule(rule.action, number, rule.conditions)
    if failed:
        reason = _REASONS.get(-failed, f"libseccomp {used.version} does not take it: {os.strerror(-failed)}")
        if -failed == errno.EEXIST:
            raise ValidationError((f"{rule.path}: {rule.name}: {reason}",))
        raise UnsupportedFieldError(rule.path, f"{rule.name}: {reason}")
    return 1


def _numbers(rules: Sequence[Rule], architectures: Sequence[int], used: Library) -> dict[int, dict[str, int]]:
    """Return the numbers of the system calls that a profile names, by architecture."""
    names = {rule.name for rule in rules}
    return {token: used.resolve(names, token) for token in architectures}
