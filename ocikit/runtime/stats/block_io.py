"""Use of disks, from the files of v1 and v2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.runtime.cgroups.files import nested, number, read_file
from ocikit.runtime.stats.types import BlockIOEntry, BlockIOStats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.runtime.stats.types import PressureStats

__all__ = ["block_io_v1", "block_io_v2"]

#: Attribute → name in the files of v1.
_TABLES: Final = {
    "service_bytes": "io_service_bytes",
    "serviced": "io_serviced",
    "queued": "io_queued",
    "service_time": "io_service_time",
    "wait_time": "io_wait_time",
    "merged": "io_merged",
    "time": "time",
    "sectors": "sectors",
}

#: Who counts: BFQ, CFQ before it, and what limits speed, which counts for every scheduler.
_SOURCES: Final = ("blkio.bfq.", "blkio.", "blkio.throttle.")

#: Word in io.stat of v2 → attribute and operation.
_WORDS: Final = {
    "rbytes": ("service_bytes", "Read"),
    "wbytes": ("service_bytes", "Write"),
    "dbytes": ("service_bytes", "Discard"),
    "rios": ("serviced", "Read"),
    "wios": ("serviced", "Write"),
    "dios": ("serviced", "Discard"),
}


def block_io_v1(path: str, pressure: PressureStats | None) -> BlockIOStats | None:
    """Read the files of v1; None when there are none.

    Raises:
        CgroupError: The kernel refuses.
    """
    if read_file(f"{path}/blkio.throttle.io_service_bytes") is None:
        return None
    return BlockIOStats(**{name: tuple(_first(path, file)) for name, file in _TABLES.items()}, pressure=pressure)


def _first(path: str, file: str) -> list[BlockIOEntry]:
    for source in _SOURCES:
        for name in (f"{source}{file}_recursive", f"{source}{file}"):
            found = list(_entries(read_file(f"{path}/{name}")))
            if found:
                return found
    return []


def _entries(text: str | None) -> Iterator[BlockIOEntry]:
    """Read lines such as ``8:0 Read 1282048``; some have no operation, and the last is a sum."""
    for line in (text or "").splitlines():
        device, *words = line.split()
        major, _, minor = device.partition(":")
        if words and minor:
            value = int(words[-1])
            yield BlockIOEntry(major=int(major), minor=int(minor), operation=" ".join(words[:-1]), value=value)


def block_io_v2(path: str, pressure: PressureStats | None) -> BlockIOStats | None:
    """Read the files of v2; None when there are none.

    Raises:
        CgroupError: The kernel refuses.
    """
    text = read_file(f"{path}/io.stat")
    if text is None:
        return None
    found: dict[str, list[BlockIOEntry]] = {}
    for device, values in nested(text):
        major, _, minor = device.partition(":")
        for word, value in values.items():
            amount = number(value)
            if word in _WORDS and minor and amount is not None:
                attribute, operation = _WORDS[word]
                entry = BlockIOEntry(major=int(major), minor=int(minor), operation=operation, value=amount)
                found.setdefault(attribute, []).append(entry)
    return BlockIOStats(**{name: tuple(entries) for name, entries in found.items()}, pressure=pressure)
