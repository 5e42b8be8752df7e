"""Interrupted with several images at a time, a synchronisation ends: soon, and with nobody who goes on in secret."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from builders import Store, names_in

from ocikit.image import FoundImage, ImageReference, ImageTransport, Policy, sync
from ocikit.image.syncing import engine
from ocikit.image.transports.directory import DirectoryReference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ocikit.image import BlobInfo, ByteStream, ImageSource, SystemContext

ANY = Policy.insecure_accept_anything()


class _Stalling(ImageTransport):
    """A directory of ``dir`` images whose blobs do not come before they are let go."""

    name = "stalling"

    def __init__(self) -> None:
        self.lets_go = threading.Event()
        self.asked = threading.Event()

    def parse_reference(self, reference: str) -> ImageReference:
        return _Stalled(path=reference, resolved=os.path.realpath(reference))

    def validate_policy_configuration_scope(self, scope: str) -> None:
        raise ValueError(scope)

    def list_images(self, place: str, sys: object = None) -> Iterator[FoundImage]:
        """List them, in the order of their names."""
        del sys
        for name in sorted(os.listdir(place)):
            yield FoundImage(reference=self.image_in(place, name), name=name)

    def image_in(self, place: str, name: str) -> ImageReference:
        """Return one."""
        return self.parse_reference(f"{place}/{name}")


class _Stalled(DirectoryReference):
    @property
    def transport(self) -> ImageTransport:
        return STALLING

    def new_image_source(self, sys: SystemContext | None = None) -> ImageSource:
        source = super().new_image_source(sys)
        get_blob = source.get_blob

        def waiting(info: BlobInfo) -> tuple[ByteStream, int]:
            STALLING.asked.set()
            STALLING.lets_go.wait(60)
            return get_blob(info)

        vars(source)["get_blob"] = waiting
        return source


STALLING = _Stalling()


def workers() -> list[threading.Thread]:
    """Return the threads of synchronisations."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("ocikit-sync")]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[ImageReference]:
    """Make a place that stalls; at the end it lets go and everybody is done."""
    (tmp_path / "in").mkdir()
    for number in range(6):
        store = Store()
        store.directory(tmp_path / "in" / f"app{number}", store.image({"n": b"%d" % number}, platform=False))
    STALLING.lets_go.clear()
    STALLING.asked.clear()
    yield STALLING.parse_reference(str(tmp_path / "in"))
    STALLING.lets_go.set()
    for thread in workers():
        thread.join(30)


def test_while_the_source_stalls(place: ImageReference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a source that says nothing, and what it says afterwards makes no image."""
    monkeypatch.setattr(engine, "_PATIENCE", 0.2, raising=False)

    def interrupt() -> None:
        STALLING.asked.wait(30)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        # Else a call that waits for the source would never come back.
        STALLING.lets_go.wait(5)
        STALLING.lets_go.set()

    helper = threading.Thread(target=interrupt)
    helper.start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        sync(ANY, source=place, dest=tmp_path / "out", max_images=2)
    took = time.monotonic() - begun
    STALLING.lets_go.set()
    helper.join(30)
    for thread in workers():
        thread.join(30)
    assert took < 4
    assert not (tmp_path / "out" / "index.json").exists() or names_in(tmp_path / "out") == []


def test_while_images_are_handed_out(place: ImageReference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt between two images leaves nobody at work when it arrives at the caller."""
    submit = ThreadPoolExecutor.submit
    count = 0

    def interrupted(self: ThreadPoolExecutor, *arguments: Any) -> Any:
        nonlocal count
        future = submit(self, *arguments)
        if self._thread_name_prefix == "ocikit-sync" and (count := count + 1) == 2:
            STALLING.asked.wait(30)
            threading.Timer(0.3, STALLING.lets_go.set).start()
            raise KeyboardInterrupt
        return future

    monkeypatch.setattr(ThreadPoolExecutor, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sync(ANY, source=place, dest=tmp_path / "out", max_images=2)
    there = names_in(tmp_path / "out") if (tmp_path / "out" / "index.json").exists() else []
    for thread in workers():
        thread.join(30)
    assert there == []
    assert not (tmp_path / "out" / "index.json").exists() or names_in(tmp_path / "out") == []
