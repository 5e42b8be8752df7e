"""Limits of running containers are changed: all or nothing, by us and by runc, of containers of either."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cgroup_host import HOST, V2, disk, limit, state

from ocikit import runtime
from ocikit.errors import (
    CgroupError,
    NotExistError,
    NotRunningError,
    OCIKitError,
    StateError,
    UnsupportedFieldError,
    ValidationError,
)
from ocikit.runtime import Status
from ocikit.runtime.cgroups import limiting as cgroup_limits
from ocikit.runtime.cgroups import setup as cgroup_setup
from ocikit.runtime.cgroups import tree as cgroup_tree
from ocikit.runtime.cgroups.hierarchies import UNIFIED, place
from ocikit.runtime.limits import Write, limits
from ocikit.runtime.state import records
from ocikit.runtime.state.resources import merged, parse_resources, resources_document
from ocikit.spec import LinuxDevice, LinuxIntelRdt, LinuxResources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from peer_runc import Runc

MB = 1 << 20
MEMORY = "memory.max" if V2 else "memory.limit_in_bytes"
BOTH = "memory.swap.max" if V2 else "memory.memsw.limit_in_bytes"
QUOTA = "cpu.max" if V2 else "cpu.cfs_quota_us"
BURST = "cpu.max.burst" if V2 else "cpu.cfs_burst_us"
WEIGHT = "cpu.weight" if V2 else "cpu.shares"
BLKIO = "io.bfq.weight" if V2 else "blkio.bfq.weight"
SPEED = "io.max" if V2 else "blkio.throttle.read_bps_device"

DISK = disk()
MAJOR, MINOR = map(int, DISK.split(":"))


def resources(**sections: Any) -> LinuxResources:
    """Return limits."""
    return LinuxResources.from_dict(sections)


@pytest.fixture
def limited(root: Path, make_bundle: Callable[..., Path], container_id: str) -> Iterator[runtime.Container]:
    """Give a running container with limits."""
    asked = resources(
        memory={"limit": 64 * MB, "swap": 96 * MB}, cpu={"quota": 20000, "period": 50000}, pids={"limit": 50}
    )
    bundle = make_bundle(linux={"resources": asked})
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        container.start()
        yield container


def memory(container: runtime.Container) -> tuple[int, int]:
    """Return the limits of memory, and of memory and swap together, that a container has."""
    one, both = int(limit(container, MEMORY)), int(limit(container, BOTH))
    return one, one + both if V2 else both


def test_limits_go_up_and_down(limited: runtime.Container) -> None:
    """Limits that the kernel checks against each other are written in the order that it takes."""
    for asked in ((200, 300), (32, 40), (100, 100), (50, 400), (32, 32)):
        limited.update(resources(memory={"limit": asked[0] * MB, "swap": asked[1] * MB}))
        assert memory(limited) == (asked[0] * MB, asked[1] * MB)


def test_quota_period_and_burst(limited: runtime.Container) -> None:
    """They depend on each other, and go anywhere all the same."""
    for quota, period, burst in ((50000, 100000, 40000), (2000, 10000, 1000), (90000, 100000, 90000), (3000, 5000, 0)):
        limited.update(resources(cpu={"quota": quota, "period": period, "burst": burst}))
        assert limit(limited, QUOTA).split()[0] == str(quota)
        period_now = limit(limited, QUOTA).split()[1] if V2 else limit(limited, "cpu.cfs_period_us")
        assert (period_now, limit(limited, BURST)) == (str(period), str(burst))


def test_what_is_not_named_stays(limited: runtime.Container) -> None:
    """One limit changes; the others, and the state, are what they were."""
    before = state(limited)
    limited.update(resources(pids={"limit": 20}))
    assert (limit(limited, "pids.max"), memory(limited)) == ("20", (64 * MB, 96 * MB))
    after = state(limited)
    assert after["config"]["cgroups"].pop("pids_limit") == 20
    assert before["config"]["cgroups"].pop("pids_limit") == 50
    assert after == before


def test_half_of_a_pair(limited: runtime.Container) -> None:
    """The other half is what it was: swap counts on memory, and a quota on its period."""
    limited.update(resources(memory={"limit": 80 * MB}, cpu={"quota": 30000}))
    assert memory(limited) == (80 * MB, 96 * MB)
    limited.update(resources(memory={"swap": 120 * MB}))
    assert memory(limited) == (80 * MB, 120 * MB)
    assert limit(limited, QUOTA).split()[0] == "30000"
    with pytest.raises(ValidationError, match=r"memory\.swap"):
        limited.update(resources(memory={"limit": 200 * MB}))
    assert memory(limited) == (80 * MB, 120 * MB)


def test_no_limits_any_more(limited: runtime.Container) -> None:
    """-1 takes a limit away, and that of swap with that of memory."""
    limited.update(resources(memory={"limit": -1, "swap": -1}, cpu={"quota": -1}, pids={"limit": -1}))
    assert limit(limited, "pids.max") == "max"
    assert limit(limited, QUOTA).split()[0] == ("max" if V2 else "-1")
    assert limit(limited, MEMORY) == limit(limited, BOTH)


def test_no_limit_of_memory_any_more(limited: runtime.Container) -> None:
    """That of memory and swap together goes with it, unless another one is asked for."""
    limited.update(resources(memory={"limit": -1}))
    assert limit(limited, MEMORY) == limit(limited, BOTH)
    assert "memory_swap" not in state(limited)["config"]["cgroups"]


def test_all_or_nothing(limited: runtime.Container) -> None:
    """What was written before the kernel refused is what it was, and so is the state."""
    before, text = memory(limited), state(limited)
    wrong = resources(
        pids={"limit": 7},
        memory={"limit": 100 * MB, "swap": 200 * MB},
        cpu={"quota": 30000, "period": 60000, "burst": 100, "shares": 300},
        blockIO={
            "weight": 77,
            "throttleReadBpsDevice": [
                {"major": MAJOR, "minor": MINOR, "rate": 1000},
                {"major": 4095, "minor": 1, "rate": 5},
            ],
        },
    )
    files = ("pids.max", QUOTA, WEIGHT, BURST, BLKIO, SPEED)
    others = {file: limit(limited, file) for file in files}
    with pytest.raises(CgroupError, match=r"throttleReadBpsDevice\[1\]"):
        limited.update(wrong)
    assert memory(limited) == before
    assert {file: limit(limited, file) for file in files} == others
    assert state(limited) == text


def test_a_state_that_cannot_be_written(limited: runtime.Container, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that nobody could know of are taken back."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records, "write_file", fail)
    with pytest.raises(OSError, match="No space left"):
        limited.update(
            resources(pids={"limit": 7}, devices=[{"allow": True, "type": "b", "major": 7, "minor": 9, "access": "r"}])
        )
    assert limit(limited, "pids.max") == "50"
    if not V2:
        assert "b 7:9 r" not in limit(limited, "devices.list")


def test_states_of_a_container(created: runtime.Container) -> None:
    """Limits change while it is created, running and paused; a stopped one has no use for them."""
    created.update(resources(pids={"limit": 40}))
    created.start()
    created.pause()
    created.update(resources(pids={"limit": 30}))
    assert (limit(created, "pids.max"), created.status()) == ("30", Status.PAUSED)
    created.resume()
    created.kill()
    created.wait(30)
    with pytest.raises(NotRunningError, match="container not running"):
        created.update(resources(pids={"limit": 20}))
    created.destroy()
    with pytest.raises(NotExistError):
        created.update(resources(pids={"limit": 20}))


def test_idle_and_back(limited: runtime.Container) -> None:
    """A cgroup that runs only when nobody else does has no weight, and gets one again."""
    limited.update(resources(cpu={"shares": 512}))
    limited.update(resources(cpu={"idle": 1}))
    assert limit(limited, "cpu.idle") == "1"
    assert "cpu_weight" not in state(limited)["config"]["cgroups"]
    with pytest.raises(ValidationError, match="shares"):
        limited.update(resources(cpu={"shares": 100}))
    limited.update(resources(cpu={"idle": 0, "shares": 2048}))
    assert (limit(limited, "cpu.idle"), limit(limited, WEIGHT)) == ("0", "174" if V2 else "2048")


def test_disks_are_joined(limited: runtime.Container) -> None:
    """Another limit of the same disk stays, and the same one is replaced."""
    for rate in (MB, 2 * MB):
        throttle = [{"major": MAJOR, "minor": MINOR, "rate": rate}]
        limited.update(resources(blockIO={"throttleReadBpsDevice": throttle}))
        limited.update(resources(blockIO={"throttleWriteIOPSDevice": [{"major": MAJOR, "minor": MINOR, "rate": 99}]}))
        assert state(limited)["config"]["cgroups"]["blkio_throttle_read_bps_device"] == throttle
        expected = f"{DISK} rbps={rate} wbps=max riops=max wiops=99" if V2 else f"{DISK} {rate}"
        assert limit(limited, SPEED) == expected


def test_rules_for_devices_are_replaced(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """A device that was allowed is not any more, and another one is; without rules nothing changes."""
    allowed = resources(devices=[{"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rwm"}])
    script = "while :; do if head -c 0 /dev/probe; then echo yes; else echo no; fi; sleep 0.01; done 2>/dev/null"
    devices = (LinuxDevice(path="/dev/probe", type="c", major=10, minor=237, file_mode=0o666),)
    bundle = make_bundle("sh", "-c", script, linux={"resources": allowed, "devices": devices})
    with runtime.create(root, container_id, bundle, stdin="null", stdout="pipe") as container:
        container.start()
        assert container.stdout is not None

        def until(answer: bytes) -> None:
            assert container.stdout is not None
            assert any(container.stdout.readline().strip() == answer for _ in range(1000))

        until(b"no")
        loops = [{"allow": True, "type": "c", "major": 10, "minor": 237, "access": "r"}]
        container.update(resources(devices=loops))
        until(b"yes")
        container.update(resources(pids={"limit": 60}))
        until(b"yes")
        assert container.status() is Status.RUNNING
        found = state(container)["config"]["cgroups"]["devices"]
        assert any(one["major"] == 10 and one["minor"] == 237 for one in found)
        container.update(resources(devices=[{"allow": False, "access": "rwm"}]))
        until(b"no")


@pytest.mark.parametrize("section", ["limit", "swap"])
def test_limits_below_what_is_used(limited: runtime.Container, section: str) -> None:
    """v1 refuses them by itself; on v2, where they would kill, that is asked for, and stays asked for."""
    used = resources(memory={"limit": 4096, "swap": 4096, "checkBeforeUpdate": True})
    with pytest.raises(CgroupError, match=rf"memory\.{section}.*bytes are in use" if section == "limit" else "memory"):
        limited.update(used)
    assert memory(limited) == (64 * MB, 96 * MB)
    assert limited.status() is Status.RUNNING


def test_what_this_host_cannot_have(limited: runtime.Container) -> None:
    """An update asks for no less than a creation; nothing changes."""
    asked: dict[str, Any] = {"memory": {"swappiness": 5}} if V2 else {"unified": {"memory.high": "1"}}
    with pytest.raises(UnsupportedFieldError):
        limited.update(resources(**asked))
    with pytest.raises(UnsupportedFieldError, match="without a group of resctrl"):
        limited.update(resources(), intel_rdt=LinuxIntelRdt(l3_cache_schema="L3:0=f"))


def test_huge_pages_of_a_container_that_had_no_limit(limited: runtime.Container) -> None:
    """The controller is enabled for it when it is needed; a machine without it says so."""
    asked = resources(hugepageLimits=[{"pageSize": "2MB", "limit": 4 * MB}])
    if "hugetlb" in HOST.by_key or "hugetlb" in HOST.v2_controllers:
        limited.update(asked)
        file = "hugetlb.2MB.max" if HOST.key_of("hugetlb") == UNIFIED else "hugetlb.2MB.limit_in_bytes"
        assert limit(limited, file) == str(4 * MB)
    else:
        with pytest.raises(CgroupError, match=r"hugepageLimits\[0\]"):
            limited.update(asked)


# ------------------------------------------------------------------------------------------------------------ with runc


def test_runc_updates_ours(runc: Runc, limited: runtime.Container) -> None:
    """What runc wrote down is what we go on from, the way it writes it, zeros and all."""
    runc("update", "--memory", str(80 * MB), "--memory-swap", str(90 * MB), "--pids-limit", "30", limited.id)
    assert memory(limited) == (80 * MB, 90 * MB)
    limited.update(resources(memory={"limit": 85 * MB}))
    assert memory(limited) == (85 * MB, 90 * MB)
    assert limit(limited, "pids.max") == "30"
    assert limited.status() is Status.RUNNING


def test_we_update_those_of_runc(runc: Runc, root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """Limits that runc set and that we change are what runc goes on from; its other keys stay."""
    bundle = make_bundle(linux={"resources": resources(memory={"limit": 64 * MB, "swap": 96 * MB})})
    runc.create(container_id, bundle)
    container = runtime.load(root, container_id)
    before = state(container)
    container.update(resources(memory={"limit": 90 * MB}, cpu={"quota": 20000, "period": 50000}, pids={"limit": 0}))
    assert memory(container) == (90 * MB, 96 * MB)
    assert limit(container, "pids.max") == "1"
    after = state(container)
    assert before.keys() == after.keys()
    assert before["config"].keys() == after["config"].keys()
    runc("update", "--cpu-quota", "30000", container_id)
    assert (limit(container, QUOTA).split()[0], memory(container)) == ("30000", (90 * MB, 96 * MB))
    runc("start", container_id)
    assert runc.status(container_id) == "running"


# ------------------------------------------------------------------------------------------------------- what is stored

EVERYTHING: dict[str, Any] = {
    "memory": {"limit": 1, "reservation": 2, "swap": 3, "swappiness": 0, "disableOOMKiller": True,
               "checkBeforeUpdate": True},
    "cpu": {"shares": 4, "quota": 5, "burst": 0, "period": 6, "realtimeRuntime": 7, "realtimePeriod": 8, "cpus": "0",
            "mems": "1", "idle": 0},
    "pids": {"limit": 9},
    "blockIO": {
        "weight": 10, "leafWeight": 11,
        "weightDevice": [{"major": 1, "minor": 2, "weight": 12, "leafWeight": 13}],
        "throttleReadBpsDevice": [{"major": 1, "minor": 2, "rate": 14}],
        "throttleWriteBpsDevice": [{"major": 1, "minor": 2, "rate": 15}],
        "throttleReadIOPSDevice": [{"major": 1, "minor": 2, "rate": 16}],
        "throttleWriteIOPSDevice": [{"major": 1, "minor": 2, "rate": 17}],
    },
    "hugepageLimits": [{"pageSize": "2MB", "limit": 18}],
    "network": {"classID": 19, "priorities": [{"name": "lo", "priority": 20}]},
    "rdma": {"mlx5_1": {"hcaHandles": 21, "hcaObjects": 22}},
    "unified": {"memory.high": "23"},
}  # fmt: skip


def test_every_limit_goes_into_the_state_and_comes_back() -> None:
    """Both ways, for every field that runc has a key for."""
    asked = LinuxResources.from_dict(EVERYTHING)
    document = json.loads(json.dumps(resources_document(asked)))
    assert parse_resources(document, "1.3.0") == asked
    assert document["rdma"] == {"mlx5_1": {"hca_handles": 21, "hca_objects": 22}}
    assert document["blkio_weight_device"] == [{"major": 1, "minor": 2, "weight": 12, "leafWeight": 13}]
    assert document["net_prio_ifpriomap"] == [{"interface": "lo", "priority": 20}]
    assert document["hugetlb_limit"] == [{"page_size": "2MB", "limit": 18}]


def test_zeros_of_older_states() -> None:
    """Runc 1.1 wrote zeros where nothing was asked for; a limit of no processes came later."""
    zeros = {"memory": 0, "cpu_shares": 0, "cpuset_cpus": "", "pids_limit": 0, "blkio_weight": 0, "unified": None}
    assert parse_resources(zeros | {"hugetlb_limit": None, "rdma": None}, "1.0.2-dev") == LinuxResources()
    assert parse_resources(zeros, "1.3.0").to_dict() == {"pids": {"limit": 0}}
    assert resources_document(resources(pids={"limit": 0})) == {"pids_limit": 1}


@pytest.mark.parametrize("value", ["x", [], {}, "1", 1.5, None, [1], {"a": 1}])
def test_states_that_make_no_sense(value: object) -> None:
    """What cannot be read is taken not to be set, and is no reason to fail."""
    keys = ("memory", "hugetlb_limit", "rdma", "unified", "cpuset_cpus", "blkio_weight_device", "pids_limit")
    for key in keys:
        parse_resources({key: value}, "1.3.0")


def test_limits_are_merged() -> None:
    """New values replace old ones, element by element, and zeros say nothing where zero is no limit."""
    new: dict[str, Any] = {
        "memory": {"limit": 0, "swap": 30, "disableOOMKiller": False},
        "blockIO": {
            "weightDevice": [{"major": 1, "minor": 2, "weight": 99}, {"major": 3, "minor": 3, "weight": 5}],
            "throttleReadBpsDevice": [{"major": 9, "minor": 9, "rate": 1}],
        },
        "hugepageLimits": [{"pageSize": "1GB", "limit": 0}],
        "network": {"classID": 0, "priorities": [{"name": "eth0", "priority": 2}]},
        "rdma": {"mlx5_1": {"hcaObjects": 5}, "rxe3": {"hcaObjects": 1}},
        "unified": {"memory.low": "1"},
    }
    found = merged(LinuxResources.from_dict(EVERYTHING), LinuxResources.from_dict(new)).to_dict()
    assert (found["memory"]["limit"], found["memory"]["swap"]) == (1, 30)
    assert found["memory"]["disableOOMKiller"] is False
    assert found["cpu"] == EVERYTHING["cpu"]
    assert found["blockIO"]["weightDevice"] == [
        {"major": 1, "minor": 2, "weight": 99, "leafWeight": 13}, {"major": 3, "minor": 3, "weight": 5},
    ]  # fmt: skip
    assert [one["rate"] for one in found["blockIO"]["throttleReadBpsDevice"]] == [14, 1]
    assert [one["limit"] for one in found["hugepageLimits"]] == [18, 0]
    assert found["network"]["classID"] == 0
    assert [one["name"] for one in found["network"]["priorities"]] == ["lo", "eth0"]
    assert found["rdma"] == {"mlx5_1": {"hcaHandles": 21, "hcaObjects": 5}, "rxe3": {"hcaObjects": 1}}
    assert found["unified"] == {"memory.high": "23", "memory.low": "1"}


def test_a_damaged_state(limited: runtime.Container) -> None:
    """Where limits would be written, there has to be an object."""
    path = Path(limited.root, limited.id, "state.json")
    good = path.read_bytes()
    document = json.loads(good)
    document["config"]["cgroups"] = []
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    try:
        with pytest.raises(StateError, match=r"config\.cgroups"):
            limited.update(resources(pids={"limit": 5}))
    finally:
        path.write_bytes(good)
    assert limit(limited, "pids.max") == "50"


# ------------------------------------------------------------------------------------------------------ taken back


@pytest.fixture
def paths(container_id: str) -> Iterator[dict[str, str]]:
    """Give the cgroups of a container without processes."""
    places = place(HOST, "", container_id)
    cgroup_setup.make(places, HOST, [])
    yield places
    cgroup_tree.remove(places.values())


def test_every_line_is_taken_back(paths: dict[str, str]) -> None:
    """Files with many lines have the one that was there, or none."""
    one = resources(blockIO={"weight": 300, "throttleReadBpsDevice": [{"major": MAJOR, "minor": MINOR, "rate": MB}]})
    other = resources(
        blockIO={
            "weight": 400,
            "throttleReadBpsDevice": [{"major": MAJOR, "minor": MINOR, "rate": 2 * MB}],
            "throttleWriteBpsDevice": [{"major": MAJOR, "minor": MINOR, "rate": 2 * MB}],
        }
    )
    key = HOST.key_of("blkio", "io")
    names = (BLKIO, SPEED, "io.max" if V2 else "blkio.throttle.write_bps_device")
    empty = [Path(paths[key], name).read_text() for name in names]
    texts = []
    undo: list[Write] = []
    for asked in (one, other):
        texts.append([Path(paths[key], name).read_text() for name in names])
        cgroup_limits.apply(paths, limits(asked, HOST), undo)
    now = [Path(paths[key], name).read_text() for name in names]
    assert now not in texts
    cgroup_limits.take_back(paths, undo)
    assert [Path(paths[key], name).read_text() for name in names] == empty


def test_what_cannot_be_taken_back_is_told(paths: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    """The other limits are taken back all the same."""
    key = HOST.key_of("pids")
    undo: list[Write] = []
    cgroup_limits.apply(paths, [Write(key, "pids.max", "5", "$.a")], undo)
    cgroup_limits.take_back(paths, [*undo, Write(key, "pids.max", "nonsense", "$.b")])
    assert Path(paths[key], "pids.max").read_text() == "max\n"
    assert "could not be changed back" in caplog.text


def test_writes_that_never_fit(paths: dict[str, str]) -> None:
    """Values that no order makes fit are an error with the field, and do not turn in circles."""
    key, file = HOST.key_of("cpu"), "cpu.max" if V2 else "cpu.cfs_quota_us"
    burst = "cpu.max.burst" if V2 else "cpu.cfs_burst_us"
    writes = [Write(key, burst, "9000", "$.burst", "quota"), Write(key, file, "2000", "$.quota", "quota")]
    with pytest.raises(OCIKitError, match=r"\$\.(burst|quota)"):
        cgroup_limits.apply(paths, writes)
