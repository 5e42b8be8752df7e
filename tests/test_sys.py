"""The door to the C: what is started and received through it, and that both sides mean the same steps."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import signal
import socket
import struct
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from ocikit import _sys
from ocikit.runtime.plan.compiler import CgroupMount, Surroundings, compile_plan
from ocikit.runtime.plan.steps import ANY, Op
from ocikit.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Iterator

P_PIDFD = 3
WALL = 0x4000_0000
MESSAGE = struct.Struct("=IIiI")


def reap(process: _sys.Spawned) -> int:
    """Wait for a process and close its descriptor; return its exit code, or a signal as a negative number."""
    ended = os.waitid(P_PIDFD, process.pidfd, os.WEXITED | WALL)
    process.close()
    assert ended is not None
    assert ended.si_pid == process.pid
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def run_shell(script: str, *more: int) -> tuple[int, str]:
    """Run a script by a shell that is started by ``spawn``; return its exit code and what it wrote."""
    shell = os.open("/bin/sh", os.O_RDONLY)
    source = os.memfd_create("script")
    os.write(source, script.encode())
    os.lseek(source, 0, os.SEEK_SET)
    output = os.memfd_create("output")
    process = _sys.Spawned()
    try:
        _sys.spawn(process, shell, [source, output, output, *more])
        code = reap(process)
        os.lseek(output, 0, os.SEEK_SET)
        return code, os.read(output, 1 << 20).decode()
    finally:
        for fd in (shell, source, output):
            os.close(fd)


def test_both_sides_know_the_same_steps() -> None:
    """The table of the C and that of Python have the same names with the same numbers."""
    assert [name for name, _ in _sys.wire_operations()] == [op.name for op in sorted(Op)]
    assert [op.value for op in sorted(Op)] == list(range(len(Op)))


def without_terminal(rootless: bool) -> Spec:  # noqa: FBT001
    """Return the default configuration, whose program has no terminal."""
    spec = Spec.default(rootless=rootless)
    assert spec.process is not None
    return attrs.evolve(spec, process=attrs.evolve(spec.process, terminal=False))


def test_the_planner_gives_each_step_its_strings() -> None:
    """Every step of a plan has as many strings as the helper takes for it, and no more than five numbers."""
    takes = {Op[name]: strings for name, strings in _sys.wire_operations()}
    assert set(takes.values()) == {0, 1, 2, ANY}
    around = Surroundings(
        bundle="/bundle",
        cgroup_join=("/sys/fs/cgroup/pids/a/tasks",),
        cgroup_mounts=(CgroupMount(name="pids", path="/sys/fs/cgroup/pids/a", options=("pids",)),),
    )
    steps = [step for rootless in (False, True) for step in compile_plan(without_terminal(rootless), around).steps]
    assert len({step.op for step in steps}) > len(Op) // 2
    for step in steps:
        assert len(step.strings) == takes[step.op] or (takes[step.op] == ANY and step.strings), step
        assert len(step.arguments) <= 5, step


def test_a_program_gets_its_descriptors_and_no_other() -> None:
    """Descriptors become 0, 1, 2, … in the order given, however they lay before; nothing else is inherited."""
    low = os.open("/dev/zero", os.O_RDONLY)
    os.set_inheritable(low, True)
    high = fcntl.fcntl(low, fcntl.F_DUPFD, 700)
    reader, writer = os.pipe()
    try:
        script = "for fd in 0 1 2 3 4 5 6 7 8 9 10 11 12; do readlink /proc/$$/fd/$fd || echo none; done"
        code, output = run_shell(script, high, reader, low, high)
    finally:
        for fd in (low, high, reader, writer):
            os.close(fd)
    lines = output.splitlines()
    assert code == 0
    assert [line.partition(":")[0] for line in lines[:3]] == ["/memfd", "/memfd", "/memfd"]
    assert [line.partition(":")[0] for line in lines[3:]] == [
        "/dev/zero",
        "pipe",
        "/dev/zero",
        "/dev/zero",
        *["none"] * 6,
    ]


def test_a_program_gets_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the host's environment reaches the program."""
    monkeypatch.setenv("SECRET_OF_THE_HOST", "secret")
    assert run_shell("tr '\\0' '\\n' </proc/self/environ | grep -c SECRET; exit 7") == (7, "0\n")


def test_a_program_that_cannot_be_executed_is_an_error(tmp_path: Path) -> None:
    """The error of execve is raised, and the process that failed is there to be reaped; no descriptor is lost."""
    (tmp_path / "text").write_text("no program")
    (tmp_path / "text").chmod(0o700)
    fd = os.open(tmp_path / "text", os.O_RDONLY)
    descriptors = len(os.listdir("/proc/self/fd"))
    process = _sys.Spawned()
    try:
        with pytest.raises(OSError, match="Exec format error"):
            _sys.spawn(process, fd, [fd, fd, fd])
        assert process.pid > 0
        assert reap(process) == 127
        assert len(os.listdir("/proc/self/fd")) == descriptors
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("fds", "error"), [([], "EINVAL"), ([1, 1], "EINVAL"), ([1] * 262, "EINVAL"), ([1, 1, 99999], "EBADF")]
)
def test_wrong_descriptors_are_an_error(fds: list[int], error: str) -> None:
    """Too few, too many and closed descriptors are refused; what was started on the way is there to be reaped."""
    process = _sys.Spawned()
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is what matters
        _sys.start_helper(process, fds)
    assert errno.errorcode[caught.value.errno or 0] == error
    if process.pidfd >= 0:
        assert reap(process) == 127


def test_signals_of_the_host_are_as_before() -> None:
    """Starting a program leaves the thread's mask as it was, and no handler of the host runs in the child."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        assert run_shell("exit 3")[0] == 3
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before | {signal.SIGUSR1}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_threads_start_programs_at_the_same_time() -> None:
    """Programs that several threads start do not get into each other's way, nor each other's descriptors."""
    descriptors = len(os.listdir("/proc/self/fd"))
    codes: list[int] = []

    def start(number: int) -> None:
        for step in range(10):
            code, output = run_shell(f"echo {number}.{step}; ls /proc/self/fd | wc -l; exit {number}")
            codes.append(code if output == f"{number}.{step}\n4\n" else -1)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == sorted([*range(8)] * 10)
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_process_is_closed_once() -> None:
    """An object without a process has -1 for everything; closing it is nothing."""
    process = _sys.Spawned()
    assert (process.pid, process.pidfd) == (-1, -1)
    process.close()
    process.close()


def test_the_helper_cannot_be_changed() -> None:
    """The helper is a sealed memory file that nobody can write to, not even root, and a new one every time."""
    fd = _sys.helper_executable()
    other = _sys.helper_executable()
    seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    assert seals == fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    assert os.fstat(fd).st_mode & 0o7777 == 0o500
    assert not os.get_inheritable(fd)
    for change in (lambda: os.pwrite(fd, b"x", 0), lambda: os.ftruncate(fd, 0)):
        with pytest.raises(PermissionError):
            change()
    assert not os.path.sameopenfile(fd, other)
    os.close(fd)
    os.close(other)


def test_a_memory_file_holds_what_it_is_given() -> None:
    """Any bytes, and no bytes; executing another program closes it."""
    for data in (b"", b"a\0b" * 100_000):
        fd = _sys.memory_file("some", data)
        try:
            assert os.pread(fd, len(data) + 1, 0) == data
            assert not os.get_inheritable(fd)
        finally:
            os.close(fd)


def test_capabilities_are_those_that_proc_tells() -> None:
    """What a few calls say of this thread is what /proc says of it."""
    fields = dict(
        line.split(":\t") for line in Path("/proc/thread-self/status").read_text().splitlines() if ":\t" in line
    )
    effective, permitted, bounding = (int(fields[name], 16) for name in ("CapEff", "CapPrm", "CapBnd"))
    assert _sys.capabilities() == (effective, permitted & bounding)


def segments(image: bytes) -> Iterator[tuple[int, int]]:
    """Yield the type and the flags of each program header of a 64-bit ELF file."""
    offset, size, count = struct.unpack_from("=Q", image, 32)[0], *struct.unpack_from("=HH", image, 54)
    for number in range(count):
        kind, flags = struct.unpack_from("=II", image, offset + number * size)
        yield kind, flags


def test_the_helper_is_small_and_stands_alone() -> None:
    """The helper asks for no loader and no library, its stack is not executable, no part is writable code."""
    fd = _sys.helper_executable()
    image = os.pread(fd, 1 << 20, 0)
    os.close(fd)
    interpreter, dynamic, stack, load = 3, 2, 0x6474E551, 1
    executable, writable = 1, 2
    found = list(segments(image))
    assert image.startswith(b"\x7fELF\x02")
    assert len(image) <= 40_000
    assert not {interpreter, dynamic} & {kind for kind, _ in found}
    assert [flags & executable for kind, flags in found if kind == stack] == [0]
    assert all(flags & (executable | writable) != executable | writable for kind, flags in found if kind == load)


def test_the_exit_status_of_a_process_that_somebody_else_reaped() -> None:
    """The kernel is asked through a pidfd: None while the process runs, and where the kernel does not know."""
    with subprocess.Popen(["sh", "-c", "read x; exit 42"], stdin=subprocess.PIPE) as process:
        pidfd = os.pidfd_open(process.pid)
        assert _sys.pidfd_exit_status(pidfd) is None
    kernel = tuple(int(number) for number in platform.release().split("-")[0].split(".")[:2])
    try:
        status = _sys.pidfd_exit_status(pidfd)
    finally:
        os.close(pidfd)
    assert status == (42 << 8 if kernel >= (6, 15) else None)


def test_what_is_no_process_is_an_error() -> None:
    """Asking a closed descriptor for a status is an error; asking a file is an unknown status."""
    with pytest.raises(OSError, match="Bad file descriptor"):
        _sys.pidfd_exit_status(-1)
    with open("/dev/null") as file:
        assert _sys.pidfd_exit_status(file.fileno()) is None


@pytest.fixture
def channel() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Make a channel like that between launcher and helper."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def test_messages_are_received(channel: tuple[socket.socket, socket.socket]) -> None:
    """A message fills the inbox; a descriptor that comes along is owned by it, and does not survive exec."""
    ours, theirs = channel
    inbox = _sys.Inbox()
    theirs.send(MESSAGE.pack(3, 17, -5, 0))
    assert inbox.receive(ours.fileno())
    assert (inbox.said, inbox.step, inbox.answer, inbox.fd) == (3, 17, -5, -1)
    with open("/dev/null") as file:
        socket.send_fds(theirs, [MESSAGE.pack(1, 2, 4711, 0)], [file.fileno()])
    assert inbox.receive(ours.fileno())
    fd = inbox.take_fd()
    try:
        assert (inbox.said, inbox.answer, inbox.fd) == (1, 4711, -1)
        assert not os.get_inheritable(fd)
        assert os.readlink(f"/proc/self/fd/{fd}") == "/dev/null"
    finally:
        os.close(fd)
    theirs.close()
    assert not inbox.receive(ours.fileno())


@pytest.mark.parametrize("length", [1, 8, 15])
def test_a_message_that_is_cut_short_is_refused(channel: tuple[socket.socket, socket.socket], length: int) -> None:
    """Who does not speak the protocol is not believed."""
    ours, theirs = channel
    inbox = _sys.Inbox()
    theirs.send(MESSAGE.pack(3, 17, -5, 0)[:length])
    with pytest.raises(OSError, match="Protocol error"):
        inbox.receive(ours.fileno())
    assert (inbox.said, inbox.step, inbox.answer) == (0, 0, 0)


def test_more_descriptors_than_one_are_not_taken(channel: tuple[socket.socket, socket.socket]) -> None:
    """Whoever sends many with one message leaves none of them behind here but the one that is known of."""
    ours, theirs = channel
    inbox = _sys.Inbox()
    with open("/dev/null") as file:
        before = len(os.listdir("/proc/self/fd"))
        socket.send_fds(theirs, [MESSAGE.pack(3, 17, -5, 0)], [file.fileno()] * 5)
        assert inbox.receive(ours.fileno())
        os.close(inbox.take_fd())
        assert len(os.listdir("/proc/self/fd")) == before


def test_an_empty_channel_is_not_waited_for(channel: tuple[socket.socket, socket.socket]) -> None:
    """The C never waits: whoever asks too early is told so."""
    with pytest.raises(BlockingIOError):
        _sys.Inbox().receive(channel[0].fileno())
