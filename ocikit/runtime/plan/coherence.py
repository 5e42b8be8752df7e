"""What a configuration asks for must be the container's own: refused is what would reach the host instead.

The specification's rules are checked by :mod:`ocikit.spec`; these are the runtime's. Each check yields
``"<JSON path>: <what is wrong>"``, and all that is wrong is told at once.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from ocikit.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from ocikit.spec import Linux, LinuxDevice, LinuxNamespace, Process, Spec

__all__ = ["check_coherence", "inside", "sysctl_path"]

#: An id that setresuid(2) and setgroups(2) read as "leave it as it is": the process would stay root.
_NO_ID = 0xFFFF_FFFF

_MAX_MAJOR, _MAX_MINOR = (1 << 12) - 1, (1 << 20) - 1
_MAX_NAME = 64  # of host and domain, in bytes (sethostname(2))
_OOM_SCORES = range(-1000, 1001)
_MAX_UMASK = 0o777
_MAX_INTERFACE = 15  # bytes of the name of a network device (IFNAMSIZ, less the NUL)

_IPC_SYSCTLS = frozenset(
    f"kernel.{name}" for name in "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced auto_msgmni".split()
)


def inside(path: str) -> str:
    """Normalise a path of the container: absolute, without dots, and with one slash (POSIX makes two special)."""
    return posixpath.normpath("/" + path.lstrip("/"))


def check_coherence(spec: Spec, of_host: Collection[str] = ()) -> None:
    """Refuse a configuration that would change the host, or that the kernel would read as something else.

    Args:
        spec: The configuration.
        of_host: Types of namespaces that it joins by a path, and that are those of this process.

    Raises:
        ValidationError: With everything that is wrong.
    """
    linux = spec.linux
    joined = linux.namespaces if linux is not None else ()
    namespaces = {one.type: one for one in joined if one.type not in of_host}
    wrong = [*_names(spec, namespaces)]
    if linux is not None:
        wrong += [*_user_namespace(linux, namespaces), *_clocks(linux, namespaces), *_own_mounts(linux, namespaces)]
        wrong += [*_places(linux), *_devices(linux), *_sysctls(linux.sysctl, namespaces)]
        wrong += _net_devices(linux, namespaces)
    if spec.process is not None:
        wrong += _process(spec.process)
    if wrong:
        raise ValidationError(tuple(wrong))


def _names(spec: Spec, namespaces: Mapping[str, LinuxNamespace]) -> Iterator[str]:
    for field, name in (("hostname", spec.hostname), ("domainname", spec.domainname)):
        if name and "uts" not in namespaces:
            yield f"$.{field}: without a uts namespace of its own it would be the host's that is changed"
        if len(name.encode()) > _MAX_NAME:
            yield f"$.{field}: expected at most {_MAX_NAME} bytes, found {len(name.encode())}"


def _user_namespace(linux: Linux, namespaces: Mapping[str, LinuxNamespace]) -> Iterator[str]:
    user = namespaces.get("user")
    for field, mappings in (("uidMappings", linux.uid_mappings), ("gidMappings", linux.gid_mappings)):
        if mappings and user is None:
            yield f"$.linux.{field}: only a user namespace has ids to map"
        if not mappings and user is not None and not user.path:
            yield f"$.linux.{field}: a new user namespace needs at least one range"


def _clocks(linux: Linux, namespaces: Mapping[str, LinuxNamespace]) -> Iterator[str]:
    time = namespaces.get("time")
    if linux.time_offsets and (time is None or time.path):
        yield "$.linux.timeOffsets: only the clocks of a new time namespace can be set"
    for clock in linux.time_offsets:
        if clock not in {"monotonic", "boottime"}:
            yield f"$.linux.timeOffsets: expected monotonic or boottime, found {clock!r}"


def _places(linux: Linux) -> Iterator[str]:
    for field, paths in (("maskedPaths", linux.masked_paths), ("readonlyPaths", linux.readonly_paths)):
        for number, path in enumerate(paths):
            if inside(path) == "/":
                yield f"$.linux.{field}[{number}]: the root itself is no such path; root.readonly makes it read-only"


def _own_mounts(linux: Linux, namespaces: Mapping[str, LinuxNamespace]) -> Iterator[str]:
    if "mount" in namespaces:
        return
    for field, value in (
        ("maskedPaths", linux.masked_paths),
        ("readonlyPaths", linux.readonly_paths),
        ("rootfsPropagation", linux.rootfs_propagation),
    ):
        if value:
            yield f"$.linux.{field}: it takes a mount namespace of the container's own"
    if "user" in namespaces:
        yield "$.linux.namespaces: in a user namespace nobody may change mounts of the host; add a mount namespace"


def _devices(linux: Linux) -> Iterator[str]:
    for number, device in enumerate(linux.devices):
        yield from _device(device, f"$.linux.devices[{number}]")


def _net_devices(linux: Linux, namespaces: Mapping[str, LinuxNamespace]) -> Iterator[str]:
    if linux.net_devices and "network" not in namespaces:
        yield "$.linux.netDevices: the container needs a network namespace of its own to move devices into"
    for name, device in linux.net_devices.items():
        path = f"$.linux.netDevices[{name!r}]"
        for what, one in ((path, name), (f"{path}.name", device.name)):
            if (one or what == path) and not _is_interface(one):
                yield f"{what}: expected 1 to {_MAX_INTERFACE} bytes without slashes, colons and spaces, found {one!r}"
        if "%" in device.name and (device.name.count("%") > 1 or not device.name.endswith("%d")):
            yield f"{path}.name: expected %d at the end and no other %, found {device.name!r}"


def _is_interface(name: str) -> bool:
    """Whether the kernel takes a name for a network device (dev_valid_name)."""
    fits = 0 < len(name.encode("utf-8", "surrogateescape")) <= _MAX_INTERFACE
    return fits and name not in {".", ".."} and not any(one in "/:\0" or one.isspace() for one in name)


def _device(device: LinuxDevice, path: str) -> Iterator[str]:
    if inside(device.path) == "/":
        yield f"{path}.path: expected the path of a device, found {device.path!r}"
    for field, value, highest in (("major", device.major, _MAX_MAJOR), ("minor", device.minor, _MAX_MINOR)):
        if value is not None and not 0 <= value <= highest:
            yield f"{path}.{field}: expected a number from 0 to {highest}, found {value}"


def _process(process: Process) -> Iterator[str]:
    user = process.user
    ids = [
        ("uid", user.uid),
        ("gid", user.gid),
        *((f"additionalGids[{i}]", g) for i, g in enumerate(user.additional_gids)),
    ]
    for field, value in ids:
        if value == _NO_ID:
            yield f"$.process.user.{field}: {value} is no id, the kernel reads it as 'no change'"
    if user.umask is not None and user.umask > _MAX_UMASK:
        yield f"$.process.user.umask: expected at most 0o777, found {user.umask:#o}"
    if process.args and not process.args[0]:
        yield "$.process.args[0]: expected a program, found an empty string"
    if process.oom_score_adj is not None and process.oom_score_adj not in _OOM_SCORES:
        yield f"$.process.oomScoreAdj: expected a number from -1000 to 1000, found {process.oom_score_adj}"


def _sysctls(sysctls: Mapping[str, str], namespaces: Mapping[str, LinuxNamespace]) -> Iterator[str]:
    for name in sysctls:
        path = f"$.linux.sysctl[{name!r}]"
        parts = _sysctl_parts(name)
        needed = _namespace_of(parts)
        if needed is None:
            yield f"{path}: this parameter is the host's, not the container's"
        elif needed not in namespaces:
            yield f"{path}: the container needs a {needed} namespace of its own for it"
        elif not all(part.strip(".") and "/" not in part for part in parts):
            # A name with ".." in it begins like one parameter and is the file of another.
            yield f"{path}: expected names separated by dots, or by slashes, and nothing else"


def _sysctl_parts(name: str) -> list[str]:
    """Split a name: when the first separator is a slash, slashes separate and dots are part of names (sysctl.d(5))."""
    slash, dot = name.find("/"), name.find(".")
    if slash >= 0 and (dot < 0 or slash < dot):
        return name.split("/")
    return [part.replace("/", ".") for part in name.split(".")]


def sysctl_path(name: str) -> str:
    """Return the file of a kernel parameter, below /proc."""
    return "/".join(["sys", *_sysctl_parts(name)])


def _namespace_of(parts: list[str]) -> str | None:
    key = ".".join(parts)
    if key in _IPC_SYSCTLS or parts[:2] == ["fs", "mqueue"]:
        return "ipc"
    if parts[0] == "net":
        return "network"
    if key == "kernel.domainname":
        return "uts"
    return "user" if parts[0] == "user" else None
