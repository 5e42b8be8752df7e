"""What is shown of a layout and its images, in a terminal and in notebooks. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit._display import html, text
from ocikit.image.display.history import history_html, history_text, platform_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.image.layout.garbage import CollectionReport
    from ocikit.image.layout.problems import CheckReport, Problem
    from ocikit.image.layout.sizes import ImageStat

__all__ = ["check_html", "check_text", "collection_html", "collection_text", "stat_html", "stat_text"]

_BADGES: Final = {"error": "bad", "warning": "warning", "info": "idle"}
_LONGEST_MESSAGE: Final = 400


def stat_text(stat: ImageStat) -> str:
    """Return an image step by step as a table for a terminal."""
    return "\n".join([text.printable(_stat_title(stat), 400), history_text(stat.history)])


def stat_html(stat: ImageStat) -> str:
    """Return an image step by step as a table of HTML."""
    return history_html(stat.history, _stat_title(stat))


def _stat_title(stat: ImageStat) -> str:
    name = stat.name if stat.name is not None else str(stat.manifest_digest)
    signed = f", {stat.signatures} signatures (not verified)" if stat.signatures else ""
    return f"{name}: {platform_name(stat.platform)}, {text.size(stat.size)}{signed}"


def _collection_title(report: CollectionReport) -> str:
    if report.shared_blobs:
        return f"{report.path}: its blobs are shared, from where nothing is removed"
    did = "would be removed" if report.dry_run else "removed"
    kept = f"{report.kept} kept ({text.size(report.kept_bytes)})"
    young = f", {len(report.young)} of them only because they are young" if report.young else ""
    return f"{report.path}: {len(report.removed)} blobs {did} ({text.size(report.bytes_freed)}), {kept}{young}"


def _collected(report: CollectionReport) -> Iterator[tuple[str, text.Cell]]:
    for blob in report.removed:
        yield str(blob.digest), text.size(blob.size)
    for name in report.temporaries:
        yield f"{name} (left by a crash)", None


def collection_text(report: CollectionReport) -> str:
    """Return what was removed as lines for a terminal."""
    title = text.printable(_collection_title(report), 1000)
    rows = [*_collected(report)]
    return "\n".join([title, text.table(rows, ("REMOVED", "SIZE"))]) if rows else title


def collection_html(report: CollectionReport) -> str:
    """Return what was removed as a table of HTML."""
    rows = [(html.code(name), size) for name, size in _collected(report)]
    title = html.escaped(_collection_title(report), 1000)
    return html.table(rows, ("removed", "size"), caption=title) if rows else html.element("div", title)


def _check_title(report: CheckReport) -> str:
    counts = {"error": 0, "warning": 0, "info": 0}
    for one in report.problems:
        counts[one.severity] += 1
    repaired = sum(bool(one.repair) for one in report.problems)
    told = [f"{count} {severity}" for severity, count in counts.items() if count]
    told += [f"{repaired} repaired"] if repaired else []
    told += [f"{report.omitted} more"] if report.omitted else []
    verdict = "sound" if report.ok else "damaged"
    seen = f"{report.images} images, {report.blobs} blobs, {text.size(report.size)}"
    return f"{report.path}: {verdict} ({seen}{''.join(f', {one}' for one in told)})"


def _place(problem: Problem) -> str:
    return f"{problem.path} {problem.where}" if problem.where else problem.path


def _remedy(problem: Problem) -> str:
    return problem.repair or problem.remedy


def check_text(report: CheckReport) -> str:
    """Return what a check found as lines for a terminal: each problem, where it is, and what to do."""
    lines = []
    for one in report.problems[: text.MOST_ROWS]:
        images = f" (of {', '.join(map(text.printable, one.images))})" if one.images else ""
        lines.append(f"{one.severity:<7}  {one.kind}{images}: {text.printable(one.message, _LONGEST_MESSAGE)}")
        lines.append(f"{'':<7}    at {text.printable(_place(one), _LONGEST_MESSAGE)}")
        if _remedy(one):
            lines.append(f"{'':<7}    -> {text.printable(_remedy(one), _LONGEST_MESSAGE)}")
    more = len(report.problems) - text.MOST_ROWS
    lines += [f"… and {more} more"] if more > 0 else []
    return "\n".join([*lines, text.printable(_check_title(report), 1000)])


def check_html(report: CheckReport) -> str:
    """Return what a check found as a table of HTML."""
    rows: list[tuple[html.Cell, ...]] = []
    for one in report.problems:
        where = html.code(_place(one), _LONGEST_MESSAGE)
        about = html.joined((html.escaped(one.message, _LONGEST_MESSAGE), html.element("div", where), _todo(one)))
        images = html.joined([html.code(name) for name in one.images], ", ")
        rows.append((html.badge(str(one.severity), _BADGES[one.severity]), str(one.kind), images, about))
    title = html.escaped(_check_title(report), 1000)
    if not rows:
        return html.element("div", html.joined((html.badge("sound", "good"), " ", title)))
    return html.table(rows, ("severity", "problem", "images", "what"), caption=title)


def _todo(problem: Problem) -> html.Cell:
    if problem.repair:
        return html.element("div", html.badge(text.printable(problem.repair, _LONGEST_MESSAGE), "good"))
    return html.element("div", html.escaped(f"→ {problem.remedy}", _LONGEST_MESSAGE)) if problem.remedy else ""
