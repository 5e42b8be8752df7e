"""``events``: what a container uses, and when that is too much, as lines of JSON."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from ocikit.errors import OCIKitError
from ocikit.runtime.cli.dispatch import CommandError
from ocikit.runtime.cli.messages import answer
from ocikit.runtime.listing import load
from ocikit.runtime.stats import oom_event, stats_event
from ocikit.runtime.status import Status

if TYPE_CHECKING:
    from ocikit.runtime.cli.dispatch import Call
    from ocikit.runtime.container import Container

__all__ = ["events"]


def events(call: Call) -> None:
    """Tell what a container uses, again and again until it has ended, or once."""
    interval = call.options.seconds("interval")
    if interval <= 0:
        raise CommandError("duration interval must be greater than 0")
    container = load(call.root, call.id)
    if container.status() is Status.STOPPED:
        raise CommandError(f"container with id {container.id} is not running")
    if call.options.flag("stats"):
        _say(stats_event(container.id, container.stats()))
    else:
        _watch(container, interval, call)


def _watch(container: Container, interval: float, call: Call) -> None:
    with container.watch_memory() as watch:
        due = time.monotonic() + interval
        while True:
            event = watch.wait(max(0.0, due - time.monotonic()))
            if event is not None:
                _say(oom_event(container.id))
            elif watch.ended:
                return
            else:
                due += interval
                try:
                    _say(stats_event(container.id, container.stats()))
                except OCIKitError as error:
                    call.messages.say("error", str(error))


def _say(event: dict[str, Any]) -> None:
    answer(f"{json.dumps(event, separators=(',', ':'), ensure_ascii=False)}\n")
