"""Running a plan without the rest of the runtime: the launcher and the helper alone, in a bundle of busybox."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

from ocikit.runtime.host.procfs import own_status
from ocikit.runtime.launch import launch
from ocikit.runtime.outside import mounting_for, open_owners
from ocikit.runtime.plan.compiler import Surroundings, compile_plan
from ocikit.runtime.plan.steps import Slot, Sync
from ocikit.spec import Mount, Spec

if TYPE_CHECKING:
    from pathlib import Path

#: The mounts of ``runc spec`` less the cgroups, which need a container to belong to.
MOUNTS = tuple(mount for mount in Spec.default().mounts if mount.type != "cgroup")


class Ran(NamedTuple):
    """What a program left behind."""

    code: int
    out: str


def make_rootfs(at: Path) -> Path:
    """Make a root file system of the static busybox; return it."""
    (at / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", at / "bin/busybox")
    for name in ("sh", "cat", "ls", "id", "mount", "true", "stat", "touch"):
        (at / "bin" / name).symlink_to("busybox")
    return at


def default_spec(*args: str, mounts: tuple[Mount, ...] = MOUNTS, **process: Any) -> Spec:
    """Return the default configuration with a program, and no terminal."""
    base = Spec.default()
    assert base.process is not None
    changed = attrs.evolve(base.process, terminal=False, args=args, **process)
    return attrs.evolve(base, process=changed, mounts=mounts)


def run_plan(bundle: Path, spec: Spec, **around: Any) -> Ran:
    """Make, start and reap one container; return its exit code and what it wrote to stdout."""
    plan = compile_plan(spec, Surroundings(bundle=str(bundle), capabilities=own_status().passable, **around))
    fifo = bundle / "exec.fifo"
    os.mkfifo(fifo, 0o622)
    fifo.chmod(0o622)
    fifo_fd = os.open(fifo, os.O_PATH)
    reader, writer = os.pipe()
    null = os.open("/dev/null", os.O_RDWR)
    try:
        with contextlib.ExitStack() as stack:
            passed = {Slot.FIFO: fifo_fd} | open_owners(plan.mount_owners, stack)
            answers = {Sync.MOUNT: mounting_for(passed)}
            init = stack.enter_context(launch(plan, stdio=(null, writer, writer), passed=passed, answers=answers))
            init.ready()
            os.close(writer)
            writer = -1
            init.commit()
            with fifo.open("rb") as waiting:
                assert waiting.read(1) == b"0"
            error = init.exec_error()
            with os.fdopen(reader, encoding="utf-8", errors="surrogateescape", closefd=False) as output:
                text = output.read()
            ended = os.waitid(os.P_PIDFD, init.pidfd, os.WEXITED)
            os.close(init.take_pidfd())
            if error is not None:
                raise error
            assert ended is not None
            return Ran(ended.si_status, text)
    finally:
        fifo.unlink()
        for fd in (fifo_fd, reader, writer, null):
            if fd >= 0:
                os.close(fd)
