"""What validation finds."""

from __future__ import annotations

from attrs import frozen

__all__ = ["Violation"]


@frozen(kw_only=True)
class Violation:
    """A MUST of the specification that a document violates."""

    #: The JSON path of the value (``$.mounts[3].options``).
    path: str
    #: What is wrong with it.
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"
