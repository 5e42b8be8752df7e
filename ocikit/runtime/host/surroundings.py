"""What a plan has to know of this host: which namespaces are its own, what ids mean here, where users are at home."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from ocikit import _fs
from ocikit.runtime.host.procfs import unescape
from ocikit.runtime.plan.environment import names_home
from ocikit.runtime.plan.namespace_kinds import NAMESPACES
from ocikit.runtime.plan.users import ranges_of, to_host

if TYPE_CHECKING:
    from ocikit.spec import Spec

__all__ = [
    "has_users",
    "home",
    "home_of",
    "host_ids",
    "namespaces_of_host",
    "owner",
    "revealing_mounts",
]

_MAX_PASSWD_BYTES = 1024 * 1024


def namespaces_of_host(spec: Spec) -> frozenset[str]:
    """Return the types of the namespaces that have a path and are those of this process."""
    namespaces = spec.linux.namespaces if spec.linux is not None else ()
    found = set()
    for one in namespaces:
        # A path that leads nowhere is an error of the step that joins it, which says so, and so is an unknown type.
        with contextlib.suppress(OSError, ValueError, KeyError):
            if one.path and os.path.samefile(one.path, f"/proc/self/ns/{NAMESPACES[one.type].file}"):
                found.add(one.type)
    return frozenset(found)


def revealing_mounts() -> tuple[str, ...]:
    """Return where this host has a procfs or sysfs mounted as a whole, those inside others first.

    As long as one of these is in the mount namespace of a container, the kernel lets those in it who are root in a user
    namespace of their own mount another one, without what is masked in the container's.
    """
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            _, _, _, root, where = before.split(" ")[:5]
            if root == "/" and after.split(" ")[0] in {"proc", "sysfs"}:
                found.append(unescape(where))
    return tuple(reversed(found))


def has_users(spec: Spec) -> bool:
    """Tell whether a configuration makes or joins a user namespace."""
    return spec.linux is not None and any(one.type == "user" for one in spec.linux.namespaces)


def host_ids(spec: Spec, uid: int, gid: int) -> tuple[int, int]:
    """Return what ids of the container are on this host; as they are, if nothing is known about them."""
    if spec.linux is None:
        return uid, gid
    on_host = (
        to_host(ranges_of(spec.linux.uid_mappings), uid),
        to_host(ranges_of(spec.linux.gid_mappings), gid),
    )
    return uid if on_host[0] is None else on_host[0], gid if on_host[1] is None else on_host[1]


def owner(spec: Spec) -> tuple[int, int] | None:
    """Return user and group of the container's process on this host."""
    user = spec.process.user if spec.process is not None else None
    return host_ids(spec, user.uid, user.gid) if user is not None else None


def home(spec: Spec, bundle: str) -> str | None:
    """Return the home directory of the container's user; None when the configuration says it, or has no process."""
    process, root = spec.process, spec.root
    if process is None or root is None or names_home(process.env):
        return None
    return home_of(process.user.uid, os.path.join(bundle, root.path))


def home_of(uid: int, rootfs: str) -> str:
    """Return the home directory that the container's own passwd gives a user; the root when it gives none."""
    # A path with a NUL in it is for the plan to refuse.
    with contextlib.suppress(OSError, ValueError), contextlib.ExitStack() as stack:
        root = stack.enter_context(_fs.Descriptor(os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)))
        # Not opened before it is known to be a file: to open a device or a fifo may do something.
        found = stack.enter_context(_fs.Descriptor(_fs.open_in_root(root.fd, "etc/passwd", os.O_PATH)))
        if os.path.isfile(f"/proc/self/fd/{found.fd}"):
            from ocikit.spec.users import UserDatabase  # noqa: PLC0415 - only for roots with users

            with open(f"/proc/self/fd/{found.fd}", "rb") as file:
                entry = UserDatabase.parse(passwd=file.read(_MAX_PASSWD_BYTES)).user(uid)
            if entry is not None and entry.home and "\0" not in entry.home:
                return entry.home
    return "/"
