"""Cgroups of users without privileges: those that were delegated to them, and going without."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from rootless_calls import V2_ONLY, failure, output, spec_of

from ocikit import runtime
from ocikit.errors import CgroupError
from ocikit.runtime.events import Exited
from ocikit.spec import LinuxResources

if TYPE_CHECKING:
    from as_user import User


def limit(container_id: str, cgroups_path: str = "") -> list[Any]:
    """Create a container without limits, and try to create one with."""
    resources = LinuxResources.from_dict({"memory": {"limit": 64 << 20}, "pids": {"limit": 20}})
    script = "ls /sys/fs/cgroup | grep -c . ; mkdir /sys/fs/cgroup/x 2>/dev/null || echo refused"
    printed = output(container_id, spec_of("sh", "-c", script))
    refused = failure(container_id, spec_of(linux={"resources": resources, "cgroups_path": cgroups_path}))
    return [printed, refused]


def test_without_delegation_there_is_no_cgroup(user: User, container_id: str) -> None:
    """A container without limits does without; it sees no cgroup of the host; a limit is an error that says why."""
    printed, refused = user.call(limit, container_id)
    assert printed.split() == ["0", "refused"]
    assert refused[0] == "CgroupError"
    assert "$.linux.resources.memory.limit" in refused[1]
    if V2_ONLY:
        assert "run this program in a cgroup that is delegated to the user" in refused[1]
    else:
        assert "for the controller 'memory' of cgroup v1, which is not delegated" in refused[1]


def ask_without_cgroup(container_id: str) -> list[str]:
    """Ask a container without a cgroup for all that would take one; return what the answers are."""
    answers = []
    with runtime.create(None, container_id, Path.home() / "bundle", spec=spec_of()) as container:
        container.start()
        container.update(LinuxResources())  # nothing is asked for
        for ask in (
            container.stats,
            container.pause,
            lambda: container.update(LinuxResources.from_dict({"memory": {"limit": 64 << 20}})),
            lambda: container.watch_memory().__enter__(),
            lambda: container.watch_stalls().__enter__(),
            lambda: container.events(pressure=("cpu",)),
            lambda: container.exec(["true"], cgroup="below"),
        ):
            try:
                ask()
            except CgroupError as error:
                answers.append(str(error))
        assert container.status() == "running"
        with container.events() as stream:
            container.kill()
            assert [event.status.signal for event in stream if isinstance(event, Exited)] == [signal.SIGKILL]
    return answers


def test_what_takes_a_cgroup_says_that_there_is_none(user: User, container_id: str) -> None:
    """Statistics, pauses, limits, watches and places of further processes: the error is not about the host.

    How it ended is an event all the same.
    """
    answers = user.call(ask_without_cgroup, container_id)
    assert len(answers) == 7
    for answer in answers:
        assert f"container {container_id} has no cgroup of its own: users without privileges" in answer


def test_a_cgroup_that_is_named_has_to_be_made(user: User, container_id: str) -> None:
    """With cgroupsPath there is no going without."""
    _, refused = user.call(limit, container_id, f"/{container_id}")
    assert refused[0] == "CgroupError"
    assert "remove linux.cgroupsPath" in refused[1]


def live_in_cgroup(container_id: str) -> dict[str, Any]:
    """Look at a container's cgroups, kill everything in them, and look at what is left."""
    linux: dict[str, Any] = {}
    if V2_ONLY:
        linux["resources"] = LinuxResources.from_dict(
            {"memory": {"limit": 64 << 20}, "pids": {"limit": 20}, "devices": [{"allow": False, "access": "rwm"}]}
        )
    spec = spec_of("sh", "-c", "cat /sys/fs/cgroup/memory.max; sleep 1000 & wait", linux=linux)
    with runtime.create(None, container_id, Path.home() / "bundle", spec=spec, stdout="pipe") as container:
        state = json.loads(Path(runtime.default_root(), container_id, "state.json").read_bytes())
        (path,) = state["cgroup_paths"].values()
        container.start()
        while len(container.processes()) < 2:
            os.sched_yield()
        found = {"path": path, "processes": len(container.processes())}
        if V2_ONLY:
            assert container.stdout is not None
            found["limits"] = [(Path(path) / name).read_text().strip() for name in ("memory.max", "pids.max")]
            found["seen"] = container.stdout.readline().decode().strip()
        container.pause()
        found["paused"] = container.status()
        container.resume()
        container.kill(whole_cgroup=True)
        container.wait(30)
    found["left"] = os.path.exists(path)
    return found


def test_a_cgroup_that_is_delegated(user: User, container_id: str, delegated: Path) -> None:
    """It is made beside or below that of the process, with its limits where there are controllers, and removed."""
    found = user.call(live_in_cgroup, container_id, cgroup=delegated)
    above = delegated.parent if V2_ONLY else delegated
    assert found["path"] == f"{above}/{container_id}"
    assert found["processes"] == 2
    assert found["paused"] == "paused"
    assert not found["left"]
    if V2_ONLY:
        assert found["limits"] == [str(64 << 20), "20"]


def write_to_cgroups(container_id: str) -> str:
    """Have a cgroup mount that is not asked to be read-only, without a cgroup namespace, and write to it."""
    spec = spec_of("sh", "-c", "mkdir /sys/fs/cgroup/new 2>/dev/null || echo refused; find /sys/fs/cgroup -type d")
    assert spec.linux is not None
    kept = tuple(one for one in spec.linux.namespaces if one.type != "cgroup")
    mounts = tuple(attrs.evolve(one, options=()) if one.type == "cgroup" else one for one in spec.mounts)
    return output(container_id, attrs.evolve(spec.with_linux(namespaces=kept), mounts=mounts))


def test_the_cgroups_of_the_user_are_out_of_reach(user: User, container_id: str, delegated: Path) -> None:
    """What was delegated to the user is the user's, who is root of the container: it sees and writes none of it."""
    lines = user.call(write_to_cgroups, container_id, cgroup=delegated).split()
    assert lines == ["refused", "/sys/fs/cgroup"]
    assert [one.name for one in delegated.parent.iterdir() if one.is_dir()] == ["inner"]


def ask_for_controllers(container_id: str) -> list[list[str]]:
    """Ask for limits that need controllers one has not."""
    asked = ({"cpu": {"shares": 100}}, {"memory": {"limit": 64 << 20}})
    return [failure(container_id, spec_of(linux={"resources": LinuxResources.from_dict(one)})) for one in asked]


def test_a_controller_that_is_not_delegated(user: User, container_id: str, delegated: Path) -> None:
    """The error names the controller, what the user has, and how to get it."""
    cpu, memory = user.call(ask_for_controllers, container_id, cgroup=delegated)
    assert cpu[0] == "CgroupError"
    if V2_ONLY:
        assert "the controller 'cpu' is not delegated to user 54321, who has memory, pids in" in cpu[1]
        assert "Delegate=" in cpu[1]
        assert memory == []
    else:
        assert "of cgroup v1, which is not delegated" in cpu[1]
        assert memory[0] == "CgroupError"


def test_a_cgroup_with_processes_has_no_limits_below_it(user: User, container_id: str, delegated: Path) -> None:
    """Right in the cgroup that was delegated, nothing can be limited (on v2), and the error says so."""
    _, memory = user.call(ask_for_controllers, container_id, cgroup=delegated.parent)
    if V2_ONLY:
        assert f"there are processes in {delegated.parent}, hence no limits" in memory[1]
    else:
        assert memory[0] == "CgroupError"
