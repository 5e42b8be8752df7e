"""When, where and how a process is run, and what the host's security modules take it for, as steps of a plan.

Pure. Where each of these is set:

* *The I/O priority* by the helper, on the host, before there is a user namespace whose root has no right to it. It
  passes on to init.
* *The scheduler* by the launcher, for the same reason, and after the last fork, which some policies do not survive.
* *CPUs, memory policy, execution domain* by the process itself, inside its cpuset; none of them takes a right.
* *Labels* by the process itself, which is the only one that can, before it changes user. They take effect with the next
  program that is executed, by it or by a child: after hooks that are programs of the host, before those that are not.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from ocikit._tuples import NamedTuple
from ocikit.errors import UnsupportedFieldError, ValidationError
from ocikit.runtime.plan import cpulist
from ocikit.runtime.plan.steps import NO_SLOT, Op, Slot, Step, Sync, ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.spec import LinuxMemoryPolicy, LinuxPersonality, Process, Scheduler, Spec

__all__ = [
    "Modules",
    "check_attributes",
    "check_labels",
    "check_process_labels",
    "domain_and_memory",
    "io_priority",
    "keyring_label",
    "labels",
    "memory_policy",
    "personality",
    "placement",
    "scheduler",
    "scheduling",
]

# RESOLVE_* (openat2(2)) below our own procfs: no way out and no other mount. "self" is a symbolic link.
_RESOLVE: Final = 0x01 | 0x02 | 0x08

#: SCHED_* of sched_setattr(2).
_POLICIES: Final = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
_FLAGS: Final = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
_WITH_PRIORITY: Final = frozenset({"SCHED_FIFO", "SCHED_RR"})
_NICE: Final = range(-20, 20)
_PRIORITIES: Final = range(1, 100)

#: What sched(7) wants of SCHED_DEADLINE: no less than the kernel's precision, and no more than its times hold.
_LEAST_RUNTIME: Final = 1024
_MOST_TIME: Final = 2**63 - 1

#: struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period, and two limits of utilisation.
_ATTRIBUTES: Final = struct.Struct("=IIQiIQQQII")

#: IOPRIO_CLASS_* of ioprio_set(2).
_IO_CLASSES: Final = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_IO_LEVELS: Final = range(8)

#: PER_* of personality(2).
_DOMAINS: Final = {"LINUX": 0x0000, "LINUX32": 0x0008}

#: MPOL_* of set_mempolicy(2).
_MEMORY_MODES: Final = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
_MEMORY_FLAGS: Final = {
    "MPOL_F_NUMA_BALANCING": 1 << 13,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_STATIC_NODES": 1 << 15,
}


class Modules(NamedTuple):
    """The security modules of this host that know labels."""

    #: Where a process tells AppArmor of its next profile, below ``/proc/self``; empty where there is no AppArmor.
    apparmor: str = ""
    #: Whether there is SELinux.
    selinux: bool = False


def check_attributes(process: Process) -> None:
    """Refuse attributes that contradict themselves; their words are checked by :mod:`ocikit.spec`.

    Raises:
        ValidationError: With everything that is wrong.
    """
    wrong = [*_scheduler_violations(process.scheduler)] if process.scheduler is not None else []
    priority = process.io_priority
    if priority is not None and priority.priority not in _IO_LEVELS:
        wrong.append(f"$.process.ioPriority.priority: expected a number from 0 to 7, found {priority.priority}")
    if wrong:
        raise ValidationError(tuple(wrong))


def _scheduler_violations(asked: Scheduler) -> Iterator[str]:
    path = "$.process.scheduler"
    if asked.policy in {"SCHED_OTHER", "SCHED_BATCH"} and asked.nice not in _NICE:
        yield f"{path}.nice: expected a number from -20 to 19 for {asked.policy}, found {asked.nice}"
    if asked.policy in _WITH_PRIORITY and asked.priority not in _PRIORITIES:
        yield f"{path}.priority: expected a number from 1 to 99 for {asked.policy}, found {asked.priority}"
    if asked.policy not in _WITH_PRIORITY and asked.priority:
        yield f"{path}.priority: only SCHED_FIFO and SCHED_RR have one, found {asked.priority} for {asked.policy}"
    for name in ("runtime", "deadline", "period"):
        if asked.policy != "SCHED_DEADLINE" and getattr(asked, name):
            yield f"{path}.{name}: only SCHED_DEADLINE has one, found {getattr(asked, name)} for {asked.policy}"
    if asked.policy == "SCHED_DEADLINE":
        yield from _times_violations(asked, path)


def _times_violations(asked: Scheduler, path: str) -> Iterator[str]:
    """Yield what sched(7) does not allow, which the kernel tells only as EINVAL; times are in nanoseconds."""
    for name in ("runtime", "deadline"):
        if not getattr(asked, name):
            yield f"{path}.{name}: SCHED_DEADLINE needs one, in nanoseconds"
        if getattr(asked, name) > _MOST_TIME:
            yield f"{path}.{name}: expected at most {_MOST_TIME} nanoseconds, found {getattr(asked, name)}"
    if 0 < asked.runtime < _LEAST_RUNTIME:
        yield f"{path}.runtime: expected at least {_LEAST_RUNTIME} nanoseconds, found {asked.runtime}"
    if 0 < asked.deadline < asked.runtime:
        yield f"{path}.runtime: must not exceed deadline, which is {asked.deadline}; found {asked.runtime}"
    if 0 < asked.period < asked.deadline:
        yield f"{path}.deadline: must not exceed period, which is {asked.period}; found {asked.deadline}"


def scheduler(process: Process) -> bytes:
    """Return how a process is scheduled, as sched_setattr(2) takes it; nothing when it does not say."""
    asked = process.scheduler
    if asked is None:
        return b""
    flags = sum({_FLAGS[flag] for flag in asked.flags})
    times = asked.runtime, asked.deadline, asked.period
    return _ATTRIBUTES.pack(_ATTRIBUTES.size, _POLICIES[asked.policy], flags, asked.nice, asked.priority, *times, 0, 0)


def scheduling(process: Process, cpus: str = "") -> Iterator[Step]:
    """Plan to have the launcher set how the process is scheduled.

    Args:
        process: The process.
        cpus: The CPUs that its cgroup is limited to, for the error.
    """
    if process.scheduler is None:
        return
    remedy = "the kernel must know the policy; to be ahead of others takes CAP_SYS_NICE on the host"
    if process.scheduler.policy in _WITH_PRIORITY:
        remedy = "it takes CAP_SYS_NICE on the host, and in a cgroup of v1 linux.resources.cpu.realtimeRuntime"
    if cpus:
        remedy = f"process scheduler can't be used together with AllowedCPUs (linux.resources.cpu.cpus is {cpus})"
    yield ask("set the scheduler", Sync.SCHEDULING)._replace(path="$.process.scheduler", remedy=remedy)


def io_priority(process: Process) -> Iterator[Step]:
    """Plan the I/O priority."""
    asked = process.io_priority
    if asked is not None:
        value = _IO_CLASSES[asked.class_] << 13 | asked.priority
        remedy = "IOPRIO_CLASS_RT takes CAP_SYS_NICE or CAP_SYS_ADMIN on the host"
        yield Step(Op.IO_PRIORITY, "set the I/O priority", (value,), (), "$.process.ioPriority", remedy)


def placement() -> Step:
    """Return the step that lets a process run on every CPU that its cgroup has.

    To how many of them the caller keeps is its own affair, as it is for runc.
    """
    return Step(Op.AFFINITY, "use every CPU of the container", (), (cpulist.ALL,))


def memory_policy(asked: LinuxMemoryPolicy | None) -> tuple[int, bytes] | None:
    """Return mode with flags, and nodes, as set_mempolicy(2) takes them; None when nothing is asked for."""
    if asked is None:
        return None
    mode = _MEMORY_MODES[asked.mode] | sum({_MEMORY_FLAGS[flag] for flag in asked.flags})
    return mode, cpulist.mask(asked.nodes, "$.linux.memoryPolicy.nodes") if asked.nodes else b""


def personality(asked: LinuxPersonality | None) -> int | None:
    """Return the execution domain, as the system call of the same name takes it; None when nothing is asked for."""
    return None if asked is None else _DOMAINS[asked.domain]


def domain_and_memory(domain: int | None, policy: tuple[int, bytes] | None) -> Iterator[Step]:
    """Plan what :func:`personality` and :func:`memory_policy` returned."""
    if domain is not None:
        yield Step(Op.PERSONALITY, "set execution domain", (domain,), (), "$.linux.personality")
    if policy is not None:
        mode, nodes = policy
        remedy = "this host, and the container's cpuset, must have the nodes, and the kernel must know the mode"
        yield Step(Op.MEMORY_POLICY, "set memory policy", (mode,), (nodes,), "$.linux.memoryPolicy", remedy)


def check_labels(spec: Spec, modules: Modules) -> None:
    """Refuse labels that this host has no module for: a protection that is asked for and not there.

    Raises:
        UnsupportedFieldError: The first of them.
    """
    process = spec.process
    if process is not None:
        check_process_labels(process, modules)
    if spec.linux is not None and spec.linux.mount_label and not modules.selinux:
        raise UnsupportedFieldError("$.linux.mountLabel", _NO_SELINUX)


_NO_APPARMOR: Final = "AppArmor is not enabled on this host (/sys/module/apparmor); remove the profile, or enable it"
_NO_SELINUX: Final = "SELinux is not enabled on this host (/sys/fs/selinux); remove the label, or enable it"


def check_process_labels(process: Process, modules: Modules) -> None:
    """Refuse labels of a process that this host has no module for.

    Raises:
        UnsupportedFieldError: The first of them.
    """
    if process.apparmor_profile not in {"", "unconfined"} and not modules.apparmor:
        raise UnsupportedFieldError("$.process.apparmorProfile", _NO_APPARMOR)
    if process.selinux_label and not modules.selinux:
        raise UnsupportedFieldError("$.process.selinuxLabel", _NO_SELINUX)


def labels(process: Process, modules: Modules, slot: int = Slot.PROC) -> Iterator[Step]:
    """Plan what the security modules take the next program for.

    Args:
        process: The process; :func:`check_process_labels` has seen it.
        modules: Those of this host.
        slot: The procfs to write to; that of the host when there is none.
    """
    where, resolve = ("/proc/self/", 0) if slot == NO_SLOT else ("self/", _RESOLVE)
    if process.apparmor_profile and modules.apparmor:
        strings = (f"{where}{modules.apparmor}".encode(), f"exec {process.apparmor_profile}".encode())
        remedy = f"is the profile {process.apparmor_profile!r} loaded (apparmor_parser(8))?"
        path = "$.process.apparmorProfile"
        yield Step(Op.WRITE, "set the AppArmor profile", (slot, resolve), strings, path, remedy)
    if process.selinux_label:
        strings = (f"{where}attr/exec".encode(), process.selinux_label.encode())
        remedy = f"does the policy know {process.selinux_label!r}, and let this process change to it?"
        yield Step(Op.WRITE, "set the SELinux label", (slot, resolve), strings, "$.process.selinuxLabel", remedy)


def keyring_label(process: Process) -> Iterator[Step]:
    """Plan the label of the keys that the process makes, such as its session keyring."""
    if process.selinux_label:
        strings = (b"/proc/self/attr/keycreate", process.selinux_label.encode())
        yield Step(Op.WRITE, "set the SELinux label of keys", (NO_SLOT, 0), strings, "$.process.selinuxLabel")
