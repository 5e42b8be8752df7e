"""Layers made to do harm, each with what becomes of it: applied exactly as umoci does, or refused with this error.

Whatever becomes of it, nothing outside the root changes.
"""

from __future__ import annotations

import contextlib
import io
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from layers import character, directory, entry, file, hard_link, layer, symlink, unpack_by_umoci, unpack_here
from trees import differences, snapshot

from ocikit.errors import LayerError, LimitExceededError, OCIKitError, UnpackError
from ocikit.image.apply import Applier
from ocikit.image.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

SPARSE = {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.realsize": b"8796093022208"}


def base256(value: int, length: int) -> bytes:
    """Return a number as GNU tar writes those that octal digits cannot hold."""
    return (value % (1 << (8 * length)) | 1 << (8 * length - 1)).to_bytes(length, "big")


def patched(block: bytes, offset: int, value: bytes) -> bytes:
    """Change a field of a header and make its checksum right again."""
    data = bytearray(block)
    data[offset : offset + len(value)] = value
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    return bytes(data)


# Applied, with the result that umoci has. A row is a function of the path of a directory that must not change.
APPLIED: dict[str, Callable[[bytes], bytes]] = {
    "an absolute name": lambda out: layer(file(out + b"/file", b"evil")),
    "a name that climbs": lambda out: layer(file(b"../" * 20 + out[1:] + b"/file", b"evil")),
    "a name that climbs in the middle": lambda out: layer(directory(b"a"), file(b"a/../../.." + out + b"/x", b"evil")),
    "through an absolute link": lambda out: layer(symlink(b"l", out), file(b"l/file", b"evil")),
    "through a relative link": lambda out: layer(symlink(b"l", b"../" * 20 + out[1:]), file(b"l/file", b"evil")),
    "through a short relative link": lambda _: layer(symlink(b"l", b"../outside"), file(b"l/file", b"evil")),
    "through a link to a link": lambda out: layer(symlink(b"l", b"m"), symlink(b"m", out), file(b"l/file", b"evil")),
    "through a link to the parent": lambda _: layer(symlink(b"l", b".."), file(b"l/l/l/outside/file", b"evil")),
    "through a link to the root of /proc": lambda out: layer(
        symlink(b"l", b"/proc/self/root"), file(b"l" + out + b"/file", b"evil")
    ),
    "through a link to a descriptor": lambda _: layer(symlink(b"l", b"/proc/self/cwd"), file(b"l/x", b"evil")),
    "through what is missing and back": lambda _: layer(
        symlink(b"l", b"missing/../../../outside"), file(b"l/file", b"evil")
    ),
    "a file over a link to a file": lambda out: layer(symlink(b"l", out + b"/file"), file(b"l", b"evil")),
    "a directory over a link": lambda out: layer(
        symlink(b"l", out), directory(b"l", mode=0o777), file(b"l/file", b"evil")
    ),
    "owner, mode and time of a link": lambda out: layer(symlink(b"l", out, mode=0o4777, owner=(1, 1), mtime=1)),
    "attributes of a link": lambda out: layer(symlink(b"l", out + b"/file", pax={b"SCHILY.xattr.trusted.x": b"y"})),
    "a directory exchanged for a link": lambda out: layer(
        directory(b"d"), file(b"d/a", b"a"), symlink(b"d", out), file(b"d/file", b"evil")
    ),
    "a parent exchanged for a link": lambda out: layer(
        directory(b"d/sub"), file(b"d/sub/a", b"a"), symlink(b"d", out), file(b"d/sub/deep", b"evil")
    ),
    "a link exchanged for another": lambda out: layer(
        directory(b"in"), symlink(b"l", b"in"), file(b"l/a", b"a"), symlink(b"l", out), file(b"l/file", b"evil")
    ),
    "a hard link to a link, written to": lambda out: layer(
        symlink(b"l", out + b"/file"), hard_link(b"h", b"l"), file(b"h", b"evil")
    ),
    "a device exchanged for a file": lambda _: layer(character(b"null", 1, 3), file(b"null", b"evil")),
    "a hard link to a device, written to": lambda _: layer(
        character(b"null", 1, 3), hard_link(b"h", b"null"), file(b"h", b"evil")
    ),
    "a fifo exchanged for a file": lambda _: layer(entry(b"f", kind=b"6"), file(b"f", b"nobody reads")),
    "a whiteout through a link": lambda out: layer(symlink(b"l", out), file(b"l/.wh.file")),
    "an opaque whiteout through a link": lambda out: layer(symlink(b"l", out), file(b"l/.wh..wh..opq")),
    "a whiteout that climbs": lambda out: layer(file(b"../" * 20 + out[1:] + b"/.wh.file")),
    "a file with a slash at its end": lambda _: layer(file(b"f/", b"data")),
    "the same name often": lambda _: layer(*(file(b"f", b"%d" % number) for number in range(20))),
    "types in turn": lambda _: layer(
        file(b"x"), directory(b"x"), symlink(b"x", b"y"), entry(b"x", kind=b"6"), directory(b"x"), file(b"x/y", b"y")
    ),
    "a long chain of links": lambda _: layer(
        directory(b"d"),
        symlink(b"l0", b"d"),
        *(symlink(b"l%d" % (n + 1), b"l%d" % n) for n in range(80)),
        file(b"l80/file", b"f"),
    ),
    "no blocks of zeros at the end": lambda _: layer(file(b"f", b"f"))[:-1024],
    "one block of zeros at the end": lambda _: layer(file(b"f", b"f"))[:-512],
    "entries after the end": lambda _: layer(file(b"f", b"f")) + layer(file(b"evil", b"evil")),
    "garbage after the end": lambda _: layer(file(b"f", b"f")) + b"garbage" * 1000,
    "data behind a header of what has none": lambda _: layer(
        directory(b"d", size=1 << 30), symlink(b"l", b"x", size=1 << 30), hard_link(b"h", b"l", size=1 << 30)
    ),
}

REFUSED: dict[str, tuple[bytes, type[OCIKitError], str]] = {
    # The root
    "a file for a root": (layer(file(b".", b"x")), LayerError, "the root must be a directory"),
    "a link for a root": (layer(symlink(b"./", b"/etc")), LayerError, "the root must be a directory"),
    "a link for a root, by dots": (layer(symlink(b"a/../..", b"/etc")), LayerError, "the root must be a directory"),
    "a hard link for a root": (layer(hard_link(b"/", b"x")), LayerError, "the root must be a directory"),
    "a device without a name": (layer(character(b"", 1, 3)), LayerError, "the root must be a directory"),
    # Links
    "a hard link to the host": (layer(hard_link(b"h", b"/etc/passwd")), LayerError, "not there"),
    "a hard link that climbs": (layer(hard_link(b"h", b"../" * 20 + b"etc/passwd")), LayerError, "not there"),
    "a hard link through a link": (
        layer(symlink(b"l", b"/etc"), hard_link(b"h", b"l/passwd")),
        LayerError,
        "not there",
    ),
    "a hard link to itself": (layer(file(b"f"), hard_link(b"f", b"f")), LayerError, "itself"),
    "a hard link to a directory": (layer(directory(b"d"), hard_link(b"h", b"d")), LayerError, "is a directory"),
    "a hard link to the root": (layer(hard_link(b"h", b"/")), LayerError, "is a directory"),
    "a hard link that removes its target": (layer(file(b"d/f"), hard_link(b"d", b"d/f")), LayerError, "not there"),
    "a hard link before its target": (layer(hard_link(b"h", b"f"), file(b"f")), LayerError, "not there"),
    "a link without a target": (layer(symlink(b"l", b"")), LayerError, "without a target"),
    "a link in a circle": (layer(symlink(b"l", b"l"), file(b"l/x")), LayerError, "circles"),
    "two links in a circle": (layer(symlink(b"l", b"m/x"), symlink(b"m", b"l/y"), file(b"l/x")), LayerError, "circles"),
    "links that double": (
        layer(
            symlink(b"a0", b"."), *(symlink(b"a%d" % (n + 1), b"a%d/a%d" % (n, n)) for n in range(40)), file(b"a40/x")
        ),
        LayerError,
        "circles or too far",
    ),
    # Whiteouts
    "a whiteout of nothing": (layer(file(b"d/.wh.")), LayerError, "not a name that it could remove"),
    "a whiteout of the directory": (layer(file(b"d/.wh..")), LayerError, "not a name that it could remove"),
    "a whiteout of the directory above": (layer(file(b".wh...")), LayerError, "not a name that it could remove"),
    "a name below a whiteout": (layer(file(b".wh.d/f")), LayerError, "means that something is removed"),
    # Types and numbers
    "an unknown type": (layer(entry(b"x", kind=b"Z")), LayerError, "unknown type"),
    "a member of an incremental dump": (layer(entry(b"x", kind=b"D")), LayerError, "unknown type"),
    "a wrong checksum": (layer(file(b"x"))[:3] + b"?" + layer(file(b"x"))[4:], LayerError, "checksum"),
    "a negative size": (layer(patched(file(b"x"), 124, base256(-512, 12))), LayerError, "negative"),
    "a negative owner": (layer(patched(file(b"x"), 108, base256(-1, 8))), LayerError, "negative"),
    "an owner that means nobody": (layer(file(b"x", pax={b"uid": b"4294967295"})), LayerError, "no owner"),
    "an owner beyond all": (layer(file(b"x", pax={b"gid": b"99999999999"})), LayerError, "no owner"),
    "an owner in words": (layer(file(b"x", pax={b"uid": b"root"})), LayerError, "decimal"),
    "a time beyond all": (layer(patched(file(b"x"), 136, base256(1 << 62, 12))), LayerError, "time"),
    "a time in words": (layer(file(b"x", pax={b"mtime": b"yesterday"})), LayerError, "time"),
    "a device that Linux does not have": (
        layer(patched(character(b"x", 1, 1), 329, base256(1 << 40, 8))),
        LayerError,
        "does not have",
    ),
    # Truncation
    "an end within a header": (layer(file(b"x"))[:300], LayerError, "ends early"),
    "an end within a file": (file(b"x", b"x" * 1000)[:1024], LayerError, "ends early"),
    "a size that is not there": (layer(file(b"x", size=1 << 20)), LayerError, "ends early"),
    "an end after a pax header": (file(b"x", pax={b"path": b"y"})[:1024], LayerError, "without the member"),
    "a block of zeros in the middle": (bytes(512) + layer(file(b"x")), LayerError, "single block of zeros"),
    "zeros and then something": (file(b"x") + b"garbage", LayerError, "ends early"),
    # Names
    "a zero byte in a name": (layer(file(b"x", pax={b"path": b"a\0b"})), LayerError, "zero byte"),
    "a zero byte in a target": (layer(symlink(b"x", b"", pax={b"linkpath": b"a\0b"})), LayerError, "zero byte"),
    "a component that is too long": (layer(file(b"x" * 256)), LayerError, "longer than Linux allows"),
    "a name that is too long": (layer(file(b"x/" * 2100 + b"y")), LimitExceededError, r"Limits\(path_bytes="),
    "a target that is too long": (layer(symlink(b"x", b"y" * 4097)), LimitExceededError, r"Limits\(path_bytes="),
    "directories that are too deep": (layer(file(b"d/" * 256 + b"f")), LimitExceededError, r"Limits\(depth="),
    "directories that are too deep, by entries": (layer(directory(b"d/" * 256)), LimitExceededError, r"Limits\(depth="),
    "directories that are too deep, by links": (
        layer(directory(b"d/" * 200), symlink(b"l", b"d/" * 200), directory(b"l/" + b"e/" * 60)),
        LimitExceededError,
        r"Limits\(depth=",
    ),
    # Sizes
    "a size of terabytes": (
        layer(patched(file(b"x"), 124, base256(1 << 43, 12))),
        LimitExceededError,
        "limits=Limits",
    ),
    "a sparse file of terabytes": (
        layer(file(b"x", b"0\n".ljust(512, b"\0"), pax=SPARSE)),
        LimitExceededError,
        "Limits",
    ),
    "a pax header of megabytes": (
        layer(file(b"x", pax={b"comment": b"c" * (1 << 20)})),
        LimitExceededError,
        "extended tar header",
    ),
    "pax headers without end": (
        layer(*[entry(b"p", b"13 comment=c\n", kind=b"x")] * 500, file(b"x")),
        LimitExceededError,
        "members",
    ),
    "attributes of hundreds of kilobytes": (
        layer(file(b"x", pax={b"SCHILY.xattr.user.%d" % n: b"v" * 30_000 for n in range(10)})),
        LimitExceededError,
        r"Limits\(xattr_bytes=",
    ),
    "an attribute larger than Linux allows": (
        layer(file(b"x", pax={b"SCHILY.xattr.user.big": b"v" * 70_000})),
        UnpackError,
        "apply layer 0 at x",
    ),
    "more entries than the limit": (layer(*[file(b"x")] * 101), LimitExceededError, r"Limits\(entries="),
    "more bytes than the limit": (
        layer(*[file(b"x", b"x" * (1 << 20))] * 6),
        LimitExceededError,
        r"Limits\(total_bytes=",
    ),
}

# Small enough that the rows above need not be large.
LIMITS = Limits(entries=100, total_bytes=5 << 20)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Make a directory beside the root that must not change."""
    place = tmp_path / "outside"
    (place / "sub").mkdir(parents=True)
    (place / "file").write_text("precious")
    (place / "sub" / "deep").write_text("precious too")
    return place


@pytest.mark.parametrize("name", APPLIED)
def test_applied_as_umoci_does(name: str, tmp_path: Path, outside: Path) -> None:
    """The tree is the one that umoci makes, and nothing outside it changes."""
    data = APPLIED[name](os.fsencode(outside))
    before = snapshot(outside)
    started = time.time_ns() - 10**9
    unpack_here(tmp_path / "ocikit", data)
    assert snapshot(outside) == before
    assert {path.name for path in tmp_path.iterdir()} == {"ocikit", "outside"}
    found, expected = snapshot(tmp_path / "ocikit"), snapshot(unpack_by_umoci(tmp_path, data))
    # Directories that no entry describes have the time of unpacking with umoci.
    by_chance = {path for path, node in expected.items() if node.mtime_ns >= started}
    for tree in (found, expected):
        tree.update({path: tree[path]._replace(mtime_ns=0) for path in by_chance & tree.keys()})
    assert differences(found, expected) == []


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, tmp_path: Path, outside: Path) -> None:
    """The error is the stated one, and nothing outside the root changes."""
    data, error, message = REFUSED[name]
    before = snapshot(outside)
    with pytest.raises(error, match=message) as caught:
        unpack_here(tmp_path / "ocikit", data, limits=LIMITS)
    assert type(caught.value) is error
    assert str(caught.value).startswith(("layer 0", "apply layer 0"))
    assert snapshot(outside) == before
    assert {path.name for path in tmp_path.iterdir()} == {"ocikit", "outside"}


class Interrupted:
    """A layer that arrives entry by entry, with something happening between them."""

    def __init__(self, *steps: bytes | Callable[[], object]) -> None:
        self._steps = list(steps)

    def read(self, size: int, /) -> bytes:
        """Return the next entry, after everything that comes before it has happened."""
        while self._steps:
            step = self._steps.pop(0)
            if isinstance(step, bytes):
                if len(step) > size:
                    self._steps.insert(0, step[size:])
                return step[:size]
            step()
        return b""


# What somebody else in the tree does between two entries, and the entry that comes then.
RACES: dict[str, tuple[bytes, bytes]] = {
    "a directory that is open": (file(b"d/first"), file(b"d/second", b"evil")),
    "a directory above one that is open": (file(b"d/sub/first"), file(b"d/sub/deep", b"evil")),
    "a directory that is not open": (directory(b"d"), file(b"d/file", b"evil")),
    "a directory that is merged": (directory(b"d"), directory(b"d", mode=0o777, owner=(1, 1))),
    "a directory that is removed": (file(b"d/first"), file(b"d", b"evil")),
    "a directory of a hard link": (file(b"d/file"), hard_link(b"h", b"d/file")),
    "a directory that is emptied": (directory(b"d"), file(b"d/.wh..wh..opq")),
}


@pytest.mark.parametrize("name", RACES)
def test_a_directory_exchanged_meanwhile_leads_nowhere(name: str, tmp_path: Path, outside: Path) -> None:
    """Somebody who exchanges a directory of the tree for a link to the outside gains nothing by it."""
    root = tmp_path / "ocikit"
    root.mkdir(mode=0o700)
    before = snapshot(outside)

    def exchange() -> None:
        (root / "d").rename(root / "away")
        (root / "d").symlink_to(outside)

    first, second = RACES[name]
    fd = os.open(root, os.O_RDONLY)
    # A lower layer, so that whiteouts have something to remove.
    lower = layer(file(b"lower"))
    with Applier(fd) as applier, contextlib.suppress(OCIKitError):
        applier.apply(io.BytesIO(lower), what="layer 0")
        applier.apply(Interrupted(first, exchange, second, bytes(1024)), what="layer 1")
        applier.finish()
    os.close(fd)
    assert snapshot(outside) == before


def test_a_device_put_in_the_place_of_a_file_is_not_written_to(tmp_path: Path) -> None:
    """A file is made new, and a FIFO or device that appears under its name is in the way of nobody."""
    root = tmp_path / "ocikit"
    root.mkdir(mode=0o700)
    fd = os.open(root, os.O_RDONLY)
    with Applier(fd) as applier:
        steps = (directory(b"d"), lambda: os.mkfifo(root / "d" / "x"), file(b"d/x", b"data"), bytes(1024))
        applier.apply(Interrupted(*steps), what="layer 0")
        applier.finish()
    os.close(fd)
    assert (root / "d" / "x").read_bytes() == b"data"


def test_a_pax_header_for_all_that_follows_is_skipped(tmp_path: Path) -> None:
    """A global header renames nothing; git archive puts a comment into one (umoci refuses the layer)."""
    unpack_here(tmp_path / "ocikit", layer(entry(b"g", b"13 path=evil\n", kind=b"g"), file(b"f", b"f")))
    assert [path.name for path in (tmp_path / "ocikit").iterdir()] == ["f"]


def open_descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    """Neither success nor failure leaves a descriptor behind, however many directories there were."""
    many = layer(*(file(b"%d/%d/file" % (number % 7, number)) for number in range(300)))
    before = open_descriptors()
    unpack_here(tmp_path / "many", many)
    assert open_descriptors() == before
    with pytest.raises(LimitExceededError) as kept:
        unpack_here(tmp_path / "refused", REFUSED["directories that are too deep, by links"][0])
    assert open_descriptors() == before
    assert kept.value.limit == LIMITS.depth


def test_limits_are_positive() -> None:
    """A limit of nothing is a mistake and says so."""
    with pytest.raises(ValueError, match=r"Limits\.depth must be at least 1, not 0"):
        Limits(depth=0)
