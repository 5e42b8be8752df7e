"""A helper that is killed right after it has made init, and before it could say so."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from launching import default_spec, make_rootfs

from ocikit.errors import SetupError
from ocikit.runtime.host.procfs import own_status
from ocikit.runtime.launch import Launch, launch
from ocikit.runtime.plan.compiler import Surroundings, compile_plan
from ocikit.runtime.plan.steps import NO_SLOT, Op, Slot, Step, Sync, ask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("attended", [False, True], ids=["alone", "attended to"])
def test_init_is_found_and_ended(tmp_path: Path, peer: Callable[[str], str], *, attended: bool) -> None:
    """The launch fails, nobody waits for ever, and init is ended and reaped."""
    make_rootfs(tmp_path / "rootfs")
    spec = default_spec("sh", "-c", "exit 0")
    plan = compile_plan(spec, Surroundings(bundle=str(tmp_path), capabilities=own_status().passable))
    attending = (Step(Op.ATTEND, "attend", (NO_SLOT,)),) if attended else ()
    plan = plan._replace(steps=(*attending, ask("be shot at", Sync.HOOKS), *plan.steps))
    with contextlib.ExitStack() as stack:

        def aim(started: Launch, _: int) -> None:
            """See to it that the process that makes init is killed when it says so: strace follows no child."""
            inject = "--inject=sendmsg:signal=KILL"
            command = [peer("strace"), "--quiet=exit", "--trace=sendmsg", inject, "--attach", str(started.pid)]
            strace = stack.enter_context(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
            assert strace.stderr is not None
            assert "attached" in strace.stderr.readline()

        fifo = tmp_path / "exec.fifo"
        os.mkfifo(fifo)
        fifo_fd = os.open(fifo, os.O_PATH)
        stack.callback(os.close, fifo_fd)
        null = os.open("/dev/null", os.O_RDWR)
        stack.callback(os.close, null)
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(SetupError, match="killed before it could"):
            launch(plan, stdio=(null, null, null), passed={Slot.FIFO: fifo_fd}, answers={Sync.HOOKS: aim})
        assert len(os.listdir("/proc/self/fd")) == before + 1  # what strace says
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
