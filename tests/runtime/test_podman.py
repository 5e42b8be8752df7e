"""podman runs its containers with ocikit: what an engine asks of a runtime on the command line."""

from __future__ import annotations

import resource
import tarfile
from typing import TYPE_CHECKING

import pytest
from engines import RUNTIME, Engine, remove_cgroup, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: What an image without a network, a journal or systemd needs.
SETTINGS = """
[containers]
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]
log_driver = "k8s-file"
netns = "none"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
"""


class Podman(Engine):
    """podman with a store of its own, in which there is one image, ``busybox``."""

    def __init__(self, program: str, store: Path, cgroup: str) -> None:
        settings = store / "containers.conf"
        settings.write_text(
            SETTINGS.format(
                files=min(1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
                processes=min(1024, resource.getrlimit(resource.RLIMIT_NPROC)[1]),
            )
        )
        places = [f"--{name}={store / name}" for name in ("root", "runroot", "tmpdir")]
        super().__init__(
            [program, *places, "--storage-driver=vfs", f"--runtime={RUNTIME}"],
            {"CONTAINERS_CONF": str(settings), "TMPDIR": str(store)},
        )
        self._place = [f"--cgroup-parent=/{cgroup}", "--cgroups=no-conmon"]

    def run(self, *arguments: str, code: int = 0, stdin: str = "") -> str:
        """Run a container and remove it."""
        return self("run", "--rm", *self._place, *arguments, code=code, stdin=stdin)

    def start(self, name: str, *arguments: str, code: int = 0) -> str:
        """Run a container that stays."""
        return self("run", "--name", name, *self._place, *arguments, code=code)

    def wait_for_log(self, name: str, text: str) -> str:
        """Return what a container has logged, once a text is among it."""
        return wait_for(lambda: self("logs", name), text)


@pytest.fixture(scope="module")
def podman(
    peer: Callable[[str], str], rootfs: Path, new_id: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Podman]:
    """Give podman with an image of busybox; all containers in it are removed."""
    store = tmp_path_factory.mktemp("podman")
    cgroup = new_id()
    podman = Podman(peer("podman"), store, cgroup)
    archive = store / "busybox.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(rootfs, ".")
    podman("import", str(archive), "busybox")
    yield podman
    podman("rm", "--all", "--force", "--time=0")
    remove_cgroup(cgroup)


@pytest.fixture
def name(podman: Podman, container_id: str) -> Iterator[str]:
    """Give the name of a container, and remove it."""
    yield container_id
    podman("rm", "--force", "--ignore", "--time=0", container_id)


def test_output_and_exit_code(podman: Podman) -> None:
    """What a program writes, reads and exits with goes through, under podman's own seccomp profile."""
    assert podman.run("busybox", "sh", "-c", "echo out; exit 3", code=3) == "out\n"
    assert podman.run("-i", "busybox", "cat", stdin="in") == "in"
    assert podman.run("busybox", "grep", "Seccomp:", "/proc/self/status").split() == ["Seccomp:", "2"]


def test_detached(podman: Podman, name: str) -> None:
    """A container in the background logs, is entered, and stops when it is told to, in its own way."""
    podman.start(
        name, "-d", "busybox", "sh", "-c", "trap 'echo told; exit 5' TERM; echo up; while :; do sleep 0.1; done"
    )
    podman.wait_for_log(name, "up\n")
    assert podman("exec", name, "sh", "-c", "echo $0; exit 4", code=4) == "sh\n"
    assert podman("exec", "-i", name, "cat", stdin="in") == "in"
    assert podman("exec", "-t", name, "sh", "-c", "test -t 0 && echo terminal").strip() == "terminal"
    podman("stop", "--time=30", name)
    assert podman.wait_for_log(name, "told\n") == "up\ntold\n"
    assert podman("inspect", "--format={{.State.Status}} {{.State.ExitCode}}", name) == "exited 5\n"


def test_stop_has_a_time_limit(podman: Podman, name: str) -> None:
    """Who does not listen is killed."""
    podman.start(name, "-d", "busybox", "sleep", "1000")
    podman("stop", "--time=0", name)
    assert podman("inspect", "--format={{.State.Status}} {{.State.ExitCode}}", name) == "exited 137\n"


def test_removal_by_force(podman: Podman, name: str) -> None:
    """A container that runs is removed with all it has."""
    podman.start(name, "-d", "busybox", "sleep", "1000")
    podman("rm", "--force", "--time=0", name)
    assert podman("ps", "--all", "--quiet", f"--filter=name={name}") == ""


def test_pause(podman: Podman, name: str) -> None:
    """A container can be stopped for a while."""
    podman.start(name, "-d", "busybox", "sleep", "1000")
    podman("pause", name)
    assert podman("inspect", "--format={{.State.Status}}", name) == "paused\n"
    podman("unpause", name)
    assert podman("inspect", "--format={{.State.Status}}", name) == "running\n"


def test_volumes(podman: Podman, tmp_path: Path) -> None:
    """Directories of the host are mounted, and can be written to unless they are read-only."""
    (tmp_path / "file").write_text("of the host\n")
    assert podman.run("-v", f"{tmp_path}:/mnt/v", "busybox", "sh", "-c", "cat /mnt/v/file; echo new > /mnt/v/more") == (
        "of the host\n"
    )
    assert (tmp_path / "more").read_text() == "new\n"
    podman.run("-v", f"{tmp_path}:/mnt/v:ro", "busybox", "touch", "/mnt/v/file", code=1)


def test_read_only_root(podman: Podman) -> None:
    """Under a read-only root there are places to write to, with what was there before."""
    podman.run("--read-only", "busybox", "touch", "/etc/file", code=1)
    podman.run("--read-only", "busybox", "touch", "/tmp/file", "/run/file")


@pytest.mark.parametrize(("user", "expected"), [("user", "1000 1000"), ("5:7", "5 7")])
def test_users(podman: Podman, user: str, expected: str) -> None:
    """A program runs as a user of the image, or as a number."""
    assert podman.run("--user", user, "busybox", "sh", "-c", 'echo "$(id -u) $(id -g)"') == f"{expected}\n"


@pytest.mark.parametrize(
    ("option", "v1", "v2", "expected"),
    [
        ("--memory=64m", "memory/memory.limit_in_bytes", "memory.max", 64 << 20),
        ("--pids-limit=7", "pids/pids.max", "pids.max", 7),
    ],
)
def test_limits(podman: Podman, option: str, v1: str, v2: str, expected: int) -> None:
    """A container sees its limits in its own cgroup."""
    script = f"cat /sys/fs/cgroup/{v1} 2>&- || cat /sys/fs/cgroup/{v2}"
    assert podman.run(option, "busybox", "sh", "-c", script) == f"{expected}\n"


def test_capabilities(podman: Podman) -> None:
    """A container can be left without any capability."""
    status = podman.run("--cap-drop=all", "busybox", "grep", "Cap", "/proc/self/status").split()
    assert set(status[1::2]) == {"0" * 16}


def test_terminal(podman: Podman) -> None:
    """A program can have a terminal."""
    assert podman.run("-t", "busybox", "sh", "-c", "test -t 0 && test -t 1 && echo terminal").strip() == "terminal"


def test_failed_start(podman: Podman, name: str) -> None:
    """A program that is not there, or cannot be executed, is told by the usual codes, and harms no other container."""
    podman.start(name, "busybox", "/nonexistent", code=127)
    podman.run("busybox", "/etc/passwd", code=126)
    podman("rm", name)
    assert podman.run("busybox", "echo", "fine") == "fine\n"
