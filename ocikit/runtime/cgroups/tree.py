"""Control groups that exist: see and end what is in them, remove them.

Which of them may be touched at all is decided elsewhere (``cgroup_ownership``).
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from typing import TYPE_CHECKING, Final

from ocikit._fs import DIRECTORY
from ocikit.errors import CgroupError
from ocikit.runtime.cgroups.files import read_file, write_file
from ocikit.runtime.cgroups.freezer import thaw, try_freeze
from ocikit.runtime.cgroups.hierarchies import UNIFIED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["kill", "populated", "processes", "release", "remove", "remove_empty"]

# Bounds of what the kernel does in its own time, in seconds.
_KILL_TIME: Final = 10.0
_REMOVE_TIME: Final = 5.0
_FIRST_PAUSE: Final = 0.0005
_LONGEST_PAUSE: Final = 0.05


def _pauses(seconds: float) -> Iterator[float]:
    """Yield growing pauses until a time is over; the caller sleeps."""
    deadline = time.monotonic() + seconds
    pause = _FIRST_PAUSE
    while time.monotonic() < deadline:
        yield pause
        pause = min(pause * 2, _LONGEST_PAUSE)


def _subtree(path: str) -> Iterator[tuple[int, str]]:
    """Yield a cgroup and all below it, the deepest first: a descriptor of the directory that each is in, and its name.

    What runs in a container nests them deeper than a path, or the stack, is long: one directory is open at a time.
    """
    parent, name = os.path.split(path)
    fd = _open_directory(parent, None)
    if fd is None:
        return
    left = [[name]]  # on each level, what is to be visited; the last of each but the lowest is where we are
    try:
        while True:
            if left[-1]:
                below = _open_directory(left[-1][-1], fd)
                if below is None:
                    left[-1].pop()
                    continue
                os.close(fd)
                fd = below
                left.append(_children(fd))
                continue
            left.pop()
            if not left:
                return
            above = os.open("..", DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = above
            yield fd, left[-1].pop()
    finally:
        os.close(fd)


def _open_directory(name: str, parent: int | None) -> int | None:
    try:
        return os.open(name, DIRECTORY, dir_fd=parent)
    except OSError:
        return None


def _children(fd: int) -> list[str]:
    with contextlib.suppress(OSError), os.scandir(fd) as entries:
        return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    return []


def processes(path: str) -> list[int]:
    """Return the ids of all processes in a cgroup and below it; none when it does not exist."""
    found: set[int] = set()
    for parent, name in _subtree(path):
        found.update(int(line) for line in (read_file(f"{name}/cgroup.procs", dir_fd=parent) or "").split())
    found.discard(0)  # a process that cannot be seen from this pid namespace
    return sorted(found)


def populated(path: str) -> bool:
    """Tell whether a cgroup, or one below it, has processes."""
    found = (read_file(f"{name}/cgroup.procs", dir_fd=parent) for parent, name in _subtree(path))
    return any((text or "").strip() for text in found)


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
        write_file(f"{paths[UNIFIED]}/cgroup.kill", "1")
    except OSError:
        return False
    release(paths)
    return True


def _kill_each(paths: Mapping[str, str], left: Sequence[str]) -> None:
    try_freeze(paths)
    try:
        for path in left:
            for pid in processes(path):
                _kill_member(pid, path)
    finally:
        release(paths)


def release(paths: Mapping[str, str]) -> None:
    """Thaw everything in the freezer of a container that is to end, what was frozen from inside, too.

    A process that is frozen by a v1 freezer dies of SIGKILL when it is thawed; on v2 it dies as it is.

    Raises:
        CgroupError: The kernel refuses.
    """
    thaw(paths)
    if "freezer" in paths:
        for parent, name in _subtree(paths["freezer"]):
            with contextlib.suppress(OSError):
                write_file(f"{name}/freezer.state", "THAWED", dir_fd=parent)


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


def remove_empty(paths: Iterable[str]) -> list[str]:
    """Remove those cgroups that nothing is in; return the others."""
    left = []
    for path in dict.fromkeys(paths):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            continue
        except OSError:
            left.append(path)
    return left


def remove(paths: Iterable[str], parents: Iterable[str] = ()) -> None:
    """Remove cgroups with all below them, then directories above them as far as they are empty.

    The kernel lets go of a process a moment after it has ended: removal is tried again for some seconds.

    Raises:
        CgroupError: A cgroup still has processes in it.
    """
    for path in remove_empty(paths):
        for directory, name in _subtree(path):
            _remove_one(directory, name, path)
    for parent in sorted(parents, reverse=True):
        with contextlib.suppress(OSError):
            os.rmdir(parent)


def _remove_one(parent_fd: int, name: str, path: str) -> None:
    """Remove one directory of the cgroup that is at ``path``."""
    failure: OSError | None = None
    for pause in _pauses(_REMOVE_TIME):
        try:
            os.rmdir(name, dir_fd=parent_fd)
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
