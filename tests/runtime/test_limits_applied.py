"""Limits that are asked for are there when the container runs, on hosts with v1, with v2, and with both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from cgroup_host import HOST, V2, disk, limit, state

from ocikit import runtime
from ocikit.errors import CgroupError, OCIKitError, UnsupportedFieldError, ValidationError
from ocikit.spec import LinuxResources

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DISK = disk()
MAJOR, MINOR = map(int, DISK.split(":"))
MB = 1 << 20


def throttle(rate: int) -> list[dict[str, int]]:
    """Return a limit of the speed of one disk."""
    return [{"major": MAJOR, "minor": MINOR, "rate": rate}]


ON_V1: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "memory": (
        {"memory": {"limit": 64 * MB, "swap": 96 * MB, "reservation": 32 * MB, "swappiness": 10}},
        {
            "memory.limit_in_bytes": str(64 * MB),
            "memory.memsw.limit_in_bytes": str(96 * MB),
            "memory.soft_limit_in_bytes": str(32 * MB),
            "memory.swappiness": "10",
        },
    ),
    "cpu": (
        {"cpu": {"shares": 512, "quota": 20000, "period": 50000, "burst": 1000, "cpus": "0", "mems": "0"}},
        {
            "cpu.shares": "512",
            "cpu.cfs_quota_us": "20000",
            "cpu.cfs_period_us": "50000",
            "cpu.cfs_burst_us": "1000",
            "cpuset.cpus": "0",
            "cpuset.mems": "0",
        },
    ),
    "idle": ({"cpu": {"idle": 1}}, {"cpu.idle": "1"}),
    "realtime": (
        {"cpu": {"realtimeRuntime": 1000, "realtimePeriod": 500000}},
        {"cpu.rt_runtime_us": "1000", "cpu.rt_period_us": "500000"},
    ),
    "pids": ({"pids": {"limit": 33}}, {"pids.max": "33"}),
    "one task": ({"pids": {"limit": 0}}, {"pids.max": "1"}),
    "disks": (
        {
            "blockIO": {
                "weight": 300,
                "throttleReadBpsDevice": throttle(MB),
                "throttleWriteBpsDevice": throttle(2 * MB),
                "throttleReadIOPSDevice": throttle(100),
                "throttleWriteIOPSDevice": throttle(200),
            }
        },
        {
            "blkio.bfq.weight": "300",
            "blkio.throttle.read_bps_device": f"{DISK} {MB}",
            "blkio.throttle.write_bps_device": f"{DISK} {2 * MB}",
            "blkio.throttle.read_iops_device": f"{DISK} 100",
            "blkio.throttle.write_iops_device": f"{DISK} 200",
        },
    ),
    "huge pages": (
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 8 * MB}, {"pageSize": "1GB", "limit": 0}]},
        {
            f"hugetlb.{size}.{kind}{'max' if HOST.key_of('hugetlb') == '' else 'limit_in_bytes'}": str(value)
            for size, value in (("2MB", 8 * MB), ("1GB", 0))
            for kind in ("", "rsvd.")
        },
    ),
}

ON_V2: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "memory": (
        {"memory": {"limit": 64 * MB, "swap": 96 * MB, "reservation": 32 * MB}},
        {"memory.max": str(64 * MB), "memory.swap.max": str(32 * MB), "memory.low": str(32 * MB)},
    ),
    "no swap": ({"memory": {"limit": 64 * MB, "swap": 64 * MB}}, {"memory.swap.max": "0"}),
    "no end of memory": (
        {"memory": {"limit": -1, "swap": 64 * MB}},
        {"memory.max": "max", "memory.swap.max": str(64 * MB)},
    ),
    "cpu": (
        {"cpu": {"shares": 512, "quota": 20000, "period": 50000, "burst": 1000}},
        {"cpu.weight": "59", "cpu.max": "20000 50000", "cpu.max.burst": "1000"},
    ),
    "idle": ({"cpu": {"idle": 1}}, {"cpu.idle": "1"}),
    "pids": ({"pids": {"limit": 33}}, {"pids.max": "33"}),
    "one task": ({"pids": {"limit": 0}}, {"pids.max": "1"}),
    "disks": (
        {
            "blockIO": {
                "weight": 300,
                "throttleReadBpsDevice": throttle(MB),
                "throttleWriteBpsDevice": throttle(2 * MB),
                "throttleReadIOPSDevice": throttle(100),
                "throttleWriteIOPSDevice": throttle(200),
            }
        },
        {
            "io.bfq.weight": "default 300",
            "io.max": f"{DISK} rbps={MB} wbps={2 * MB} riops=100 wiops=200",
        },
    ),
    "unified": (
        {
            "unified": {
                "memory.high": str(48 * MB),
                "io.max": f"{DISK} rbps={MB}\n{DISK} wiops=50",
                "cgroup.max.depth": "7",
            }
        },
        {
            "memory.high": str(48 * MB),
            "io.max": f"{DISK} rbps={MB} wbps=max riops=max wiops=50",
            "cgroup.max.depth": "7",
        },
    ),
    "unified comes last": (
        {"memory": {"limit": 64 * MB}, "unified": {"memory.max": str(60 * MB)}},
        {"memory.max": str(60 * MB)},
    ),
}

CASES = ON_V2 if V2 else ON_V1


@pytest.mark.parametrize(("document", "expected"), CASES.values(), ids=CASES)
def test_limits_are_in_force(
    root: Path,
    make_bundle: Callable[..., Path],
    container_id: str,
    document: dict[str, Any],
    expected: dict[str, str],
) -> None:
    """The kernel has every value before the program runs."""
    bundle = make_bundle(linux={"resources": LinuxResources.from_dict(document)})
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        assert {file: limit(container, file) for file in expected} == expected
        container.start()


FAILURES_V1: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "unified": ({"unified": {"memory.high": "1"}}, UnsupportedFieldError, r"resources\.unified"),
    "a class of packets": ({"network": {"classID": 5}}, CgroupError, r"network\.classID.*net_cls.*not mounted"),
    "a priority": (
        {"network": {"priorities": [{"name": "lo", "priority": 1}]}}, CgroupError, r"priorities\[0\].*not mounted",
    ),
    "rdma": ({"rdma": {"mlx5_0": {"hcaHandles": 1}}}, CgroupError, r"rdma\['mlx5_0'\].*not mounted"),
    "two hierarchies": ({"memory": {"useHierarchy": False}}, CgroupError, r"memory\.useHierarchy"),
}  # fmt: skip

FAILURES_V2: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "swappiness": ({"memory": {"swappiness": 5}}, UnsupportedFieldError, r"memory\.swappiness"),
    "a class of packets": ({"network": {"classID": 5}}, UnsupportedFieldError, r"network\.classID"),
    "realtime": ({"cpu": {"realtimeRuntime": 5}}, UnsupportedFieldError, r"cpu\.realtimeRuntime"),
    "no such file": ({"unified": {"memory.nothing": "1"}}, CgroupError, r"unified\['memory\.nothing'\]"),
    "no such controller": ({"unified": {"perf_event.x": "1"}}, CgroupError, r"unified\['perf_event\.x'\].*controller"),
    "another directory": ({"unified": {"../memory.max": "1"}}, ValidationError, "slashes"),
    "processes": ({"unified": {"cgroup.procs": "1"}}, ValidationError, "no limit"),
    "rdma": ({"rdma": {"mlx5_0": {"hcaHandles": 1}}}, CgroupError, r"rdma\['mlx5_0'\].*infiniband"),
}  # fmt: skip

FAILURES_ANYWHERE: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "a size of pages that no machine has": (
        {"hugepageLimits": [{"pageSize": "3MB", "limit": 0}]}, CgroupError, r"hugepageLimits\[0\].*/mm/hugepages",
    ),
    "weights of CFQ": ({"blockIO": {"leafWeight": 100}}, OCIKitError, r"blockIO\.leafWeight"),
    "a disk that is not there": (
        {"blockIO": {"throttleReadBpsDevice": [{"major": 4095, "minor": 1, "rate": 5}]}},
        CgroupError, r"throttleReadBpsDevice\[0\].*disk",
    ),
    "a processor that is not there": ({"cpu": {"cpus": "4000"}}, CgroupError, r"cpu\.cpus"),
    "more burst than quota": ({"cpu": {"quota": 5000, "burst": 6000}}, ValidationError, r"cpu\.burst"),
}  # fmt: skip

FAILURES = FAILURES_ANYWHERE | (FAILURES_V2 if V2 else FAILURES_V1)


@pytest.mark.parametrize("case", FAILURES.values(), ids=FAILURES)
def test_limits_that_cannot_be_had(
    root: Path, make_bundle: Callable[..., Path], container_id: str, case: tuple[dict[str, Any], type[Exception], str]
) -> None:
    """What this kernel lacks or refuses is an error with the field, and leaves nothing; the peers ignore some of it."""
    document, error, text = case
    bundle = make_bundle(linux={"resources": LinuxResources.from_dict(document)})
    with pytest.raises(error, match=text):
        runtime.create(root, container_id, bundle, stdin="null")
    assert not (root / container_id).exists()


def test_processes_are_limited(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """A container with room for three gets no fourth."""
    script = "sleep 9 & sleep 9 & sleep 9 & wait"
    bundle = make_bundle("sh", "-c", script, linux={"resources": LinuxResources.from_dict({"pids": {"limit": 3}})})
    done = runtime.run(root, container_id, bundle, timeout=30)
    assert b"fork" in done.stderr


def test_memory_is_limited(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """A program that takes more than there is, is killed."""
    limits = LinuxResources.from_dict({"memory": {"limit": 16 * MB, "swap": 16 * MB}})
    bundle = make_bundle("sh", "-c", "a=x; while :; do a=$a$a; done", linux={"resources": limits})
    assert runtime.run(root, container_id, bundle, timeout=60).signal == 9


def test_runc_reads_the_limits(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """Everything is in the state under the keys of libcontainer."""
    document = {
        "memory": {"limit": 64 * MB, "reservation": 32 * MB, "checkBeforeUpdate": True},
        "cpu": {"shares": 512, "quota": 20000, "period": 50000, "burst": 1000, "idle": 0},
        "pids": {"limit": 33},
        "blockIO": {"weight": 300, "throttleReadIOPSDevice": throttle(100)},
    }
    bundle = make_bundle(linux={"resources": LinuxResources.from_dict(document)})
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        found = state(container)["config"]["cgroups"]
    expected = {
        "memory": 64 * MB,
        "memory_reservation": 32 * MB,
        "memory_check_before_update": True,
        "cpu_shares": 512,
        "cpu_weight": 59,
        "cpu_quota": 20000,
        "cpu_period": 50000,
        "cpu_burst": 1000,
        "cpu_idle": 0,
        "pids_limit": 33,
        "blkio_weight": 300,
        "blkio_throttle_read_iops_device": throttle(100),
    }
    assert {key: found.get(key) for key in expected} == expected
