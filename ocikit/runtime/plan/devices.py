"""The part of a plan that fills /dev: the devices of the specification, those of the configuration, and links."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.errors import ValidationError
from ocikit.runtime.plan.coherence import inside
from ocikit.runtime.plan.steps import Op, Slot, Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.spec import Linux, LinuxDevice, Mount, Spec

__all__ = ["DEFAULT_DEVICES", "devices", "node_devices"]

_CHARACTER: Final = 0o020000
_TYPE_BITS: Final = {"c": _CHARACTER, "u": _CHARACTER, "b": 0o060000, "p": 0o010000}
_DEFAULT_MODE: Final = 0o666

#: ``WIRE_NODE_OF_HOST``: none is made, that of the host is shown.
_OF_HOST: Final = 1 << 32

#: config-linux.md, "Default Devices": path → (major, minor); all of them readable and writable by everybody.
DEFAULT_DEVICES: Final = {
    "/dev/null": (1, 3),
    "/dev/zero": (1, 5),
    "/dev/full": (1, 7),
    "/dev/random": (1, 8),
    "/dev/urandom": (1, 9),
    "/dev/tty": (5, 0),
}

#: The multiplexer of pseudo-terminals is always that of the container's own /dev/pts.
_PTMX: Final = "/dev/ptmx"

#: runtime-linux.md, "Dev symbolic links", and what everybody adds to them: path → text of the link.
_LINKS: Final = {
    "/dev/fd": "/proc/self/fd",
    "/dev/stdin": "/proc/self/fd/0",
    "/dev/stdout": "/proc/self/fd/1",
    "/dev/stderr": "/proc/self/fd/2",
    "/dev/core": "/proc/kcore",
    _PTMX: "pts/ptmx",
}


def devices(spec: Spec, *, of_host: bool) -> Iterator[Step]:
    """Yield devices and links in /dev, unless the configuration binds a /dev that somebody else filled.

    Args:
        spec: The configuration.
        of_host: Show the devices of the host: in a user namespace nobody may make any.

    Raises:
        ValidationError: A device of no known type.
    """
    linux = spec.linux
    if linux is None or any(_is_bound_dev(mount) for mount in spec.mounts):
        return
    asked = node_devices(linux)
    for path, numbers in DEFAULT_DEVICES.items():
        if path not in asked:
            yield _node(path, _CHARACTER | _DEFAULT_MODE, numbers, of_host=of_host)
    for number, device in enumerate(linux.devices):
        path = inside(device.path)
        if path in asked:
            mode = _mode(device, f"$.linux.devices[{number}]")
            owner = (device.uid or 0, device.gid or 0)
            yield _node(path, mode, (device.major or 0, device.minor or 0), owner, of_host=of_host)
    for path, text in _LINKS.items():
        yield Step(Op.SYMLINK, "link device", (Slot.ROOT, int(path == _PTMX)), (text.encode(), path.encode()), path)


def node_devices(linux: Linux) -> dict[str, LinuxDevice]:
    """Return the devices that a configuration asks nodes for, by their paths in the container."""
    return {path: device for device in linux.devices if (path := inside(device.path)) != _PTMX}


def _is_bound_dev(mount: Mount) -> bool:
    return inside(mount.destination) == "/dev" and (
        mount.type == "bind" or not {"bind", "rbind"}.isdisjoint(mount.options)
    )


def _mode(device: LinuxDevice, path: str) -> int:
    if device.type not in _TYPE_BITS:
        raise ValidationError((f"{path}.type: {device.type!r} is none of c, b, u, p",))
    mode = _DEFAULT_MODE if device.file_mode is None else device.file_mode
    return _TYPE_BITS[device.type] | (mode & 0o7777)


def _node(path: str, mode: int, numbers: tuple[int, int], owner: tuple[int, int] = (0, 0), *, of_host: bool) -> Step:
    device = numbers[0] << 32 | numbers[1]
    if mode & ~0o7777 == _TYPE_BITS["p"]:
        of_host = False  # a fifo is a fifo for everybody
    remedy = "what stands there is something else, or making devices takes CAP_MKNOD"
    if of_host:
        remedy = "in a user namespace the host's device of this path is shown: is there one, with these numbers?"
    arguments = (Slot.ROOT, mode | (_OF_HOST if of_host else 0), device, *owner)
    return Step(Op.NODE, "make device", arguments, (path.encode("utf-8", "surrogateescape"),), path, remedy)
