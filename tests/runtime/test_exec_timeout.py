"""A further process is ended with everything that it started, whatever that does to be left alone."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ocikit import runtime
from ocikit.errors import LimitExceededError, RunTimeoutError
from ocikit.runtime.cgroups.branch import PREFIX, Branch
from ocikit.spec import LinuxNamespace

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 30.0

QUIET: dict[str, Any] = {"stdin": "null", "stdout": "null", "stderr": "null"}

#: Double-forks into sessions of their own, which ignore signals and fill their pipe; and does the same itself.
STUBBORN = """
trap '' TERM HUP INT QUIT PIPE
echo begin
for i in 1 2 3; do
    ( (trap '' TERM HUP; while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done) & )
done
while :; do sleep 1000; done
"""


def branches(container: runtime.Container) -> list[Path]:
    """Return the cgroups that further processes of a container have."""
    return [found for path in container._record.cgroup_paths.values() for found in Path(path).glob(f"{PREFIX}*")]


def test_everything_is_gone_in_time(running: runtime.Container) -> None:
    """When the time is up, nobody is left, and what was written until then is returned."""
    process = running.exec(["sh", "-c", STUBBORN], stdin="null", stdout="pipe", stderr="pipe")
    began = time.monotonic()
    with pytest.raises(RunTimeoutError, match="all that it started") as caught:
        process.communicate(timeout=0.5, output_limit=1 << 40)
    assert running.processes() == [running.pid]
    assert time.monotonic() - began < PATIENCE
    assert caught.value.stdout.startswith(b"begin\n")
    assert caught.value.stdout.count(b"x" * 66) > 100
    assert process.wait(0).signal == 9
    assert branches(running) == []
    process.close()


def test_a_pipe_that_nobody_reads(running: runtime.Container) -> None:
    """Who blocks on a full pipe is ended like everybody else."""
    with running.exec(["sh", "-c", STUBBORN], stdin="null", stdout="pipe", stderr="null"):
        while len(running.processes()) < 5:
            time.sleep(0.01)
    assert running.processes() == [running.pid]
    assert branches(running) == []


def test_too_much_output(running: runtime.Container) -> None:
    """A limit of the output ends all who write it."""
    with (
        running.exec(["sh", "-c", STUBBORN], stdin="null", stdout="pipe") as process,
        pytest.raises(LimitExceededError, match="output_limit"),
    ):
        process.communicate(output_limit=100_000)
    assert running.processes() == [running.pid]


def test_what_is_left_behind_goes_on(running: runtime.Container) -> None:
    """A process that ends by itself may leave something running, which is the container's from then on."""
    with running.exec(["sh", "-c", "sleep 1000 & exit 3"], **QUIET) as process:
        assert process.wait(PATIENCE).exit_code == 3
    assert len(running.processes()) == 2
    assert len(branches(running)) == 1
    process.kill_all()
    assert running.processes() == [running.pid]


def test_each_has_a_cgroup(running: runtime.Container) -> None:
    """Two processes are ended apart from each other, and their cgroups go with them."""
    with running.exec(["sleep", "1000"], **QUIET) as one:
        with running.exec(["sh", "-c", "sleep 1000 & wait"], **QUIET) as other:
            assert len({path.name for path in branches(running)}) == 2
            other.kill_all()
            assert other.wait(PATIENCE).signal == 9
        assert one.poll() is None
        assert len(branches(running)) == 1
    assert branches(running) == []
    assert running.exec(["true"], **QUIET).wait(PATIENCE).exit_code == 0
    assert branches(running) == []


def test_without_a_cgroup(running: runtime.Container, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no cgroup can be made, those are ended who descend from the process by parents that live."""
    monkeypatch.setattr(Branch, "make", lambda *_: None)
    script = "trap '' TERM; (trap '' TERM; sh -c 'sleep 1000 & wait' & wait) & sleep 1000 & wait"
    with running.exec(["sh", "-c", script], stdin="null", stdout="pipe") as process:
        assert branches(running) == []
        while len(running.processes()) < 5:
            time.sleep(0.01)
        with pytest.raises(RunTimeoutError):
            process.communicate(timeout=0.1)
    deadline = time.monotonic() + PATIENCE
    while running.processes() != [running.pid]:
        assert time.monotonic() < deadline, running.processes()
        time.sleep(0.01)


def test_in_a_shared_pid_namespace(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """Nobody else on the host is touched when all that a process started is killed."""
    kinds = ("mount", "network", "ipc", "uts")
    bundle = make_bundle(linux={"namespaces": tuple(LinuxNamespace(type=kind) for kind in kinds)})
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        container.start()
        with container.exec(["sh", "-c", STUBBORN], **QUIET) as process:
            while len(container.processes()) < 5:
                time.sleep(0.01)
            process.kill_all()
            assert container.processes() == [container.pid]
            assert os.getpid() not in container.processes()


def test_many_timeouts_leave_nothing(running: runtime.Container) -> None:
    """A service that lets processes time out again and again does not fill up with their remains."""
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(10):
        process = running.exec(["sh", "-c", STUBBORN], stdin="null", stdout="pipe")
        with process, pytest.raises(RunTimeoutError):
            process.communicate(timeout=0.02, output_limit=1 << 40)
    assert running.processes() == [running.pid]
    assert branches(running) == []
    assert set(os.listdir("/proc/self/fd")) == before


def test_those_who_leave_their_cgroup(running: runtime.Container) -> None:
    """A process that has gone to another cgroup is ended, too, with those who are still its descendants."""
    process = running.exec(["sh", "-c", "sleep 1000 & echo begin; wait"], stdin="null", stdout="pipe", stderr="null")
    assert process.stdout is not None
    assert process.stdout.readline() == b"begin\n"
    (branch,) = branches(running)
    for pid in (branch / "cgroup.procs").read_text().split():
        (branch.parent / "cgroup.procs").write_text(pid)
    with pytest.raises(RunTimeoutError):
        process.communicate(timeout=0.1)
    assert running.processes() == [running.pid]
    process.close()


def test_those_in_a_paused_container(running: runtime.Container, monkeypatch: pytest.MonkeyPatch) -> None:
    """A time that is up is a RunTimeoutError also when the killed die only after the pause."""
    monkeypatch.setattr("ocikit.runtime.cgroups.tree._KILL_TIME", 0.2)
    process = running.exec(["sh", "-c", "echo begin; sleep 1000"], stdin="null", stdout="pipe", stderr="null")
    running.pause()
    try:
        with pytest.raises(RunTimeoutError) as caught:
            process.communicate(timeout=0.1)
        assert caught.value.stdout in {b"", b"begin\n"}
    finally:
        running.resume()
    assert process.wait(PATIENCE).signal == 9
    process.close()


def test_names_are_not_foreseen(running: runtime.Container) -> None:
    """The cgroup of a further process has a name that no other process takes, in whatever pid namespace that is."""
    names = set()
    for _ in range(3):
        with running.exec(["sleep", "1000"], **QUIET):
            names |= {branch.name for branch in branches(running)}
    assert len(names) == 3
    assert all(len(name) > len(PREFIX) + 9 for name in names)
