"""What a helper is started with and spoken to by: a plan in a memory file, and a channel.

The names are those of ``wire.h``.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Final

from ocikit import _sys
from ocikit._fs import Descriptor, no_fork

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocikit.runtime.plan.steps import Plan

__all__ = ["SAID_FAILED", "SAID_PID", "SAID_READY", "SAID_SYNC", "is_readable", "open_pair", "say", "start"]

#: What helper and init say (``enum wire_said``).
SAID_PID: Final = 1
SAID_SYNC: Final = 2
SAID_READY: Final = 3
SAID_FAILED: Final = 4


def open_pair() -> tuple[Descriptor, Descriptor]:
    """Return the two ends of a new channel: ours, and that of the helper."""
    # A forked child of the host with a copy of their end would keep us from hearing the end of the conversation.
    with no_fork:
        ours, theirs = _sys.channel()
        return Descriptor(ours), Descriptor(theirs)


def start(
    process: _sys.Spawned, plan: Plan, theirs: Descriptor, stdio: tuple[int, int, int], passed: Mapping[int, int]
) -> None:
    """Start a helper with a plan.

    Args:
        process: Where the process is put.
        plan: What it is to do.
        theirs: Its end of the channel, which is closed here: when helper and init are gone, we read the end.
        stdio: Its standard input, output and error.
        passed: Descriptors that the plan works with, by :class:`~ocikit.runtime.plan.steps.Slot`.

    Raises:
        NotSupportedError: The helper cannot be run here.
        OSError: It could not be started.
    """
    slots = max(passed, default=-1) + 1
    with theirs, Descriptor(_sys.memory_file("ocikit-plan", plan.encode(slots))) as file:
        _sys.start_helper(process, [*stdio, file.fd, theirs.fd, *(passed.get(slot, -1) for slot in range(slots))])


def say(ours: Descriptor, word: bytes, *, fd: int | None = None, wait: bool = True) -> None:
    """Say a word to whoever is at the other end.

    Args:
        ours: Our end of the channel.
        word: The word.
        fd: A descriptor that goes along; it stays the caller's.
        wait: Whether to wait when there is no room.

    Raises:
        OSError: As sendmsg(2) gives it; ``EPIPE`` when nobody is there.
    """
    _sys.say(ours.fd, word, fd, wait=wait)


def is_readable(fd: int, milliseconds: int) -> bool:
    """Wait until there is something to be read from a descriptor, or nobody to write it; return whether there is."""
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    return bool(waiting.poll(milliseconds))
