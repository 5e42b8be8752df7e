"""The logger ``ocikit.runtime``, whose module is loaded with the first record that somebody may get.

To load :mod:`logging` takes longer than most commands take for what they do, and most of them have nothing to say.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LateLogger", "log"]

# The levels as logging numbers them.
_DEBUG, _INFO, _WARNING, _ERROR = 10, 20, 30, 40


class LateLogger:
    """A logger that is looked up when it is used; it has the levels that are used here."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._prepare: Callable[[], None] | None = None

    def before_first(self, prepare: Callable[[], None]) -> None:
        """Have something done, once, before the first record: that is early enough to add handlers."""
        self._prepare = prepare

    def debug(self, message: str, *arguments: object) -> None:
        """Log for those who look for a fault."""
        self._say(_DEBUG, message, arguments)

    def info(self, message: str, *arguments: object) -> None:
        """Log what is worth knowing."""
        self._say(_INFO, message, arguments)

    def warning(self, message: str, *arguments: object) -> None:
        """Log what went wrong beside the call, which goes on."""
        self._say(_WARNING, message, arguments)

    def error(self, message: str, *arguments: object) -> None:
        """Log what went wrong and cannot be raised."""
        self._say(_ERROR, message, arguments)

    def _say(self, level: int, message: str, arguments: tuple[object, ...]) -> None:
        # Where nobody has loaded logging, nobody has asked for more than warnings.
        if level < _WARNING and "logging" not in sys.modules:
            return
        import logging  # noqa: PLC0415 - most have nothing to say

        prepare, self._prepare = self._prepare, None
        if prepare is not None:
            prepare()
        # The record is that of whoever called warning() or the like.
        logging.getLogger(self._name).log(level, message, *arguments, stacklevel=3)


log: Final = LateLogger("ocikit.runtime")
