"""The MUSTs of config-linux.md (runtime specification 1.3.0) about limits."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ocikit.spec._checks import Finding, Rule, cpu_list, required, shown
from ocikit.spec.linux_limits import (
    LinuxCPU,
    LinuxHugepageLimit,
    LinuxInterfacePriority,
    LinuxMemory,
    LinuxRdma,
    LinuxWeightDevice,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["RULES"]

_PAGE_SIZE: Final = re.compile(r"[1-9]\d*[KMG]B", re.ASCII)


def _memory(memory: LinuxMemory) -> Iterator[Finding]:
    limits = {
        "limit": memory.limit,
        "reservation": memory.reservation,
        "swap": memory.swap,
        "kernel": memory.kernel,
        "kernelTCP": memory.kernel_tcp,
    }
    for name, limit in limits.items():
        if limit is not None and limit < -1:
            yield [name], f"expected bytes, or -1 for unlimited, found {limit}"
    if memory.swappiness is not None and memory.swappiness > 100:
        yield ["swappiness"], f"expected 0 to 100, found {memory.swappiness}"


def _cpu(cpu: LinuxCPU) -> Iterator[Finding]:
    if cpu.burst is not None and cpu.quota is not None and 0 < cpu.quota < cpu.burst:
        yield ["burst"], f"must not exceed quota, which is {cpu.quota}; found {cpu.burst}"
    yield from cpu_list(cpu.cpus, "cpus")
    yield from cpu_list(cpu.mems, "mems")


def _weight_device(device: LinuxWeightDevice) -> Iterator[Finding]:
    if device.weight is None and device.leaf_weight is None:
        yield ["weight"], "at least one of weight and leafWeight is REQUIRED"


def _hugepage_limit(limit: LinuxHugepageLimit) -> Iterator[Finding]:
    if not _PAGE_SIZE.fullmatch(limit.page_size):
        yield ["pageSize"], f"expected a size such as 64KB, 2MB or 1GB, found {shown(limit.page_size)}"


def _interface_priority(priority: LinuxInterfacePriority) -> Iterator[Finding]:
    yield from required(priority.name, "name")


def _rdma(rdma: LinuxRdma) -> Iterator[Finding]:
    if rdma.hca_handles is None and rdma.hca_objects is None:
        yield ["hcaHandles"], "at least one of hcaHandles and hcaObjects is REQUIRED"


#: What is checked in an object of each class.
RULES: Final[Mapping[type, Rule]] = {
    LinuxCPU: _cpu,
    LinuxHugepageLimit: _hugepage_limit,
    LinuxInterfacePriority: _interface_priority,
    LinuxMemory: _memory,
    LinuxRdma: _rdma,
    LinuxWeightDevice: _weight_device,
}
