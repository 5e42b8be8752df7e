"""Root file systems that try to reach the host: what they get instead, and that the host is as it was.

Each row is a trap of a kind that has worked against a runtime before. What must hold is always the same: a file or
directory outside of the root is neither changed nor mounted over, and what the container shows at the place is not
the host's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from launching import MOUNTS, default_spec, make_rootfs, run_plan

from ocikit._fs import open_in_root
from ocikit.errors import SetupError
from ocikit.spec import Mount

if TYPE_CHECKING:
    from collections.abc import Callable


def snapshot(root: Path) -> dict[str, tuple[int, ...]]:
    """Return what can change of a tree: every path with mode, owner, size, links and time."""
    found: dict[str, tuple[int, ...]] = {}
    for directory, names, files in os.walk(root):
        for name in (".", *names, *files):
            about = os.lstat(os.path.join(directory, name))
            key = os.path.join(directory, name)
            found[key] = (about.st_mode, about.st_uid, about.st_size, about.st_nlink, about.st_mtime_ns, about.st_ino)
    return found


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory of the host that must stay as it is."""
    place = tmp_path / "outside"
    (place / "null").mkdir(parents=True)
    (place / "secret").write_text("secret")
    (place / "pts").mkdir()
    return place


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """A root file system of busybox, to be made hostile."""
    return make_rootfs(tmp_path / "rootfs")


def link(name: str) -> Callable[[Path, Path], object]:
    """Return what makes ``name`` in the root a link to the place outside."""

    def make(rootfs: Path, outside: Path) -> None:
        (rootfs / name).parent.mkdir(parents=True, exist_ok=True)
        (rootfs / name).symlink_to(outside)

    return make


def climbing_link(name: str) -> Callable[[Path, Path], object]:
    """Return what makes ``name`` a relative link that climbs out."""

    def make(rootfs: Path, outside: Path) -> None:
        (rootfs / name).symlink_to("../" * 40 + str(outside))

    return make


def null_link(rootfs: Path, outside: Path) -> None:
    """Make /dev/null a link to a file of the host, in a /dev that nothing is mounted over."""
    (rootfs / "dev").mkdir()
    (rootfs / "dev/null").symlink_to(outside / "secret")


REFUSED = "refused"
CONTAINED = "contained"

TRAPS: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "proc is a link out": (link("proc"), REFUSED),
    "proc is a climbing link": (climbing_link("proc"), REFUSED),
    "sys is a link out": (link("sys"), REFUSED),
    "dev is a link out": (link("dev"), CONTAINED),
    "dev is a climbing link": (climbing_link("dev"), CONTAINED),
    "proc is a file": (lambda rootfs, _: (rootfs / "proc").write_text(""), REFUSED),
    "dev is a file": (lambda rootfs, _: (rootfs / "dev").write_text(""), REFUSED),
    "dev is a fifo": (lambda rootfs, _: os.mkfifo(rootfs / "dev"), REFUSED),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_traps_at_the_places_of_the_default_mounts(trap: str, rootfs: Path, outside: Path) -> None:
    """What stands at /proc, /sys and /dev is refused or looked up inside the root; the host is as it was."""
    make, outcome = TRAPS[trap]
    make(rootfs, outside)
    before = snapshot(outside)
    if outcome == REFUSED:
        with pytest.raises(SetupError, match=r"at /(proc|sys|dev)"):
            run_plan(rootfs.parent, default_spec("true"))
    else:
        assert run_plan(rootfs.parent, default_spec("sh", "-c", "ls /dev/")).out.split() >= ["core", "fd", "full"]
    assert snapshot(outside) == before


def test_null_device_that_is_a_link_is_refused(rootfs: Path, outside: Path) -> None:
    """A device is not made through a link, and the link not taken for the device."""
    null_link(rootfs, outside)
    before = snapshot(outside)
    mounts = tuple(mount for mount in MOUNTS if not mount.destination.startswith("/dev"))
    with pytest.raises(SetupError, match="make device at /dev/null"):
        run_plan(rootfs.parent, default_spec("true", mounts=mounts))
    assert snapshot(outside) == before


def test_masks_do_not_use_the_null_device_of_the_image(rootfs: Path, outside: Path) -> None:
    """What is masked shows the host's null device, wherever the container's /dev/null leads (CVE-2025-31133)."""
    null_link(rootfs, outside)
    dev = Mount(destination="/dev", source=str(rootfs / "dev"), type="bind", options=("bind",))
    mounts = (*(mount for mount in MOUNTS if not mount.destination.startswith("/dev")), dev)
    ran = run_plan(rootfs.parent, default_spec("sh", "-c", "cat /proc/timer_list /proc/keys; echo end", mounts=mounts))
    assert ran == (0, "end\n")
    assert (outside / "secret").read_text() == "secret"


@pytest.mark.parametrize("target", ["/etc/hosts", "/etc/deep/er/file", "/var/data"])
def test_bind_targets_behind_links_stay_inside(rootfs: Path, outside: Path, target: str) -> None:
    """A link on the way to a mount is followed inside the root: what is made is made there."""
    for name in ("etc", "var"):
        (rootfs / name).symlink_to(outside)
    source = rootfs.parent / "source"
    source.write_text("mine")
    before = snapshot(outside)
    mount = Mount(destination=target, source=str(source), type="bind", options=("bind",))
    ran = run_plan(rootfs.parent, default_spec("cat", target, mounts=(*MOUNTS, mount)))
    assert ran == (0, "mine")
    assert snapshot(outside) == before
    assert (rootfs / outside.relative_to("/")).is_dir()


def test_dangling_link_at_a_file_target(rootfs: Path) -> None:
    """A file is bound where a link of the image points to, as for /etc/resolv.conf of many images."""
    (rootfs / "etc").mkdir()
    (rootfs / "etc/resolv.conf").symlink_to("../run/resolve/stub.conf")
    source = rootfs.parent / "resolv.conf"
    source.write_text("nameserver ::1\n")
    mount = Mount(destination="/etc/resolv.conf", source=str(source), type="bind", options=("bind",))
    ran = run_plan(rootfs.parent, default_spec("cat", "/run/resolve/stub.conf", mounts=(*MOUNTS, mount)))
    assert ran == (0, "nameserver ::1\n")


@pytest.mark.parametrize("text", ["loop", "/etc/loop", "../etc/loop"])
def test_links_that_go_round(rootfs: Path, text: str) -> None:
    """A link that leads to itself is an error and no endless search."""
    (rootfs / "etc").mkdir()
    (rootfs / "etc/loop").symlink_to(text)
    mount = Mount(destination="/etc/loop", source="/dev/null", type="bind", options=("bind",))
    with pytest.raises(SetupError, match="Too many levels of symbolic links"):
        run_plan(rootfs.parent, default_spec("true", mounts=(*MOUNTS, mount)))


def test_mounts_inside_procfs_are_refused(rootfs: Path) -> None:
    """Nothing is mounted into the container's /proc, neither by name nor by way of a link (CVE-2019-16884)."""
    (rootfs / "innocent").symlink_to("/proc/self")
    for target in ("/proc/self/attr/exec", "/innocent/attr", "/proc/self/../sys"):
        source = "/tmp" if not target.endswith("exec") else "/dev/null"
        mount = Mount(destination=target, source=source, type="bind", options=("bind",))
        with pytest.raises(SetupError, match="must not lie in a procfs"):
            run_plan(rootfs.parent, default_spec("true", mounts=(*MOUNTS, mount)))


def test_files_of_lxcfs_are_allowed_in_procfs(rootfs: Path) -> None:
    """The files that are commonly replaced by a view of the container can be."""
    source = rootfs.parent / "meminfo"
    source.write_text("MemTotal: 1 kB\n")
    mount = Mount(destination="/proc/meminfo", source=str(source), type="bind", options=("bind",))
    assert (
        run_plan(rootfs.parent, default_spec("cat", "/proc/meminfo", mounts=(*MOUNTS, mount))).out == "MemTotal: 1 kB\n"
    )


def test_a_link_to_the_root_is_no_place_to_mount(rootfs: Path) -> None:
    """Mounting over the root would hide what is set up, however the root is spelled."""
    (rootfs / "self").symlink_to("/")
    mount = Mount(destination="/self", source="/tmp", type="bind", options=("bind",))
    with pytest.raises(SetupError, match="Invalid argument"):
        run_plan(rootfs.parent, default_spec("true", mounts=(*MOUNTS, mount)))


def test_rootfs_that_is_a_link_is_refused(tmp_path: Path) -> None:
    """The root itself must be a directory."""
    make_rootfs(tmp_path / "real")
    (tmp_path / "rootfs").symlink_to("real")
    with pytest.raises(SetupError, match="mount root file system"):
        run_plan(tmp_path, default_spec("true"))


def test_working_directory_behind_a_link(rootfs: Path, outside: Path) -> None:
    """The working directory is made inside the root, and entered there."""
    (rootfs / "work").symlink_to(outside)
    before = snapshot(outside)
    ran = run_plan(rootfs.parent, default_spec("sh", "-c", "ls -A /work/", cwd="/work/new"))
    assert ran == (0, "new\n")
    assert snapshot(outside) == before


@pytest.mark.parametrize("cwd", ["/proc/self/fd/3", "/proc/self/fd/5", "/proc/self/fd/7"])
def test_working_directory_through_a_descriptor(rootfs: Path, cwd: str) -> None:
    """No descriptor of the host is there to be entered (CVE-2024-21626)."""
    with pytest.raises(SetupError, match="working directory"):
        run_plan(rootfs.parent, default_spec("true", cwd=cwd))


def test_executing_itself_gets_nowhere(rootfs: Path) -> None:
    """A program that is /proc/self/exe executes the helper, which has no plan, and cannot be written to."""
    ran = run_plan(rootfs.parent, default_spec("/proc/self/exe"))
    assert ran.code == 255
    (rootfs / "bin/evil").symlink_to("/proc/self/exe")
    assert run_plan(rootfs.parent, default_spec("/bin/evil")).code == 255


def test_exchange_race_at_a_mount_target(rootfs: Path, outside: Path) -> None:
    """Somebody who swaps a directory for a link all the time gains nothing (CVE-2021-30465)."""
    shared = rootfs.parent / "volume"
    (shared / "dir").mkdir(parents=True)
    (shared / "link").symlink_to(outside)
    racer = textwrap.dedent(
        """
        import ctypes, sys
        libc = ctypes.CDLL(None)
        a, b = sys.argv[1].encode(), sys.argv[2].encode()
        for _ in range(2_000_000):
            libc.renameat2(-100, a, -100, b, 2)
        """
    )
    command = [sys.executable, "-c", racer, str(shared / "dir"), str(shared / "link")]
    before = snapshot(outside)
    mounts = (
        *MOUNTS,
        Mount(destination="/volume", source=str(shared), type="bind", options=("bind",)),
        Mount(destination="/volume/dir/below", source="tmpfs", type="tmpfs"),
    )
    with subprocess.Popen(command) as process:
        try:
            for _ in range(40):
                try:
                    ran = run_plan(rootfs.parent, default_spec("cat", "/proc/self/mounts", mounts=mounts))
                except SetupError:
                    continue  # seen as a link that leads nowhere, or as both in one lookup: refused
                assert ran.code == 0
        finally:
            process.kill()
    assert snapshot(outside) == before
    assert str(outside) not in Path("/proc/self/mountinfo").read_text()


def test_renames_elsewhere_keep_nobody_from_a_container(rootfs: Path) -> None:
    """A lookup that goes up fails while anybody renames anything: it is tried until it is done."""
    (rootfs / "etc").mkdir()
    (rootfs / "etc/up").symlink_to("../etc/" * 500 + "../there")
    renamer = textwrap.dedent(
        """
        import os, sys
        os.chdir(sys.argv[1])
        open("one", "w").close()
        print("ready", flush=True)
        while True:
            os.rename("one", "two")
            os.rename("two", "one")
        """
    )
    mount = Mount(destination="/etc/up", source="/dev/null", type="bind", options=("bind",))
    with subprocess.Popen([sys.executable, "-c", renamer, str(rootfs.parent)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            for _ in range(5):
                assert run_plan(rootfs.parent, default_spec("true", mounts=(*MOUNTS, mount))).code == 0
            fd = os.open(rootfs, os.O_PATH)
            for _ in range(50):
                os.close(open_in_root(fd, "etc/../" * 500))
            os.close(fd)
        finally:
            process.kill()
