"""The part of a filter that lets pass what is allowed whatever its arguments are: most of most profiles.

libseccomp makes some instructions for each name and each architecture, and takes milliseconds for hundreds of them.
Numbers that are allowed lie next to each other, though: a search among the places where a run of them begins or ends
is made in no time, shorter, and done sooner with every system call. What it does not find is left to libseccomp's part.

Pure: names with their numbers become instructions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.runtime.seccomp.codes import ACTIONS
from ocikit.runtime.seccomp.instructions import (
    ARCHITECTURE,
    IF_AT_LEAST,
    IF_EQUAL,
    JUMP,
    LOAD,
    MODES,
    NUMBER,
    RETURN,
    step,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ocikit.runtime.seccomp.profile import Profile

__all__ = ["allowed_names", "allowing"]

_ALLOW: Final = ACTIONS["SCMP_ACT_ALLOW"].value

#: libseccomp's numbers for calls that an architecture does not have begin here and go down (seccomp-syscalls.h). Those
#: between it and 0 are parts of another call, which is told by an argument which part to do. It puts together what is
#: said about the parts and the whole.
_NO_SUCH_CALL: Final = -10000
_WHOLE: Final = frozenset({"ipc", "socketcall"})

#: How far a comparison can jump.
_FARTHEST: Final = 255

_ALLOWED: Final = step(RETURN, _ALLOW)


def allowed_names(profile: Profile, numbers: Mapping[int, Mapping[str, int]]) -> frozenset[str]:
    """Return the names about which nothing is to be said but that they are allowed, on each architecture.

    Args:
        profile: What says so.
        numbers: Those of its names, by libseccomp's number of the architecture: all that are filtered.
    """
    # Where everything is allowed that is not named, there is nothing to look for.
    if profile.default == _ALLOW or any(token not in MODES for token in numbers):
        return frozenset()
    names = {rule.name for rule in profile.rules} - _WHOLE
    names -= {rule.name for rule in profile.rules if rule.conditions or rule.action != _ALLOW}
    for known in numbers.values():
        names -= {name for name in names if _NO_SUCH_CALL < known.get(name, -1) < 0}
    return frozenset(names)


def allowing(numbers: Mapping[int, Iterable[int]]) -> bytes:
    """Return instructions that allow some system calls; all others fall through to what is behind.

    Args:
        numbers: Those that are allowed, by libseccomp's number of the architecture, which is one of :data:`MODES`.
    """
    merged: dict[int, set[int]] = {}
    for token, some in numbers.items():
        merged.setdefault(MODES[token].audit, set()).update(number for number in some if number >= 0)
    blocks: list[bytes] = []
    behind = 0
    for audit, allowed in reversed(merged.items()):
        if allowed:
            # The accumulator holds the architecture still when the next block is reached from here.
            body = [step(LOAD, NUMBER), *_search(_edges(allowed), behind, inside=False)]
            blocks[:0] = [step(IF_EQUAL, audit, then=1), step(JUMP, len(body)), *body]
            behind = len(blocks)
    return b"".join([step(LOAD, ARCHITECTURE), *blocks]) if blocks else b""


def _edges(numbers: set[int]) -> list[int]:
    """Return where runs of successive numbers begin and end: in turns the first of them, and the first behind them."""
    return sorted(numbers.symmetric_difference(number + 1 for number in numbers))


def _search(edges: list[int], behind: int, *, inside: bool) -> list[bytes]:
    """Return a search among numbers of which ``inside`` tells whether those below the first edge are allowed.

    Args:
        edges: From one to the next, numbers are allowed and not allowed in turns.
        behind: How many instructions there are between the search and what decides about what is not allowed.
        inside: As above.
    """
    if not edges:
        return [_ALLOWED if inside else step(JUMP, behind)]
    middle = len(edges) // 2
    high = _search(edges[middle + 1 :], behind, inside=inside ^ (middle % 2 == 0))
    low = _search(edges[:middle], behind + len(high), inside=inside)
    if len(low) <= _FARTHEST:
        return [step(IF_AT_LEAST, edges[middle], then=len(low)), *low, *high]
    return [step(IF_AT_LEAST, edges[middle], otherwise=1), step(JUMP, len(low)), *low, *high]
