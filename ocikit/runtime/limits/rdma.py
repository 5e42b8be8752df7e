"""Limits of RDMA devices. v1 and v2 have the same file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocikit.errors import ValidationError
from ocikit.runtime.limits.write import PATH, Write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ocikit.spec import LinuxRdma

__all__ = ["rdma"]


def rdma(limits: Mapping[str, LinuxRdma], key: str) -> Iterator[Write]:
    """Yield the writes.

    Args:
        limits: ``rdma``.
        key: The hierarchy that has the controller.

    Raises:
        ValidationError: A name that is none of a device.
    """
    for device, one in limits.items():
        field = f"{PATH}.rdma[{device!r}]"
        if not device or device != "".join(device.split()):
            raise ValidationError((f"{field}: that is no name of a device",))
        pairs = (("hca_handle", one.hca_handles), ("hca_object", one.hca_objects))
        value = " ".join(f"{word}={number}" for word, number in pairs if number is not None)
        if value:
            reset = f"{device} hca_handle=max hca_object=max"
            yield Write(key, "rdma.max", f"{device} {value}", field, line=device, reset=reset)
