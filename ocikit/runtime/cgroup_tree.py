"""Control groups as directories: make them, set their limits, see and end what is in them, remove them.

Which of them may be touched at all is decided elsewhere (``cgroup_ownership``). Paths are used as they stand: there
are no links in a cgroup file system, and nobody but the kernel makes files in it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from typing import TYPE_CHECKING, Final

from ocikit.errors import CgroupError
from ocikit.runtime.cgroups import UNIFIED, is_below

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ocikit.runtime.cgroups import Hierarchies
    from ocikit.runtime.limits import Write

__all__ = [
    "apply",
    "check_free",
    "frozen",
    "kill",
    "make",
    "missing_parents",
    "populated",
    "processes",
    "remove",
    "thaw",
]

# Bounds of what the kernel does in its own time, in seconds.
_FREEZE_TIME: Final = 0.5
_KILL_TIME: Final = 10.0
_REMOVE_TIME: Final = 5.0
_FIRST_PAUSE: Final = 0.0005
_LONGEST_PAUSE: Final = 0.05

_GONE: Final = frozenset({errno.ENOENT, errno.ENODEV})
_CONTROLLERS_REMEDY: Final = "is the controller enabled for this cgroup, and does this kernel have it?"


def _read(path: str) -> str | None:
    """Return the text of a file; None when the cgroup, or this file of it, is not there."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError as error:
        # ENOTSUP: a threaded v2 cgroup lists no processes.
        if error.errno in _GONE | {errno.EOPNOTSUPP, errno.ENOTDIR}:
            return None
        raise CgroupError("read", error.errno or errno.EIO, path) from error


def _write(path: str, value: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def _pauses(seconds: float) -> Iterator[float]:
    """Yield growing pauses until a time is over; the caller sleeps."""
    deadline = time.monotonic() + seconds
    pause = _FIRST_PAUSE
    while time.monotonic() < deadline:
        yield pause
        pause = min(pause * 2, _LONGEST_PAUSE)


def _subtree(path: str) -> Iterator[str]:
    """Yield a cgroup and all below it, the deepest first."""
    with contextlib.suppress(OSError), os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _subtree(entry.path)
    yield path


def missing_parents(paths: Iterable[str], hierarchies: Hierarchies) -> tuple[str, ...]:
    """Return the directories above some cgroups that do not exist yet, the outermost first."""
    missing = set()
    mountpoints = {hierarchy.mountpoint for hierarchy in hierarchies.by_key.values()}
    for path in paths:
        parent = os.path.dirname(path)
        while any(is_below(parent, mountpoint) for mountpoint in mountpoints) and not os.path.isdir(parent):
            missing.add(parent)
            parent = os.path.dirname(parent)
    return tuple(sorted(missing))


def check_free(paths: Mapping[str, str]) -> None:
    """Check that no other processes are where a container is to be put.

    Raises:
        CgroupError: A cgroup has processes in it, or is frozen.
    """
    for key, path in paths.items():
        if os.path.isdir(path):
            in_use = "frozen" if frozen({key: path}) else "in use" if populated(path) else ""
            if in_use:
                remedy = f"it is {in_use}; end what is in it, or choose another linux.cgroupsPath"
                raise CgroupError("make cgroup", errno.EBUSY, path, remedy)


def make(paths: Mapping[str, str], hierarchies: Hierarchies, made: list[str]) -> None:
    """Make the cgroups of a container, with the directories above them.

    Args:
        paths: The cgroups.
        hierarchies: Of this host.
        made: Is told of each directory that did not exist before, the outermost first.

    Raises:
        CgroupError: One of them came into use by somebody else, or the kernel refuses.
    """
    for key, path in paths.items():
        mountpoint = hierarchies.by_key[key].mountpoint
        current = mountpoint
        for part in os.path.relpath(path, mountpoint).split("/"):
            if key == UNIFIED and hierarchies.v2_only:
                _enable_controllers(current)
            current = f"{current}/{part}"
            if _make_one(current, inherit=key == "cpuset"):
                made.append(current)
    check_free({key: path for key, path in paths.items() if path not in made})


def _make_one(path: str, *, inherit: bool) -> bool:
    """Make a cgroup unless it exists; return whether it is new."""
    new = True
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        new = False
    except OSError as error:
        raise CgroupError("make cgroup", error.errno or errno.EIO, path) from error
    if inherit:
        # A new v1 cpuset is empty, and nothing can run in an empty one.
        for name in ("cpuset.cpus", "cpuset.mems"):
            if not (_read(f"{path}/{name}") or "").strip():
                value = _read(f"{os.path.dirname(path)}/{name}") or ""
                with contextlib.suppress(OSError):
                    _write(f"{path}/{name}", value.strip())
    return new


def _enable_controllers(path: str) -> None:
    """Let the children of a v2 cgroup have all its controllers; a limit that needs a missing one fails later."""
    available = (_read(f"{path}/cgroup.controllers") or "").split()
    enabled = (_read(f"{path}/cgroup.subtree_control") or "").split()
    wanted = [f"+{name}" for name in available if name not in enabled]
    if not wanted:
        return
    # All at once, else each on its own: one that cannot be enabled keeps no other back.
    for request in (" ".join(wanted), *(wanted if len(wanted) > 1 else ())):
        try:
            _write(f"{path}/cgroup.subtree_control", request)
        except OSError:
            continue
        if request == " ".join(wanted):
            return


def apply(paths: Mapping[str, str], writes: Sequence[Write]) -> None:
    """Write limits.

    Raises:
        CgroupError: The controller is missing, or the kernel refuses the value.
    """
    for write in writes:
        if write.key not in paths:
            if write.key == "devices":
                remedy = "without the devices controller a container could use every device of the host; mount it"
            else:
                remedy = f"the controller {write.key!r} is not mounted; mount it, or remove the limit"
            raise CgroupError(f"set {write.field}", errno.ENOENT, write.file, remedy)
        path = f"{paths[write.key]}/{write.file}"
        try:
            _write(path, write.value)
        except OSError as error:
            missing = error.errno in {errno.ENOENT, errno.EACCES, errno.EPERM}
            remedy = _CONTROLLERS_REMEDY if missing else f"the kernel does not accept {write.value!r}"
            raise CgroupError(f"set {write.field}", error.errno or errno.EIO, path, remedy) from error


def processes(path: str) -> list[int]:
    """Return the ids of all processes in a cgroup and below it; none when it does not exist."""
    found: set[int] = set()
    for directory in _subtree(path):
        found.update(int(line) for line in (_read(f"{directory}/cgroup.procs") or "").split())
    found.discard(0)  # a process that cannot be seen from this pid namespace
    return sorted(found)


def populated(path: str) -> bool:
    """Tell whether a cgroup, or one below it, has processes."""
    return any((_read(f"{directory}/cgroup.procs") or "").strip() for directory in _subtree(path))


# ----------------------------------------------------------------------------------------------------------- freezing


def _freezer(paths: Mapping[str, str]) -> tuple[str, str, str, str] | None:
    """Return the file of the freezer, and what it says when frozen, to freeze and to thaw."""
    if "freezer" in paths:
        return f"{paths['freezer']}/freezer.state", "FROZEN", "FROZEN", "THAWED"
    if UNIFIED in paths:
        return f"{paths[UNIFIED]}/cgroup.freeze", "1", "1", "0"
    return None


def frozen(paths: Mapping[str, str]) -> bool:
    """Tell whether a container is frozen; one without a freezer never is."""
    freezer = _freezer(paths)
    return freezer is not None and (_read(freezer[0]) or "").strip() == freezer[1]


def thaw(paths: Mapping[str, str]) -> None:
    """Let what is frozen go on; nothing when there is no freezer.

    Raises:
        CgroupError: The kernel refuses.
    """
    freezer = _freezer(paths)
    if freezer is None:
        return
    try:
        _write(freezer[0], freezer[3])
    except OSError as error:
        if error.errno not in _GONE:
            raise CgroupError("thaw", error.errno or errno.EIO, freezer[0]) from error


def _freeze(paths: Mapping[str, str]) -> None:
    """Try to freeze, so that nothing can fork away from the signals that follow."""
    freezer = _freezer(paths)
    if freezer is None:
        return
    for pause in _pauses(_FREEZE_TIME):
        try:
            _write(freezer[0], freezer[2])
        except OSError:
            return
        if (_read(freezer[0]) or "").strip() == freezer[1]:
            return
        time.sleep(pause)


# ------------------------------------------------------------------------------------------------------------ the end


def kill(paths: Mapping[str, str]) -> None:
    """Kill every process in some cgroups and below them, and wait until they are empty.

    Raises:
        CgroupError: Processes remain, after ten seconds.
    """
    left = _unique(paths)
    for pause in _pauses(_KILL_TIME):
        left = [path for path in left if populated(path)]
        if not left:
            return
        if not _kill_v2(paths):
            _kill_each(paths, left)
        time.sleep(pause)
    still = processes(left[0])
    raise CgroupError("kill all processes", errno.EBUSY, left[0], f"processes {still[:10]} do not end")


def _unique(paths: Mapping[str, str]) -> list[str]:
    return list(dict.fromkeys(paths.values()))


def _kill_v2(paths: Mapping[str, str]) -> bool:
    """Have the kernel kill everything at once, where v2 knows who that is."""
    if UNIFIED not in paths or not populated(paths[UNIFIED]):
        return False
    try:
        _write(f"{paths[UNIFIED]}/cgroup.kill", "1")
    except OSError:
        return False
    # A process that is frozen by a v1 freezer dies when it is thawed.
    thaw(paths)
    return True


def _kill_each(paths: Mapping[str, str], left: Sequence[str]) -> None:
    _freeze(paths)
    try:
        for path in left:
            for pid in processes(path):
                _kill_member(pid, path)
    finally:
        thaw(paths)


def _kill_member(pid: int, path: str) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        # Now that it is held: is the process with this number still the one that is in the cgroup?
        if pid in processes(path):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    finally:
        os.close(pidfd)


def remove(paths: Iterable[str], parents: Iterable[str] = ()) -> None:
    """Remove cgroups with all below them, then directories above them as far as they are empty.

    The kernel lets go of a process a moment after it has ended: removal is tried again for some seconds.

    Raises:
        CgroupError: A cgroup still has processes in it.
    """
    for path in dict.fromkeys(paths):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            continue
        except OSError:
            for directory in _subtree(path):
                _remove_one(directory)
    for parent in sorted(parents, reverse=True):
        with contextlib.suppress(OSError):
            os.rmdir(parent)


def _remove_one(path: str) -> None:
    failure: OSError | None = None
    for pause in _pauses(_REMOVE_TIME):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            return
        except OSError as error:
            failure = error
            if error.errno != errno.EBUSY:
                break
            time.sleep(pause)
        else:
            return
    number = failure.errno if failure is not None and failure.errno is not None else errno.EBUSY
    left = processes(path)
    remedy = f"processes {left[:10]} are still in it" if left else None
    raise CgroupError("remove cgroup", number, path, remedy) from failure
