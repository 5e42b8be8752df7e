"""Shares of processors, and which processors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from ocikit.errors import UnsupportedFieldError, ValidationError
from ocikit.runtime.cgroups.hierarchies import UNIFIED
from ocikit.runtime.limits.write import PATH, Write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.spec import LinuxCPU

__all__ = ["cpu_v1", "cpu_v2", "cpu_weight", "cpuset"]

_CPU: Final = f"{PATH}.cpu"

#: What the kernel takes for shares; it rounds others in silence.
_SHARES: Final = (2, 262144)


def cpuset(cpu: LinuxCPU, key: str) -> Iterator[Write]:
    """Yield the writes for processors and nodes of memory; the files are those of v1 and of v2."""
    for name in ("cpus", "mems"):
        value = getattr(cpu, name)
        if value:
            yield Write(key, f"cpuset.{name}", value, f"{_CPU}.{name}")


def cpu_v1(cpu: LinuxCPU) -> Iterator[Write]:
    """Yield the writes for the files of v1.

    Raises:
        ValidationError: Values that contradict each other, or that the kernel would round.
    """
    if cpu.shares and not _SHARES[0] <= cpu.shares <= _SHARES[1]:
        reason = f"expected {_SHARES[0]} to {_SHARES[1]}, found {cpu.shares}; the kernel would round it"
        raise ValidationError((f"{_CPU}.shares: {reason}",))
    yield from _idle(cpu, "cpu")
    if cpu.shares:
        yield Write("cpu", "cpu.shares", str(cpu.shares), f"{_CPU}.shares")
    if cpu.period:
        yield Write("cpu", "cpu.cfs_period_us", str(cpu.period), f"{_CPU}.period", "quota")
    if cpu.quota:
        yield Write("cpu", "cpu.cfs_quota_us", str(max(cpu.quota, -1)), f"{_CPU}.quota", "quota")
    yield from _burst(cpu, "cpu", "cpu.cfs_burst_us")
    if cpu.realtime_period:
        yield Write("cpu", "cpu.rt_period_us", str(cpu.realtime_period), f"{_CPU}.realtimePeriod", "realtime")
    if cpu.realtime_runtime:
        yield Write("cpu", "cpu.rt_runtime_us", str(cpu.realtime_runtime), f"{_CPU}.realtimeRuntime", "realtime")


def cpu_v2(cpu: LinuxCPU) -> Iterator[Write]:
    """Yield the writes for the files of v2.

    Raises:
        UnsupportedFieldError: v2 has no such limit.
        ValidationError: Values that contradict each other.
    """
    for attribute, name in (("realtime_runtime", "realtimeRuntime"), ("realtime_period", "realtimePeriod")):
        if getattr(cpu, attribute):
            raise UnsupportedFieldError(f"{_CPU}.{name}", "cgroup v2 does not have it; remove it")
    yield from _idle(cpu, UNIFIED)
    if cpu.shares:
        yield Write(UNIFIED, "cpu.weight", str(cpu_weight(cpu.shares)), f"{_CPU}.shares")
    if cpu.quota or cpu.period:
        quota = str(cpu.quota) if cpu.quota is not None and cpu.quota > 0 else "max"
        period = f" {cpu.period}" if cpu.period else ""
        yield Write(UNIFIED, "cpu.max", quota + period, f"{_CPU}.{'quota' if cpu.quota else 'period'}", "quota")
    yield from _burst(cpu, UNIFIED, "cpu.max.burst")


def _idle(cpu: LinuxCPU, key: str) -> Iterator[Write]:
    if cpu.idle and cpu.shares:
        reason = "a cgroup that runs only when the processor is idle has no weight; remove one of shares and idle"
        raise ValidationError((f"{_CPU}.shares: {reason}",))
    if cpu.idle is not None:
        yield Write(key, "cpu.idle", str(cpu.idle), f"{_CPU}.idle", optional=not cpu.idle)


def _burst(cpu: LinuxCPU, key: str, file: str) -> Iterator[Write]:
    if cpu.burst is not None:
        yield Write(key, file, str(cpu.burst), f"{_CPU}.burst", "quota", optional=not cpu.burst)


def cpu_weight(shares: int) -> int:
    """Turn v1 shares (2 to 262144, usually 1024) into a v2 weight (1 to 10000, usually 100).

    The curve goes through those three points; runc (since 1.3.2) and crun (since 1.23) use the same one.
    """
    if shares <= _SHARES[0]:
        return 1
    if shares >= _SHARES[1]:
        return 10000
    logarithm = math.log2(shares)
    exponent = (logarithm * logarithm + 125 * logarithm) / 612 - 7 / 34
    # Less a trifle, so that a weight that comes out whole is not rounded up for its last binary digit.
    return math.ceil(10**exponent - 1e-9)
