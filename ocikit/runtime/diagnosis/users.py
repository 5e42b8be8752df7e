"""What users without privileges need for more than one id in their containers: ranges, and who writes the maps."""

from __future__ import annotations

import functools
import os
import stat
from typing import TYPE_CHECKING, Final

from ocikit.errors import MissingDependencyError
from ocikit.runtime import user_maps
from ocikit.runtime.diagnosis.probing import Probe, no, unknown, yes
from ocikit.runtime.user_maps import GROUPS, USERS

if TYPE_CHECKING:
    from ocikit.runtime.diagnosis.probing import Found, Host
    from ocikit.runtime.user_maps import Kind

__all__ = ["PROBES"]

_FIRST: Final = 100_000
_COUNT: Final = 65_536

#: What newuidmap(1) may have instead of the set-uid bit (security.capability, an extended attribute).
_FILE_CAPABILITIES: Final = "security.capability"


def _ranges(kind: Kind, host: Host) -> Found:
    if host.caller.may_map:
        return yes("not needed: this process may map any id of its user namespace")
    uid = host.caller.uid
    name = user_maps.user_name(uid)
    found = user_maps.given(kind.given_in, name, uid)
    if found:
        return yes(", ".join(f"{count} ids from {first}" for first, count in found))
    if not user_maps.is_in_files():
        return unknown("given by another source than files (subid in /etc/nsswitch.conf)", f"getsubids {name or uid}")
    first = _free(kind)
    return no(
        f"user {name or uid} has none in {kind.given_in}: its containers have one user and one group",
        f"as root: echo '{name or uid}:{first}:{_COUNT}' >> {kind.given_in}",
    )


def _free(kind: Kind) -> int:
    """Return the first id after those that are given to anybody."""
    first = _FIRST
    for _, begin, count in user_maps.all_given(kind.given_in):
        first = max(first, begin + count)
    return first


def _tool(kind: Kind, _: Host) -> Found:
    try:
        path = user_maps.find_tool(kind)
    except MissingDependencyError:
        return no(
            f"{kind.tool} is not installed",
            "apt-get install uidmap (Debian, Ubuntu), or dnf install shadow-utils (Fedora), apk add shadow-uidmap",
        )
    about = os.stat(path)
    capabilities = about.st_uid == 0 and _has_capabilities(path)
    if not capabilities and not (about.st_uid == 0 and about.st_mode & stat.S_ISUID):
        return no(f"{path} is neither set-uid root nor has capabilities", f"chown root {path} && chmod u+s {path}")
    if os.statvfs(path).f_flag & os.ST_NOSUID:
        return no(f"{path} is on a file system that is mounted nosuid", "mount -o remount,suid that file system")
    return yes(f"{path}, {'with capabilities' if capabilities else 'set-uid root'}")


def _has_capabilities(path: str) -> bool:
    try:
        return bool(os.getxattr(path, _FILE_CAPABILITIES))
    except OSError:
        return False


PROBES: Final = (
    Probe("users.subuid", functools.partial(_ranges, USERS)),
    Probe("users.subgid", functools.partial(_ranges, GROUPS)),
    Probe("users.newuidmap", functools.partial(_tool, USERS)),
    Probe("users.newgidmap", functools.partial(_tool, GROUPS)),
)
