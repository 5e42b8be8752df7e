"""Limits as ``state.json`` of libcontainer has them, both ways, and what becomes of them when some are changed.

Pure. runc and ocikit update containers of each other: each reads what the other wrote down, adds what is asked for, and
writes down all of it. In that file zero, an empty text and null say "not set", but for the number of processes in files
of runc 1.4 and later, and of ocikit.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import attrs

from ocikit import spec
from ocikit.runtime.cgroups.device_rules import DeviceRule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["KEYS", "device_rules_document", "merged", "parse_device_rules", "parse_resources", "resources_document"]

#: Section → attribute → key in state.json, for values that are kept as they are.
_PLAIN: Final = {
    "memory": {
        "limit": "memory",
        "reservation": "memory_reservation",
        "swap": "memory_swap",
        "swappiness": "memory_swappiness",
        "disable_oom_killer": "oom_kill_disable",
        "check_before_update": "memory_check_before_update",
    },
    "cpu": {
        "shares": "cpu_shares",
        "quota": "cpu_quota",
        "burst": "cpu_burst",
        "period": "cpu_period",
        "realtime_runtime": "cpu_rt_quota",
        "realtime_period": "cpu_rt_period",
        "cpus": "cpuset_cpus",
        "mems": "cpuset_mems",
        "idle": "cpu_idle",
    },
    "pids": {"limit": "pids_limit"},
    "block_io": {"weight": "blkio_weight", "leaf_weight": "blkio_leaf_weight"},
    "network": {"class_id": "net_cls_classid_u"},
}

#: Section → its class. A name: to write down a configuration without limits none of them is needed.
_SECTIONS: Final = {
    "memory": "LinuxMemory",
    "cpu": "LinuxCPU",
    "pids": "LinuxPids",
    "block_io": "LinuxBlockIO",
    "network": "LinuxNetwork",
}

#: Values that say something when they are zero; every other zero says "not set".
_ZERO: Final = frozenset({"memory_swappiness", "cpu_burst", "cpu_idle", "pids_limit"})
_ZERO_CHANGES: Final = _ZERO | {"net_cls_classid_u"}

_WEIGHTS: Final = "blkio_weight_device"
_THROTTLES: Final = {
    "throttle_read_bps_device": "blkio_throttle_read_bps_device",
    "throttle_write_bps_device": "blkio_throttle_write_bps_device",
    "throttle_read_iops_device": "blkio_throttle_read_iops_device",
    "throttle_write_iops_device": "blkio_throttle_write_iops_device",
}

#: Every key that has a limit.
KEYS: Final = frozenset(
    (
        *(key for keys in _PLAIN.values() for key in keys.values()),
        *_THROTTLES.values(),
        *(_WEIGHTS, "cpu_weight", "hugetlb_limit", "net_prio_ifpriomap", "rdma", "unified"),
    )
)

_VERSION = r"(\d+)\.(\d+)"


# ------------------------------------------------------------------------------------------------------------- to state


def device_rules_document(rules: Sequence[DeviceRule]) -> list[dict[str, Any]]:
    """Return rules for devices as state.json has them."""
    return [
        {"type": ord(rule.type), "major": rule.major, "minor": rule.minor, "permissions": rule.access}
        | {"allow": rule.allow}
        for rule in rules
    ]


def resources_document(resources: spec.LinuxResources) -> dict[str, Any]:
    """Return limits by the keys of state.json, those that are set; rules for devices stand elsewhere."""
    found: dict[str, Any] = {}
    for section, keys in _PLAIN.items():
        values = getattr(resources, section)
        if values is not None:
            found |= {key: getattr(values, attribute) for attribute, key in keys.items()}
    found = {key: value for key, value in found.items() if value is not None and value != ""}
    if found.get("pids_limit") == 0:
        found["pids_limit"] = 1  # that is what a limit of none comes to, and older runc takes zero for no limit
    if resources.cpu is not None and resources.cpu.shares:
        from ocikit.runtime.limits import cpu_weight  # noqa: PLC0415 - most have none

        found["cpu_weight"] = cpu_weight(resources.cpu.shares)
    found |= _block_io_document(resources.block_io) if resources.block_io is not None else {}
    lists = {
        "hugetlb_limit": [{"page_size": one.page_size, "limit": one.limit} for one in resources.hugepage_limits],
        "net_prio_ifpriomap": [
            {"interface": one.name, "priority": one.priority}
            for one in (resources.network.priorities if resources.network is not None else ())
        ],
        "rdma": {device: _rdma_document(one) for device, one in resources.rdma.items()},
        "unified": dict(resources.unified),
    }
    return found | {key: value for key, value in lists.items() if value}


def _block_io_document(block_io: spec.LinuxBlockIO) -> dict[str, Any]:
    found: dict[str, Any] = {
        key: [{"major": one.major, "minor": one.minor, "rate": one.rate} for one in getattr(block_io, attribute)]
        for attribute, key in _THROTTLES.items()
    }
    found[_WEIGHTS] = [
        {"major": one.major, "minor": one.minor, "weight": one.weight or 0, "leafWeight": one.leaf_weight or 0}
        for one in block_io.weight_device
    ]
    return {key: value for key, value in found.items() if value}


def _rdma_document(limit: spec.LinuxRdma) -> dict[str, int]:
    pairs = {"hca_handles": limit.hca_handles, "hca_objects": limit.hca_objects}
    return {name: value for name, value in pairs.items() if value is not None}


# ----------------------------------------------------------------------------------------------------------- from state


def parse_resources(document: Mapping[str, Any], version: str) -> spec.LinuxResources:
    """Read the limits of a container, less its rules for devices; what cannot be read is taken to be not set.

    Args:
        document: ``config.cgroups`` of its state.json.
        version: ``config.version`` of it: the version of the specification that its writer knew.
    """
    sections: dict[str, Any] = {}
    for section, keys in _PLAIN.items():
        values = {attribute: _plain(document.get(key), key, version) for attribute, key in keys.items()}
        values = {attribute: value for attribute, value in values.items() if value is not None}
        if values:
            sections[section] = getattr(spec, _SECTIONS[section])(**values)
    block_io = _block_io(document)
    if block_io:
        sections["block_io"] = attrs.evolve(sections.get("block_io") or spec.LinuxBlockIO(), **block_io)
    priorities = tuple(_each(document.get("net_prio_ifpriomap"), _priority))
    if priorities:
        sections["network"] = attrs.evolve(sections.get("network") or spec.LinuxNetwork(), priorities=priorities)
    unified = _object(document.get("unified"))
    return spec.LinuxResources(
        **sections,
        hugepage_limits=tuple(_each(document.get("hugetlb_limit"), _hugepage)),
        rdma={str(name): _rdma(_object(one)) for name, one in _object(document.get("rdma")).items()},
        unified={str(name): value for name, value in unified.items() if isinstance(value, str)},
    )


def parse_device_rules(value: object) -> tuple[DeviceRule, ...]:
    """Read the rules for devices of a container."""
    return tuple(_each(value, _device_rule))


def _device_rule(one: dict[str, Any]) -> DeviceRule:
    kind = {ord("b"): "b", ord("c"): "c"}.get(_int(one, "type"), "a")
    return DeviceRule(bool(one.get("allow")), kind, _int(one, "major"), _int(one, "minor"), str(one.get("permissions")))


def _plain(value: Any, key: str, version: str) -> Any:  # noqa: ANN401 - whatever the file holds
    if key.startswith("cpuset_"):
        return value if isinstance(value, str) and value else None
    if not isinstance(value, int) or (not value and key not in _ZERO):
        return None
    # Before the specification had a limit of no processes, runc wrote zero for none.
    return None if key == "pids_limit" and not value and not _knows_zero(version) else value


def _knows_zero(version: str) -> bool:
    match = re.match(_VERSION, version)
    return match is not None and (int(match[1]), int(match[2])) >= (1, 3)


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _each(value: object, read: Callable[[dict[str, Any]], Any]) -> Iterable[Any]:
    for one in value if isinstance(value, list) else ():
        if isinstance(one, dict):
            yield read(one)


def _int(document: dict[str, Any], name: str) -> int:
    value = document.get(name)
    return value if isinstance(value, int) else 0


def _block_io(document: Mapping[str, Any]) -> dict[str, Any]:
    found = {attribute: tuple(_each(document.get(key), _throttle)) for attribute, key in _THROTTLES.items()}
    return {
        name: value
        for name, value in (found | {"weight_device": tuple(_each(document.get(_WEIGHTS), _weight))}).items()
        if value
    }


def _throttle(one: dict[str, Any]) -> spec.LinuxThrottleDevice:
    return spec.LinuxThrottleDevice(major=_int(one, "major"), minor=_int(one, "minor"), rate=_int(one, "rate"))


def _weight(one: dict[str, Any]) -> spec.LinuxWeightDevice:
    return spec.LinuxWeightDevice(
        major=_int(one, "major"),
        minor=_int(one, "minor"),
        weight=_int(one, "weight") or None,
        leaf_weight=_int(one, "leafWeight") or None,
    )


def _priority(one: dict[str, Any]) -> spec.LinuxInterfacePriority:
    return spec.LinuxInterfacePriority(name=str(one.get("interface", "")), priority=_int(one, "priority"))


def _hugepage(one: dict[str, Any]) -> spec.LinuxHugepageLimit:
    return spec.LinuxHugepageLimit(page_size=str(one.get("page_size", "")), limit=_int(one, "limit"))


def _rdma(one: dict[str, Any]) -> spec.LinuxRdma:
    values = {name: value for name in ("hca_handles", "hca_objects") if isinstance(value := one.get(name), int)}
    return spec.LinuxRdma(hca_handles=values.get("hca_handles"), hca_objects=values.get("hca_objects"))


# --------------------------------------------------------------------------------------------------------------- merged


def merged(old: spec.LinuxResources, new: spec.LinuxResources) -> spec.LinuxResources:
    """Return limits with some of them changed; what ``new`` does not say stays.

    Lists are joined by what their elements are about: a device, an interface, a size, a file.
    """
    changed: dict[str, Any] = {}
    for section in _PLAIN:
        before, after = getattr(old, section), getattr(new, section)
        changed[section] = _evolved(section, before, after) if before is not None and after is not None else after
        changed[section] = changed[section] if changed[section] is not None else before
    return spec.LinuxResources(
        **changed,
        devices=new.devices,
        hugepage_limits=_joined(old.hugepage_limits, new.hugepage_limits, ("page_size",)),
        rdma={**old.rdma, **{name: _evolve_rdma(old.rdma.get(name), one) for name, one in new.rdma.items()}},
        unified={**old.unified, **new.unified},
    )


def _evolve_rdma(old: spec.LinuxRdma | None, new: spec.LinuxRdma) -> spec.LinuxRdma:
    values = {name: getattr(new, name) for name in ("hca_handles", "hca_objects")}
    return attrs.evolve(old or new, **{name: value for name, value in values.items() if value is not None})


def _evolved(section: str, before: Any, after: Any) -> Any:  # noqa: ANN401 - any of the sections
    values: dict[str, Any] = {}
    for field in attrs.fields(type(after)):
        value = getattr(after, field.name)
        if isinstance(value, tuple):
            keys = ("name",) if section == "network" else ("major", "minor")
            value = _joined(getattr(before, field.name), value, keys)
        zero_counts = isinstance(value, bool) or _PLAIN[section].get(field.name) in _ZERO_CHANGES
        if field.name != "extra" and value is not None and (value or zero_counts):
            values[field.name] = value
    if section == "cpu" and values.get("idle"):
        # A cgroup that runs only when nobody else does has no weight any more.
        values.setdefault("shares", None)
    if section == "memory" and values.get("limit", 0) < 0:
        # Of memory and swap together there is no limit either, where that of memory alone is gone.
        values.setdefault("swap", None)
    return attrs.evolve(before, **values)


def _joined(old: Sequence[Any], new: Sequence[Any], keys: tuple[str, ...]) -> tuple[Any, ...]:
    found = {tuple(getattr(one, key) for key in keys): one for one in old}
    for one in new:
        key = tuple(getattr(one, key) for key in keys)
        if isinstance(one, spec.LinuxWeightDevice) and key in found:
            weight, leaf = one.weight or found[key].weight, one.leaf_weight or found[key].leaf_weight
            found[key] = attrs.evolve(one, weight=weight, leaf_weight=leaf)
        else:
            found[key] = one
    return tuple(found.values())
