"""podman with a store of its own, and its service, which answers for Docker's API."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

SETTINGS = """
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
"""


class Podman:
    """A store that is removed at the end of a ``with`` block.

    Args:
        program: podman.
    """

    def __init__(self, program: str) -> None:
        # podman refuses a run root whose path is longer than 50 characters, and sockets have paths of 108 at most.
        self._place = tempfile.TemporaryDirectory(prefix="ocikit-", dir="/tmp")
        self.path = Path(self._place.name)
        (self.path / "containers.conf").write_text(SETTINGS)
        places = [f"--{name}={self.path / name}" for name in ("root", "runroot", "tmpdir")]
        self._command = [program, *places, "--storage-driver=vfs"]
        self._environment = os.environ | {
            "CONTAINERS_CONF": str(self.path / "containers.conf"),
            "TMPDIR": str(self.path),
        }

    def __call__(self, *arguments: str) -> str:
        """Run podman; return what it prints, errors too."""
        done = subprocess.run(
            [*self._command, *arguments], check=False, capture_output=True, text=True, env=self._environment
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def images(self) -> list[str]:
        """Return the id and the name of each image, sorted."""
        shown = self("images", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}")
        return sorted(line for line in shown.split("\n") if line)

    @contextlib.contextmanager
    def service(self) -> Iterator[str]:
        """Serve the API; give its address."""
        place = self.path / "api.sock"
        command = [*self._command, "system", "service", "--time=0", f"unix://{place}"]
        # Into a file: into a pipe that nobody reads it would say so much, and then wait for ever.
        said = self.path / "service.log"
        with said.open("wb") as log:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, env=self._environment)
        try:
            _wait_for(place, process, said)
            yield f"unix://{place}"
        finally:
            process.terminate()
            process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._place.cleanup()


def _wait_for(place: Path, process: subprocess.Popen[bytes], said: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as tried:
            tried.connect(str(place))
            return
        assert process.poll() is None, said.read_text(errors="replace")
        assert time.monotonic() < deadline, "podman does not serve"
        time.sleep(0.05)
