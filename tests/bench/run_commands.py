"""What starts with a process: the command line, and a first container: ``run_commands.py [ROUNDS]``. As root.

Beside each stands what starting Python costs without us; that cannot be less. All of it happens in an environment that
has this tree as others install it.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from bundles import make_bundle
from installation import install
from measuring import Line, Row, Work, alternate, main, run_command, timed

from ocikit import runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAME = f"ocikit-bench-{os.getpid()}"

#: A container that is left created, by a process that ends without an end.
FIRST_CREATE = """\
import ocikit
from ocikit import runtime
container = runtime.create({root!r}, {name!r}, {bundle!r}, stdin="null")
os._exit(0)
"""
ATTRS_AND_JSON = "import attrs, json; os._exit(0)"


def _environment() -> dict[str, str]:
    """Return what commands get: nothing that has Python look elsewhere, or not keep what it compiles."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@contextlib.contextmanager
def nothing_left(root: Path) -> Iterator[None]:
    """Remove what a command that failed has left in a state root."""
    try:
        yield
    except BaseException:
        runtime.stop_and_remove(root, prefix=NAME, timeout=0)
        raise


def of_the_command_line(work: Work, programs: Path) -> list[Line]:
    """The words of the OCI command line, each a process of its own, by the script that an installation makes."""
    ended = make_bundle(work.place("words") / "ended", "true")
    running = make_bundle(work.directory / "words/running", "sleep", "100000")
    root = work.states / "words"

    def word(*words: str | Path) -> float:
        return timed(lambda: run_command([programs / "ocikit-runtime", "--root", root, *words], env=_environment()))

    def delete() -> float:
        container = runtime.create(root, f"{NAME}-ended", ended, stdin="null", lifetime="detached")
        container.start()
        container.wait()
        return word("delete", container.id)

    def create() -> float:
        taken = word("create", "--bundle", ended, f"{NAME}-created")
        runtime.load(root, f"{NAME}-created").destroy(force=True)
        return taken

    bare = [str(programs / "python"), "-I", "-S", "-c", "import json"]
    with runtime.create(root, NAME, running, stdin="null") as container:
        container.start()
        takers: dict[str, Callable[[], float]] = {
            "bare": lambda: timed(lambda: run_command(bare)),
            "state": lambda: word("state", NAME),
            "kill": lambda: word("kill", NAME, "CONT"),
            "delete": delete,
            "create": create,
        }
        with nothing_left(root):
            found = alternate(work, takers)
    goals = {"state": (15, 5), "kill": (15, 5), "delete": (15, 5), "create": (120, 60)}
    return [
        Row(
            name=f"ocikit-runtime {name}: python3 importing json",
            ours=found[name],
            peer=found["bare"],
            kind="excess",
            target=target,
            stretch=stretch,
        )
        for name, (target, stretch) in goals.items()
    ]


def of_imports(work: Work, programs: Path) -> list[Line]:
    """Fresh processes: one that imports us, and one that goes on to create a container."""
    bundle = make_bundle(work.place("fresh") / "bundle", "true")
    root = work.states / "fresh"

    def taken(program: str) -> float:
        command = [str(programs / "python"), "-I", "-c", f"import os\n{program}"]
        return timed(lambda: run_command(command, env=_environment()))

    def first_create() -> float:
        name = f"{NAME}-first"
        found = taken(FIRST_CREATE.format(root=str(root), name=name, bundle=str(bundle)))
        runtime.load(root, name).destroy(force=True)
        return found

    takers: dict[str, Callable[[], float]] = {
        "bare": lambda: taken(""),
        "import": lambda: taken("import ocikit"),
        "attrs and json": lambda: taken(ATTRS_AND_JSON),
        "create": first_create,
    }
    with nothing_left(root):
        found = alternate(work, takers)
    return [
        Row(
            name="import ocikit: a bare interpreter",
            ours=found["import"],
            peer=found["bare"],
            kind="excess",
            target=10,
        ),
        Row(
            name="a process up to its first create: one that imports attrs and json",
            ours=found["create"],
            peer=found["attrs and json"],
            target=2,
            stretch=1.5,
        ),
    ]


def lines(work: Work) -> list[Line]:
    """Return all of it."""
    programs = install(work.place("installed"))
    return [*of_the_command_line(work, programs), *of_imports(work, programs)]


if __name__ == "__main__":
    main(__doc__, lines)
