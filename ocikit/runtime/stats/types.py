"""What containers use, as data. What this host does not count is None, and never zero.

Sizes are in bytes, times in nanoseconds, and a limit of None is no limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "BlockIOEntry",
    "BlockIOStats",
    "CPUSetStats",
    "CPUStats",
    "Counter",
    "HugetlbStats",
    "InterfaceStats",
    "MemoryStats",
    "PidsStats",
    "Pressure",
    "PressureStats",
    "RdmaStats",
    "RdtStats",
    "Stats",
]


@frozen(kw_only=True)
class Pressure:
    """For what part of the time processes waited for something that was short (PSI of the kernel)."""

    #: Per cent of the last ten seconds.
    avg10: float
    #: Per cent of the last minute.
    avg60: float
    #: Per cent of the last five minutes.
    avg300: float
    #: Altogether, in microseconds.
    total: int


@frozen(kw_only=True)
class PressureStats:
    """Pressure on one resource."""

    #: Some of the processes waited.
    some: Pressure
    #: All of them did; None where the kernel does not tell.
    full: Pressure | None = None


@frozen(kw_only=True)
class Counter:
    """Something that is counted and limited."""

    #: At this moment.
    usage: int
    #: What there may be.
    limit: int | None
    #: The most there ever was.
    max_usage: int | None = None
    #: How often the limit was in the way.
    failures: int | None = None


@frozen(kw_only=True)
class MemoryStats:
    """Memory."""

    #: 1 or 2: of the cgroups that count it. They have other names in :attr:`stat`.
    version: int
    #: What is used, caches included.
    memory: Counter
    #: Swap alone.
    swap: Counter | None
    #: Memory and swap together, as v1 counts them.
    memory_and_swap: Counter | None
    #: What the kernel itself uses for the container; v1.
    kernel: Counter | None
    #: What its buffers of TCP use; v1.
    kernel_tcp: Counter | None
    #: How often memory was used up.
    oom: int | None
    #: How many processes were killed because of that.
    oom_kills: int | None
    #: Whether processes wait for memory at this moment, because nobody is to be killed; v1.
    under_oom: bool | None
    #: The file ``memory.stat``.
    stat: Mapping[str, int] = field(hash=False)
    #: Waiting for memory.
    pressure: PressureStats | None

    @property
    def cache(self) -> int | None:
        """What files hold of it, which can be taken away."""
        return self.stat.get("cache" if self.version == 1 else "file")


@frozen(kw_only=True)
class CPUStats:
    """Time of processors, in nanoseconds."""

    #: Altogether.
    total: int
    #: In programs.
    user: int
    #: In the kernel, for them.
    system: int
    #: By processor; v1.
    per_cpu: tuple[int, ...] | None
    #: In programs, by processor; v1.
    per_cpu_user: tuple[int, ...] | None
    #: In the kernel, by processor; v1.
    per_cpu_system: tuple[int, ...] | None
    #: Periods of the quota that have passed.
    periods: int | None
    #: Those in which the quota was used up.
    throttled_periods: int | None
    #: For how long processes were held back.
    throttled_time: int | None
    #: Periods in which time was used that had been saved up.
    burst_periods: int | None
    #: How much of it.
    burst_time: int | None
    #: Waiting for a processor.
    pressure: PressureStats | None


@frozen(kw_only=True)
class CPUSetStats:
    """Which processors and nodes of memory may be used."""

    cpus: tuple[int, ...]
    mems: tuple[int, ...]
    #: The other files of the v1 controller, by their names less ``cpuset.``.
    flags: Mapping[str, int] = field(hash=False)


@frozen(kw_only=True)
class PidsStats:
    """Processes and threads."""

    current: int
    limit: int | None
    #: How often the limit was in the way.
    failures: int | None


@frozen(kw_only=True)
class BlockIOEntry:
    """A number of one disk."""

    major: int
    minor: int
    #: ``Read``, ``Write``, ``Sync``, ``Async``, ``Discard``, ``Total``; empty when it is about all of them.
    operation: str
    value: int


@frozen(kw_only=True)
class BlockIOStats:
    """Disks. Only the first two are counted without a scheduler that counts the others."""

    #: Bytes.
    service_bytes: tuple[BlockIOEntry, ...] = ()
    #: Operations.
    serviced: tuple[BlockIOEntry, ...] = ()
    #: Operations that wait.
    queued: tuple[BlockIOEntry, ...] = ()
    #: Nanoseconds that operations took.
    service_time: tuple[BlockIOEntry, ...] = ()
    #: Nanoseconds that they waited.
    wait_time: tuple[BlockIOEntry, ...] = ()
    #: Operations that became part of another.
    merged: tuple[BlockIOEntry, ...] = ()
    #: Milliseconds of the disk.
    time: tuple[BlockIOEntry, ...] = ()
    #: Sectors.
    sectors: tuple[BlockIOEntry, ...] = ()
    #: Waiting for disks.
    pressure: PressureStats | None = None


@frozen(kw_only=True)
class HugetlbStats:
    """Huge pages of one size."""

    #: Those in use.
    pages: Counter
    #: Those in use or reserved; None where the kernel does not count reservations.
    reserved: Counter | None


@frozen(kw_only=True)
class RdmaStats:
    """One RDMA device."""

    handles: Counter
    objects: Counter


@frozen(kw_only=True)
class InterfaceStats:
    """A network interface, as the container sees it."""

    name: str
    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


@frozen(kw_only=True)
class RdtStats:
    """Caches and bandwidth of memory (Intel RDT, AMD QoS), of the container's group in resctrl."""

    #: Lines of the group's schemata.
    schemata: tuple[str, ...]
    #: Lines of the default group's.
    root_schemata: tuple[str, ...]
    #: Files of ``info`` in resctrl, such as ``L3/cbm_mask``.
    info: Mapping[str, str] = field(hash=False)
    #: For each domain such as ``mon_L3_00``, what is counted there: ``llc_occupancy``, ``mbm_total_bytes``, ….
    monitoring: Mapping[str, Mapping[str, int]] = field(hash=False)


@frozen(kw_only=True)
class Stats:
    """What a container uses, at one moment. A part is None where this host does not count it."""

    memory: MemoryStats | None
    cpu: CPUStats | None
    cpuset: CPUSetStats | None
    pids: PidsStats | None
    block_io: BlockIOStats | None
    #: By size, such as ``2MB``.
    hugetlb: Mapping[str, HugetlbStats] | None = field(hash=False)
    #: By device.
    rdma: Mapping[str, RdmaStats] | None = field(hash=False)
    #: Of the container's own network namespace; None when it has ended, or shares that of this process.
    network: tuple[InterfaceStats, ...] | None
    intel_rdt: RdtStats | None

    def _repr_html_(self) -> str:
        from ocikit.runtime.display.numbers import stats_facts  # noqa: PLC0415 - for notebooks

        return stats_facts(self)
