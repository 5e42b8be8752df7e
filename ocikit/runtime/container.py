"""A container as something to act on: start, signal, kill, destroy, and what lies between."""

from __future__ import annotations

import contextlib
import functools
import os
import signal as signals
import time
import weakref
from typing import TYPE_CHECKING, BinaryIO, Self

from ocikit.errors import (
    CgroupError,
    ContainerError,
    HookError,
    NotExistError,
    NotPausedError,
    NotRunningError,
    PausedError,
    RunningError,
    SetupError,
)
from ocikit.runtime import fifo, forgotten
from ocikit.runtime.cgroups import freezer
from ocikit.runtime.cgroups import tree as cgroup_tree
from ocikit.runtime.handle import Handle
from ocikit.runtime.late_log import log as _log
from ocikit.runtime.monitor.watching import dismiss
from ocikit.runtime.process import adopt_init, check_signal
from ocikit.runtime.state import records
from ocikit.runtime.status import Status
from ocikit.runtime.stdio import broken_pipes_raise
from ocikit.runtime.uninterrupted import Cancellation, Cancelled, uninterrupted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ocikit.runtime.cgroups.hierarchies import Hierarchies
    from ocikit.runtime.child import ContainerProcess
    from ocikit.runtime.console import Console
    from ocikit.runtime.hook_commands import HookCommand
    from ocikit.runtime.launch import Launch
    from ocikit.runtime.process import Init
    from ocikit.runtime.state.documents import OwnRecord, Record
    from ocikit.runtime.state.root import StateRoot
    from ocikit.runtime.state.template import Template
    from ocikit.runtime.stdio import Stream
    from ocikit.spec import LinuxIntelRdt, LinuxResources, Process, User

__all__ = ["Container", "assemble"]

# A container that is forgotten is destroyed by whatever thread comes by: it must not wait for long.
_FORGOTTEN_SECONDS = 1.0


class Container(Handle):
    """A container in a state root, made by :func:`ocikit.runtime.create` or found by :func:`ocikit.runtime.load`.

    As a context manager, a container whose lifetime is ``"scope"`` is destroyed at the end of the block in which it
    was created, killed if need be. It is destroyed, too, when this object is forgotten, and when the interpreter
    ends, as one is whose lifetime is ``"process"``. Forked children of this process never destroy it.
    """

    def __init__(self, root: str, record: Record, *, init: Init | None = None) -> None:
        super().__init__(root, record, init=init)
        self._template: Template | None = None
        self._launch: Launch | None = None
        self._owner = -1
        self._of_block = False
        self._finalizer: weakref.finalize[[str, Record, int], object] | None = None
        #: The other end of the container's standard input; None unless it was created with a pipe there.
        self.stdin: BinaryIO | None = None
        #: The other end of its standard output, in the same way.
        self.stdout: BinaryIO | None = None
        #: The other end of its standard error, in the same way.
        self.stderr: BinaryIO | None = None
        #: Our side of its terminal; None when it has none, or a console socket got it, or somebody else created it.
        self.console: Console | None = None

    def start(self) -> None:
        """Let the program of a created container run.

        Raises:
            RunningError: It was started before.
            NotRunningError: It has stopped.
            PausedError: It is paused.
            NotExistError: It was destroyed.
            SetupError: The program could not be executed.
            HookError: A startContainer or poststart hook failed; the container was killed and destroyed.
            StateError: Its poststart hooks are none.
        """
        uninterrupted(self._start)

    def _start(self, cancellation: Cancellation) -> None:
        with self._locked() as (root, directory):
            status = self._status(directory)
            if status is Status.STOPPED:
                stopped = NotRunningError(f"cannot start a container that has stopped: {self.id}")
                raise self._exec_error() or stopped
            if status is Status.PAUSED:
                raise PausedError(f"cannot start a container in the paused state: {self.id}")
            if status is Status.RUNNING:
                raise RunningError(f"cannot start an already running container: {self.id}")
            # runc, in all its versions so far, runs those of its containers when it creates them.
            own = self._own(root, directory)
            hooks = self._poststart_hooks() if own is not None else ()
            began = time.time()
            try:
                with self._init().held() as process_fd:
                    waiting = fifo.release(directory, process_fd, cancellation)
            except NotRunningError as stopped:
                raise self._exec_error() or stopped from None
            self._note_start(directory, own, began)
        with waiting:
            self._go_on(waiting.fd, hooks, cancellation)

    def _go_on(self, waiting: int, hooks: Sequence[HookCommand], cancellation: Cancellation) -> None:
        """See a container that was started come to its program, and run the hooks for this.

        Hooks take time, and so does an agent of a seccomp filter that is asked about execve and does not answer.
        """
        try:
            self._await_program(waiting, cancellation)
            if hooks:
                from ocikit.runtime.hooks import run_poststart  # noqa: PLC0415 - few containers have hooks

                run_poststart(self._record, hooks, cancellation)
        except (HookError, Cancelled):
            try:
                self._destroy(force=True, hurry=cancellation)
            except (ContainerError, CgroupError, OSError) as error:
                _log.error("container %s: its start failed, and it could not be destroyed: %s", self.id, error)
            raise

    def _await_program(self, waiting: int, cancellation: Cancellation) -> None:
        report = fifo.outcome(waiting, cancellation)
        error: ContainerError | None = self._exec_error()
        if error is None and report:
            from ocikit.runtime.plan.hooks import report_failure  # noqa: PLC0415 - only for who did not create it

            error = report_failure(report)
        if error is not None:
            raise error

    def _poststart_hooks(self) -> Sequence[HookCommand]:
        if not self._record.hooks.get("poststart"):
            return ()
        from ocikit.runtime.hooks import poststart_hooks  # noqa: PLC0415 - few containers have hooks

        return poststart_hooks(self._record)

    def _own(self, root: StateRoot, directory: int) -> OwnRecord | None:
        with contextlib.suppress(ContainerError):
            return records.read_own(root, directory, self.id)
        return None

    def _exec_error(self) -> SetupError | HookError | None:
        """Return what init had to say about executing the program; it says it once, and to its launcher only."""
        launched, self._launch = self._launch, None
        return launched.exec_error() if launched is not None else None

    def _note_start(self, directory: int, own: OwnRecord | None, began: float) -> None:
        import datetime as dt  # noqa: PLC0415 - needed once in the life of a container

        if own is not None:
            started = dt.datetime.fromtimestamp(began, dt.UTC).isoformat(timespec="microseconds")
            records.write_own(directory, own._replace(started=started), self.id)

    def exec(
        self,
        process: Process | Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: User | None = None,
        terminal: bool | None = None,
        stdin: Stream = "inherit",
        stdout: Stream = "inherit",
        stderr: Stream = "inherit",
        cgroup: str | Mapping[str, str] | None = None,
        console_socket: str | None = None,
        preserve_fds: Sequence[int] = (),
        ignore_paused: bool = False,
    ) -> ContainerProcess:
        """Start a further process in the container, whoever made it; it may be created or running.

        Args:
            process: Arguments: the process of the configuration is started with these instead of its own. Or a
                process, of which everything counts as it stands; capabilities, resource limits, labels, the OOM score,
                scheduling and the umask that it does not name are those of the configuration, and new privileges that
                the container gave up stay given up. The container's seccomp filter holds in any case.
            env: Variables in addition to those of the process.
            cwd: Its working directory instead.
            user: Its user and groups instead; ids only.
            terminal: Whether it has a terminal, which takes the place of the three streams; arguments alone do not.
            stdin: Its standard input, as for :func:`ocikit.runtime.create`.
            stdout: Its standard output.
            stderr: Its standard error.
            cgroup: An existing cgroup below the container's, or one for each controller that is named.
            console_socket: Path of a unix socket that gets our side of the terminal, instead of
                :attr:`ContainerProcess.console`.
            preserve_fds: Descriptors that the program gets as 3, 4, … in this order; they remain the caller's.
            ignore_paused: Start it in a paused container as well; it is frozen at once, and this call waits.

        Returns:
            The process, whose program is executed.

        Raises:
            NotRunningError: The container is stopped.
            PausedError: It is paused.
            NotExistError: It was destroyed.
            BundleError: There are only arguments, and the configuration of the container is gone.
            ValidationError: The process violates the specification.
            UnsupportedFieldError: It asks for something that would have to be ignored.
            NotSupportedError: The container has no mount namespace of its own.
            SetupError: A step of setting it up failed, such as finding or executing its program.
            CgroupError: Its cgroup cannot be joined.
        """
        from ocikit.runtime.execution import Request, execute, template_of  # noqa: PLC0415 - most are never entered

        if self._template is None:
            self._template = template_of(self)
        streams, fds = (stdin, stdout, stderr), tuple(preserve_fds)
        request = Request(process, env, cwd, user, terminal, streams, cgroup, console_socket, fds, ignore_paused)
        return execute(self, self._template, request)

    def signal(self, number: int) -> None:
        """Send a signal to the container's first process.

        SIGKILL reaches every process of a container that shares its pid namespace with others, and paused ones.

        Args:
            number: The signal, such as :data:`signal.SIGTERM`; 0 only checks that there is somebody to receive one.

        Raises:
            NotRunningError: The container is stopped.
            ValueError: There is no such signal.
            SystemCallError: The kernel refused.
        """
        check_signal(number)
        if number == signals.SIGKILL:
            self.kill()
        else:
            self._init().signal(number)

    def kill(self, *, whole_cgroup: bool = False) -> None:
        """Kill the container.

        Args:
            whole_cgroup: Kill every process in its cgroups one by one, rather than the first one, with which
                those of its pid namespace die. Always so for containers without a pid namespace of their own.

        Raises:
            NotRunningError: It is stopped, and nothing is left that outlived its first process.
            CgroupError: Processes do not end.
        """
        claims = self._claims()
        try:
            self._init().signal(signals.SIGKILL)
        except NotRunningError:
            if self._record.private_pids or not any(map(cgroup_tree.populated, claims.proven.values())):
                raise
        if whole_cgroup or not self._record.private_pids:
            cgroup_tree.kill(claims.proven)
        cgroup_tree.release(claims.proven)

    def pause(self) -> None:
        """Freeze every process of the container; one that was created and not started, too.

        Raises:
            NotRunningError: It is stopped, or paused already.
            CgroupError: There is no freezer, or something in the container does not freeze; it is thawed again.
            NotExistError: It was destroyed.
        """
        uninterrupted(lambda _: self._pause(), lambda _: freezer.thaw(self._claims().proven))

    def _pause(self) -> None:
        with self._locked() as (_, directory):
            status = self._status(directory)
            if status not in {Status.CREATED, Status.RUNNING}:
                raise NotRunningError(f"container not running: {self.id} is {status}")
            self._ask_for_cgroup("pause the container")
            freezer.freeze(self._claims().proven)

    def resume(self) -> None:
        """Let a paused container go on with what it was doing.

        Raises:
            NotPausedError: It is not paused.
            CgroupError: The kernel refuses.
            NotExistError: It was destroyed.
        """
        uninterrupted(lambda _: self._resume(), finish=True)

    def _resume(self) -> None:
        with self._locked() as (_, directory):
            status = self._status(directory)
            if status is not Status.PAUSED:
                raise NotPausedError(f"container not paused: {self.id} is {status}")
            freezer.thaw(self._claims().proven)

    def update(self, resources: LinuxResources, *, intel_rdt: LinuxIntelRdt | None = None) -> None:
        """Change limits of the container: all that are asked for, or none.

        Args:
            resources: The limits that change; those that are not set, and zeros where zero is no limit, stay. Lists
                are changed element by element, but for rules for devices: if there are any, they replace all others.
            intel_rdt: Lines of schemata that change; for containers that were created with a group of resctrl.

        Raises:
            NotRunningError: It is stopped.
            UnsupportedFieldError: A limit that this host cannot have.
            ValidationError: Values that make no sense, among themselves or with those that stay.
            CgroupError: The kernel refuses one.
            StateError: Its state is damaged.
            NotExistError: It was destroyed.
        """
        uninterrupted(lambda _: self._update(resources, intel_rdt), finish=True)

    def _update(self, resources: LinuxResources, intel_rdt: LinuxIntelRdt | None) -> None:
        from ocikit.runtime.update import Target, change_limits  # noqa: PLC0415 - with the classes of all limits
        from ocikit.spec import LinuxResources  # noqa: PLC0415

        if not isinstance(resources, LinuxResources):
            raise TypeError(f"resources: expected a LinuxResources (it has from_dict), found {resources!r}")

        with self._locked() as (root, directory):
            if self._status(directory) is Status.STOPPED:
                raise NotRunningError(f"container not running: {self.id} is stopped")
            if resources.to_dict():
                self._ask_for_cgroup("change limits")
            target = Target(self.id, root, directory, self._detect(), self._claims().proven, self._record.unit)
            change_limits(target, resources, intel_rdt)

    def _end_others(self) -> None:
        """Kill what outlived the first process, which is possible in a shared pid namespace only."""
        if not self._record.private_pids:
            cgroup_tree.kill(self._claims().proven)

    def destroy(self, *, force: bool = False) -> None:
        """Remove the container: its cgroups, its state, and what is left of its processes.

        A container that was created and not started is killed. One that is gone already is nothing to do. At last its
        poststop hooks are run; when one fails, that is logged.

        Args:
            force: Kill it if it runs or is paused.

        Raises:
            RunningError: It runs.
            PausedError: It is paused.
            CgroupError: Processes in its cgroups do not end.
            TimeoutError: Another process or thread has been busy with it for a minute.
        """
        uninterrupted(lambda hurry: self._destroy(force=force, hurry=hurry), finish=True)

    def _let_end(self, number: int) -> None:
        """Send a signal and see to it that it arrives, even if the container is paused."""
        claims = self._claims()
        self._init().signal(number)
        freezer.thaw(claims.proven)

    def _destroy(self, *, force: bool, timeout: float = 60.0, hurry: Cancellation | None = None) -> bool:
        """Destroy the container; return whether it was there to be destroyed.

        Args:
            force: Kill it if need be.
            timeout: How long to wait for its lock, in seconds.
            hurry: Tells hooks that they are to come to an end; without it they are told from the beginning.
        """
        from ocikit.runtime import teardown  # noqa: PLC0415 - the end of a container, and only its end, needs all of it

        found = True
        try:
            with self._locked(timeout) as (root, directory):
                init, monitor = self._init(), self._find_monitor()
                status = self._status(directory) if init.exit_status is None else Status.STOPPED
                remains = teardown.Remains(root, directory, self._record, init, monitor, self._detect())
                teardown.remove_container(remains, status, force=force)
        except NotExistError:
            found = False
            if self._init().wait(0):
                self._collect()  # somebody else destroyed it; our child is still ours to reap
        self._let_go()
        monitor = self._find_monitor()
        if monitor is not None:
            dismiss(monitor)
        if found and self._record.hooks.get("poststop"):
            from ocikit.runtime.hooks import run_poststop  # noqa: PLC0415 - few containers have hooks

            run_poststop(self._record, hurry if hurry is not None else Cancellation.of_old())
        return found

    def _let_go(self) -> None:
        if self._finalizer is not None:
            self._finalizer.detach()
            self._finalizer = None
        self.close()

    def close(self) -> None:
        """Close the pipes to the container and its terminal; it goes on. Closing twice is nothing."""
        if self.console is not None:
            self.console.close()
        if self._launch is not None:
            self._launch.close_channel()
            self._launch = None
        for file in (self.stdin, self.stdout, self.stderr):
            if file is not None:
                with contextlib.suppress(BrokenPipeError), broken_pipes_raise():
                    file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._of_block or self._finalizer is None:
            self.close()
        elif os.getpid() == self._owner:
            self.destroy(force=True)


class _Interpreter:
    """Ends with the interpreter, and with it those containers whose lifetime is that of the process."""


_interpreter = _Interpreter()


def assemble(
    root: str, record: Record, own: OwnRecord, *, init: Init, launch: Launch, hierarchies: Hierarchies
) -> Container:
    """Make the object of a container that was just created.

    Args:
        root: Its state root.
        record: Its state.
        own: What only ocikit knows of it; its lifetime among it.
        init: Its first process.
        launch: What says whether its program can be executed.
        hierarchies: Of this host.
    """
    container = Container(root, record, init=init)
    container._launch, container._hierarchies = launch, hierarchies  # noqa: SLF001 - this module's own
    container._of_block = own.lifetime == "scope"  # noqa: SLF001
    weakref.finalize(container, launch.close_channel).atexit = False
    if own.lifetime != "detached":
        owner = container._owner = os.getpid()  # noqa: SLF001
        tied_to = container if own.lifetime == "scope" else _interpreter
        container._finalizer = weakref.finalize(tied_to, _forgotten, root, record, owner)  # noqa: SLF001
    if own.monitor is not None:
        monitor = adopt_init(own.monitor.pid, own.monitor.start_time, launch.take_attendant()[1])
        container._monitors = (monitor,)  # noqa: SLF001
        weakref.finalize(container, forgotten.remember, monitor, functools.partial(dismiss, monitor)).atexit = False
        return container
    container._monitors = ()  # noqa: SLF001
    if own.lifetime != "scope":
        collect = functools.partial(_collect, root, record, init)
        weakref.finalize(container, forgotten.remember, init, collect).atexit = False
    return container


def _collect(root: str, record: Record, init: Init) -> None:
    Container(root, record, init=init)._collect()  # noqa: SLF001 - this module's own


def _forgotten(root: str, record: Record, owner: int) -> None:
    if os.getpid() != owner:
        return  # a forked child of the process that the container belongs to
    try:
        Container(root, record)._destroy(force=True, timeout=_FORGOTTEN_SECONDS)  # noqa: SLF001
    except (ContainerError, CgroupError, OSError, TimeoutError) as error:
        _log.warning("container %s in %s was forgotten and could not be destroyed: %s", record.id, root, error)
