"""The part of a plan that enters and makes namespaces, in the order in which there is a right to.

What a process may do with a namespace depends on the user namespace that owns it. Rights of the host are used up first:
whoever enters another user namespace has all rights in there, and none outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.runtime.plan.namespace_kinds import NAMESPACES
from ocikit.runtime.plan.process import RLIMITS
from ocikit.runtime.plan.steps import NO_SLOT, Op, Slot, Step, Sync, ask

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ocikit.runtime.host.caller import Caller
    from ocikit.spec import LinuxNamespace, Process, Spec

__all__ = ["become_root", "before_clone", "clone", "is_copied", "let_in"]

_BY_PATH: Final = (
    "it must be a namespace of this kind, and entering it takes CAP_SYS_ADMIN in the user namespace that owns it"
)


def is_copied(namespaces: Mapping[str, LinuxNamespace]) -> bool:
    """Tell whether the root file system is copied before its users are those of the container, who may not reach it."""
    mount = namespaces.get("mount")
    return "user" in namespaces and mount is not None and not mount.path


def _copy_root(rootfs: str) -> Step:
    """Return the step that takes a copy of the root file system, with the rights of the caller."""
    remedy = "it must be a directory, and no symbolic link"
    path = rootfs.encode("utf-8", "surrogateescape")
    return Step(Op.COPY_ROOT, "mount root file system", (Slot.ROOT,), (path,), rootfs, remedy)


def before_clone(spec: Spec, namespaces: Mapping[str, LinuxNamespace], caller: Caller, rootfs: str) -> Iterator[Step]:
    """Yield what the helper does: all of it passes on to init.

    Args:
        spec: The configuration.
        namespaces: Those of the container, by kind.
        caller: Who makes it.
        rootfs: Absolute path of its root file system.
    """
    # A process that may not be looked at belongs to the host's root in /proc, and only root could write its maps. The
    # helper is in no pid namespace of a container: nobody in one can see it.
    looked_at = caller.uid != 0
    if looked_at:
        yield Step(Op.DUMPABLE, "let the caller write to /proc/self", (1,))
    if spec.process is not None:
        yield from _score(spec.process)
    user = namespaces.get("user")
    if user is not None and caller.may_mount:
        if spec.process is not None:
            yield from _raise_limits(spec.process)
        if caller.groups:
            # Once in the namespace it may be forbidden, and the host's groups would be in the container.
            yield Step(Op.GROUPS, "drop supplementary groups", (0,), (b"",))
        if is_copied(namespaces):
            yield _copy_root(rootfs)
    yield from _join(namespaces, caller)
    yield from _make_time(spec, namespaces)
    if looked_at:
        yield Step(Op.DUMPABLE, "let nobody look at init", (0,))


def _score(process: Process) -> Iterator[Step]:
    if process.oom_score_adj is not None:
        # Before any namespace is entered: to lower the score takes a right that a user namespace does not give.
        path = "/proc/self/oom_score_adj"
        strings = (path.encode(), b"%d" % process.oom_score_adj)
        remedy = "lowering it below the caller's takes CAP_SYS_RESOURCE"
        yield Step(Op.WRITE, "set the OOM score adjustment", (NO_SLOT, 0), strings, path, remedy)


def _raise_limits(process: Process) -> Iterator[Step]:
    """Yield hard limits that have to be higher than the caller's; a user namespace does not give the right to."""
    for limit in process.rlimits:
        if limit.type in RLIMITS:
            arguments = (RLIMITS[limit.type], limit.soft, limit.hard, 1)
            yield Step(Op.RLIMIT, f"raise {limit.type}", arguments, remedy="it takes CAP_SYS_RESOURCE")


def _join(namespaces: Mapping[str, LinuxNamespace], caller: Caller) -> Iterator[Step]:
    joined = {kind: one for kind, one in namespaces.items() if one.path}
    # All are opened before the first is entered: in another mount namespace a path leads elsewhere.
    slots = {kind: Slot.JOINED + number for number, kind in enumerate(joined)}
    for kind, one in joined.items():
        yield Step(Op.OPEN, f"join {kind} namespace", (slots[kind], 0), (one.path.encode(),), one.path)
    others = [kind for kind in joined if kind != "user"]
    if "user" not in namespaces or caller.may_mount:
        # Those of the user namespace that is joined are left for later.
        yield from (_enter(kind, joined, slots, attempt="user" in joined) for kind in others)
    if "user" in joined:
        yield _enter("user", joined, slots)
    elif "user" in namespaces:
        remedy = "there may be user.max_user_namespaces of them, 32 inside each other, and none in a chroot"
        yield Step(Op.UNSHARE, "make user namespace", (NAMESPACES["user"].flag,), remedy=remedy)
        yield ask("map ids of the user namespace", Sync.ID_MAPS)
    if "user" in namespaces:
        yield from (_enter(kind, joined, slots) for kind in others)


def _enter(kind: str, joined: Mapping[str, LinuxNamespace], slots: Mapping[str, int], *, attempt: bool = False) -> Step:
    arguments = (NAMESPACES[kind].flag, slots[kind], int(attempt))
    return Step(Op.JOIN, f"join {kind} namespace", arguments, (), joined[kind].path, _BY_PATH)


def _make_time(spec: Spec, namespaces: Mapping[str, LinuxNamespace]) -> Iterator[Step]:
    if "time" not in namespaces or namespaces["time"].path:
        return
    yield Step(Op.UNSHARE, "make time namespace", (NAMESPACES["time"].flag,))
    offsets = spec.linux.time_offsets if spec.linux is not None else {}
    for clock, offset in offsets.items():
        text = f"{clock} {offset.secs} {offset.nanosecs}".encode()
        path = "/proc/self/timens_offsets"
        yield Step(Op.WRITE, f"set offset of the clock {clock}", (NO_SLOT, 0), (path.encode(), text), path)


def clone(namespaces: Mapping[str, LinuxNamespace], *, into_cgroup: bool) -> Step:
    """Return the step that makes init, in all namespaces that are made in this moment."""
    flags = 0
    for kind, namespace in namespaces.items():
        if NAMESPACES[kind].when == "clone" and not namespace.path:
            flags |= NAMESPACES[kind].flag
    cgroup = Slot.CGROUP if into_cgroup else NO_SLOT
    return Step(Op.CLONE, "clone init into its namespaces", (flags, cgroup), remedy="new namespaces take CAP_SYS_ADMIN")


def become_root(spec: Spec, namespaces: Mapping[str, LinuxNamespace], caller: Caller, rootfs: str) -> Iterator[Step]:
    """Yield what makes init the root of its user namespace, if it is in one; until then it is the caller.

    Args:
        spec: The configuration.
        namespaces: Those of the container, by kind.
        caller: Who makes it.
        rootfs: Absolute path of its root file system.
    """
    if "user" not in namespaces or spec.linux is None:
        return
    if not caller.may_mount:
        # Only in its own mount namespace such a caller has the right to.
        if is_copied(namespaces):
            yield _copy_root(rootfs)
        gids = tuple((one.container_id, one.host_id, one.size) for one in spec.linux.gid_mappings)
        if namespaces["user"].path or caller.may_set_groups(gids):
            # In a namespace that is joined it may be forbidden for ever; the caller's groups grant nothing new then.
            attempt = int(bool(namespaces["user"].path))
            yield Step(Op.GROUPS, "drop supplementary groups", (attempt,), (b"",))
    yield Step(Op.IDS, "become root of the user namespace", (0, 0), remedy="is id 0 mapped in it?")


def let_in(namespaces: Mapping[str, LinuxNamespace], caller: Caller) -> Iterator[Step]:
    """Yield what lets a caller who is not root enter a container that was created and not started.

    Root needs no permission, and after the start it is the user namespace that gives it. Among processes that are not
    the container's own, init would be at the mercy of those with the same user.
    """
    if caller.uid != 0 and "pid" in namespaces and not namespaces["pid"].path:
        yield Step(Op.DUMPABLE, "let the caller look at init", (1,))
