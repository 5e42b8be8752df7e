"""The part of a plan that makes the root file system: mounts, devices, and what is hidden of them."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final

from ocikit._tuples import NamedTuple
from ocikit.errors import ValidationError
from ocikit.runtime.plan import mount_options as options_of
from ocikit.runtime.plan.coherence import inside, sysctl_path
from ocikit.runtime.plan.devices import devices
from ocikit.runtime.plan.mounts import Mounts, Place
from ocikit.runtime.plan.steps import NO_SLOT, Op, Slot, Step, close
from ocikit.runtime.plan.terminal import control, terminal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from ocikit.runtime.plan.compiler import Surroundings
    from ocikit.runtime.plan.steps import Owners
    from ocikit.spec import Linux, Spec

__all__ = ["RootFilesystem", "root_filesystem"]

# RESOLVE_* (openat2(2)) for writes below our own procfs: no way out, no link, no other mount.
_RESOLVE_PROC: Final = 0x01 | 0x02 | 0x04 | 0x08

#: ``WIRE_PIVOT_*``.
_COVER: Final = 1
_CHROOT: Final = 2

_PROPAGATION_FIELD: Final = "$.linux.rootfsPropagation"

_SHOWN: Final = (
    "$.linux.namespaces: without a mount namespace, all that is mounted for the container shows on the host until it "
    "is destroyed"
)


class RootFilesystem(NamedTuple):
    """Everything between the new mount namespace and the new root."""

    steps: tuple[Step, ...]
    #: What is to be logged.
    warnings: tuple[str, ...]
    #: The user namespaces that mounts are shown with.
    owners: tuple[Owners, ...]


def root_filesystem(
    spec: Spec,
    around: Surroundings,
    namespaces: Collection[str],
    hooks: Sequence[Step] = (),
    *,
    copied: bool = False,
) -> RootFilesystem:
    """Plan everything between the new mount namespace and the new root.

    Args:
        spec: The configuration; it has a root and a linux section.
        around: The place it is made in.
        namespaces: The types of namespaces that the container does not share with the host.
        hooks: What is done when all mounts are made, before the root is changed.
        copied: The root file system was copied before, with the rights of the host.
    """
    if spec.root is None or spec.linux is None:
        raise ValidationError(("$: root and linux are needed",))
    rootfs = posixpath.join(around.bundle, spec.root.path)
    place = Place(rootfs, around.bundle, spec.linux, around.cgroup_mounts, namespaces, around.caller.may_mount)
    mounts = Mounts(place)
    steps = (
        *_root(rootfs, spec.linux, own="mount" in namespaces, copied=copied),
        *mounts.steps(spec.mounts),
        *devices(spec, of_host="user" in namespaces),
        *_working_directory(spec),
        *_terminal(spec),
        # What they mount is hidden and made read-only like everything else.
        *hooks,
        # The sysctls before /proc/sys may become read-only, through a procfs that no mount of the container can cover.
        *_sysctls(spec.linux.sysctl),
        *_hidden(spec.linux),
        *_change_root(rootfs, around, spec.linux, own="mount" in namespaces, copied=copied),
        *mounts.finish(),
        *_root_attributes(spec.root.readonly, spec.linux),
        *map(close, (Slot.ROOT, Slot.MOUNT, Slot.CGROUPS)),
    )
    warnings = mounts.warnings if "mount" in namespaces else [_SHOWN, *mounts.warnings]
    return RootFilesystem(steps, tuple(warnings), tuple(mounts.owners))


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _propagation(linux: Linux) -> tuple[int, bool]:
    """Return the propagation type of the root, 0 for none, and whether it is for all mounts below it."""
    name = linux.rootfs_propagation
    if name and name not in options_of.PROPAGATION:
        raise ValidationError((f"{_PROPAGATION_FIELD}: {name!r} is no propagation type",))
    return options_of.PROPAGATION.get(name, (0, False))


def _root(rootfs: str, linux: Linux, *, own: bool, copied: bool) -> Iterator[Step]:
    """Yield the first mount, and what keeps it and all that follow from showing on the host.

    A root that is asked to be shared leaves the mounts of the host as they are: what is bound of them can pass on to
    the host what is mounted there, if the host shares it and the mount asks for it, too.
    """
    remedy = "it must be a directory that the container's root may enter, and no symbolic link"
    if not own:
        # The mounts of the host stay as they are; those of the container go no further than this one.
        yield Step(Op.ROOT, "mount root file system", (Slot.ROOT, 0), (_bytes(rootfs),), rootfs, remedy)
        private = (Slot.ROOT, 1, 0, 0, options_of.PRIVATE)
        yield Step(Op.SETATTR, "detach mount propagation", private, (b"",), rootfs)
        return
    kind, _ = _propagation(linux)
    if kind != options_of.SHARED:
        slave = (NO_SLOT, 1, 0, 0, options_of.SLAVE)
        yield Step(Op.SETATTR, "detach mount propagation", slave, (b"/",), "/")
    if copied:
        yield Step(Op.COVER, "mount root file system", (Slot.ROOT,), path=rootfs)
        return
    # The mount that the root is in: pivot_root(2) refuses one that is shared.
    around = options_of.SLAVE if kind == options_of.SLAVE else options_of.PRIVATE
    yield Step(Op.ROOT, "mount root file system", (Slot.ROOT, around), (_bytes(rootfs),), rootfs, remedy)


def _working_directory(spec: Spec) -> Iterator[Step]:
    if spec.process is not None:
        cwd = spec.process.cwd
        yield Step(Op.MKDIR, "make working directory", (Slot.ROOT, 0o755), (_bytes(cwd),), cwd)


def _terminal(spec: Spec) -> list[Step]:
    """Return a terminal of the container's own: by its own devpts, while there may be a place to make for it."""
    return [*terminal(spec.process, root=Slot.ROOT), *control(spec.process)] if spec.process is not None else []


def _hidden(linux: Linux) -> Iterator[Step]:
    for path in dict.fromkeys(map(inside, linux.readonly_paths)):
        yield Step(Op.READONLY, "make read-only", (Slot.ROOT,), (_bytes(path),), path)
    for path in dict.fromkeys(map(inside, linux.masked_paths)):
        yield Step(Op.MASK, "mask", (Slot.ROOT,), (_bytes(path), _bytes(linux.mount_label)), path)


def _change_root(rootfs: str, around: Surroundings, linux: Linux, *, own: bool, copied: bool) -> Iterator[Step]:
    if not own:
        yield Step(Op.PIVOT, "change root", (Slot.ROOT, _CHROOT), path=rootfs)
        return
    if not around.no_pivot:
        remedy = "on a host that runs from a ramdisk, create the container with no_pivot"
        yield Step(Op.PIVOT, "pivot root", (Slot.ROOT,), path=rootfs, remedy=remedy)
        return
    if _propagation(linux)[0] == options_of.PRIVATE:
        raise ValidationError((f"{_PROPAGATION_FIELD}: {linux.rootfs_propagation} is not safe without pivot_root",))
    # They stay below the new root, where the kernel finds them when it has to decide whether somebody in the container
    # may mount such a file system without anything hidden in it.
    for path in around.revealing:
        if not inside(path).startswith(inside(rootfs) + "/"):
            yield Step(Op.UNMOUNT, "let go of the host's file system", (), (_bytes(path),), path)
    yield Step(Op.PIVOT, "move the root", (Slot.ROOT, _CHROOT if copied else _COVER), path=rootfs)


def _root_attributes(readonly: bool, linux: Linux) -> Iterator[Step]:  # noqa: FBT001
    """Yield what must come last: everything before may still have to write to the root."""
    kind, recursive = _propagation(linux)
    if kind in {options_of.SHARED, options_of.UNBINDABLE}:
        propagation = (Slot.ROOT, int(recursive), 0, 0, kind)
        yield Step(Op.SETATTR, "set propagation of the root", propagation, (b"",), "/")
    if readonly:
        read_only = (Slot.ROOT, 0, options_of.READ_ONLY, 0, 0)
        yield Step(Op.SETATTR, "make root file system read-only", read_only, (b"",), "/")


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
