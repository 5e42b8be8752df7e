"""The root of a container that has no mount namespace of its own: it is mounted on the host, and is taken away again.

All that is mounted for such a container hangs below this one mount. What is written down of it before it is made tells
it from what was mounted there before: a mount of others is never taken away.
"""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING

from ocikit._fs import Descriptor
from ocikit.errors import OCIKitError
from ocikit.runtime.host.surroundings import namespaces_of_host
from ocikit.runtime.late_log import log as _log
from ocikit.runtime.state.documents import MountedRoot

if TYPE_CHECKING:
    from ocikit.spec import Spec

__all__ = ["expect", "find", "remove"]


def expect(spec: Spec, bundle: str) -> MountedRoot | None:
    """Return what a container of this configuration is going to cover; None when it has mounts of its own.

    Args:
        spec: The configuration.
        bundle: Absolute path of the bundle.
    """
    namespaces = spec.linux.namespaces if spec.linux is not None else ()
    own = any(one.type == "mount" for one in namespaces) and "mount" not in namespaces_of_host(spec)
    if spec.root is None or own:
        return None
    path = posixpath.normpath(posixpath.join(bundle, spec.root.path))
    return MountedRoot(path, _mount_at(path))


def find(root: MountedRoot) -> MountedRoot:
    """Return what is written down of a root once it was made."""
    return root._replace(made=_mount_at(root.path))


def remove(root: MountedRoot | None, container_id: str) -> None:
    """Take a root away, if it is there, and seen from here; that it cannot be is logged.

    Args:
        root: What was written down of it.
        container_id: The container, whose processes have ended.
    """
    if root is None:
        return
    now = _mount_at(root.path)
    if now in {0, root.before} or root.made not in {0, now}:
        return
    try:
        _unmount(root.path)
    except OCIKitError as error:
        _log.warning("container %s: %s is still mounted: %s", container_id, root.path, error)


def _mount_at(path: str) -> int:
    """Return the mount that a directory is in, or that covers it; 0 when there is no such directory."""
    try:
        directory = Descriptor(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC))
    except OSError:
        return 0
    with directory, open(f"/proc/self/fdinfo/{directory.fd}", encoding="ascii") as info:
        return next(int(line.split()[1]) for line in info if line.startswith("mnt_id:"))


def _unmount(path: str) -> None:
    from ocikit.runtime.launch import launch  # noqa: PLC0415 - loads the compiled part
    from ocikit.runtime.plan.steps import NO_SLOT, Op, Plan, Step  # noqa: PLC0415

    steps = (
        Step(Op.UNMOUNT, "unmount the root file system", (1,), (os.fsencode(path),), path),
        Step(Op.CLONE, "end", (0, NO_SLOT)),
    )
    with (
        Descriptor(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) as null,
        launch(Plan(steps), stdio=(null.fd, null.fd, null.fd), passed={}),
    ):
        pass
