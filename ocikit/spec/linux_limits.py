"""The limits in ``linux.resources`` of config.json (config-linux.md, "Control groups"), a class for each controller."""

from __future__ import annotations

from attrs import field, frozen

from ocikit.spec._document import Document, key
from ocikit.spec._kinds import BOOLEAN, INT64, STRING, UINT16, UINT32, UINT64, array

__all__ = [
    "LinuxBlockIO",
    "LinuxCPU",
    "LinuxHugepageLimit",
    "LinuxInterfacePriority",
    "LinuxMemory",
    "LinuxNetwork",
    "LinuxPids",
    "LinuxRdma",
    "LinuxThrottleDevice",
    "LinuxWeightDevice",
]


@frozen(kw_only=True, repr=False, eq=False)
class LinuxMemory(Document):
    """Memory limits in bytes; -1 is unlimited."""

    #: Limit of memory.
    limit: int | None = field(default=None, metadata=key("limit", INT64))
    #: Soft limit of memory.
    reservation: int | None = field(default=None, metadata=key("reservation", INT64))
    #: Limit of memory and swap together.
    swap: int | None = field(default=None, metadata=key("swap", INT64))
    #: Limit of kernel memory; not recommended, runtimes may ignore it.
    kernel: int | None = field(default=None, metadata=key("kernel", INT64))
    #: Limit of kernel TCP buffers; not recommended, runtimes may ignore it.
    kernel_tcp: int | None = field(default=None, metadata=key("kernelTCP", INT64))
    #: How willingly the kernel swaps, 0 to 100.
    swappiness: int | None = field(default=None, metadata=key("swappiness", UINT64))
    #: True leaves processes waiting, not killed, when memory is used up.
    disable_oom_killer: bool | None = field(default=None, metadata=key("disableOOMKiller", BOOLEAN))
    #: True makes child cgroups share the limits (cgroup v1).
    use_hierarchy: bool | None = field(default=None, metadata=key("useHierarchy", BOOLEAN))
    #: True rejects an update to a limit below the present usage.
    check_before_update: bool | None = field(default=None, metadata=key("checkBeforeUpdate", BOOLEAN))


@frozen(kw_only=True, repr=False, eq=False)
class LinuxCPU(Document):
    """CPU time and CPU sets; times are in microseconds."""

    #: Weight relative to other cgroups.
    shares: int | None = field(default=None, metadata=key("shares", UINT64))
    #: CPU time per period; not positive is unlimited.
    quota: int | None = field(default=None, metadata=key("quota", INT64))
    #: Unused CPU time that may be saved up beyond the quota.
    burst: int | None = field(default=None, metadata=key("burst", UINT64))
    #: Length of a period.
    period: int | None = field(default=None, metadata=key("period", UINT64))
    #: Realtime scheduled CPU time per realtime period.
    realtime_runtime: int | None = field(default=None, metadata=key("realtimeRuntime", INT64))
    #: Length of a realtime period.
    realtime_period: int | None = field(default=None, metadata=key("realtimePeriod", UINT64))
    #: CPUs to run on, such as ``0-3,7``; empty is any.
    cpus: str = field(default="", metadata=key("cpus", STRING))
    #: Memory nodes to use, such as ``0-1``; empty is any.
    mems: str = field(default="", metadata=key("mems", STRING))
    #: 1 makes the whole cgroup SCHED_IDLE, 0 does not.
    idle: int | None = field(default=None, metadata=key("idle", INT64))


@frozen(kw_only=True, repr=False, eq=False)
class LinuxPids(Document):
    """Limit of the number of tasks."""

    #: The limit; -1 is unlimited and 0 is a limit.
    limit: int | None = field(default=None, metadata=key("limit", INT64))


@frozen(kw_only=True, repr=False, eq=False)
class LinuxWeightDevice(Document):
    """Block I/O weight for one device."""

    #: Major number of the device; REQUIRED.
    major: int = field(metadata=key("major", INT64))
    #: Minor number of the device; REQUIRED.
    minor: int = field(metadata=key("minor", INT64))
    #: Weight of the cgroup.
    weight: int | None = field(default=None, metadata=key("weight", UINT16))
    #: Weight of the cgroup's tasks against its child cgroups.
    leaf_weight: int | None = field(default=None, metadata=key("leafWeight", UINT16))


@frozen(kw_only=True, repr=False, eq=False)
class LinuxThrottleDevice(Document):
    """Block I/O rate limit for one device."""

    #: Major number of the device; REQUIRED.
    major: int = field(metadata=key("major", INT64))
    #: Minor number of the device; REQUIRED.
    minor: int = field(metadata=key("minor", INT64))
    #: Bytes or operations per second, according to the list it is in; REQUIRED.
    rate: int = field(metadata=key("rate", UINT64))


@frozen(kw_only=True, repr=False, eq=False)
class LinuxBlockIO(Document):
    """Block I/O weights and rate limits."""

    #: Weight of the cgroup on all devices without a weight of their own.
    weight: int | None = field(default=None, metadata=key("weight", UINT16))
    #: Weight of the cgroup's tasks against its child cgroups.
    leaf_weight: int | None = field(default=None, metadata=key("leafWeight", UINT16))
    #: Weights per device.
    weight_device: tuple[LinuxWeightDevice, ...] = field(
        default=(), metadata=key("weightDevice", array(LinuxWeightDevice))
    )
    #: Limits of bytes read per second.
    throttle_read_bps_device: tuple[LinuxThrottleDevice, ...] = field(
        default=(), metadata=key("throttleReadBpsDevice", array(LinuxThrottleDevice))
    )
    #: Limits of bytes written per second.
    throttle_write_bps_device: tuple[LinuxThrottleDevice, ...] = field(
        default=(), metadata=key("throttleWriteBpsDevice", array(LinuxThrottleDevice))
    )
    #: Limits of reads per second.
    throttle_read_iops_device: tuple[LinuxThrottleDevice, ...] = field(
        default=(), metadata=key("throttleReadIOPSDevice", array(LinuxThrottleDevice))
    )
    #: Limits of writes per second.
    throttle_write_iops_device: tuple[LinuxThrottleDevice, ...] = field(
        default=(), metadata=key("throttleWriteIOPSDevice", array(LinuxThrottleDevice))
    )


@frozen(kw_only=True, repr=False, eq=False)
class LinuxHugepageLimit(Document):
    """Limit of huge pages of one size."""

    #: Size of the pages, such as ``2MB``; REQUIRED.
    page_size: str = field(metadata=key("pageSize", STRING, absent=""))
    #: Limit in bytes; REQUIRED.
    limit: int = field(metadata=key("limit", UINT64))


@frozen(kw_only=True, repr=False, eq=False)
class LinuxInterfacePriority(Document):
    """Priority of traffic on one network interface."""

    #: Name of the interface on the host; REQUIRED.
    name: str = field(metadata=key("name", STRING, absent=""))
    #: The priority; REQUIRED.
    priority: int = field(metadata=key("priority", UINT32))


@frozen(kw_only=True, repr=False, eq=False)
class LinuxNetwork(Document):
    """Marks on network traffic (cgroup v1)."""

    #: Class identifier of packets.
    class_id: int | None = field(default=None, metadata=key("classID", UINT32))
    #: Priorities per interface.
    priorities: tuple[LinuxInterfacePriority, ...] = field(
        default=(), metadata=key("priorities", array(LinuxInterfacePriority))
    )


@frozen(kw_only=True, repr=False, eq=False)
class LinuxRdma(Document):
    """Limits for one RDMA device; at least one MUST be set."""

    #: Handles that may be open.
    hca_handles: int | None = field(default=None, metadata=key("hcaHandles", UINT32))
    #: Objects that may exist.
    hca_objects: int | None = field(default=None, metadata=key("hcaObjects", UINT32))
