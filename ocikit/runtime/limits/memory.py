"""Limits of memory.

The specification has the limits of v1: memory, and memory and swap together. v2 limits each on its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.errors import UnsupportedFieldError, ValidationError
from ocikit.runtime.cgroups.hierarchies import UNIFIED
from ocikit.runtime.limits.write import PATH, Write, amount

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.spec import LinuxMemory

__all__ = ["memory_v1", "memory_v2"]

_MEMORY: Final = f"{PATH}.memory"

# One cannot be above the other: raised together, memory and swap come first, lowered together, last.
_GROUP: Final = "memory"


def memory_v1(memory: LinuxMemory) -> Iterator[Write]:
    """Yield the writes for the files of v1.

    Raises:
        ValidationError: Values that contradict each other.
    """
    limit, swap = memory.limit or 0, memory.swap or 0
    if swap > 0:
        _check_swap(limit, swap)
    if limit:
        yield Write("memory", "memory.limit_in_bytes", str(max(limit, -1)), f"{_MEMORY}.limit", _GROUP)
    if swap:
        yield Write("memory", "memory.memsw.limit_in_bytes", str(max(swap, -1)), f"{_MEMORY}.swap", _GROUP)
    elif limit < 0:
        # All the memory there is, and all the swap there is; a kernel that does not count swap does not limit it.
        file = "memory.memsw.limit_in_bytes"
        yield Write("memory", file, "-1", f"{_MEMORY}.limit", _GROUP, optional=True)
    if memory.reservation:
        value = str(max(memory.reservation, -1))
        yield Write("memory", "memory.soft_limit_in_bytes", value, f"{_MEMORY}.reservation")
    if memory.kernel_tcp:
        value, optional = str(max(memory.kernel_tcp, -1)), memory.kernel_tcp < 0
        yield Write("memory", "memory.kmem.tcp.limit_in_bytes", value, f"{_MEMORY}.kernelTCP", optional=optional)
    if memory.swappiness is not None:
        yield Write("memory", "memory.swappiness", str(memory.swappiness), f"{_MEMORY}.swappiness")
    if memory.use_hierarchy is not None:
        # Since 5.11 the kernel knows nothing else, and takes no other value.
        value, optional = str(int(memory.use_hierarchy)), memory.use_hierarchy
        yield Write("memory", "memory.use_hierarchy", value, f"{_MEMORY}.useHierarchy", optional=optional)
    if memory.disable_oom_killer is not None:
        value, optional = str(int(memory.disable_oom_killer)), not memory.disable_oom_killer
        field = f"{_MEMORY}.disableOOMKiller"
        yield Write("memory", "memory.oom_control", value, field, optional=optional, line="oom_kill_disable")


def memory_v2(memory: LinuxMemory) -> Iterator[Write]:
    """Yield the writes for the files of v2.

    Raises:
        UnsupportedFieldError: v2 has no such limit.
        ValidationError: Values that contradict each other.
    """
    for name, is_set in (
        ("swappiness", memory.swappiness is not None),
        ("disableOOMKiller", memory.disable_oom_killer),
        ("useHierarchy", memory.use_hierarchy is False),
    ):
        if is_set:
            raise UnsupportedFieldError(f"{_MEMORY}.{name}", "cgroup v2 does not have it; remove it")
    swap = _swap_v2(memory.limit or 0, memory.swap or 0)
    if swap is not None:
        # Where the kernel does not count swap there is none to forbid, and no limit of it.
        file, field = "memory.swap.max", f"{_MEMORY}.{'swap' if memory.swap else 'limit'}"
        yield Write(UNIFIED, file, amount(swap), field, optional=swap <= 0)
    if memory.limit:
        yield Write(UNIFIED, "memory.max", amount(memory.limit), f"{_MEMORY}.limit")
    if memory.reservation:
        yield Write(UNIFIED, "memory.low", amount(memory.reservation), f"{_MEMORY}.reservation")


def _swap_v2(limit: int, swap: int) -> int | None:
    """Return the limit of swap alone; None when nothing is said about it."""
    if swap > 0 and limit < 0:
        return swap  # there is nothing to subtract from it; so does runc
    if swap > 0:
        _check_swap(limit, swap)
        return swap - limit
    return -1 if swap < 0 or limit < 0 else None


def _check_swap(limit: int, swap: int) -> None:
    if limit <= 0:
        raise ValidationError((f"{_MEMORY}.swap: memory and swap cannot be limited without memory.limit",))
    if swap < limit:
        reason = f"{swap:,} is memory and swap together, and less than memory.limit ({limit:,})"
        raise ValidationError((f"{_MEMORY}.swap: {reason}",))
