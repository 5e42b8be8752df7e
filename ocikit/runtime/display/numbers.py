"""What is shown of statistics: at one moment, and over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit._display.html import Html, element, facts, joined
from ocikit._display.text import printable, seconds, size
from ocikit._tuples import NamedTuple
from ocikit.runtime.display.plot import Panel, draw, round_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ocikit._display.html import Cell
    from ocikit.runtime.stats.history import Series, StatsHistory
    from ocikit.runtime.stats.types import (
        BlockIOStats,
        Counter,
        CPUStats,
        HugetlbStats,
        InterfaceStats,
        MemoryStats,
        PidsStats,
        PressureStats,
        Stats,
    )

__all__ = ["history_lines", "history_plot", "stats_facts", "summary"]

_BARS: Final = "▁▂▃▄▅▆▇█"
_LINE: Final = 60
_MOST_INTERFACES: Final = 20
_CPU: Final = "#3b82c4"
_MEMORY: Final = "#d2691e"

# --------------------------------------------------------------------------------------------------------- one moment


def summary(stats: Stats) -> Iterator[tuple[str, Cell]]:
    """Yield the three numbers that are asked for most."""
    if stats.memory is not None:
        yield "memory", _counter(stats.memory.memory)
    if stats.cpu is not None:
        yield "cpu", seconds(stats.cpu.total / 1e9)
    if stats.pids is not None:
        yield "pids", _pids(stats.pids)


def stats_facts(stats: Stats) -> Html:
    """Return statistics as a table of what is counted here."""
    rows: list[tuple[str, Cell]] = []
    rows += _memory(stats.memory) if stats.memory is not None else ()
    rows += _cpu(stats.cpu) if stats.cpu is not None else ()
    rows += [("pids", _pids(stats.pids))] if stats.pids is not None else ()
    rows += _disks(stats.block_io) if stats.block_io is not None else ()
    rows += _huge_pages(stats.hugetlb or {})
    rows += _network(stats.network or ())
    return facts(rows or [("statistics", "nothing is counted here")])


def _counter(counter: Counter) -> str:
    most = f", at most {size(counter.max_usage)} so far" if counter.max_usage is not None else ""
    limit = f" of {size(counter.limit)}" if counter.limit is not None else ""
    return f"{size(counter.usage)}{limit}{most}"


def _pids(pids: PidsStats) -> str:
    return str(pids.current) if pids.limit is None else f"{pids.current} of {pids.limit}"


def _memory(memory: MemoryStats) -> Iterator[tuple[str, Cell]]:
    yield "memory", _counter(memory.memory)
    if memory.cache is not None:
        yield "of that, caches of files", size(memory.cache)
    if memory.swap is not None:
        yield "swap", _counter(memory.swap)
    if memory.oom_kills:
        yield "killed for want of memory", str(memory.oom_kills)
    yield from _pressure("waiting for memory", memory.pressure)


def _cpu(cpu: CPUStats) -> Iterator[tuple[str, Cell]]:
    parts = f"{seconds(cpu.user / 1e9)} in programs, {seconds(cpu.system / 1e9)} in the kernel"
    yield "cpu", f"{seconds(cpu.total / 1e9)} ({parts})"
    if cpu.throttled_time:
        yield "held back by the limit", f"{seconds(cpu.throttled_time / 1e9)} in {cpu.throttled_periods} periods"
    yield from _pressure("waiting for a cpu", cpu.pressure)


def _disks(block_io: BlockIOStats) -> Iterator[tuple[str, Cell]]:
    for name, operation in (("read from disks", "Read"), ("written to disks", "Write")):
        yield name, size(sum(one.value for one in block_io.service_bytes if one.operation == operation))
    yield from _pressure("waiting for disks", block_io.pressure)


def _pressure(name: str, pressure: PressureStats | None) -> Iterator[tuple[str, Cell]]:
    if pressure is not None and (pressure.some.avg10 or pressure.some.avg60):
        yield (
            name,
            f"{pressure.some.avg10:.1f} % of the last ten seconds, {pressure.some.avg60:.1f} % of the last minute",
        )


def _huge_pages(pages: Mapping[str, HugetlbStats]) -> Iterator[tuple[str, Cell]]:
    for name, one in pages.items():
        if one.pages.usage:
            yield f"huge pages of {name}", _counter(one.pages)


def _network(interfaces: Sequence[InterfaceStats]) -> Iterator[tuple[str, Cell]]:
    for one in interfaces[:_MOST_INTERFACES]:
        yield f"network {printable(one.name)}", f"{size(one.rx_bytes)} received, {size(one.tx_bytes)} sent"
    if len(interfaces) > _MOST_INTERFACES:
        yield "network", f"… and {len(interfaces) - _MOST_INTERFACES} more interfaces"


# ---------------------------------------------------------------------------------------------------------- over time


class _Shown(NamedTuple):
    """A line of a history."""

    title: str
    values: Series
    label: Callable[[float], str]

    @property
    def known(self) -> list[float]:
        """Those values that there are."""
        return [one for one in self.values if one is not None]

    @property
    def note(self) -> str:
        """The last value, and the highest one."""
        return f"{self.label(self.known[-1])}, at most {self.label(max(self.known))}"


def _percent(value: float) -> str:
    return f"{value:.0f} %"


def _rate(value: float) -> str:
    return f"{size(value)}/s"


def _shown(history: StatsHistory) -> list[_Shown]:
    """Return the lines of a history that have any values; disks that were not used are left out."""
    found = (
        _Shown("cpu", history.cpu_percent, _percent),
        _Shown("memory", history.memory, size),
        _Shown("pids", history.pids, "{:.0f}".format),
        _Shown("read", history.read_rate, _rate),
        _Shown("written", history.write_rate, _rate),
    )
    return [one for one in found if one.known and (one.label is not _rate or max(one.known) > 0)]


def history_lines(history: StatsHistory) -> str:
    """Return a history as lines for a terminal: what, its course, and its last and highest values."""
    shown = _shown(history)
    if not shown:
        return "no samples"
    head = f"{len(history)} samples in {history.times[-1] - history.times[0]:.1f} s"
    return "\n".join([head, *(f"{one.title:8}{_sparkline(one)}  {one.note}" for one in shown)])


def _sparkline(shown: _Shown) -> str:
    """Return values as little bars from zero to the highest; a gap is a space."""
    step = max(1, -(-len(shown.values) // _LINE))
    groups = (shown.values[at : at + step] for at in range(0, len(shown.values), step))
    values = [max((one for one in group if one is not None), default=None) for group in groups]
    top = max(shown.known) or 1
    last = len(_BARS) - 1
    return "".join(" " if one is None else _BARS[min(last, int(one / top * len(_BARS)))] for one in values)


def history_plot(history: StatsHistory) -> str:
    """Return a history as a drawing of processors and memory, with the last values of the rest below it."""
    shown = {one.title: one for one in _shown(history)}
    if not shown:
        return element("div", "no samples")
    panels = []
    if "cpu" in shown:
        one = shown["cpu"]
        top = round_up(max(*one.known, 10.0), (1, 1.5, 2, 3, 4, 5, 8), 10)
        panels.append(Panel("cpu, of one processor", one.note, one.values, top, _percent, _CPU))
    if "memory" in shown:
        panels.append(_memory_panel(history, shown["memory"]))
    span = f"{len(history)} samples in {history.times[-1] - history.times[0]:.1f} s"
    said = " · ".join([span, *(f"{name} {shown[name].note}" for name in ("pids", "read", "written") if name in shown)])
    below = element("div", said, style="font:11px system-ui,sans-serif;opacity:.75")
    return element("div", joined((draw(history.times, panels, description=said) if panels else Html(), below)))


def _memory_panel(history: StatsHistory, shown: _Shown) -> Panel:
    last = history[-1].stats.memory
    limit = last.memory.limit if last is not None else None
    highest = max(shown.known)
    near = limit is not None and limit <= 3 * highest
    top = round_up(max(limit if limit is not None and near else highest, 4096), (1, 1.5), 2)
    note = shown.note if limit is None else f"{shown.note}, limit {size(limit)}"
    return Panel("memory", note, shown.values, top, size, _MEMORY, limit)
