"""Bundles of busybox, state roots that are cleaned up, and runc beside us."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from as_user import User
from peer_runc import Runc
from rootless_calls import GIVEN, UNIFIED, V2_ONLY

from ocikit import runtime
from ocikit.spec import Root, Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

APPLETS = ("sh", "cat", "ls", "id", "sleep", "true", "false", "echo", "kill", "touch", "head", "grep", "mkdir", "stat")

#: A program that ends at once when it is told to.
OBEDIENT = ("sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.01; done")


#: The root that all tests share, when it is made.
SHARED: list[Path] = []


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a root file system of the static busybox, shared by all containers, which mount it read-only."""
    path = tmp_path_factory.mktemp("rootfs")
    path.chmod(0o755)  # users of containers are let in; others are kept out above it
    for name in ("bin", "proc", "sys", "dev", "etc", "tmp"):
        (path / name).mkdir()
    shutil.copy("/bin/busybox", path / "bin/busybox")
    for name in APPLETS:
        (path / "bin" / name).symlink_to("busybox")
    SHARED.append(path)
    (path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
    return path


@pytest.fixture(autouse=True)
def nothing_in_the_shared_root() -> Iterator[None]:
    """Keep devices out of the root that all tests share: whoever copies it would read one for ever."""
    yield
    left = [one for path in SHARED for one in (path / "dev").iterdir()]
    for one in left:
        one.unlink()
    assert left == []


@pytest.fixture
def make_spec(rootfs: Path) -> Callable[..., Spec]:
    """Make configurations: the default one with a program, and with fields of the linux section changed."""

    def make(
        *args: str, process: dict[str, Any] | None = None, linux: dict[str, Any] | None = None, **top: Any
    ) -> Spec:
        spec = Spec.default()
        assert spec.process is not None
        assert spec.process.capabilities is not None
        capabilities = attrs.evolve(spec.process.capabilities, ambient=())
        changed: dict[str, Any] = {
            "args": args or ("sleep", "1000"),
            "terminal": False,
            "capabilities": capabilities,
        } | (process or {})
        spec = spec.with_process(**changed).with_linux(**(linux or {}))
        return attrs.evolve(spec, root=Root(path=str(rootfs), readonly=True), **top)

    return make


@pytest.fixture
def make_bundle(tmp_path: Path, make_spec: Callable[..., Spec]) -> Callable[..., Path]:
    """Make bundles, with the arguments of ``make_spec``."""

    def make(*args: str, name: str = "bundle", **fields: Any) -> Path:
        path = tmp_path / name
        path.mkdir(exist_ok=True)
        (path / "config.json").write_bytes(make_spec(*args, **fields).to_json())
        return path

    return make


@pytest.fixture
def bundle(make_bundle: Callable[..., Path]) -> Path:
    """Give the bundle of a container that sleeps."""
    return make_bundle()


@pytest.fixture
def runc(tmp_path: Path, peer: Callable[[str], str]) -> Iterator[Runc]:
    """Give runc on the state root of the test, and let it remove what the test left there."""
    root = tmp_path / "state"
    command = Runc(peer("runc"), root)
    yield command
    for directory in sorted(root.glob("*/")) if root.exists() else ():
        command("delete", "--force", directory.name, check=False)


@pytest.fixture
def root(runc: Runc) -> Path:
    """Give the state root of the test; it does not exist yet."""
    return runc.root


@pytest.fixture
def obedient(make_bundle: Callable[..., Path]) -> Path:
    """Give the bundle of a container that exits with 3 on SIGTERM."""
    return make_bundle(*OBEDIENT, name="obedient")


@pytest.fixture
def created(root: Path, bundle: Path, container_id: str) -> Iterator[runtime.Container]:
    """Give a container of ours that was created."""
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        yield container


@pytest.fixture
def running(created: runtime.Container) -> runtime.Container:
    """Give a container of ours whose program sleeps."""
    created.start()
    return created


@pytest.fixture(scope="module")
def user(new_id: Callable[[], str]) -> Iterator[User]:
    """Give a user without privileges, who was given some ids."""
    home = Path(tempfile.mkdtemp(prefix=f"{new_id()}-"))
    try:
        yield User(home, given=GIVEN).make()
    finally:
        shutil.rmtree(home)


@pytest.fixture
def delegated(user: User, container_id: str) -> Iterator[Path]:
    """Give a v2 cgroup that belongs to the user, and in it one to be in."""
    outer = Path(UNIFIED, f"{container_id}-user")
    top, inner = outer / "delegated", outer / "delegated/inner"
    outer.mkdir()
    if V2_ONLY:
        for directory in (outer.parent, outer):
            (directory / "cgroup.subtree_control").write_text("+memory +pids")
    inner.mkdir(parents=True)
    for directory in (top, inner):
        for path in (directory, *(directory / f"cgroup.{name}" for name in ("procs", "subtree_control", "threads"))):
            os.chown(path, user.uid, user.gid)
    yield inner
    for directory in (inner, top, outer):
        directory.rmdir()
