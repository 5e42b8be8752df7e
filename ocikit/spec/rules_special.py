"""The MUSTs of the runtime specification 1.3.0 for what most containers have nothing of: hooks, devices, scheduling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.spec import vocabulary
from ocikit.spec._checks import Finding, Rule, absolute, all_of, cpu_list, one_of, shown, without_newline
from ocikit.spec.hooks import Hook
from ocikit.spec.linux_special import LinuxDevice, LinuxIntelRdt, LinuxMemoryPolicy, LinuxPersonality
from ocikit.spec.process_special import CPUAffinity, LinuxIOPriority, Scheduler

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["RULES"]

# set_mempolicy(2): which modes take no nodes at all, and which take at least one.
_WITHOUT_NODES: Final = frozenset({"MPOL_DEFAULT", "MPOL_LOCAL"})
_WITH_NODES: Final = frozenset({"MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_PREFERRED_MANY", "MPOL_WEIGHTED_INTERLEAVE"})


def _device(device: LinuxDevice) -> Iterator[Finding]:
    yield from absolute(device.path, "path")
    yield from one_of(device.type, vocabulary.DEVICE_TYPES, "type")
    if device.type != "p":
        for name, number in (("major", device.major), ("minor", device.minor)):
            if number is None:
                yield [name], "is REQUIRED unless type is p"


def _intel_rdt(rdt: LinuxIntelRdt) -> Iterator[Finding]:
    for index, line in enumerate(rdt.schemata):
        yield from without_newline(line, "schemata", index)
    if rdt.mem_bw_schema:
        yield from without_newline(rdt.mem_bw_schema, "memBwSchema")
        if not rdt.mem_bw_schema.startswith("MB:"):
            yield ["memBwSchema"], f"must start with MB:, found {shown(rdt.mem_bw_schema)}"


def _memory_policy(policy: LinuxMemoryPolicy) -> Iterator[Finding]:
    yield from one_of(policy.mode, vocabulary.MEMORY_POLICY_MODES, "mode")
    yield from all_of(policy.flags, vocabulary.MEMORY_POLICY_FLAGS, "flags")
    yield from cpu_list(policy.nodes, "nodes")
    if policy.nodes and policy.mode in _WITHOUT_NODES:
        yield ["nodes"], f"must be empty for {policy.mode}, found {shown(policy.nodes)}"
    if not policy.nodes and policy.mode in _WITH_NODES:
        yield ["nodes"], f"at least one node is REQUIRED for {policy.mode}"


def _personality(personality: LinuxPersonality) -> Iterator[Finding]:
    yield from one_of(personality.domain, vocabulary.PERSONALITY_DOMAINS, "domain")
    if personality.flags:
        yield ["flags"], "no flags are defined"


def _scheduler(scheduler: Scheduler) -> Iterator[Finding]:
    yield from one_of(scheduler.policy, vocabulary.SCHEDULER_POLICIES, "policy")
    yield from all_of(scheduler.flags, vocabulary.SCHEDULER_FLAGS, "flags")


def _io_priority(priority: LinuxIOPriority) -> Iterator[Finding]:
    yield from one_of(priority.class_, vocabulary.IO_PRIORITY_CLASSES, "class")


def _affinity(affinity: CPUAffinity) -> Iterator[Finding]:
    yield from cpu_list(affinity.initial, "initial")
    yield from cpu_list(affinity.final, "final")


def _hook(hook: Hook) -> Iterator[Finding]:
    yield from absolute(hook.path, "path")
    if hook.timeout is not None and hook.timeout <= 0:
        yield ["timeout"], f"must be greater than zero, found {hook.timeout}"


#: What is checked in an object of each class.
RULES: Final[Mapping[type, Rule]] = {
    CPUAffinity: _affinity,
    Hook: _hook,
    LinuxDevice: _device,
    LinuxIOPriority: _io_priority,
    LinuxIntelRdt: _intel_rdt,
    LinuxMemoryPolicy: _memory_policy,
    LinuxPersonality: _personality,
    Scheduler: _scheduler,
}
