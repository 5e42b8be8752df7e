"""The beginning of a filter: ENOSYS for system calls that are newer than its profile.

Whoever wrote a profile that refuses what it does not name could not name system calls that did not exist. A program
that gets EPERM for one of them gives up; with ENOSYS it takes the older one instead, as on an older kernel. New calls
get the next number, so that everything above the highest number that the profile names is new to it; and a filter
would refuse those anyway: the stub changes how, not what.

Pure: a table of numbers becomes instructions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.runtime.seccomp.codes import RET_ERRNO
from ocikit.runtime.seccomp.instructions import (
    ARCHITECTURE,
    IF_AT_LEAST,
    IF_EQUAL,
    IF_GREATER,
    INSTRUCTION,
    JUMP,
    LOAD,
    MODES,
    NO_LIMIT,
    NUMBER,
    RETURN,
    step,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["enosys_stub"]

_ENOSYS: Final = 38


def enosys_stub(known: Mapping[int, Iterable[int]]) -> bytes:
    """Return instructions that go in front of a filter; what is not new to the profile falls through to it.

    Args:
        known: The numbers of the system calls that the profile names, by libseccomp's number of the architecture.
            Architectures whose programs do not run here are left out, and so are those without any number.
    """
    newer: dict[int, list[tuple[int, int]]] = {}
    for token, numbers in known.items():
        if token in MODES:
            mode = MODES[token]
            highest = max((number for number in numbers if 0 <= number < mode.limit), default=None)
            if highest is not None:
                newer.setdefault(mode.audit, []).append((highest, mode.limit))
    if not newer:
        return b""
    blocks: list[bytes] = []
    for audit, ranges in reversed(newer.items()):
        blocks.insert(0, _block(audit, ranges, behind=sum(map(len, blocks)) // INSTRUCTION.size))
    return b"".join([step(LOAD, ARCHITECTURE), *blocks])


def _block(audit: int, ranges: list[tuple[int, int]], behind: int) -> bytes:
    """Return what is done about one architecture; ``behind`` it are so many instructions of the others."""
    body = [step(LOAD, NUMBER)]
    for highest, limit in ranges:
        if limit == NO_LIMIT:
            body += [step(IF_GREATER, highest, otherwise=1), step(RETURN, RET_ERRNO | _ENOSYS)]
        else:
            body += [step(IF_GREATER, highest, otherwise=2), step(IF_AT_LEAST, limit, then=1)]
            body += [step(RETURN, RET_ERRNO | _ENOSYS)]
    if behind:
        body.append(step(JUMP, behind))
    # The accumulator holds the architecture still when the next block is reached from here.
    return b"".join([step(IF_EQUAL, audit, otherwise=len(body)), *body])
