"""The configuration that ``runc spec`` writes, for root and for users without privileges."""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING, Final, TypeVar

from attrs import evolve

from ocikit.errors import NotSupportedError
from ocikit.spec.linux import Linux, LinuxNamespace
from ocikit.spec.linux_resources import LinuxDeviceCgroup, LinuxResources
from ocikit.spec.linux_special import LinuxIDMapping
from ocikit.spec.runtime import LinuxCapabilities, Mount, POSIXRlimit, Process, Root

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocikit.spec.runtime import Spec

    SpecT = TypeVar("SpecT", bound=Spec)

__all__ = ["DEFAULT_CAPABILITIES", "DEFAULT_PATH", "MASKED_PATHS", "READONLY_PATHS", "default_spec", "rootless"]

#: Where programs are looked for when nobody says otherwise, as an environment entry.
DEFAULT_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#: What the process of a container may do beyond an ordinary user.
DEFAULT_CAPABILITIES: Final = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")

#: Paths that tell more about the host than a container should know.
MASKED_PATHS: Final = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
)

#: Paths through which a container could change its host.
READONLY_PATHS: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_INERT: Final = ("nosuid", "noexec", "nodev")

#: In the order of ``runc spec``.
_MOUNTS: Final = (
    Mount(destination="/proc", type="proc", source="proc"),
    Mount(
        destination="/dev",
        type="tmpfs",
        source="tmpfs",
        options=("nosuid", "strictatime", "mode=755", "size=65536k"),
    ),
    Mount(
        destination="/dev/pts",
        type="devpts",
        source="devpts",
        options=("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
    ),
    Mount(
        destination="/dev/shm",  # noqa: S108 - a path in the container
        type="tmpfs",
        source="shm",
        options=(*_INERT, "mode=1777", "size=65536k"),
    ),
    Mount(destination="/dev/mqueue", type="mqueue", source="mqueue", options=_INERT),
    Mount(destination="/sys", type="sysfs", source="sysfs", options=(*_INERT, "ro")),
    Mount(destination="/sys/fs/cgroup", type="cgroup", source="cgroup", options=(*_INERT, "relatime", "ro")),
)

_NAMESPACES: Final = ("pid", "network", "ipc", "uts", "mount")


def default_spec(
    cls: type[SpecT], *, privileged: bool, cgroup_namespace: bool, uid: int | None, gid: int | None
) -> SpecT:
    """The specification behind :meth:`ocikit.spec.Spec.default`."""
    process = Process(
        terminal=True,
        args=("sh",),
        env=(DEFAULT_PATH, "TERM=xterm"),
        cwd="/",
        capabilities=LinuxCapabilities(
            bounding=DEFAULT_CAPABILITIES,
            effective=DEFAULT_CAPABILITIES,
            permitted=DEFAULT_CAPABILITIES,
        ),
        rlimits=(POSIXRlimit(type="RLIMIT_NOFILE", hard=1024, soft=1024),),
        no_new_privileges=True,
    )
    cgroup = ("cgroup",) if cgroup_namespace else ()
    spec = cls(
        process=process,
        root=Root(path="rootfs", readonly=True),
        hostname="runc",
        mounts=_MOUNTS,
        linux=Linux(
            resources=LinuxResources(devices=(LinuxDeviceCgroup(allow=False, access="rwm"),)),
            namespaces=tuple(LinuxNamespace(type=name) for name in (*_NAMESPACES, *cgroup)),
            masked_paths=MASKED_PATHS,
            readonly_paths=READONLY_PATHS,
        ),
    )
    return spec if privileged else rootless(spec, uid=uid, gid=gid)


def rootless(spec: SpecT, *, uid: int | None = None, gid: int | None = None) -> SpecT:
    """Turn a configuration for root into one for a user without privileges, as ``runc spec --rootless`` does.

    It gets a user namespace that maps the container's root to that user, the host's network, ``/sys`` bound from the
    host, and loses its limits and what names other users in options of mounts. Everything else stays as it is:
    ``process.user`` must be root for the kernel to take it.

    Args:
        spec: The configuration.
        uid: The user; None is the caller.
        gid: The user's group; None is the caller's.

    Raises:
        NotSupportedError: Without uid and gid on a platform without numeric ids.
    """
    linux = spec.linux or Linux()
    kept = tuple(one for one in linux.namespaces if one.type not in {"network", "user"})
    return evolve(
        spec,
        mounts=tuple(map(_without_owners, spec.mounts)),
        linux=evolve(
            linux,
            namespaces=(*kept, LinuxNamespace(type="user")),
            uid_mappings=(LinuxIDMapping(container_id=0, host_id=_own(uid, "geteuid"), size=1),),
            gid_mappings=(LinuxIDMapping(container_id=0, host_id=_own(gid, "getegid"), size=1),),
            resources=None,
        ),
    )


def _without_owners(mount: Mount) -> Mount:
    if posixpath.normpath("/" + mount.destination.lstrip("/")) == "/sys":
        # A sysfs shows the network, which is the host's.
        return Mount(destination="/sys", type="none", source="/sys", options=("rbind", *_INERT, "ro"))
    options = tuple(one for one in mount.options if not one.startswith(("uid=", "gid=")))
    return evolve(mount, options=options)


def _own(stated: int | None, getter: str) -> int:
    if stated is not None:
        return stated
    get: Callable[[], int] | None = getattr(os, getter, None)
    if get is None:
        raise NotSupportedError("users have no numeric ids on this platform; give uid and gid")
    return get()
