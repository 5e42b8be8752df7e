"""What an entry of a layer means: where it belongs, whether it is a whiteout, which attributes it may set.

Pure functions over the names and attributes of a tar member; nothing is opened here. The rules are those of
layer.md of the image specification, and where it is silent those of umoci, the strictest tool in use:

* A name is cleaned as text first: ``/etc//./x``, ``../../etc/x`` and ``etc/x`` are all ``etc/x`` below the root.
* ``.wh.NAME`` removes ``NAME`` of lower layers, ``.wh..wh..opq`` everything that lower layers put into its
  directory. The type of such an entry does not matter. Other names in ``.wh..wh.`` are what AUFS left behind.
* No file can be called ``.wh.`` something: a name below such a directory is refused.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from ocikit._tuples import NamedTuple
from ocikit.errors import LayerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Action", "Place", "clean", "place", "printable", "settable_xattrs"]

_WHITEOUT: Final = b".wh."
_AUFS: Final = b".wh..wh."
_OPAQUE: Final = b".wh..wh..opq"

# Attributes that say something about the host, not about the file: an SELinux label and an NFSv4 ACL mean
# nothing on another machine.
_HOST_XATTRS: Final = frozenset({"security.selinux", "system.nfs4_acl"})
# With these a directory of one layer could, once it is part of an overlay mount, show or hide any other file
# of the lower file systems.
_OVERLAY_XATTRS: Final = ("trusted.overlay.", "user.overlay.")


class Action(enum.Enum):
    """What an entry asks for."""

    #: Make the file.
    CREATE = "create"
    #: Remove the file of that name, as far as lower layers put it there.
    WHITEOUT = "whiteout"
    #: Remove what lower layers put into the directory.
    OPAQUE = "opaque whiteout"
    #: Nothing.
    SKIP = "skip"


class Place(NamedTuple):
    """Where an entry belongs and what it asks for there."""

    #: What it asks for.
    action: Action
    #: The directory, relative to the root, cleaned; empty for the root. Its components may be symbolic links.
    directory: bytes
    #: The name in that directory; empty for the root itself and for an opaque whiteout.
    name: bytes


def clean(name: bytes) -> list[bytes]:
    """Return the components of a name below the root, with ``.``, ``..`` and empty ones worked out as text."""
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if parts:
                parts.pop()
        elif part and part != b".":
            parts.append(part)
    return parts


def place(name: bytes) -> Place:
    """Return what an entry of that name asks for, and where.

    Args:
        name: The name as it stands in the layer.

    Raises:
        LayerError: It is a whiteout of nothing, or a name that no file can have.
    """
    parts = clean(name)
    if not parts:
        return Place(Action.CREATE, b"", b"")
    last = parts.pop()
    directory = b"/".join(parts)
    if _WHITEOUT not in name:
        return Place(Action.CREATE, directory, last)
    if any(part.startswith(_AUFS) for part in parts):
        return Place(Action.SKIP, directory, last)
    if any(part.startswith(_WHITEOUT) for part in parts):
        raise LayerError(f"{name!r} is below a directory whose name means that something is removed (.wh.*)")
    if not last.startswith(_WHITEOUT):
        return Place(Action.CREATE, directory, last)
    if last == _OPAQUE:
        return Place(Action.OPAQUE, directory, b"")
    if last.startswith(_AUFS):
        return Place(Action.SKIP, directory, last)
    removed = last[len(_WHITEOUT) :]
    if removed in {b"", b".", b".."}:
        raise LayerError(f"{name!r} is a whiteout, and {removed!r} is not a name that it could remove")
    return Place(Action.WHITEOUT, directory, removed)


def settable_xattrs(xattrs: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield the extended attributes that are set on a file, of those that an entry has.

    Left out are those that belong to the host (``security.selinux``, ``system.nfs4_acl``) or to an overlay mount
    (``trusted.overlay.*``, ``user.overlay.*``), and those without a value, which in a pax header means none.
    """
    for name, value in xattrs.items():
        if value and name not in _HOST_XATTRS and not name.startswith(_OVERLAY_XATTRS):
            yield name, value


def printable(name: bytes) -> str:
    """Return a name for a message: as escapes what is not UTF-8 in it, and what would move the cursor of a terminal."""
    text = name.decode("utf-8", "backslashreplace")
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
