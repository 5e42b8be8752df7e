"""Standard input, output and error of a container, and where its user is at home."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from executing import output

from ocikit import runtime
from ocikit.spec import User

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_streams_are_pipes(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """What is written into one end comes out of the other."""
    bundle = make_bundle("sh", "-c", "cat; echo error >&2")
    with runtime.create(root, container_id, bundle, stdin="pipe", stdout="pipe", stderr="pipe") as container:
        assert container.stdin is not None
        assert container.stdout is not None
        assert container.stderr is not None
        container.start()
        container.stdin.write(b"hello")
        container.stdin.close()
        assert (container.stdout.read(), container.stderr.read()) == (b"hello", b"error\n")
        assert container.wait(30).exit_code == 0
    assert container.stdout.closed


def test_streams_are_files(root: Path, make_bundle: Callable[..., Path], container_id: str, tmp_path: Path) -> None:
    """Descriptors and open files are passed on; nothing else is a stream."""
    bundle = make_bundle("sh", "-c", "cat; echo error >&2")
    (tmp_path / "in").write_text("input\n")
    with (tmp_path / "in").open() as source, (tmp_path / "out").open("w") as target:
        done = runtime.run(root, container_id, bundle, stdin=source.fileno(), stdout=target, stderr="stdout")
    assert (done.exit_code, done.stdout, done.stderr) == (0, b"", b"")
    assert (tmp_path / "out").read_text() == "input\nerror\n"
    for wrong in ("pip", True, object(), "monitor", "stdout"):
        with pytest.raises(ValueError, match="stdin"):
            runtime.create(root, container_id, bundle, stdin=wrong)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="Bad file descriptor"):
        runtime.create(root, container_id, bundle, stdin=10_000)
    assert list(root.iterdir()) == []


def test_streams_belong_to_the_user(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """A program that is not root opens its own /dev/stdout."""
    bundle = make_bundle("sh", "-c", "id -u > /dev/stdout", process={"user": User(uid=1000, gid=1000)})
    assert runtime.run(root, container_id, bundle).stdout == b"1000\n"


def test_the_home_of_the_user(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """HOME comes from the container's passwd, unless the configuration has one."""
    spec = make_bundle("sh", "-c", "echo $HOME")
    assert runtime.run(root, container_id, spec).stdout == b"/root\n"
    spec = make_bundle("sh", "-c", "echo $HOME", process={"env": ("HOME=/else", "PATH=/bin")})
    assert runtime.run(root, container_id, spec).stdout == b"/else\n"
    spec = make_bundle("busybox", "env", process={"env": ("HOME=/else", "ONE=1", "PATH=/bin", "HOME=", "ONE=")})
    assert runtime.run(root, container_id, spec).stdout == b"PATH=/bin\nONE=\nHOME=/root\n"
    with runtime.create(root, container_id, make_bundle(process={"env": ("HOME=", "PATH=/bin")})) as container:
        container.start()
        assert output(container, "busybox", "env").split() == ["PATH=/bin", "HOME=/root"]


HOST_WITHOUT_STREAMS = """
import pathlib, sys
from ocikit import runtime
root, container_id, bundle, result = sys.argv[1:]
for stdin in ("inherit", "pipe"):
    with runtime.create(root, container_id, bundle, stdin=stdin) as container:
        container.start()
        status = container.wait(30)
        pathlib.Path(result).open("a").write(f"{stdin} {status.exit_code}\\n")
"""


def test_a_host_without_standard_streams(
    root: Path, make_bundle: Callable[..., Path], container_id: str, tmp_path: Path
) -> None:
    """What it opens itself gets the numbers of its streams, and never becomes a stream of a container."""
    # Exits with the number of streams that are neither the null device nor a pipe.
    script = (
        "n=0; for fd in 0 1 2; do case $(ls -l /proc/$$/fd/$fd) in */dev/null|*pipe:*) ;; *) n=$((n+1));; esac; done"
    )
    bundle = make_bundle("sh", "-c", f"{script}; exit $n")
    arguments: list[str | Path] = [
        sys.executable,
        "-c",
        HOST_WITHOUT_STREAMS,
        root,
        container_id,
        bundle,
        tmp_path / "result",
    ]
    subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *arguments], check=True, timeout=60)
    assert (tmp_path / "result").read_text() == "inherit 0\npipe 0\n"


HOST_THAT_SIGPIPE_ENDS = """
import signal, sys
from ocikit import runtime
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
root, container_id, bundle = sys.argv[1:]
print(runtime.run(root, container_id, bundle, input=b"x" * 1_000_000).exit_code)
with runtime.create(root, container_id, bundle, stdin="pipe") as container:
    container.start()
    container.wait(30)
    container.stdin.write(b"never read")
print(signal.sigpending(), signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""


def test_a_host_that_sigpipe_ends(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """A container that does not read its input ends no host, whatever that does about SIGPIPE."""
    arguments: list[str | Path] = [
        sys.executable,
        "-c",
        HOST_THAT_SIGPIPE_ENDS,
        root,
        container_id,
        make_bundle("true"),
    ]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "0\nset() set()\n"), done.stderr
