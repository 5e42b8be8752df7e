"""Images in archives of layouts: packed by anybody, compressed or not, read in place or in one pass."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import json
import lzma
import os
import subprocess
import tarfile
import threading
from typing import TYPE_CHECKING

import pytest
from builders import Store, digest_of, manifest_at, pack, skopeo_digest
from layers import entry
from moving import get, move, put

from ocikit.errors import (
    AmbiguousImageError,
    BlobNotFoundError,
    CompressionError,
    DigestMismatchError,
    ImageNotFoundError,
    LayoutError,
    LimitExceededError,
    SizeMismatchError,
)
from ocikit.image import BlobInfo, SystemContext, parse_image_name
from ocikit.image.archive import members as members_module
from ocikit.image.compression import CompressedStream, Compression, ExpansionLimits
from ocikit.image.tar import TarLimits
from ocikit.spec import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


def zstd(data: bytes) -> bytes:
    """Compress data with zstd."""
    return CompressedStream(io.BytesIO(data), Compression.ZSTD).read()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "zstd": zstd,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "two members": lambda data: gzip.compress(data[:700]) + gzip.compress(data[700:]),
}


@pytest.fixture
def store() -> Store:
    """Return a store with blobs of several sizes."""
    return Store()


def tar(members: Sequence[tuple[str, bytes | str]]) -> bytes:
    """Make a tar of files, and of hard links where the content is the name of another."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as made:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.LNKTYPE, content
                made.addfile(member)
            else:
                member.size = len(content)
                made.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def files_of(layout: Path) -> list[tuple[str, bytes]]:
    """Return the files of a layout by name."""
    return [(str(path.relative_to(layout)), path.read_bytes()) for path in sorted(layout.rglob("*")) if path.is_file()]


@pytest.mark.parametrize("how", PACKERS)
def test_compression_is_recognised_by_content(tmp_path: Path, store: Store, how: str) -> None:
    """An archive is read however it is compressed and whatever it is called, with all that is in it."""
    top = store.index(store.image({"a": os.urandom(2_000_000)}), store.image({"b": b"b"}, architecture="arm64"))
    plain = store.archive(tmp_path / "plain.tar", {"x": top}).read_bytes()
    (tmp_path / "image.tar.Z").write_bytes(PACKERS[how](plain))
    for name in ("image.tar.Z", "image.tar.Z:x"):
        assert move(f"oci-archive:{tmp_path}/{name}", f"dir:{tmp_path}/out") == top["digest"]
        assert skopeo_digest(f"dir:{tmp_path}/out") == top["digest"]


def test_there_and_back(tmp_path: Path, store: Store) -> None:
    """From an archive to a layout, a directory and an archive again: skopeo agrees on the digest at every stop."""
    image = store.image({"a": b"1" * 100_000}, {"b": b"2"})
    first = store.archive(tmp_path / "first.tar.gz", {"x": image}, compress="gzip")
    stops = [f"oci-archive:{first}:x", f"oci:{tmp_path}/l:y", f"dir:{tmp_path}/d", f"oci-archive:{tmp_path}/last.tar:z"]
    for source, destination in itertools.pairwise(stops):
        assert move(source, destination) == image["digest"] == skopeo_digest(destination)
    subprocess.run(["skopeo", "copy", "-q", stops[-1], f"oci-archive:{tmp_path}/theirs.tar:t"], check=True)
    assert move(f"oci-archive:{tmp_path}/theirs.tar:t", f"oci:{tmp_path}/back:b") == image["digest"]


def test_equal_images_make_equal_archives(tmp_path: Path, store: Store) -> None:
    """What is written depends on the image alone: order, owners, modes and times are fixed; plain, as from skopeo."""
    layout = store.layout(tmp_path / "l", {"x": store.index(store.image(), store.image({"b": b""}, {"c": b""}))})
    move(f"oci:{layout}:x", f"oci-archive:{tmp_path}/a.tar:y")
    move(f"oci-archive:{tmp_path}/a.tar", f"dir:{tmp_path}/d")
    move(f"dir:{tmp_path}/d", f"oci-archive:{tmp_path}/b.tar:y")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar", "r:") as made:
        found = made.getmembers()
    blobs = sorted(f"blobs/sha256/{digest.partition(':')[2]}" for digest in store.blobs)
    assert [member.name for member in found] == ["oci-layout", "blobs", "blobs/sha256", *blobs, "index.json"]
    assert {(member.mtime, member.uid, member.gid, member.mode) for member in found if member.isfile()} == {
        (0, 0, 0, 0o644)
    }
    assert {member.mode for member in found if member.isdir()} == {0o755}
    move(f"dir:{tmp_path}/d", f"oci-archive:{tmp_path}/b.tar:y", SystemContext(destination_timestamp=1_700_000_000))
    with tarfile.open(tmp_path / "b.tar", "r:") as made:
        assert {member.mtime for member in made} == {1_700_000_000}


def test_long_names(tmp_path: Path) -> None:
    """Blobs with sha512 digests have names too long for old headers; skopeo and GNU tar read them."""
    archive = tmp_path / "a.tar"
    with parse_image_name(f"oci-archive:{archive}:x").new_image_destination() as destination:
        digest = Digest(digest_of(b"content", "sha512"))
        put(destination, b"content", digest=digest)
        config = put(destination, b"{}", digest=Digest(digest_of(b"{}")))
        entry = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.digest, "size": 2}
        manifest = {"schemaVersion": 2, "config": entry, "layers": []}
        destination.put_manifest(json.dumps(manifest).encode())
        destination.commit()
    with parse_image_name(f"oci-archive:{archive}:x").new_image_source() as source:
        assert get(source, digest) == b"content"
    listed = subprocess.run(["tar", "-tf", str(archive)], check=True, capture_output=True, text=True).stdout
    assert f"blobs/sha512/{digest.hex}" in listed.split()
    assert skopeo_digest(f"oci-archive:{archive}:x") == digest_of(json.dumps(manifest).encode())


@pytest.mark.parametrize("prefix", ["", "./", ".//./"])
@pytest.mark.parametrize("compressed", [False, True])
def test_order_and_names_do_not_matter(tmp_path: Path, store: Store, prefix: str, compressed: bool) -> None:  # noqa: FBT001
    """Members come in any order, with or without ./, with directories or without, among others that are ignored."""
    image = store.image({"a": b"a"})
    files = files_of(store.layout(tmp_path / "l", {"x": image}))
    others: list[tuple[str, bytes | str]] = [
        ("index.json/x", b"no"),
        ("blobs/sha256/short", b"no"),
        ("../index.json", b"no"),
    ]
    for order in (files, files[::-1]):
        data = tar([*others, *((prefix + name, content) for name, content in order), ("blobs/x/y/index.json", b"no")])
        (tmp_path / "a").write_bytes(zstd(data) if compressed else data)
        assert move(f"oci-archive:{tmp_path}/a:x", f"oci:{tmp_path}/out:x") == image["digest"]


@pytest.mark.parametrize("compressed", [False, True])
def test_repeated_members_and_links(tmp_path: Path, store: Store, compressed: bool) -> None:  # noqa: FBT001
    """The last of several members with one name counts, as for tar; a hard link is what it leads to."""
    image = store.image({"a": b"a"})
    files = files_of(store.layout(tmp_path / "l", {"x": image}))
    name, content = files[0]
    data = tar([("index.json", b"old"), ("oci-layout", b"old"), ("./blobs/sha256/" + "0" * 64, content), *files[1:]])
    (tmp_path / "a").write_bytes(zstd(data) if compressed else data)
    with parse_image_name(f"oci-archive:{tmp_path}/a:x").new_image_source() as source:
        assert get(source, "sha256:" + "0" * 64) == content
    linked = tar([*files[1:], ("blobs/sha256/" + "0" * 64, content), (name, "./blobs/sha256/" + "0" * 64)])
    (tmp_path / "a").write_bytes(zstd(linked) if compressed else linked)
    assert move(f"oci-archive:{tmp_path}/a:x", f"oci:{tmp_path}/out:x") == image["digest"]


@pytest.mark.parametrize("compressed", [False, True])
def test_blobs_that_tar_stored_sparse(tmp_path: Path, store: Store, compressed: bool) -> None:  # noqa: FBT001
    """A blob that GNU tar stored without its holes is read with them."""
    blob = store.blob("x", bytes(1_000_000) + b"end" + bytes(1_000_000))
    layout = store.layout(tmp_path / "l", {"x": store.image()})
    path = layout / "blobs" / "sha256" / blob["digest"].partition(":")[2]
    path.unlink()
    with path.open("wb") as file:
        file.seek(1_000_000)
        file.write(b"end")
        file.truncate(2_000_003)
    data = subprocess.run(["tar", "-C", str(layout), "-cSf", "-", "."], check=True, capture_output=True).stdout
    assert len(data) < 500_000
    (tmp_path / "a").write_bytes(zstd(data) if compressed else data)
    with parse_image_name(f"oci-archive:{tmp_path}/a:x").new_image_source() as source:
        assert digest_of(get(source, blob["digest"])) == blob["digest"]


def test_what_docker_saves(tmp_path: Path) -> None:
    """An archive of another kind is an error that says what to do with it."""
    (tmp_path / "a").write_bytes(tar([("manifest.json", b"[]")]))
    with pytest.raises(LayoutError, match="name it as docker-archive:"):
        parse_image_name(f"oci-archive:{tmp_path}/a").new_image_source()
    with pytest.raises(LayoutError, match=f"named as oci-archive:{tmp_path}/a"):
        parse_image_name(f"oci:{tmp_path}/a").new_image_source()


@pytest.mark.parametrize("compressed", [False, True])
def test_sparse_blobs_of_any_size(tmp_path: Path, compressed: bool) -> None:  # noqa: FBT001
    """A few bytes of archive that claim terabytes of holes are a bomb like any other."""
    sparse = {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.realsize": b"200000000000"}
    names = [b"blobs/sha256/%064x" % number for number in range(2)]
    members = [entry(b"x", b"0\n" + bytes(510), pax={**sparse, b"GNU.sparse.name": name}) for name in names]
    data = b"".join(members) + bytes(1024)
    (tmp_path / "a").write_bytes(zstd(data) if compressed else data)
    with pytest.raises(LimitExceededError, match="bytes of the members"):
        parse_image_name(f"oci-archive:{tmp_path}/a:x").new_image_source()


def test_a_pipe_is_read_in_one_pass(tmp_path: Path, store: Store) -> None:
    """An archive may come through a named pipe."""
    image = store.image({"a": os.urandom(300_000)})
    archive = store.archive(tmp_path / "a.tar", {"x": image})
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(archive.read_bytes()))
    writer.start()
    assert move(f"oci-archive:{tmp_path}/pipe:x", f"oci:{tmp_path}/out:x") == image["digest"]
    writer.join()


def test_several_images_in_an_archive(tmp_path: Path, store: Store) -> None:
    """An image in an archive with several is found by its name only."""
    names = {"one": store.image({"1": b""}), "two": store.image({"2": b""})}
    archive = store.archive(tmp_path / "a.tar", names)
    assert move(f"oci-archive:{archive}:two", f"oci:{tmp_path}/out:x") == names["two"]["digest"]
    with pytest.raises(AmbiguousImageError, match="'one', 'two'"):
        parse_image_name(f"oci-archive:{archive}").new_image_source()
    with pytest.raises(ImageNotFoundError, match="'one', 'two'"):
        parse_image_name(f"oci-archive:{archive}:three").new_image_source()


def test_streams_outlive_their_source_and_share_nothing(tmp_path: Path, store: Store) -> None:
    """Streams of one source are read side by side, and to their end after it was closed."""
    data = [os.urandom(400_000) for _ in range(2)]
    blobs = [store.blob("x", part) for part in data]
    archive = store.archive(tmp_path / "a.tar", {"x": store.image()})
    source = parse_image_name(f"oci-archive:{archive}:x").new_image_source()
    streams = [source.get_blob(BlobInfo(digest=Digest(blob["digest"])))[0] for blob in blobs]
    halves = [stream.read(200_000) for stream in streams]
    source.close()
    source.close()
    assert [half + stream.read() for half, stream in zip(halves, streams, strict=True)] == data
    for stream in streams:
        stream.close()


def test_nothing_is_unpacked(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain archive is read without any temporary file, a compressed one with one that has no name."""
    (tmp_path / "t").mkdir()
    image = store.image({"a": os.urandom(300_000)})
    archive = store.archive(tmp_path / "a.tar", {"x": image})
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    with parse_image_name(f"oci-archive:{archive}:x").new_image_source() as source:
        assert source.get_manifest()[0] == store.blobs[image["digest"]]
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(archive.read_bytes()))
    reference = parse_image_name(f"oci-archive:{tmp_path}/a.tar.gz:x")
    with pytest.raises(FileNotFoundError, match="missing"):
        reference.new_image_source()
    with reference.new_image_source(SystemContext(big_files_temporary_dir=str(tmp_path / "t"))) as source:
        assert list((tmp_path / "t").iterdir()) == []
        assert source.get_manifest()[0] == store.blobs[image["digest"]]


def broken(files: list[tuple[str, bytes]], name: str, content: bytes | None) -> list[tuple[str, bytes | str]]:
    """Replace a member, or leave it out."""
    return [(each, data if each != name else content) for each, data in files if each != name or content is not None]  # type: ignore[misc]


@pytest.mark.parametrize("compressed", [False, True])
def test_what_is_no_archive_of_a_layout(tmp_path: Path, store: Store, compressed: bool) -> None:  # noqa: FBT001
    """Files that are something else are refused, saying what was expected."""
    files = files_of(store.layout(tmp_path / "l", {"x": store.image()}))
    rows = [
        (b"not a tar at all".ljust(2000), "is this a tar file"),
        (b"", "no oci-layout"),
        (tar([("file", b"x")]), "no oci-layout in it"),
        (tar(broken(files, "oci-layout", None)), "no oci-layout in it"),
        (tar(broken(files, "oci-layout", b'{"imageLayoutVersion":"3"}')), "found '3'"),
        (tar(broken(files, "index.json", None)), "no index.json in it"),
        (tar(broken(files, "index.json", b"{}")), "expected an array"),
        (tar([*files, ("index.json", "blobs/sha256/" + "1" * 64)]), "does not come before"),
        (tar(files)[:600], "ends early"),
    ]
    for data, message in rows:
        (tmp_path / "a").write_bytes(gzip.compress(data) if compressed else data)
        with pytest.raises(LayoutError, match=message):
            parse_image_name(f"oci-archive:{tmp_path}/a").new_image_source()
    with pytest.raises(LayoutError, match=r"found a directory; a layout is named as oci:"):
        parse_image_name(f"oci-archive:{tmp_path}/l:x").new_image_source()
    with pytest.raises(FileNotFoundError):
        parse_image_name(f"oci-archive:{tmp_path}/missing:x").new_image_source()


def test_members_that_are_no_files(tmp_path: Path, store: Store) -> None:
    """A link out of the archive, or a device, in the place of a file of the layout is refused, not followed."""
    layout = store.layout(tmp_path / "l", {"x": store.image()})
    (layout / "index.json").rename(tmp_path / "index.json")
    (layout / "index.json").symlink_to(tmp_path / "index.json")
    with pytest.raises(LayoutError, match="which leads out of the archive"):
        parse_image_name(f"oci-archive:{pack(layout, tmp_path / 'a')}").new_image_source()
    (layout / "index.json").unlink()
    os.mkfifo(layout / "index.json")
    with pytest.raises(LayoutError, match="expected a regular file, found a fifo"):
        parse_image_name(f"oci-archive:{pack(layout, tmp_path / 'a')}").new_image_source()


def test_damaged_compression(tmp_path: Path, store: Store) -> None:
    """Damage anywhere in a compressed archive is found, behind the last member too."""
    data = bytearray(gzip.compress(store.archive(tmp_path / "a", {"x": store.image()}).read_bytes()))
    for damaged in (data[:-4], data[:-8] + b"\1\2\3\4" + data[-4:], data + b"tail"):
        (tmp_path / "b").write_bytes(damaged)
        with pytest.raises(CompressionError, match=str(tmp_path / "b")):
            parse_image_name(f"oci-archive:{tmp_path}/b").new_image_source()


def test_bombs(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes out of a compressed archive is bounded, and so are its documents."""
    files = files_of(store.layout(tmp_path / "l", {"x": store.image()}))
    (tmp_path / "a").write_bytes(gzip.compress(tar([*files, ("blobs/sha256/" + "0" * 64, bytes(20 << 20))])))
    monkeypatch.setattr(members_module, "EXPANSION", ExpansionLimits(ratio=100, ratio_from_bytes=4 << 20))
    with pytest.raises(LimitExceededError, match="for each compressed byte"):
        parse_image_name(f"oci-archive:{tmp_path}/a").new_image_source()
    monkeypatch.setattr(members_module, "_MEMBERS", TarLimits(members=3))
    (tmp_path / "a").write_bytes(tar(files))
    with pytest.raises(LimitExceededError, match="members of a tar file: limit 3"):
        parse_image_name(f"oci-archive:{tmp_path}/a").new_image_source()
    monkeypatch.undo()
    (tmp_path / "a").write_bytes(tar(broken(files, "index.json", b" " * ((4 << 20) + 1))))
    with pytest.raises(LimitExceededError, match=r"index\.json"):
        parse_image_name(f"oci-archive:{tmp_path}/a").new_image_source()


def test_an_archive_that_shrinks(tmp_path: Path, store: Store) -> None:
    """A file that becomes shorter while it is read is an error, not the end of a blob."""
    blob = store.blob("x", os.urandom(100_000))
    archive = store.archive(tmp_path / "a", {"x": store.image()})
    with parse_image_name(f"oci-archive:{archive}:x").new_image_source() as source:
        os.truncate(archive, 1024)
        with pytest.raises(LayoutError, match="became shorter"):
            get(source, blob["digest"])
        with pytest.raises(BlobNotFoundError, match="not in the archive"):
            get(source, digest_of(b"other"))


def test_a_destination_appears_whole(tmp_path: Path, store: Store) -> None:
    """The file is replaced at commit and not touched before; a failed one leaves it as it was."""
    image = store.image()
    layout = store.layout(tmp_path / "l", {"x": image})
    archive = tmp_path / "a.tar"
    archive.write_bytes(b"old")
    (tmp_path / ".ocikit-tmp-new-0123").write_bytes(b"left by a crash")
    with parse_image_name(f"oci-archive:{archive}").new_image_destination() as destination:
        put(destination, b"content")
        with pytest.raises(DigestMismatchError):
            put(destination, b"other", digest=Digest(digest_of(b"content")))
        with pytest.raises(SizeMismatchError):
            put(destination, b"content", size=8)
        assert destination.try_reusing_blob(BlobInfo(digest=Digest(digest_of(b"content")))) is not None
        assert destination.try_reusing_blob(BlobInfo(digest=Digest(digest_of(b"content")), size=8)) is None
        assert destination.try_reusing_blob(BlobInfo(digest=Digest(digest_of(b"other")))) is None
        with pytest.raises(LayoutError, match="no manifest"):
            destination.commit()
    assert archive.read_bytes() == b"old"
    move(f"oci:{layout}:x", f"oci-archive:{archive}")
    assert skopeo_digest(f"oci-archive:{archive}") == image["digest"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "l"]
    assert archive.stat().st_mode & 0o777 == 0o644


def test_many_blobs_at_the_same_time(tmp_path: Path) -> None:
    """Blobs of known and unknown size that several threads put do not end up in each other."""
    contents = [os.urandom(50_000 + number) for number in range(24)]
    with parse_image_name(f"oci-archive:{tmp_path}/a").new_image_destination() as destination:

        def work(part: int) -> None:
            for number in range(part, len(contents), 6):
                known = {"size": len(contents[number])} if number % 3 else {}
                put(destination, contents[number], **known)

        threads = [threading.Thread(target=work, args=(part,)) for part in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        destination.put_manifest(b'{"schemaVersion":2,"config":{},"layers":[]}')
        destination.commit()
    with parse_image_name(f"oci-archive:{tmp_path}/a").new_image_source() as source:
        for content in contents:
            assert get(source, digest_of(content)) == content


def test_what_is_not_replaced(tmp_path: Path) -> None:
    """A directory in the place of the file is left alone."""
    with pytest.raises(LayoutError, match="no file"):
        parse_image_name(f"oci-archive:{tmp_path}").new_image_destination()


def test_a_full_disk_says_where(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """When there is no room for temporary files the error names the place and the remedy."""
    (tmp_path / "a").write_bytes(gzip.compress(store.archive(tmp_path / "b", {"x": store.image()}).read_bytes()))

    def pwrite(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(OSError, match="big_files_temporary_dir") as caught:
        parse_image_name(f"oci-archive:{tmp_path}/a").new_image_source(
            SystemContext(big_files_temporary_dir=str(tmp_path))
        )
    assert (caught.value.errno, caught.value.filename) == (28, str(tmp_path))


def test_manifest_of_the_archive_is_the_layouts(tmp_path: Path, store: Store) -> None:
    """GNU tar unpacks what was written here into a layout that skopeo reads."""
    image = store.image()
    move(f"oci:{store.layout(tmp_path / 'l', {'x': image})}:x", f"oci-archive:{tmp_path}/a:y")
    (tmp_path / "u").mkdir()
    subprocess.run(["tar", "-C", str(tmp_path / "u"), "-xf", str(tmp_path / "a")], check=True)
    assert manifest_at(tmp_path / "u", "y") == image["digest"] == skopeo_digest(f"oci:{tmp_path}/u:y")
