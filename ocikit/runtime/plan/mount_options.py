"""The options of a mount (runtime-spec config.md, "Linux mount options"): one table, and what a list of them comes to.

The table is read here, by the features document, and by what writes ``state.json``. What is not in it is an option of
the file system.
"""

from __future__ import annotations

import enum
import functools
from typing import TYPE_CHECKING, Final

from ocikit._tuples import NamedTuple
from ocikit.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "NAMES",
    "NODEV",
    "NOEXEC",
    "NOSUID",
    "OPTIONS",
    "PRIVATE",
    "PROPAGATION",
    "READ_ONLY",
    "SHARED",
    "SLAVE",
    "UNBINDABLE",
    "Kind",
    "MountOptions",
    "Option",
    "labelled",
    "parse",
    "split",
]

# The MOUNT_ATTR_* of include/uapi/linux/mount.h.
READ_ONLY: Final = 0x1
NOSUID: Final = 0x2
NODEV: Final = 0x4
NOEXEC: Final = 0x8
ATIME: Final = 0x70  # a field of its own, not bits: to set any of it, all of it is cleared
_NOATIME: Final = 0x10
_STRICTATIME: Final = 0x20
_NODIRATIME: Final = 0x80
_NOSYMFOLLOW: Final = 0x20_0000

#: What a bind mount loses unless it is asked for, as soon as any of it is asked for: what mount(2) does.
_UNLESS_ASKED: Final = READ_ONLY | NOSUID | NODEV | NOEXEC | _NOSYMFOLLOW

# The propagation types of mount(2), MS_*.
UNBINDABLE: Final = 1 << 17
PRIVATE: Final = 1 << 18
SLAVE: Final = 1 << 19
SHARED: Final = 1 << 20
_RECURSIVE: Final = 1 << 14


class Kind(enum.Enum):
    """What an option is about."""

    #: An attribute of the mount.
    ATTRIBUTE = enum.auto()
    #: The same attribute of the mount and of all mounts below it.
    BELOW = enum.auto()
    #: Who sees what is mounted below it later.
    PROPAGATION = enum.auto()
    #: The file system as a whole, wherever it is mounted.
    WHOLE = enum.auto()
    #: What the kernel gives no way to ask for in a new mount.
    ADVICE = enum.auto()
    BIND = enum.auto()
    REMOUNT = enum.auto()
    COPY_UP = enum.auto()
    OWNERS = enum.auto()
    NOTHING = enum.auto()


class Option(NamedTuple):
    """One row of the table."""

    kind: Kind
    #: MS_* (mount(2)); MOUNT_ATTR_* for :attr:`Kind.BELOW`. 0 where there is none.
    flag: int = 0
    #: Whether it takes the flag away.
    clears: bool = False
    #: For attributes: MOUNT_ATTR_*.
    attribute: int = 0


#: Attributes: name → (MS_*, whether it is cleared, MOUNT_ATTR_*). With a leading "r": for all mounts below, too.
_ATTRIBUTES: Final = {
    "ro": (1, False, READ_ONLY),
    "rw": (1, True, READ_ONLY),
    "nosuid": (2, False, NOSUID),
    "suid": (2, True, NOSUID),
    "nodev": (4, False, NODEV),
    "dev": (4, True, NODEV),
    "noexec": (8, False, NOEXEC),
    "exec": (8, True, NOEXEC),
    "nosymfollow": (1 << 8, False, _NOSYMFOLLOW),
    "symfollow": (1 << 8, True, _NOSYMFOLLOW),
    "noatime": (1 << 10, False, _NOATIME),
    "atime": (1 << 10, True, _NOATIME),
    "nodiratime": (1 << 11, False, _NODIRATIME),
    "diratime": (1 << 11, True, _NODIRATIME),
    "relatime": (1 << 21, False, 0),
    "norelatime": (1 << 21, True, 0),
    "strictatime": (1 << 24, False, _STRICTATIME),
    "nostrictatime": (1 << 24, True, _STRICTATIME),
}

_PROPAGATION: Final = {"unbindable": UNBINDABLE, "private": PRIVATE, "slave": SLAVE, "shared": SHARED}

#: The table: every option of the specification.
OPTIONS: Final[dict[str, Option]] = {
    **{name: Option(Kind.ATTRIBUTE, *row) for name, row in _ATTRIBUTES.items()},
    **{f"r{name}": Option(Kind.BELOW, bit, clears, bit) for name, (_, clears, bit) in _ATTRIBUTES.items()},
    **{name: Option(Kind.PROPAGATION, flag) for name, flag in _PROPAGATION.items()},
    **{f"r{name}": Option(Kind.PROPAGATION, flag | _RECURSIVE) for name, flag in _PROPAGATION.items()},
    "sync": Option(Kind.WHOLE, 1 << 4),
    "async": Option(Kind.WHOLE, 1 << 4, clears=True),
    "mand": Option(Kind.WHOLE, 1 << 6),
    "nomand": Option(Kind.WHOLE, 1 << 6, clears=True),
    "dirsync": Option(Kind.WHOLE, 1 << 7),
    "lazytime": Option(Kind.WHOLE, 1 << 25),
    "nolazytime": Option(Kind.WHOLE, 1 << 25, clears=True),
    "iversion": Option(Kind.ADVICE, 1 << 23),
    "noiversion": Option(Kind.ADVICE, 1 << 23, clears=True),
    # What the kernel would write to its log about the mount.
    "silent": Option(Kind.NOTHING, 1 << 15),
    "loud": Option(Kind.NOTHING, 1 << 15, clears=True),
    "defaults": Option(Kind.NOTHING),
    "bind": Option(Kind.BIND, 1 << 12),
    "rbind": Option(Kind.BIND, 1 << 12 | _RECURSIVE),
    "remount": Option(Kind.REMOUNT, 1 << 5),
    "tmpcopyup": Option(Kind.COPY_UP),
    "idmap": Option(Kind.OWNERS),
    "ridmap": Option(Kind.OWNERS, _RECURSIVE),
}

#: The names of all options, in the order of the alphabet: what the features document lists.
NAMES: Final = tuple(sorted(OPTIONS))

#: Propagation: name → (type, recursive).
PROPAGATION: Final = {
    name: (one.flag & ~_RECURSIVE, bool(one.flag & _RECURSIVE))
    for name, one in OPTIONS.items()
    if one.kind is Kind.PROPAGATION
}


class MountOptions(NamedTuple):
    """What a list of options comes to."""

    #: None when a new file system is mounted; else whether the bind takes the mounts below the source along.
    bind: bool | None = None
    #: Whether a mount that is there already is changed.
    remount: bool = False
    #: Whether a tmpfs gets what the root has in its place.
    copy_up: bool = False
    #: None for files with the owners they have; else whether mounts below are shown with other owners, too.
    owners: bool | None = None
    #: What stands after ``idmap=``.
    owners_text: str = ""
    #: Attributes to set on, and to clear from, the mount itself; a part of the field of access times is cleared only
    #: if it is what the field says.
    set: int = 0
    clear: int = 0
    #: Whether there is any option that changes an attribute of the mount itself.
    has_attributes: bool = False
    #: The same for the mount and all mounts below it.
    recursive_set: int = 0
    recursive_clear: int = 0
    #: ``(type, recursive)`` in the order given.
    propagation: tuple[tuple[int, bool], ...] = ()
    #: Options of the file system: ``"key"`` and ``"key=value"``.
    data: tuple[str, ...] = ()
    #: Options of the specification that concern the file system as a whole, in the order given.
    whole: tuple[str, ...] = ()
    #: Options that cannot be acted on.
    ignored: tuple[str, ...] = ()

    @property
    def implied_clear(self) -> int:
        """What a bind mount loses of what its source has, because it was not asked for."""
        if not self.has_attributes:
            return 0
        times = self.set & (ATIME | _NODIRATIME) or self.clear & ATIME == ATIME
        return (_UNLESS_ASKED | (ATIME | _NODIRATIME if times else 0)) & ~(self.set & ~ATIME)


class _Attributes:
    """Attributes as options accumulate them: the last word on each attribute counts."""

    __slots__ = ("clear", "set")

    def __init__(self) -> None:
        self.set = 0
        self.clear = 0

    def apply(self, option: Option) -> None:
        """Add one option that concerns a bit, or the field of access times."""
        bit = option.attribute
        if bit & ~ATIME:
            self.set = self.set & ~bit if option.clears else self.set | bit
            self.clear = self.clear | bit if option.clears else self.clear & ~bit
        elif not option.clears:
            self.set = self.set & ~ATIME | bit
            self.clear |= ATIME
        elif bit:
            # "atime" takes "noatime" away, and nothing else.
            self.set &= ~bit
            self.clear = self.clear & ~ATIME | bit

    def apply_below(self, option: Option) -> None:
        """Add one option for many mounts: each is told the whole field."""
        bit = option.attribute
        self.apply(option)
        if not bit & ~ATIME:
            self.clear |= ATIME


class _Reading:
    """A list of options, read one after the other."""

    def __init__(self) -> None:
        self.own = _Attributes()
        self.below = _Attributes()
        self.result = MountOptions()
        #: The options of the file system.
        self.data: list[str] = []

    def read(self, name: str, option: Option, text: str = "") -> None:
        """Read one option of the table."""
        so_far = self.result
        # Asking for a bind of both kinds asks for the larger one, and so it is with owners.
        larger = bool(option.flag & _RECURSIVE)
        match option.kind:
            case Kind.ATTRIBUTE:
                self.own.apply(option)
                self.result = so_far._replace(set=self.own.set, clear=self.own.clear, has_attributes=True)
            case Kind.BELOW:
                self.below.apply_below(option)
                self.result = so_far._replace(recursive_set=self.below.set, recursive_clear=self.below.clear)
            case Kind.PROPAGATION:
                self.result = so_far._replace(propagation=(*so_far.propagation, PROPAGATION[name]))
            case Kind.WHOLE:
                self.result = so_far._replace(whole=(*so_far.whole, name))
            case Kind.ADVICE:
                self.result = so_far._replace(ignored=(*so_far.ignored, name))
            case Kind.BIND:
                self.result = so_far._replace(bind=larger or bool(so_far.bind))
            case Kind.OWNERS:
                self.result = so_far._replace(owners=larger or bool(so_far.owners), owners_text=text)
            case Kind.REMOUNT:
                self.result = so_far._replace(remount=True)
            case Kind.COPY_UP:
                self.result = so_far._replace(copy_up=True)
            case Kind.NOTHING:
                pass


def parse(options: Sequence[str], path: str) -> MountOptions:
    """Sort the options of a mount into what each of them changes.

    Args:
        options: The options, in the order of the configuration.
        path: The JSON path of the list, for errors.

    Raises:
        ValidationError: An empty option.
    """
    return _parsed(tuple(options), path)


@functools.lru_cache(maxsize=256)
def _parsed(options: tuple[str, ...], path: str) -> MountOptions:
    """Read options: whoever writes the state of a container asks for those that it was made with."""
    reading = _Reading()
    for number, option in enumerate(options):
        if not option:
            raise ValidationError((f"{path}[{number}]: expected an option, found an empty string",))
        name, _, text = option.partition("=")
        if option in OPTIONS:
            reading.read(option, OPTIONS[option])
        elif name in {"idmap", "ridmap"}:
            reading.read(name, OPTIONS[name], text)
        else:
            reading.data += split(option)
    return reading.result._replace(data=tuple(reading.data))


def split(option: str) -> Iterator[str]:
    """Yield the options of a file system that one string holds: separated by commas, except between double quotes.

    The quotes are for whoever separates, and are not passed on: ``context="u:r:t:s0:c1,c2"``.
    """
    part, quoted = "", False
    for character in option:
        if character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            if part:
                yield part
            part = ""
        else:
            part += character
    if part:
        yield part


def labelled(data: Sequence[str], label: str) -> tuple[str, ...]:
    """Return options of a file system with the SELinux label that its files get, unless they say one.

    Args:
        data: The options.
        label: ``linux.mountLabel``; empty adds nothing.
    """
    if not label or any(one.startswith("context=") for one in data):
        return tuple(data)
    return (*data, f"context={label}")
