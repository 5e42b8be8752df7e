"""What init has no right to do for its mounts: done with the rights of this process, by helpers that live a moment.

Two things take rights over the host that no container has: to show files with other owners, and to reach what only
root may reach. Both are done by the same helper as everything else, with a plan of a few steps. The mounts it makes are
attached nowhere, and are handed to init, which puts them where they belong.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from ocikit._fs import Descriptor
from ocikit.errors import SetupError
from ocikit.runtime.launch import launch
from ocikit.runtime.plan.namespace_kinds import NAMESPACES
from ocikit.runtime.plan.steps import NO_SLOT, Op, Plan, Slot, Step, Sync, ask

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable, Mapping, Sequence

    from ocikit.runtime.launch import Launch
    from ocikit.runtime.plan.steps import Owners

__all__ = ["mounting_for", "open_owners"]

_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC
_MOUNTS: Final = NAMESPACES["mount"].flag
_RIGHTS: Final = "showing files with other owners in a user namespace takes root on the host"


def open_owners(owners: Sequence[Owners], stack: contextlib.ExitStack) -> dict[int, int]:
    """Return the user namespaces that mounts are shown with, by the slots they are passed in.

    Args:
        owners: The namespaces of a plan; those that do not exist are made.
        stack: What closes the descriptors.

    Raises:
        SetupError: One cannot be opened or made.
    """
    found: dict[int, int] = {}
    for number, one in enumerate(owners):
        fd = _open(one.path) if one.path else _make(one)
        found[Slot.USER_NAMESPACES + number] = stack.enter_context(fd).fd
    return found


def _open(path: str) -> Descriptor:
    try:
        return Descriptor(os.open(path, _FLAGS))
    except OSError as error:
        raise SetupError("open user namespace", error.errno or errno.EIO, path) from None


def _make(owners: Owners) -> Descriptor:
    """Make a user namespace; it lasts as long as somebody holds it."""
    steps = (
        Step(Op.CLONE, "make a user namespace for mapped owners", (NAMESPACES["user"].flag, NO_SLOT)),
        ask("map owners", Sync.ID_MAPS),
        Step(Op.READY, "wait for the launcher"),
    )
    plan = Plan(steps, uid_map=owners.uids, gid_map=owners.gids)
    with (
        Descriptor(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) as null,
        launch(plan, stdio=(null.fd, null.fd, null.fd), passed={}) as started,
    ):
        started.ready()
        # It is our child and not reaped: the number is still its own.
        return _open(f"/proc/{started.pid}/ns/user")


def mounting_for(passed: Mapping[int, int]) -> Callable[[Launch, int], None]:
    """Return what answers init's request for a mount.

    Args:
        passed: The descriptors that init was given, by their slots.
    """

    def make(started: Launch, container_root: int) -> None:
        outside = started.asking.outside if started.asking is not None else ()
        given = {slot: fd for slot, fd in passed.items() if Slot.USER_NAMESPACES <= slot < Slot.PRESERVED}
        given |= {Slot.PROCESS: started.pidfd, Slot.CONTAINER_ROOT: container_root}
        # Where init's paths of the host begin: by now the top of its mounts may be the container's root.
        root = Descriptor(os.open(f"/proc/{started.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        with root, Descriptor(_mount(outside, given | {Slot.HOST_ROOT: root.fd})) as mount:
            started.answer_with(mount.fd)

    return make


def _mount(outside: Sequence[Step], passed: Mapping[int, int]) -> int:
    """Carry out some steps in the mounts of a process; return the descriptor of the mount they leave."""
    taken: list[int] = []
    steps = (
        Step(Op.JOIN_PROCESS, "enter the container's mounts", (Slot.PROCESS, _MOUNTS), remedy=_RIGHTS),
        Step(Op.CHROOT, "see the host's files there", (Slot.HOST_ROOT,)),
        *outside,
        ask("hand over a mount", Sync.MOUNT, Slot.MOUNT),
        Step(Op.CLONE, "end", (0, NO_SLOT)),
    )
    with (
        Descriptor(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) as null,
        launch(
            Plan(steps),
            stdio=(null.fd, null.fd, null.fd),
            passed=passed,
            answers={Sync.MOUNT: lambda _, fd: taken.append(os.dup(fd))},
        ),
    ):
        return taken[0]
