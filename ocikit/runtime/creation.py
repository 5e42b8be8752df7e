"""A bundle becomes a container: everything is made, or nothing is left.

The order is what makes a crash at any point recoverable. First all that can be refused without touching anything; then
the directory, which claims the id, and in it a note of the cgroups to come; then the cgroups; then init. Its state is
on disk before it is told to go on without us, so there is never a container that nobody can list.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
from typing import TYPE_CHECKING, NamedTuple

from ocikit import _fs
from ocikit.errors import BundleError, CgroupError, LimitExceededError, OCIKitError, SystemCallError
from ocikit.runtime import cgroup_setup, cgroup_tree, cgroups, fifo, records, teardown
from ocikit.runtime.container import assemble
from ocikit.runtime.devices import device_rules
from ocikit.runtime.libcontainer import Created, state_document
from ocikit.runtime.limits import limits
from ocikit.runtime.listing import root_path
from ocikit.runtime.options import CreateOptions
from ocikit.runtime.process import adopt_init
from ocikit.runtime.root import StateRoot
from ocikit.runtime.state import LIFETIMES, STATE_FILE, OwnRecord, parse_state, validate_id
from ocikit.runtime.stdio import Stdio
from ocikit.runtime.uninterrupted import uninterrupted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from ocikit.runtime.cgroups import Hierarchies
    from ocikit.runtime.container import Container
    from ocikit.runtime.devices import DeviceRule
    from ocikit.runtime.launch import Launch
    from ocikit.runtime.limits import Write
    from ocikit.runtime.plan import CgroupMount
    from ocikit.runtime.stdio import Stream
    from ocikit.runtime.steps import Plan
    from ocikit.runtime.uninterrupted import Cancellation
    from ocikit.spec import LinuxIDMapping, Spec

__all__ = ["create", "read_spec"]

_log = logging.getLogger("ocikit.runtime")

_MAX_CONFIG_BYTES = 4 * 1024 * 1024
_MAX_PRESERVED = 128  # what there is room for, from Slot.PRESERVED on
_MAX_PASSWD_BYTES = 1024 * 1024


def create(
    root: str | os.PathLike[str] | None,
    container_id: str,
    bundle: str | os.PathLike[str],
    *,
    spec: Spec | None = None,
    lifetime: Literal["scope", "detached"] = "scope",
    stdin: Stream = "inherit",
    stdout: Stream = "inherit",
    stderr: Stream = "inherit",
    options: CreateOptions | None = None,
) -> Container:
    """Create a container: everything is set up, and its program waits for :meth:`Container.start`.

    Args:
        root: The state root, made if there is none; None for :func:`default_root`.
        container_id: One to 255 of ``A-Za-z0-9_+-.``.
        bundle: The directory that the configuration belongs to.
        spec: The configuration; None reads ``config.json`` of the bundle.
        lifetime: ``"scope"`` destroys the container at the end of the ``with`` block, when its object is forgotten,
            and when the interpreter ends; ``"detached"`` leaves it until somebody destroys it.
        stdin: The container's standard input: that of this process, ``"null"``, a ``"pipe"`` (then
            :attr:`Container.stdin` is its other end), a descriptor, or an open file.
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
    options = options or CreateOptions()
    if len(options.preserve_fds) > _MAX_PRESERVED:
        raise ValueError(f"preserve_fds: expected at most {_MAX_PRESERVED}, found {len(options.preserve_fds)}")
    directory = os.path.abspath(os.fsdecode(bundle))
    creation = _Creation(
        root_path(root),
        container_id,
        directory,
        spec or read_spec(directory),
        lifetime,
        (stdin, stdout, stderr),
        options,
    )
    return uninterrupted(creation.carry_out, lambda container: container._destroy(force=True))  # noqa: SLF001


def read_spec(bundle: str) -> Spec:
    """Read the configuration of a bundle.

    Raises:
        BundleError: There is none.
        ParseError: It cannot be read.
        LimitExceededError: It is larger than 4 MiB.
        SystemCallError: It cannot be opened.
    """
    from ocikit.spec import Spec  # noqa: PLC0415 - the classes of the specification are many

    path = os.path.join(bundle, "config.json")
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_CONFIG_BYTES + 1)
    except FileNotFoundError:
        raise BundleError(f"{bundle}: expected a bundle, but there is no config.json in it") from None
    except OSError as error:
        raise SystemCallError("read config.json", error.errno or errno.EIO, path) from error
    if len(data) > _MAX_CONFIG_BYTES:
        raise LimitExceededError(f"{path}: bytes", _MAX_CONFIG_BYTES)
    return Spec.from_json(data)


class _Places(NamedTuple):
    """Where the container's cgroups will be, and their limits."""

    hierarchies: Hierarchies
    paths: dict[str, str]
    parents: tuple[str, ...]
    writes: tuple[Write, ...]
    rules: tuple[DeviceRule, ...]

    @property
    def joined_by_clone(self) -> str | None:
        """The v2 cgroup that init is cloned into."""
        return self.paths.get(cgroups.UNIFIED)

    @property
    def joined_by_write(self) -> tuple[str, ...]:
        """The v1 files that init writes itself into."""
        paths = dict.fromkeys(path for key, path in self.paths.items() if key != cgroups.UNIFIED)
        return tuple(f"{path}/tasks" for path in paths)

    def mounts(self) -> tuple[CgroupMount, ...]:
        """Return what a mount of type ``cgroup`` shows: all of v1, or v2 when there is nothing else."""
        from ocikit.runtime.plan import CgroupMount  # noqa: PLC0415 - with everything that makes plans

        if self.hierarchies.v2_only:
            return (CgroupMount("", self.paths[cgroups.UNIFIED]),)
        keys: dict[str, list[str]] = {}
        for key, hierarchy in self.hierarchies.by_key.items():
            if key != cgroups.UNIFIED:
                keys.setdefault(hierarchy.mountpoint, []).append(key)
        return tuple(
            CgroupMount(os.path.basename(mountpoint), self.paths[of[0]], tuple(_mount_options(of)))
            for mountpoint, of in keys.items()
        )


def _mount_options(keys: Sequence[str]) -> list[str]:
    return [option for key in keys for option in (("none", key) if key.startswith("name=") else (key,))]


class _Creation(NamedTuple):
    """Everything that is known before anything is made."""

    root: str
    id: str
    bundle: str
    spec: Spec
    lifetime: str
    streams: tuple[Stream, Stream, Stream]
    options: CreateOptions

    def carry_out(self, cancellation: Cancellation) -> Container:
        """Make the container."""
        places = self._places()
        plan = self._plan(places)
        for warning in plan.warnings:
            _log.warning("container %s: %s", self.id, warning)
        with (
            Stdio(self.streams, self._owner()) as stdio,
            StateRoot.make(self.root) as root,
            root.claim(self.id) as directory,
        ):
            made: list[str] = []
            try:
                teardown.remove_interrupted(root, directory, self.id)
                cgroup_setup.check_free(places.paths)
                records.write_own(directory, OwnRecord(self.lifetime, places.paths, places.parents))
                cgroup_setup.make(places.paths, places.hierarchies, made)
                cgroup_setup.apply(places.paths, places.writes)
                cgroup_setup.limit_devices(places.paths, places.rules)
                return self._start_init(plan, places, directory, stdio, cancellation)
            except BaseException:
                self._undo(root, directory, made)
                raise

    def _undo(self, root: StateRoot, directory: int, made: list[str]) -> None:
        try:
            cgroup_tree.remove(reversed(made))
        except CgroupError as error:
            # Leave the note of the cgroups: the next creation with this id, or stop_and_remove, tries again.
            _log.warning("container %s: %s", self.id, error)
            return
        with contextlib.suppress(OCIKitError):
            root.remove(self.id, directory)

    def _places(self) -> _Places:
        linux = self.spec.linux
        hierarchies = cgroups.detect()
        paths = cgroups.place(hierarchies, linux.cgroups_path if linux is not None else "", self.id)
        resources = linux.resources if linux is not None else None
        writes = limits(resources, v2=hierarchies.v2_only)
        rules = device_rules(resources.devices if resources is not None else ())
        return _Places(hierarchies, paths, cgroup_setup.missing_parents(paths.values(), hierarchies), writes, rules)

    def _plan(self, places: _Places) -> Plan:
        from ocikit.runtime.plan import Surroundings, compile_plan  # noqa: PLC0415 - needed here only
        from ocikit.runtime.procfs import own_capabilities  # noqa: PLC0415

        around = Surroundings(
            bundle=self.bundle,
            id=self.id,
            cgroup_join=places.joined_by_write,
            into_cgroup=places.joined_by_clone is not None,
            cgroup_mounts=places.mounts(),
            capabilities=_ALL_CAPABILITIES if self._new_users() else own_capabilities(),
            of_host=self._namespaces_of_host(),
            home=self._home(),
            preserved=len(self.options.preserve_fds),
            new_keyring=not self.options.no_new_keyring,
        )
        return compile_plan(self.spec, around)

    def _namespaces_of_host(self) -> frozenset[str]:
        """Return the types of the namespaces that have a path and are our own."""
        namespaces = self.spec.linux.namespaces if self.spec.linux is not None else ()
        found = set()
        for one in namespaces:
            # A path that leads nowhere is an error of the step that joins it, which says so.
            with contextlib.suppress(OSError, ValueError):
                if one.path and os.path.samefile(one.path, f"/proc/self/ns/{_NAMESPACE_FILES.get(one.type, one.type)}"):
                    found.add(one.type)
        return frozenset(found)

    def _new_users(self) -> bool:
        linux = self.spec.linux
        return linux is not None and any(one.type == "user" and not one.path for one in linux.namespaces)

    def _host_ids(self, uid: int, gid: int) -> tuple[int, int]:
        """Return what ids of the container are on this host."""
        linux = self.spec.linux
        if linux is None or not self._new_users():
            return uid, gid
        return _mapped(uid, linux.uid_mappings), _mapped(gid, linux.gid_mappings)

    def _home(self) -> str | None:
        process, root = self.spec.process, self.spec.root
        if process is None or root is None or any(entry.startswith("HOME=") for entry in process.env):
            return None
        return _home_of(process.user.uid, os.path.join(self.bundle, root.path))

    def _owner(self) -> tuple[int, int] | None:
        """Return user and group of the container's process on this host."""
        user = self.spec.process.user if self.spec.process is not None else None
        return self._host_ids(user.uid, user.gid) if user is not None else None

    def _start_init(
        self, plan: Plan, places: _Places, directory: int, stdio: Stdio, cancellation: Cancellation
    ) -> Container:
        from ocikit.runtime.launch import launch  # noqa: PLC0415 - the first container loads the compiled part
        from ocikit.runtime.steps import Slot  # noqa: PLC0415

        with contextlib.ExitStack() as stack:
            waiting = stack.enter_context(fifo.make(directory, self._host_ids(0, 0)))
            passed: dict[int, int] = {Slot.FIFO: waiting.fd}
            passed |= {Slot.PRESERVED + number: fd for number, fd in enumerate(self.options.preserve_fds)}
            if places.joined_by_clone is not None:
                flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
                passed[Slot.CGROUP] = stack.enter_context(_fs.Descriptor(os.open(places.joined_by_clone, flags))).fd
            started = stack.enter_context(launch(plan, stdio=stdio.fds, passed=passed))
            with cancellation.waking(lambda: _kill(started)):
                started.ready()
            document = state_document(self.spec, self._created(started, places.paths, stdio.descriptors()))
            records.write_file(directory, STATE_FILE, document)
            started.commit()
            init = adopt_init(started.pid, started.start_time, started.take_pidfd())
            record = parse_state(document, self.id)
            scope = self.lifetime == "scope"
            container = assemble(self.root, record, init, started, places.hierarchies, scope=scope)
            container.stdin, container.stdout, container.stderr = (stdio.files.get(number) for number in range(3))
            return container

    def _created(self, started: Launch, paths: Mapping[str, str], descriptors: Sequence[str]) -> Created:
        import datetime as dt  # noqa: PLC0415 - needed once in the life of a container

        now = dt.datetime.now(dt.UTC).isoformat().replace("+00:00", "Z")
        return Created(self.id, started.pid, started.start_time, now, self.bundle, paths, descriptors, self.options)


#: Names in /proc/PID/ns that differ from those of the specification.
_NAMESPACE_FILES = {"network": "net", "mount": "mnt"}

_ALL_CAPABILITIES = 0xFFFF_FFFF_FFFF_FFFF


def _kill(started: Launch) -> None:
    with contextlib.suppress(OSError):
        signal.pidfd_send_signal(started.pidfd, signal.SIGKILL)


def _mapped(number: int, mappings: Sequence[LinuxIDMapping]) -> int:
    for one in mappings:
        if one.container_id <= number < one.container_id + one.size:
            return one.host_id + number - one.container_id
    return number


def _home_of(uid: int, rootfs: str) -> str:
    """Return the home directory that the container's own passwd gives a user; the root when it gives none."""
    from ocikit.spec.users import UserDatabase  # noqa: PLC0415 - only for configurations without HOME

    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        root = stack.enter_context(_fs.Descriptor(os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)))
        # Not opened before it is known to be a file: to open a device or a fifo may do something.
        found = stack.enter_context(_fs.Descriptor(_fs.open_in_root(root.fd, "etc/passwd", os.O_PATH)))
        if os.path.isfile(f"/proc/self/fd/{found.fd}"):
            with open(f"/proc/self/fd/{found.fd}", "rb") as file:
                entry = UserDatabase.parse(passwd=file.read(_MAX_PASSWD_BYTES)).user(uid)
            if entry is not None and entry.home and "\0" not in entry.home:
                return entry.home
    return "/"
