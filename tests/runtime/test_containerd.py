"""containerd's shim runs its containers with ocikit."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from engines import RUNTIME, Engine, remove_cgroup, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SETTINGS = """
version = 2
root = "{store}/root"
state = "{store}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
address = "{store}/socket"
"""


class Containerd(Engine):
    """ctr, the command line of containerd, in one namespace and with one root file system."""

    def __init__(self, program: str, store: Path, namespace: str) -> None:
        super().__init__([program, "--address", f"{store}/socket", "--namespace", namespace], {})
        self._fifos = ("--fifo-dir", f"{store}/fifos")
        self._runtime = ("--runc-binary", str(RUNTIME), "--runc-root", f"{store}/runtime", "--env", "PATH=/bin")
        self._rootfs = str(store / "rootfs")

    def run(self, name: str, *arguments: str, options: tuple[str, ...] = ("--rm",), code: int = 0) -> str:
        """Run a container."""
        command = ("run", *self._fifos, *self._runtime, *options, "--rootfs", self._rootfs, name)
        return self(*command, *arguments, code=code)

    def execute(self, name: str, *arguments: str, code: int = 0) -> str:
        """Run a further process in a container."""
        return self("task", "exec", *self._fifos, "--exec-id", "further", name, *arguments, code=code)

    def status(self, name: str) -> str:
        """Return the line that tells what a container is doing."""
        return "".join(line for line in self("task", "list").splitlines() if line.startswith(name))


@pytest.fixture(scope="module")
def containerd(
    peer: Callable[[str], str], rootfs: Path, new_id: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Containerd]:
    """Give a containerd that runs for this module."""
    store, namespace = tmp_path_factory.mktemp("containerd"), new_id()
    shutil.copytree(rootfs, store / "rootfs", symlinks=True)
    (store / "settings").write_text(SETTINGS.format(store=store))
    client = Containerd(peer("ctr"), store, namespace)
    command = [peer("containerd"), "--config", str(store / "settings")]
    with (store / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as daemon:
        try:
            wait_for((store / "log").read_text, "successfully booted")
            yield client
        finally:
            daemon.terminate()
    remove_cgroup(namespace)


@pytest.fixture
def name(containerd: Containerd, container_id: str) -> Iterator[str]:
    """Give the id of a container in the background, and remove it."""
    script = "trap 'exit 5' TERM; while :; do sleep 0.1; done"
    containerd.run(container_id, "sh", "-c", script, options=("--detach",))
    yield container_id
    containerd("task", "rm", "--force", container_id)
    containerd("container", "rm", container_id)


def test_run(containerd: Containerd, new_id: Callable[[], str]) -> None:
    """What a program writes and exits with goes through, under containerd's own seccomp profile."""
    assert containerd.run(new_id(), "sh", "-c", "echo out; exit 3", code=3) == "out\n"
    seccomp = containerd.run(new_id(), "grep", "Seccomp:", "/proc/self/status", options=("--rm", "--seccomp"))
    assert seccomp.split() == ["Seccomp:", "2"]


def test_exec(containerd: Containerd, name: str) -> None:
    """A further process runs in a container, and its exit code is told."""
    assert containerd.execute(name, "sh", "-c", "echo $0; exit 4", code=4) == "sh\n"


def test_stop(containerd: Containerd, name: str) -> None:
    """A container ends when it is told to, in its own way."""
    assert "RUNNING" in containerd.status(name)
    containerd("task", "kill", "--signal", "SIGTERM", name)
    wait_for(lambda: containerd.status(name), "STOPPED")


def test_removal_by_force(containerd: Containerd, name: str) -> None:
    """A container that does not listen is killed and removed; one can be made after it."""
    containerd("task", "pause", name)
    assert "PAUSED" in containerd.status(name)
    containerd("task", "resume", name)
    containerd("task", "rm", "--force", name)
    assert not containerd.status(name)
    containerd("task", "start", "--detach", name)


def test_failed_start(containerd: Containerd, new_id: Callable[[], str], name: str) -> None:
    """A program that is not there is an error, and harms no other container."""
    containerd.run(new_id(), "/nonexistent", code=1)
    assert "RUNNING" in containerd.status(name)
