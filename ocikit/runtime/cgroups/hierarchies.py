"""Where control groups are: the hierarchies that this host has mounted, and a container's place in each.

Nothing is taken for granted: a hierarchy is where ``mountinfo`` says, it may show only a part of itself (in a container
in which ocikit runs), and this process may be anywhere in it. Places are computed as runc computes them, so that each
finds what the other made.
"""

from __future__ import annotations

import functools
import posixpath
from typing import TYPE_CHECKING, Final

from ocikit._tuples import NamedTuple
from ocikit.errors import CgroupError, ValidationError
from ocikit.runtime.cgroups.files import read_file
from ocikit.runtime.host.procfs import read, unescape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["UNIFIED", "Hierarchies", "Hierarchy", "detect", "is_below", "parse", "place"]

#: The key of the v2 hierarchy in ``cgroup_paths`` of state.json.
UNIFIED: Final = ""

#: Hierarchies of v1 that a container joins, by the keys of state.json.
_CONTROLLERS: Final = frozenset(
    (
        "cpuset devices memory cpu cpuacct pids blkio hugetlb net_cls net_prio perf_event freezer rdma misc "
        "name=systemd"
    ).split()
)

_CGROUPS_PATH: Final = "$.linux.cgroupsPath"


def is_below(path: str, directory: str) -> bool:
    """Tell whether a path is strictly below a directory; both absolute and normalised."""
    return path.startswith(directory.rstrip("/") + "/") and len(path) > len(directory.rstrip("/")) + 1


class Hierarchy(NamedTuple):
    """One mounted hierarchy, as this process sees it."""

    #: Where it is mounted.
    mountpoint: str
    #: The cgroup of this process, as a directory; the mount point when it lies outside of what is mounted.
    own: str

    def touches_own(self, path: str) -> bool:
        """Tell whether a directory is the cgroup of this process, or one that it lies in."""
        return path == self.own or is_below(self.own, path)


class Hierarchies(NamedTuple):
    """All hierarchies that containers are put into."""

    #: By controller, ``name=systemd``, or :data:`UNIFIED`.
    by_key: Mapping[str, Hierarchy]
    #: The controllers of the v2 hierarchy.
    v2_controllers: frozenset[str] = frozenset()
    #: The text that they were found in (``/proc/PID/mountinfo``).
    mountinfo: bytes = b""

    @property
    def v2_only(self) -> bool:
        """Whether this host has one hierarchy for everything. With v1 beside it, v2 is for killing and counting."""
        return set(self.by_key) == {UNIFIED}

    def key_of(self, v1: str, v2: str = "") -> str:
        """Return the key of the hierarchy that has a controller, given its names in v1 and v2.

        A controller that is nowhere is looked for in v1, or in v2 where that is all there is.
        """
        if v1 in self.by_key:
            return v1
        return UNIFIED if self.v2_only or (v2 or v1) in self.v2_controllers else v1


def detect() -> Hierarchies:
    """Find the hierarchies of this host.

    Raises:
        CgroupError: ``/proc`` cannot be read.
    """
    texts = []
    for path in ("/proc/self/mountinfo", "/proc/self/cgroup"):
        try:
            texts.append(read(path))
        except OSError as error:
            raise CgroupError("find cgroups", error.errno or 0, path, "is /proc mounted?") from error
    found = _parsed(*texts)._replace(mountinfo=texts[0])
    if UNIFIED not in found.by_key:
        return found
    controllers = read_file(f"{found.by_key[UNIFIED].mountpoint}/cgroup.controllers") or ""
    return found._replace(v2_controllers=frozenset(controllers.split()))


@functools.lru_cache(maxsize=64)
def _parsed(mountinfo: bytes, own_cgroups: bytes) -> Hierarchies:
    return parse(mountinfo.decode("utf-8", "surrogateescape"), own_cgroups.decode("utf-8", "surrogateescape"))


def directories(mountinfo: bytes, own_cgroups: bytes) -> dict[str, str]:
    """Return the directory of each cgroup that a process is in, by the texts of :func:`parse` as they were read."""
    return {key: place.own for key, place in _parsed(mountinfo, own_cgroups).by_key.items()}


def parse(mountinfo: str, own_cgroups: str) -> Hierarchies:
    """Find the hierarchies.

    Args:
        mountinfo: The text of ``/proc/PID/mountinfo``.
        own_cgroups: The text of ``/proc/PID/cgroup``.
    """
    own = dict(_memberships(own_cgroups))
    found: dict[str, Hierarchy] = {}
    for keys, root, mountpoint in _mounts(mountinfo):
        for key in keys:
            if key not in found:  # the first mount is the one that other programs find, too
                found[key] = Hierarchy(mountpoint, _directory(mountpoint, root, own.get(key, "/")))
    return Hierarchies(found)


def _mounts(mountinfo: str) -> Iterator[tuple[list[str], str, str]]:
    """Yield keys, root and mount point of every mount of cgroups."""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, (kind, *rest) = left.split(" "), right.split(" ")
        if kind == "cgroup2":
            yield [UNIFIED], unescape(fields[3]), unescape(fields[4])
        elif kind == "cgroup" and len(rest) > 1:
            keys = [option for option in rest[1].split(",") if option in _CONTROLLERS]
            yield keys, unescape(fields[3]), unescape(fields[4])


def _memberships(own_cgroups: str) -> Iterator[tuple[str, str]]:
    for line in own_cgroups.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for key in controllers.split(","):
            if key or number == "0":
                yield key, path


def _directory(mountpoint: str, root: str, cgroup: str) -> str:
    if cgroup == root:
        return mountpoint
    if is_below(cgroup, root):
        return posixpath.join(mountpoint, posixpath.relpath(cgroup, root))
    return mountpoint


def place(hierarchies: Hierarchies, cgroups_path: str, container_id: str) -> dict[str, str]:
    """Compute where a container's cgroups are.

    An absolute ``cgroupsPath`` starts at the mount point of each hierarchy; a relative one, and the id when there is
    none, at the cgroup of this process, or with v2 beside it (a v2 cgroup with processes in it cannot have limited
    ones below it).

    Args:
        hierarchies: Of this host.
        cgroups_path: ``linux.cgroupsPath``.
        container_id: Of the container.

    Returns:
        A directory for each hierarchy, by controller.

    Raises:
        ValidationError: The path is none, the root of a hierarchy, this process's own cgroup, or one above it.
    """
    if "\0" in cgroups_path:
        raise ValidationError((f"{_CGROUPS_PATH}: no path has a NUL character in it, found {cgroups_path!r}",))
    inner = posixpath.normpath("/" + cgroups_path).lstrip("/") if cgroups_path else container_id
    places = {}
    for key, hierarchy in hierarchies.by_key.items():
        start = posixpath.dirname(hierarchy.own) if hierarchies.v2_only else hierarchy.own
        if cgroups_path.startswith("/") or not is_below(hierarchy.own, hierarchy.mountpoint):
            start = hierarchy.mountpoint
        path = f"{start.rstrip('/')}/{inner}".rstrip("/")  # both are normalised
        if not is_below(path, hierarchy.mountpoint) or hierarchy.touches_own(path):
            raise ValidationError(
                (f"{_CGROUPS_PATH}: {path} is this process's own cgroup, or one above it; name one of the container's",)
            )
        places[key] = path
    return dict(sorted(places.items()))
