"""Rules for devices as a program for the kernel: what cgroup v2 has in place of a devices controller.

Pure. The program is asked about each use of a device, and goes through the rules from the last one to the first: of
each kind of access that is wanted, the last rule that mentions it decides. It falls off the end with everything that
is left forbidden.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from ocikit.runtime.cgroups.device_rules import WILDCARD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocikit.runtime.cgroups.device_rules import DeviceRule

__all__ = ["device_program"]

# struct bpf_insn: code, registers (destination in the lower half), offset, immediate value.
_INSTRUCTION: Final = struct.Struct("=BBhi")

# Registers. The first holds struct bpf_cgroup_dev_ctx: access << 16 | type, major, minor.
_RESULT, _CONTEXT, _TYPE, _WANTED, _MAJOR, _MINOR, _OVERLAP = range(7)

# Codes (include/uapi/linux/bpf.h, bpf_common.h): class, source or size, operation.
_LOAD_WORD: Final = 0x61
_SHIFT_RIGHT: Final = 0x74
_AND: Final = 0x54
_MOVE: Final = 0xB4
_MOVE_REGISTER: Final = 0xBC
_IF_EQUAL: Final = 0x15
_IF_NOT_EQUAL: Final = 0x55
_EXIT: Final = 0x95

_ACCESS: Final = {"m": 1, "r": 2, "w": 4}
_EVERY_ACCESS: Final = 7
_TYPES: Final = {"b": 1, "c": 2}


def device_program(rules: Sequence[DeviceRule]) -> bytes:
    """Return the instructions that decide as some rules do, in their order; what no rule allows is forbidden."""
    program = [
        _step(_LOAD_WORD, _TYPE, _CONTEXT, offset=0),
        _step(_MOVE_REGISTER, _WANTED, _TYPE),
        _step(_SHIFT_RIGHT, _WANTED, value=16),
        _step(_AND, _TYPE, value=0xFFFF),
        _step(_LOAD_WORD, _MAJOR, _CONTEXT, offset=4),
        _step(_LOAD_WORD, _MINOR, _CONTEXT, offset=8),
    ]
    for rule in reversed(rules):
        conditions = _conditions(rule)
        access = sum(_ACCESS[letter] for letter in set(rule.access))
        if not conditions and access == _EVERY_ACCESS:
            # Nothing gets past this rule, and the kernel does not accept instructions that are never reached.
            return b"".join([*program, *_answer(rule.allow)])
        program += _block(conditions, _decision(rule.allow, access))
    return b"".join([*program, *_answer(False)])


def _step(code: int, to: int = 0, source: int = 0, *, offset: int = 0, value: int = 0) -> bytes:
    return _INSTRUCTION.pack(code, to | source << 4, offset, value)


def _answer(allow: bool) -> list[bytes]:  # noqa: FBT001 - there is nothing else that it could be
    return [_step(_MOVE, _RESULT, value=int(allow)), _step(_EXIT)]


def _conditions(rule: DeviceRule) -> list[tuple[int, int]]:
    """Return registers with the values that they must have for a rule to apply."""
    found = [(_TYPE, _TYPES[rule.type])] if rule.type in _TYPES else []
    found += [
        (register, wanted) for register, wanted in ((_MAJOR, rule.major), (_MINOR, rule.minor)) if wanted != WILDCARD
    ]
    return found


def _decision(allow: bool, access: int) -> list[bytes]:  # noqa: FBT001
    """Return what a rule does to a device that it applies to; the jump leads behind it."""
    if allow:
        # What is allowed is wanted no longer; nothing left is a yes.
        return [_step(_AND, _WANTED, value=~access), _step(_IF_NOT_EQUAL, _WANTED, offset=2), *_answer(True)]
    return [
        _step(_MOVE_REGISTER, _OVERLAP, _WANTED),
        _step(_AND, _OVERLAP, value=access),
        _step(_IF_EQUAL, _OVERLAP, offset=2),
        *_answer(False),
    ]


def _block(conditions: list[tuple[int, int]], decision: list[bytes]) -> list[bytes]:
    """Return a rule: a jump behind it for each condition that does not hold, then its decision."""
    length = len(conditions) + len(decision)
    jumps = [
        _step(_IF_NOT_EQUAL, register, offset=length - number - 1, value=wanted)
        for number, (register, wanted) in enumerate(conditions)
    ]
    return jumps + decision
