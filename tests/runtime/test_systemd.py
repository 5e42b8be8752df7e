"""Cgroups that systemd makes: the real one, in namespaces of its own; and the pure parts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from systemd_host import Systemd, systemd

from ocikit import runtime
from ocikit.errors import NotSupportedError, ValidationError
from ocikit.runtime import CreateOptions
from ocikit.runtime.cgroups.device_rules import device_rules
from ocikit.runtime.systemd import names, properties
from ocikit.runtime.systemd.bus import Variant
from ocikit.spec import LinuxCPU, LinuxDeviceCgroup, LinuxMemory, LinuxPids, LinuxResources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Systemd]:
    """Give a systemd, which sees the directories of the tests."""
    with systemd(tmp_path_factory.getbasetemp()) as running:
        yield running


@pytest.fixture
def inside(host: Systemd, make_bundle: Callable[..., Path], tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """Give a function that has something done there."""
    bundle = make_bundle("sleep", "1000")

    def do(what: str) -> dict[str, Any]:
        script = Path(__file__).with_name("systemd_inside.py")
        done = host.run(sys.executable, str(script), what, str(tmp_path / "inner"), str(bundle))
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return do


def test_scope(inside: Callable[[str], dict[str, Any]]) -> None:
    """A container's scope has its process and its limits, is nobody else's meanwhile, and is gone with it."""
    found = inside("lifecycle")
    assert found["ActiveState"] == "active"
    assert found["Slice"] == "ocikit-test.slice"
    assert found["ControlGroup"] == "/ocikit.slice/ocikit-test.slice/inside-one.scope"
    assert (found["TasksMax"], found["CPUQuotaPerSecUSec"]) == ("20", "200ms")
    assert (found["DevicePolicy"], found["Delegate"]) == ("strict", "yes")
    assert found["processes"] == 1
    assert all(line.endswith(found["ControlGroup"]) for line in found["members"])
    expected = {"memory.limit_in_bytes": str(64 << 20), "cpu.cfs_quota_us": "20000", "pids.max": "20"}
    assert found["limits"] in (expected, {"memory.max": str(64 << 20), "cpu.max": "20000 100000", "pids.max": "20"})
    assert "inside-one.scope" in found["again"][0] or "not empty" in found["again"][0]
    assert found["status"] == "running"
    assert found["updated"] == {"TasksMax": "30"}
    expected |= {"memory.limit_in_bytes": str(32 << 20), "pids.max": "30"}
    assert found["reloaded"] in (expected, {"memory.max": str(32 << 20), "cpu.max": "20000 100000", "pids.max": "30"})
    assert found["after"]["ActiveState"] == "inactive"
    assert found["left"] == []


def test_defaults_and_annotations(inside: Callable[[str], dict[str, Any]]) -> None:
    """Without a path the unit has the id for its name; annotations set properties only for those who ask for it."""
    found = inside("defaults")
    assert found["False"] == {"Slice": "system.slice", "CollectMode": "inactive"}
    assert found["True"] == {"Slice": "system.slice", "CollectMode": "inactive-or-failed"}
    for path in ("no-such-form", "nope:a:b", "-.slice:a:b/c", "a--b.slice:x:y"):
        assert "$.linux.cgroupsPath" in found[path]
    assert found["left"] == []


def test_hostile_state(inside: Callable[[str], dict[str, Any]]) -> None:
    """A state that names a unit of somebody else does not end it."""
    found = inside("hostile")
    assert found["ActiveState"] == "active"
    assert found["left"] == []


def test_no_systemd(root: Path, bundle: Path, container_id: str) -> None:
    """Where no systemd runs, an error says so and nothing is made."""
    if Path("/run/systemd/private").exists():
        pytest.fail("this host runs systemd as its first process; the test needs one that does not")
    with pytest.raises(NotSupportedError, match="systemd could not be reached"):
        runtime.create(root, container_id, bundle, options=CreateOptions(systemd_cgroup=True))
    assert not root.exists()


@pytest.mark.parametrize(
    ("path", "full_name", "cgroup"),
    [
        ("", "ocikit-id.scope", "system.slice/ocikit-id.scope"),
        ("machine.slice:libpod:abc", "libpod-abc.scope", "machine.slice/libpod-abc.scope"),
        (":p:n", "p-n.scope", "system.slice/p-n.scope"),
        ("a-b-c.slice:p:n", "p-n.scope", "a.slice/a-b.slice/a-b-c.slice/p-n.scope"),
        ("-.slice:p:n", "p-n.scope", "p-n.scope"),
        ("user.slice::x.slice", "x.slice", "user.slice/x.slice"),
    ],
)
def test_names(path: str, full_name: str, cgroup: str) -> None:
    """A unit's name and cgroup follow from slice, prefix and name."""
    unit = names.unit_of(path, "id", of_user=False)
    assert (unit.full_name, unit.path) == (full_name, cgroup)


@pytest.mark.parametrize(
    "path", ["/a/b", "a.slice:b", "a.scope:b:c", "a..slice/x:b:c", "-a.slice:b:c", "a.slice:b:", ":b:c d"]
)
def test_wrong_names(path: str) -> None:
    """What is no name of a unit is refused."""
    with pytest.raises(ValidationError, match="cgroupsPath"):
        names.unit_of(path, "id", of_user=False)


def test_bus_label() -> None:
    """Objects of the bus are named with letters and digits only."""
    assert names.bus_label("inside-1.scope") == "inside_2d1_2escope"
    assert names.bus_label("1a") == "_31a"


def test_limits_as_properties() -> None:
    """Limits become properties, each in the unit that systemd counts in."""
    resources = LinuxResources(
        memory=LinuxMemory(limit=1000, swap=1500, reservation=500),
        cpu=LinuxCPU(shares=1024, quota=50000, period=100000, cpus="0-1,9"),
        pids=LinuxPids(limit=-1),
    )
    found = properties.limits(resources, device_rules(()), {("c", 136): "pts"}, v2=True)
    assert found["MemoryMax"] == Variant("t", 1000)
    assert found["MemorySwapMax"] == Variant("t", 500)
    assert found["MemoryLow"] == Variant("t", 500)
    assert found["CPUQuotaPerSecUSec"] == Variant("t", 500_000)
    assert found["CPUWeight"] == Variant("t", 100)
    assert found["TasksMax"] == Variant("t", 2**64 - 1)
    assert found["AllowedCPUs"] == Variant("ay", [3, 2])
    assert found["DevicePolicy"] == Variant("s", "strict")
    assert ("char-pts", "rwm") in found["DeviceAllow"].value
    assert ("/dev/char/1:3", "rwm") in found["DeviceAllow"].value
    everything = device_rules((LinuxDeviceCgroup(allow=True, access="rwm"),))
    assert properties.limits(None, everything, {}, v2=True) == {"DevicePolicy": Variant("s", "auto")}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", Variant("b", 1)),
        ("'a b'", Variant("s", "a b")),
        ('"x"', Variant("s", "x")),
        ("uint64 5", Variant("t", 5)),
        ("-3", Variant("i", -3)),
        ("['a', 'b']", Variant("as", ["a", "b"])),
        ("[]", Variant("as", [])),
    ],
)
def test_annotation_values(text: str, value: Variant) -> None:
    """Values of annotations are read in the notation that runc and crun take."""
    assert properties.annotated({"org.systemd.property.Some": text, "other": "x"}) == {"Some": value}


def test_annotation_seconds() -> None:
    """A time in seconds is told in microseconds."""
    assert properties.annotated({"org.systemd.property.TimeoutStopSec": "2.5"}) == {
        "TimeoutStopUSec": Variant("t", 2_500_000)
    }


@pytest.mark.parametrize("text", ["", "yes", "'a", "uint64 x", "[1]", "uint64 1.5", "@as []"])
def test_wrong_annotation_values(text: str) -> None:
    """What cannot be read is refused, and named."""
    with pytest.raises(ValidationError, match="Some"):
        properties.annotated({"org.systemd.property.Some": text})
