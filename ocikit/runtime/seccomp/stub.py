"""The beginning of a filter: ENOSYS for system calls that are newer than its profile.

Whoever wrote a profile that refuses what it does not name could not name system calls that did not exist. A program
that gets EPERM for one of them gives up; with ENOSYS it takes the older one instead, as on an older kernel. New calls
get the next number, so that everything above the highest number that the profile names is new to it; and a filter
would refuse those anyway: the stub changes how, not what.

Pure: a table of numbers becomes instructions (struct sock_filter, linux/filter.h).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from ocikit._tuples import NamedTuple
from ocikit.runtime.seccomp.codes import ARCHITECTURES, RET_ERRNO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["INSTRUCTION", "MODES", "Mode", "enosys_stub"]

#: struct sock_filter: code, how far to jump if true and if false, value.
INSTRUCTION: Final = struct.Struct("=HBBI")

# Codes (linux/bpf_common.h): load a word of struct seccomp_data; jump; compare with the value; return it.
_LOAD: Final = 0x20
_JUMP: Final = 0x05
_IF_EQUAL: Final = 0x15
_IF_GREATER: Final = 0x25
_IF_AT_LEAST: Final = 0x35
_RETURN: Final = 0x06

# Offsets in struct seccomp_data.
_NUMBER: Final = 0
_ARCHITECTURE: Final = 4

_ENOSYS: Final = 38
_X32_BIT: Final = 0x4000_0000
_ARM_PRIVATE: Final = 0x000F_0000
_NO_LIMIT: Final = 1 << 32


class Mode(NamedTuple):
    """How one architecture of libseccomp is told from others, and where its system calls end."""

    #: AUDIT_ARCH_*, as the kernel tells filters.
    audit: int
    #: Numbers from here on are something else: those of x32 or ARM's private ones (cacheflush and the like).
    limit: int


_X86_64 = ARCHITECTURES["SCMP_ARCH_X86_64"].token

#: The architectures whose programs run on the machines that ocikit runs on, by the number that libseccomp has for them.
#: To the kernel x32 is x86_64 with a bit of the number set.
MODES: Final = {
    _X86_64: Mode(_X86_64, _X32_BIT),
    ARCHITECTURES["SCMP_ARCH_X32"].token: Mode(_X86_64, _NO_LIMIT),
    ARCHITECTURES["SCMP_ARCH_X86"].token: Mode(ARCHITECTURES["SCMP_ARCH_X86"].token, _NO_LIMIT),
    ARCHITECTURES["SCMP_ARCH_AARCH64"].token: Mode(ARCHITECTURES["SCMP_ARCH_AARCH64"].token, _NO_LIMIT),
    ARCHITECTURES["SCMP_ARCH_ARM"].token: Mode(ARCHITECTURES["SCMP_ARCH_ARM"].token, _ARM_PRIVATE),
}


def enosys_stub(known: Mapping[int, Sequence[int]]) -> bytes:
    """Return instructions that go in front of a filter; what is not new to the profile falls through to it.

    Args:
        known: The numbers of the system calls that the profile names, by libseccomp's number of the architecture.
            Architectures whose programs do not run here are left out, and so are those without any number.
    """
    newer: dict[int, list[tuple[int, int]]] = {}
    for token, numbers in known.items():
        if token in MODES:
            mode = MODES[token]
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


def _step(code: int, value: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    return INSTRUCTION.pack(code, then, otherwise, value)
