"""Containers that freeze themselves, from the cgroups that they were given, and are to end all the same."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cgroup_host import HOST, state

from ocikit import runtime
from ocikit.runtime.cgroups.hierarchies import UNIFIED
from ocikit.spec import LinuxNamespace, Mount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocikit.spec import Spec

V1 = "freezer" in HOST.by_key
KEY = "freezer" if V1 else UNIFIED
DIRECTORY = "/sys/fs/cgroup/freezer" if V1 else "/sys/fs/cgroup"
FREEZE = "echo FROZEN > $D/a/freezer.state" if V1 else "echo 1 > $D/a/cgroup.freeze"

#: The first process goes into a cgroup below the container's own, which is frozen.
ONCE = f"D={DIRECTORY}; mkdir -p $D/a/b; echo 1 > $D/a/b/cgroup.procs; {FREEZE}; sleep 1000"
#: Somebody beside it freezes it all the time.
ALWAYS = f"D={DIRECTORY}; mkdir -p $D/a/b; (while :; do {FREEZE}; done) & echo 1 > $D/a/b/cgroup.procs; sleep 1000"


@pytest.fixture(params=[ONCE, ALWAYS], ids=["once", "always"])
def frozen(
    request: pytest.FixtureRequest,
    root: Path,
    container_id: str,
    make_bundle: Callable[..., Path],
    make_spec: Callable[..., Spec],
) -> Iterator[runtime.Container]:
    """A container of which the first process is frozen, but not by us."""
    spec = make_spec()
    assert spec.linux is not None
    mounts = [one for one in spec.mounts if one.destination != "/sys/fs/cgroup"]
    mount = Mount(destination="/sys/fs/cgroup", type="cgroup", source="cgroup", options=("rw", "nosuid"))
    kinds = {one.type for one in spec.linux.namespaces} | {"cgroup"}
    namespaces = tuple(LinuxNamespace(type=kind) for kind in sorted(kinds))
    bundle = make_bundle("sh", "-c", request.param, mounts=(*mounts, mount), linux={"namespaces": namespaces})
    with runtime.create(root, container_id, bundle, stdin="null", stdout="null", stderr="null") as container:
        container.start()
        deadline = time.monotonic() + 10
        while not _is_frozen(container):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield container


def _is_frozen(container: runtime.Container) -> bool:
    below = Path(state(container)["cgroup_paths"][KEY], "a/b")
    if not below.is_dir() or not (below / "cgroup.procs").read_text():
        return False
    told = (below / ("freezer.state" if V1 else "cgroup.events")).read_text()
    return ("FROZEN" if V1 else "frozen 1") in told


def test_what_froze_itself_is_destroyed(frozen: runtime.Container, root: Path) -> None:
    """Its first process is thawed when it is killed, wherever in the container's cgroups it was frozen."""
    frozen.destroy(force=True)
    assert frozen.status() is runtime.Status.STOPPED
    assert not (root / frozen.id).exists()


def test_what_froze_itself_is_stopped(frozen: runtime.Container, root: Path) -> None:
    """The same for those that are stopped and removed together."""
    report = runtime.stop_and_remove(root, prefix=frozen.id, timeout=0.2)
    assert report.ok, report
    assert report.removed == (frozen.id,)
