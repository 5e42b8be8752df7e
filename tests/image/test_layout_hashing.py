"""Blobs are hashed by a thread of their own only where there is a processor for it; digests are right either way."""

from __future__ import annotations

import io
import os
import random
import threading
from typing import TYPE_CHECKING, Any

import pytest

from ocikit.image.layout.blobs import _active, _Hashing, receive
from ocikit.image.types import BlobInfo
from ocikit.spec import Digest

if TYPE_CHECKING:
    from collections.abc import Callable

CONTENT = random.Random(1).randbytes(20 << 20)  # noqa: S311 - only has to be the same every time


def received(look: Callable[[], object]) -> tuple[Digest, int]:
    """Receive a blob, and look at the threads in between."""
    written: list[bytes] = []

    def write(data: bytes) -> None:
        written.append(data)
        look()

    found = receive(io.BytesIO(CONTENT), BlobInfo(size=len(CONTENT)), write, "a blob")
    assert b"".join(written) == CONTENT
    return found


def hashing() -> bool:
    """Say whether a thread hashes."""
    return any(thread.name.startswith("ocikit-hash") for thread in threading.enumerate())


@pytest.mark.parametrize(("processors", "is_apart"), [(1, False), (2, True)])
def test_one_blob(monkeypatch: pytest.MonkeyPatch, processors: int, *, is_apart: bool) -> None:
    """One blob and two processors: a second thread. One processor: none. The digest is that of the content."""
    monkeypatch.setattr(_Hashing, "_processors", processors)
    seen: set[bool] = set()
    assert received(lambda: seen.add(hashing())) == (Digest.from_bytes(CONTENT), len(CONTENT))
    assert (True in seen) == is_apart
    assert not hashing()


def test_another_blob_takes_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """When another blob comes in the middle, what was handed over is hashed first, and the digest is right."""
    monkeypatch.setattr(_Hashing, "_processors", 2)
    others: list[Any] = []

    def another() -> None:
        if len(others) == 12:
            others[0].__enter__()
        others.append(_Hashing(len))

    try:
        assert received(another)[0] == Digest.from_bytes(CONTENT)
        assert len(_active) == 1
    finally:
        others[0].__exit__()
    assert not _active


def test_a_forked_child_begins_anew() -> None:
    """What its parent was at is nothing that it waits for."""
    with _Hashing(len):
        child = os.fork()
        if not child:
            os._exit(len(_active))
        assert os.waitpid(child, 0)[1] == 0
