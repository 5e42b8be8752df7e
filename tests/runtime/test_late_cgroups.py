"""What is made while init is: init does nothing before it is there, and nobody is left when it cannot be made."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from launching import default_spec, make_rootfs, run_plan

from ocikit import _sys, runtime
from ocikit.errors import CgroupError, SetupError
from ocikit.runtime.cgroups.hierarchies import detect, place
from ocikit.runtime.launch import Launch, launch
from ocikit.runtime.plan.compiler import Surroundings, compile_plan
from ocikit.runtime.plan.steps import Op, Plan, Sync, ask
from ocikit.spec import LinuxNamespace, LinuxResources, Spec

if TYPE_CHECKING:
    from collections.abc import Callable


class RefusalError(Exception):
    """What the tests refuse to make something with."""


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """Return a bundle with a root of busybox."""
    make_rootfs(tmp_path / "rootfs")
    return tmp_path


def start(plan: Plan, meanwhile: Callable[[], object]) -> Launch:
    """Start a plan with nothing but what it needs to come to its first steps."""
    null = os.open("/dev/null", os.O_RDWR)
    try:
        return launch(plan, stdio=(null, null, null), passed={}, meanwhile=meanwhile)
    finally:
        os.close(null)


def with_network(spec: Spec, path: str) -> Spec:
    """Return a configuration that joins a network namespace by path."""
    assert spec.linux is not None
    kept = tuple(one for one in spec.linux.namespaces if one.type != "network")
    return attrs.evolve(
        spec, linux=attrs.evolve(spec.linux, namespaces=(*kept, LinuxNamespace(type="network", path=path)))
    )


def test_init_waits_for_what_it_joins(unpacked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that init writes itself into may appear long after init: it is written all the same."""
    tasks = unpacked / "tasks"

    def make_late() -> None:
        time.sleep(0.1)  # without a wait, init would be at the file in a hundredth of that
        tasks.write_bytes(b"")

    def launch_late(*args: Any, **options: Any) -> Launch:
        return launch(*args, **options, meanwhile=make_late)

    monkeypatch.setattr("launching.launch", launch_late)
    ran = run_plan(unpacked, default_spec("true"), late_cgroups=True, cgroup_join=(str(tasks),))
    assert ran.code == 0
    assert tasks.read_bytes() == b"0"


def test_nobody_is_left_when_it_cannot_be_made(unpacked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong in making it is raised as it is; helper and init are ended and reaped by then."""
    started: list[int] = []
    start_helper = _sys.start_helper

    def refuse() -> None:
        raise RefusalError

    def noting(process: _sys.Spawned, fds: list[int]) -> None:
        start_helper(process, fds)
        started.append(process.pid)

    plan = compile_plan(default_spec("true"), Surroundings(bundle=str(unpacked), late_cgroups=True))
    monkeypatch.setattr(_sys, "start_helper", noting)
    with pytest.raises(RefusalError):
        start(plan, refuse)
    assert len(started) == 1
    assert not os.path.exists(f"/proc/{started[0]}")
    with pytest.raises(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | 0x4000_0000)


def test_a_helper_that_fails_meanwhile_says_why(unpacked: Path) -> None:
    """Nobody is there any more to be told to go on; what counts is what the helper said before it ended."""
    spec = with_network(default_spec("true"), str(unpacked / "no-such-namespace"))
    plan = compile_plan(spec, Surroundings(bundle=str(unpacked), late_cgroups=True))
    with pytest.raises(SetupError, match="network namespace") as caught:
        start(plan, lambda: time.sleep(0.05))
    assert caught.value.errno == errno.ENOENT


def test_nothing_is_asked_for_by_a_step_that_only_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for nothing, and says so, is no helper of ours."""
    monkeypatch.setattr(_sys.Inbox, "step", 0)
    monkeypatch.setattr(_sys.Inbox, "answer", 0)
    started = Launch(Plan((ask("wait", Sync.NOTHING),)), {})
    with pytest.raises(SetupError, match="interfered"):
        started._asked(_sys.Inbox())


def test_it_is_the_first_thing_that_is_waited_for(unpacked: Path) -> None:
    """The word to go on is said before anybody asks for one: nobody else may take it."""
    plan = compile_plan(default_spec("true"), Surroundings(bundle=str(unpacked), late_cgroups=True))
    waits = [step for step in plan.steps if step.op in {Op.SYNC, Op.READY, Op.BIND, Op.CONSOLE}]
    assert (waits[0].op, waits[0].arguments[0]) == (Op.SYNC, Sync.NOTHING)
    joining = [number for number, step in enumerate(plan.steps) if step.action == "join cgroup"]
    assert all(plan.steps.index(waits[0]) < number for number in joining)


def test_a_limit_that_is_refused_leaves_nothing(
    root: Path, make_bundle: Callable[..., Path], container_id: str
) -> None:
    """A container whose limits the kernel refuses while init is being made is none: no cgroup, no state, no process."""
    made = make_bundle("true")
    resources = LinuxResources.from_dict({"cpu": {"cpus": "4090-4091"}})
    spec = Spec.from_json((made / "config.json").read_bytes()).with_linux(resources=resources)
    with pytest.raises(CgroupError, match="cpus"):
        runtime.create(root, container_id, made, spec=spec)
    assert not (root / container_id).exists()
    assert not any(container_id in names for _, names, _ in os.walk("/sys/fs/cgroup"))


@pytest.mark.parametrize("moment", ["before", "in the middle", "after"])
def test_who_is_killed_while_both_are_made(root: Path, bundle: Path, container_id: str, moment: str) -> None:
    """Init ends when its creator does, whatever was made by then; and that is found by the note of it, and removed."""
    script = (
        "import os, signal, sys; from ocikit import runtime\n"
        "from ocikit.runtime.cgroups import placement\n"
        "moment, report, *rest = sys.argv[1:]\n"
        "die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "make = placement.Placement.make\n"
        "def make_and_die(self, made):\n"
        "    for one in os.listdir('/proc/self/task'):\n"
        "        with open(report, 'a') as file:\n"
        "            file.write(' ' + open(f'/proc/self/task/{one}/children').read())\n"
        "    if moment == 'before': die()\n"
        "    if moment == 'in the middle': placement.cgroup_limits.limit_devices = die\n"
        "    make(self, made)\n"
        "    die()\n"
        "placement.Placement.make = make_and_die\n"
        "runtime.create(*rest, stdin='null')\n"
    )
    report = root.with_name("children")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    python = os.path.realpath("/proc/self/exe")
    command = [python, "-c", script, moment, str(report), str(root), container_id, str(bundle)]
    done = subprocess.run(command, check=False, env=environment)
    assert done.returncode == -signal.SIGKILL
    started = set(report.read_text().split())
    assert started or detect().v2_only  # there, all cgroups come first
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() and comm(pid).startswith("ocikit") for pid in started):
        assert time.monotonic() < deadline, f"{started} have not ended with their creator"
        time.sleep(0.01)
    assert runtime.list_containers(root) == []
    assert runtime.stop_and_remove(root, prefix=container_id).removed == (container_id,)
    assert not any(os.path.exists(path) for path in place(detect(), "", container_id).values())


def comm(pid: str) -> str:
    """Return what a living process is called; nothing for one that has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if state.rpartition(")")[2].split()[0] in {"Z", "X"} else state[state.index("(") + 1 :]
