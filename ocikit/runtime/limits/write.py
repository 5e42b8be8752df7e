"""A limit as data: one value for one file of a container's cgroup."""

from __future__ import annotations

from typing import Final

from ocikit._tuples import NamedTuple

__all__ = ["PATH", "Write", "amount"]

#: Where limits stand in the configuration.
PATH: Final = "$.linux.resources"


class Write(NamedTuple):
    """One value for one file of the container's cgroup."""

    #: The key of the hierarchy: a v1 controller, or the v2 hierarchy.
    key: str
    #: The file.
    file: str
    value: str
    #: The field of the configuration that asks for it.
    field: str
    #: Neighbours of one group are checked against each other by the kernel: which has to come first depends on what is
    #: there already.
    group: str = ""
    #: It says what the kernel does anyway where it has no such file, and is left out there.
    optional: bool = False
    #: What to write where the file does not exist.
    instead: Write | None = None
    #: Of a file with many lines, the first word of the one that holds this value.
    line: str = ""
    #: What takes the value back if there was no such line; empty for a line that always is there, and whose first word
    #: is not written.
    reset: str = ""


def amount(value: int) -> str:
    """Return a number as the files of v2 take it: negative ones are no limit."""
    return "max" if value < 0 else str(value)
