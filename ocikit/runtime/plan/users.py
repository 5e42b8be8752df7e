"""What maps of ids say: which user of the host an id of a container is, and what a configuration may not ask for.

Pure. Maps are written and read by :mod:`ocikit.runtime.user_maps`.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from ocikit._tuples import NamedTuple
from ocikit.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from ocikit.runtime.host.caller import Caller
    from ocikit.spec import Linux, LinuxIDMapping, Mount, Spec

__all__ = ["Range", "Ranges", "check_users", "parse_map", "ranges_of", "text_of", "to_host", "uncovered"]

#: One past the highest id there is; the last number means "no id".
_NO_ID: Final = 0xFFFF_FFFF

# user_namespaces(7): the most lines a map has, and what one write to it takes (a page).
_MAX_LINES: Final = 340
_MAX_BYTES: Final = 4095

#: File systems whose options name users of the namespace that mounts them.
_WITH_OWNERS: Final = frozenset({"tmpfs"})

#: What is shown by a file system, by its type: a user namespace may mount it only for a namespace of its own.
_SHOWN_BY: Final = {
    "sysfs": ("network", "bind /sys instead, as ocikit.spec.rootless does"),
    "mqueue": ("ipc", "remove the mount"),
    "proc": ("pid", "bind /proc instead"),
}


class Range(NamedTuple):
    """One line of a map."""

    inside: int
    outside: int
    size: int


if TYPE_CHECKING:
    #: A map, or what is as good as one.
    Ranges = Sequence[tuple[int, int, int]]


def ranges_of(mappings: Iterable[LinuxIDMapping]) -> tuple[Range, ...]:
    """Return the ranges of a configuration."""
    return tuple(Range(one.container_id, one.host_id, one.size) for one in mappings)


def parse_map(text: str) -> tuple[Range, ...]:
    """Read ``/proc/PID/uid_map`` or ``gid_map``; what is outside is in terms of whoever read it."""
    return tuple(Range(*map(int, line.split())) for line in text.splitlines())


def text_of(ranges: Ranges) -> str:
    """Return what is written to ``/proc/PID/uid_map`` or ``gid_map``."""
    return "".join(f"{inside} {outside} {count}\n" for inside, outside, count in ranges)


def to_host(ranges: Iterable[Range], number: int) -> int | None:
    """Return what an id of the container is on the host; None for one that is not mapped."""
    for inside, outside, count in ranges:
        if inside <= number < inside + count:
            return outside + number - inside
    return None


def uncovered(ranges: Ranges, allowed: Sequence[tuple[int, int]], own: int) -> tuple[int, int] | None:
    """Return the first ids of a map that its user may not map, as the first of them and how many; None when all may be.

    Args:
        ranges: The map.
        allowed: What the user has been given: the first id and how many, each.
        own: The user's own id, which may be mapped alone.
    """
    for _, outside, count in ranges:
        given = any(first <= outside and outside + count <= first + length for first, length in allowed)
        if not given and (outside, count) != (own, 1):
            return outside, count
    return None


def check_users(spec: Spec, caller: Caller, of_host: Collection[str] = ()) -> None:
    """Refuse what the users of a container's user namespace cannot be or do.

    Args:
        spec: The configuration; of a user namespace that it joins, with the maps of that one if they are known.
        caller: Who makes the container.
        of_host: Types of namespaces that it joins by a path, and that are those of the caller.

    Raises:
        ValidationError: With everything that is wrong.
    """
    linux = spec.linux
    if linux is None:
        return
    kinds = {one.type: one for one in linux.namespaces if one.type not in of_host}
    if "user" not in kinds:
        if not caller.may_mount:
            raise ValidationError((_WITHOUT_USERS.format(uid=caller.uid),))
        if not caller.groups and spec.process is not None and spec.process.user.additional_gids:
            raise ValidationError((_GROUPS_ARE_FIXED,))
        return
    wrong = [*_maps(linux)] if not kinds["user"].path else []
    # Of a namespace that is joined the maps may be unknown.
    if linux.uid_mappings and linux.gid_mappings:
        uids, gids = ranges_of(linux.uid_mappings), ranges_of(linux.gid_mappings)
        wrong += _mapped(spec, uids, gids)
        groups = spec.process.user.additional_gids if spec.process is not None else ()
        if groups and not kinds["user"].path and not caller.may_set_groups(gids):
            wrong.append(_GROUPS_ARE_FIXED)
    wrong += _shown(spec.mounts, kinds)
    if wrong:
        raise ValidationError(tuple(wrong))


_WITHOUT_USERS: Final = (
    "$.linux.namespaces: user {uid} has no rights to make these without a user namespace; add one that maps this user, "
    "as ocikit.spec.rootless does"
)

_GROUPS_ARE_FIXED: Final = (
    "$.process.user.additionalGids: the kernel lets nobody change groups where a user without privileges has mapped "
    "its own group only; remove them, or map a range of /etc/subgid"
)


def _maps(linux: Linux) -> Iterator[str]:
    for field, mappings in (("uidMappings", linux.uid_mappings), ("gidMappings", linux.gid_mappings)):
        path, ranges = f"$.linux.{field}", ranges_of(mappings)
        for number, (inside, outside, count) in enumerate(ranges):
            if count == 0 or max(inside, outside) + count > _NO_ID:
                found = f"{count} from {inside} and {outside} on"
                yield f"{path}[{number}]: expected 1 or more ids below {_NO_ID}, found {found}"
        for which, side in (("containerID", 0), ("hostID", 1)):
            starts = sorted((one[side], one.size) for one in ranges)
            for (first, count), (second, _) in itertools.pairwise(starts):
                if second < first + count:
                    yield f"{path}: {which} {second} is in two ranges"
        if len(ranges) > _MAX_LINES or len(text_of(ranges)) > _MAX_BYTES:
            yield f"{path}: {len(ranges)} ranges are more than the kernel takes ({_MAX_LINES}, {_MAX_BYTES} bytes)"
        if to_host(ranges, 0) is None:
            yield f"{path}: expected id 0 to be mapped: it is who sets the container up"


def _mapped(spec: Spec, uids: Sequence[Range], gids: Sequence[Range]) -> Iterator[str]:
    ids: list[tuple[str, str, int]] = []
    if spec.process is not None:
        user = spec.process.user
        ids += [("$.process.user.uid", "uid", user.uid), ("$.process.user.gid", "gid", user.gid)]
        ids += ((f"$.process.user.additionalGids[{i}]", "gid", one) for i, one in enumerate(user.additional_gids))
    for number, mount in enumerate(spec.mounts):
        ids += ((f"$.mounts[{number}].options", kind, one) for kind, one in _owners(mount))
    for path, kind, one in ids:
        if to_host(uids if kind == "uid" else gids, one) is None:
            yield f"{path}: {kind} {one} is not mapped; add it to linux.{kind}Mappings, or choose another"


def _owners(mount: Mount) -> Iterator[tuple[str, int]]:
    for option in mount.options if mount.type in _WITH_OWNERS else ():
        kind, _, value = option.partition("=")
        if kind in {"uid", "gid"} and value.isdecimal():
            yield kind, int(value)


def _shown(mounts: Sequence[Mount], kinds: Collection[str]) -> Iterator[str]:
    for number, mount in enumerate(mounts):
        needed, remedy = _SHOWN_BY.get(mount.type, ("", ""))
        if needed and needed not in kinds and {"bind", "rbind"}.isdisjoint(mount.options):
            yield (
                f"$.mounts[{number}]: in a user namespace, {mount.type} takes a {needed} namespace of the container's "
                f"own; add one to linux.namespaces, or {remedy}"
            )
