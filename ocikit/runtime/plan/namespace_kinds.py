"""The kinds of namespaces that Linux has (config-linux.md, "Namespaces"): one table, pure."""

from __future__ import annotations

from typing import Final

from ocikit._tuples import NamedTuple

__all__ = ["NAMESPACES", "Namespace"]


class Namespace(NamedTuple):
    """One kind of namespace."""

    #: CLONE_* (namespaces(7)).
    flag: int
    #: Whether clone makes it, or a step before or after.
    when: str
    #: Its name in ``/proc/PID/ns``.
    file: str


#: A user namespace comes before all that it is to own. Time namespaces apply to children only, and their offsets are
#: fixed once a process is in: they come before the clone, too. A cgroup namespace takes the cgroup its maker is in for
#: its root: it comes after the cgroups are joined.
NAMESPACES: Final = {
    "user": Namespace(0x1000_0000, "before", "user"),
    "mount": Namespace(0x0002_0000, "clone", "mnt"),
    "uts": Namespace(0x0400_0000, "clone", "uts"),
    "ipc": Namespace(0x0800_0000, "clone", "ipc"),
    "network": Namespace(0x4000_0000, "clone", "net"),
    "pid": Namespace(0x2000_0000, "clone", "pid"),
    "time": Namespace(0x0000_0080, "before", "time"),
    "cgroup": Namespace(0x0200_0000, "after", "cgroup"),
}
