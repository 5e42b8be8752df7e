"""Stopping everything with a prefix: concurrently, whoever made it, and one failure keeps nobody else."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ocikit import runtime
from ocikit.errors import CgroupError, NotRunningError, StateError
from ocikit.runtime import Status, process, stopping
from ocikit.runtime.cgroups import setup as cgroup_setup
from ocikit.runtime.cgroups import tree as cgroup_tree
from ocikit.runtime.cgroups.hierarchies import detect, place
from ocikit.runtime.host import procfs

if TYPE_CHECKING:
    from collections.abc import Callable

    from peer_runc import Runc


def test_an_empty_prefix_is_refused(root: Path) -> None:
    """Nobody stops everything by forgetting to name something."""
    with pytest.raises(ValueError, match="all=True"):
        runtime.stop_and_remove(root, prefix="")
    assert not runtime.stop_and_remove(root, prefix="", all=True)
    for number in (0, -1, 65):
        with pytest.raises(ValueError, match="signal"):
            runtime.stop_and_remove(root, prefix="a", signal=number)


def test_a_missing_root_is_an_empty_report(tmp_path: Path) -> None:
    """No containers are nothing to stop, and nothing to complain about."""
    report = runtime.stop_and_remove(tmp_path / "nowhere", prefix="app_")
    assert (list(report), report.warnings, report.ok) == ([], (), True)


def test_an_unreadable_root_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be looked into is told and logged, and does not keep an application from ending."""
    (tmp_path / "file").touch()
    (tmp_path / "open").mkdir(0o777)
    (tmp_path / "open").chmod(0o777)
    for root in (tmp_path / "file", tmp_path / "open"):
        report = runtime.stop_and_remove(root, prefix="app_")
        assert len(report.warnings) == 1
        assert str(root) in report.warnings[0]
        assert not report.ok
        assert report.warnings[0] in caplog.text
        caplog.clear()


def test_everything_is_stopped(
    runc: Runc, bundle: Path, obedient: Path, new_id: Callable[[], str], caplog: pytest.LogCaptureFixture
) -> None:
    """Running, created, paused and stopped ones, ours and runc's, and no container with another prefix."""
    caplog.set_level(logging.INFO, "ocikit.runtime")
    root, prefix = runc.root, new_id()
    names = {what: f"{prefix}_{what}" for what in ("obedient", "created", "paused", "stopped", "runc", "runc-created")}
    bundles = {"obedient": obedient, "created": bundle, "paused": obedient, "stopped": bundle}
    other = runtime.create(root, new_id(), bundle)
    ours = {what: runtime.create(root, names[what], path, lifetime="detached") for what, path in bundles.items()}
    for what in ("obedient", "paused", "stopped"):
        ours[what].start()
    runc.create(names["runc"], obedient)
    runc("start", names["runc"])
    runc.create(names["runc-created"], bundle)
    ours["stopped"].kill()
    ours["stopped"].wait()
    time.sleep(0.2)  # let the shells set their traps
    runc("pause", names["paused"])
    report = runtime.stop_and_remove(root, prefix=f"{prefix}_", timeout=30)
    assert report.ok
    assert report.removed == tuple(outcome.id for outcome in report) == tuple(sorted(names.values()))
    outcomes = {outcome.id.removeprefix(f"{prefix}_"): outcome for outcome in report}
    assert {what for what, outcome in outcomes.items() if outcome.killed} == {"created", "runc-created"}
    for what in ("obedient", "paused"):
        status = outcomes[what].exit_status
        assert status is not None
        assert status.exit_code == 3
    assert all(f"container {name}: removed" in caplog.text for name in names.values())
    assert [one.id for one in runtime.list_containers(root)] == [other.id]
    assert other.status() is Status.CREATED
    other.destroy()


def test_those_that_do_not_listen_are_killed_together(
    root: Path, make_bundle: Callable[..., Path], new_id: Callable[[], str]
) -> None:
    """All of them share one deadline: ten that ignore the signal take no longer than one."""
    prefix = new_id()
    bundle = make_bundle("sh", "-c", "trap '' TERM; while :; do sleep 1; done")
    for number in range(10):
        runtime.create(root, f"{prefix}_{number}", bundle, lifetime="detached").start()
    began = time.monotonic()
    report = runtime.stop_and_remove(root, prefix=prefix, timeout=1)
    assert time.monotonic() - began < 8
    assert [(outcome.result, outcome.killed) for outcome in report] == [("removed", True)] * 10
    assert {outcome.exit_status.signal for outcome in report if outcome.exit_status} == {signal.SIGKILL}


def test_one_failure_keeps_nobody(
    root: Path,
    bundle: Path,
    new_id: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A damaged state and a cgroup that cannot be removed are outcomes, and the others are removed."""
    prefix = new_id()
    for name in ("a", "c", "d"):
        runtime.create(root, f"{prefix}_{name}", bundle, lifetime="detached")
    (root / f"{prefix}_b").mkdir(0o711)
    (root / f"{prefix}_b/state.json").write_bytes(b"{")
    destroy = runtime.Container._destroy

    def fail(container: runtime.Container, **how: Any) -> bool:
        if container.id.endswith("_c"):
            raise CgroupError("remove cgroup", 16, "/x")
        return destroy(container, **how)

    monkeypatch.setattr(runtime.Container, "_destroy", fail)
    report = runtime.stop_and_remove(root, prefix=prefix)
    assert [outcome.result for outcome in report] == ["removed", "failed", "failed", "removed"]
    assert [type(outcome.error) for outcome in report.failed] == [StateError, CgroupError]
    assert f"container {prefix}_c could not be removed" in caplog.text
    monkeypatch.undo()
    (root / f"{prefix}_b/state.json").unlink()
    (root / f"{prefix}_b").rmdir()
    assert runtime.stop_and_remove(root, prefix=prefix).removed == (f"{prefix}_c",)


def test_remains_of_an_interrupted_creation_are_removed(root: Path, bundle: Path, container_id: str) -> None:
    """A process that was killed in the middle of creating leaves a note of its cgroups, and they are removed."""
    script = (
        "import os, signal, sys; from ocikit import runtime; from ocikit.runtime.state import libcontainer\n"
        "libcontainer.state_document = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "runtime.create(*sys.argv[1:])\n"
    )
    environment = os.environ | {"PYTHONPATH": ":".join(filter(None, __import__("sys").path))}
    python = os.path.realpath("/proc/self/exe")
    paths = place(detect(), "", container_id).values()
    for again in (False, True):
        done = subprocess.run(
            [python, "-c", script, str(root), container_id, str(bundle)], check=False, env=environment
        )
        assert done.returncode == -signal.SIGKILL
        assert all(map(os.path.exists, paths))
        assert runtime.list_containers(root) == []
        if again:
            with runtime.create(root, container_id, bundle) as container:
                assert container.status() is Status.CREATED
        else:
            assert runtime.stop_and_remove(root, prefix=container_id).removed == (container_id,)
        assert list(root.iterdir()) == []
        assert not any(map(os.path.exists, paths))


def test_directories_that_are_no_containers(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty one may be a container that is just being made; when it is old it is removed; a full one is told of."""
    root.mkdir(0o700)
    (root / "app_empty").mkdir(0o711)
    assert not runtime.stop_and_remove(root, prefix="app_")
    (root / "app_full").mkdir(0o711)
    (root / "app_full/exec.fifo").touch()
    (outcome,) = runtime.stop_and_remove(root, prefix="app_")
    assert (outcome.id, outcome.result) == ("app_full", "failed")
    monkeypatch.setattr(stopping, "_STALE_SECONDS", -1.0)
    assert runtime.stop_and_remove(root, prefix="app_e").removed == ("app_empty",)
    assert [path.name for path in root.iterdir()] == ["app_full"]


def test_what_a_killed_creation_left_is_in_nobodys_way(root: Path, bundle: Path, new_id: Callable[[], str]) -> None:
    """From the first moment on, remains of a creation of ours are told from runc at work: removed, or taken over."""
    prefix = new_id()
    root.mkdir(0o700)
    for number in range(4):
        (root / f"{prefix}_{number}").mkdir(0o1711)
    for number in (2, 3):
        (root / f"{prefix}_{number}/.ocikit-tmp-0123").touch(0o600)
    for number in (0, 2):
        with runtime.create(root, f"{prefix}_{number}", bundle) as container:
            assert container.status() == "created"
    assert runtime.stop_and_remove(root, prefix=prefix).removed == (f"{prefix}_1", f"{prefix}_3")
    assert list(root.iterdir()) == []


def test_two_stop_the_same(root: Path, bundle: Path, new_id: Callable[[], str]) -> None:
    """Two threads that stop the same containers both succeed, and each container is removed once."""
    prefix = new_id()
    names = [f"{prefix}_{number}" for number in range(10)]
    for name in names:
        runtime.create(root, name, bundle, lifetime="detached").start()
    reports: list[runtime.Report] = []
    stop = lambda: reports.append(runtime.stop_and_remove(root, prefix=prefix, timeout=0))  # noqa: E731
    threads = [threading.Thread(target=stop) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(report.ok for report in reports)
    assert sorted(name for report in reports for name in report.removed) == names


# ------------------------------------------------------------------------------------------------------ hostile states


def write_state(root: Path, name: str, document: dict[str, object]) -> None:
    """Put a container's state into a state root."""
    root.mkdir(0o700, exist_ok=True)
    (root / name).mkdir(0o711)
    (root / name / "state.json").write_text(json.dumps(document))
    (root / name / "state.json").chmod(0o600)


def start_of(pid: int) -> int:
    """Return when a process was started, in clock ticks since boot."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


KERNEL_THREAD = b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 26 0 0 20 0 1 0 7 0 0" + b" 0" * 28


def test_states_that_name_a_thread_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """No signal ends a thread of the kernel: it is nobody's container, and nobody waits for its end."""
    stat = procfs.Stat.parse(KERNEL_THREAD)
    assert (stat.of_kernel, stat.start_time) == (True, 7)
    victim = subprocess.Popen(["/bin/sleep", "1000"])
    try:
        start = start_of(victim.pid)
        assert process.glance(victim.pid, start)
        monkeypatch.setattr(process, "read_stat", lambda _: stat._replace(start_time=start))
        assert process.open_process(victim.pid, start) is None
        assert process.glance(victim.pid, start) is False
    finally:
        victim.kill()
        victim.wait()


@pytest.mark.parametrize("whose", ["process 1", "this process", "its parent", "a victim's number"])
def test_states_that_name_a_process_of_others(root: Path, whose: str) -> None:
    """Process 1, this process and its ancestors are nobody's container, nor is one that started at another time."""
    victim = subprocess.Popen(["/bin/sleep", "1000"])
    try:
        pid = {"process 1": 1, "this process": os.getpid(), "its parent": os.getppid()}.get(whose, victim.pid)
        start = start_of(pid) + (pid == victim.pid)
        write_state(root, "app_x", {"init_process_pid": pid, "init_process_start": start, "config": {}})
        container = runtime.load(root, "app_x")
        assert container.status() is Status.STOPPED
        assert container.state().pid is None
        with pytest.raises(NotRunningError):
            container.kill()
        with pytest.raises(NotRunningError):
            container.signal(signal.SIGTERM)
        report = runtime.stop_and_remove(root, prefix="app_")
        assert report.removed == ("app_x",)
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


def test_states_that_name_cgroups_of_others(root: Path, new_id: Callable[[], str]) -> None:
    """The root cgroup, our own, other services' and what is no cgroup at all are left as they are."""
    hierarchies = detect().by_key
    theirs = place(detect(), "", new_id())
    cgroup_setup.make(theirs, detect(), [])
    members = "; ".join(f"echo 0 > {path}/cgroup.procs" for path in theirs.values())
    victim = subprocess.Popen(["/bin/sh", "-c", f"{members}; echo; exec sleep 1000"], stdout=subprocess.PIPE)
    assert victim.stdout is not None
    victim.stdout.readline()
    victim.stdout.close()
    cases = {
        "root": {key: one.mountpoint for key, one in hierarchies.items()},
        "own": {key: one.own for key, one in hierarchies.items()},
        "up": {key: f"{path}/../{Path(path).name}" for key, path in theirs.items()},
        "etc": dict.fromkeys(hierarchies, "/etc"),
        "theirs": theirs,
    }
    try:
        for name, paths in cases.items():
            config = {"cgroups": {"path": "/"}}
            write_state(root, f"app_{name}", {"cgroup_paths": paths, "config": config, "init_process_pid": -1})
        report = runtime.stop_and_remove(root, prefix="app_", timeout=0)
        assert report.removed == tuple(sorted(f"app_{name}" for name in cases))
        assert victim.poll() is None
        assert all(map(os.path.exists, theirs.values()))
        assert Path("/etc/passwd").exists()
    finally:
        victim.kill()
        victim.wait()
        cgroup_tree.remove(theirs.values())
