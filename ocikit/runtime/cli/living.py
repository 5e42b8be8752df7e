"""``start``, ``kill``, ``pause``, ``resume``, ``delete``: a container's life after it was made."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

from ocikit.errors import NotExistError, NotRunningError, StateError
from ocikit.runtime.cli.dispatch import CommandError
from ocikit.runtime.cli.starting import start_notified
from ocikit.runtime.listing import load
from ocikit.runtime.state.root import root_path

if TYPE_CHECKING:
    from ocikit.runtime.cli.dispatch import Call

__all__ = ["delete", "kill", "pause", "resume", "start"]


def start(call: Call) -> None:
    """Let the program of a created container run."""
    start_notified(load(call.root, call.id), call)


def kill(call: Call) -> None:
    """Send a signal."""
    container = load(call.root, call.id)
    number = _signal(call.arguments[1] if len(call.arguments) > 1 else "")
    if not call.options.flag("all"):
        container.signal(number)
        return
    # What outlived the first process, or hides beside it, is reached through the cgroup; that there is nobody is fine.
    with contextlib.suppress(NotRunningError):
        if number == signal.SIGKILL:
            container.kill(whole_cgroup=True)
        else:
            container.signal(number)


def _signal(text: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    name = text.upper() or "SIGTERM"
    try:
        return signal.Signals[name if name.startswith("SIG") else f"SIG{name}"]
    except KeyError:
        raise CommandError(f'unknown signal "{text}"') from None


def pause(call: Call) -> None:
    """Freeze a container."""
    load(call.root, call.id).pause()


def resume(call: Call) -> None:
    """Let a paused container go on."""
    load(call.root, call.id).resume()


def delete(call: Call) -> None:
    """Remove a container, or what is left of one that cannot be loaded."""
    force = call.options.flag("force")
    try:
        container = load(call.root, call.id)
    except (NotExistError, StateError):
        from ocikit.runtime import remains  # noqa: PLC0415 - most containers can be loaded

        remains.remove(root_path(call.root), call.id)
        if force:
            return
        raise
    container.destroy(force=force)
