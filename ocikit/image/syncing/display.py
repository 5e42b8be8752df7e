"""What is shown of a synchronisation, in a terminal and in notebooks. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit._display import html, text
from ocikit.image.syncing.results import SyncOutcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.image.syncing.results import SyncedImage, SyncReport

__all__ = ["report_html", "report_text"]

_BADGES: Final = {
    SyncOutcome.COPIED: "good",
    SyncOutcome.UNCHANGED: "idle",
    SyncOutcome.FAILED: "bad",
    SyncOutcome.DELETED: "warning",
    SyncOutcome.SKIPPED: "idle",
}
_LONGEST: Final = 400
_HEADER: Final = ("outcome", "image", "copied", "reused", "")


def _title(report: SyncReport) -> str:
    counts = [f"{len(found)} {outcome}" for outcome in SyncOutcome if (found := report.with_outcome(outcome))]
    ignored = [f"{len(report.ignored)} ignored"] if report.ignored else []
    sums = f"{text.size(report.bytes_copied)} copied, {text.size(report.bytes_reused)} there already"
    told = f"{', '.join((*counts, *ignored)) or 'no images'}; {sums}"
    return f"nothing was done; it would be: {told}" if report.dry_run else told


def _rows(report: SyncReport) -> Iterator[tuple[SyncedImage, str, str]]:
    """Yield each entry with where it went, and what there is to say about it; failures first, as tables are cut."""
    for one in sorted(report.images, key=lambda one: one.outcome is not SyncOutcome.FAILED):
        source, destination = one.source, one.destination
        where = " -> ".join(str(place) for place in (source, destination) if place is not None)
        why = f"{type(one.error).__name__}: {one.error}" if one.error is not None else one.reason
        yield one, text.printable(where, _LONGEST), text.printable(why, _LONGEST)


def _sizes(one: SyncedImage) -> tuple[text.Cell, text.Cell]:
    if one.result is None and one.plan is None:
        return text.Quantity("-"), text.Quantity("-")
    return text.size(one.bytes_copied), text.size(one.bytes_reused)


def report_text(report: SyncReport) -> str:
    """Return what became of every image as lines for a terminal."""
    lines = []
    for one, where, why in [*_rows(report)][: text.MOST_ROWS]:
        copied, reused = _sizes(one)
        lines.append(f"{one.outcome:<9}  {copied:>9}  {reused:>9}  {where}")
        lines += [f"{'':<9}  {why}"] if why else []
    more = len(report.images) - text.MOST_ROWS
    lines += [f"… and {more} more"] if more > 0 else []
    return "\n".join([*lines, _title(report)])


def report_html(report: SyncReport) -> str:
    """Return what became of every image as a table of HTML."""
    rows: list[tuple[html.Cell, ...]] = []
    for one, where, why in _rows(report):
        badge = html.badge(str(one.outcome), _BADGES[one.outcome])
        rows.append((badge, html.code(where, _LONGEST), *_sizes(one), html.escaped(why, _LONGEST)))
    title = html.escaped(_title(report), _LONGEST)
    return html.table(rows, _HEADER, caption=title) if rows else html.element("div", title)
