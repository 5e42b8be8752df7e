"""The beginning of a filter, which is written here; what is left for libseccomp comes behind it.

*What is new to the profile* gets ENOSYS. Whoever wrote a profile that refuses what it does not name could not name
system calls that did not exist. A program that gets EPERM for one of them gives up; with ENOSYS it takes the older one
instead, as on an older kernel. New calls get the next number, so that everything above the highest number that the
profile names is new to it; and a filter would refuse those anyway: the stub changes how, not what.

*What is allowed whatever its arguments are*, most of most profiles, passes. libseccomp makes some instructions for each
name and each architecture, and takes milliseconds for hundreds of them. Numbers that are allowed lie next to each
other, though: a search among the places where a run of them begins or ends is shorter, and made in no time.

Pure: tables of numbers become instructions (struct sock_filter, linux/filter.h).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from ocikit._tuples import NamedTuple
from ocikit.runtime.seccomp.codes import ACTIONS, ARCHITECTURES, RET_ERRNO

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ocikit.runtime.seccomp.profile import Profile

__all__ = ["INSTRUCTION", "allowed_names", "allowing", "enosys_stub"]

#: struct sock_filter: code, how far to jump if true and if false, value.
INSTRUCTION: Final = struct.Struct("=HBBI")

# Codes (linux/bpf_common.h): load a word of struct seccomp_data; jump; compare with the value; return it.
_LOAD: Final = 0x20
_JUMP: Final = 0x05
_IF_EQUAL: Final = 0x15
_IF_GREATER: Final = 0x25
_IF_AT_LEAST: Final = 0x35
_RETURN: Final = 0x06

#: How far a comparison can jump.
_FARTHEST: Final = 255

# Offsets in struct seccomp_data.
_NUMBER: Final = 0
_ARCHITECTURE: Final = 4

_ENOSYS: Final = 38
_ALLOW: Final = ACTIONS["SCMP_ACT_ALLOW"].value
_X32_BIT: Final = 0x4000_0000
_ARM_PRIVATE: Final = 0x000F_0000
_NO_LIMIT: Final = 1 << 32

#: libseccomp's numbers for calls that an architecture does not have begin here and go down (seccomp-syscalls.h). Those
#: between it and 0 are parts of another call, which is told by an argument which part to do. It puts together what is
#: said about the parts and the whole.
_NO_SUCH_CALL: Final = -10000
_WHOLE: Final = frozenset({"ipc", "socketcall"})


class _Mode(NamedTuple):
    """How one architecture of libseccomp is told from others, and where its system calls end."""

    #: AUDIT_ARCH_*, as the kernel tells filters.
    audit: int
    #: Numbers from here on are something else: those of x32 or ARM's private ones (cacheflush and the like).
    limit: int


_X86_64 = ARCHITECTURES["SCMP_ARCH_X86_64"].token

#: The architectures whose programs run on the machines that ocikit runs on, by the number that libseccomp has for them.
#: To the kernel x32 is x86_64 with a bit of the number set.
_MODES: Final = {
    _X86_64: _Mode(_X86_64, _X32_BIT),
    ARCHITECTURES["SCMP_ARCH_X32"].token: _Mode(_X86_64, _NO_LIMIT),
    ARCHITECTURES["SCMP_ARCH_X86"].token: _Mode(ARCHITECTURES["SCMP_ARCH_X86"].token, _NO_LIMIT),
    ARCHITECTURES["SCMP_ARCH_AARCH64"].token: _Mode(ARCHITECTURES["SCMP_ARCH_AARCH64"].token, _NO_LIMIT),
    ARCHITECTURES["SCMP_ARCH_ARM"].token: _Mode(ARCHITECTURES["SCMP_ARCH_ARM"].token, _ARM_PRIVATE),
}


def _step(code: int, value: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    return INSTRUCTION.pack(code, then, otherwise, value)


# --------------------------------------------------------------------------------------------------------- what is new


def enosys_stub(known: Mapping[int, Iterable[int]]) -> bytes:
    """Return instructions that go in front of a filter; what is not new to the profile falls through to it.

    Args:
        known: The numbers of the system calls that the profile names, by libseccomp's number of the architecture.
            Architectures whose programs do not run here are left out, and so are those without any number.
    """
    newer: dict[int, list[tuple[int, int]]] = {}
    for token, numbers in known.items():
        if token in _MODES:
            mode = _MODES[token]
            highest = max((number for number in numbers if 0 <= number < mode.limit), default=None)
            if highest is not None:
                newer.setdefault(mode.audit, []).append((highest, mode.limit))
    if not newer:
        return b""
    blocks: list[bytes] = []
    for audit, ranges in reversed(newer.items()):
        blocks.insert(0, _block(audit, ranges, behind=sum(map(len, blocks)) // INSTRUCTION.size))
    return b"".join([_step(_LOAD, _ARCHITECTURE), *blocks])


def _block(audit: int, ranges: list[tuple[int, int]], behind: int) -> bytes:
    """Return what is done about one architecture; ``behind`` it are so many instructions of the others."""
    body = [_step(_LOAD, _NUMBER)]
    for highest, limit in ranges:
        if limit == _NO_LIMIT:
            body += [_step(_IF_GREATER, highest, otherwise=1), _step(_RETURN, RET_ERRNO | _ENOSYS)]
        else:
            body += [_step(_IF_GREATER, highest, otherwise=2), _step(_IF_AT_LEAST, limit, then=1)]
            body += [_step(_RETURN, RET_ERRNO | _ENOSYS)]
    if behind:
        body.append(_step(_JUMP, behind))
    # The accumulator holds the architecture still when the next block is reached from here.
    return b"".join([_step(_IF_EQUAL, audit, otherwise=len(body)), *body])


# ------------------------------------------------------------------------------------------------------ what is allowed

_ALLOWED: Final = _step(_RETURN, _ALLOW)


def allowed_names(profile: Profile, numbers: Mapping[int, Mapping[str, int]]) -> frozenset[str]:
    """Return the names about which nothing is to be said but that they are allowed, on each architecture.

    Args:
        profile: What says so.
        numbers: Those of its names, by libseccomp's number of the architecture: all that are filtered.
    """
    # Where everything is allowed that is not named, there is nothing to look for.
    if profile.default == _ALLOW or any(token not in _MODES for token in numbers):
        return frozenset()
    names = {rule.name for rule in profile.rules} - _WHOLE
    names -= {rule.name for rule in profile.rules if rule.conditions or rule.action != _ALLOW}
    for known in numbers.values():
        names -= {name for name in names if _NO_SUCH_CALL < known.get(name, -1) < 0}
    return frozenset(names)


def allowing(numbers: Mapping[int, Iterable[int]]) -> bytes:
    """Return instructions that allow some system calls; all others fall through to what is behind.

    Args:
        numbers: Those that are allowed, by libseccomp's number of the architecture, which is one of :data:`_MODES`.
    """
    merged: dict[int, set[int]] = {}
    for token, some in numbers.items():
        merged.setdefault(_MODES[token].audit, set()).update(number for number in some if number >= 0)
    blocks: list[bytes] = []
    behind = 0
    for audit, allowed in reversed(merged.items()):
        if allowed:
            # The accumulator holds the architecture still when the next block is reached from here.
            body = [_step(_LOAD, _NUMBER), *_search(_edges(allowed), behind, inside=False)]
            blocks[:0] = [_step(_IF_EQUAL, audit, then=1), _step(_JUMP, len(body)), *body]
            behind = len(blocks)
    return b"".join([_step(_LOAD, _ARCHITECTURE), *blocks]) if blocks else b""


def _edges(numbers: set[int]) -> list[int]:
    """Return where runs of successive numbers begin and end: in turns the first of them, and the first behind them."""
    return sorted(numbers.symmetric_difference(number + 1 for number in numbers))


def _search(edges: list[int], behind: int, *, inside: bool) -> list[bytes]:
    """Return a search among numbers of which ``inside`` tells whether those below the first edge are allowed.

    Args:
        edges: From one to the next, numbers are allowed and not allowed in turns.
        behind: How many instructions there are between the search and what decides about what is not allowed.
        inside: As above.
    """
    if not edges:
        return [_ALLOWED if inside else _step(_JUMP, behind)]
    middle = len(edges) // 2
    high = _search(edges[middle + 1 :], behind, inside=inside ^ (middle % 2 == 0))
    low = _search(edges[:middle], behind + len(high), inside=inside)
    if len(low) <= _FARTHEST:
        return [_step(_IF_AT_LEAST, edges[middle], then=len(low)), *low, *high]
    return [_step(_IF_AT_LEAST, edges[middle], otherwise=1), _step(_JUMP, len(low)), *low, *high]
