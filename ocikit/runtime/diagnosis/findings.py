"""What was found out about a host: data, and how it is shown. Pure."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

from attrs import frozen

from ocikit.runtime.diagnosis import rendering

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Diagnosis", "Finding", "FindingStatus"]


class FindingStatus(enum.StrEnum):
    """Whether a host can do something."""

    YES = "yes"
    NO = "no"
    #: With restrictions, which the finding names.
    PARTLY = "partly"
    #: It could not be found out; the finding says why.
    UNKNOWN = "unknown"


@frozen(kw_only=True)
class Finding:
    """One thing that a host can do for containers, or cannot."""

    #: The key, which stays the same from version to version: ``user_namespaces.unprivileged``.
    name: str
    #: What it is about: the heading it is listed under.
    area: str
    #: Whether the host can.
    status: FindingStatus
    #: What was seen.
    found: str
    #: The command, kernel parameter, file or package that changes it; empty when the status is "yes".
    remedy: str = ""
    #: Whether no container can be made by this caller without it.
    needed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON has it."""
        return {
            "name": self.name,
            "area": self.area,
            "status": str(self.status),
            "found": self.found,
            "remedy": self.remedy,
            "needed": self.needed,
        }


@frozen(kw_only=True)
class Diagnosis:
    """What a host can and cannot do for containers: a sequence of findings, shown as a table."""

    #: All of them, area by area.
    findings: tuple[Finding, ...]

    @property
    def problems(self) -> tuple[Finding, ...]:
        """Those findings that are not "yes". A host without any is rare, and need not be looked for."""
        return tuple(one for one in self.findings if one.status is not FindingStatus.YES)

    @property
    def ok(self) -> bool:
        """Whether everything is there that this caller's containers cannot do without."""
        enough = {FindingStatus.YES, FindingStatus.PARTLY}
        return all(one.status in enough for one in self.findings if one.needed)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def __getitem__(self, name: str) -> Finding:
        """Return the finding with a name.

        Raises:
            KeyError: There is none.
        """
        for one in self.findings:
            if one.name == name:
                return one
        raise KeyError(name)

    def __str__(self) -> str:
        return rendering.text(self)

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        return rendering.html(self)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {"ok": self.ok, "findings": [one.to_dict() for one in self.findings]}
