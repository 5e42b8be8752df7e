"""The main job, step by step: an image comes in, is unpacked, runs, is watched, signalled and removed.

``python examples/demo.py [REFERENCE]``, as root. Without a reference, busybox of this machine is packed as a compressed
OCI archive and used. Everything is made below one temporary directory, and nothing is left.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pack_busybox import pack

import ocikit
from ocikit import image, runtime
from ocikit.spec import LinuxMemory, Spec

if TYPE_CHECKING:
    from collections.abc import Iterator

# Cgroups are named after the id, for the whole machine: another demo may be running.
PREFIX = f"ocikit-demo-{os.getpid()}-"
MEMORY_LIMIT = 64 << 20

# Nothing but a shell and /proc is asked of the image.
LOOK_AROUND = """
echo "process     $$"
read -r name < /proc/sys/kernel/hostname; echo "host name   $name"
while read -r device where type options; do
  case $where in /|/proc|/dev|/sys|/sys/fs/cgroup) echo "mount       $where ($type)";; esac
done < /proc/mounts
for limit in /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max; do
  [ -e $limit ] && read -r bytes < $limit && echo "memory      $bytes bytes"
done
while read -r key value; do
  case $key in Uid:|CapEff:|NoNewPrivs:) echo "$key $value";; esac
done < /proc/self/status
"""

WAIT_FOR_SIGNAL = "trap 'echo got SIGTERM; exit 7' TERM; echo ready; while :; do sleep 0.1; done"


@contextmanager
def step(what: str) -> Iterator[None]:
    """Print what is done and how long it took."""
    began = time.perf_counter()
    yield
    print(f"{(time.perf_counter() - began) * 1000:9.1f} ms  {what}")


def limited(spec: Spec) -> Spec:
    """Give a configuration a memory limit."""
    return spec.with_resources(memory=LinuxMemory(limit=MEMORY_LIMIT))


def left_behind(work: Path) -> list[str]:
    """Return what is still there of what the demo made outside of its directory."""
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {work}" in line]
    cgroups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/{PREFIX}*")]
    return mounts + cgroups


def main(work: Path, source: str | None) -> None:
    """Do the main job in the directory ``work``."""
    root = work / "run"
    policy = image.Policy.insecure_accept_anything()
    if source is None:
        with step("pack busybox as a compressed OCI archive"):
            source = f"oci-archive:{pack(work / 'busybox.tar.gz')}"
    layout = f"oci:{work / 'images'}:demo"
    with step(f"import {source} into a layout, under a policy, verified"):
        copied = image.copy.image(policy, dest=layout, src=source)
    print(f"{'':12}  manifest {copied.digest}")
    with step("unpack it: a bundle with a root file system and a config.json"):
        bundle = ocikit.bundle.create(
            layout,
            work / "bundle",
            policy=policy,
            args=["sh", "-c", LOOK_AROUND],
            hostname="demo",
            spec_hook=limited,
        )
    with step("run it to its end"):
        done = runtime.run(root, f"{PREFIX}look", bundle)
    print("\n".join(f"{'':12}  | {line}" for line in done.stdout.decode().splitlines()))
    print(f"{'':12}  exit code {done.exit_code}")

    waiting = bundle.spec.with_process(args=("sh", "-c", WAIT_FOR_SIGNAL))
    with ExitStack() as stack:
        with step("create a second one: set up, nothing of it executed"):
            container = stack.enter_context(
                runtime.create(
                    root,
                    f"{PREFIX}wait",
                    bundle,
                    spec=waiting,
                    stdout="pipe",
                )
            )
        output = container.stdout
        assert output is not None
        print(f"{'':12}  status {container.status()}")
        with step("start it"):
            container.start()
        print(f"{'':12}  | {output.readline().decode().strip()}")
        with step("send SIGTERM and wait"):
            container.signal(signal.SIGTERM)
            status = container.wait(timeout=10)
        print(f"{'':12}  | {output.readline().decode().strip()}")
        print(f"{'':12}  exit code {status.exit_code}")
        with step("destroy it"):
            container.destroy()
    with step("remove whatever an application of this prefix may have left"):
        report = runtime.stop_and_remove(root, prefix=PREFIX)
    print(f"{'':12}  {len(report)} found, {len(report.failed)} failed")
    print(f"{'':12}  left behind: {', '.join(left_behind(work)) or 'nothing'}")


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("the demo makes containers, which takes root: sudo make demo")
    with tempfile.TemporaryDirectory(prefix="ocikit-demo-") as directory:
        main(Path(directory), sys.argv[1] if len(sys.argv) > 1 else None)
