"""Lists that clients keep under a tag, where others may change them at the same time.

A registry stores whatever comes last, and says nothing of what was there before: who reads a list, adds to it and puts
it back takes away what came in between. Threads of a process take turns. For everybody else there is no lock; so
whoever has put a list looks after a while whether it still is as it was put, and changes it again when it is not.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final

from ocikit._fs import ProcessLocks
from ocikit.errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["change_list"]

_TURNS: Final = 64
_TRIES: Final = 30
# Who has read the list before it was put has put its own by then, unless it is several times slower than this one.
_LATER: Final = 3.0
_SHORTEST_WAIT: Final = 0.02
_LONGEST_WAIT: Final = 2.0

_turns = ProcessLocks(_TURNS)


def change_list(where: str, is_done: Callable[[], bool], change: Callable[[], object]) -> None:
    """Change a list, so that it is still changed after others have changed it.

    Args:
        where: Where the list is: the tag and the repository.
        is_done: Reads the list, and says whether it is as it is to be.
        change: Reads the list, changes it and puts it back.

    Raises:
        RegistryError: Others put lists without the change again and again; or as ``is_done`` and ``change`` give it.
    """
    for _ in range(_TRIES):
        with _turns.of(where):
            began = time.monotonic()
            if is_done():
                return
            change()
            took = time.monotonic() - began
        # By chance, too: those who took it from each other do not do so again at the same moment.
        wait = took * _LATER * random.uniform(1.0, 2.0)  # noqa: S311 - no secret
        time.sleep(min(max(wait, _SHORTEST_WAIT), _LONGEST_WAIT))
    if not is_done():
        raise RegistryError(
            f"list {where}",
            f"others have put it without what was changed here, {_TRIES} times",
            remedy="try again when fewer write to it, or use a registry with the API for referrers",
        )
