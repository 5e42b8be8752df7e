"""The lives of containers in a soak: what each is to do is drawn beforehand, and its end follows from that."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ocikit import runtime
from ocikit.errors import OCIKitError
from ocikit.runtime import CreateOptions, Status

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from soak_hunter import Hunter

    from ocikit.runtime import ExitStatus, Stream
    from ocikit.spec import Spec

__all__ = ["Life", "Outcome", "Place", "draw", "live"]

#: How long anything may take that has to happen, in seconds.
PATIENCE = 30.0

#: The time that those containers get whose time is to be up, in seconds.
SHORT = 0.3

#: What is done with a container that waits for a word.
DEEDS = ("exec", "pause", "attach", "load", "stats", "ps")

#: How it is removed at last.
REMOVALS = ("destroy", "load", "stop")


class Place(NamedTuple):
    """Where the containers of a soak are."""

    root: str
    bundle: str
    make_spec: Callable[..., Spec]


class Life(NamedTuple):
    """What is to become of a container."""

    name: str
    lifetime: Literal["scope", "process", "detached"]
    #: What its program exits with, if nothing else ends it.
    code: int
    #: How many lines it writes to each stream.
    lines: int
    #: Who gives the word that its program waits for: nobody, a pipe, or somebody who is attached.
    gate: Literal["none", "pipe", "monitor"]
    deeds: tuple[str, ...] = ()
    #: What ends it: itself, its time, a kill, a kill while it is paused, or the end of its first process or monitor by
    #: somebody else's hand.
    end: Literal["itself", "time", "kill", "paused kill", "init", "monitor"] = "itself"
    #: Who is killed at some moment, of which nobody knows when it comes.
    prey: Literal["", "init", "monitor"] = ""
    #: When, in seconds from its creation.
    delay: float = 0.0
    removal: str = "destroy"

    @property
    def monitored(self) -> bool:
        """Whether it has a monitor."""
        return self.lifetime != "scope"

    @property
    def program(self) -> tuple[str, ...]:
        """What is run in it."""
        writing = f"i=0; while [ $i -lt {self.lines} ]; do echo out-$i; echo err-$i >&2; i=$((i+1)); done"
        waiting = "sleep 1000" if self.end == "time" else "read word" if self.gate != "none" else ":"
        lingering = "sleep 0.05" if self.prey else ":"
        return ("sh", "-c", f"{writing}; {lingering}; {waiting}; exit {self.code}")

    @property
    def ending(self) -> tuple[int | None, int | None]:
        """Exit code and signal that it has to end with, as far as nobody hunts it."""
        return (self.code, None) if self.end in {"itself", "monitor"} else (None, signal.SIGKILL)


class Outcome(NamedTuple):
    """What became of a container."""

    life: Life
    status: ExitStatus | None
    #: Who was killed by the hunter: ``init``, ``monitor`` or nobody.
    killed: str
    #: What was not as it has to be.
    faults: tuple[str, ...]
    #: Errors that came of the hunt.
    errors: tuple[str, ...] = ()


def draw(chance: random.Random, name: str, lifetimes: tuple[str, ...] = ("scope", "process", "detached")) -> Life:
    """Draw a life.

    Args:
        chance: Where the chances come from: the same seed is the same life.
        name: The id of the container.
        lifetimes: What its lifetime may be.
    """
    lifetime: Any = chance.choice(lifetimes)
    monitored = lifetime != "scope"
    code = chance.choice((0, 1, 2, 126, 127, 128, 137, 255, chance.randrange(256)))
    lines = chance.choice((0, 0, 1, 7, 300))
    gate: Any = chance.choice(("none", "pipe", "monitor") if monitored else ("none", "pipe"))
    life = Life(name, lifetime, code, lines, gate, removal=chance.choice(REMOVALS), delay=chance.uniform(0, 0.4) ** 2)
    if gate == "none":
        end: Any = chance.choice(("itself",) * 4 + ("time",)) if monitored else "itself"
        prey: Any = chance.choice(("", "", "", "init", "monitor")) if monitored and end == "itself" else ""
        return life._replace(end=end, prey=prey)
    deeds = tuple(chance.sample(DEEDS, chance.randrange(4)))
    ends = ("itself",) * 5 + ("kill", "paused kill", "init", "init") + (("monitor", "monitor") if monitored else ())
    life = life._replace(deeds=deeds, end=chance.choice(ends))  # type: ignore[arg-type]
    if life.end == "itself" and chance.random() < 0.25:
        return life._replace(prey="init" if not monitored or chance.random() < 0.5 else "monitor")
    return life


class _Living:
    """A container at work."""

    def __init__(self, life: Life, place: Place, hunter: Hunter) -> None:
        self.life, self.place, self.hunter = life, place, hunter
        self.faults: list[str] = []
        self.container: runtime.Container

    def create(self) -> runtime.Container:
        """Create it, in one of the ways that there are."""
        life = self.life
        stdin: Stream = "null" if life.gate == "none" else life.gate
        timeout = {"time": SHORT, "itself": 1000.0 if life.code % 2 else None}.get(life.end)
        output: Stream = "monitor" if life.monitored else "null"
        return runtime.create(
            self.place.root, life.name, self.place.bundle, spec=self.place.make_spec(*life.program),
            lifetime=life.lifetime, stdin=stdin, stdout=output, stderr=output,
            options=CreateOptions(timeout=timeout if life.monitored else None),
        )  # fmt: skip

    def expect(self, what: str, found: object, expected: object) -> None:
        """Note what is not as it has to be."""
        if found != expected:
            self.faults.append(f"{what}: expected {expected!r}, found {found!r}")

    def do_exec(self) -> None:
        """Run a further process."""
        number = self.life.code ^ 5
        command = ["sh", "-c", f"echo {self.life.name}; exit {number}"]
        with self.container.exec(command, stdin="null", stdout="pipe", stderr="null") as process:
            completed = process.communicate(timeout=PATIENCE)
        if not self.life.prey:
            self.expect("exec", (completed.exit_code, completed.stdout), (number, f"{self.life.name}\n".encode()))

    def do_pause(self) -> None:
        """Freeze it, and thaw it."""
        self.container.pause()
        self.expect("status when paused", self.container.status(), Status.PAUSED)
        self.container.resume()

    def do_attach(self) -> None:
        """Be attached for a moment."""
        if self.life.monitored:
            with self.container.attach() as attachment:
                self.expect("writable", attachment.writable, self.life.gate == "monitor")

    def do_load(self) -> None:
        """Go on with another object of it; the first one is forgotten, unless the container would go with it."""
        again = runtime.load(self.place.root, self.life.name)
        again.stdin, self.container.stdin = self.container.stdin, None
        self.container = again

    def do_stats(self) -> None:
        """Look at what it uses."""
        self.container.stats()

    def do_ps(self) -> None:
        """Look at its processes."""
        found = self.container.processes()
        if self.container.pid not in found and not self.life.prey:
            self.faults.append(f"processes: {self.container.pid} is not in {found}")

    def open_gate(self) -> None:
        """Give the word that the program waits for."""
        if self.life.gate == "monitor":
            if self.life.end == "monitor":
                return  # the end of the pipe does
            with self.container.attach() as attachment:
                attachment.write(b"word\n")
        elif self.container.stdin is not None and not self.container.stdin.closed:
            self.container.stdin.write(b"word\n")
            self.container.stdin.close()

    def bring_to_end(self) -> None:
        """Do what ends it."""
        container, end = self.container, self.life.end
        if end in {"init", "monitor"}:
            self.hunter.kill(container, end)
        if end == "paused kill":
            container.pause()
        if end in {"kill", "paused kill"}:
            container.kill()
        elif self.life.gate != "none" and end != "init":
            self.open_gate()

    def go_through(self) -> None:
        """Live."""
        self.container.start()
        for deed in self.life.deeds:
            getattr(self, f"do_{deed}")()
        self.bring_to_end()

    def check_log(self, *, whole: bool) -> None:
        """Compare the log with what the program wrote."""
        for stream, word in (("stdout", "out"), ("stderr", "err")):
            with self.container.logs(stream=stream) as log:  # type: ignore[arg-type]
                found = [line.text for line in log]
            written = [f"{word}-{number}" for number in range(self.life.lines)]
            if found != written and (whole or found != written[: len(found)]):
                self.faults.append(f"log of {stream}: {len(found)} lines of {len(written)}, the last {found[-1:]}")

    def remove(self) -> None:
        """Remove it, in one of the ways that there are."""
        if self.life.removal == "stop":
            report = runtime.stop_and_remove(self.place.root, prefix=self.life.name)
            if report.failed:
                self.faults.append(f"stop_and_remove: {report.failed}")
        elif self.life.removal == "load":
            runtime.load(self.place.root, self.life.name).destroy(force=True)
        self.container.destroy(force=True)

    def after_the_end(self, status: ExitStatus, killed: str) -> None:
        """Compare how it ended with how it had to."""
        life = self.life
        allowed: set[tuple[int | None, int | None]] = {life.ending}
        if killed == "init":
            allowed.add((None, signal.SIGKILL))
        if "monitor" in {killed, life.end} and not self.hunter.kernel_tells:
            allowed.add((None, None))
        if tuple(status[:2]) not in allowed:
            self.faults.append(f"ended with {tuple(status[:2])}, expected one of {sorted(map(str, allowed))}")
        self.expect("timed out", status.timed_out, life.end == "time")
        whole = life.ending[0] is not None and not killed and life.end != "monitor"
        if life.monitored:
            self.check_log(whole=whole)


def live(life: Life, place: Place, hunter: Hunter) -> Outcome:
    """Let a container live its life, and remove it.

    Args:
        life: What it is to do.
        place: Where it is.
        hunter: Kills its prey in the meantime.
    """
    living = _Living(life, place, hunter)
    status: ExitStatus | None = None
    killed, errors = "", list[str]()
    with contextlib.ExitStack() as stack:
        try:
            living.container = living.create()
            if life.lifetime == "scope":
                stack.enter_context(living.container)
            lookout = hunter.look_out(living.container, life.prey, life.delay)
            with lookout:
                try:
                    living.go_through()
                except (OCIKitError, OSError) as error:
                    if not life.prey:
                        raise
                    errors.append(f"{type(error).__name__}: {error}")
                    _finish(living)
                status = living.container.wait(PATIENCE)
            killed = lookout.killed
            if errors and not killed:
                living.faults.append(f"nobody was killed, and yet: {errors[0]}")
            living.after_the_end(status, killed)
            living.remove()
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs into the report
            living.faults.append(describe(error))
            stack.callback(_end, place, life.name)
    return Outcome(life, status, killed, tuple(living.faults), tuple(errors))


def describe(error: BaseException) -> str:
    """Say what an error is and where it came from."""
    import traceback  # noqa: PLC0415 - for errors only

    frames = traceback.extract_tb(error.__traceback__)[-4:]
    where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__}: {error} ({where})"


def _finish(living: _Living) -> None:
    """End a container whose life was cut short by the hunter: what it still waits for does not come."""
    with contextlib.suppress(OCIKitError, OSError):
        if living.container.status() is Status.PAUSED:
            living.container.resume()
    with contextlib.suppress(OCIKitError, OSError):
        living.container.start()  # the hunter may have been faster than this
    with contextlib.suppress(OCIKitError, OSError):
        if living.life.gate != "none":
            living.open_gate()


def _end(place: Place, name: str) -> None:
    with contextlib.suppress(OCIKitError):
        runtime.load(place.root, name).destroy(force=True)
