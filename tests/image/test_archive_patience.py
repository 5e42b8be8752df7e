"""File objects that are not ready, not what they look like, or at their end."""

from __future__ import annotations

import contextlib
import io
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest
from builders import Store
from saved import pack

from ocikit.errors import LayoutError
from ocikit.image import Policy, archive_reference, copy, inspect
from ocikit.image.archive.members import Members

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ANY = Policy.insecure_accept_anything()
ARCHIVE = pack([("file", b"content" * 100_000)])


@pytest.fixture
def layout(tmp_path: Path) -> str:
    """Return the name of an image that no pipe has room for."""
    store = Store()
    return f"oci:{store.layout(tmp_path / 'layout', {'x': store.image({'a': os.urandom(1_500_000)})})}:x"


def written(layout: str, to: object) -> None:
    """Write an image to a file object."""
    copy.image(ANY, dest=archive_reference("oci-archive", to, "x"), src=layout)


@pytest.mark.parametrize("buffering", [0, 8192, 1 << 22])
def test_non_blocking_output(layout: str, buffering: int) -> None:
    """What has no room yet is waited for: everything arrives."""
    with io.BytesIO() as file:
        written(layout, file)
        expected = file.getvalue()
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    got: list[bytes] = []

    def slowly() -> None:
        while data := os.read(ours, 65536):
            got.append(data)
            time.sleep(0.001)

    thread = threading.Thread(target=slowly)
    with os.fdopen(theirs, "wb", buffering=buffering) as file2:
        thread.start()
        try:
            written(layout, file2)
        finally:
            with contextlib.suppress(OSError):
                file2.close()
            thread.join()
            os.close(ours)
    assert b"".join(got) == expected


class Answering:
    """Writes nothing, and says so in one way."""

    def __init__(self, answer: int | None, fd: int = -1) -> None:
        self.answer = answer
        self._fd = fd

    def write(self, data: bytes) -> int | None:
        """Write nothing."""
        del data
        return self.answer

    def fileno(self) -> int:
        """Return a descriptor that is blocking, or none."""
        if self._fd < 0:
            raise io.UnsupportedOperation
        return self._fd


def test_output_that_takes_nothing(layout: str, tmp_path: Path) -> None:
    """Nothing written, and nothing to wait for: an error, and no archive that is reported whole."""
    with (tmp_path / "file").open("wb") as file:
        for to in (Answering(None), Answering(None, file.fileno())):
            with pytest.raises(BlockingIOError, match=r"Answering.write\(\) says it would block"):
                written(layout, to)
    with pytest.raises(OSError, match=r"Answering.write\(\) writes nothing: it returned 0"):
        written(layout, Answering(0))


@pytest.mark.parametrize("buffering", [0, 8192])
def test_non_blocking_input(buffering: int) -> None:
    """What has nothing to read yet is waited for."""
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)

    def slowly() -> None:
        with os.fdopen(theirs, "wb", buffering=0) as out:
            for start in range(0, len(ARCHIVE), 50_000):
                time.sleep(0.01)
                out.write(ARCHIVE[start : start + 50_000])

    thread = threading.Thread(target=slowly)
    with os.fdopen(ours, "rb", buffering=buffering) as file:
        thread.start()
        try:
            with Members(file, where="it") as members, members.find("file").open("file") as stream:
                assert stream.read() == b"content" * 100_000
        finally:
            with contextlib.suppress(OSError):
                file.close()
            thread.join()


def test_input_that_has_nothing() -> None:
    """Nothing to read, and nothing to wait for, is an error."""

    class Nothing:
        def read(self, size: int = -1, /) -> None:
            del size

    with pytest.raises(BlockingIOError, match=r"Nothing.read\(\) says it would block"):
        Members(Nothing(), where="it")  # type: ignore[arg-type]


TABLE = bytes(byte ^ 1 for byte in range(256))


class RawFile(io.FileIO):
    """Gives out something else than what is in the file."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Translate what is in the file."""
        return (super().read(size) or b"").translate(TABLE)

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        """Translate what is in the file."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class BufferedFile(io.BufferedReader):
    """Gives out something else than what is in the file."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Translate what is in the file."""
        return super().read(size).translate(TABLE)


class Wrapped:
    """Gives out something else than what its file does, which it has under the name that buffers use."""

    def __init__(self, path: Path) -> None:
        self.raw = io.FileIO(path)
        self.tell = self.raw.tell
        self.close = self.raw.close

    def read(self, size: int = -1, /) -> bytes:
        """Translate what is in the file."""
        return (self.raw.read(size) or b"").translate(TABLE)


@pytest.mark.parametrize(
    "make",
    [RawFile, lambda path: BufferedFile(io.FileIO(path)), lambda path: io.BufferedReader(RawFile(path)), Wrapped],
    ids=["raw", "buffered", "buffer of raw", "wrapped"],
)
def test_derived_file_objects_are_read_by_their_methods(tmp_path: Path, make: Callable[[Path], RawFile]) -> None:
    """A class derived from those of io may decrypt, or count: it is read, and not the file behind it."""
    (tmp_path / "a").write_bytes(ARCHIVE.translate(TABLE))
    file = make(tmp_path / "a")
    with contextlib.closing(file), Members(file, where="it") as members, members.find("file").open("it") as stream:
        assert stream.read() == b"content" * 100_000


SAYS = {
    "oci-archive": "; there is nothing in it$",
    "docker-archive": "there is nothing in it, it is empty or was read to its end before",
}


@pytest.mark.parametrize("transport", sorted(SAYS))
def test_streams_with_nothing_in_them(tmp_path: Path, transport: str) -> None:
    """A stream that is empty, or was read before, says so."""
    (tmp_path / "a").write_bytes(ARCHIVE)
    (tmp_path / "empty").touch()
    with (tmp_path / "a").open("rb") as read, (tmp_path / "empty").open("rb") as empty:
        read.read()
        for file in (io.BytesIO(), read, empty):
            with pytest.raises(LayoutError, match=SAYS[transport]):
                inspect(archive_reference(transport, file))
