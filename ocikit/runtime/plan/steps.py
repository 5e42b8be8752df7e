"""The steps a plan is made of, and how they are packed for the helper.

A step is a primitive that the helper carries out without deciding anything; what it is for is known here only, and
comes back into the error when it fails. The table of operations is that of ``ocikit/_native/wire.h``; a test
compares the two.
"""

from __future__ import annotations

import enum
import struct
from typing import TYPE_CHECKING

from ocikit._tuples import NamedTuple
from ocikit.errors import LimitExceededError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "ANY",
    "BINARY",
    "MAX_BYTES",
    "MAX_STRINGS",
    "NO_SLOT",
    "PASSED",
    "Op",
    "Owners",
    "Plan",
    "Slot",
    "Step",
    "Sync",
    "ask",
    "check_strings",
    "close",
]

#: An operation that takes one or more strings.
ANY = 0xFFFF

#: How many strings a step can have.
MAX_STRINGS = 0xFFFF

#: How long a plan can be: 64 MiB, in bytes.
MAX_BYTES = 64 << 20

#: No slot: the step works on paths of the host.
NO_SLOT = 0xFFFF_FFFF_FFFF_FFFF

_MAGIC = 0x4B49434F
_VERSION = 3
_ARGUMENTS = 5
_HEAD = struct.Struct("=6I")
_STEP = struct.Struct("=IHH5Q")
_LENGTH = struct.Struct("=I")


class Op(enum.IntEnum):
    """What the helper can do, by number. ``wire.h`` says what each one takes."""

    JOIN = 0
    JOIN_PROCESS = 1
    UNSHARE = 2
    CLONE = 3
    CLOSE = 4
    SYNC = 5
    WRITE = 6
    PROCFS = 7
    ROOT = 8
    FILESYSTEM = 9
    BIND = 10
    IDMAP = 11
    COPYUP = 12
    ATTACH = 13
    SETATTR = 14
    PIVOT = 15
    MASK = 16
    READONLY = 17
    NODE = 18
    SYMLINK = 19
    MKDIR = 20
    HOSTNAME = 21
    DOMAINNAME = 22
    LOOPBACK = 23
    NETLINK = 24
    KEYRING = 25
    ENDABLE = 26
    CONSOLE = 27
    HOOK = 28
    RLIMIT = 29
    LABEL = 30
    IO_PRIORITY = 31
    AFFINITY = 32
    PERSONALITY = 33
    MEMORY_POLICY = 34
    UMASK = 35
    BOUND = 36
    KEEPCAPS = 37
    GROUPS = 38
    IDS = 39
    CAPS = 40
    AMBIENT = 41
    NO_NEW_PRIVS = 42
    SECCOMP = 43
    CWD = 44
    FIND = 45
    READY = 46
    FIFO = 47
    INHERIT = 48
    EXEC = 49
    REMOUNT = 50
    UNMOUNT = 51
    CTTY = 52
    OPEN = 53
    COPY_ROOT = 54
    COVER = 55
    DUMPABLE = 56
    CHROOT = 57
    ATTEND = 58
    MONITOR = 59


#: Operations whose strings are no text: a NUL is a byte like any other.
BINARY = frozenset({Op.GROUPS, Op.AFFINITY, Op.MEMORY_POLICY, Op.SECCOMP})


class Slot(enum.IntEnum):
    """Where the helper keeps descriptors between steps; :data:`PASSED` of them are filled by the launcher."""

    #: Passed: ``exec.fifo``.
    FIFO = 0
    #: Passed: the v2 cgroup that init is cloned into.
    CGROUP = 1
    #: Passed: a pidfd of the process whose namespaces are joined.
    PROCESS = 2
    #: Passed: the directory that paths of the host begin at; the root of the container as it is being made.
    HOST_ROOT = 3
    CONTAINER_ROOT = 4
    #: Passed: the first of what a monitor is given (:class:`ocikit.runtime.plan.monitor.Given`).
    MONITOR = 5
    #: Passed: the first of the user namespaces that mounts are shown with.
    USER_NAMESPACES = 16
    #: Passed: the first of the descriptors that the program inherits.
    PRESERVED = 128
    ROOT = 256
    PROC = 257
    SYSCTL = 258
    MOUNT = 259
    CGROUPS = 260
    CONSOLE = 261
    LISTENER = 262
    NETLINK = 263
    #: The first of the namespaces that are joined.
    JOINED = 272
    #: The first of the mounts that become read-only at the end: until then there are places to make in them.
    WRITABLE = 320


#: How many slots, from the first on, the launcher may fill.
PASSED = 256


class Sync(enum.IntEnum):
    """What init may ask the launcher for."""

    #: What it is told without asking: go on. Nothing is said; and nothing may be waited for before it.
    NOTHING = 0
    #: Write the maps of the new user namespace.
    ID_MAPS = 1
    #: Run the hooks that belong between the namespaces and the root (prestart, createRuntime).
    HOOKS = 2
    #: Move network devices in, by way of the socket that comes along.
    NET_DEVICES = 3
    #: Take the other end of the terminal.
    CONSOLE = 4
    #: Take the descriptor that notifications of system calls come from.
    SECCOMP_LISTENER = 5
    #: Set how it is scheduled, which takes rights on the host and does not survive every fork.
    SCHEDULING = 6
    #: Have systemd make the container's cgroup, with init in it.
    CGROUP = 7
    #: Make a mount that init has no right to make or whose source it cannot reach, and hand it over.
    MOUNT = 8


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
    #: What is done with the rights of the host when init asks the launcher for a mount (:attr:`Sync.MOUNT`): it is left
    #: in :attr:`Slot.MOUNT`.
    outside: tuple[Step, ...] = ()

    def renamed(self, word: str, name: str) -> Step:
        """Return the step with a name in the place of a word."""
        return self._replace(
            action=self.action.replace(word, name),
            strings=tuple(one.replace(word.encode(), name.encode()) for one in self.strings),
            path=self.path.replace(word, name) if self.path is not None else None,
            remedy=self.remedy.replace(word, name) if self.remedy is not None else None,
            outside=tuple(step.renamed(word, name) for step in self.outside),
        )

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


def ask(action: str, what: Sync, slot: int = NO_SLOT) -> Step:
    """Return the step that has the launcher do something, with a descriptor if there is one for it."""
    return Step(Op.SYNC, action, (what, slot))


class Owners(NamedTuple):
    """Which ids of a file system are which ids on the host: a user namespace that a mount is shown with."""

    #: ``(first id in the file system, first id on the host, count)`` of users; of groups.
    uids: tuple[tuple[int, int, int], ...] = ()
    gids: tuple[tuple[int, int, int], ...] = ()
    #: Or a user namespace that there is already, by its file.
    path: str = ""


def check_strings(steps: Iterable[Step]) -> None:
    """Refuse strings that the kernel would see end early (a shorter path is another path), and too many of them.

    Raises:
        ValidationError: The first of these.
    """
    for step in steps:
        if len(step.strings) > MAX_STRINGS:
            found = f"{step.action}: {len(step.strings):,} arguments and variables"
            raise ValidationError((f"$.process: {found}; expected at most {MAX_STRINGS:,}",))
        if step.op not in BINARY and any(b"\0" in string for string in step.strings):
            raise ValidationError((f"$: {step.action}: a string with a NUL byte in it",))
        check_strings(step.outside)


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
    #: The user namespaces whose ids mounts are shown with, in the order of their slots.
    mount_owners: tuple[Owners, ...] = ()
    #: How the process is scheduled, as sched_setattr(2) takes it (:attr:`Sync.SCHEDULING`).
    scheduler: bytes = b""
    #: The steps as the helper reads them; nothing as long as nobody has packed them.
    body: bytes = b""
    #: A word in the steps, and what it stands for; in :attr:`body` that is in its place already.
    stand_in: tuple[str, str] | None = None

    def packed(self) -> Plan:
        """Return the plan with its steps packed, so that they need not be again."""
        return self._replace(body=self.body or b"".join(step.encode() for step in self.steps))

    def named(self, word: str, name: str) -> Plan:
        """Return a packed plan in which a word stands for a name of the same length."""
        warnings = tuple(one.replace(word, name) for one in self.warnings)
        body = self.body.replace(word.encode(), name.encode())
        return self._replace(body=body, stand_in=(word, name), warnings=warnings)

    def led_by(self, step: Step) -> Plan:
        """Return the plan with a step before the others."""
        return self._replace(steps=(step, *self.steps), body=step.encode() + self.packed().body)

    def step(self, number: int) -> Step:
        """Return a step in the words of this plan."""
        found = self.steps[number]
        return found if self.stand_in is None else found.renamed(*self.stand_in)

    def encode(self, passed: int = PASSED) -> bytes:
        """Return the plan as the helper reads it.

        Args:
            passed: Slots from the first up to here may have been filled by the launcher.

        Raises:
            LimitExceededError: It is more than the helper takes.
        """
        body = self.packed().body
        length = _HEAD.size + len(body)
        if length > MAX_BYTES:
            remedy = "no program takes that many arguments and variables, and no container has that many mounts"
            raise LimitExceededError("what is to be done for one process, in bytes", MAX_BYTES, length, remedy)
        return _HEAD.pack(_MAGIC, _VERSION, len(self.steps), length, passed, 0) + body
