"""What is shown of what containers report: their state, how they ended, what they wrote."""

from __future__ import annotations

import signal as signals
from typing import TYPE_CHECKING, Final

from ocikit._display import text
from ocikit._display.html import Html, badge, code, element, facts, joined
from ocikit.runtime.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ocikit._display.html import Cell
    from ocikit.runtime.status import Completed, ContainerState, ExitStatus

__all__ = ["annotation_rows", "completed", "ended", "exit_status", "state", "state_rows", "status_badge"]

_KINDS: Final = {
    Status.CREATED: "busy",
    Status.RUNNING: "good",
    Status.PAUSED: "warning",
    Status.STOPPED: "idle",
}

#: What bundles that were made from an image say of it (image-spec, annotations.md).
_IMAGE: Final = "org.opencontainers.image.ref.name"

# How much is shown of what has no bound of its own.
_MOST_ANNOTATIONS: Final = 20
_LONGEST_OUTPUT: Final = 2000


def state(found: ContainerState) -> str:
    """Return a state as a table."""
    return facts([*state_rows(found), *annotation_rows(found.annotations)], caption="container")


def state_rows(found: ContainerState) -> Iterator[tuple[str, Cell]]:
    """Yield what is known of a container, but for its annotations."""
    yield "id", code(found.id)
    yield "status", status_badge(found.status)
    if found.pid is not None:
        yield "pid", str(found.pid)
    if _IMAGE in found.annotations:
        yield "image", code(found.annotations[_IMAGE])
    yield "bundle", code(found.bundle) if found.bundle else None
    yield "created", text.moment(found.created) if found.created is not None else None
    if found.started is not None:
        yield "started", text.moment(found.started)
    if found.exit_status is not None:
        yield "ended", ended(found.exit_status)


def status_badge(status: Status) -> Html:
    """Return what a container is doing."""
    return badge(str(status), _KINDS[status])


def annotation_rows(annotations: Mapping[str, str]) -> Iterator[tuple[str, Cell]]:
    """Yield the annotations of a container, if there are any; some of many."""
    if annotations:
        shown = sorted(annotations.items())[:_MOST_ANNOTATIONS]
        lines: list[Cell] = [joined((code(name), code(value)), " = ") for name, value in shown]
        if len(annotations) > len(shown):
            lines.append(f"… and {len(annotations) - len(shown)} more")
        yield "annotations", joined(lines, Html("<br>"))


def ended(status: ExitStatus) -> Html:
    """Return how a program ended, and when."""
    when = f", {text.moment(status.finished)}" if status.finished is not None else ""
    return joined((_how(status.exit_code, status.signal), when))


def _how(exit_code: int | None, signal: int | None) -> Html:
    if signal is not None:
        return badge(f"killed by {_name(signal)}", "bad")
    if exit_code is not None:
        return badge(f"exit code {exit_code}", "bad" if exit_code else "good")
    return badge("in a way that nobody saw", "idle")


def _name(number: int) -> str:
    try:
        return f"{signals.Signals(number).name} ({number})"
    except ValueError:
        return f"signal {number}"  # one for real time, between the first and the last


def exit_status(status: ExitStatus) -> str:
    """Return how a program ended."""
    return element("div", joined(("ended: ", ended(status))))


def completed(done: Completed) -> str:
    """Return how a program ended, and the beginning of what it wrote."""
    rows: list[tuple[str, Cell]] = [("ended", _how(done.exit_code, done.signal))]
    rows += [(name, _output(data)) for name, data in (("stdout", done.stdout), ("stderr", done.stderr)) if data]
    return facts(rows)


def _output(data: bytes) -> Html:
    lines = data[:_LONGEST_OUTPUT].decode("utf-8", "surrogateescape").split("\n")
    more = len(data) - _LONGEST_OUTPUT
    shown: list[Cell] = [code(line.expandtabs(), _LONGEST_OUTPUT) for line in lines]
    return joined([*shown, f"… and {more} more bytes"] if more > 0 else shown, Html("<br>"))
