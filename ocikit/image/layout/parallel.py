"""Much of one kind of work, by a few threads: what takes its time in calls that let the others run."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Stopped", "in_parallel"]

T = TypeVar("T")
R = TypeVar("R")

_MOST_THREADS: Final = 8


class Stopped(Exception):  # noqa: N818 - never leaves a thread of this room: nobody waits for its work any more
    """The work is not wanted any more."""


def in_parallel(
    items: Iterable[T], work: Callable[[T, Callable[[], None]], R | None], threads: int | None = None
) -> list[R]:
    """Do some work for each item, and return what came of it where that is not None, in no order.

    Args:
        items: The items; taken one at a time.
        work: The work for an item. It calls its second argument now and then, which raises when an other thread
            failed or the caller was interrupted.
        threads: How many threads; None for as many as there are processors, up to eight.

    Raises:
        Exception: The first that the work raised; nothing more was begun after it.
    """
    waiting, results, failed = iter(items), list[R](), list[BaseException]()
    lock, stop = threading.Lock(), threading.Event()

    def go_on() -> None:
        if stop.is_set():
            raise Stopped

    def run() -> None:
        try:
            while not stop.is_set():
                with lock:
                    item = next(waiting)
                result = work(item, go_on)
                if result is not None:
                    results.append(result)
        except (StopIteration, Stopped):
            return
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the caller
            failed.append(error)
            stop.set()

    count = threads if threads is not None else min(os.cpu_count() or 1, _MOST_THREADS)
    running = [threading.Thread(target=run, name="ocikit layout", daemon=True) for _ in range(count)]
    try:
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    finally:
        stop.set()
        for thread in running:
            if thread.ident is not None:
                thread.join()
    if failed:
        raise failed[0]
    return results
