"""What a soak could leave behind, and how much memory it takes.

Other people work on the same machine: what is counted has the name of this soak on it, or belongs to this process.
"""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ocikit.runtime.cgroups.hierarchies import detect, place

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MARKER", "Held", "anonymous_memory", "cgroups", "left_behind", "orphaned_zombies"]

#: The variable that every process started by a soak inherits; its value is the name of the soak.
MARKER = "OCIKIT_SOAK"

_SETTLING_SECONDS = 15.0


class Held(NamedTuple):
    """What this process holds."""

    descriptors: dict[str, int]
    threads: int

    @classmethod
    def now(cls) -> Held:
        """Look."""
        gc.collect()
        found: dict[str, int] = {}
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):  # the one that lists the directory
                target = os.readlink(f"/proc/self/fd/{name}")
                kind = target.partition(":")[0] if target.startswith(("pipe:", "socket:")) else target
                found[kind] = found.get(kind, 0) + 1
        return cls(found, len(os.listdir("/proc/self/task")))

    def more_than(self, before: Held) -> Iterator[str]:
        """Yield what is held now and was not before: descriptors (sockets and memory files among them), threads."""
        for kind, count in self.descriptors.items():
            if count > before.descriptors.get(kind, 0):
                yield f"descriptor: {count - before.descriptors.get(kind, 0)} more of {kind}"
        if self.threads > before.threads:
            yield f"thread: {self.threads}, before {before.threads}: {[one.name for one in threading.enumerate()]}"


def cgroups(name: str) -> list[str]:
    """Return those cgroups of a container that exist."""
    return [path for path in place(detect(), "", name).values() if os.path.exists(path)]


def anonymous_memory() -> int:
    """Return how much memory of its own this process has, in bytes."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition("RssAnon:")[2].split()[0]) * 1024


def _processes() -> Iterator[Path]:
    return (path for path in Path("/proc").glob("[0-9]*"))


def _stat(process: Path) -> tuple[str, str, int]:
    """Return the name, the state and the parent of a process."""
    name, _, rest = (process / "stat").read_text(errors="replace").rpartition(")")
    state, parent = rest.split()[:2]
    return name.partition("(")[2], state, int(parent)


def orphaned_zombies() -> int:
    """Return how many processes have ended and are not reaped by process 1, whose affair they are."""
    count = 0
    for process in _processes():
        with contextlib.suppress(OSError):
            count += _stat(process)[1:] == ("Z", 1)
    return count


def _of_soak(token: str) -> Iterator[str]:
    """Yield the processes of a soak: children of this one, those that inherited its name, those in its cgroups."""
    marked = f"{MARKER}={token}".encode()
    for process in _processes():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            name, state, parent = _stat(process)
            if int(process.name) == os.getpid() or (state, parent) == ("Z", 1):
                continue
            inherited = marked in (process / "environ").read_bytes().split(b"\0")
            if parent == os.getpid() or inherited or token in (process / "cgroup").read_text():
                yield f"process: {name} ({process.name}, state {state}, child of {parent})"


def _named(token: str, root: str) -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        point = line.split(" ")[4]
        if token in line:
            yield f"mount: {point}"
        if line.partition(" - ")[2].split(" ")[0] in {"cgroup", "cgroup2"}:
            yield from (f"cgroup: {directory}" for directory, _, _ in os.walk(point) if token in directory)
    yield from (f"state: {path}" for path in Path(root).rglob("*"))
    for line in Path("/proc/keys").read_text().splitlines():
        if token in line:
            yield f"keyring: {line}"


def _sockets_that_nobody_holds() -> Iterator[str]:
    """Yield listening sockets of monitors that are open in no process."""
    listed = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    attach = {fields[6] for fields in listed if fields[-1].endswith("/attach")}
    if attach:
        for link in Path("/proc").glob("[0-9]*/fd/*"):
            with contextlib.suppress(OSError):
                attach.discard(os.readlink(link).partition("[")[2].rstrip("]"))
    yield from (f"socket: a listening socket of a monitor, inode {inode}" for inode in attach)


def left_behind(token: str, root: str, before: Held) -> list[str]:
    """Return what a soak has left; what is about to go is waited for.

    Args:
        token: Its name.
        root: Its state root.
        before: What this process held before.
    """
    deadline = time.monotonic() + _SETTLING_SECONDS
    while True:
        found = [*_of_soak(token), *_named(token, root), *Held.now().more_than(before)]
        found += [] if found else _sockets_that_nobody_holds()
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)
