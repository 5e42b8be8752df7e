"""Network devices of the host in a container (config-linux.md, "Network Devices").

A device is moved with its permanent addresses of global scope, renamed in the same moment, and brought up again. Init
hands over a socket of its namespace, so that no process of ours has to enter it.

When the container does not come to be, the devices are given back: a namespace that ends takes those with it that are
no hardware.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final, NoReturn, Self

from ocikit._fs import Descriptor
from ocikit._tuples import NamedTuple
from ocikit.errors import SetupError
from ocikit.runtime.late_log import log as _log
from ocikit.runtime.netlink import Netlink

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocikit.runtime.launch import Launch
    from ocikit.runtime.netlink import Address, Link
    from ocikit.spec import LinuxNetDevice

__all__ = ["NetDevices"]

_MISSING: Final = "this process must be in the network namespace that the device is in"
_RIGHTS: Final = "it takes CAP_NET_ADMIN here, and some devices can never be moved"
_TAKEN: Final = "choose another name in linux.netDevices, or one that ends in %d to have the kernel choose"


class _Moved(NamedTuple):
    """A device that is in the container."""

    #: What it was on the host.
    link: Link
    addresses: list[Address]
    #: Its number in the container.
    number: int


class NetDevices:
    """The devices of one container on their way; used in a ``with`` block, which gives back what is not kept.

    Args:
        wanted: ``linux.netDevices``.
    """

    def __init__(self, wanted: Mapping[str, LinuxNetDevice]) -> None:
        self._wanted = wanted
        self._moved: list[_Moved] = []
        # As long as it is open there is a namespace to take devices back from.
        self._inside: Netlink | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for moved in reversed(self._moved):
                self._give_back(moved)
        finally:
            self.keep()

    def keep(self) -> None:
        """Leave the devices where they are: the container is made."""
        self._moved.clear()
        if self._inside is not None:
            self._inside.close()
            self._inside = None

    def move(self, started: Launch, fd: int) -> None:
        """Move all devices: what answers init's request.

        Args:
            started: The container, whose init waits.
            fd: A socket of its network namespace.

        Raises:
            SetupError: A device cannot be moved.
        """
        self._inside = Netlink(os.dup(fd))
        outside = Netlink()
        try:
            for name, device in self._wanted.items():
                self._move(outside, self._inside, started.pid, (name, device.name or name))
        finally:
            outside.close()

    def _move(self, outside: Netlink, inside: Netlink, pid: int, names: tuple[str, str]) -> None:
        name, new_name = names
        action = f"move network device {name}" + (f" to {new_name}" if new_name != name else "")
        try:
            self._move_one(outside, inside, pid, _find(outside, inside, names), new_name)
        except OSError as error:
            _fail(action, name, error)

    def _move_one(self, outside: Netlink, inside: Netlink, pid: int, link: Link, name: str) -> None:
        addresses = [one for one in outside.addresses(link.number) if one.is_lasting]
        before = {one.number for one in inside.links()}
        found: list[int] = []
        try:
            outside.move(link.number, name, pid=pid)
        finally:
            # It may have come without its new name, which is an error, and have another number there.
            found += (one.number for one in inside.links() if one.number not in before)
            self._moved += (_Moved(link, addresses, number) for number in found)
        for number in found:
            for address in addresses:
                inside.add_address(number, address)
            inside.set_up(number)

    def _give_back(self, moved: _Moved) -> None:
        """Return a device to this namespace as it was; what cannot be done is logged."""
        if self._inside is None:
            return
        try:
            with Descriptor(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)) as here:
                self._inside.move(moved.number, moved.link.name, namespace=here.fd)
            self._restore(moved)
        except OSError as error:
            _log.warning("network device %s was not given back: %s", moved.link.name, error.strerror)

    @staticmethod
    def _restore(moved: _Moved) -> None:
        outside = Netlink()
        try:
            link = outside.link(moved.link.name)
            if link is None:
                raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
            for address in moved.addresses:
                outside.add_address(link.number, address)
            if moved.link.is_up:
                outside.set_up(link.number)
        finally:
            outside.close()


def _find(outside: Netlink, inside: Netlink, names: tuple[str, str]) -> Link:
    """Return the device on the host, if its new name is free in the container."""
    if "%" not in names[1] and inside.link(names[1]) is not None:
        raise OSError(errno.EEXIST, _TAKEN)
    link = outside.link(names[0])
    if link is None:
        raise OSError(errno.ENODEV, _MISSING)
    return link


def _fail(action: str, name: str, error: OSError) -> NoReturn:
    code = error.errno or errno.EIO
    said = error.strerror if error.strerror and error.strerror != os.strerror(code) else ""
    raise SetupError(action, code, name, said or _RIGHTS) from None
