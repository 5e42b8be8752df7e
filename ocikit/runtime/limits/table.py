"""All of ``linux.resources`` as writes, each section into the hierarchy that has its controller.

Rules for devices stand in ``devices``: v2 has no file for them.

Pure. What cannot be had in a hierarchy is refused by name; what is not set is not written. Zero is how those who fill
in every field say "not set", but for the number of processes, and where zero is a value like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.runtime.cgroups.hierarchies import UNIFIED
from ocikit.runtime.limits.write import PATH, Write

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ocikit.runtime.cgroups.device_rules import DeviceRule
    from ocikit.runtime.cgroups.hierarchies import Hierarchies
    from ocikit.spec import (
        LinuxBlockIO,
        LinuxCPU,
        LinuxHugepageLimit,
        LinuxMemory,
        LinuxNetwork,
        LinuxPids,
        LinuxRdma,
        LinuxResources,
    )

__all__ = ["device_writes", "ignored", "limits"]

#: Deprecated fields of memory that are ignored, as the specification lets runtimes do it: the first everywhere, the
#: other on v2.
_IGNORED: Final = (("kernel", "kernel"), ("kernel_tcp", "kernelTCP"))


def limits(resources: LinuxResources | None, hierarchies: Hierarchies) -> tuple[Write, ...]:
    """Return what has to be written to give a cgroup its limits, in order.

    Args:
        resources: What the configuration asks for.
        hierarchies: Of this host.

    Raises:
        UnsupportedFieldError: A field is set that would have to be ignored.
        ValidationError: A value that contradicts another one, or says nothing.
    """
    return () if resources is None else tuple(_writes(resources, hierarchies))


def _writes(resources: LinuxResources, hierarchies: Hierarchies) -> Iterator[Write]:
    key_of = hierarchies.key_of
    if resources.memory is not None:
        yield from _memory(resources.memory, key_of("memory"))
    if resources.cpu is not None:
        yield from _cpu(resources.cpu, hierarchies)
    if resources.pids is not None:
        yield from _pids(resources.pids, key_of("pids"))
    if resources.block_io is not None:
        yield from _block_io(resources.block_io, key_of("blkio", "io"))
    if resources.hugepage_limits:
        yield from _hugetlb(resources.hugepage_limits, key_of("hugetlb"))
    if resources.rdma:
        yield from _rdma(resources.rdma, key_of("rdma"))
    if resources.network is not None:
        yield from _network(resources.network, hierarchies)
    if resources.unified:
        yield from _unified(resources.unified, v2_only=hierarchies.v2_only)


# Each section is loaded when there is something in it: most containers have none of most of them.


def _memory(memory: LinuxMemory, key: str) -> Iterator[Write]:
    from ocikit.runtime.limits.memory import memory_v1, memory_v2  # noqa: PLC0415 - see above

    yield from (memory_v2 if key == UNIFIED else memory_v1)(memory)


def _block_io(block_io: LinuxBlockIO, key: str) -> Iterator[Write]:
    from ocikit.runtime.limits.blkio import blkio_v1, blkio_v2  # noqa: PLC0415 - see above

    yield from (blkio_v2 if key == UNIFIED else blkio_v1)(block_io)


def _hugetlb(limited: Sequence[LinuxHugepageLimit], key: str) -> Iterator[Write]:
    from ocikit.runtime.limits.hugetlb import hugetlb  # noqa: PLC0415 - see above

    yield from hugetlb(limited, key)


def _rdma(limited: Mapping[str, LinuxRdma], key: str) -> Iterator[Write]:
    from ocikit.runtime.limits.rdma import rdma  # noqa: PLC0415 - see above

    yield from rdma(limited, key)


def _unified(values: Mapping[str, str], *, v2_only: bool) -> Iterator[Write]:
    from ocikit.runtime.limits.unified import unified_v1, unified_v2  # noqa: PLC0415 - see above

    if v2_only:
        yield from unified_v2(values)
    else:
        unified_v1(values)


def _cpu(cpu: LinuxCPU, hierarchies: Hierarchies) -> Iterator[Write]:
    from ocikit.runtime.limits.cpu import cpu_v1, cpu_v2, cpuset  # noqa: PLC0415 - see above

    yield from cpuset(cpu, hierarchies.key_of("cpuset"))
    yield from (cpu_v2 if hierarchies.key_of("cpu") == UNIFIED else cpu_v1)(cpu)


def _pids(pids: LinuxPids, key: str) -> Iterator[Write]:
    if pids.limit is not None:
        # A limit of none would also keep the first process out where it is cloned into its cgroup.
        value = "max" if pids.limit < 0 else str(max(pids.limit, 1))
        yield Write(key, "pids.max", value, f"{PATH}.pids.limit", optional=pids.limit < 0)


def _network(network: LinuxNetwork, hierarchies: Hierarchies) -> Iterator[Write]:
    from ocikit.runtime.limits.network import network_v1, network_v2  # noqa: PLC0415 - see above

    if hierarchies.v2_only:
        network_v2(network)
    else:
        yield from network_v1(network)


def ignored(resources: LinuxResources | None, hierarchies: Hierarchies) -> tuple[str, ...]:
    """Return a warning for each field that is set and that nothing is done about."""
    memory = resources.memory if resources is not None else None
    if memory is None:
        return ()
    return tuple(
        f"{PATH}.memory.{name} is ignored: kernels do not limit this memory on its own any more"
        for attribute, name in _IGNORED[: None if hierarchies.key_of("memory") == UNIFIED else 1]
        if (getattr(memory, attribute) or 0) > 0
    )


def device_writes(rules: Iterable[DeviceRule]) -> tuple[Write, ...]:
    """Return what has to be written to give a v1 cgroup its rules for devices, in order."""
    return tuple(
        Write("devices", "devices.allow" if rule.allow else "devices.deny", str(rule), f"{PATH}.devices")
        for rule in rules
    )
