"""Who makes a container, and what it has the right to do: root, root of a user namespace, or any other user.

Pure. What /proc says about this process is read by :mod:`ocikit.runtime.host.rootless`.
"""

from __future__ import annotations

from typing import Final

from ocikit._tuples import NamedTuple
from ocikit.runtime.plan.capabilities import to_mask

__all__ = ["Caller"]

_ALL: Final = 0xFFFF_FFFF_FFFF_FFFF
_SYS_ADMIN: Final = to_mask(["CAP_SYS_ADMIN"])[0]
_MAP_IDS: Final = to_mask(["CAP_SETUID", "CAP_SETGID"])[0]


class Caller(NamedTuple):
    """The user who makes a container. As it stands: root of the host."""

    uid: int = 0
    gid: int = 0
    #: Mask of the capabilities in effect; they hold in the user namespace of the caller.
    capabilities: int = _ALL
    #: Whether its user namespace is the one that the host started with.
    initial: bool = True
    #: Whether groups can be changed in that namespace (``/proc/self/setgroups``).
    groups: bool = True

    @property
    def may_mount(self) -> bool:
        """Whether it may make and enter namespaces, and mount, without a new user namespace."""
        return self.capabilities & _SYS_ADMIN == _SYS_ADMIN

    @property
    def may_map(self) -> bool:
        """Whether it may write any map of ids; who may not is left with its own user and group, and newuidmap(1)."""
        return self.capabilities & _MAP_IDS == _MAP_IDS

    @property
    def rootless(self) -> bool:
        """Whether the host's root is somebody else."""
        return self.uid != 0 or not self.initial

    def may_set_groups(self, gid_map: tuple[tuple[int, int, int], ...]) -> bool:
        """Tell whether groups can be changed in a new user namespace of this caller (user_namespaces(7), "setgroups").

        Args:
            gid_map: ``(first inside, first outside, count)`` for each range of groups.
        """
        return self.groups and (self.may_map or not self.is_own(gid_map, self.gid))

    def is_own(self, ranges: tuple[tuple[int, int, int], ...], own: int) -> bool:
        """Tell whether a map has nothing but the caller's own id, which everybody may map."""
        return len(ranges) == 1 and ranges[0][1:] == (own, 1)
