"""To let the program of a container run, whoever waits to hear of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ocikit.runtime.cli.dispatch import Call
    from ocikit.runtime.container import Container

__all__ = ["start_notified"]


def start_notified(container: Container, call: Call, *, attended: bool = False) -> None:
    """Start a container; a service of systemd is told when its program says that it is ready.

    Args:
        container: The container.
        call: What is carried out.
        attended: The command goes on as the service, and does not wait for that word.
    """
    if not os.environ.get("NOTIFY_SOCKET"):
        container.start()
        return
    from ocikit.runtime.cli.notifying import Notifications  # noqa: PLC0415 - few callers are services

    notifications = Notifications(container, call.messages.say)
    container.start()
    if not attended:
        notifications.pass_on(container.pid)
        return
    import threading  # noqa: PLC0415

    # It ends with the command, whatever it waits for.
    threading.Thread(target=notifications.pass_on, args=(os.getpid(),), daemon=True).start()
