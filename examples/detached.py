"""A container that outlives the process that made it: logged, attached to, and ended by another one.

``python examples/detached.py IMAGE``, as root; IMAGE is a reference such as ``oci-archive:busybox.tar.gz``. The program
calls itself: one process makes the container and is gone, the next one finds it and works with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import ocikit
from ocikit import image, runtime

SCRIPT = "echo ready; while read line; do echo got $line; done; echo bye >&2; exit 3"


def begin(work: Path, container_id: str, reference: str) -> None:
    """Make and start a container, and go."""
    policy = image.Policy.insecure_accept_anything()
    bundle = ocikit.bundle.create(reference, work / "bundle", policy=policy, args=["sh", "-c", SCRIPT])
    options = runtime.CreateOptions(log=runtime.LogOptions(max_bytes=1 << 20, max_files=2), timeout=600)
    container = runtime.create(
        work / "state", container_id, bundle, lifetime="detached", stdin="monitor", options=options
    )
    container.start()


def work_with(work: Path, container_id: str) -> None:
    """Find the container that somebody made; talk to it, see it to its end, and read what it wrote."""
    container = runtime.load(work / "state", container_id)
    print(f"found: {container.status()}")
    with container.attach() as attachment:
        attachment.write(b"hello\n")
        answer = next(chunk for chunk in attachment if b"got" in chunk.data)
        print(f"answered on {answer.stream}: {answer.data.decode().strip()}")
        attachment.close_stdin()
        for chunk in attachment:  # to the end of the container
            print(f"then on {chunk.stream}: {chunk.data.decode().strip()}")
    status = container.wait(timeout=30)
    print(f"ended: exit code {status.exit_code}, out of memory: {status.oom}, timed out: {status.timed_out}")
    for line in container.logs():
        print(f"logged: {line.stream}: {line.text}")
    container.destroy()


def main(work: Path, reference: str) -> None:
    """Have one process begin, and another go on."""
    container_id = f"ocikit-detached-{os.getpid()}"
    subprocess.run([sys.executable, __file__, "begin", str(work), container_id, reference], check=True)
    work_with(work, container_id)


if __name__ == "__main__":
    if sys.argv[1] == "begin":
        begin(Path(sys.argv[2]), *sys.argv[3:])
    else:
        with tempfile.TemporaryDirectory(prefix="ocikit-detached-") as directory:
            main(Path(directory), sys.argv[1])
