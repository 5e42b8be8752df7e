"""Work that a few threads share: all of it is done, the first error ends it, and no thread is left."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from ocikit.image.layout.parallel import in_parallel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def test_everything_is_done_once() -> None:
    """Each item is taken by one thread, and only answers are returned."""

    def work(item: int, go_on: Callable[[], None]) -> int | None:
        go_on()
        return item if item % 2 else None

    assert sorted(in_parallel(range(1000), work, 4)) == list(range(1, 1000, 2))
    assert in_parallel([], work) == []


def test_the_first_error_ends_the_work() -> None:
    """The others stop where they are, nothing is begun after it, and the caller gets it."""
    taken: list[int] = []
    waiting = threading.Event()

    def items() -> Iterator[int]:
        for number in range(1_000_000):
            taken.append(number)
            yield number

    def work(item: int, go_on: Callable[[], None]) -> None:
        if item == 0:
            waiting.wait(10)
            raise KeyError("this one")
        waiting.set()
        while True:
            go_on()

    before = threading.active_count()
    with pytest.raises(KeyError, match="this one"):
        in_parallel(items(), work, 2)
    assert taken == [0, 1]
    assert threading.active_count() == before


def test_items_that_cannot_be_listed() -> None:
    """What goes wrong while the next item is looked for reaches the caller, too."""

    def items() -> Iterator[int]:
        yield 1
        raise OSError("unreadable")

    with pytest.raises(OSError, match="unreadable"):
        in_parallel(items(), lambda item, _: item, 3)
