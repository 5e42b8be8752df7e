"""Use of processors, from the files of v1 and v2."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from ocikit.runtime.cgroups.files import flat, read_file, read_number
from ocikit.runtime.stats.types import CPUSetStats, CPUStats

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ocikit.runtime.stats.types import PressureStats

__all__ = ["cpu_v1", "cpu_v2", "cpuset"]

_NANOSECONDS: Final = 1_000_000_000

#: Files of the v1 cpuset that hold a number.
_FLAGS: Final = (
    "cpu_exclusive",
    "mem_exclusive",
    "mem_hardwall",
    "memory_migrate",
    "memory_pressure",
    "memory_spread_page",
    "memory_spread_slab",
    "sched_load_balance",
    "sched_relax_domain_level",
)


def cpu_v1(accounting: str | None, quota: str | None, pressure: PressureStats | None) -> CPUStats | None:
    """Read the files of v1; None when time is not counted.

    Args:
        accounting: The cgroup of the controller that counts it.
        quota: The cgroup of the one that limits it.
        pressure: On the processors.

    Raises:
        CgroupError: The kernel refuses.
    """
    total = read_number(f"{accounting}/cpuacct.usage") if accounting is not None else None
    if accounting is None or total is None:
        return None
    user, system = _user_and_system(accounting)
    by_cpu = _by_cpu(read_file(f"{accounting}/cpuacct.usage_all"))
    per_cpu = read_file(f"{accounting}/cpuacct.usage_percpu")
    stat = flat(read_file(f"{quota}/cpu.stat")) if quota is not None else {}
    return CPUStats(
        total=total,
        user=user,
        system=system,
        per_cpu=tuple(int(one) for one in per_cpu.split()) if per_cpu is not None else None,
        per_cpu_user=tuple(one for one, _ in by_cpu) if by_cpu else None,
        per_cpu_system=tuple(one for _, one in by_cpu) if by_cpu else None,
        periods=stat.get("nr_periods"),
        throttled_periods=stat.get("nr_throttled"),
        throttled_time=stat.get("throttled_time"),
        burst_periods=stat.get("nr_bursts"),
        burst_time=stat.get("burst_time"),
        pressure=pressure,
    )


def _user_and_system(path: str) -> tuple[int, int]:
    user, system = (read_number(f"{path}/cpuacct.usage_{name}") for name in ("user", "sys"))
    if user is not None and system is not None:
        return user, system
    ticks = flat(read_file(f"{path}/cpuacct.stat"))
    tick = _NANOSECONDS // os.sysconf("SC_CLK_TCK")
    return ticks.get("user", 0) * tick, ticks.get("system", 0) * tick


def _by_cpu(text: str | None) -> list[tuple[int, int]]:
    """Read a table of processor, time in programs and time in the kernel, which has a head."""
    rows = [line.split() for line in (text or "").splitlines()[1:]]
    return [(int(row[1]), int(row[2])) for row in rows if len(row) >= 3]


def cpu_v2(path: str, pressure: PressureStats | None) -> CPUStats | None:
    """Read the files of v2; None when time is not counted.

    Raises:
        CgroupError: The kernel refuses.
    """
    stat = flat(read_file(f"{path}/cpu.stat"))
    if "usage_usec" not in stat:
        return None
    return CPUStats(
        total=stat["usage_usec"] * 1000,
        user=stat.get("user_usec", 0) * 1000,
        system=stat.get("system_usec", 0) * 1000,
        per_cpu=None,
        per_cpu_user=None,
        per_cpu_system=None,
        periods=stat.get("nr_periods"),
        throttled_periods=stat.get("nr_throttled"),
        throttled_time=_nanoseconds(stat, "throttled_usec"),
        burst_periods=stat.get("nr_bursts"),
        burst_time=_nanoseconds(stat, "burst_usec"),
        pressure=pressure,
    )


def _nanoseconds(stat: Mapping[str, int], name: str) -> int | None:
    return stat[name] * 1000 if name in stat else None


def cpuset(path: str) -> CPUSetStats | None:
    """Read the files of a cpuset; None when there are none.

    Raises:
        CgroupError: The kernel refuses.
    """
    texts = {}
    for name in ("cpus", "mems"):
        text = read_file(f"{path}/cpuset.{name}.effective")  # what v2 calls what holds
        texts[name] = text if text is not None else read_file(f"{path}/cpuset.{name}")
    if texts["cpus"] is None or texts["mems"] is None:
        return None
    found = {name: read_number(f"{path}/cpuset.{name}") for name in _FLAGS}
    return CPUSetStats(
        cpus=tuple(_numbers(texts["cpus"])),
        mems=tuple(_numbers(texts["mems"])),
        flags={name: value for name, value in found.items() if value is not None},
    )


def _numbers(text: str) -> Iterator[int]:
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            yield from range(int(first), int(last or first) + 1)
