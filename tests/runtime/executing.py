"""Further processes of containers, in one call."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ocikit.runtime import Container
    from ocikit.spec import Process

__all__ = ["Facts", "facts", "namespaces_of", "output"]

#: ``/proc/PID/status`` as a mapping.
Facts = dict[str, str]


def output(container: Container, *args: str, process: Process | None = None, **options: Any) -> str:
    """Run a process to its end, which has to be a good one; return what it wrote."""
    options = {"stdin": "null", "stdout": "pipe", "stderr": "stdout"} | options
    with container.exec(process if process is not None else args, **options) as started:
        assert started.stdout is not None
        text: str = started.stdout.read().decode()
        status = started.wait()
    assert status.exit_code == 0, (status, text)
    return text.strip()


def facts(container: Container, process: Process | None = None, **options: Any) -> Facts:
    """Return what the kernel says of a further process, as it sees itself."""
    text = output(container, "cat", "/proc/self/status", process=process, **options)
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def namespaces_of(pid: int) -> dict[str, str]:
    """Return which namespaces a process is in, as the host sees them."""
    return {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in sorted(os.listdir(f"/proc/{pid}/ns"))}
