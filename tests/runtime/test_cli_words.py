"""Words of runc that callers look for in messages, beside our own; and who gets which message."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cgroup_host import HOST
from command_line import CommandLine

from ocikit import runtime
from ocikit.runtime.cgroups.hierarchies import UNIFIED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from peer_runc import Runc


@pytest.fixture
def ocikit(root: Path) -> Iterator[CommandLine]:
    """Give our command on the state root of the test, which is emptied at the end."""
    yield CommandLine(root)
    runtime.stop_and_remove(root, prefix="", all=True, timeout=0)


@pytest.mark.parametrize(
    ("field", "found"),
    [({"sysctl": {"vm.swappiness": "1"}}, "$.linux.sysctl"), ({"mount_label": "a:b:c"}, "$.linux.mountLabel")],
    ids=["forbidden", "unsupported"],
)
def test_a_configuration_is_invalid(
    ocikit: CommandLine,
    make_bundle: Callable[..., Path],
    container_id: str,
    field: dict[str, object],
    found: str,
) -> None:
    """Whatever is wrong with it, the message says so first, and then where and what."""
    bundle = make_bundle("true", linux=field)
    done = ocikit("create", "-b", str(bundle), container_id)
    assert done.returncode == 1
    assert f'msg="invalid configuration: {found}' in done.stderr


def test_a_cgroup_with_processes(
    ocikit: CommandLine, runc: Runc, make_bundle: Callable[..., Path], container_id: str
) -> None:
    """Nobody gets a cgroup that another container is in, or that is frozen."""
    bundle = make_bundle(linux={"cgroups_path": f"/{container_id}"})
    runc("create", "-b", str(bundle), container_id)
    done = ocikit("create", "-b", str(bundle), f"{container_id}-again")
    assert (done.returncode, "container's cgroup is not empty" in done.stderr) == (1, True)
    runc("delete", "-f", container_id)
    key, file, frozen, thawed = (
        ("freezer", "freezer.state", "FROZEN", "THAWED")
        if "freezer" in HOST.by_key
        else (UNIFIED, "cgroup.freeze", "1", "0")
    )
    cgroup = Path(HOST.by_key[key].mountpoint, container_id)
    cgroup.mkdir()
    try:
        (cgroup / file).write_text(frozen)
        done = ocikit("create", "-b", str(bundle), container_id)
        assert (done.returncode, "container's cgroup unexpectedly frozen" in done.stderr) == (1, True)
    finally:
        (cgroup / file).write_text(thawed)
        cgroup.rmdir()
