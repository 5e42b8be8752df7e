"""What is found in a tar file by name: plain names, links that stay inside, and the bounds of it all."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from saved import HARD_LINK, SYMLINK, Member, pack

from ocikit.errors import BlobNotFoundError, LayoutError, LimitExceededError
from ocikit.image.archive import members as members_module
from ocikit.image.archive.members import Members, plain

if TYPE_CHECKING:
    from pathlib import Path


def tar(*members: Member) -> bytes:
    """Make a tar of files, and of links given as type and target."""
    return pack(members)


def content(members: Members, name: str) -> bytes:
    """Return what a member holds."""
    with members.find(name).open(name) as stream:
        return stream.read()


ARCHIVE = tar(
    ("./a/file", b"content"),
    ("a/near", (SYMLINK, "file")),
    ("b/up", (SYMLINK, "../a/./file")),
    ("chain", (SYMLINK, "b/up")),
    ("hard", (HARD_LINK, "./a/file")),
    ("hard-of-link", (HARD_LINK, "a/near")),
    ("link-to-hard", (SYMLINK, "hard")),
    ("early", (HARD_LINK, "late")),
    ("late", b"late"),
    ("self", (SYMLINK, "self")),
    ("one", (SYMLINK, "two")),
    ("two", (SYMLINK, "one")),
    ("dangling", (SYMLINK, "a/nothing")),
    ("absolute", (SYMLINK, "/a/file")),
    ("outside", (SYMLINK, "../../etc/passwd")),
    ("into-a-directory", (SYMLINK, "a")),
    ("hard-outside", (HARD_LINK, "../a/file")),
    ("a/../../x", b"never"),
    ("device", (tarfile.CHRTYPE, "")),
    ("twice", b"first"),
    ("twice", b"second"),
)


@pytest.mark.parametrize("way", ["path", "gzip", "file object", "stream"])
def test_links_lead_from_member_to_member(tmp_path: Path, way: str) -> None:
    """Links are followed inside the archive, however it is read; what would lead out of it says so."""
    (tmp_path / "a").write_bytes(gzip.compress(ARCHIVE) if way == "gzip" else ARCHIVE)
    with (tmp_path / "a").open("rb") as file:
        origin = {"file object": file, "stream": io.BytesIO(ARCHIVE)}.get(way, str(tmp_path / "a"))
        members = Members(origin, where="it")
        assert not file.closed
    with members:
        names = ["a/file", "a/near", "b/up", "chain", "hard", "hard-of-link", "link-to-hard"]
        assert [content(members, name) for name in names] == [b"content"] * len(names)
        assert content(members, "twice") == b"second"
        rows = {
            "early": "does not come before it",
            "self": "links that lead nowhere: self -> self",
            "one": "links that lead nowhere: one -> two -> one",
            "dangling": "a link to 'a/nothing', which is not in the archive",
            "absolute": "a link to '/a/file', which leads out of the archive",
            "outside": "which leads out of the archive",
            "into-a-directory": "a link to 'a', which is not in the archive",
            "hard-outside": "does not come before it",
            "device": "expected a regular file, found a character device",
        }
        for name, message in rows.items():
            with pytest.raises(LayoutError, match=f"it: .*{message}"):
                members.find(name)
        for name in ("x", "a/../../x", "../x", "", "b", "A/file"):
            with pytest.raises(BlobNotFoundError, match="not in the archive"):
                members.find(name)


def test_a_file_object_that_stands_elsewhere(tmp_path: Path) -> None:
    """A file object is read from where it stands; in place only from the start, where it is left."""
    (tmp_path / "a").write_bytes(b"before" + ARCHIVE)
    with (tmp_path / "a").open("rb") as file:
        file.read(6)
        with Members(file, where="it") as members:
            assert content(members, "late") == b"late"
    (tmp_path / "b").write_bytes(ARCHIVE)
    with (tmp_path / "b").open("rb") as file, Members(file, where="it", temporary_directory="/nowhere") as members:
        assert file.tell() == 0
        assert content(members, "late") == b"late"


def test_file_objects_that_give_out_something_else(tmp_path: Path) -> None:
    """What a file object gives out is read, and not the file that it has a descriptor of."""

    class Wrapped(io.RawIOBase):
        def fileno(self) -> int:
            return file.fileno()

        def tell(self) -> int:
            return file.tell()

        def read(self, size: int = -1, /) -> bytes:
            return bytes(byte ^ 1 for byte in file.read(size) or b"")

    (tmp_path / "a").write_bytes(bytes(byte ^ 1 for byte in ARCHIVE))
    with io.FileIO(tmp_path / "a") as file, Members(Wrapped(), where="it") as members:
        assert content(members, "late") == b"late"
    (tmp_path / "b").write_bytes(gzip.compress(gzip.compress(ARCHIVE)))
    with gzip.open(tmp_path / "b") as packed, Members(packed, where="it") as members:
        assert content(members, "late") == b"late"


def test_what_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are kept in memory, so their bytes are bounded; names that nobody asks for are not kept."""
    (tmp_path / "a").write_bytes(tar(*[(f"{number:0100}", b"") for number in range(50)]))
    monkeypatch.setattr(members_module, "_NAME_BYTES", 2000)
    with pytest.raises(LimitExceededError, match="bytes of the names of all members"):
        Members(str(tmp_path / "a"), where="it")
    with Members(str(tmp_path / "a"), where="it", wanted=lambda name: name.endswith("1")) as members:
        assert len(list(members.names())) == 5


def test_compressed_members_are_opened_plain(tmp_path: Path) -> None:
    """A member that is compressed is put aside in plain form, bounded as the archive itself; a plain one stays."""
    data = os.urandom(3_000_000) + bytes(8_000_000)
    (tmp_path / "a").write_bytes(tar(("plain", data), ("packed", gzip.compress(data)), ("z", (SYMLINK, "packed"))))
    with Members(str(tmp_path / "a"), where="it", temporary_directory=str(tmp_path)) as members:
        for name in ("plain", "packed", "z"):
            pieces = members.decompressed(name)
            assert pieces.size == len(data)
            with pieces.open(name) as stream:
                assert stream.read() == data
                assert stream.read(1) == b""
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@given(st.binary(max_size=40))
def test_plain_names_are_inside(name: bytes) -> None:
    """A plain name has no way up, no root and no empty part, and is its own plain name."""
    found = plain(name)
    if found is not None:
        parts = found.split("/")
        assert ".." not in parts
        assert "." not in parts
        assert all(parts)
        assert plain(os.fsencode(found)) == found


@given(st.data())
def test_any_damage_is_a_typed_error(data: st.DataObject) -> None:
    """However an archive is damaged, what it holds is found or refused by a typed error."""
    damaged = bytearray(ARCHIVE)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        with Members(io.BytesIO(bytes(damaged)), where="it") as members:
            for name in list(members.names()):
                try:
                    content(members, name)
                except (LayoutError, BlobNotFoundError):
                    continue
    except (LayoutError, LimitExceededError):
        pass
