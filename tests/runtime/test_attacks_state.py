"""States that somebody has tampered with: what they name that is not theirs is left alone, whatever is asked for.

What cannot be read at all is in ``test_state.py`` and ``test_cli_remains.py``; processes, cgroups and units of others
that the end of a container could reach are in ``test_stop.py`` and ``test_systemd.py``.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from attacking import Decoy, decoy_at
from cgroup_host import V2, limit
from command_line import CommandLine

from ocikit import runtime
from ocikit.errors import OCIKitError, StateError
from ocikit.runtime.cgroups.branch import PREFIX
from ocikit.runtime.cgroups.ownership import members
from ocikit.spec import Hook, Hooks, LinuxPids, LinuxResources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

QUIET: dict[str, Any] = {"stdin": "null", "stdout": "null", "stderr": "null"}


@pytest.fixture
def bystander(root: Path, make_bundle: Callable[..., Path], new_id: Callable[[], str]) -> Iterator[runtime.Container]:
    """Give another one, which nothing of it all is about."""
    resources = LinuxResources(pids=LinuxPids(limit=77))
    bundle = make_bundle(name="bystander", linux={"resources": resources})
    with runtime.create(root, new_id(), bundle, **QUIET) as container:
        container.start()
        yield container
        assert container.status() is runtime.Status.RUNNING
        assert container.processes() == [container.pid]
        assert limit(container, "pids.max") == "77"


def directory_of(container: runtime.Container) -> Path:
    """Return where the state of a container is."""
    return Path(container.root, container.id)


# --------------------------------------------------------------------------------------------------- of the wrong kind


def places(value: object, here: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield where there is a value in a document."""
    entries: Any = ()
    if isinstance(value, dict):
        entries = value.items()
    elif isinstance(value, list):
        entries = enumerate(value[:1])
    for key, below in entries:
        yield (*here, key)
        yield from places(below, (*here, key))


def replaced(document: Any, place: tuple[str | int, ...], value: object) -> Any:
    """Return a document with another value at a place."""
    made = copy.deepcopy(document)
    at = made
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    return made


def pause(container: runtime.Container) -> None:
    """Pause a container, and let it go on."""
    container.pause()
    container.resume()


OPERATIONS: dict[str, Callable[[runtime.Container], object]] = {
    "look": lambda one: (one.state(), one.oci_state(), one.processes()),
    "enter": lambda one: one.exec(["true"], **QUIET).wait(timeout=60),
    "limit": lambda one: one.update(LinuxResources(pids=LinuxPids(limit=90))),
    "pause": pause,
}

ODD = (None, [1], {"x": 1}, "../../etc", 2**70, -7)


@pytest.mark.parametrize("file", ["state.json", "ocikit.json"])
def test_values_of_any_kind(running: runtime.Container, bystander: runtime.Container, file: str) -> None:
    """Whatever stands at any place of a state, an operation does what it is to do, or says what is wrong."""
    del bystander
    path = directory_of(running) / file
    whole = path.read_bytes()
    if file == "state.json":
        (path.parent / "ocikit.json").rename(path.parent / "away")  # as for a container of runc
    odd, operations = itertools.cycle(ODD), itertools.cycle(OPERATIONS.values())
    document = json.loads(whole)
    for place in places(document):
        for value in itertools.islice(odd, 2):
            path.write_text(json.dumps(replaced(document, place, value)))
            for operation in itertools.islice(operations, 3):
                try:
                    operation(runtime.load(running.root, running.id))
                except OCIKitError:
                    continue
            assert running.status() is not runtime.Status.STOPPED
    path.write_bytes(whole)
    if file == "state.json":
        (path.parent / "away").rename(path.parent / "ocikit.json")
    assert running.status() is runtime.Status.RUNNING


# ----------------------------------------------------------------------------------------------------- of somebody else


@pytest.mark.parametrize("noted", [True, False], ids=["ours", "as if runc had made it"])
def test_cgroups_of_another_container(running: runtime.Container, bystander: runtime.Container, *, noted: bool) -> None:
    """Who is said to live in the cgroups of another container is neither frozen, limited, entered nor killed there.

    Its own ones are found by our note, or as long as it lives in them, and removed.
    """
    home = set(members(running.pid).values()) - set(members(os.getpid()).values())
    file = directory_of(running) / "state.json"
    document = json.loads(file.read_text())
    theirs = json.loads((directory_of(bystander) / "state.json").read_text())["cgroup_paths"]
    file.write_text(json.dumps(document | {"cgroup_paths": theirs}))
    if not noted:
        (file.parent / "ocikit.json").unlink()
    tampered = runtime.load(running.root, running.id)
    for operation in (
        tampered.pause,
        lambda: tampered.update(LinuxResources(pids=LinuxPids(limit=5))),
        lambda: enter(tampered, home),
        lambda: tampered.kill(whole_cgroup=True) if noted else None,
        lambda: tampered.destroy(force=True),
    ):
        with contextlib.suppress(OCIKitError):
            operation()
        assert bystander.status() is runtime.Status.RUNNING
        assert limit(bystander, "pids.max") == "77"
    assert running.status() is runtime.Status.STOPPED
    assert [path for path in home if os.path.exists(path)] == []


def enter(container: runtime.Container, home: set[str]) -> None:
    """Start a further process; it has to be where the first one is."""
    with container.exec(["sleep", "1000"], **QUIET) as process:
        # In one hierarchy it has a cgroup of its own below.
        assert home <= {path.partition(f"/{PREFIX}")[0] for path in members(process.pid).values()}


def link(path: Path) -> None:
    """Put a link in the place of the state, to where it is now."""
    (path / "state.json").rename(path.parent / "other")
    (path / "state.json").symlink_to("../other")


FOREIGN_FILES: dict[str, Callable[[Path], object]] = {
    "of another user": lambda path: os.chown(path / "state.json", 1234, 1234),
    "others may write": lambda path: (path / "state.json").chmod(0o666),
    "a group may write": lambda path: (path / "state.json").chmod(0o660),
    "a link": link,
}

FOREIGN_PLACES: dict[str, Callable[[Path], object]] = {
    "a directory of another user": lambda path: os.chown(path, 1234, 1234),
    "a directory that others may write to": lambda path: path.chmod(0o777),
    "a root of another user": lambda path: os.chown(path.parent, 1234, 1234),
    "a root that others may write to": lambda path: path.parent.chmod(0o1777),
}


class Hooked(NamedTuple):
    """A created container with hooks."""

    container: runtime.Container
    #: What exists when one of them was run.
    ran: Path

    def refuses(self) -> None:
        """Try everything that looks at the state."""
        with pytest.raises(StateError):
            runtime.load(self.container.root, self.container.id)
        for operation in (self.container.start, lambda: self.container.destroy(force=True)):
            with pytest.raises(StateError):
                operation()
        assert not runtime.stop_and_remove(self.container.root, prefix=self.container.id).ok
        os.kill(self.container.pid, 0)


@pytest.fixture
def hooked(root: Path, make_bundle: Callable[..., Path], container_id: str, tmp_path: Path) -> Hooked:
    """Give such a container."""
    hook = Hook(path="/bin/busybox", args=("touch", str(tmp_path / "ran")))
    bundle = make_bundle(hooks=Hooks(poststart=(hook,), poststop=(hook,)))
    return Hooked(runtime.create(root, container_id, bundle, lifetime="detached", **QUIET), tmp_path / "ran")


@pytest.mark.parametrize("kind", FOREIGN_FILES)
def test_programs_that_others_name(kind: str, hooked: Hooked) -> None:
    """No hook is run that stands in a state which somebody else could have written; what is ours can be removed."""
    FOREIGN_FILES[kind](directory_of(hooked.container))
    hooked.refuses()
    CommandLine(Path(hooked.container.root)).works("delete", "--force", hooked.container.id)
    assert not hooked.ran.exists()
    assert hooked.container.wait(timeout=60).signal is not None


@pytest.mark.parametrize("kind", FOREIGN_PLACES)
def test_containers_in_places_of_others(kind: str, hooked: Hooked) -> None:
    """Nothing is done with what is in a directory that somebody else could have put it into."""
    path = directory_of(hooked.container)
    modes = [(one, one.stat().st_mode & 0o7777) for one in (path.parent, path)]
    FOREIGN_PLACES[kind](path)
    hooked.refuses()
    assert CommandLine(path.parent)("delete", "--force", hooked.container.id).returncode != 0
    assert not hooked.ran.exists()
    os.kill(hooked.container.pid, 0)
    for one, mode in modes:
        os.chown(one, 0, 0)
        one.chmod(mode)
    hooked.container.destroy(force=True)
    assert hooked.ran.exists()  # it is one that can be run


# ---------------------------------------------------------------------------------------------------------- the fifo


@pytest.fixture
def decoy(tmp_path: Path) -> Iterator[Decoy]:
    """Give a piece of the host, which has to be the same at the end."""
    made = decoy_at(tmp_path / "decoy")
    before = made.look()
    yield made
    assert made.look() == before


FIFOS: dict[str, Callable[[Path, Path], object]] = {
    "a file": lambda at, _: at.write_text("0"),
    "a link to a file": lambda at, out: at.symlink_to(out / "hosts"),
    "a link to a device": lambda at, _: at.symlink_to("/dev/zero"),
    "a link to nowhere": lambda at, out: at.symlink_to(out / "new"),
    "another fifo": lambda at, _: os.mkfifo(at),
    "a directory": lambda at, _: (at / "deep").mkdir(parents=True),
    "nothing": lambda _, __: None,
}


@pytest.mark.parametrize("kind", FIFOS)
def test_what_a_container_waits_at(kind: str, created: runtime.Container, decoy: Decoy) -> None:
    """What stands in the place of the fifo is not opened for what it is not, and the container can be removed."""
    path = directory_of(created) / "exec.fifo"
    path.unlink()
    FIFOS[kind](path, decoy.path)
    container = runtime.load(created.root, created.id)
    if kind != "another fifo":  # which is waited at, until somebody comes, as at every one
        with pytest.raises(OCIKitError):
            container.start()
    pid = created.pid
    container.destroy(force=True)
    assert not path.parent.exists()
    assert not os.path.exists(f"/proc/{pid}/root/bin")


def test_a_state_for_another_kind_of_host(running: runtime.Container, bystander: runtime.Container) -> None:
    """Controllers that this host has not, and hierarchies that are mounted elsewhere, are nobody's cgroups."""
    del bystander
    file = directory_of(running) / "state.json"
    document = json.loads(file.read_text())
    other = {"memory": "/sys/fs/cgroup/memory/x"} if V2 else {"": "/sys/fs/cgroup", "no": "/sys/fs/cgroup/no"}
    file.write_text(json.dumps(document | {"cgroup_paths": other}))
    tampered = runtime.load(running.root, running.id)
    assert tampered.status() is runtime.Status.RUNNING
    tampered.destroy(force=True)
    assert running.status() is runtime.Status.STOPPED
