"""Lists of CPUs and memory nodes as the kernel writes them, such as ``0-3,7``, as masks for system calls."""

from __future__ import annotations

import re
from typing import Final

from ocikit.errors import ValidationError

__all__ = ["ALL", "mask"]

#: The highest number that any kernel is built for (CONFIG_NR_CPUS).
_HIGHEST: Final = 8191
_RANGE: Final = r"(\d{1,5})(?:-(\d{1,5}))?"

#: Every CPU; the kernel takes those that there are.
ALL: Final = b"\xff" * ((_HIGHEST + 1) // 8)


def mask(text: str, path: str) -> bytes:
    """Turn a list into a mask, whose lowest bit is number 0.

    Args:
        text: The list.
        path: Its JSON path, for the error.

    Raises:
        ValidationError: It is no list, or names a number that no kernel has.
    """
    bits = 0
    for part in text.split(","):
        match = re.fullmatch(_RANGE, part.strip(), re.ASCII)
        first = int(match[1]) if match is not None else 1
        last = int(match[2] or match[1]) if match is not None else 0
        if not first <= last <= _HIGHEST:
            expected = f"expected numbers from 0 to {_HIGHEST} and ranges, such as 0-3,7"
            raise ValidationError((f"{path}: {expected}, found {text[:100]!r}",))
        bits |= ((1 << (last - first + 1)) - 1) << first
    # In words of the machine: not every kernel takes less.
    return bits.to_bytes((bits.bit_length() + 63) // 64 * 8, "little")
