"""How a diagnosis is shown: as text of a terminal, and as a table of HTML. Pure."""

from __future__ import annotations

import html as markup
import itertools
import operator
from typing import TYPE_CHECKING, Final

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


def _printable(words: str) -> str:
    """Return text that does nothing to a terminal: paths and labels of a host may hold anything."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in words)


def text(diagnosis: Diagnosis) -> str:
    """Return a diagnosis as aligned lines, area by area, each remedy in a line of its own below what it is for."""
    names = max((len(one.name) for one in diagnosis.findings), default=0)
    lines = []
    for area, findings in _by_area(diagnosis.findings):
        lines.append(area)
        for one in findings:
            needed = f" ({_NEEDED})" if one.needed and one.status != "yes" else ""
            lines.append(f"  {one.status:<7}  {one.name:<{names}}  {_printable(one.found)}{needed}")
            if one.remedy:
                lines.append(f"  {'':<7}  {'':<{names}}    -> {_printable(one.remedy)}")
    return "\n".join([*lines, _summary(diagnosis)])


#: Colours that can be read on a light and on a dark page.
_COLOURS: Final = {"yes": "#2e8540", "partly": "#b8860b", "no": "#c0392b", "unknown": "#808080"}


def _row(one: Finding) -> str:
    needed = f" <em>({_NEEDED})</em>" if one.needed and one.status != "yes" else ""
    remedy = f"<br>&rarr; <code>{markup.escape(one.remedy)}</code>" if one.remedy else ""
    status = f'<td style="color: {_COLOURS[one.status]}"><b>{markup.escape(one.status)}</b></td>'
    cell = '<td style="text-align: left">'
    name = f"{cell}<code>{markup.escape(one.name)}</code></td>"
    return f"<tr>{status}{name}{cell}{markup.escape(one.found)}{needed}{remedy}</td></tr>"


def html(diagnosis: Diagnosis) -> str:
    """Return a diagnosis as a table of HTML: no script, no class, nothing from elsewhere, and all text escaped."""
    rows = []
    for area, findings in _by_area(diagnosis.findings):
        rows.append(f'<tr><th colspan="3" style="text-align: left">{markup.escape(area)}</th></tr>')
        rows += [_row(one) for one in findings]
    return f"<table><caption>{markup.escape(_summary(diagnosis))}</caption><tbody>{''.join(rows)}</tbody></table>"
