"""The command line for those who know other runtimes than runc, and what it does with the streams of its callers."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest
from command_line import CommandLine

from ocikit import runtime
from ocikit.spec import User

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_USER = 2345
_GROUP = 3456


@pytest.fixture
def ocikit(root: Path) -> Iterator[CommandLine]:
    """Give our command on the state root of the test, which is emptied at the end."""
    yield CommandLine(root)
    runtime.stop_and_remove(root, prefix="", all=True, timeout=0)


# ------------------------------------------------------------------------------------------------------ crun's words


@pytest.mark.parametrize("words", [("--config", "other/config.json"), ("-f", "other/config.json")])
def test_another_configuration(
    ocikit: CommandLine, make_bundle: Callable[..., Path], container_id: str, words: tuple[str, ...]
) -> None:
    """A file below the bundle; relative paths in it are those of the bundle all the same."""
    bundle = make_bundle("echo", "the usual one")
    other = make_bundle("echo", "the other one", name="bundle/other")
    assert other.parent == bundle
    assert ocikit.works("run", *words, "-b", str(bundle), container_id) == "the other one\n"
    assert ocikit.works("run", "-b", str(bundle), container_id) == "the usual one\n"


def test_another_configuration_anywhere(ocikit: CommandLine, bundle: Path, container_id: str, tmp_path: Path) -> None:
    """An absolute path is what it says; one that is not there is named."""
    elsewhere = tmp_path / "elsewhere.json"
    (bundle / "config.json").rename(elsewhere)
    ocikit.works("create", "--config", str(elsewhere), "--bundle", str(bundle), container_id)
    assert ocikit.state(container_id)["bundle"] == str(bundle)
    done = ocikit("create", "--config", "nowhere.json", "--bundle", str(bundle), f"{container_id}-2")
    assert done.returncode == 1
    assert "there is no nowhere.json in it" in done.stderr


def test_cgroup_manager(ocikit: CommandLine, bundle: Path, container_id: str) -> None:
    """What there is without it is cgroupfs; every verb takes it; what is no manager is refused."""
    words = ("--cgroup-manager", "cgroupfs")
    ocikit.works(*words, "create", "--bundle", str(bundle), container_id)
    assert json.loads(ocikit.works(*words, "state", container_id))["status"] == "created"
    ocikit.works("--cgroup-manager=systemd", "delete", "--force", container_id)
    for manager in ("disabled", "elogind"):
        done = ocikit("--cgroup-manager", manager, "create", "--bundle", str(bundle), container_id)
        assert done.returncode == 1
        assert "expected cgroupfs or systemd" in done.stderr
        assert manager in done.stderr


def test_cgroup_manager_goes_before_the_other_option(ocikit: CommandLine, bundle: Path, container_id: str) -> None:
    """Whoever says both means the one that says more."""
    ocikit.works("--systemd-cgroup", "--cgroup-manager", "cgroupfs", "create", "--bundle", str(bundle), container_id)
    record = json.loads((ocikit.root / container_id / "state.json").read_text())
    assert not record["config"]["cgroups"].get("Systemd", False)


# ---------------------------------------------------------------------------------------------- streams of the caller

_WRITE = ("sh", "-c", "echo again > /dev/stdout; stat -L -c %u:%g /dev/stdout")
_SEEN = f"{_USER}:{_GROUP}"


@pytest.fixture
def of_user(make_bundle: Callable[..., Path]) -> Callable[..., Path]:
    """Make bundles whose process is that of an ordinary user."""

    def make(*args: str) -> Path:
        return make_bundle(*args, process={"user": User(uid=_USER, gid=_GROUP)})

    return make


def owner(descriptor: int) -> tuple[int, int]:
    """Return whose a file is."""
    about = os.fstat(descriptor)
    return about.st_uid, about.st_gid


def test_pipes_become_the_user_s(ocikit: CommandLine, of_user: Callable[..., Path], container_id: str) -> None:
    """A program of another user opens its standard output anew, for run as for exec."""
    bundle = of_user(*_WRITE)
    done = subprocess.run(
        ocikit.words("run", "-b", str(bundle), container_id), capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout.split()) == (0, ["again", _SEEN]), done.stderr
    of_user("sleep", "1000")
    ocikit.works("run", "--detach", "-b", str(bundle), container_id)
    words = ocikit.words("exec", "--user", "777:888", container_id, *_WRITE)
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout.split()) == (0, ["again", "777:888"]), done.stderr


def test_files_and_sockets_become_the_user_s(
    ocikit: CommandLine, of_user: Callable[..., Path], container_id: str, tmp_path: Path
) -> None:
    """Whatever kind of file somebody keeps the output in."""
    bundle = of_user("true")
    theirs, ours = socket.socketpair()
    with (tmp_path / "output").open("w") as file, theirs, ours:
        words = ocikit.words("run", "-b", str(bundle), container_id)
        subprocess.run(words, stdin=theirs.fileno(), stdout=file, stderr=subprocess.DEVNULL, check=True, timeout=60)
        assert owner(file.fileno()) == owner(theirs.fileno()) == (_USER, _GROUP)


def test_terminals_and_devices_stay(ocikit: CommandLine, of_user: Callable[..., Path], container_id: str) -> None:
    """Those are the host's: neither /dev/null nor the terminal that somebody works at changes hands."""
    bundle = of_user("true")
    ours, theirs = os.openpty()
    before = owner(theirs), os.stat("/dev/null").st_uid
    try:
        words = ocikit.words("run", "-b", str(bundle), container_id)
        subprocess.run(words, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, check=True, timeout=60)
        assert (owner(theirs), os.stat("/dev/null").st_uid) == before
        assert stat.S_ISCHR(os.fstat(theirs).st_mode)
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("given", [False, True])
def test_callers_of_the_library_keep_theirs(
    root: Path, of_user: Callable[..., Path], container_id: str, tmp_path: Path, *, given: bool
) -> None:
    """A file that is passed to the library stays the caller's, unless it is to be given away."""
    with (tmp_path / "output").open("wb") as file:
        before = owner(file.fileno())
        options = runtime.CreateOptions(give_streams=given)
        with runtime.create(root, container_id, of_user("true"), stdout=file, options=options) as container:
            container.start()
            container.wait(20)
        assert owner(file.fileno()) == ((_USER, _GROUP) if given else before)
