"""Tar streams put together from tar-splits: whatever was taken apart comes back, however it is read."""

from __future__ import annotations

import base64
import io
import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocikit._fs import DIRECTORY, Descriptor
from ocikit.image.storage.tar_split import TarSplitStream

#: Pieces of a stream: what stands in the tar-split, and what stands in files.
PIECES = st.lists(st.tuples(st.booleans(), st.binary(max_size=300)), max_size=12)


def taken_apart(place: Path, pieces: list[tuple[bool, bytes]]) -> bytes:
    """Write the files of some pieces into a directory, and return their tar-split."""
    lines = []
    for number, (is_file, data) in enumerate(pieces):
        if is_file:
            name = os.fsencode(f"file-{number}-") + (b"\xff" if number % 2 else b"")
            (place / os.fsdecode(name)).write_bytes(data)
            named = {"name_raw": base64.b64encode(name).decode()} if number % 2 else {"name": name.decode()}
            lines.append({"type": 1, **named, "size": len(data), "position": number})
        else:
            lines.append({"type": 2, "payload": base64.b64encode(data).decode(), "position": number})
    return "".join(f"{json.dumps(line)}\n" for line in lines).encode()


def stream_of(place: Path, split: bytes) -> TarSplitStream:
    """Open the stream."""
    return TarSplitStream(io.BytesIO(split), Descriptor(os.open(place, DIRECTORY)), "layer")


@given(pieces=PIECES, sizes=st.lists(st.integers(1, 400), min_size=1, max_size=5))
def test_any_stream(pieces: list[tuple[bool, bytes]], sizes: list[int]) -> None:
    """Segments and files come back in their order, in pieces of any sizes, never more than asked for and never none."""
    with tempfile.TemporaryDirectory() as name:
        split = taken_apart(Path(name), pieces)
        whole = b"".join(data for _, data in pieces)
        with stream_of(Path(name), split) as stream:
            assert stream.read() == whole
            assert stream.read(5) == b""
        with stream_of(Path(name), split.rstrip(b"\n")) as stream:
            found: list[bytes] = []
            while data := stream.read(sizes[len(found) % len(sizes)]):
                assert len(data) <= sizes[len(found) % len(sizes)]
                found.append(data)
            assert b"".join(found) == whole


@pytest.mark.parametrize("size", [1, 1 << 18, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_around_the_sizes_of_buffers(tmp_path: Path, size: int) -> None:
    """Files and segments larger than any buffer, and as large, are whole; lines longer than one, too."""
    pieces = [(False, bytes(512)), (True, os.urandom(size)), (False, os.urandom(size)), (True, b""), (False, b"end")]
    with stream_of(tmp_path, taken_apart(tmp_path, pieces)) as stream:
        assert stream.read() == b"".join(data for _, data in pieces)


def test_closing_early(tmp_path: Path) -> None:
    """A stream that is closed in the middle of a file gives its descriptors back; closing twice is nothing."""
    split = taken_apart(tmp_path, [(True, bytes(3_000_000))])
    before = os.listdir("/proc/self/fd")
    stream = stream_of(tmp_path, split)
    assert stream.read(10) == bytes(10)
    stream.close()
    stream.close()
    assert os.listdir("/proc/self/fd") == before


def test_a_file_that_shrinks(tmp_path: Path) -> None:
    """A file that becomes shorter while it is read is an error, not a shorter file."""
    split = taken_apart(tmp_path, [(True, bytes(3_000_000))])
    with stream_of(tmp_path, split) as stream:
        assert stream.read(10)
        os.truncate(tmp_path / "file-0-", 2_000_000)
        with pytest.raises(ValueError, match="became shorter"):
            stream.read()
