"""Mounts: each kind is made in a mount namespace of the helper's, which ends with it."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Final

from ocikit._fs import Descriptor
from ocikit.errors import SetupError
from ocikit.runtime.diagnosis import erofs
from ocikit.runtime.diagnosis.places import above
from ocikit.runtime.diagnosis.probing import Found, Need, Probe, Refusal, attempt, in_namespaces, no, unknown, yes
from ocikit.runtime.diagnosis.reasons import SECCOMP, explain, refused
from ocikit.runtime.host.procfs import unescape
from ocikit.runtime.outside import open_owners
from ocikit.runtime.plan.mount_options import NOSUID, PRIVATE, READ_ONLY
from ocikit.runtime.plan.steps import NO_SLOT, Op, Owners, Slot, Step

if TYPE_CHECKING:
    from collections.abc import Collection

    from ocikit.runtime.diagnosis.probing import Host

__all__ = ["PROBES"]

#: Directories that a file system can be put over for a moment, in a mount namespace that nobody else is in.
_PLACES: Final = ("/tmp", "/mnt", "/var", "/usr", "/etc")  # noqa: S108 - nothing is made in it

_MODULES: Final = {"overlay": "CONFIG_OVERLAY_FS", "erofs": "CONFIG_EROFS_FS", "tmpfs": "CONFIG_TMPFS"}
#: File systems in memory are not enough for this.
_WHERE_IMAGES_ARE: Final = ("/var/tmp", "/var/lib", "/tmp")  # noqa: S108 - the file has no name

_SHUT_OFF: Final = (
    Step(Op.SETATTR, "keep mounts to this namespace", (NO_SLOT, 1, 0, 0, PRIVATE), (b"/",)),
    Step(Op.OPEN, "open the root", (Slot.ROOT, os.O_RDONLY), (b"/",)),
)


def _place() -> str:
    return next((path for path in _PLACES if os.path.isdir(path) and not os.path.islink(path)), "/")


def _new(kind: str, *options: str, source: str = "none", slot: Slot = Slot.MOUNT) -> Step:
    strings = (kind.encode(), source.encode(), *(os.fsencode(option) for option in options))
    return Step(Op.FILESYSTEM, f"mount {kind}", (slot, 0, 0, 0), strings)


def _attach(where: str) -> Step:
    return Step(Op.ATTACH, "attach a mount (move_mount)", (Slot.ROOT, Slot.MOUNT, 0), (where.encode(),))


def _in_mounts(
    host: Host, *steps: Step, also: Collection[str] = (), passed: dict[int, int] | None = None
) -> Found | Refusal | None:
    """Carry out steps in a mount namespace; without one that can be made, say so."""
    kinds = {"mount", *also} | host.own
    if "user" in kinds and host.user_namespace is not None:
        found = explain("user", host.user_namespace, host)
        return found._replace(found=f"it takes a user namespace: {found.found}")
    return attempt(*in_namespaces(kinds, host.caller, *steps), passed=passed)


def _tmpfs_at(where: str) -> tuple[Step, ...]:
    return (*_SHUT_OFF, _new("tmpfs", "mode=0755"), _attach(where))


def _judge(host: Host, result: Found | Refusal | None, what: str, kind: str = "") -> Found:
    """Say what came of steps, by what the kernel said."""
    if result is None:
        return yes(what)
    if isinstance(result, Found):
        return result
    if result.errno == errno.ENODEV:
        return no(f"the kernel has no {kind}", f"modprobe {kind}, or a kernel with {_MODULES.get(kind, kind)}")
    if result.errno == errno.ENOSYS:
        return no(f"{result}; the system call is filtered, or older kernels have none", SECCOMP)
    return refused(result, result.errno, host)


def _api(host: Host) -> Found:
    """Look whether mounts can be made, copied, given attributes and attached as everything here is mounted."""
    where = _place()
    copy = Step(
        Op.BIND, "copy a mount (open_tree, mount_setattr)", (Slot.MOUNT, 0, READ_ONLY | NOSUID, 0, 0), (where.encode(),)
    )
    result = _in_mounts(host, *_tmpfs_at(where), copy, _attach(f"{where}/copy"))
    return _judge(host, result, "fsopen, fsmount, move_mount, open_tree, mount_setattr")


def _tmpfs(host: Host) -> Found:
    return _judge(host, _in_mounts(host, _new("tmpfs", "size=64k")), "mounted", "tmpfs")


def _pivot(host: Host) -> Found:
    where = _place()
    result = _in_mounts(
        host,
        *_tmpfs_at(where),
        Step(Op.ROOT, "mount a root", (Slot.ROOT, 0), (where.encode(),)),
        Step(Op.PIVOT, "pivot root", (Slot.ROOT, 0)),
    )
    if isinstance(result, Refusal) and result.action == "pivot root" and result.errno == errno.EINVAL:
        return no("this host runs from a ramdisk, whose root cannot be exchanged", "CreateOptions(no_pivot=True)")
    return _judge(host, result, "the root of a mount namespace can be exchanged")


def _overlay(host: Host, *options: str, also: Collection[str] = ()) -> Found:
    where = _place()
    names = ("lower", "upper", "work")
    made = (Step(Op.MKDIR, "make a directory", (Slot.ROOT, 0o755), (f"{where}/{name}".encode(),)) for name in names)
    layers = tuple(f"{name}dir={where}/{name}" for name in names)
    result = _in_mounts(host, *_tmpfs_at(where), *made, _new("overlay", *layers, *options), also=also)
    return _judge(host, result, "mounted, with layers on a tmpfs", "overlay")


def _overlay_userxattr(host: Host) -> Found:
    return _overlay(host, "userxattr", also={"user"})


def _masked() -> list[str]:
    """Return what hides parts of /proc: the kernel gives no new one, then, to a user namespace inside."""
    found = set()
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            where = unescape(line.split(" ")[4])
            if where.startswith("/proc/"):
                found.add(where)
    return sorted(found)


def _proc(host: Host, *, also: Collection[str] = ()) -> Found:
    result = _in_mounts(host, _new("proc"), also={"pid", *also})
    if isinstance(result, Refusal) and result.errno == errno.EPERM:
        hidden = _masked()
        told = (
            f"by {', '.join(hidden[:3])} and others" if len(hidden) > 3 else f"by {', '.join(hidden) or 'its options'}"
        )
        return no(
            f"refused, because the /proc of this process is masked {told}",
            "start the outer container with an unmasked /proc: empty linux.maskedPaths and linux.readonlyPaths, or "
            "--security-opt unmask=ALL (podman), --security-opt systempaths=unconfined (docker); else bind /proc",
        )
    return _judge(host, result, "mounted")


def _proc_for_users(host: Host) -> Found:
    return _proc(host, also={"user"})


def _idmap(host: Host) -> Found:
    """Look whether files of the file system with the state root can be shown with other owners."""
    if not host.caller.may_mount or not host.caller.initial:
        return no(
            "takes root in the initial user namespace", "run as root of the host, or let files belong to the user"
        )
    where = above(host.root)
    with contextlib.ExitStack() as stack:
        try:
            owners = open_owners((Owners(((0, 100_000, 65_536),), ((0, 100_000, 65_536),)),), stack)
        except SetupError as error:
            return refused(f"not tried: {error}", error.errno, host)
        result = _in_mounts(
            host,
            Step(Op.BIND, "copy a mount", (Slot.MOUNT, 0, 0, 0, 0), (os.fsencode(where),)),
            Step(Op.IDMAP, "map owners", (Slot.MOUNT, 0, Slot.USER_NAMESPACES)),
            passed=owners,
        )
    if isinstance(result, Refusal) and result.action == "map owners":
        kind = _type_of(where)
        return no(
            f"{kind} at {where}: {os.strerror(result.errno)}",
            "have images on a file system that can (ext4, xfs, btrfs; tmpfs from 6.3 on), or a newer kernel",
        )
    return _judge(host, result, f"owners are mapped on {_type_of(where)} at {where}")


def _type_of(path: str) -> str:
    """Return the type of the file system that a path is on."""
    number = os.stat(path).st_dev
    name = f"{os.major(number)}:{os.minor(number)}"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            if before.split(" ")[2] == name:
                return after.split(" ")[0]
    return "this file system"


def _erofs(host: Host) -> Found:
    """Look whether an image is mounted from a file: one without a name, on a file system that images may be on."""
    if not host.caller.may_mount or not host.caller.initial:
        return no("takes root in the initial user namespace", "run as root of the host, or unpack images")
    tried = []
    for where in filter(os.path.isdir, (above(host.root), *_WHERE_IMAGES_ARE)):
        try:
            fd = os.open(where, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:
            continue
        with Descriptor(fd) as file:
            os.write(file.fd, erofs.empty())
            # The first slot that is passed is descriptor 5 of the helper (wire.h).
            result = _in_mounts(host, _new("erofs", source="/proc/self/fd/5"), passed={Slot.FIFO: file.fd})
        if not isinstance(result, Refusal) or result.errno != errno.ENOTBLK:
            return _judge(host, result, f"mounted from a file on {_type_of(where)} at {where}", "erofs")
        tried.append(f"{where} ({_type_of(where)})")
    if not tried:
        return unknown("no file could be made to try it with", f"let this process write to {_WHERE_IMAGES_ARE[0]}")
    return no(
        f"mounted from block devices, and not from files in {', '.join(tried)}",
        "boot a kernel of version 6.12 with CONFIG_EROFS_FS_BACKED_BY_FILE=y, and have images on a disk",
    )


PROBES: Final = (
    Probe("mounts.api", _api, Need.EVERYBODY),
    Probe("mounts.tmpfs", _tmpfs),
    Probe("mounts.pivot_root", _pivot),
    Probe("mounts.proc", _proc),
    Probe("mounts.proc_in_user_namespace", _proc_for_users),
    Probe("mounts.overlay", _overlay),
    Probe("mounts.overlay_userxattr", _overlay_userxattr),
    Probe("mounts.idmap", _idmap),
    Probe("mounts.erofs", _erofs),
)
