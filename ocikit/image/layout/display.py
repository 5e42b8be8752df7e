"""What is shown of a layout and its images, in a terminal and in notebooks. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocikit._display import html, text
from ocikit.image.history_display import history_html, history_text, platform_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.image.layout.garbage import CollectionReport
    from ocikit.image.layout.sizes import ImageStat

__all__ = ["collection_html", "collection_text", "stat_html", "stat_text"]


def stat_text(stat: ImageStat) -> str:
    """Return an image step by step as a table for a terminal."""
    return "\n".join([text.printable(_stat_title(stat), 400), history_text(stat.history)])


def stat_html(stat: ImageStat) -> str:
    """Return an image step by step as a table of HTML."""
    return history_html(stat.history, _stat_title(stat))


def _stat_title(stat: ImageStat) -> str:
    name = stat.name if stat.name is not None else str(stat.manifest_digest)
    return f"{name}: {platform_name(stat.platform)}, {text.size(stat.size)}"


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
