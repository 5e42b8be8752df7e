"""What follows from a part of a configuration, found out once.

The classes of the specifications are frozen, and a service starts the same configuration again and again. What is
computed from one of their objects, and from nothing else, is kept for as long as that object lives.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Once"]

K = TypeVar("K")
V = TypeVar("V")


class Once(Generic[K, V]):
    """A function of one object that remembers what it returned for it; an error is not remembered.

    Objects are told apart by identity: to compare them would cost as much as to compute.
    """

    def __init__(self, compute: Callable[[K], V]) -> None:
        self._compute = compute
        self._found: dict[int, tuple[weakref.ref[K], V]] = {}

    def __call__(self, of: K) -> V:
        """Return what follows from an object."""
        key = id(of)
        known = self._found.get(key)
        if known is not None and known[0]() is of:
            return known[1]
        value = self._compute(of)
        found = self._found

        def forget(reference: weakref.ref[K]) -> None:
            # The number may be that of another object by now, of which something is known, too.
            entry = found.get(key)
            if entry is not None and entry[0] is reference:
                del found[key]

        found[key] = weakref.ref(of, forget), value
        return value
