"""The cgroups of a new container: made where nobody else is."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from ocikit.errors import CgroupError
from ocikit.runtime.cgroups.files import read_file, write_file
from ocikit.runtime.cgroups.freezer import frozen, frozen_above
from ocikit.runtime.cgroups.hierarchies import UNIFIED, is_below
from ocikit.runtime.cgroups.tree import populated

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from ocikit.runtime.cgroups.hierarchies import Hierarchies
    from ocikit.runtime.limits import Write

__all__ = ["check_free", "enable", "make", "missing_parents", "needed"]


def missing_parents(paths: Iterable[str], hierarchies: Hierarchies) -> tuple[str, ...]:
    """Return the directories above some cgroups that do not exist yet, the outermost first."""
    missing = set()
    mountpoints = {hierarchy.mountpoint for hierarchy in hierarchies.by_key.values()}
    for path in paths:
        parent = os.path.dirname(path)
        while not _is_there(parent, mountpoints) and any(is_below(parent, mountpoint) for mountpoint in mountpoints):
            missing.add(parent)
            parent = os.path.dirname(parent)
    return tuple(sorted(missing))


def _is_there(directory: str, mountpoints: Collection[str]) -> bool:
    """Tell whether a directory exists; a mount point does, and most cgroups are made right below one."""
    return directory in mountpoints or os.path.isdir(directory)


def check_free(paths: Mapping[str, str]) -> None:
    """Check that no other processes are where a container is to be put.

    Raises:
        CgroupError: A cgroup has processes in it, or is frozen.
    """
    for key, path in paths.items():
        if os.path.isdir(path):
            in_use = "unexpectedly frozen" if frozen({key: path}) else "is not empty" if populated(path) else ""
            if in_use:
                remedy = f"container's cgroup {in_use}; end what is in it, or choose another linux.cgroupsPath"
                raise CgroupError("make cgroup", errno.EBUSY, path, remedy)
    above = frozen_above(paths)
    if above is not None:
        remedy = "it is frozen, and so would be everything below it; thaw it, or choose another linux.cgroupsPath"
        raise CgroupError("make cgroup", errno.EBUSY, above, remedy)


def needed(writes: Iterable[Write]) -> frozenset[str]:
    """Return the controllers of v2 that some limits need."""
    return frozenset(write.file.partition(".")[0] for write in writes if write.key == UNIFIED)


def make(
    paths: Mapping[str, str], hierarchies: Hierarchies, made: list[str], controllers: Collection[str] = ()
) -> None:
    """Make the cgroups of a container, with the directories above them.

    Args:
        paths: The cgroups.
        hierarchies: Of this host.
        made: Is told of each directory that did not exist before, the outermost first.
        controllers: What the container needs of a v2 hierarchy beside v1. Where v2 is all there is, it gets them all.

    Raises:
        CgroupError: One of them came into use by somebody else, or the kernel refuses.
    """
    for key, path in paths.items():
        mountpoint = hierarchies.by_key[key].mountpoint
        enabling = key == UNIFIED and (hierarchies.v2_only or controllers)
        is_there = not enabling and _is_there(os.path.dirname(path), (mountpoint,))
        above = [] if is_there else _directories(path, mountpoint)
        current = mountpoint
        for directory in above or [path]:
            if enabling:
                _enable(current, None if hierarchies.v2_only else controllers)
            current = directory
            if _make_one(current, inherit=key == "cpuset"):
                made.append(current)
    check_free({key: path for key, path in paths.items() if path not in made})


def _directories(path: str, mountpoint: str) -> list[str]:
    """Return a cgroup and those above it, up to a mount point, the outermost first."""
    parts = os.path.relpath(path, mountpoint).split("/")
    return ["/".join((mountpoint, *parts[: count + 1])) for count in range(len(parts))]


def _make_one(path: str, *, inherit: bool) -> bool:
    """Make a cgroup unless it exists; return whether it is new."""
    new = True
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        new = False
    except OSError as error:
        raise CgroupError("make cgroup", error.errno or errno.EIO, path) from error
    if inherit:
        # A new v1 cpuset is empty, and nothing can run in an empty one.
        for name in ("cpuset.cpus", "cpuset.mems"):
            if new or not (read_file(f"{path}/{name}") or "").strip():
                value = read_file(f"{os.path.dirname(path)}/{name}") or ""
                with contextlib.suppress(OSError):
                    write_file(f"{path}/{name}", value.strip())
    return new


def enable(path: str, hierarchies: Hierarchies, controllers: Collection[str]) -> None:
    """Let an existing v2 cgroup have some controllers; a limit that needs a missing one fails later."""
    current = hierarchies.by_key[UNIFIED].mountpoint
    for part in os.path.relpath(path, current).split("/"):
        _enable(current, controllers)
        current = f"{current}/{part}"


def _enable(path: str, controllers: Collection[str] | None) -> None:
    """Let the children of a v2 cgroup have some of its controllers, or all."""
    if controllers is not None and not controllers:
        return
    available = (read_file(f"{path}/cgroup.controllers") or "").split()
    enabled = (read_file(f"{path}/cgroup.subtree_control") or "").split()
    wanted = [f"+{name}" for name in available if name not in enabled and (controllers is None or name in controllers)]
    if not wanted:
        return
    # All at once, else each on its own: one that cannot be enabled keeps no other back.
    for request in (" ".join(wanted), *(wanted if len(wanted) > 1 else ())):
        try:
            write_file(f"{path}/cgroup.subtree_control", request)
        except OSError:
            continue
        if request == " ".join(wanted):
            return
