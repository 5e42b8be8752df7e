"""The lives of containers, here, by crun, by runc, and by the floor: ``run_lifecycle.py [ROUNDS]``.

From the same Python: a call here, a command there. As root.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import floor
from bundles import live, make_bundle
from measuring import Line, Row, Served, Work, alternate, main, run_command, timed

from ocikit import runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

THREADS = 8
HERE = Path(__file__).parent
NAME = f"ocikit-bench-{os.getpid()}"


def by(peer: str, root: Path, name: str, bundle: Path) -> None:
    """Run a container by a peer."""
    run_command([peer, "--root", root, "run", "--bundle", bundle, name])


def alone(work: Work) -> list[Line]:
    """One container after the other."""
    bundle = make_bundle(work.place("one") / "bundle", "true")
    root = work.states / "one"
    (root / "floor").mkdir(parents=True)
    with Served(floor.command(work.place("one/floor"), root / "floor", f"{NAME}-floor", bundle)) as served:
        found = alternate(
            work,
            {
                "ours": lambda: timed(lambda: live(root / "ocikit", NAME, bundle)),
                "crun": lambda: timed(lambda: by("crun", root / "crun", NAME, bundle)),
                "runc": lambda: timed(lambda: by("runc", root / "runc", NAME, bundle)),
                "floor": served.ask,
                "detached": lambda: timed(lambda: live(root / "ocikit", NAME, bundle, lifetime="detached")),
            },
        )
    ours, life = found["ours"], "create, start, wait, destroy"
    return [
        Row(name=f"{life}: crun run", ours=ours, peer=found["crun"], target=0.35, stretch=0.25),
        Row(name=f"{life}: runc run", ours=ours, peer=found["runc"], target=0.18, stretch=0.12),
        Row(name=f"{life}: the floor", ours=ours, peer=found["floor"], target=1.5, stretch=1.2),
        Row(name="the same, detached: scope", ours=found["detached"], peer=ours, target=1.3),
    ]


def together(work: Work) -> list[Line]:
    """Several at a time."""
    bundle = make_bundle(work.place("many") / "bundle", "true")
    root = work.states / "many"

    def all_of(run: Callable[[Path, str, Path], None], state: Path, names: Iterable[str]) -> None:
        for done in [pool.submit(run, state, name, bundle) for name in names]:
            done.result()

    names = [f"{NAME}-{number}" for number in range(2 * THREADS)]
    with ThreadPoolExecutor(THREADS) as pool:
        found = alternate(
            work,
            {
                "ours": lambda: timed(lambda: all_of(live, root / "ocikit", names)),
                "crun": lambda: timed(lambda: all_of(partial(by, "crun"), root / "crun", names)),
            },
        )
    ours, crun = (len(names) / found[name] * 1000 for name in ("ours", "crun"))
    what = f"{THREADS} threads: {THREADS} x crun run"
    return [Row(name=what, ours=ours, peer=crun, unit="per second", target=2.5, stretch=4, more=True)]


def available() -> int:
    """Return how much memory may be used, in MiB."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) // 1024


def from_much_memory(work: Work) -> list[Line]:
    """From a process that is large, and from one that is not."""
    bundle = make_bundle(work.place("large") / "bundle", "true")
    size = min(work.memory, available() // 2)
    command: list[str | Path] = [sys.executable, HERE / "serve.py", work.states / "large"]
    with (
        Served([*command, f"{NAME}-large", bundle, str(size)]) as large,
        Served([*command, f"{NAME}-small", bundle, "0"]) as small,
    ):
        found = alternate(work, {"large": large.ask, "small": small.ask})
    what = f"from a process with {size / 1024:.3g} GiB: from a small one"
    return [Row(name=what, ours=found["large"], peer=found["small"], target=1.15, stretch=1.0)]


def of_further_processes(work: Work) -> list[Line]:
    """A further process in a container that runs."""
    bundle = make_bundle(work.place("exec") / "bundle", "sleep", "100000")
    roots = {peer: work.states / "exec" / peer for peer in ("crun", "runc")}
    started = []
    try:
        with runtime.create(work.states / "exec/ocikit", NAME, bundle, stdin="null") as container:
            container.start()
            for peer, root in roots.items():
                run_command([peer, "--root", root, "run", "--detach", "--bundle", bundle, f"{NAME}-{peer}"])
                started.append(peer)

            def ours() -> None:
                if container.exec(("true",), stdin="null").wait().exit_code != 0:
                    raise RuntimeError("a further process failed")

            def theirs(peer: str) -> float:
                return timed(lambda: run_command([peer, "--root", roots[peer], "exec", f"{NAME}-{peer}", "true"]))

            takers = {"ours": lambda: timed(ours)} | {peer: partial(theirs, peer) for peer in roots}
            found = alternate(work, takers)
    finally:
        for peer in started:
            run_command([peer, "--root", roots[peer], "delete", "--force", f"{NAME}-{peer}"])
    return [
        Row(name="exec of true: crun exec", ours=found["ours"], peer=found["crun"], target=0.3, stretch=0.15),
        Row(name="exec of true: runc exec", ours=found["ours"], peer=found["runc"]),
    ]


def lines(work: Work) -> list[Line]:
    """Return all of it."""
    parts = (alone, together, from_much_memory, of_further_processes)
    return [line for part in parts for line in part(work)]


if __name__ == "__main__":
    main(__doc__, lines)
