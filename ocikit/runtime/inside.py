"""A container as its first process shows it: what a further process is put into."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Final, Self

from ocikit import _sys
from ocikit._tuples import NamedTuple
from ocikit.errors import SystemCallError
from ocikit.runtime.cgroups import hierarchies as cgroups
from ocikit.runtime.cgroups.files import write_file
from ocikit.runtime.plan.namespace_kinds import NAMESPACES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocikit.runtime.cgroups.hierarchies import Hierarchies
    from ocikit.runtime.plan.further import Enclosure
    from ocikit.spec import Process

__all__ = ["Inside", "Places"]

_ALL_CAPABILITIES: Final = 0xFFFF_FFFF_FFFF_FFFF


class Places(NamedTuple):
    """How the cgroups of the container are entered."""

    #: Files that the helper writes itself into.
    files: tuple[str, ...]
    #: The v2 cgroup that it begins in.
    begin_in: str | None
    #: The v1 freezer of this process: who is in there can be killed.
    own_freezer: str | None

    @classmethod
    def of(cls, paths: Mapping[str, str], hierarchies: Hierarchies) -> Places:
        """Find out."""
        left = {key: path for key, path in paths.items() if path != hierarchies.by_key[key].own}
        unified = left.pop(cgroups.UNIFIED, None)
        # Whoever enters a freezer may be frozen there and then.
        directories = dict.fromkeys(left[key] for key in sorted(left, key=lambda key: key == "freezer"))
        files = [f"{path}/tasks" for path in directories]
        own = hierarchies.by_key["freezer"].own if "freezer" in left else None
        return cls(tuple(files), unified, own)

    def with_branch(self, name: str, other: str) -> Self:
        """Return the same with another name of the cgroup that is a process's own."""
        return self._replace(files=tuple(path.replace(name, other) for path in self.files))

    def release(self, pid: int) -> None:
        """Let a process out of a frozen v1 cgroup, so that it can be killed."""
        if self.own_freezer is not None:
            with contextlib.suppress(OSError):
                write_file(f"{self.own_freezer}/cgroup.procs", str(pid))


class Inside:
    """A container, as its first process shows it. Look whether that is alive after this was made."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._joined = _joined(pid)

    def _read(self, name: str) -> str:
        try:
            with open(f"/proc/{self._pid}/{name}", encoding="ascii") as file:
                return file.read()
        except OSError:
            return ""

    def enclosure(self, container_id: str, places: Places) -> Enclosure:
        """Return what a further process is put into."""
        from ocikit.runtime.plan.further import Enclosure  # noqa: PLC0415 - loads what every plan needs

        other_users = "user" in self._joined
        enclosure = Enclosure(
            id=container_id,
            joined=self._joined,
            cgroup_files=places.files,
            into_cgroup=places.begin_in is not None,
            capabilities=_ALL_CAPABILITIES if other_users else _sys.capabilities()[1],
            has_root=other_users and all(_has(0, self._read(name)) for name in ("uid_map", "gid_map")),
        )
        if other_users and self._read("setgroups").strip() == "deny":
            return enclosure._replace(groups="drop" if os.geteuid() == 0 else "keep")
        return enclosure

    def owner(self, process: Process) -> tuple[int, int]:
        """Return user and group of the process on this host."""
        user = process.user
        if "user" not in self._joined:
            return user.uid, user.gid
        return _mapped(user.uid, self._read("uid_map")), _mapped(user.gid, self._read("gid_map"))

    def home(self, process: Process) -> str | None:
        """Return the home directory of the user, if the process does not say it."""
        from ocikit.runtime.plan.environment import names_home  # noqa: PLC0415

        if names_home(process.env):
            return None
        from ocikit.runtime.host.surroundings import home_of  # noqa: PLC0415

        return home_of(process.user.uid, f"/proc/{self._pid}/root")


def _joined(pid: int) -> frozenset[str]:
    """Return in which kinds of namespaces a process is that this thread is not in; none for one that has ended."""
    names = [one.file for one in NAMESPACES.values()]
    path = f"/proc/{pid}/ns"
    try:
        theirs, ours = _sys.namespaces(path, names), _sys.namespaces("/proc/thread-self/ns", names)
    except FileNotFoundError:
        return frozenset()
    except OSError as error:
        raise SystemCallError("look at namespaces", error.errno or errno.EIO, path) from error
    # Some kernels do without a kind, and a process that has ended without any.
    return frozenset(kind for kind, one, own in zip(NAMESPACES, theirs, ours, strict=True) if one not in {0, own})


def _has(number: int, text: str) -> bool:
    """Tell whether there is an id in the container, by the text of its map."""
    return any(int(one[0]) <= number < int(one[0]) + int(one[2]) for one in map(str.split, text.splitlines()))


def _mapped(number: int, text: str) -> int:
    """Return what an id of the container is on this host, by the text of its map."""
    for line in text.splitlines():
        inside, outside, count = map(int, line.split())
        if inside <= number < inside + count:
            return outside + number - inside
    return number
