"""The public face as a table, face.txt: one line for each name. ``make face`` writes it anew; read the diff then."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

__all__ = ["TABLE", "public_names", "public_rooms", "table"]

TABLE = Path(__file__).with_name("face.txt")


def public_rooms(name: str = "ocikit") -> dict[str, list[str]]:
    """Return the rooms that can be reached by public names, each with its ``__all__`` as it is written."""
    room = import_module(name)
    names = [*room.__all__]
    found = {name: names}
    for one in names:
        if isinstance(value := getattr(room, one), ModuleType) and hasattr(value, "__all__"):
            found |= public_rooms(value.__name__)
    return found


def public_names() -> list[str]:
    """Return every public name, in the form of the table."""
    return sorted(f"{room}: {name}" for room, names in public_rooms().items() for name in names)


def table() -> list[str]:
    """Return the lines of the table."""
    return TABLE.read_text().splitlines()


if __name__ == "__main__":
    TABLE.write_text("\n".join(public_names()) + "\n")
