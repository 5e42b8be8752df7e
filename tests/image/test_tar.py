"""Reading tar files: what GNU tar, Python and odd old writers produce, and what nobody should."""

from __future__ import annotations

import base64
import io
import os
import struct
import subprocess
import tarfile
from typing import TYPE_CHECKING

import hypothesis
import pytest
from hypothesis import strategies as st

from ocikit.errors import LayerError, LayoutError, LimitExceededError
from ocikit.image.tar import TarLimits, TarMember, TarReader, TarType

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = 512
END = bytes(2 * BLOCK)


def header(name: bytes = b"file", **fields: bytes) -> bytes:
    """Make one header block by hand; fields are given as they stand in the block."""
    offsets = {
        "mode": (100, 8),
        "uid": (108, 8),
        "gid": (116, 8),
        "size": (124, 12),
        "mtime": (136, 12),
        "type": (156, 1),
        "linkname": (157, 100),
        "magic": (257, 8),
        "major": (329, 8),
        "minor": (337, 8),
        "prefix": (345, 155),
        "tail": (500, 12),
    }
    block = bytearray(BLOCK)
    block[: len(name)] = name
    defaults = {"mode": b"0000644\0", "uid": b"0000000\0", "gid": b"0000000\0", "size": b"00000000000\0"}
    for key, value in {**defaults, "mtime": b"00000000000\0", "type": b"0", "magic": b"ustar\x0000", **fields}.items():
        start, length = offsets[key]
        block[start : start + length] = value.ljust(length, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    """Pad data to whole blocks."""
    return data + bytes(-len(data) % BLOCK)


def octal(size: int) -> bytes:
    """Return a size as the octal text of a header."""
    return b"%011o\0" % size


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    """Make a pax header from records."""
    text = b""
    for key, value in records:
        body = b" " + key + b"=" + value + b"\n"
        length = len(body) + 1
        while len(str(length)) + len(body) != length:
            length += 1
        text += str(length).encode() + body
    return header(b"pax", type=kind, size=octal(len(text))) + padded(text)


def members(data: bytes, **options: object) -> list[TarMember]:
    """Read all members of a tar file."""
    return list(TarReader(io.BytesIO(data), **options))  # type: ignore[arg-type]


def contents(data: bytes) -> dict[bytes, bytes]:
    """Read the files of a tar file, holes filled."""
    reader = TarReader(io.BytesIO(data))
    found = {}
    for member in reader:
        whole = bytearray(member.size)
        for offset, piece in reader.data():
            whole[offset : offset + len(piece)] = piece
        found[member.name] = bytes(whole)
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a directory with a file of each kind."""
    root = tmp_path / "tree"
    (root / "directory").mkdir(parents=True)
    (root / "directory" / "plain").write_bytes(b"content\n" * 300)
    os.link(root / "directory" / "plain", root / "zz-hard")
    (root / "soft").symlink_to("directory/plain")
    os.mkfifo(root / "fifo")
    (root / ("n" * 150)).write_bytes(b"long")
    (root / ("t" * 30)).symlink_to("x" * 180)
    (root / os.fsdecode(b"latin-\xe4")).write_bytes(b"bytes")
    (root / "suid").write_bytes(b"")
    (root / "suid").chmod(0o4755)
    os.utime(root / "suid", ns=(0, 1_700_000_000_123_456_789))
    return root


@pytest.mark.parametrize("archive_format", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_reads_every_format_of_gnu_tar(tree: Path, archive_format: str) -> None:
    """Every format that GNU tar writes is read with the same members that Python's tarfile finds."""
    if archive_format in {"v7", "ustar"}:
        (tree / ("n" * 150)).unlink()
        (tree / ("t" * 30)).unlink()
    if archive_format == "v7":
        (tree / "fifo").unlink()
    command = ["tar", "-C", str(tree), f"--format={archive_format}", "--sort=name", "-cf", "-", "."]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    found = {member.name.rstrip(b"/"): member for member in members(data)}
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape") as peer:
        expected = {os.fsencode(info.name): info for info in peer}
    assert found.keys() == expected.keys()
    for name, info in expected.items():
        member = found[name]
        ours = (member.size, member.mode, member.uid, member.gid, member.mtime_ns // 10**9, member.linkname)
        assert ours == (info.size, info.mode, info.uid, info.gid, int(info.mtime), os.fsencode(info.linkname))
    kinds = {name: member.type for name, member in found.items()}
    assert kinds[b"."] is TarType.DIRECTORY
    assert kinds[b"./soft"] is TarType.SYMLINK
    assert kinds[b"./zz-hard"] is TarType.HARD_LINK
    if archive_format != "v7":
        assert kinds[b"./fifo"] is TarType.FIFO
    if archive_format == "posix":
        assert found[b"./suid"].mtime_ns == 1_700_000_000_123_456_789
    assert contents(data)[b"./directory/plain"] == b"content\n" * 300


@pytest.mark.parametrize("python_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_reads_what_python_writes(python_format: int) -> None:
    """Python's three formats are read, devices and negative times included."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=python_format) as archive:
        info = tarfile.TarInfo("dev/" + "d" * 90)
        info.type, info.devmajor, info.devminor, info.mode = tarfile.CHRTYPE, 5, 1, 0o620
        archive.addfile(info)
        info = tarfile.TarInfo("p" * 70 + "/" + "q" * 70)
        info.size, info.uid, info.gid = 3, 70_000, 80_000
        archive.addfile(info, io.BytesIO(b"abc"))
    device, plain = members(stream.getvalue())
    assert (device.type, device.major, device.minor, device.mode) == (TarType.CHARACTER_DEVICE, 5, 1, 0o620)
    assert (plain.name, plain.uid, plain.gid) == (b"p" * 70 + b"/" + b"q" * 70, 70_000, 80_000)


@pytest.mark.parametrize("version", ["oldgnu", "0.0", "0.1", "1.0"])
def test_sparse_files(tmp_path: Path, version: str) -> None:
    """Sparse files of all four generations come back with their holes, however many segments there are."""
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        for index in range(60):
            file.seek(index * 1_000_000)
            file.write(b"%d" % index * 5000)
        file.truncate(70_000_000)
    (tmp_path / "after").write_bytes(b"next")
    options = ["--format=oldgnu"] if version == "oldgnu" else ["--format=posix", f"--sparse-version={version}"]
    command = ["tar", "-C", str(tmp_path), "--sparse", *options, "-cf", "-", "sparse", "after"]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    assert len(data) < 5_000_000
    first, *_ = members(data)
    assert first.sparse is not None
    assert len(first.sparse) == 60
    assert first.size == 70_000_000
    assert first.stored_size == sum(length for _, length in first.sparse)
    assert contents(data) == {b"sparse": path.read_bytes(), b"after": b"next"}


def test_extended_attributes() -> None:
    """Attributes are read as star and libarchive write them; star's bytes win when both are there."""
    value = b"\x01\x00\x00\x02\xff=\n"
    records = pax(
        (b"LIBARCHIVE.xattr.user.na%6de", base64.b64encode(b"other").rstrip(b"=")),
        (b"SCHILY.xattr.security.capability", value),
        (b"LIBARCHIVE.xattr.security.capability", base64.b64encode(b"no")),
        (b"SCHILY.xattr.user.empty", b""),
    )
    (member,) = members(records + header() + END)
    assert member.xattrs == {"user.name": b"other", "security.capability": value, "user.empty": b""}


def test_pax_records_override_the_header() -> None:
    """Name, link, owner, time and size of a pax header win over the fields; an empty value takes a record back."""
    records = pax(
        (b"path", b"first"),
        (b"path", b"a/\xff/long"),
        (b"uid", b"4000000000"),
        (b"gid", b""),
        (b"mtime", b"-1.25"),
        (b"size", b"5"),
        (b"comment", b"x\0y"),
    )
    data = records + header(gid=b"0000007\0") + padded(b"hello") + header(b"next") + END
    member, following = members(data)
    assert (member.name, member.uid, member.gid, member.size) == (b"a/\xff/long", 4_000_000_000, 7, 5)
    assert member.mtime_ns == -1_250_000_000
    assert (following.name, following.uid, following.mtime_ns) == (b"next", 0, 0)
    assert contents(data)[b"a/\xff/long"] == b"hello"


def test_global_headers_are_skipped() -> None:
    """A global pax header renames nothing, as in every container engine."""
    (member,) = members(pax((b"path", b"all"), (b"comment", b"of git"), kind=b"g") + header() + END)
    assert member.name == b"file"


def test_base_256_numbers() -> None:
    """Numbers too large for octal digits, and negative times, are read as GNU tar writes them."""
    fields = {
        "uid": b"\x80" + (3_000_000_000).to_bytes(7, "big"),
        "mtime": (-5).to_bytes(12, "big", signed=True),
        "size": b"\x80" + (3).to_bytes(11, "big"),
    }
    data = header(**fields) + padded(b"abc") + END
    (member,) = members(data)
    assert (member.uid, member.mtime_ns, member.size) == (3_000_000_000, -5 * 10**9, 3)


def test_old_headers() -> None:
    """v7 headers, a signed checksum, numbers with leading blanks and a directory by its slash are understood."""
    old = bytearray(header(b"old\xff/", type=b"\0", magic=b"", size=b"       0 \0", mode=b"   755 \0"))
    old[148:156] = b" " * 8
    signed = struct.unpack("512b", bytes(old))
    old[148:156] = b"%06o\0 " % sum(signed)
    (member,) = members(bytes(old) + END)
    assert (member.name, member.type, member.mode) == (b"old\xff/", TarType.DIRECTORY, 0o755)


def test_prefix_belongs_to_posix_headers_only() -> None:
    """The prefix field is part of the name in ustar; GNU keeps times there."""
    ustar, star, gnu = members(
        header(prefix=b"dir")
        + header(prefix=b"dir".ljust(131, b"\0") + b"12345670123", tail=b"12345670tar\0")
        + header(prefix=b"14000000000", magic=b"ustar  \0")
        + END
    )
    assert [ustar.name, star.name, gnu.name] == [b"dir/file", b"dir/file", b"file"]


def test_links_and_directories_have_no_data() -> None:
    """The size of a link or directory is not followed, as in every other reader."""
    data = header(b"l", type=b"1", linkname=b"t", size=octal(5000)) + header(b"d", type=b"5", size=octal(9)) + END
    assert [(member.name, member.size) for member in members(data)] == [(b"l", 0), (b"d", 0)]


@pytest.mark.parametrize("seekable", [False, True])
def test_data_may_be_skipped_or_read_in_part(seekable: bool) -> None:  # noqa: FBT001
    """Reading part of a member, then going on, lands on the next header; large data is passed by seeking."""
    big = os.urandom(3_000_000)
    data = header(b"a", size=octal(len(big))) + padded(big) + header(b"b", size=octal(4)) + padded(b"tail") + END
    reader = TarReader(io.BytesIO(data), seekable_size=len(data) if seekable else None)
    first = next(reader)
    assert first.offset == BLOCK
    assert reader.read(10) == big[:10]
    second = next(reader)
    assert data[second.offset : second.offset + 4] == reader.read() == b"tail"
    assert reader.read(1) == b""
    assert next(reader, None) is None
    assert next(reader, None) is None


def test_drain_reads_what_follows_the_end() -> None:
    """The rest of the stream is read for whoever hashes it, padding behind the end included."""
    stream = io.BytesIO(header() + END + bytes(5 << 20))
    reader = TarReader(stream)
    assert len(list(reader)) == 1
    assert reader.drain() > 4 << 20
    assert stream.read() == b""


def test_an_archive_may_end_without_blocks_of_zeros() -> None:
    """The end of the stream between members, or after one block of zeros, is an end."""
    assert members(b"") == []
    assert len(members(header())) == 1
    assert len(members(header() + bytes(BLOCK))) == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (header()[:300], "ends early"),
        (header(size=octal(600)) + bytes(512), "ends early"),
        (header(size=octal(600)) + bytes(599), "ends early"),
        (header()[:-1] + b"x" + END, "checksum"),
        (bytes(BLOCK) + header() + END, "single block of zeros"),
        (header(type=b"M") + END, "unknown type"),
        (header(type=b"A") + END, "unknown type"),
        (header(size=b"0000000009\0") + END, "octal size"),
        (header(size=b"+0000000010\0") + END, "octal size"),
        (header(size=(-1).to_bytes(12, "big", signed=True)) + END, "size is negative"),
        (header(uid=b"\x80\0\0\0\xff\xff\xff\xff") + END, "no owner"),
        (pax((b"gid", b"4294967295")) + header() + END, "no owner"),
        (pax((b"uid", b"-1")) + header() + END, "decimal uid"),
        (pax((b"size", b"1_0")) + header() + END, "decimal size"),
        (pax((b"mtime", b"1e9")) + header() + END, "time in seconds"),
        (header(mtime=b"\x80" + b"\x7f" * 11) + END, "beyond"),
        (pax((b"path", b"a\0b")) + header() + END, "zero byte"),
        (pax((b"LIBARCHIVE.xattr.user.x", b"!")) + header() + END, "base64"),
        (pax((b"SCHILY.xattr.", b"x")) + header() + END, "no name"),
        (pax((b"path", b"x")) + END, "without the member"),
        (header(type=b"L", size=octal(3)) + padded(b"abc") + END, "without the member"),
        (header(type=b"x", size=octal(8)) + padded(b"99 a=bb\n") + header() + END, "does not end"),
        (header(type=b"x", size=octal(8)) + padded(b"nonsense") + header() + END, "length of a pax record"),
        (header(type=b"x", size=octal(5)) + padded(b"5 ab\n") + header() + END, "keyword=value"),
        (pax((b"GNU.sparse.major", b"2"), (b"GNU.sparse.minor", b"0")) + header() + END, "unknown version"),
        (pax((b"GNU.sparse.map", b"0,1,0,1"), (b"GNU.sparse.size", b"9")) + header(size=octal(2)) + END, "overlaps"),
        (pax((b"GNU.sparse.map", b"0,9"), (b"GNU.sparse.size", b"9")) + header(size=octal(2)) + END, "describes 9"),
        (pax((b"GNU.sparse.map", b"5,9"), (b"GNU.sparse.size", b"9")) + header(size=octal(9)) + END, "leaves the file"),
        (pax((b"GNU.sparse.map", b"5"), (b"GNU.sparse.size", b"9")) + header(size=octal(9)) + END, "pairs"),
        (
            pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9"))
            + header(size=octal(512))
            + padded(b"9\n1\n")
            + bytes(4096),
            "does not end",
        ),
    ],
)
def test_malformed_archives_are_refused(data: bytes, message: str) -> None:
    """What is malformed is refused with an error that says what is wrong, of the class the reader was given."""
    with pytest.raises(LayerError, match=message):
        members(data, error=LayerError)


@pytest.mark.parametrize("seekable", [False, True])
@pytest.mark.parametrize("padding", [0, 1, 423])
def test_the_padding_of_the_last_member_may_be_missing(padding: int, seekable: bool) -> None:  # noqa: FBT001
    """What `umoci insert` writes ends with the data of the last file: nothing is missing of that."""
    data = header(b"one", size=octal(3)) + padded(b"one") + header(b"two", size=octal(600)) + b"x" * 600
    data += bytes(padding)
    reader = TarReader(io.BytesIO(data), seekable_size=len(data) if seekable else None)
    assert [member.name for member in reader] == [b"one", b"two"]
    reader = TarReader(io.BytesIO(data), seekable_size=len(data) if seekable else None)
    assert [reader.read() for _ in reader] == [b"one", b"x" * 600]


def test_truncation_is_found_when_seeking() -> None:
    """A plain file that ends within a member is refused even when its data is passed over by seeking."""
    data = header(size=octal(5_000_000)) + bytes(2_000_000)
    with pytest.raises(LayoutError, match="ends early"):
        members(data, seekable_size=len(data))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (header() * 11 + END, "members"),
        (header(type=b"L", size=octal(5000)) + bytes(5000), "extended tar header"),
        (header(size=octal(2000)) + bytes(2048), "file"),
        (pax((b"GNU.sparse.map", b""), (b"GNU.sparse.size", b"99999")) + header() + END, "file"),
        (pax((b"GNU.sparse.map", b"0,0,0,0,0,0"), (b"GNU.sparse.size", b"9")) + header() + END, "segments"),
        (
            pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0")) + header(size=octal(512)) + padded(b"999\n"),
            "segments",
        ),
    ],
)
def test_limits(data: bytes, what: str) -> None:
    """Members, extended headers, files and sparse maps are bounded before anything is allocated for them."""
    limits = TarLimits(members=10, extended_header_bytes=1000, file_bytes=1000, sparse_segments=2)
    with pytest.raises(LimitExceededError, match=what):
        members(data, limits=limits)


def _everything() -> bytes:
    """Return an archive with one of everything."""
    sparse = pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"900"))
    return b"".join(
        (
            pax((b"path", b"p" * 120), (b"mtime", b"1.5"), (b"SCHILY.xattr.user.x", b"\0\xff")) + header(size=octal(3)),
            padded(b"abc"),
            header(type=b"L", size=octal(3)) + padded(b"nm\0") + header(type=b"2", linkname=b"to"),
            sparse + header(size=octal(512 + 3)) + padded(b"1\n10\n3\n") + padded(b"xyz"),
            pax((b"comment", b"c"), kind=b"g"),
            header(type=b"3", major=b"0000005\0", minor=b"0000001\0"),
            END,
        )
    )


@hypothesis.given(st.data())
def test_damage_anywhere_is_an_error_or_harmless(data: st.DataObject) -> None:
    """However bytes are changed, cut out or repeated: the reader ends, with members or with an error of its own."""
    archive = bytearray(_everything())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(archive) - 1))
        length = data.draw(st.sampled_from([0, 1, 2, 12, 512]))
        archive[start : start + length] = data.draw(st.binary(max_size=16))
        if data.draw(st.booleans()) and len(archive) >= BLOCK:
            block = start // BLOCK * BLOCK
            archive[block : block + BLOCK] = _resummed(bytes(archive[block : block + BLOCK]).ljust(BLOCK, b"\0"))
    try:
        reader = TarReader(io.BytesIO(archive), limits=TarLimits(members=100, extended_header_bytes=4096))
        for member in reader:
            assert sum(len(piece) for _, piece in reader.data()) == member.stored_size <= len(archive)
    except (LayoutError, LimitExceededError):
        pass


def _resummed(block: bytes) -> bytes:
    """Return a header with the right checksum."""
    blank = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(blank) + block[156:]
