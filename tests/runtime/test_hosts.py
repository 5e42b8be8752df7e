"""Hosts with habits of their own, and what holds of their containers: every habit with every lifetime."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from ocikit import runtime
from ocikit._fs import Descriptor
from ocikit._sys import pidfd_exit_status
from ocikit.runtime.cgroups.hierarchies import detect, place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 60.0
PROGRAM = Path(__file__).with_name("host_program.py")

#: Writes a line, and another one when it is told to end.
SCRIPT = "trap 'echo two; exit 7' TERM; echo one; while :; do sleep 0.01; done"

_CAUGHT = re.compile("^SigCgt:(.*)$", re.MULTILINE)

LIFETIMES = ("scope", "process", "detached")

#: Habits with which a host stays the process that made the container.
HABITS = (
    "none", "forks", "waits for all", "ignores children", "handles children", "asyncio", "is a daemon",
    "closes descriptors",
)  # fmt: skip

#: Habits with which somebody else may be faster to reap: then a kernel before 6.15 does not tell how a child ended.
GREEDY = ("waits for all", "ignores children", "handles children")


class Host(NamedTuple):
    """A host that has made a container."""

    process: subprocess.Popen[str]
    #: The host itself, the container's first process, and its monitor if it has one.
    itself: Descriptor
    init: Descriptor
    monitor: Descriptor | None
    #: Forked children that live on.
    children: tuple[Descriptor, ...]

    def tell(self, word: str) -> None:
        """Have it do something."""
        assert self.process.stdin is not None
        print(word, file=self.process.stdin, flush=True)

    def ask(self, word: str) -> list[str]:
        """Have it do something, and return what it says to that."""
        assert self.process.stdout is not None
        self.tell(word)
        return self.process.stdout.readline().split()

    def leave(self, *, killed: bool) -> None:
        """Let it end, or kill it."""
        if killed:
            signal.pidfd_send_signal(self.itself.fd, signal.SIGKILL)
        else:
            self.tell("exit")
            assert self.process.wait(PATIENCE) == 0
        assert has_ended(self.itself)


def has_ended(process: Descriptor, seconds: float = PATIENCE) -> bool:
    """Wait for the end of a process; return whether it came."""
    waiting = select.poll()
    waiting.register(process.fd, select.POLLIN)
    return bool(waiting.poll(seconds * 1000))


def kernel_tells() -> bool:
    """Tell whether this kernel says how a process ended that somebody else has reaped."""
    with subprocess.Popen(["/bin/true"]) as child, Descriptor(os.pidfd_open(child.pid)) as process:
        child.wait()
        with contextlib.suppress(OSError):
            return pidfd_exit_status(process.fd) == 0
    return False


@pytest.fixture
def script(make_bundle: Callable[..., Path]) -> Path:
    """Give the bundle of a container that ends with 7 when it is told to."""
    return make_bundle("sh", "-c", SCRIPT)


@pytest.fixture
def be_host(root: Path, script: Path, container_id: str) -> Iterator[Callable[[str, str], Host]]:
    """Start hosts; whatever they leave is removed at the end."""
    with contextlib.ExitStack() as stack:

        def start(habit: str, lifetime: str) -> Host:
            command = [sys.executable, str(PROGRAM), str(root), container_id, str(script), lifetime, habit]
            process = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdin is not None
            made, *pids = process.stdout.readline().split()
            assert made == "made"
            await_trap(int(pids[0]))
            init, *monitor = (hold(int(pid)) for pid in pids if int(pid))
            print("go on", file=process.stdin, flush=True)
            children = []
            while (words := process.stdout.readline().split())[:1] == ["forked"]:
                children.append(hold(int(words[1])))
            assert words[:1] == ["ready"], words
            return Host(process, hold(int(words[1])), init, monitor[0] if monitor else None, tuple(children))

        def hold(pid: int) -> Descriptor:
            held = stack.enter_context(Descriptor(os.pidfd_open(pid)))
            stack.callback(kill, held)
            return held

        yield start


def await_trap(pid: int) -> None:
    """Wait until the script would hear that it is told to end: before, a first process ignores that."""
    deadline = time.monotonic() + PATIENCE
    while not int(_CAUGHT.findall(Path(f"/proc/{pid}/status").read_text())[0], 16) & 1 << signal.SIGTERM - 1:
        assert time.monotonic() < deadline, "the script has set no trap"
        time.sleep(0.001)


def kill(process: Descriptor) -> None:
    """Kill a process, if it is there."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(process.fd, signal.SIGKILL)


def cgroups_of(name: str) -> list[str]:
    """Return those cgroups of a container that exist."""
    return [path for path in place(detect(), "", name).values() if os.path.exists(path)]


def expect_gone(host: Host, root: Path, name: str) -> None:
    """Nothing is left of the container."""
    assert has_ended(host.init)
    assert host.monitor is None or has_ended(host.monitor)
    assert list(root.iterdir()) == []
    assert cgroups_of(name) == []


def expect_to_go_on(host: Host, root: Path, name: str, lifetime: str) -> None:
    """The container goes on; another process learns how it ends and what it wrote, and removes it."""
    container = runtime.load(root, name)
    assert not has_ended(host.init, 0)
    assert container.status() is runtime.Status.RUNNING
    container.signal(signal.SIGTERM)
    status = container.wait(PATIENCE)
    if lifetime == "scope":
        # Its parent is gone, and process 1 has reaped it, or not.
        assert tuple(status[:2]) in {(7, None), (None, None)}
    else:
        assert tuple(status[:2]) == (7, None)
        with container.logs() as log:
            assert [line.text for line in log] == ["one", "two"]
    report = runtime.stop_and_remove(root, prefix=name)
    assert (len(report), report.failed) == (1, ())
    expect_gone(host, root, name)


@pytest.mark.parametrize("lifetime", LIFETIMES)
@pytest.mark.parametrize("habit", HABITS)
def test_the_container_ends_first(
    be_host: Callable[[str, str], Host], root: Path, container_id: str, habit: str, lifetime: str
) -> None:
    """The host enters its container, learns how it ended, runs another one, and ends; what is detached is left."""
    host = be_host(habit, lifetime)
    assert host.ask("status") == ["status", "running"]
    told = [["exec", "6", "in"]] + ([["exec", "None", "in"]] if habit in GREEDY and not kernel_tells() else [])
    assert host.ask("exec") in told
    known = lifetime != "scope" or habit not in GREEDY or kernel_tells()
    assert host.ask("finish") == ["ended", "7" if known else "None", "None"]
    told = [["another", "5", "None"]]
    if habit in GREEDY and not kernel_tells():
        told.append(["another", "None", "None"])
    assert host.ask("another") in told
    host.leave(killed=False)
    if lifetime != "detached":
        expect_gone(host, root, container_id)
        return
    container = runtime.load(root, container_id)
    assert container.wait(PATIENCE).exit_code == 7
    with container.logs() as log:
        assert [line.text for line in log] == ["one", "two"]
    container.destroy()
    expect_gone(host, root, container_id)


@pytest.mark.parametrize("lifetime", LIFETIMES)
@pytest.mark.parametrize("habit", HABITS)
def test_the_host_ends_first(
    be_host: Callable[[str, str], Host], root: Path, container_id: str, habit: str, lifetime: str
) -> None:
    """A host that ends takes along what is not detached, and forked children of it change nothing."""
    host = be_host(habit, lifetime)
    host.leave(killed=False)
    if lifetime == "detached":
        for child in host.children:
            signal.pidfd_send_signal(child.fd, signal.SIGTERM)  # it ends as an interpreter does
            assert has_ended(child)
        expect_to_go_on(host, root, container_id, lifetime)
    else:
        expect_gone(host, root, container_id)
    assert lifetime == "detached" or not any(has_ended(child, 0) for child in host.children)


@pytest.mark.parametrize("lifetime", LIFETIMES)
@pytest.mark.parametrize("habit", HABITS)
def test_the_host_is_killed(
    be_host: Callable[[str, str], Host], root: Path, container_id: str, habit: str, lifetime: str
) -> None:
    """A host that is killed takes along what belongs to the process, all of it; everything else goes on."""
    host = be_host(habit, lifetime)
    host.leave(killed=True)
    if lifetime == "process":
        expect_gone(host, root, container_id)
        assert not any(has_ended(child, 0) for child in host.children)
        return
    for child in host.children:
        signal.pidfd_send_signal(child.fd, signal.SIGTERM)
        assert has_ended(child)
    expect_to_go_on(host, root, container_id, lifetime)


@pytest.mark.parametrize("lifetime", LIFETIMES)
def test_a_host_that_is_stopped(
    be_host: Callable[[str, str], Host], root: Path, container_id: str, lifetime: str
) -> None:
    """A host that is stopped is not gone: its container goes on, and is there when it is continued."""
    host = be_host("none", lifetime)
    signal.pidfd_send_signal(host.itself.fd, signal.SIGSTOP)
    container = runtime.load(root, container_id)
    assert container.exec(["sh", "-c", "exit 4"], stdin="null").wait(PATIENCE).exit_code == 4
    assert container.status() is runtime.Status.RUNNING
    container.signal(signal.SIGTERM)
    assert has_ended(host.init)
    if lifetime != "scope":
        assert container.wait(PATIENCE).exit_code == 7  # nobody waits for the host
    signal.pidfd_send_signal(host.itself.fd, signal.SIGCONT)
    assert host.ask("status") == ["status", "stopped"]
    host.leave(killed=False)
    if lifetime == "detached":
        container.destroy()
    expect_gone(host, root, container_id)


@pytest.mark.parametrize("lifetime", LIFETIMES)
def test_a_host_that_executes_itself(
    be_host: Callable[[str, str], Host], root: Path, container_id: str, lifetime: str
) -> None:
    """A process that becomes another program is the same process; but no interpreter has ended."""
    host = be_host("executes", lifetime)
    assert host.ask("status") == ["status", "running"]
    host.leave(killed=False)
    if lifetime == "process":
        expect_gone(host, root, container_id)
    else:
        expect_to_go_on(host, root, container_id, lifetime)


@pytest.mark.parametrize("lifetime", LIFETIMES)
def test_a_host_that_becomes_a_daemon(
    be_host: Callable[[str, str], Host], root: Path, container_id: str, lifetime: str
) -> None:
    """A daemon is a forked child: the process that has made the container is gone, and what belonged to it."""
    host = be_host("becomes a daemon", lifetime)
    if lifetime == "process":
        expect_gone(host, root, container_id)
        host.leave(killed=False)
        return
    assert host.ask("status") == ["status", "running"]
    host.leave(killed=False)
    expect_to_go_on(host, root, container_id, lifetime)
