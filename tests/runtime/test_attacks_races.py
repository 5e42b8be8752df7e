"""A root file system that changes under the hands of whoever makes a container of it.

Somebody exchanges a name for a link that leads out, all the time (CVE-2019-18837, 2019-19921, 2021-30465, 2024-45310,
2025-31133, 2025-52565, 2026-41579). What must hold is always the same: nothing on the host is made, changed or mounted,
and what the host hides is not read in the container.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import pytest
from attacking import TREASURE, Decoy, decoy_at, mounts_of_host, racing
from launching import MOUNTS, default_spec, make_rootfs

from ocikit import runtime
from ocikit.errors import SetupError
from ocikit.spec import Box, LinuxCapabilities, LinuxDevice, Mount, Root, Spec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: How often a container is made of each.
ROUNDS = 8

#: The mounts that leave /dev, /proc or /sys to the image.
WITHOUT_DEV = tuple(mount for mount in MOUNTS if not mount.destination.startswith("/dev"))
WITHOUT_PROC = tuple(mount for mount in MOUNTS if not mount.destination.startswith("/proc"))
WITHOUT_SYS = tuple(mount for mount in MOUNTS if not mount.destination.startswith("/sys"))
PTS = next(mount for mount in MOUNTS if mount.destination == "/dev/pts")

TERMINAL = {"terminal": True, "console_size": Box(width=80, height=24)}


class Race(NamedTuple):
    """One kind of target."""

    #: The name in the root that is exchanged: a directory for a link to the decoy, or a file for a link into it.
    name: str
    #: What makes the configuration, given the directory of the test.
    mounts: tuple[Mount, ...] = MOUNTS
    linux: dict[str, Any] = {}  # noqa: RUF012 - a default that nobody changes
    process: dict[str, Any] = {}  # noqa: RUF012
    #: Whether the name is that of a file, and which one of the decoy it is exchanged for.
    file: str = ""


def at(destination: str, kind: str, *options: str, source: str = "") -> tuple[Mount, ...]:
    """Add one mount to those of the default configuration."""
    return (*MOUNTS, Mount(destination=destination, type=kind, source=source or kind, options=options))


RACES: dict[str, Race] = {
    "a directory that is bound": Race("t", at("/t", "bind", "rbind", source="tree")),
    "a directory below it": Race("t", at("/t/a/b", "bind", "rbind", source="tree")),
    "one that has to be made": Race("t", at("/t/new/er", "bind", "rbind", source="tree")),
    "a file that is bound": Race("t", at("/t/secret", "bind", "bind", source="tree/file")),
    "a file that has to be made": Race("t", at("/t/new/file", "bind", "bind", source="tree/file")),
    "a file instead of a link": Race("f", at("/f", "bind", "bind", source="tree/file"), file="hosts"),
    "a bind that is changed": Race(
        "t", (*at("/t", "bind", "rbind", source="tree"), *at("/t", "", "remount", "bind", "ro")[-1:])
    ),
    "a tmpfs": Race("t", at("/t", "tmpfs")),
    "a tmpfs with the mode of what is there": Race("t", at("/t/a", "tmpfs")),
    "a tmpfs with a copy of what is there": Race("t", at("/t", "tmpfs", "tmpcopyup")),
    "cgroups": Race("t", at("/t/cgroup", "cgroup", "ro")),
    "procfs": Race("proc"),
    "sysfs": Race("sys"),
    "no procfs": Race("proc", WITHOUT_PROC),
    "no sysfs": Race("sys", WITHOUT_SYS),
    "masks": Race("t", linux={"masked_paths": ("/t", "/t/a/b", "/t/hosts", "/t/null")}),
    "read-only paths": Race("t", linux={"readonly_paths": ("/t", "/t/a", "/t/hosts")}),
    "a mask of a file": Race("f", linux={"masked_paths": ("/f",)}, file="hosts"),
    "the directory of devices": Race("dev", WITHOUT_DEV),
    "the null device": Race("dev/null", WITHOUT_DEV, file="null"),
    "a terminal": Race("dev", (*WITHOUT_DEV, PTS), process=TERMINAL),
    "the place of a terminal": Race("dev/console", (*WITHOUT_DEV, PTS), process=TERMINAL, file="console"),
    "devices elsewhere": Race(
        "t", linux={"devices": (LinuxDevice(path="/t/a/b/node", type="c", major=1, minor=3, file_mode=0o666),)}
    ),
    "a device with an owner": Race(
        "t/node",
        linux={"devices": (LinuxDevice(path="/t/node", type="c", major=1, minor=3, uid=7, gid=7),)},
        file="node",
    ),
    "a working directory": Race("t", process={"cwd": "/t"}),
    "a working directory that has to be made": Race("t", process={"cwd": "/t/new/work"}),
    "where the program is": Race("bin"),
}


@pytest.fixture
def decoy(tmp_path: Path) -> Decoy:
    """Give a piece of the host."""
    return decoy_at(tmp_path / "decoy")


@pytest.fixture
def arena(tmp_path: Path) -> Path:
    """Give a root file system with two names that the races are about."""
    path = make_rootfs(tmp_path / "arena")
    for name in ("dev", "proc", "sys", "t/a/b"):
        (path / name).mkdir(parents=True)
    for name in ("f", "t/hosts", "t/null", "t/secret", "dev/console"):
        (path / name).write_text("")
    for name in ("dev/null", "t/node"):
        os.mknod(path / name, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    return path


@pytest.mark.parametrize("kind", RACES)
def test_races(kind: str, root: Path, arena: Path, decoy: Decoy, new_id: Callable[[], str]) -> None:
    """Whatever is exchanged for a link out while it is used: the host is as it was, and its secrets are kept."""
    race, tmp_path = RACES[kind], arena.parent
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_text("bound")
    link = arena / "link"
    link.symlink_to(decoy.path / race.file)
    spec = configuration(race, arena)
    before = decoy.look(), mounts_of_host(tmp_path)
    ran = 0
    with racing(arena / race.name, link, tmp_path):
        for number in range(40 * ROUNDS):
            # On a busy machine, the two may meet in every one of a few rounds.
            if number >= ROUNDS and ran:
                break
            with contextlib.suppress(SetupError):  # it was seen as a link that leads nowhere, or as two things at once
                assert TREASURE not in output(root, new_id(), tmp_path, spec)
                ran += 1
    assert (decoy.look(), mounts_of_host(tmp_path)) == before
    assert ran, "not one container was made"


def configuration(race: Race, arena: Path) -> Spec:
    """Return a configuration whose program tries to read what the host hides."""
    reading = "cat secret t/secret t/a/b/secret f hosts dev/secret proc/secret sys/secret work/secret ../secret"
    script = f"{reading} /t/secret /t/hosts /f; cd /; {reading}; exit 0"
    spec = default_spec("/bin/sh", "-c", script, mounts=race.mounts)
    spec = spec.with_process(capabilities=LinuxCapabilities(), **race.process).with_linux(**race.linux)
    return attrs.evolve(spec, root=Root(path=str(arena)))


def output(root: Path, container_id: str, bundle: Path, spec: Spec) -> str:
    """Run a container to its end; return what it wrote."""
    assert spec.process is not None
    streams: dict[str, Any] = {"stdin": "null", "stdout": "pipe", "stderr": "stdout"}
    with runtime.create(
        root, container_id, bundle, spec=spec, **({} if spec.process.terminal else streams)
    ) as container:
        container.start()
        if container.console is not None:
            text = b"".join(iter(container.console.read, b""))
        else:
            assert container.stdout is not None
            text = container.stdout.read()
        container.wait(timeout=60)
    return os.fsdecode(text)
