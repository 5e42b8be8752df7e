"""Limits are written into the files of cgroups, and taken back when a later one fails.

What to write is decided elsewhere (``limits``). What cannot be written is an error with the field that asked for it:
none is left out, but for those that say what the kernel does anyway.
"""

from __future__ import annotations

import errno
import itertools
import os
from typing import TYPE_CHECKING, Final

from ocikit import _sys
from ocikit._fs import Descriptor
from ocikit.errors import CgroupError
from ocikit.runtime.cgroups.files import read_file, read_number, write_file
from ocikit.runtime.cgroups.hierarchies import UNIFIED
from ocikit.runtime.late_log import log as _log
from ocikit.runtime.limits import device_writes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ocikit.runtime.cgroups.device_rules import DeviceRule
    from ocikit.runtime.limits import Write

__all__ = ["apply", "limit_devices", "take_back"]

_MISSING: Final = frozenset({errno.ENOENT, errno.EACCES, errno.EPERM})
_MISSING_REMEDY: Final = "is the controller enabled for this cgroup, and does this kernel have the file?"

#: What helps with a field, by how it begins.
_REMEDIES: Final = {
    "$.linux.resources.hugepageLimits": "the sizes that this machine has are in /sys/kernel/mm/hugepages",
    "$.linux.resources.cpu.realtime": "the cgroups above need realtime runtime to give, and the period must fit it",
    "$.linux.resources.cpu.cpus": "expected processors that are online and that the cgroups above have",
    "$.linux.resources.cpu.mems": "expected nodes that are online and that the cgroups above have",
    "$.linux.resources.rdma": "expected a device in /sys/class/infiniband",
    "$.linux.resources.blockIO": "expected a whole disk of this machine, with a scheduler that has this limit",
}


def apply(paths: Mapping[str, str], writes: Sequence[Write], undo: list[Write] | None = None) -> None:
    """Write limits.

    Args:
        paths: The cgroups of a container, by hierarchy.
        writes: The limits, in order.
        undo: Is given what each file said before, for :func:`take_back`.

    Raises:
        CgroupError: The controller is missing, or the kernel refuses the value.
    """
    for group, some in itertools.groupby(writes, lambda write: write.group):
        if group:
            _settle(paths, list(some), undo)
        else:
            for write in some:
                _apply_one(paths, write, undo)


def _settle(paths: Mapping[str, str], pending: list[Write], undo: list[Write] | None) -> None:
    """Write values that the kernel checks against each other, in whatever order it accepts them."""
    while pending:
        refused: list[Write] = []
        failure: CgroupError | None = None
        for write in pending:
            try:
                _apply_one(paths, write, undo)
            except CgroupError as error:
                if error.errno != errno.EINVAL:
                    raise
                refused.append(write)
                failure = failure or error
        if failure is not None and len(refused) == len(pending):
            raise failure
        pending = refused


def _apply_one(paths: Mapping[str, str], write: Write, undo: list[Write] | None) -> None:
    directory = paths.get(write.key)
    if directory is None:
        if write.optional:
            return
        remedy = f"the controller {write.key!r} is not mounted; mount it, or remove the limit"
        raise CgroupError(f"set {write.field}", errno.ENOENT, write.file, remedy)
    path = f"{directory}/{write.file}"
    if (write.optional or write.instead is not None) and not os.path.exists(path):
        if write.instead is not None:
            _apply_one(paths, write.instead, undo)
        return
    before = _before(write, path) if undo is not None else []
    try:
        write_file(path, write.value)
    except OSError as error:
        raise _refusal(write, path, error) from error
    if undo is not None:
        undo += before


def _refusal(write: Write, path: str, error: OSError) -> CgroupError:
    number = error.errno or errno.EIO
    remedy = f"the kernel does not accept {write.value!r}"
    if number in _MISSING:
        remedy = _MISSING_REMEDY
    more = next((text for start, text in _REMEDIES.items() if write.field.startswith(start)), None)
    if number == errno.EBUSY and write.file == "memory.limit_in_bytes":
        used = read_number(f"{os.path.dirname(path)}/memory.usage_in_bytes") or 0
        more = f"{used:,} bytes are in use, and could not be freed"
    return CgroupError(f"set {write.field}", number, path, f"{remedy}; {more}" if more else remedy)


# ----------------------------------------------------------------------------------------------------------- taken back


def _before(write: Write, path: str) -> list[Write]:
    """Return what would give a file the value that it has."""
    try:
        text = read_file(path)
    except CgroupError:
        return []  # some can only be written
    lines = (text or "").rstrip("\n").split("\n") if text is not None else []
    if write.line:
        lines = [_restored(write, lines)]
    return [write._replace(value=line or "\n", optional=False, instead=None) for line in lines]


def _restored(write: Write, lines: Sequence[str]) -> str:
    for line in lines:
        first, _, rest = line.partition(" ")
        if first == write.line:
            return line if write.reset else rest
    return write.reset or "\n".join(lines)


def take_back(paths: Mapping[str, str], undo: Sequence[Write]) -> None:
    """Give files the values that they had; what fails is logged."""
    for group, some in itertools.groupby(reversed(undo), lambda write: write.group):
        changed = list(some)
        for batch in [changed] if group else [[write] for write in changed]:
            try:
                _settle(paths, batch, None)
            except CgroupError as error:
                _log.warning("a limit that was changed could not be changed back: %s", error)


# -------------------------------------------------------------------------------------------------------------- devices


def _write_rules(directory: str, writes: Sequence[Write]) -> None:
    """Write rules one after the other; those in a row that go into one file without opening it again."""
    for file, some in itertools.groupby(writes, lambda write: write.file):
        path = f"{directory}/{file}"
        write, *others = some
        try:
            with Descriptor(os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)) as opened:
                os.pwrite(opened.fd, write.value.encode(), 0)
                for write in others:
                    os.pwrite(opened.fd, write.value.encode(), 0)
        except OSError as error:
            raise _refusal(write, path, error) from error


def limit_devices(paths: Mapping[str, str], rules: Sequence[DeviceRule]) -> None:
    """Apply rules for devices: in the files of the v1 controller, or else by a program in the v2 cgroup.

    Rules that were there before apply no longer.

    Raises:
        CgroupError: The kernel refuses, or there is neither of the two.
    """
    field = "$.linux.resources.devices"
    if "devices" in paths:
        _write_rules(paths["devices"], device_writes(rules))
    elif UNIFIED in paths:
        from ocikit.runtime.cgroups.device_filter import device_program  # noqa: PLC0415 - v1 has no use for it

        try:
            with Descriptor(os.open(paths[UNIFIED], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as cgroup:
                _sys.attach_device_filter(cgroup.fd, device_program(rules))
        except OSError as error:
            remedy = "rules for devices on cgroup v2 take a kernel with CONFIG_CGROUP_BPF, CAP_BPF and CAP_NET_ADMIN"
            raise CgroupError(f"set {field}", error.errno or errno.EIO, paths[UNIFIED], remedy) from error
    else:
        remedy = "without cgroups a container could use every device of the host; mount the devices controller, or v2"
        raise CgroupError(f"set {field}", errno.ENOENT, None, remedy)
