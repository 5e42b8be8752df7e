"""Limits of the configuration become writes into files of cgroups, and what cannot be had is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from ocikit.errors import UnsupportedFieldError, ValidationError
from ocikit.runtime.cgroups.device_rules import ALWAYS_ALLOWED, device_rules
from ocikit.runtime.cgroups.hierarchies import UNIFIED, Hierarchies, Hierarchy
from ocikit.runtime.limits import Write, cpu_weight, ignored, limits
from ocikit.spec import LinuxDeviceCgroup, LinuxResources

HERE = Hierarchy("/sys/fs/cgroup", "/sys/fs/cgroup")
V1_HOST = Hierarchies(
    dict.fromkeys("memory cpu cpuset pids blkio hugetlb net_cls net_prio rdma devices freezer".split(), HERE)
)
V2_HOST = Hierarchies({UNIFIED: HERE}, frozenset("memory cpu cpuset pids io hugetlb rdma".split()))
#: v1, with a few controllers left to v2 beside it.
HYBRID_HOST = Hierarchies(dict.fromkeys(["memory", "cpu", UNIFIED], HERE), frozenset({"hugetlb", "io", "memory"}))


def found(document: dict[str, Any], host: Hierarchies) -> list[Write]:
    """Return the writes for some resources."""
    return list(limits(LinuxResources.from_dict(document), host))


def writes(document: dict[str, Any], host: Hierarchies) -> list[tuple[str, str]]:
    """Return the files and values for some resources, less what says what the kernel does anyway."""
    return [(write.file, write.value) for write in found(document, host) if not write.optional]


V1 = {
    "memory": ({"memory": {"limit": 100, "swap": 150, "reservation": 50, "swappiness": 0}}, [
        ("memory.limit_in_bytes", "100"), ("memory.memsw.limit_in_bytes", "150"),
        ("memory.soft_limit_in_bytes", "50"), ("memory.swappiness", "0"),
    ]),
    "unlimited memory": ({"memory": {"limit": -1, "swap": -1}}, [
        ("memory.limit_in_bytes", "-1"), ("memory.memsw.limit_in_bytes", "-1"),
    ]),
    "no killer": ({"memory": {"disableOOMKiller": True}}, [("memory.oom_control", "1")]),
    "no hierarchy": ({"memory": {"useHierarchy": False}}, [("memory.use_hierarchy", "0")]),
    "cpu": ({"cpu": {"shares": 512, "quota": 20000, "period": 100000, "burst": 1000, "cpus": "0", "mems": "0"}}, [
        ("cpuset.cpus", "0"), ("cpuset.mems", "0"), ("cpu.shares", "512"), ("cpu.cfs_period_us", "100000"),
        ("cpu.cfs_quota_us", "20000"), ("cpu.cfs_burst_us", "1000"),
    ]),
    "idle": ({"cpu": {"idle": 1}}, [("cpu.idle", "1")]),
    "unlimited cpu": ({"cpu": {"quota": -5}}, [("cpu.cfs_quota_us", "-1")]),
    "realtime": ({"cpu": {"realtimeRuntime": 10, "realtimePeriod": 100}}, [
        ("cpu.rt_period_us", "100"), ("cpu.rt_runtime_us", "10"),
    ]),
    "pids": ({"pids": {"limit": 33}}, [("pids.max", "33")]),
    "one task": ({"pids": {"limit": 0}}, [("pids.max", "1")]),
    "disks": ({"blockIO": {
        "weight": 500, "leafWeight": 300,
        "weightDevice": [{"major": 8, "minor": 0, "weight": 100, "leafWeight": 200}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 1, "rate": 1000}],
        "throttleWriteBpsDevice": [{"major": 8, "minor": 2, "rate": 2000}],
        "throttleReadIOPSDevice": [{"major": 8, "minor": 3, "rate": 3000}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 4, "rate": 4000}],
    }}, [
        ("blkio.weight", "500"), ("blkio.leaf_weight", "300"), ("blkio.weight_device", "8:0 100"),
        ("blkio.leaf_weight_device", "8:0 200"), ("blkio.throttle.read_bps_device", "8:1 1000"),
        ("blkio.throttle.write_bps_device", "8:2 2000"), ("blkio.throttle.read_iops_device", "8:3 3000"),
        ("blkio.throttle.write_iops_device", "8:4 4000"),
    ]),
    "huge pages": ({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}, {"pageSize": "1GB", "limit": 5}]}, [
        ("hugetlb.2MB.limit_in_bytes", "0"), ("hugetlb.1GB.limit_in_bytes", "5"),
    ]),
    "network": ({"network": {"classID": 7, "priorities": [{"name": "eth0", "priority": 3}]}}, [
        ("net_cls.classid", "7"), ("net_prio.ifpriomap", "eth0 3"),
    ]),
    "rdma": ({"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 9}, "rxe3": {"hcaObjects": 4}}}, [
        ("rdma.max", "mlx5_1 hca_handle=3 hca_object=9"), ("rdma.max", "rxe3 hca_object=4"),
    ]),
    "zeros": ({
        "memory": {"limit": 0, "swap": 0}, "cpu": {"shares": 0, "quota": 0, "period": 0}, "blockIO": {"weight": 0},
    }, []),
    "empty": ({"blockIO": {}, "network": {}, "rdma": {}, "unified": {}, "hugepageLimits": []}, []),
}  # fmt: skip


@pytest.mark.parametrize(("document", "expected"), V1.values(), ids=V1)
def test_limits_of_v1(document: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """Each field is one file, in an order that a new cgroup accepts."""
    assert writes(document, V1_HOST) == expected


V2 = {
    "memory": ({"memory": {"limit": 100, "swap": 150, "reservation": 50}}, [
        ("memory.swap.max", "50"), ("memory.max", "100"), ("memory.low", "50"),
    ]),
    "swap without end of memory": ({"memory": {"limit": -1, "swap": 70}}, [
        ("memory.swap.max", "70"), ("memory.max", "max"),
    ]),
    "cpu": ({"cpu": {"shares": 1024, "quota": 20000, "period": 50000, "burst": 10, "cpus": "0-1"}}, [
        ("cpuset.cpus", "0-1"), ("cpu.weight", "100"), ("cpu.max", "20000 50000"), ("cpu.max.burst", "10"),
    ]),
    "quota alone": ({"cpu": {"quota": 20000}}, [("cpu.max", "20000")]),
    "period alone": ({"cpu": {"period": 50000}}, [("cpu.max", "max 50000")]),
    "idle": ({"cpu": {"idle": 1}}, [("cpu.idle", "1")]),
    "pids": ({"pids": {"limit": 33}}, [("pids.max", "33")]),
    "disks": ({"blockIO": {
        "weight": 500,
        "weightDevice": [{"major": 8, "minor": 0, "weight": 100}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 1, "rate": 1000}],
        "throttleWriteBpsDevice": [{"major": 8, "minor": 1, "rate": 0}],
        "throttleReadIOPSDevice": [{"major": 8, "minor": 3, "rate": 3000}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 4, "rate": 4000}],
    }}, [
        ("io.bfq.weight", "500"), ("io.bfq.weight", "8:0 100"), ("io.max", "8:1 rbps=1000"), ("io.max", "8:1 wbps=max"),
        ("io.max", "8:3 riops=3000"), ("io.max", "8:4 wiops=4000"),
    ]),
    "huge pages": ({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}, [("hugetlb.2MB.max", "0")]),
    "rdma": ({"rdma": {"mlx5_1": {"hcaHandles": 3}}}, [("rdma.max", "mlx5_1 hca_handle=3")]),
    "unified": ({"unified": {"memory.high": "1", "io.max": "8:0 rbps=1\n8:1 wbps=2", "cpuset.cpus": ""}}, [
        ("memory.high", "1"), ("io.max", "8:0 rbps=1"), ("io.max", "8:1 wbps=2"), ("cpuset.cpus", "\n"),
    ]),
    "one hierarchy": ({"memory": {"useHierarchy": True}}, []),
}  # fmt: skip


@pytest.mark.parametrize(("document", "expected"), V2.values(), ids=V2)
def test_limits_of_v2(document: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """The same fields in the files of v2."""
    assert writes(document, V2_HOST) == expected


NOTHING_NEW = {
    "v1: swap goes with memory": ({"memory": {"limit": -1}}, V1_HOST, "memory.memsw.limit_in_bytes", "-1"),
    "v1: the killer": ({"memory": {"disableOOMKiller": False}}, V1_HOST, "memory.oom_control", "0"),
    "v1: one hierarchy": ({"memory": {"useHierarchy": True}}, V1_HOST, "memory.use_hierarchy", "1"),
    "v1: not idle": ({"cpu": {"idle": 0}}, V1_HOST, "cpu.idle", "0"),
    "v1: no burst": ({"cpu": {"burst": 0}}, V1_HOST, "cpu.cfs_burst_us", "0"),
    "v1: no class": ({"network": {"classID": 0}}, V1_HOST, "net_cls.classid", "0"),
    "v1: any number of tasks": ({"pids": {"limit": -1}}, V1_HOST, "pids.max", "max"),
    "v1: reservations": (
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 4}]}, V1_HOST, "hugetlb.2MB.rsvd.limit_in_bytes", "4",
    ),
    "v2: reservations": ({"hugepageLimits": [{"pageSize": "2MB", "limit": 4}]}, V2_HOST, "hugetlb.2MB.rsvd.max", "4"),
    "v2: no swap": ({"memory": {"limit": 100, "swap": 100}}, V2_HOST, "memory.swap.max", "0"),
    "v2: any swap": ({"memory": {"limit": 100, "swap": -1}}, V2_HOST, "memory.swap.max", "max"),
    "v2: swap goes with memory": ({"memory": {"limit": -1}}, V2_HOST, "memory.swap.max", "max"),
}  # fmt: skip


@pytest.mark.parametrize(("document", "host", "file", "value"), NOTHING_NEW.values(), ids=NOTHING_NEW)
def test_what_a_kernel_does_anyway(document: dict[str, Any], host: Hierarchies, file: str, value: str) -> None:
    """A value that a kernel without the file has anyhow is written where the file is, and no error elsewhere."""
    assert [(write.file, write.value) for write in found(document, host) if write.optional] == [(file, value)]


def test_weights_have_the_names_of_their_scheduler() -> None:
    """v1 kernels have the files of CFQ or those of BFQ; v2 those of BFQ, or the cost model with weights of its own."""
    document = {"blockIO": {"weight": 500, "weightDevice": [{"major": 8, "minor": 0, "weight": 10}]}}
    others = [
        [(one.instead.file, one.instead.value) for one in found(document, host) if one.instead is not None]
        for host in (V1_HOST, V2_HOST)
    ]
    assert others == [
        [("blkio.bfq.weight", "500"), ("blkio.bfq.weight_device", "8:0 10")],
        [("io.weight", "4950"), ("io.weight", "8:0 1")],
    ]


def test_hybrid_hosts() -> None:
    """A controller is used where it is: v1 before v2, and v2 where v1 has none."""
    document = {
        "memory": {"limit": 5},
        "blockIO": {"weight": 100},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
        "pids": {"limit": 5},
    }
    assert [(write.key, write.file) for write in found(document, HYBRID_HOST) if not write.optional] == [
        ("memory", "memory.limit_in_bytes"),
        ("pids", "pids.max"),
        (UNIFIED, "io.bfq.weight"),
        (UNIFIED, "hugetlb.2MB.max"),
    ]


REFUSED = {
    "memory.swappiness": ({"memory": {"swappiness": 0}}, V2_HOST),
    "memory.disableOOMKiller": ({"memory": {"disableOOMKiller": True}}, V2_HOST),
    "memory.useHierarchy": ({"memory": {"useHierarchy": False}}, V2_HOST),
    "cpu.realtimeRuntime": ({"cpu": {"realtimeRuntime": 1}}, V2_HOST),
    "cpu.realtimePeriod": ({"cpu": {"realtimePeriod": 1}}, V2_HOST),
    "blockIO.leafWeight": ({"blockIO": {"leafWeight": 10}}, V2_HOST),
    "blockIO.weightDevice[1].leafWeight": (
        {"blockIO": {"weightDevice": [{"major": 1, "minor": 1}, {"major": 1, "minor": 1, "leafWeight": 5}]}}, V2_HOST,
    ),
    "network.classID": ({"network": {"classID": 1}}, V2_HOST),
    "network.priorities": ({"network": {"priorities": [{"name": "lo", "priority": 1}]}}, V2_HOST),
    "unified": ({"unified": {"memory.high": "1"}}, V1_HOST),
}  # fmt: skip


@pytest.mark.parametrize(("path", "case"), REFUSED.items(), ids=REFUSED)
def test_what_would_be_ignored_is_refused(path: str, case: tuple[dict[str, Any], Hierarchies]) -> None:
    """A limit that is not set although it is asked for is an error with its path."""
    with pytest.raises(UnsupportedFieldError) as caught:
        found(*case)
    assert caught.value.path == f"$.linux.resources.{path}"


WRONG = {
    "swap without memory": ({"memory": {"swap": 100}}, r"memory\.swap"),
    "swap below memory": ({"memory": {"limit": 200, "swap": 100}}, r"memory\.swap"),
    "idle with a weight": ({"cpu": {"idle": 1, "shares": 100}}, r"cpu\.shares"),
    "no size": ({"hugepageLimits": [{"pageSize": "2MB/../x", "limit": 1}]}, r"hugepageLimits\[0\]\.pageSize"),
    "a device that is none": ({"rdma": {"a b": {"hcaObjects": 1}}}, r"rdma\['a b'\]"),
}


@pytest.mark.parametrize(("document", "text"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("host", [V1_HOST, V2_HOST], ids=["v1", "v2"])
def test_what_makes_no_sense_is_refused(document: dict[str, Any], text: str, host: Hierarchies) -> None:
    """The error has the path."""
    with pytest.raises(ValidationError, match=rf"\$\.linux\.resources\.{text}"):
        found(document, host)


@pytest.mark.parametrize("shares", [1, 262145])
def test_shares_that_v1_would_round(shares: int) -> None:
    """The kernel takes other shares than these without a word: they are an error, as with runc."""
    with pytest.raises(ValidationError, match="2 to 262144"):
        found({"cpu": {"shares": shares}}, V1_HOST)


def test_v1_interfaces_have_names() -> None:
    """A name with a space in it would be another interface with another priority."""
    with pytest.raises(ValidationError, match=r"priorities\[0\]\.name"):
        found({"network": {"priorities": [{"name": "eth0 9", "priority": 1}]}}, V1_HOST)


@pytest.mark.parametrize(
    "name", ["../memory.high", "memory/high", "/x", "", ".", "..", "tasks", "a\0b.c", "cgroup.procs", "cgroup.kill"]
)
def test_unified_names_are_files_with_limits(name: str) -> None:
    """A key leads to no other directory, and moves, freezes and kills nobody."""
    with pytest.raises(ValidationError, match="unified"):
        found({"unified": {name: "1"}}, V2_HOST)


def test_kernel_memory_is_ignored_with_a_word() -> None:
    """Nobody can limit it any more, but for the buffers of TCP on v1, and what asks for no limit gets none."""
    resources, path = LinuxResources.from_dict({"memory": {"kernel": 1, "kernelTCP": 2}}), "$.linux.resources.memory"
    assert writes(resources.to_dict(), V1_HOST) == [("memory.kmem.tcp.limit_in_bytes", "2")]
    assert [text.split()[0] for text in ignored(resources, V1_HOST)] == [f"{path}.kernel"]
    assert found(resources.to_dict(), V2_HOST) == []
    assert [text.split()[0] for text in ignored(resources, V2_HOST)] == [f"{path}.kernel", f"{path}.kernelTCP"]
    unlimited = LinuxResources.from_dict({"memory": {"kernel": -1, "kernelTCP": 0}})
    assert ignored(unlimited, V2_HOST) == ignored(None, V2_HOST) == ()


@pytest.mark.parametrize(
    ("shares", "weight"), [(1, 1), (2, 1), (3, 2), (512, 59), (1024, 100), (2048, 174), (262144, 10000), (2**40, 10000)]
)
def test_shares_become_weights(shares: int, weight: int) -> None:
    """The usual shares are the usual weight, and so are the least and the most."""
    assert cpu_weight(shares) == weight


def test_weights_grow_with_shares() -> None:
    """Who had more still has more."""
    weights = [cpu_weight(shares) for shares in range(1, 300_000, 97)]
    assert weights == sorted(weights)


def rule(**fields: Any) -> LinuxDeviceCgroup:
    """Return a rule that allows everything, unless the fields say otherwise."""
    every: dict[str, Any] = {"allow": True, "access": "rwm"}
    return LinuxDeviceCgroup(**(every | fields))


def test_devices_are_denied_first() -> None:
    """Whatever the configuration says, it starts from nothing and ends with a usable /dev."""
    for asked in ((), (rule(allow=False),)):
        assert list(map(str, device_rules(asked))) == ["a *:* rwm", *map(str, ALWAYS_ALLOWED)]
        assert not device_rules(asked)[0].allow


def test_device_rules_keep_their_order() -> None:
    """Later rules count more, so their order is theirs."""
    asked = (rule(type="c", major=10, minor=229), rule(allow=False, type="b", major=8, access="w"), rule(minor=5))
    found = list(map(str, device_rules(asked)))
    assert found[: 1 + 4] == ["a *:* rwm", "c 10:229 rwm", "b 8:* w", "b *:5 rwm", "c *:5 rwm"]


@pytest.mark.parametrize("fields", [{"type": "x"}, {"type": "p"}, {"access": ""}, {"access": "rx"}])
def test_device_rules_that_say_nothing_are_refused(fields: dict[str, Any]) -> None:
    """A rule that the controller could not read is an error with its path."""
    with pytest.raises(ValidationError, match=r"devices\[1\]"):
        device_rules((rule(), rule(**fields)))
