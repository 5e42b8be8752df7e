"""The Linux section of config.json (config-linux.md), without resources and seccomp.

Classes of what most containers have nothing of are loaded with the first object of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

from ocikit.spec._document import Document, key
from ocikit.spec._kinds import STRING, Kind, array, late, mapping
from ocikit.spec.linux_resources import LinuxResources
from ocikit.spec.seccomp import LinuxSeccomp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocikit.spec.linux_special import (
        LinuxDevice,
        LinuxIDMapping,
        LinuxIntelRdt,
        LinuxMemoryPolicy,
        LinuxNetDevice,
        LinuxPersonality,
        LinuxTimeOffset,
    )

__all__ = ["Linux", "LinuxNamespace"]

_STRINGS: Kind = array(STRING)
_ID_MAPPINGS: Kind = array(late("LinuxIDMapping"))


@frozen(kw_only=True, repr=False, eq=False)
class LinuxNamespace(Document):
    """A namespace that the container has for itself, or joins."""

    #: ``pid``, ``network``, ``mount``, ``ipc``, ``uts``, ``user``, ``cgroup`` or ``time``; REQUIRED.
    type: str = field(metadata=key("type", STRING, absent=""))
    #: File of an existing namespace to join; empty for a new one.
    path: str = field(default="", metadata=key("path", STRING))


@frozen(kw_only=True, repr=False, eq=False)
class Linux(Document):
    """What only Linux containers have."""

    #: User ids of the user namespace.
    uid_mappings: tuple[LinuxIDMapping, ...] = field(default=(), metadata=key("uidMappings", _ID_MAPPINGS))
    #: Group ids of the user namespace.
    gid_mappings: tuple[LinuxIDMapping, ...] = field(default=(), metadata=key("gidMappings", _ID_MAPPINGS))
    #: Kernel parameters to set for the container.
    sysctl: Mapping[str, str] = field(factory=dict, hash=False, metadata=key("sysctl", mapping(STRING)))
    #: Limits.
    resources: LinuxResources | None = field(default=None, metadata=key("resources", LinuxResources))
    #: Where the cgroups are; empty is the runtime's choice.
    cgroups_path: str = field(default="", metadata=key("cgroupsPath", STRING))
    #: Namespaces to create or join; the runtime's are inherited for types not in the list.
    namespaces: tuple[LinuxNamespace, ...] = field(default=(), metadata=key("namespaces", array(LinuxNamespace)))
    #: Device nodes beside the default ones.
    devices: tuple[LinuxDevice, ...] = field(default=(), metadata=key("devices", array(late("LinuxDevice"))))
    #: Network devices to move into the container, by their name on the host.
    net_devices: Mapping[str, LinuxNetDevice] = field(
        factory=dict, hash=False, metadata=key("netDevices", mapping(late("LinuxNetDevice")))
    )
    #: System call filter.
    seccomp: LinuxSeccomp | None = field(default=None, metadata=key("seccomp", LinuxSeccomp))
    #: Mount propagation of the root: ``shared``, ``slave``, ``private`` or ``unbindable``.
    rootfs_propagation: str = field(default="", metadata=key("rootfsPropagation", STRING))
    #: Paths in the container that cannot be read.
    masked_paths: tuple[str, ...] = field(default=(), metadata=key("maskedPaths", _STRINGS))
    #: Paths in the container that cannot be written.
    readonly_paths: tuple[str, ...] = field(default=(), metadata=key("readonlyPaths", _STRINGS))
    #: SELinux context of the mounts.
    mount_label: str = field(default="", metadata=key("mountLabel", STRING))
    #: Intel RDT.
    intel_rdt: LinuxIntelRdt | None = field(default=None, metadata=key("intelRdt", late("LinuxIntelRdt")))
    #: NUMA memory policy.
    memory_policy: LinuxMemoryPolicy | None = field(
        default=None, metadata=key("memoryPolicy", late("LinuxMemoryPolicy"))
    )
    #: Execution domain.
    personality: LinuxPersonality | None = field(default=None, metadata=key("personality", late("LinuxPersonality")))
    #: Offsets of the time namespace, by clock (``monotonic``, ``boottime``).
    time_offsets: Mapping[str, LinuxTimeOffset] = field(
        factory=dict, hash=False, metadata=key("timeOffsets", mapping(late("LinuxTimeOffset")))
    )
