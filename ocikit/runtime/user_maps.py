"""Maps of ids as the kernel has them: written for a new user namespace, read of one that exists.

A process with the rights to, and everybody for its own user alone, writes a map itself. For ranges that root has given
to a user in ``/etc/subuid`` and ``/etc/subgid`` there are the set-uid programs newuidmap(1) and newgidmap(1).

They are started by :mod:`subprocess`, which neither copies this interpreter (it uses vfork(2) for a call like this) nor
hands on descriptors. A host that waits for every child, or ignores SIGCHLD, takes their exit codes away; so whether one
did its work is not asked of it, but of the kernel.
"""

from __future__ import annotations

import errno
import os
import pwd
from typing import TYPE_CHECKING, Final

from ocikit._fs import Descriptor
from ocikit._tuples import NamedTuple
from ocikit.errors import MissingDependencyError, SetupError, ValidationError
from ocikit.runtime.plan.steps import NO_SLOT, Op, Plan, Slot, Step, Sync, ask
from ocikit.runtime.plan.users import Range, parse_map, ranges_of, text_of, uncovered

if TYPE_CHECKING:
    from ocikit.runtime.host.caller import Caller
    from ocikit.runtime.launch import Launch
    from ocikit.runtime.plan.users import Ranges
    from ocikit.spec import LinuxIDMapping, Spec

__all__ = [
    "GROUPS",
    "USERS",
    "Kind",
    "all_given",
    "check_ranges",
    "find_tool",
    "given",
    "is_in_files",
    "user_name",
    "with_joined_maps",
    "write_maps",
]

_ACTION: Final = "map ids of the user namespace"
_TOOL_SECONDS: Final = 30.0
_MAX_BYTES: Final = 1 << 20
_WHERE_TOOLS_ARE: Final = "/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin"


class Kind(NamedTuple):
    """Users or groups."""

    file: str
    tool: str
    given_in: str


USERS: Final = Kind("uid_map", "newuidmap", "/etc/subuid")
GROUPS: Final = Kind("gid_map", "newgidmap", "/etc/subgid")


def write_maps(pid: int, uid_map: Ranges, gid_map: Ranges, caller: Caller) -> None:
    """Give a new user namespace its maps.

    Args:
        pid: A process in it, a child of this one that is not reaped.
        uid_map: The ranges of users.
        gid_map: The ranges of groups.
        caller: Who this process is.

    Raises:
        SetupError: The kernel, or newuidmap(1), refuses.
        MissingDependencyError: It takes newuidmap(1), which is not installed.
    """
    for kind, ranges, own in ((GROUPS, gid_map, caller.gid), (USERS, uid_map, caller.uid)):
        if caller.may_map or caller.is_own(tuple(ranges), own):
            if kind is GROUPS and not caller.may_map:
                # Else a user could leave a group that keeps it out of something.
                _write(pid, "setgroups", "deny")
            _write(pid, kind.file, text_of(ranges))
        else:
            _run_tool(pid, kind, ranges)


def _write(pid: int, name: str, text: str) -> None:
    path = f"/proc/{pid}/{name}"
    try:
        with Descriptor(os.open(path, os.O_WRONLY | os.O_CLOEXEC)) as file:
            os.write(file.fd, text.encode())
    except OSError as error:
        remedy = "each of the ids outside must be mapped where this process is; mapping root takes CAP_SETFCAP"
        raise SetupError(_ACTION, error.errno or errno.EIO, path, remedy) from None


def check_ranges(uid_map: Ranges, gid_map: Ranges, caller: Caller) -> None:
    """Check that this user may have some maps, before anything is made.

    Raises:
        SetupError: It was not given the ids; says in which file, and which of them.
        MissingDependencyError: It takes newuidmap(1), which is not installed.
    """
    for kind, ranges, own in ((USERS, uid_map, caller.uid), (GROUPS, gid_map, caller.gid)):
        if caller.may_map or caller.is_own(tuple(ranges), own):
            continue
        find_tool(kind)
        name = user_name(caller.uid)
        missing = uncovered(ranges, given(kind.given_in, name, caller.uid), own) if is_in_files() else None
        if missing is not None:
            first, count = missing
            remedy = (
                f"user {name or caller.uid} has not been given the {count} ids from {first} on; "
                f"as root, add the line '{name or caller.uid}:{first}:{count}', or map others"
            )
            raise SetupError(_ACTION, errno.EPERM, kind.given_in, remedy)


def user_name(uid: int) -> str | None:
    """Return the name of a user; None when it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def is_in_files() -> bool:
    """Tell whether ranges are where the files say; a host may have them from somewhere else (nsswitch.conf, subid)."""
    for line in _read("/etc/nsswitch.conf").splitlines():
        name, _, sources = line.partition("#")[0].partition(":")
        if name.strip() == "subid":
            return sources.split() == ["files"]
    return True


def given(path: str, name: str | None, uid: int) -> list[tuple[int, int]]:
    """Return the ranges that a file gives to a user, by its name or number (subuid(5))."""
    return [(first, count) for who, first, count in all_given(path) if who in {name, str(uid)}]


def all_given(path: str) -> list[tuple[str, int, int]]:
    """Return the ranges that a file gives to anybody: to whom, the first id, and how many (subuid(5))."""
    found = []
    for line in _read(path).splitlines():
        fields = line.strip().split(":")
        if len(fields) == 3 and fields[1].isdecimal() and fields[2].isdecimal():
            found.append((fields[0], int(fields[1]), int(fields[2])))
    return found


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_MAX_BYTES)
    except OSError:
        return ""


def find_tool(kind: Kind) -> str:
    """Return the path of newuidmap(1) or newgidmap(1).

    Raises:
        MissingDependencyError: It is not installed.
    """
    for directory in _WHERE_TOOLS_ARE.split(":"):
        path = f"{directory}/{kind.tool}"
        if os.access(path, os.X_OK):
            return path
    raise MissingDependencyError(
        f"to map ranges of ids without privileges takes {kind.tool}, which is not installed (Debian: uidmap; "
        "Fedora: shadow-utils); without it, map this user alone"
    )


def _run_tool(pid: int, kind: Kind, ranges: Ranges) -> None:
    import subprocess  # noqa: PLC0415 - for those who map ranges without privileges

    command = [find_tool(kind), str(pid), *(str(number) for one in ranges for number in one)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False,
            cwd="/", env={"PATH": _WHERE_TOOLS_ARE, "LC_ALL": "C"}, timeout=_TOOL_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise SetupError(
            _ACTION, errno.ETIMEDOUT, command[0], "it did not end; does it wait for the network?"
        ) from None
    if sorted(parse_map(_read(f"/proc/{pid}/{kind.file}"))) != sorted(ranges):
        said = done.stderr.decode(errors="replace").strip()[:500] or f"it exited with {done.returncode}"
        why = f"; {_NO_NEW_PRIVS}" if _has_no_new_privs() else ""
        raise SetupError(_ACTION, errno.EPERM, command[0], said + why)


_NO_NEW_PRIVS: Final = "it is of no use to this process, which has given up new privileges (no_new_privs)"


def _has_no_new_privs() -> bool:
    return "\nNoNewPrivs:\t1\n" in _read("/proc/thread-self/status")


class _Found(Exception):  # noqa: N818 - no error, but what ends the helper when all is known
    """The maps of a user namespace; never leaves this module."""

    def __init__(self, uids: tuple[Range, ...], gids: tuple[Range, ...]) -> None:
        super().__init__()
        self.uids = uids
        self.gids = gids


def with_joined_maps(spec: Spec) -> Spec:
    """Return a configuration with the maps of the user namespace that it joins; others as they are.

    Raises:
        ValidationError: It has maps of its own, and they are others.
        SetupError: The namespace cannot be entered.
    """
    import attrs  # noqa: PLC0415 - for those who join a user namespace

    path = next((one.path for one in spec.linux.namespaces if one.type == "user"), "") if spec.linux is not None else ""
    if spec.linux is None or not path or _is_own(path):
        return spec
    uids, gids = _maps_of(path)
    wrong = []
    for field, asked, ranges in (
        ("uidMappings", spec.linux.uid_mappings, uids),
        ("gidMappings", spec.linux.gid_mappings, gids),
    ):
        if asked and sorted(ranges_of(asked)) != sorted(ranges):
            has = text_of(ranges).strip().replace("\n", ", ")
            wrong.append(f"$.linux.{field}: the user namespace {path} has another map ({has}); remove it, or the path")
    if wrong:
        raise ValidationError(tuple(wrong))
    linux = attrs.evolve(spec.linux, uid_mappings=_mappings(uids), gid_mappings=_mappings(gids))
    return attrs.evolve(spec, linux=linux)


def _mappings(ranges: Ranges) -> tuple[LinuxIDMapping, ...]:
    from ocikit.spec import LinuxIDMapping  # noqa: PLC0415

    return tuple(LinuxIDMapping(container_id=one[0], host_id=one[1], size=one[2]) for one in ranges)


def _is_own(path: str) -> bool:
    try:
        return os.path.samefile(path, "/proc/self/ns/user")
    except (OSError, ValueError):
        return False  # whoever enters it says what is wrong with it


def _maps_of(path: str) -> tuple[tuple[Range, ...], tuple[Range, ...]]:
    """Return the maps of a user namespace, in terms of this one: there may be no process in it to ask."""
    from ocikit.runtime.launch import launch  # noqa: PLC0415 - which writes maps by way of this module

    def look(helper: Launch, _: int) -> None:
        raise _Found(*(parse_map(_read(f"/proc/{helper.pid}/{kind.file}")) for kind in (USERS, GROUPS)))

    steps = (
        Step(Op.OPEN, "join user namespace", (Slot.JOINED, os.O_RDONLY), (path.encode(),), path),
        Step(Op.JOIN, "join user namespace", (0x1000_0000, Slot.JOINED, 0), (), path, "is it a user namespace?"),
        ask("look at the maps of the user namespace", Sync.ID_MAPS),
        Step(Op.CLONE, "make no init", (0, NO_SLOT)),
    )
    with Descriptor(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) as null:
        try:
            launch(Plan(steps), stdio=(null.fd, null.fd, null.fd), passed={}, answers={Sync.ID_MAPS: look})
        except _Found as found:
            return found.uids, found.gids
    raise SetupError("look at the maps of the user namespace", errno.EPROTO, path)
