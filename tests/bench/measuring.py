"""What the benchmarks of the runtime share: work that alternates, rows with targets, and one table of them.

Machines are noisy, and noisier from one minute to the next than two programs differ. So whatever is compared takes
turns, each in every round; one round comes before and counts for nothing; the medians are compared. Who begins changes
from round to round: nobody always runs behind the same neighbour, whose network namespaces the kernel still clears up.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROUNDS = 30
MEMORY = 4096
IMAGE = 1024

#: What crun (before 1.9) refuses to run beside.
UNIFIED = "/sys/fs/cgroup/unified"

#: A kind of row says what is held to the target.
Kind = Literal["ratio", "excess", "amount"]

COLUMNS = ("measured", "ours", "the peer's", "unit", "ratio or excess", "target", "stretch", "met")


class Work(NamedTuple):
    """What a benchmark gets to work with."""

    #: Its own, and empty.
    directory: Path
    #: For state roots: its own, empty, and in memory, as ``/run`` is.
    states: Path
    #: How many count.
    rounds: int
    #: Of the process that is large, in MiB.
    memory: int
    #: Of the image that is copied, uncompressed, in MiB.
    image: int
    #: Which of the times of all rounds is the one that is compared.
    middle: Callable[[Sequence[float]], float]

    def place(self, name: str) -> Path:
        """Make a directory."""
        path = self.directory / name
        path.mkdir(parents=True)
        return path


@attrs.frozen(kw_only=True)
class Row:
    """One thing that was measured, and what was to be reached."""

    #: What.
    name: str
    #: Median of ours, in :attr:`unit`.
    ours: float
    #: Median of whom it is compared with; None when it stands alone.
    peer: float | None = None
    unit: str = "ms"
    #: What is held to the target: ours divided by the peer's; what ours has beyond it; ours.
    kind: Kind = "ratio"
    #: None: the row is there for information.
    target: float | None = None
    stretch: float | None = None
    #: Whether more is better.
    more: bool = False

    @property
    def judged(self) -> float:
        """What is held to the target."""
        if self.peer is None or self.kind == "amount":
            return self.ours
        return self.ours - self.peer if self.kind == "excess" else self.ours / self.peer

    @property
    def met(self) -> str:
        """Which goal was reached, in a word."""
        if self.target is None:
            return ""
        goals = {"stretch": self.stretch, "yes": self.target}
        return next((word for word, goal in goals.items() if self._reaches(goal)), "no")

    def _reaches(self, goal: float | None) -> bool:
        return goal is not None and (self.judged >= goal if self.more else self.judged <= goal)

    @property
    def cells(self) -> tuple[str, ...]:
        """The row in words, one for each of :data:`COLUMNS`."""
        sign = "≥ " if self.more else "≤ "
        goals = [("" if goal is None else f"{sign}{goal:g}") for goal in (self.target, self.stretch)]
        judged = {"ratio": f"{self.judged:.2f}", "excess": f"+{self.judged:.1f} {self.unit}", "amount": ""}[self.kind]
        peer = "" if self.peer is None else f"{self.peer:.1f}"
        return (self.name, f"{self.ours:.1f}", peer, self.unit, judged, *goals, self.met)


@attrs.frozen(kw_only=True)
class Missing:
    """Something that cannot be measured yet, or not here."""

    name: str
    reason: str

    @property
    def cells(self) -> tuple[str, ...]:
        """The row in words, one for each of :data:`COLUMNS`."""
        return (self.name, "", "", "", "", "", "", self.reason)


Line = Row | Missing


class Served:
    """A process that does some work once for each line that it reads, and writes how many nanoseconds it took."""

    def __init__(self, command: Sequence[str | os.PathLike[str]]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def ask(self) -> float:
        """Have the work done; return how long it took, in seconds.

        Raises:
            RuntimeError: The process has ended instead.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("a process that was started with pipes has none")
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.wait()}")
        return int(answer) / 1e9


def timed(work: Callable[[], object]) -> float:
    """Return how long some work takes, in seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def alternate(work: Work, takers: Mapping[str, Callable[[], float]]) -> dict[str, float]:
    """Let several take turns, and return the median of each.

    Args:
        work: How many rounds count, after one that does not.
        takers: By name, what is called for one turn and returns how long it took, in seconds.

    Returns:
        The medians, in milliseconds.
    """
    times: dict[str, list[float]] = {name: [] for name in takers}
    names = list(takers)
    for number in range(work.rounds + 1):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            taken = takers[name]()
            if number:
                times[name].append(taken)
    return {name: work.middle(found) * 1000 for name, found in times.items()}


def run_command(command: Sequence[str | os.PathLike[str]], *, env: Mapping[str, str] | None = None) -> None:
    """Run a command that has nothing to read, and whose output is not looked at."""
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=env)


def table(lines: Sequence[Line], *, markdown: bool) -> str:
    """Write a table, in Markdown or for a terminal."""
    rows = [COLUMNS, *(line.cells for line in lines)]
    if markdown:
        ruled = [rows[0], ("---", *["---:"] * (len(COLUMNS) - 2), "---"), *rows[1:]]
        return "\n".join(f"| {' | '.join(row)} |" for row in ruled)
    widths = [max(len(row[at]) for row in rows) for at in range(len(COLUMNS) - 1)]
    return "\n".join(
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:], strict=True)),
                row[-1],
            ]
        ).rstrip()
        for row in rows
    )


def share_cgroups() -> None:
    """Go where everybody can run: crun refuses to where a hierarchy of version 2 is mounted beside those of version 1.

    This process starts anew in a mount namespace without it, and nothing of that is ever timed.
    """
    if os.path.ismount(UNIFIED):
        command = ["unshare", "-m", "sh", "-c", 'umount "$0" && exec "$@"', UNIFIED, sys.executable, *sys.argv]
        os.execvp(command[0], command)  # noqa: S606 - there is a shell in it, to which nothing is left to be quoted


def main(description: str | None, *benchmarks: Callable[[Work], Sequence[Line]]) -> None:
    """Run benchmarks from the command line, and print one table."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", nargs="?", type=int, default=ROUNDS, help=f"rounds that count ({ROUNDS})")
    parser.add_argument("--memory", type=int, default=MEMORY, metavar="MIB", help=f"of a large process ({MEMORY})")
    parser.add_argument("--image", type=int, default=IMAGE, metavar="MIB", help=f"of an image that is copied ({IMAGE})")
    parser.add_argument(
        "--best",
        action="store_true",
        help="compare the fastest rounds, not the medians: what is left without neighbours",
    )
    parser.add_argument("--markdown", action="store_true", help="write the table for a document")
    given = parser.parse_args()
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    share_cgroups()
    middle = min if given.best else statistics.median
    lines: list[Line] = []
    for number, benchmark in enumerate(benchmarks):
        with (
            tempfile.TemporaryDirectory(prefix="ocikit-bench-", dir="/var/tmp") as directory,
            tempfile.TemporaryDirectory(prefix="ocikit-bench-", dir="/dev/shm") as states,
        ):
            lines += benchmark(Work(Path(directory), Path(states), given.rounds, given.memory, given.image, middle))
        if sys.stderr.isatty():
            print(f"{number + 1} of {len(benchmarks)} done", file=sys.stderr)  # noqa: T201
    print(table(lines, markdown=given.markdown))  # noqa: T201
