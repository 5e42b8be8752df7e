"""Run ``true`` of busybox under the default configuration, here and by runc: ``tests/bench/lifecycle.py [ROUNDS]``.

From the same Python: a call here, a command there. The two alternate, after one round that counts for neither;
medians and their ratio are printed.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ocikit import runtime
from ocikit.spec import LinuxCapabilities, Root, Spec

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS = 8


def make_bundle(path: Path) -> Path:
    """Make a bundle of the static busybox."""
    (path / "rootfs/bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", path / "rootfs/bin/busybox")
    (path / "rootfs/bin/true").symlink_to("busybox")
    spec = Spec.default().with_process(args=("true",), terminal=False, capabilities=LinuxCapabilities())
    (path / "config.json").write_bytes(spec.to_json())
    if spec.root != Root(path="rootfs", readonly=True):
        raise RuntimeError(f"the default root has changed: {spec.root}")
    return path


def here(root: Path, name: str, bundle: Path) -> None:
    """Run by ocikit, in this process."""
    if runtime.run(root, name, bundle, stdin="null").exit_code != 0:
        raise RuntimeError(f"{name} failed")


def by_runc(root: Path, name: str, bundle: Path) -> None:
    """Run by runc."""
    command: list[str | Path] = ["runc", "--root", root, "run", "--bundle", bundle, name]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def timed(work: Callable[[], object]) -> float:
    """Return how long some work takes, in seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def wait(work: list[Callable[[], None]], pool: ThreadPoolExecutor) -> None:
    """Do all of some work, in the threads of a pool."""
    for done in [pool.submit(one) for one in work]:
        done.result()


def main(work: Path, rounds: int) -> None:
    """Measure in the directory ``work``."""
    bundle, root = make_bundle(work / "bundle"), work / "state"
    runners = {"ocikit": here, "runc": by_runc}
    one: dict[str, list[float]] = {name: [] for name in runners}
    many: dict[str, list[float]] = {name: [] for name in runners}
    with ThreadPoolExecutor(THREADS) as pool:
        for number in range(rounds + 1):
            for name, run in runners.items():
                ids = [f"bench-{name}-{number}-{i}" for i in range(THREADS)]
                alone = timed(partial(run, root, ids[0], bundle))
                together = timed(partial(wait, [partial(run, root, one, bundle) for one in ids], pool))
                if number:
                    one[name].append(alone)
                    many[name].append(together / THREADS)
    for what, times in (("one at a time", one), (f"{THREADS} threads, each", many)):
        ours, theirs = (statistics.median(times[name]) * 1000 for name in runners)
        print(f"{what:20} ocikit {ours:6.1f} ms   runc {theirs:6.1f} ms   ratio {ours / theirs:.2f}")  # noqa: T201


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        main(Path(directory), int(sys.argv[1]) if len(sys.argv) > 1 else 30)
