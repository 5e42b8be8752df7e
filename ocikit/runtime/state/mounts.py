"""Mounts, devices and network devices as runc keeps them in ``state.json``; pure."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any, Final

from ocikit.runtime.idmap import owners_of
from ocikit.runtime.plan.devices import DEFAULT_DEVICES
from ocikit.runtime.plan.mount_options import OPTIONS, Kind, parse
from ocikit.runtime.plan.mounts import is_bind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocikit.runtime.plan.mount_options import MountOptions
    from ocikit.spec import Linux, LinuxIDMapping, Mount, Spec

__all__ = ["devices_record", "mappings_record", "mounts_record", "root_record"]

_COPY_UP: Final = 1  # EXT_COPYUP of libcontainer

#: What has a flag of mount(2) in the state.
_FLAGGED: Final = frozenset(Kind) - {Kind.BELOW, Kind.PROPAGATION, Kind.OWNERS, Kind.COPY_UP}


def mounts_record(spec: Spec, bundle: str) -> list[dict[str, Any]]:
    """Return ``config.mounts``.

    Args:
        spec: The configuration.
        bundle: Absolute path of its bundle.
    """
    return [_mount(mount, number, spec, bundle) for number, mount in enumerate(spec.mounts)]


def _mount(mount: Mount, number: int, spec: Spec, bundle: str) -> dict[str, Any]:
    path = f"$.mounts[{number}]"
    options = parse(mount.options, f"{path}.options")
    flags = cleared = 0
    for name in mount.options:
        option = OPTIONS.get(name)
        if option is not None and option.kind in _FLAGGED:
            flags = flags & ~option.flag if option.clears else flags | option.flag
            cleared = cleared | option.flag if option.clears else cleared & ~option.flag
    found = {
        "source": posixpath.join(bundle, mount.source) if is_bind(mount) else mount.source,
        "destination": mount.destination,
        "device": "bind" if is_bind(mount) else mount.type,
        "flags": flags,
        "propagation_flags": [OPTIONS[name].flag for name in mount.options if _is_propagation(name)] or None,
        "data": ",".join(options.data),
        "extensions": _COPY_UP if options.copy_up else 0,
    }
    if cleared:
        found["cleared_flags"] = cleared
    if options.recursive_set or options.recursive_clear:
        to_set, to_clear = options.recursive_set, options.recursive_clear
        found["rec_attr"] = {"Attr_set": to_set, "Attr_clr": to_clear, "Propagation": 0, "Userns_fd": 0}
    if spec.linux is not None and (owners := _owners(mount, options, spec.linux, path)):
        found["id_mapping"] = owners
    return found


def _is_propagation(name: str) -> bool:
    return name in OPTIONS and OPTIONS[name].kind is Kind.PROPAGATION


def _owners(mount: Mount, options: MountOptions, linux: Linux, path: str) -> dict[str, Any] | None:
    owners = owners_of(mount, options, linux, path)
    if owners is None:
        return None
    recursive = {"recursive": True} if options.owners else {}
    if owners.path:
        return recursive | {"userns_path": owners.path}
    return recursive | {"uid_mappings": _ranges(owners.uids), "gid_mappings": _ranges(owners.gids)}


def _ranges(ranges: Sequence[tuple[int, int, int]]) -> list[dict[str, int]]:
    return [{"container_id": inside, "host_id": outside, "size": size} for inside, outside, size in ranges]


def mappings_record(mappings: Sequence[LinuxIDMapping]) -> list[dict[str, int]] | None:
    """Return the ranges of a user namespace; None for none."""
    return _ranges([(one.container_id, one.host_id, one.size) for one in mappings]) or None


def devices_record(linux: Linux) -> list[dict[str, Any]]:
    """Return ``config.devices``: those of the specification, then those of the configuration."""
    asked = {device.path for device in linux.devices}
    found = [
        _device(path, "c", numbers, {"file_mode": 0o666, "uid": 0, "gid": 0})
        for path, numbers in DEFAULT_DEVICES.items()
        if path not in asked
    ]
    for device in linux.devices:
        mode = 0o666 if device.file_mode is None else device.file_mode & 0o7777
        numbers = (device.major or 0, device.minor or 0)
        kind = "c" if device.type == "u" else device.type
        access = {"file_mode": mode, "uid": device.uid or 0, "gid": device.gid or 0}
        found.append(_device(device.path, kind, numbers, access))
    return found


def _device(path: str, kind: str, numbers: tuple[int, int], access: dict[str, int]) -> dict[str, Any]:
    rule = {"type": ord(kind), "major": numbers[0], "minor": numbers[1], "permissions": "rwm", "allow": True}
    return rule | {"path": path} | access


def root_record(linux: Linux) -> dict[str, Any]:
    """Return what else of ``linux`` is about the root and about devices of the network."""
    propagation = OPTIONS.get(linux.rootfs_propagation)
    found: dict[str, Any] = {"rootPropagation": propagation.flag if propagation is not None else 0}
    if linux.net_devices:
        found["netDevices"] = {name: {"name": device.name} for name, device in linux.net_devices.items()}
    return found
