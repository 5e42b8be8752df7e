"""The end of a container: what is left of it is killed, its cgroups and its directory are removed.

The same code ends a container of ours, one that runc made, and what an interrupted creation left behind.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import time
from typing import TYPE_CHECKING

from ocikit._tuples import NamedTuple
from ocikit.errors import CgroupError, NotRunningError, OCIKitError, PausedError, RunningError, StateError
from ocikit.runtime.cgroups import hierarchies as cgroups
from ocikit.runtime.cgroups import ownership as cgroup_ownership
from ocikit.runtime.cgroups import tree as cgroup_tree
from ocikit.runtime.late_log import log as _log
from ocikit.runtime.monitor.watching import await_record
from ocikit.runtime.state import records
from ocikit.runtime.state.documents import STATE_FILE
from ocikit.runtime.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ocikit.runtime.cgroups.hierarchies import Hierarchies
    from ocikit.runtime.process import Init
    from ocikit.runtime.state.documents import OwnRecord, Record
    from ocikit.runtime.state.root import StateRoot

__all__ = ["Remains", "remove_container", "remove_interrupted", "remove_remains"]

# How long a process may take to die of SIGKILL. It takes longer only when the kernel is waiting for a device.
_DEATH_SECONDS = 10.0
_USUAL_SECONDS = 1.0

_SIGKILL = 9


class Remains(NamedTuple):
    """What a container consists of."""

    root: StateRoot
    #: Its directory, whose lock is held.
    fd: int
    record: Record
    init: Init
    #: None when it never had one.
    monitor: Init | None
    hierarchies: Hierarchies


def remove_container(remains: Remains, status: Status, *, force: bool) -> None:
    """Remove a container.

    Args:
        remains: What it consists of.
        status: What it was doing.
        force: Kill it if it runs, and end also what does not belong to its pid namespace.

    Raises:
        RunningError: It runs, and is not to be killed; or it was killed, and does not end.
        PausedError: It is paused, and is not to be killed.
        CgroupError: Processes in its cgroups do not end, or are not known to be its own.
    """
    root, fd, record, init, monitor, hierarchies = remains
    alive = init.alive()
    if alive and not force and status is not Status.CREATED:
        message = f"cannot delete container {record.id} that is not stopped: {status}"
        raise PausedError(message) if status is Status.PAUSED else RunningError(message)
    own = _own(root, fd, record.id)
    claims = _claims(record, own, hierarchies, cgroup_ownership.members(init.pid) if alive else {})
    if alive:
        _end(init, claims, record.id)
    if monitor is not None:
        await_record(monitor, lambda: records.read_exit(root, fd, record.id) is not None, _USUAL_SECONDS)
    init.collect(lambda: records.read_exit(root, fd, record.id), lambda _: None)
    left = set(cgroup_tree.remove_empty(claims.proven.values()))
    if left and (force or not record.private_pids):
        cgroup_tree.kill({key: path for key, path in claims.proven.items() if path in left})
    _stop_unit(record, claims)
    _remove_cgroups(claims, left, own, record.id)
    _remove_what_few_have(own, record.id)
    root.remove(record.id, fd)


def remove_interrupted(root: StateRoot, fd: int, container_id: str) -> None:
    """Remove what an interrupted creation left in a directory, whose lock is held; the directory stays.

    Raises:
        CgroupError: Its cgroups have processes in them that do not end.
    """
    own = _own(root, fd, container_id)
    if own is None:
        return
    _log.info("container %s: removing what an interrupted creation left", container_id)
    claims = cgroup_ownership.judge(
        own.cgroup_paths, cgroups.detect(), container_id=container_id, planned=own.cgroup_paths, lived_in={}
    )
    cgroup_tree.release(claims.proven)
    cgroup_tree.kill(claims.proven)
    _remove_cgroups(claims, claims.proven.values(), own, container_id)
    _remove_what_few_have(own, container_id)


def remove_remains(root: StateRoot, container_id: str, stale_seconds: float) -> bool:
    """Remove a directory that is no container: left by an interrupted creation, or empty and old.

    Args:
        root: The state root.
        container_id: The name of the directory.
        stale_seconds: For how long an empty directory may still become a container, by runc's hands.

    Returns:
        Whether it was removed; False when it has become a container, or may still become one.

    Raises:
        NotExistError: It is gone.
        StateError: There is something in it that ocikit did not put there.
        CgroupError: The cgroups of the interrupted creation have processes in them that do not end.
    """
    with root.lock(container_id) as fd:
        if root.is_unfinished(fd):
            remove_interrupted(root, fd, container_id)
            root.remove(container_id, fd)
            return True
        names = set(os.listdir(fd))
        if STATE_FILE in names:
            return False
        if names:
            raise StateError(
                f"{root.path}/{container_id}: no {STATE_FILE}; another program is making this container, or failed to"
            )
        return time.time() - os.fstat(fd).st_mtime > stale_seconds and root.remove_empty(container_id)


def _claims(
    record: Record, own: OwnRecord | None, hierarchies: Hierarchies, lived_in: Mapping[str, str]
) -> cgroup_ownership.Claims:
    """Return which cgroups are the container's: those of its state, and where that names others, those it must have."""
    known = {key: path for key, path in lived_in.items() if posixpath.basename(path) == record.id}
    planned = dict(own.cgroup_paths) if own is not None else {}

    def judge(paths: Mapping[str, str]) -> cgroup_ownership.Claims:
        return cgroup_ownership.judge(paths, hierarchies, container_id=record.id, planned=planned, lived_in=lived_in)

    claims = judge(planned | dict(record.cgroup_paths))
    known |= planned
    claims.proven.update(judge({key: path for key, path in known.items() if key not in claims.proven}).proven)
    return claims


def _own(root: StateRoot, fd: int, container_id: str) -> OwnRecord | None:
    try:
        return records.read_own(root, fd, container_id)
    except StateError as error:
        _log.warning("container %s: %s", container_id, error)
        return None


def _end(init: Init, claims: cgroup_ownership.Claims, container_id: str) -> None:
    with contextlib.suppress(NotRunningError):
        init.signal(_SIGKILL)
    cgroup_tree.release(claims.proven)
    if init.wait(_USUAL_SECONDS):
        return
    with contextlib.suppress(CgroupError):
        # Somebody in it may go on freezing it.
        cgroup_tree.kill(claims.proven)
    if not init.wait(_DEATH_SECONDS):
        raise RunningError(
            f"container {container_id} was killed, and process {init.pid} has not ended after {_DEATH_SECONDS:.0f} "
            "seconds: the kernel waits for something, such as a device or a network file system"
        )


def _stop_unit(record: Record, claims: cgroup_ownership.Claims) -> None:
    """Let systemd forget the container's unit, if that is what its cgroups show it to have been."""
    if record.unit is None:
        return
    from ocikit.runtime.systemd import units  # noqa: PLC0415 - for those who use systemd only
    from ocikit.runtime.systemd.names import shown_by  # noqa: PLC0415

    unit = shown_by(record.unit, claims.proven.values())
    if unit is None:
        _log.warning("container %s: its unit of systemd is none of its own, and is left alone", record.id)
        return
    try:
        units.stop(unit)
    except OCIKitError as error:
        _log.warning("container %s: unit %s was not stopped: %s", record.id, unit.full_name, error)


def _remove_cgroups(
    claims: cgroup_ownership.Claims, left: Iterable[str], own: OwnRecord | None, container_id: str
) -> None:
    """Remove those of the proven cgroups that are left, and the others as far as nobody is in them."""
    parents = own.cgroup_parents if own is not None else ()
    cgroup_tree.remove(left, _of(parents, claims.proven))
    for path in claims.unproven.values():
        if cgroup_tree.populated(path):
            pids = cgroup_tree.processes(path)[:10]
            _log.warning(
                "container %s: cgroup %s has processes %s, which nothing shows to be the container's; it is left alone",
                container_id, path, pids,
            )  # fmt: skip
        else:
            cgroup_tree.remove([path])
    for path, reason in claims.refused.items():
        _log.warning("container %s: its state names cgroup %s, which is left alone: %s", container_id, path, reason)


def _remove_what_few_have(own: OwnRecord | None, container_id: str) -> None:
    """Remove the root that was mounted on the host, and the groups of resctrl."""
    if own is not None and own.mounted_root is not None:
        from ocikit.runtime import mounted_root  # noqa: PLC0415 - a millisecond for those who have none

        mounted_root.remove(own.mounted_root, container_id)
    if own is not None and own.rdt_groups:
        from ocikit.runtime.cgroups import rdt  # noqa: PLC0415 - as above

        rdt.remove(own.rdt_groups, container_id)


def _of(parents: tuple[str, ...], proven: dict[str, str]) -> list[str]:
    """Return those parents that are above cgroups of the container."""
    return [parent for parent in parents if any(cgroups.is_below(path, parent) for path in proven.values())]
