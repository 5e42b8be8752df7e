"""Standard input, output and error of a container, and where its user is at home."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

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
    for wrong in ("pip", True, object(), None, "stdout"):
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
