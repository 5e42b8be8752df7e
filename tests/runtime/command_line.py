"""Our command line as a program, on one state root."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

#: How the command is started, whatever is installed.
PROGRAM = (sys.executable, "-m", "ocikit.runtime")


class CommandLine:
    """The command line of ocikit on one state root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def words(self, *args: str) -> list[str]:
        """Return the words of a command."""
        return [*PROGRAM, "--root", str(self.root), *args]

    def __call__(
        self, *args: str, cwd: Path | None = None, stdin: int = subprocess.DEVNULL, stdout: IO[str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run one command; what init inherits must not keep a pipe of ours open."""
        out, err = self.root.parent / "ocikit.out", self.root.parent / "ocikit.err"
        with out.open("w+") as output, err.open("w+") as errors:
            done = subprocess.run(
                self.words(*args), stdin=stdin, stdout=stdout or output, stderr=errors, cwd=cwd, check=False, timeout=60
            )
        return subprocess.CompletedProcess(done.args, done.returncode, out.read_text(), err.read_text())

    def works(
        self, *args: str, cwd: Path | None = None, stdin: int = subprocess.DEVNULL, stdout: IO[str] | None = None
    ) -> str:
        """Run one command, which has to succeed, and return what it wrote."""
        done = self(*args, cwd=cwd, stdin=stdin, stdout=stdout)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def state(self, container_id: str) -> dict[str, Any]:
        """Return what ``state`` prints."""
        found: dict[str, Any] = json.loads(self.works("state", container_id))
        return found

    def status(self, container_id: str) -> str:
        """Return what a container is doing."""
        return str(self.state(container_id)["status"])
