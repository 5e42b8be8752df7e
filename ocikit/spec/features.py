"""What a runtime can do: the features structure (features.md, features-linux.md).

Everywhere but in the versions, None means that nothing is known; an empty tuple or False
means that there is no support. The two are kept apart in both directions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

from ocikit.spec._document import Document, key
from ocikit.spec._kinds import BOOLEAN, STRING, Kind, array, mapping

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AppArmorFeatures",
    "CgroupFeatures",
    "Features",
    "IDMapFeatures",
    "IntelRdtFeatures",
    "LinuxFeatures",
    "MemoryPolicyFeatures",
    "MountExtensions",
    "NetDevicesFeatures",
    "SELinuxFeatures",
    "SeccompFeatures",
]

_STRINGS: Kind = array(STRING)


@frozen(kw_only=True, repr=False, eq=False)
class CgroupFeatures(Document):
    """Cgroup managers that the runtime has."""

    #: Cgroup v1.
    v1: bool | None = field(default=None, metadata=key("v1", BOOLEAN))
    #: Cgroup v2.
    v2: bool | None = field(default=None, metadata=key("v2", BOOLEAN))
    #: The system's systemd.
    systemd: bool | None = field(default=None, metadata=key("systemd", BOOLEAN))
    #: A user's systemd.
    systemd_user: bool | None = field(default=None, metadata=key("systemdUser", BOOLEAN))
    #: The RDMA controller.
    rdma: bool | None = field(default=None, metadata=key("rdma", BOOLEAN))


@frozen(kw_only=True, repr=False, eq=False)
class SeccompFeatures(Document):
    """System call filtering."""

    #: Whether there is any.
    enabled: bool | None = field(default=None, metadata=key("enabled", BOOLEAN))
    #: Actions such as ``SCMP_ACT_ERRNO``.
    actions: tuple[str, ...] | None = field(default=None, metadata=key("actions", _STRINGS))
    #: Operators such as ``SCMP_CMP_EQ``.
    operators: tuple[str, ...] | None = field(default=None, metadata=key("operators", _STRINGS))
    #: Architectures such as ``SCMP_ARCH_X86_64``.
    archs: tuple[str, ...] | None = field(default=None, metadata=key("archs", _STRINGS))
    #: Filter flags that are recognised.
    known_flags: tuple[str, ...] | None = field(default=None, metadata=key("knownFlags", _STRINGS))
    #: Filter flags that work with the kernel and libraries at hand.
    supported_flags: tuple[str, ...] | None = field(default=None, metadata=key("supportedFlags", _STRINGS))


@frozen(kw_only=True, repr=False, eq=False)
class AppArmorFeatures(Document):
    """AppArmor profiles."""

    #: Whether they can be set.
    enabled: bool | None = field(default=None, metadata=key("enabled", BOOLEAN))


@frozen(kw_only=True, repr=False, eq=False)
class SELinuxFeatures(Document):
    """SELinux labels."""

    #: Whether they can be set.
    enabled: bool | None = field(default=None, metadata=key("enabled", BOOLEAN))


@frozen(kw_only=True, repr=False, eq=False)
class IntelRdtFeatures(Document):
    """Intel Resource Director Technology."""

    #: Whether there is any support.
    enabled: bool | None = field(default=None, metadata=key("enabled", BOOLEAN))
    #: Whether ``linux.intelRdt.schemata`` is supported.
    schemata: bool | None = field(default=None, metadata=key("schemata", BOOLEAN))
    #: Whether ``linux.intelRdt.enableMonitoring`` is supported.
    monitoring: bool | None = field(default=None, metadata=key("monitoring", BOOLEAN))


@frozen(kw_only=True, repr=False, eq=False)
class MemoryPolicyFeatures(Document):
    """NUMA memory policies."""

    #: Modes such as ``MPOL_BIND``.
    modes: tuple[str, ...] | None = field(default=None, metadata=key("modes", _STRINGS))
    #: Flags such as ``MPOL_F_STATIC_NODES``.
    flags: tuple[str, ...] | None = field(default=None, metadata=key("flags", _STRINGS))


@frozen(kw_only=True, repr=False, eq=False)
class IDMapFeatures(Document):
    """Mounts with id mappings."""

    #: Whether they are recognised.
    enabled: bool | None = field(default=None, metadata=key("enabled", BOOLEAN))


@frozen(kw_only=True, repr=False, eq=False)
class MountExtensions(Document):
    """Mount features beyond options."""

    #: Mounts with id mappings.
    idmap: IDMapFeatures | None = field(default=None, metadata=key("idmap", IDMapFeatures))


@frozen(kw_only=True, repr=False, eq=False)
class NetDevicesFeatures(Document):
    """Network devices that are moved into the container."""

    #: Whether they can be.
    enabled: bool | None = field(default=None, metadata=key("enabled", BOOLEAN))


@frozen(kw_only=True, repr=False, eq=False)
class LinuxFeatures(Document):
    """What the runtime can do for Linux containers."""

    #: Namespaces such as ``mount``.
    namespaces: tuple[str, ...] | None = field(default=None, metadata=key("namespaces", _STRINGS))
    #: Capabilities such as ``CAP_SYS_ADMIN``.
    capabilities: tuple[str, ...] | None = field(default=None, metadata=key("capabilities", _STRINGS))
    #: Cgroup managers.
    cgroup: CgroupFeatures | None = field(default=None, metadata=key("cgroup", CgroupFeatures))
    #: System call filtering.
    seccomp: SeccompFeatures | None = field(default=None, metadata=key("seccomp", SeccompFeatures))
    #: AppArmor profiles.
    apparmor: AppArmorFeatures | None = field(default=None, metadata=key("apparmor", AppArmorFeatures))
    #: SELinux labels.
    selinux: SELinuxFeatures | None = field(default=None, metadata=key("selinux", SELinuxFeatures))
    #: Intel RDT.
    intel_rdt: IntelRdtFeatures | None = field(default=None, metadata=key("intelRdt", IntelRdtFeatures))
    #: NUMA memory policies.
    memory_policy: MemoryPolicyFeatures | None = field(default=None, metadata=key("memoryPolicy", MemoryPolicyFeatures))
    #: Mount features beyond options.
    mount_extensions: MountExtensions | None = field(default=None, metadata=key("mountExtensions", MountExtensions))
    #: Network devices that are moved into the container.
    net_devices: NetDevicesFeatures | None = field(default=None, metadata=key("netDevices", NetDevicesFeatures))


@frozen(kw_only=True, repr=False, eq=False)
class Features(Document):
    """What a runtime can do, whatever the host can."""

    #: The oldest version of the runtime specification that is recognised; REQUIRED.
    oci_version_min: str = field(metadata=key("ociVersionMin", STRING, absent=""))
    #: The newest version of the runtime specification that is recognised; REQUIRED.
    oci_version_max: str = field(metadata=key("ociVersionMax", STRING, absent=""))
    #: Kinds of hooks such as ``createRuntime``.
    hooks: tuple[str, ...] | None = field(default=None, metadata=key("hooks", _STRINGS))
    #: Mount options that are not passed on to the file system.
    mount_options: tuple[str, ...] | None = field(default=None, metadata=key("mountOptions", _STRINGS))
    #: What the runtime can do for Linux containers.
    linux: LinuxFeatures | None = field(default=None, metadata=key("linux", LinuxFeatures))
    #: Arbitrary metadata about the runtime.
    annotations: Mapping[str, str] | None = field(
        default=None, hash=False, metadata=key("annotations", mapping(STRING))
    )
    #: Annotations in config.json that may change what the runtime does; with a dot at the end, prefixes of them.
    potentially_unsafe_config_annotations: tuple[str, ...] | None = field(
        default=None, metadata=key("potentiallyUnsafeConfigAnnotations", _STRINGS)
    )
