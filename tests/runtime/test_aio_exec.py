"""Further processes in an event loop: fed, read, waited for, killed."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from async_calls import QUIET, nothing_left, nothing_left_but, until

from ocikit import runtime
from ocikit.errors import LimitExceededError, NotRunningError, RunTimeoutError, SetupError
from ocikit.runtime import aio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MB = 1 << 20
PIPES: dict[str, Any] = {"stdin": "pipe", "stdout": "pipe", "stderr": "pipe"}


@pytest.fixture
def running(root: Path, bundle: Path, container_id: str) -> Iterator[runtime.Container]:
    """Give a container whose program sleeps; what was done in it left nothing."""
    with nothing_left(root, container_id), runtime.create(root, container_id, bundle, stdin="null") as container:
        container.start()
        with nothing_left_but(container):
            yield container


def test_streams_of_a_process(running: runtime.Container) -> None:
    """It is talked to line by line, and its end is seen in its streams."""

    async def talk() -> None:
        script = "while read x; do echo got $x; done; echo over >&2; exit 4"
        async with await aio.exec(running, ["sh", "-c", script], **PIPES) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.pid == process.process.pid
            for number in range(3):
                process.stdin.write(f"{number}\n".encode())
                await process.stdin.drain()
                assert await process.stdout.readline() == f"got {number}\n".encode()
            process.stdin.close()
            await process.stdin.wait_closed()
            assert (await process.stdout.read(), await process.stderr.read()) == (b"", b"over\n")
            assert (await process.wait()).exit_code == 4

    asyncio.run(talk())


def test_much_in_both_directions(running: runtime.Container) -> None:
    """More than any pipe holds goes in and comes out at the same time, at two outputs."""
    data = os.urandom(MB) * 4

    async def exchange() -> None:
        script = "head -c 3000000 /dev/zero >&2 & cat; wait"
        async with await aio.exec(running, ["sh", "-c", script], **PIPES) as process:
            done = await process.communicate(data)
            assert (done.exit_code, done.stdout, done.stderr) == (0, data, bytes(3_000_000))
        async with await aio.exec(running, ["true"], **PIPES) as process:  # nobody reads it
            assert (await process.communicate(data)).exit_code == 0

    asyncio.run(exchange())


def test_what_was_read_before(running: runtime.Container) -> None:
    """Communicating goes on where reading has stopped."""

    async def both() -> None:
        async with await aio.exec(running, ["sh", "-c", "echo one; cat"], **PIPES) as process:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"one\n"
            assert (await process.communicate(b"two")).stdout == b"two"

    asyncio.run(both())


def test_taking_too_long(running: runtime.Container) -> None:
    """It is killed, what it started is not, and the error has what it wrote."""

    async def wait() -> None:
        async with await aio.exec(running, ["sh", "-c", "echo out; echo err >&2; exec sleep 1000"], **PIPES) as process:
            with pytest.raises(RunTimeoutError, match=r"has not ended after 0\.5 seconds and was killed") as caught:
                await process.communicate(timeout=0.5)
            assert (caught.value.stdout, caught.value.stderr) == (b"out\n", b"err\n")
            assert (await process.wait(60)).signal == signal.SIGKILL

    asyncio.run(wait())


def test_writing_too_much(running: runtime.Container) -> None:
    """It is killed."""

    async def read() -> None:
        async with await aio.exec(running, ["cat", "/dev/zero"], stdin="null", stdout="pipe") as process:
            with pytest.raises(LimitExceededError, match="stdout of process"):
                await process.communicate(output_limit=MB)
            assert (await process.wait(60)).signal == signal.SIGKILL

    asyncio.run(read())


def test_input_for_nobody(running: runtime.Container) -> None:
    """Input without a pipe is refused."""

    async def feed() -> None:
        async with await aio.exec(running, ["true"], **QUIET) as process:
            with pytest.raises(ValueError, match="nothing would read it"):
                await process.communicate(b"x")

    asyncio.run(feed())


def test_signals(running: runtime.Container) -> None:
    """They reach the process, also by the name that asyncio has for it; one that has ended gets none."""

    async def send() -> None:
        for way in ("signal", "send_signal"):
            process = await aio.exec(running, ["sleep", "1000"], **QUIET)
            getattr(process, way)(signal.SIGTERM)
            assert (await process.wait()).signal == signal.SIGTERM
            with pytest.raises(NotRunningError):
                process.signal(signal.SIGTERM)
            process.kill()
            await process.end()

    asyncio.run(send())


def test_the_end_of_the_block(running: runtime.Container) -> None:
    """A process that still runs is killed, whatever ends the block."""

    async def leave() -> None:
        with pytest.raises(ZeroDivisionError):
            async with await aio.exec(running, ["sleep", "1000"], **PIPES) as process:
                raise ZeroDivisionError
        assert (await process.wait(0)).signal == signal.SIGKILL
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), await aio.exec(running, ["cat"], **PIPES) as process:
                await process.wait()
        assert (await process.wait(0)).signal == signal.SIGKILL

    asyncio.run(leave())


def test_a_process_whose_parent_is_killed(running: runtime.Container) -> None:
    """When somebody kills its attendant, the process goes on, and is waited for all the same."""

    async def wait() -> None:
        process = await aio.exec(running, ["sh", "-c", "read x; exit 6"], stdin="pipe")
        assert process.stdin is not None
        os.kill(process.process._attendant.pid, signal.SIGKILL)
        await until(lambda: not process.process._attendant.alive())
        with pytest.raises(TimeoutError, match=f"process {process.pid}"):
            await process.wait(0.05)
        waiting = asyncio.create_task(process.wait())
        process.stdin.write(b"\n")
        assert (await waiting).exit_code in {6, None}
        await process.end()

    asyncio.run(wait())


def test_a_terminal(running: runtime.Container) -> None:
    """It is typed at and read as streams, resized by its console, and ends like a stream."""

    async def shell() -> None:
        async with await aio.exec(running, ["sh"], terminal=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.console is not None
            process.console.resize(40, 120)
            process.stdin.write(b"stty size; exit 3\n")
            await process.stdin.drain()
            assert b"40 120" in await process.stdout.read()
            assert (await process.wait()).exit_code == 3
        async with await aio.exec(running, ["sh", "-c", "cat; exit 2"], terminal=True) as process:
            done = await process.communicate(b"typed")
            assert done.exit_code == 2
            assert b"typed" in done.stdout

    asyncio.run(shell())


def test_what_cannot_be_executed(running: runtime.Container) -> None:
    """It is the error of the twin, and leaves nothing."""

    async def start() -> None:
        with pytest.raises(SetupError, match="no-such-program"):
            await aio.exec(running, ["no-such-program"], **PIPES)

    asyncio.run(start())


def test_many_processes_at_once(running: runtime.Container) -> None:
    """One loop talks to thirty of them."""

    async def one(number: int) -> bytes:
        async with await aio.exec(running, ["cat"], **PIPES) as process:
            return (await process.communicate(f"{number}".encode())).stdout

    async def every() -> list[bytes]:
        return await asyncio.gather(*map(one, range(30)))

    assert asyncio.run(every()) == [f"{number}".encode() for number in range(30)]


def test_the_streams_of_a_container(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """They are taken once, are the container's no more, and are closed when they are left."""

    async def talk(container: runtime.Container) -> None:
        async with await aio.streams(container) as streams:
            assert streams.stdin is not None
            assert streams.stdout is not None
            assert streams.stderr is None
            assert container.stdin is None
            with pytest.raises(ValueError, match="no pipe and no terminal"):
                await aio.streams(container)
            await aio.start(container)
            streams.stdin.write(b"hello\n")
            assert await streams.stdout.readline() == b"hello\n"
        assert (await aio.wait(container, 60)).exit_code == 0

    with nothing_left(root, container_id):
        container = runtime.create(root, container_id, make_bundle("cat"), stdin="pipe", stdout="pipe")
        with container:
            asyncio.run(talk(container))


def test_the_terminal_of_a_container(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """It is a pair of streams, too, and the container can be destroyed while they are open."""

    async def talk() -> None:
        bundle = make_bundle("sh", process={"terminal": True})
        container = await aio.create(root, container_id, bundle)
        async with await aio.streams(container) as streams:
            assert streams.stdin is not None
            assert streams.stdout is not None
            assert streams.console is container.console
            await aio.start(container)
            streams.stdin.write(b"echo $((40+2))\n")
            await streams.stdout.readuntil(b"42")
            await aio.destroy(container, force=True)
            await streams.stdout.read()

    with nothing_left(root, container_id):
        asyncio.run(talk())


def test_a_host_that_reaps_every_child(running: runtime.Container) -> None:
    """Exit codes are known as they are without a loop, or honestly unknown."""

    def reap() -> None:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass

    async def wait() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, reap)
        async with await aio.exec(running, ["sh", "-c", "exit 6"], **QUIET) as process:
            assert (await process.wait(60)).exit_code in {6, None}

    asyncio.run(wait())
