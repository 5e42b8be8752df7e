"""What is special about a process of config.json (config.md, "Process"): most of them have nothing of it."""

from __future__ import annotations

from attrs import field, frozen

from ocikit.spec._document import Document, key
from ocikit.spec._kinds import INT32, INT64, STRING, UINT64, Kind, array

__all__ = ["Box", "CPUAffinity", "LinuxIOPriority", "Scheduler"]

_STRINGS: Kind = array(STRING)


@frozen(kw_only=True, repr=False, eq=False)
class Box(Document):
    """Size of a console, in characters."""

    #: Lines; REQUIRED.
    height: int = field(metadata=key("height", UINT64))
    #: Columns; REQUIRED.
    width: int = field(metadata=key("width", UINT64))


@frozen(kw_only=True, repr=False, eq=False)
class Scheduler(Document):
    """CPU scheduling of a process, as for sched_setattr(2)."""

    #: Such as ``SCHED_OTHER``; REQUIRED.
    policy: str = field(metadata=key("policy", STRING, absent=""))
    #: Nice value.
    nice: int = field(default=0, metadata=key("nice", INT32))
    #: Static priority, for realtime policies.
    priority: int = field(default=0, metadata=key("priority", INT32))
    #: Such as ``SCHED_FLAG_RESET_ON_FORK``.
    flags: tuple[str, ...] = field(default=(), metadata=key("flags", _STRINGS))
    #: ``SCHED_DEADLINE``: run time in a period, in nanoseconds.
    runtime: int = field(default=0, metadata=key("runtime", UINT64))
    #: ``SCHED_DEADLINE``: deadline in a period, in nanoseconds.
    deadline: int = field(default=0, metadata=key("deadline", UINT64))
    #: ``SCHED_DEADLINE``: length of a period, in nanoseconds.
    period: int = field(default=0, metadata=key("period", UINT64))


@frozen(kw_only=True, repr=False, eq=False)
class LinuxIOPriority(Document):
    """I/O scheduling of a process."""

    #: ``IOPRIO_CLASS_RT``, ``IOPRIO_CLASS_BE`` or ``IOPRIO_CLASS_IDLE``; REQUIRED.
    class_: str = field(metadata=key("class", STRING, absent=""))
    #: From 0, the highest, to 7.
    priority: int = field(default=0, metadata=key("priority", INT64, always=True))


@frozen(kw_only=True, repr=False, eq=False)
class CPUAffinity(Document):
    """CPUs for processes that are executed in a running container, such as ``0-3,7``."""

    #: Before the process is in the cgroup of the container.
    initial: str = field(default="", metadata=key("initial", STRING))
    #: Once it is there.
    final: str = field(default="", metadata=key("final", STRING))
