"""What containers report: their status, how they ended, and what is known of their life."""

from __future__ import annotations

import enum
import os
from typing import TYPE_CHECKING

from ocikit._tuples import NamedTuple

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

__all__ = ["Completed", "ContainerState", "ExitStatus", "Status"]


class Status(enum.StrEnum):
    """What a container is doing (runtime.md, "State"; ``paused`` is what every runtime adds)."""

    #: Everything is made, and the program waits for start.
    CREATED = "created"
    #: The program runs.
    RUNNING = "running"
    #: The program is frozen.
    PAUSED = "paused"
    #: The program has ended, or was never started and is gone.
    STOPPED = "stopped"


class ExitStatus(NamedTuple):
    """How the program of a container ended.

    At most one of ``exit_code`` and ``signal`` is set. Neither is when the end was seen by nobody who could tell:
    an unknown end is never given an invented code.
    """

    #: What the program exited with; None when a signal ended it, and when it is not known.
    exit_code: int | None
    #: The signal that ended the program; None when it exited by itself, and when it is not known.
    signal: int | None
    #: When the end was noticed.
    finished: dt.datetime | None = None
    #: Whether the kernel killed processes of the container because its memory was used up; None when nobody looked, as
    #: for those that exit with 0 and have no monitor.
    oom: bool | None = None
    #: Whether its monitor killed it because its time was up (:attr:`CreateOptions.timeout`).
    timed_out: bool = False
    #: The time that it and those it waited for ran in user mode, in seconds; None when nobody measured it, as for
    #: containers without a monitor.
    user_time: float | None = None
    #: The time that they ran in the kernel, in the same way.
    system_time: float | None = None

    @property
    def known(self) -> bool:
        """Whether it is known how the program ended."""
        return self.exit_code is not None or self.signal is not None

    @classmethod
    def from_wait_status(cls, status: int | None, finished: dt.datetime | None = None) -> ExitStatus:
        """Read a status in the form of ``waitpid``; None is an unknown end."""
        if status is None:
            return cls(None, None, finished)
        if os.WIFSIGNALED(status):
            return cls(None, os.WTERMSIG(status), finished)
        return cls(os.WEXITSTATUS(status), None, finished)

    def _repr_html_(self) -> str:
        from ocikit.runtime.display.states import exit_status as show  # noqa: PLC0415 - for notebooks

        return show(self)


class Completed(NamedTuple):
    """A container that ran to its end and is gone."""

    #: What the program exited with; None when a signal ended it, and when it is not known.
    exit_code: int | None
    #: The signal that ended the program; None when it exited by itself, and when it is not known.
    signal: int | None
    #: What it wrote to its standard output; empty when that was not a pipe.
    stdout: bytes
    #: What it wrote to its standard error; empty when that was not a pipe.
    stderr: bytes

    def _repr_html_(self) -> str:
        from ocikit.runtime.display.states import completed as show  # noqa: PLC0415 - for notebooks

        return show(self)


class ContainerState(NamedTuple):
    """What is known of a container at one moment."""

    #: Its id, unique in its state root.
    id: str
    #: What it is doing.
    status: Status
    #: The process id of its first process, in the pid namespace of this process; None when that has ended.
    pid: int | None
    #: Absolute path of its bundle; empty when whoever made it did not write it down.
    bundle: str
    #: Absolute path of its root file system.
    rootfs: str
    #: The annotations of its configuration.
    annotations: Mapping[str, str]
    #: When it was created; None when that cannot be read.
    created: dt.datetime | None
    #: When its program was started; None when it was not, or when somebody else did it.
    started: dt.datetime | None
    #: When its end was noticed; None while it lives, and when nobody noticed.
    finished: dt.datetime | None
    #: How it ended; None while it lives.
    exit_status: ExitStatus | None

    def _repr_html_(self) -> str:
        from ocikit.runtime.display.states import state as show  # noqa: PLC0415 - for notebooks

        return show(self)
