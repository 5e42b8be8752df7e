"""What a probe is, what it knows of the host, and how the helper tries something for it.

Nothing is tried in this process. A trial is a plan like that of a container, for the same helper: namespaces, then the
steps in question, then the end. All that it made ends with it.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import os
from typing import TYPE_CHECKING, Final

from ocikit._fs import Descriptor
from ocikit._tuples import NamedTuple
from ocikit.errors import SetupError
from ocikit.runtime.diagnosis.findings import FindingStatus
from ocikit.runtime.host.rootless import this_process
from ocikit.runtime.launch import launch
from ocikit.runtime.plan.namespace_kinds import NAMESPACES
from ocikit.runtime.plan.steps import NO_SLOT, Op, Plan, Step, Sync, ask

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from ocikit.runtime.diagnosis.trial import CgroupTrial
    from ocikit.runtime.host.caller import Caller
    from ocikit.runtime.launch import Launch

__all__ = [
    "MAP_IDS",
    "Found",
    "Host",
    "Need",
    "Probe",
    "Refusal",
    "attempt",
    "in_namespaces",
    "no",
    "partly",
    "unknown",
    "yes",
]

#: The step in which the maps of a new user namespace are written.
MAP_IDS: Final = ask("map ids of the user namespace", Sync.ID_MAPS)
_READY: Final = Step(Op.READY, "say that all is done")


class Need(enum.Enum):
    """Who cannot make any container without something."""

    NOBODY = enum.auto()
    EVERYBODY = enum.auto()
    #: Whoever may not make namespaces without a user namespace.
    USERS = enum.auto()


class Found(NamedTuple):
    """What a probe found."""

    status: FindingStatus
    found: str
    remedy: str = ""


def yes(found: str) -> Found:
    """Return that the host can."""
    return Found(FindingStatus.YES, found)


def no(found: str, remedy: str) -> Found:
    """Return that it cannot."""
    return Found(FindingStatus.NO, found, remedy)


def partly(found: str, remedy: str) -> Found:
    """Return that it can, with restrictions."""
    return Found(FindingStatus.PARTLY, found, remedy)


def unknown(found: str, remedy: str) -> Found:
    """Return that it could not be found out."""
    return Found(FindingStatus.UNKNOWN, found, remedy)


class Probe(NamedTuple):
    """A row of the table of an area."""

    #: The name of the finding.
    name: str
    #: What looks.
    look: Callable[[Host], Found]
    #: Who cannot do without.
    need: Need = Need.NOBODY


class Refusal(NamedTuple):
    """What the kernel, or what stands before it, did not do."""

    #: The step, in words.
    action: str
    errno: int

    def __str__(self) -> str:
        return f"{self.action}: {os.strerror(self.errno)} (errno {self.errno})"


class Host:
    """This host as probes see it; what more than one of them has to know is looked at once."""

    def __init__(self, root: str) -> None:
        #: The state root that is asked about.
        self.root = root

    @functools.cached_property
    def caller(self) -> Caller:
        """Who this process is."""
        return this_process()

    @functools.cached_property
    def status(self) -> Mapping[str, str]:
        """What ``/proc/thread-self/status`` says."""
        with open("/proc/thread-self/status", encoding="ascii", errors="replace") as file:
            return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}

    @functools.cached_property
    def cgroups(self) -> CgroupTrial:
        """What came of making the cgroups of a container."""
        from ocikit.runtime.diagnosis.trial import try_cgroups  # noqa: PLC0415 - when the first asks for it

        return try_cgroups(self.caller)

    @functools.cached_property
    def user_namespace(self) -> Refusal | None:
        """Why this caller cannot make a user namespace, and be root in it; None when it can."""
        return attempt(*in_namespaces({"user"}, self.caller))

    @property
    def own(self) -> frozenset[str]:
        """The namespaces that this caller needs to have rights over others: none for root."""
        return frozenset() if self.caller.may_mount else frozenset({"user"})


def in_namespaces(kinds: Collection[str], caller: Caller, *then: Step) -> tuple[tuple[Step, ...], Caller]:
    """Return the steps that do something in new namespaces, as the runtime makes them for this caller.

    Args:
        kinds: The namespaces.
        caller: Who makes them; in a user namespace, it is mapped to root.
        then: What is done in there.
    """
    steps = []
    if "user" in kinds:
        steps += [
            Step(Op.DUMPABLE, "let the caller write to /proc/self", (1,)),
            Step(Op.UNSHARE, "make user namespace", (NAMESPACES["user"].flag,)),
            MAP_IDS,
        ]
    if "time" in kinds:
        steps.append(Step(Op.UNSHARE, "make time namespace", (NAMESPACES["time"].flag,)))
    flags = sum(NAMESPACES[kind].flag for kind in kinds if NAMESPACES[kind].when == "clone")
    steps.append(Step(Op.CLONE, "clone a process", (flags, NO_SLOT)))
    if "user" in kinds:
        steps.append(Step(Op.IDS, "become root of the user namespace", (0, 0)))
    if "cgroup" in kinds:
        steps.append(Step(Op.UNSHARE, "make cgroup namespace", (NAMESPACES["cgroup"].flag,)))
    return (*steps, *then), caller


def attempt(
    steps: Sequence[Step],
    caller: Caller,
    *,
    passed: Mapping[int, int] | None = None,
    look: Callable[[Launch], object] | None = None,
) -> Refusal | None:
    """Have a helper carry out some steps, and end.

    Args:
        steps: The steps, :attr:`Op.CLONE` among them.
        caller: Whom a new user namespace maps to root.
        passed: Descriptors for the steps, by their slots.
        look: Is given the process when all steps are done.

    Returns:
        None when all steps were done; else the first that was not.

    Raises:
        NotSupportedError: The helper cannot be run here.
        OSError: It could not be started.
    """
    plan = Plan((*steps, _READY), uid_map=((0, caller.uid, 1),), gid_map=((0, caller.gid, 1),))
    with Descriptor(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) as null, contextlib.ExitStack() as stack:
        try:
            started = stack.enter_context(launch(plan, stdio=(null.fd, null.fd, null.fd), passed=passed or {}))
            started.ready()
        except SetupError as error:
            return Refusal(error.action, error.errno or 0)
        if look is not None:
            look(started)
    return None
