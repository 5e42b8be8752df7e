"""Running the hooks that belong on the host: before the container's root is changed, after its start, after its end.

The helper runs them, one after the other, and is their parent: this interpreter is not forked, and no host that waits
for every child, or for none, takes their exit status away. A word on the channel stops them, and so does the end of
this process as long as the container is not made; only what cleans up goes on alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import time
from typing import TYPE_CHECKING, Final, Self

from ocikit import _sys
from ocikit._fs import Descriptor
from ocikit.errors import ContainerError, HookError, SetupError
from ocikit.runtime import channel
from ocikit.runtime.channel import SAID_FAILED, SAID_READY
from ocikit.runtime.hook_commands import commands, parse_hooks
from ocikit.runtime.host.procfs import own_status
from ocikit.runtime.late_log import log as _log
from ocikit.runtime.plan.hooks import STOPPABLE, TIED, hook_failure, hook_step, state_text
from ocikit.runtime.plan.steps import Op, Plan, Step
from ocikit.runtime.reaping import reap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocikit.runtime.hook_commands import HookCommand
    from ocikit.runtime.state.documents import Record
    from ocikit.runtime.uninterrupted import Cancellation
    from ocikit.spec import Spec

__all__ = ["CreationHooks", "poststart_hooks", "run_poststart", "run_poststop"]

_STOP: Final = b"s"

#: How long a hook that cleans up may go on when whoever waits for it has been interrupted, in seconds.
_GRACE: Final = 10.0

#: How long the helper may take to kill a hook, in seconds; it gives up after ten on one that does not die.
_DEATH: Final = 15.0


class CreationHooks:
    """The hooks of one creation: those that are run in the middle of it, and those that clean up after it failed."""

    def __init__(self, spec: Spec, container_id: str, bundle: str, cancellation: Cancellation) -> None:
        self._spec = spec
        self._id = container_id
        self._bundle = bundle
        self._cancellation = cancellation
        self._begun = False

    def run(self, pid: int) -> None:
        """Run the prestart and createRuntime hooks.

        Args:
            pid: The process id of init.

        Raises:
            HookError: One of them failed; the others are not run.
            SetupError: They could not be run.
            Cancelled: Whoever waits for the creation has been interrupted.
        """
        self._begun = True
        # Once prestart hooks were run by start, for a container that was created: that is what they go on being told.
        for kind, status in (("prestart", "created"), ("createRuntime", "creating")):
            state = state_text(self._id, self._bundle, self._spec.annotations, status, pid)
            run(commands(self._spec.hooks, kind), state, self._bundle, self._cancellation, how=TIED)

    def clean_up(self) -> None:
        """Run the poststop hooks if the creation failed after the first hooks were due; what fails is logged."""
        if self._begun:
            state = state_text(self._id, self._bundle, self._spec.annotations, "stopped", None)
            _run_all(self._id, commands(self._spec.hooks, "poststop"), state, self._bundle, self._cancellation)


def poststart_hooks(record: Record) -> tuple[HookCommand, ...]:
    """Return the hooks that are to be run after a container was started.

    Raises:
        StateError: What its state says of them are no hooks.
    """
    return parse_hooks(record.hooks, "poststart", f"state of container {record.id}")


def run_poststart(record: Record, hooks: Sequence[HookCommand], cancellation: Cancellation) -> None:
    """Run the hooks for a container that was just started.

    Raises:
        HookError: One of them failed; the others are not run.
        SetupError: They could not be run.
        Cancelled: Whoever waits for the start has been interrupted.
    """
    state = state_text(record.id, record.bundle, record.annotations, "running", record.pid)
    run(hooks, state, record.bundle, cancellation, how=STOPPABLE)


def run_poststop(record: Record, cancellation: Cancellation) -> None:
    """Run the hooks for a container of which nothing is left; those that fail are logged, and the others go on."""
    try:
        hooks = parse_hooks(record.hooks, "poststop", f"state of container {record.id}")
    except ContainerError as error:
        _log.warning("container %s: its poststop hooks were not run: %s", record.id, error)
        return
    state = state_text(record.id, record.bundle, record.annotations, "stopped", None)
    _run_all(record.id, hooks, state, record.bundle, cancellation)


def _run_all(
    container_id: str,
    hooks: Sequence[HookCommand],
    state: tuple[bytes, bytes],
    bundle: str,
    cancellation: Cancellation,
) -> None:
    for hook in hooks:
        try:
            run((hook,), state, bundle, cancellation, how=STOPPABLE, grace=_GRACE)
        except (ContainerError, OSError) as error:
            _log.warning("container %s: %s", container_id, error)


def run(
    hooks: Sequence[HookCommand],
    state: tuple[bytes, bytes],
    bundle: str,
    cancellation: Cancellation,
    *,
    how: int,
    grace: float | None = None,
) -> None:
    """Run hooks on the host, in their order, until one fails.

    Args:
        hooks: The hooks.
        state: What they read.
        bundle: Their working directory; the root of the file system when it is gone.
        cancellation: How they are told to stop.
        how: What stops them (:mod:`ocikit.runtime.plan.hooks`).
        grace: For how many seconds a hook may go on that is told to stop; None stops it at once, and raises.

    Raises:
        HookError: One failed.
        SetupError: They could not be run.
        Cancelled: They were stopped, and have no grace.
        NotSupportedError: The helper cannot be run here.
    """
    if not hooks:
        return
    directory = bundle if os.path.isdir(bundle) else "/"
    umask = own_status().umask
    steps = (
        Step(Op.CWD, "enter the bundle", (0,), (os.fsencode(directory),), directory),
        *(hook_step(hook, state, how=how, umask=umask) for hook in hooks),
        Step(Op.READY, "say that the hooks are done"),
    )
    with _Running(Plan(steps)) as running:
        if grace is None:
            with cancellation.waking(running.hurry):
                failure = running.outcome(0.0)
            cancellation.check()
        else:
            with cancellation.hurrying(running.hurry):
                failure = running.outcome(grace)
    if failure is not None:
        raise failure


class _Running:
    """A helper that runs hooks."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._helper = _sys.Spawned()
        self._channel: Descriptor | None = None
        self._bell = Descriptor(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        self._channel, theirs = channel.open_pair()
        with theirs, Descriptor(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) as null:
            channel.start(self._helper, self._plan, theirs, (null.fd, null.fd, null.fd), {})

    def hurry(self) -> None:
        """Ask for an end, from any thread."""
        os.eventfd_write(self._bell.fd, 1)

    def outcome(self, grace: float) -> HookError | SetupError | None:
        """Wait until the hooks are done, and return what went wrong.

        Args:
            grace: How many seconds they may go on after somebody has asked for an end.
        """
        inbox = _sys.Inbox()
        if not self._wait(grace):
            return SetupError("stop hooks", errno.ETIMEDOUT, remedy="the kernel waits for something, such as a device")
        if self._channel is None or not inbox.receive(self._channel.fd):
            return SetupError("run hooks", errno.ESRCH, remedy="the helper that runs them was killed")
        if inbox.said == SAID_READY:
            return None
        if inbox.said != SAID_FAILED or inbox.step >= len(self._plan.steps):
            return SetupError("run hooks", inbox.answer, remedy="helper and library are of different versions")
        step = self._plan.steps[inbox.step]
        if step.op is Op.HOOK:
            return hook_failure(inbox.answer, inbox.words)
        return SetupError(step.action, inbox.answer, step.path)

    def _wait(self, grace: float) -> bool:
        """Wait for what the helper has to say; return whether it says something."""
        if self._channel is None:
            return False
        waiting = select.poll()
        waiting.register(self._channel.fd, select.POLLIN)
        waiting.register(self._bell.fd, select.POLLIN)
        deadline: float | None = None
        stopped = False
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            ready = {fd for fd, _ in waiting.poll(left)}
            if self._channel.fd in ready:
                return True
            if self._bell.fd in ready:
                waiting.unregister(self._bell.fd)
                deadline = time.monotonic() + grace
            elif stopped:
                return False
            else:
                self._stop()
                stopped, deadline = True, time.monotonic() + _DEATH

    def _stop(self) -> None:
        if self._channel is not None:
            with contextlib.suppress(OSError):
                channel.say(self._channel, _STOP, wait=False)

    def close(self) -> None:
        """End the helper, with the hook that it may still be running; doing so twice is nothing."""
        self._stop()
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._helper.pidfd >= 0:
            waiting = select.poll()
            waiting.register(self._helper.pidfd, select.POLLIN)
            # Not at once: it ends by itself, and before that its hook.
            waiting.poll(_DEATH * 1000)
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._helper.pidfd, signal.SIGKILL)
            reap(self._helper.pidfd)
            self._helper.close()
        self._bell.close()
