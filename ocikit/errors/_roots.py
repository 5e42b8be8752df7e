"""What all errors have, and those that belong to no one room: see :mod:`ocikit.errors`."""

from __future__ import annotations

import os
from typing import ClassVar

__all__ = [
    "InvalidDigestError",
    "LimitExceededError",
    "MissingDependencyError",
    "NotSupportedError",
    "OCIKitError",
    "ParseError",
    "SpecError",
    "SystemCallError",
    "UnsupportedFieldError",
    "ValidationError",
]


class OCIKitError(Exception):
    """Base of every error that ocikit raises; never raised itself."""

    # Names of the attributes that the constructor takes, for errors that take more than a message: an error crosses
    # the boundary of a process (multiprocessing, concurrent.futures) whole, with its notes.
    _arguments: ClassVar[tuple[str, ...]] = ()

    def __reduce__(self) -> str | tuple[object, ...]:
        if not self._arguments:
            return super().__reduce__()
        return type(self), tuple(getattr(self, name) for name in self._arguments), self.__dict__


class _FailedCallError(OCIKitError, OSError):
    """A failed system call: ``errno``, ``strerror`` and ``filename`` are set as in any OSError.

    Args:
        action: What was being done, in words ("mount proc").
        errno_: The error number.
        path: The path it was done at, when there is one.
        remedy: What the reader can do about it, when that is known.
    """

    _arguments = ("action", "errno", "filename", "remedy")

    def __init__(self, action: str, errno_: int, path: str | None = None, remedy: str | None = None) -> None:
        super().__init__(errno_, os.strerror(errno_), path)
        self.action = action
        self.remedy = remedy

    def __str__(self) -> str:
        where = f" at {self.filename}" if self.filename is not None else ""
        text = f"{self.action}{where}: {self.strerror} (errno {self.errno})"
        return f"{text}; {self.remedy}" if self.remedy else text


class _AtPathError(OCIKitError):
    """Something is wrong at a place in a document.

    Args:
        path: The JSON path of the place (``$.mounts[3].options``); ``$`` is the document.
        reason: What was expected and what was found.
        source: The file it came from, when that is known.
    """

    _arguments = ("path", "reason", "source")

    def __init__(self, path: str, reason: str, source: str | None = None) -> None:
        super().__init__(f"{source}: {path}: {reason}" if source else f"{path}: {reason}")
        self.path = path
        self.reason = reason
        self.source = source


class NotSupportedError(OCIKitError, NotImplementedError):
    """This platform, kernel or build cannot do what was asked."""


class UnsupportedFieldError(_AtPathError, NotSupportedError):
    """A field of a specification is set that ocikit does not act on; ``path`` is the field, ``reason`` why.

    A field is never silently ignored: a container that lacks a protection its
    configuration asks for is worse than none.
    """


class MissingDependencyError(OCIKitError, ImportError):
    """A Python or system library is needed for this call and is not installed."""


class SystemCallError(_FailedCallError):
    """A system call failed outside any family of its own."""


class LimitExceededError(OCIKitError, ValueError):
    """Input is larger, deeper or longer than a stated limit allows.

    Args:
        what: What is counted ("manifest bytes").
        limit: The limit.
        found: The value found, when it is known.
        remedy: How to raise the limit, when the caller can.
    """

    _arguments = ("what", "limit", "found", "remedy")

    def __init__(self, what: str, limit: float, found: float | None = None, remedy: str | None = None) -> None:
        more = f", found {found:,}" if found is not None else ""
        super().__init__(f"{what}: limit {limit:,}{more}" + (f"; {remedy}" if remedy else ""))
        self.what = what
        self.limit = limit
        self.found = found
        self.remedy = remedy

    def within(self, where: str) -> LimitExceededError:
        """Return the error with the place where it was found, for whoever knows more of that."""
        return LimitExceededError(f"{where}: {self.what}", self.limit, self.found, self.remedy)


class SpecError(OCIKitError):
    """Base of the errors about documents of the specifications."""


class ParseError(_AtPathError, SpecError, ValueError):
    """A document is not JSON, or a value in it has the wrong type; ``path`` is the value."""


class ValidationError(SpecError, ValueError):
    """A document violates one or more MUSTs of its specification.

    Args:
        violations: Every violation, each as ``"<JSON path>: <what is wrong>"``.
    """

    _arguments = ("violations",)

    def __init__(self, violations: tuple[str, ...]) -> None:
        super().__init__("; ".join(violations))
        self.violations = violations


class InvalidDigestError(SpecError, ValueError):
    """A string is not a digest in the grammar of the image specification (descriptor.md)."""
