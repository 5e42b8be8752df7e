"""What tests of mounts have in common: bundles that a user namespace may enter, and configurations with more mounts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs
from launching import MOUNTS, default_spec, make_rootfs

from ocikit.spec import LinuxIDMapping, LinuxNamespace, Mount, Root

if TYPE_CHECKING:
    from pathlib import Path

    from ocikit.spec import Spec

__all__ = ["IDS", "bind", "make_open_bundle", "mounted", "tmpfs", "with_rights", "with_users"]

IDS = (LinuxIDMapping(container_id=0, host_id=100_000, size=65_536),)


def make_open_bundle(at: Path) -> Path:
    """Make a bundle of busybox whose root belongs to the root of a user namespace, who may enter it; return it."""
    make_rootfs(at / "rootfs")
    os.chown(at / "rootfs", 100_000, 100_000)
    for path in (at, *list(at.parents)[:3]):
        path.chmod(0o755)
    return at


def with_users(spec: Spec, ids: tuple[LinuxIDMapping, ...] = IDS) -> Spec:
    """Return a configuration with a user namespace of its own."""
    assert spec.linux is not None
    namespaces = (*spec.linux.namespaces, LinuxNamespace(type="user"))
    return spec.with_linux(namespaces=namespaces, uid_mappings=ids, gid_mappings=ids)


def with_rights(spec: Spec, *names: str) -> Spec:
    """Return a configuration whose process has more capabilities."""
    assert spec.process is not None
    has = spec.process.capabilities
    assert has is not None
    bounding, permitted, effective = ((*one, *names) for one in (has.bounding, has.permitted, has.effective))
    changed = attrs.evolve(has, bounding=bounding, permitted=permitted, effective=effective)
    return spec.with_process(capabilities=changed)


def mounted(*mounts: Mount, script: str = "") -> Spec:
    """Return a configuration with more mounts, whose program runs a script, or shows the mounts."""
    args = ("sh", "-c", f"exec 2>&1; {script}") if script else ("cat", "/proc/self/mountinfo")
    return attrs.evolve(default_spec(*args, mounts=(*MOUNTS, *mounts)), root=Root(path="rootfs"))


def bind(source: object, destination: str, *options: str) -> Mount:
    """Return a bind mount."""
    return Mount(destination=destination, source=str(source), type="bind", options=("bind", *options))


def tmpfs(destination: str, *options: str) -> Mount:
    """Return a mount of a new tmpfs."""
    return Mount(destination=destination, source="tmpfs", type="tmpfs", options=options)
