"""The part of a plan that gives a process a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.errors import ValidationError
from ocikit.runtime.plan.steps import NO_SLOT, Op, Slot, Step, Sync, ask, close

if TYPE_CHECKING:
    from ocikit.spec import Process

__all__ = ["control", "terminal"]

_SHOW: Final = 1  # WIRE_CONSOLE_SHOW of wire.h
_LARGEST: Final = 0xFFFF
_REMEDY: Final = "process.terminal needs a file system of type devpts mounted at /dev/pts, and no link at /dev/console"


def terminal(process: Process, *, root: Slot | None) -> list[Step]:
    """Plan to make a terminal, put it in the place of the standard streams, and hand over its other side.

    Args:
        process: The process; nothing is planned for one without a terminal.
        root: The future root, in which it is shown as ``/dev/console``, too; None when that is the root already, and
            another process has the console.

    Raises:
        ValidationError: No terminal has that size.
    """
    if not process.terminal:
        return []
    rows, columns = 0, 0
    if process.console_size is not None:
        rows, columns = process.console_size.height, process.console_size.width
    if max(rows, columns) > _LARGEST:
        found = f"found {rows} by {columns}"
        raise ValidationError((f"$.process.consoleSize: expected at most {_LARGEST} rows and columns, {found}",))
    slot, how = (NO_SLOT, 0) if root is None else (root, _SHOW)
    arguments = (slot, Slot.CONSOLE, rows << 16 | columns, process.user.uid, how)
    return [
        Step(Op.CONSOLE, "make terminal", arguments, path="/dev/pts/ptmx", remedy=_REMEDY),
        ask("hand over the terminal", Sync.CONSOLE, Slot.CONSOLE),
        close(Slot.CONSOLE),
    ]


def control(process: Process) -> list[Step]:
    """Plan that the terminal controls the session of the process."""
    return [Step(Op.CTTY, "make it the controlling terminal")] if process.terminal else []
