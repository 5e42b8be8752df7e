"""Containers in an event loop: made, waited for and run to their end without holding up anybody."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from async_calls import nothing_left

from ocikit import runtime
from ocikit.errors import BundleError, ExistError, LimitExceededError, RunningError, RunTimeoutError
from ocikit.runtime import Status, aio
from ocikit.runtime.events import Exited, OutOfMemory
from ocikit.spec import LinuxNamespace, LinuxResources

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MB = 1 << 20


def test_the_life_of_a_container(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """It is created, started, waited for and destroyed as without a loop, and with the same errors."""
    bundle = make_bundle("sh", "-c", "read x; exit 7")

    async def live() -> None:
        container = await aio.create(root, container_id, bundle, stdin="pipe")
        assert isinstance(container, runtime.Container)
        assert container.stdin is not None
        with pytest.raises(ExistError):
            await aio.create(root, container_id, bundle)
        await aio.start(container)
        with pytest.raises(RunningError):
            await aio.start(container)
        with pytest.raises(RunningError):
            await aio.destroy(container)
        waits = [asyncio.create_task(aio.wait(container)) for _ in range(3)]
        await asyncio.sleep(0)
        container.stdin.write(b"\n")
        container.stdin.flush()
        for status in await asyncio.gather(*waits):
            assert (status.exit_code, status.signal) == (7, None)
        assert await aio.wait(container, timeout=0) == container.wait(0)
        await aio.destroy(container)
        await aio.destroy(container)

    with nothing_left(root, container_id):
        asyncio.run(live())


def test_signatures_are_those_of_the_twins() -> None:
    """Who knows the one knows the other, and so do their editors."""
    pairs: list[tuple[Callable[..., Any], Callable[..., Any]]] = [
        (aio.create, runtime.create),
        (aio.run, runtime.run),
        (aio.exec, runtime.Container.exec),
    ]
    for twin, function in pairs:
        assert inspect.iscoroutinefunction(twin)
        assert inspect.signature(twin).parameters == inspect.signature(function).parameters
    assert inspect.signature(aio.exec).return_annotation == "Process"


def test_waiting_too_long(created: runtime.Container) -> None:
    """It is an error, the container goes on, and nothing of the wait stays."""

    async def wait() -> None:
        before = set(os.listdir("/proc/self/fd"))
        for timeout in (0, 0.01):
            with pytest.raises(TimeoutError, match=rf"container .* has not ended after {timeout} seconds"):
                await aio.wait(created, timeout)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(aio.wait(created), 0.01)
        assert created.status() == Status.CREATED
        assert set(os.listdir("/proc/self/fd")) == before
        created.kill()
        assert (await aio.wait(created, 60)).signal == signal.SIGKILL

    asyncio.run(wait())


def test_a_wait_occupies_no_thread(created: runtime.Container) -> None:
    """Any number of tasks wait for any number of containers with the thread of the loop alone."""

    async def wait() -> None:
        before = threading.active_count()
        waits = [asyncio.create_task(aio.wait(created)) for _ in range(20)]
        await asyncio.sleep(0.05)
        assert threading.active_count() == before
        waits[0].cancel()
        created.kill()
        with pytest.raises(asyncio.CancelledError):
            await waits[0]
        for status in await asyncio.gather(*waits[1:]):
            assert status.signal == signal.SIGKILL

    asyncio.run(wait())


@pytest.mark.parametrize("data", [None, b"input"])
def test_running_to_the_end(
    root: Path, make_bundle: Callable[..., Path], container_id: str, data: bytes | None
) -> None:
    """What goes in is read, what comes out is returned, and nothing is left."""
    bundle = make_bundle("sh", "-c", "cat; echo error >&2; exit 3")
    with nothing_left(root, container_id):
        done = asyncio.run(aio.run(root, container_id, bundle, input=data))
    assert done == (3, None, data or b"", b"error\n")


def test_much_in_both_directions(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """More than any pipe holds goes in and comes out at the same time; a limit ends what is too much."""
    data = os.urandom(MB) * 5
    bundle = make_bundle("cat")
    assert asyncio.run(aio.run(root, container_id, bundle, input=data)).stdout == data
    with pytest.raises(LimitExceededError, match=f"stdout of container {container_id} in bytes"):
        asyncio.run(aio.run(root, container_id, bundle, input=data, output_limit=MB))
    bundle = make_bundle("true")  # nobody reads it
    assert asyncio.run(aio.run(root, container_id, bundle, input=data)).exit_code == 0


def test_running_too_long(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """The container is killed, and the error has what it wrote."""
    bundle = make_bundle("sh", "-c", "echo out; echo err >&2; sleep 1000")

    async def run() -> RunTimeoutError:
        with pytest.raises(RunTimeoutError, match="was killed") as caught:
            await aio.run(root, container_id, bundle, timeout=0.5)
        return caught.value

    with nothing_left(root, container_id):
        error = asyncio.run(run())
    assert (error.stdout, error.stderr) == (b"out\n", b"err\n")


def test_running_at_a_terminal(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """The terminal is read until nobody has it open, and the input is typed."""
    bundle = make_bundle("sh", "-c", "stty -echo; echo ready; cat; exit 4", process={"terminal": True})
    with nothing_left(root, container_id):
        done = asyncio.run(aio.run(root, container_id, bundle, input=b"typed\n"))
    assert done.exit_code == 4
    assert b"ready\r\n" in done.stdout
    assert done.stdout.endswith(b"typed\r\n")


def test_what_outlives_the_first_process(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """In a shared pid namespace, what keeps the pipes open is ended."""
    namespaces = tuple(LinuxNamespace(type=kind) for kind in ("network", "ipc", "uts", "mount"))
    bundle = make_bundle("sh", "-c", "sleep 1000 & echo done", linux={"namespaces": namespaces})
    with nothing_left(root, container_id):
        assert asyncio.run(aio.run(root, container_id, bundle)).stdout == b"done\n"


def test_errors_of_a_run(root: Path, make_bundle: Callable[..., Path], container_id: str, tmp_path: Path) -> None:
    """They are those of the twin, and leave nothing."""
    with nothing_left(root, container_id):
        with pytest.raises(BundleError):
            asyncio.run(aio.run(root, container_id, tmp_path / "nothing"))
        with pytest.raises(ValueError, match="nobody would write"):
            asyncio.run(aio.run(root, container_id, make_bundle(), stdin="pipe"))
        with pytest.raises(Exception, match="no-such-program"):
            asyncio.run(aio.run(root, container_id, make_bundle("no-such-program")))


def test_many_at_once(root: Path, make_bundle: Callable[..., Path], new_id: Callable[[], str]) -> None:
    """Fifty containers live in one loop, which has time for others all the while."""
    bundle = make_bundle("sh", "-c", "read x; echo $x; exit $x")
    ids = [new_id() for _ in range(50)]

    async def run() -> None:
        turns = 0
        together = asyncio.gather(
            *(aio.run(root, name, bundle, input=f"{number}\n".encode()) for number, name in enumerate(ids))
        )
        while not together.done():
            await asyncio.sleep(0)
            turns += 1
        for number, done in enumerate(await together):
            assert done == (number, None, f"{number}\n".encode(), b"")
        assert turns > 100

    with nothing_left(root, *ids):
        asyncio.run(run())


def test_events_in_a_loop(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """Memory that is used up, and the end, are told to tasks that iterate."""
    script = "a=x; while :; do a=$a$a; done"
    limits = LinuxResources.from_dict({"memory": {"limit": 16 * MB, "swap": 16 * MB}})
    bundle = make_bundle("sh", "-c", f"sh -c '{script}'; read x; exit 5", linux={"resources": limits})

    async def watch() -> None:
        container = await aio.create(root, container_id, bundle, stdin="pipe")
        assert container.stdin is not None
        async with aio.events(container) as events:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(events), 0.01)
            await aio.start(container)
            event = await anext(events)
            assert isinstance(event, OutOfMemory)
            container.stdin.write(b"\n")
            container.stdin.flush()
            found = [event async for event in events]
            assert isinstance(found[-1], Exited)
            assert found[-1].status.exit_code == 5
            assert events.ended
            assert [event async for event in events] == []
        await aio.destroy(container)

    with nothing_left(root, container_id):
        asyncio.run(watch())


def test_a_loop_in_another_thread(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """It does not matter whose thread the loop has."""
    found: list[Any] = []
    run = aio.run(root, container_id, make_bundle("echo", "hello"))
    thread = threading.Thread(target=lambda: found.append(asyncio.run(run)))
    thread.start()
    thread.join(60)
    assert found == [(0, None, b"hello\n", b"")]


def test_beside_the_processes_of_asyncio(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """What waits for children in the same loop learns of its own, and we of ours."""

    async def both() -> None:
        other = await asyncio.create_subprocess_exec("sh", "-c", "exit 9")
        done = await aio.run(root, container_id, make_bundle("sh", "-c", "exit 8"))
        assert (await other.wait(), done.exit_code) == (9, 8)

    asyncio.run(both())


def test_the_loop_is_loaded_when_it_is_asked_for() -> None:
    """Programs without a loop pay nothing for it."""
    script = (
        "import sys; from ocikit import runtime; runtime.create, runtime.load; assert 'asyncio' not in sys.modules;"
        "runtime.aio.run; assert 'asyncio' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
