"""Which ids files have in a mount: the mappings of a configuration as a user namespace that the mount is shown with.

Pure. A file of the file system's user ``containerID`` belongs to ``hostID`` of the host where it is mounted; in a
container with a user namespace this is then mapped once more, the other way round.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.errors import ValidationError
from ocikit.runtime.plan.steps import Owners

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocikit.runtime.plan.mount_options import MountOptions
    from ocikit.spec import Linux, LinuxIDMapping, Mount

__all__ = ["owners_of"]

_MAX_ID: Final = 0xFFFF_FFFF
_MAX_LINES: Final = 340  # user_namespaces(7)

Ranges = tuple[tuple[int, int, int], ...]


def owners_of(mount: Mount, options: MountOptions, linux: Linux, path: str) -> Owners | None:
    """Return the user namespace that a mount is shown with; None when its files have the owners they have.

    Args:
        mount: The mount.
        options: Its options.
        linux: The section of the configuration with the container's own mappings.
        path: The JSON path of the mount, for errors.

    Raises:
        ValidationError: There is nothing to map ids with, or the mapping makes no sense.
    """
    if mount.uid_mappings or mount.gid_mappings:
        found = Owners(_ranges(mount.uid_mappings), _ranges(mount.gid_mappings))
    elif options.owners is None:
        return None
    elif options.owners_text:
        found = _parse(options.owners_text, linux, f"{path}.options")
    else:
        found = _of_container(linux, f"{path}.options")
    for field, ranges in (("uidMappings", found.uids), ("gidMappings", found.gids)):
        if not found.path and not 0 < len(ranges) <= _MAX_LINES:
            raise ValidationError((f"{path}.{field}: expected 1 to {_MAX_LINES} ranges, found {len(ranges)}",))
    return found


def _ranges(mappings: Sequence[LinuxIDMapping]) -> Ranges:
    return tuple((one.container_id, one.host_id, one.size) for one in mappings)


def _of_container(linux: Linux, path: str) -> Owners:
    for namespace in linux.namespaces:
        if namespace.type == "user":
            if namespace.path:
                return Owners(path=namespace.path)
            return Owners(_ranges(linux.uid_mappings), _ranges(linux.gid_mappings))
    raise ValidationError((f"{path}: to map ids takes uidMappings and gidMappings, or a user namespace",))


def _parse(text: str, linux: Linux, path: str) -> Owners:
    """Read crun's ``uids=0-1-10#10-11-10;gids=0-100-10``: each triple as in a line of ``uid_map``.

    With ``@`` before a triple, its second number is one of the container, which its user namespace maps.
    """
    found: dict[str, Ranges] = {"uids": (), "gids": ()}
    mappings = {"uids": linux.uid_mappings, "gids": linux.gid_mappings}
    for part in filter(None, text.split(";")):
        kind, separator, triples = part.partition("=")
        if kind not in found or not separator:
            raise ValidationError((f"{path}: expected idmap=uids=…;gids=…, found {part!r}",))
        found[kind] = tuple(_triple(triple, mappings[kind], path) for triple in triples.split("#"))
    return Owners(found["uids"], found["gids"])


def _triple(text: str, mappings: Sequence[LinuxIDMapping], path: str) -> tuple[int, int, int]:
    numbers = text.removeprefix("@").split("-")
    if len(numbers) != 3 or not all(one.isascii() and one.isdigit() for one in numbers):
        raise ValidationError((f"{path}: expected three numbers with '-' between them, found {text!r}",))
    inside, outside, size = (int(one) for one in numbers)
    if max(inside, outside, size) > _MAX_ID:
        raise ValidationError((f"{path}: an id is at most {_MAX_ID}, found {text!r}",))
    if text.startswith("@"):
        outside = _on_host(outside, mappings, path)
    return inside, outside, size


def _on_host(number: int, mappings: Sequence[LinuxIDMapping], path: str) -> int:
    for one in mappings:
        if one.container_id <= number < one.container_id + one.size:
            return one.host_id + number - one.container_id
    raise ValidationError((f"{path}: the container's user namespace has no id {number}",))
