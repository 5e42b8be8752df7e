"""A systemd that owns cgroups: the real one, as the first process of namespaces of its own.

It sees a copy of the machine's file system (an overlay that is gone afterwards) and, of every hierarchy of cgroups, no
more than a directory made for it. It starts nothing but itself.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from ocikit.runtime.cgroups import hierarchies as cgroups

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECONDS = 60
_CHECKOUT = Path(__file__).resolve().parents[2]

#: Makes the place for systemd and becomes it; the last lines of the setup depend on the kind of host.
_BOOT = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs {scratch}
mkdir {scratch}/upper {scratch}/work {scratch}/root
mount -t overlay overlay -o lowerdir=/,upperdir={scratch}/upper,workdir={scratch}/work {scratch}/root
cd {scratch}/root
mount -t proc proc proc
mount --bind proc/sys proc/sys && mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
for place in run dev; do mount -t tmpfs tmpfs $place; done
for device in null zero full random urandom tty; do touch dev/$device; mount --bind /dev/$device dev/$device; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
{mounts}
mkdir -p etc/systemd/system
for place in {visible}; do mkdir -p ./$place; mount --rbind $place ./$place; done
rm -rf etc/systemd/system/*.wants
printf '[Unit]\\nDefaultDependencies=no\\n' > etc/systemd/system/ocikit-test.target
mkdir old
pivot_root . old
umount -l /old
export container=ocikit-test
exec /lib/systemd/systemd --unit=ocikit-test.target --log-target=console --log-level=warning --show-status=no
"""


class Systemd:
    """A systemd that runs."""

    def __init__(self, pid: int, name: str) -> None:
        self.pid = pid
        #: Of its directories in the hierarchies.
        self.name = name

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command where systemd is the first process."""
        entering = ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--cgroup", "--uts", "--ipc"]
        return subprocess.run(
            [*entering, *command],
            check=False,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
        )


@contextlib.contextmanager
def systemd(shared: Path) -> Iterator[Systemd]:
    """Start a systemd, and end it with everything below it.

    Args:
        shared: A directory of the host that is to be seen there, at the same path.
    """
    name = f"ocikit-systemd-{uuid.uuid4().hex[:12]}"
    hierarchies = cgroups.detect()
    # A v2 cgroup with processes in it cannot have limited ones below it.
    directories = [
        Path(one.own).parent / name if hierarchies.v2_only and one.own != one.mountpoint else Path(one.own, name)
        for one in hierarchies.by_key.values()
    ]
    scratch = shared / "scratch"
    scratch.mkdir()
    for directory in directories:
        directory.mkdir(exist_ok=True)
        _delegate(directory)
    visible = " ".join(str(path) for path in (shared, _CHECKOUT, sys.prefix, sys.base_prefix))
    script = _BOOT.format(scratch=scratch, mounts=_mounts(), visible=visible)
    # It alone is put there, and not who waits for it: nobody but systemd may be in the root of what it owns.
    joins = "".join(f"echo 0 > {directory}/cgroup.procs && " for directory in directories)
    flags = "--mount --pid --uts --ipc --fork --kill-child --propagation private"
    command = ["unshare", *flags.split(), "sh", "-c", f'{joins}exec unshare --cgroup sh -c "$0"', script]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        yield Systemd(_await_boot(process), name)
    finally:
        process.kill()
        process.wait(_SECONDS)
        assert process.stderr is not None
        process.stderr.close()
        for directory in directories:
            _remove(directory)


def _mounts() -> str:
    hierarchies = cgroups.detect()
    if hierarchies.v2_only:
        return "mount -t cgroup2 cgroup2 sys/fs/cgroup"
    lines = ["mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup"]
    for key, one in hierarchies.by_key.items():
        at = f"sys/fs/cgroup/{os.path.basename(one.mountpoint)}"
        kind = "cgroup2" if key == cgroups.UNIFIED else "cgroup"
        options = "" if key == cgroups.UNIFIED else f"-o {'none,' if key.startswith('name=') else ''}{key}"
        lines.append(f"mkdir {at} && mount -t {kind} {options} {kind} {at}")
    return "\n".join(lines)


def _delegate(directory: Path) -> None:
    """Let a new cgroup have what its parent has: controllers of v2, processors and memory of a v1 cpuset."""
    controllers = directory / "cgroup.controllers"
    available = (directory.parent / controllers.name).read_text().split() if controllers.exists() else []
    for name in available:
        with contextlib.suppress(OSError):
            (directory.parent / "cgroup.subtree_control").write_text(f"+{name}")
    for name in ("cpuset.cpus", "cpuset.mems"):
        file = directory / name
        if file.exists() and not file.read_text().strip() and not controllers.exists():
            with contextlib.suppress(OSError):
                file.write_text((directory.parent / name).read_text())


def _await_boot(process: subprocess.Popen[bytes]) -> int:
    """Return the process id of systemd, when it can be talked to."""
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if children and Path(f"/proc/{children[0]}/root/run/systemd/private").exists():
            return int(children[0])
        time.sleep(0.02)
    process.kill()
    assert process.stderr is not None
    raise AssertionError(f"systemd did not start: {process.stderr.read().decode(errors='replace')[-2000:]}")


def _remove(directory: Path) -> None:
    """Remove a cgroup and those below it; what was in them has been killed, and may take a moment to be gone."""
    deadline = time.monotonic() + _SECONDS
    for path in sorted(directory.rglob("*/"), key=lambda one: len(one.parts), reverse=True):
        with contextlib.suppress(OSError):
            path.rmdir()
    while directory.exists():
        try:
            directory.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
            for path in sorted(directory.rglob("*/"), key=lambda one: len(one.parts), reverse=True):
                with contextlib.suppress(OSError):
                    path.rmdir()
