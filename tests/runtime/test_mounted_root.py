"""Containers without a mount namespace: what is mounted for them shows on the host, and nothing of it stays."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from ocikit import runtime
from ocikit.errors import NotSupportedError, SetupError, ValidationError
from ocikit.runtime import Status
from ocikit.spec import LinuxNamespace, Mount, Root, Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAMESPACES = tuple(LinuxNamespace(type=name) for name in ("pid", "network", "ipc", "uts"))


def mounts_at(path: Path) -> list[str]:
    """Return what is mounted on the host at a directory and below it."""
    points = (line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [point for point in points if f"{point}/".startswith(f"{path}/")]


@pytest.fixture
def place(rootfs: Path, tmp_path: Path) -> Path:
    """Give a root file system of its own, at which something can be mounted."""
    return Path(shutil.copytree(rootfs, tmp_path / "rootfs", symlinks=True))


@pytest.fixture
def make(make_spec: Callable[..., Spec], tmp_path: Path, place: Path) -> Callable[..., Path]:
    """Make bundles of containers without a mount namespace; of programs, and with fields of the linux section."""

    def bundle(*args: str, mounts: tuple[Mount, ...] = (), **linux: object) -> Path:
        fields = {"namespaces": NAMESPACES, "masked_paths": (), "readonly_paths": ()} | linux
        spec = make_spec(*args, linux=fields)
        spec = attrs.evolve(spec, root=Root(path=str(place)), mounts=spec.mounts + mounts)
        (tmp_path / "config.json").write_bytes(spec.to_json())
        return tmp_path

    return bundle


@pytest.fixture
def container(root: Path, make: Callable[..., Path], container_id: str) -> Iterator[runtime.Container]:
    """Give a container that sleeps."""
    with runtime.create(root, container_id, make()) as container:
        container.start()
        yield container


def test_its_root_is_its_own(root: Path, make: Callable[..., Path], place: Path, container_id: str) -> None:
    """The program sees the files of its root, and the host is as it was when the container has ended."""
    (place / "mark").touch()
    before = sorted(place.iterdir())
    done = runtime.run(root, container_id, make("ls", "/"))
    assert done.exit_code == 0, done.stderr
    assert "mark" in done.stdout.decode().split()
    assert mounts_at(place) == []
    assert sorted(place.iterdir()) == before


def test_it_shares_the_mounts_of_the_host(container: runtime.Container, place: Path) -> None:
    """It is in the mount namespace of this process, where its mounts show until it is destroyed."""
    assert os.readlink(f"/proc/{container.pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
    assert {str(place), f"{place}/proc", f"{place}/dev/pts"} <= set(mounts_at(place))
    container.destroy(force=True)
    assert mounts_at(place) == []


def test_what_fails_leaves_no_mount(root: Path, make: Callable[..., Path], place: Path, container_id: str) -> None:
    """A creation that fails after the first mounts takes them away."""
    unknown = Mount(destination="/tmp", type="nosuchtype", source="none")
    with pytest.raises(SetupError):
        runtime.create(root, container_id, make(mounts=(unknown,)))
    assert mounts_at(place) == []


def test_what_an_interrupted_creation_mounted(
    root: Path, make: Callable[..., Path], place: Path, container_id: str
) -> None:
    """The next creation with this id takes away what was mounted, before it mounts anything."""
    interrupted = runtime.create(root, container_id, make(), lifetime="detached")
    interrupted.kill()
    interrupted.wait(30)
    (root / container_id / "state.json").unlink()
    with runtime.create(root, container_id, make()):
        assert mounts_at(place).count(str(place)) == 1
    assert mounts_at(place) == []


def test_mounts_of_others_stay(container: runtime.Container, place: Path) -> None:
    """What somebody else mounted at the same place is not taken for the container's."""
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    try:
        container.destroy(force=True)
        assert mounts_at(place)[-1] == str(place)
        assert list(place.iterdir()) == []
    finally:
        subprocess.run(["umount", place], check=True)
        subprocess.run(["umount", "--recursive", place], check=True)


def test_nobody_else_comes_in(container: runtime.Container) -> None:
    """A further process would have the files of the host, and is refused."""
    with pytest.raises(NotSupportedError, match="namespace of type mount"):
        container.exec(["true"])
    assert container.status() is Status.RUNNING


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("masked_paths", ("/proc/kcore",)),
        ("readonly_paths", ("/proc/sys",)),
        ("rootfs_propagation", "shared"),
        ("namespaces", (*NAMESPACES, LinuxNamespace(type="user"))),
    ],
)
def test_what_takes_mounts_of_its_own(
    root: Path, make: Callable[..., Path], container_id: str, field: str, value: object
) -> None:
    """What cannot be had without a mount namespace is refused by name."""
    with pytest.raises(ValidationError, match=r"own|add a mount namespace"):
        runtime.create(root, container_id, make(**{field: value}))
