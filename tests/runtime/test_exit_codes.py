"""Exit codes are not lost: whoever waits, and whatever the host does with its children."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import platform
import select
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ocikit import runtime
from ocikit.errors import NotRunningError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocikit.runtime import ExitStatus


def test_many_wait_for_one(created: runtime.Container, root: Path) -> None:
    """All threads that wait, for one object or for several of one container, get the same answer."""
    answers: list[ExitStatus] = []
    objects = [created, runtime.load(root, created.id), created, runtime.load(root, created.id)]
    threads = [threading.Thread(target=lambda one=one: answers.append(one.wait())) for one in objects]
    for thread in threads:
        thread.start()
    created.start()
    created.kill()
    for thread in threads:
        thread.join()
    assert len(answers) == len(objects)
    assert {answer.signal for answer in answers} == {signal.SIGKILL}


def test_event_loops_hear_of_the_end(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """There is a descriptor to poll until the container has ended, and none after that."""

    async def ended(container: runtime.Container) -> ExitStatus:
        over = asyncio.Event()
        with container.held() as descriptor:
            assert descriptor is not None
            asyncio.get_running_loop().add_reader(descriptor, over.set)
            container.start()
            await asyncio.wait_for(over.wait(), 60)
            asyncio.get_running_loop().remove_reader(descriptor)
        return container.wait(timeout=0)

    with runtime.create(root, container_id, make_bundle("sh", "-c", "exit 9"), stdin="null") as container:
        assert asyncio.run(ended(container)).exit_code == 9
        with container.held() as descriptor:
            assert descriptor is None


def test_others_find_the_exit_code_on_disk(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """Who waited writes down what nobody can find out again."""
    with runtime.create(root, container_id, make_bundle("sh", "-c", "exit 9")) as container:
        container.start()
        container.wait(30)
        assert json.loads((root / container_id / "exit.json").read_bytes())["exit_code"] == 9
        python = os.path.realpath("/proc/self/exe")
        script = "import sys; from ocikit import runtime; print(runtime.load(*sys.argv[1:]).wait(0).exit_code)"
        environment = os.environ | {"PYTHONPATH": ":".join(filter(None, __import__("sys").path))}
        done = subprocess.run(
            [python, "-c", script, str(root), container_id], check=True, env=environment, capture_output=True
        )
        assert done.stdout == b"9\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nobody_signals_what_waits_to_be_reaped(created: runtime.Container, number: int) -> None:
    """A container that has ended does not run, although the kernel takes signals for it until it is reaped."""
    created.start()
    created.kill()
    os.waitid(os.P_PID, created.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(NotRunningError, match="container not running"):
        created.signal(number)


def test_a_host_that_reaps_everything(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """Exit codes are right although another thread waits for every child there is, and although SIGCHLD is ignored."""
    bundle = make_bundle("sh", "-c", "exit 7")
    stop = threading.Event()

    def reap() -> None:
        while not stop.is_set():
            try:
                os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                time.sleep(0.0002)

    thread = threading.Thread(target=reap)
    thread.start()
    try:
        codes = [runtime.run(root, container_id, bundle).exit_code for _ in range(10)]
    finally:
        stop.set()
        thread.join()
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        codes += [runtime.run(root, container_id, bundle).exit_code for _ in range(10)]
    finally:
        signal.signal(signal.SIGCHLD, before)
    # Before Linux 6.15 the kernel tells nobody but the one that reaps: then the code is unknown, and never a wrong one.
    release = tuple(map(int, platform.release().split(".")[:2]))
    assert set(codes) <= ({7} if release >= (6, 15) else {7, None})


def test_fifty_containers_from_eight_threads(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """All exit codes are right, and there is no process, descriptor, mount or cgroup more than before."""
    bundles = [make_bundle("sh", "-c", f"exit {number}", name=f"bundle-{number}") for number in range(50)]
    runtime.run(root, container_id, bundles[0])
    gc.collect()
    descriptors, mounts = sorted(os.listdir("/proc/self/fd")), Path("/proc/self/mountinfo").read_text()
    codes: dict[int, int | None] = {}
    todo = list(range(50))

    def work() -> None:
        while todo:
            try:
                number = todo.pop()
            except IndexError:
                return
            codes[number] = runtime.run(root, f"{container_id}-{number}", bundles[number]).exit_code

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == {number: number for number in range(50)}
    assert list(root.iterdir()) == []
    gc.collect()
    assert sorted(os.listdir("/proc/self/fd")) == descriptors
    assert Path("/proc/self/mountinfo").read_text() == mounts
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_forgotten_container_is_no_zombie_for_long(
    root: Path, make_bundle: Callable[..., Path], container_id: str
) -> None:
    """A container without a monitor whose object is gone is reaped with the next creation, and its end written down."""
    bundle = make_bundle("sh", "-c", "exit 5")
    options = runtime.CreateOptions(monitor=False)
    container = runtime.create(root, container_id, bundle, lifetime="detached", stdin="null", options=options)
    pid = container.pid
    container.start()
    pidfd = os.pidfd_open(pid)
    assert select.select([pidfd], [], [], 30)[0]
    os.close(pidfd)
    del container
    gc.collect()
    assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    runtime.run(root, f"{container_id}-next", bundle)
    assert not Path(f"/proc/{pid}").exists()
    with runtime.load(root, container_id) as again:
        assert again.wait(0).exit_code == 5
        again.destroy()
