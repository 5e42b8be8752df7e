"""Values for files of v2 by their names: limits that the specification has no words for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.errors import UnsupportedFieldError, ValidationError
from ocikit.runtime.cgroups.hierarchies import UNIFIED
from ocikit.runtime.limits.write import PATH, Write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["unified_v1", "unified_v2"]

#: Files that limit nothing: they move, freeze and kill processes, which is done by other means.
_ACTIONS: Final = frozenset(("cgroup.procs", "cgroup.threads", "cgroup.freeze", "cgroup.kill"))


def unified_v1(values: Mapping[str, str]) -> None:
    """Refuse what a host without v2 cannot have.

    Raises:
        UnsupportedFieldError: Anything is asked for.
    """
    if values:
        raise UnsupportedFieldError(f"{PATH}.unified", "it is for hosts with cgroup v2 alone, and this one has v1")


def unified_v2(values: Mapping[str, str]) -> Iterator[Write]:
    """Yield the writes, a line of a value each: the kernel takes one line at a time.

    Raises:
        ValidationError: A key that is not the name of a file with a limit.
    """
    for name, value in values.items():
        field = f"{PATH}.unified[{name!r}]"
        if "/" in name or "." not in name.strip(".") or "\0" in name:
            reason = "expected the name of a file of the cgroup, CONTROLLER.PARAMETER without slashes"
            raise ValidationError((f"{field}: {reason}",))
        if name in _ACTIONS:
            raise ValidationError((f"{field}: that is no limit; it would act on processes",))
        # A file that is to be emptied is given an empty line: writing nothing at all is no write.
        for line in value.strip("\n").split("\n"):
            yield _line(name, line, field)


def _line(name: str, line: str, field: str) -> Write:
    write = Write(UNIFIED, name, line or "\n", field)
    device, _, limits = line.strip().partition(" ")
    if name != "io.max" or ":" not in device:
        return write
    reset = " ".join(f"{pair.partition('=')[0]}=max" for pair in limits.split())
    return write._replace(line=device, reset=f"{device} {reset}")
