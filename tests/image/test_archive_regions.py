"""Parts of files after their file was closed, and the thread that writes behind the reader when that is interrupted."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
from builders import digest_of
from moving import put
from saved import pack

from ocikit.errors import DigestMismatchError, LayoutError
from ocikit.image import BlobInfo, parse_image_name
from ocikit.image.archive.members import Members
from ocikit.image.archive.regions import Spool
from ocikit.spec import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CONTENT = bytes(4 << 20)
WHAT = {"digest": Digest(digest_of(CONTENT)), "size": len(CONTENT)}


class Interrupted(KeyboardInterrupt):
    """Ctrl-C."""


@pytest.fixture
def interrupts() -> Iterator[Callable[[], None]]:
    """Have Ctrl-C come soon, and again and again."""

    def handler(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, handler)

    def start() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.5, 0.1)

    yield start
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def slow(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, list[int]]:
    """Have a disk that waits for the event, and lists what it was made to write."""
    gate, written, real = threading.Event(), list[int](), os.pwrite

    def pwrite(fd: int, data: Any, position: int) -> int:
        if threading.current_thread().name == "ocikit-archive":
            gate.wait()
            written.append(position)
        return real(fd, data, position)

    monkeypatch.setattr(os, "pwrite", pwrite)
    return gate, written


def test_nothing_is_written_after_an_interrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupts: Callable[[], None]
) -> None:
    """Ctrl-C while the last pieces are awaited ends the thread: what is opened afterwards is not written into."""
    destination = parse_image_name(f"oci-archive:{tmp_path}/a:x").new_image_destination()
    gate, written = slow(monkeypatch)
    opener = threading.Timer(1, gate.set)
    opener.start()
    interrupts()
    with pytest.raises(Interrupted):
        put(destination, CONTENT, **WHAT)
    signal.setitimer(signal.ITIMER_REAL, 0)
    left = [thread for thread in threading.enumerate() if thread.name == "ocikit-archive"]
    destination.close()
    victims = [(tmp_path / f"victim{number}").open("w+b") for number in range(8)]
    opener.join()
    for thread in left:
        thread.join()
    sizes = [os.fstat(victim.fileno()).st_size for victim in victims]
    for victim in victims:
        victim.close()
    assert sizes == [0] * len(victims)
    assert left == []
    assert len(written) <= 1  # the one that the disk had by then


def test_a_failure_does_not_wait_for_what_is_queued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is queued when the content proves to be wrong is thrown away."""
    gate, written = slow(monkeypatch)
    opener = threading.Timer(0.3, gate.set)
    with contextlib.closing(Spool(str(tmp_path))) as spool:
        opener.start()
        with pytest.raises(DigestMismatchError):
            spool.put(io.BytesIO(CONTENT), BlobInfo(digest=Digest(digest_of(b"")), size=len(CONTENT)), "it")
    opener.join()
    assert len(written) <= 1  # as above


def test_parts_of_a_closed_file(tmp_path: Path) -> None:
    """Who asks for a part of a file that was closed is told so, and gets nothing of what has its number now."""
    (tmp_path / "a").write_bytes(pack([("file", b"content")]))
    for origin in (str(tmp_path / "a"), io.BytesIO((tmp_path / "a").read_bytes())):
        with Members(origin, where="it") as members:
            region, pieces = members.find("file"), members.decompressed("file")
            early = region.open("early")
        others = [(tmp_path / "a").open("rb") for _ in range(8)]
        for opened in (region, pieces):
            with pytest.raises(LayoutError, match="it: the archive was closed"):
                opened.open("it")
        with early:
            assert early.read() == b"content"
        for other in others:
            other.close()


@pytest.mark.parametrize("size", [10, 100_000, 5_000_000])
def test_nothing_is_put_into_a_closed_archive(tmp_path: Path, size: int) -> None:
    """What is put after the end is refused; files that were opened meanwhile, and the archive, stay as they are."""
    for commits in (False, True):
        destination = parse_image_name(f"oci-archive:{tmp_path}/a:x").new_image_destination()
        if commits:
            destination.put_manifest(b'{"schemaVersion":2,"config":{},"layers":[]}')
            destination.commit()
        else:
            destination.close()
        before = (tmp_path / "a").read_bytes() if commits else b""
        with (tmp_path / "victim").open("w+b") as victim:
            content = bytes(size)
            with pytest.raises(LayoutError, match="committed or closed"):
                put(destination, content, digest=Digest(digest_of(content)), size=size)
            with pytest.raises(LayoutError, match="committed or closed"):
                put(destination, content)
            assert os.fstat(victim.fileno()).st_size == 0
        destination.close()
        if commits:
            assert (tmp_path / "a").read_bytes() == before
