"""What bytes, files, blobs and files in layers are, as libmagic names them; and what happens without libmagic."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from builders import OCI_LAYER, Store, digest_of, tar_of

from ocikit.errors import BlobNotFoundError, InvalidDigestError, LayoutError, LimitExceededError
from ocikit.image import identify, parse_image_name
from ocikit.image.compression import Compression

if TYPE_CHECKING:
    from pathlib import Path

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0"
SCRIPT = b"#!/bin/sh\necho hello\n"


def test_bytes_paths_and_streams(tmp_path: Path) -> None:
    """The same answer by every way, and the one that file(1) gives."""
    path = tmp_path / "x"
    path.write_bytes(PNG)
    told = subprocess.run(["file", "--brief", "--mime-type", path], check=True, capture_output=True, text=True)
    with path.open("rb") as stream:
        found = [identify(thing) for thing in (PNG, bytearray(PNG), memoryview(PNG), path, str(path), stream)]
    assert {one.mime_type for one in found} == {told.stdout.strip()} == {"image/png"}
    assert all("PNG" in one.description for one in found)
    assert found[0].compression is None
    assert str(found[0]).startswith("image/png: PNG")
    assert json.loads(json.dumps(found[0].to_dict()))["mimeType"] == "image/png"


@pytest.mark.parametrize(
    ("packed", "compression"),
    [
        (gzip.compress(tar_of({"a": SCRIPT})), Compression.GZIP),
        (bz2.compress(tar_of({"a": SCRIPT})), Compression.BZIP2),
        (lzma.compress(tar_of({"a": SCRIPT})), Compression.XZ),
        (gzip.compress(os.urandom(500_000) + b"x"), Compression.GZIP),
    ],
    ids=["gzip", "bzip2", "xz", "more than is looked at"],
)
def test_what_is_inside(packed: bytes, compression: Compression) -> None:
    """Compressed content is named, and what it begins with."""
    found = identify(packed)
    assert found.compression is compression
    assert found.content is not None
    inside = "application/x-tar" if len(packed) < 100_000 else "application/octet-stream"
    assert found.content.mime_type == inside
    assert found.content.content is None
    assert "inside:" in str(found)


def test_little_is_read(tmp_path: Path) -> None:
    """Of an endless stream, and of a large file with holes, only the beginning is read."""

    class Endless:
        taken = 0

        def read(self, size: int, /) -> bytes:
            self.taken += size
            return b"\0" * size

    stream = Endless()
    assert identify(stream).mime_type == "application/octet-stream"
    assert stream.taken <= 64 << 10
    with (tmp_path / "x").open("wb") as file:
        file.truncate(1 << 40)
    assert identify(tmp_path / "x").mime_type == "application/octet-stream"
    assert identify(b"").mime_type


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    """A pipe is not waited for, a directory is no file, and what is not there is not there."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        with pytest.raises(OSError, match="expected a regular file"):
            identify(path)
    with pytest.raises(FileNotFoundError):
        identify(tmp_path / "none")


def layer_of(store: Store, *members: tuple[str, Any]) -> dict[str, Any]:
    """Make a layer of members: bytes are files, tuples are a type and what a link leads to."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
            else:
                member.type, member.linkname = content
            tar.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return store.blob(OCI_LAYER, gzip.compress(stream.getvalue(), mtime=0))


@pytest.fixture
def image(tmp_path: Path) -> str:
    """Return an image of three layers that hide each other's files."""
    store = Store()
    layers = [
        layer_of(
            store,
            ("./logo", PNG),
            ("bin/run", SCRIPT),
            ("bin/run", PNG),
            ("hidden", SCRIPT),
            ("dir/hidden", SCRIPT),
            ("opaque/old", SCRIPT),
            ("was/file", SCRIPT),
            ("later", SCRIPT),
        ),
        layer_of(
            store,
            (".wh.hidden", b""),
            (".wh.dir", b""),
            ("opaque/.wh..wh..opq", b""),
            ("opaque/new", PNG),
            ("was", b"a file now"),
            ("later", PNG),
        ),
        layer_of(
            store,
            ("hard", (tarfile.LNKTYPE, "logo")),
            ("loop", (tarfile.LNKTYPE, "loop")),
            ("soft", (tarfile.SYMTYPE, "logo")),
            ("etc", (tarfile.DIRTYPE, "")),
            ("pipe", (tarfile.FIFOTYPE, "")),
            ("null", (tarfile.CHRTYPE, "")),
        ),
    ]
    top = store.image(extra={"layers": layers})
    return f"oci:{store.layout(tmp_path / 'l', {'x': top, 'index': store.index(top)})}:x"


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        ("logo", "image/png"),
        ("/./x/../logo", "image/png"),
        (b"bin/run", "image/png"),
        ("later", "image/png"),
        ("opaque/new", "image/png"),
        ("was", "text/plain"),
        ("hard", "image/png"),
        ("soft", "inode/symlink"),
        ("etc", "inode/directory"),
        ("pipe", "inode/fifo"),
        ("null", "inode/chardevice"),
    ],
)
def test_files_in_an_image(image: str, member: str | bytes, expected: str) -> None:
    """The uppermost file of a path, of several in a layer the last, through hard links."""
    assert identify(image, member=member).mime_type == expected


@pytest.mark.parametrize("member", ["none", "hidden", "dir/hidden", "opaque/old", "was/file", "loop", "logo/x", "\0"])
def test_files_that_are_not_there(image: str, member: str) -> None:
    """What a layer removed, or a file took the place of, is not found below it; nor are links in circles."""
    with pytest.raises(BlobNotFoundError, match="no file"):
        identify(image, member=member)


def test_blobs_of_an_image(image: str) -> None:
    """A blob by its digest, a file in one layer, the image by a reference or through an index."""
    with parse_image_name(image).new_image_source() as source:
        manifest = json.loads(source.get_manifest()[0])
    first, *_, last = [layer["digest"] for layer in manifest["layers"]]
    found = identify(image, digest=first)
    assert found.mime_type == "application/gzip"
    assert found.content is not None
    assert found.content.mime_type == "application/x-tar"
    assert identify(image, digest=manifest["config"]["digest"]).mime_type in {"application/json", "text/plain"}
    assert identify(parse_image_name(image), digest=first, member="hidden").mime_type == "text/x-shellscript"
    with pytest.raises(BlobNotFoundError):
        identify(image, digest=last, member="hidden")
    with pytest.raises(BlobNotFoundError):
        identify(image, digest=digest_of(b"none"))
    with pytest.raises(InvalidDigestError):
        identify(image, digest="sha256:../x")
    with pytest.raises(LayoutError):
        identify(image, digest=manifest["config"]["digest"], member="x")
    with pytest.raises(TypeError, match="digest="):
        identify(parse_image_name(image))
    with pytest.raises(TypeError, match="expected an image"):
        identify(b"", member="x")


def test_a_bomb_is_bounded(tmp_path: Path) -> None:
    """A layer that grows without end is given up."""
    large = tarfile.TarInfo("large")
    large.size = 299 << 20
    store = Store()
    zeros = gzip.compress(bytes(1 << 20), 9)
    layer = store.blob(OCI_LAYER, gzip.compress(large.tobuf(tarfile.PAX_FORMAT)) + zeros * 299)
    path = store.layout(tmp_path / "l", {"x": store.image(extra={"layers": [layer]})})
    with pytest.raises(LimitExceededError):
        identify(f"oci:{path}", member="x")


def test_without_libmagic() -> None:
    """The call that needs it says what to install; everything else works without."""
    script = """
import sys
sys.modules["magic"] = None
from ocikit import image
from ocikit.errors import MissingDependencyError
try:
    image.identify(b"")
except MissingDependencyError as error:
    assert "libmagic1" in str(error) and isinstance(error, ImportError)
    print("said")
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "said\n"
