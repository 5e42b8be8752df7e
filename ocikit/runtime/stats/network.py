"""Traffic of the network interfaces that a container sees."""

from __future__ import annotations

import os
from typing import Final

from ocikit.runtime.stats.types import InterfaceStats

__all__ = ["interfaces", "parse_interfaces"]

#: Columns of /proc/PID/net/dev.
_COLUMNS: Final = {
    "rx_bytes": 0,
    "rx_packets": 1,
    "rx_errors": 2,
    "rx_dropped": 3,
    "tx_bytes": 8,
    "tx_packets": 9,
    "tx_errors": 10,
    "tx_dropped": 11,
}


def interfaces(pid: int) -> tuple[InterfaceStats, ...] | None:
    """Read the interfaces of a process's network namespace.

    Returns:
        None when the process is gone, or shares its network with this process: those numbers are the host's.
    """
    try:
        if os.path.samefile(f"/proc/{pid}/ns/net", "/proc/self/ns/net"):
            return None
        with open(f"/proc/{pid}/net/dev", encoding="utf-8", errors="surrogateescape") as file:
            return parse_interfaces(file.read())
    except OSError:
        return None


def parse_interfaces(text: str) -> tuple[InterfaceStats, ...]:
    """Read the text of ``/proc/PID/net/dev``."""
    found = []
    for line in text.split("\n"):  # a name may hold what Python takes for the end of a line, too
        name, colon, numbers = line.rpartition(":")
        values = numbers.split()
        if colon and len(values) > max(_COLUMNS.values()):
            found.append(
                InterfaceStats(name=name.strip(" "), **{key: int(values[column]) for key, column in _COLUMNS.items()})
            )
    return tuple(found)
