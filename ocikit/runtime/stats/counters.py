"""Numbers of processes, huge pages and RDMA handles, from the files of v1 and v2."""

from __future__ import annotations

import contextlib
import os
from typing import Final

from ocikit.runtime.cgroups.files import flat, nested, number, read_file, read_number
from ocikit.runtime.stats.types import Counter, HugetlbStats, PidsStats, RdmaStats

__all__ = ["hugetlb", "pids", "rdma"]

# Here v2 says in numbers, too, that there is no limit.
_NO_LIMIT_AT_ALL: Final = 1 << 62


def pids(path: str) -> PidsStats | None:
    """Read the number of processes; None when it is not counted.

    Raises:
        CgroupError: The kernel refuses.
    """
    current = read_number(f"{path}/pids.current")
    if current is None:
        return None
    limit = read_number(f"{path}/pids.max")
    return PidsStats(current=current, limit=limit, failures=flat(read_file(f"{path}/pids.events")).get("max"))


def hugetlb(path: str, *, v2: bool) -> dict[str, HugetlbStats] | None:
    """Read the huge pages, by their size; None when they are not counted.

    Raises:
        CgroupError: The kernel refuses.
    """
    usage = "current" if v2 else "usage_in_bytes"
    names: list[str] = []
    with contextlib.suppress(OSError):
        names = os.listdir(path)
    parts = [name.split(".") for name in names]
    sizes = sorted(part[1] for part in parts if len(part) == 3 and part[0] == "hugetlb" and part[2] == usage)
    found = {}
    for size in sizes:
        pages = _pages(f"{path}/hugetlb.{size}", v2=v2)
        if pages is not None:
            found[size] = HugetlbStats(pages=pages, reserved=_pages(f"{path}/hugetlb.{size}.rsvd", v2=v2))
    return found or None


def _pages(start: str, *, v2: bool) -> Counter | None:
    usage = read_number(f"{start}.{'current' if v2 else 'usage_in_bytes'}")
    if usage is None:
        return None
    limit = read_number(f"{start}.{'max' if v2 else 'limit_in_bytes'}")
    limit = None if limit is None or limit >= _NO_LIMIT_AT_ALL else limit
    if v2:
        failures = flat(read_file(f"{start.removesuffix('.rsvd')}.events")).get("max")
        return Counter(usage=usage, limit=limit, failures=failures)
    most, failures = read_number(f"{start}.max_usage_in_bytes"), read_number(f"{start}.failcnt")
    return Counter(usage=usage, limit=limit, max_usage=most, failures=failures)


def rdma(path: str) -> dict[str, RdmaStats] | None:
    """Read what is open on RDMA devices; None when it is not counted.

    Raises:
        CgroupError: The kernel refuses.
    """
    current = read_file(f"{path}/rdma.current")
    if current is None:
        return None
    limits = dict(nested(read_file(f"{path}/rdma.max")))
    found = {}
    for device, values in nested(current):
        handles, objects = (
            Counter(usage=number(values.get(word, "0")) or 0, limit=number(limits.get(device, {}).get(word, "max")))
            for word in ("hca_handle", "hca_object")
        )
        found[device] = RdmaStats(handles=handles, objects=objects)
    return found
