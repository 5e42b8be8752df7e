"""``run`` without detaching: the container's streams, signals, terminal and end are those of the command."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from command_line import CommandLine

from ocikit import runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def ocikit(root: Path) -> Iterator[CommandLine]:
    """Give our command on the state root of the test, which is emptied at the end."""
    yield CommandLine(root)
    runtime.stop_and_remove(root, prefix="", all=True, timeout=0)


def until(condition: Callable[[], bool]) -> None:
    """Wait until something is the case."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_streams_and_exit_code(ocikit: CommandLine, make_bundle: Callable[..., Path], container_id: str) -> None:
    """Standard input, output and error are those of the command, and so is the exit code; nothing is left."""
    bundle = make_bundle("sh", "-c", "cat; echo error >&2; exit 42")
    done = subprocess.run(
        ocikit.words("run", "-b", str(bundle), container_id),
        input="input", capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (42, "input", "error\n")
    assert os.listdir(ocikit.root) == []


def test_the_end_by_a_signal(ocikit: CommandLine, make_bundle: Callable[..., Path], container_id: str) -> None:
    """128 and the number of the signal, as a shell has it."""
    # Signals that the first process of a pid namespace sends to itself do not reach it.
    bundle = make_bundle("sleep", "1000")
    with subprocess.Popen(ocikit.words("run", "-b", str(bundle), container_id)) as command:
        until(lambda: ocikit("state", container_id).returncode == 0 and ocikit.status(container_id) == "running")
        ocikit.works("kill", container_id, "KILL")
        assert command.wait(30) == 128 + signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGRTMIN + 3])
def test_signals_are_passed_on(
    ocikit: CommandLine, make_bundle: Callable[..., Path], container_id: str, number: int
) -> None:
    """What the command gets, the container gets, also at the very beginning; the command does not end by it."""
    bundle = make_bundle("sh", "-c", f"trap 'echo caught; exit 9' {number}; echo ready; while :; do sleep 0.01; done")
    command = subprocess.Popen(ocikit.words("run", "-b", str(bundle), container_id), stdout=subprocess.PIPE, text=True)
    with command:
        assert command.stdout is not None
        assert command.stdout.readline() == "ready\n"
        command.send_signal(number)
        assert command.stdout.readline() == "caught\n"
        assert command.wait(30) == 9


def test_an_ignored_end_of_children_loses_no_exit_code(
    ocikit: CommandLine, make_bundle: Callable[..., Path], container_id: str
) -> None:
    """A caller that ignores SIGCHLD hands that down to the command, which gets the exit code nevertheless."""
    words = " ".join(ocikit.words("run", "-b", str(make_bundle("sh", "-c", "exit 5")), container_id))
    done = subprocess.run(["sh", "-c", f"trap '' CHLD; exec {words}"], check=False, timeout=60)
    assert done.returncode == 5


def test_keep(ocikit: CommandLine, make_bundle: Callable[..., Path], container_id: str) -> None:
    """A container that is to be kept is there, stopped, until it is deleted."""
    ocikit.works("run", "--keep", "-b", str(make_bundle("true")), container_id)
    assert ocikit.status(container_id) == "stopped"
    ocikit.works("delete", container_id)


def test_a_program_that_cannot_be_executed(
    ocikit: CommandLine, make_bundle: Callable[..., Path], container_id: str
) -> None:
    """It is an error of the command, in the words that callers look for, and nothing is left."""
    for options in ((), ("--detach",)):
        done = ocikit("run", *options, "-b", str(make_bundle("/no/such/program")), container_id)
        assert done.returncode == 1
        assert "no such file or directory" in done.stderr.lower()
        assert os.listdir(ocikit.root) == []


def test_detached(ocikit: CommandLine, make_bundle: Callable[..., Path], container_id: str, tmp_path: Path) -> None:
    """The command ends, the container has its streams, and nobody has to wait for it."""
    bundle = make_bundle("sh", "-c", "echo one; sleep 0.2; echo two; exit 4")
    output = tmp_path / "output"
    with output.open("w") as file:
        ocikit.works("run", "-d", "-b", str(bundle), container_id, stdout=file)
    assert runtime.load(ocikit.root, container_id).wait(20).exit_code in {4, None}
    assert output.read_text() == "one\ntwo\n"


def test_a_command_that_is_killed_leaves_its_container(
    ocikit: CommandLine, make_bundle: Callable[..., Path], container_id: str
) -> None:
    """What cannot be passed on ends the command only; the container can be found and deleted."""
    bundle = make_bundle("sh", "-c", "echo ready; sleep 1000")
    command = subprocess.Popen(ocikit.words("run", "-b", str(bundle), container_id), stdout=subprocess.PIPE)
    with command:
        assert command.stdout is not None
        assert command.stdout.readline() == b"ready\n"
        until(lambda: ocikit.status(container_id) == "running")
        command.kill()
    assert ocikit.status(container_id) == "running"
    ocikit.works("delete", "--force", container_id)


def test_an_interrupted_creation_is_undone(
    ocikit: CommandLine, make_bundle: Callable[..., Path], container_id: str
) -> None:
    """Ctrl-C while a container is made, at whatever moment, leaves a container or none, and no traceback."""
    bundle = make_bundle()
    for delay in (0.1, 0.15, 0.2, 0.25):
        command = subprocess.Popen(
            ocikit.words("create", "-b", str(bundle), container_id),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(delay)
        command.send_signal(signal.SIGINT)
        code = command.wait(30)
        there = ocikit("state", container_id).returncode == 0
        assert (code == 0) == there or code in {1, 130, -signal.SIGINT}
        ocikit.works("delete", "--force", container_id)
