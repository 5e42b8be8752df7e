"""Further processes are where the container is counted and limited, or in a cgroup of their own below it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cgroup_host import HOST, V2, state
from executing import output

from ocikit import runtime
from ocikit.errors import CgroupError, SetupError, ValidationError
from ocikit.runtime.cgroups import ownership as cgroup_ownership
from ocikit.runtime.cgroups.branch import PREFIX, Branch
from ocikit.runtime.cgroups.hierarchies import UNIFIED
from ocikit.spec import LinuxPids, LinuxResources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

QUIET: dict[str, Any] = {"stdin": "null", "stdout": "null", "stderr": "null"}


@pytest.fixture
def running(created: runtime.Container) -> Iterator[runtime.Container]:
    """Give a container of ours whose program sleeps, and remove the cgroups that a test makes below its own."""
    created.start()
    yield created
    created.kill()
    created.wait()


def paths(container: runtime.Container) -> dict[str, Path]:
    """Return the cgroups of a container, by controller."""
    return {key: Path(path) for key, path in state(container)["cgroup_paths"].items()}


def make_below(path: Path, name: str) -> Path:
    """Make a cgroup below another one, in which something can run."""
    below = path / name
    below.mkdir()
    for file in ("cpuset.cpus", "cpuset.mems"):
        if not V2 and (path / file).exists():
            (below / file).write_text((path / file).read_text())
    return below


def members(pid: int) -> dict[str, str]:
    """Return the cgroups that a process is in, of those that containers are put into."""
    return {key: path for key, path in cgroup_ownership.members(pid).items() if key in HOST.by_key}


def test_a_cgroup_below_that_of_the_container(running: runtime.Container) -> None:
    """It is in the one that is named, in every hierarchy."""
    for path in set(paths(running).values()):
        make_below(path, "below")
    with running.exec(["sleep", "1000"], cgroup="below", **QUIET) as process:
        assert members(process.pid) == {key: f"{path}/below" for key, path in paths(running).items()}
        assert process.pid in running.processes()


def test_a_cgroup_for_one_controller(running: runtime.Container) -> None:
    """With names of controllers, it is where it is told to be in these, and where the container is in the others."""
    key = UNIFIED if V2 else "pids"
    make_below(paths(running)[key], "below")
    with running.exec(["sleep", "1000"], cgroup={key: "below"}, **QUIET) as process:
        found = members(process.pid)
        assert found.pop(key) == f"{paths(running)[key]}/below"
        assert found == {other: str(path) for other, path in paths(running).items() if other != key}


@pytest.mark.parametrize(
    ("cgroup", "error", "words"),
    [
        ("..", ValidationError, "bad sub cgroup path"),
        ("below/../..", ValidationError, "bad sub cgroup path"),
        ({"nosuch": "below"}, ValidationError, "nosuch"),
        ("nosuch", (CgroupError, SetupError), "adding pid .* to cgroups at .*nosuch.*No such file"),
    ],
)
def test_cgroups_that_are_none(
    running: runtime.Container, cgroup: Any, error: type[Exception] | tuple[type[Exception], ...], words: str
) -> None:
    """It never gets out of the container's cgroups, and into none that does not exist."""
    with pytest.raises(error, match=words):
        running.exec(["true"], cgroup=cgroup)
    assert running.processes() == [running.pid]


def test_where_the_first_process_went(running: runtime.Container, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the container has divided its cgroup, a further process without its own is with the first one."""
    for path in set(paths(running).values()):
        (make_below(path, "init") / "cgroup.procs").write_text(str(running.pid))
    if V2:
        (paths(running)[UNIFIED] / "cgroup.subtree_control").write_text("+pids")
    with running.exec(["sleep", "1000"], **QUIET) as process:
        # A cgroup of its own is room enough.
        assert {key: path.partition(f"/{PREFIX}")[0] for key, path in members(process.pid).items()} == {
            key: str(path) for key, path in paths(running).items()
        }
    monkeypatch.setattr(Branch, "make", lambda *_: None)
    with running.exec(["sleep", "1000"], **QUIET) as process:
        expected = {key: f"{path}/init" if V2 else str(path) for key, path in paths(running).items()}
        if UNIFIED in expected:
            found = members(process.pid)
            assert found[UNIFIED] in {expected[UNIFIED], str(paths(running)[UNIFIED])}
        if V2:
            assert members(process.pid) == expected


def test_a_limit_of_processes(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """A container that may not have another process gets none, and the error says why."""
    resources = LinuxResources(pids=LinuxPids(limit=1))
    with runtime.create(root, container_id, make_bundle(linux={"resources": resources}), stdin="null") as container:
        container.start()
        with pytest.raises(SetupError, match="limit of processes") as caught:
            container.exec(["true"])
        assert caught.value.errno == 11
        assert container.processes() == [container.pid]


def test_what_it_uses_is_counted(running: runtime.Container) -> None:
    """What a further process starts is in the container's cgroups as well, and the attendant is not."""
    first = output(running, "cat", "/proc/1/cgroup")
    assert re.sub(rf"/{PREFIX}[-0-9]+", "", output(running, "sh", "-c", "cat /proc/self/cgroup")) == first
    with running.exec(["sh", "-c", "sleep 1000 & wait"], **QUIET) as process:
        while len(running.processes()) < 3:
            os.sched_yield()
        assert {running.pid, process.pid} < set(running.processes())
        assert len(running.processes()) == 3
