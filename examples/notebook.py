"""What a notebook shows of containers, as a page: a container, its processes, what it used, and how it ended.

``python examples/notebook.py IMAGE PAGE``, as root; IMAGE is a reference such as ``oci-archive:busybox.tar.gz``, PAGE
the path of the HTML file that is written. A notebook needs nothing of this: it shows what stands last in a cell.
"""

from __future__ import annotations

import html
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import ocikit
from ocikit import image, runtime
from ocikit.spec import LinuxMemory, LinuxResources

PREFIX = f"ocikit-notebook-{os.getpid()}-"
REF_NAME = "org.opencontainers.image.ref.name"

# Waits, takes some memory, works with one process and with two, and ends.
WORK = """
count() { i=0; while [ $i -lt $1 ]; do i=$((i+1)); done; }
sleep 0.5; kept=$(head -c 8000000 /dev/zero | tr '\\0' x)
sleep 0.5; count 400000
kept=; count 400000 & count 400000; wait
sleep 0.5; exit 3
"""

STYLE = """
:root { color-scheme: light dark }
body { font: 15px system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }
pre { opacity: .75; border-left: 3px solid #8884; padding-left: .8em; margin-top: 1.6em }
"""


class Page:
    """What was asked, and what was shown: cells of a notebook."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def show(self, cell: str, value: Any) -> None:  # noqa: ANN401 - whatever can show itself
        """Add a cell: its code, and what its last line is shown as."""
        self.parts += [f"<pre>{html.escape(cell)}</pre>", value._repr_html_()]

    def write(self, path: Path) -> None:
        """Write the page."""
        head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>ocikit</title><style>{STYLE}</style>'
        path.write_text("\n".join([head, *self.parts, "</html>\n"]), encoding="utf-8")


def main(work: Path, reference: str, page: Page) -> None:
    """Run a container, and show it before, meanwhile and afterwards."""
    policy = image.Policy.insecure_accept_anything()
    bundle = ocikit.bundle.create(
        reference, work / "bundle", policy=policy, args=["sh", "-c", WORK], annotations={REF_NAME: reference}
    )
    spec = bundle.spec.with_linux(resources=LinuxResources(memory=LinuxMemory(limit=64 << 20)))
    state = work / "state"
    with runtime.create(state, f"{PREFIX}work", bundle, spec=spec, stdin="null") as container:
        page.show("container", container)
        container.start()
        history = container.sample(1.5, 0.05)
        processes = container.ps()
        page.show("container.ps()", processes)
        page.show("container.stats()", container.stats())
        container.sample(None, 0.05, history=history)
        page.show("container.sample(None, 0.05)", history)
        page.show("container.wait()", container.wait())
        page.show("runtime.list_containers(root)", runtime.list_containers(state))
        page.show("runtime.stop_and_remove(root, prefix=prefix)", runtime.stop_and_remove(state, prefix=PREFIX))
    # In a terminal the same things are text.
    print(processes)
    print(history)


if __name__ == "__main__":
    shown = Page()
    with tempfile.TemporaryDirectory(prefix="ocikit-notebook-") as directory:
        main(Path(directory), sys.argv[1], shown)
    shown.write(Path(sys.argv[2]))
