"""Run a container to its end: create, start, feed and read its pipes, wait, destroy."""

from __future__ import annotations

import os
import select
import time
from typing import TYPE_CHECKING

from ocikit.errors import LimitExceededError, RunTimeoutError
from ocikit.runtime.creation import create
from ocikit.runtime.status import Completed
from ocikit.runtime.stdio import broken_pipes_raise

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocikit.runtime.container import Container
    from ocikit.runtime.stdio import Stream
    from ocikit.spec import Spec

__all__ = ["OUTPUT_LIMIT", "run"]

#: What a container may write to each of its pipes when the caller says nothing: 64 MiB, in bytes.
OUTPUT_LIMIT = 64 * 1024 * 1024

_PIECE = 1 << 16

# A pipe may have been handed to somebody outside of the container, who keeps it open: its end is not waited for longer.
_DRAIN_SECONDS = 2.0


def run(
    root: str | os.PathLike[str] | None,
    container_id: str,
    bundle: str | os.PathLike[str],
    *,
    spec: Spec | None = None,
    input: bytes | None = None,  # noqa: A002 - the name that subprocess.run gives it
    stdin: Stream = "null",
    stdout: Stream = "pipe",
    stderr: Stream = "pipe",
    timeout: float | None = None,
    output_limit: int = OUTPUT_LIMIT,
) -> Completed:
    """Run a container to its end; nothing of it is left, whatever happens.

    Args:
        root: The state root, made if there is none; None for :func:`default_root`.
        container_id: One to 255 of ``A-Za-z0-9_+-.``.
        bundle: The directory that the configuration belongs to.
        spec: The configuration; None reads ``config.json`` of the bundle.
        input: What the program reads from its standard input, instead of ``stdin``.
        stdin: Its standard input, as for :func:`create`, other than a pipe.
        stdout: Its standard output, as for :func:`create`.
        stderr: Its standard error, as for :func:`create`.
        timeout: How long it may take from its start, in seconds; then it is killed.
        output_limit: How much it may write to each pipe, in bytes; then it is killed.

    Raises:
        RunTimeoutError: It took too long; the error, which is a TimeoutError, has what it wrote so far.
        LimitExceededError: It wrote too much.
        SetupError: A step of setting it up, or executing its program, failed.
        OCIKitError: As :func:`create` raises it.
    """
    if input is None and stdin == "pipe":
        raise ValueError("stdin: nobody would write to a pipe here; give the input, or use create()")
    data = memoryview(input or b"")  # text is refused here, and not after the program was started
    container = create(
        root,
        container_id,
        bundle,
        spec=spec,
        stdin="pipe" if input is not None else stdin,
        stdout=stdout,
        stderr=stderr,
    )
    with container:
        container.start()
        pipes = _Pipes(container, data, output_limit)
        pipes.serve(timeout)
        status = container.wait()
        return Completed(status.exit_code, status.signal, *pipes.finish())


class _Pipes:
    """The pipes of a running container."""

    def __init__(self, container: Container, data: memoryview, limit: int) -> None:
        self._container = container
        self._input = data
        self._limit = limit
        self._outputs: dict[int, tuple[str, bytearray]] = {}
        self._waiting = select.poll()
        for name in ("stdout", "stderr"):
            file = getattr(container, name)
            if file is not None:
                os.set_blocking(file.fileno(), False)
                self._outputs[file.fileno()] = name, bytearray()
                self._waiting.register(file.fileno(), select.POLLIN)
        self._open = set(self._outputs)
        if container.stdin is not None:
            os.set_blocking(container.stdin.fileno(), False)
            self._waiting.register(container.stdin.fileno(), select.POLLOUT)

    def serve(self, timeout: float | None) -> None:
        """Feed and read until the container has ended."""
        with self._container._init().held() as process:  # noqa: SLF001 - a poll needs the descriptor
            if process is not None:
                self._serve_until(process, timeout)

    def _serve_until(self, process: int, timeout: float | None) -> None:
        deadline = None if timeout is None else time.monotonic() + timeout
        self._waiting.register(process, select.POLLIN)
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                who = self._container.id
                message = f"container {who} has not ended after {timeout} seconds and was killed"
                raise RunTimeoutError(message, *self._outputs_so_far())
            ready = self._waiting.poll(None if left is None else min(left * 1000 + 1, 1e9))
            self._serve_pipes(fd for fd, _ in ready if fd != process)
            if any(fd == process for fd, _ in ready):
                self._waiting.unregister(process)
                return

    def _serve_pipes(self, ready: Iterable[int]) -> None:
        for fd in ready:
            if fd in self._outputs:
                self._read(fd)
            else:
                self._feed(fd)

    def _read(self, fd: int) -> None:
        name, data = self._outputs[fd]
        try:
            piece = os.read(fd, _PIECE)
        except BlockingIOError:
            return
        data += piece
        if len(data) > self._limit:
            remedy = "it was killed; raise output_limit, or give it a file"
            raise LimitExceededError(f"{name} of container {self._container.id} in bytes", self._limit, remedy=remedy)
        if not piece:
            self._waiting.unregister(fd)
            self._open.discard(fd)

    def _feed(self, fd: int) -> None:
        try:
            with broken_pipes_raise():
                self._input = self._input[os.write(fd, self._input[:_PIECE]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._input = self._input[:0]  # it does not want to read any more
        if not self._input and self._container.stdin is not None:
            self._waiting.unregister(fd)
            self._container.stdin.close()

    def finish(self) -> tuple[bytes, bytes]:
        """Return what was written, to the end of the pipes."""
        stdin = self._container.stdin
        if stdin is not None and not stdin.closed:
            self._waiting.unregister(stdin.fileno())
        if self._open:
            # What outlived the first process would keep the pipes open.
            self._container._end_others()  # noqa: SLF001 - the same as destroying it, only earlier
        deadline = time.monotonic() + _DRAIN_SECONDS
        while self._open and (left := deadline - time.monotonic()) > 0:
            self._serve_pipes(fd for fd, _ in self._waiting.poll(left * 1000 + 1))
        return self._outputs_so_far()

    def _outputs_so_far(self) -> tuple[bytes, bytes]:
        found = {name: bytes(data) for name, data in self._outputs.values()}
        return found.get("stdout", b""), found.get("stderr", b"")
