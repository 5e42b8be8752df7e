"""The OCI specifications as typed classes: data only, nothing here opens a file.

* runtime specification 1.3.0: :class:`Spec` (config.json), :class:`State`, :class:`Features`;
* image specification 1.1: :class:`Descriptor`, :class:`Manifest`, :class:`Index`, :class:`Image`,
  :class:`ImageLayout`, and Docker's :class:`DockerManifest` and :class:`DockerManifestList`;
* :class:`Digest` and :class:`Timestamp`, and the conversions :func:`image_to_runtime` and :func:`rootless`;
* words of the specifications: :mod:`~ocikit.spec.mediatypes`, :mod:`~ocikit.spec.annotation_keys`,
  :mod:`~ocikit.spec.vocabulary`.

Every class reads (``from_json``), writes (``to_json``), reports what it violates
(``validate``, ``check``) and keeps fields it does not know (``extra``). Each name is
loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ocikit.spec import annotation_keys, mediatypes, vocabulary
    from ocikit.spec._document import Document
    from ocikit.spec.conversion import image_to_runtime, resolve_user, tmpfs_volume
    from ocikit.spec.default import rootless
    from ocikit.spec.descriptor import DESCRIPTOR_EMPTY_JSON, Descriptor, Platform
    from ocikit.spec.digest import Digest
    from ocikit.spec.docker import DockerManifest, DockerManifestList
    from ocikit.spec.features import (
        AppArmorFeatures,
        CgroupFeatures,
        Features,
        IDMapFeatures,
        IntelRdtFeatures,
        LinuxFeatures,
        MemoryPolicyFeatures,
        MountExtensions,
        NetDevicesFeatures,
        SeccompFeatures,
        SELinuxFeatures,
    )
    from ocikit.spec.hooks import Hook, Hooks
    from ocikit.spec.image import (
        IMAGE_BLOBS_DIR,
        IMAGE_INDEX_FILE,
        IMAGE_LAYOUT_FILE,
        IMAGE_LAYOUT_VERSION,
        History,
        Image,
        ImageConfig,
        ImageLayout,
        Index,
        Manifest,
        RootFS,
    )
    from ocikit.spec.linux import Linux, LinuxNamespace
    from ocikit.spec.linux_limits import (
        LinuxBlockIO,
        LinuxCPU,
        LinuxHugepageLimit,
        LinuxInterfacePriority,
        LinuxMemory,
        LinuxNetwork,
        LinuxPids,
        LinuxRdma,
        LinuxThrottleDevice,
        LinuxWeightDevice,
    )
    from ocikit.spec.linux_resources import LinuxDeviceCgroup, LinuxResources
    from ocikit.spec.linux_special import (
        LinuxDevice,
        LinuxIDMapping,
        LinuxIntelRdt,
        LinuxMemoryPolicy,
        LinuxNetDevice,
        LinuxPersonality,
        LinuxTimeOffset,
    )
    from ocikit.spec.process_special import Box, CPUAffinity, LinuxIOPriority, Scheduler
    from ocikit.spec.runtime import (
        RUNTIME_SPEC_VERSION,
        LinuxCapabilities,
        Mount,
        POSIXRlimit,
        Process,
        Root,
        Spec,
        User,
    )
    from ocikit.spec.seccomp import LinuxSeccomp, LinuxSeccompArg, LinuxSyscall
    from ocikit.spec.state import ContainerProcessState, State
    from ocikit.spec.timestamp import Timestamp
    from ocikit.spec.users import GroupEntry, PasswdEntry, UserDatabase, UserLookup, parse_id
    from ocikit.spec.violation import Violation

__all__ = [
    "DESCRIPTOR_EMPTY_JSON",
    "IMAGE_BLOBS_DIR",
    "IMAGE_INDEX_FILE",
    "IMAGE_LAYOUT_FILE",
    "IMAGE_LAYOUT_VERSION",
    "RUNTIME_SPEC_VERSION",
    "AppArmorFeatures",
    "Box",
    "CPUAffinity",
    "CgroupFeatures",
    "ContainerProcessState",
    "Descriptor",
    "Digest",
    "DockerManifest",
    "DockerManifestList",
    "Document",
    "Features",
    "GroupEntry",
    "History",
    "Hook",
    "Hooks",
    "IDMapFeatures",
    "Image",
    "ImageConfig",
    "ImageLayout",
    "Index",
    "IntelRdtFeatures",
    "Linux",
    "LinuxBlockIO",
    "LinuxCPU",
    "LinuxCapabilities",
    "LinuxDevice",
    "LinuxDeviceCgroup",
    "LinuxFeatures",
    "LinuxHugepageLimit",
    "LinuxIDMapping",
    "LinuxIOPriority",
    "LinuxIntelRdt",
    "LinuxInterfacePriority",
    "LinuxMemory",
    "LinuxMemoryPolicy",
    "LinuxNamespace",
    "LinuxNetDevice",
    "LinuxNetwork",
    "LinuxPersonality",
    "LinuxPids",
    "LinuxRdma",
    "LinuxResources",
    "LinuxSeccomp",
    "LinuxSeccompArg",
    "LinuxSyscall",
    "LinuxThrottleDevice",
    "LinuxTimeOffset",
    "LinuxWeightDevice",
    "Manifest",
    "MemoryPolicyFeatures",
    "Mount",
    "MountExtensions",
    "NetDevicesFeatures",
    "POSIXRlimit",
    "PasswdEntry",
    "Platform",
    "Process",
    "Root",
    "RootFS",
    "SELinuxFeatures",
    "Scheduler",
    "SeccompFeatures",
    "Spec",
    "State",
    "Timestamp",
    "User",
    "UserDatabase",
    "UserLookup",
    "Violation",
    "annotation_keys",
    "image_to_runtime",
    "mediatypes",
    "parse_id",
    "resolve_user",
    "rootless",
    "tmpfs_volume",
    "vocabulary",
]

# Names by the module that has them.
_CONTENTS = {
    "_document": "Document",
    "conversion": "image_to_runtime resolve_user tmpfs_volume",
    "default": "rootless",
    "descriptor": "DESCRIPTOR_EMPTY_JSON Descriptor Platform",
    "digest": "Digest",
    "docker": "DockerManifest DockerManifestList",
    "features": (
        "AppArmorFeatures CgroupFeatures Features IDMapFeatures IntelRdtFeatures LinuxFeatures "
        "MemoryPolicyFeatures MountExtensions NetDevicesFeatures SELinuxFeatures SeccompFeatures"
    ),
    "hooks": "Hook Hooks",
    "image": (
        "History IMAGE_BLOBS_DIR IMAGE_INDEX_FILE IMAGE_LAYOUT_FILE IMAGE_LAYOUT_VERSION Image ImageConfig "
        "ImageLayout Index Manifest RootFS"
    ),
    "linux": "Linux LinuxNamespace",
    "linux_limits": (
        "LinuxBlockIO LinuxCPU LinuxHugepageLimit LinuxInterfacePriority LinuxMemory LinuxNetwork LinuxPids LinuxRdma "
        "LinuxThrottleDevice LinuxWeightDevice"
    ),
    "linux_resources": "LinuxDeviceCgroup LinuxResources",
    "linux_special": (
        "LinuxDevice LinuxIDMapping LinuxIntelRdt LinuxMemoryPolicy LinuxNetDevice LinuxPersonality LinuxTimeOffset"
    ),
    "process_special": "Box CPUAffinity LinuxIOPriority Scheduler",
    "runtime": "LinuxCapabilities Mount POSIXRlimit Process RUNTIME_SPEC_VERSION Root Spec User",
    "seccomp": "LinuxSeccomp LinuxSeccompArg LinuxSyscall",
    "state": "ContainerProcessState State",
    "timestamp": "Timestamp",
    "users": "GroupEntry PasswdEntry UserDatabase UserLookup parse_id",
    "violation": "Violation",
}
_HOMES = {name: module for module, names in _CONTENTS.items() for name in names.split()}
_ROOMS = frozenset({"annotation_keys", "mediatypes", "vocabulary"})


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name in _ROOMS:
        return import_module(f"ocikit.spec.{name}")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'ocikit.spec' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"ocikit.spec.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
