"""The mount option tmpcopyup: a tmpfs that begins with what it hides."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest
from launching import run_plan
from mounting import bind, make_open_bundle, mounted, tmpfs, with_users

from ocikit.errors import SetupError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of busybox that the root of a user namespace may enter."""
    return make_open_bundle(tmp_path / "bundle")


@pytest.fixture
def data(bundle: Path) -> Path:
    """A directory of the root file system with something of every kind in it."""
    top = bundle / "rootfs/data"
    (top / "deep/er").mkdir(parents=True)
    (top / "deep/er/file").write_text("content\n")
    (top / "deep").chmod(0o2751)
    (top / "program").write_text("#!/bin/sh\n")
    (top / "program").chmod(0o4755)
    (top / "link").symlink_to("deep/er/file")
    (top / "dangling").symlink_to("/no/such")
    os.mkfifo(top / "fifo", 0o640)
    os.chown(top / "deep/er/file", 100_007, 100_008)
    os.lchown(top / "link", 100_003, 100_004)
    os.utime(top / "deep/er/file", (1_000_000_000, 1_000_000_000))
    os.chown(top, 100_005, 100_006)
    top.chmod(0o1775)
    os.chown(top / "deep", 100_000, 100_000)
    (top / "deep").chmod(0o2751)
    return top


SHOW = (
    "cd /data; stat -c '%n %a %u:%g %F' . deep deep/er deep/er/file program link dangling fifo; stat -c %Y deep/er/file"
)
EXPECTED = """\
. 1775 5:6 directory
deep 2751 100000:100000 directory
deep/er 755 65534:65534 directory
deep/er/file 644 7:8 regular file
program 4755 65534:65534 regular file
link 777 3:4 symbolic link
dangling 777 65534:65534 symbolic link
fifo 640 65534:65534 fifo
1000000000
"""


def test_everything_is_copied(bundle: Path, data: Path) -> None:
    """Files, directories, links and fifos are there with modes, owners and times; the original is as it was."""
    script = f"{SHOW}; cat link; grep ' /data ' /proc/self/mounts"
    ran = run_plan(bundle, mounted(tmpfs("/data", "tmpcopyup", "size=1m", "nosuid"), script=script))
    expected = EXPECTED.replace("65534:65534", "0:0")
    for inside, outside in (("5:6", "100005:100006"), ("7:8", "100007:100008"), ("3:4", "100003:100004")):
        expected = expected.replace(inside, outside)
    assert ran.out.startswith(f"{expected}content\ntmpfs /data tmpfs rw,nosuid,relatime,size=1024k,mode=1775")
    assert (data / "deep/er/file").read_text() == "content\n"


def test_owners_that_a_user_namespace_has_not(bundle: Path, data: Path) -> None:
    """What belongs to users that the container has not belongs to nobody, as it does in the root file system."""
    assert data.is_dir()
    ran = run_plan(bundle, with_users(mounted(tmpfs("/data", "tmpcopyup"), script=SHOW)))
    assert ran.out == EXPECTED.replace("100000:100000", "0:0")


def test_options_win_over_the_copy(bundle: Path, data: Path) -> None:
    """The tmpfs itself has the mode and the owner that are asked for."""
    assert data.is_dir()
    mount = tmpfs("/data", "tmpcopyup", "mode=0700", "uid=11", "gid=12")
    assert run_plan(bundle, mounted(mount, script="stat -c '%a %u:%g' /data")).out == "700 11:12\n"


def test_read_only_after_the_copy(bundle: Path, data: Path) -> None:
    """A read-only tmpfs is filled before it becomes so."""
    assert data.is_dir()
    ran = run_plan(bundle, mounted(tmpfs("/data", "tmpcopyup", "ro"), script="cat /data/link; touch /data/x"))
    assert ran.out == "content\ntouch: /data/x: Read-only file system\n"


def test_capabilities_of_files_are_kept(bundle: Path, data: Path) -> None:
    """A program keeps the capabilities that its file gives it."""
    shutil.copy("/bin/busybox", data / "busybox")
    value = bytes.fromhex("0100000220000000000000000000000000000000")  # version 2, effective: CAP_KILL
    os.setxattr(data / "busybox", "security.capability", value)
    script = "/data/busybox grep CapPrm /proc/self/status; grep CapPrm /proc/self/status"
    spec = mounted(tmpfs("/data", "tmpcopyup"), script=script)
    assert spec.process is not None
    # Not as root, who has all there are anyway.
    ran = run_plan(
        bundle, spec.with_process(user=spec.process.user.__class__(uid=1000, gid=1000), no_new_privileges=False)
    )
    with_it, without = (int(line.split()[1], 16) for line in ran.out.splitlines())
    assert with_it & ~without == 0x20


def test_large_and_many_files(bundle: Path) -> None:
    """More entries than one answer of the kernel holds, and files larger than any buffer."""
    top = bundle / "rootfs/data"
    top.mkdir()
    for number in range(700):
        (top / f"file-with-a-name-of-some-length-{number}").write_text(str(number))
    (top / "large").write_bytes(bytes(range(256)) * 40_000)
    script = "ls /data | wc -l; cat /data/file* | wc -c; cmp /data/large /again/data/large && echo same"
    shutil.copy("/bin/busybox", bundle / "rootfs/bin/cmp")
    spec = mounted(bind(bundle / "rootfs", "/again"), tmpfs("/data", "tmpcopyup"), script=script)
    assert run_plan(bundle, spec).out.split() == ["701", "1990", "same"]


def test_what_does_not_fit_is_told(bundle: Path) -> None:
    """A tmpfs that is too small for what it hides is an error."""
    (bundle / "rootfs/data").mkdir()
    (bundle / "rootfs/data/large").write_bytes(bytes(100_000))
    with pytest.raises(SetupError, match="copy content into tmpfs at /data: No space left on device"):
        run_plan(bundle, mounted(tmpfs("/data", "tmpcopyup", "size=64k")))


def test_places_that_are_missing_or_links(bundle: Path, data: Path) -> None:
    """Where there is nothing, nothing is copied; a link is followed inside the root, like for every mount."""
    (bundle / "rootfs/other").symlink_to("/data/deep")
    mounts = (tmpfs("/missing/place", "tmpcopyup"), tmpfs("/other", "tmpcopyup"))
    assert run_plan(bundle, mounted(*mounts, script="ls /missing/place; ls /data/deep/er; mount")).out.startswith(
        "file\n"
    )
    assert data.is_dir()


def test_other_mounts_below_are_not_copied(bundle: Path, data: Path) -> None:
    """What is mounted below remains hidden; there is a place for it."""
    spec = mounted(bind("/proc", "/data/deep"), tmpfs("/data", "tmpcopyup"), script="ls -A /data/deep; ls /data")
    assert run_plan(bundle, spec).out.split() == ["dangling", "deep", "fifo", "link", "program"]
    assert data.is_dir()


# Hostile trees.


def test_links_are_copied_and_not_followed(bundle: Path, tmp_path: Path) -> None:
    """Links of the image that lead to the host become links: nothing of the host comes into the container."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/file").write_text("secret")
    top = bundle / "rootfs/data"
    top.mkdir()
    (top / "directory").symlink_to(tmp_path / "secret")
    (top / "file").symlink_to(tmp_path / "secret/file")
    (top / "up").symlink_to("../" * 30 + str(tmp_path / "secret/file"))
    (top / "self").symlink_to("self")
    script = "ls -1 /data | wc -l; cat /data/file /data/up /data/directory/file; find /data -type f"
    ran = run_plan(bundle, mounted(tmpfs("/data", "tmpcopyup"), script=script))
    assert ran.out.splitlines()[0] == "4"
    assert "secret\n" not in ran.out
    assert (tmp_path / "secret/file").read_text() == "secret"


def test_trees_that_are_too_deep(bundle: Path) -> None:
    """A tree with more levels than anybody needs is an error, and not a crash."""
    at = bundle / "rootfs/data"
    at.mkdir()
    os.chdir(at)
    try:
        for _ in range(250):
            os.mkdir("d")
            os.chdir("d")
        with pytest.raises(SetupError, match="copy content into tmpfs at /data: Too many levels"):
            run_plan(bundle, mounted(tmpfs("/data", "tmpcopyup")))
    finally:
        os.chdir("/")


def test_a_tree_that_changes_while_it_is_copied(bundle: Path, tmp_path: Path) -> None:
    """Who exchanges a directory for a link, or a file for a fifo, all the time gains nothing and stops nobody."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_text("secret of the host")
    top = bundle / "rootfs/data"
    (top / "a").mkdir(parents=True)
    (top / "a/file").write_text("harmless")
    (top / "b").symlink_to(secret)
    (top / "c").write_text("harmless")
    os.mkfifo(top / "d")
    racer = textwrap.dedent(
        """
        import ctypes, os, sys
        libc = ctypes.CDLL(None)
        os.chdir(sys.argv[1])
        print("ready", flush=True)
        while True:
            libc.renameat2(-100, b"a", -100, b"b", 2)
            libc.renameat2(-100, b"c", -100, b"d", 2)
        """
    )
    with subprocess.Popen([sys.executable, "-c", racer, str(top)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            for _ in range(60):
                script = "for f in /data/*/file /data/c /data/d; do [ -f $f ] && cat $f; done; exit 0"
                ran = run_plan(bundle, mounted(tmpfs("/data", "tmpcopyup"), script=script))
                assert ran.code == 0
                assert "secret" not in ran.out
        finally:
            process.kill()
    assert (secret / "file").read_text() == "secret of the host"
