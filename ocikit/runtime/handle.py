"""A container as something to look at: what it is, what it is doing, and how it ended.

The object is a handle. What is true is on disk and in the kernel, shared with other threads, processes and programs,
and is looked up each time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from typing import TYPE_CHECKING, Any, Final

from ocikit.errors import CgroupError, ContainerError, NotExistError, NotRunningError
from ocikit.runtime import fifo, process
from ocikit.runtime.cgroups import freezer, out_of_memory
from ocikit.runtime.cgroups import hierarchies as cgroups
from ocikit.runtime.cgroups import ownership as cgroup_ownership
from ocikit.runtime.cgroups import tree as cgroup_tree
from ocikit.runtime.monitor.watching import await_record, find_monitor
from ocikit.runtime.state import records
from ocikit.runtime.state.documents import parse_time
from ocikit.runtime.state.root import StateRoot
from ocikit.runtime.status import ContainerState, Status
from ocikit.runtime.uninterrupted import uninterrupted

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Literal

    from ocikit.runtime.attachment import Attachment
    from ocikit.runtime.cgroups.hierarchies import Hierarchies
    from ocikit.runtime.cgroups.ownership import Claims
    from ocikit.runtime.events import EventStream, OutOfMemoryWatch, StallWatch
    from ocikit.runtime.logs import LogReader
    from ocikit.runtime.process import Init
    from ocikit.runtime.processes import ProcessList
    from ocikit.runtime.state.documents import OwnRecord, Record
    from ocikit.runtime.stats import Stats
    from ocikit.runtime.stats.history import StatsHistory
    from ocikit.runtime.status import ExitStatus
    from ocikit.runtime.uninterrupted import Cancellation
    from ocikit.spec import State

__all__ = ["Handle"]

#: How long a monitor may take to write down the end of its container before whoever asks does without, in seconds.
_MOMENT: Final = 1.0

#: The same for those who wait for the end: it is stopped, say, or its disk does not answer. The kernel tells how the
#: container ended for as long as its monitor has not asked.
_PATIENCE: Final = 10.0


class Handle:
    """What every container has in common that can be found in a state root; the base of :class:`Container`."""

    def __init__(self, root: str, record: Record, *, init: Init | None = None) -> None:
        self._root = root
        self._record = record
        self._own_init = init
        self._hierarchies: Hierarchies | None = None
        self._readable: dict[str, str] | None = None
        # Its monitor, if it has one; None as long as nobody has looked.
        self._monitors: tuple[Init, ...] | None = None

    def __repr__(self) -> str:
        return f"<Container {self.id} in {self.root}, pid {self.pid}>"

    def _repr_html_(self) -> str:
        from ocikit.runtime.display.containers import container as show  # noqa: PLC0415 - for notebooks

        return show(self)

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
        if freezer.frozen(self._readable_cgroups()):
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

    def held(self) -> contextlib.AbstractContextManager[int | None]:
        """Give a descriptor, for the length of a ``with`` block, that is readable when the first process has ended.

        None when it has ended already. For event loops: then :meth:`wait` with a timeout of 0 says how.
        """
        return self._init().held()

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

    def ps(self) -> ProcessList:
        """Return what is known of each process of the container, as a list that shows itself as a table.

        Those that end meanwhile are left out. A container without cgroups of its own has its first process in it only.

        Raises:
            CgroupError: The kernel does not tell.
        """
        from ocikit.runtime.processes import look  # noqa: PLC0415 - for those who ask

        return look(self)

    def stats(self) -> Stats:
        """Return what the container uses at this moment, or used before it ended.

        Raises:
            NotRunningError: It has no cgroups any more in which anything could have been counted.
            CgroupError: The kernel does not tell, or the container never had a cgroup of its own.
        """
        from ocikit.runtime.cgroups.rdt import rdt_stats  # noqa: PLC0415 - for those who ask
        from ocikit.runtime.stats import collect, interfaces  # noqa: PLC0415

        paths = self._readable_cgroups()
        if not any(os.path.isdir(path) for path in paths.values()):
            if self._alive():
                self._ask_for_cgroup("read statistics")
            raise NotRunningError(f"container not running: {self.id} has no cgroups")
        network = interfaces(self.pid) if self._alive() else None
        # Another process with this id would have to be newer than the container.
        return collect(paths, network if self._alive() else None, rdt_stats(*self._record.rdt))

    def sample(
        self, seconds: float | None = 10.0, interval: float = 0.5, *, history: StatsHistory | None = None
    ) -> StatsHistory:
        """Take :meth:`stats` again and again, until a time is over or the container has ended, which is no error.

        Args:
            seconds: For how long; None is until it has ended.
            interval: The time between two samples, in seconds; 0.01 or more.
            history: One to go on with, which also has what there is when this is interrupted; None for a new one,
                which keeps the last 1000 samples.

        Returns:
            The samples; none for a container that has ended and has no cgroups any more.

        Raises:
            ValueError: The times make no sense.
            CgroupError: The kernel does not tell, or the container never had a cgroup of its own.
        """
        from ocikit.runtime.stats.history import StatsHistory, record  # noqa: PLC0415 - for those who ask

        history = StatsHistory() if history is None else history
        record(self, seconds, interval, history)
        return history

    def events(
        self, *, pressure: Sequence[Literal["memory", "cpu", "io"]] = (), stall: float = 0.2, window: float = 2.0
    ) -> EventStream:
        """Watch everything that happens to the container from now on, until it has ended.

        Args:
            pressure: For what processes of it are not to wait too long; nothing by default.
            stall: How long some of them may wait within the window, in seconds.
            window: The window, in seconds: half a second to ten; two, four and so on without CAP_SYS_RESOURCE.

        Returns:
            An iterator and a context manager: :class:`~ocikit.runtime.events.OutOfMemory` where memory is counted,
            :class:`~ocikit.runtime.events.Stall` for the pressure, and at last always
            :class:`~ocikit.runtime.events.Exited`.

        Raises:
            CgroupError: The kernel does not measure that pressure, takes no such times, or lets nobody watch.
            ValueError: There is no such pressure.
        """
        from ocikit.runtime.events import EventStream  # noqa: PLC0415 - for those who ask

        if pressure:
            self._ask_for_cgroup("watch for stalls")
        held, paths = self._init().held(), self._readable_cgroups()
        return EventStream(held, paths, lambda: self.wait(0), pressure=pressure, stall=stall, window=window)

    @contextlib.contextmanager
    def watch_memory(self) -> Iterator[OutOfMemoryWatch]:
        """While the block lasts, watch whether the container uses up its memory.

        Yields:
            What tells of it: an iterator that ends with the container's first process, and a descriptor to wait for.

        Raises:
            CgroupError: No cgroup of the container counts memory.
        """
        from ocikit.runtime.events import OutOfMemoryWatch  # noqa: PLC0415 - for those who ask

        self._ask_for_cgroup("watch memory")
        with self._init().held() as process_fd, OutOfMemoryWatch(self._readable_cgroups(), process_fd) as watch:
            yield watch

    @contextlib.contextmanager
    def watch_stalls(
        self, resource: Literal["memory", "cpu", "io"] = "memory", *, stall: float = 0.2, window: float = 2.0
    ) -> Iterator[StallWatch]:
        """While the block lasts, watch whether processes of the container wait too long for something.

        Args:
            resource: What they wait for.
            stall: How long some of them may wait within the window, in seconds.
            window: The window, in seconds: half a second to ten; two, four and so on without CAP_SYS_RESOURCE.

        Yields:
            What tells of it, as for :meth:`watch_memory`.

        Raises:
            CgroupError: The kernel does not measure it, or takes no such times.
        """
        from ocikit.runtime.events import StallWatch  # noqa: PLC0415 - for those who ask

        self._ask_for_cgroup("watch for stalls")
        paths = self._readable_cgroups()
        with (
            self._init().held() as process_fd,
            StallWatch(paths, process_fd, resource=resource, stall=stall, window=window) as watch,
        ):
            yield watch

    def logs(
        self,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: dt.datetime | None = None,
        stream: Literal["stdout", "stderr"] | None = None,
    ) -> LogReader:
        """Read what the container wrote, as its monitor wrote it down; from any process, also when it has ended.

        Args:
            follow: Wait for more, to the end of the container.
            tail: Begin with so many of the last lines; None begins with the oldest that is kept.
            since: Leave out what was written before this time.
            stream: Leave out what was written to the other one.

        Returns:
            An iterator of :class:`~ocikit.runtime.logs.LogLine`, and a context manager.

        Raises:
            NotSupportedError: The container has no log.
            NotExistError: It was destroyed.
            SystemCallError: The log cannot be read.
        """
        from ocikit.runtime.monitor.opening import open_log  # noqa: PLC0415 - for those who read

        return open_log(self, follow=follow, tail=tail, since=since, stream=stream)

    def attach(self) -> Attachment:
        """See what the container writes from now on, and write to it; from any process, several at a time.

        Raises:
            NotSupportedError: Its streams are not the monitor's.
            NotRunningError: It has ended, or its monitor is gone.
            NotExistError: It was destroyed.
        """
        from ocikit.runtime.monitor.opening import attach  # noqa: PLC0415 - for those who do

        return attach(self)

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

    def _ask_for_cgroup(self, action: str) -> None:
        """Refuse what takes a cgroup of the container's own, if it never had one."""
        if not self._record.cgroup_paths:
            why = "users without privileges get one only where cgroups are delegated to them"
            remedy = f"container {self.id} has no cgroup of its own: {why}; run it as root, or where they are"
            raise CgroupError(action, errno.EOPNOTSUPP, remedy=remedy)

    def _readable_cgroups(self) -> dict[str, str]:
        """Return those cgroups of the state that are cgroups at all."""
        if self._readable is None:
            claims = cgroup_ownership.judge(
                self._record.cgroup_paths, self._detect(), container_id=self.id, planned={}, lived_in={}
            )
            self._readable = claims.proven | claims.unproven
        return dict(self._readable)

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

    def wait(self, timeout: float | None = None) -> ExitStatus:
        """Wait until the container has ended, whoever started it.

        Args:
            timeout: How long, in seconds; None waits as long as it takes.

        Returns:
            How it ended. Any number of threads and processes may wait for one container.

        Raises:
            TimeoutError: It has not ended in that time; it goes on.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        if self._init().wait(timeout):
            return uninterrupted(lambda cancellation: self._settle(deadline, cancellation), finish=True)
        raise TimeoutError(f"container {self.id} has not ended after {timeout} seconds")

    def _settle(self, deadline: float | None, cancellation: Cancellation) -> ExitStatus:
        """Find out how the container ended, which has happened; its monitor needs a moment to say."""
        left = _PATIENCE if deadline is None else min(_PATIENCE, deadline - time.monotonic())
        return self._collect(max(_MOMENT, left), cancellation.check)

    def _find_monitor(self) -> Init | None:
        """Return the monitor of the container; one that has ended if it cannot be found, None if it never had one."""
        if self._monitors is None:
            self._monitors = ()
            with self._directory() as found, contextlib.suppress(ContainerError):
                own = records.read_own(*found, self.id) if found is not None else None
                if found is not None and own is not None and own.monitor is not None:
                    self._monitors = (find_monitor(own.monitor, found[1]),)
        return self._monitors[0] if self._monitors else None

    def _is_written(self) -> bool:
        with self._directory() as found:
            return found is None or records.read_exit(*found, self.id) is not None

    def _collect(self, patience: float = _MOMENT, check: Callable[[], None] = lambda: None) -> ExitStatus:
        """Find out how the container ended, which has happened.

        Args:
            patience: How long its monitor may take to say so, in seconds: not long for those who only look.
            check: Raises what breaks the waiting off.
        """

        def is_written() -> bool:
            check()
            return self._is_written()

        def write(status: ExitStatus) -> ExitStatus:
            if status.exit_code != 0:
                killed = out_of_memory.kills(self._readable_cgroups())
                status = status._replace(oom=None if killed is None else killed > 0)
            with self._directory() as found:
                if found is not None:
                    records.write_exit(found[1], status)
            return status

        def written() -> ExitStatus | None:
            with self._directory() as found:
                return None if found is None else records.read_exit(*found, self.id)

        monitor = self._find_monitor() if self._init().exit_status is None else None
        if monitor is not None:
            await_record(monitor, is_written, patience)
        return self._init().collect(written, write)

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
