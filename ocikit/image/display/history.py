"""What is shown of the history of an image: a table of layers with sizes and the line that made each. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit._display import html, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ocikit.image.history import HistoryLine
    from ocikit.spec import Digest, Platform

__all__ = ["history_html", "history_text", "platform_name", "short_digest"]

_SHORT: Final = 12
_LONGEST_COMMAND: Final = 100


def platform_name(platform: Platform | None) -> str:
    """Return a platform as people write it: ``linux/arm64/v8``."""
    if platform is None:
        return "no platform"
    parts = [platform.os, platform.architecture, *([platform.variant] if platform.variant else [])]
    return "/".join(part or "unknown" for part in parts)


def short_digest(digest: Digest | None) -> str | None:
    """Return the beginning of a digest, enough to tell it from others; None for none."""
    return digest.hex[:_SHORT] if digest is not None else None


def _made_by(line: HistoryLine) -> str:
    return line.created_by or line.comment or line.author


def history_text(lines: Sequence[HistoryLine]) -> str:
    """Return the steps of an image as a table for a terminal, the first one first."""
    return text.table(_rows(lines), ("LAYER", "SIZE", "CREATED", "CREATED BY"))


def _rows(lines: Iterable[HistoryLine]) -> Iterator[tuple[text.Cell, ...]]:
    for line in lines:
        size: text.Cell = text.size(line.size) if line.layer is not None else text.Quantity("-")
        layer = short_digest(line.digest) or ("-" if line.empty_layer else "missing")
        yield layer, size, line.created or "-", text.printable(_made_by(line), _LONGEST_COMMAND)


def history_html(lines: Sequence[HistoryLine], caption: str) -> html.Html:
    """Return the steps of an image as a table of HTML, the first one first.

    Args:
        lines: The steps.
        caption: What stands above them.
    """
    rows: list[tuple[html.Cell, ...]] = []
    for layer, size, created, made_by in _rows(lines):
        rows.append((html.code(str(layer)), size, created, html.code(str(made_by))))
    return html.table(rows, ("layer", "size", "created", "created by"), caption=html.escaped(caption, 400))
