"""A shorter program that decides the same: the kernel checks, translates and compiles every instruction, each time.

libseccomp compares the number of a system call with one number after the other. Most neighbours come to the same end,
so it is enough to find between which two ends of such a range a number lies. All comparisons that follow each other are
followed for every value that there is; what comes of it is a list of ranges, which becomes a tree of comparisons again.
What does anything but compare stays as it is, and so does a program with an instruction that is not known here.

Pure: instructions (struct sock_filter, linux/filter.h) become instructions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit._tuples import NamedTuple
from ocikit.runtime.seccomp.stub import INSTRUCTION

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["shorten"]

# Codes (linux/bpf_common.h): load a word; keep some bits of it; jump; compare it with the value; return the value.
_LOAD: Final = 0x20
_AND: Final = 0x54
_JUMP: Final = 0x05
_IF_EQUAL: Final = 0x15
_IF_GREATER: Final = 0x25
_IF_AT_LEAST: Final = 0x35
_IF_ANY_BIT: Final = 0x45
_RETURN: Final = 0x06

_COMPARING: Final = frozenset({_IF_EQUAL, _IF_GREATER, _IF_AT_LEAST})
_KNOWN: Final = _COMPARING | {_LOAD, _AND, _JUMP, _IF_ANY_BIT, _RETURN}

_HIGHEST: Final = 0xFFFF_FFFF
_FARTHEST: Final = 0xFF  # a comparison jumps no further

#: How many comparisons are followed, for each instruction. A tree takes two or three; a long list, which libseccomp
#: before 2.5 writes, would take as many as there are in it, and stays as it is.
_FOLLOWED: Final = 16


class _Range(NamedTuple):
    """Values from this one on, up to those of the next range, and what is done with them: an instruction's number."""

    first: int
    end: int


def shorten(program: bytes) -> bytes:
    """Return a program that returns the same for everything that it is given, and is no longer."""
    instructions = list(INSTRUCTION.iter_unpack(program))
    if not instructions or any(one[0] not in _KNOWN for one in instructions):
        return program
    shortening = _Shortening(instructions)
    return min(shortening.whole(), program, key=len) if shortening.is_worth_it() else program


class _Shortening:
    """A program as it is written anew, from its end: whatever is jumped to is there before the jump."""

    def __init__(self, instructions: Sequence[tuple[int, int, int, int]]) -> None:
        self._old = instructions
        # The last of all that are the same: it is written before whatever leads to one of them.
        self._last = {one: number for number, one in enumerate(instructions)}
        #: The new instructions, the last one first.
        self._new: list[bytes] = []
        #: How many new instructions there are from the one on that an old one has become.
        self._written: dict[int, int] = {}
        #: What comes of the comparisons that begin with an instruction.
        self._ranges: dict[int, list[_Range]] = {}
        self._left = _FOLLOWED * len(instructions)
        self._needed = self._find_needed()

    def is_worth_it(self) -> bool:
        """Tell whether all comparisons could be followed."""
        return self._left > 0

    def whole(self) -> bytes:
        """Return the new program."""
        # Jumps lead forward: from the end on, what an instruction leads to is written before it.
        for number in sorted(self._needed, reverse=True):
            self._written[number] = self._write(number)
        return b"".join(reversed(self._new))

    def _find_needed(self) -> set[int]:
        """Return the instructions that are reached, without comparisons in the middle of others."""
        found: set[int] = set()
        waiting = [self._at(0)]
        while waiting and self._left > 0:
            number = waiting.pop()
            if number not in found:
                found.add(number)
                waiting += self._ends(number)
        return found

    def _ends(self, number: int) -> list[int]:
        """Return which instructions may follow one, or the comparisons that begin with it."""
        code, then, otherwise, _ = self._old[number]
        if code == _RETURN:
            return []
        if code == _IF_ANY_BIT:
            return [self._at(number + 1 + then), self._at(number + 1 + otherwise)]
        if code not in _COMPARING:
            return [self._at(number + 1)]
        ranges = self._ranges[number] = self._follow(number)
        return [one.end for one in ranges]

    def _at(self, number: int) -> int:
        """Return an instruction, or where a jump leads that is there."""
        while self._old[number][0] == _JUMP:
            number += 1 + self._old[number][3]
        return self._same(number)

    def _follow(self, number: int) -> list[_Range]:
        """Follow comparisons, from one on, with every value; return what becomes of them, from 0 on."""
        found: list[_Range] = []
        waiting = [(number, 0, _HIGHEST)]
        while waiting and self._left > 0:
            self._left -= 1
            at, low, high = waiting.pop()
            code, then, otherwise, value = self._old[at]
            if code not in _COMPARING:
                if not found or found[-1].end != at:
                    found.append(_Range(low, at))
                continue
            # It is true from ``first`` to ``last``. What is pushed last, the lowest, is looked at first.
            first = value + 1 if code == _IF_GREATER else value
            last = value if code == _IF_EQUAL else _HIGHEST
            yes, no = self._at(at + 1 + then), self._at(at + 1 + otherwise)
            if high > last:
                waiting.append((no, max(low, last + 1), high))
            if low <= last and high >= first:
                waiting.append((yes, max(low, first), min(high, last)))
            if low < first:
                waiting.append((no, low, min(high, first - 1)))
        return found

    def _same(self, number: int) -> int:
        """Return one instruction for all that return the same value."""
        one = self._old[number]
        return self._last[one] if one[0] == _RETURN else number

    def _write(self, number: int) -> int:
        code, then, otherwise, value = self._old[number]
        if code in _COMPARING:
            return self._tree(self._ranges[number])
        if code == _IF_ANY_BIT:
            yes, no = (self._written[self._at(number + 1 + step)] for step in (then, otherwise))
            return self._branch(code, value, yes, no)
        if code != _RETURN:
            self._continue_at(self._written[self._at(number + 1)])
        return self._add(code, 0, 0, value)

    def _tree(self, ranges: Sequence[_Range]) -> int:
        """Write the comparisons that tell ranges apart."""
        if len(ranges) == 1:
            return self._written[ranges[0].end]
        middle = len(ranges) // 2
        above, below = self._tree(ranges[middle:]), self._tree(ranges[:middle])
        return self._branch(_IF_AT_LEAST, ranges[middle].first, above, below)

    def _branch(self, code: int, value: int, yes: int, no: int) -> int:
        # Two jumps at most come in between.
        near = len(self._new) - _FARTHEST + 2
        if no < near:
            no = self._add(_JUMP, 0, 0, len(self._new) - no)
        if yes < near:
            yes = self._add(_JUMP, 0, 0, len(self._new) - yes)
        return self._add(code, len(self._new) - yes, len(self._new) - no, value)

    def _continue_at(self, place: int) -> None:
        if place != len(self._new):
            self._add(_JUMP, 0, 0, len(self._new) - place)

    def _add(self, code: int, then: int, otherwise: int, value: int) -> int:
        self._new.append(INSTRUCTION.pack(code, then, otherwise, value))
        return len(self._new)
