"""What a caller may ask for beside the configuration: how a container is made, not what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from attrs import field, frozen
from attrs.validators import ge, in_, le

if TYPE_CHECKING:
    import os

__all__ = ["NOTIFY_DIRECTORY", "CreateOptions", "LogOptions"]

#: What :attr:`CreateOptions.notify` is about, in the directory of the container's state; runc has it there, too.
NOTIFY_DIRECTORY = "notify"

_MIB = 1 << 20


@frozen(kw_only=True)
class LogOptions:
    """Where the monitor of a container writes down what the container writes, and how.

    A file that has become too long is renamed to its name and ``.1``, that to ``.2`` and so on; the last one is
    removed. A log never keeps a container from writing: what cannot be written down is lost, and counted.
    """

    #: A regular file, in a directory that exists; what is in it already stays. None for one beside the container's
    #: state, which is removed with the container.
    path: str | os.PathLike[str] | None = None
    #: ``"json"`` (an object on each line, as docker writes them) or ``"cri"`` (the format that Kubernetes reads).
    format: Literal["json", "cri"] = field(default="json", validator=in_(("json", "cri")))
    #: The length, in bytes, that completes a file: the next line begins another one.
    max_bytes: int = field(default=8 * _MIB, validator=ge(1))
    #: How many files are kept, with the current one.
    max_files: int = field(default=2, validator=[ge(1), le(1000)])


@frozen(kw_only=True)
class CreateOptions:
    """How to make a container: what libcontainer takes beside the configuration.

    None of it is part of a bundle: two callers may make the same bundle's container in different ways.
    """

    #: Path of a unix socket that gets the container's end of its terminal, as containerd and conmon listen at; None
    #: leaves it to :attr:`Container.console`.
    console_socket: str | None = None
    #: Descriptors that the program gets as 3, 4, … in this order; they remain the caller's.
    preserve_fds: tuple[int, ...] = ()
    #: Make the root by moving the mount instead of exchanging it: for hosts that run from a ramdisk, where the kernel
    #: refuses pivot_root(2). Less safe: the old root stays below the new one.
    no_pivot: bool = False
    #: Share the caller's session keyring instead of making one.
    no_new_keyring: bool = False
    #: Have systemd make and own the container's cgroup; ``linux.cgroupsPath`` is ``slice:prefix:name`` then.
    systemd_cgroup: bool = False
    #: Let annotations set properties of systemd's unit (``org.systemd.property.…``): only for configurations that are
    #: trusted like their caller, because there are properties that run programs on the host.
    systemd_properties: bool = False
    #: Give the standard streams that this process passes on to the user of the container's process, unless they are
    #: terminals or devices: a program of another user can open ``/dev/stdout`` then. Pipes made here are always given.
    give_streams: bool = False
    #: Make an empty directory ``notify`` beside the state of the container, which is removed with it: for a socket that
    #: whoever starts the container listens at, and that the configuration mounts.
    notify: bool = False
    #: Whether refusals of cgroups that no limit needs are overlooked; None when this process is not root.
    rootless: bool | None = None
    #: Leave a monitor with a container whose lifetime is ``"process"`` or ``"detached"``. Without one nobody writes
    #: down how it ends once this process is gone, and there is no log and nothing to attach to; for callers that are a
    #: monitor themselves.
    monitor: bool = True
    #: The log of what a container writes to streams that are the monitor's.
    log: LogOptions = LogOptions()
    #: How long a container that has a monitor may run from its start, in seconds; then it is killed, and its exit
    #: status says that its time was up. None is as long as it likes.
    timeout: float | None = None
