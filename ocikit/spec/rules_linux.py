"""The MUSTs of config-linux.md (runtime specification 1.3.0) that can be seen in a document alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.spec import vocabulary
from ocikit.spec._checks import (
    Finding,
    Rule,
    absolute,
    all_of,
    distinct,
    one_of,
    shown,
)
from ocikit.spec.linux import Linux, LinuxNamespace
from ocikit.spec.linux_resources import LinuxDeviceCgroup
from ocikit.spec.seccomp import LinuxSeccomp, LinuxSeccompArg, LinuxSyscall

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["RULES"]

# The recursive forms are not in the specification; runtimes take them and engines write them.
_PROPAGATIONS: Final = (*vocabulary.ROOTFS_PROPAGATIONS, *(f"r{word}" for word in vocabulary.ROOTFS_PROPAGATIONS))


def _linux(linux: Linux) -> Iterator[Finding]:
    yield from distinct((namespace.type for namespace in linux.namespaces), "type", "namespaces", "type")
    for name in ("maskedPaths", "readonlyPaths"):
        for index, path in enumerate(linux.masked_paths if name == "maskedPaths" else linux.readonly_paths):
            yield from absolute(path, name, index)
    if linux.rootfs_propagation:
        yield from one_of(linux.rootfs_propagation, _PROPAGATIONS, "rootfsPropagation")
    for clock in linux.time_offsets:
        yield from one_of(clock, vocabulary.CLOCKS, "timeOffsets", clock)
    yield from _net_device_names(linux)


def _net_device_names(linux: Linux) -> Iterator[Finding]:
    taken: dict[str, str] = {}
    for host_name, device in linux.net_devices.items():
        name = device.name or host_name
        if "%d" in name:  # the kernel finds a free number
            continue
        first = taken.setdefault(name, host_name)
        if first != host_name:
            yield ["netDevices", host_name], f"is named {shown(name)} in the container, as {shown(first)} is"


def _namespace(namespace: LinuxNamespace) -> Iterator[Finding]:
    yield from one_of(namespace.type, vocabulary.NAMESPACE_TYPES, "type")
    if namespace.path:
        yield from absolute(namespace.path, "path")


def _device_rule(rule: LinuxDeviceCgroup) -> Iterator[Finding]:
    if rule.type:
        yield from one_of(rule.type, vocabulary.DEVICE_RULE_TYPES, "type")
    if not set(rule.access) <= set("rwm"):
        yield ["access"], f"expected a composition of r, w and m, found {shown(rule.access)}"


def _seccomp(seccomp: LinuxSeccomp) -> Iterator[Finding]:
    yield from one_of(seccomp.default_action, vocabulary.SECCOMP_ACTIONS, "defaultAction")
    yield from _errno(seccomp.default_errno_ret, seccomp.default_action, "defaultErrnoRet")
    yield from all_of(seccomp.architectures, vocabulary.SECCOMP_ARCHITECTURES, "architectures")
    yield from all_of(seccomp.flags or (), vocabulary.SECCOMP_FLAGS, "flags")
    if seccomp.listener_metadata and not seccomp.listener_path:
        yield ["listenerMetadata"], "must not be set without listenerPath"


def _syscall(syscall: LinuxSyscall) -> Iterator[Finding]:
    if not syscall.names:
        yield ["names"], "at least one entry is REQUIRED"
    yield from one_of(syscall.action, vocabulary.SECCOMP_ACTIONS, "action")
    yield from _errno(syscall.errno_ret, syscall.action, "errnoRet")


def _errno(number: int | None, action: str, name: str) -> Iterator[Finding]:
    if number is not None and action not in vocabulary.SECCOMP_ACTIONS_WITH_ERRNO:
        yield [name], f"must not be set because {action or 'no action'} takes no errno"


def _seccomp_arg(arg: LinuxSeccompArg) -> Iterator[Finding]:
    yield from one_of(arg.op, vocabulary.SECCOMP_OPERATORS, "op")


#: What is checked in an object of each class.
RULES: Final[Mapping[type, Rule]] = {
    Linux: _linux,
    LinuxDeviceCgroup: _device_rule,
    LinuxNamespace: _namespace,
    LinuxSeccomp: _seccomp,
    LinuxSeccompArg: _seccomp_arg,
    LinuxSyscall: _syscall,
}
