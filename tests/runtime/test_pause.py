"""Containers are paused and resumed, by us and by runc, and a freezer that does not come to an end is thawed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from cgroup_host import HOST, limit

from ocikit import runtime
from ocikit.errors import CgroupError, NotExistError, NotPausedError, NotRunningError, PausedError
from ocikit.runtime import Status
from ocikit.runtime.cgroups import freezer
from ocikit.runtime.cgroups import setup as cgroup_setup
from ocikit.runtime.cgroups import tree as cgroup_tree
from ocikit.runtime.cgroups.hierarchies import UNIFIED, place
from ocikit.spec import Mount, Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from peer_runc import Runc

#: Counts in a file as fast as it can.
COUNTING = ("sh", "-c", "n=0; while :; do n=$((n+1)); echo $n > /tmp/n; done")


@pytest.fixture
def counting(make_bundle: Callable[..., Path], tmp_path: Path) -> tuple[Path, Path]:
    """Give the bundle of a container that counts, and the file in which it counts."""
    shared = tmp_path / "shared"
    shared.mkdir()
    mounts = (*Spec.default().mounts, Mount(destination="/tmp", type="bind", source=str(shared), options=("rbind",)))
    return make_bundle(*COUNTING, mounts=mounts), shared / "n"


def count(file: Path) -> int:
    """Return what was counted so far."""
    while not (file.exists() and (text := file.read_text().strip())):
        os.sched_yield()
    return int(text)


def test_a_paused_container_does_nothing(root: Path, counting: tuple[Path, Path], container_id: str) -> None:
    """Not one step more is counted until it is resumed; then it goes on."""
    bundle, file = counting
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        container.start()
        count(file)
        container.pause()
        assert container.status() is Status.PAUSED
        assert limit(container, "freezer.state" if "freezer" in HOST.by_key else "cgroup.freeze") in {"FROZEN", "1"}
        before = file.read_text()
        for _ in range(1000):
            os.sched_yield()
        assert file.read_text() == before
        container.resume()
        assert container.status() is Status.RUNNING
        while file.read_text() in {before, ""}:
            os.sched_yield()


def test_states_that_cannot_be_paused(created: runtime.Container) -> None:
    """Who is paused is not running, and who runs is not paused; runc says so, too."""
    with pytest.raises(NotPausedError, match="container not paused"):
        created.resume()
    created.pause()
    with pytest.raises(NotRunningError, match="container not running"):
        created.pause()
    with pytest.raises(PausedError):
        created.start()
    created.resume()
    assert created.status() is Status.CREATED
    created.start()
    with pytest.raises(NotPausedError):
        created.resume()
    created.kill()
    created.wait(30)
    with pytest.raises(NotRunningError):
        created.pause()
    with pytest.raises(NotPausedError):
        created.resume()
    created.destroy()
    for change in (created.pause, created.resume):
        with pytest.raises(NotExistError):
            change()


def test_runc_pauses_and_we_resume(runc: Runc, created: runtime.Container) -> None:
    """The freezer is where runc looks for it."""
    created.start()
    runc("pause", created.id)
    assert created.status() is Status.PAUSED
    created.resume()
    assert runc.status(created.id) == "running"
    created.pause()
    assert runc.status(created.id) == "paused"
    runc("resume", created.id)
    assert created.status() is Status.RUNNING


def test_containers_of_runc_are_paused(runc: Runc, root: Path, bundle: Path, container_id: str) -> None:
    """Whoever made a container, it is frozen."""
    runc.create(container_id, bundle)
    container = runtime.load(root, container_id)
    container.pause()
    assert runc.status(container_id) == "paused"
    container.resume()
    assert runc.status(container_id) == "created"


def test_a_container_full_of_forks_is_paused(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """New processes that keep appearing do not keep the container from being frozen, again and again."""
    bundle = make_bundle("sh", "-c", "trap exit TERM; while :; do true & done 2>/dev/null")
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        container.start()
        for _ in range(20):
            container.pause()
            assert container.status() is Status.PAUSED
            container.resume()
        container.signal(signal.SIGTERM)
        container.wait(30)


def test_two_pause_the_same(created: runtime.Container) -> None:
    """One of them does, and the other is told that it is done."""
    outcomes: list[str] = []

    def pause() -> None:
        try:
            created.pause()
            outcomes.append("paused")
        except NotRunningError:
            outcomes.append("was not running")

    threads = [threading.Thread(target=pause) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["paused", "was not running"]
    assert created.status() is Status.PAUSED


# ------------------------------------------------------------------------------------------------- cgroups of our own


@pytest.fixture
def paths(container_id: str) -> Iterator[dict[str, str]]:
    """Give the cgroups of a container without processes, and remove them in the end."""
    places = place(HOST, "", container_id)
    cgroup_setup.make(places, HOST, [])
    yield places
    freezer.thaw(places)
    cgroup_tree.kill(places)
    cgroup_tree.remove(places.values())


def test_what_does_not_freeze_is_thawed(paths: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever pauses a container that cannot be paused gets an error after a while, and the container goes on."""
    monkeypatch.setattr(freezer, "_FREEZE_TIME", 0.6)
    # What really keeps a kernel from freezing a process is a device that does not answer.
    monkeypatch.setattr(freezer._Freezer, "done", lambda _: False)
    with pytest.raises(CgroupError, match="did not freeze within"):
        freezer.freeze(paths)
    assert not freezer.frozen(paths)


def test_a_freezer_that_is_not_there() -> None:
    """Without one, nothing is ever frozen, thawing is nothing to do, and pausing an error with a remedy."""
    assert not freezer.frozen({"memory": "/x"})
    freezer.thaw({"memory": "/x"})
    with pytest.raises(CgroupError, match="mount the freezer"):
        freezer.freeze({"memory": "/x"})
    with pytest.raises(CgroupError, match="no freezer for this cgroup"):
        freezer.freeze({UNIFIED: "/proc/nothing"})


def test_no_container_is_made_below_a_frozen_cgroup(
    root: Path, make_bundle: Callable[..., Path], container_id: str
) -> None:
    """It would be frozen before its first step, and whoever creates it would wait for ever."""
    places = place(HOST, f"/{container_id}", "x")
    cgroup_setup.make(places, HOST, [])
    try:
        freezer.freeze(places)
        bundle = make_bundle(linux={"cgroups_path": f"/{container_id}/inner/below"})
        with pytest.raises(CgroupError, match="frozen"):
            runtime.create(root, container_id, bundle)
    finally:
        freezer.thaw(places)
        cgroup_tree.remove(places.values())


def test_frozen_above_is_not_paused(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """What somebody froze further up is not for the container to be resumed from."""
    bundle = make_bundle(linux={"cgroups_path": f"/{container_id}/inner"})
    places = place(HOST, f"/{container_id}", "x")
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        freezer.freeze(places)
        try:
            assert container.status() is Status.CREATED
            with pytest.raises(NotPausedError):
                container.resume()
        finally:
            freezer.thaw(places)


def test_an_interrupt_leaves_it_running(root: Path, bundle: Path, container_id: str) -> None:
    """Ctrl-C while a container is being paused: it goes on."""
    script = (
        "import os, signal, sys, threading, time\n"
        "from ocikit import runtime\n"
        "from ocikit.runtime.cgroups import freezer\n"
        "freezer._Freezer.done = lambda self: False\n"
        "freezer._FREEZE_TIME = 0.5\n"
        "container = runtime.load(sys.argv[1], sys.argv[2])\n"
        "threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "container.pause()\n"
    )
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        done = subprocess.run([sys.executable, "-c", script, str(root), container_id], capture_output=True, check=False)
        assert done.returncode in {-signal.SIGINT, 130}, done.stderr
        assert container.status() is Status.CREATED
