"""A configuration becomes a plan: what is to be done, flat and in order, before anything is done.

Everything here is pure: no file is read, no system call made, and it imports on any system. The order of the steps is
where the safety of a container lies; each place that must stay where it is says why.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from ocikit._tuples import NamedTuple
from ocikit.errors import UnsupportedFieldError, ValidationError
from ocikit.runtime.hook_commands import check_hooks
from ocikit.runtime.host.caller import Caller
from ocikit.runtime.once import Once
from ocikit.runtime.plan import namespaces as plan_namespaces
from ocikit.runtime.plan.attributes import (
    Modules,
    check_attributes,
    check_labels,
    domain_and_memory,
    io_priority,
    keyring_label,
    labels,
    memory_policy,
    personality,
    placement,
    scheduler,
    scheduling,
)
from ocikit.runtime.plan.coherence import check_coherence
from ocikit.runtime.plan.environment import environment
from ocikit.runtime.plan.hooks import creation_hooks, start_hooks
from ocikit.runtime.plan.mounts import CgroupMount
from ocikit.runtime.plan.namespace_kinds import NAMESPACES
from ocikit.runtime.plan.process import filtering, identity, program, resource_limits
from ocikit.runtime.plan.root import root_filesystem
from ocikit.runtime.plan.steps import NO_SLOT, Op, Plan, Slot, Step, Sync, ask, check_strings, close
from ocikit.runtime.plan.users import check_users, ranges_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ocikit.runtime.seccomp import Filter
    from ocikit.spec import Linux, LinuxNamespace, Process, Spec

__all__ = ["CgroupMount", "Surroundings", "compile_plan"]


class Surroundings(NamedTuple):
    """What a plan has to know of the place the container is made in."""

    #: Absolute path of the bundle.
    bundle: str
    #: The id of the container; names its session keyring.
    id: str = "ocikit"
    #: Files that init writes "0" to, to join its cgroups (v1: ``tasks`` of each hierarchy).
    cgroup_join: tuple[str, ...] = ()
    #: systemd makes the cgroups when init is there to be put into them.
    systemd: bool = False
    #: They are made while init is, which waits for them.
    late_cgroups: bool = False
    #: Init is cloned into the cgroup whose descriptor the launcher passes (v2).
    into_cgroup: bool = False
    #: What a mount of type ``cgroup`` shows.
    cgroup_mounts: tuple[CgroupMount, ...] = ()
    #: Mask of the capabilities that this process could pass on.
    capabilities: int = 0xFFFF_FFFF_FFFF_FFFF
    #: Who makes the container.
    caller: Caller = Caller()
    #: Types of the namespaces that the configuration joins by path, and that are those of this process.
    of_host: frozenset[str] = frozenset()
    #: The home directory of the user, for configurations that do not set HOME.
    home: str | None = None
    #: How many descriptors the program inherits beside its standard streams.
    preserved: int = 0
    #: Make a session keyring.
    new_keyring: bool = True
    #: The filter that was compiled from ``linux.seccomp``.
    seccomp: Filter | None = None
    #: The umask of hooks that run in the container before it is started.
    umask: int = 0o022
    #: Make the root by moving its mount: pivot_root(2) is refused where the host runs from a ramdisk.
    no_pivot: bool = False
    #: Where the host has file systems that :attr:`no_pivot` must not leave for the kernel to find.
    revealing: tuple[str, ...] = ()
    #: The security modules of this host, as far as the configuration has labels for them.
    modules: Modules = Modules()


def compile_plan(spec: Spec, around: Surroundings) -> Plan:
    """Turn a configuration into the plan that makes its container.

    Args:
        spec: The configuration.
        around: The place it is made in.

    Raises:
        ValidationError: The configuration violates the specification.
        UnsupportedFieldError: It asks for something that would have to be ignored.
    """
    violations = _violations(spec)
    if violations:
        raise ValidationError(violations)
    if spec.root is None or spec.linux is None:
        missing = "root" if spec.root is None else "linux"
        raise ValidationError((f"$.{missing}: a container on Linux needs this section",))
    if spec.linux.seccomp is not None and around.seccomp is None:
        raise UnsupportedFieldError("$.linux.seccomp", "a plan takes a filter that was compiled from it before")
    namespaces = _namespaces(spec.linux, around.of_host)
    check_coherence(spec, around.of_host)
    check_users(spec, around.caller, around.of_host)
    rootfs = posixpath.join(around.bundle, spec.root.path)
    check_hooks(spec.hooks)
    process = spec.process or _no_process()
    check_attributes(process)
    check_labels(spec, around.modules)
    creating = tuple(creation_hooks(spec, around.id, around.bundle, around.umask))
    kinds = _own_kinds(namespaces.keys() - around.of_host, around.caller)
    root = root_filesystem(spec, around, kinds, creating, copied=plan_namespaces.is_copied(namespaces))
    steps: list[Step] = [
        *io_priority(process),
        *plan_namespaces.before_clone(spec, namespaces, around.caller, rootfs),
        plan_namespaces.clone(namespaces, into_cgroup=around.into_cgroup),
        # While init waits for start it holds nothing that leads out of the container: who may trace it, in a shared pid
        # namespace, could use it.
        close(Slot.CGROUP),
        Step(Op.ENDABLE, "let signals end init"),
        *_isolation(spec, namespaces, around, rootfs),
        *root.steps,
    ]
    rights, warnings = identity(process, around.capabilities, around.seccomp)
    if not process.user.additional_gids and ("user" in namespaces or not around.caller.groups):
        # They were dropped on the way into the user namespace, where perhaps nobody may change them.
        rights = [step for step in rights if step.op is not Op.GROUPS]
    steps += [*_attributes(process, spec.linux, around.modules), *resource_limits(process)]
    steps += [*rights, *plan_namespaces.let_in(namespaces, around.caller)]
    last = filtering(process, around.capabilities, around.seccomp)
    starting = tuple(start_hooks(spec, around.id, around.bundle, environment(process.env, around.home)))
    steps += program(process, around.home, around.preserved, last, starting)
    check_strings(steps)
    new_user = "user" in namespaces and not namespaces["user"].path
    return Plan(
        tuple(steps),
        uid_map=ranges_of(spec.linux.uid_mappings) if new_user else (),
        gid_map=ranges_of(spec.linux.gid_mappings) if new_user else (),
        warnings=(*root.warnings, *warnings),
        mount_owners=root.owners,
        scheduler=scheduler(process),
    )


_violations: Once[Spec, tuple[str, ...]] = Once(lambda spec: tuple(map(str, spec.validate())))


def _attributes(process: Process, linux: Linux, modules: Modules) -> Iterator[Step]:
    """Yield what the process is, beside who: while it is root, and when no more program of the host is executed."""
    yield from domain_and_memory(personality(linux.personality), memory_policy(linux.memory_policy))
    cpu = linux.resources.cpu if linux.resources is not None else None
    yield from scheduling(process, cpu.cpus if cpu is not None else "")
    yield from labels(process, modules)


def _own_kinds(kinds: Collection[str], caller: Caller) -> frozenset[str]:
    """Return the kinds of namespaces that are not those of the host; what it started with, where that is above us."""
    return frozenset(kinds) | (frozenset() if caller.initial else {"user"})


def _no_process() -> Process:
    """Return what a container has whose configuration has no process, which is required for its start only."""
    from ocikit.spec import Process  # noqa: PLC0415 - for such configurations only

    return Process(cwd="/")


def _namespaces(linux: Linux, of_host: Collection[str]) -> dict[str, LinuxNamespace]:
    found: dict[str, LinuxNamespace] = {}
    for number, namespace in enumerate(linux.namespaces):
        path = f"$.linux.namespaces[{number}]"
        if namespace.type not in NAMESPACES:
            raise UnsupportedFieldError(path, f"no namespace of type {namespace.type!r} is known")
        found[namespace.type] = namespace
    if "user" in of_host:
        # The kernel lets nobody enter the user namespace that it is in.
        found.pop("user", None)
    if "mount" in of_host:
        # To make the root of this process another one would change it for everybody.
        found.pop("mount", None)
    return found


def _isolation(spec: Spec, namespaces: dict[str, LinuxNamespace], around: Surroundings, rootfs: str) -> Iterator[Step]:
    # Resources first: whatever init does from here on is counted and limited. A process of one thread that moves
    # itself does not wait for the lock that moving another one takes.
    if around.systemd:
        yield ask("have systemd make the cgroup", Sync.CGROUP)
    if around.late_cgroups:
        yield ask("wait for the cgroups", Sync.NOTHING)
    for path in around.cgroup_join:
        yield Step(Op.WRITE, "join cgroup", (NO_SLOT, 0), (path.encode(), b"0"), path)
    yield placement()
    yield from plan_namespaces.become_root(spec, namespaces, around.caller, rootfs)
    if "cgroup" in namespaces and not namespaces["cgroup"].path:
        yield Step(Op.UNSHARE, "make cgroup namespace", (NAMESPACES["cgroup"].flag,))
    if around.new_keyring:
        yield from keyring_label(spec.process or _no_process())
        yield Step(Op.KEYRING, "make session keyring", (), (f"_ses.{around.id}".encode(),))
    yield Step(Op.PROCFS, "mount a private procfs", (Slot.PROC, 0))
    if "network" in namespaces and not namespaces["network"].path:
        yield Step(Op.LOOPBACK, "bring up the loopback interface")
    if spec.linux is not None and spec.linux.net_devices:
        yield Step(Op.NETLINK, "open a socket for network devices", (Slot.NETLINK,))
        yield ask("move network devices", Sync.NET_DEVICES, Slot.NETLINK)
        yield close(Slot.NETLINK)
    if spec.hostname:
        yield Step(Op.HOSTNAME, "set hostname", (), (spec.hostname.encode(),))
    if spec.domainname:
        yield Step(Op.DOMAINNAME, "set domainname", (), (spec.domainname.encode(),))
