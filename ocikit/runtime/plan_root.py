"""The part of a plan that makes the root file system: mounts, devices, and what is hidden of them."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, NamedTuple

from ocikit.errors import UnsupportedFieldError, ValidationError
from ocikit.runtime import mount_options as options_of
from ocikit.runtime.coherence import inside, sysctl_path
from ocikit.runtime.steps import NO_SLOT, Op, Slot, Step, close

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from ocikit.spec import Linux, LinuxDevice, Mount, Spec

__all__ = ["DEFAULT_DEVICES", "CgroupMount", "root_filesystem"]

_ATTACH_PLAIN = 1
_ATTACH_IN_PROC = 2

# RESOLVE_* (openat2(2)) for writes below our own procfs: no way out, no link, no other mount.
_RESOLVE_PROC = 0x01 | 0x02 | 0x04 | 0x08

#: File systems whose place must be what it seems: no symbolic link on the way to it.
_PLAIN_TYPES = frozenset({"proc", "sysfs"})

#: File systems that are shared by everybody who mounts them: to make one of them read-only is not our business.
_VIRTUAL = frozenset({"proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2"})

#: Files of procfs that are commonly replaced by a view of the container (lxcfs): mounting over these is allowed.
_REPLACEABLE_IN_PROC = frozenset(
    {
        "/proc/cpuinfo",
        "/proc/diskstats",
        "/proc/loadavg",
        "/proc/meminfo",
        "/proc/net/dev",
        "/proc/slabinfo",
        "/proc/stat",
        "/proc/swaps",
        "/proc/sys/crypto/fips_enabled",
        "/proc/sys/kernel/ns_last_pid",
        "/proc/uptime",
    }
)

#: What the kernel takes as one value of an option or as a source, in bytes (fsconfig(2)).
_LONGEST_VALUE = 255

_TYPE_BITS = {"c": 0o020000, "u": 0o020000, "b": 0o060000, "p": 0o010000}
_DEFAULT_DEVICE_MODE = 0o666

#: config-linux.md, "Default Devices": path → (major, minor); all of them readable and writable by everybody.
DEFAULT_DEVICES = {
    "/dev/null": (1, 3),
    "/dev/zero": (1, 5),
    "/dev/full": (1, 7),
    "/dev/random": (1, 8),
    "/dev/urandom": (1, 9),
    "/dev/tty": (5, 0),
}

#: runtime-linux.md, "Dev symbolic links", and what everybody adds to them: path → text of the link.
_DEV_LINKS = {
    "/dev/fd": "/proc/self/fd",
    "/dev/stdin": "/proc/self/fd/0",
    "/dev/stdout": "/proc/self/fd/1",
    "/dev/stderr": "/proc/self/fd/2",
    "/dev/core": "/proc/kcore",
    "/dev/ptmx": "pts/ptmx",
}


class CgroupMount(NamedTuple):
    """One hierarchy of a mount of type ``cgroup``."""

    #: Its directory below the mount ("memory", "cpu,cpuacct"); empty for the one hierarchy of v2.
    name: str
    #: The container's cgroup, as a directory of the host.
    path: str
    #: Options that mount the hierarchy (v1: ``("memory",)``, ``("none", "name=systemd")``).
    options: tuple[str, ...] = ()


def root_filesystem(
    spec: Spec,
    bundle: str,
    cgroups: Sequence[CgroupMount],
    namespaces: Collection[str],
    hooks: Sequence[Step] = (),
) -> Iterator[Step]:
    """Plan everything between the new mount namespace and the new root.

    Args:
        spec: The configuration; it has a root and a linux section.
        bundle: Absolute path of the bundle, which relative paths start at.
        cgroups: What a mount of type ``cgroup`` shows.
        namespaces: The types of namespaces that the container does not share with the host.
        hooks: What is done when all mounts are made, before the root is changed.
    """
    if spec.root is None or spec.linux is None:
        raise ValidationError(("$: root and linux are needed",))
    linux = spec.linux
    rootfs = posixpath.join(bundle, spec.root.path)
    # Before the first mount: nothing that is mounted from here on may show on the host.
    slave = (NO_SLOT, 1, 0, 0, options_of.SLAVE)
    yield Step(Op.SETATTR, "detach mount propagation", slave, (b"/",), "/")
    remedy = "it must be a directory, and no symbolic link"
    yield Step(Op.ROOT, "mount root file system", (Slot.ROOT,), (_bytes(rootfs),), rootfs, remedy)
    for number, mount in enumerate(spec.mounts):
        yield from _Mounting(mount, f"$.mounts[{number}]", bundle, "cgroup" in namespaces).steps(cgroups)
    yield from _devices(spec, shared="user" in namespaces)
    if spec.process is not None:
        cwd = spec.process.cwd
        yield Step(Op.MKDIR, "make working directory", (Slot.ROOT, 0o755), (_bytes(cwd),), cwd)
    # What they mount is hidden and made read-only like everything else.
    yield from hooks
    # The sysctls before /proc/sys may become read-only, through a procfs that no mount of the container can cover.
    yield from _sysctls(linux.sysctl)
    for path in linux.readonly_paths:
        yield Step(Op.READONLY, "make read-only", (Slot.ROOT,), (_bytes(path),), path)
    for path in linux.masked_paths:
        yield Step(Op.MASK, "mask", (Slot.ROOT,), (_bytes(path),), path)
    yield Step(Op.PIVOT, "pivot root", (Slot.ROOT,), path=rootfs)
    yield from _root_attributes(spec.root.readonly, linux)
    yield from map(close, (Slot.ROOT, Slot.MOUNT, Slot.CGROUPS))


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _root_attributes(readonly: bool, linux: Linux) -> Iterator[Step]:  # noqa: FBT001
    """Yield what must come last: everything before may still have to write to the root."""
    if linux.rootfs_propagation:
        kind, recursive = options_of.PROPAGATION.get(linux.rootfs_propagation, (0, False))
        path = "$.linux.rootfsPropagation"
        if kind == 0:
            raise ValidationError((f"{path}: {linux.rootfs_propagation!r} is no propagation type",))
        if kind == options_of.SHARED:
            raise UnsupportedFieldError(path, "a root file system that shares its mounts is not supported")
        yield Step(Op.SETATTR, "set propagation of the root", (NO_SLOT, int(recursive), 0, 0, kind), (b"/",), "/")
    if readonly:
        read_only = (Slot.ROOT, 0, options_of.READ_ONLY, 0, 0)
        yield Step(Op.SETATTR, "make root file system read-only", read_only, (b"",), "/")


class _Mounting:
    """One entry of ``mounts`` as steps: make it detached, give it attributes, put it in its place."""

    def __init__(self, mount: Mount, path: str, bundle: str, own_cgroups: bool) -> None:  # noqa: FBT001
        if mount.uid_mappings or mount.gid_mappings:
            raise UnsupportedFieldError(f"{path}.uidMappings", "idmapped mounts are not supported")
        self.mount = mount
        self.path = path
        self.bundle = bundle
        self.own_cgroups = own_cgroups
        self.options = options_of.parse(mount.options, f"{path}.options")
        self.target = inside(mount.destination)
        if self.target == "/":
            raise ValidationError((f"{path}.destination: the root itself is no place to mount at",))

    def steps(self, cgroups: Sequence[CgroupMount]) -> Iterator[Step]:
        """Yield the steps."""
        kind = self.mount.type
        if self.options.bind is not None or kind == "bind":
            yield from self._bind()
        elif kind in {"cgroup", "cgroup2"}:
            yield from self._cgroups(cgroups)
        else:
            yield from self._filesystem()
        for propagation, recursive in self.options.propagation:
            arguments = (Slot.MOUNT, int(recursive), 0, 0, propagation)
            yield Step(Op.SETATTR, "set mount propagation", arguments, (b"",), self.target)

    def _filesystem(self) -> Iterator[Step]:
        kind, data = self.mount.type, self.options.data
        if not kind:
            raise ValidationError((f"{self.path}.type: a mount that is no bind needs a type",))
        if self.options.set & options_of.READ_ONLY and kind not in _VIRTUAL:
            data = (*data, "ro")
        yield self._make(kind, self.mount.source or kind, data, self.options.set)
        yield from self._below()
        yield self._attach(self.target, f"mount {kind}", plain=kind in _PLAIN_TYPES)

    def _make(self, kind: str, source: str, data: Sequence[str], attributes: int, slot: Slot = Slot.MOUNT) -> Step:
        strings = tuple(_bytes(text) for text in (kind, source, *data))
        for text in strings:
            value = text.partition(b"=")[2] or text
            if len(value) > _LONGEST_VALUE:
                found = f"{len(value)} bytes: {text[:40].decode(errors='replace')}…"
                raise ValidationError(
                    (f"{self.path}: a source or option has at most {_LONGEST_VALUE} bytes, found {found}",)
                )
        remedy = f"does this kernel know {kind!r}, and does {kind!r} know the options {', '.join(data) or '(none)'}?"
        return Step(Op.FILESYSTEM, f"mount {kind}", (slot, attributes), strings, self.target, remedy)

    def _attach(self, target: str, action: str, *, plain: bool = False, slot: Slot = Slot.MOUNT) -> Step:
        how = _ATTACH_PLAIN if plain else _ATTACH_IN_PROC if target in _REPLACEABLE_IN_PROC else 0
        remedy = "it must not lie in a procfs" + (", nor have a symbolic link on the way to it" if plain else "")
        return Step(Op.ATTACH, action, (Slot.ROOT, slot, how), (_bytes(target),), target, remedy)

    def _bind(self) -> Iterator[Step]:
        if self.options.data:
            what = ", ".join(self.options.data)
            raise ValidationError((f"{self.path}.options: a bind mount has no options of a file system ({what})",))
        if not self.mount.source:
            raise ValidationError((f"{self.path}.source: expected what to bind, found nothing",))
        source = posixpath.join(self.bundle, self.mount.source)
        recursive = int(bool(self.options.bind))
        yield Step(Op.BIND, "bind mount", (Slot.MOUNT, recursive), (_bytes(source),), source, "does it exist?")
        if self.options.set or self.options.clear:
            yield self._attributes(self.options.set, self.options.clear, recursive=False)
        yield from self._below()
        yield self._attach(self.target, f"bind {source}")

    def _below(self) -> Iterator[Step]:
        if self.options.recursive_set or self.options.recursive_clear:
            yield self._attributes(self.options.recursive_set, self.options.recursive_clear, recursive=True)

    def _attributes(self, to_set: int, to_clear: int, *, recursive: bool) -> Step:
        arguments = (Slot.MOUNT, int(recursive), to_set, to_clear, 0)
        return Step(Op.SETATTR, "set mount attributes", arguments, (b"",), self.target)

    def _cgroups(self, cgroups: Sequence[CgroupMount]) -> Iterator[Step]:
        """Yield the one hierarchy of v2, or all of v1 side by side in a tmpfs."""
        if not cgroups:
            raise UnsupportedFieldError(self.path, "no cgroup hierarchy is mounted on this host")
        if not cgroups[0].name:
            yield from self._hierarchy(cgroups[0], "cgroup2", self.target)
            return
        read_only = self.options.set & options_of.READ_ONLY
        yield self._make("tmpfs", "tmpfs", ("mode=755",), self.options.set & ~read_only, Slot.CGROUPS)
        yield self._attach(self.target, "mount tmpfs for cgroups", slot=Slot.CGROUPS)
        for cgroup in cgroups:
            yield from self._hierarchy(cgroup, "cgroup", f"{self.target}/{cgroup.name}")
            for controller in cgroup.name.split(",") if "," in cgroup.name else ():
                link = f"{self.target}/{controller}"
                strings = (_bytes(cgroup.name), _bytes(link))
                yield Step(Op.SYMLINK, "link cgroup controller", (Slot.ROOT,), strings, link)
        # Only now that the places of the hierarchies are made in it.
        arguments = (Slot.CGROUPS, 0, read_only, 0, 0)
        yield Step(Op.SETATTR, "make cgroup mount read-only", arguments, (b"",), self.target)

    def _hierarchy(self, cgroup: CgroupMount, kind: str, target: str) -> Iterator[Step]:
        """Yield one hierarchy: its own root in a cgroup namespace, else no more of it than the container's cgroup."""
        if self.own_cgroups:
            yield self._make(kind, "cgroup", cgroup.options, self.options.set)
        else:
            yield Step(Op.BIND, "bind cgroup", (Slot.MOUNT, 0), (_bytes(cgroup.path),), cgroup.path)
            yield self._attributes(self.options.set, 0, recursive=False)
        yield self._attach(target, "mount cgroup")


def _devices(spec: Spec, *, shared: bool) -> Iterator[Step]:
    """Yield devices and links in /dev, unless the configuration binds a /dev that somebody else filled."""
    linux = spec.linux
    if any(_is_bound_dev(mount) for mount in spec.mounts) or linux is None:
        return
    asked = {inside(device.path): device for device in linux.devices}
    for path, (major, minor) in DEFAULT_DEVICES.items():
        if path not in asked:
            yield from _device(path, 0o020000 | _DEFAULT_DEVICE_MODE, (major, minor), (0, 0), shared=shared)
    for number, (path, device) in enumerate(asked.items()):
        numbers = (device.major or 0, device.minor or 0)
        mode = _device_mode(device, f"$.linux.devices[{number}]")
        yield from _device(path, mode, numbers, (device.uid or 0, device.gid or 0), shared=shared)
    for path, text in _DEV_LINKS.items():
        yield Step(Op.SYMLINK, "link device", (Slot.ROOT,), (text.encode(), path.encode()), path)


def _is_bound_dev(mount: Mount) -> bool:
    return inside(mount.destination) == "/dev" and (
        mount.type == "bind" or not {"bind", "rbind"}.isdisjoint(mount.options)
    )


def _device_mode(device: LinuxDevice, path: str) -> int:
    if device.type not in _TYPE_BITS:
        raise ValidationError((f"{path}.type: {device.type!r} is none of c, b, u, p",))
    mode = _DEFAULT_DEVICE_MODE if device.file_mode is None else device.file_mode
    return _TYPE_BITS[device.type] | (mode & 0o7777)


def _device(path: str, mode: int, numbers: tuple[int, int], owner: tuple[int, int], *, shared: bool) -> Iterator[Step]:
    if shared:
        # In a user namespace nobody may make devices; the host's are shown instead.
        yield Step(Op.BIND, "bind device", (Slot.MOUNT, 0), (_bytes(path),), path, "the host must have this device")
        yield Step(Op.ATTACH, "bind device", (Slot.ROOT, Slot.MOUNT, 0), (_bytes(path),), path)
        return
    device = numbers[0] << 32 | numbers[1]
    remedy = "what stands there is something else, or making devices takes CAP_MKNOD"
    yield Step(Op.NODE, "make device", (Slot.ROOT, mode, device, *owner), (_bytes(path),), path, remedy)


def _sysctls(sysctls: Mapping[str, str]) -> Iterator[Step]:
    """Yield kernel parameters; that they are the container's own is checked already."""
    if sysctls:
        yield Step(Op.PROCFS, "mount a private procfs for kernel parameters", (Slot.SYSCTL, 1))
    for name, value in sysctls.items():
        file = sysctl_path(name)
        strings = (_bytes(file), _bytes(value))
        yield Step(Op.WRITE, f"set {name} to {value!r}", (Slot.SYSCTL, _RESOLVE_PROC), strings, f"/proc/{file}")
    # It has the host's parameters, too, and nothing of it is read-only.
    yield close(Slot.SYSCTL)
