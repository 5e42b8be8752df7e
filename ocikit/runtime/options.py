"""What a caller may ask for beside the configuration: how a container is made, not what it is."""

from __future__ import annotations

from attrs import frozen

__all__ = ["NOTIFY_DIRECTORY", "CreateOptions"]

#: What :attr:`CreateOptions.notify` is about, in the directory of the container's state; runc has it there, too.
NOTIFY_DIRECTORY = "notify"


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
