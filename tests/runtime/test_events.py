"""Whoever watches a container learns that its memory was used up, and when there is nothing more to learn."""

from __future__ import annotations

import os
import select
import threading
from typing import TYPE_CHECKING

import pytest
from cgroup_host import HOST, V2

from ocikit import runtime
from ocikit.errors import CgroupError
from ocikit.runtime.cgroups.hierarchies import UNIFIED
from ocikit.runtime.events import MemoryLevelWatch, OutOfMemoryWatch, StallWatch
from ocikit.spec import LinuxResources, Mount, Spec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from peer_runc import Runc

MB = 1 << 20
LIMITS = LinuxResources.from_dict({"memory": {"limit": 16 * MB, "swap": 16 * MB}})
EAT = "a=x; while :; do a=$a$a; done"


def test_memory_that_was_used_up_is_told(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """Each time is an event, and the end of the container is the end of the watch."""
    script = f"sh -c '{EAT}'; read x; sh -c '{EAT}'; read x"
    bundle = make_bundle("sh", "-c", script, linux={"resources": LIMITS})
    with runtime.create(root, container_id, bundle, stdin="pipe") as container:
        assert container.stdin is not None
        with container.watch_memory() as watch:
            assert watch.wait(0) is None
            container.start()
            kills = 0
            for _ in range(2):
                event = watch.wait(60)
                assert event is not None
                assert event.times >= 1
                kills += event.kills or 0
                assert not watch.ended
                container.stdin.write(b"\n")
                container.stdin.flush()
            assert list(watch) == []
            assert watch.ended
            assert watch.wait() is None
        found = container.stats().memory
        assert found is not None
        assert found.oom_kills == 2
        assert kills <= 2


def test_an_end_by_lack_of_memory(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """The event comes before the end, although both are there at once."""
    bundle = make_bundle("sh", "-c", EAT, linux={"resources": LIMITS})
    with runtime.create(root, container_id, bundle, stdin="null") as container, container.watch_memory() as watch:
        container.start()
        container.wait(60)
        assert sum(event.times for event in watch) >= 1


def test_an_end_without_events(created: runtime.Container) -> None:
    """Who waits in another thread is woken by the end; a stopped container has nothing to tell."""
    with created.watch_memory() as watch:
        found: list[object] = []
        thread = threading.Thread(target=lambda: found.append(list(watch)))
        thread.start()
        created.kill()
        thread.join(60)
        assert found == [[]]
    with created.watch_memory() as watch:
        assert list(watch) == []


def test_a_watch_can_be_waited_for_with_others(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """Its descriptor is readable when there is something, and not before."""
    bundle = make_bundle("sh", "-c", EAT, linux={"resources": LIMITS})
    with runtime.create(root, container_id, bundle, stdin="null") as container, container.watch_memory() as watch:
        assert select.select([watch], [], [], 0)[0] == []
        container.start()
        event = None
        while event is None and not watch.ended:
            assert select.select([watch], [], [], 60)[0] == [watch]
            event = watch.wait(0)
        assert event is not None


def test_watches_leave_nothing_open(created: runtime.Container) -> None:
    """Neither one that was used, nor one that could not be made."""
    before = set(os.listdir("/proc/self/fd"))
    with created.watch_memory() as watch:
        watch.wait(0)
    watch.close()
    with pytest.raises(CgroupError):
        OutOfMemoryWatch({}, None)
    with pytest.raises(CgroupError):
        OutOfMemoryWatch({"memory": "/nothing"}, None)
    with pytest.raises(CgroupError):
        MemoryLevelWatch({}, None)
    with pytest.raises(CgroupError):
        StallWatch({}, None)
    assert set(os.listdir("/proc/self/fd")) == before


def test_containers_of_runc(runc: Runc, root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """Whoever made it, its memory is watched."""
    runc.create(container_id, make_bundle("sh", "-c", EAT, linux={"resources": LIMITS}))
    container = runtime.load(root, container_id)
    with container.watch_memory() as watch:
        container.start()
        assert sum(event.times for event in watch) >= 1


def test_waiting_too_long_is_told(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """A container that is throttled waits for processors; on hosts without v2 that is an error with a remedy."""
    limits = LinuxResources.from_dict({"cpu": {"quota": 2000, "period": 100000}})
    bundle = make_bundle("sh", "-c", "while :; do :; done", linux={"resources": limits})
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        if UNIFIED not in HOST.by_key:
            with pytest.raises(CgroupError, match="v2"), container.watch_stalls("cpu"):
                pass
            return
        with container.watch_stalls("cpu") as watch:
            container.start()
            event = watch.wait(60)
            assert event is not None
            assert event.resource == "cpu"
            container.kill()
            for _ in watch:
                pass
            assert watch.ended


def test_levels_of_v1(root: Path, make_bundle: Callable[..., Path], container_id: str, tmp_path: Path) -> None:
    """A kernel that has to work for free memory says so; v2 has pressure instead, and no levels."""
    shared = tmp_path / "shared"
    shared.mkdir()
    limits = LinuxResources.from_dict({"memory": {"limit": 8 * MB}})
    mounts = (*Spec.default().mounts, Mount(destination="/tmp", type="bind", source=str(shared), options=("rbind",)))
    script = "while :; do head -c 30000000 /dev/zero > /tmp/x; cat /tmp/x > /dev/null; done"
    bundle = make_bundle("sh", "-c", script, linux={"resources": limits}, mounts=mounts)
    with runtime.create(root, container_id, bundle, stdin="null") as container, container._init().held() as process:
        paths = container._readable_cgroups()
        if V2:
            with pytest.raises(CgroupError, match="only v1 has levels"):
                MemoryLevelWatch(paths, process, "low")
            return
        with MemoryLevelWatch(paths, process, "low") as watch:
            assert watch.wait(0) is None
            container.start()
            event = watch.wait(60)
            assert event is not None
            assert event.level == "low"
            container.kill()
            for _ in watch:
                pass
            assert watch.ended
