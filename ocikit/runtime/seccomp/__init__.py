"""System call filters: ``linux.seccomp`` of a configuration becomes a program for the kernel.

* :func:`filter_for` compiles a profile, once; the plan of a container loads what it returns;
* :func:`receive_listener` and :func:`notifications` are for agents: programs that decide, from outside of a container,
  about the system calls that its profile marks with ``SCMP_ACT_NOTIFY``;
* :func:`supported_flags` tells what the kernel can do.

This room decides and asks libseccomp. It starts nothing and loads nothing into this process.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ocikit.runtime.seccomp.agent import Notification, ReceivedListener, notifications, receive_listener
    from ocikit.runtime.seccomp.compile import Filter, Listener, filter_for
    from ocikit.runtime.seccomp.kernel import supported_flags

__all__ = [
    "Filter",
    "Listener",
    "Notification",
    "ReceivedListener",
    "filter_for",
    "notifications",
    "receive_listener",
    "supported_flags",
]

_HOMES = {
    "Filter": "compile",
    "Listener": "compile",
    "Notification": "agent",
    "ReceivedListener": "agent",
    "filter_for": "compile",
    "notifications": "agent",
    "receive_listener": "agent",
    "supported_flags": "kernel",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'ocikit.runtime.seccomp' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"ocikit.runtime.seccomp.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
