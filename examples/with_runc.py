"""A warden beside runc: it looks after containers that another program makes, and makes none itself.

The other program knows nothing of ocikit. What it wants for its containers it writes in their annotations:

========================= ==========================================================================
``example.warden.memory`` how many bytes they may use
``example.warden.check``  a command for the shell of the container that ends well while all is well
========================= ==========================================================================

A container that is not well is paused, for somebody to look at it. The end of the warden is not the end of any of them.

``python examples/with_runc.py [ROOT [SECONDS]]``, as root: one round through the containers of a state root, /run/runc
if it is not named; with SECONDS a round every so often, until the warden is told to stop.
"""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING

from ocikit import runtime
from ocikit.errors import BundleError, NotExistError, NotRunningError, OCIKitError, RunTimeoutError, SetupError
from ocikit.spec import LinuxMemory, LinuxResources

if TYPE_CHECKING:
    from types import FrameType

MEMORY = "example.warden.memory"
CHECK = "example.warden.check"
CHECK_SECONDS = 10.0


def limit(container: runtime.Container, size: int) -> None:
    """Limit the memory of a container, unless that is so already."""
    memory = container.stats().memory
    if memory is not None and memory.memory.limit != size:
        # All or nothing. It stands in state.json, too: an update by runc goes on from there.
        container.update(LinuxResources(memory=LinuxMemory(limit=size)))
        print(f"{container.id}: limited to {size} bytes")


def complaint(container: runtime.Container, command: str) -> str:
    """Run the check of a container inside of it; return what is wrong."""
    try:
        # With the namespaces, the user, the capabilities and the seccomp filter that runc gave the container.
        process = container.exec(["/bin/sh", "-c", command], stdin="null", stdout="pipe", stderr="stdout")
    except (SetupError, BundleError) as error:
        return f"the check cannot be run: {error}"
    with process:
        try:
            done = process.communicate(timeout=CHECK_SECONDS)
        except RunTimeoutError:
            return f"the check takes more than {CHECK_SECONDS:g} seconds"
    return "" if done.exit_code == 0 else done.stdout.decode(errors="replace").strip() or f"exit code {done.exit_code}"


def look_after(container: runtime.Container) -> None:
    """Do for a container what its annotations ask for."""
    asked = container.annotations
    status = container.status()
    if status is not runtime.Status.RUNNING:
        print(f"{container.id}: {status}")
        return
    if MEMORY in asked:
        limit(container, int(asked[MEMORY]))
    wrong = complaint(container, asked[CHECK]) if CHECK in asked else ""
    if wrong:
        container.pause()
        print(f"{container.id}: paused: {wrong}")
        return
    pids = container.stats().pids
    print(f"{container.id}: well, with {pids.current if pids is not None else len(container.processes())} processes")


def go_round(root: str | None) -> None:
    """Look after every container there is."""
    for container in runtime.list_containers(root):
        try:
            look_after(container)
        except (NotExistError, NotRunningError):
            print(f"{container.id}: gone meanwhile")  # its owner goes on while we are looking
        except (OCIKitError, ValueError) as error:
            print(f"{container.id}: {error}")


def _stop(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main(root: str | None = None, seconds: str = "") -> None:
    """Go round, once or for ever."""
    signal.signal(signal.SIGTERM, _stop)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # as a service, it writes to a pipe
    go_round(root)
    while seconds:
        time.sleep(float(seconds))
        go_round(root)


if __name__ == "__main__":
    main(*sys.argv[1:])
