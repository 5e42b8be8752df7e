"""The life of a container: created, started, run to its end, destroyed, each without holding up the loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ocikit.errors import RunTimeoutError
from ocikit.runtime import creation, running
from ocikit.runtime.aio.exchange import Exchange
from ocikit.runtime.aio.readiness import wait
from ocikit.runtime.aio.streams import connect
from ocikit.runtime.aio.work import deserted, in_thread, like
from ocikit.runtime.pipes import OUTPUT_LIMIT
from ocikit.runtime.status import Completed

if TYPE_CHECKING:
    from ocikit.runtime.container import Container

__all__ = ["create", "destroy", "run", "start"]


def _undo(container: Container) -> None:
    container.destroy(force=True)


@like(creation.create)
async def create(*args: Any, **options: Any) -> Container:  # noqa: ANN401 - the arguments of what it is like
    """Create a container, as :func:`ocikit.runtime.create` does.

    Args:
        *args: What :func:`ocikit.runtime.create` takes.
        **options: As there.

    Returns:
        The container. A task that is cancelled before leaves none.

    Raises:
        OCIKitError: As :func:`ocikit.runtime.create` raises it.
    """
    return await in_thread(lambda: creation.create(*args, **options), _undo)


async def start(container: Container) -> None:
    """Let the program of a created container run, as :meth:`Container.start` does.

    A task that is cancelled stops waiting for the program: as with Ctrl-C there, the container is as it was, or
    running, or destroyed.

    Raises:
        OCIKitError: As :meth:`Container.start` raises it.
    """
    await in_thread(container.start)


async def destroy(container: Container, *, force: bool = False) -> None:
    """Remove a container, as :meth:`Container.destroy` does; a task that is cancelled does so to the end.

    Args:
        container: The container.
        force: Kill it if it runs or is paused.

    Raises:
        OCIKitError: As :meth:`Container.destroy` raises it.
    """
    await in_thread(lambda: container.destroy(force=force))


@like(running.run)
async def run(
    *args: Any,  # noqa: ANN401 - the arguments of what it is like
    timeout: float | None = None,
    output_limit: int = OUTPUT_LIMIT,
    **options: Any,  # noqa: ANN401 - as above
) -> Completed:
    """Run a container to its end, as :func:`ocikit.runtime.run` does.

    Nothing of it is left, whatever happens; a task that is cancelled destroys it first.

    Args:
        *args: What :func:`ocikit.runtime.run` takes.
        timeout: How long it may take from its start, in seconds; then it is killed.
        output_limit: How much it may write to each pipe, in bytes; then it is killed.
        **options: As there.

    Raises:
        RunTimeoutError: It took too long; the error, which is a TimeoutError, has what it wrote so far.
        LimitExceededError: It wrote too much.
        OCIKitError: As :func:`ocikit.runtime.run` raises it.
    """

    def made() -> tuple[Container, memoryview | None]:
        create_it, data = running.prepare(*args, **options)
        return create_it(), data

    loop = asyncio.get_running_loop()
    container, data = await in_thread(made, lambda found: _undo(found[0]))
    try:
        done = await _to_its_end(container, data, timeout, output_limit)
    except BaseException as error:
        if not deserted(loop, type(error)):  # then the container is forgotten, and hence destroyed
            await destroy(container, force=True)
        raise
    await destroy(container, force=True)
    return done


async def _to_its_end(
    container: Container, data: memoryview | None, timeout: float | None, output_limit: int
) -> Completed:
    await start(container)
    who = f"container {container.id}"
    async with await connect(container) as streams, Exchange(streams, who, data, output_limit) as exchange:
        if not await exchange.serve(container, timeout):
            raise RunTimeoutError(f"{who} has not ended after {timeout} seconds and was killed", *exchange.outputs())
        status = await wait(container)
        if exchange.open:
            # What outlived the first process would keep the pipes open.
            await in_thread(container._end_others)  # noqa: SLF001 - the same as destroying it, only earlier
        return Completed(status.exit_code, status.signal, *await exchange.finish())
