"""A bundle becomes a container: everything is made, or nothing is left.

The order is what makes a crash at any point recoverable. First all that can be refused without touching anything; then
the directory, which claims the id, and in it a note of the cgroups to come; then the cgroups and init, at the same time
where init joins them itself. Its state is on disk before it is told to go on without us, so there is never a container
that nobody can list.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from typing import TYPE_CHECKING, Final

from attrs import evolve

from ocikit import _fs, _sys
from ocikit._tuples import NamedTuple
from ocikit.errors import CgroupError, OCIKitError
from ocikit.runtime import fifo, forgotten, mounted_root
from ocikit.runtime.cgroups import setup as cgroup_setup
from ocikit.runtime.cgroups import tree as cgroup_tree
from ocikit.runtime.cgroups.placement import find_place
from ocikit.runtime.configuration import read_spec
from ocikit.runtime.host import surroundings
from ocikit.runtime.host.procfs import own_status
from ocikit.runtime.host.rootless import check_user_namespaces, explained, this_process
from ocikit.runtime.late_log import log as _log
from ocikit.runtime.limits import ignored
from ocikit.runtime.options import NOTIFY_DIRECTORY, CreateOptions
from ocikit.runtime.state import records
from ocikit.runtime.state.documents import LIFETIMES, OwnRecord, format_time, parse_state, validate_id
from ocikit.runtime.state.root import StateRoot, root_path
from ocikit.runtime.stdio import Stdio, check_preserved, with_terminal
from ocikit.runtime.uninterrupted import uninterrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Literal

    from ocikit.runtime.cgroups.placement import Placement
    from ocikit.runtime.console import Reception
    from ocikit.runtime.container import Container
    from ocikit.runtime.hooks import CreationHooks
    from ocikit.runtime.host.caller import Caller
    from ocikit.runtime.launch import Launch
    from ocikit.runtime.monitor.arrangement import Arrangement
    from ocikit.runtime.netdevices import NetDevices
    from ocikit.runtime.plan.steps import Plan, Sync
    from ocikit.runtime.seccomp import Filter
    from ocikit.runtime.state.libcontainer import Created
    from ocikit.runtime.stdio import Stream
    from ocikit.runtime.systemd.bus import Variant
    from ocikit.runtime.uninterrupted import Cancellation
    from ocikit.spec import Spec

__all__ = ["create"]

#: For configurations without hooks, which are all that it matters to.
_NO_UMASK: Final = 0

_USUAL: Final = CreateOptions()

_UNMONITORED: Final = 'there is no monitor; it takes lifetime="process" or "detached", and options.monitor'

#: What the streams of a container are when nothing was said, without and with a monitor.
_INHERITED: Final = ("inherit", "inherit", "inherit")
_OF_MONITORED: Final = ("null", "monitor", "monitor")


def create(
    root: str | os.PathLike[str] | None,
    container_id: str,
    bundle: str | os.PathLike[str],
    *,
    spec: Spec | None = None,
    lifetime: Literal["scope", "process", "detached"] = "scope",
    stdin: Stream | None = None,
    stdout: Stream | None = None,
    stderr: Stream | None = None,
    options: CreateOptions | None = None,
) -> Container:
    """Create a container: everything is set up, and its program waits for :meth:`Container.start`.

    Args:
        root: The state root, made if there is none; None for :func:`default_root`.
        container_id: One to 255 of ``A-Za-z0-9_+-.``.
        bundle: The directory that the configuration belongs to.
        spec: The configuration; None reads ``config.json`` of the bundle.
        lifetime: ``"scope"`` destroys the container at the end of the ``with`` block, when its object is forgotten,
            and when the interpreter ends; ``"process"`` destroys it when this process ends, however that happens;
            ``"detached"`` leaves it until somebody destroys it.
        stdin: The container's standard input: that of this process (``"inherit"``), ``"null"``, a ``"pipe"`` (then
            :attr:`Container.stdin` is its other end), a descriptor, or an open file; ``"monitor"`` is what those type
            who attach. None is that of this process; for containers with a monitor it is nothing for standard input,
            and the monitor for the others.
        stdout: Its standard output, in the same way.
        stderr: Its standard error, in the same way, or ``"stdout"``.
        options: How to make it, where that is not the usual way.

    Raises:
        InvalidIDError: That cannot be an id.
        ExistError: There is a container with this id.
        BundleError: The bundle has no configuration.
        ParseError: The configuration cannot be read.
        ValidationError: It violates the specification.
        UnsupportedFieldError: It asks for something that would have to be ignored.
        SetupError: A step of setting it up failed.
        CgroupError: Its cgroups could not be made or limited.
        StateError: Somebody else could have written what is in the state root.
        SystemCallError: A file could not be made or read.
    """
    validate_id(container_id)
    if lifetime not in LIFETIMES:
        raise ValueError(f"lifetime: expected one of {', '.join(LIFETIMES)}, found {lifetime!r}")
    _check_kinds(spec, options)
    wanted = options or _USUAL
    monitored = lifetime != "scope" and wanted.monitor
    if not monitored:
        _refuse_what_takes_a_monitor(wanted)
    directory = os.path.abspath(os.fsdecode(bundle))
    streams = _chosen((stdin, stdout, stderr), monitored=monitored)

    def carry_out(cancellation: Cancellation) -> Container:
        effective, passable = _sys.capabilities()
        caller = this_process(effective)
        how = evolve(wanted, rootless=caller.rootless) if wanted.rootless is None else wanted
        configured = spec or read_spec(directory)
        place = root_path(root), container_id, directory
        creation = _Creation(*place, configured, lifetime, streams, how, caller, passable, monitored)
        return creation.with_maps().carry_out(cancellation)

    return uninterrupted(carry_out, lambda container: container._destroy(force=True))  # noqa: SLF001


def _chosen(
    streams: tuple[Stream | None, Stream | None, Stream | None], *, monitored: bool
) -> tuple[Stream, Stream, Stream]:
    """Return the streams that were asked for, or what they are when nothing was said."""
    usual: tuple[Stream, Stream, Stream] = _OF_MONITORED if monitored else _INHERITED
    for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
        if stream == "monitor" and not monitored:
            raise ValueError(f"{name}: {_UNMONITORED}")
    stdin, stdout, stderr = (one if one is not None else other for one, other in zip(streams, usual, strict=True))
    return stdin, stdout, stderr


def _check_kinds(spec: Spec | None, options: CreateOptions | None) -> None:
    from ocikit.spec import Spec  # noqa: PLC0415 - there as soon as somebody has one

    if spec is not None and not isinstance(spec, Spec):
        raise TypeError(f"spec: expected a Spec (it has from_dict and from_json), found {type(spec).__name__}")
    if options is not None and not isinstance(options, CreateOptions):
        raise TypeError(f"options: expected CreateOptions, found {type(options).__name__}")
    if options is not None:
        check_preserved(options.preserve_fds)


def _refuse_what_takes_a_monitor(options: CreateOptions) -> None:
    for name in ("log", "timeout"):
        if getattr(options, name) != getattr(_USUAL, name):
            raise ValueError(f"options.{name}: {_UNMONITORED}")


class _Making(NamedTuple):
    """What there is of a container before its init."""

    plan: Plan
    places: Placement
    #: Its directory in the state root.
    directory: int
    stdio: Stdio
    #: What takes its terminal; None when it has none.
    reception: Reception | None
    #: Directories of cgroups that were made for it.
    made: list[str]
    #: None when there are none.
    hooks: CreationHooks | None
    own: OwnRecord
    seccomp: Filter | None


class _Creation(NamedTuple):
    """Everything that is known before anything is made."""

    root: str
    id: str
    bundle: str
    spec: Spec
    lifetime: str
    streams: tuple[Stream, Stream, Stream]
    options: CreateOptions
    caller: Caller
    #: Mask of the capabilities that this process could pass on.
    passable: int
    monitored: bool

    def with_maps(self) -> _Creation:
        """Return this with the maps of the user namespace that the container joins."""
        if not surroundings.has_users(self.spec):
            return self
        from ocikit.runtime.user_maps import with_joined_maps  # noqa: PLC0415 - for those who have users of their own

        return self._replace(spec=with_joined_maps(self.spec))

    def carry_out(self, cancellation: Cancellation) -> Container:
        """Make the container."""
        forgotten.reap()
        rootless = bool(self.options.rootless)
        places = find_place(self.spec, self.id, systemd=self.options.systemd_cgroup, rootless=rootless)
        seccomp = self._filter()
        plan = self._plan(places, seccomp)
        for warning in (*plan.warnings, *ignored(places.resources, places.hierarchies)):
            _log.warning("container %s: %s", self.id, warning)
        with (
            Stdio(self._streams(), surroundings.owner(self.spec)) as stdio,
            self._reception() as reception,
            StateRoot.make(self.root) as root,
            root.claim(self.id) as directory,
        ):
            made: list[str] = []
            own = OwnRecord(self.lifetime, places.paths, places.parents, rdt_groups=places.rdt_own)
            hooks = self._hooks(cancellation)
            try:
                self._remove_interrupted(root, directory)
                cgroup_setup.check_free(places.paths)
                # Only now is there nothing left of a creation before.
                own = own._replace(mounted_root=mounted_root.expect(self.spec, self.bundle))
                records.write_own(directory, own, self.id)
                if self.options.notify:
                    os.mkdir(NOTIFY_DIRECTORY, dir_fd=directory)
                    os.chmod(NOTIFY_DIRECTORY, 0o755, dir_fd=directory)  # noqa: S103 - whatever the umask; seen in there
                if self._are_late(places):
                    places.make_first(made)
                elif places.unit is None:
                    places.make(made)
                making = _Making(plan, places, directory, stdio, reception, made, hooks, own, seccomp)
                with explained(self.caller, plan):
                    return self._start_init(making, cancellation)
            except BaseException:
                mounted_root.remove(own.mounted_root, self.id)
                self._undo(root, directory, places, made)
                if hooks is not None:
                    hooks.clean_up()
                raise

    def _streams(self) -> tuple[Stream, Stream, Stream]:
        """Return the standard streams that init starts with."""
        if self.spec.process is not None and self.spec.process.terminal:
            return with_terminal(_INHERITED if self.streams == _OF_MONITORED else self.streams)
        if self.options.console_socket is not None:
            raise ValueError("console_socket: the process has no terminal; set process.terminal, or leave it out")
        return self.streams

    def _reception(self) -> contextlib.AbstractContextManager[Reception | None]:
        """Return what takes the terminal, if there is going to be one."""
        if self.spec.process is None or not self.spec.process.terminal:
            return contextlib.nullcontext()
        from ocikit.runtime.console import Reception  # noqa: PLC0415 - most have none

        return Reception(self.options.console_socket)

    def _hooks(self, cancellation: Cancellation) -> CreationHooks | None:
        if self.spec.hooks is None:
            return None
        from ocikit.runtime.hooks import CreationHooks  # noqa: PLC0415 - for those who have some

        return CreationHooks(self.spec, self.id, self.bundle, cancellation)

    def _remove_interrupted(self, root: StateRoot, directory: int) -> None:
        """Remove what an interrupted creation left in the directory."""
        if os.listdir(directory):
            from ocikit.runtime.teardown import remove_interrupted  # noqa: PLC0415 - a new one is empty

            remove_interrupted(root, directory, self.id)

    def _undo(self, root: StateRoot, directory: int, places: Placement, made: list[str]) -> None:
        try:
            # Init is gone; hooks that it was running go with it only if they share a pid namespace of its own.
            cgroup_tree.kill({key: path for key, path in places.paths.items() if path in made})
            places.unmake(made)
        except CgroupError as error:
            # Leave the note of the cgroups: the next creation with this id, or stop_and_remove, tries again.
            _log.warning("container %s: %s", self.id, error)
            return
        with contextlib.suppress(OCIKitError):
            root.remove(self.id, directory)

    def _note(self, seccomp: Filter | None) -> bytes:
        """Return what further processes start from; nothing when there can be none."""
        from ocikit.runtime.plan.attributes import memory_policy, personality  # noqa: PLC0415
        from ocikit.runtime.state.note import note  # noqa: PLC0415

        process = self.spec.process
        keyring = not self.options.no_new_keyring
        if process is None:
            return b""
        linux = self.spec.linux
        domain = personality(linux.personality) if linux is not None else None
        policy = memory_policy(linux.memory_policy) if linux is not None else None
        return note(process, keyring=keyring, personality=domain, memory_policy=policy, seccomp=seccomp)

    def _plan(self, places: Placement, seccomp: Filter | None) -> Plan:
        from ocikit.runtime.host.labels import find_modules  # noqa: PLC0415
        from ocikit.runtime.plan.compiler import Surroundings  # noqa: PLC0415 - needed here only
        from ocikit.runtime.plan.stand_in import plan_for  # noqa: PLC0415

        of_host = surroundings.namespaces_of_host(self.spec)
        users = surroundings.has_users(self.spec) and "user" not in of_host
        around = Surroundings(
            bundle=self.bundle,
            id=self.id,
            cgroup_join=places.joined_by_write,
            systemd=places.unit is not None,
            late_cgroups=self._are_late(places),
            into_cgroup=places.joined_by_clone is not None,
            cgroup_mounts=places.mounts(),
            caller=self.caller,
            capabilities=_ALL_CAPABILITIES if users else self.passable,
            of_host=of_host,
            home=surroundings.home(self.spec, self.bundle),
            preserved=len(self.options.preserve_fds),
            new_keyring=not self.options.no_new_keyring,
            seccomp=seccomp,
            umask=own_status().umask if self.spec.hooks is not None else _NO_UMASK,
            modules=find_modules(self.spec.process, self.spec.linux),
            no_pivot=self.options.no_pivot,
            revealing=surroundings.revealing_mounts() if self.options.no_pivot else (),
        )
        plan = plan_for(self.spec, around)
        if plan.uid_map:
            from ocikit.runtime.user_maps import check_ranges  # noqa: PLC0415 - as above

            check_user_namespaces(self.caller)
            check_ranges(plan.uid_map, plan.gid_map, self.caller)
        return plan

    def _are_late(self, places: Placement) -> bool:
        """Tell whether the cgroups are made while init is, which waits for them; not if it waits for ids before."""
        return places.may_be_late and not surroundings.has_users(self.spec)

    def _filter(self) -> Filter | None:
        profile = self.spec.linux.seccomp if self.spec.linux is not None else None
        if profile is None:
            return None
        from ocikit.runtime.seccomp import filter_for  # noqa: PLC0415 - looks for libseccomp

        return filter_for(profile)

    def _start_init(self, making: _Making, cancellation: Cancellation) -> Container:
        from ocikit.runtime.launch import launch  # noqa: PLC0415 - the first container loads the compiled part
        from ocikit.runtime.outside import mounting_for  # noqa: PLC0415
        from ocikit.runtime.plan.steps import Sync  # noqa: PLC0415

        plan, places, directory, stdio = making[:4]
        own = making.own
        with contextlib.ExitStack() as stack:
            monitor = self._arrange_monitor(making, stack)
            plan = monitor.lead(plan) if monitor is not None else plan
            passed = self._pass(making, plan, stack) | (monitor.keeper.passed if monitor is not None else {})
            answers = self._answers(making) | {Sync.MOUNT: mounting_for(passed)}
            devices = self._net_devices(stack)
            if devices is not None:
                answers[Sync.NET_DEVICES] = devices.move
            if self.options.give_streams:
                stdio.give()
            started = stack.enter_context(
                launch(
                    plan,
                    stdio=stdio.fds,
                    passed=passed,
                    answers=answers,
                    control=monitor.keeper.control if monitor is not None else None,
                    meanwhile=functools.partial(places.make, making.made) if self._are_late(places) else None,
                )
            )
            # While init is at work: also what else is needed is loaded now.
            from ocikit.runtime.container import assemble  # noqa: PLC0415 - see above
            from ocikit.runtime.process import adopt_init  # noqa: PLC0415 - see above
            from ocikit.runtime.state.libcontainer import state_document  # noqa: PLC0415 - see above

            if monitor is not None:
                own = own._replace(monitor=monitor.note(started))
                records.write_own(directory, own, self.id)
            note = self._note(making.seccomp)
            if note:
                records.write_processes(directory, note)
            # Read back before init goes on: after that nothing here may fail.
            state = state_document(self.spec, self._created(started, places, stdio.descriptors()))
            record = parse_state(state.essence, self.id)
            with cancellation.waking(started.kill):
                started.ready()
            if own.mounted_root is not None:
                own = own._replace(mounted_root=mounted_root.find(own.mounted_root))
                records.write_own(directory, own, self.id)
            records.write_state(directory, state.whole, record)
            if monitor is not None:
                monitor.introduce(started, making.reception)
            started.commit()
            if devices is not None:
                devices.keep()
            init = adopt_init(started.pid, started.start_time, started.take_pidfd())
            container = assemble(self.root, record, own, init=init, launch=started, hierarchies=places.hierarchies)
            container.stdin, container.stdout, container.stderr = (stdio.files.get(number) for number in range(3))
            container.console = making.reception.console if making.reception is not None else None
            return container

    def _pass(self, making: _Making, plan: Plan, stack: contextlib.ExitStack) -> dict[int, int]:
        """Open what the plan works with, until the end of the stack."""
        from ocikit.runtime.outside import open_owners  # noqa: PLC0415 - as above
        from ocikit.runtime.plan.steps import Slot  # noqa: PLC0415

        waiting = stack.enter_context(fifo.make(making.directory, surroundings.host_ids(self.spec, 0, 0)))
        passed: dict[int, int] = {Slot.FIFO: waiting.fd}
        passed |= {Slot.PRESERVED + number: fd for number, fd in enumerate(self.options.preserve_fds)}
        cgroup = making.places.joined_by_clone
        if cgroup is not None:
            flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
            passed[Slot.CGROUP] = stack.enter_context(_fs.Descriptor(os.open(cgroup, flags))).fd
        return passed | open_owners(plan.mount_owners, stack)

    def _arrange_monitor(self, making: _Making, stack: contextlib.ExitStack) -> Arrangement | None:
        if not self.monitored:
            return None
        from ocikit.runtime.monitor.arrangement import Arranging  # noqa: PLC0415 - for containers that have one

        made = making.places, making.directory, making.stdio, making.own
        return Arranging(self.root, self.id, self.spec, self.options, *made).arrange(stack)

    def _net_devices(self, stack: contextlib.ExitStack) -> NetDevices | None:
        """Return what moves devices of the host; without an end of the stack, they stay where they are."""
        if self.spec.linux is None or not self.spec.linux.net_devices:
            return None
        from ocikit.runtime.netdevices import NetDevices  # noqa: PLC0415 - for the few that have some

        # Their namespace, and with it what was moved there, outlives init as long as this is open.
        return stack.enter_context(NetDevices(self.spec.linux.net_devices))

    def _answers(self, making: _Making) -> dict[Sync, Callable[[Launch, int], None]]:
        """Return what is done for init when it asks."""
        from ocikit.runtime.plan.steps import Sync  # noqa: PLC0415

        def make_unit(started: Launch, _: int) -> None:
            making.places.start_unit(making.made, self.id, started.pid, self._unit_properties())

        def run_hooks(started: Launch, _: int) -> None:
            if making.hooks is not None:
                making.hooks.run(started.pid)

        def hand_over(started: Launch, fd: int) -> None:
            self._hand_over(making.seccomp, started, fd)

        answers: dict[Sync, Callable[[Launch, int], None]]
        answers = {Sync.CGROUP: make_unit, Sync.SECCOMP_LISTENER: hand_over, Sync.HOOKS: run_hooks}
        if making.reception is not None:
            answers[Sync.CONSOLE] = making.reception.take
        return answers

    def _hand_over(self, seccomp: Filter | None, started: Launch, fd: int) -> None:
        """Give the listener of the filter to its agent."""
        from ocikit.runtime.seccomp.hand_over import send_listener  # noqa: PLC0415 - few containers have an agent
        from ocikit.spec.state import CREATING, State  # noqa: PLC0415

        if seccomp is not None and seccomp.listener is not None:
            about = self.spec.annotations
            state = State(id=self.id, status=CREATING, pid=started.pid, bundle=self.bundle, annotations=about)
            send_listener(seccomp.listener, fd, started.pid, state)

    def _unit_properties(self) -> dict[str, Variant]:
        from ocikit.runtime.systemd.properties import annotated  # noqa: PLC0415 - for those who use systemd only

        return annotated(self.spec.annotations) if self.options.systemd_properties else {}

    def _created(self, started: Launch, places: Placement, descriptors: Sequence[str]) -> Created:
        from ocikit.runtime.state.libcontainer import Created  # noqa: PLC0415 - as above

        now = format_time(time.time_ns())
        made = self.id, started.pid, started.start_time, now, self.bundle, places.paths, descriptors
        rdt = (places.rdt.path, places.rdt.monitoring) if places.rdt is not None else ("", "")
        return Created(*made, self.options, places.unit, rdt, of_root=self.caller.uid == 0)


_ALL_CAPABILITIES = 0xFFFF_FFFF_FFFF_FFFF
