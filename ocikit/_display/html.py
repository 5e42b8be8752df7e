"""HTML for notebooks: the one place where it is put together, so that there is one place where it is escaped.

No scripts, no style sheets, nothing from elsewhere: each piece stands for itself, and takes its colours of text and
paper from the page that it is put into, be that dark or light.
"""

from __future__ import annotations

from html import escape as _escape
from typing import TYPE_CHECKING, Final, TypeAlias

from ocikit._display import text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Cell", "Html", "badge", "code", "element", "escaped", "facts", "joined", "table"]


class Html(str):
    """Text that is HTML: put into other HTML as it is. Whoever makes one has escaped what is in it."""

    __slots__ = ()


#: What a table holds: HTML as it is, everything else escaped; None is something that is not known.
Cell: TypeAlias = text.Cell | Html

_TABLE: Final = (
    "border-collapse:collapse;border:0;margin:.4em 0;font-size:.9em;line-height:1.35;"
    "font-variant-numeric:tabular-nums;color:inherit"
)
_SPACE: Final = "padding:.15em .8em .15em 0"
_CELL: Final = f"border:0;{_SPACE};vertical-align:top;background:none;text-align:"
_NUMBER: Final = f"{_CELL}right;white-space:nowrap"
_HEAD: Final = (
    "border:0;border-bottom:1px solid rgba(128,128,128,.45);font-weight:600;white-space:nowrap;"
    f"{_SPACE};background:none;text-align:"
)
_LABEL: Final = f"{_CELL}left;font-weight:normal;opacity:.7;white-space:nowrap"
_CAPTION: Final = "caption-side:top;text-align:left;font-weight:600;padding:0 0 .25em;color:inherit;white-space:nowrap"
_ROW: Final = "background:none;border:0"

#: Colours that can be told from black paper and from white.
_COLOURS: Final = {"good": "#2e9e5b", "busy": "#3b82c4", "warning": "#d08a1d", "bad": "#d6453d", "idle": "#8a8f98"}


def escaped(value: Cell, limit: int = text.LONGEST_CELL) -> Html:
    """Return what is shown of something, as HTML: at most a number of characters of what is none."""
    if isinstance(value, Html):
        return value
    if value is None:
        return Html('<span style="opacity:.55">unknown</span>')
    return Html(_escape(text.printable(str(value), limit)))


def element(tag: str, content: Cell = "", /, **attributes: str | float) -> Html:
    """Return an element: its content and the values of its attributes are escaped.

    Args:
        tag: Its name.
        content: What is in it.
        attributes: With ``_`` for ``-``; one at the end is left out.
    """
    words = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_escape(text.printable(str(value), 100_000))}"'
        for name, value in attributes.items()
    )
    return Html(f"<{tag}{words}>{escaped(content)}</{tag}>")


def joined(parts: Iterable[Cell], separator: Cell = "") -> Html:
    """Return several pieces one after the other."""
    return Html(escaped(separator).join(map(escaped, parts)))


def code(content: str, limit: int = text.LONGEST_CELL) -> Html:
    """Return something that is to be read letter by letter.

    Args:
        content: What it is.
        limit: How many characters of it are shown.
    """
    style = (
        "font-family:ui-monospace,monospace;font-size:.95em;padding:0;background:none;color:inherit;"
        "overflow-wrap:anywhere;white-space:pre-wrap"
    )
    return element("code", escaped(content, limit), style=style)


def badge(word: str, kind: str) -> Html:
    """Return a word with a coloured dot before it.

    Args:
        word: What is said.
        kind: ``good``, ``busy``, ``warning``, ``bad`` or ``idle``.
    """
    dot = element("span", "●", style=f"color:{_COLOURS[kind]}", aria_hidden="true")
    return element("span", joined((dot, word), " "), style="white-space:nowrap")


def table(rows: Iterable[Sequence[Cell]], header: Sequence[str] = (), *, caption: Cell = "") -> Html:
    """Return a table; numbers are put to the right.

    Args:
        rows: The cells of each row; at most :data:`~ocikit._display.text.MOST_ROWS` are shown.
        header: The title of each column; none for no such row.
        caption: What stands above it.
    """
    kept = list(rows)
    more = len(kept) - text.MOST_ROWS
    kept = kept[: text.MOST_ROWS]
    right = [bool(kept) and all(_is_number(row[at]) for row in kept) for at in range(len(header))]
    sides = ["right" if one else "left" for one in right]
    head = _row("th", header, [f"{_HEAD}{side}" for side in sides]) if header else Html()
    body = joined(_row("td", row, [_NUMBER if _is_number(one) else f"{_CELL}left" for one in row]) for row in kept)
    if more > 0:
        body = joined((body, _row("td", [f"… and {more} more"], [f"{_CELL}left"])))
    parts = (element("thead", head) if head else head, element("tbody", body))
    return _table(parts, caption)


def facts(rows: Iterable[tuple[str, Cell]], *, caption: Cell = "") -> Html:
    """Return a table of two columns: what it is, and its value."""
    lines = (
        joined((element("th", name, style=_LABEL, scope="row"), element("td", value, style=f"{_CELL}left")))
        for name, value in rows
    )
    return _table((element("tbody", joined(element("tr", line, style=_ROW) for line in lines)),), caption)


def _table(parts: Iterable[Html], caption: Cell) -> Html:
    above = element("caption", caption, style=_CAPTION) if caption else Html()
    return element("table", joined((above, *parts)), style=_TABLE)


def _row(tag: str, cells: Sequence[Cell], styles: Sequence[str]) -> Html:
    shown = (element(tag, cell, style=style) for cell, style in zip(cells, styles, strict=True))
    return element("tr", joined(shown), style=_ROW)


def _is_number(cell: Cell) -> bool:
    return isinstance(cell, int | text.Quantity)
