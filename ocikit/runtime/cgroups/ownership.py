"""Which cgroups that a state names belong to its container: only those are emptied and removed.

A state may name anything, the root cgroup and that of another service included. The rule, with its reasons, is
docs/decisions/0004-cgroup-ownership.md; in short: strictly below a mounted hierarchy, neither this process's own
cgroup nor one above it, and shown to be the container's by something else than the name in the state. A cgroup without
that last proof is removed when it is empty, and never emptied.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from ocikit._tuples import NamedTuple
from ocikit.runtime.cgroups.hierarchies import directories, is_below
from ocikit.runtime.host.procfs import read

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocikit.runtime.cgroups.hierarchies import Hierarchies

__all__ = ["Claims", "judge", "members"]


class Claims(NamedTuple):
    """A container's cgroups, by what may be done with them."""

    #: Shown to be the container's: what is in them may be killed.
    proven: dict[str, str]
    #: Possibly the container's: removed when empty.
    unproven: dict[str, str]
    #: Never the container's, each with the reason.
    refused: dict[str, str]


def judge(
    paths: Mapping[str, str],
    hierarchies: Hierarchies,
    *,
    container_id: str,
    planned: Mapping[str, str],
    lived_in: Mapping[str, str],
) -> Claims:
    """Sort the cgroups that a state names.

    Args:
        paths: The cgroups, by controller.
        hierarchies: Of this host.
        container_id: Of the container.
        planned: What ocikit wrote down before it made the cgroups; empty for containers of others.
        lived_in: The cgroups that init is in, by controller; empty when it has ended (:func:`members`).
    """
    claims = Claims({}, {}, {})
    for key, path in paths.items():
        hierarchy = hierarchies.by_key.get(key)
        if hierarchy is None:
            claims.refused[path] = f"no hierarchy {key!r} is mounted"
        elif posixpath.normpath(path) != path or not is_below(path, hierarchy.mountpoint):
            claims.refused[path] = f"it is not below {hierarchy.mountpoint}"
        elif hierarchy.touches_own(path):
            claims.refused[path] = "this process is in it"
        elif planned.get(key) == path or _inside(lived_in.get(key), path) or posixpath.basename(path) == container_id:
            claims.proven[key] = path
        else:
            claims.unproven[key] = path
    return claims


def _inside(cgroup: str | None, path: str) -> bool:
    return cgroup is not None and (cgroup == path or is_below(cgroup, path))


def members(pid: int, hierarchies: Hierarchies | None = None) -> dict[str, str]:
    """Return the directories of the cgroups that a process is in, by controller; nothing when it is gone.

    Args:
        pid: The process.
        hierarchies: Those of this host, if they were looked for before.
    """
    mountinfo = hierarchies.mountinfo if hierarchies is not None else b""
    try:
        if not mountinfo:
            mountinfo = read("/proc/self/mountinfo")
        cgroups = read(f"/proc/{pid}/cgroup")
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return directories(mountinfo, cgroups)
