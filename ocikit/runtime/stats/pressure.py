"""Pressure on memory, processors and disks: files of the v2 hierarchy, which it has on hosts with v1, too."""

from __future__ import annotations

from ocikit.runtime.cgroups.files import nested, read_file
from ocikit.runtime.stats.types import Pressure, PressureStats

__all__ = ["parse_pressure", "read_pressure"]


def read_pressure(path: str | None, resource: str) -> PressureStats | None:
    """Read the pressure on a resource in a v2 cgroup; None where it is not counted."""
    return parse_pressure(read_file(f"{path}/{resource}.pressure")) if path is not None else None


def parse_pressure(text: str | None) -> PressureStats | None:
    """Read the text of such a file."""
    lines = {}
    for name, values in nested(text):
        averages = {key: float(values.get(key, "0")) for key in ("avg10", "avg60", "avg300")}
        lines[name] = Pressure(**averages, total=int(values.get("total", "0")))
    return PressureStats(some=lines["some"], full=lines.get("full")) if "some" in lines else None
