"""A further process in a container that exists, whoever made it.

What it is put into is looked up when it is asked for, from the first process of the container: its namespaces, its
cgroups, its ids. That process is held by descriptor all the time, and it is through this descriptor that the namespaces
are entered: a process that has the number of an init which is gone is never taken for it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import posixpath
from types import NoneType
from typing import TYPE_CHECKING, Final, TypeVar

from ocikit import _fs
from ocikit._tuples import NamedTuple
from ocikit.errors import (
    CgroupError,
    NotExistError,
    NotRunningError,
    OCIKitError,
    PausedError,
    SetupError,
    ValidationError,
)
from ocikit.runtime import forgotten
from ocikit.runtime.cgroups import freezer
from ocikit.runtime.cgroups import hierarchies as cgroups
from ocikit.runtime.cgroups import ownership as cgroup_ownership
from ocikit.runtime.cgroups.branch import STAND_IN, Branch
from ocikit.runtime.child import ContainerProcess
from ocikit.runtime.console import Reception
from ocikit.runtime.inside import Inside, Places
from ocikit.runtime.late_log import log as _log
from ocikit.runtime.once import Once
from ocikit.runtime.state import records
from ocikit.runtime.state.documents import PROCESS_FILE, STATE_FILE
from ocikit.runtime.state.note import read_note
from ocikit.runtime.state.template import Template, derive
from ocikit.runtime.stdio import Stdio, check_preserved, with_terminal
from ocikit.runtime.uninterrupted import uninterrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ocikit.runtime.console import Console
    from ocikit.runtime.handle import Handle
    from ocikit.runtime.launch import Launch
    from ocikit.runtime.plan.steps import Plan, Sync
    from ocikit.runtime.stdio import Stream
    from ocikit.runtime.uninterrupted import Cancellation
    from ocikit.spec import Process, User

__all__ = ["Request", "execute", "template_of"]

T = TypeVar("T")

#: What clone3(2) says of a v2 cgroup that hands its controllers on, and hence has no processes of its own.
_DIVIDED = frozenset({errno.EBUSY, errno.EOPNOTSUPP})


class Request(NamedTuple):
    """What is asked for; see :meth:`Container.exec`."""

    process: Process | Sequence[str]
    env: Mapping[str, str] | None = None
    cwd: str | None = None
    user: User | None = None
    terminal: bool | None = None
    streams: tuple[Stream, Stream, Stream] = ("inherit", "inherit", "inherit")
    cgroup: str | Mapping[str, str] | None = None
    console_socket: str | None = None
    preserve_fds: tuple[int, ...] = ()
    ignore_paused: bool = False
    #: Give streams that are passed on to the user of the process; see :attr:`CreateOptions.give_streams`.
    give_streams: bool = False
    #: What is done with a terminal that is kept, before the program is executed.
    prepare_console: Callable[[Console], None] | None = None
    #: Give it a cgroup of its own below the container's, if it names none.
    branch: bool = True
    #: Leave it to whoever takes the orphans of this process, and waits for them: nobody else learns how it ends.
    orphaned: bool = False


def execute(container: Handle, template: Template, request: Request) -> ContainerProcess:
    """Start a further process in a container, and wait until its program is executed.

    Args:
        container: The container.
        template: What its processes have in common.
        request: What is asked for.

    Raises:
        NotRunningError: The container is stopped.
        PausedError: It is paused.
        ValidationError: The process violates the specification.
        UnsupportedFieldError: It asks for something that would have to be ignored.
        SetupError: A step of setting it up, or executing its program, failed.
        CgroupError: Its cgroup cannot be joined.
    """
    check_preserved(request.preserve_fds)
    if "monitor" in request.streams:
        raise ValueError('"monitor": a further process has none; its streams are "inherit", "null", "pipe", or files')
    process = _process(template, request)
    if request.console_socket is not None and not process.terminal:
        raise ValueError("console_socket: the process has no terminal; set terminal, or leave the socket out")
    forgotten.reap()
    return uninterrupted(_Execution(container, template, process, request).carry_out, _take_back)


def _take_back(child: ContainerProcess) -> None:
    """End a process that nobody hears of, and what it started, also if it has ended itself."""
    child.kill_all()
    child.end()


#: What was asked of a template by words before: a service runs the same command again and again.
_asked: Once[Template, dict[object, Process]] = Once(lambda _: {})

#: The plans of a process, by what it is put into, each with the template that it was made by.
_planned: Once[Process, dict[object, tuple[Template, Plan]]] = Once(lambda _: {})

_KEPT: Final = 32


def _remembered(known: dict[object, T], key: object, make: Callable[[], T]) -> T:
    found = known.get(key)
    if found is None:
        found = make()
        if len(known) >= _KEPT:
            known.clear()
        known[key] = found
    return found


def _process(template: Template, request: Request) -> Process:
    wanted, env, cwd, user, terminal = request[:5]

    def make() -> Process:
        return derive(template, wanted, env=env, cwd=cwd, user=user, terminal=terminal)

    if not isinstance(wanted, (list, tuple)) or not isinstance(env, (dict, NoneType)):
        return make()
    try:
        key = tuple(wanted), tuple((env or {}).items()), cwd, user, terminal
        return _remembered(_asked(template), key, make)
    except TypeError:
        return make()  # words that are none, as this says


def template_of(container: Handle) -> Template:
    """Find out what the processes of a container have in common: by our own note, or by runc's state and the bundle.

    Raises:
        NotExistError: The container was destroyed.
        StateError: What is written down about it cannot be read, or not be trusted.
    """
    where = f"{container.root}/{container.id}"
    with container._directory() as found:  # noqa: SLF001 - this module is a part of the container
        if found is None:
            raise NotExistError(f"container does not exist: {container.id} in {container.root}")
        kept = records.read_processes(*found, container.id)
        if kept is not None:
            return read_note(kept, f"{where}/{PROCESS_FILE}")
        state = found[0].read(found[1], STATE_FILE, container.id) or b"{}"
    from ocikit.runtime.seccomp import filter_for  # noqa: PLC0415
    from ocikit.runtime.state.libcontainer_process import read_config  # noqa: PLC0415 - for containers of others

    config = read_config(json.loads(state).get("config") or {}, f"{where}/{STATE_FILE}")
    configured = _of_bundle(container)
    defaults = config.process if configured is None else _with_limits(config.process, configured)
    return Template(
        process=configured,
        defaults=defaults,
        keyring=config.keyring,
        personality=config.personality,
        seccomp=filter_for(config.seccomp),
        memory_policy=config.memory_policy,
    )


def _with_limits(process: Process, configured: Process) -> Process:
    """Add the resource limits of the configuration: runc takes them from there alone, and notes none."""
    import attrs  # noqa: PLC0415

    return process if process.rlimits else attrs.evolve(process, rlimits=configured.rlimits)


def _of_bundle(container: Handle) -> Process | None:
    from ocikit.runtime.configuration import read_spec  # noqa: PLC0415 - for containers of others

    with contextlib.suppress(OCIKitError):
        return read_spec(container.bundle).process
    return None


class _Execution(NamedTuple):
    """One further process, before anything is done."""

    container: Handle
    template: Template
    process: Process
    request: Request

    def carry_out(self, cancellation: Cancellation) -> ContainerProcess:
        """Start the process."""
        init = self.container._init()  # noqa: SLF001
        with init.held() as pidfd, contextlib.ExitStack() as undoing:
            if pidfd is None or not init.alive():
                raise NotRunningError(f"cannot exec in a stopped container: {self.container.id}")
            lived_in = cgroup_ownership.members(init.pid, self.container._detect())  # noqa: SLF001
            paths = self._cgroups(lived_in)
            if not self.request.ignore_paused and freezer.frozen(paths):
                raise PausedError(
                    f"cannot exec in a paused container: {self.container.id}; resume it, or set ignore_paused"
                )
            inside = Inside(init.pid)
            branch = self._branch(paths)
            if branch is not None:
                undoing.callback(branch.end)
                paths[branch.key] = branch.path
            places = Places.of(paths, self.container._detect())  # noqa: SLF001
            try:
                plan = self._plan(inside, places, branch)
            finally:
                # Only now is it known that all this was about the container, and so is what is wrong with it.
                self._check_alive()
            streams = with_terminal(self.request.streams) if self.process.terminal else self.request.streams
            with (
                Stdio(streams, inside.owner(self.process)) as stdio,
                Reception(self.request.console_socket, self.request.prepare_console) as reception,
            ):
                if self.request.give_streams:
                    stdio.give()
                entering = _Entering(plan, places, lived_in.get(cgroups.UNIFIED), pidfd, stdio, reception, branch)
                with self._launch(entering, cancellation) as started:
                    child = self._finish(started, entering, cancellation)
                    undoing.pop_all()
                    return child

    def _check_alive(self) -> None:
        if not self.container._init().alive():  # noqa: SLF001
            raise NotRunningError(f"container {self.container.id} has ended meanwhile")

    def _cgroups(self, lived_in: Mapping[str, str]) -> dict[str, str]:
        """Return the cgroups of the container: those of its state, if its first process is in there, else its own."""
        stated = self.container._record.cgroup_paths  # noqa: SLF001
        found = {}
        for key, lives in lived_in.items():
            path = stated.get(key, lives)
            found[key] = path if lives == path or cgroups.is_below(lives, path) else lives
        if self.request.cgroup is not None:
            self.container._ask_for_cgroup("find the cgroup of a further process")  # noqa: SLF001
        return _below(found, self.request.cgroup)

    def _branch(self, paths: Mapping[str, str]) -> Branch | None:
        """Make a cgroup for this process and what it starts, unless it has one, or nobody will remove it."""
        if self.request.cgroup is not None or not self.request.branch:
            return None
        return Branch.make(paths, self.container._detect())  # noqa: SLF001

    def _plan(self, inside: Inside, places: Places, branch: Branch | None) -> Plan:
        from ocikit.runtime.host.labels import find_modules  # noqa: PLC0415
        from ocikit.runtime.plan.further import compile_exec  # noqa: PLC0415 - loads what every plan needs

        if branch is not None:
            places = places.with_branch(branch.name, STAND_IN)
        enclosure = inside.enclosure(self.container.id, places)._replace(modules=find_modules(self.process))
        home, preserved = inside.home(self.process), len(self.request.preserve_fds)
        # Without a cgroup of its own, what the program starts could not be ended when this is interrupted.
        waits = branch is None or self.request.orphaned or self.request.ignore_paused

        def make() -> tuple[Template, Plan]:
            plan = compile_exec(self.process, enclosure, self.template, home=home, preserved=preserved, waits=waits)
            return self.template, plan.packed()

        known, key = _planned(self.process), (enclosure, home, preserved, waits)
        template, plan = _remembered(known, key, make)
        if template is not self.template:
            known.clear()
            _, plan = _remembered(known, key, make)
        for warning in plan.warnings:
            # A note: whoever made the container was warned, and an exec comes again and again.
            _log.info("process in container %s: %s", self.container.id, warning)
        return plan.named(STAND_IN, branch.name) if branch is not None else plan

    def _launch(self, entering: _Entering, cancellation: Cancellation) -> Launch:
        from ocikit.runtime.plan.further import BEGIN  # noqa: PLC0415

        try:
            return self._launch_in(entering.places.begin_in, entering, cancellation)
        except SetupError as error:
            if error.action != BEGIN or error.errno not in _DIVIDED or self.request.cgroup is not None:
                raise
        # What runs in the container has made cgroups of its own below that one: where its first process is, is room.
        return self._launch_in(entering.init_cgroup, entering, cancellation)

    def _launch_in(self, cgroup: str | None, entering: _Entering, cancellation: Cancellation) -> Launch:
        from ocikit.runtime.launch import launch  # noqa: PLC0415 - the first one loads the compiled part
        from ocikit.runtime.plan.steps import Slot  # noqa: PLC0415

        passed: dict[int, int] = {Slot.PROCESS: entering.pidfd}
        passed |= {Slot.PRESERVED + number: fd for number, fd in enumerate(self.request.preserve_fds)}
        with contextlib.ExitStack() as stack:
            if cgroup is not None:
                passed[Slot.CGROUP] = stack.enter_context(_open_cgroup(cgroup)).fd
            return launch(
                entering.plan,
                stdio=entering.stdio.fds,
                passed=passed,
                answers=self._answers(entering.reception),
                release=entering.places.release if self.request.ignore_paused else None,
                cancellation=cancellation,
            )

    def _answers(self, reception: Reception) -> dict[Sync, Callable[[Launch, int], None]]:
        """Return what is done for the process when it asks."""
        from ocikit.runtime.plan.steps import Sync  # noqa: PLC0415

        return {Sync.SECCOMP_LISTENER: self._hand_over, Sync.CONSOLE: reception.take}

    def _hand_over(self, started: Launch, fd: int) -> None:
        from ocikit.runtime.seccomp.hand_over import send_listener  # noqa: PLC0415 - few containers have an agent

        seccomp = self.template.seccomp
        if seccomp is not None and seccomp.listener is not None:
            send_listener(seccomp.listener, fd, started.pid, self.container.oci_state())

    def _finish(self, started: Launch, entering: _Entering, cancellation: Cancellation) -> ContainerProcess:
        with cancellation.waking(started.kill):
            started.ready()
            if self.request.orphaned:
                started.orphan()
            started.commit()
        attendant = None if self.request.orphaned else started.take_attendant()
        pid, pidfd = started.introduced_as, started.take_pidfd()
        child = ContainerProcess(self.container.id, pid, pidfd, attendant, entering.branch)
        try:
            with cancellation.waking(child.kill):
                _raise_any(started.exec_error())
            # Who destroys a container does not wait for those who are on their way into it.
            self._check_alive()
        except BaseException:
            started.close_channel()  # told to stop before anybody listened to it
            _take_back(child)
            raise
        child.stdin, child.stdout, child.stderr = (entering.stdio.files.get(number) for number in range(3))
        child.console = entering.reception.console
        return child


class _Entering(NamedTuple):
    """A further process, when all is known that has to be."""

    plan: Plan
    places: Places
    #: The v2 cgroup of the container's first process.
    init_cgroup: str | None
    #: A descriptor of that process.
    pidfd: int
    stdio: Stdio
    reception: Reception
    #: The cgroup of its own.
    branch: Branch | None


def _raise_any(error: Exception | None) -> None:
    if error is not None:
        raise error


def _below(paths: dict[str, str], wanted: str | Mapping[str, str] | None) -> dict[str, str]:
    """Return the sub-cgroups that are asked for: one in every hierarchy, or in those that are named."""
    names = dict.fromkeys(paths, wanted) if isinstance(wanted, str) else wanted or {}
    found = dict(paths)
    for key, name in names.items():
        if key not in paths:
            raise ValidationError((f"unknown controller {key!r} of cgroup; expected {', '.join(sorted(paths))}",))
        found[key] = posixpath.normpath(f"{paths[key]}/{name}")
        if found[key] != paths[key] and not cgroups.is_below(found[key], paths[key]):
            raise ValidationError((f"bad sub cgroup path: {name} is not a sub cgroup path of {paths[key]}",))
    return found


def _open_cgroup(path: str) -> _fs.Descriptor:
    try:
        return _fs.Descriptor(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError as error:
        from ocikit.runtime.plan.further import JOINING  # noqa: PLC0415

        raise CgroupError(JOINING, error.errno or errno.EIO, path, "is there such a cgroup?") from error
