"""Several processes: forked children of the host, others at work on the same id, and what the interpreter starts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from ocikit import _sys, runtime
from ocikit.runtime.cgroups.hierarchies import detect, place

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

PYTHON = os.path.realpath("/proc/self/exe")

#: Works on one id until it has had it ten times, whatever others do to it meanwhile.
CONTENDER = """
import sys
from ocikit import runtime
from ocikit.errors import ContainerError, ExistError, NotExistError
root, container_id, bundle = sys.argv[1:]
done = 0
while done < 10:
    try:
        with runtime.create(root, container_id, bundle, stdin="null") as container:
            container.start()
            assert container.wait(30).exit_code == 5 or sys.exit(1)
            done += 1
    except (ExistError, NotExistError):
        pass
"""


def environment() -> dict[str, str]:
    """Return the environment in which another interpreter finds what this one does."""
    return os.environ | {"PYTHONPATH": ":".join(filter(None, sys.path))}


def test_two_processes_work_on_one_id(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """Each of them has it to itself when it has it, and in the end nothing is left."""
    bundle = make_bundle("sh", "-c", "exit 5")
    command = [PYTHON, "-c", CONTENDER, str(root), container_id, str(bundle)]
    contenders = [subprocess.Popen(command, env=environment()) for _ in range(2)]
    assert [one.wait(120) for one in contenders] == [0, 0]
    assert list(root.iterdir()) == []
    assert not any(map(os.path.exists, place(detect(), "", container_id).values()))


def test_a_forked_child_has_containers_of_its_own(
    root: Path, make_bundle: Callable[..., Path], container_id: str
) -> None:
    """What was loaded and locked before the fork is no obstacle after it."""
    bundle = make_bundle("sh", "-c", "exit 5")
    with runtime.create(root, container_id, bundle) as container:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = runtime.run(root, f"{container_id}-child", bundle).exit_code or 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
        container.start()
        assert container.wait(30).exit_code == 5


def test_the_interpreter_never_forks(
    peer: Callable[[str], str], root: Path, make_bundle: Callable[..., Path], container_id: str, tmp_path: Path
) -> None:
    """Whatever the interpreter starts runs in its memory: none of it is ever copied."""
    script = "import sys; from ocikit import runtime; assert runtime.run(*sys.argv[1:]).exit_code == 5"
    bundle = make_bundle("sh", "-c", "exit 5")
    trace = ["-ff", "-qq", "-o", str(tmp_path / "log"), "-e", "trace=fork,vfork,clone,clone3,execve"]
    command = [peer("strace"), *trace, PYTHON, "-c", script, str(root), container_id, str(bundle)]
    subprocess.run(command, env=environment(), check=True)
    logs = {path.suffix[1:]: path.read_text().splitlines() for path in tmp_path.glob("log.*")}
    (first,) = (pid for pid, lines in logs.items() if any(PYTHON in line for line in lines))
    threads, starts = [first], []
    for thread in threads:  # grows while it is gone through
        for call in logs[thread]:
            if re.match(r"fork|vfork|clone", call):
                starts.append(call)
                threads += re.findall(r"CLONE_THREAD.* = (\d+)$", call)
    assert len(threads) > 1
    assert [call for call in starts if "CLONE_VM" not in call] == []
    assert any("CLONE_VFORK" in call for call in starts)


def test_a_host_that_forks_while_a_container_is_made(
    root: Path, bundle: Path, container_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child of the host that lives on holds no end of the conversation with init: start sees the execution."""
    children = []
    spawn = _sys.spawn

    def fork_and_spawn(*arguments: Any) -> None:
        children.append(os.fork())
        if children[-1] == 0:
            time.sleep(20)
            os._exit(0)
        spawn(*arguments)

    monkeypatch.setattr(_sys, "spawn", fork_and_spawn)
    try:
        with runtime.create(root, container_id, bundle, stdin="null") as container:
            container.start()
            assert os.waitpid(children[0], os.WNOHANG) == (0, 0)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
