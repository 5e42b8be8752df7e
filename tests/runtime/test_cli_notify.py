"""Services of systemd that are containers: what their program says of itself arrives, and nothing else does."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import attrs
import pytest
from command_line import CommandLine

from ocikit import runtime
from ocikit.spec import Mount, User

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ocikit.spec import Spec

_PROGRAM = """
import os, socket, sys, time
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as said:
    said.connect(os.environ["NOTIFY_SOCKET"])
    for message in sys.argv[2:]:
        said.send(message.encode())
time.sleep(float(sys.argv[1]))
"""


@pytest.fixture
def ocikit(root: Path) -> Iterator[CommandLine]:
    """Give our command on the state root of the test, which is emptied at the end."""
    yield CommandLine(root)
    runtime.stop_and_remove(root, prefix="", all=True, timeout=0)


@pytest.fixture
def saying(make_spec: Callable[..., Spec], tmp_path: Path) -> Callable[..., Path]:
    """Make bundles with Python in them: a program of another user that says something and waits a while."""
    places = {os.path.realpath(path) for path in ("/usr", "/lib", "/lib64", sys.base_prefix) if os.path.exists(path)}
    targets = {"/lib": os.path.realpath("/lib"), "/lib64": os.path.realpath("/lib64")} | {one: one for one in places}
    mounts = tuple(
        Mount(destination=target, source=source, options=("rbind", "ro")) for target, source in targets.items()
    )

    def make(seconds: int, *messages: str) -> Path:
        python = os.path.realpath(sys.executable)
        spec = make_spec(python, "-S", "-c", _PROGRAM, str(seconds), *messages, process={"user": User(uid=1, gid=1)})
        (tmp_path / "config.json").write_bytes(attrs.evolve(spec, mounts=(*spec.mounts, *mounts)).to_json())
        return tmp_path

    return make


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Be systemd, which waits for a word of what is started now."""
    path = str(tmp_path / "systemd.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(path)
        listening.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        yield listening


def hear(systemd: socket.socket, messages: int = 3) -> list[bytes]:
    """Return what is said, which whoever says it is told to be read."""
    heard = []
    for _ in range(messages):
        data, fds, *_ = socket.recv_fds(systemd, 4096, 1)
        for fd in fds:
            os.close(fd)
        heard.append(data)
    return heard


def nothing_heard(systemd: socket.socket) -> bool:
    """Tell whether nothing was said so far."""
    systemd.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        return not systemd.recv(4096)
    return True


def begin(ocikit: CommandLine, *words: str) -> subprocess.Popen[bytes]:
    """Begin a command that waits for the program, and for systemd."""
    return subprocess.Popen(ocikit.words(*words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("apart", [False, True])
def test_a_service_is_ready_when_its_program_is(
    ocikit: CommandLine, saying: Callable[..., Path], systemd: socket.socket, container_id: str, *, apart: bool
) -> None:
    """By run as by create and start; the service is the container from then on; nothing else that is said counts."""
    bundle = saying(1000, "STATUS=busy", "MAINPID=1", "WATCHDOG=trigger\nREADY=1\nMAINPID=1")
    if apart:
        ocikit.works("create", "-b", str(bundle), container_id)
        assert nothing_heard(systemd)
        systemd.settimeout(30)
        words: tuple[str, ...] = ("start", container_id)
    else:
        words = ("run", "--detach", "-b", str(bundle), container_id)
    with begin(ocikit, *words) as command:
        heard = hear(systemd)
        assert command.wait(30) == 0
    pid = ocikit.state(container_id)["pid"]
    assert heard == [b"READY=1\n", b"MAINPID=%d\n" % pid, b"BARRIER=1"]
    ocikit.works("delete", "--force", container_id)
    assert os.listdir(ocikit.root) == []


def test_in_the_foreground_the_command_is_the_service(
    ocikit: CommandLine, saying: Callable[..., Path], systemd: socket.socket, container_id: str
) -> None:
    """It ends with the container, and gets its signals."""
    with begin(ocikit, "run", "-b", str(saying(1000, "READY=1")), container_id) as command:
        assert hear(systemd) == [b"READY=1\n", b"MAINPID=%d\n" % command.pid, b"BARRIER=1"]
        runtime.load(ocikit.root, container_id).kill()
        assert command.wait(30) == 137


def test_who_ends_without_a_word_is_waited_for_no_longer(
    ocikit: CommandLine, saying: Callable[..., Path], systemd: socket.socket, container_id: str
) -> None:
    """Start returns, and systemd has heard nothing: READY is a word, and no beginning of one."""
    ocikit.works("run", "--detach", "-b", str(saying(0, "READY=10", "NOT-READY=1")), container_id)
    assert nothing_heard(systemd)


def test_nobody_listens(
    ocikit: CommandLine, saying: Callable[..., Path], container_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A systemd that is gone is no reason to end a container that runs: it is said."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody.sock"))
    done = ocikit("run", "--detach", "-b", str(saying(1000, "READY=1")), container_id)
    assert done.returncode == 0, done.stderr
    assert "systemd was not told that the container is ready" in done.stderr
    assert ocikit.status(container_id) == "running"


def test_without_systemd_nothing_is_made(
    ocikit: CommandLine, bundle: Path, container_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No directory, no mount; and who starts a container that was made so waits for nothing."""
    ocikit.works("create", "-b", str(bundle), container_id)
    assert not (ocikit.root / container_id / "notify").exists()
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    ocikit.works("start", container_id)
    assert ocikit.status(container_id) == "running"
