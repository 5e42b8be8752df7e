"""The runtime for programs with an event loop: what takes time is awaited, and holds up nobody.

* :func:`create`, :func:`start`, :func:`destroy` and :func:`run` do what their namesakes of :mod:`ocikit.runtime` do;
* :func:`wait` waits for a container or a process, :func:`events` tells everything that happens to a container;
* :func:`exec` starts a further process, held as a :class:`Process`; :func:`streams` has the pipes of a container;
* :func:`logs` and :func:`attach` have what a container writes that has a monitor.

It is the same runtime, not another one: a container that was made here is a :class:`~ocikit.runtime.Container` like any
other, and everything else about it takes no time to speak of. Whatever a cancelled task had begun is undone.
"""

from __future__ import annotations

from ocikit.runtime.aio.attached import Attached, attach, logs
from ocikit.runtime.aio.life import create, destroy, run, start
from ocikit.runtime.aio.process import Process, exec  # noqa: A004 - the name of the method
from ocikit.runtime.aio.readiness import AsyncStream, events, wait
from ocikit.runtime.aio.streams import Streams, streams

__all__ = [
    "AsyncStream",
    "Attached",
    "Process",
    "Streams",
    "attach",
    "create",
    "destroy",
    "events",
    "exec",
    "logs",
    "run",
    "start",
    "streams",
    "wait",
]
