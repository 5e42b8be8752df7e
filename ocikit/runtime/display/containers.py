"""What is shown of containers: one, a list of them, and what became of many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from ocikit._display import html, text
from ocikit._display.html import badge, code, facts, joined
from ocikit.runtime.display.numbers import summary
from ocikit.runtime.display.states import annotation_rows, ended, state_rows, status_badge
from ocikit.runtime.late_log import log as _log
from ocikit.runtime.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ocikit._display.html import Cell
    from ocikit.runtime.container import Container
    from ocikit.runtime.handle import Handle
    from ocikit.runtime.status import ContainerState
    from ocikit.runtime.stopping import Outcome, Report

__all__ = ["container", "containers", "listing", "report"]

T = TypeVar("T")

_RESULTS: Final = {"removed": "good", "vanished": "idle", "failed": "bad"}


def container(one: Handle) -> str:
    """Return what is known of a container; what cannot be read is unknown, and no error."""
    found = _ask(one.state)
    rows: list[tuple[str, Cell]] = [("id", code(one.id)), ("status", None)]
    if found is not None:
        rows = [*state_rows(found)]
    if found is None or found.status is not Status.STOPPED:
        rows += _ask(lambda: [*summary(one.stats())]) or [("memory, cpu, pids", None)]
    return facts([*rows, *annotation_rows(one.annotations)], caption="container")


def _ask(question: Callable[[], T]) -> T | None:
    """Return an answer, or None if there is none: whoever looks at a container is not to get an error for it."""
    try:
        return question()
    except Exception as error:  # noqa: BLE001 - whatever it is, the rest is shown
        _log.debug("not shown: %s", error)
        return None


# --------------------------------------------------------------------------------------------------------------- many


def _states(found: Sequence[Container]) -> Iterator[tuple[Container, ContainerState | None]]:
    for one in found:
        yield one, _ask(one.state)


def containers(found: Sequence[Container]) -> str:
    """Return a list of containers as a table of HTML."""
    rows: list[tuple[Cell, ...]] = []
    for one, now in _states(found[: text.MOST_ROWS]):
        status = status_badge(now.status) if now is not None else None
        rows.append((code(one.id), status, *_columns(now), code(one.bundle)))
    more = len(found) - len(rows)
    table = html.table(rows, ("id", "status", "pid", "created", "bundle"))
    return joined((table, html.element("div", f"… and {more} more"))) if more > 0 else table


def listing(found: Sequence[Container]) -> str:
    """Return a list of containers as a table for a terminal."""
    rows: list[tuple[text.Cell, ...]] = []
    for one, now in _states(found[: text.MOST_ROWS]):
        status = str(now.status) if now is not None else None
        rows.append((one.id, status, *_columns(now), one.bundle))
    more = len(found) - len(rows)
    table = text.table(rows, ("ID", "STATUS", "PID", "CREATED", "BUNDLE"))
    return f"{table}\n… and {more} more" if more > 0 else table


def _columns(now: ContainerState | None) -> tuple[text.Cell, text.Cell]:
    if now is None:
        return None, None
    pid = text.Quantity("-" if now.pid is None else now.pid)
    return pid, text.moment(now.created) if now.created is not None else None


def report(told: Report) -> str:
    """Return what became of many containers."""
    rows = [(code(one.id), badge(one.result, _RESULTS.get(one.result, "idle")), _why(one)) for one in told]
    notes = [html.element("div", badge(text.printable(one, 1000), "warning")) for one in told.warnings]
    table = html.table(rows, ("container", "result", "")) if rows else html.element("div", "no containers")
    return joined((*notes, table))


def _why(one: Outcome) -> Cell:
    if one.error is not None:
        return text.printable(f"{type(one.error).__name__}: {one.error}", 1000)
    how = [ended(one.exit_status)] if one.exit_status is not None else []
    return joined([*how, "it had to be killed"] if one.killed else how, "; ")
