"""``delete`` of what cannot be loaded: no process and no cgroup is left, and the exit codes are those of runc."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command_line import CommandLine

from ocikit import runtime

if TYPE_CHECKING:
    from collections.abc import Callable

    from peer_runc import Runc


@pytest.fixture
def ocikit(root: Path) -> CommandLine:
    """Give our command on the state root of the test."""
    return CommandLine(root)


def cgroups_of(pid: int) -> set[Path]:
    """Return the directories of the cgroups that a process is in, other than ours."""
    from ocikit.runtime.cgroups.ownership import members  # noqa: PLC0415

    return {Path(path) for path in members(pid).values()} - {Path(path) for path in members(os.getpid()).values()}


def ends(pid: int) -> bool:
    """Wait until a process has ended, reaped or not."""
    for _ in range(1000):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"Z", "X"}:
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


def _replace_by_directory(path: Path) -> None:
    (path / "state.json").unlink()
    (path / "state.json").mkdir()


BREAKAGES: dict[str, Callable[[Path], object]] = {
    "no state": lambda path: (path / "state.json").unlink(),
    "no JSON": lambda path: (path / "state.json").write_text("{"),
    "no object": lambda path: (path / "state.json").write_text("[]"),
    "no pid": lambda path: (path / "state.json").write_text('{"init_process_pid": "x"}'),
    "empty": lambda path: (path / "state.json").write_text(""),
    "a directory": _replace_by_directory,
}


@pytest.mark.parametrize("breakage", BREAKAGES)
@pytest.mark.parametrize(("force", "start"), [(False, True), (True, False)])
def test_ours(ocikit: CommandLine, bundle: Path, container_id: str, breakage: str, *, force: bool, start: bool) -> None:
    """Whatever became of its state, the processes and cgroups of a container of ours are gone afterwards."""
    ocikit.works("run" if start else "create", *(("-d",) if start else ()), "-b", str(bundle), container_id)
    pid = int(ocikit.state(container_id)["pid"])
    cgroups = cgroups_of(pid)
    assert cgroups
    BREAKAGES[breakage](ocikit.root / container_id)
    done = ocikit("delete", *(("--force",) if force else ()), container_id)
    assert done.returncode == (0 if force else 1), done.stderr
    assert ends(pid)
    assert [path for path in cgroups if path.exists()] == []
    assert os.listdir(ocikit.root) == []
    assert ocikit("delete", container_id).stderr.count("container does not exist") == 1


@pytest.mark.parametrize("breakage", ["no state", "no JSON"])
@pytest.mark.parametrize("own_place", [False, True])
def test_those_of_runc(
    ocikit: CommandLine,
    runc: Runc,
    make_bundle: Callable[..., Path],
    container_id: str,
    breakage: str,
    *,
    own_place: bool,
) -> None:
    """So are those of runc, for a created container wherever its cgroups are."""
    place = {"cgroupsPath": f"/{container_id}-parent/{container_id}-child"} if own_place else {}
    bundle = make_bundle(linux={"cgroups_path": place["cgroupsPath"]} if place else None)
    runc.create(container_id, bundle)
    pid = int(ocikit.state(container_id)["pid"])
    cgroups = cgroups_of(pid)
    assert cgroups
    BREAKAGES[breakage](ocikit.root / container_id)
    try:
        assert ocikit("delete", container_id).returncode == 1
        assert ends(pid)
        assert [path for path in cgroups if path.exists()] == []
        assert os.listdir(ocikit.root) == []
    finally:
        for path in cgroups if own_place else ():
            for directory in (path, path.parent):
                with contextlib.suppress(FileNotFoundError):
                    directory.rmdir()


def test_one_of_runc_that_runs_without_a_state(
    ocikit: CommandLine, runc: Runc, bundle: Path, container_id: str
) -> None:
    """A running container of runc is found in the cgroup that is named after it."""
    runc("run", "--detach", "--bundle", str(bundle), container_id)
    pid = int(ocikit.state(container_id)["pid"])
    cgroups = cgroups_of(pid)
    (ocikit.root / container_id / "state.json").unlink()
    ocikit.works("delete", "--force", container_id)
    assert ends(pid)
    assert [path for path in cgroups if path.exists()] == []


def test_what_is_no_container_is_left_alone(ocikit: CommandLine, container_id: str) -> None:
    """A directory with things in it that no runtime puts there is refused, and nothing in it is touched."""
    strange = ocikit.root / container_id
    strange.mkdir(parents=True)
    (strange / "passwd").write_text("precious")
    for options in ((), ("--force",)):
        done = ocikit("delete", *options, container_id)
        assert (done.returncode, "passwd" in done.stderr) == (1, True)
    assert (strange / "passwd").read_text() == "precious"
    shutil.rmtree(strange)


def test_a_bystander_at_the_fifo_is_not_spared(
    ocikit: CommandLine, bundle: Path, container_id: str, tmp_path: Path
) -> None:
    """Only who has the very fifo open is taken for the first process: a namesake elsewhere goes on."""
    fifo = tmp_path / "exec.fifo"
    os.mkfifo(fifo)
    with subprocess.Popen(["sh", "-c", f"exec 3<>{fifo}; exec sleep 1000"]) as bystander:
        ocikit.works("create", "-b", str(bundle), container_id)
        pid = int(ocikit.state(container_id)["pid"])
        shutil.copy(ocikit.root / container_id / "ocikit.json", tmp_path)
        for name in ("state.json", "ocikit.json"):
            (ocikit.root / container_id / name).unlink()
        ocikit.works("delete", "-f", container_id)
        assert ends(pid)
        assert bystander.poll() is None
        bystander.kill()


def test_empty_remains(ocikit: CommandLine, container_id: str) -> None:
    """A directory with nothing in it goes, and was no container."""
    (ocikit.root / container_id).mkdir(parents=True)
    done = ocikit("delete", container_id)
    assert (done.returncode, "container does not exist" in done.stderr) == (1, True)
    assert os.listdir(ocikit.root) == []
    assert runtime.list_containers(ocikit.root) == []
