"""Marks and priorities of packets, which v1 has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.errors import UnsupportedFieldError, ValidationError
from ocikit.runtime.limits.write import PATH, Write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.spec import LinuxNetwork

__all__ = ["network_v1", "network_v2"]

_NETWORK: Final = f"{PATH}.network"


def network_v1(network: LinuxNetwork) -> Iterator[Write]:
    """Yield the writes for the files of v1.

    Raises:
        ValidationError: A name that is none of an interface.
    """
    if network.class_id is not None:
        optional = not network.class_id
        yield Write("net_cls", "net_cls.classid", str(network.class_id), f"{_NETWORK}.classID", optional=optional)
    for index, one in enumerate(network.priorities):
        field = f"{_NETWORK}.priorities[{index}]"
        if not one.name or one.name != "".join(one.name.split()):
            raise ValidationError((f"{field}.name: {one.name[:40]!r} is no name of an interface",))
        value = f"{one.name} {one.priority}"
        yield Write("net_prio", "net_prio.ifpriomap", value, field, line=one.name, reset=f"{one.name} 0")


def network_v2(network: LinuxNetwork) -> None:
    """Refuse what v2 has not.

    Raises:
        UnsupportedFieldError: Anything is asked for.
    """
    reason = "cgroup v2 does not have it; mark packets by cgroup with nftables or eBPF, and remove it"
    if network.class_id:
        raise UnsupportedFieldError(f"{_NETWORK}.classID", reason)
    if network.priorities:
        raise UnsupportedFieldError(f"{_NETWORK}.priorities", reason)
