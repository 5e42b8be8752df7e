"""The environment of a program: that of the configuration, with a home directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["environment", "names_home"]

_NO_HOME = "HOME="


def names_home(entries: Sequence[str]) -> bool:
    """Tell whether an environment names a home directory; an empty one is none, as for runc."""
    return next((entry for entry in reversed(entries) if entry.startswith(_NO_HOME)), _NO_HOME) != _NO_HOME


def environment(entries: Sequence[str], home: str | None) -> list[str]:
    """Return the environment of a program.

    Of several entries of one name the last counts: the others are left out, because programs differ in which one
    they would see.

    Args:
        entries: Those of the configuration.
        home: The home directory of its user, for environments that name none; None to add none.
    """
    found: dict[str, str] = {}
    for entry in reversed(entries):
        found.setdefault(entry.partition("=")[0], entry)
    if home is None or names_home(entries):
        return list(reversed(found.values()))
    found.pop("HOME", None)
    return [*reversed(found.values()), f"HOME={home}"]
