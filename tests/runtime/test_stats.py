"""What containers use is told as it is counted, in the words of runc where engines ask, and never made up."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from cgroup_host import HOST, V2

from ocikit import runtime
from ocikit.errors import NotRunningError
from ocikit.runtime.cgroups.hierarchies import UNIFIED
from ocikit.runtime.stats import collect, interfaces, runc_json, stats_event
from ocikit.runtime.stats.network import parse_interfaces
from ocikit.runtime.stats.pressure import parse_pressure
from ocikit.spec import LinuxNamespace, LinuxResources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from peer_runc import Runc

MB = 1 << 20

LIMITS = LinuxResources.from_dict(
    {"memory": {"limit": 64 * MB, "swap": 96 * MB}, "pids": {"limit": 50}, "cpu": {"quota": 2000, "period": 10000}}
)

#: Works for a while, says so, and waits.
WORKING = ("sh", "-c", "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; echo done; exec sleep 1000")


@pytest.fixture
def working(root: Path, make_bundle: Callable[..., Path], container_id: str) -> Iterator[runtime.Container]:
    """Give a container with limits that has worked for a while."""
    bundle = make_bundle(*WORKING, linux={"resources": LIMITS})
    with runtime.create(root, container_id, bundle, stdin="null", stdout="pipe") as container:
        container.start()
        assert container.stdout is not None
        container.stdout.readline()
        yield container


def test_what_a_container_uses(working: runtime.Container) -> None:
    """Time, memory and processes are those that the kernel counts; limits are those that were set."""
    found = working.stats()
    assert found.cpu is not None
    assert found.cpu.total > 0
    assert found.cpu.user + found.cpu.system > 0
    assert found.cpu.periods
    assert found.cpu.throttled_time
    assert found.memory is not None
    assert found.memory.memory.limit == 64 * MB
    assert 0 < found.memory.memory.usage <= (found.memory.memory.max_usage or 64 * MB) <= 64 * MB
    assert found.memory.memory_and_swap is not None
    assert found.memory.memory_and_swap.limit == 96 * MB
    assert found.memory.swap is not None
    assert (found.memory.swap.usage, found.memory.swap.limit) == (0, 32 * MB)
    assert found.memory.cache is not None
    assert (found.memory.oom_kills, found.memory.version) == (0, 2 if V2 else 1)
    assert found.pids is not None
    assert (found.pids.current, found.pids.limit) == (1, 50)
    assert found.block_io is not None


def test_each_part_is_where_it_is_counted(working: runtime.Container) -> None:
    """Controllers of v1 and of v2 stand beside each other; what no hierarchy has is None."""
    found = working.stats()
    assert (found.cpuset is not None) == ("cpuset" in HOST.by_key or "cpuset" in HOST.v2_controllers)
    if found.cpuset is not None:
        assert 0 in found.cpuset.cpus
    assert (found.rdma is not None) == ("rdma" in HOST.by_key or (V2 and "rdma" in HOST.v2_controllers))
    assert (found.cpu is not None and found.cpu.per_cpu is not None) == (not V2)
    assert found.intel_rdt is None


def test_pressure_is_told_where_the_kernel_measures_it(working: runtime.Container) -> None:
    """Also beside v1; whoever is throttled waits."""
    found = working.stats()
    assert found.cpu is not None
    if UNIFIED in HOST.by_key:
        assert found.cpu.pressure is not None
        assert found.cpu.pressure.some.total > 0
    else:
        assert found.cpu.pressure is None


def test_huge_pages(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """Sizes that are limited are counted, those in use and those reserved; elsewhere there is nothing."""
    available = "hugetlb" in HOST.by_key or "hugetlb" in HOST.v2_controllers
    limits = {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MB}]} if available else {}
    bundle = make_bundle(linux={"resources": LinuxResources.from_dict(limits)})
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        found = container.stats().hugetlb
        assert (found is not None) == available
        if found is not None:
            assert (found["2MB"].pages.usage, found["2MB"].pages.limit) == (0, 4 * MB)
            assert found["2MB"].reserved is not None
            assert runc_json(container.stats())["hugetlb"]["2MB"] == {"failcnt": 0}


def test_network_is_that_of_the_container(
    root: Path, make_bundle: Callable[..., Path], container_id: str, new_id: Callable[[], str]
) -> None:
    """A container with a network of its own has its interfaces; one that shares the host's has no numbers."""
    with runtime.create(root, container_id, make_bundle(), stdin="null") as container:
        found = container.stats().network
        assert found is not None
        assert "lo" in [one.name for one in found]
    shared = tuple(LinuxNamespace(type=name) for name in ("pid", "mount", "ipc", "uts"))
    bundle = make_bundle(linux={"namespaces": shared}, name="shared")
    with runtime.create(root, new_id(), bundle, stdin="null") as container:
        assert container.stats().network is None


def test_statistics_after_the_end(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """What a container used is known until it is destroyed; then there is nothing to be told."""
    bundle = make_bundle("sh", "-c", "a=x; while :; do a=$a$a; done", linux={"resources": LIMITS})
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        container.start()
        container.wait(60)
        found = container.stats()
        assert found.memory is not None
        assert found.memory.oom_kills == 1
        assert found.network is None
        assert found.cpu is not None
        assert found.cpu.total > 0
        container.destroy()
        with pytest.raises(NotRunningError):
            container.stats()


def test_containers_of_runc(runc: Runc, root: Path, bundle: Path, container_id: str) -> None:
    """Whoever made a container, its cgroups are counted."""
    runc.create(container_id, bundle)
    found = runtime.load(root, container_id).stats()
    assert found.memory is not None
    assert found.memory.memory.usage > 0
    assert found.memory.memory.limit is None
    assert found.pids is not None
    assert found.pids.current == 1 or found.pids.current > 1  # the init of runc has threads


def shape(value: Any, start: str = "") -> set[str]:
    """Return all keys of an object, with their way to them."""
    if not isinstance(value, dict):
        return set()
    return {way for name, inner in value.items() for way in {f"{start}{name}", *shape(inner, f"{start}{name}.")}}


def test_the_json_of_runc_events(runc: Runc, working: runtime.Container) -> None:
    """Every key that runc prints is printed, and what does not change in between has the value that runc prints."""
    ours = stats_event(working.id, working.stats())
    theirs = json.loads(runc("events", "--stats", working.id).stdout)
    assert (ours["type"], ours["id"]) == (theirs["type"], theirs["id"]) == ("stats", working.id)
    assert shape(theirs["data"]) - shape(ours["data"]) == set()
    for way in (("memory", "usage", "limit"), ("memory", "swap", "limit"), ("pids", "limit"), ("cpuset", "cpus")):
        one, other = ours["data"], theirs["data"]
        for name in way:
            one, other = one.get(name), other.get(name)
        assert json.loads(json.dumps(one)) == other, way
    json.dumps(ours)


def test_nothing_is_made_up(tmp_path: Path) -> None:
    """Cgroups without a single controller have no statistics, and in the words of runc that are empty objects."""
    for paths in ({}, {UNIFIED: str(tmp_path)}, {"memory": str(tmp_path), "cpu": str(tmp_path)}):
        found = collect(paths)
        assert (found.memory, found.cpu, found.pids, found.block_io, found.hugetlb, found.rdma) == (None,) * 6
        data = runc_json(found)
        assert (data["memory"], data["cpu"], data["pids"], data["blkio"], data["hugetlb"]) == ({}, {}, {}, {}, {})


# -------------------------------------------------------------------------------- files that other machines have

BFQ = "8:0 Read 5\n8:0 Write 6\n8:16 Read 7\nTotal 18\n"
RDMA = {"rdma.current": "mlx4_0 hca_handle=2 hca_object=20\n", "rdma.max": "mlx4_0 hca_handle=max hca_object=99\n"}


def test_disks_of_v1_with_a_scheduler(tmp_path: Path) -> None:
    """What BFQ counts comes before what throttling counts; sums over all disks are no disks."""
    files = {
        "blkio.throttle.io_service_bytes": "8:0 Read 1\nTotal 1\n",
        "blkio.throttle.io_serviced": "8:0 Read 2\nTotal 2\n",
        "blkio.bfq.io_service_bytes_recursive": BFQ,
        "blkio.bfq.time_recursive": "8:0 44\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found = collect({"blkio": str(tmp_path)}).block_io
    assert found is not None
    assert [(one.major, one.minor, one.operation, one.value) for one in found.service_bytes] == [
        (8, 0, "Read", 5), (8, 0, "Write", 6), (8, 16, "Read", 7),
    ]  # fmt: skip
    assert [(one.operation, one.value) for one in found.serviced] == [("Read", 2)]
    assert [(one.operation, one.value) for one in found.time] == [("", 44)]
    assert found.sectors == ()
    data = runc_json(collect({"blkio": str(tmp_path)}))["blkio"]
    assert data["ioTimeRecursive"] == [{"major": 8, "value": 44}]
    assert "sectorsRecursive" not in data


def test_disks_of_v2(tmp_path: Path) -> None:
    """One line has everything of a disk; words that runc does not know are no tables of it."""
    (tmp_path / "io.stat").write_text("8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6 cost.usage=7\n8:16 \n")
    found = collect({UNIFIED: str(tmp_path)}).block_io
    assert found is not None
    assert [(one.operation, one.value) for one in found.service_bytes] == [("Read", 1), ("Write", 2), ("Discard", 5)]
    assert [(one.operation, one.value) for one in found.serviced] == [("Read", 3), ("Write", 4), ("Discard", 6)]


@pytest.mark.parametrize("key", ["rdma", UNIFIED])
def test_rdma_devices(tmp_path: Path, key: str) -> None:
    """Both kinds of hierarchies have the same files."""
    for name, text in RDMA.items():
        (tmp_path / name).write_text(text)
    found = collect({key: str(tmp_path)}).rdma
    assert found is not None
    one = found["mlx4_0"]
    assert (one.handles.usage, one.handles.limit, one.objects.usage, one.objects.limit) == (2, None, 20, 99)


def test_older_kernels(tmp_path: Path) -> None:
    """Time in ticks of the clock, swap that is not counted, and no numbers of kills."""
    files = {
        "cpuacct.usage": "5000000000\n",
        "cpuacct.stat": "user 300\nsystem 200\n",
        "memory.usage_in_bytes": "100\n",
        "memory.limit_in_bytes": "9223372036854771712\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found = collect({"cpuacct": str(tmp_path), "memory": str(tmp_path)})
    assert found.cpu is not None
    assert (found.cpu.user, found.cpu.system) == (3_000_000_000, 2_000_000_000)
    assert (found.cpu.per_cpu, found.cpu.periods) == (None, None)
    assert found.memory is not None
    assert (found.memory.memory.limit, found.memory.swap, found.memory.oom_kills) == (None, None, None)
    assert runc_json(found)["memory"]["usage"]["limit"] == 9223372036854771712


def test_lines_of_the_kernel() -> None:
    """Names of interfaces have colons in them, and pressure has no second line for processors of older kernels."""
    text = "head\n head\n  lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\neth0:1: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
    one, other = parse_interfaces(text)
    assert (one.name, one.rx_bytes, one.rx_dropped, one.tx_bytes, one.tx_errors) == ("lo", 1, 4, 9, 11)
    assert other.name == "eth0:1"
    found = parse_pressure("some avg10=1.50 avg60=0.00 avg300=0.25 total=77\n")
    assert found is not None
    assert (found.some.avg10, found.some.total, found.full) == (1.5, 77, None)
    assert parse_pressure(None) is None
    assert interfaces(2**22) is None
