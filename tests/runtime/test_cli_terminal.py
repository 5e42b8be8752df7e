"""Terminals from the command line: connected with that of the caller, or handed to a console socket."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import termios
import time
from typing import TYPE_CHECKING, Self

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


class Screen:
    """A terminal emulator with a command in it."""

    def __init__(self, words: list[str], rows: int = 33, columns: int = 77) -> None:
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        self.command = subprocess.Popen(
            words, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - a terminal of its own
        )  # fmt: skip
        self.slave = slave
        self.shown = b""

    def resize(self, rows: int, columns: int) -> None:
        """Give the terminal a size."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("=4H", rows, columns, 0, 0))

    def until(self, text: bytes) -> None:
        """Wait until something was shown, and forget it and what was before it."""
        deadline = time.monotonic() + 30
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            if select.select([self.master], [], [], 0.2)[0]:
                self.shown += os.read(self.master, 4096)
        self.shown = self.shown.partition(text)[2]

    def type(self, text: bytes) -> None:
        """Type something."""
        os.write(self.master, text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.command.kill()
        self.command.wait(30)
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def shell(make_bundle: Callable[..., Path]) -> Path:
    """Give the bundle of a shell with a terminal."""
    return make_bundle("sh", name="shell", process={"terminal": True, "env": ("PATH=/bin", "PS1=$((1+1))> ")})


def test_a_shell(ocikit: CommandLine, shell: Path, container_id: str) -> None:
    """It has a terminal of its own with the size of the caller's; keys, signals by key and sizes reach it."""
    with Screen(ocikit.words("run", "-b", str(shell), container_id)) as screen:
        screen.until(b"2> ")
        assert termios.tcgetattr(screen.slave)[3] & (termios.ECHO | termios.ICANON) == 0
        screen.type(b"busybox tty; busybox stty size; echo $((20+3))\r")
        screen.until(b"/dev/pts/")
        screen.until(b"33 77\r\n23\r\n")
        screen.resize(44, 88)
        screen.command.send_signal(signal.SIGWINCH)
        screen.type(b"busybox stty size\r")
        screen.until(b"44 88\r\n")
        screen.type(b"sleep 1000\r")
        screen.until(b"sleep 1000\r\n")
        time.sleep(0.2)
        screen.type(b"\x03")
        screen.until(b"2> ")
        screen.type(b"exit 6\r")
        assert screen.command.wait(30) == 6
        assert termios.tcgetattr(screen.slave) == screen.before
    assert os.listdir(ocikit.root) == []


def test_everything_that_was_written_is_shown(
    ocikit: CommandLine, make_bundle: Callable[..., Path], container_id: str
) -> None:
    """Also what the program wrote right before its end, and without any terminal of the caller."""
    bundle = make_bundle(
        "sh", "-c", "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; exit 3", process={"terminal": True}
    )
    done = subprocess.run(
        ocikit.words("run", "-b", str(bundle), container_id),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False, timeout=60, start_new_session=True,
    )  # fmt: skip
    assert done.returncode == 3
    assert done.stdout.splitlines() == [b"line %d" % number for number in range(2000)]


def test_what_ends_at_once_is_shown(ocikit: CommandLine, bundle: Path, container_id: str) -> None:
    """A further process that has ended before anybody looked is shown all the same, every time."""
    ocikit.works("run", "-d", "-b", str(bundle), container_id)
    for number in range(8):
        done = subprocess.run(
            ocikit.words("exec", "-t", container_id, "sh", "-c", f"echo said {number}; exit 5"),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False, timeout=60,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (5, b"said %d\n" % number)


def test_a_further_process(ocikit: CommandLine, bundle: Path, container_id: str) -> None:
    """It can have a terminal where the container has none, and ends with its own code."""
    ocikit.works("run", "-d", "-b", str(bundle), container_id)
    with Screen(ocikit.words("exec", "-t", "-e", "PS1=$((1+1))> ", container_id, "sh")) as screen:
        screen.until(b"2> ")
        screen.type(b"busybox stty size\r")
        screen.until(b"33 77\r\n")
        screen.type(b"exit 7\r")
        assert screen.command.wait(30) == 7
        assert termios.tcgetattr(screen.slave) == screen.before


def test_console_socket(ocikit: CommandLine, shell: Path, container_id: str, tmp_path: Path) -> None:
    """Whoever listens gets the terminal, for a container and for a further process; the command has ended by then."""
    path = str(tmp_path / "console.sock")
    with contextlib.ExitStack() as stack, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        for words in (
            ("run", "--detach", "--console-socket", path, "-b", str(shell), container_id),
            ("exec", "--detach", "--tty", "--console-socket", path, "-e", "PS1=$((1+1))> ", container_id, "sh"),
        ):
            ocikit.works(*words)
            connection, _ = listener.accept()
            with connection:
                _, fds, _, _ = socket.recv_fds(connection, 4096, 4)
            stack.callback(os.close, fds[0])  # closing it is hanging up
            shown = b""
            while b"2> " not in shown:
                shown += os.read(fds[0], 4096)


def test_terminals_that_nobody_would_have(ocikit: CommandLine, shell: Path, bundle: Path, container_id: str) -> None:
    """A detached container with a terminal needs a socket, a socket needs a terminal, and somebody has to listen."""
    for words, said in (
        (("create", "-b", str(shell)), "cannot allocate tty if runc will detach without setting console socket"),
        (("run", "-d", "-b", str(shell)), "cannot allocate tty if runc will detach without setting console socket"),
        (("create", "-b", str(bundle), "--console-socket", "/x"), "cannot use console socket if runc will not detach"),
        (("run", "-b", str(shell), "--console-socket", "/x"), "cannot use console socket if runc will not detach"),
        (("create", "-b", str(shell), "--console-socket", "/no/socket"), "/no/socket"),
    ):
        done = ocikit(*words, container_id)
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr
        assert not ocikit.root.exists() or os.listdir(ocikit.root) == []
