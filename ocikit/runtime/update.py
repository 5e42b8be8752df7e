"""Limits of a container are changed: all that is asked for, or nothing.

What was there before is in ``state.json``, by whoever wrote it, runc or ocikit; what is asked for is added to it, and
that is written down again. Keys of the state that are not about limits stay as they are.
"""

from __future__ import annotations

import contextlib
import errno
import json
from typing import TYPE_CHECKING, Any, Final

from ocikit._tuples import NamedTuple
from ocikit.errors import CgroupError, NotExistError, OCIKitError, SetupError, StateError, UnsupportedFieldError
from ocikit.runtime.cgroups import freezer, rdt
from ocikit.runtime.cgroups import limiting as cgroup_limits
from ocikit.runtime.cgroups import setup as cgroup_setup
from ocikit.runtime.cgroups.device_rules import device_rules
from ocikit.runtime.cgroups.files import read_number
from ocikit.runtime.cgroups.hierarchies import UNIFIED
from ocikit.runtime.late_log import log as _log
from ocikit.runtime.limits import ignored, limits
from ocikit.runtime.state import records
from ocikit.runtime.state.documents import STATE_FILE, parse_state
from ocikit.runtime.state.resources import (
    KEYS,
    device_rules_document,
    merged,
    parse_device_rules,
    parse_resources,
    resources_document,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ocikit.runtime.cgroups.device_rules import DeviceRule
    from ocikit.runtime.cgroups.hierarchies import Hierarchies
    from ocikit.runtime.limits import Write
    from ocikit.runtime.state.root import StateRoot
    from ocikit.spec import LinuxIntelRdt, LinuxResources

__all__ = ["Target", "change_limits"]

_PATH: Final = "$.linux.resources"


class Target(NamedTuple):
    """A container whose limits are to be changed."""

    id: str
    root: StateRoot
    #: Its directory, whose lock is held.
    fd: int
    hierarchies: Hierarchies
    #: Its cgroups, by controller: those that are shown to be its own.
    paths: Mapping[str, str]
    #: Slice, prefix and name of the unit of systemd that its state names.
    unit: tuple[str, str, str] | None = None


def change_limits(target: Target, resources: LinuxResources, intel_rdt: LinuxIntelRdt | None = None) -> None:
    """Change limits of a container, and write down what they are then.

    Args:
        target: The container.
        resources: The limits that change; what is not set stays as it is. Rules for devices replace all there were.
        intel_rdt: Lines of schemata that change.

    Raises:
        UnsupportedFieldError: A limit that this host cannot have.
        ValidationError: Values that make no sense, among themselves or with those that stay.
        CgroupError: The kernel refuses one; those before it are what they were.
        StateError: The state is damaged.
        SetupError: The kernel refuses other schemata.
        SystemCallError: The state cannot be written; the limits are what they were.
    """
    document = _read(target)
    config = document["config"]
    limited = config["cgroups"]
    before = parse_resources(limited, str(config.get("version") or ""))
    after = merged(before, resources)
    for warning in ignored(resources, target.hierarchies):
        _log.warning("container %s: %s", target.id, warning)
    writes = _changes(before, after, resources, target.hierarchies)
    if UNIFIED in target.paths:
        _check_usage(target.paths[UNIFIED], after, target.hierarchies)
        cgroup_setup.enable(target.paths[UNIFIED], target.hierarchies, cgroup_setup.needed(writes))
    for key in KEYS & limited.keys():
        del limited[key]
    limited |= resources_document(after)
    with _taken_back_on_error(target) as undo, _devices_changed(target, resources, limited):
        _tell_systemd(target, after, parse_device_rules(limited.get("devices")))
        cgroup_limits.apply(target.paths, writes, undo)
        with _rdt_changed(document, intel_rdt):
            records.write_file(target.fd, STATE_FILE, json.dumps(document, separators=(",", ":")).encode())


def _tell_systemd(target: Target, after: LinuxResources, rules: Sequence[DeviceRule]) -> None:
    """Tell the owner of the cgroup, if that is systemd, lest it put back what it knows when it reloads."""
    if target.unit is None:
        return
    from ocikit.runtime.systemd import properties, units  # noqa: PLC0415 - for those who use systemd only
    from ocikit.runtime.systemd.names import shown_by  # noqa: PLC0415

    unit = shown_by(target.unit, target.paths.values())
    if unit is not None:
        limited = properties.limits(after, rules, units.drivers(), v2=target.hierarchies.v2_only)
        units.change(unit, limited)


def _read(target: Target) -> dict[str, Any]:
    """Return the state, with objects where limits are looked for."""
    data = target.root.read(target.fd, STATE_FILE, target.id)
    if data is None:
        raise NotExistError(f"container does not exist: {target.id}")
    parse_state(data, target.id)
    document: dict[str, Any] = json.loads(data)
    config = document.setdefault("config", {})
    if not isinstance(config, dict) or not isinstance(config.setdefault("cgroups", {}), dict):
        raise StateError(f"state of container {target.id}: config.cgroups: expected an object")
    return document


def _changes(
    before: LinuxResources, after: LinuxResources, asked: LinuxResources, hierarchies: Hierarchies
) -> tuple[Write, ...]:
    """Return what is to be written: what was asked for by name, and what is another value because of it."""
    old: set[tuple[str, str, str]] = set()
    with contextlib.suppress(OCIKitError):
        old = {write[:3] for write in limits(before, hierarchies)}
    names = tuple(_asked(asked.to_dict()))
    return tuple(
        write
        for write in limits(after, hierarchies)
        if write[:3] not in old or any(_is_about(write.field, name) for name in names)
    )


def _asked(document: Mapping[str, Any]) -> Iterator[str]:
    for section, value in document.items():
        if section in {"unified", "rdma"}:
            yield from (f"{_PATH}.{section}[{name!r}]" for name in value)
        elif isinstance(value, dict):
            yield from (f"{_PATH}.{section}.{name}" for name in value)
        else:
            yield f"{_PATH}.{section}"


def _is_about(field: str, name: str) -> bool:
    return field == name or field.startswith((f"{name}.", f"{name}["))


@contextlib.contextmanager
def _rdt_changed(document: dict[str, Any], asked: LinuxIntelRdt | None) -> Iterator[None]:
    """Give the container's group in resctrl other schemata for good, if the block comes to its end."""
    if asked is None:
        yield
        return
    path, config = document.get("intel_rdt_path"), document["config"].get("intel_rdt")
    if not isinstance(config, dict) or not isinstance(path, str) or not path:
        reason = "the container was created without a group of resctrl, and cannot be given one now"
        raise UnsupportedFieldError("$.linux.intelRdt", reason)
    values = {"l3_cache_schema": asked.l3_cache_schema, "memBwSchema": asked.mem_bw_schema}
    config |= {name: value for name, value in (values | {"schemata": list(asked.schemata)}).items() if value}
    before = rdt.change(path, asked)
    try:
        yield
    except BaseException:
        with contextlib.suppress(SetupError):
            rdt.write_schemata(path, path, before)
        raise


def _check_usage(path: str, after: LinuxResources, hierarchies: Hierarchies) -> None:
    """Refuse what would have v2 kill processes at once, if that is asked for; v1 refuses it by itself."""
    memory = after.memory
    if memory is None or not memory.check_before_update or hierarchies.key_of("memory") != UNIFIED:
        return
    used = read_number(f"{path}/memory.current") or 0
    for name, limit in (("limit", memory.limit or 0), ("swap", memory.swap or 0)):
        if 0 < limit <= used:
            remedy = f"{used:,} bytes are in use; a limit of {limit:,} would have processes killed"
            raise CgroupError(f"set {_PATH}.memory.{name}", errno.EBUSY, f"{path}/memory.max", remedy)


@contextlib.contextmanager
def _taken_back_on_error(target: Target) -> Iterator[list[Write]]:
    undo: list[Write] = []
    try:
        yield undo
    except BaseException:
        cgroup_limits.take_back(target.paths, undo)
        raise


@contextlib.contextmanager
def _devices_changed(target: Target, resources: LinuxResources, limited: dict[str, Any]) -> Iterator[None]:
    """Give the container other rules for devices for good, if the block comes to its end, and if there are any."""
    if not resources.devices:
        yield
        return
    before = parse_device_rules(limited.get("devices"))
    after = device_rules(resources.devices)
    limited["devices"] = device_rules_document(after)
    try:
        _limit_devices(target, after)
        yield
    except BaseException:
        try:
            _limit_devices(target, before)
        except CgroupError as error:
            _log.warning("container %s: its rules for devices could not be changed back: %s", target.id, error)
        raise


def _limit_devices(target: Target, rules: Sequence[DeviceRule]) -> None:
    """Replace the rules. In v1 all are gone for a moment: nobody in the container is to see that."""
    pause = "devices" in target.paths and not freezer.frozen(target.paths)
    if pause:
        freezer.freeze(target.paths)
    try:
        cgroup_limits.limit_devices(target.paths, rules)
    finally:
        if pause:
            freezer.thaw(target.paths)
