"""Limits of a container: ``linux.resources`` as writes into files of cgroups, for v1 and for v2.

Pure: nothing in here opens a file (``cgroup_limits`` does). A module for each section of the specification.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ocikit.runtime.limits.cpu import cpu_weight
    from ocikit.runtime.limits.table import device_writes, ignored, limits
    from ocikit.runtime.limits.write import Write

__all__ = ["Write", "cpu_weight", "device_writes", "ignored", "limits"]

#: Name → the module here that it lives in.
_HOMES = {"Write": "write", "cpu_weight": "cpu", "device_writes": "table", "ignored": "table", "limits": "table"}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'ocikit.runtime.limits' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"ocikit.runtime.limits.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
