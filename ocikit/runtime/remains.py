"""What is left of a container whose state is missing or cannot be read: its processes, its cgroups, its directory.

Without a state there is nothing that says which they are. These are looked at instead: the note that ocikit made before
it made the cgroups; the place where a cgroup of that name would be; and which processes wait at the container's fifo.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal

from ocikit import _fs
from ocikit.errors import NotExistError, StateError
from ocikit.runtime import teardown
from ocikit.runtime.cgroups import hierarchies as cgroups
from ocikit.runtime.cgroups import ownership as cgroup_ownership
from ocikit.runtime.cgroups import tree as cgroup_tree
from ocikit.runtime.late_log import log as _log
from ocikit.runtime.state import records
from ocikit.runtime.state.documents import (
    ATTACH_FILE,
    EXIT_FILE,
    FIFO_FILE,
    LOG_FILE,
    OWN_FILE,
    PROCESS_FILE,
    STATE_FILE,
    validate_id,
)
from ocikit.runtime.state.root import StateRoot

__all__ = ["remove"]

# How long a process may take to die of SIGKILL, in seconds.
_DEATH_SECONDS = 10

#: What a runtime puts into the directory of a container; with other things in it, it is no such directory.
_OURS = frozenset({STATE_FILE, OWN_FILE, EXIT_FILE, FIFO_FILE, ATTACH_FILE, LOG_FILE, PROCESS_FILE, "notify"})
_TEMPORARY = (_fs.TEMPORARY_PREFIX, "state-", f"{LOG_FILE}.")


def remove(root: str, container_id: str) -> bool:
    """Remove what is left of a container that cannot be loaded: its processes are killed.

    Args:
        root: The state root.
        container_id: The name of the directory.

    Returns:
        Whether there was something; False also for a container whose state can be read by now.

    Raises:
        InvalidIDError: That cannot be an id.
        StateError: The directory has something in it that no runtime puts there; nothing was done.
        CgroupError: Processes do not end.
    """
    validate_id(container_id)
    try:
        with StateRoot.open(root) as opened, opened.lock(container_id) as directory:
            try:
                records.read_record(opened, directory, container_id)
            except (NotExistError, StateError) as error:
                reason = str(error)
            else:
                return False
            _refuse_strangers(directory, f"{root}/{container_id}")
            _log.warning("container %s: removing what is left of it: %s", container_id, reason)
            _end_processes(opened, directory, container_id)
            opened.remove(container_id, directory)
            return True
    except (FileNotFoundError, NotExistError):
        return False


def _refuse_strangers(directory: int, where: str) -> None:
    strangers = sorted(name for name in os.listdir(directory) if name not in _OURS and not name.startswith(_TEMPORARY))
    if strangers:
        raise StateError(f"{where}: no container, and not removed: {strangers[:3]} in it are not of a runtime")


def _end_processes(root: StateRoot, directory: int, container_id: str) -> None:
    hierarchies = cgroups.detect()
    own = None
    with contextlib.suppress(StateError):
        own = records.read_own(root, directory, container_id)
    found: list[dict[str, str]] = []
    if own is not None:
        teardown.remove_interrupted(root, directory, container_id)
    else:
        found.append(cgroups.place(hierarchies, "", container_id))
    found += _end_whoever_waits(directory)
    for paths in found:
        claims = cgroup_ownership.judge(paths, hierarchies, container_id=container_id, planned={}, lived_in={})
        cgroup_tree.release(claims.proven)
        cgroup_tree.kill(claims.proven)
        cgroup_tree.remove(claims.proven.values())
        cgroup_tree.remove_empty(claims.unproven.values())


def _end_whoever_waits(directory: int) -> list[dict[str, str]]:
    """Kill who has the fifo of a created container open, which is its first process; return the cgroups it was in."""
    found = []
    try:
        fifo = os.stat(FIFO_FILE, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            process = _fs.Descriptor(os.pidfd_open(int(name)))
        except OSError:
            continue
        with process, contextlib.suppress(ProcessLookupError):
            if _has_open(name, fifo):
                lived_in = cgroup_ownership.members(int(name))
                signal.pidfd_send_signal(process.fd, signal.SIGKILL)
                found.append(lived_in)
                waiting = select.poll()
                waiting.register(process.fd, select.POLLIN)
                waiting.poll(_DEATH_SECONDS * 1000)
    return found


def _has_open(pid: str, file: os.stat_result) -> bool:
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.path.samestat(os.stat(f"/proc/{pid}/fd/{name}"), file):
                    return True
    return False
