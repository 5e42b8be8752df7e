"""The log of a container, and those who are attached to it, in an event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from async_calls import nothing_left

from ocikit.errors import NotSupportedError
from ocikit.runtime import Container, aio

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ECHO = "while read line; do echo got $line; done; echo end >&2; exit 3"


def lived(root: Path, name: str, bundle: Path, what: Callable[[Container], Any], **options: Any) -> None:
    """Do something with a container that has a monitor, and destroy it."""

    async def live() -> None:
        container = await aio.create(root, name, bundle, lifetime="detached", **options)
        try:
            await what(container)
        finally:
            await aio.destroy(container, force=True)

    with nothing_left(root, name):
        asyncio.run(live())


def test_following(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """Each line comes when it is written, and the loop goes on meanwhile; the end is that of the container."""
    bundle = make_bundle("sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done; exit 4")

    async def follow(container: Container) -> None:
        await aio.start(container)
        readers = [asyncio.create_task(collect(container)) for _ in range(3)]
        assert await asyncio.gather(*readers) == [["1", "2", "3"]] * 3
        assert (await aio.wait(container)).exit_code == 4
        assert await collect(container, follow=False, tail=1) == ["3"]

    async def collect(container: Container, *, follow: bool = True, tail: int | None = None) -> list[str]:
        async with aio.logs(container, follow=follow, tail=tail) as log:
            return [line.text async for line in log]

    lived(root, container_id, bundle, follow)


def test_many_lines_at_once(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """Lines that are there already are not waited for."""
    bundle = make_bundle("sh", "-c", "i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done")

    async def read(container: Container) -> None:
        await aio.start(container)
        await aio.wait(container)
        async with aio.logs(container, follow=True) as log:
            assert [int(line.text) async for line in log] == list(range(2000))

    lived(root, container_id, bundle, read)


def test_a_conversation(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """What is written arrives, what comes back is awaited, and the end ends the iteration."""

    async def talk(container: Container) -> None:
        async with await aio.attach(container) as attached:
            await aio.start(container)
            await attached.write(b"one\n")
            first = await anext(aiter(attached))
            assert (first.stream, first.data) == ("stdout", b"got one\n")
            await attached.write(b"two\n")
            await attached.close_stdin()
            rest = [chunk async for chunk in attached]
            assert b"".join(one.data for one in rest if one.stream == "stdout") == b"got two\n"
            assert attached.ended
        assert (await aio.wait(container)).exit_code == 3

    lived(root, container_id, make_bundle("sh", "-c", ECHO), talk, stdin="monitor")


def test_a_container_that_does_not_read(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """Who writes to it waits, the loop does not; and its end is told to who waits."""

    async def write(container: Container) -> None:
        await aio.start(container)
        async with await aio.attach(container) as attached:
            writing = asyncio.create_task(attached.write(b"x" * 5_000_000))
            await asyncio.sleep(0.2)
            assert not writing.done()
            container.kill()
            with pytest.raises(Exception, match="has ended"):
                await writing

    lived(root, container_id, make_bundle("sleep", "1000"), write, stdin="monitor")


def test_without_a_monitor(root: Path, bundle: Path, container_id: str) -> None:
    """The errors are those of the twins."""

    async def live() -> None:
        container = await aio.create(root, container_id, bundle, stdin="null")
        try:
            with pytest.raises(NotSupportedError):
                await aio.attach(container)
            with pytest.raises(NotSupportedError):
                aio.logs(container)
        finally:
            await aio.destroy(container, force=True)

    with nothing_left(root, container_id):
        asyncio.run(live())
