"""Owners: processes that make containers and are killed, with all that has to hold of their containers afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from soak_leaks import cgroups
from soak_lives import PATIENCE, describe

from ocikit import runtime
from ocikit._fs import Descriptor

if TYPE_CHECKING:
    import random

    from soak_lives import Place

__all__ = ["Ownership", "draw_ownership", "outlive"]

PROGRAM = Path(__file__).with_name("soak_owner.py")


class Ownership(NamedTuple):
    """An owner, and what becomes of it."""

    #: Name, lifetime and exit code of each of its containers, and whether it forks a child after it.
    containers: tuple[tuple[str, str, int, bool], ...]
    #: After how many of its containers it is killed; after the last one it has to be.
    after: int
    #: And how long after it said so, in seconds.
    delay: float


def draw_ownership(chance: random.Random, names: list[str]) -> Ownership:
    """Draw what an owner makes, and when it is killed."""
    made = tuple(
        (
            name,
            chance.choice(("process", "process", "process", "detached")),
            chance.randrange(256),
            chance.random() < 0.5,
        )
        for name in names
    )
    return Ownership(made, chance.randint(1, len(made)), chance.choice((0.0, chance.uniform(0, 0.05))))


class _Owned:
    """What an owner has said of what it made."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self.made: dict[str, list[Descriptor]] = {}
        self.children: list[Descriptor] = []

    def hear(self, line: str) -> None:
        """Take note of a line."""
        word, *rest = line.split()
        if word == "made":
            self.made[rest[0]] = [process for pid in rest[1:] for process in self._open(int(pid))]
        elif word == "forked":
            self.children += self._open(int(rest[0]))

    def _open(self, pid: int) -> list[Descriptor]:
        """Return a process, unless there is none or it is gone."""
        with contextlib.suppress(ProcessLookupError):
            return [self._stack.enter_context(Descriptor(os.pidfd_open(pid)))] if pid else []
        return []


def outlive(ownership: Ownership, place: Place) -> list[str]:
    """Start an owner, kill it, and compare what is left with what has to be.

    Returns:
        What is not as it has to be.
    """
    faults: list[str] = []
    with contextlib.ExitStack() as stack:
        owned = _Owned(stack)
        try:
            owner = _let_it_work(ownership, place, owned, stack)
            for name, lifetime, code, _ in ownership.containers:
                check = _check_owned if lifetime == "process" else _check_detached
                faults += [f"{name}: {fault}" for fault in check(owned, place, name, code)]
            if any(_has_ended(child, 0) for child in owned.children):
                faults.append("a forked child of an owner that was killed has ended, too")
            assert owner.stdin is not None
            owner.stdin.close()
            if not all(_has_ended(child, PATIENCE) for child in owned.children):
                faults.append("a forked child of an owner does not end")
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs into the report
            faults.append(f"owner of {ownership.containers[0][0]}: {describe(error)}")
    return faults


def _let_it_work(
    ownership: Ownership, place: Place, owned: _Owned, stack: contextlib.ExitStack
) -> subprocess.Popen[str]:
    """Start the owner, let it make so many containers, and kill it; its children go on until its input is closed."""
    asked = [
        (name, lifetime, place.make_spec("sh", "-c", _program(lifetime, code)).to_json().decode(), forks)
        for name, lifetime, code, forks in ownership.containers
    ]
    command = [sys.executable, str(PROGRAM), place.root, place.bundle]
    owner = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    stack.callback(owner.kill)
    assert owner.stdin is not None
    assert owner.stdout is not None
    print(json.dumps(asked), file=owner.stdin, flush=True)
    while len(owned.made) < ownership.after:
        line = owner.stdout.readline()
        if not line:
            raise RuntimeError(f"an owner has ended by itself: {owner.wait()}")
        owned.hear(line)
    time.sleep(ownership.delay)
    owner.kill()
    owner.wait(PATIENCE)
    # Its forked children hold its output open: what it said is read, and no end waited for.
    os.set_blocking(owner.stdout.fileno(), False)
    with contextlib.suppress(TypeError, BlockingIOError):  # what a text file says when there is nothing more to read
        while line := owner.stdout.readline():
            if line.endswith("\n"):
                owned.hear(line)
    return owner


def _program(lifetime: str, code: int) -> str:
    return "echo one; sleep 1000" if lifetime == "process" else f"echo one; sleep 0.1; exit {code}"


def _has_ended(process: Descriptor, seconds: float) -> bool:
    waiting = select.poll()
    waiting.register(process.fd, select.POLLIN)
    return bool(waiting.poll(seconds * 1000))


def _check_owned(owned: _Owned, place: Place, name: str, _: int) -> list[str]:
    """A container of the process is gone with it, all of it."""
    if name not in owned.made:
        return _tidy(place, name)
    if not all(_has_ended(process, PATIENCE) for process in owned.made[name]):
        return ["its owner was killed, and it goes on"]
    # Without a process there is nobody left to remove anything later.
    left = [path for path in (f"{place.root}/{name}", *cgroups(name)) if os.path.exists(path)]
    return [f"its owner was killed, and this is left: {left}"] if left else []


def _check_detached(owned: _Owned, place: Place, name: str, code: int) -> list[str]:
    """A detached container goes on, and everybody learns how it ended and what it wrote."""
    if name not in owned.made:
        return _tidy(place, name)
    container = runtime.load(place.root, name)
    if container.status() is runtime.Status.CREATED:
        container.start()
    status = container.wait(PATIENCE)
    with container.logs() as log:
        lines = [line.text for line in log]
    container.destroy()
    faults = []
    if tuple(status[:2]) != (code, None):
        faults.append(f"a detached container ended with {tuple(status[:2])}, expected {code}")
    if lines != ["one"]:
        faults.append(f"the log of a detached container: expected one line, found {lines}")
    return faults


def _tidy(place: Place, name: str) -> list[str]:
    """Remove what there may be of a container whose owner was killed while it made it, or before."""
    report = runtime.stop_and_remove(place.root, prefix=name)
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(f"{place.root}/{name}")  # the id was claimed, and nothing was noted
    if report.failed:
        return [f"stop_and_remove of what was interrupted: {report.failed}"]
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        left = [path for path in (f"{place.root}/{name}", *cgroups(name)) if os.path.exists(path)]
        if not left:
            return []
        time.sleep(0.05)
    return [f"what was interrupted is left: {left}"]
