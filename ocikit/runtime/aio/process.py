"""A further process of a container, as a task holds it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from ocikit.errors import CgroupError, LimitExceededError, RunTimeoutError
from ocikit.runtime.aio.exchange import Exchange
from ocikit.runtime.aio.readiness import wait
from ocikit.runtime.aio.streams import connect
from ocikit.runtime.aio.work import apart, deserted, in_thread, kept, like
from ocikit.runtime.child import ContainerProcess
from ocikit.runtime.container import Container
from ocikit.runtime.pipes import OUTPUT_LIMIT
from ocikit.runtime.status import Completed

if TYPE_CHECKING:
    from ocikit.runtime.aio.streams import Streams
    from ocikit.runtime.console import Console
    from ocikit.runtime.status import ExitStatus

__all__ = ["Process", "exec"]


class Process:
    """A process in a container beside its first one, made by :func:`exec`.

    Used like one of :mod:`asyncio.subprocess`. As a context manager, it is killed at the end of the block if it still
    runs. When this object is forgotten, the process goes on.
    """

    def __init__(self, process: ContainerProcess, streams: Streams) -> None:
        #: The process, as it is held without a loop; its pipes are here.
        self.process = process
        #: What it reads; None unless that is a pipe, or a terminal.
        self.stdin: asyncio.StreamWriter | None = streams.stdin
        #: What it writes, or what its terminal shows; None unless that is a pipe, or a terminal.
        self.stdout: asyncio.StreamReader | None = streams.stdout
        #: What it writes to its standard error; None unless that is a pipe.
        self.stderr: asyncio.StreamReader | None = streams.stderr
        self._streams = streams
        self._loop = asyncio.get_running_loop()

    def __repr__(self) -> str:
        return f"<aio.Process of {self.process!r}>"

    @property
    def pid(self) -> int:
        """The process id, in the pid namespace of this process."""
        return self.process.pid

    @property
    def console(self) -> Console | None:
        """Its terminal, for the size; None when it has none, or a console socket got it."""
        return self.process.console

    async def wait(self, timeout: float | None = None) -> ExitStatus:
        """Wait until the process has ended.

        Args:
            timeout: How long, in seconds; None waits as long as it takes.

        Returns:
            How it ended. Any number of tasks may wait for one process.

        Raises:
            TimeoutError: It has not ended in that time; it goes on.
        """
        return await wait(self.process, timeout)

    async def communicate(
        self,
        input: bytes | None = None,  # noqa: A002 - the name that asyncio.subprocess.Process.communicate gives it
        timeout: float | None = None,
        *,
        output_limit: int = OUTPUT_LIMIT,
    ) -> Completed:
        """Feed and read its pipes, or its terminal, until it has ended.

        Args:
            input: What it reads from a standard input that is a pipe, or what is typed at its terminal.
            timeout: How long it may take from now on, in seconds; then it is killed, with all that it started.
            output_limit: How much it may write to each pipe, in bytes; then it is killed in the same way.

        Returns:
            How it ended, and what it wrote to those streams that are pipes; what was written to a terminal is its
            standard output. What was read before is not in it.

        Raises:
            RunTimeoutError: It took too long; the error, which is a TimeoutError, has what it wrote so far.
            LimitExceededError: It wrote too much.
            ValueError: There is input, and neither a pipe nor a terminal to give it to.
        """
        if input and self.stdin is None:
            raise ValueError('input: nothing would read it; start the process with stdin="pipe", or a terminal')
        who = f"process {self.pid} in container {self.process._container_id}"  # noqa: SLF001 - its other face
        try:
            async with Exchange(self._streams, who, input, output_limit) as exchange:
                if not await exchange.serve(self.process, timeout):
                    message = f"{who} has not ended after {timeout} seconds and was killed, with all that it started"
                    try:
                        await self.kill_all()
                    except CgroupError as error:
                        message = f"{message}, but does not end: {error}"
                        raise RunTimeoutError(message, *await exchange.rest()) from error
                    raise RunTimeoutError(message, *await exchange.rest())
                status = await self.wait()
                return Completed(status.exit_code, status.signal, *await exchange.finish())
        except LimitExceededError:
            await self.kill_all()
            raise

    def signal(self, number: int) -> None:
        """Send a signal to the process, and to no other.

        Args:
            number: The signal, such as :data:`signal.SIGTERM`.

        Raises:
            NotRunningError: It has ended.
            ValueError: There is no such signal.
            SystemCallError: The kernel refused.
        """
        self.process.signal(number)

    #: The name that :mod:`asyncio.subprocess` gives it.
    send_signal = signal

    def kill(self) -> None:
        """Kill the process, and no other; one that has ended is nothing to do."""
        self.process.kill()

    async def kill_all(self) -> None:
        """Kill the process and everything that it started; see :meth:`ContainerProcess.kill_all`.

        Raises:
            CgroupError: Somebody does not end.
        """
        await in_thread(self.process.kill_all)

    async def close(self) -> None:
        """Close the streams; it goes on. Closing twice is nothing."""
        try:
            await self._streams.close()
        finally:
            self.process.close()

    async def end(self) -> None:
        """Kill the process if it runs, with all that it started, wait for it, and close what connects us with it."""
        try:
            await in_thread(self.process.end)
        finally:
            await self.close()

    async def __aenter__(self) -> Self:
        kept.add(self.process)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        kept.discard(self.process)
        if deserted(self._loop, kind):
            _end_at_once(self.process, self._streams)
        else:
            await self.end()


def _end_at_once(process: ContainerProcess, streams: Streams | None = None) -> None:
    """Do without the loop, which is closed."""
    if streams is not None:
        streams.abort()
    process.kill()
    apart(process.end)


@like(Container.exec)
async def exec(*args: Any, **options: Any) -> Process:  # noqa: A001, ANN401 - the name and the arguments of the method
    """Start a further process in a container, as :meth:`Container.exec` does.

    Args:
        *args: The container, and what :meth:`Container.exec` takes.
        **options: As there.

    Returns:
        The process, whose program is executed. A task that is cancelled before leaves none.

    Raises:
        OCIKitError: As :meth:`Container.exec` raises it.
    """
    process = await in_thread(lambda: Container.exec(*args, **options), ContainerProcess.end)
    loop = asyncio.get_running_loop()
    kept.add(process)
    try:
        return Process(process, await connect(process))
    except BaseException as error:
        if deserted(loop, type(error)):
            _end_at_once(process)
        else:
            await in_thread(process.end)
        raise
    finally:
        kept.discard(process)
