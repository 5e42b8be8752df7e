"""The steps a plan is made of, and how they are packed for the helper.

A step is a primitive that the helper carries out without deciding anything; what it is for is known here only, and
comes back into the error when it fails. The table of operations is that of ``ocikit/_native/wire.h``; a test
compares the two.
"""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple

__all__ = ["ANY", "MAX_STRINGS", "NO_SLOT", "Op", "Plan", "Slot", "Step", "Sync", "close"]

#: An operation that takes one or more strings.
ANY = 0xFFFF

#: How many strings a step can have.
MAX_STRINGS = 0xFFFF

#: No slot: the step works on paths of the host.
NO_SLOT = 0xFFFF_FFFF_FFFF_FFFF

_MAGIC = 0x4B49434F
_VERSION = 1
_ARGUMENTS = 5
_HEAD = struct.Struct("=4I")
_STEP = struct.Struct("=IHH5Q")
_LENGTH = struct.Struct("=I")


class Op(enum.IntEnum):
    """What the helper can do, by number. ``wire.h`` says what each one takes."""

    JOIN = 0
    UNSHARE = 1
    CLONE = 2
    CLOSE = 3
    SYNC = 4
    WRITE = 5
    PROCFS = 6
    ROOT = 7
    FILESYSTEM = 8
    BIND = 9
    ATTACH = 10
    SETATTR = 11
    PIVOT = 12
    MASK = 13
    READONLY = 14
    NODE = 15
    SYMLINK = 16
    MKDIR = 17
    HOSTNAME = 18
    DOMAINNAME = 19
    LOOPBACK = 20
    KEYRING = 21
    RLIMIT = 22
    UMASK = 23
    BOUND = 24
    KEEPCAPS = 25
    GROUPS = 26
    IDS = 27
    CAPS = 28
    AMBIENT = 29
    NO_NEW_PRIVS = 30
    CWD = 31
    FIND = 32
    READY = 33
    FIFO = 34
    EXEC = 35


class Slot(enum.IntEnum):
    """Where the helper keeps descriptors between steps. The launcher fills the first two."""

    FIFO = 0
    CGROUP = 1
    ROOT = 2
    PROC = 3
    SYSCTL = 4
    MOUNT = 5
    CGROUPS = 6


class Sync(enum.IntEnum):
    """What init may ask the launcher for."""

    ID_MAPS = 1


class Step(NamedTuple):
    """One step of a plan."""

    #: What the helper does.
    op: Op
    #: What is being done, in words, for the error if it fails ("mount proc").
    action: str
    #: Up to five numbers.
    arguments: tuple[int, ...] = ()
    #: Paths, names and data.
    strings: tuple[bytes, ...] = ()
    #: The path of the error, in terms of the container or the host.
    path: str | None = None
    #: What the reader of the error can do about it.
    remedy: str | None = None

    def encode(self) -> bytes:
        """Return the step as the helper reads it."""
        strings = b"".join(_pack(string) for string in self.strings)
        padding = -(_STEP.size + len(strings)) % 8
        arguments = self.arguments + (0,) * (_ARGUMENTS - len(self.arguments))
        length = _STEP.size + len(strings) + padding
        return _STEP.pack(length, self.op, len(self.strings), *arguments) + strings + bytes(padding)


def close(slot: Slot) -> Step:
    """Return the step that lets go of a descriptor, if there is one."""
    return Step(Op.CLOSE, f"let go of {slot.name.lower()}", (slot,))


def _pack(string: bytes) -> bytes:
    padding = -(len(string) + 1) % 4
    return _LENGTH.pack(len(string)) + string + bytes(1 + padding)


class Plan(NamedTuple):
    """Everything that happens between the first process and the container's program, in order."""

    #: The steps; those up to :attr:`Op.CLONE` are the helper's, the rest is init's.
    steps: tuple[Step, ...]
    #: ``(first id inside, first id outside, count)`` for each range of the user namespace that the plan makes.
    uid_map: tuple[tuple[int, int, int], ...] = ()
    #: The same for groups.
    gid_map: tuple[tuple[int, int, int], ...] = ()
    #: What the configuration asks for and cannot be had, for the log.
    warnings: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """Return the plan as the helper reads it."""
        body = b"".join(step.encode() for step in self.steps)
        return _HEAD.pack(_MAGIC, _VERSION, len(self.steps), _HEAD.size + len(body)) + body
