"""runc beside us, on one state root."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Runc:
    """The command line of runc on one state root."""

    def __init__(self, program: str, root: Path) -> None:
        self.program = program
        self.root = root

    def __call__(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one command; what init inherits must not keep a pipe of ours open."""
        log = self.root.parent / "runc.log"
        with log.open("w+") as output:
            done = subprocess.run(
                [self.program, "--root", str(self.root), *args],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False, timeout=60,
            )  # fmt: skip
        text = log.read_text()
        if check:
            assert done.returncode == 0, text
        return subprocess.CompletedProcess(done.args, done.returncode, text, "")

    def status(self, container_id: str) -> str:
        """Return what runc says that a container is doing."""
        return str(json.loads(self("state", container_id).stdout)["status"])

    def create(self, container_id: str, bundle: Path) -> None:
        """Create a container."""
        self("create", "--bundle", str(bundle), container_id)
