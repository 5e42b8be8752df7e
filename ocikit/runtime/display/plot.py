"""Lines over time, as SVG that stands in a page by itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from ocikit._display.html import Html, element, joined
from ocikit._tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Panel", "draw", "round_up"]

_WIDTH: Final = 520
_LEFT: Final = 64
_RIGHT: Final = 16
_TOP: Final = 22
_HEIGHT: Final = 62
_GAP: Final = 12
_BOTTOM: Final = 20

# More points than can be told apart are drawn as the highest of each group.
_MOST_POINTS: Final = 460

_FRAME: Final = "display:block;max-width:100%;height:auto;color:inherit;font:11px system-ui,sans-serif;margin:.4em 0"


class Panel(NamedTuple):
    """One line over time."""

    #: What it is.
    title: str
    #: What is said of it, at the right.
    note: str
    #: The values; None is a gap.
    values: Sequence[float | None]
    #: The value at the top of the panel.
    top: float
    #: Says a value.
    label: Callable[[float], str]
    #: As in CSS: to be told from black paper and from white.
    colour: str
    #: What is drawn as a dashed line, if it is not above the top.
    limit: float | None = None


def round_up(value: float, steps: Sequence[float], base: float) -> float:
    """Return the next round number that is not less: one of some steps, times a power of a base."""
    if value <= 0:
        return steps[0]
    power = base ** math.floor(math.log(value, base))
    return next(
        (step * factor for factor in (power, power * base) for step in steps if step * factor >= value * 0.999), value
    )


def draw(times: Sequence[float], panels: Sequence[Panel], *, description: str) -> Html:
    """Return a drawing of several panels below each other, with one axis of time.

    Args:
        times: The time of each value, in seconds, growing.
        panels: What is drawn.
        description: What it is, for those who cannot see it.
    """
    height = len(panels) * (_TOP + _HEIGHT) + (len(panels) - 1) * _GAP + _BOTTOM
    drawn = [_panel(times, one, _TOP + number * (_TOP + _HEIGHT + _GAP)) for number, one in enumerate(panels)]
    parts = (element("title", description), *drawn, *_axis(times, height))
    box = f"0 0 {_WIDTH} {height}"
    return element(
        "svg", joined(parts), style=_FRAME, viewBox=box, width=_WIDTH, height=height, role="img",
        xmlns="http://www.w3.org/2000/svg",
    )  # fmt: skip


def _panel(times: Sequence[float], panel: Panel, top: float) -> Html:
    def at(value: float) -> float:
        return top + _HEIGHT * (1 - min(value / panel.top, 1.0))

    parts = [
        _text(panel.title, _LEFT, top - 8, font_weight=600),
        _text(panel.note, _WIDTH - _RIGHT, top - 8, text_anchor="end", fill_opacity=0.75),
    ]
    for value in (0.0, panel.top / 2, panel.top):
        parts.append(_line(at(value), stroke_opacity=0.3 if value == 0 else 0.14))
        if value != panel.top / 2:
            parts.append(_text(panel.label(value), _LEFT - 6, at(value) + 4, text_anchor="end", fill_opacity=0.75))
    if panel.limit is not None and panel.limit <= panel.top:
        parts.append(_line(at(panel.limit), stroke_opacity=0.6, stroke_dasharray="4 3"))
    for run in _runs(times, panel.values):
        parts += _curve([(_x(times, when), at(value)) for when, value in run], top + _HEIGHT, panel.colour)
    return joined(parts)


def _curve(points: Sequence[tuple[float, float]], ground: float, colour: str) -> Iterator[Html]:
    first, last = points[0][0], points[-1][0]
    if len(points) == 1:
        yield element("circle", cx=_n(first), cy=_n(points[0][1]), r=2, fill=colour)
        return
    way = "L".join(f"{_n(x)} {_n(y)}" for x, y in points)
    area = f"M{_n(first)} {_n(ground)}L{way}L{_n(last)} {_n(ground)}Z"
    yield element("path", d=area, fill=colour, fill_opacity=0.16, stroke="none")
    yield element("path", d=f"M{way}", fill="none", stroke=colour, stroke_width=1.6, stroke_linejoin="round")


def _runs(times: Sequence[float], values: Sequence[float | None]) -> Iterator[list[tuple[float, float]]]:
    """Yield the pieces of a line that have no gap in them, with as many points as can be told apart."""
    step = max(1, math.ceil(len(values) / _MOST_POINTS))
    run: list[tuple[float, float]] = []
    for begin in range(0, len(values), step):
        group = [(value, when) for when, value in zip(times[begin:], values[begin : begin + step], strict=False)
                 if value is not None]  # fmt: skip
        if group:
            value, when = max(group)
            run.append((when, value))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _axis(times: Sequence[float], height: float) -> Iterator[Html]:
    first, last = times[0], times[-1]
    step = round_up((last - first) / 5, (1, 2, 5), 10) if last > first else 1.0
    when = math.ceil(first / step - 0.001) * step
    while when <= last + step * 0.001:
        yield _text(f"{when:.6g} s", _x(times, when), height - 4, text_anchor="middle", fill_opacity=0.75)
        when += step


def _x(times: Sequence[float], when: float) -> float:
    span = times[-1] - times[0]
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * ((when - times[0]) / span if span > 0 else 0.0)


def _line(y: float, **attributes: str | float) -> Html:
    return element("path", d=f"M{_LEFT} {_n(y)}H{_WIDTH - _RIGHT}", stroke="currentColor", **attributes)


def _text(content: str, x: float, y: float, **attributes: str | float) -> Html:
    return element("text", content, x=_n(x), y=_n(y), fill="currentColor", **attributes)


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
