"""System call filtering: ``linux.seccomp`` of config.json (config-linux.md, "Seccomp")."""

from __future__ import annotations

from attrs import field, frozen

from ocikit.spec._document import Document, key
from ocikit.spec._kinds import STRING, UINT64, Kind, array

__all__ = ["LinuxSeccomp", "LinuxSeccompArg", "LinuxSyscall"]

_STRINGS: Kind = array(STRING)


@frozen(kw_only=True, repr=False, eq=False)
class LinuxSeccompArg(Document):
    """A condition on one argument of a system call."""

    #: Which argument, counted from 0; REQUIRED.
    index: int = field(metadata=key("index", UINT64))
    #: What the argument is compared with, or the mask for ``SCMP_CMP_MASKED_EQ``; REQUIRED.
    value: int = field(metadata=key("value", UINT64))
    #: What the masked argument is compared with for ``SCMP_CMP_MASKED_EQ``.
    value_two: int = field(default=0, metadata=key("valueTwo", UINT64))
    #: The comparison, such as ``SCMP_CMP_EQ``; REQUIRED.
    op: str = field(metadata=key("op", STRING, absent=""))


@frozen(kw_only=True, repr=False, eq=False)
class LinuxSyscall(Document):
    """What to do about some system calls."""

    #: Their names, at least one; names that the kernel does not know are skipped by runtimes.
    names: tuple[str, ...] = field(metadata=key("names", _STRINGS, absent=()))
    #: What to do, such as ``SCMP_ACT_ALLOW``; REQUIRED.
    action: str = field(metadata=key("action", STRING, absent=""))
    #: The errno of ``SCMP_ACT_ERRNO`` or the message of ``SCMP_ACT_TRACE``; None is EPERM.
    errno_ret: int | None = field(default=None, metadata=key("errnoRet", UINT64))
    #: Conditions that must all hold.
    args: tuple[LinuxSeccompArg, ...] = field(default=(), metadata=key("args", array(LinuxSeccompArg)))


@frozen(kw_only=True, repr=False, eq=False)
class LinuxSeccomp(Document):
    """A seccomp filter."""

    #: What to do about system calls that no entry matches; REQUIRED.
    default_action: str = field(metadata=key("defaultAction", STRING, absent=""))
    #: The errno of the default action; None is EPERM.
    default_errno_ret: int | None = field(default=None, metadata=key("defaultErrnoRet", UINT64))
    #: Architectures beside the native one whose calls are filtered by the same rules.
    architectures: tuple[str, ...] = field(default=(), metadata=key("architectures", _STRINGS))
    #: Flags of seccomp(2). None leaves the choice to the runtime and an empty tuple is no flag at all:
    #: runc tells the two apart, so they are kept apart here, unlike in specs-go.
    flags: tuple[str, ...] | None = field(default=None, metadata=key("flags", _STRINGS))
    #: Socket that the notification descriptor is sent to when ``SCMP_ACT_NOTIFY`` is used.
    listener_path: str = field(default="", metadata=key("listenerPath", STRING))
    #: Opaque data for the agent behind that socket.
    listener_metadata: str = field(default="", metadata=key("listenerMetadata", STRING))
    #: The rules.
    syscalls: tuple[LinuxSyscall, ...] = field(default=(), metadata=key("syscalls", array(LinuxSyscall)))
