"""A registry that somebody else wrote, on loopback, for as long as a test needs it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
import urllib.request
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["running_registry"]


@contextlib.contextmanager
def running_registry(program: str, place: Path) -> Iterator[str]:
    """Run docker-registry for the length of a ``with`` block; give its address.

    Args:
        program: Where it is.
        place: A directory for its configuration and what it keeps.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (place / "registry.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: {address}}}\n"
        f"storage: {{filesystem: {{rootdirectory: {place}/registry}}}}\n"
    )
    command = [program, "serve", str(place / "registry.yml")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{address}/v2/"):
                break
            assert process.poll() is None
            time.sleep(0.05)
        yield address
    finally:
        process.kill()
        process.wait()
