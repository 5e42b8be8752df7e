"""Where cgroups are, whose they are, and that they are made, limited, emptied and removed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ocikit.errors import CgroupError, ValidationError
from ocikit.runtime.cgroups import freezer
from ocikit.runtime.cgroups import limiting as cgroup_limits
from ocikit.runtime.cgroups import setup as cgroup_setup
from ocikit.runtime.cgroups import tree as cgroup_tree
from ocikit.runtime.cgroups.hierarchies import UNIFIED, Hierarchies, Hierarchy, detect, parse, place
from ocikit.runtime.cgroups.ownership import judge, members
from ocikit.runtime.limits import Write

if TYPE_CHECKING:
    from collections.abc import Iterator

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:3 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
42 31 0:39 / /sys/fs/cgroup/odd rw,relatime - cgroup cgroup rw,name=other
43 31 0:32 / /mnt/again rw,relatime - cgroup cgroup rw,memory
"""
HYBRID_OWN = "5:name=systemd:/\n4:memory:/a/b\n3:cpu,cpuacct:/\n0::/user\n"

PURE = "29 16 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"

#: ocikit in a container of Docker without a cgroup namespace: the root of what is mounted is not the root.
NESTED = "50 49 0:32 /docker/abc /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory\n"


def test_hybrid_hosts() -> None:
    """Every controller is found under its own key, those mounted together at one place; foreign hierarchies are not."""
    found = parse(HYBRID, HYBRID_OWN)
    assert not found.v2_only
    assert set(found.by_key) == {"cpu", "cpuacct", "memory", "name=systemd", UNIFIED}
    assert found.by_key["cpuacct"].mountpoint == "/sys/fs/cgroup/cpu,cpuacct"
    assert found.by_key["memory"] == Hierarchy("/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/a/b")
    assert found.by_key[UNIFIED].own == "/sys/fs/cgroup/unified/user"


def test_pure_v2_hosts() -> None:
    """One hierarchy for everything is v2."""
    found = parse(PURE, "0::/init.scope\n")
    assert found.v2_only
    assert found.by_key[UNIFIED].own == "/sys/fs/cgroup/init.scope"


def test_a_host_without_cgroups() -> None:
    """None mounted is none found."""
    assert parse("22 27 0:21 / /proc rw - proc proc rw\n", "") == Hierarchies({})


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("/docker/abc", ""),
        ("/docker/abc/x", "/x"),
        ("/docker/abcdef", ""),
        ("/", ""),
        ("/../else", ""),
    ],
)
def test_nested_mounts(own: str, expected: str) -> None:
    """Where only a part of a hierarchy is mounted, this process is found in it, or taken to be at its top."""
    found = parse(NESTED, f"4:memory:{own}\n").by_key["memory"]
    assert found.own == "/sys/fs/cgroup/memory" + expected


def test_mount_points_with_spaces() -> None:
    """The kernel writes them in octal."""
    found = parse("1 1 0:1 / /mnt/a\\040b rw - cgroup2 cgroup2 rw\n", "0::/\n")
    assert found.by_key[UNIFIED].mountpoint == "/mnt/a b"


@pytest.mark.parametrize(
    ("cgroups_path", "memory", "unified"),
    [
        ("", "/sys/fs/cgroup/memory/a/b/id", "/sys/fs/cgroup/unified/user/id"),
        ("/x/y", "/sys/fs/cgroup/memory/x/y", "/sys/fs/cgroup/unified/x/y"),
        ("x/y", "/sys/fs/cgroup/memory/a/b/x/y", "/sys/fs/cgroup/unified/user/x/y"),
        ("../../x", "/sys/fs/cgroup/memory/a/b/x", "/sys/fs/cgroup/unified/user/x"),
        ("/../x//y/", "/sys/fs/cgroup/memory/x/y", "/sys/fs/cgroup/unified/x/y"),
    ],
)
def test_places_are_those_of_runc(cgroups_path: str, memory: str, unified: str) -> None:
    """An absolute path starts at the top of each hierarchy, every other one where this process is."""
    places = place(parse(HYBRID, HYBRID_OWN), cgroups_path, "id")
    assert (places["memory"], places[UNIFIED]) == (memory, unified)


def test_places_of_v2_are_beside_us() -> None:
    """A v2 cgroup with processes in it has no limited ones below: a container goes beside this process."""
    assert place(parse(PURE, "0::/a/b\n"), "", "id") == {UNIFIED: "/sys/fs/cgroup/a/id"}
    assert place(parse(PURE, "0::/\n"), "", "id") == {UNIFIED: "/sys/fs/cgroup/id"}
    assert place(parse(PURE, "0::/a/b\n"), "/x", "id") == {UNIFIED: "/sys/fs/cgroup/x"}


@pytest.mark.parametrize("path", ["/", ".", "..", "/..", "/a", "/a/b", "/user"])
def test_no_container_is_put_where_we_are(path: str) -> None:
    """The root of a hierarchy, our own cgroup and those above it are nobody's container."""
    with pytest.raises(ValidationError, match="cgroupsPath"):
        place(parse(HYBRID, HYBRID_OWN), path, "id")


def test_what_is_no_path_is_no_place() -> None:
    """It is refused with its place in the configuration, before the kernel would see half of it."""
    with pytest.raises(ValidationError, match=r"^\$.linux.cgroupsPath: no path has a NUL character in it, found '/a"):
        place(parse(PURE, "0::/\n"), "/a\0b", "id")


# ---------------------------------------------------------------------------------------------------------- ownership

MEMORY = "/sys/fs/cgroup/memory"


@pytest.mark.parametrize(
    ("path", "verdict"),
    [
        (f"{MEMORY}", "refused"),
        (f"{MEMORY}/", "refused"),
        (f"{MEMORY}/a", "refused"),
        (f"{MEMORY}/a/b", "refused"),
        (f"{MEMORY}/a/b/../../x", "refused"),
        (f"{MEMORY}//x", "refused"),
        ("/sys/fs/cgroup", "refused"),
        ("/sys/fs/cgroup/cpu,cpuacct/x", "refused"),
        ("/etc", "refused"),
        ("/", "refused"),
        (f"{MEMORY}/victim", "unproven"),
        (f"{MEMORY}/a/other", "unproven"),
        (f"{MEMORY}/a/b/x", "unproven"),
        (f"{MEMORY}/a/b/id", "proven"),
        (f"{MEMORY}/x/id", "proven"),
        (f"{MEMORY}/planned", "proven"),
        (f"{MEMORY}/lived", "proven"),
    ],
)
def test_whose_a_cgroup_is(path: str, verdict: str) -> None:
    """A state may name anything; what is killed needs a proof, and nothing above us is ever touched."""
    claims = judge(
        {"memory": path},
        parse(HYBRID, HYBRID_OWN),
        container_id="id",
        planned={"memory": f"{MEMORY}/planned", "cpu": f"{MEMORY}/victim"},
        lived_in={"memory": f"{MEMORY}/lived/below"},
    )
    found = {"proven": claims.proven, "unproven": claims.unproven, "refused": claims.refused}
    assert [name for name, content in found.items() if content] == [verdict]


def test_a_hierarchy_that_is_not_mounted() -> None:
    """What no hierarchy has cannot be a cgroup."""
    claims = judge({"rdma": "/x/id"}, parse(HYBRID, HYBRID_OWN), container_id="id", planned={}, lived_in={})
    assert list(claims.refused) == ["/x/id"]


def test_members_of_this_process_are_its_own_cgroups() -> None:
    """What is found for a process is what is found for this one."""
    found = detect()
    assert members(os.getpid()) == {key: hierarchy.own for key, hierarchy in found.by_key.items()}
    assert members(2**22) == {}


# -------------------------------------------------------------------------------------------------------- the kernel


@pytest.fixture
def paths(container_id: str) -> Iterator[dict[str, str]]:
    """Give the places of a container, and remove what is there in the end."""
    places = place(detect(), "", container_id)
    yield places
    cgroup_tree.kill(places)
    cgroup_tree.remove(places.values())


def sleeper(*directories: str) -> subprocess.Popen[bytes]:
    """Start a process in some cgroups."""
    script = "".join(f"echo 0 > {directory}/cgroup.procs; " for directory in directories)
    # It says when it is there.
    process = subprocess.Popen(["/bin/sh", "-c", f"{script} echo; exec sleep 1000"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    return process


def end(*processes: subprocess.Popen[bytes]) -> None:
    """End processes, if they have not ended, and reap them."""
    for process in processes:
        process.kill()
        process.wait()


def test_cgroups_are_made_and_removed(paths: dict[str, str]) -> None:
    """Every directory is there, and gone; a cpuset has CPUs; making and removing twice is nothing."""
    made: list[str] = []
    for _ in range(2):
        cgroup_setup.make(paths, detect(), made)
    assert sorted(made) == sorted(set(paths.values()))
    assert all(Path(path).is_dir() for path in paths.values())
    if "cpuset" in paths:
        assert Path(paths["cpuset"], "cpuset.cpus").read_text().strip()
    for _ in range(2):
        cgroup_tree.remove(paths.values())
    assert not any(Path(path).exists() for path in paths.values())


def test_parents_go_with_the_last_of_them(container_id: str) -> None:
    """Directories above that were not there before are removed, unless somebody else is in them by then."""
    hierarchies = detect()
    first = place(hierarchies, f"/{container_id}/first", "x")
    second = place(hierarchies, f"/{container_id}/second", "x")
    parents = cgroup_setup.missing_parents(first.values(), hierarchies)
    assert {Path(parent).name for parent in parents} == {container_id}
    cgroup_setup.make(first, hierarchies, [])
    cgroup_setup.make(second, hierarchies, [])
    cgroup_tree.remove(first.values(), parents)
    assert all(Path(path).is_dir() for path in second.values())
    cgroup_tree.remove(second.values(), parents)
    assert not any(Path(parent).exists() for parent in parents)


def test_a_cgroup_in_use_is_nobody_elses(paths: dict[str, str]) -> None:
    """Where processes are, no container is made."""
    cgroup_setup.make(paths, detect(), [])
    process = sleeper(*set(paths.values()))
    try:
        with pytest.raises(CgroupError, match="container's cgroup is not empty"):
            cgroup_setup.check_free(paths)
        with pytest.raises(CgroupError, match="container's cgroup is not empty"):
            cgroup_setup.make(paths, detect(), [])
    finally:
        end(process)


def test_a_cgroup_in_use_is_not_removed(paths: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Removal names what is still in the cgroup."""
    monkeypatch.setattr(cgroup_tree, "_REMOVE_TIME", 0.01)
    cgroup_setup.make(paths, detect(), [])
    process = sleeper(*set(paths.values()))
    try:
        with pytest.raises(CgroupError, match=str(process.pid)):
            cgroup_tree.remove(paths.values())
    finally:
        end(process)


def test_cgroups_nested_deeper_than_a_path_is_long(paths: dict[str, str]) -> None:
    """Whoever hides in the depths is found, and removed with what was dug."""
    key = "freezer" if "freezer" in paths else UNIFIED
    cgroup_setup.make({key: paths[key]}, detect(), [])
    process = sleeper()
    fd = os.open(paths[key], os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("deeper", dir_fd=fd)
        below = os.open("deeper", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    try:
        procs = os.open("cgroup.procs", os.O_WRONLY, dir_fd=fd)
        os.write(procs, str(process.pid).encode())
        os.close(procs)
        assert cgroup_tree.processes(paths[key]) == [process.pid]
        cgroup_tree.kill({key: paths[key]})
        assert process.wait() == -9
    finally:
        end(process)
        os.close(fd)
        cgroup_tree.remove([paths[key]])
    assert not os.path.exists(paths[key])


def test_everything_below_is_killed(paths: dict[str, str]) -> None:
    """Processes in the cgroup and in cgroups that the container made in it end, and nobody else does."""
    cgroup_setup.make(paths, detect(), [])
    deeper = [f"{path}/deeper" for path in set(paths.values())]
    for path in deeper:
        cgroup_setup._make_one(path, inherit="cpuset" in path)
    here, below, outside = sleeper(*set(paths.values())), sleeper(*deeper), sleeper()
    try:
        one = next(iter(paths.values()))
        assert cgroup_tree.processes(one) == sorted([here.pid, below.pid])
        cgroup_tree.kill(paths)
        assert here.wait() == below.wait() == -9
        assert outside.poll() is None
        cgroup_tree.remove(paths.values())
    finally:
        end(here, below, outside)


def test_frozen_processes_are_killed(paths: dict[str, str]) -> None:
    """What is frozen is seen to be, and dies all the same."""
    cgroup_setup.make(paths, detect(), [])
    process = sleeper(*set(paths.values()))
    try:
        assert not freezer.frozen(paths)
        freezer.freeze(paths)
        assert freezer.frozen(paths)
        cgroup_tree.kill(paths)
        assert process.wait() == -9
        freezer.thaw(paths)
        assert not freezer.frozen(paths)
    finally:
        end(process)


def test_processes_are_killed_without_help_of_v2(paths: dict[str, str]) -> None:
    """Where cgroup.kill does not exist, each process is killed on its own."""
    v1 = {key: path for key, path in paths.items() if key != UNIFIED} or paths
    cgroup_setup.make(paths, detect(), [])
    processes = [sleeper(*set(paths.values())) for _ in range(5)]
    try:
        cgroup_tree._kill_each(v1, list(v1.values()))
        assert [process.wait() for process in processes] == [-9] * 5
    finally:
        end(*processes)


def test_a_limit_of_a_missing_controller_is_an_error(paths: dict[str, str]) -> None:
    """A limit that cannot be set is never left out."""
    cgroup_setup.make(paths, detect(), [])
    with pytest.raises(CgroupError, match=r"set \$\.x.*not mounted"):
        cgroup_limits.apply(paths, [Write("nosuch", "no.such", "1", "$.x")])
    with pytest.raises(CgroupError, match=r"set \$\.x.*controller"):
        cgroup_limits.apply(paths, [Write(next(iter(paths)), "no.such", "1", "$.x")])


def test_a_limit_that_the_kernel_refuses_is_an_error(paths: dict[str, str]) -> None:
    """The error has the field and the value."""
    cgroup_setup.make(paths, detect(), [])
    key = "pids" if "pids" in paths else UNIFIED
    with pytest.raises(CgroupError, match=r"set \$\.linux\.resources\.pids\.limit.*'many'"):
        cgroup_limits.apply(paths, [Write(key, "pids.max", "many", "$.linux.resources.pids.limit")])
