"""Everything that is counted of a container, each from the hierarchy that counts it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ocikit.runtime.cgroups.hierarchies import UNIFIED
from ocikit.runtime.stats.block_io import block_io_v1, block_io_v2
from ocikit.runtime.stats.counters import hugetlb, pids, rdma
from ocikit.runtime.stats.cpu import cpu_v1, cpu_v2, cpuset
from ocikit.runtime.stats.memory import memory_v1, memory_v2
from ocikit.runtime.stats.pressure import read_pressure
from ocikit.runtime.stats.types import Stats

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ocikit.runtime.stats.types import CPUStats, InterfaceStats, PressureStats, RdtStats

__all__ = ["collect"]

T = TypeVar("T")


def collect(
    paths: Mapping[str, str],
    network: tuple[InterfaceStats, ...] | None = None,
    intel_rdt: RdtStats | None = None,
) -> Stats:
    """Read what is counted in the cgroups of a container.

    A part is read from v1 where the container has such a cgroup, else from v2.

    Args:
        paths: Its cgroups, by controller.
        network: The traffic of its interfaces.
        intel_rdt: What resctrl says of it.

    Raises:
        CgroupError: The kernel refuses.
    """
    v2 = paths.get(UNIFIED)
    return Stats(
        memory=_with_pressure(paths, "memory", "memory", memory_v1, memory_v2),
        cpu=_cpu(paths, read_pressure(v2, "cpu")),
        cpuset=_either(paths, "cpuset", cpuset),
        pids=_either(paths, "pids", pids),
        block_io=_with_pressure(paths, "blkio", "io", block_io_v1, block_io_v2),
        hugetlb=_either(paths, "hugetlb", lambda path: hugetlb(path, v2="hugetlb" not in paths)),
        rdma=_either(paths, "rdma", rdma),
        network=network,
        intel_rdt=intel_rdt,
    )


def _either(paths: Mapping[str, str], key: str, read: Callable[[str], T | None]) -> T | None:
    path = paths.get(key, paths.get(UNIFIED))
    return read(path) if path is not None else None


def _with_pressure(
    paths: Mapping[str, str],
    key: str,
    resource: str,
    v1: Callable[[str, PressureStats | None], T | None],
    v2: Callable[[str, PressureStats | None], T | None],
) -> T | None:
    unified = paths.get(UNIFIED)
    pressure = read_pressure(unified, resource)
    if key in paths:
        return v1(paths[key], pressure)
    return v2(unified, pressure) if unified is not None else None


def _cpu(paths: Mapping[str, str], pressure: PressureStats | None) -> CPUStats | None:
    if "cpuacct" in paths or "cpu" in paths:
        found = cpu_v1(paths.get("cpuacct"), paths.get("cpu"), pressure)
        if found is not None:
            return found
    return cpu_v2(paths[UNIFIED], pressure) if UNIFIED in paths else None
