"""Create, start, watch, signal and destroy containers, in process, in a state root that is shared with runc.

* :func:`create` makes a container from a bundle, :func:`load` finds one that exists, :func:`run` runs one to its end;
* :func:`list_containers` and :func:`stop_and_remove` work on all whose id has a prefix;
* :class:`Container` is what they give;
* :func:`doctor` finds out what this host can and cannot do for containers, and what to do about it;
* :mod:`~ocikit.runtime.stats` and :mod:`~ocikit.runtime.events` have what is counted of containers, and what happens
  to them;
* :mod:`~ocikit.runtime.aio` is all this for asyncio;
* :mod:`~ocikit.runtime.seccomp` has what agents that decide about system calls of containers need.

This room never looks into an image: it meets the rest of the house in a bundle, which is a directory.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ocikit.runtime import aio, events, seccomp, stats
    from ocikit.runtime.abilities import features
    from ocikit.runtime.attachment import Attachment, Chunk
    from ocikit.runtime.child import ContainerProcess
    from ocikit.runtime.console import Console
    from ocikit.runtime.container import Container
    from ocikit.runtime.creation import create
    from ocikit.runtime.diagnosis.examine import doctor
    from ocikit.runtime.diagnosis.findings import Diagnosis, Finding, FindingStatus
    from ocikit.runtime.listing import ContainerList, list_containers, load
    from ocikit.runtime.logs import LogLine, LogReader
    from ocikit.runtime.options import CreateOptions, LogOptions
    from ocikit.runtime.processes import ProcessInfo, ProcessList
    from ocikit.runtime.running import run
    from ocikit.runtime.state.root import default_root
    from ocikit.runtime.stats.history import StatsHistory
    from ocikit.runtime.status import Completed, ContainerState, ExitStatus, Status
    from ocikit.runtime.stopping import Outcome, Report, stop_and_remove

__all__ = [
    "Attachment",
    "Chunk",
    "Completed",
    "Console",
    "Container",
    "ContainerList",
    "ContainerProcess",
    "ContainerState",
    "CreateOptions",
    "Diagnosis",
    "ExitStatus",
    "Finding",
    "FindingStatus",
    "LogLine",
    "LogOptions",
    "LogReader",
    "Outcome",
    "ProcessInfo",
    "ProcessList",
    "Report",
    "StatsHistory",
    "Status",
    "aio",
    "create",
    "default_root",
    "doctor",
    "events",
    "features",
    "list_containers",
    "load",
    "run",
    "seccomp",
    "stats",
    "stop_and_remove",
]

_HOMES = {
    "Attachment": "attachment",
    "Chunk": "attachment",
    "Completed": "status",
    "Console": "console",
    "Container": "container",
    "ContainerList": "listing",
    "ContainerProcess": "child",
    "ContainerState": "status",
    "CreateOptions": "options",
    "Diagnosis": "diagnosis.findings",
    "ExitStatus": "status",
    "Finding": "diagnosis.findings",
    "FindingStatus": "diagnosis.findings",
    "LogLine": "logs",
    "LogOptions": "options",
    "LogReader": "logs",
    "Outcome": "stopping",
    "ProcessInfo": "processes",
    "ProcessList": "processes",
    "Report": "stopping",
    "StatsHistory": "stats.history",
    "Status": "status",
    "create": "creation",
    "default_root": "state.root",
    "doctor": "diagnosis.examine",
    "features": "abilities",
    "list_containers": "listing",
    "load": "listing",
    "run": "running",
    "stop_and_remove": "stopping",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name in {"aio", "events", "seccomp", "stats"}:
        return import_module(f"ocikit.runtime.{name}")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'ocikit.runtime' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"ocikit.runtime.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
