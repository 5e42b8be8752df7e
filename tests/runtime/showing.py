"""What a browser makes of what is shown in a notebook, and statistics that are made up."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import attrs

from ocikit.runtime.stats.types import BlockIOEntry, BlockIOStats, Counter, CPUStats, MemoryStats, PidsStats, Stats

__all__ = ["MB", "Page", "show", "stats"]

MB = 1 << 20


class Page(HTMLParser):
    """What a browser would make of a piece of HTML: its elements, its text, and whether it is whole."""

    #: Elements that are only a start.
    EMPTY = ("br",)

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []
        assert all(one.isprintable() for one in page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in self.EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Check that it is the one that was opened."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text += data


def show(thing: Any) -> Page:
    """Return what a notebook shows of something; nothing in it acts, or comes from elsewhere."""
    page = thing._repr_html_()
    found = Page(page)
    known = "table caption thead tbody tr th td span div code br svg title path circle text".split()
    assert set(found.tags) <= set(known)
    assert not [name for name in found.attributes if name.startswith("on") or name in {"href", "src"}]
    assert "url(" not in page
    return found


def stats(cpu: float = 0.0, memory: int = MB, *, limit: int | None = None, disk: int = 0) -> Stats:
    """Return statistics: seconds of a processor, bytes of memory, bytes that were written."""
    times: dict[str, Any] = {field.name: None for field in attrs.fields(CPUStats)}
    counters: dict[str, Any] = {field.name: None for field in attrs.fields(MemoryStats)}
    parts: dict[str, Any] = {field.name: None for field in attrs.fields(Stats)}
    written = BlockIOEntry(major=8, minor=0, operation="Write", value=disk)
    return Stats(
        **parts
        | {
            "cpu": CPUStats(**times | {"total": int(cpu * 1e9), "user": int(cpu * 1e9), "system": 0}),
            "memory": MemoryStats(
                **counters | {"version": 2, "memory": Counter(usage=memory, limit=limit), "stat": {}}
            ),
            "pids": PidsStats(current=3, limit=None, failures=None),
            "block_io": BlockIOStats(service_bytes=(written, written)),
        }
    )
