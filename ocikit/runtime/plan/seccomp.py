"""The part of a plan that loads the filter for system calls.

The filter goes in as late as can be, so that it need not allow what only setting up a container takes. All that comes
after it are ``write`` and ``read`` (init says that it is ready, and waits), ``openat``, ``write`` and ``close``
(``exec.fifo``), and ``execve``; before them ``sendmsg`` or ``sendmmsg``, ``read`` and ``close`` where there is a
listener to hand over, and ``capset`` where there are new privileges. All of it runc needs, too.

The kernel lets a process load a filter that gave up new privileges, or has CAP_SYS_ADMIN in its user namespace. In the
second case the capability is kept, but not in effect, until here: the program was looked for with the rights that it
will have. It is raised for this one call, and then the sets are what was asked for, exactly; giving up a capability
leaves the ambient set as it is, which was built before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.runtime.plan.steps import Op, Slot, Step, Sync, ask, close

if TYPE_CHECKING:
    from ocikit.runtime.seccomp import Filter

__all__ = ["CAP_SYS_ADMIN", "load_filter"]

#: The bit of the capability that loading a filter takes.
CAP_SYS_ADMIN: Final = 1 << 21

_REMEDY: Final = (
    "without process.noNewPrivileges it takes CAP_SYS_ADMIN; and the kernel must be built with CONFIG_SECCOMP_FILTER"
)


def load_filter(seccomp: Filter, capabilities: Step, needed: int) -> list[Step]:
    """Plan to load a filter.

    Args:
        seccomp: The filter.
        capabilities: The step that gives the process the capability sets that it is to have.
        needed: Mask of what loading it takes beside them, and is in the permitted set now; 0 for nothing.
    """
    how = seccomp.listener.how if seccomp.listener is not None else 0
    arguments = (seccomp.flags, Slot.LISTENER, how)
    steps = [Step(Op.SECCOMP, "load the seccomp filter", arguments, (seccomp.program,), remedy=_REMEDY)]
    if seccomp.listener is not None:
        # Before anything else: whatever call comes next may have to wait for the agent. And nobody but the agent is to
        # hold the listener, so that calls fail, rather than wait for ever, when the agent is gone.
        steps += [ask("hand over the seccomp listener", Sync.SECCOMP_LISTENER, Slot.LISTENER), close(Slot.LISTENER)]
    if needed:
        effective, permitted, inheritable = capabilities.arguments
        raised = (effective | needed, permitted | needed, inheritable)
        steps.insert(0, Step(Op.CAPS, "raise CAP_SYS_ADMIN to load the seccomp filter", raised))
        remedy = "without process.noNewPrivileges, linux.seccomp has to allow capset"
        steps.append(capabilities._replace(remedy=remedy))
    return steps
