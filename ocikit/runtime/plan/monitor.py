"""The part of a plan that leaves a monitor behind, which stays with a container that may outlive its launcher.

Pure: what is to be done at the end of the container is decided here, as a list of words and paths; the monitor has no
opinion. It is the first step of a plan: whatever the container is given or deprived of comes after it.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from ocikit._tuples import NamedTuple
from ocikit.runtime.plan.steps import Op, Slot, Step

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["LOG_FORMATS", "Given", "Kept", "Remainder", "monitor_step"]

#: How a log is written, by name: the number is that of ``wire.h``.
LOG_FORMATS: Final = {"json": 0, "cri": 1}

_UNIFIED: Final = ""  # the key of the v2 hierarchy


class Given(enum.IntEnum):
    """The descriptors that a monitor is given, counted from :attr:`Slot.MONITOR` (``enum wire_monitor_slot``)."""

    CONTROL = 0
    DIRECTORY = 1
    ROOT = 2
    OWNER = 3
    STDIN = 4
    STDOUT = 5
    STDERR = 6
    LISTENER = 7
    LOG = 8


class Remainder(NamedTuple):
    """What is left of a container that has ended, and that its monitor removes when the owner is gone."""

    #: The id of the container, which names its directory.
    id: str
    #: The files of its directory that go last, in this order.
    last_files: tuple[str, ...]
    #: Directories above its cgroups that were made for it, the outermost first.
    cgroup_parents: tuple[str, ...] = ()


class Kept(NamedTuple):
    """What a monitor has to know of a container."""

    #: The cgroups of the container, by controller.
    cgroups: Mapping[str, str]
    #: Whether its processes die with the first one, because they live in a pid namespace that it made.
    private_pids: bool
    #: What is removed when the owner is gone; None leaves it for whoever destroys the container.
    remainder: Remainder | None = None
    #: How long it may run from its start, in milliseconds; 0 is as long as it likes.
    milliseconds: int = 0
    #: The name of the log in its directory; empty when there is none.
    log: str = ""
    log_format: str = "json"
    log_bytes: int = 0
    log_files: int = 1


def monitor_step(kept: Kept) -> Step:
    """Return the step that leaves the monitor behind.

    Args:
        kept: What it has to know.
    """
    strings = [kept.log, *_things(kept)]
    log = LOG_FORMATS[kept.log_format], kept.milliseconds, kept.log_bytes, kept.log_files
    return Step(
        Op.MONITOR,
        "leave a monitor with the container",
        (Slot.MONITOR, *log),
        tuple(text.encode("utf-8", "surrogateescape") for text in strings),
        remedy="a limit of processes of this user or cgroup was reached",
    )


def _things(kept: Kept) -> Iterator[str]:
    """Yield what there is to do (``WIRE_DO_*`` and a path)."""
    paths = kept.cgroups
    if "freezer" in paths:
        yield f"t{paths['freezer']}/freezer.state"
    if not kept.private_pids:
        yield from _killing(paths)
    if "memory" in paths:
        yield f"m{paths['memory']}/memory.oom_control"
    elif _UNIFIED in paths:
        yield f"m{paths[_UNIFIED]}/memory.events"
    if kept.remainder is not None:
        yield from (f"d{path}" for path in dict.fromkeys(paths.values()))
        yield from (f"a{path}" for path in sorted(kept.remainder.cgroup_parents, reverse=True))
        yield from (f"u{name}" for name in kept.remainder.last_files)
        yield f"x{kept.remainder.id}"


def _killing(paths: Mapping[str, str]) -> Iterator[str]:
    if _UNIFIED in paths:
        yield f"k{paths[_UNIFIED]}/cgroup.kill"
    # Every hierarchy lists the same processes.
    yield from (f"p{path}/cgroup.procs" for path in list(paths.values())[:1])
