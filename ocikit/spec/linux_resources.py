"""What cgroups do for a container: ``linux.resources`` of config.json (config-linux.md, "Control groups").

Limits are None where nothing is said about them; zero is a limit like any other. Their classes are loaded with the
first limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

from ocikit.spec._document import Document, key
from ocikit.spec._kinds import BOOLEAN, INT64, STRING, array, late, mapping

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocikit.spec.linux_limits import (
        LinuxBlockIO,
        LinuxCPU,
        LinuxHugepageLimit,
        LinuxMemory,
        LinuxNetwork,
        LinuxPids,
        LinuxRdma,
    )

__all__ = ["LinuxDeviceCgroup", "LinuxResources"]


@frozen(kw_only=True, repr=False, eq=False)
class LinuxDeviceCgroup(Document):
    """A rule of the device controller; rules apply in order."""

    #: Whether access is allowed or denied; REQUIRED.
    allow: bool = field(metadata=key("allow", BOOLEAN))
    #: ``a`` (all), ``c`` (character) or ``b`` (block); empty means all.
    type: str = field(default="", metadata=key("type", STRING))
    #: Major number; None means all.
    major: int | None = field(default=None, metadata=key("major", INT64))
    #: Minor number; None means all.
    minor: int | None = field(default=None, metadata=key("minor", INT64))
    #: Any of ``r`` (read), ``w`` (write) and ``m`` (mknod).
    access: str = field(default="", metadata=key("access", STRING))


@frozen(kw_only=True, repr=False, eq=False)
class LinuxResources(Document):
    """Everything that cgroups limit."""

    #: Rules of the device controller, in order.
    devices: tuple[LinuxDeviceCgroup, ...] = field(default=(), metadata=key("devices", array(LinuxDeviceCgroup)))
    #: Memory.
    memory: LinuxMemory | None = field(default=None, metadata=key("memory", late("LinuxMemory")))
    #: CPU.
    cpu: LinuxCPU | None = field(default=None, metadata=key("cpu", late("LinuxCPU")))
    #: Number of tasks.
    pids: LinuxPids | None = field(default=None, metadata=key("pids", late("LinuxPids")))
    #: Block I/O.
    block_io: LinuxBlockIO | None = field(default=None, metadata=key("blockIO", late("LinuxBlockIO")))
    #: Huge pages, per size.
    hugepage_limits: tuple[LinuxHugepageLimit, ...] = field(
        default=(), metadata=key("hugepageLimits", array(late("LinuxHugepageLimit")))
    )
    #: Network traffic.
    network: LinuxNetwork | None = field(default=None, metadata=key("network", late("LinuxNetwork")))
    #: RDMA limits by device name.
    rdma: Mapping[str, LinuxRdma] = field(factory=dict, hash=False, metadata=key("rdma", mapping(late("LinuxRdma"))))
    #: Values by file name in the cgroup v2 directory.
    unified: Mapping[str, str] = field(factory=dict, hash=False, metadata=key("unified", mapping(STRING)))
