"""Groups of resctrl: what would be made, written and compared. No machine of ours has the hardware to show more.

The file system is a directory tree of the test; what the kernel makes in a new group, the test makes before.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ocikit import runtime
from ocikit.errors import SetupError, UnsupportedFieldError, ValidationError
from ocikit.runtime.cgroups import rdt
from ocikit.runtime.cgroups.placement import find_place
from ocikit.runtime.limits import limits as limits_of
from ocikit.runtime.stats import Stats, collect, runc_json
from ocikit.spec import LinuxIntelRdt, LinuxResources

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocikit.spec import Spec

ROOT = "L3:0=fffff;1=fffff\nMB:0=100;1=100\n"


@pytest.fixture
def resctrl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a tree like that of resctrl, with a group that somebody else made."""
    root = tmp_path / "resctrl"
    for name in ("info/L3", "info/MB", "mon_groups", "gold/mon_groups", "gold/mon_data/mon_L3_00", "mon_data"):
        (root / name).mkdir(parents=True)
    for name in ("", "gold"):
        (root / name / "schemata").write_text(ROOT)
        (root / name / "tasks").write_text("")
    (root / "info/L3/cbm_mask").write_text("fffff\n")
    (root / "info/L3/num_closids").write_text("16\n")
    (root / "info/MB/min_bandwidth").write_text("10\n")
    (root / "info/last_cmd_status").write_text("the kernel says why\n")
    (root / "gold/mon_data/mon_L3_00/llc_occupancy").write_text("4096\n")
    (root / "gold/mon_data/mon_L3_00/mbm_total_bytes").write_text("77\n")
    (root / "gold/mon_data/mon_L3_00/mbm_local_bytes").write_text("Unavailable\n")
    monkeypatch.setattr(rdt, "mounted_at", lambda: str(root))
    return root


def asked(**fields: Any) -> LinuxIntelRdt:
    """Return a configuration."""
    return LinuxIntelRdt.from_dict(fields)


def test_machines_without_it(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """Without a mounted resctrl, a container that needs one is not made, and the error says what to do."""
    assert rdt.mounted_at() is None
    bundle = make_bundle(linux={"intel_rdt": asked(closID="gold")})
    with pytest.raises(UnsupportedFieldError, match="mount -t resctrl") as caught:
        runtime.create(root, container_id, bundle)
    assert caught.value.path == "$.linux.intelRdt"
    assert not (root / container_id).exists()


@pytest.mark.parametrize(
    ("field", "feature"), [({"l3CacheSchema": "L3:0=f"}, "L3"), ({"memBwSchema": "MB:0=50"}, "MB")]
)
def test_machines_with_a_part_of_it(resctrl: Path, field: dict[str, str], feature: str) -> None:
    """What the hardware cannot limit is refused by name."""
    for name in os.listdir(resctrl / "info" / feature):
        (resctrl / "info" / feature / name).unlink()
    (resctrl / "info" / feature).rmdir()
    with pytest.raises(UnsupportedFieldError, match=f"intelRdt.{next(iter(field))}"):
        rdt.find_group(asked(**field), "c")


NAMES = {
    "its own": ({}, "c", True, False),
    "its own, with lines": ({"schemata": ["L3:0=f"]}, "c", True, False),
    "of somebody else": ({"closID": "gold"}, "gold", False, True),
    "of somebody else, with lines": ({"closID": "gold", "schemata": ["L3:0=f"]}, "gold", False, False),
    "the default one": ({"closID": "/"}, "", False, True),
}


@pytest.mark.parametrize(("fields", "name", "own", "must_exist"), NAMES.values(), ids=NAMES)
def test_which_group_it_is(fields: dict[str, Any], name: str, *, own: bool, must_exist: bool) -> None:
    """The one that the configuration names, or one with the container's id; only the latter goes with it."""
    group = rdt.plan_group(asked(**fields), "c", "/r")
    assert (group.path, group.own, group.must_exist) == (f"/r/{name}".rstrip("/"), own, must_exist)
    assert group.tasks == (f"{group.path}/tasks",)
    assert group.to_make() == (("/r/c",) if own else ())


def test_lines_are_written_in_their_order() -> None:
    """The cache first, then bandwidth, then what the configuration has in full."""
    fields = asked(memBwSchema="MB:0=20", l3CacheSchema="L3:0=f", schemata=["L2:0=1", "L3:1=ff"])
    group = rdt.plan_group(fields, "c", "/r")
    assert group.schemata == ("L3:0=f", "MB:0=20", "L2:0=1", "L3:1=ff")
    assert group.expected == ("L3:0=f", "MB:0=20")


def test_monitoring_has_a_group_of_its_own() -> None:
    """It is below that of the class, has the container's id, goes with it, and is joined last."""
    group = rdt.plan_group(asked(closID="gold", enableMonitoring=True), "c", "/r")
    assert group.tasks == ("/r/gold/tasks", "/r/gold/mon_groups/c/tasks")
    assert group.to_make() == ("/r/gold/mon_groups/c",)


@pytest.mark.parametrize("name", [".", "..", "a/b", "../x", "info", "mon_groups", "mon_data", "a\nb"])
def test_names_that_are_no_groups(name: str) -> None:
    """A name leads to no other directory, whether it is that of a class or of the container."""
    for fields, container_id in ((asked(closID=name), "c"), (asked(), name)):
        with pytest.raises(ValidationError, match=r"intelRdt\.closID"):
            rdt.plan_group(fields, container_id, "/r")


def test_lines_are_lines() -> None:
    """A line break would be another line, about something else."""
    for fields in ({"l3CacheSchema": "L3:0=f\nMB:0=1"}, {"schemata": ["L3:0=f\n"]}):
        with pytest.raises(ValidationError, match="line break"):
            rdt.plan_group(asked(**fields), "c", "/r")


@pytest.mark.parametrize(
    ("line", "same"),
    [
        ("L3:0=fffff", True),
        ("L3:1=00FFFFF;0=fffff", True),
        ("MB:0=100", True),
        ("  MB: 0= 100;1=100 ", True),
        ("L3:0=ff", False),
        ("L3:2=fffff", False),
        ("L2:0=f", False),
        ("MB:0=10", False),
    ],
)
def test_schemata_are_compared_by_what_they_mean(line: str, *, same: bool) -> None:
    """Zeros in front, spaces and order say nothing; a line may speak of some domains only."""
    assert rdt.mismatch(ROOT, [line]) == (None if same else line)


def test_a_group_of_somebody_else_is_joined(resctrl: Path) -> None:
    """It stays as it is, when it is as the configuration says."""
    group = rdt.plan_group(asked(closID="gold"), "c", str(resctrl))
    rdt.make(group)
    assert (resctrl / "gold/schemata").read_text() == ROOT
    rdt.make(rdt.plan_group(asked(closID="gold", l3CacheSchema="L3:0=fffff"), "c", str(resctrl)))
    rdt.remove(group.to_make(), "c")
    assert (resctrl / "gold").is_dir()


def test_a_group_of_somebody_else_that_is_another(resctrl: Path) -> None:
    """Values that are not those of the configuration are an error, and not overwritten."""
    with pytest.raises(SetupError, match=r"other values than 'MB:0=10'"):
        rdt.make(rdt.plan_group(asked(closID="gold", memBwSchema="MB:0=10"), "c", str(resctrl)))
    assert (resctrl / "gold/schemata").read_text() == ROOT


def test_a_group_that_has_to_be_there(resctrl: Path) -> None:
    """Without lines to give it, a group that does not exist cannot be made."""
    with pytest.raises(SetupError, match="has to exist"):
        rdt.make(rdt.plan_group(asked(closID="silver"), "c", str(resctrl)))
    assert not (resctrl / "silver").exists()


def test_groups_are_made_and_removed(resctrl: Path) -> None:
    """The container's own group and its monitoring group are made, and only those with its id are removed."""
    fields = asked(enableMonitoring=True)
    group = rdt.plan_group(fields, "c", str(resctrl))
    made = group.to_make()
    assert made == (f"{resctrl}/c", f"{resctrl}/c/mon_groups/c")
    (resctrl / "c/mon_groups").mkdir(parents=True)  # of a new group, the kernel makes this
    rdt.make(group)
    assert (resctrl / "c/mon_groups/c").is_dir()
    (resctrl / "other").mkdir()
    rdt.remove((f"{resctrl}/other", str(resctrl), "/etc", *made[1:]), "c")
    assert (resctrl / "other").is_dir()
    assert not (resctrl / "c/mon_groups/c").exists()


def test_what_the_kernel_says_is_told(resctrl: Path) -> None:
    """Its error numbers say little; the file system says more."""
    with pytest.raises(SetupError, match="the kernel says why"):
        rdt.make(rdt.plan_group(asked(schemata=["L3:0=f"]), "c", str(resctrl)))  # a new group without its files


def test_written_lines(resctrl: Path) -> None:
    """All lines are written at once, so that the kernel takes all of them or none; what was there is returned."""
    before = rdt.change(f"{resctrl}/gold", asked(l3CacheSchema="L3:0=f;1=f", memBwSchema="MB:0=20;1=30"))
    assert before == tuple(ROOT.splitlines())
    assert (resctrl / "gold/schemata").read_text().startswith("L3:0=f;1=f\nMB:0=20;1=30\n")
    with pytest.raises(UnsupportedFieldError, match="no group"):
        rdt.change("/etc", asked(l3CacheSchema="L3:0=f"))


def test_a_container_joins_its_groups(resctrl: Path, make_spec: Callable[..., Spec], container_id: str) -> None:
    """Its first process writes itself into them, after its cgroups."""
    spec = make_spec(linux={"intel_rdt": asked(closID="gold", enableMonitoring=True)})
    place = find_place(spec, container_id, systemd=False)
    gold = f"{resctrl}/gold"
    assert place.joined_by_write[-2:] == (f"{gold}/tasks", f"{gold}/mon_groups/{container_id}/tasks")
    assert place.rdt_own == (f"{gold}/mon_groups/{container_id}",)
    assert place.writes == limits_of(spec.linux.resources if spec.linux else None, place.hierarchies)


def test_a_container_in_a_group(resctrl: Path, root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """It writes itself into the tasks, its state has the keys of runc, and its statistics those of the group."""
    bundle = make_bundle(linux={"intel_rdt": asked(closID="gold", l3CacheSchema="L3:0=fffff")})
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        assert (resctrl / "gold/tasks").read_text() == "0"
        state = json.loads(Path(root, container_id, "state.json").read_bytes())
        assert state["intel_rdt_path"] == f"{resctrl}/gold"
        assert state["config"]["intel_rdt"] == {"closID": "gold", "l3_cache_schema": "L3:0=fffff"}
        found = container.stats().intel_rdt
        assert found is not None
        assert found.monitoring["mon_L3_00"] == {"llc_occupancy": 4096, "mbm_total_bytes": 77}
        container.update(LinuxResources(), intel_rdt=asked(l3CacheSchema="L3:0=f;1=ffff"))
        assert (resctrl / "gold/schemata").read_text().startswith("L3:0=f;1=ffff\n")
        state = json.loads(Path(root, container_id, "state.json").read_bytes())
        assert state["config"]["intel_rdt"]["l3_cache_schema"] == "L3:0=f;1=ffff"
    assert (resctrl / "gold").is_dir()


def test_an_own_group_goes_with_its_container(
    resctrl: Path, root: Path, make_bundle: Callable[..., Path], container_id: str
) -> None:
    """It was written down before it was made, and is removed with the container."""
    (resctrl / "gold/mon_groups" / container_id).mkdir()
    bundle = make_bundle(linux={"intel_rdt": asked(closID="gold")})
    with runtime.create(root, container_id, bundle, stdin="null"):
        own = Path(root, container_id, "ocikit.json")
        document = json.loads(own.read_bytes())
        assert document["rdt_groups"] == []
        document["rdt_groups"] = [f"{resctrl}/gold/mon_groups/{container_id}", f"{resctrl}/gold", "/etc"]
        own.write_text(json.dumps(document))
    assert not (resctrl / "gold/mon_groups" / container_id).exists()
    assert (resctrl / "gold").is_dir()


def test_statistics_in_the_words_of_runc(resctrl: Path) -> None:
    """Schemata of the group and of the default one, what the hardware has, and what was counted."""
    (resctrl / "gold/schemata").write_text("L3:0=f;1=f\nMB:0=20;1=20\n")
    found: Stats = collect({}, intel_rdt=rdt.rdt_stats(f"{resctrl}/gold", ""))
    assert runc_json(found)["intel_rdt"] == {
        "l3_cache_info": {"cbm_mask": "fffff", "num_closids": 16},
        "l3_cache_schema_root": "L3:0=fffff;1=fffff",
        "l3_cache_schema": "L3:0=f;1=f",
        "mem_bw_info": {"min_bandwidth": 10},
        "mem_bw_schema_root": "MB:0=100;1=100",
        "mem_bw_schema": "MB:0=20;1=20",
        "schemata": ["L3:0=f;1=f", "MB:0=20;1=20"],
        "mbm_stats": [{"mbm_total_bytes": 77, "mbm_local_bytes": 0}],
        "cmt_stats": [{"llc_occupancy": 4096}],
    }
    assert rdt.rdt_stats("/etc", "") is None
    assert rdt.rdt_stats("", "") is None
