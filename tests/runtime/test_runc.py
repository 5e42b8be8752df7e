"""One state root, both ways: what runc made is ours, and what we made is runc's."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ocikit import runtime
from ocikit.errors import ExistError, NotExistError, PausedError, RunningError
from ocikit.runtime import Status
from ocikit.spec import LinuxNamespace, LinuxResources

if TYPE_CHECKING:
    from collections.abc import Callable

    from peer_runc import Runc

#: All namespaces of the default configuration but that of process ids.
SHARED_PIDS = tuple(LinuxNamespace(type=name) for name in ("network", "ipc", "uts", "mount"))


def cgroups_of(root: Path, container_id: str) -> list[str]:
    """Return the cgroups that a state names."""
    return list(json.loads((root / container_id / "state.json").read_bytes())["cgroup_paths"].values())


# ----------------------------------------------------------------------------------------------- of runc, used by us


def test_a_created_container_of_runc(runc: Runc, root: Path, bundle: Path, container_id: str) -> None:
    """It is loaded, listed, started, signalled, waited for and destroyed."""
    runc.create(container_id, bundle)
    container = runtime.load(root, container_id)
    assert [one.id for one in runtime.list_containers(root)] == [container_id]
    assert (container.bundle, container.status()) == (str(bundle), Status.CREATED)
    assert container.oci_state().pid == container.pid
    with pytest.raises(ExistError):
        runtime.create(root, container_id, bundle)
    container.start()
    assert (container.status(), runc.status(container_id)) == (Status.RUNNING, "running")
    assert container.processes() == [container.pid]
    with pytest.raises(RunningError):
        container.destroy()
    container.signal(signal.SIGKILL)
    ended = container.wait(30)
    assert ended.signal == signal.SIGKILL or not ended.known  # kernels before 6.15 tell only the parent
    assert (container.status(), runc.status(container_id)) == (Status.STOPPED, "stopped")
    paths = cgroups_of(root, container_id)
    container.destroy()
    assert not (root / container_id).exists()
    assert not any(map(os.path.exists, paths))
    assert container_id not in runc("list").stdout


@pytest.mark.parametrize("state", ["created", "running", "paused", "stopped"])
def test_a_container_of_runc_in_every_state_is_destroyed(
    runc: Runc, root: Path, bundle: Path, container_id: str, state: str
) -> None:
    """Whatever it is doing, runc and we agree on it, and by force it goes."""
    runc.create(container_id, bundle)
    if state != "created":
        runc("start", container_id)
    if state == "paused":
        runc("pause", container_id)
    if state == "stopped":
        runc("kill", container_id, "KILL")
        runtime.load(root, container_id).wait(30)
    container = runtime.load(root, container_id)
    assert container.status() == state == runc.status(container_id)
    if state == "paused":
        with pytest.raises(PausedError):
            container.destroy()
        with pytest.raises(PausedError, match="paused state"):
            container.start()
    paths = cgroups_of(root, container_id)
    container.destroy(force=True)
    assert not (root / container_id).exists()
    assert not any(map(os.path.exists, paths))
    assert not Path(f"/proc/{container.pid}/root/bin/busybox").exists()


def test_a_paused_container_of_runc_is_killed(runc: Runc, root: Path, bundle: Path, container_id: str) -> None:
    """A frozen process dies at once, and does not wait for somebody to thaw it."""
    runc.create(container_id, bundle)
    runc("start", container_id)
    runc("pause", container_id)
    container = runtime.load(root, container_id)
    container.kill()
    container.wait(30)
    assert runc.status(container_id) == "stopped"


def test_a_container_of_runc_that_shares_its_pids(
    runc: Runc, root: Path, make_bundle: Callable[..., Path], container_id: str
) -> None:
    """What outlives the first process is found by its cgroup, and ends with the container."""
    bundle = make_bundle("sh", "-c", "sleep 1000 & exec sleep 2000", linux={"namespaces": SHARED_PIDS})
    runc.create(container_id, bundle)
    runc("start", container_id)
    container = runtime.load(root, container_id)
    while len(container.processes()) < 2:
        os.sched_yield()
    os.kill(container.pid, signal.SIGKILL)
    container.wait(30)
    (orphan,) = container.processes()
    container.destroy()
    assert not Path(f"/proc/{orphan}/exe").exists()
    assert not (root / container_id).exists()


def test_what_runc_deleted_is_gone(runc: Runc, root: Path, bundle: Path, container_id: str) -> None:
    """An object of a container that somebody else deleted says so, and does nothing."""
    runc.create(container_id, bundle)
    container = runtime.load(root, container_id)
    runc("delete", "--force", container_id)
    assert container.status() is Status.STOPPED
    container.destroy()
    with pytest.raises(NotExistError):
        container.start()
    with pytest.raises(NotExistError):
        runtime.load(root, container_id)


# ----------------------------------------------------------------------------------------------- of ours, used by runc


def test_a_container_of_ours(runc: Runc, root: Path, created: runtime.Container) -> None:
    """Runc lists, starts, enters, pauses, kills and deletes it."""
    assert runc.status(created.id) == "created"
    assert f"{created.id} " in runc("list").stdout
    runc("start", created.id)
    assert (created.status(), runc.status(created.id)) == (Status.RUNNING, "running")
    inside = runc("exec", created.id, "sh", "-c", "echo $$; cat /proc/self/cgroup /proc/self/status").stdout
    assert inside.split()[0] != "1"
    assert created.id in inside
    assert "NoNewPrivs:\t1" in inside
    assert json.loads(runc("ps", "--format", "json", created.id).stdout) == [created.pid]
    runc("pause", created.id)
    assert (created.status(), runc.status(created.id)) == (Status.PAUSED, "paused")
    runc("resume", created.id)
    runc("kill", created.id, "KILL")
    assert created.wait(30).signal == signal.SIGKILL
    assert runc.status(created.id) == "stopped"
    paths = cgroups_of(root, created.id)
    runc("delete", created.id)
    assert not (root / created.id).exists()
    assert not any(map(os.path.exists, paths))
    assert created.status() is Status.STOPPED


def test_runc_starts_nothing_twice(runc: Runc, created: runtime.Container) -> None:
    """A container that we started is started for runc, too."""
    created.start()
    assert "cannot start an already running container" in runc("start", created.id, check=False).stdout


def test_runc_keeps_limits_that_we_set(
    runc: Runc, root: Path, make_bundle: Callable[..., Path], container_id: str
) -> None:
    """Runc applies all limits of a state again when it updates one of them."""
    resources = LinuxResources.from_dict({"memory": {"limit": 64 << 20}, "pids": {"limit": 33}})
    with runtime.create(root, container_id, make_bundle(linux={"resources": resources})) as container:
        runc("update", "--pids-limit", "44", container_id)
        paths = json.loads((root / container_id / "state.json").read_bytes())["cgroup_paths"]
        memory = "memory/memory.limit_in_bytes" if "memory" in paths else "/memory.max"
        pids = "pids/pids.max" if "pids" in paths else "/pids.max"
        values = []
        for name in (memory, pids):
            key, _, file = name.partition("/")
            values.append(int(Path(paths[key], file).read_text()))
        assert values == [64 << 20, 44]
        assert runtime.load(root, container_id).pid == container.pid
        container.destroy()
        assert not any(map(os.path.exists, paths.values()))


#: Parts of the configuration in a state that have to be the same, whoever writes them.
SAME = "hostname labels namespaces mask_paths readonly_paths no_new_privileges rootfs readonlyfs mounts capabilities"


def test_states_have_what_runc_writes(
    runc: Runc, root: Path, make_bundle: Callable[..., Path], new_id: Callable[[], str]
) -> None:
    """Of one configuration, our state and runc's say the same, but for what no two containers have in common."""
    denied = {"allow": False, "access": "rwm"}
    resources = LinuxResources.from_dict({"memory": {"limit": 1 << 26}, "devices": [denied]})
    bundle = make_bundle(annotations={"a": "b"}, linux={"resources": resources})
    theirs_id, ours_id = new_id(), new_id()
    runc.create(theirs_id, bundle)
    with runtime.create(root, ours_id, bundle, stdin="null"):
        theirs, ours = (read_state(root / name, name) for name in (theirs_id, ours_id))
    assert ours.keys() == theirs.keys()
    assert ours["cgroup_paths"] == theirs["cgroup_paths"]
    assert ours["namespace_paths"].keys() == theirs["namespace_paths"].keys()
    config, expected = ours["config"], theirs["config"]
    for key in SAME.split():
        assert (key, without_empty(config[key])) == (key, without_empty(expected[key]))
    for one, other in ((config["devices"], expected["devices"]), (config["cgroups"], expected["cgroups"])):
        assert rules(one) == rules(other)
    assert config["rlimits"] == [{"type": 7, "hard": 1024, "soft": 1024}]
    assert config["cgroups"]["memory"] == expected["cgroups"]["memory"] == 1 << 26
    assert config["cgroups"]["name"] == expected["cgroups"]["name"] == "ID"


def read_state(directory: Path, name: str) -> dict[str, Any]:
    """Return a state with the id of its container made anonymous."""
    found: dict[str, Any] = json.loads((directory / "state.json").read_text().replace(name, "ID"))
    return found


def rules(found: Any) -> list[str]:
    """Return the rules for devices, in an order of their own."""
    return sorted(json.dumps(rule, sort_keys=True) for rule in (found["devices"] if isinstance(found, dict) else found))


def without_empty(value: Any) -> Any:
    """Return what says something: runc 1.1 writes every field, set or not."""
    if isinstance(value, dict):
        return {key: without_empty(one) for key, one in value.items() if one not in (None, "", 0, [])}
    return [without_empty(one) for one in value] if isinstance(value, list) else value
