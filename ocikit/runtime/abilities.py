"""What this runtime can do, in the form of the specification (features.md): made from the tables that it works by."""

from __future__ import annotations

import contextlib
from typing import Final

from ocikit import __version__
from ocikit.errors import MissingDependencyError, NotSupportedError, UnsupportedFieldError
from ocikit.runtime.plan import capabilities, mount_options
from ocikit.runtime.plan.namespace_kinds import NAMESPACES
from ocikit.runtime.seccomp import codes
from ocikit.runtime.seccomp.kernel import supported_flags
from ocikit.runtime.seccomp.library import library
from ocikit.spec import RUNTIME_SPEC_VERSION, vocabulary
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

__all__ = ["features"]

#: The oldest version of the specification whose configurations are understood.
_OLDEST: Final = "1.0.0"


def features() -> Features:
    """Return what this runtime can do, whatever this host can.

    Only ``linux.seccomp.supportedFlags`` is about this host, as the specification has it.
    """
    return Features(
        oci_version_min=_OLDEST,
        oci_version_max=RUNTIME_SPEC_VERSION,
        hooks=vocabulary.HOOK_NAMES,
        mount_options=_mount_options(),
        linux=LinuxFeatures(
            namespaces=tuple(sorted(NAMESPACES)),
            capabilities=capabilities.NAMES,
            cgroup=CgroupFeatures(v1=True, v2=True, systemd=True, systemd_user=True, rdma=True),
            seccomp=_seccomp(),
            apparmor=AppArmorFeatures(enabled=True),
            selinux=SELinuxFeatures(enabled=True),
            intel_rdt=IntelRdtFeatures(enabled=True, schemata=True, monitoring=True),
            memory_policy=MemoryPolicyFeatures(
                modes=vocabulary.MEMORY_POLICY_MODES, flags=vocabulary.MEMORY_POLICY_FLAGS
            ),
            mount_extensions=MountExtensions(idmap=IDMapFeatures(enabled=_takes("idmap"))),
            net_devices=NetDevicesFeatures(enabled=True),
        ),
        annotations={"ocikit.version": __version__} | _libraries(),
        # What a caller must not pass on from somebody that it does not trust.
        potentially_unsafe_config_annotations=("bundle", "org.systemd.property."),
    )


def _libraries() -> dict[str, str]:
    with contextlib.suppress(MissingDependencyError, NotSupportedError):
        return {"io.github.seccomp.libseccomp.version": str(library().version)}
    return {}


def _mount_options() -> tuple[str, ...]:
    return tuple(sorted(name for name in vocabulary.MOUNT_OPTIONS if _takes(name)))


def _takes(option: str) -> bool:
    try:
        mount_options.parse((option,), "$")
    except UnsupportedFieldError:
        return False
    return True


def _seccomp() -> SeccompFeatures:
    return SeccompFeatures(
        enabled=True,
        actions=tuple(sorted(codes.ACTIONS)),
        operators=tuple(sorted(codes.OPERATORS)),
        archs=tuple(sorted(codes.ARCHITECTURES)),
        known_flags=tuple(sorted(codes.FLAGS)),
        supported_flags=tuple(sorted(supported_flags())),
    )
