"""Thousands of containers of all lifetimes at once, some hunted, some owned by processes that are killed.

``soak.py [--count N] [--seconds S] [--threads N] [--seed N]``, as root: it prints a summary, and fails with a list of
everything that was not as it has to be. The seed decides what each container is to do; the scheduler of the kernel
decides when.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
from soak_fire import under_fire
from soak_hunter import Hunter
from soak_leaks import MARKER, Held, anonymous_memory, left_behind, orphaned_zombies
from soak_lives import Life, Outcome, Place, draw, live
from soak_owners import Ownership, draw_ownership, outlive

from ocikit import runtime
from ocikit.spec import Root, Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

#: How much more memory of its own the process may have at the end than after a tenth of the containers, in bytes.
GROWTH = 8 << 20

#: How many containers an owner makes, and what part of all containers is made by owners.
OF_OWNER, OWNED_PART = 5, 0.1

#: What part of all containers is made while processes of the creation are killed.
FIRE_PART = 0.05

APPLETS = ("sh", "sleep", "true", "cat")


class Soak(NamedTuple):
    """What is asked for."""

    #: How many containers.
    containers: int
    #: After how many seconds nothing more is begun; 0 for never.
    seconds: float
    threads: int
    seed: int


class Report(NamedTuple):
    """What a soak has found."""

    summary: tuple[str, ...]
    #: What was not as it has to be; empty when all is well.
    faults: tuple[str, ...]


def make_place(work: Path) -> Place:
    """Make a root file system of the static busybox; return where containers are."""
    rootfs, bundle = work / "rootfs", work / "bundle"
    for name in ("bin", "proc", "sys", "dev", "etc"):
        (rootfs / name).mkdir(parents=True)
    bundle.mkdir()
    shutil.copy("/bin/busybox", rootfs / "bin/busybox")
    for name in APPLETS:
        (rootfs / "bin" / name).symlink_to("busybox")
    base = attrs.evolve(Spec.default(), root=Root(path=str(rootfs), readonly=True))
    assert base.process is not None
    assert base.process.capabilities is not None
    capabilities = attrs.evolve(base.process.capabilities, ambient=())

    def make_spec(*args: str) -> Spec:
        return base.with_process(args=args, terminal=False, capabilities=capabilities)

    state = work / "state"
    state.mkdir()
    return Place(str(state), str(bundle), make_spec)


class _Work(NamedTuple):
    """All that is to be done, drawn beforehand."""

    lives: list[Life]
    ownerships: list[Ownership]
    fire: list[Life]


def draw_work(soak: Soak, token: str) -> _Work:
    """Draw what is to be done."""
    chance = random.Random(soak.seed)  # noqa: S311 - the same work for the same seed
    owners = round(soak.containers * OWNED_PART / OF_OWNER)
    fire = round(soak.containers * FIRE_PART)
    lives = soak.containers - owners * OF_OWNER - fire
    return _Work(
        [draw(chance, f"{token}-{number:06}") for number in range(lives)],
        [
            draw_ownership(chance, [f"{token}-o{owner:05}-{number}" for number in range(OF_OWNER)])
            for owner in range(owners)
        ],
        [draw(chance, f"{token}-f{number:05}") for number in range(fire)],
    )


class Tally:
    """What became of containers, counted: what is kept of each would look like a leak."""

    def __init__(self) -> None:
        self.lifetimes: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        #: Who was killed by the hunter, of those whom it was after.
        self.hunted: Counter[str] = Counter()
        #: Errors that came of that.
        self.errors: Counter[str] = Counter()
        #: Why it is not known how they ended.
        self.unknown: Counter[str] = Counter()

    def add(self, outcome: Outcome) -> None:
        """Count one."""
        life = outcome.life
        self.lifetimes[life.lifetime] += 1
        self.ends[life.end] += 1
        self.errors.update(error.partition(":")[0] for error in outcome.errors)
        if life.prey:
            self.hunted[outcome.killed or "missed"] += 1
        if outcome.status is not None and not outcome.status.known:
            self.unknown[f"killed: {outcome.killed or life.end}"] += 1


class _Run:
    """A soak at work."""

    def __init__(self, soak: Soak, token: str, place: Place, hunter: Hunter) -> None:
        self.soak, self.place, self.hunter = soak, place, hunter
        self.work = draw_work(soak, token)
        self.tally = Tally()
        self.faults: list[str] = []
        self.owners = 0
        self.fired: Counter[str] = Counter()
        self.growth = 0
        self.deadline = time.monotonic() + soak.seconds if soak.seconds else None

    def in_time(self) -> bool:
        """Tell whether more may be begun."""
        return self.deadline is None or time.monotonic() < self.deadline

    def _live(self, life: Life) -> None:
        if self.in_time():
            outcome = live(life, self.place, self.hunter)
            self.tally.add(outcome)
            facts = f"\n    {life}\n    killed: {outcome.killed or 'nobody'}; ended: {outcome.status}"
            self.faults += [f"{life.name}: {fault}{facts}" for fault in outcome.faults]

    def _own(self, ownership: Ownership) -> None:
        if self.in_time():
            self.faults += outlive(ownership, self.place)
            self.owners += 1

    def go(self) -> None:
        """Do all the work, the first tenth of it alone: what is allocated once is allocated then."""
        jobs: list[Callable[[], None]] = [partial(self._live, life) for life in self.work.lives]
        step = max(1, len(jobs) // max(1, len(self.work.ownerships)))
        for number, ownership in enumerate(self.work.ownerships):
            jobs.insert(min(len(jobs), number * (step + 1)), partial(self._own, ownership))
        first = len(jobs) // 10
        with ThreadPoolExecutor(self.soak.threads) as pool:
            _do_all(pool, self.soak.threads, jobs[:first])
            before = anonymous_memory()
            _do_all(pool, self.soak.threads, jobs[first:])
            self.growth = anonymous_memory() - before
        for life in self.work.fire:
            if self.in_time():
                outcome, faults = under_fire(life, self.place)
                self.fired[outcome] += 1
                self.faults += faults

    @property
    def number(self) -> int:
        """How many containers were made."""
        return self.tally.lifetimes.total() + self.owners * OF_OWNER + self.fired.total()

    def all_faults(self) -> Iterator[str]:
        """Yield what was not as it has to be."""
        yield from self.faults
        if self.growth > GROWTH:
            yield f"memory: {self.growth / 2**20:.1f} MiB more than after a tenth; allowed are {GROWTH / 2**20:.0f}"

    def summary(self, seconds: float) -> Iterator[str]:
        """Yield what happened."""
        tally = self.tally
        yield f"{self.number} containers in {seconds:.1f} s: {self.number / seconds:.1f} each second"
        yield f"lifetimes: {_listed(tally.lifetimes)}; ends: {_listed(tally.ends)}"
        yield f"kill -9: {_listed(self.hunter.kills)}; of those hunted: {_listed(tally.hunted)}"
        yield f"errors of calls that were hunted: {_listed(tally.errors)}"
        yield f"owners killed: {self.owners}, with {self.owners * OF_OWNER} containers"
        yield f"created under fire: {_listed(self.fired)}"
        tells = "tells" if self.hunter.kernel_tells else "does not tell"
        yield f"unknown exit codes: {_listed(tally.unknown)} (this kernel {tells} how children of others ended)"
        yield f"memory: {self.growth / 2**20:+.1f} MiB since the first tenth ({GROWTH / 2**20:.0f} allowed)"


def _listed(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


def _do_all(pool: ThreadPoolExecutor, threads: int, jobs: Iterable[Callable[[], None]]) -> None:
    """Do all of some work; nothing is kept of what is done."""
    left = deque(jobs)

    def work() -> None:
        while True:
            try:
                job = left.popleft()
            except IndexError:
                return
            job()

    for done in [pool.submit(work) for _ in range(threads)]:
        done.result()


def run(soak: Soak) -> Report:
    """Soak, on a tmpfs, and look for what is left."""
    token = f"ocikit-soak-{os.getpid()}-{secrets.token_hex(3)}"
    os.environ[MARKER] = token
    zombies = orphaned_zombies()
    with tempfile.TemporaryDirectory(prefix=f"{token}-", dir="/dev/shm") as work:
        place = make_place(Path(work))
        _warm_up(place, token)
        before = Held.now()
        with Hunter() as hunter:
            running = _Run(soak, token, place, hunter)
            began = time.monotonic()
            running.go()
            seconds = time.monotonic() - began
        _warm_up(place, token)  # whoever makes a container reaps those whose objects were forgotten
        left = left_behind(token, place.root, before)
        faults = (*running.all_faults(), *(f"left behind: {one}" for one in left))
        children = f"zombies of process 1, which has to reap them: {orphaned_zombies() - zombies:+}"
        return Report((f"seed {soak.seed}, {soak.threads} threads", *running.summary(seconds), children), faults)


def _warm_up(place: Place, token: str) -> None:
    """Run a container of each kind: what a process keeps on purpose is there then."""
    runtime.run(place.root, f"{token}-scope", place.bundle, spec=place.make_spec("true"))
    kinds: list[Any] = ["process", "detached"]
    for lifetime in kinds:
        container = runtime.create(
            place.root, f"{token}-{lifetime}", place.bundle, spec=place.make_spec("true"), lifetime=lifetime
        )
        container.start()
        container.wait()
        container.destroy()


def main() -> None:
    """Soak, and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="how many containers (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=0, help="begin nothing after so many seconds (default: no limit)"
    )
    parser.add_argument("--threads", type=int, default=16, help="how many at once (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="what decides about all lives (default: another one each time)")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else secrets.randbelow(1 << 32)
    print(f"seed {seed}", flush=True)  # noqa: T201
    report = run(Soak(given.count, given.seconds, given.threads, seed))
    print(*report.summary, sep="\n")  # noqa: T201
    if report.faults:
        sys.exit("\n".join([f"{len(report.faults)} deviations:", *report.faults]))


if __name__ == "__main__":
    main()
