"""Run a container to its end: create, start, feed and read its pipes or its terminal, wait, destroy."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

from ocikit.errors import RunTimeoutError
from ocikit.runtime.configuration import read_spec
from ocikit.runtime.creation import create
from ocikit.runtime.pipes import OUTPUT_LIMIT, Pipes
from ocikit.runtime.status import Completed

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocikit.runtime.container import Container
    from ocikit.runtime.options import CreateOptions
    from ocikit.runtime.stdio import Stream
    from ocikit.spec import Spec

__all__ = ["OUTPUT_LIMIT", "prepare", "run"]

#: What the streams are when the caller says nothing.
_USUAL = ("null", "pipe", "pipe")


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
    options: CreateOptions | None = None,
) -> Completed:
    """Run a container to its end; nothing of it is left, whatever happens.

    If the configuration gives its process a terminal, that takes the place of the three streams: what the process
    writes to it is its standard output here, and the input, if there is any, is typed, with Ctrl-D at its end.

    Args:
        root: The state root, made if there is none; None for :func:`default_root`.
        container_id: One to 255 of ``A-Za-z0-9_+-.``.
        bundle: The directory that the configuration belongs to.
        spec: The configuration; None reads ``config.json`` of the bundle.
        input: What the program reads from its standard input, instead of ``stdin``.
        stdin: Its standard input, as for :func:`create`, other than a pipe.
        stdout: Its standard output, as for :func:`create`.
        stderr: Its standard error, as for :func:`create`.
        timeout: How long it may take from its start, in seconds; then it is killed. What comes before, hooks among
            it, is not counted.
        output_limit: How much it may write to each pipe, in bytes; then it is killed.
        options: As for :func:`create`, other than a console socket: the terminal is read here.

    Raises:
        RunTimeoutError: It took too long; the error, which is a TimeoutError, has what it wrote so far.
        LimitExceededError: It wrote too much.
        SetupError: A step of setting it up, or executing its program, failed.
        OCIKitError: As :func:`create` raises it.
    """
    creation, data = prepare(
        root, container_id, bundle,
        spec=spec, input=input, stdin=stdin, stdout=stdout, stderr=stderr, options=options,
    )  # fmt: skip
    container = creation()
    with container:
        container.start()
        pipes = Pipes(container, f"container {container.id}", data, output_limit)
        _serve(container, pipes, timeout)
        status = container.wait()
        if pipes.open:
            # What outlived the first process would keep the pipes open.
            container._end_others()  # noqa: SLF001 - the same as destroying it, only earlier
        return Completed(status.exit_code, status.signal, *pipes.finish())


def prepare(
    root: str | os.PathLike[str] | None,
    container_id: str,
    bundle: str | os.PathLike[str],
    *,
    spec: Spec | None = None,
    input: bytes | None = None,  # noqa: A002 - as above
    stdin: Stream = "null",
    stdout: Stream = "pipe",
    stderr: Stream = "pipe",
    options: CreateOptions | None = None,
) -> tuple[Callable[[], Container], memoryview | None]:
    """Check what :func:`run` is asked for.

    Returns:
        What creates the container, and what the program is then given to read; None when nothing is said about it.

    Raises:
        ValueError: Streams and options make no sense together.
        OCIKitError: The configuration cannot be read.
    """
    if input is None and stdin == "pipe":
        raise ValueError("stdin: nobody would write to a pipe here; give the input, or use create()")
    if options is not None and options.console_socket is not None:
        raise ValueError("options: a console socket takes the terminal away that is read here; use create()")
    data = None if input is None else memoryview(input)  # text is refused here, and not after the program was started
    spec = spec or read_spec(os.path.abspath(os.fsdecode(bundle)))
    streams = "pipe" if data is not None else stdin, stdout, stderr
    if spec.process is not None and spec.process.terminal and (stdin, stdout, stderr) == _USUAL:
        streams = "inherit", "inherit", "inherit"  # the terminal takes their place
        data = data or memoryview(b"")  # nobody else could ever type: without input, that is at its end at once
    stdin, stdout, stderr = streams
    create_it = functools.partial(
        create, root, container_id, bundle, spec=spec, stdin=stdin, stdout=stdout, stderr=stderr, options=options
    )
    return create_it, data


def _serve(container: Container, pipes: Pipes, timeout: float | None) -> None:
    with container._init().held() as process:  # noqa: SLF001 - a poll needs the descriptor
        if process is not None and not pipes.serve(process, timeout):
            message = f"container {container.id} has not ended after {timeout} seconds and was killed"
            raise RunTimeoutError(message, *pipes.outputs())
