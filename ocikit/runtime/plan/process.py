"""The part of a plan that makes the process: its limits, identity and rights, and at last its program."""

from __future__ import annotations

import posixpath
import struct
from typing import TYPE_CHECKING

from ocikit.errors import ValidationError
from ocikit.runtime.plan import capabilities
from ocikit.runtime.plan.environment import environment
from ocikit.runtime.plan.seccomp import CAP_SYS_ADMIN, load_filter
from ocikit.runtime.plan.steps import Op, Slot, Step

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ocikit.runtime.seccomp import Filter
    from ocikit.spec import Process

__all__ = [
    "DEFAULT_PATH",
    "RLIMITS",
    "execute",
    "filtering",
    "find",
    "identity",
    "program",
    "resource_limits",
]

#: Where programs are looked for when the environment has no PATH.
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_DEFAULT_UMASK = 0o022

#: RLIMIT_* (setrlimit(2)), by the number that Linux has on x86_64 and aarch64.
RLIMITS = {
    "RLIMIT_CPU": 0,
    "RLIMIT_FSIZE": 1,
    "RLIMIT_DATA": 2,
    "RLIMIT_STACK": 3,
    "RLIMIT_CORE": 4,
    "RLIMIT_RSS": 5,
    "RLIMIT_NPROC": 6,
    "RLIMIT_NOFILE": 7,
    "RLIMIT_MEMLOCK": 8,
    "RLIMIT_AS": 9,
    "RLIMIT_LOCKS": 10,
    "RLIMIT_SIGPENDING": 11,
    "RLIMIT_MSGQUEUE": 12,
    "RLIMIT_NICE": 13,
    "RLIMIT_RTPRIO": 14,
    "RLIMIT_RTTIME": 15,
}


def identity(process: Process, available: int, seccomp: Filter | None = None) -> tuple[list[Step], tuple[str, ...]]:
    """Plan who the process is and what it may do.

    Args:
        process: The process of the configuration.
        available: Mask of the capabilities that can be passed on at all.
        seccomp: The filter that :func:`filtering` is going to load.

    Returns:
        The steps, and warnings about capabilities that cannot be granted (the specification asks for a warning, not
        for a failure), and about a name that somebody may take for the user.
    """
    masks, warnings = _capability_masks(process, available)
    user = process.user
    if user.uid == 0 and user.username not in {"", "root", "0"}:
        # The field is for Windows; engines write it anyway, beside ids.
        why = f"{user.username!r} does not count on Linux, and uid is 0: the program runs as root"
        warnings = (*warnings, f"$.process.user.username: {why}; look up ids (spec.resolve_user)")
    groups = struct.pack(f"={len(user.additional_gids)}I", *user.additional_gids)
    umask = _DEFAULT_UMASK if user.umask is None else user.umask
    where = process.cwd
    cwd = Step(Op.CWD, "enter working directory", (0,), (where.encode(),), where)
    steps = [
        Step(Op.UMASK, "set umask", (umask,)),
        # The bounding set while there is CAP_SETPCAP; it goes with the change of user.
        Step(Op.BOUND, "limit bounding capabilities", (masks["bounding"],)),
        Step(Op.KEEPCAPS, "keep capabilities over the change of user", (1,)),
        Step(Op.GROUPS, "set supplementary groups", (), (groups,)),
        cwd._replace(arguments=(1,)),
        Step(Op.IDS, f"become user {user.uid}:{user.gid}", (user.uid, user.gid)),
        cwd,
        Step(Op.KEEPCAPS, "keep capabilities no longer", (0,)),
        _set_capabilities(masks, more=_needed(process, available, seccomp)),
        Step(Op.AMBIENT, "set ambient capabilities", (masks["ambient"],)),
    ]
    if process.no_new_privileges:
        steps.append(Step(Op.NO_NEW_PRIVS, "give up new privileges"))
    return steps, warnings


def filtering(process: Process, available: int, seccomp: Filter | None) -> list[Step]:
    """Plan to load the filter, as the last thing before init is ready; nothing when there is none.

    Args:
        process: The process of the configuration.
        available: The mask that :func:`identity` got.
        seccomp: The filter that it got.
    """
    if seccomp is None:
        return []
    masks, _ = _capability_masks(process, available)
    return load_filter(seccomp, _set_capabilities(masks), _needed(process, available, seccomp))


def _needed(process: Process, available: int, seccomp: Filter | None) -> int:
    """Return the mask of the capability that loading the filter takes, as far as there is one."""
    return 0 if seccomp is None or process.no_new_privileges else CAP_SYS_ADMIN & available


def _set_capabilities(masks: Mapping[str, int], more: int = 0) -> Step:
    """Return the step that sets what a process has; ``more`` can be put into effect later."""
    return Step(Op.CAPS, "set capabilities", (masks["effective"], masks["permitted"] | more, masks["inheritable"]))


def resource_limits(process: Process) -> Iterator[Step]:
    """Plan the resource limits, while there may still be the right to raise them."""
    seen = set()
    for number, limit in enumerate(process.rlimits):
        path = f"$.process.rlimits[{number}]"
        if limit.type not in RLIMITS:
            raise ValidationError((f"{path}.type: {limit.type!r} is no limit that Linux has",))
        if limit.type in seen:
            raise ValidationError((f"{path}: a second limit of type {limit.type}",))
        seen.add(limit.type)
        remedy = "raising a hard limit takes CAP_SYS_RESOURCE"
        yield Step(Op.RLIMIT, f"set {limit.type}", (RLIMITS[limit.type], limit.soft, limit.hard), remedy=remedy)


def _capability_masks(process: Process, available: int) -> tuple[dict[str, int], tuple[str, ...]]:
    masks = dict.fromkeys(("bounding", "effective", "inheritable", "permitted", "ambient"), 0)
    warnings: list[str] = []
    asked = process.capabilities
    if asked is None:
        return masks, ()
    for name in masks:
        mask, unknown = capabilities.to_mask(getattr(asked, name))
        warnings += (f"$.process.capabilities.{name}: unknown capability {one}" for one in unknown)
        missing = capabilities.names_of(mask & ~available)
        if missing:
            warnings.append(f"$.process.capabilities.{name}: this process cannot pass on {', '.join(missing)}")
        masks[name] = mask & available
    masks["effective"] &= masks["permitted"]
    # The kernel grants as ambient only what is both permitted and inheritable.
    wanted, masks["ambient"] = masks["ambient"], masks["ambient"] & masks["permitted"] & masks["inheritable"]
    refused = capabilities.names_of(wanted & ~masks["ambient"])
    if refused:
        names = ", ".join(refused)
        warnings.append(
            f"$.process.capabilities.ambient: not both permitted and inheritable, hence not granted: {names}"
        )
    return masks, tuple(warnings)


def program(
    process: Process, home: str | None, preserved: int = 0, last: Sequence[Step] = (), started: Sequence[Step] = ()
) -> Iterator[Step]:
    """Plan the end: find the program, say that all is ready, wait for start, execute.

    Args:
        process: The process of the configuration; without arguments when it has none.
        home: The home directory of the user, for configurations that do not set HOME.
        preserved: How many descriptors the program inherits beside its standard streams.
        last: What is done when nothing but waiting is left, such as :func:`filtering`.
        started: What is done when the container was started.
    """
    variables = environment(process.env, home)
    # Now, as the user that will execute it and with its rights: what is not found fails create, not start.
    if process.args:
        yield find(process, variables)
    yield from last
    yield Step(Op.READY, "wait for the launcher")
    # Callers of the command line expect that start lets a container without a program end, and not that it fails.
    yield Step(Op.FIFO, "wait for start", (Slot.PROC, Slot.FIFO, int(not process.args)))
    if not process.args:
        remedy = "the configuration has no $.process: its container can be created, and ends when it is started"
        yield Step(Op.FIND, "find a program to run", (), (b"",), remedy=remedy)
        return
    yield from started
    if preserved:
        yield Step(Op.INHERIT, "hand descriptors to the program", (Slot.PRESERVED, preserved))
    yield execute(process, variables)


def find(process: Process, variables: Sequence[str]) -> Step:
    """Plan to find the program, as the process that is going to execute it."""
    name = process.args[0]
    return Step(Op.FIND, f"find {name!r} in the root file system", (), _candidates(name, variables))


def execute(process: Process, variables: Sequence[str]) -> Step:
    """Plan to execute the program that was found."""
    strings = tuple(part.encode("utf-8", "surrogateescape") for part in (*process.args, *variables))
    return Step(Op.EXEC, f"execute {process.args[0]!r}", (len(process.args),), strings)


def _candidates(name: str, environment: Sequence[str]) -> tuple[bytes, ...]:
    if "/" in name:
        return (name.encode("utf-8", "surrogateescape"),)
    # The last assignment counts, as for the program itself.
    path = next((entry[5:] for entry in reversed(environment) if entry.startswith("PATH=")), DEFAULT_PATH)
    # An empty component is the working directory: what execvp makes of it everywhere.
    return tuple(posixpath.join(part or ".", name).encode("utf-8", "surrogateescape") for part in path.split(":"))
