"""``linux.resources`` as writes into files of control groups: two tables, one for v1 and one for v2.

Rules for devices stand in ``devices``: v2 has no file for them.

Pure. What cannot be had in a hierarchy is refused by name; what is not set is not written.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from ocikit.errors import UnsupportedFieldError, ValidationError
from ocikit.runtime.cgroups import UNIFIED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ocikit.runtime.devices import DeviceRule
    from ocikit.spec import LinuxCPU, LinuxMemory, LinuxResources

__all__ = ["Write", "cpu_weight", "device_writes", "limits"]

_PATH: Final = "$.linux.resources"

#: Sections that ocikit does not act on, by their attribute and JSON key.
_UNSUPPORTED: Final = {
    "block_io": "blockIO",
    "hugepage_limits": "hugepageLimits",
    "network": "network",
    "rdma": "rdma",
    "unified": "unified",
}

#: Deprecated fields of memory, with their JSON keys and why they are refused.
_MEMORY_REFUSED: Final = {
    "kernel": ("kernel", "kernels do not limit their own memory any more; remove it"),
    "kernel_tcp": ("kernelTCP", "kernel memory of sockets is not limited; remove it"),
}


class Write(NamedTuple):
    """One value for one file of the container's cgroup."""

    #: The key of the hierarchy: a v1 controller, or the v2 hierarchy.
    key: str
    #: The file.
    file: str
    value: str
    #: The field of the configuration that asks for it.
    field: str


def limits(resources: LinuxResources | None, *, v2: bool) -> tuple[Write, ...]:
    """Return what has to be written to give a new cgroup its limits, in order.

    Args:
        resources: What the configuration asks for.
        v2: For a host whose only hierarchy is v2.

    Raises:
        UnsupportedFieldError: A field is set that would have to be ignored.
        ValidationError: A value that contradicts another one, or says nothing.
    """
    if resources is not None:
        _refuse(resources)
    writes: list[Write] = []
    if resources is None:
        return ()
    if resources.memory is not None:
        writes += (_memory_v2 if v2 else _memory_v1)(resources.memory)
    if resources.cpu is not None:
        writes += (_cpu_v2 if v2 else _cpu_v1)(resources.cpu)
    if resources.pids is not None and resources.pids.limit is not None:
        writes.append(Write(UNIFIED if v2 else "pids", "pids.max", _tasks(resources.pids.limit), f"{_PATH}.pids.limit"))
    return tuple(writes)


def _refuse(resources: LinuxResources) -> None:
    for attribute, name in _UNSUPPORTED.items():
        section = getattr(resources, attribute)
        # An object without a single field asks for nothing.
        if section and section != type(section)():
            raise UnsupportedFieldError(f"{_PATH}.{name}", "these limits are not supported")
    for attribute, (name, reason) in _MEMORY_REFUSED.items():
        if resources.memory is not None and getattr(resources.memory, attribute):
            raise UnsupportedFieldError(f"{_PATH}.memory.{name}", reason)


def _tasks(limit: int) -> str:
    # A limit of none would also keep the first process out where it is cloned into its cgroup.
    return "max" if limit < 0 else str(max(limit, 1))


def _amount(value: int) -> str:
    return "max" if value < 0 else str(value)


def device_writes(rules: Iterable[DeviceRule]) -> tuple[Write, ...]:
    """Return what has to be written to give a v1 cgroup its rules for devices, in order."""
    return tuple(
        Write("devices", "devices.allow" if rule.allow else "devices.deny", str(rule), f"{_PATH}.devices")
        for rule in rules
    )


class _Field(NamedTuple):
    """A field whose value goes into one file of v1 as it is."""

    attribute: str
    name: str
    key: str
    file: str
    text: Callable[[int], str] = str
    #: Whether zero is a value like any other. Elsewhere it is how those who fill in every field say "not set".
    zero: bool = False


#: In the order in which a new cgroup, which has no limits, accepts them.
_V1_MEMORY: Final = (
    _Field("limit", "limit", "memory", "memory.limit_in_bytes"),
    _Field("swap", "swap", "memory", "memory.memsw.limit_in_bytes"),
    _Field("reservation", "reservation", "memory", "memory.soft_limit_in_bytes"),
    _Field("swappiness", "swappiness", "memory", "memory.swappiness", zero=True),
)

_V1_CPU: Final = (
    _Field("shares", "shares", "cpu", "cpu.shares"),
    _Field("idle", "idle", "cpu", "cpu.idle"),
    _Field("period", "period", "cpu", "cpu.cfs_period_us"),
    _Field("quota", "quota", "cpu", "cpu.cfs_quota_us", lambda quota: str(quota if quota > 0 else -1)),
    _Field("burst", "burst", "cpu", "cpu.cfs_burst_us"),
    _Field("realtime_period", "realtimePeriod", "cpu", "cpu.rt_period_us"),
    _Field("realtime_runtime", "realtimeRuntime", "cpu", "cpu.rt_runtime_us"),
)


def _fields(section: object, name: str, table: tuple[_Field, ...]) -> Iterator[Write]:
    for field in table:
        value = getattr(section, field.attribute)
        if value or (field.zero and value is not None):
            yield Write(field.key, field.file, field.text(value), f"{_PATH}.{name}.{field.name}")


def _check_swap(memory: LinuxMemory) -> None:
    swap, limit = memory.swap or 0, memory.limit or 0
    if swap > 0 and limit <= 0:
        raise ValidationError((f"{_PATH}.memory.swap: memory and swap cannot be limited without memory.limit",))
    if 0 < swap < limit:
        raise ValidationError(
            (f"{_PATH}.memory.swap: {swap:,} is memory and swap together, and less than memory.limit ({limit:,})",)
        )


def _memory_v1(memory: LinuxMemory) -> Iterator[Write]:
    _check_swap(memory)
    yield from _fields(memory, "memory", _V1_MEMORY)
    if memory.disable_oom_killer:
        yield Write("memory", "memory.oom_control", "1", f"{_PATH}.memory.disableOOMKiller")


def _memory_v2(memory: LinuxMemory) -> Iterator[Write]:
    _check_swap(memory)
    for name, is_set in (
        ("swappiness", memory.swappiness is not None),
        ("disableOOMKiller", memory.disable_oom_killer),
    ):
        if is_set:
            raise UnsupportedFieldError(f"{_PATH}.memory.{name}", "cgroup v2 does not have it; remove it")
    if memory.limit:
        yield Write(UNIFIED, "memory.max", _amount(memory.limit), f"{_PATH}.memory.limit")
    if memory.swap:
        # The specification counts memory and swap together, v2 each on its own.
        swap = memory.swap if memory.swap < 0 else memory.swap - (memory.limit or 0)
        yield Write(UNIFIED, "memory.swap.max", _amount(swap), f"{_PATH}.memory.swap")
    if memory.reservation:
        yield Write(UNIFIED, "memory.low", _amount(memory.reservation), f"{_PATH}.memory.reservation")


def _cpuset(cpu: LinuxCPU, key: str) -> Iterator[Write]:
    for name in ("cpus", "mems"):
        value = getattr(cpu, name)
        if value:
            yield Write(key, f"cpuset.{name}", value, f"{_PATH}.cpu.{name}")


def _cpu_v1(cpu: LinuxCPU) -> Iterator[Write]:
    yield from _cpuset(cpu, "cpuset")
    yield from _fields(cpu, "cpu", _V1_CPU)


def _cpu_v2(cpu: LinuxCPU) -> Iterator[Write]:
    for attribute, name in (("realtime_runtime", "realtimeRuntime"), ("realtime_period", "realtimePeriod")):
        if getattr(cpu, attribute):
            raise UnsupportedFieldError(f"{_PATH}.cpu.{name}", "cgroup v2 does not have it; remove it")
    yield from _cpuset(cpu, UNIFIED)
    if cpu.idle:
        yield Write(UNIFIED, "cpu.idle", str(cpu.idle), f"{_PATH}.cpu.idle")
    if cpu.shares:
        if cpu.idle:
            raise ValidationError((f"{_PATH}.cpu.shares: a cgroup that runs only when the CPU is idle has no weight",))
        yield Write(UNIFIED, "cpu.weight", str(cpu_weight(cpu.shares)), f"{_PATH}.cpu.shares")
    if cpu.quota or cpu.period:
        quota = str(cpu.quota) if cpu.quota is not None and cpu.quota > 0 else "max"
        period = f" {cpu.period}" if cpu.period else ""
        yield Write(UNIFIED, "cpu.max", quota + period, f"{_PATH}.cpu.quota")
    if cpu.burst:
        yield Write(UNIFIED, "cpu.max.burst", str(cpu.burst), f"{_PATH}.cpu.burst")


def cpu_weight(shares: int) -> int:
    """Turn v1 shares (2 to 262144, usually 1024) into a v2 weight (1 to 10000, usually 100).

    The curve goes through those three points; runc (since 1.3.2) and crun (since 1.23) use the same one.
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    logarithm = math.log2(shares)
    exponent = (logarithm * logarithm + 125 * logarithm) / 612 - 7 / 34
    # Less a trifle, so that a weight that comes out whole is not rounded up for its last binary digit.
    return math.ceil(10**exponent - 1e-9)
