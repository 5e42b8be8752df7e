"""The rules of layers, each as umoci applies it: the same layers give the same tree."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from layers import character, directory, entry, file, hard_link, layer, symlink, unpack_by_umoci, unpack_here
from trees import differences, snapshot

if TYPE_CHECKING:
    from pathlib import Path

LOWER = layer(
    directory(b"a", mtime=11),
    file(b"a/one", b"1", mtime=12),
    file(b"a/two", b"2"),
    directory(b"a/sub", mtime=13, mode=0o700, owner=(3, 4)),
    file(b"a/sub/deep", b"deep"),
    directory(b"b", mtime=14),
    file(b"b/file", b"b"),
    symlink(b"to_a", b"a"),
    symlink(b"to_nowhere", b"made/by/need"),
    symlink(b"absolute", b"/a/sub"),
    symlink(b"up", b"../../../b"),
    symlink(b"loop", b"loop"),
    file(b"plain", b"plain"),
    hard_link(b"linked", b"plain"),
)

# Each: what it shows, and the layers above LOWER.
RULES: dict[str, list[bytes]] = {
    "a whiteout removes a file of a lower layer": [layer(file(b"a/.wh.one"))],
    "a whiteout removes a directory with everything in it": [layer(file(b".wh.a"))],
    "a whiteout of what is missing is nothing": [layer(file(b".wh.missing"), file(b"missing/.wh.too"))],
    "the type of a whiteout does not matter": [layer(directory(b"a/.wh.one"), symlink(b"a/.wh.two", b"x"))],
    "a whiteout after the new file leaves it": [layer(file(b"a/one", b"new"), file(b"a/.wh.one"))],
    "a whiteout before the new file leaves it": [layer(file(b"a/.wh.one"), file(b"a/one", b"new"))],
    "a whiteout of a directory leaves what this layer put in": [
        layer(directory(b"a", mtime=20), file(b"a/new", b"n"), file(b".wh.a"))
    ],
    "an opaque whiteout removes what lower layers put in": [layer(directory(b"a", mtime=20), file(b"a/.wh..wh..opq"))],
    "an opaque whiteout after new files leaves them": [
        layer(file(b"a/new", b"n"), file(b"a/sub/new", b"n"), file(b"a/.wh..wh..opq"))
    ],
    "an opaque whiteout before new files leaves them": [
        layer(file(b"a/.wh..wh..opq"), file(b"a/new", b"n"), file(b"a/sub/new", b"n", mtime=5), directory(b"a/sub"))
    ],
    "an opaque whiteout of the root": [layer(file(b".wh..wh..opq"), file(b"new", b"n"))],
    "an opaque whiteout of what is missing is nothing": [layer(file(b"missing/.wh..wh..opq"))],
    "whiteouts go through links to directories": [layer(file(b"to_a/.wh.one"), file(b"up/.wh..wh..opq"))],
    "names that only look like whiteouts": [layer(file(b"a/not.a.wh..wh..opq", b"x"), file(b"a/x.wh.one", b"x"))],
    "leftovers of AUFS are skipped": [layer(file(b".wh..wh.aufs"), file(b".wh..wh.orph"), file(b"a/.wh..wh.plnk"))],
    "whiteouts of two layers": [layer(file(b"a/.wh.one")), layer(file(b"a/one", b"again"), file(b"a/.wh.two"))],
    "a file replaces a file, and its other name keeps the old one": [layer(file(b"plain", b"new", mtime=33))],
    "a file replaces a directory": [layer(file(b"a", b"file now"))],
    "a file replaces a link, and does not write through it": [layer(file(b"to_a", b"file now"))],
    "a directory replaces a file": [layer(directory(b"plain", mtime=7), file(b"plain/in", b"in"))],
    "a directory replaces a link to a directory": [layer(directory(b"to_a", mtime=7), file(b"to_a/in", b"in"))],
    "a directory over a directory keeps what is in it": [layer(directory(b"a", mode=0o1711, owner=(7, 8), mtime=21))],
    "a link replaces a directory": [layer(symlink(b"a", b"b"), file(b"a/in_b", b"in b"))],
    "a link replaces a link": [layer(symlink(b"to_a", b"b"), file(b"to_a/in_b", b"in b"))],
    "a device replaces a file": [layer(character(b"plain", 1, 3, mode=0o666))],
    "a file replaces a device": [layer(character(b"device", 1, 3)), layer(file(b"device", b"not written through"))],
    "a fifo replaces a directory": [layer(entry(b"a", kind=b"6", mode=0o600))],
    "a file through a link to a directory": [layer(file(b"to_a/through", b"t"), file(b"absolute/through", b"t"))],
    "a file through a link that leaves the root": [layer(file(b"up/clamped", b"c"))],
    "a name with dots is cleaned as text": [layer(file(b"./a/../b/./x", b"x"), file(b"../../y", b"y"))],
    "an absolute name is below the root": [layer(file(b"/abs", b"abs"), directory(b"//b//c/"))],
    "a hard link to a file of a lower layer": [layer(hard_link(b"b/again", b"a/one"))],
    "a hard link through links, and absolute": [layer(hard_link(b"x", b"/to_a/one"), hard_link(b"y", b"../up/file"))],
    "a hard link to a link": [layer(hard_link(b"second", b"to_a"))],
    "a hard link to a link of lower that leads nowhere": [layer(hard_link(b"second", b"to_nowhere"))],
    "a hard link carries no owner, mode or time": [layer(hard_link(b"x", b"a/one", mode=0o777, owner=(9, 9), mtime=1))],
    "a hard link replaces a file": [layer(hard_link(b"b/file", b"plain"))],
    "the same name twice in a layer": [layer(file(b"twice", b"1", mode=0o600), file(b"twice", b"2", mode=0o640))],
    "a directory twice in a layer": [layer(directory(b"a", mtime=1), file(b"a/new"), directory(b"a", mtime=2))],
    "an entry for the root": [layer(directory(b"./", mode=0o711, owner=(5, 6), mtime=99))],
    "set-uid, set-gid and sticky survive the owner": [
        layer(file(b"s", b"s", mode=0o6755, owner=(1000, 1000)), directory(b"d", mode=0o3777, owner=(1, 2)))
    ],
    "files in a set-gid directory keep their own group": [
        layer(directory(b"g", mode=0o2755, owner=(0, 50)), file(b"g/f", b"f"), directory(b"g/d", mode=0o755))
    ],
    "times before the epoch and fractions of a second": [
        layer(file(b"t", b"t", pax={b"mtime": b"-12.25"}), file(b"u", b"u", pax={b"mtime": b"1234.123456789"}))
    ],
    "time of a directory stays when its content changes": [layer(file(b"a/sub/new", b"n")), layer(file(b"a/.wh.two"))],
    "names that are no UTF-8": [layer(file(b"\xff\xfe", b"x"), symlink(b"\xe9", b"\xff\xfe"), file(b"n\nl", b"x"))],
    "attributes of files, directories and links": [
        layer(
            file(b"x", b"x", pax={b"SCHILY.xattr.user.one": b"1\0\xff", b"SCHILY.xattr.trusted.two": b"2"}),
            directory(b"a", mtime=3, pax={b"SCHILY.xattr.user.dir": b"d"}),
            symlink(b"l", b"x", pax={b"SCHILY.xattr.trusted.link": b"l"}),
        )
    ],
    "attributes of a lower directory go with its new entry": [
        layer(directory(b"a", pax={b"SCHILY.xattr.user.old": b"o"})),
        layer(directory(b"a", pax={b"SCHILY.xattr.user.new": b"n"})),
    ],
    "capabilities of a program with an owner": [
        layer(
            file(
                b"ping",
                b"p",
                mode=0o755,
                owner=(1, 1),
                pax={b"SCHILY.xattr.security.capability": bytes.fromhex("0100000200200000002000000000000000000000")},
            )
        )
    ],
    "attributes of the host are left out, and empty ones": [
        layer(
            file(
                b"x",
                b"x",
                pax={
                    b"SCHILY.xattr.security.selinux": b"system_u:object_r:bin_t:s0",
                    b"SCHILY.xattr.system.nfs4_acl": b"x",
                    b"SCHILY.xattr.trusted.overlay.opaque": b"y",
                    b"SCHILY.xattr.user.empty": b"",
                    b"SCHILY.xattr.user.kept": b"k",
                },
            )
        )
    ],
    "access control lists are not inherited": [
        layer(
            directory(
                b"acl",
                pax={
                    b"SCHILY.xattr.system.posix_acl_default": bytes.fromhex(
                        "0200000001000700ffffffff020007000100000004000500ffffffff10000700ffffffff20000500ffffffff"
                    )
                },
            ),
            file(b"acl/file", b"f", mode=0o600),
            directory(b"acl/dir", mode=0o700),
        ),
        layer(file(b"acl/later", b"l", mode=0o600)),
    ],
    "directories that no entry describes": [layer(file(b"made/by/need", b"n"))],
}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_applied_as_umoci_does(name: str, tmp_path: Path) -> None:
    """Types, modes, owners, times, attributes, contents and hard links are those that umoci gives."""
    started = time.time_ns() - 10**9
    layers = [LOWER, *RULES[name]]
    unpack_here(tmp_path / "ocikit", *layers)
    found, expected = snapshot(tmp_path / "ocikit"), snapshot(unpack_by_umoci(tmp_path, *layers))
    assert max(node.mtime_ns for node in found.values()) < started
    # Where no entry says a time, or a whiteout reaches into a directory, umoci leaves the time of unpacking.
    by_chance = {path for path, node in expected.items() if node.mtime_ns >= started}
    for tree in (found, expected):
        tree.update({path: tree[path]._replace(mtime_ns=0) for path in by_chance & tree.keys()})
    assert differences(found, expected) == []


def test_a_file_in_the_way_of_a_directory_is_replaced(tmp_path: Path) -> None:
    """A name below a file makes a directory of the file (umoci does so since 0.5)."""
    unpack_here(tmp_path / "root", LOWER, layer(file(b"plain/below", b"x")))
    assert (tmp_path / "root" / "plain" / "below").read_bytes() == b"x"
    assert (tmp_path / "root" / "linked").read_bytes() == b"plain"


def test_attributes_of_libarchive(tmp_path: Path) -> None:
    """Attributes in base64, as bsdtar writes them, are set."""
    unpack_here(tmp_path / "root", layer(file(b"x", b"x", pax={b"LIBARCHIVE.xattr.user.a%3Db": b"AAE"})))
    assert os.getxattr(tmp_path / "root" / "x", "user.a=b") == b"\0\1"


def test_attributes_of_unprivileged_overlays_are_left_out(tmp_path: Path) -> None:
    """``user.overlay.*`` does the same in an overlay mounted with userxattr as ``trusted.overlay.*`` elsewhere."""
    unpack_here(tmp_path / "root", layer(directory(b"d", pax={b"SCHILY.xattr.user.overlay.opaque": b"y"})))
    assert os.listxattr(tmp_path / "root" / "d") == []


def test_a_sparse_file_stays_sparse(tmp_path: Path) -> None:
    """Holes are holes on disk, also the one at the end."""
    size = 64 << 20
    records = {
        b"GNU.sparse.major": b"1",
        b"GNU.sparse.minor": b"0",
        b"GNU.sparse.name": b"sparse",
        b"GNU.sparse.realsize": b"%d" % size,
    }
    chart = b"1\n%d\n4096\n" % (32 << 20)
    data = chart.ljust(512, b"\0") + b"x" * 4096
    unpack_here(tmp_path / "root", layer(file(b"GNUSparseFile.0/sparse", data, pax=records)))
    status = (tmp_path / "root" / "sparse").stat()
    assert status.st_size == size
    assert status.st_blocks * 512 < 1 << 20
    with (tmp_path / "root" / "sparse").open("rb") as stream:
        stream.seek((32 << 20) - 1)
        assert stream.read(4098) == b"\0" + b"x" * 4096 + b"\0"
