"""Headers of tar files that are written here, as GNU tar, Python and our own reader see them."""

from __future__ import annotations

import io
import subprocess
import tarfile

import pytest

from ocikit.image.tar import TarReader, TarType
from ocikit.image.tar_writer import TAR_END, padding, tar_header


@pytest.mark.parametrize("name", ["a", "x" * 100, "x" * 101, "d/" * 120 + "f", "ü" * 60])
def test_names(name: str) -> None:
    """Names of any length come back, from us, from Python and from GNU tar."""
    data = (
        tar_header(name, 3, mode=0o600, mtime=12) + b"abc" + padding(3) + tar_header("dir/", None, mode=0o755) + TAR_END
    )
    file, directory = TarReader(io.BytesIO(data))
    assert (file.name, file.size, file.mode, file.mtime_ns) == (name.encode(), 3, 0o600, 12 * 10**9)
    assert (directory.name, directory.type, directory.size) == (b"dir/", TarType.DIRECTORY, 0)
    with tarfile.open(fileobj=io.BytesIO(data)) as peer:
        found = peer.getmember(name)
        content = peer.extractfile(found)
        assert content is not None
        assert content.read() == b"abc"
    listed = subprocess.run(["tar", "--quoting-style=literal", "-tf", "-"], input=data, capture_output=True, check=True)
    assert listed.stdout.decode().split("\n") == [name, "dir/", ""]


@pytest.mark.parametrize("size", [0, 8**11 - 1, 8**11, 1 << 40])
def test_sizes(size: int) -> None:
    """Sizes from nothing to more than an old header holds come back."""
    header = tar_header("f", size, mode=0o644)
    reader = TarReader(io.BytesIO(header))
    assert next(reader).size == size
    with tarfile.open(fileobj=io.BytesIO(header)) as peer:
        found = peer.next()
        assert found is not None
        assert found.size == size
