"""Ctrl-C at any moment leaves nothing behind, and neither does anything else that breaks off the main thread."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

from ocikit import runtime
from ocikit.runtime import Status
from ocikit.runtime.cgroups.hierarchies import detect, place
from ocikit.runtime.uninterrupted import Cancellation, uninterrupted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def interrupt_after(seconds: float) -> threading.Thread:
    """Press Ctrl-C, so to speak, in a moment."""
    main = threading.main_thread().ident
    assert main is not None

    def press() -> None:
        time.sleep(seconds)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    return thread


def close_lost(before: set[str]) -> int:
    """Close files that Python has lost, and return how many there were; nothing else may be lost.

    An interrupt that comes after a system call has opened a file, and before its number is in a variable, leaves it to
    nobody: there is no moment in which Python code could prevent that.
    """
    there = {name: os.path.realpath(f"/proc/self/fd/{name}") for name in set(os.listdir("/proc/self/fd")) - before}
    lost = {name: path for name, path in there.items() if os.path.lexists(f"/proc/self/fd/{name}")}
    for name, path in lost.items():
        assert os.path.isfile(path), path
        os.close(int(name))
    return len(lost)


def test_work_is_done_in_a_thread_that_nothing_interrupts() -> None:
    """What is interrupted is told, finishes, and only then the interrupt is seen."""
    events: list[str] = []

    def work(cancellation: Cancellation) -> None:
        woken = threading.Event()
        with cancellation.waking(woken.set):
            woken.wait()
        events.append("undone")

    thread = interrupt_after(0.05)
    with pytest.raises(KeyboardInterrupt):
        uninterrupted(work)
    events.append("interrupted")
    thread.join()
    assert events == ["undone", "interrupted"]


def test_what_was_done_is_undone() -> None:
    """Work that was finished although it was told to stop is undone."""
    events: list[str] = []

    def work(cancellation: Cancellation) -> str:
        woken = threading.Event()
        with cancellation.waking(woken.set):
            woken.wait()
        return "result"

    thread = interrupt_after(0.05)
    with pytest.raises(KeyboardInterrupt):
        uninterrupted(work, events.append)
    thread.join()
    assert events == ["result"]


def test_errors_and_results_pass() -> None:
    """Nothing is different for the caller, in the main thread and elsewhere."""
    results: list[object] = []

    def use() -> None:
        results.append(uninterrupted(lambda _: 7))
        with pytest.raises(ZeroDivisionError):
            uninterrupted(lambda _: 1 // 0)

    use()
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert results == [7, 7]


def test_interrupts_while_creating_and_running(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """At a hundred moments between the first step and the last one, nothing is left of the container."""
    bundle = make_bundle("sh", "-c", "exit 5")
    runtime.run(root, container_id, bundle)
    began = time.monotonic()
    for _ in range(5):
        runtime.run(root, container_id, bundle)
    usual = (time.monotonic() - began) / 5
    descriptors = set(os.listdir("/proc/self/fd"))
    paths = place(detect(), "", container_id).values()
    chance = random.Random(1)  # noqa: S311 - the same moments in every run
    interrupted = lost = 0
    for _ in range(100):
        thread = None
        try:
            thread = interrupt_after(chance.uniform(0, usual * 1.2))
            assert runtime.run(root, container_id, bundle).exit_code == 5
            thread.join()
        except KeyboardInterrupt:
            interrupted += 1
        if thread is not None:
            thread.join()
        assert list(root.iterdir()) == []
        assert not any(map(os.path.exists, paths))
        lost += close_lost(descriptors)
        assert lost <= 3
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
    assert interrupted > 20


def test_interrupts_while_executing(running: runtime.Container) -> None:
    """Of a further process that is interrupted on its way, nothing is left: neither itself nor what it started."""
    command = ("sh", "-c", "sleep 1000 & exit 0")
    began = time.monotonic()
    for _ in range(5):
        running.exec(command, stdin="null").kill_all()
    usual = (time.monotonic() - began) / 5
    descriptors = set(os.listdir("/proc/self/fd"))
    chance = random.Random(3)  # noqa: S311 - the same moments in every run
    interrupted = lost = 0
    for _ in range(150):
        process = thread = None
        try:
            thread = interrupt_after(chance.uniform(0, usual * 1.2))
            process = running.exec(command, stdin="null")
            thread.join()
        except KeyboardInterrupt:
            interrupted += 1
        if thread is not None:
            thread.join()
        if process is not None:
            process.kill_all()
            process.wait()
            process = None  # and with it its descriptors
        assert running.processes() == [running.pid]
        lost += close_lost(descriptors)
        assert lost <= 3
        for cgroup in running._record.cgroup_paths.values():
            assert [name for name in os.listdir(cgroup) if os.path.isdir(f"{cgroup}/{name}")] == []
    assert interrupted > 30


def test_a_wait_is_interrupted(created: runtime.Container) -> None:
    """A wait ends at once, and the container goes on."""
    created.start()
    thread = interrupt_after(0.1)
    with pytest.raises(KeyboardInterrupt):
        created.wait()
    thread.join()
    assert created.status() is Status.RUNNING


def test_a_process_that_is_killed_while_creating(root: Path, bundle: Path, container_id: str) -> None:
    """At random moments: what remains is a whole container, or is removed by stop_and_remove."""
    script = "import sys; from ocikit import runtime; runtime.create(*sys.argv[1:], lifetime='detached', stdin='null')"
    environment = os.environ | {"PYTHONPATH": ":".join(filter(None, __import__("sys").path))}
    command = [os.path.realpath("/proc/self/exe"), "-c", script, str(root), container_id, str(bundle)]
    began = time.monotonic()
    subprocess.run(command, check=True, env=environment)
    usual = time.monotonic() - began
    paths = place(detect(), "", container_id).values()
    chance = random.Random(2)  # noqa: S311 - the same moments in every run
    for _ in range(20):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(usual * 0.5, usual * 1.1))
        process.kill()
        process.wait()
        for container in runtime.list_containers(root):
            assert container.status() is Status.CREATED
        report = runtime.stop_and_remove(root, prefix=container_id)
        assert report.failed == ()
        for directory in root.iterdir():
            assert list(directory.iterdir()) == []  # killed between claiming the id and the first note
            directory.rmdir()
        assert not any(map(os.path.exists, paths))
