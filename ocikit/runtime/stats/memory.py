"""Use of memory, from the files of v1 and v2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.runtime.cgroups.files import flat, read_file, read_number
from ocikit.runtime.stats.types import Counter, MemoryStats

if TYPE_CHECKING:
    from ocikit.runtime.stats.types import PressureStats

__all__ = ["NO_LIMIT_V1", "memory_v1", "memory_v2"]

#: What v1 says when there is no limit: the most pages that it can count, in bytes. Pages may be larger elsewhere.
NO_LIMIT_V1: Final = 0x7FFF_FFFF_FFFF_F000
_NO_LIMIT_AT_ALL: Final = 1 << 62


def memory_v1(path: str, pressure: PressureStats | None) -> MemoryStats | None:
    """Read the files of v1; None when there are none.

    Raises:
        CgroupError: The kernel refuses.
    """
    memory = _counter_v1(path, "memory")
    if memory is None:
        return None
    both = _counter_v1(path, "memory.memsw")
    control = flat(read_file(f"{path}/memory.oom_control"))
    under = control.get("under_oom")
    return MemoryStats(
        version=1,
        memory=memory,
        swap=_swap_of(memory, both) if both is not None else None,
        memory_and_swap=both,
        kernel=_counter_v1(path, "memory.kmem"),
        kernel_tcp=_counter_v1(path, "memory.kmem.tcp"),
        oom=None,
        oom_kills=control.get("oom_kill"),
        under_oom=bool(under) if under is not None else None,
        stat=flat(read_file(f"{path}/memory.stat")),
        pressure=pressure,
    )


def _counter_v1(path: str, name: str) -> Counter | None:
    usage = read_number(f"{path}/{name}.usage_in_bytes")
    if usage is None:
        return None
    limit = read_number(f"{path}/{name}.limit_in_bytes")
    return Counter(
        usage=usage,
        limit=None if limit is None or limit >= _NO_LIMIT_AT_ALL else limit,
        max_usage=read_number(f"{path}/{name}.max_usage_in_bytes"),
        failures=read_number(f"{path}/{name}.failcnt"),
    )


def _swap_of(memory: Counter, both: Counter) -> Counter:
    limit = both.limit - memory.limit if both.limit is not None and memory.limit is not None else None
    return Counter(usage=max(0, both.usage - memory.usage), limit=limit)


def memory_v2(path: str, pressure: PressureStats | None) -> MemoryStats | None:
    """Read the files of v2; None when there are none.

    Raises:
        CgroupError: The kernel refuses.
    """
    memory = _counter_v2(path, "memory")
    if memory is None:
        return None
    swap = _counter_v2(path, "memory.swap")
    events = flat(read_file(f"{path}/memory.events"))
    return MemoryStats(
        version=2,
        memory=memory,
        swap=swap,
        memory_and_swap=_both(memory, swap) if swap is not None else None,
        kernel=None,
        kernel_tcp=None,
        oom=events.get("oom"),
        oom_kills=events.get("oom_kill"),
        under_oom=None,
        stat=flat(read_file(f"{path}/memory.stat")),
        pressure=pressure,
    )


def _counter_v2(path: str, name: str) -> Counter | None:
    usage = read_number(f"{path}/{name}.current")
    if usage is None:
        return None
    return Counter(
        usage=usage,
        limit=read_number(f"{path}/{name}.max"),
        max_usage=read_number(f"{path}/{name}.peak"),
        failures=flat(read_file(f"{path}/{name}.events")).get("max"),
    )


def _both(memory: Counter, swap: Counter) -> Counter:
    limit = memory.limit + swap.limit if memory.limit is not None and swap.limit is not None else None
    return Counter(usage=memory.usage + swap.usage, limit=limit, failures=swap.failures)
