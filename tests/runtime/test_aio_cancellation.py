"""Tasks that are cancelled, and loops that are closed, at any moment: nothing of what they had begun is left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from async_calls import QUIET, nothing_left, nothing_left_but, until

from ocikit import runtime
from ocikit.runtime import Status, aio
from ocikit.runtime.aio.work import in_thread
from ocikit.spec import Hook, Hooks

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

PIPES: dict[str, Any] = {"stdin": "pipe", "stdout": "pipe", "stderr": "pipe"}


@pytest.fixture
def running(root: Path, bundle: Path, container_id: str) -> Iterator[runtime.Container]:
    """Give a container whose program sleeps; what was done in it left nothing."""
    with nothing_left(root, container_id), runtime.create(root, container_id, bundle, stdin="null") as container:
        container.start()
        yield container


async def cancelled(work: Coroutine[Any, Any, Any], seconds: float) -> bool:
    """Cancel something after a while; return whether it was not done by then."""
    task = asyncio.create_task(work)
    await asyncio.sleep(seconds)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


async def shortest(work: Callable[[], Coroutine[Any, Any, object]]) -> float:
    """Return how long something takes at best, in seconds: whatever else the machine does only makes it longer."""
    times = []
    for _ in range(6):
        began = time.monotonic()
        await work()
        times.append(time.monotonic() - began)
    return min(times)


def test_running_is_cancelled_at_any_moment(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """At sixty moments between the first step and the last one, nothing is left of the container."""
    bundle = make_bundle("sh", "-c", "cat; exit 5")

    async def run() -> int:
        usual = await shortest(lambda: aio.run(root, container_id, bundle, input=b"x"))
        chance = random.Random(1)  # noqa: S311 - the same moments in every run
        count = 0
        for _ in range(60):
            count += await cancelled(aio.run(root, container_id, bundle, input=b"x"), chance.uniform(0, usual * 1.2))
            assert os.listdir(root) == []
        return count

    with nothing_left(root, container_id):
        assert asyncio.run(run()) > 10


def test_executing_is_cancelled_at_any_moment(running: runtime.Container) -> None:
    """At sixty moments, no process is left."""

    async def execute() -> None:
        async with await aio.exec(running, ["cat"], **PIPES) as process:
            await process.communicate(b"x")

    async def run() -> int:
        usual = await shortest(execute)
        chance = random.Random(2)  # noqa: S311 - as above
        count = 0
        for _ in range(60):
            count += await cancelled(execute(), chance.uniform(0, usual * 1.2))
            await until(lambda: running.processes() == [running.pid])
        return count

    with nothing_left_but(running):
        assert asyncio.run(run()) > 10


def test_a_creation_that_waits_is_broken_off(
    root: Path, make_bundle: Callable[..., Path], container_id: str, tmp_path: Path
) -> None:
    """A hook that takes for ever is ended, and nothing is left, however often the task is cancelled."""
    mark = tmp_path / "mark"
    script = f"echo > {mark}; exec sleep 1000"
    hooks = Hooks(create_runtime=(Hook(path="/bin/sh", args=("sh", "-c", script)),))
    bundle = make_bundle(hooks=hooks)

    async def create() -> None:
        task = asyncio.create_task(aio.create(root, container_id, bundle, lifetime="detached", stdin="null"))
        await until(mark.exists)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert os.listdir(root) == []

    with nothing_left(root, container_id):
        asyncio.run(create())


def test_what_was_done_is_undone() -> None:
    """Work whose end the task does not see any more is undone before the task is over."""
    events: list[str] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        done = threading.Event()

        def task_is_cancelled() -> str:
            loop.call_soon_threadsafe(task.cancel)
            done.wait(60)
            return "result"

        task = asyncio.create_task(in_thread(task_is_cancelled, lambda result: events.append(f"{result} undone")))
        await asyncio.sleep(0.01)
        assert not task.done()
        done.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        events.append("over")

    asyncio.run(work())
    assert events == ["result undone", "over"]


def test_a_result_that_came_too_late_is_undone() -> None:
    """The task is cancelled between the end of the work and its own next turn."""
    events: list[str] = []

    async def work() -> None:
        task = asyncio.create_task(in_thread(lambda: "result", events.append))
        await asyncio.sleep(0)
        time.sleep(0.05)  # noqa: ASYNC251 - the loop does not come to it
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        events.append("over")

    asyncio.run(work())
    assert events == ["result", "over"]


def test_destroying_is_done_to_the_end(running: runtime.Container) -> None:
    """Whoever is impatient waits for it."""

    async def destroy() -> None:
        assert await cancelled(aio.destroy(running, force=True), 0)
        assert running.status() == Status.STOPPED
        assert os.listdir(running.root) == []

    asyncio.run(destroy())


def test_a_process_that_waits_for_its_container(running: runtime.Container) -> None:
    """One that is to be started in a paused container is given up, and the container is resumed meanwhile."""

    async def execute() -> None:
        running.pause()
        tasks = [
            asyncio.create_task(aio.exec(running, ["sleep", "1000"], ignore_paused=True, **QUIET)) for _ in range(10)
        ]
        await asyncio.sleep(0.05)
        for task in tasks[1:]:
            task.cancel()
        outcomes = await asyncio.gather(*tasks[1:], return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        await asyncio.to_thread(running.resume)
        await (await tasks[0]).end()

    with nothing_left_but(running):
        asyncio.run(execute())


def closed_early(begin: Callable[[], Coroutine[Any, Any, Any]], *, when: Callable[[], object] = lambda: True) -> None:
    """Run a loop until a condition holds, and close it without cancelling anything."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # it complains of tasks that are destroyed while they wait
    task = loop.create_task(begin())
    loop.run_until_complete(asyncio.wait_for(until(when), 60))
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    del task, loop
    gc.collect()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # what asyncio says of any such loop
@pytest.mark.parametrize("lifetime", ["scope", "detached"])
@pytest.mark.parametrize("seconds", [0, 0.005, 0.02])
def test_a_loop_is_closed_while_a_container_is_created(
    root: Path, bundle: Path, container_id: str, lifetime: Any, seconds: float
) -> None:
    """There is nobody left to take it, so it is not left."""
    with nothing_left(root, container_id):
        ready = time.monotonic() + seconds

        def create() -> Coroutine[Any, Any, None]:
            return held_for_ever(aio.create(root, container_id, bundle, lifetime=lifetime, stdin="null"))

        closed_early(create, when=lambda: time.monotonic() >= ready)


async def held_for_ever(work: Coroutine[Any, Any, runtime.Container]) -> None:
    """Take a container, and destroy it at the end of a block that has none."""
    container = await work
    try:
        await asyncio.Event().wait()
    finally:
        container.destroy(force=True)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_loop_is_closed_while_a_container_runs(
    root: Path, make_bundle: Callable[..., Path], container_id: str
) -> None:
    """The run is forgotten, and its container destroyed."""
    with nothing_left(root, container_id):
        bundle = make_bundle("sleep", "1000")
        closed_early(lambda: aio.run(root, container_id, bundle), when=lambda: is_running(root, container_id))


def is_running(root: Path, container_id: str) -> bool:
    """Tell whether there is such a container, and it was started."""
    with contextlib.suppress(Exception):
        return runtime.load(root, container_id).status() == Status.RUNNING
    return False


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_loop_is_closed_while_tasks_wait(running: runtime.Container) -> None:
    """Waits and events are forgotten, and a process ends with the block that it was started in."""

    async def wait() -> None:
        waits = asyncio.gather(aio.wait(running), anext(aio.events(running)))
        async with await aio.exec(running, ["sleep", "1000"], **PIPES) as process:
            await asyncio.gather(process.communicate(), waits)

    with nothing_left_but(running):
        closed_early(wait, when=lambda: len(running.processes()) == 2)
    running.kill()
    assert running.wait(60).signal == signal.SIGKILL
