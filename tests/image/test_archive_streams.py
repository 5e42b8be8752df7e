"""Archives written straight into their place, compressed as a whole, and passed through pipes and file objects."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tarfile
import threading
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from builders import Store, digest_of, skopeo_digest
from hypothesis import given
from hypothesis import strategies as st
from moving import put

from ocikit.errors import DigestMismatchError, InvalidReferenceError, LayoutError, NotSupportedError
from ocikit.image import BlobInfo, Policy, SystemContext, archive_reference, copy, list_images, parse_image_name
from ocikit.image.archive import writer as writer_module
from ocikit.image.copy import CopyOptions
from ocikit.spec import Digest

if TYPE_CHECKING:
    from pathlib import Path

ANY = Policy.insecure_accept_anything()
COPY = """
import sys
from ocikit.image import Policy, copy
copy.image(Policy.insecure_accept_anything(), dest=sys.argv[2], src=sys.argv[1])
"""


class OnlyWrite:
    """What has no method but write, and takes a little at a time."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> int:
        """Take up to 70,000 bytes."""
        self.data += bytes(data[:70_000])
        return min(len(data), 70_000)


class OnlyRead:
    """What has no method but read."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        """Give up to 10,000 bytes."""
        return self._stream.read(min(size, 10_000) if size >= 0 else -1)


@pytest.fixture
def layout(tmp_path: Path) -> tuple[str, str]:
    """Return the name of an image with layers small and large, and the digest of its manifest."""
    store = Store()
    image = store.image({"a": os.urandom(4_500_000)}, {"b": b"b"}, {"c": os.urandom(300_000)})
    return f"oci:{store.layout(tmp_path / 'layout', {'x': image})}:x", image["digest"]


def test_blobs_lie_in_the_order_of_the_manifest(tmp_path: Path, layout: tuple[str, str]) -> None:
    """Large blobs come in the order in which they are listed, whatever thread was faster: always the same bytes."""
    for number in range(3):
        copy.image(ANY, dest=f"oci-archive:{tmp_path}/{number}.tar:x", src=layout[0])
    first = (tmp_path / "0.tar").read_bytes()
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes() == first
    with tarfile.open(tmp_path / "0.tar", "r:") as made:
        names = made.getnames()
    (listed,) = list_images(tmp_path / "0.tar")
    assert listed.name == "x"
    with parse_image_name(layout[0]).new_image_source() as source:
        manifest = source.get_manifest()[0].decode()
    large = [name for name in names[3:-1] if (tmp_path / "layout" / name).stat().st_size > 1 << 16]
    assert len(large) == 2
    assert sorted(large, key=lambda name: manifest.index(name.rpartition("/")[2])) == large
    assert names[:3] + names[-1:] == ["oci-layout", "blobs", "blobs/sha256", "index.json"]


def test_places_that_stay_empty_are_closed(tmp_path: Path) -> None:
    """A blob that was asked for and not put, or failed, leaves no hole: what comes behind it moves down."""
    contents = [bytes([number]) * 200_000 for number in range(5)]
    digests = [Digest(digest_of(content)) for content in contents]
    sizes = {}
    for case, wanted in {"all": [0, 1, 2, 3, 4], "some": [1, 3], "first": [0, 1, 2, 3], "none": []}.items():
        with parse_image_name(f"oci-archive:{tmp_path}/{case}").new_image_destination() as destination:
            for digest in digests:
                assert destination.try_reusing_blob(BlobInfo(digest=digest, size=200_000)) is None
            with pytest.raises(DigestMismatchError):
                put(destination, contents[4], digest=digests[2], size=200_000)
            for number in reversed(wanted):
                put(destination, contents[number], digest=digests[number], size=200_000)
            put(destination, b"of unknown size" * 20_000)
            destination.put_manifest(b'{"schemaVersion":2,"config":{},"layers":[]}')
            destination.commit()
        with tarfile.open(tmp_path / case, "r:") as made:
            found = [made.extractfile(member).read() for member in made if member.size == 200_000]  # type: ignore[union-attr]
        assert found == [contents[number] for number in wanted]
        subprocess.run(["tar", "-tf", str(tmp_path / case)], check=True, capture_output=True)
        sizes[case] = (tmp_path / case).stat().st_size
    assert sizes["all"] - sizes["none"] == 5 * (512 + 200_192)


@given(st.data())
def test_whatever_comes_in_whatever_order(data: st.DataObject) -> None:
    """Blobs announced or not, of known size or not, put twice or never: each that was put is there once, as it was."""
    sizes = data.draw(st.lists(st.integers(1, 3000), unique=True, min_size=1, max_size=8))
    contents = [bytes([size % 251]) * size for size in sizes]
    blobs = {Digest(digest_of(content)): content for content in contents}
    announced = data.draw(st.permutations(sorted(blobs)))[: data.draw(st.integers(0, len(blobs)))]
    arriving = data.draw(st.lists(st.tuples(st.sampled_from(sorted(blobs)), st.booleans()), max_size=12))
    file = io.BytesIO()
    with (
        mock.patch.object(writer_module, "_SMALL", 500),
        archive_reference("oci-archive", file, "x").new_image_destination() as destination,
    ):
        for digest in announced:
            destination.try_reusing_blob(BlobInfo(digest=digest, size=len(blobs[digest])))
        for digest, known in arriving:
            put(destination, blobs[digest], **({"digest": digest, "size": len(blobs[digest])} if known else {}))
        destination.put_manifest(b'{"schemaVersion":2,"config":{},"layers":[]}')
        destination.commit()
    with tarfile.open(fileobj=io.BytesIO(file.getvalue()), mode="r:") as made:
        found = [(f"sha256:{one.name[13:]}", made.extractfile(one)) for one in made if one.name[13:]]
        read = [(digest, stream.read()) for digest, stream in found if stream is not None]
    there = [(digest, content) for digest, content in read if digest in blobs]
    assert dict(there) == {digest: blobs[Digest(digest)] for digest, _ in arriving}
    assert len(dict(there)) == len(there)
    if all(known for _, known in arriving):
        large = [digest for digest in announced if len(blobs[digest]) > 500 and (digest, True) in arriving]
        assert [digest for digest, _ in there if digest in large] == large


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    """A blob that is put again, wrong this time, does no harm to the one that is there."""
    content = os.urandom(100_000)
    digest = Digest(digest_of(content))
    with parse_image_name(f"oci-archive:{tmp_path}/a:x").new_image_destination() as destination:
        put(destination, content, digest=digest, size=len(content))
        with pytest.raises(DigestMismatchError):
            put(destination, bytes(100_000), digest=digest, size=len(content))
        put(destination, content, digest=digest, size=len(content))
        destination.put_manifest(b'{"schemaVersion":2,"config":{},"layers":[]}')
        destination.commit()
    with tarfile.open(tmp_path / "a", "r:") as made:
        assert [made.extractfile(m).read() for m in made if m.size == len(content)] == [content]  # type: ignore[union-attr]


def test_a_write_that_fails_behind_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large blob, what goes wrong while it is written in another thread is raised where it was put."""
    content = os.urandom(8_000_000)

    def pwrite(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with parse_image_name(f"oci-archive:{tmp_path}/a:x").new_image_destination() as destination:
        monkeypatch.setattr(os, "pwrite", pwrite)
        with pytest.raises(OSError, match="No space left"):
            put(destination, content, digest=Digest(digest_of(content)), size=len(content))
    assert list(tmp_path.iterdir()) == []
    assert not [thread for thread in threading.enumerate() if thread.name == "ocikit-archive"]


@pytest.mark.parametrize("compression", ["gzip", "zstd", "bzip2", "xz"])
def test_whole_archives_are_compressed(tmp_path: Path, compression: str) -> None:
    """What is written compressed is read again, by skopeo too where it can, and is the plain archive inside."""
    store = Store()
    image = store.image({"a": os.urandom(150_000)}, {"b": b"b" * 100_000})
    source = f"oci:{store.layout(tmp_path / 'layout', {'x': image})}:x"
    options = CopyOptions(destination_ctx=SystemContext(archive_compression=compression))
    copy.image(ANY, dest=f"oci-archive:{tmp_path}/a:x", src=source, options=options)
    copy.image(ANY, dest=f"oci-archive:{tmp_path}/b:x", src=source)
    packed = (tmp_path / "a").read_bytes()
    program = {"gzip": "gzip", "zstd": "zstd", "bzip2": "bzip2", "xz": "xz"}[compression]
    plain = subprocess.run([program, "-dc"], input=packed, check=True, capture_output=True).stdout
    assert plain == (tmp_path / "b").read_bytes()
    assert skopeo_digest(f"oci-archive:{tmp_path}/a:x") == image["digest"]
    result = copy.image(ANY, dest=f"dir:{tmp_path}/d", src=f"oci-archive:{tmp_path}/a")
    assert result.digest == image["digest"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "d", "layout"]


def test_an_unknown_compression(tmp_path: Path) -> None:
    """A compression that nobody knows is refused before anything is written."""
    reference = parse_image_name(f"oci-archive:{tmp_path}/a:x")
    with pytest.raises(NotSupportedError, match="'lz4' is not known"):
        reference.new_image_destination(SystemContext(archive_compression="lz4"))
    assert list(tmp_path.iterdir()) == []


def test_file_objects(tmp_path: Path, layout: tuple[str, str]) -> None:
    """What can only write is written to, at the end; what can only read is read; neither is closed."""
    out = OnlyWrite()
    reference = archive_reference("oci-archive", out, "y")
    with reference.new_image_destination() as destination:
        put(destination, b"content" * 20_000)
        assert out.data == b""
    assert out.data == b""
    copy.image(ANY, dest=reference, src=layout[0])
    source = archive_reference("oci-archive", OnlyRead(out.data), "y")
    assert (source.policy_configuration_identity, source.policy_configuration_namespaces) == ("", ())
    assert copy.image(ANY, dest=f"dir:{tmp_path}/d", src=source).digest == layout[1]
    with io.BytesIO() as file:
        copy.image(ANY, dest=archive_reference("oci-archive", file, "y"), src=layout[0])
        assert file.getvalue() == out.data
    with (tmp_path / "f").open("w+b") as file2:
        copy.image(ANY, dest=archive_reference("oci-archive", file2, "y"), src=layout[0])
        file2.seek(0)
        assert (
            copy.image(ANY, dest=f"dir:{tmp_path}/d", src=archive_reference("oci-archive", file2)).digest == layout[1]
        )


def test_references_to_streams() -> None:
    """A stream is read once: references to streams are equal to themselves alone, and names are checked."""
    one = archive_reference("oci-archive", io.BytesIO(), "x")
    assert one == one  # noqa: PLR0124 - that is what is tested
    assert one != archive_reference("oci-archive", io.BytesIO(), "x")
    assert parse_image_name("oci-archive:-") != parse_image_name("oci-archive:-")
    assert str(parse_image_name("oci-archive:-:x")) == "oci-archive:-:x"
    with pytest.raises(InvalidReferenceError, match="no name of an image"):
        archive_reference("oci-archive", io.BytesIO(), "a b")
    with pytest.raises(InvalidReferenceError, match="not kept in single files"):
        archive_reference("oci", io.BytesIO())
    with pytest.raises(LayoutError, match="expected something with a method read, found OnlyWrite"):
        archive_reference("oci-archive", OnlyWrite()).new_image_source()
    with pytest.raises(LayoutError, match="expected something with a method write, found OnlyRead"):
        archive_reference("oci-archive", OnlyRead(b"")).new_image_destination()


def test_standard_streams(tmp_path: Path, layout: tuple[str, str]) -> None:
    """``-`` is standard output of one program and standard input of the next; a terminal is not written to."""
    first = [sys.executable, "-c", COPY, layout[0], "oci-archive:-:x"]
    second = [sys.executable, "-c", COPY, "oci-archive:-:x", "oci-archive:-:z"]
    packed = subprocess.run(first, check=True, capture_output=True).stdout
    packed = subprocess.run(second, check=True, capture_output=True, input=packed).stdout
    (tmp_path / "a").write_bytes(packed)
    assert skopeo_digest(f"oci-archive:{tmp_path}/a:z") == layout[1]
    with (tmp_path / "a").open("rb") as file:
        third = [sys.executable, "-c", COPY, "oci-archive:-", f"oci:{tmp_path}/l:w"]
        subprocess.run(third, check=True, stdin=file)
    assert skopeo_digest(f"oci:{tmp_path}/l:w") == layout[1]
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb"), os.fdopen(theirs, "wb", buffering=0) as terminal:
        done = subprocess.run(first, check=False, stdout=terminal, stderr=subprocess.PIPE)
        assert b"would be written to a terminal" in done.stderr
        done = subprocess.run(third, check=False, stdin=terminal, stderr=subprocess.PIPE)
    assert b"would be read from a terminal" in done.stderr


def test_named_pipes(tmp_path: Path, layout: tuple[str, str]) -> None:
    """A named pipe is written to in place of being replaced, and read from."""
    os.mkfifo(tmp_path / "pipe")
    digests = []

    def read() -> None:
        digests.append(copy.image(ANY, dest=f"oci:{tmp_path}/l:y", src=f"oci-archive:{tmp_path}/pipe").digest)

    thread = threading.Thread(target=read)
    thread.start()
    with contextlib.ExitStack() as stack:
        stack.callback(thread.join)
        copy.image(ANY, dest=f"oci-archive:{tmp_path}/pipe:x", src=layout[0])
    assert digests == [layout[1]]
    assert (tmp_path / "pipe").is_fifo()
