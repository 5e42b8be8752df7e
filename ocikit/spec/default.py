"""The configuration that ``runc spec`` writes, for root and for users without privileges."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, TypeVar

from ocikit.errors import NotSupportedError
from ocikit.spec.linux import Linux, LinuxIDMapping, LinuxNamespace
from ocikit.spec.linux_resources import LinuxDeviceCgroup, LinuxResources
from ocikit.spec.runtime import LinuxCapabilities, Mount, POSIXRlimit, Process, Root

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocikit.spec.runtime import Spec

    SpecT = TypeVar("SpecT", bound=Spec)

__all__ = ["DEFAULT_CAPABILITIES", "DEFAULT_PATH", "MASKED_PATHS", "READONLY_PATHS", "default_spec"]

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


def default_spec(
    cls: type[SpecT], *, rootless: bool, cgroup_namespace: bool, uid: int | None, gid: int | None
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
            ambient=DEFAULT_CAPABILITIES,
        ),
        rlimits=(POSIXRlimit(type="RLIMIT_NOFILE", hard=1024, soft=1024),),
        no_new_privileges=True,
    )
    cgroup = ("cgroup",) if cgroup_namespace else ()
    return cls(
        process=process,
        root=Root(path="rootfs", readonly=True),
        hostname="runc",
        mounts=_mounts(rootless=rootless),
        linux=_rootless_linux(cgroup, _own(uid, "geteuid"), _own(gid, "getegid")) if rootless else _linux(cgroup),
    )


def _own(stated: int | None, getter: str) -> int:
    if stated is not None:
        return stated
    get: Callable[[], int] | None = getattr(os, getter, None)
    if get is None:
        raise NotSupportedError("users have no numeric ids on this platform; give uid and gid")
    return get()


def _mounts(*, rootless: bool) -> tuple[Mount, ...]:
    # A user without privileges cannot map the group of terminals, and may not mount sysfs on the host's network.
    terminals = ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", *(() if rootless else ("gid=5",)))
    sys = (
        Mount(destination="/sys", type="none", source="/sys", options=("rbind", *_INERT, "ro"))
        if rootless
        else Mount(destination="/sys", type="sysfs", source="sysfs", options=(*_INERT, "ro"))
    )
    return (
        Mount(destination="/proc", type="proc", source="proc"),
        Mount(
            destination="/dev",
            type="tmpfs",
            source="tmpfs",
            options=("nosuid", "strictatime", "mode=755", "size=65536k"),
        ),
        Mount(destination="/dev/pts", type="devpts", source="devpts", options=terminals),
        Mount(
            destination="/dev/shm",  # noqa: S108 - a path in the container
            type="tmpfs",
            source="shm",
            options=(*_INERT, "mode=1777", "size=65536k"),
        ),
        Mount(destination="/dev/mqueue", type="mqueue", source="mqueue", options=_INERT),
        sys,
        Mount(destination="/sys/fs/cgroup", type="cgroup", source="cgroup", options=(*_INERT, "relatime", "ro")),
    )


def _namespaces(*types: str) -> tuple[LinuxNamespace, ...]:
    return tuple(LinuxNamespace(type=name) for name in types)


def _linux(cgroup: tuple[str, ...]) -> Linux:
    return Linux(
        resources=LinuxResources(devices=(LinuxDeviceCgroup(allow=False, access="rwm"),)),
        namespaces=_namespaces("pid", "network", "ipc", "uts", "mount", *cgroup),
        masked_paths=MASKED_PATHS,
        readonly_paths=READONLY_PATHS,
    )


def _rootless_linux(cgroup: tuple[str, ...], uid: int, gid: int) -> Linux:
    return Linux(
        uid_mappings=(LinuxIDMapping(container_id=0, host_id=uid, size=1),),
        gid_mappings=(LinuxIDMapping(container_id=0, host_id=gid, size=1),),
        namespaces=_namespaces("pid", "ipc", "uts", "mount", *cgroup, "user"),
        masked_paths=MASKED_PATHS,
        readonly_paths=READONLY_PATHS,
    )
