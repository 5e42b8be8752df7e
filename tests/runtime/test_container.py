"""The life of a container of ours: created, started, watched, signalled, waited for, destroyed."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ocikit import runtime
from ocikit.errors import (
    BundleError,
    CgroupError,
    ExistError,
    InvalidIDError,
    NotExistError,
    NotRunningError,
    OCIKitError,
    RunningError,
    SetupError,
    ValidationError,
)
from ocikit.runtime import Status
from ocikit.runtime.cgroups.hierarchies import detect, place
from ocikit.spec import LinuxNamespace, LinuxResources

if TYPE_CHECKING:
    from collections.abc import Callable


def is_gone(root: Path, container: runtime.Container) -> bool:
    """Tell whether nothing is left of a container."""
    places = place(detect(), "", container.id).values()
    return not (root / container.id).exists() and not any(map(os.path.exists, places)) and not is_alive(container.pid)


def is_alive(pid: int) -> bool:
    """Tell whether there is a process, if only to be reaped."""
    return os.path.exists(f"/proc/{pid}")


def test_the_whole_life(root: Path, obedient: Path, container_id: str) -> None:
    """A container goes from created over running to stopped, and leaves nothing."""
    with runtime.create(root, container_id, obedient, stdin="null") as container:
        assert (container.id, container.root, container.bundle) == (container_id, str(root), str(obedient))
        assert container.status() is Status.CREATED
        assert container.state().pid == container.pid
        container.start()
        assert container.status() is Status.RUNNING
        assert container.pid in container.processes()
        with pytest.raises(TimeoutError, match="has not ended"):
            container.wait(0.01)
        time.sleep(0.05)  # let the shell set its trap
        container.signal(signal.SIGTERM)
        ended = container.wait(30)
        assert (ended.exit_code, ended.signal) == (3, None)
        assert container.status() is Status.STOPPED
        state = container.state()
        assert (state.pid, state.exit_status) == (None, ended)
        assert state.created is not None
        assert state.started is not None
        assert state.finished is not None
        assert state.created <= state.started <= state.finished
    assert is_gone(root, container)


def test_the_state_of_the_specification(created: runtime.Container) -> None:
    """Its fields are those of runtime.md, and it is valid."""
    state = created.oci_state()
    assert (state.id, state.status, state.pid, state.bundle) == (created.id, "created", created.pid, created.bundle)
    assert state.validate() == ()


def test_annotations_are_kept(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """What the configuration says of a container is found again, whoever loads it."""
    annotations = {"org.example.name": "a=b", "other": ""}
    with runtime.create(root, container_id, make_bundle(annotations=annotations)) as container:
        assert container.annotations == runtime.load(root, container_id).annotations == annotations
        assert container.oci_state().annotations == annotations


def test_a_signal_ends_a_container(created: runtime.Container) -> None:
    """Death by a signal is no exit code, and nobody makes one up."""
    created.start()
    created.kill()
    ended = created.wait(30)
    assert (ended.exit_code, ended.signal) == (None, signal.SIGKILL)
    assert ended.known


def test_what_cannot_be_done(created: runtime.Container) -> None:
    """Each state of a container refuses what makes no sense in it, with an error of its own."""
    created.signal(0)
    created.start()
    with pytest.raises(RunningError, match="cannot start an already running container"):
        created.start()
    with pytest.raises(RunningError, match="not stopped: running"):
        created.destroy()
    created.kill()
    created.wait(30)
    with pytest.raises(NotRunningError, match="cannot start a container that has stopped"):
        created.start()
    with pytest.raises(NotRunningError, match="container not running"):
        created.signal(signal.SIGTERM)
    with pytest.raises(NotRunningError, match="container not running"):
        created.kill()
    assert created.processes() == []
    created.destroy()
    created.destroy()
    with pytest.raises(NotExistError):
        created.start()
    assert created.status() is Status.STOPPED


@pytest.mark.parametrize("number", [-1, 65, 1000])
def test_signals_that_do_not_exist(created: runtime.Container, number: int) -> None:
    """A number that is no signal is an error of the caller's."""
    with pytest.raises(ValueError, match="signal"):
        created.signal(number)


def test_a_created_container_is_destroyed(root: Path, created: runtime.Container) -> None:
    """What waits for start is killed without being forced."""
    created.destroy()
    assert is_gone(root, created)


def test_an_id_is_taken_once(root: Path, bundle: Path, created: runtime.Container) -> None:
    """The second of two containers with one id is refused, and the first is none the worse."""
    with pytest.raises(ExistError, match="container with given ID already exists"):
        runtime.create(root, created.id, bundle)
    assert created.status() is Status.CREATED


CLASS_ID = LinuxResources.from_dict({"network": {"classID": 1}})
TINY_QUOTA = LinuxResources.from_dict({"cpu": {"quota": 1, "period": 100000}})
JOINED = (LinuxNamespace(type="mount"), LinuxNamespace(type="pid", path="/nothing"))

REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "a limit that nobody has": ({"linux": {"resources": CLASS_ID}}, OCIKitError, r"network\.classID"),
    "a terminal and a pipe": ({"process": {"terminal": True}}, ValueError, "terminal of the process"),
    "the root cgroup": ({"linux": {"cgroups_path": "/"}}, ValidationError, "cgroupsPath"),
    "a limit that the kernel refuses": ({"linux": {"resources": TINY_QUOTA}}, CgroupError, r"cpu\.quota"),
    "no program": ({"process": {"args": ("/nothing/here",)}}, SetupError, "/nothing/here"),
    "no namespace": ({"linux": {"namespaces": JOINED}, "hostname": ""}, SetupError, "/nothing"),
    "a program that is none": ({"process": {"args": ("/etc/passwd",)}}, SetupError, "/etc/passwd"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_fails_leaves_nothing(
    root: Path, make_bundle: Callable[..., Path], container_id: str, case: tuple[dict[str, Any], type[Exception], str]
) -> None:
    """Whether it is refused before or fails in the middle, there is no container, cgroup or descriptor afterwards."""
    fields, error, text = case
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(error, match=text):
        runtime.create(root, container_id, make_bundle(**fields), stdin="pipe", stdout="pipe")
    assert not root.exists() or list(root.iterdir()) == []
    assert not any(map(os.path.exists, place(detect(), "", container_id).values()))
    gc.collect()
    assert len(set(os.listdir("/proc/self/fd"))) <= len(before) + 1  # the helper is kept


def test_a_bundle_without_configuration(root: Path, tmp_path: Path) -> None:
    """The error says what is missing from what."""
    with pytest.raises(BundleError, match=r"no config\.json"):
        runtime.create(root, "a", tmp_path)
    with pytest.raises(InvalidIDError):
        runtime.create(root, "a/b", tmp_path)
    with pytest.raises(ValueError, match="lifetime"):
        runtime.create(root, "a", tmp_path, lifetime="eternal")  # type: ignore[arg-type]


def test_limits_are_set(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """What the container finds in its cgroups is what the configuration says."""
    asked = {"memory": {"limit": 64 << 20}, "cpu": {"quota": 20000, "period": 100000}, "pids": {"limit": 33}}
    bundle = make_bundle(linux={"resources": LinuxResources.from_dict(asked)})
    files = {"memory": ("memory.limit_in_bytes", "memory.max"), "cpu": ("cpu.cfs_quota_us", "cpu.max")}
    with runtime.create(root, container_id, bundle):
        document = json.loads((root / container_id / "state.json").read_bytes())
        paths = document["cgroup_paths"]
        found = {}
        for name, (v1, v2) in {**files, "pids": ("pids.max", "pids.max")}.items():
            path = Path(paths[name], v1) if name in paths else Path(paths[""], v2)
            found[name] = int(path.read_text().split()[0])
        assert found == {"memory": 64 << 20, "cpu": 20000, "pids": 33}
        assert document["config"]["cgroups"]["memory"] == 64 << 20


def test_parents_of_cgroups_are_removed(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """The directories that a cgroupsPath needed, and did not find, go with the container."""
    with runtime.create(root, container_id, make_bundle(linux={"cgroups_path": f"/{container_id}/deep/er"})):
        pass
    assert not any(map(os.path.exists, place(detect(), f"/{container_id}", "x").values()))


# -------------------------------------------------------------------------------------------------------------- loaded


def test_a_loaded_container_is_the_same(root: Path, created: runtime.Container) -> None:
    """Whoever loads a container starts it, waits for it and knows how it ended."""
    loaded = runtime.load(root, created.id)
    assert (loaded.pid, loaded.status()) == (created.pid, Status.CREATED)
    loaded.start()
    assert created.status() is Status.RUNNING
    loaded.signal(signal.SIGKILL)
    assert created.wait(30) == loaded.wait(30)
    loaded.destroy()
    assert is_gone(root, created)


def test_leaving_a_loaded_container_destroys_nothing(root: Path, created: runtime.Container) -> None:
    """Only who created a container ends it with a block."""
    with runtime.load(root, created.id):
        pass
    assert created.status() is Status.CREATED


def test_detached_containers_stay(root: Path, bundle: Path, container_id: str) -> None:
    """A detached container outlives its block, its object and the process that created it."""
    script = (
        "import sys; from ocikit import runtime\n"
        "with runtime.create(*sys.argv[1:], lifetime='detached', stdin='null', stdout='null', stderr='null') as one:\n"
        "    one.start()\n"
    )
    python = os.path.realpath("/proc/self/exe")
    environment = os.environ | {"PYTHONPATH": ":".join(filter(None, __import__("sys").path))}
    subprocess.run([python, "-c", script, str(root), container_id, str(bundle)], check=True, env=environment)
    loaded = runtime.load(root, container_id)
    assert loaded.status() is Status.RUNNING
    loaded.kill()
    ended = loaded.wait(30)
    assert ended.signal == signal.SIGKILL or not ended.known  # kernels before 6.15 keep it to the one that reaps
    loaded.destroy()


def test_a_forgotten_container_is_destroyed(root: Path, bundle: Path, container_id: str) -> None:
    """A container lives as long as its object, unless it is detached."""
    container = runtime.create(root, container_id, bundle)
    pid = container.pid
    del container
    gc.collect()
    assert list(root.iterdir()) == []
    assert not is_alive(pid)


def test_a_container_ends_with_the_interpreter(root: Path, bundle: Path, container_id: str) -> None:
    """Also one that was created without a block, by a program that ends with an error."""
    script = "import sys; from ocikit import runtime; one = runtime.create(*sys.argv[1:]); one.start(); sys.exit(3)"
    python = os.path.realpath("/proc/self/exe")
    environment = os.environ | {"PYTHONPATH": ":".join(filter(None, __import__("sys").path))}
    done = subprocess.run([python, "-c", script, str(root), container_id, str(bundle)], check=False, env=environment)
    assert done.returncode == 3
    assert list(root.iterdir()) == []


def test_a_namesake_is_not_touched(root: Path, bundle: Path, container_id: str) -> None:
    """An object of a container that is gone has no power over a later one with the same id."""
    first = runtime.create(root, container_id, bundle)
    runtime.load(root, container_id).destroy(force=True)
    with runtime.create(root, container_id, bundle) as second:
        with pytest.raises(NotExistError):
            first.start()
        first.destroy(force=True)
        assert first.status() is Status.STOPPED
        assert first.wait(0).signal == signal.SIGKILL
        assert second.status() is Status.CREATED


def test_forked_children_destroy_nothing(root: Path, created: runtime.Container) -> None:
    """A child of this process that leaves the block, forgets the object or ends has no part in the container."""
    child = os.fork()
    if child == 0:
        try:
            created.__exit__()
            with created:
                created.status()
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert created.status() is Status.CREATED
    assert (root / created.id).exists()


def test_init_that_waits_holds_nothing_of_the_host(
    root: Path, make_bundle: Callable[..., Path], container_id: str
) -> None:
    """Whoever may trace an init that waits for start finds no directory with it that is not the container's."""
    bundle = make_bundle(linux={"sysctl": {"net.ipv4.ip_forward": "1"}, "masked_paths": ("/sys/firmware",) * 30})
    with runtime.create(root, container_id, bundle, stdin="null", stdout="null", stderr="null") as container:
        process = Path(f"/proc/{container.pid}")
        inside = {line.split()[0] for line in (process / "mountinfo").read_text().splitlines()}
        held = {}
        descriptors = list((process / "fd").iterdir())
        for fd in descriptors:
            mount = next(
                line.split()[1] for line in (process / "fdinfo" / fd.name).read_text().splitlines() if "mnt_id" in line
            )
            if fd.is_dir() and mount not in inside:
                held[os.readlink(fd)] = os.listdir(fd)
        # A procfs of the processes of the container, to open the fifo with; it has no kernel parameters.
        assert list(held) == ["/"]
        assert "sys" not in held["/"]
        assert "self" in held["/"]
        assert len(descriptors) < 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_end_what_is_not_started(created: runtime.Container, number: signal.Signals) -> None:
    """A created container is ended by the signals that end other processes, though it is the first of its namespace."""
    created.signal(number)
    assert created.wait(30).exit_code == 128 + number


def test_programs_have_their_signals(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """What init does with signals is no affair of its program."""
    done = runtime.run(root, container_id, make_bundle("grep", "-E", "Sig(Ign|Cgt|Blk)", "/proc/self/status"))
    assert {line.split()[1] for line in done.stdout.splitlines()} == {b"0" * 16}
