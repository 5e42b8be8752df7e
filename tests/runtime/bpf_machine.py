"""The machine that filters for system calls run on (linux/filter.h), as far as such filters use it."""

from __future__ import annotations

import platform
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["ARCHITECTURES", "MACHINE", "decide"]

_INSTRUCTION = struct.Struct("=HBBI")
_DATA = struct.Struct("=iIQ6Q")  # struct seccomp_data
_MAX_INSTRUCTIONS = 4096

#: AUDIT_ARCH_* by the names of the specification.
ARCHITECTURES = {
    "SCMP_ARCH_X86_64": 0xC000_003E,
    "SCMP_ARCH_X86": 0x4000_0003,
    "SCMP_ARCH_AARCH64": 0xC000_00B7,
    "SCMP_ARCH_ARM": 0x4000_0028,
}

#: The native one, by its name.
MACHINE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}[platform.machine()]

_COMPARISONS: Final[dict[int, Callable[[int, int], bool]]] = {
    0x15: lambda a, value: a == value,
    0x25: lambda a, value: a > value,
    0x35: lambda a, value: a >= value,
    0x45: lambda a, value: bool(a & value),
}


def decide(
    program: bytes, number: int, arguments: Sequence[int] = (), architecture: int = ARCHITECTURES[MACHINE]
) -> int:
    """Run a filter on one system call; return what it returns.

    The rules of the kernel for programs are kept: jumps lead forward and into the program, which ends with a return.
    """
    signed = number - (1 << 32) if number >= 1 << 31 else number
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = _DATA.pack(signed, architecture, 0, *padded)
    code = [_INSTRUCTION.unpack_from(program, at) for at in range(0, len(program), _INSTRUCTION.size)]
    assert 0 < len(code) <= _MAX_INSTRUCTIONS
    accumulator = position = 0
    while True:
        operation, then, otherwise, value = code[position]
        position += 1
        if operation == 0x06:
            return int(value)
        if operation == 0x20:
            assert value % 4 == 0
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif operation == 0x05:
            position += value
        elif operation == 0x54:
            accumulator &= value
        else:
            position += then if _COMPARISONS[operation](accumulator, value) else otherwise
