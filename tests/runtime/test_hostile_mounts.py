"""Root file systems that try to reach the host by way of each kind of mount there is, standing still and changing.

What must hold is what :mod:`test_hostile_rootfs` says: the host is as it was, and shows nothing in the container.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
from launching import MOUNTS, run_plan
from mounting import bind, make_open_bundle, mounted, tmpfs, with_users
from test_hostile_rootfs import snapshot

from ocikit.errors import SetupError
from ocikit.runtime.plan.compiler import CgroupMount
from ocikit.spec import LinuxDevice, LinuxIDMapping, Mount

if TYPE_CHECKING:
    from ocikit.spec import Spec

IDS = (LinuxIDMapping(container_id=0, host_id=1000, size=10),)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory of the host that must stay as it is."""
    place = tmp_path / "outside"
    (place / "deep/er").mkdir(parents=True)
    for name in ("secret", "deep/secret", "null"):
        (place / name).write_text("secret of the host")
    (place / "open").mkdir()
    (place / "open").chmod(0o777)
    return place


@pytest.fixture
def bundle(tmp_path: Path, outside: Path) -> Path:
    """A bundle with links out of its root file system, of all kinds."""
    at = make_open_bundle(tmp_path / "bundle")
    rootfs = at / "rootfs"
    (rootfs / "absolute").symlink_to(outside)
    (rootfs / "climbing").symlink_to("../" * 30 + str(outside).lstrip("/"))
    (rootfs / "chain").symlink_to("/climbing/deep")
    (rootfs / "magic").symlink_to("/proc/1/root" + str(outside))
    (rootfs / "to-file").symlink_to(outside / "secret")
    (rootfs / "to-nothing").symlink_to(outside / "new/file")
    return at


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory and a file to bind."""
    top = tmp_path / "source"
    top.mkdir()
    (top / "file").write_text("mine")
    return top


LINKS = ("absolute", "climbing", "chain", "to-file", "to-nothing", "absolute/deep/er", "climbing/new/place")
KINDS = ("bind", "file", "tmpfs", "tmpcopyup", "idmap", "mqueue", "devpts", "ro", "remount", "device", "cgroup")


def mount_at(kind: str, target: str, source: Path) -> tuple[Mount, ...]:
    """Return mounts of a kind at a place."""
    match kind:
        case "bind" | "ro":
            return (bind(source, target, "rbind", *(("ro",) if kind == "ro" else ())),)
        case "file":
            return (bind(source / "file", target),)
        case "idmap":
            return (attrs.evolve(bind(source, target), uid_mappings=IDS, gid_mappings=IDS),)
        case "tmpfs" | "tmpcopyup":
            return (tmpfs(target, "size=64k", *(("tmpcopyup",) if kind == "tmpcopyup" else ())),)
        case "remount":
            return (tmpfs("/made", "size=64k"), tmpfs(target, "remount", "ro"))
        case "mqueue" | "devpts" | "cgroup":
            return (Mount(destination=target, source=kind, type=kind, options=("nosuid",)),)
    return ()


@pytest.mark.parametrize("users", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_links_at_the_places_of_mounts(bundle: Path, outside: Path, source: Path, kind: str, *, users: bool) -> None:
    """Whatever is mounted at a link is mounted inside the root, or refused; nothing happens where the link leads to."""
    before = snapshot(outside)
    for link in LINKS:
        spec = mounted(*mount_at(kind, f"/{link}", source), script=f"cat /{link} /{link}/secret; ls -R /{link}; exit 0")
        if kind == "device":
            spec = spec.with_linux(devices=(LinuxDevice(path=f"/{link}", type="c", major=1, minor=3),))
        cgroups = (CgroupMount("pids", str(source)),)
        try:
            ran = run_plan(bundle, with_users(spec) if users else spec, cgroup_mounts=cgroups)
        except SetupError:
            pass  # a file where a directory has to be, or the like
        else:
            assert "secret of the host" not in ran.out
        assert snapshot(outside) == before
    assert str(outside) not in Path("/proc/self/mountinfo").read_text()


FALSE_PROCS = ("a directory", "a tmpfs", "a link to a tmpfs", "sysfs", "a part of a procfs")


@pytest.mark.parametrize("case", FALSE_PROCS)
def test_false_procfs(bundle: Path, source: Path, case: str) -> None:
    """What is no procfs cannot be mounted at /proc, where programs write their secrets (CVE-2019-16884)."""
    (bundle / "rootfs/other").symlink_to("proc")
    mounts = {
        "a directory": bind(source, "/proc", "rbind"),
        "a tmpfs": tmpfs("/proc", "size=64k"),
        "a link to a tmpfs": tmpfs("/other", "size=64k"),
        "sysfs": Mount(destination="/proc", source="sysfs", type="sysfs"),
        "a part of a procfs": bind(source, "/proc/self", "rbind"),
    }
    with pytest.raises(SetupError, match="must not lie in a procfs"):
        run_plan(bundle, mounted(mounts[case]))
    if case != "a part of a procfs":
        (bundle / "rootfs/proc").mkdir(exist_ok=True)
        without = attrs.evolve(mounted(), mounts=(*MOUNTS[1:], mounts[case]))
        with pytest.raises(SetupError, match="must not lie in a procfs"):
            run_plan(bundle, without)


def test_procfs_of_the_host_can_be_bound(bundle: Path) -> None:
    """A procfs that is one can be bound at /proc, as nested containers need it."""
    spec = attrs.evolve(mounted(script="cat /proc/self/comm"), mounts=(*MOUNTS[1:], bind("/proc", "/proc", "rbind")))
    assert run_plan(bundle, spec).out == "cat\n"


@pytest.mark.parametrize("users", [False, True])
@pytest.mark.parametrize("link", ["absolute", "climbing", "to-file", "magic"])
def test_sources_in_the_root(bundle: Path, outside: Path, link: str, *, users: bool) -> None:
    """A source in the root file system is what the container sees there: no link of the image leads to the host."""
    mount = bind(bundle / "rootfs" / link, "/shown", "rbind")
    spec = mounted(mount, script="cat /shown /shown/secret; ls -R /shown; exit 0")
    before = snapshot(outside)
    try:
        ran = run_plan(bundle, with_users(spec) if users else spec)
    except SetupError:
        pass  # it leads nowhere, in the root
    else:
        assert "secret" not in ran.out.replace("/shown/secret", "")
    assert snapshot(outside) == before


@pytest.mark.parametrize("field", ["masked_paths", "readonly_paths"])
def test_links_at_hidden_paths(bundle: Path, outside: Path, field: str) -> None:
    """What is to be hidden or read-only is looked up inside the root as well."""
    inside = bundle / "rootfs" / str(outside).lstrip("/")
    inside.mkdir(parents=True)
    (inside / "secret").write_text("of the image")
    before = snapshot(outside)
    spec = mounted(script="cat /absolute/secret; echo x >> /absolute/secret").with_linux(
        **{field: ("/absolute", "/to-file")}
    )
    out = run_plan(bundle, spec).out
    assert ("of the image" in out) == (field == "readonly_paths")
    assert "Read-only file system" in out
    assert snapshot(outside) == before


RACER = textwrap.dedent(
    """
    import ctypes, os, sys
    libc = ctypes.CDLL(None)
    pairs = [(a.encode(), b.encode()) for a, b in (pair.split("=") for pair in sys.argv[2:])]
    os.chdir(sys.argv[1])
    print("ready", flush=True)
    while True:
        for a, b in pairs:
            libc.renameat2(-100, a, -100, b, 2)
    """
)


@pytest.mark.parametrize("users", [False, True])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "remount"])
def test_exchanges_while_mounts_are_made(bundle: Path, outside: Path, source: Path, kind: str, *, users: bool) -> None:
    """Who exchanges directories and links all the time, in the root and in a volume, gains nothing (CVE-2021-30465)."""
    volume = bundle.parent / "volume"
    tops = (bundle / "rootfs/race", volume)
    for top in tops:
        (top / "dir/there").mkdir(parents=True)
        (top / "link").symlink_to(outside)
    # Everything here can be written to by the container's root, whoever that is.
    for place in (outside, *outside.rglob("*"), *tops, *(top / "dir" for top in tops)):
        os.chown(place, 100_000, 100_000)
        place.chmod(0o777)
    before = snapshot(outside)
    spec = race_for(kind, volume, source)
    racers = [
        subprocess.Popen([sys.executable, "-c", RACER, str(top), "dir=link"], stdout=subprocess.PIPE) for top in tops
    ]
    try:
        for racer in racers:
            assert racer.stdout is not None
            racer.stdout.readline()
        for _ in range(6):
            try:
                cgroups = (CgroupMount("pids", str(source)),)
                ran = run_plan(bundle, with_users(spec) if users else spec, cgroup_mounts=cgroups)
            except SetupError:
                continue  # seen as a link that leads nowhere: refused
            assert "secret of the host" not in ran.out
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
    assert snapshot(outside) == before
    assert str(outside) not in Path("/proc/self/mountinfo").read_text()


def race_for(kind: str, volume: Path, source: Path) -> Spec:
    """Return a configuration that mounts, or makes devices, in directories that somebody exchanges for links."""
    places = ("/race/dir/new", "/volume/dir/new", "/race/dir/there", "/volume/dir/deep/new")
    mounts = [mount for place in places for mount in mount_at(kind, place, source)]
    script = "cat /proc/self/mountinfo; cat /race/*/secret /volume/*/secret; exit 0"
    spec = mounted(bind(volume, "/volume", "rbind"), *mounts, script=script)
    if kind == "device":
        devices = (LinuxDevice(path=f"{place}/null", type="c", major=1, minor=3) for place in places)
        spec = spec.with_linux(devices=tuple(devices))
    return spec
