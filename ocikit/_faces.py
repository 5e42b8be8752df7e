"""Faces of rooms: public names that are loaded when they are first used (PEP 562).

A room says in a table where each of its names is. What type checkers read stands beside it, under ``TYPE_CHECKING``.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["face"]


def face(room: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return what finds the names of a room, and what lists them: its ``__getattr__`` and ``__dir__``.

    Args:
        room: The room, by its ``__name__``.
        homes: Each public name, and the module of the room that holds it; a name that is a module of the room maps to
            itself.
    """

    def find(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        module = import_module(f"{room}.{home}")
        value = module if home == name else getattr(module, name)
        setattr(sys.modules[room], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[room]), *homes})

    return find, names
