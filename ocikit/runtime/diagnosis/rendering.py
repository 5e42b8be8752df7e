"""How a diagnosis is shown: as text of a terminal, and as a table of HTML. Pure."""

from __future__ import annotations

import itertools
import operator
from typing import TYPE_CHECKING, Final

from ocikit._display.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ocikit.runtime.diagnosis.findings import Diagnosis, Finding

__all__ = ["html", "text"]

_NEEDED: Final = "needed by every container"


def _summary(diagnosis: Diagnosis) -> str:
    counts = {"yes": 0, "partly": 0, "no": 0, "unknown": 0}
    for one in diagnosis.findings:
        counts[one.status] += 1
    told = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    verdict = "containers can be made here" if diagnosis.ok else "containers cannot be made here as this user"
    return f"{verdict} ({told})"


def _by_area(findings: Iterable[Finding]) -> Iterator[tuple[str, Iterator[Finding]]]:
    return itertools.groupby(findings, key=operator.attrgetter("area"))


def text(diagnosis: Diagnosis) -> str:
    """Return a diagnosis as aligned lines, area by area, each remedy in a line of its own below what it is for."""
    names = max((len(one.name) for one in diagnosis.findings), default=0)
    lines = []
    for area, findings in _by_area(diagnosis.findings):
        lines.append(area)
        for one in findings:
            needed = f" ({_NEEDED})" if one.needed and one.status != "yes" else ""
            lines.append(f"  {one.status:<7}  {one.name:<{names}}  {printable(one.found)}{needed}")
            if one.remedy:
                lines.append(f"  {'':<7}  {'':<{names}}    -> {printable(one.remedy)}")
    return "\n".join([*lines, _summary(diagnosis)])


#: How the dot before a status looks.
_BADGES: Final = {"yes": "good", "partly": "warning", "no": "bad", "unknown": "idle"}


def html(diagnosis: Diagnosis) -> str:
    """Return a diagnosis as a table of HTML."""
    from ocikit._display.html import badge, code, element, joined, table  # noqa: PLC0415 - for notebooks only

    def about(one: Finding) -> str:
        parts = [one.found]
        if one.needed and one.status != "yes":
            parts.append(element("em", f" ({_NEEDED})"))
        if one.remedy:
            parts += [element("div", joined(("→ ", code(one.remedy))))]
        return joined(parts)

    rows = (
        (one.area, badge(one.status, _BADGES[one.status]), code(one.name), about(one)) for one in diagnosis.findings
    )
    return table(rows, ("area", "status", "what", "found"), caption=_summary(diagnosis))
