"""Statistics in the JSON of ``runc events``, which engines read.

There a number that is not known is zero or left out, and so is one that is zero; a memory limit that is none is the
largest number that the kernel can say. What runc leaves out is left out here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ocikit.runtime.stats.memory import NO_LIMIT_V1

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ocikit.runtime.stats.types import (
        BlockIOEntry,
        BlockIOStats,
        Counter,
        CPUSetStats,
        CPUStats,
        HugetlbStats,
        InterfaceStats,
        MemoryStats,
        PressureStats,
        RdtStats,
        Stats,
    )

__all__ = ["oom_event", "runc_json", "stats_event"]

_NO_LIMIT_V2: Final = (1 << 64) - 1

#: Attribute → key, for tables of numbers by disk.
_BLOCK_IO: Final = {
    "service_bytes": "ioServiceBytesRecursive",
    "serviced": "ioServicedRecursive",
    "queued": "ioQueueRecursive",
    "service_time": "ioServiceTimeRecursive",
    "wait_time": "ioWaitTimeRecursive",
    "merged": "ioMergedRecursive",
    "time": "ioTimeRecursive",
    "sectors": "sectorsRecursive",
}

_INTERFACE: Final = {
    "rx_bytes": "RxBytes",
    "rx_packets": "RxPackets",
    "rx_errors": "RxErrors",
    "rx_dropped": "RxDropped",
    "tx_bytes": "TxBytes",
    "tx_packets": "TxPackets",
    "tx_errors": "TxErrors",
    "tx_dropped": "TxDropped",
}

_CPUSET_FLAGS: Final = (
    "cpu_exclusive",
    "mem_hardwall",
    "mem_exclusive",
    "memory_migrate",
    "memory_spread_page",
    "memory_spread_slab",
    "memory_pressure",
    "sched_load_balance",
    "sched_relax_domain_level",
)


def stats_event(container_id: str, stats: Stats) -> dict[str, Any]:
    """Return the line that ``runc events`` prints of a container's statistics, as an object."""
    return {"type": "stats", "id": container_id, "data": runc_json(stats)}


def oom_event(container_id: str) -> dict[str, Any]:
    """Return the line that it prints when memory was used up."""
    return {"type": "oom", "id": container_id}


def runc_json(stats: Stats) -> dict[str, Any]:
    """Return statistics as the data of such an event."""
    return {
        "cpu": _cpu(stats.cpu) if stats.cpu is not None else {},
        "cpuset": _cpuset(stats.cpuset),
        "memory": _memory(stats.memory) if stats.memory is not None else {},
        "pids": _less_nothing(current=stats.pids.current, limit=stats.pids.limit) if stats.pids is not None else {},
        "blkio": _block_io(stats.block_io) if stats.block_io is not None else {},
        "hugetlb": {size: _hugetlb(one) for size, one in (stats.hugetlb or {}).items()},
        "intel_rdt": _rdt(stats.intel_rdt) if stats.intel_rdt is not None else {},
        "network_interfaces": [_interface(one) for one in stats.network] if stats.network else None,
    }


def _less_nothing(**values: Any) -> dict[str, Any]:  # noqa: ANN401 - any value of JSON
    return {name: value for name, value in values.items() if value}


def _cpu(cpu: CPUStats) -> dict[str, Any]:
    usage = _less_nothing(
        total=cpu.total, percpu=cpu.per_cpu, percpu_kernel=cpu.per_cpu_system, percpu_user=cpu.per_cpu_user
    )
    throttling = _less_nothing(
        periods=cpu.periods, throttledPeriods=cpu.throttled_periods, throttledTime=cpu.throttled_time
    )
    found = {"usage": {**usage, "kernel": cpu.system, "user": cpu.user}, "throttling": throttling}
    return found | _psi(cpu.pressure)


def _cpuset(cpuset: CPUSetStats | None) -> dict[str, Any]:
    flags = cpuset.flags if cpuset is not None else {}
    lists = _less_nothing(cpus=cpuset.cpus, mems=cpuset.mems) if cpuset is not None else {}
    return lists | {name: flags.get(name, 0) for name in _CPUSET_FLAGS}


def _memory(memory: MemoryStats) -> dict[str, Any]:
    no_limit = NO_LIMIT_V1 if memory.version == 1 else _NO_LIMIT_V2
    parts = {
        "usage": memory.memory,
        "swap": memory.memory_and_swap,
        "kernel": memory.kernel,
        "kernelTCP": memory.kernel_tcp,
    }
    return (
        _less_nothing(cache=memory.cache)
        | {name: _counter(part, no_limit) for name, part in parts.items()}
        | _less_nothing(raw=dict(memory.stat))
        | _psi(memory.pressure)
    )


def _counter(counter: Counter | None, no_limit: int) -> dict[str, Any]:
    if counter is None:
        return {"limit": 0, "failcnt": 0}
    limit = no_limit if counter.limit is None else counter.limit
    found = _less_nothing(usage=counter.usage, max=counter.max_usage)
    return {"limit": limit, **found, "failcnt": counter.failures or 0}


def _block_io(block_io: BlockIOStats) -> dict[str, Any]:
    tables = {key: _entries(getattr(block_io, attribute)) for attribute, key in _BLOCK_IO.items()}
    return _less_nothing(**tables) | _psi(block_io.pressure)


def _entries(entries: Iterable[BlockIOEntry]) -> list[dict[str, Any]]:
    return [_less_nothing(major=one.major, minor=one.minor, op=one.operation, value=one.value) for one in entries]


def _hugetlb(stats: HugetlbStats) -> dict[str, Any]:
    counter = stats.reserved if stats.reserved is not None else stats.pages
    return _less_nothing(usage=counter.usage, max=counter.max_usage) | {"failcnt": counter.failures or 0}


def _psi(pressure: PressureStats | None) -> dict[str, Any]:
    if pressure is None:
        return {}
    lines = {"some": pressure.some, "full": pressure.full}
    return {
        "psi": {
            name: {"avg10": one.avg10, "avg60": one.avg60, "avg300": one.avg300, "total": one.total}
            if one is not None
            else {"avg10": 0, "avg60": 0, "avg300": 0, "total": 0}
            for name, one in lines.items()
        }
    }


def _interface(one: InterfaceStats) -> dict[str, Any]:
    return {"Name": one.name} | {key: getattr(one, attribute) for attribute, key in _INTERFACE.items()}


def _rdt(rdt: RdtStats) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for start, key in (("L3:", "l3_cache_schema"), ("MB:", "mem_bw_schema")):
        for lines, name in ((rdt.root_schemata, f"{key}_root"), (rdt.schemata, key)):
            found[name] = next((line for line in lines if line.startswith(start)), "")
    found["l3_cache_info"] = _info(rdt.info, "L3", ("cbm_mask", "min_cbm_bits", "num_closids"))
    found["mem_bw_info"] = _info(rdt.info, "MB", ("bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids"))
    domains = rdt.monitoring.values()
    names = ("mbm_total_bytes", "mbm_local_bytes")
    found["mbm_stats"] = [{name: one.get(name, 0) for name in names} for one in domains if one.keys() & set(names)]
    found["cmt_stats"] = [{"llc_occupancy": one["llc_occupancy"]} for one in domains if "llc_occupancy" in one]
    return _less_nothing(**found, schemata=list(rdt.schemata))


def _info(info: Mapping[str, str], of: str, names: Iterable[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in names:
        text = info.get(f"{of}/{name}")
        if text is not None:
            found[name] = int(text) if text.isdecimal() and name != "cbm_mask" else text
    return found
