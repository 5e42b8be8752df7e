"""Attacks on those who come into a container: on the way in they are looked at, traced, signalled and lied to.

That a container which watches further processes gets nothing of the host is shown in ``test_exec_hostile.py``; here are
those that do more than watch, the making of containers, and what a launcher makes of lies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from attacking import HUNTER, add_program
from launching import default_spec, make_rootfs, run_plan

from ocikit import _sys, runtime
from ocikit.errors import NotRunningError, OCIKitError, SetupError
from ocikit.runtime.launch import launch
from ocikit.runtime.plan.steps import NO_SLOT, Op, Plan, Step, Sync
from ocikit.spec import LinuxCapabilities, LinuxIDMapping, LinuxNamespace, Root, Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

QUIET: dict[str, Any] = {"stdin": "null", "stdout": "null", "stderr": "null"}

ORDINARY = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP",
    "CAP_NET_RAW", "CAP_SYS_CHROOT", "CAP_MKNOD", "CAP_SETFCAP",
)  # fmt: skip
MAPPED = {
    name: (LinuxIDMapping(container_id=0, host_id=300_000, size=65_536),) for name in ("uid_mappings", "gid_mappings")
}


@pytest.fixture
def open_to_users(tmp_path: Path) -> Iterator[None]:
    """Let users of user namespaces pass through the directories of the test, which pytest keeps to itself."""
    parents = [tmp_path, *tmp_path.parents][:3]
    modes = [parent.stat().st_mode for parent in parents]
    for parent in parents:
        parent.chmod(parent.stat().st_mode | 0o011)
    yield
    for parent, mode in zip(parents, modes, strict=True):
        parent.chmod(mode)


@pytest.fixture
def lair(tmp_path: Path) -> Path:
    """Give a root file system with the hunter in it."""
    path = make_rootfs(tmp_path / "lair")
    for name in ("dev", "proc", "sys"):
        (path / name).mkdir()
    add_program(path / "bin", "hunter", HUNTER)
    return path


#: What a container may have without being the host: processes to trace, and users of its own.
RIGHTS: list[set[str]] = [set(), {"users"}, {"trace"}, {"trace", "users"}]


def hunting(spec: Spec, lair: Path, rights: set[str]) -> Spec:
    """Return the configuration of a container that hunts."""
    names = (*ORDINARY, "CAP_SYS_PTRACE") if "trace" in rights else ORDINARY
    spec = spec.with_process(capabilities=LinuxCapabilities(bounding=names, effective=names, permitted=names))
    assert spec.linux is not None
    if "users" in rights:
        spec = spec.with_linux(namespaces=(*spec.linux.namespaces, LinuxNamespace(type="user")), **MAPPED)
    return attrs.evolve(spec, root=Root(path=str(lair)))


@contextlib.contextmanager
def hunted(root: Path, container_id: str, bundle: Path, spec: Spec) -> Iterator[tuple[runtime.Container, set[str]]]:
    """Run a container that hunts; at the end of the block, the set has what it got."""
    got: set[str] = set()
    with runtime.create(root, container_id, bundle, spec=spec, stdin="null", stdout="pipe") as container:
        container.start()
        assert container.stdout is not None
        assert container.stdout.readline() == b"ready\n"
        yield container, got
        with contextlib.suppress(NotRunningError):
            container.kill()
        got.update(container.stdout.read().decode().split())


# ------------------------------------------------------------------------------------------------ while they come in


@pytest.mark.parametrize("rights", RIGHTS, ids=lambda rights: " ".join(sorted(rights)) or "ordinary")
@pytest.mark.usefixtures("open_to_users")
def test_signals_for_newcomers(
    root: Path, make_spec: Callable[..., Spec], lair: Path, container_id: str, rights: set[str]
) -> None:
    """Who is signalled on the way in ends, or comes to its program; the launcher is told, and nobody stays behind."""
    spec = hunting(make_spec("hunter", "0"), lair, rights)
    outcomes = set()
    with hunted(root, container_id, lair.parent, spec) as (container, got):
        for number in range(25):
            try:
                process = container.exec(["sh", "-c", f"exit {number}"], **QUIET)
            except OCIKitError as error:
                outcomes.add(type(error).__name__)
                continue
            ended = process.wait(timeout=60)
            assert ended.exit_code == number or ended.signal is not None
            outcomes.add("came in")
        while container.processes() != [container.pid]:
            os.sched_yield()  # who was killed on its way may still have to be reaped
    assert {"seen", "signalled"} <= got
    if rights != {"trace"}:
        assert got == {"seen", "signalled"}
    assert outcomes <= {"came in", "SetupError"}


@pytest.mark.parametrize(
    "rights", [one for one in RIGHTS if one != {"trace"}], ids=lambda rights: " ".join(sorted(rights)) or "ordinary"
)
@pytest.mark.usefixtures("open_to_users")
def test_containers_that_join_the_pid_namespace_of_a_hunter(
    root: Path, make_spec: Callable[..., Spec], lair: Path, new_id: Callable[[], str], rights: set[str]
) -> None:
    """Who is made in somebody else's pid namespace is seen there, with the rights of the host, and cannot be touched.

    (Who may trace with the rights of the host's users is not kept from it by the kernel; docs/security.md says so.)
    """
    spec = hunting(make_spec("hunter"), lair, rights)
    with hunted(root, new_id(), lair.parent, spec) as (container, got):
        base = make_spec("true")
        assert base.linux is not None
        namespaces = (
            *(one for one in base.linux.namespaces if one.type != "pid"),
            LinuxNamespace(type="pid", path=f"/proc/{container.pid}/ns/pid"),
        )
        spec = base.with_linux(namespaces=namespaces)
        for _ in range(12):
            with runtime.create(root, new_id(), lair.parent, spec=spec, **QUIET) as made:
                made.start()
                assert made.wait(timeout=60).exit_code == 0
    assert got == {"seen"}


def test_a_newcomer_that_is_stopped(root: Path, make_spec: Callable[..., Spec], lair: Path, container_id: str) -> None:
    """Who is stopped on the way in keeps its launcher waiting, and no longer than the container lives."""
    spec = hunting(make_spec("hunter", str(int(signal.SIGSTOP))), lair, set())
    failures: list[OCIKitError] = []

    def enter() -> None:
        while not failures:
            try:
                with container.exec(["true"], **QUIET):
                    pass  # it may have been stopped when it had come in
            except OCIKitError as error:
                failures.append(error)

    with hunted(root, container_id, lair.parent, spec) as (container, got):
        thread = threading.Thread(target=enter)
        thread.start()
        while not any(is_stopped(pid) for pid in container.processes()):
            os.sched_yield()
        container.kill()
        thread.join(timeout=60)
        assert not thread.is_alive()
    assert len(failures) == 1
    assert "seen" in got  # that it was stopped was seen from here; the hunter may not have come to say so


def is_stopped(pid: int) -> bool:
    """Tell whether somebody is stopped on the way to its program."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return "(ocikit:" in (text := file.read()) and text.rpartition(")")[2].split()[0] == "T"
    return False


# ------------------------------------------------------------------------------------------- the file of the helper


def take_mode(file: str) -> None:
    """Let nobody execute it."""
    os.chmod(file, 0)
    os.chown(file, 1, 1)


def open_for_writing(file: str) -> int:
    """Keep it open for writing, which keeps the kernel from executing it."""
    return os.open(file, os.O_RDWR)


def take_lease(file: str) -> int:
    """Take a lease, for which everybody who executes it has to wait."""
    fd = os.open(file, os.O_RDONLY)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    return fd


@pytest.mark.parametrize("spoil", [take_mode, open_for_writing, take_lease])
def test_who_gets_hold_of_the_helper(
    root: Path, bundle: Path, new_id: Callable[[], str], spoil: Callable[[str], int | None]
) -> None:
    """Nobody can write to what newcomers execute (CVE-2019-5736); what else is done to it harms nobody else."""
    with runtime.create(root, new_id(), bundle, **QUIET) as container:
        held = os.open(f"/proc/{container.pid}/exe", os.O_PATH)
        with pytest.raises(OSError, match=r"Text file busy|not permitted"):
            os.open(f"/proc/self/fd/{held}", os.O_WRONLY)
    taken = spoil(f"/proc/self/fd/{held}")
    try:
        if taken is not None and spoil is open_for_writing:
            for change in (lambda: os.write(taken, b"x"), lambda: os.ftruncate(taken, 0)):
                with pytest.raises(PermissionError):
                    change()
        with runtime.create(root, new_id(), bundle, **QUIET) as container:
            container.start()
            assert container.exec(["true"], **QUIET).wait(timeout=60).exit_code == 0
    finally:
        for fd in (held, taken):
            if fd is not None:
                os.close(fd)


def test_a_script_that_is_executed_by_itself(tmp_path: Path) -> None:
    """A program whose interpreter is /proc/self/exe executes the helper, which has nothing to do (CVE-2019-5736)."""
    rootfs = make_rootfs(tmp_path / "rootfs")
    for text in ("#!/proc/self/exe\n", "#!/proc/thread-self/exe -x\n", "#!/proc/1/exe\n"):
        (rootfs / "bin/evil").write_text(text)
        (rootfs / "bin/evil").chmod(0o755)
        assert run_plan(tmp_path, default_spec("evil")).code == 255


# ------------------------------------------------------------------------------------------------------------- lies

MESSAGE = struct.Struct("=IIiI")
PID, SYNC, READY, FAILED = 1, 2, 3, 4

#: Like the plan of a further process: it asks for something, once.
PLAN = Plan(
    (
        Step(Op.CLONE, "make the process", (0, NO_SLOT)),
        Step(Op.SYNC, "take the terminal", (Sync.CONSOLE, NO_SLOT)),
        Step(Op.READY, "wait for the launcher"),
    )
)


def say(said: int, step: int, value: int) -> bytes:
    """Return a message as the helper would send it."""
    return MESSAGE.pack(said, step, value, 0)


LIES: dict[str, list[bytes]] = {
    "a process without a descriptor": [say(PID, 0, 1)],
    "nothing and the end": [],
    "words without a message": [b"x"],
    "a large message": [b"x" * 60_000],
    "something unheard of": [say(77, 0, 0)] * 5,
    "a step that there is not": [say(FAILED, 3, 1)],
    "a step far away": [say(FAILED, 2**32 - 2, 1)],
    "an errno that there is not": [say(FAILED, 0, -(2**31))],
    "a question before its time": [say(SYNC, 0, Sync.CONSOLE)],
    "a question of another plan": [say(SYNC, 0, Sync.ID_MAPS)],
    "a question that there is not": [say(SYNC, 0, 4711)],
    "ready before it began": [say(READY, 2, 0)],
}

LIES_OF_INIT: dict[str, list[bytes]] = {
    "a question of another plan": [say(SYNC, 1, Sync.ID_MAPS)],
    "a question that there is not": [say(SYNC, 1, -1)],
    "a question of a step that asks nothing": [say(SYNC, 2, Sync.CONSOLE)],
    "a mount of a step that makes none": [say(SYNC, 1, Sync.MOUNT)],
    "a question far away": [say(SYNC, 2**32 - 1, Sync.CONSOLE)],
    "words without a message": [b""],
    "a failure of a step that there is not": [say(FAILED, 1000, 5)],
    "something unheard of": [say(0, 0, 0)] * 5,
}


@pytest.fixture
def liar(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[list[tuple[bytes, list[int]]]], None]]:
    """Let somebody else say what the helper would say; no descriptor of it may be left at the end."""
    before = set(os.listdir("/proc/self/fd"))

    def set_up(lies: list[tuple[bytes, list[int]]]) -> None:
        def start_helper(_: object, fds: list[int]) -> None:
            channel = socket.socket(fileno=os.dup(fds[4]))
            with channel:
                for message, passed in lies:
                    socket.send_fds(channel, [message], passed) if passed else channel.send(message)

        monkeypatch.setattr(_sys, "start_helper", start_helper)

    yield set_up
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("kind", LIES)
def test_lies_of_the_helper(kind: str, liar: Callable[[list[tuple[bytes, list[int]]]], None]) -> None:
    """What is said in place of the helper is an error of its own kind, and nothing is done."""
    with open("/dev/null") as file:
        for passed in ([], [file.fileno()] * 4):
            liar([(message, passed) for message in LIES[kind]])
            with pytest.raises(SetupError), launch(PLAN, stdio=(0, 1, 2), passed={}):
                pytest.fail("it was believed")


@pytest.mark.parametrize("kind", LIES_OF_INIT)
def test_lies_of_init(kind: str, liar: Callable[[list[tuple[bytes, list[int]]]], None]) -> None:
    """Who traces a process on its way in, and speaks for it, gets nothing done that its plan does not have."""
    asked: list[int] = []
    answers = {Sync.CONSOLE: lambda _, fd: asked.append(fd)}
    sleeper = os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
    pidfd = os.pidfd_open(sleeper)
    with open("/dev/null") as file:
        liar(
            [
                (say(PID, 0, sleeper), [pidfd]),
                *((message, [file.fileno()] * 3) for message in LIES_OF_INIT[kind]),
            ]
        )
        with pytest.raises(SetupError), launch(PLAN, stdio=(0, 1, 2), passed={}, answers=answers) as started:
            started.ready()
    os.close(pidfd)
    assert asked == []
    with pytest.raises(ChildProcessError):
        os.waitpid(sleeper, 0)  # it was killed and reaped, as it would have been init


def test_another_process_than_the_one_that_is_named(liar: Callable[[list[tuple[bytes, list[int]]]], None]) -> None:
    """The number of a process counts only with its descriptor: whoever took it for init would signal a stranger."""
    stranger, known = (os.posix_spawn("/bin/sleep", ["sleep", "1000"], {}) for _ in range(2))
    pidfd = os.pidfd_open(known)
    liar([(say(PID, 0, stranger), [pidfd]), (say(READY, 2, 0), [])])
    os.close(pidfd)
    with (
        pytest.raises(SetupError, match="interfered"),
        launch(PLAN, stdio=(0, 1, 2), passed={}),
    ):
        pytest.fail("it was believed")
    for pid in (stranger, known):
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
