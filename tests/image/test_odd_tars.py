"""Archives that are odd as tar files: read as ever where such files may be so, a typed error where they are damaged."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
from builders import digest_of
from layers import BLOCK, END, character, directory, entry, file, hard_link, symlink
from producers import CONFIG, LOWER, UPPER, umoci

from ocikit.errors import (
    BlobNotFoundError,
    CompressionError,
    LayoutError,
    LimitExceededError,
    OCIKitError,
    VerificationError,
)
from ocikit.image import Policy, copy, inspect, layout, list_images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

ANY = Policy.insecure_accept_anything()
NAMES = ["c.json", "lower/layer.tar", "upper/layer.tar"]


def saved_as(*layers: str) -> bytes:
    """Return a list of one image with these layers."""
    return json.dumps([{"Config": "c.json", "RepoTags": ["app:1"], "Layers": layers}]).encode()


MEMBERS: list[tuple[str, bytes]] = [
    ("c.json", CONFIG),
    (NAMES[1], LOWER),
    (NAMES[2], UPPER),
    ("manifest.json", saved_as(*NAMES[1:])),
]


def plain(members: Iterable[tuple[str, bytes]] = MEMBERS, **fields: object) -> bytes:
    """Return the members as entries, without an end."""
    return b"".join(file(name.encode(), data, **fields) for name, data in members)


def renamed(prefix: str) -> bytes:
    """Return the members with something before their names."""
    return plain([(prefix + name, data) for name, data in MEMBERS]) + END


def fixed(data: bytes, **changes: bytes) -> bytes:
    """Change fields of every header, given as ``at_OFFSET``, and mend its sum."""
    made = b""
    for name, content in MEMBERS:
        whole = bytearray(file(name.encode(), content))
        for key, value in changes.items():
            at = int(key.removeprefix("at_"))
            whole[at : at + len(value)] = value
        whole[148:156] = b" " * 8
        whole[148:156] = b"%06o\0 " % sum(whole[:BLOCK])
        made += bytes(whole)
    return made + data


def base_256() -> bytes:
    """Return members whose sizes and owners are numbers of base 256."""
    made = b""
    for name, content in MEMBERS:
        whole = bytearray(file(name.encode(), content))
        whole[124:136] = b"\x80" + len(content).to_bytes(11, "big")
        whole[108:116] = b"\x80" + (3_000_000).to_bytes(7, "big")
        whole[136:148] = b"\xff" * 12
        whole[148:156] = b" " * 8
        whole[148:156] = b"%06o\0 " % sum(whole[:BLOCK])
        made += bytes(whole)
    return made + END


def by_tarfile(form: int) -> bytes:
    """Return what Python writes, with names too long for a header."""
    stream = io.BytesIO()
    long = {name: f"{name[0] * 130}/{name.replace('/', '-')}" for name in NAMES[1:]}
    with tarfile.open(fileobj=stream, mode="w", format=form) as made:
        listing = ("manifest.json", saved_as(*(long[name] for name in NAMES[1:])))
        for name, content in [MEMBERS[0], *((long[name], data) for name, data in MEMBERS[1:3]), listing]:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def linked() -> bytes:
    """Return members of which some are links to links."""
    return (
        file(b"store/lower", LOWER)
        + hard_link(b"other/lower", b"store/lower")
        + symlink(b"lower/layer.tar", b".././other/../other/lower")
        + symlink(b"upper/layer.tar", b"../later")
        + symlink(b"later", b"x/upper")
        + file(b"x/upper", UPPER)
        + plain([MEMBERS[0], MEMBERS[3]])
        + END
    )


def among_others() -> bytes:
    """Return members among things that are none of an image's business."""
    return (
        entry(b"pax_global_header", b"52 comment=" + b"0" * 40 + b"\n", kind=b"g")
        + directory(b"./")
        + directory(b"lower/")
        + file(b"._manifest.json", b"\0\5\x16\7")
        + file(b"\xff\xfe", b"no text")
        + character(b"null", 1, 3)
        + entry(b"pipe", kind=b"6")
        + symlink(b"out", b"../../../etc/passwd")
        + symlink(b"self", b"self")
        + plain()
        + file(b"empty")
        + END
    )


# Read as if nothing was the matter, by us; and by skopeo 1.9.3 where that is said.
ODD: dict[str, tuple[Callable[[], bytes], bool]] = {
    "dot": (lambda: renamed("./"), False),
    "root": (lambda: renamed("/"), False),
    "slashes": (lambda: renamed(".//"), False),
    "gnu names": (lambda: by_tarfile(tarfile.GNU_FORMAT), True),
    "pax names": (lambda: by_tarfile(tarfile.PAX_FORMAT), True),
    "ustar prefixes": (lambda: by_tarfile(tarfile.USTAR_FORMAT), True),
    "v7": (lambda: fixed(END, at_156=b"\0", at_257=bytes(8)), True),
    "contiguous": (lambda: fixed(END, at_156=b"7"), False),
    "blanks for numbers": (lambda: fixed(END, at_100=b" " * 8, at_136=bytes(12)), True),
    "base 256": (base_256, True),
    "pax sizes": (lambda: b"".join(
        entry(name.encode(), data, pax={b"size": b"%d" % len(data), b"mtime": b"-1.5"}) for name, data in MEMBERS
    ) + END, True),
    "xattrs": (lambda: plain(pax={b"SCHILY.xattr.user.x": b"\0\xff", b"VENDOR.x": b""}) + END, True),
    "no end": (plain, True),
    "half an end": (lambda: plain() + bytes(BLOCK), True),
    "blocks of 20": (lambda: plain() + END + bytes(20 * BLOCK), True),
    "rubbish behind the end": (lambda: plain() + END + b"rubbish", True),
    "another archive behind the end": (lambda: plain() + END + renamed("other/"), True),
    "last of two": (lambda: plain([("manifest.json", b"[]"), ("c.json", b"{}"), *MEMBERS]) + END, False),
    "links": (linked, False),
    "among others": (among_others, True),
    "list first": (lambda: plain(reversed(MEMBERS)) + END, True),
}  # fmt: skip


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("case", ODD)
def test_odd_archives_are_read(tmp_path: Path, case: str, packed: bool) -> None:  # noqa: FBT001
    """However it was written, the image in it is the same."""
    data = ODD[case][0]()
    archive = tmp_path / "a.tar"
    archive.write_bytes(gzip.compress(data) if packed else data)
    assert [one.name for one in list_images(archive)] == ["app:1"]
    result = copy.image(ANY, dest=f"dir:{tmp_path}/d", src=f"docker-archive:{archive}:app:1")
    assert {blob.digest for blob in result.blobs} == set(map(digest_of, (CONFIG, LOWER, UPPER)))


@pytest.mark.parametrize("case", [case for case, (_, readable) in ODD.items() if readable])
def test_odd_archives_are_read_by_others(tmp_path: Path, case: str) -> None:
    """These are taken by skopeo, too."""
    (tmp_path / "a.tar").write_bytes(ODD[case][0]())
    command = ["skopeo", "--insecure-policy", "copy", "-q", f"docker-archive:{tmp_path}/a.tar", f"dir:{tmp_path}/d"]
    subprocess.run(command, check=True)
    assert (tmp_path / "d" / digest_of(CONFIG).partition(":")[2]).read_bytes() == CONFIG


DAMAGED: dict[str, tuple[bytes, type[Exception], str]] = {
    "nothing": (b"", LayoutError, "is this a tar file|oci-layout"),
    "zeros": (bytes(10_240), LayoutError, "oci-layout"),
    "text": (b"hello\n" * 1000, LayoutError, "is this a tar file"),
    "lzma alone": (b"\x5d\0\0\x80\0" + b"\xff" * 8 + bytes(2000), LayoutError, "is this a tar file"),
    "zip": (b"PK\3\4" + bytes(2000), LayoutError, "is this a tar file"),
    "wrong sum": (plain()[:150] + b"7" + plain()[151:] + END, LayoutError, "checksum"),
    "negative size": (fixed(END, at_124=b"\xff" * 12), LayoutError, "negative"),
    "size of letters": (fixed(END, at_124=b"0000000000x\0"), LayoutError, "octal size"),
    "unknown type": (fixed(END, at_156=b"!"), LayoutError, "unknown type"),
    "zeros within": (plain(MEMBERS[:1]) + bytes(BLOCK) + plain(MEMBERS[1:]) + END, LayoutError, "single block"),
    "pax without a member": (plain() + entry(b"x", b"9 path=x\n", kind=b"x") + END, LayoutError, "without the member"),
    "pax of nonsense": (entry(b"x", b"99 path=x\n", kind=b"x") + plain() + END, LayoutError, "pax record"),
    "long name of 2 MiB": (entry(b"L", b"x" * (2 << 20), kind=b"L") + plain() + END, LimitExceededError, "extended"),
    "sparse terabytes": (
        entry(b"hole", pax={b"GNU.sparse.major": b"0", b"GNU.sparse.minor": b"1", b"GNU.sparse.name": b"hole",
                            b"GNU.sparse.size": b"%d" % (1 << 50), b"GNU.sparse.map": b""}) + plain() + END,
        LimitExceededError, "limit",
    ),
    "config a directory": (directory(b"c.json") + plain(MEMBERS[1:]) + END, LayoutError, "names c.json, which is not"),
    "layer a device": (character(b"lower/layer.tar", 1, 3) + plain([MEMBERS[0], *MEMBERS[2:]]) + END,
                       LayoutError, "expected a regular file, found a character device"),
    "link in a circle": (symlink(b"c.json", b"d") + symlink(b"d", b"c.json") + plain(MEMBERS[1:]) + END,
                         LayoutError, "lead nowhere"),
    "link out": (symlink(b"c.json", b"../../etc/passwd") + plain(MEMBERS[1:]) + END, LayoutError, "leads out"),
    "link to the root": (symlink(b"c.json", b"/c") + plain(MEMBERS[1:]) + END, LayoutError, "leads out"),
    "hard link to what comes later": (hard_link(b"c.json", b"c") + file(b"c", CONFIG) + plain(MEMBERS[1:]) + END,
                                      LayoutError, "does not come before it"),
    "gzip cut": (gzip.compress(plain() + END)[:-20], CompressionError, "truncated"),
    "gzip flipped": (gzip.compress(plain() + END)[:-8] + bytes(8), CompressionError, "damaged"),
    "gzip and zeros": (gzip.compress(plain() + END) + bytes(512), CompressionError, "followed by something"),
    "gzip and rubbish": (gzip.compress(plain() + END) + b"rubbish", CompressionError, "followed by something"),
    "too many": (b"".join([file(b"x")] * 100_001) + END, LimitExceededError, "limit 100,000"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_archives_say_so(tmp_path: Path, case: str) -> None:
    """What is damaged or hostile is a typed error that names the file and what is wrong with it."""
    data, error, message = DAMAGED[case]
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(error, match=message) as caught:
        list_images(tmp_path / "a.tar")
    assert isinstance(caught.value, OCIKitError)
    assert "a.tar" in str(caught.value)


def cuts(data: bytes) -> Iterable[int]:
    """Return where to cut: at each block, a byte before and one behind it."""
    for at in range(0, len(data) + 1, BLOCK):
        yield from (max(at - 1, 0), at, min(at + 1, len(data)))


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_cut_anywhere(tmp_path: Path, packed: bool) -> None:  # noqa: FBT001
    """Cut at or beside any boundary, an archive holds the very image or is refused; nothing in between."""
    data = plain() + END
    whole, good = tmp_path / "whole.tar", 0
    whole.write_bytes(data)
    expected = inspect(f"docker-archive:{whole}").digest
    for number, cut in enumerate(cuts(data)):
        path = tmp_path / f"{number}.tar"
        path.write_bytes(gzip.compress(data[:cut], 1) if packed else data[:cut])
        with contextlib.suppress(LayoutError):
            assert inspect(f"docker-archive:{path}").digest == expected
            good += 1
        path.unlink()
    # All of the end may be missing, and the padding of the last member.
    assert 0 < good < 12


def test_a_flipped_layer(tmp_path: Path) -> None:
    """Wherever a bit of a layer or the configuration is another, the copy fails, and nothing is there."""
    for name, content in MEMBERS[:3]:
        wrong = bytearray(content)
        wrong[len(wrong) // 2] ^= 1
        members = [(one, bytes(wrong) if one == name else data) for one, data in MEMBERS]
        (tmp_path / "a.tar").write_bytes(plain(members) + END)
        if name == "c.json":  # nothing but the layers vouches for it: it is another image
            assert inspect(f"docker-archive:{tmp_path}/a.tar").manifest.config.digest == digest_of(bytes(wrong))
            continue
        with pytest.raises(VerificationError):
            copy.image(ANY, dest=f"oci:{tmp_path}/{name[0]}:x", src=f"docker-archive:{tmp_path}/a.tar")
        assert not (tmp_path / name[0] / "index.json").exists() or not list_images(tmp_path / name[0])


def test_what_is_not_quite_an_archive(tmp_path: Path) -> None:
    """Packed with the directory around it, unpacked, half made or empty: the error says what to do."""
    made = umoci(tmp_path)
    subprocess.run(["tar", "-C", str(tmp_path), "-cf", str(tmp_path / "around.tar"), "layout"], check=True)
    with pytest.raises(
        LayoutError, match="one in the directory 'layout' in it: pack what is in there, tar -C 'layout'"
    ):
        list_images(tmp_path / "around.tar")
    with pytest.raises(LayoutError, match="one in the directory 'layout' in it"):
        inspect(f"oci-archive:{tmp_path}/around.tar")
    (tmp_path / "empty.tar").touch()
    with pytest.raises(LayoutError, match="there is nothing in it"):
        inspect(f"oci-archive:{tmp_path}/empty.tar")
    (made.path / "oci-layout").unlink()
    with pytest.raises(LayoutError, match=r"still being made or was not copied whole; .* repair=True"):
        inspect(f"oci:{made.path}:1.0")
    assert layout.fsck(made.path, repair=True).ok
    assert inspect(f"oci:{made.path}:1.0").config
    shutil.rmtree(made.path / "blobs")
    with pytest.raises(LayoutError, match=r"no such directory: the layout is damaged; .* repair=True"):
        list_images(made.path)
    layout.fsck(made.path, repair=True)
    assert [one.name for one in list_images(made.path)] == ["1.0"]
    with pytest.raises(BlobNotFoundError):
        inspect(f"oci:{made.path}:1.0")
    (tmp_path / "saved").mkdir()
    (tmp_path / "a.tar").write_bytes(plain() + END)
    subprocess.run(["tar", "-C", str(tmp_path / "saved"), "-xf", str(tmp_path / "a.tar")], check=True)
    with pytest.raises(LayoutError, match="an unpacked archive of `docker save`, pack it again: tar -C"):
        list_images(tmp_path / "saved")
    again = tmp_path / "again.tar"
    subprocess.run(["tar", "-C", str(tmp_path / "saved"), "-cf", str(again), "."], check=True)
    assert [one.name for one in list_images(again)] == ["app:1"]
    copy.image(ANY, dest=f"dir:{tmp_path}/d", src=f"docker-archive:{again}")
    with pytest.raises(LayoutError, match=f"name it as dir:{tmp_path}/d"):
        list_images(tmp_path / "d")
