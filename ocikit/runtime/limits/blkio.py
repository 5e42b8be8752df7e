"""Shares of disks, and how fast they may be used.

Weights belong to a scheduler of the disk: v1 had them with CFQ, and has them with BFQ; v2 has them with BFQ, and with
the cost model of its io controller. The files of BFQ are taken where they are, as runc does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.errors import UnsupportedFieldError
from ocikit.runtime.cgroups.hierarchies import UNIFIED
from ocikit.runtime.limits.write import PATH, Write, amount

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.spec import LinuxBlockIO, LinuxThrottleDevice

__all__ = ["blkio_v1", "blkio_v2", "io_weight"]

_BLKIO: Final = f"{PATH}.blockIO"

#: Attribute, JSON key, file of v1, word of v2.
_THROTTLES: Final = (
    ("throttle_read_bps_device", "throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
    ("throttle_write_bps_device", "throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
    ("throttle_read_iops_device", "throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
    ("throttle_write_iops_device", "throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
)


def blkio_v1(block_io: LinuxBlockIO) -> Iterator[Write]:
    """Yield the writes for the files of v1."""
    if block_io.weight:
        value, field = str(block_io.weight), f"{_BLKIO}.weight"
        yield Write("blkio", "blkio.weight", value, field, instead=Write("blkio", "blkio.bfq.weight", value, field))
    if block_io.leaf_weight:
        yield Write("blkio", "blkio.leaf_weight", str(block_io.leaf_weight), f"{_BLKIO}.leafWeight")
    for index, one in enumerate(block_io.weight_device):
        device, where = f"{one.major}:{one.minor}", f"{_BLKIO}.weightDevice[{index}]"
        if one.weight:
            bfq = _v1_line("blkio.bfq.weight_device", device, one.weight, f"{where}.weight")
            yield bfq._replace(file="blkio.weight_device", instead=bfq)
        if one.leaf_weight:
            yield _v1_line("blkio.leaf_weight_device", device, one.leaf_weight, f"{where}.leafWeight")
    for device, rate, field, file, _ in _throttles(block_io):
        yield _v1_line(file, device, rate, field)


def _v1_line(file: str, device: str, value: int, field: str) -> Write:
    return Write("blkio", file, f"{device} {value}", field, line=device, reset=f"{device} 0")


def blkio_v2(block_io: LinuxBlockIO) -> Iterator[Write]:
    """Yield the writes for the files of v2.

    Raises:
        UnsupportedFieldError: v2 has no such limit.
    """
    asked = {f"weightDevice[{index}].leafWeight": one.leaf_weight for index, one in enumerate(block_io.weight_device)}
    for name, weight in {"leafWeight": block_io.leaf_weight, **asked}.items():
        if weight:
            raise UnsupportedFieldError(f"{_BLKIO}.{name}", "cgroup v2 does not have it; remove it")
    if block_io.weight:
        yield _v2_weight("default", block_io.weight, f"{_BLKIO}.weight")
    for index, one in enumerate(block_io.weight_device):
        if one.weight:
            yield _v2_weight(f"{one.major}:{one.minor}", one.weight, f"{_BLKIO}.weightDevice[{index}].weight")
    for device, rate, field, _, word in _throttles(block_io):
        value = amount(rate or -1)  # no bytes at all is how v1 takes a limit away
        yield Write(UNIFIED, "io.max", f"{device} {word}={value}", field, line=device, reset=f"{device} {word}=max")


def _v2_weight(line: str, weight: int, field: str) -> Write:
    of_device = line != "default"
    prefix, reset = (f"{line} ", f"{line} default") if of_device else ("", "")
    cost = Write(UNIFIED, "io.weight", f"{prefix}{io_weight(weight)}", field, line=line, reset=reset)
    reset = f"{line} 0" if of_device else ""
    return Write(UNIFIED, "io.bfq.weight", f"{prefix}{weight}", field, instead=cost, line=line, reset=reset)


def _throttles(block_io: LinuxBlockIO) -> Iterator[tuple[str, int, str, str, str]]:
    """Yield device, rate, field, file of v1 and word of v2 for each limit of speed."""
    for attribute, name, file, word in _THROTTLES:
        limits: tuple[LinuxThrottleDevice, ...] = getattr(block_io, attribute)
        for index, one in enumerate(limits):
            yield f"{one.major}:{one.minor}", one.rate, f"{_BLKIO}.{name}[{index}]", file, word


def io_weight(weight: int) -> int:
    """Turn a v1 weight (10 to 1000) into one of v2 (1 to 10000), in proportion, as runc and crun do."""
    return max(1, 1 + (weight - 10) * 9999 // 990)
