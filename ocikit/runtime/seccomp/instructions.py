"""Instructions of filters (struct sock_filter, linux/filter.h), and how they tell one architecture from others."""

from __future__ import annotations

import struct
from typing import Final

from ocikit._tuples import NamedTuple
from ocikit.runtime.seccomp.codes import ARCHITECTURES

__all__ = [
    "ARCHITECTURE",
    "IF_AT_LEAST",
    "IF_EQUAL",
    "IF_GREATER",
    "INSTRUCTION",
    "JUMP",
    "LOAD",
    "MODES",
    "NO_LIMIT",
    "NUMBER",
    "RETURN",
    "Mode",
    "step",
]

#: struct sock_filter: code, how far to jump if true and if false, value.
INSTRUCTION: Final = struct.Struct("=HBBI")

# Codes (linux/bpf_common.h): load a word of struct seccomp_data; jump; compare with the value; return it.
LOAD: Final = 0x20
JUMP: Final = 0x05
IF_EQUAL: Final = 0x15
IF_GREATER: Final = 0x25
IF_AT_LEAST: Final = 0x35
RETURN: Final = 0x06

# Offsets in struct seccomp_data.
NUMBER: Final = 0
ARCHITECTURE: Final = 4

_X32_BIT: Final = 0x4000_0000
_ARM_PRIVATE: Final = 0x000F_0000
NO_LIMIT: Final = 1 << 32


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
    ARCHITECTURES["SCMP_ARCH_X32"].token: Mode(_X86_64, NO_LIMIT),
    ARCHITECTURES["SCMP_ARCH_X86"].token: Mode(ARCHITECTURES["SCMP_ARCH_X86"].token, NO_LIMIT),
    ARCHITECTURES["SCMP_ARCH_AARCH64"].token: Mode(ARCHITECTURES["SCMP_ARCH_AARCH64"].token, NO_LIMIT),
    ARCHITECTURES["SCMP_ARCH_ARM"].token: Mode(ARCHITECTURES["SCMP_ARCH_ARM"].token, _ARM_PRIVATE),
}


def step(code: int, value: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    """Return an instruction."""
    return INSTRUCTION.pack(code, then, otherwise, value)
