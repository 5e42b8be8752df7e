"""Terminals: of containers and of further processes, held here or handed to a console socket."""

from __future__ import annotations

import os
import re
import select
import shutil
import socket
import termios
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import pytest
from executing import output

from ocikit import runtime
from ocikit.errors import SetupError
from ocikit.spec import Box, LinuxIDMapping, LinuxNamespace, Mount, Process, Root, Spec, User

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from peer_runc import Runc

READY = b"ready"

#: Carries out line by line what is typed; says with its exit code how it came to an end.
SHELL = ("sh", "-c", "trap 'exit 8' HUP; trap : INT; while read -r line; do eval \"$line\"; done; exit 9")
TERMINAL: dict[str, Any] = {"terminal": True}
CORE_PATTERN = "/proc/sys/kernel/core_pattern"


def until(console: runtime.Console, end: bytes, seconds: float = 30.0) -> str:
    """Read until something was written, or until nobody writes any more; return all of it."""
    found, deadline = b"", time.monotonic() + seconds
    while end not in found and (left := deadline - time.monotonic()) > 0:
        if select.select([console], [], [], left)[0]:
            piece = console.read()
            if not piece:
                break
            found += piece
    return found.decode().replace("\r\n", "\n")


@pytest.fixture
def started(root: Path, make_bundle: Callable[..., Path], container_id: str) -> Iterator[runtime.Container]:
    """Give a running container whose program is a shell with a terminal of 33 rows and 77 columns."""
    process = {**TERMINAL, "console_size": Box(height=33, width=77)}
    with runtime.create(root, container_id, make_bundle(*SHELL, process=process)) as container:
        container.start()
        yield container


def ask(container: runtime.Container, line: str) -> list[str]:
    """Type a line into the shell of a container; return the words that came back."""
    assert container.console is not None
    container.console.write(f"{line}; echo 'the' 'end'\n".encode())
    echo_and_answer = until(container.console, b"the end")
    return echo_and_answer.partition("'end'\n")[2].partition("the end")[0].split()


def test_a_container_has_a_terminal(started: runtime.Container) -> None:
    """Its three streams are one terminal of its own devpts, which is /dev/console, too, and controls its session."""
    assert started.console is not None
    assert started.stdin is None
    assert started.console.size() == (33, 77)
    assert ask(started, "tty") == ["/dev/pts/0"]
    assert ask(started, "stty size") == ["33", "77"]
    assert ask(started, "for fd in 0 1 2; do readlink /proc/$$/fd/$fd; done") == ["/dev/pts/0"] * 3
    assert ask(started, "stat -c %t:%T /dev/pts/0 /dev/console") == ["88:0", "88:0"]
    assert ask(started, "stat -c %u:%g:%a /dev/console") == ["0:5:620"]
    assert ask(started, "echo yes > /dev/tty") == ["yes"]


def test_keys_are_signals(started: runtime.Container) -> None:
    """The terminal controls the session: Ctrl-C reaches what is in the foreground."""
    assert started.console is not None
    started.console.write(b"sleep 1000; echo code $?\n")
    while len(started.processes()) < 2:
        os.sched_yield()
    shown = ""
    while "code 130" not in shown:  # a shell that is about to execute sleep may take the signal for itself
        started.console.write(b"\x03")
        shown += until(started.console, b"code 130", 0.2)


def test_resizing(started: runtime.Container) -> None:
    """Programs see the new size; an impossible one is refused."""
    assert started.console is not None
    started.console.resize(50, 120)
    assert started.console.size() == (50, 120)
    assert ask(started, "stty size") == ["50", "120"]
    with pytest.raises(ValueError, match="65535"):
        started.console.resize(1 << 16, 80)


def test_raw_bytes(started: runtime.Container) -> None:
    """In raw mode bytes pass as they are, in both directions."""
    assert started.console is not None
    started.console.raw()
    started.console.write(b"head -c 3; echo; echo finished\n")
    while len(started.processes()) < 2:
        os.sched_yield()
    started.console.write(b"\x03\x04\r")
    found = b""
    while not found.endswith(b"finished\n"):
        found += started.console.read()
    assert found == b"\x03\x04\r\nfinished\n"


def test_hanging_up(started: runtime.Container) -> None:
    """Closing the console ends who is at the other side."""
    assert started.console is not None
    assert ask(started, "echo ready") == ["ready"]
    started.console.close()
    started.console.close()
    assert started.wait(timeout=30).exit_code in {8, 9}
    with pytest.raises(ValueError, match="closed"):
        started.console.fileno()


def test_it_belongs_to_the_user(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """Whoever the program runs as can open its terminal again, by every name."""
    script = "echo a > /dev/console; echo b > $(tty); stat -c %u /dev/console; echo ready; sleep 1000"
    bundle = make_bundle("sh", "-c", script, process={**TERMINAL, "user": User(uid=1000, gid=1000)})
    with runtime.create(root, container_id, bundle) as container:
        container.start()
        assert container.console is not None
        assert until(container.console, READY).split() == ["a", "b", "1000", "ready"]


def test_with_users_of_its_own(root: Path, make_bundle: Callable[..., Path], container_id: str, tmp_path: Path) -> None:
    """In a user namespace the terminal is one of its devpts, and belongs to its users; the same for further ones."""
    parents = [tmp_path, *list(tmp_path.parents)[:3]]
    modes = [parent.stat().st_mode for parent in parents]
    for parent in parents:
        parent.chmod(parent.stat().st_mode | 0o011)
    assert Spec.default().linux is not None
    ids = (LinuxIDMapping(container_id=0, host_id=300_000, size=65_536),)
    kinds = tuple(LinuxNamespace(type=kind) for kind in ("user", "pid", "network", "ipc", "uts", "mount"))
    bundle = make_bundle(
        "sh", "-c", "tty; stat -c %u:%g /dev/console; echo ready; sleep 1000",
        process={**TERMINAL, "user": User(uid=7, gid=7)},
        linux={"namespaces": kinds, "uid_mappings": ids, "gid_mappings": ids},
    )  # fmt: skip
    try:
        with runtime.create(root, container_id, bundle) as container:
            container.start()
            assert container.console is not None
            assert until(container.console, READY).split() == ["/dev/pts/0", "7:5", "ready"]
            with container.exec(["sh", "-c", "tty; stat -c %u:%g $(tty); echo ready"], terminal=True) as process:
                assert process.console is not None
                assert until(process.console, READY).split() == ["/dev/pts/1", "7:5", "ready"]
    finally:
        for parent, mode in zip(parents, modes, strict=True):
            parent.chmod(mode)


# -------------------------------------------------------------------------------------------------- further processes


def test_a_further_process_has_a_terminal(started: runtime.Container) -> None:
    """It is another one than that of the container, whose console stays what it is."""
    script = "tty; readlink /proc/$$/fd/2; echo also > /dev/tty; stat -c %t:%T /dev/console; echo ready; exit 4"
    with started.exec(["sh", "-c", script], terminal=True) as process:
        assert process.console is not None
        assert until(process.console, READY).split() == ["/dev/pts/1", "/dev/pts/1", "also", "88:0", "ready"]
        assert process.wait(timeout=30).exit_code == 4
        assert process.console.read() in {b"\r\n", b""}


def test_the_size_of_a_further_one(started: runtime.Container) -> None:
    """A process says how large its terminal is."""
    size = Box(height=11, width=22)
    process = Process(
        args=("sh", "-c", "stty size; echo ready"), cwd="/", env=("PATH=/bin",), terminal=True, console_size=size
    )
    with started.exec(process) as one:
        assert one.console is not None
        assert until(one.console, READY).split() == ["11", "22", "ready"]


def test_in_a_container_of_runc(runc: Runc, root: Path, bundle: Path, container_id: str) -> None:
    """Terminals are made in containers of runc as well."""
    runc.create(container_id, bundle)
    runc("start", container_id)
    with runtime.load(root, container_id).exec(["sh", "-c", "tty; echo ready"], terminal=True) as process:
        assert process.console is not None
        assert until(process.console, READY).split() == ["/dev/pts/0", "ready"]


def test_arguments_alone_have_no_terminal(started: runtime.Container) -> None:
    """That the first process has a terminal says nothing about further ones."""
    assert output(started, "sh", "-c", "tty || true") == "not a tty"


def test_a_run_with_a_terminal(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """What a program writes to its terminal is its output; its input is typed, and ends."""
    script = "tty; while read -r line; do echo got $line; done; echo end"
    bundle = make_bundle("sh", "-c", script, process=TERMINAL)
    done = runtime.run(root, container_id, bundle, input=b"one\ntwo\n", timeout=60)
    assert (done.exit_code, done.stderr) == (0, b"")
    # What is typed is shown, too, as it is at every terminal.
    assert re.search(r"/dev/pts/0\r\n.*got one\r\n.*got two\r\n.*end\r\n$", done.stdout.decode(), re.DOTALL)
    assert runtime.run(root, container_id, make_bundle("sh", "-c", "tty", process=TERMINAL)).stdout == b"/dev/pts/0\r\n"


def test_a_run_with_a_terminal_where_nobody_types(
    root: Path, make_bundle: Callable[..., Path], container_id: str
) -> None:
    """Without input a shell finds the end of it, rather than wait for ever."""
    bundle = make_bundle("sh", "-c", "cat; echo over", process=TERMINAL)
    assert runtime.run(root, container_id, bundle, timeout=60).stdout == b"over\r\n"


def test_communicating_by_terminal(started: runtime.Container) -> None:
    """A further process that has a terminal is fed and read by it."""
    with started.exec(["sh", "-c", "stty -echo; cat; exit 2"], terminal=True) as process:
        done = process.communicate(b"typed\n", timeout=60)
    assert done.exit_code == 2
    assert b"typed\r\n" in done.stdout


# ----------------------------------------------------------------------------------------------------- console sockets


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """Give a socket that somebody listens at, and its path."""
    path = str(tmp_path / "console.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        yield listener, path


def received(listener: socket.socket) -> runtime.Console:
    """Take the descriptor that was sent."""
    connection, _ = listener.accept()
    with connection:
        name, fds, _, _ = socket.recv_fds(connection, 4096, 4)
        assert name.startswith(b"/dev/")
        assert len(fds) == 1
        assert connection.recv(1) == b""
    return runtime.Console(fds[0])


def test_a_console_socket_gets_the_terminal(
    root: Path, make_bundle: Callable[..., Path], container_id: str, listening: tuple[socket.socket, str]
) -> None:
    """It gets one descriptor with its name in one message, as soon as the container is created; nobody else has it."""
    listener, path = listening
    options = runtime.CreateOptions(console_socket=path)
    with runtime.create(root, container_id, make_bundle(*SHELL, process=TERMINAL), options=options) as container:
        assert container.console is None
        with received(listener) as console:
            container.start()
            console.write(b"echo rea''dy\n")
            assert "ready" in until(console, READY)
        assert container.wait(timeout=30).exit_code in {8, 9}


def test_a_console_socket_for_a_further_process(
    started: runtime.Container, listening: tuple[socket.socket, str]
) -> None:
    """The same for processes that come later."""
    listener, path = listening
    with started.exec(["sh", "-c", "echo ready"], terminal=True, console_socket=path) as process:
        assert process.console is None
        with received(listener) as console:
            assert until(console, READY).strip() == "ready"


@pytest.mark.parametrize("where", ["missing.sock", "config.json", "x" * 200])
def test_a_console_socket_that_nobody_listens_at(
    root: Path, make_bundle: Callable[..., Path], container_id: str, where: str
) -> None:
    """It is an error before anything is made."""
    bundle = make_bundle(process=TERMINAL)
    options = runtime.CreateOptions(console_socket=str(bundle / where))
    with pytest.raises(SetupError, match="console socket"):
        runtime.create(root, container_id, bundle, options=options)
    assert not (root / container_id).exists()


def test_a_console_socket_without_a_terminal(root: Path, bundle: Path, container_id: str, tmp_path: Path) -> None:
    """A socket that would get nothing is a mistake."""
    options = runtime.CreateOptions(console_socket=str(tmp_path / "console.sock"))
    with pytest.raises(ValueError, match="no terminal"):
        runtime.create(root, container_id, bundle, options=options)


# ------------------------------------------------------------------------------------------------------ hostile images


class Hostile(NamedTuple):
    """A root file system to be filled, and how to make a container with a terminal of it."""

    image: Path
    create: Callable[..., runtime.Container]


@pytest.fixture
def hostile(root: Path, make_spec: Callable[..., Spec], rootfs: Path, tmp_path: Path, container_id: str) -> Hostile:
    """Give a root file system whose owner wants to get out of it."""
    image = tmp_path / "image"
    # Without its devices, if it should have some: to copy one is to read it.
    shutil.copytree(rootfs, image, symlinks=True, ignore=shutil.ignore_patterns("dev"))
    (image / "dev").mkdir()

    def create(*more: Mount, without: tuple[str, ...]) -> runtime.Container:
        mounts = (*(mount for mount in Spec.default().mounts if mount.destination not in without), *more)
        spec = attrs.evolve(make_spec(process=TERMINAL, mounts=mounts), root=Root(path=str(image)))
        return runtime.create(root, container_id, tmp_path, spec=spec)

    return Hostile(image, create)


DEV = ("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
ALL_BUT_PTS = ("/dev", "/dev/shm", "/dev/mqueue")


@pytest.mark.parametrize("kind", ["nothing", "directory", "file", "fifo", "device", "link to the host's"])
def test_what_only_looks_like_a_devpts(hostile: Hostile, kind: str) -> None:
    """No terminal is made by anything but the multiplexer of a devpts that is mounted in the container."""
    pts = hostile.image / "dev/pts"
    if kind != "nothing":
        pts.mkdir(parents=True)
    if kind == "file":
        (pts / "ptmx").write_text("mine")
    elif kind == "fifo":
        os.mkfifo(pts / "ptmx")
    elif kind == "device":
        os.mknod(pts / "ptmx", 0o020666, os.makedev(5, 2))
    elif kind == "link to the host's":
        pts.rmdir()
        pts.symlink_to("/dev/pts")
    with pytest.raises(SetupError, match="make terminal") as caught:
        hostile.create(without=DEV)
    assert "devpts" in str(caught.value)


@pytest.mark.parametrize("target", [CORE_PATTERN, "/etc/target", "../../../../../../etc/target", "/nowhere"])
def test_a_console_that_is_a_link(hostile: Hostile, target: str) -> None:
    """The terminal is not shown where a link of the image points to, in the container or elsewhere (CVE-2025-52565)."""
    with open(CORE_PATTERN, encoding="ascii") as file:
        before = file.read()
    (hostile.image / "etc/target").write_text("untouched")
    (hostile.image / "dev/console").symlink_to(target)
    with pytest.raises(SetupError, match="make terminal"):
        hostile.create(without=ALL_BUT_PTS)
    with open(CORE_PATTERN, encoding="ascii") as file:
        assert file.read() == before
    assert (hostile.image / "etc/target").read_text() == "untouched"
    assert not (hostile.image / "nowhere").exists()


def test_a_console_that_somebody_else_put_there(hostile: Hostile, tmp_path: Path) -> None:
    """What a volume shows at /dev/console is covered by the container's own terminal, and left as it is."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    volume = Mount(destination="/dev/console", type="bind", source=str(secret), options=("bind",))
    with hostile.create(volume, without=ALL_BUT_PTS) as container:
        container.start()
        assert output(container, "stat", "-c", "%t:%T", "/dev/console") == "88:0"
        assert container.console is not None
        assert termios.tcgetattr(container.console.fileno())
    assert secret.read_text() == "secret"


def test_a_multiplexer_that_is_covered(hostile: Hostile, tmp_path: Path) -> None:
    """Something that is mounted over the multiplexer is not taken for it."""
    other = tmp_path / "ptmx"
    os.mknod(other, 0o020666, os.makedev(5, 2))
    cover = Mount(destination="/dev/pts/ptmx", type="bind", source=str(other), options=("bind",))
    with pytest.raises(SetupError, match="make terminal"):
        hostile.create(cover, without=())
