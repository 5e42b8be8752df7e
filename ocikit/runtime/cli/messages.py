"""What the command says beside its answer: lines in the form that callers of OCI runtimes read.

To standard error, or to the file of ``--log`` in the format of ``--log-format``; what ends the command is said on
standard error as well.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from ocikit.runtime.cli.aside import put_aside

if TYPE_CHECKING:
    import logging

__all__ = ["FORMATS", "Messages", "answer"]

FORMATS: Final = ("text", "json")

# What may stand after msg= without quotes.
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/@^+")


class Messages:
    """Where messages go."""

    def __init__(self, path: str = "", form: str = "text", *, debug: bool = False) -> None:
        """Open the file.

        Args:
            path: The file, which is appended to; empty for standard error.
            form: One of :data:`FORMATS`.
            debug: Whether messages for those who look for a fault are wanted.

        Raises:
            OSError: The file cannot be opened.
        """
        self._form = form
        self._debug = debug
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = put_aside(os.open(path, flags, 0o644)) if path else None

    def failed(self, text: str) -> None:
        """Say what ends the command."""
        self.say("error", text)
        if self._file is not None:
            _write_error(f"{text}\n")

    def say(self, level: str, text: str) -> None:
        """Say something at a level: ``debug``, ``info``, ``warning``, ``error``."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self._form == "json":
            line = _json({"level": level, "msg": text, "time": moment})
        else:
            line = f'time="{moment}" level={level} msg={_quoted(text)}'
        if self._file is None:
            _write_error(f"{line}\n")
        else:
            os.write(self._file, f"{line}\n".encode(errors="backslashreplace"))

    def carry_log(self) -> None:
        """Carry on what the library logs: warnings, and everything when debugging."""
        import logging  # noqa: PLC0415 - most commands log nothing

        logger = logging.getLogger("ocikit")
        logger.addHandler(_handler(self))
        logger.setLevel(logging.DEBUG if self._debug else logging.WARNING)


def answer(text: str) -> None:
    """Write to standard output what the command was asked for.

    Raises:
        OSError: It cannot be written.
    """
    if sys.stdout is not None:  # a caller may have closed it
        sys.stdout.write(text)
        sys.stdout.flush()


def _handler(messages: Messages) -> logging.Handler:
    import logging  # noqa: PLC0415

    class Carrier(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.say(record.levelname.lower(), record.getMessage())

    return Carrier()


def _quoted(text: str) -> str:
    return text if text and _PLAIN.issuperset(text) else _json(text)


def _json(value: Any) -> str:  # noqa: ANN401 - a document or a text
    from json import dumps  # noqa: PLC0415 - most commands have nothing to say

    return dumps(value, ensure_ascii=False, separators=(",", ":"))


def _write_error(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass  # there is no standard error, or nobody reads it: the exit code says it as well
