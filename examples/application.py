"""The life of an application that brings its tools along as images.

At start it imports every image of a directory, under its own policy, and makes a bundle of each. While it works it runs
them, several at a time. When it is told to stop, or an exception ends it, everything with its prefix is stopped and
removed: what it started, and what a crash of an earlier life left.

``python examples/application.py IMAGES WORK``, as root. IMAGES holds archives and
layouts, WORK is the application's own.
"""

from __future__ import annotations

import logging
import signal
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import ocikit
from ocikit import image, runtime

if TYPE_CHECKING:
    from types import FrameType

PREFIX = "example_app_"  # and a number that stands for the directory: another one is another application
POLICY = b"""
{
  "default": [{"type": "reject"}],
  "transports": {
    "oci": {"": [{"type": "insecureAcceptAnything"}]},
    "oci-archive": {"": [{"type": "insecureAcceptAnything"}]}
  }
}
"""


class Application:
    """Tools in containers."""

    def __init__(self, images: Path, work: Path) -> None:
        self.state_root = work / "state"
        self.prefix = f"{PREFIX}{zlib.crc32(bytes(work.resolve())):08x}_"
        # What a crash left is in the way of the ids and names of this life.
        runtime.stop_and_remove(self.state_root, prefix=self.prefix, timeout=1)
        policy = image.Policy.from_bytes(POLICY)
        imported = image.import_directory(images, policy=policy, dest=work / "layouts", on_error="continue")
        for failed in imported.failed:
            print(f"not imported: {failed.error}")
        self.bundles = {}
        for one in imported.imported:
            assert one.reference is not None
            name = one.source.name.split(".")[0]
            bundle = work / "bundles" / name
            self.bundles[name] = ocikit.bundle.create(
                one.reference, bundle, policy=policy, args=["cat", "/proc/self/cgroup"]
            )

    def use(self, name: str, number: int) -> str:
        """Run a tool once; return what it printed."""
        done = runtime.run(self.state_root, f"{self.prefix}{name}_{number}", self.bundles[name], timeout=30)
        if done.exit_code != 0:
            raise RuntimeError(f"{name}: exit code {done.exit_code}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode()

    def keep(self, name: str) -> None:
        """Start a tool that goes on by itself, beyond the end of this program if need be."""
        bundle = self.bundles[name]
        spec = bundle.spec.with_process(args=("sleep", "600"))
        kept = runtime.create(self.state_root, f"{self.prefix}{name}_kept", bundle, spec=spec, lifetime="detached")
        kept.start()

    def close(self) -> None:
        """Stop and remove all that is ours."""
        report = runtime.stop_and_remove(self.state_root, prefix=self.prefix, timeout=2)
        for outcome in report:
            print(f"{outcome.id}: {outcome.result}{' (killed)' if outcome.killed else ''}")


class Stop:
    """What a signal asks for: once, it ends the work; what is cleared away after that, no further one interrupts.

    Python drops an exception that a handler raises within a finalizer, so the exception is only the quick way: what the
    work looks at is ``number``.
    """

    def __init__(self) -> None:
        self.number = 0
        self.working = True
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._told)

    def _told(self, number: int, _frame: FrameType | None) -> None:
        first, self.number = not self.number, number
        if first and self.working:
            raise SystemExit(128 + number)


def main(images: Path, work: Path) -> int:
    """Live; return the exit code."""
    logging.basicConfig(level=logging.WARNING)
    stop = Stop()
    application = Application(images, work)
    try:
        for name in application.bundles:
            if stop.number:
                break
            application.keep(name)
            with ThreadPoolExecutor(4) as pool:
                outputs = list(pool.map(lambda number, name=name: application.use(name, number), range(8)))
            print(f"{name}: {len(outputs)} runs, the last in {outputs[-1].split(':')[-1].strip()}")
    finally:
        stop.working = False
        application.close()
    return 128 + stop.number if stop.number else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
