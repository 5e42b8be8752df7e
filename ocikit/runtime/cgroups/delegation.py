"""Which cgroups a user who is not root may make, and which limits it may set in them: what has been delegated to it.

On v2, systemd delegates to each user the part of the tree below ``user@UID.service``, with some controllers; anybody
else can delegate by giving away a directory (cgroups(7), "Cgroups delegation"). On v1 hardly anybody does. A container
without limits needs no cgroup, and goes without one where none can be made, as with runc.
"""

from __future__ import annotations

import errno
import os
import posixpath
from typing import TYPE_CHECKING, Final

from ocikit.errors import CgroupError
from ocikit.runtime.cgroups.files import read_file
from ocikit.runtime.cgroups.hierarchies import UNIFIED, is_below

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ocikit.runtime.cgroups.hierarchies import Hierarchies
    from ocikit.runtime.limits import Write

__all__ = ["check_limits", "delegated"]

_SCOPE: Final = "systemd-run --user --scope --property=Delegate=yes"
_NO_V1: Final = (
    "user {uid} may not make cgroups for the controller {key!r} of cgroup v1, which is not delegated to users; run as "
    "root, or on a host with cgroup v2, or remove the limit"
)
_NO_V2: Final = (
    "user {uid} may not make cgroups here; run this program in a cgroup that is delegated to the user, as "
    f"'{_SCOPE} …' does, or remove the limit"
)
_NO_CONTROLLER: Final = (
    "the controller {controller!r} is not delegated to user {uid}, who has {has} in {where}; as root, add it: "
    "'systemctl edit user@.service' with the lines '[Service]' and 'Delegate=cpu cpuset io memory pids'"
)
_OCCUPIED: Final = (
    "there are processes in {where}, hence no limits in the cgroups below it; run this program in a cgroup of its own "
    f"below that one, as '{_SCOPE} …' does"
)
_NAMED: Final = (
    "user {uid} may not make it; remove linux.cgroupsPath (a container without limits needs no cgroup), or name one "
    "that is delegated to the user"
)


def delegated(
    paths: Mapping[str, str], hierarchies: Hierarchies, *, container_id: str, wanted: str, uid: int
) -> dict[str, str]:
    """Return those of a container's cgroups that this process may make, and put its child into.

    Args:
        paths: Where they would be, by hierarchy.
        hierarchies: Of this host.
        container_id: The container; on v2 its cgroup may have to be below that of this process, instead of beside it.
        wanted: ``linux.cgroupsPath``; where it is set, all of them are needed.
        uid: This user, for errors.

    Raises:
        CgroupError: The configuration names one that cannot be made.
    """
    found = {}
    for key, beside in paths.items():
        own = hierarchies.by_key[key].own
        places = (beside, f"{own}/{container_id}") if key == UNIFIED and not wanted else (beside,)
        path = next((one for one in places if _may_make(one) and (key != UNIFIED or _may_move(own, one))), None)
        if path is not None:
            found[key] = path
        elif wanted:
            raise CgroupError("make cgroup", errno.EACCES, beside, _NAMED.format(uid=uid))
    return found


def _may_make(path: str) -> bool:
    return os.access(_existing(path), os.W_OK | os.X_OK, effective_ids=True)


def _existing(path: str) -> str:
    """Return the cgroup that the first directory that is missing would be made in; the path itself if none is."""
    while not os.path.isdir(path) and path != "/":
        path = posixpath.dirname(path)
    return path


def _may_move(origin: str, target: str) -> bool:
    """Tell whether a child may go from one v2 cgroup to another: it takes the right to both, and to what they share."""
    common = origin if is_below(target, origin) else posixpath.commonpath((origin, target))
    return os.access(f"{common}/cgroup.procs", os.W_OK, effective_ids=True)


def check_limits(writes: Sequence[Write], paths: Mapping[str, str], planned: Mapping[str, str], uid: int) -> None:
    """Check that limits can be set, before anything is made.

    Args:
        writes: The limits.
        paths: What :func:`delegated` returned.
        planned: What it was given.
        uid: This user, for errors.

    Raises:
        CgroupError: One of them cannot be; says which controller is missing, and what to do.
    """
    for write in writes:
        if write.key in paths:
            reason = _no_controller(write, paths[write.key], uid) if write.key == UNIFIED else None
        elif write.key in planned and not write.optional:
            reason = (_NO_V2 if write.key == UNIFIED else _NO_V1).format(uid=uid, key=write.key)
        else:
            continue
        if reason is not None:
            where = f"{planned[write.key]}/{write.file}"
            raise CgroupError(f"set {write.field}", errno.EACCES, where, reason)


def _no_controller(write: Write, path: str, uid: int) -> str | None:
    """Return why a limit cannot be set in a v2 cgroup; None when it can."""
    controller = write.file.partition(".")[0]
    if controller == "cgroup" or write.optional:
        return None  # the kernel's own, for which there is no controller
    where = _existing(posixpath.dirname(path))
    has = (read_file(f"{where}/cgroup.controllers") or "").split()
    if controller not in has:
        found = ", ".join(has) or "none"
        return _NO_CONTROLLER.format(controller=controller, uid=uid, has=found, where=where)
    enabled = (read_file(f"{where}/cgroup.subtree_control") or "").split()
    if controller not in enabled and (read_file(f"{where}/cgroup.procs") or "").strip():
        return _OCCUPIED.format(where=where)
    return None
