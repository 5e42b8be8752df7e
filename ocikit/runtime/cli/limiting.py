"""``update``: limits of a container that runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from ocikit.runtime.cli.dispatch import CommandError
from ocikit.runtime.listing import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocikit.runtime.cli.dispatch import Call
    from ocikit.spec import LinuxIntelRdt, LinuxResources

__all__ = ["update"]

_MAX_RESOURCES_BYTES: Final = 4 * 1024 * 1024


def update(call: Call) -> None:
    """Change the limits that are named, and leave the others."""
    container = load(call.root, call.id)
    path = call.options.text("resources")
    container.update(_read(path) if path else _given(call), intel_rdt=_schemata(call))


def _read(path: str) -> LinuxResources:
    from ocikit.spec import LinuxResources  # noqa: PLC0415 - after everything that may be refused without it

    if path == "-":
        return LinuxResources.from_json(sys.stdin.buffer.read(_MAX_RESOURCES_BYTES))
    with open(path, "rb") as file:
        return LinuxResources.from_json(file.read(_MAX_RESOURCES_BYTES))


def _schemata(call: Call) -> LinuxIntelRdt | None:
    l3, bandwidth = call.options.text("l3-cache-schema"), call.options.text("mem-bw-schema")
    if not (l3 or bandwidth):
        return None
    from ocikit.spec import LinuxIntelRdt  # noqa: PLC0415 - few hosts have it

    return LinuxIntelRdt(l3_cache_schema=l3, mem_bw_schema=bandwidth)


def _number(text: str) -> int:
    if not (text.isascii() and text.removeprefix("-").isdigit()):
        raise ValueError(f'"{text}" is not a number')
    return int(text)


_MULTIPLES: Final = {unit: 1024**power for power, unit in enumerate(("", "k", "m", "g", "t", "p"))}


def _size(text: str) -> int:
    """Read a number of bytes as people write it: ``64m``, ``1.5GiB``, and -1 for no limit."""
    if text == "-1":
        return -1
    lowered = text.lower().replace(" ", "")
    unit = lowered.lstrip("0123456789.")
    digits = lowered.removesuffix(unit) if unit else lowered
    multiple = _MULTIPLES.get(unit.removesuffix("b").removesuffix("i"))
    if not lowered.isascii() or multiple is None or not digits.replace(".", "", 1).isdigit():
        raise ValueError(f"invalid size: '{text}'")
    return int(float(digits) * multiple) if "." in digits else int(digits) * multiple


#: Option → section and field of the limits, and how its value is read.
_FIELDS: Final[dict[str, tuple[str, str, Callable[[str], Any]]]] = {
    "blkio-weight": ("block_io", "weight", _number),
    "cpu-burst": ("cpu", "burst", _number),
    "cpu-idle": ("cpu", "idle", _number),
    "cpu-period": ("cpu", "period", _number),
    "cpu-quota": ("cpu", "quota", _number),
    "cpu-rt-period": ("cpu", "realtime_period", _number),
    "cpu-rt-runtime": ("cpu", "realtime_runtime", _number),
    "cpu-share": ("cpu", "shares", _number),
    "cpuset-cpus": ("cpu", "cpus", str),
    "cpuset-mems": ("cpu", "mems", str),
    "memory": ("memory", "limit", _size),
    "memory-reservation": ("memory", "reservation", _size),
    "memory-swap": ("memory", "swap", _size),
    "pids-limit": ("pids", "limit", _number),
}


def _given(call: Call) -> LinuxResources:
    from ocikit import spec  # noqa: PLC0415 - after everything that may be refused without it

    sections: dict[str, dict[str, Any]] = {}
    for name, (section, field, read) in _FIELDS.items():
        text = call.options.text(name)
        if not text:
            continue
        try:
            sections.setdefault(section, {})[field] = read(text)
        except ValueError as error:
            raise CommandError(f"invalid value for {name}: {error}") from None
    classes = {
        "block_io": spec.LinuxBlockIO,
        "cpu": spec.LinuxCPU,
        "memory": spec.LinuxMemory,
        "pids": spec.LinuxPids,
    }
    return spec.LinuxResources(**{name: classes[name](**fields) for name, fields in sections.items()})
