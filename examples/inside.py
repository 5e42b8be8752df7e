"""Work inside a container that runs: commands with input and output, and a shell at a terminal.

``python examples/inside.py IMAGE``, as root; IMAGE is a reference such as ``oci-archive:busybox.tar.gz``. Instead of
``create``, ``runtime.load(ROOT, ID)`` would find a container that somebody else made, runc among them.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import ocikit
from ocikit import image, runtime


def use(container: runtime.Container) -> None:
    """Run a command; feed it, and read what it says."""
    with container.exec(["wc", "-l"], stdin="pipe", stdout="pipe", stderr="pipe") as process:
        done = process.communicate(b"one\ntwo\n", timeout=30)
    print(f"lines: {done.stdout.decode().strip()}, exit code {done.exit_code}")


def read_lines(container: runtime.Container) -> None:
    """Read a command's output as it comes."""
    with container.exec(["seq", "3"], env={"LANG": "C"}, cwd="/etc", stdout="pipe") as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(f"counted: {line.decode().strip()}")
        print(f"ended: {process.wait(timeout=30).exit_code}")


def type_in(container: runtime.Container) -> None:
    """Type into a shell that has a terminal; what it shows has our typing in it."""
    with container.exec(["sh"], terminal=True) as process:
        console = process.console
        assert console is not None
        console.resize(rows=40, columns=120)
        typed = b"stty size; tty; exit 3\n"
        while typed:
            typed = typed[console.write(typed) :]
        shown = b""
        while piece := console.read():  # nothing at the end
            shown += piece
        print("\n".join(f"| {line}" for line in shown.decode().splitlines()))
        print(f"the shell: {process.wait(timeout=30).exit_code}")


def main(work: Path, reference: str) -> None:
    """Make a container that waits, and work in it."""
    policy = image.Policy.insecure_accept_anything()
    bundle = ocikit.bundle.create(reference, work / "bundle", policy=policy, args=["sleep", "600"])
    with runtime.create(work / "state", f"ocikit-inside-{os.getpid()}", bundle, stdin="null") as container:
        container.start()
        use(container)
        read_lines(container)
        type_in(container)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="ocikit-inside-") as directory:
        main(Path(directory), sys.argv[1])
