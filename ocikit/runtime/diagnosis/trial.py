"""The cgroups of a container that never is: made, looked at, and removed in the same moment."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from typing import TYPE_CHECKING

from ocikit import _sys
from ocikit._fs import DIRECTORY, Descriptor
from ocikit._tuples import NamedTuple
from ocikit.runtime.cgroups.delegation import delegated
from ocikit.runtime.cgroups.device_filter import device_program
from ocikit.runtime.cgroups.files import read_file
from ocikit.runtime.cgroups.hierarchies import UNIFIED, detect, is_below, place
from ocikit.runtime.diagnosis.places import above

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocikit.runtime.cgroups.hierarchies import Hierarchies
    from ocikit.runtime.host.caller import Caller

__all__ = ["CgroupTrial", "Trial", "try_cgroups"]


class Trial(NamedTuple):
    """What came of making one cgroup."""

    #: The directory that it was made in.
    parent: str
    #: Why it could not be made; None when it was.
    error: OSError | None
    #: The files that it had.
    files: frozenset[str]
    #: What its ``cgroup.type`` said (cgroup v2).
    kind: str = ""
    #: Why no device filter could be attached to it (cgroup v2); None when one was.
    filter_error: OSError | None = None


class CgroupTrial(NamedTuple):
    """What came of making the cgroups of a container."""

    hierarchies: Hierarchies
    #: By the key of the hierarchy.
    by_key: Mapping[str, Trial]

    @property
    def unified(self) -> Trial | None:
        """What came of it on v2; None where that is not mounted."""
        return self.by_key.get(UNIFIED)


def try_cgroups(caller: Caller) -> CgroupTrial:
    """Make the cgroups of a container where the runtime would, and remove them.

    Raises:
        CgroupError: It cannot be found out where that is.
    """
    hierarchies = detect()
    name = f"ocikit-doctor-{os.getpid()}-{secrets.token_hex(4)}"
    places = place(hierarchies, "", name)
    if caller.rootless:
        places |= delegated(places, hierarchies, container_id=name, wanted="", uid=caller.uid)
    # Some hierarchies of v1 have two controllers, and the same directory for both.
    tried: dict[str, Trial] = {}
    for key, path in places.items():
        if path not in tried:
            tried[path] = _try(path, hierarchies.by_key[key].mountpoint, unified=key == UNIFIED)
    return CgroupTrial(hierarchies, {key: tried[path] for key, path in places.items()})


def _try(path: str, mountpoint: str, *, unified: bool) -> Trial:
    # Directories above it that are missing would be made, too: the first of them is as good.
    parent, name = os.path.split(path)
    parent = above(parent)
    if parent != mountpoint and not is_below(parent, mountpoint):
        return Trial(parent, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), mountpoint), frozenset())
    path = f"{parent}/{name}"
    try:
        os.mkdir(path, 0o755)
    except OSError as error:
        return Trial(parent, error, frozenset())
    try:
        kind = (read_file(f"{path}/cgroup.type") or "").strip()
        return Trial(parent, None, frozenset(os.listdir(path)), kind, _filter(path) if unified else None)
    finally:
        # Its program for devices goes away with it.
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(path)


def _filter(path: str) -> OSError | None:
    try:
        with Descriptor(os.open(path, DIRECTORY)) as directory:
            _sys.attach_device_filter(directory.fd, device_program(()))
    except OSError as error:
        return error
    return None
