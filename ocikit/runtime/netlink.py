"""As much of rtnetlink(7) as it takes to move a network device: framing that counts, and four requests.

A socket configures the network namespace that it was made in, whoever holds it.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, Final

from ocikit._tuples import NamedTuple
from ocikit.errors import LimitExceededError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Address", "Link", "Netlink", "attribute", "attributes", "messages"]

_HEAD: Final = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE: Final = struct.Struct("=HH")  # struct rtattr: length, type
_LINK: Final = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, changed flags
_ADDRESS: Final = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix, flags, scope, index
_ERRNO: Final = struct.Struct("=i")

_ERROR, _DONE = 2, 3
_NEW_LINK, _GET_LINK, _NEW_ADDRESS, _GET_ADDRESS = 16, 18, 20, 22
_REQUEST, _MULTI, _ACK, _DUMP_INTERRUPTED = 0x1, 0x2, 0x4, 0x10
_CAPPED, _HAS_ATTRIBUTES = 0x100, 0x200  # of an acknowledgement
_DUMP, _EXCLUSIVE, _CREATE = 0x300, 0x200, 0x400

_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_ERROR_TEXT: Final = 1  # NLMSGERR_ATTR_MSG
_NAME, _NAMESPACE_OF_PID, _NAMESPACE_FD = 3, 19, 28  # IFLA_*
_UP: Final = 0x1  # IFF_UP

# IFA_*: what an address consists of, and its flags in more than the eight bits of the head.
_KEPT: Final = frozenset({1, 2, 4, 6, 9})  # peer, local, broadcast, multicast, route priority
_FLAGS: Final = 8
_PERMANENT: Final = 0x80
#: Flags that were given; the others are what the kernel says of the address.
_GIVEN_FLAGS: Final = 0x02 | 0x200 | 0x400  # no DAD, no prefix route, auto-joins multicast groups
_GLOBAL: Final = 0  # RT_SCOPE_UNIVERSE

_LARGEST: Final = 0xFFFF
_MESSAGE: Final = 1 << 16
_TRIES: Final = 10
_SECONDS: Final = 30.0


class Link(NamedTuple):
    """A network device."""

    number: int
    name: str
    is_up: bool


class Address(NamedTuple):
    """An address of a device: AF_*, length of its prefix, flags, scope, and the attributes that make it up."""

    family: int
    prefix: int
    flags: int
    scope: int
    parts: tuple[tuple[int, bytes], ...]

    @property
    def is_lasting(self) -> bool:
        """Whether it was configured to stay, and means the same elsewhere: permanent, of global scope."""
        return bool(self.flags & _PERMANENT) and self.scope == _GLOBAL


def attribute(kind: int, value: bytes) -> bytes:
    """Return an attribute of a message.

    Raises:
        LimitExceededError: It is longer than its 16 bits of length can say.
    """
    length = _ATTRIBUTE.size + len(value)
    if length > _LARGEST:
        raise LimitExceededError("netlink attribute: bytes", _LARGEST - _ATTRIBUTE.size)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the attributes of a message: their types, without flags, and values.

    Raises:
        OSError: A length that leads out of the message.
    """
    at = 0
    while len(data) - at >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if not _ATTRIBUTE.size <= length <= len(data) - at:
            raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))
        yield kind & 0x3FFF, data[at + _ATTRIBUTE.size : at + length]
        at += length + 3 & ~3


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield what one read of a socket gave: type, flags, sequence number and body of each message.

    Raises:
        OSError: A length that leads out of what was read.
    """
    at = 0
    while at < len(data):
        if len(data) - at < _HEAD.size:
            raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))
        length, kind, flags, sequence, _ = _HEAD.unpack_from(data, at)
        if not _HEAD.size <= length <= len(data) - at:
            raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))
        yield kind, flags, sequence, data[at + _HEAD.size : at + length]
        at += length + 3 & ~3


class Netlink:
    """A socket for one network namespace.

    Args:
        fd: A descriptor of a socket, which is this object's from here on; None makes one for the caller's namespace.
    """

    def __init__(self, fd: int | None = None) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE, fileno=fd)
        self._sequence = 0
        self._socket.settimeout(_SECONDS)
        for option in (_CAP_ACK, _EXT_ACK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)

    def close(self) -> None:
        """Close the socket; closing twice is nothing."""
        self._socket.close()

    def links(self) -> list[Link]:
        """Return all devices.

        Raises:
            OSError: As the kernel gives it.
        """
        return [_link(body) for body in self._request(_GET_LINK, _DUMP, _LINK.pack(0, 0, 0, 0, 0))]

    def link(self, name: str) -> Link | None:
        """Return the device with a name; None when there is none.

        Raises:
            OSError: As the kernel gives it.
        """
        body = _LINK.pack(0, 0, 0, 0, 0) + _named(name)
        try:
            return next((_link(one) for one in self._request(_GET_LINK, 0, body)), None)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise

    def addresses(self, index: int) -> list[Address]:
        """Return the addresses of a device.

        Raises:
            OSError: As the kernel gives it.
        """
        found = []
        for body in self._request(_GET_ADDRESS, _DUMP, _ADDRESS.pack(0, 0, 0, 0, 0)):
            family, prefix, flags, scope, of = _ADDRESS.unpack_from(body)
            parts = dict(attributes(body[_ADDRESS.size :]))
            if _FLAGS in parts:
                flags = int.from_bytes(parts[_FLAGS], "little" if struct.pack("=H", 1)[0] else "big")
            kept = tuple((kind, value) for kind, value in parts.items() if kind in _KEPT)
            if of == index:
                found.append(Address(family, prefix, flags, scope, kept))
        return found

    def move(self, index: int, name: str, *, pid: int = 0, namespace: int = -1) -> None:
        """Move a device into another namespace, where it has another name; it is down there, and has no addresses.

        Args:
            index: The device.
            name: Its new name.
            pid: A process in the other namespace, or
            namespace: a descriptor of the namespace.

        Raises:
            OSError: As the kernel gives it.
        """
        where = (_NAMESPACE_OF_PID, pid) if namespace < 0 else (_NAMESPACE_FD, namespace)
        body = _LINK.pack(0, 0, index, 0, 0) + _named(name) + attribute(where[0], struct.pack("=I", where[1]))
        self._request(_NEW_LINK, _ACK, body)

    def set_up(self, index: int) -> None:
        """Let a device send and receive.

        Raises:
            OSError: As the kernel gives it.
        """
        self._request(_NEW_LINK, _ACK, _LINK.pack(0, 0, index, _UP, _UP))

    def add_address(self, index: int, address: Address) -> None:
        """Give a device an address.

        Raises:
            OSError: As the kernel gives it.
        """
        flags = address.flags & _GIVEN_FLAGS
        body = _ADDRESS.pack(address.family, address.prefix, flags & 0xFF, address.scope, index)
        parts = (*address.parts, (_FLAGS, struct.pack("=I", flags)))
        body += b"".join(attribute(kind, value) for kind, value in parts)
        self._request(_NEW_ADDRESS, _ACK | _CREATE | _EXCLUSIVE, body)

    def _request(self, kind: int, flags: int, body: bytes) -> list[bytes]:
        """Send a request; return the bodies of its answers."""
        for _ in range(_TRIES):
            self._sequence += 1
            head = _HEAD.pack(_HEAD.size + len(body), kind, flags | _REQUEST, self._sequence, 0)
            self._socket.send(head + body)
            answers = self._answers()
            if answers is not None:
                return answers
        raise OSError(errno.EAGAIN, "the devices of the host change all the time")

    def _answers(self) -> list[bytes] | None:
        """Read all answers; None when what was listed changed meanwhile."""
        found: list[bytes] = []
        whole = True
        while True:
            for kind, flags, sequence, body in messages(self._socket.recv(_MESSAGE)):
                if sequence != self._sequence:
                    continue  # of a request that was given up
                whole = whole and not flags & _DUMP_INTERRUPTED
                if kind == _ERROR:
                    _raise(body, flags)
                    return found
                if kind == _DONE:
                    return found if whole else None
                found.append(body)
                if not flags & _MULTI:
                    return found


def _named(name: str) -> bytes:
    return attribute(_NAME, os.fsencode(name) + b"\0")


def _link(body: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(body)
    name = dict(attributes(body[_LINK.size :])).get(_NAME, b"")
    return Link(index, os.fsdecode(name.rstrip(b"\0")), bool(flags & _UP))


def _raise(body: bytes, flags: int) -> None:
    """Raise what an acknowledgement says, in the kernel's words if it has any; nothing when all went well."""
    (code,) = _ERRNO.unpack_from(body)
    if not code:
        return
    words = b""
    if flags & _HAS_ATTRIBUTES and flags & _CAPPED:
        words = dict(attributes(body[_ERRNO.size + _HEAD.size :])).get(_ERROR_TEXT, b"")
    raise OSError(-code, os.fsdecode(words.rstrip(b"\0")) or os.strerror(-code))
