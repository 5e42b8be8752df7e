"""Jobs in containers, side by side in one event loop.

Each job is a command in a container of its own. While they run, what happens to each is told, and one is looked into.
A job that takes too long, or too much memory, is no reason for the others to stop.

``python examples/asyncio_jobs.py IMAGE``, as root; IMAGE is a reference such as ``oci-archive:busybox.tar.gz``.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import ocikit
from ocikit import image, runtime
from ocikit.runtime import aio
from ocikit.runtime.events import Exited, OutOfMemory
from ocikit.spec import LinuxResources

if TYPE_CHECKING:
    from ocikit.bundle import Bundle

MEMORY = 16 << 20

JOBS = {
    "quick": "echo quick",
    "slow": "sleep 600",
    "greedy": "a=x; while :; do a=$a$a; done",
    "asked": "while ! test -e /tmp/answer; do sleep 0.05; done; cat /tmp/answer",
}


class Jobs:
    """Jobs of one image."""

    def __init__(self, work: Path, bundle: Bundle) -> None:
        self.root = work / "state"
        self.bundle = bundle

    async def run(self, name: str, script: str) -> None:
        """Run one job, and tell what happens to it."""
        limits = LinuxResources.from_dict({"memory": {"limit": MEMORY, "swap": MEMORY}})
        spec = self.bundle.spec.with_process(args=("sh", "-c", script)).with_linux(resources=limits)
        container = await aio.create(
            self.root, f"ocikit-{os.getpid()}-{name}", self.bundle, spec=spec, stdin="null", stdout="pipe"
        )
        try:
            async with (
                aio.events(container) as events,
                await aio.streams(container) as streams,
                asyncio.TaskGroup() as group,
            ):
                assert streams.stdout is not None
                output = group.create_task(streams.stdout.read())
                await aio.start(container)
                if name == "asked":
                    await self.answer(container)
                group.create_task(self.limit(name, container))
                async for event in events:
                    if isinstance(event, OutOfMemory):
                        print(f"{name}: out of memory")
                    elif isinstance(event, Exited):
                        print(f"{name}: {describe(event.status)}, said {(await output).decode().strip()!r}")
        finally:
            await aio.destroy(container, force=True)

    async def limit(self, name: str, container: runtime.Container) -> None:
        """End a job that takes too long."""
        try:
            await aio.wait(container, timeout=10 if name != "slow" else 1)
        except TimeoutError:
            print(f"{name}: takes too long")
            container.kill()

    async def answer(self, container: runtime.Container) -> None:
        """Write a file inside a container that waits for it."""
        async with await aio.exec(
            container, ["sh", "-c", "cat > /tmp/x; mv /tmp/x /tmp/answer"], stdin="pipe"
        ) as process:
            await process.communicate(b"forty-two\n", timeout=30)


def describe(status: runtime.ExitStatus) -> str:
    """Return the end of a job in words."""
    return f"exit code {status.exit_code}" if status.signal is None else f"ended by signal {status.signal}"


async def main(work: Path, reference: str) -> None:
    """Run all jobs at once."""
    policy = image.Policy.insecure_accept_anything()
    bundle = await asyncio.to_thread(ocikit.bundle.create, reference, work / "bundle", policy=policy)
    jobs = Jobs(work, bundle)
    async with asyncio.TaskGroup() as group:
        for name, script in JOBS.items():
            group.create_task(jobs.run(name, script))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="ocikit-jobs-") as directory:
        asyncio.run(main(Path(directory), sys.argv[1]))
