"""A cgroup below that of a container, for one further process and all that it starts: it can be ended as a whole.

One hierarchy is enough to know who they are. It is v2 wherever there is one, since the kernel kills a whole cgroup of
it at once; no controller is in it, so the limits of the container are what they were.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final, Self

from ocikit._tuples import NamedTuple
from ocikit.errors import CgroupError
from ocikit.runtime.cgroups import tree
from ocikit.runtime.cgroups.hierarchies import UNIFIED
from ocikit.runtime.late_log import log as _log

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocikit.runtime.cgroups.hierarchies import Hierarchies

__all__ = ["PREFIX", "STAND_IN", "Branch"]

#: What the names of these cgroups begin with.
PREFIX: Final = "ocikit-exec-"


def _name() -> str:
    """Return a name that nobody has had, or can have foreseen: it is killed by that name. All are of one length."""
    return f"{PREFIX}{int.from_bytes(os.urandom(8)):020}"


#: Stands for the name of any of them, in what is made once for many.
STAND_IN: Final = _name()

#: Where they are looked for, in this order: what can be killed at once, frozen and killed, counted, listed.
_PREFERRED: Final = (UNIFIED, "freezer", "pids", "name=systemd")


class Branch(NamedTuple):
    """Such a cgroup."""

    #: The hierarchy that it is in.
    key: str
    path: str

    @classmethod
    def make(cls, paths: Mapping[str, str], hierarchies: Hierarchies) -> Self | None:
        """Make one.

        Args:
            paths: The cgroups of the container, by controller.
            hierarchies: Of this host.

        Returns:
            None where this is refused: by the rights of this process, or because the container has too many.
        """
        own = {key: path for key, path in paths.items() if path != hierarchies.by_key[key].own}
        key = next((key for key in (*_PREFERRED, *own) if key in own), None)
        if key is None:
            return None
        branch = cls(key, f"{own[key]}/{_name()}")
        try:
            os.mkdir(branch.path, 0o755)
        except OSError as error:
            _log.debug("no cgroup of its own for a further process: %s", error)
            return None
        return branch

    @property
    def name(self) -> str:
        """The last part of its path."""
        return os.path.basename(self.path)

    def kill(self) -> None:
        """Kill everybody in it, and wait until nobody is left.

        Raises:
            CgroupError: Somebody does not end.
        """
        tree.kill({self.key: self.path})

    def end(self) -> None:
        """Kill everybody in it, and remove it, as far as that can be."""
        with contextlib.suppress(CgroupError):
            self.kill()
        self.remove()

    def remove(self) -> None:
        """Remove it, unless somebody was left behind in it, on purpose; then it goes with the container."""
        with contextlib.suppress(CgroupError):
            if tree.remove_empty([self.path]) and not tree.populated(self.path):
                tree.remove([self.path])
