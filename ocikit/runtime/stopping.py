"""Stop and remove many containers at once, whoever made them: what an application does when it shuts down.

All of them are told to end at the same time and share one deadline. What cannot be done is reported and does not keep
the others.
"""

from __future__ import annotations

import contextlib
import signal as signals
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, overload

from ocikit._tuples import NamedTuple
from ocikit.errors import NotExistError, NotRunningError, OCIKitError
from ocikit.runtime.late_log import log as _log
from ocikit.runtime.process import check_signal
from ocikit.runtime.uninterrupted import uninterrupted

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from ocikit.runtime.container import Container
    from ocikit.runtime.state.root import StateRoot
    from ocikit.runtime.status import ExitStatus

__all__ = ["Outcome", "Report", "stop_and_remove"]

# An empty directory may be a container that is just being made; for longer than this, in seconds, nobody does.
_STALE_SECONDS: Final = 60.0


class Outcome(NamedTuple):
    """What became of one container."""

    #: Its id.
    id: str
    #: ``"removed"``; ``"vanished"``, when somebody else was faster; or ``"failed"``.
    result: str
    #: Whether it had to be killed, because it did not end in time or had never been started.
    killed: bool = False
    #: How it ended; None when it was not looked at.
    exit_status: ExitStatus | None = None
    #: Why it failed.
    error: Exception | None = None


class Report(Sequence[Outcome]):
    """What became of all containers with a prefix: one :class:`Outcome` for each, sorted by id."""

    __slots__ = ("outcomes", "warnings")

    def __init__(self, outcomes: tuple[Outcome, ...] = (), warnings: tuple[str, ...] = ()) -> None:
        #: One for each container.
        self.outcomes = outcomes
        #: What kept from looking for containers at all.
        self.warnings = warnings

    def __repr__(self) -> str:
        return f"Report(outcomes={self.outcomes!r}, warnings={self.warnings!r})"

    def _repr_html_(self) -> str:
        from ocikit.runtime.display.containers import report as show  # noqa: PLC0415 - for notebooks

        return show(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Report):
            return NotImplemented
        return (self.outcomes, self.warnings) == (other.outcomes, other.warnings)

    def __hash__(self) -> int:
        return hash((self.outcomes, self.warnings))

    def __len__(self) -> int:
        return len(self.outcomes)

    @overload
    def __getitem__(self, index: int) -> Outcome: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Outcome, ...]: ...
    def __getitem__(self, index: int | slice) -> Outcome | tuple[Outcome, ...]:
        return self.outcomes[index]

    @property
    def removed(self) -> tuple[str, ...]:
        """The ids of the containers that were removed."""
        return tuple(outcome.id for outcome in self.outcomes if outcome.result == "removed")

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The outcomes of the containers that are still there."""
        return tuple(outcome for outcome in self.outcomes if outcome.result == "failed")

    @property
    def ok(self) -> bool:
        """Whether nothing is left and nothing was in doubt."""
        return not self.failed and not self.warnings


def stop_and_remove(
    root: str | os.PathLike[str] | None = None,
    *,
    prefix: str,
    timeout: float = 10.0,
    signal: int = signals.SIGTERM,
    all: bool = False,  # noqa: A002 - the one word for it
) -> Report:
    """Stop and remove every container whose id has a prefix, also those that runc made.

    Each gets the signal, time to end, SIGKILL if it does not, and is destroyed. Paused containers are thawed, and
    containers that were never started are killed at once.

    Args:
        root: The state root; None for :func:`default_root`. One that does not exist has no containers.
        prefix: What the ids begin with.
        timeout: How long all of them together have to end, in seconds.
        signal: What they are told to end with.
        all: Must be True for an empty prefix, which every id has.

    Returns:
        What became of each; every failure is in here and in the log ("ocikit.runtime"), and none keeps the others.

    Raises:
        ValueError: The prefix is empty, and ``all`` is not set; or there is no such signal.
    """
    check_signal(signal, lowest=1)
    if not prefix and not all:
        raise ValueError("prefix: an empty prefix is that of every container; give all=True if you mean it")
    if sys.platform != "linux":
        return Report()
    return _Stopping(root, prefix, signal).carry_out(timeout)


class _Stopping:
    """One call."""

    def __init__(self, root: str | os.PathLike[str] | None, prefix: str, signal: int) -> None:
        from ocikit.runtime.state.root import root_path  # noqa: PLC0415 - these rooms need Linux

        self._root = root_path(root)
        self._prefix = prefix
        self._signal = signal
        self._killed: set[str] = set()
        self._outcomes: dict[str, Outcome] = {}

    def carry_out(self, timeout: float) -> Report:
        """Do it."""
        try:
            containers = self._find()
        except FileNotFoundError:
            return Report()
        except OCIKitError as error:
            warning = f"{self._root}: no container was stopped: {error}"
            _log.warning("%s", warning)
            return Report(warnings=(warning,))
        waiting = [one for one in containers if self._attempt(one, self._tell)]
        deadline = time.monotonic() + timeout
        for container in waiting:
            self._attempt(container, lambda one: self._wait(one, deadline))
        for container in containers:
            self._attempt(container, self._remove)
        for outcome in self._outcomes.values():
            _report(outcome)
        return Report(tuple(self._outcomes[name] for name in sorted(self._outcomes)))

    def _find(self) -> list[Container]:
        from ocikit.runtime.container import Container  # noqa: PLC0415
        from ocikit.runtime.listing import scan  # noqa: PLC0415
        from ocikit.runtime.state.root import StateRoot  # noqa: PLC0415

        containers = []
        with StateRoot.open(self._root) as root:
            for container_id, found in scan(root, self._prefix):
                one = self._remains(root, container_id) if isinstance(found, NotExistError) else found
                if isinstance(one, Container):
                    containers.append(one)
                elif one is not None:
                    self._fail(container_id, one)
        return containers

    def _remains(self, root: StateRoot, container_id: str) -> Container | Exception | None:
        """Deal with a directory without a state: remove what is left over, wait for what is being made."""
        from ocikit.runtime import teardown  # noqa: PLC0415
        from ocikit.runtime.listing import load  # noqa: PLC0415

        try:
            if teardown.remove_remains(root, container_id, _STALE_SECONDS):
                self._outcomes[container_id] = Outcome(container_id, "removed")
                return None
            return load(self._root, container_id)
        except NotExistError:
            return None
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are stopped
            return error

    def _attempt(self, container: Container, step: Callable[[Container], bool]) -> bool:
        """Take one step with one container, unless an earlier one has failed."""
        if container.id in self._outcomes:
            return False
        try:
            return step(container)
        except NotExistError:
            self._outcomes[container.id] = Outcome(container.id, "vanished")
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are stopped
            self._fail(container.id, error)
        return False

    def _fail(self, container_id: str, error: Exception) -> None:
        self._outcomes[container_id] = Outcome(container_id, "failed", container_id in self._killed, error=error)

    def _tell(self, container: Container) -> bool:
        """Tell a container to end; return whether it is to be waited for."""
        from ocikit.runtime.status import Status  # noqa: PLC0415

        status = container.status()
        if status in {Status.RUNNING, Status.PAUSED}:
            with contextlib.suppress(NotRunningError):
                container._let_end(self._signal)  # noqa: SLF001
                return True
        elif status is Status.CREATED:
            self._killed.add(container.id)
        return False

    def _wait(self, container: Container, deadline: float) -> bool:
        try:
            container.wait(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            # At once, and not when it is its turn to be removed: so all of them die at the same time.
            with contextlib.suppress(NotRunningError):
                container.kill()
                self._killed.add(container.id)
        return True

    def _remove(self, container: Container) -> bool:
        removed = uninterrupted(lambda hurry: container._destroy(force=True, hurry=hurry), finish=True)  # noqa: SLF001
        ended = container._init().exit_status  # noqa: SLF001
        result = "removed" if removed else "vanished"
        self._outcomes[container.id] = Outcome(container.id, result, container.id in self._killed, ended)
        return removed


def _report(outcome: Outcome) -> None:
    if outcome.result == "failed":
        _log.error("container %s could not be removed: %s", outcome.id, outcome.error)
    else:
        how = " (killed)" if outcome.killed else ""
        _log.info("container %s: %s%s", outcome.id, outcome.result, how)
