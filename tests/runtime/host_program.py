"""A host of containers with habits of its own: ``host_program.py ROOT ID BUNDLE LIFETIME HABIT``.

It makes a container, says which processes it has, and does then what it is told, a word on each line of its standard
input. What it says goes to its standard output, a line at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from ocikit import runtime
from ocikit.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 60.0


class Given(NamedTuple):
    """The command line."""

    root: str
    name: str
    bundle: str
    lifetime: Any
    habit: str


def say(*words: object) -> None:
    """Say something to whoever watches."""
    print(*words, flush=True)  # noqa: T201


def fork_one() -> None:
    """Fork a child that goes on in the same program, and ends as an interpreter does when it is told to."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        while True:
            time.sleep(1000)
    say("forked", child)


def wait_for_all() -> None:
    """Wait for every child in another thread, whosoever it is."""

    def wait() -> None:
        while True:
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                time.sleep(0.001)

    threading.Thread(target=wait, daemon=True).start()


def ignore_children() -> None:
    """Have the kernel forget children that have ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def handle_children() -> None:
    """Reap every child when the kernel says that one has ended."""

    def reap(*_: object) -> None:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    signal.signal(signal.SIGCHLD, reap)


def daemonize() -> None:
    """Become a daemon: a grandchild in a session of its own; who was there before ends."""
    for step in (os.setsid, lambda: None):
        if os.fork():
            os._exit(0)
        step()


#: Descriptors of the host's own, with numbers that others had before.
OWN: list[int] = []


def close_all() -> None:
    """Close every descriptor but the standard streams, as some do who become daemons, and open others."""
    os.closerange(3, 4096)
    OWN.extend(os.open("/dev/full", os.O_RDONLY) for _ in range(8))


def execute(given: Given) -> None:
    """Become another program in the same process."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, __file__, *given[:4], "was executed"])  # noqa: S606 - that is the habit


def nothing() -> None:
    """Do as everybody does."""


#: What a host does before it makes its container, and what afterwards.
HABITS: dict[str, tuple[Callable[[], object], Callable[[Given], object]]] = {
    "none": (nothing, lambda _: None),
    "forks": (nothing, lambda _: fork_one()),
    "waits for all": (wait_for_all, lambda _: None),
    "ignores children": (ignore_children, lambda _: None),
    "handles children": (handle_children, lambda _: None),
    "asyncio": (nothing, lambda _: None),
    "is a daemon": (daemonize, lambda _: None),
    "becomes a daemon": (nothing, lambda _: daemonize()),
    "closes descriptors": (nothing, lambda _: close_all()),
    "executes": (nothing, execute),
}


def make(given: Given) -> runtime.Container:
    """Make the container."""
    with open(f"{given.bundle}/config.json", "rb") as file:
        spec = Spec.from_json(file.read())
    output: Any = "null" if given.lifetime == "scope" else "monitor"
    container = runtime.create(
        given.root, given.name, given.bundle, spec=spec, lifetime=given.lifetime,
        stdin="null", stdout=output, stderr=output,
    )  # fmt: skip
    container.start()
    return container


def finish(container: runtime.Container) -> None:
    """Have the container end, and say how it did."""
    container.signal(signal.SIGTERM)
    say("ended", *container.wait(PATIENCE)[:2])


def another(container: runtime.Container) -> None:
    """Run another container, and a program of our own; say how they ended."""
    spec = Spec.from_json(open(f"{container.bundle}/config.json", "rb").read())  # noqa: SIM115
    spec = spec.with_process(args=("sh", "-c", "exit 5"))
    done = runtime.run(container.root, f"{container.id}-another", container.bundle, spec=spec)
    say("another", done.exit_code, done.signal)


def status(container: runtime.Container) -> None:
    """Say what it is doing."""
    say("status", container.status())


def execute_in(container: runtime.Container) -> None:
    """Run a further process in it."""
    done = container.exec(["sh", "-c", "echo in; exit 6"], stdin="null", stdout="pipe").communicate(timeout=PATIENCE)
    say("exec", done.exit_code, done.stdout.decode().strip())


COMMANDS = {"finish": finish, "another": another, "status": status, "exec": execute_in}


def obey(container: runtime.Container) -> None:
    """Do what is asked for, to the end of the input."""
    for line in sys.stdin:
        if line.strip() == "exit":
            return
        COMMANDS[line.strip()](container)


async def obey_in_loop(container: runtime.Container) -> None:
    """Do what is asked for in an event loop that has children of its own."""
    loop = asyncio.get_running_loop()
    while (word := (await loop.run_in_executor(None, sys.stdin.readline)).strip()) not in {"", "exit"}:
        own = await asyncio.create_subprocess_exec("sh", "-c", "sleep 0.1; exit 9")
        if word == "finish":
            over = asyncio.Event()
            with container.held() as descriptor:
                if descriptor is not None:
                    loop.add_reader(descriptor, over.set)
                    container.signal(signal.SIGTERM)
                    await over.wait()
                    loop.remove_reader(descriptor)
            say("ended", *container.wait(PATIENCE)[:2])
        else:
            COMMANDS[word](container)
        if await own.wait() != 9:
            raise RuntimeError(f"a child of the loop ended with {own.returncode}")


def main(given: Given) -> None:
    """Be a host."""
    if given.habit == "was executed":
        container = runtime.load(given.root, given.name)
    else:
        before, after = HABITS[given.habit]
        before()
        container = make(given)
        monitor = container._find_monitor()
        say("made", container.pid, monitor.pid if monitor is not None else 0)
        sys.stdin.readline()  # whoever watches holds them by now
        after(given)
    say("ready", os.getpid())
    if given.habit == "asyncio":
        asyncio.run(obey_in_loop(container))
    else:
        obey(container)
    del container
    if not all(os.path.samestat(os.fstat(own), os.stat("/dev/full")) for own in OWN):
        raise RuntimeError("somebody has closed a descriptor of ours")


if __name__ == "__main__":
    main(Given(*sys.argv[1:]))
