"""What engines that call ocikit as their runtime have in common."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["RUNTIME", "Engine", "remove_cgroup", "wait_for"]

#: The command line of ocikit, beside the Python that runs the tests.
RUNTIME = Path(sys.executable).with_name("ocikit-runtime")


class Engine:
    """The command line of an engine."""

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        self._command = command
        self._environment = {**os.environ, **environment}

    def __call__(self, *arguments: str, code: int = 0, stdin: str = "") -> str:
        """Run one command, which has to exit with a code, and return its standard output."""
        done = subprocess.run(
            [*self._command, *arguments],
            env=self._environment, input=stdin, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{arguments}: {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout


def wait_for(look: Callable[[], str], text: str) -> str:
    """Return what is seen once a text is in it."""
    deadline = time.monotonic() + 30
    while text not in (seen := look()):
        assert time.monotonic() < deadline, f"no {text!r} in {seen!r}"
        time.sleep(0.05)
    return seen


def remove_cgroup(name: str) -> None:
    """Remove a cgroup with which an engine keeps its containers together; engines leave it."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if line.partition(" - ")[2].startswith("cgroup"):
            for directory, _, _ in os.walk(Path(line.split(" ")[4]) / name, topdown=False):
                os.rmdir(directory)
