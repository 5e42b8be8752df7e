"""A tree with everything in it, packed by other people's programs: unpacked it is what it was, and what umoci makes."""

from __future__ import annotations

import os
import stat
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
from layers import umoci_unpack, unpack_by_umoci, unpack_here
from trees import differences, snapshot

from ocikit.image.policy import Policy
from ocikit.image.unpacking import unpack

if TYPE_CHECKING:
    from pathlib import Path

# cap_net_raw+ep, revision 2.
CAPABILITY = bytes.fromhex("0100000200200000002000000000000000000000")
LONG = "n" * 120
NOBODY = 65534


def make_everything(top: Path) -> Path:
    """Make a tree with every type of file, and everything that a file can have."""
    (top / "usr" / "bin").mkdir(parents=True)
    (top / "usr" / "bin" / "prog").write_bytes(os.urandom(100_000))
    (top / "usr" / "bin" / "prog").chmod(0o755)
    (top / "usr" / "bin" / "setuid").write_bytes(b"s")
    os.chown(top / "usr" / "bin" / "setuid", 0, 42)
    (top / "usr" / "bin" / "setuid").chmod(0o6755)
    (top / "usr" / "bin" / "ping").write_bytes(b"p")
    os.setxattr(top / "usr" / "bin" / "ping", "security.capability", CAPABILITY)
    os.link(top / "usr" / "bin" / "prog", top / "usr" / "bin" / "prog-1.0")
    (top / "bin").symlink_to("usr/bin")
    (top / "abs").symlink_to("/usr/bin/prog")
    (top / "dangling").symlink_to("no/where")
    os.chown(top / "dangling", 7, 8, follow_symlinks=False)
    (top / "empty").touch(mode=0o000)
    (top / "tmp").mkdir()
    (top / "tmp").chmod(0o1777)
    (top / "group").mkdir()
    os.chown(top / "group", 1000, 1000)
    (top / "group").chmod(0o2775)
    (top / "group" / "file").write_text("of nobody")
    os.chown(top / "group" / "file", NOBODY, NOBODY)
    (top / "closed").mkdir(mode=0o700)
    (top / "closed" / "in").write_text("in")
    os.chown(top / "closed", 3_000_000_000, 3_000_000_001)  # beyond what octal digits hold
    (top / "closed").chmod(0o500)
    os.mkfifo(top / "fifo", 0o620)
    os.mknod(top / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(top / "loop", stat.S_IFBLK | 0o660, os.makedev(7, 300))
    os.mknod(top / "big", stat.S_IFCHR | 0o600, os.makedev(4095, 1048575))
    (top / "ünïcödé 文字").write_text("unicode")
    (top / os.fsdecode(b"latin-\xe9")).write_text("not UTF-8")
    (top / "line\nbreak").write_text("odd")
    (top / LONG / LONG).mkdir(parents=True)
    (top / LONG / LONG / LONG).write_text("long")
    (top / "to-long").symlink_to(f"{LONG}/{LONG}/{LONG}")
    os.link(top / LONG / LONG / LONG, top / LONG / "hard")
    with (top / "sparse").open("wb") as file:
        for number in range(30):  # more pieces than one header holds
            file.seek(number << 20)
            file.write(b"x" * 4096)
        file.truncate(40 << 20)
    (top / "attributes").write_text("x")
    os.setxattr(top / "attributes", "user.binary", bytes(range(1, 256)))
    os.setxattr(top / "attributes", "trusted.host", b"t")
    os.setxattr(top / "group", "user.dir", b"d")
    for path in sorted(top.rglob("*"), reverse=True):
        os.utime(path, ns=(0, 1_234_567_890_123_456_789), follow_symlinks=False)
    os.utime(top / "empty", ns=(0, -86_400 * 10**9))
    os.utime(top, ns=(0, 987_654_321))
    return top


def by_gnu_tar(*options: str) -> list[str]:
    """Return the command that packs a tree."""
    return ["tar", "--numeric-owner", *options, "-cf", "-", "."]


POSIX = by_gnu_tar("--format=posix", "--xattrs", "--xattrs-include=*", "--sparse")

WRITERS = {
    "GNU tar, pax": POSIX,
    "GNU tar, pax, sparse 0.0": [*POSIX[:2], "--sparse-version=0.0", *POSIX[2:]],
    "GNU tar, pax, sparse 0.1": [*POSIX[:2], "--sparse-version=0.1", *POSIX[2:]],
    "GNU tar, gnu": by_gnu_tar("--format=gnu"),
    "GNU tar, oldgnu": by_gnu_tar("--format=oldgnu"),
}


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the tree once."""
    top = tmp_path_factory.mktemp("everything") / "tree"
    top.mkdir()
    return make_everything(top)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_layer_of_gnu_tar(writer: str, everything: Path, tmp_path: Path) -> None:
    """The tree is the one that umoci makes of the same layer."""
    data = subprocess.run(WRITERS[writer], cwd=everything, check=True, capture_output=True).stdout
    unpack_here(tmp_path / "ocikit", data)
    assert differences(snapshot(tmp_path / "ocikit"), snapshot(unpack_by_umoci(tmp_path, data))) == []


def test_nothing_is_lost(everything: Path, tmp_path: Path) -> None:
    """Packed with everything that a pax archive can hold, the tree is what it was, to the nanosecond."""
    data = subprocess.run(POSIX, cwd=everything, check=True, capture_output=True).stdout
    applier = unpack_here(tmp_path / "ocikit", data)
    assert differences(snapshot(tmp_path / "ocikit"), snapshot(everything)) == []
    assert applier.skipped == ()
    assert (tmp_path / "ocikit" / "sparse").stat().st_blocks * 512 < 1 << 20


def test_sparse_files_of_gnu_tar(everything: Path, tmp_path: Path) -> None:
    """The sparse members of GNU's own format, which umoci does not know, give the file back."""
    command = by_gnu_tar("--format=gnu", "--sparse")
    data = subprocess.run(command, cwd=everything, check=True, capture_output=True).stdout
    unpack_here(tmp_path / "ocikit", data)
    # The format has whole seconds and no attributes.
    expected = {
        path: node._replace(mtime_ns=node.mtime_ns // 10**9 * 10**9, xattrs=())
        for path, node in snapshot(everything).items()
    }
    assert differences(snapshot(tmp_path / "ocikit"), expected) == []
    assert (tmp_path / "ocikit" / "sparse").stat().st_blocks * 512 < 1 << 20


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_layer_of_tarfile(form: int, everything: Path, tmp_path: Path) -> None:
    """The tree is the one that umoci makes of the same layer."""
    path = tmp_path / "layer.tar"
    with tarfile.open(path, "w", format=form) as tar:
        tar.add(everything, arcname=".")
    data = path.read_bytes()
    unpack_here(tmp_path / "ocikit", data)
    assert differences(snapshot(tmp_path / "ocikit"), snapshot(unpack_by_umoci(tmp_path, data))) == []


def test_what_umoci_inserts(tmp_path: Path) -> None:
    """Inserting, umoci leaves out the padding of the last file and the end of the archive: nothing is missing."""
    layout, name = tmp_path / "layout", f"{tmp_path / 'layout'}:app"
    (tmp_path / "file").write_bytes(b"x" * 10_072)
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory" / "file").write_bytes(b"y" * 513)
    for words in (
        ["init", "--layout", str(layout)],
        ["new", "--image", name],
        ["insert", "--image", name, str(tmp_path / "file"), "/usr/bin/file"],
        ["insert", "--image", name, str(tmp_path / "directory"), "/srv"],
        ["insert", "--image", name, str(tmp_path / "file"), "/gone"],
        ["insert", "--image", name, "--whiteout", "/gone"],
    ):
        subprocess.run(["umoci", *words], check=True, capture_output=True)
    (tmp_path / "private").mkdir(mode=0o700)
    ours = tmp_path / "private" / "ocikit"
    assert unpack(f"oci:{name}", ours, policy=Policy.insecure_accept_anything()).layers == 4
    theirs = snapshot(umoci_unpack(layout, "app", tmp_path / "umoci"))
    for implied in (b".", b"usr", b"usr/bin"):  # without an entry: for umoci of the time of unpacking
        theirs[implied] = theirs[implied]._replace(mtime_ns=0)
    assert differences(snapshot(ours), theirs) == []
    assert (ours / "usr" / "bin" / "file").read_bytes() == b"x" * 10_072
    assert not (ours / "gone").exists()
