"""What waits beside a container costs in memory: ``run_memory.py [ROUNDS]``. As root.

Private memory only: what a process shares with others would be there without it.
"""

from __future__ import annotations

import os
import statistics
from pathlib import Path

from bundles import make_bundle
from measuring import Line, Row, Work, main

from ocikit import runtime

NAME = f"ocikit-bench-{os.getpid()}-memory"


def private(pid: int) -> float:
    """Return the private memory of a process, in kB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean:", "Private_Dirty:")))


def parent(pid: int) -> int:
    """Return the process that another one is a child of."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("PPid:"))


def of_init(work: Work) -> Line:
    """The first process of a created container, before its program is executed."""
    bundle = make_bundle(work.place("init") / "bundle", "true")
    found = []
    for _ in range(work.rounds):
        with runtime.create(work.states / "init", NAME, bundle, stdin="null") as container:
            found.append(private(container.pid))
    return Row(
        name="private memory of a created container",
        ours=statistics.median(found),
        unit="kB",
        kind="amount",
        target=150,
    )


def of_monitor(work: Work) -> Line:
    """Whoever stays with a detached container."""
    name = "private memory of a monitor"
    bundle = make_bundle(work.place("monitor") / "bundle", "sleep", "100000")
    found = []
    for _ in range(work.rounds):
        container = runtime.create(
            work.states / "monitor",
            NAME,
            bundle,
            stdin="null",
            lifetime="detached",
        )
        try:
            container.start()
            monitor = parent(container.pid)
            if monitor == os.getpid():
                raise RuntimeError("a detached container without a monitor")
            found.append(private(monitor))
        finally:
            container.destroy(force=True)
    return Row(name=name, ours=statistics.median(found), unit="kB", kind="amount", target=400)


def lines(work: Work) -> list[Line]:
    """Return all of it."""
    return [of_init(work), of_monitor(work)]


if __name__ == "__main__":
    main(__doc__, lines)
