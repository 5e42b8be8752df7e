"""The cgroups of a new container: made where nobody else is, with their limits."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Final

from ocikit import _sys
from ocikit._fs import Descriptor
from ocikit.errors import CgroupError
from ocikit.runtime.cgroup_tree import frozen, populated, read_file, write_file
from ocikit.runtime.cgroups import UNIFIED, is_below
from ocikit.runtime.device_filter import device_program
from ocikit.runtime.limits import device_writes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ocikit.runtime.cgroups import Hierarchies
    from ocikit.runtime.devices import DeviceRule
    from ocikit.runtime.limits import Write

__all__ = ["apply", "check_free", "limit_devices", "make", "missing_parents"]

_CONTROLLERS_REMEDY: Final = "is the controller enabled for this cgroup, and does this kernel have it?"


def missing_parents(paths: Iterable[str], hierarchies: Hierarchies) -> tuple[str, ...]:
    """Return the directories above some cgroups that do not exist yet, the outermost first."""
    missing = set()
    mountpoints = {hierarchy.mountpoint for hierarchy in hierarchies.by_key.values()}
    for path in paths:
        parent = os.path.dirname(path)
        while any(is_below(parent, mountpoint) for mountpoint in mountpoints) and not os.path.isdir(parent):
            missing.add(parent)
            parent = os.path.dirname(parent)
    return tuple(sorted(missing))


def check_free(paths: Mapping[str, str]) -> None:
    """Check that no other processes are where a container is to be put.

    Raises:
        CgroupError: A cgroup has processes in it, or is frozen.
    """
    for key, path in paths.items():
        if os.path.isdir(path):
            in_use = "frozen" if frozen({key: path}) else "in use" if populated(path) else ""
            if in_use:
                remedy = f"it is {in_use}; end what is in it, or choose another linux.cgroupsPath"
                raise CgroupError("make cgroup", errno.EBUSY, path, remedy)


def make(paths: Mapping[str, str], hierarchies: Hierarchies, made: list[str]) -> None:
    """Make the cgroups of a container, with the directories above them.

    Args:
        paths: The cgroups.
        hierarchies: Of this host.
        made: Is told of each directory that did not exist before, the outermost first.

    Raises:
        CgroupError: One of them came into use by somebody else, or the kernel refuses.
    """
    for key, path in paths.items():
        mountpoint = hierarchies.by_key[key].mountpoint
        current = mountpoint
        for part in os.path.relpath(path, mountpoint).split("/"):
            if key == UNIFIED and hierarchies.v2_only:
                _enable_controllers(current)
            current = f"{current}/{part}"
            if _make_one(current, inherit=key == "cpuset"):
                made.append(current)
    check_free({key: path for key, path in paths.items() if path not in made})


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
            if not (read_file(f"{path}/{name}") or "").strip():
                value = read_file(f"{os.path.dirname(path)}/{name}") or ""
                with contextlib.suppress(OSError):
                    write_file(f"{path}/{name}", value.strip())
    return new


def _enable_controllers(path: str) -> None:
    """Let the children of a v2 cgroup have all its controllers; a limit that needs a missing one fails later."""
    available = (read_file(f"{path}/cgroup.controllers") or "").split()
    enabled = (read_file(f"{path}/cgroup.subtree_control") or "").split()
    wanted = [f"+{name}" for name in available if name not in enabled]
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


def apply(paths: Mapping[str, str], writes: Sequence[Write]) -> None:
    """Write limits.

    Raises:
        CgroupError: The controller is missing, or the kernel refuses the value.
    """
    for write in writes:
        if write.key not in paths:
            remedy = f"the controller {write.key!r} is not mounted; mount it, or remove the limit"
            raise CgroupError(f"set {write.field}", errno.ENOENT, write.file, remedy)
        path = f"{paths[write.key]}/{write.file}"
        try:
            write_file(path, write.value)
        except OSError as error:
            missing = error.errno in {errno.ENOENT, errno.EACCES, errno.EPERM}
            remedy = _CONTROLLERS_REMEDY if missing else f"the kernel does not accept {write.value!r}"
            raise CgroupError(f"set {write.field}", error.errno or errno.EIO, path, remedy) from error


def limit_devices(paths: Mapping[str, str], rules: Sequence[DeviceRule]) -> None:
    """Apply rules for devices: in the files of the v1 controller, or else by a program in the v2 cgroup.

    Raises:
        CgroupError: The kernel refuses, or there is neither of the two.
    """
    field = "$.linux.resources.devices"
    if "devices" in paths:
        apply(paths, device_writes(rules))
    elif UNIFIED in paths:
        try:
            with Descriptor(os.open(paths[UNIFIED], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as cgroup:
                _sys.attach_device_filter(cgroup.fd, device_program(rules))
        except OSError as error:
            remedy = "rules for devices on cgroup v2 take a kernel with CONFIG_CGROUP_BPF, CAP_BPF and CAP_NET_ADMIN"
            raise CgroupError(f"set {field}", error.errno or errno.EIO, paths[UNIFIED], remedy) from error
    else:
        remedy = "without cgroups a container could use every device of the host; mount the devices controller, or v2"
        raise CgroupError(f"set {field}", errno.ENOENT, None, remedy)
