"""The options of a mount (runtime-spec config.md, "Linux mount options") as data for mount_setattr and fsconfig."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ocikit.errors import UnsupportedFieldError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NODEV", "NOEXEC", "NOSUID", "PROPAGATION", "READ_ONLY", "SHARED", "SLAVE", "MountOptions", "parse"]

# The MOUNT_ATTR_* of include/uapi/linux/mount.h.
READ_ONLY = 0x1
NOSUID = 0x2
NODEV = 0x4
NOEXEC = 0x8
_ATIME = 0x70  # a field of its own, not bits: to set any of it, all of it is cleared
_NOATIME = 0x10
_STRICTATIME = 0x20
_NODIRATIME = 0x80
_NOSYMFOLLOW = 0x20_0000

# The propagation types of mount(2), MS_*.
_UNBINDABLE = 1 << 17
_PRIVATE = 1 << 18
SLAVE = 1 << 19
SHARED = 1 << 20

#: Attributes of one mount: name → (set, clear). With a leading "r" the same name applies to all mounts below, too.
_ATTRIBUTES = {
    "ro": (READ_ONLY, 0),
    "rw": (0, READ_ONLY),
    "nosuid": (NOSUID, 0),
    "suid": (0, NOSUID),
    "nodev": (NODEV, 0),
    "dev": (0, NODEV),
    "noexec": (NOEXEC, 0),
    "exec": (0, NOEXEC),
    "noatime": (_NOATIME, _ATIME),
    "atime": (0, _ATIME),
    "relatime": (0, _ATIME),
    "norelatime": (0, _ATIME),  # what remains without any of them is relatime
    "strictatime": (_STRICTATIME, _ATIME),
    "nostrictatime": (0, _ATIME),
    "nodiratime": (_NODIRATIME, 0),
    "diratime": (0, _NODIRATIME),
    "nosymfollow": (_NOSYMFOLLOW, 0),
    "symfollow": (0, _NOSYMFOLLOW),
}

#: Propagation: name → (type, recursive).
PROPAGATION = {
    "private": (_PRIVATE, False),
    "rprivate": (_PRIVATE, True),
    "slave": (SLAVE, False),
    "rslave": (SLAVE, True),
    "shared": (SHARED, False),
    "rshared": (SHARED, True),
    "unbindable": (_UNBINDABLE, False),
    "runbindable": (_UNBINDABLE, True),
}

#: What changes nothing here: "defaults" by its meaning, the other two because nothing is logged to the console.
_NOTHING = frozenset({"defaults", "silent", "loud"})

_BINDS = {"bind": False, "rbind": True}

_UNSUPPORTED = {
    "iversion": "version counters of inodes cannot be asked for in a new mount",
    "noiversion": "version counters of inodes cannot be refused in a new mount",
    "remount": "a mount that somebody else made is not changed; give its final options where it is made",
    "tmpcopyup": "copying what is below a tmpfs into it is not supported",
    "idmap": "idmapped mounts are not supported",
    "ridmap": "idmapped mounts are not supported",
}


class MountOptions(NamedTuple):
    """What a list of options comes to."""

    #: None when a new file system is mounted; else whether the bind takes the mounts below the source along.
    bind: bool | None
    #: Attributes to set on, and to clear from, the mount itself.
    set: int
    clear: int
    #: The same for the mount and all mounts below it.
    recursive_set: int
    recursive_clear: int
    #: ``(type, recursive)`` in the order given.
    propagation: tuple[tuple[int, bool], ...]
    #: Options of the file system: ``"key"`` and ``"key=value"``.
    data: tuple[str, ...]


class _Attributes:
    """Attributes as options accumulate them: the last word on each attribute counts."""

    __slots__ = ("clear", "set")

    def __init__(self) -> None:
        self.set = 0
        self.clear = 0

    def apply(self, option: str) -> None:
        to_set, to_clear = _ATTRIBUTES[option]
        self.set = (self.set & ~to_clear) | to_set
        # An attribute that is set has to be cleared only where it is a value in a field.
        self.clear = (self.clear & ~to_set | to_clear) if to_clear != _ATIME else self.clear | _ATIME


def parse(options: Sequence[str], path: str) -> MountOptions:
    """Sort the options of a mount into what each of them changes.

    Args:
        options: The options, in the order of the configuration.
        path: The JSON path of the list, for errors.

    Raises:
        UnsupportedFieldError: An option that would have to be ignored.
    """
    own, below = _Attributes(), _Attributes()
    bind: bool | None = None
    propagation: list[tuple[int, bool]] = []
    data: list[str] = []
    for number, option in enumerate(options):
        if option in _ATTRIBUTES:
            own.apply(option)
        elif option[:1] == "r" and option[1:] in _ATTRIBUTES:
            below.apply(option[1:])
        elif option in PROPAGATION:
            propagation.append(PROPAGATION[option])
        elif option in _BINDS:
            bind = bool(bind) or _BINDS[option]
        elif option in _UNSUPPORTED or option.startswith(("idmap=", "ridmap=")):
            raise UnsupportedFieldError(f"{path}[{number}]", _UNSUPPORTED[option.partition("=")[0]])
        elif option not in _NOTHING:
            data.append(option)
    return MountOptions(bind, own.set, own.clear, below.set, below.clear, tuple(propagation), tuple(data))
