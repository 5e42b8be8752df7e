"""Limits of the configuration become writes into files of cgroups, and what cannot be had is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from ocikit.errors import UnsupportedFieldError, ValidationError
from ocikit.runtime.devices import ALWAYS_ALLOWED, device_rules
from ocikit.runtime.limits import cpu_weight, limits
from ocikit.spec import LinuxDeviceCgroup, LinuxResources


def writes(document: dict[str, Any], *, v2: bool) -> list[tuple[str, str]]:
    """Return the files and values for some resources, less the rules for devices."""
    found = limits(LinuxResources.from_dict(document), v2=v2)
    return [(write.file, write.value) for write in found if not write.file.startswith("devices.")]


V1 = {
    "memory": ({"memory": {"limit": 100, "swap": 150, "reservation": 50, "swappiness": 0}}, [
        ("memory.limit_in_bytes", "100"), ("memory.memsw.limit_in_bytes", "150"),
        ("memory.soft_limit_in_bytes", "50"), ("memory.swappiness", "0"),
    ]),
    "unlimited memory": ({"memory": {"limit": -1, "swap": -1}}, [
        ("memory.limit_in_bytes", "-1"), ("memory.memsw.limit_in_bytes", "-1"),
    ]),
    "no killer": ({"memory": {"disableOOMKiller": True}}, [("memory.oom_control", "1")]),
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
    "unlimited pids": ({"pids": {"limit": -1}}, [("pids.max", "max")]),
    "one task": ({"pids": {"limit": 0}}, [("pids.max", "1")]),
    "zeros": ({"memory": {"limit": 0, "swap": 0}, "cpu": {"shares": 0, "quota": 0, "period": 0}}, []),
    "empty": ({"blockIO": {}, "network": {}, "rdma": {}, "unified": {}, "hugepageLimits": []}, []),
}  # fmt: skip


@pytest.mark.parametrize(("document", "expected"), V1.values(), ids=V1)
def test_limits_of_v1(document: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """Each field is one file, in an order that a new cgroup accepts."""
    assert writes(document, v2=False) == expected


V2 = {
    "memory": ({"memory": {"limit": 100, "swap": 150, "reservation": 50}}, [
        ("memory.max", "100"), ("memory.swap.max", "50"), ("memory.low", "50"),
    ]),
    "no swap": ({"memory": {"limit": 100, "swap": 100}}, [("memory.max", "100"), ("memory.swap.max", "0")]),
    "any swap": ({"memory": {"limit": 100, "swap": -1}}, [("memory.max", "100"), ("memory.swap.max", "max")]),
    "cpu": ({"cpu": {"shares": 1024, "quota": 20000, "period": 50000, "burst": 10, "cpus": "0-1"}}, [
        ("cpuset.cpus", "0-1"), ("cpu.weight", "100"), ("cpu.max", "20000 50000"), ("cpu.max.burst", "10"),
    ]),
    "quota alone": ({"cpu": {"quota": 20000}}, [("cpu.max", "20000")]),
    "period alone": ({"cpu": {"period": 50000}}, [("cpu.max", "max 50000")]),
    "idle": ({"cpu": {"idle": 1}}, [("cpu.idle", "1")]),
    "pids": ({"pids": {"limit": 33}}, [("pids.max", "33")]),
}  # fmt: skip


@pytest.mark.parametrize(("document", "expected"), V2.values(), ids=V2)
def test_limits_of_v2(document: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """The same fields in the files of v2."""
    assert writes(document, v2=True) == expected


REFUSED = {
    "$.linux.resources.blockIO": ({"blockIO": {"weight": 10}}, None),
    "$.linux.resources.hugepageLimits": ({"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}, None),
    "$.linux.resources.network": ({"network": {"classID": 1}}, None),
    "$.linux.resources.rdma": ({"rdma": {"mlx": {"hcaHandles": 1}}}, None),
    "$.linux.resources.unified": ({"unified": {"memory.high": "1"}}, None),
    "$.linux.resources.memory.kernel": ({"memory": {"kernel": 1}}, None),
    "$.linux.resources.memory.kernelTCP": ({"memory": {"kernelTCP": 1}}, None),
    "$.linux.resources.memory.swappiness": ({"memory": {"swappiness": 0}}, True),
    "$.linux.resources.memory.disableOOMKiller": ({"memory": {"disableOOMKiller": True}}, True),
    "$.linux.resources.cpu.realtimeRuntime": ({"cpu": {"realtimeRuntime": 1}}, True),
    "$.linux.resources.cpu.realtimePeriod": ({"cpu": {"realtimePeriod": 1}}, True),
}


@pytest.mark.parametrize(("path", "case"), REFUSED.items(), ids=REFUSED)
def test_what_would_be_ignored_is_refused(path: str, case: tuple[dict[str, Any], bool | None]) -> None:
    """A limit that is not set although it is asked for is an error with its path."""
    document, only_v2 = case
    for v2 in (True, False) if only_v2 is None else (only_v2,):
        with pytest.raises(UnsupportedFieldError) as caught:
            writes(document, v2=v2)
        assert caught.value.path == path


@pytest.mark.parametrize("memory", [{"swap": 100}, {"limit": 200, "swap": 100}, {"limit": -1, "swap": 100}])
@pytest.mark.parametrize("v2", [True, False])
def test_swap_that_contradicts_memory_is_refused(memory: dict[str, int], *, v2: bool) -> None:
    """The limit of memory and swap together cannot be less than that of memory."""
    with pytest.raises(ValidationError, match=r"memory\.swap"):
        writes({"memory": memory}, v2=v2)


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
