"""Creation under fire: somebody kills a process of a creation at some moment, and nothing may be left of it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

from soak_leaks import Held, cgroups
from soak_lives import PATIENCE, describe

from ocikit import runtime
from ocikit._fs import Descriptor
from ocikit.errors import OCIKitError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from soak_lives import Life, Place

__all__ = ["under_fire"]


def under_fire(life: Life, place: Place) -> tuple[str, list[str]]:
    """Create a container while somebody shoots, once; the only creation of this process at that time.

    Args:
        life: Its lifetime counts, its program, and a twelfth of its delay.
        place: Where it is.

    Returns:
        What came of it, in a word or two; and what is not as it has to be.
    """
    before = Held.now()
    hits: list[str] = []
    sniper = threading.Thread(target=_shoot, args=(life.delay / 12, life.code, hits))
    faults: list[str] = []
    sniper.start()
    try:
        outcome = _create(life, place)
    except (OCIKitError, OSError) as error:
        outcome = type(error).__name__
        sniper.join()
        if not hits:
            faults.append(f"nobody was hit, and yet: {describe(error)}")
    except Exception as error:  # noqa: BLE001 - whatever it is, it belongs into the report
        outcome = "fault"
        faults.append(describe(error))
    sniper.join()
    faults += _left(life, place, before)
    what = f"{outcome} ({hits[0] if hits else 'missed'})"
    return what, [f"{life.name}, under fire, {what}: {fault}" for fault in faults]


def _create(life: Life, place: Place) -> str:
    container = runtime.create(
        place.root, life.name, place.bundle, spec=place.make_spec("true"), lifetime=life.lifetime, stdin="null"
    )
    try:
        with contextlib.suppress(OCIKitError):
            container.start()
        container.wait(PATIENCE)
    finally:
        container.destroy(force=True)
    return "created"


def _shoot(delay: float, choice: int, hits: list[str]) -> None:
    """Kill one of the processes below this one, after a moment."""
    time.sleep(delay)
    found = list(_descendants(os.getpid()))
    if not found:
        return
    pid, parent = found[choice % len(found)]
    with contextlib.suppress(OSError), Descriptor(os.pidfd_open(pid)) as process:
        # Now that it is held: is it still the one?
        if pid in _children(parent):
            with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                name = file.read().strip()
            hits.append(name)
            signal.pidfd_send_signal(process.fd, signal.SIGKILL)


def _descendants(pid: int) -> Iterator[tuple[int, int]]:
    for child in _children(pid):
        yield child, pid
        yield from _descendants(child)


def _children(pid: int) -> list[int]:
    """Return the children of all threads of a process."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
    return found


def _left(life: Life, place: Place, before: Held) -> list[str]:
    """Return what is left of the container; what is about to go is waited for."""
    deadline = time.monotonic() + PATIENCE / 10
    while True:
        left = [path for path in (f"{place.root}/{life.name}", *cgroups(life.name)) if os.path.exists(path)]
        left += [f"child {pid}" for pid in _children(os.getpid())]
        left += Held.now().more_than(before)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)
