"""Files that are appended to, through memory and past it: every byte in its place, whatever came in which pieces."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from partial_pulls import noise

from ocikit._fs import Descriptor
from ocikit.image.layout import appending
from ocikit.image.layout.appending import Appender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MIB = 1 << 20
DATA = noise(7, 5 * MIB + 1234)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mebibyte is large."""
    monkeypatch.setattr(appending, "_LARGE", MIB)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Descriptor]:
    """An empty file."""
    with opened(tmp_path) as found:
        yield found


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount file systems; they are gone at the end."""
    places: list[Path] = []

    def mount(kind: str, *options: str) -> Path:
        place = tmp_path / kind
        place.mkdir()
        subprocess.run(["mount", "-t", kind, *options, "ocikit-test", str(place)], check=True)
        places.append(place)
        return place

    yield mount
    for place in places:
        subprocess.run(["umount", str(place)], check=True)


def opened(directory: Path) -> Descriptor:
    """Make a file."""
    return Descriptor(os.open(directory / "file", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def is_direct(file: Descriptor) -> bool:
    """Say whether a file is written past memory now."""
    return bool(fcntl.fcntl(file.fd, fcntl.F_GETFL) & os.O_DIRECT)


def content(file: Descriptor) -> bytes:
    """Return all that is in a file, as others read it."""
    with open(f"/proc/self/fd/{file.fd}", "rb") as other:
        return other.read()


def pieces(chance: random.Random, data: bytes) -> Iterator[bytes]:
    """Cut some bytes at random."""
    usual = chance.choice([100_000, MIB, 3 * MIB])
    while data:
        size = chance.choice([1, 4096, chance.randint(1, usual), usual])
        yield data[:size]
        data = data[size:]


@pytest.mark.parametrize("expected", [-1, 0, len(DATA)], ids=["unknown", "wrong", "known"])
@pytest.mark.parametrize("start", [0, 1, 4096, 70_000, MIB + 1])
def test_any_pieces_after_any_start(file: Descriptor, start: int, expected: int) -> None:
    """What was there, and what was appended in whatever pieces."""
    for seed in range(5):
        os.ftruncate(file.fd, 0)
        os.pwrite(file.fd, DATA[:start], 0)
        with Appender(file.fd, start, expected) as appender:
            for piece in pieces(random.Random(seed), DATA[start:]):  # noqa: S311 - only has to be the same every time
                appender.write(piece)
            assert is_direct(file)
        assert not is_direct(file)
        assert content(file) == DATA


def test_what_is_small_stays_in_memory(file: Descriptor) -> None:
    """Nothing is gathered of what is no more than a little: it is in the file at once."""
    appender = Appender(file.fd)
    appender.write(DATA[: MIB - 1])
    assert content(file) == DATA[: MIB - 1]
    assert not is_direct(file)


def test_what_is_known_to_be_large_never_goes_through_memory(file: Descriptor) -> None:
    """It begins with the first byte."""
    appender = Appender(file.fd, expected=len(DATA))
    appender.write(DATA[:1])
    assert is_direct(file)
    assert content(file) == b""
    appender.flush()
    assert content(file) == DATA[:1]


def test_flush_in_the_middle(file: Descriptor) -> None:
    """Others see all of it then, and more can be appended."""
    appender = Appender(file.fd, expected=len(DATA))
    for start in range(0, len(DATA), 700_001):
        appender.write(DATA[start : start + 700_001])
        appender.flush()
        assert content(file) == DATA[: start + 700_001]


def test_who_waits_sees_it_grow(file: Descriptor) -> None:
    """From a slow connection, too: what came is in the file a second later, but for less than a block."""
    appender = Appender(file.fd, expected=len(DATA))
    appender.write(DATA[:10_000])
    time.sleep(1.1)
    appender.write(DATA[10_000:10_001])
    assert content(file) == DATA[:8192]
    appender.flush()
    assert content(file) == DATA[:10_001]


def test_everything_stays_when_something_goes_wrong(file: Descriptor) -> None:
    """Whoever goes on finds all that came."""

    def append() -> None:
        with Appender(file.fd, expected=len(DATA)) as appender:
            appender.write(DATA[:123_456])
            raise KeyError

    with pytest.raises(KeyError):
        append()
    assert content(file) == DATA[:123_456]
    assert not is_direct(file)


def test_a_file_system_that_cannot_do_it(mounted: Callable[..., Path]) -> None:
    """Everything goes through memory."""
    with opened(mounted("ramfs")) as file, Appender(file.fd, expected=len(DATA)) as appender:
        with pytest.raises(OSError, match="Invalid argument"):
            fcntl.fcntl(file.fd, fcntl.F_SETFL, os.O_DIRECT)
        appender.write(DATA)
        assert content(file) == DATA


def test_a_device_that_has_larger_blocks(file: Descriptor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first write is refused, and everything goes through memory: here it is our blocks that are too small."""
    monkeypatch.setattr(appending, "_BLOCK", 100)
    with Appender(file.fd, 100, len(DATA)) as appender:
        os.pwrite(file.fd, DATA[:100], 0)
        for start in range(100, len(DATA), 300_000):
            appender.write(DATA[start : start + 300_000])
        assert not is_direct(file)
    assert content(file) == DATA


@pytest.mark.parametrize("size", ["2m", "3m"])
def test_a_disk_that_is_full(mounted: Callable[..., Path], size: str) -> None:
    """It says so, and keeps what there was room for."""
    with opened(mounted("tmpfs", "-o", f"size={size}")) as file:

        def append() -> None:
            with Appender(file.fd, expected=len(DATA)) as appender:
                for start in range(0, len(DATA), 300_000):
                    appender.write(DATA[start : start + 300_000])

        with pytest.raises(OSError, match="No space") as caught:
            append()
        assert caught.value.errno == errno.ENOSPC
        found = content(file)
        assert found
        assert DATA.startswith(found)
