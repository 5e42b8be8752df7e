"""config.json of a bundle, the runtime specification 1.3.0 (config.md).

The sections of other platforms (``solaris``, ``windows``, ``vm``, ``zos``, ``freebsd``)
are carried along as plain JSON objects: ocikit has no use for what is in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

from attrs import evolve, field, frozen

from ocikit.spec._document import Document, key
from ocikit.spec._kinds import (
    BOOLEAN,
    INT64,
    OBJECT,
    STRING,
    UINT32,
    UINT64,
    Kind,
    array,
    late,
    mapping,
)
from ocikit.spec.linux import Linux
from ocikit.spec.linux_resources import LinuxResources

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocikit.spec.hooks import Hooks
    from ocikit.spec.linux_special import LinuxIDMapping
    from ocikit.spec.process_special import Box, CPUAffinity, LinuxIOPriority, Scheduler

__all__ = [
    "RUNTIME_SPEC_VERSION",
    "LinuxCapabilities",
    "Mount",
    "POSIXRlimit",
    "Process",
    "Root",
    "Spec",
    "User",
]

#: The version of the runtime specification that these classes follow.
RUNTIME_SPEC_VERSION: Final = "1.3.0"

_STRINGS: Kind = array(STRING)
_ID_MAPPINGS: Kind = array(late("LinuxIDMapping"))


@frozen(kw_only=True, repr=False, eq=False)
class User(Document):
    """Whom a process runs as; ids are those in the container."""

    #: User id.
    uid: int = field(default=0, metadata=key("uid", UINT32, always=True))
    #: Group id.
    gid: int = field(default=0, metadata=key("gid", UINT32, always=True))
    #: Bits that are cleared in the mode of new files; None leaves it to the runtime.
    umask: int | None = field(default=None, metadata=key("umask", UINT32))
    #: Further group ids.
    additional_gids: tuple[int, ...] = field(default=(), metadata=key("additionalGids", array(UINT32)))
    #: User name, on Windows.
    username: str = field(default="", metadata=key("username", STRING))


@frozen(kw_only=True, repr=False, eq=False)
class LinuxCapabilities(Document):
    """The five capability sets of a process, by names such as ``CAP_CHOWN``."""

    #: What the process, and whatever it executes, can ever gain.
    bounding: tuple[str, ...] = field(default=(), metadata=key("bounding", _STRINGS))
    #: What the kernel checks.
    effective: tuple[str, ...] = field(default=(), metadata=key("effective", _STRINGS))
    #: What survives execve for files that inherit.
    inheritable: tuple[str, ...] = field(default=(), metadata=key("inheritable", _STRINGS))
    #: What the process may make effective.
    permitted: tuple[str, ...] = field(default=(), metadata=key("permitted", _STRINGS))
    #: What survives execve of an unprivileged program.
    ambient: tuple[str, ...] = field(default=(), metadata=key("ambient", _STRINGS))


@frozen(kw_only=True, repr=False, eq=False)
class POSIXRlimit(Document):
    """A resource limit of a process."""

    #: Such as ``RLIMIT_NOFILE``; REQUIRED.
    type: str = field(metadata=key("type", STRING, absent=""))
    #: Up to where the process itself may raise the limit; REQUIRED.
    hard: int = field(metadata=key("hard", UINT64))
    #: The limit; REQUIRED.
    soft: int = field(metadata=key("soft", UINT64))


@frozen(kw_only=True, repr=False, eq=False)
class Process(Document):
    """The program to run and everything about its process."""

    #: True for a pseudo-terminal.
    terminal: bool = field(default=False, metadata=key("terminal", BOOLEAN))
    #: Size of the terminal.
    console_size: Box | None = field(default=None, metadata=key("consoleSize", late("Box")))
    #: Whom to run as; root when a document says nothing.
    user: User = field(factory=User, metadata=key("user", User, always=True))
    #: Program and arguments; REQUIRED except on Windows.
    args: tuple[str, ...] = field(default=(), metadata=key("args", _STRINGS))
    #: The whole command line, on Windows.
    command_line: str = field(default="", metadata=key("commandLine", STRING))
    #: Environment, as ``NAME=value``.
    env: tuple[str, ...] = field(default=(), metadata=key("env", _STRINGS))
    #: Working directory, an absolute path in the container; REQUIRED.
    cwd: str = field(metadata=key("cwd", STRING, absent=""))
    #: Capability sets; None leaves them to the runtime.
    capabilities: LinuxCapabilities | None = field(default=None, metadata=key("capabilities", LinuxCapabilities))
    #: Resource limits, at most one per type.
    rlimits: tuple[POSIXRlimit, ...] = field(default=(), metadata=key("rlimits", array(POSIXRlimit)))
    #: True prevents that the process ever gains privileges.
    no_new_privileges: bool = field(default=False, metadata=key("noNewPrivileges", BOOLEAN))
    #: AppArmor profile.
    apparmor_profile: str = field(default="", metadata=key("apparmorProfile", STRING))
    #: Score that the OOM killer adds; None leaves it as it is.
    oom_score_adj: int | None = field(default=None, metadata=key("oomScoreAdj", INT64))
    #: CPU scheduling.
    scheduler: Scheduler | None = field(default=None, metadata=key("scheduler", late("Scheduler")))
    #: SELinux label.
    selinux_label: str = field(default="", metadata=key("selinuxLabel", STRING))
    #: I/O scheduling.
    io_priority: LinuxIOPriority | None = field(default=None, metadata=key("ioPriority", late("LinuxIOPriority")))
    #: CPUs of further processes that are executed in the container.
    exec_cpu_affinity: CPUAffinity | None = field(default=None, metadata=key("execCPUAffinity", late("CPUAffinity")))


@frozen(kw_only=True, repr=False, eq=False)
class Root(Document):
    """The root file system."""

    #: Its directory, absolute or relative to the bundle; REQUIRED.
    path: str = field(metadata=key("path", STRING, absent=""))
    #: True when the container must not write to it.
    readonly: bool = field(default=False, metadata=key("readonly", BOOLEAN))


@frozen(kw_only=True, repr=False, eq=False)
class Mount(Document):
    """A mount in the container."""

    #: Where in the container; REQUIRED.
    destination: str = field(metadata=key("destination", STRING, absent=""))
    #: Type of the file system; for bind mounts of no meaning.
    type: str = field(default="", metadata=key("type", STRING))
    #: Device, or for bind mounts a path, absolute or relative to the bundle.
    source: str = field(default="", metadata=key("source", STRING))
    #: Mount options; ``bind`` or ``rbind`` makes a bind mount.
    options: tuple[str, ...] = field(default=(), metadata=key("options", _STRINGS))
    #: User ids of files in the mount and in the container.
    uid_mappings: tuple[LinuxIDMapping, ...] = field(default=(), metadata=key("uidMappings", _ID_MAPPINGS))
    #: Group ids of files in the mount and in the container.
    gid_mappings: tuple[LinuxIDMapping, ...] = field(default=(), metadata=key("gidMappings", _ID_MAPPINGS))


@frozen(kw_only=True, repr=False, eq=False)
class Spec(Document):
    """A container, as the config.json of its bundle describes it."""

    #: Version of the runtime specification that the bundle follows; REQUIRED.
    oci_version: str = field(default=RUNTIME_SPEC_VERSION, metadata=key("ociVersion", STRING, absent="", always=True))
    #: What to run.
    process: Process | None = field(default=None, metadata=key("process", Process))
    #: The root file system; REQUIRED except on Windows.
    root: Root | None = field(default=None, metadata=key("root", Root))
    #: Host name in the container.
    hostname: str = field(default="", metadata=key("hostname", STRING))
    #: Domain name in the container.
    domainname: str = field(default="", metadata=key("domainname", STRING))
    #: Mounts, in their order.
    mounts: tuple[Mount, ...] = field(default=(), metadata=key("mounts", array(Mount)))
    #: Programs to run at some points of the container's life.
    hooks: Hooks | None = field(default=None, metadata=key("hooks", late("Hooks")))
    #: Arbitrary metadata.
    annotations: Mapping[str, str] = field(factory=dict, hash=False, metadata=key("annotations", mapping(STRING)))
    #: What only Linux containers have.
    linux: Linux | None = field(default=None, metadata=key("linux", Linux))
    #: What only Solaris containers have, as it is.
    solaris: Mapping[str, Any] | None = field(default=None, hash=False, metadata=key("solaris", OBJECT))
    #: What only Windows containers have, as it is.
    windows: Mapping[str, Any] | None = field(default=None, hash=False, metadata=key("windows", OBJECT))
    #: What only containers in a virtual machine have, as it is.
    vm: Mapping[str, Any] | None = field(default=None, hash=False, metadata=key("vm", OBJECT))
    #: What only z/OS containers have, as it is.
    zos: Mapping[str, Any] | None = field(default=None, hash=False, metadata=key("zos", OBJECT))
    #: What only FreeBSD containers have, as it is.
    freebsd: Mapping[str, Any] | None = field(default=None, hash=False, metadata=key("freebsd", OBJECT))

    @classmethod
    def default(
        cls,
        *,
        rootless: bool = False,
        cgroup_namespace: bool = False,
        uid: int | None = None,
        gid: int | None = None,
    ) -> Self:
        """The configuration that ``runc spec`` writes (runc 1.2: nothing is ambient), a good start for one's own.

        Args:
            rootless: For a user without privileges, as ``runc spec --rootless``: with a user
                namespace that maps the container's root to that user, the host's network, ``/sys``
                bound from the host, and without device rules.
            cgroup_namespace: With a cgroup namespace, as runc has it on hosts with cgroup v2 only.
            uid: The user, for ``rootless``; None is the caller.
            gid: The user's group, for ``rootless``; None is the caller's.

        Raises:
            NotSupportedError: ``rootless`` without uid and gid on a platform without numeric ids.
        """
        from ocikit.spec.default import default_spec  # noqa: PLC0415 - the defaults are written in these classes

        return default_spec(cls, privileged=not rootless, cgroup_namespace=cgroup_namespace, uid=uid, gid=gid)

    def with_process(self, **changes: Any) -> Self:  # noqa: ANN401 - the fields of Process, each with its own type
        """Return this configuration with some fields of its process changed.

        Args:
            changes: Fields of :class:`Process`: ``spec.with_process(args=("sleep", "1"), cwd="/srv")``.

        Raises:
            TypeError: There is no such field.
        """
        return evolve(self, process=evolve(self.process or Process(cwd="/"), **changes))

    def with_linux(self, **changes: Any) -> Self:  # noqa: ANN401 - the fields of Linux, each with its own type
        """Return this configuration with some fields of its linux section changed.

        Args:
            changes: Fields of :class:`Linux`: ``spec.with_linux(masked_paths=())``.

        Raises:
            TypeError: There is no such field.
        """
        return evolve(self, linux=evolve(self.linux or Linux(), **changes))

    def with_resources(self, **changes: Any) -> Self:  # noqa: ANN401 - the fields of LinuxResources, each with its own
        """Return this configuration with some limits changed.

        Args:
            changes: Fields of :class:`LinuxResources`: ``spec.with_resources(memory=LinuxMemory(limit=64 << 20))``.

        Raises:
            TypeError: There is no such field.
        """
        resources = self.linux.resources if self.linux is not None else None
        return self.with_linux(resources=evolve(resources or LinuxResources(), **changes))
