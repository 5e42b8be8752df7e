"""The plan of a further process: what is to be done between the host and a program in a container that exists.

Pure, like all plans. A further process is more dangerous than the first one: the container may be hostile by now, and
watches whoever comes in. So the order is this:

1. *On the host*, the helper leaves somebody behind who is going to wait for the program, and takes what only the host
   can give: limits, CPUs, cgroups.
2. It enters all namespaces of the container at once. Its own process id stays that of the host: nobody inside sees it.
3. There it becomes, completely, who the program will be: user, groups, capabilities, working directory.
4. Only then it makes the process that they see, which holds no descriptor of the host and no right that the program
   will not have (but, where a filter takes it to be loaded, CAP_SYS_ADMIN, not in effect and until then).

A plan without a container to enter cannot be made: :class:`Enclosure` is refused unless it has a mount namespace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from ocikit._tuples import NamedTuple
from ocikit.errors import NotSupportedError, UnsupportedFieldError, ValidationError
from ocikit.runtime.plan import cpulist
from ocikit.runtime.plan.attributes import (
    Modules,
    check_attributes,
    check_process_labels,
    domain_and_memory,
    io_priority,
    keyring_label,
    labels,
    placement,
    scheduler,
    scheduling,
)
from ocikit.runtime.plan.environment import environment
from ocikit.runtime.plan.namespace_kinds import NAMESPACES
from ocikit.runtime.plan.process import execute, filtering, find, identity, resource_limits
from ocikit.runtime.plan.steps import NO_SLOT, Op, Plan, Slot, Step, check_strings, close
from ocikit.runtime.plan.terminal import control, terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.runtime.state.template import Template
    from ocikit.spec import Process

__all__ = ["BEGIN", "JOINING", "Enclosure", "compile_exec"]

#: The action that fails when the v2 cgroup of the container takes no processes.
BEGIN: Final = "begin in the cgroup of the container"

#: The step that puts the process into a cgroup, in the words of runc.
JOINING: Final = "adding pid of the process to cgroups"

_RAISE: Final = 1  # of Op.RLIMIT: raise a hard limit that is too low, and change nothing else
_OOM_FILE: Final = "/proc/self/oom_score_adj"


class Enclosure(NamedTuple):
    """What a further process is put into, as the first process of the container shows it."""

    #: The id of the container; names its session keyring.
    id: str
    #: The types of namespaces that the container does not share with this process.
    joined: frozenset[str]
    #: Files that the helper writes "0" to, to join the cgroups of the container.
    cgroup_files: tuple[str, ...] = ()
    #: The helper begins in the v2 cgroup whose descriptor the launcher passes.
    into_cgroup: bool = False
    #: Mask of the capabilities that this process could pass on.
    capabilities: int = 0xFFFF_FFFF_FFFF_FFFF
    #: What becomes of supplementary groups: ``set`` to those of the process; where the container's user namespace does
    #: not allow that, ``drop`` on the way in, or ``keep`` when there is no right to do so.
    groups: Literal["set", "drop", "keep"] = "set"
    #: Whether its user namespace is another than this process's, and has a root.
    has_root: bool = False
    #: The security modules of this host, as far as the process has labels for them.
    modules: Modules = Modules()


def compile_exec(
    process: Process,
    enclosure: Enclosure,
    template: Template,
    *,
    home: str | None = None,
    preserved: int = 0,
    waits: bool = True,
) -> Plan:
    """Plan a further process.

    Args:
        process: The process; nothing is added to it but a home directory.
        enclosure: What it is put into.
        template: What every process of the container has.
        home: The home directory of its user, for environments without HOME.
        preserved: How many descriptors it inherits beside its standard streams.
        waits: Whether the program is executed only at a word of the launcher. Without it, whoever gives up has to end
            what the program may have started by then.

    Raises:
        ValidationError: The process violates the specification.
        UnsupportedFieldError: It asks for something that would have to be ignored.
        NotSupportedError: The container has no file system of its own that the process could be confined to.
    """
    if "mount" not in enclosure.joined:
        raise NotSupportedError(
            f"container {enclosure.id} shares the mount namespace of this process: a further process would have the "
            "files of this host; recreate it with a namespace of type mount"
        )
    _check(process, enclosure)
    rights, warnings = identity(process, enclosure.capabilities, template.seccomp)
    if enclosure.groups != "set":
        rights = [step for step in rights if step.op != Op.GROUPS]
    limits = list(resource_limits(process))
    variables = environment(process.env, home)
    steps = [
        _attend(enclosure),
        *_on_host(process, enclosure, limits),
        *_enter(process, enclosure, template),
        *_terminal(process, enclosure),
        *rights,
        find(process, variables),
        Step(Op.CLONE, "make the process", (0, NO_SLOT), remedy="a limit of processes of the container was reached"),
        *control(process),
        *limits,
        *scheduling(process),
        *_preserve(preserved),
        *filtering(process, enclosure.capabilities, template.seccomp),
        Step(Op.READY, "wait for the launcher" if waits else "say that all is done", (int(not waits),)),
        execute(process, variables),
    ]
    check_strings(steps)
    return Plan(tuple(steps), warnings=warnings, scheduler=scheduler(process))


def _check(process: Process, enclosure: Enclosure) -> None:
    violations = tuple(f"$.process{str(violation).removeprefix('$')}" for violation in process.validate())
    if not violations and not process.args:
        violations = ("$.process.args: expected a program to run",)
    if violations:
        raise ValidationError(violations)
    check_attributes(process)
    check_process_labels(process, enclosure.modules)
    if process.user.additional_gids and enclosure.groups != "set":
        reason = "the user namespace of the container allows no supplementary groups (user_namespaces(7), setgroups)"
        raise UnsupportedFieldError("$.process.user.additionalGids", reason)


def _attend(enclosure: Enclosure) -> Step:
    cgroup = Slot.CGROUP if enclosure.into_cgroup else NO_SLOT
    remedy = "a limit of processes of the container was reached, or its cgroup hands controllers on to others in it"
    return Step(Op.ATTEND, BEGIN, (cgroup,), remedy=remedy)


def _on_host(process: Process, enclosure: Enclosure, limits: list[Step]) -> Iterator[Step]:
    """Yield what takes rights, files or CPUs of the host; all of it passes on to the process."""
    if process.oom_score_adj is not None:
        strings = (_OOM_FILE.encode(), b"%d" % process.oom_score_adj)
        remedy = "lowering it below the caller's takes CAP_SYS_RESOURCE"
        yield Step(Op.WRITE, "set the OOM score adjustment", (NO_SLOT, 0), strings, _OOM_FILE, remedy)
    for step in limits:
        # In another user namespace there is no right to raise it. The limit itself comes last: it may be too low for
        # what is still to be done.
        yield step._replace(arguments=(*step.arguments[:3], _RAISE))
    yield from io_priority(process)
    yield from labels(process, enclosure.modules, NO_SLOT)
    if enclosure.groups == "drop":
        yield Step(Op.GROUPS, "drop supplementary groups", (), (b"",))
    affinity = process.exec_cpu_affinity
    initial = affinity.initial if affinity is not None else ""
    final = affinity.final if affinity is not None else ""
    if initial:
        yield _affinity("initial", initial)
    for path in enclosure.cgroup_files:
        yield Step(Op.WRITE, JOINING, (NO_SLOT, 0), (path.encode(), b"0"), path)
    if final:
        yield _affinity("final", final)
    elif not initial:
        # The CPUs that this process keeps to are its own affair; those of the cgroup are the container's.
        yield placement()


def _affinity(which: str, cpus: str) -> Step:
    path = f"$.process.execCPUAffinity.{which}"
    remedy = f"does this host, and the container's cpuset, have one of the CPUs {cpus}?"
    return Step(Op.AFFINITY, f"set {path}", (), (cpulist.mask(cpus, path),), remedy=remedy)


def _enter(process: Process, enclosure: Enclosure, template: Template) -> Iterator[Step]:
    flags = sum(NAMESPACES[kind].flag for kind in enclosure.joined)
    remedy = "it takes CAP_SYS_ADMIN, and a container whose first process lives"
    yield Step(Op.JOIN_PROCESS, "enter the namespaces of the container", (Slot.PROCESS, flags), remedy=remedy)
    yield close(Slot.PROCESS)
    yield from domain_and_memory(template.personality, template.memory_policy)
    if template.keyring:
        yield from keyring_label(process)
        yield Step(Op.KEYRING, "join session keyring", (), (f"_ses.{enclosure.id}".encode(),))


def _terminal(process: Process, enclosure: Enclosure) -> Iterator[Step]:
    steps = terminal(process, root=None)
    if steps and enclosure.has_root:
        # In another user namespace, a file of a user that it does not have would belong to nobody for ever.
        yield Step(Op.IDS, "become root of the user namespace", (0, 0))
    yield from steps


def _preserve(count: int) -> Iterator[Step]:
    if count:
        yield Step(Op.INHERIT, "hand descriptors to the program", (Slot.PRESERVED, count))
