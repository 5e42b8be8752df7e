"""What a run of the tests could leave behind on the machine, listed before and after.

Other people's work on the same machine is none of our business: only things below pytest's temporary directory, with
the token of this run in their name or environment, or held by this very process are listed.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ocikit.runtime import forgotten

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MARKER", "Inventory", "left_behind", "take_inventory"]

#: The variable that every process started by the tests inherits; its value is the token of the run.
MARKER = "OCIKIT_TEST_RUN"

#: What is there, by kind.
Inventory = dict[str, frozenset[str]]

#: Where names of containers and of network namespaces become files.
_NAMED = ("/run/netns", "/run/runc", "/run/crun", "/run/ocikit", "/sys/class/net")

#: Made once in a process, and kept on purpose.
_KEPT_DESCRIPTORS = re.compile(r"/memfd:ocikit-helper")

_SETTLING_SECONDS = 10.0


def take_inventory(token: str, base: Path) -> Inventory:
    """List what there is of ours.

    Args:
        token: Part of every name that this run of the tests gives to something outside ``base``.
        base: The directory that the run writes to.
    """
    return {
        "mount": frozenset(_mounts(token, base)),
        "cgroup": frozenset(_cgroups(token)),
        "process": frozenset(_processes(token)),
        "descriptor": frozenset(_descriptors()),
        "name": frozenset(str(path) for place in _NAMED for path in Path(place).glob(f"*{token}*")),
    }


def left_behind(before: Inventory, token: str, base: Path) -> list[str]:
    """Return what is there now and was not before; what is about to go is waited for.

    Returns:
        One line for each thing; none when everything is clean.
    """
    gc.collect()
    deadline = time.monotonic() + _SETTLING_SECONDS
    while True:
        forgotten.reap()  # as the next creation would
        now = take_inventory(token, base)
        more = [f"{kind}: {thing}" for kind, things in now.items() for thing in sorted(things - before[kind])]
        if not more or time.monotonic() > deadline:
            return more
        time.sleep(0.05)


def _mounts(token: str, base: Path) -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        point = line.split(" ")[4]
        if point.startswith(f"{base}/") or token in line:
            yield point


def _cgroups(token: str) -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        if line.partition(" - ")[2].split(" ")[0] in {"cgroup", "cgroup2"}:
            for directory, _, _ in os.walk(line.split(" ")[4]):
                if token in directory:
                    yield directory


def _processes(token: str) -> Iterator[str]:
    own = os.getpid()
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile, or is not ours to look at
            pid = int(directory.name)
            name, _, rest = (directory / "stat").read_text(errors="replace").rpartition(")")
            state, parent = rest.split()[:2]
            if int(parent) == own or (pid != own and _is_marked(directory, token)):
                yield f"{name.partition('(')[2]} (pid {pid}, state {state}, child of {parent})"


def _is_marked(directory: Path, token: str) -> bool:
    return f"{MARKER}={token}".encode() in (directory / "environ").read_bytes().split(b"\0")


def _descriptors() -> Iterator[str]:
    """Yield the open descriptors of this process, sockets that listen among them."""
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one that lists the directory
            target = os.readlink(link)
            if not _KEPT_DESCRIPTORS.match(target):
                yield f"{link.name} -> {target}"
