"""What tests of containers in event loops have in common."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import time
from typing import TYPE_CHECKING, Any, TypeVar

from ocikit.runtime.cgroups.hierarchies import detect, place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ocikit.runtime import Container

__all__ = ["QUIET", "nothing_left", "nothing_left_but", "until"]

QUIET: dict[str, Any] = {"stdin": "null", "stdout": "null", "stderr": "null"}

T = TypeVar("T")


async def until(condition: Callable[[], T]) -> T:
    """Wait until a condition holds; give others a turn meanwhile."""
    async with asyncio.timeout(60):
        while not (found := condition()):  # noqa: ASYNC110 - the kernel sets no event
            await asyncio.sleep(0.001)
    return found


def _descriptors() -> set[tuple[str, str]]:
    """Return the open descriptors of this process, and what they are."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")
            if not target.startswith("/memfd:ocikit-helper") and not target.endswith("/fd"):
                found.add((name, target))
    return found


def _children() -> set[str]:
    found = set()
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError), open(f"/proc/self/task/{task}/children") as file:
            found.update(file.read().split())
    return found


@contextlib.contextmanager
def nothing_left(root: Path, *ids: str) -> Iterator[None]:
    """Hold that a block leaves no container, cgroup, process and descriptor; what is about to go is waited for."""
    before, children = _descriptors(), _children()
    paths = [path for name in ids for path in place(detect(), "", name).values()]

    def left() -> list[Any]:
        gc.collect()
        return [
            *(list(root.iterdir()) if root.exists() else ()),
            *filter(os.path.exists, paths),
            *(_descriptors() - before),
            *(_children() - children),
        ]

    yield
    deadline = time.monotonic() + 10
    while (more := left()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert more == []


@contextlib.contextmanager
def nothing_left_but(container: Container) -> Iterator[None]:
    """Hold that a block leaves nothing in a container but its first process, and no descriptor here."""
    before = _descriptors()

    def left() -> list[object]:
        gc.collect()
        return [*(pid for pid in container.processes() if pid != container.pid), *(_descriptors() - before)]

    yield
    deadline = time.monotonic() + 10
    while (more := left()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert more == []
