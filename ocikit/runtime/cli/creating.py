"""``create`` and ``run``: a bundle becomes a container."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ocikit.runtime.creation import create as make

if TYPE_CHECKING:
    from ocikit.runtime.cli.dispatch import Call
    from ocikit.runtime.container import Container

__all__ = ["create", "run"]


def create(call: Call) -> None:
    """Create a container, which outlives this process."""
    _create(call)


def _create(call: Call) -> Container:
    pid_file = call.options.text("pid-file")
    container = make(call.root, call.id, call.options.text("bundle") or ".", lifetime="detached")
    try:
        if pid_file:
            write_pid(pid_file, container.pid)
    except BaseException:
        container.destroy(force=True)
        raise
    return container


def run(call: Call) -> int:
    """Create and start a container; unless it is detached, wait for its end and delete it."""
    container = _create(call)
    try:
        container.start()
    except BaseException:
        container.destroy(force=True)
        raise
    if call.options.flag("detach"):
        return 0
    from ocikit.runtime.cli import foreground  # noqa: PLC0415 - who does not wait does not need it

    try:
        return foreground.wait(container)
    finally:
        if not call.options.flag("keep"):
            container.destroy(force=True)


def write_pid(path: str, pid: int) -> None:
    """Write a process id to a file, which is whole or not there."""
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}")
    with open(temporary, "x", encoding="ascii") as file:
        file.write(str(pid))
    os.rename(temporary, path)
