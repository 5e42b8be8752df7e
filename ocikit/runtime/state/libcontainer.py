"""A configuration as runc keeps it: the ``state.json`` of libcontainer, so that runc manages containers of ours.

Pure. runc joins namespaces, re-applies limits, grants capabilities and deletes by what is in here: what it acts on is
all there. ``state.py`` reads such files, our own and runc's.
"""

from __future__ import annotations

import json
import os
import posixpath
from typing import TYPE_CHECKING, Any, Final

from ocikit._tuples import NamedTuple
from ocikit.runtime.cgroups.device_rules import device_rules
from ocikit.runtime.hook_commands import hooks_document
from ocikit.runtime.once import Once
from ocikit.runtime.plan.process import RLIMITS
from ocikit.runtime.seccomp.record import seccomp_record
from ocikit.runtime.state.attributes import linux_record, process_record
from ocikit.runtime.state.mounts import devices_record, mappings_record, mounts_record, root_record
from ocikit.spec import RUNTIME_SPEC_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ocikit.runtime.options import CreateOptions
    from ocikit.runtime.systemd.names import Unit
    from ocikit.spec import Linux, LinuxIntelRdt, LinuxResources, LinuxSeccomp, Process, Spec

__all__ = ["Created", "StateText", "state_document"]

_NAMESPACES: Final = {
    "pid": ("NEWPID", "pid"),
    "network": ("NEWNET", "net"),
    "ipc": ("NEWIPC", "ipc"),
    "uts": ("NEWUTS", "uts"),
    "mount": ("NEWNS", "mnt"),
    "user": ("NEWUSER", "user"),
    "cgroup": ("NEWCGROUP", "cgroup"),
    "time": ("NEWTIME", "time"),
}

_CAPABILITY_SETS: Final = ("Bounding", "Effective", "Inheritable", "Permitted", "Ambient")


class Created(NamedTuple):
    """What a state says beside the configuration."""

    id: str
    pid: int
    start_time: int
    #: RFC 3339, in UTC.
    created: str
    #: Absolute path of the bundle.
    bundle: str
    cgroup_paths: Mapping[str, str]
    #: What the container's standard input, output and error are, as ``readlink`` shows them.
    descriptors: Sequence[str]
    #: How it was made.
    options: CreateOptions
    #: The unit of systemd that its cgroups belong to.
    unit: Unit | None = None
    #: Directories of its group in resctrl, and of its monitoring group; empty when it has none.
    rdt: tuple[str, str] = ("", "")
    #: Whether root made it, of the host or of a user namespace.
    of_root: bool = True


class StateText(NamedTuple):
    """The text of a ``state.json``."""

    #: All of it.
    whole: bytes
    #: The same without the filter for system calls, which is most of it, and of no use but for ``runc exec``.
    essence: bytes


def _seccomp_text(seccomp: LinuxSeccomp) -> bytes:
    return _dumps(seccomp_record(seccomp))


_seccomp_once = Once(_seccomp_text)


_configs: Once[Spec, dict[object, bytes]] = Once(lambda _: {})

#: How many ways of making one configuration are remembered.
_KEPT: Final = 8

#: Stands for the id of a container in a text that is kept; nobody knows it before. Ids are text of JSON as they are.
_ANYBODY: Final = os.urandom(16).hex()


def _dumps(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def state_document(spec: Spec, created: Created) -> StateText:
    """Return the text of ``state.json``.

    Args:
        spec: The configuration of the container.
        created: What became of it.
    """
    seccomp = spec.linux.seccomp if spec.linux is not None else None
    filtered = _seccomp_once(seccomp) if seccomp is not None else b"null"
    # The configuration comes last, and in it the filter: so both can be put behind what is there.
    begin = _dumps(_about(created))[:-1] + b',"config":' + _config_text(spec, created)[:-1]
    return StateText(begin + b',"seccomp":' + filtered + b"}}", begin + b"}}")


def _about(created: Created) -> dict[str, Any]:
    return {
        "id": created.id,
        "init_process_pid": created.pid,
        "init_process_start": created.start_time,
        "created": created.created,
        "rootless": bool(created.options.rootless) and not created.of_root,
        "cgroup_paths": dict(created.cgroup_paths),
        "namespace_paths": {
            name: f"/proc/{created.pid}/ns/{file}" for name, file in _NAMESPACES.values() if name != "NEWTIME"
        },
        "external_descriptors": list(created.descriptors),
        "intel_rdt_path": created.rdt[0],
        **({"intel_rdt_mon_path": created.rdt[1]} if created.rdt[1] else {}),
    }


def _config_text(spec: Spec, created: Created) -> bytes:
    """Return the text of the configuration: the same for all containers that are made of it in one way, but for ids."""
    options, known = created.options, _configs(spec)
    way = created.bundle, created.unit, created.of_root, options.rootless, options.no_pivot, options.no_new_keyring
    text = known.get(way)
    if text is None:
        text = _dumps(_config(spec, created._replace(id=_ANYBODY)))
        if len(known) >= _KEPT:
            known.clear()
        known[way] = text
    return text.replace(_ANYBODY.encode(), created.id.encode())


def _config(spec: Spec, created: Created) -> dict[str, Any]:
    config: dict[str, Any] = {
        "no_pivot_root": created.options.no_pivot,
        "parent_death_signal": 0,
        "hostname": spec.hostname,
        "mounts": mounts_record(spec, created.bundle),
        "networks": [],
        "routes": None,
        "Hooks": hooks_document(spec.hooks),
        "version": RUNTIME_SPEC_VERSION,
        # The bundle last: whoever looks for it takes the last one.
        "labels": [*(f"{name}={value}" for name, value in spec.annotations.items()), f"bundle={created.bundle}"],
        "no_new_keyring": created.options.no_new_keyring,
    }
    if not created.of_root:
        config["rootless_euid"] = True
    if created.options.rootless:
        config["rootless_cgroups"] = True
    if spec.domainname:
        config["domainname"] = spec.domainname
    if spec.root is not None:
        config["rootfs"] = posixpath.normpath(posixpath.join(created.bundle, spec.root.path))
        config["readonlyfs"] = spec.root.readonly
    if spec.process is not None:
        config |= _process(spec.process)
    if spec.linux is not None:
        config |= _linux(spec.linux, created)
    return config


def _process(process: Process) -> dict[str, Any]:
    config: dict[str, Any] = {
        "no_new_privileges": process.no_new_privileges,
        "umask": process.user.umask,
        "rlimits": [{"type": RLIMITS[limit.type], "hard": limit.hard, "soft": limit.soft} for limit in process.rlimits],
    }
    config |= process_record(process)
    if process.oom_score_adj is not None:
        config["oom_score_adj"] = process.oom_score_adj
    if process.capabilities is not None:
        config["capabilities"] = {name: list(getattr(process.capabilities, name.lower())) for name in _CAPABILITY_SETS}
    return config


def _linux(linux: Linux, created: Created) -> dict[str, Any]:
    config: dict[str, Any] = {
        **root_record(linux),
        **linux_record(linux),
        "namespaces": [{"type": _NAMESPACES[one.type][0], "path": one.path} for one in linux.namespaces],
        "devices": devices_record(linux),
        "cgroups": _cgroups(linux, created),
        "uid_mappings": mappings_record(linux.uid_mappings),
        "gid_mappings": mappings_record(linux.gid_mappings),
        "mask_paths": list(linux.masked_paths),
        "readonly_paths": list(linux.readonly_paths),
        "sysctl": dict(linux.sysctl) or None,
    }
    if any(one.type == "network" and not one.path for one in linux.namespaces):
        config["networks"] = [{"type": "loopback"}]
    if linux.intel_rdt is not None:
        config["intel_rdt"] = _intel_rdt(linux.intel_rdt)
    if linux.time_offsets:
        config["time_offsets"] = {
            clock: {"secs": offset.secs, "nanosecs": offset.nanosecs} for clock, offset in linux.time_offsets.items()
        }
    return config


def _intel_rdt(rdt: LinuxIntelRdt) -> dict[str, Any]:
    found = {
        "closID": rdt.clos_id,
        "schemata": list(rdt.schemata),
        "l3_cache_schema": rdt.l3_cache_schema,
        "memBwSchema": rdt.mem_bw_schema,
        "enableMonitoring": rdt.enable_monitoring,
    }
    return {name: value for name, value in found.items() if value}


def _cgroups(linux: Linux, created: Created) -> dict[str, Any]:
    asked = linux.resources.devices if linux.resources is not None else ()
    rules = [
        {"type": ord(rule.type), "major": rule.major, "minor": rule.minor, "permissions": rule.access}
        | {"allow": rule.allow}
        for rule in device_rules(asked)
    ]
    return _place(linux, created) | {
        "devices": rules,
        "Systemd": created.unit is not None,
        "Rootless": bool(created.options.rootless),
        **(_resources(linux.resources) if linux.resources is not None else {}),
    }


def _place(linux: Linux, created: Created) -> dict[str, Any]:
    if (unit := created.unit) is not None:
        return {"path": "", "parent": unit.slice, "scope_prefix": unit.prefix, "name": unit.name}
    place = {"path": linux.cgroups_path} if linux.cgroups_path else {"name": created.id, "path": ""}
    return place | {"scope_prefix": ""}


def _resources(resources: LinuxResources) -> dict[str, Any]:
    from ocikit.runtime.state.resources import resources_document  # noqa: PLC0415 - not all have limits

    return resources_document(resources)
