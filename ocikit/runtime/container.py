"""A container: what it is doing, and what can be done with it.

The object is a handle. What is true is on disk and in the kernel, shared with other threads, processes and programs,
and is looked up each time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal as signals
import weakref
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from ocikit.errors import CgroupError, ContainerError, NotExistError, NotRunningError, PausedError, RunningError
from ocikit.runtime import cgroup_ownership, cgroup_tree, cgroups, fifo, process, records, teardown
from ocikit.runtime.root import StateRoot
from ocikit.runtime.state import parse_time
from ocikit.runtime.status import ContainerState, Status
from ocikit.runtime.stdio import broken_pipes_raise
from ocikit.runtime.uninterrupted import uninterrupted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ocikit.runtime.cgroup_ownership import Claims
    from ocikit.runtime.cgroups import Hierarchies
    from ocikit.runtime.launch import Launch
    from ocikit.runtime.process import Init
    from ocikit.runtime.state import OwnRecord, Record
    from ocikit.runtime.status import ExitStatus
    from ocikit.runtime.uninterrupted import Cancellation
    from ocikit.spec import State

__all__ = ["Container", "assemble"]

_log = logging.getLogger("ocikit.runtime")

# A container that is forgotten is destroyed by whatever thread comes by: it must not wait for long.
_FORGOTTEN_SECONDS = 1.0


class Container:
    """A container in a state root, made by :func:`ocikit.runtime.create` or found by :func:`ocikit.runtime.load`.

    As a context manager, a container whose lifetime is ``"scope"`` is destroyed at the end of the block in which it
    was created, killed if need be. It is destroyed, too, when this object is forgotten, and when the interpreter
    ends. Forked children of this process never destroy it.
    """

    def __init__(self, root: str, record: Record, *, init: Init | None = None) -> None:
        self._root = root
        self._record = record
        self._own_init = init
        self._hierarchies: Hierarchies | None = None
        self._launch: Launch | None = None
        self._owner = -1
        self._finalizer: weakref.finalize[[str, Record, int], Container] | None = None
        #: The other end of the container's standard input; None unless it was created with a pipe there.
        self.stdin: BinaryIO | None = None
        #: The other end of its standard output, in the same way.
        self.stdout: BinaryIO | None = None
        #: The other end of its standard error, in the same way.
        self.stderr: BinaryIO | None = None

    def __repr__(self) -> str:
        return f"<Container {self.id} in {self.root}, pid {self.pid}>"

    @property
    def id(self) -> str:
        """Its id, unique in its state root."""
        return self._record.id

    @property
    def root(self) -> str:
        """Its state root."""
        return self._root

    @property
    def bundle(self) -> str:
        """Absolute path of its bundle; empty when its state does not say."""
        return self._record.bundle

    @property
    def rootfs(self) -> str:
        """Absolute path of its root file system; empty when its state does not say."""
        return self._record.rootfs

    @property
    def pid(self) -> int:
        """The process id that its first process was given, alive or not; -1 when there was none."""
        return self._record.pid

    @property
    def annotations(self) -> Mapping[str, str]:
        """The annotations of its configuration, which runc calls labels."""
        return dict(self._record.annotations)

    # ------------------------------------------------------------------------------------------------------ looking

    def status(self) -> Status:
        """Return what the container is doing; a container that was destroyed is stopped.

        Raises:
            StateError: Its directory is not to be trusted.
            SystemCallError: Its state root cannot be opened.
        """
        with contextlib.ExitStack() as stack:
            directory: int | None = None
            with contextlib.suppress(FileNotFoundError, NotExistError):
                root = stack.enter_context(StateRoot.open(self._root))
                directory = stack.enter_context(root.directory(self.id))
            return self._status(directory)

    def _status(self, directory: int | None) -> Status:
        if cgroup_tree.frozen(self._readable_cgroups()):
            return Status.PAUSED
        if not self._alive():
            return Status.STOPPED
        if directory is not None and fifo.exists(directory):
            return Status.CREATED
        return Status.RUNNING

    def state(self) -> ContainerState:
        """Return what is known of the container at this moment."""
        status = self.status()
        alive = self._alive()
        own, ended = self._read_about_life()
        if not alive:
            ended = self._collect() if ended is None or not ended.known else ended
        return ContainerState(
            id=self.id,
            status=status,
            pid=self.pid if alive else None,
            bundle=self.bundle,
            rootfs=self.rootfs,
            annotations=self.annotations,
            created=parse_time(self._record.created),
            started=parse_time(own.started) if own is not None else None,
            finished=ended.finished if ended is not None else None,
            exit_status=None if alive else ended,
        )

    def oci_state(self) -> State:
        """Return the state in the form of the runtime specification (runtime.md, "State")."""
        from ocikit.spec import State, Timestamp  # noqa: PLC0415 - the classes of the specification cost more than a state

        found = self.state()
        times: dict[str, Any] = {
            name: Timestamp.from_datetime(moment)
            for name in ("created", "started", "finished")
            if (moment := getattr(found, name)) is not None
        }
        pid = found.pid or 0
        return State(
            id=found.id, status=str(found.status), pid=pid, bundle=found.bundle, annotations=found.annotations, **times
        )

    def processes(self) -> list[int]:
        """Return the ids of all processes of the container, in the pid namespace of this process.

        Raises:
            CgroupError: The kernel does not tell.
        """
        paths = self._readable_cgroups()
        # Every v1 hierarchy has the same processes; "devices" is the one that runc asks.
        key = next((key for key in ("devices", cgroups.UNIFIED, "pids", *paths) if key in paths), None)
        if key is not None:
            return cgroup_tree.processes(paths[key])
        return [self.pid] if self._alive() else []

    def _alive(self) -> bool:
        if self._own_init is None:
            # One of a long list, perhaps: a descriptor for each of them would be many.
            alive = process.glance(self._record.pid, self._record.start_time)
            if alive is not None:
                return alive
        return self._init().alive()

    def _init(self) -> Init:
        if self._own_init is None:
            self._own_init = process.find_init(self._record.pid, self._record.start_time)
        return self._own_init

    def _detect(self) -> Hierarchies:
        if self._hierarchies is None:
            self._hierarchies = cgroups.detect()
        return self._hierarchies

    def _readable_cgroups(self) -> dict[str, str]:
        """Return those cgroups of the state that are cgroups at all."""
        claims = cgroup_ownership.judge(
            self._record.cgroup_paths, self._detect(), container_id=self.id, planned={}, lived_in={}
        )
        return claims.proven | claims.unproven

    @contextlib.contextmanager
    def _directory(self) -> Iterator[tuple[StateRoot, int] | None]:
        """Open the container's directory, if there is one and it is not that of a namesake."""
        with contextlib.ExitStack() as stack:
            found = None
            with contextlib.suppress(FileNotFoundError, ContainerError):
                root = stack.enter_context(StateRoot.open(self._root))
                directory = stack.enter_context(root.directory(self.id))
                if records.same_container(records.read_record(root, directory, self.id), self._record):
                    found = root, directory
            yield found

    def _read_about_life(self) -> tuple[OwnRecord | None, ExitStatus | None]:
        ended = self._own_init.exit_status if self._own_init is not None else None
        with self._directory() as found:
            if found is None:
                return None, ended
            own = None
            with contextlib.suppress(ContainerError):
                own = records.read_own(*found, self.id)
            return own, ended or records.read_exit(*found, self.id)

    # ---------------------------------------------------------------------------------------------------------- life

    def start(self) -> None:
        """Let the program of a created container run.

        Raises:
            RunningError: It was started before.
            NotRunningError: It has stopped.
            PausedError: It is paused.
            NotExistError: It was destroyed.
            SetupError: The program could not be executed; known only to the process that created the container.
        """
        uninterrupted(self._start)

    def _start(self, cancellation: Cancellation) -> None:
        with self._locked() as (root, directory):
            status = self._status(directory)
            if status is Status.STOPPED:
                raise NotRunningError(f"cannot start a container that has stopped: {self.id}")
            if status is Status.PAUSED:
                raise PausedError(f"cannot start a container in the paused state: {self.id}")
            if status is Status.RUNNING:
                raise RunningError(f"cannot start an already running container: {self.id}")
            with self._init().held() as process_fd:
                fifo.release(directory, process_fd, cancellation)
            self._note_start(root, directory)
        if self._launch is not None:
            error = self._launch.exec_error()
            self._launch = None
            if error is not None:
                raise error

    def _note_start(self, root: StateRoot, directory: int) -> None:
        import datetime as dt  # noqa: PLC0415 - needed once in the life of a container

        with contextlib.suppress(ContainerError):
            own = records.read_own(root, directory, self.id)
            if own is not None:
                records.write_own(directory, own._replace(started=dt.datetime.now(dt.UTC).isoformat()))

    @contextlib.contextmanager
    def _locked(self, timeout: float = 60.0) -> Iterator[tuple[StateRoot, int]]:
        """Hold the container's lock.

        Raises:
            NotExistError: It is gone, or has a namesake by now.
        """
        gone = f"container does not exist: {self.id} in {self._root}"
        with contextlib.ExitStack() as stack:
            try:
                root = stack.enter_context(StateRoot.open(self._root))
            except FileNotFoundError as error:
                raise NotExistError(gone) from error
            directory = stack.enter_context(root.lock(self.id, timeout))
            if not records.same_container(records.read_record(root, directory, self.id), self._record):
                raise NotExistError(gone)
            yield root, directory

    def wait(self, timeout: float | None = None) -> ExitStatus:
        """Wait until the container has ended, whoever started it.

        Args:
            timeout: How long, in seconds; None waits as long as it takes.

        Returns:
            How it ended. Any number of threads and processes may wait for one container.

        Raises:
            TimeoutError: It has not ended in that time; it goes on.
        """
        if not self._init().wait(timeout):
            raise TimeoutError(f"container {self.id} has not ended after {timeout} seconds")
        return uninterrupted(lambda _: self._collect(), finish=True)

    def _collect(self) -> ExitStatus:
        def write(status: ExitStatus) -> None:
            with self._directory() as found:
                if found is not None:
                    records.write_exit(found[1], status)

        def written() -> ExitStatus | None:
            with self._directory() as found:
                return None if found is None else records.read_exit(*found, self.id)

        return self._init().collect(written, write)

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
        if not 0 <= number < signals.NSIG:
            raise ValueError(f"signal {number}: expected a number from 0 to {signals.NSIG - 1}")
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
            NotRunningError: It is stopped.
            CgroupError: Processes do not end.
        """
        claims = self._claims()
        self._init().signal(signals.SIGKILL)
        if whole_cgroup or not self._record.private_pids:
            cgroup_tree.kill(claims.proven)
        cgroup_tree.thaw(claims.proven)

    def _claims(self) -> Claims:
        """Look up which cgroups are the container's, while its first process can still show it."""
        init = self._init()
        own, _ = self._read_about_life()
        return cgroup_ownership.judge(
            self._record.cgroup_paths,
            self._detect(),
            container_id=self.id,
            planned=own.cgroup_paths if own is not None else {},
            lived_in=cgroup_ownership.members(init.pid) if init.alive() else {},
        )

    def _end_others(self) -> None:
        """Kill what outlived the first process, which is possible in a shared pid namespace only."""
        if not self._record.private_pids:
            cgroup_tree.kill(self._claims().proven)

    def destroy(self, *, force: bool = False) -> None:
        """Remove the container: its cgroups, its state, and what is left of its processes.

        A container that was created and not started is killed. One that is gone already is nothing to do.

        Args:
            force: Kill it if it runs or is paused.

        Raises:
            RunningError: It runs.
            PausedError: It is paused.
            CgroupError: Processes in its cgroups do not end.
            TimeoutError: Another process or thread has been busy with it for a minute.
        """
        uninterrupted(lambda _: self._destroy(force=force), finish=True)

    def _let_end(self, number: int) -> None:
        """Send a signal and see to it that it arrives, even if the container is paused."""
        claims = self._claims()
        self._init().signal(number)
        cgroup_tree.thaw(claims.proven)

    def _destroy(self, *, force: bool, timeout: float = 60.0) -> bool:
        """Destroy the container; return whether it was there to be destroyed."""
        found = True
        try:
            with self._locked(timeout) as (root, directory):
                status = self._status(directory)
                remains = teardown.Remains(root, directory, self._record, self._init(), self._detect())
                teardown.remove_container(remains, status, force=force)
        except NotExistError:
            found = False
            if self._init().wait(0):
                self._collect()  # somebody else destroyed it; our child is still ours to reap
        self._let_go()
        return found

    def _let_go(self) -> None:
        if self._finalizer is not None:
            self._finalizer.detach()
            self._finalizer = None
        self.close()

    def close(self) -> None:
        """Close the pipes to the container; it goes on. Closing twice is nothing."""
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
        if self._finalizer is None:
            self.close()
        elif os.getpid() == self._owner:
            self.destroy(force=True)


def assemble(
    root: str, record: Record, init: Init, launch: Launch, hierarchies: Hierarchies, *, scope: bool
) -> Container:
    """Make the object of a container that was just created.

    Args:
        root: Its state root.
        record: Its state.
        init: Its first process.
        launch: What says whether its program can be executed.
        hierarchies: Of this host.
        scope: Tie its life to the object: it is destroyed when the object is forgotten.
    """
    container = Container(root, record, init=init)
    container._launch, container._hierarchies = launch, hierarchies  # noqa: SLF001 - this module's own
    weakref.finalize(container, launch.close_channel).atexit = False
    if scope:
        owner = container._owner = os.getpid()  # noqa: SLF001
        container._finalizer = weakref.finalize(container, _forgotten, root, record, owner)  # noqa: SLF001
    return container


def _forgotten(root: str, record: Record, owner: int) -> None:
    if os.getpid() != owner:
        return  # a forked child of the process that the container belongs to
    try:
        Container(root, record)._destroy(force=True, timeout=_FORGOTTEN_SECONDS)  # noqa: SLF001
    except (ContainerError, CgroupError, OSError, TimeoutError) as error:
        _log.warning("container %s in %s was forgotten and could not be destroyed: %s", record.id, root, error)
