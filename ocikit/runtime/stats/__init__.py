"""What containers use: read from their cgroups, as data, and in the JSON of ``runc events``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ocikit.runtime.stats.network import interfaces
    from ocikit.runtime.stats.reading import collect
    from ocikit.runtime.stats.runc_format import oom_event, runc_json, stats_event
    from ocikit.runtime.stats.types import (
        BlockIOEntry,
        BlockIOStats,
        Counter,
        CPUSetStats,
        CPUStats,
        HugetlbStats,
        InterfaceStats,
        MemoryStats,
        PidsStats,
        Pressure,
        PressureStats,
        RdmaStats,
        RdtStats,
        Stats,
    )

__all__ = [
    "BlockIOEntry",
    "BlockIOStats",
    "CPUSetStats",
    "CPUStats",
    "Counter",
    "HugetlbStats",
    "InterfaceStats",
    "MemoryStats",
    "PidsStats",
    "Pressure",
    "PressureStats",
    "RdmaStats",
    "RdtStats",
    "Stats",
    "collect",
    "interfaces",
    "oom_event",
    "runc_json",
    "stats_event",
]

#: Name → the module here that it lives in; what is not in here are classes.
_HOMES = {
    "collect": "reading",
    "interfaces": "network",
    "oom_event": "runc_format",
    "runc_json": "runc_format",
    "stats_event": "runc_format",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name not in __all__:
        raise AttributeError(f"module 'ocikit.runtime.stats' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"ocikit.runtime.stats.{_HOMES.get(name, 'types')}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
