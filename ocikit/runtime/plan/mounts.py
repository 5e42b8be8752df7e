"""The part of a plan that mounts: each entry of ``mounts`` as steps, in the order of the configuration.

A mount is made detached, gets its attributes while nobody can see it, and is put in its place last. What is read-only
and may have to hold the places of later mounts (tmpfs, /dev) becomes so at the very end.

Init mounts with the rights it has. In a user namespace it cannot reach what root alone may reach, nor show a mount of
the host with other owners: the launcher does that for it, in the container's mounts as they are when it is asked
(:mod:`ocikit.runtime.outside`).
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final

from ocikit._tuples import NamedTuple
from ocikit.errors import UnsupportedFieldError, ValidationError
from ocikit.runtime.idmap import owners_of
from ocikit.runtime.plan import mount_options as options_of
from ocikit.runtime.plan.coherence import inside
from ocikit.runtime.plan.steps import Op, Slot, Step

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from ocikit.runtime.plan.steps import Owners
    from ocikit.spec import Linux, Mount

__all__ = ["CgroupMount", "Mounts", "Place", "is_bind"]

# WIRE_ATTACH_*, WIRE_NEW_*, WIRE_BIND_* of wire.h.
_ATTACH_PLAIN: Final = 1
_ATTACH_IN_PROC: Final = 2
_NEW_PLAIN: Final = 0
_NEW_MODE_OF: Final = 1
_NEW_OR_BIND: Final = 2
_BIND_RECURSIVE: Final = 1
_BIND_ASK: Final = 2
_BIND_OUTSIDE: Final = 4
_BIND_IN_ROOT: Final = 8

#: File systems whose place must be what it seems: no symbolic link on the way to it.
_PLAIN_TYPES: Final = frozenset({"proc", "sysfs"})

#: File systems that are shared by everybody who mounts them: to make one of them read-only is not our business.
_VIRTUAL: Final = frozenset({"proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2"})

#: File systems whose files have labels of their own.
_LABELLED_ALREADY: Final = frozenset({"proc", "sysfs", "mqueue"})

#: Of these, those whose root takes another one.
_LABELLED_AT_ROOT: Final = frozenset({"mqueue"})

#: Files of procfs that are commonly replaced by a view of the container (lxcfs): mounting over these is allowed.
_REPLACEABLE_IN_PROC: Final = frozenset(
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
_LONGEST_VALUE: Final = 255

#: How many descriptors there are for mounts that become read-only at the end, and for user namespaces.
_MAX_WRITABLE: Final = 1024 - Slot.WRITABLE
_MAX_OWNERS: Final = Slot.PRESERVED - Slot.USER_NAMESPACES

_NESTED: Final = {
    "proc": "in a nested container the outer one must have a /proc with nothing masked in it, or share it by a bind",
    "sysfs": "it takes a network namespace of the container's own, and in a nested container an outer /sys that is "
    "not covered; /sys can be bound instead",
}


class CgroupMount(NamedTuple):
    """One hierarchy of a mount of type ``cgroup``."""

    #: Its directory below the mount ("memory", "cpu,cpuacct"); empty for the one hierarchy of v2.
    name: str
    #: The container's cgroup, as a directory of the host.
    path: str
    #: Options that mount the hierarchy (v1: ``("memory",)``, ``("none", "name=systemd")``).
    options: tuple[str, ...] = ()


class Place(NamedTuple):
    """What mounts have to know of the container and of where it is made."""

    #: Absolute path of the root file system, and of the bundle, which relative sources start at.
    rootfs: str
    bundle: str
    #: The section of the configuration.
    linux: Linux
    #: What a mount of type ``cgroup`` shows.
    cgroups: Sequence[CgroupMount]
    #: The types of namespaces that the container does not share with the host.
    namespaces: Collection[str]
    #: Whether the launcher has rights over the host's mounts that init may not have.
    privileged: bool

    def target(self, destination: str) -> str:
        """Return the path of a mount in the container.

        A relative path starts at the root. One that begins with the root's own path on the host is what follows: such
        configurations have always been taken so.
        """
        return self.below_root(inside(destination)) or inside(destination)

    def below_root(self, path: str) -> str:
        """Return what a path of the host is in the container; empty when it is not in the root file system."""
        rootfs = inside(self.rootfs)
        if rootfs == "/" or not f"{inside(path)}/".startswith(f"{rootfs}/"):
            return ""
        return inside(inside(path).removeprefix(rootfs))


def is_bind(mount: Mount) -> bool:
    """Tell whether an entry of ``mounts`` is a bind mount."""
    return mount.type == "bind" or not {"bind", "rbind"}.isdisjoint(mount.options)


class Mounts:
    """All mounts of a container on their way into a plan."""

    def __init__(self, place: Place) -> None:
        self.place = place
        #: What is to be logged.
        self.warnings: list[str] = []
        #: The user namespaces that mounts are shown with.
        self.owners: list[Owners] = []
        #: What is done when nothing has to be made any more.
        self.last: list[Step] = []

    def steps(self, mounts: Sequence[Mount]) -> Iterator[Step]:
        """Yield the steps of all entries.

        Raises:
            ValidationError: An entry that contradicts the specification or itself.
            UnsupportedFieldError: It asks for something that would have to be ignored.
        """
        for number, mount in enumerate(mounts):
            yield from _Mounting(mount, f"$.mounts[{number}]", self).steps()

    def owners_slot(self, owners: Owners, path: str) -> int:
        """Return where the launcher puts a user namespace."""
        if owners not in self.owners:
            self.owners.append(owners)
            if len(self.owners) > _MAX_OWNERS:
                raise UnsupportedFieldError(path, f"mounts have more than {_MAX_OWNERS} different mappings")
        return Slot.USER_NAMESPACES + self.owners.index(owners)

    def read_only_later(self, target: str) -> int:
        """Plan to make a mount read-only at the end; return the slot that it has to be in."""
        slot = Slot.WRITABLE + len(self.last)
        if len(self.last) >= _MAX_WRITABLE:
            return Slot.MOUNT
        self.last.append(
            Step(Op.SETATTR, "make mount read-only", (slot, 0, options_of.READ_ONLY, 0, 0), (b"",), target)
        )
        return slot

    def finish(self) -> Iterator[Step]:
        """Yield what comes when all is in place."""
        for step in self.last:
            yield step
            yield Step(Op.CLOSE, "let go of mount", step.arguments[:1])


class _Mounting:
    """One entry of ``mounts`` as steps: make it detached, give it attributes, put it in its place."""

    def __init__(self, mount: Mount, path: str, mounts: Mounts) -> None:
        self.mount = mount
        self.path = path
        self.mounts = mounts
        self.place = mounts.place
        self.options = options_of.parse(mount.options, f"{path}.options")
        self.target = self.place.target(mount.destination)
        self.slot: int = Slot.MOUNT
        self.owners = owners_of(mount, self.options, self.place.linux, path)
        if self.target == "/":
            raise ValidationError((f"{path}.destination: the root itself is no place to mount at",))

    def steps(self) -> Iterator[Step]:
        """Yield the steps."""
        self._warn()
        self._check()
        if self.options.remount:
            yield self._remount()
            return
        if is_bind(self.mount):
            yield from self._bind()
        elif self.mount.type in {"cgroup", "cgroup2"}:
            yield from self._cgroups()
        else:
            yield from self._filesystem()
        for propagation, recursive in self.options.propagation:
            arguments = (self.slot, int(recursive), 0, 0, propagation)
            yield Step(Op.SETATTR, "set mount propagation", arguments, (b"",), self.target)

    def _warn(self) -> None:
        if not self.mount.destination.startswith("/"):
            where = f"{self.path}.destination: {self.mount.destination!r}"
            self.mounts.warnings.append(f"{where} is relative, which is deprecated; taken as {self.target}")
        ignored = self.options.ignored
        if is_bind(self.mount):
            # Those of the file system are not refused: engines pass on what their users write.
            ignored += self.options.data if self.options.remount else self.options.whole + self.options.data
        for name in ignored:
            why = "is for a file system as a whole, which a bind mount does not change"
            if name in self.options.ignored:
                why = "is decided by the file system itself"
            self.mounts.warnings.append(f"{self.path}.options: {name} {why}")

    def _check(self) -> None:
        bind = is_bind(self.mount)
        if bind and not self.mount.source and not self.options.remount:
            raise ValidationError((f"{self.path}.source: expected what to bind, found nothing",))
        if not bind and not self.mount.type:
            raise ValidationError((f"{self.path}.type: a mount that is no bind needs a type",))
        if self.options.copy_up and (bind or self.mount.type != "tmpfs"):
            raise UnsupportedFieldError(f"{self.path}.options", "tmpcopyup is for mounts of type tmpfs")
        changed = self.options.propagation or self.options.recursive_set or self.options.recursive_clear
        if self.options.remount and (changed or self.owners):
            reason = "what is mounted already keeps its propagation, its owners, and the attributes of mounts below it"
            raise UnsupportedFieldError(f"{self.path}.options", reason)
        if self.owners and self.mount.type in {"cgroup", "cgroup2"} and not bind:
            raise UnsupportedFieldError(f"{self.path}.options", "cgroups have the owners they have")

    def _remount(self) -> Step:
        options = self.options
        whole = not is_bind(self.mount)
        arguments = (Slot.ROOT, options.set, options.clear, options.implied_clear, int(whole))
        data = self._data() if whole else ()
        remedy = "something must be mounted at this place, by an entry before this one or in the root file system"
        return Step(Op.REMOUNT, "change mount", arguments, _strings(self.target, *data), self.target, remedy)

    # New file systems.

    def _filesystem(self) -> Iterator[Step]:
        kind = self.mount.type
        attributes = self.options.set
        if attributes & options_of.READ_ONLY and (kind == "tmpfs" or self.target == "/dev"):
            self.slot = self.mounts.read_only_later(self.target)
            if self.slot != Slot.MOUNT:
                attributes &= ~options_of.READ_ONLY
        source, data = self.mount.source or kind, self._data()
        if self.owners is not None and "user" in self.place.namespaces:
            made = self._make(kind, source, data, attributes)
            asked = self._asked(made._replace(arguments=(Slot.MOUNT, attributes)), 0)
            yield asked._replace(strings=_strings(source))
        else:
            how = _NEW_MODE_OF if kind == "tmpfs" and not self._has("mode") else _NEW_PLAIN
            yield self._make(kind, source, data, attributes, how=how, path=self.target)
            yield from self._label(kind)
            yield from self._owners(self.slot)
        yield from self._below()
        if self.options.copy_up:
            owner = int(not self._has("uid") and not self._has("gid"))
            arguments = (Slot.ROOT, self.slot, owner)
            yield Step(Op.COPYUP, "copy content into tmpfs", arguments, _strings(self.target), self.target)
        yield self._attach(self.target, f"mount {kind}", plain=kind in _PLAIN_TYPES)

    def _label(self, kind: str) -> Iterator[Step]:
        label = self.place.linux.mount_label
        if label and kind in _LABELLED_AT_ROOT:
            yield Step(Op.LABEL, f"label {kind}", (self.slot,), _strings(label), self.target)

    def _has(self, option: str) -> bool:
        return any(one.partition("=")[0] == option for one in self.options.data)

    def _data(self) -> tuple[str, ...]:
        """Return the options for the file system as a whole."""
        kind = self.mount.type
        data = (*self.options.data, *self.options.whole)
        if self.options.set & options_of.READ_ONLY and kind not in _VIRTUAL:
            data = (*data, "ro")
        if kind not in _LABELLED_ALREADY:
            data = options_of.labelled(data, self.place.linux.mount_label)
        return data

    def _make(
        self, kind: str, source: str, data: Sequence[str], attributes: int, *, how: int = _NEW_PLAIN, path: str = ""
    ) -> Step:
        strings = _strings(kind, source, *((path,) if how != _NEW_PLAIN else ()), *data)
        for text in _strings(source, *data):
            value = text.partition(b"=")[2] or text
            if len(value) > _LONGEST_VALUE:
                found = f"{len(value)} bytes: {text[:40].decode(errors='replace')}…"
                raise ValidationError(
                    (f"{self.path}: a source or option has at most {_LONGEST_VALUE} bytes, found {found}",)
                )
        known = f"does this kernel know {kind!r}, and does {kind!r} know the options {', '.join(data) or '(none)'}?"
        arguments = (self.slot, attributes, how, Slot.ROOT)
        return Step(Op.FILESYSTEM, f"mount {kind}", arguments, strings, self.target, _NESTED.get(kind, known))

    # Binds.

    def _bind(self) -> Iterator[Step]:
        source = posixpath.join(self.place.bundle, self.mount.source)
        options = self.options
        how = _BIND_RECURSIVE if options.bind else 0
        # What is in the root is looked up in the root, where an image has put what it liked.
        in_root = self.place.below_root(source)
        root, its_root = (_BIND_IN_ROOT | slot << 32 if in_root else 0 for slot in (Slot.ROOT, Slot.CONTAINER_ROOT))
        action, remedy = f"bind mount ({self.path}.source)", "does it exist?"
        plain = Step(Op.BIND, action, (Slot.MOUNT, how | its_root), _strings(in_root or source), source, remedy)
        changes = (options.set, options.clear, options.implied_clear)
        if "user" in self.place.namespaces and (self.place.privileged or self.owners is not None):
            yield self._asked(plain, how | root, changes)
        else:
            yield plain._replace(arguments=(Slot.MOUNT, how | root, *changes))
            yield from self._owners(Slot.MOUNT)
        yield from self._below()
        yield self._attach(self.target, f"bind {source}")

    def _asked(self, outside: Step, how: int, changes: tuple[int, ...] = ()) -> Step:
        """Return the step that has the launcher make a mount: always, or if init cannot reach the source."""
        how |= _BIND_ASK if self.owners is None else _BIND_OUTSIDE
        made = (outside, *self._owners(Slot.MOUNT))
        return outside._replace(op=Op.BIND, arguments=(self.slot, how, *changes), outside=made)

    def _owners(self, slot: int) -> Iterator[Step]:
        """Yield the step that shows files with other owners, if that is asked for."""
        if self.owners is not None:
            arguments = (slot, int(bool(self.options.owners)), self.mounts.owners_slot(self.owners, self.path))
            remedy = "does its file system know mapped owners on this kernel, and is this process root?"
            yield Step(Op.IDMAP, f"map owners ({self.path})", arguments, (), self.target, remedy)

    def _below(self) -> Iterator[Step]:
        if self.options.recursive_set or self.options.recursive_clear:
            arguments = (self.slot, 1, self.options.recursive_set, self.options.recursive_clear, 0)
            yield Step(Op.SETATTR, "set mount attributes", arguments, (b"",), self.target)

    def _attach(self, target: str, action: str, *, plain: bool = False, slot: int | None = None) -> Step:
        how = _ATTACH_PLAIN if plain else _ATTACH_IN_PROC if target in _REPLACEABLE_IN_PROC else 0
        remedy = "it must not lie in a procfs; only a procfs can be at /proc, and a file goes over a file only"
        if plain:
            remedy = "it must be mounted on ordinary directory: it must not lie in a procfs, nor behind a symbolic link"
        arguments = (Slot.ROOT, self.slot if slot is None else slot, how)
        return Step(Op.ATTACH, action, arguments, _strings(target), target, remedy)

    # Cgroups.

    def _cgroups(self) -> Iterator[Step]:
        """Yield the one hierarchy of v2, or all of v1 side by side in a tmpfs."""
        cgroups = self.place.cgroups
        if not cgroups:
            # The container has none of its own, and those of the host are none of its business (CVE-2023-25809).
            yield self._make("tmpfs", "tmpfs", ("mode=755",), self.options.set | options_of.READ_ONLY)
            yield self._attach(self.target, "hide cgroups")
            return
        if not cgroups[0].name:
            yield from self._hierarchy(cgroups[0], "cgroup2", self.target)
            return
        read_only = self.options.set & options_of.READ_ONLY
        tmpfs = self._make("tmpfs", "tmpfs", ("mode=755",), self.options.set & ~read_only)
        yield tmpfs._replace(arguments=(Slot.CGROUPS, *tmpfs.arguments[1:]))
        yield self._attach(self.target, "mount tmpfs for cgroups", slot=Slot.CGROUPS)
        for cgroup in cgroups:
            yield from self._hierarchy(cgroup, "cgroup", f"{self.target}/{cgroup.name}")
            for controller in cgroup.name.split(",") if "," in cgroup.name else ():
                link = f"{self.target}/{controller}"
                yield Step(Op.SYMLINK, "link cgroup controller", (Slot.ROOT,), _strings(cgroup.name, link), link)
        # Only now that the places of the hierarchies are made in it.
        arguments = (Slot.CGROUPS, 0, read_only, 0, 0)
        yield Step(Op.SETATTR, "make cgroup mount read-only", arguments, (b"",), self.target)
        self.slot = Slot.CGROUPS

    def _hierarchy(self, cgroup: CgroupMount, kind: str, target: str) -> Iterator[Step]:
        """Yield one hierarchy: its own root in a cgroup namespace, else no more of it than the container's cgroup.

        In a user namespace that has to share the host's hierarchy nothing of it can be written to (CVE-2023-25809).
        """
        attributes = self.options.set
        shares = "user" in self.place.namespaces
        if "cgroup" in self.place.namespaces:
            how = _NEW_OR_BIND if shares else _NEW_PLAIN
            data = cgroup.options or self.options.data
            yield self._make(kind, "cgroup", data, attributes, how=how, path=cgroup.path)
        else:
            attributes |= options_of.READ_ONLY if shares else 0
            yield Step(Op.BIND, "bind cgroup", (Slot.MOUNT, 0, attributes), _strings(cgroup.path), cgroup.path)
        yield self._attach(target, "mount cgroup")


def _strings(*texts: str) -> tuple[bytes, ...]:
    return tuple(text.encode("utf-8", "surrogateescape") for text in texts)
