"""Where state is: whether the root of it can be made and trusted, and what it is mounted on."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from ocikit.errors import StateError, SystemCallError
from ocikit.runtime.diagnosis.probing import Need, Probe, no, partly, yes
from ocikit.runtime.host.procfs import unescape
from ocikit.runtime.state.root import StateRoot

if TYPE_CHECKING:
    from ocikit.runtime.diagnosis.probing import Found, Host

__all__ = ["PROBES", "above"]


def above(path: str) -> str:
    """Return the directory that the first part of a path which is missing would be made in; itself if none is."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _root(host: Host) -> Found:
    try:
        with StateRoot.open(host.root):
            found = f"{host.root} is there, and nobody else can write to it"
        if os.access(host.root, os.W_OK | os.X_OK, effective_ids=True):
            return yes(found)
        return no(f"{found}, nor can this process", f"mount -o remount,rw it, or chown {host.caller.uid} {host.root}")
    except FileNotFoundError:
        where = above(host.root)
    except (StateError, SystemCallError) as error:
        return no(str(error), f"give another one, or chown {host.caller.uid} {host.root} && chmod 0700 {host.root}")
    if os.access(where, os.W_OK | os.X_OK, effective_ids=True):
        return yes(f"{host.root} can be made in {where}")
    remedy = (
        _runtime_directory(host).remedy or f"mkdir -m 0700 {host.root} && chown {host.caller.uid} {host.root}, as root"
    )
    return no(f"{host.root} cannot be made: user {host.caller.uid} may not write to {where}", remedy)


def _on_tmpfs(host: Host) -> Found:
    kind, where, _ = _mount_of(above(host.root))
    if kind in {"tmpfs", "ramfs"}:
        return yes(f"{host.root} is on a {kind}, and gone with its containers when the machine is restarted")
    return partly(
        f"{host.root} is on {kind} ({where}): after a restart, containers are still in it, as stopped ones",
        "mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs /run at boot, or a state root on a tmpfs",
    )


def _options(host: Host) -> Found:
    """Look at the options of the mount: only some of them matter."""
    kind, where, options = _mount_of(above(host.root))
    found = f"{where} ({kind}) is mounted {','.join(options)}"
    if "ro" in options:
        return no(f"{found}: no state can be written", f"mount -o remount,rw {where}")
    matter = [name for name in ("noexec", "nodev", "nosuid") if name in options]
    if matter:
        return yes(f"{found}: nothing in a state root is executed; keep bundles elsewhere, whose programs are")
    return yes(found)


def _mount_of(path: str) -> tuple[str, str, list[str]]:
    """Return type, mount point and options of the mount that a path is in."""
    found = ("an unknown file system", "/", [""])
    longest = -1
    real = os.path.realpath(path)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            fields = before.split(" ")
            where = unescape(fields[4])
            # Of two at one place, the later one covers the other.
            if f"{real}/".startswith(f"{where.rstrip('/')}/") and len(where) >= longest:
                longest = len(where)
                found = (after.split(" ")[0], where, fields[5].split(","))
    return found


def _runtime_directory(host: Host) -> Found:
    uid = host.caller.uid
    if not host.caller.rootless:
        return yes("not needed: state of root is in /run/runc")
    path = os.environ.get("XDG_RUNTIME_DIR")
    wanted = f"/run/user/{uid}"
    if not path:
        remedy = f"loginctl enable-linger {uid}; export XDG_RUNTIME_DIR={wanted}"
        if not os.path.isdir(wanted):
            remedy = f"mkdir -m 0700 DIRECTORY && export XDG_RUNTIME_DIR=DIRECTORY; with systemd: {remedy}"
        return no("XDG_RUNTIME_DIR is not set, and state of users is in there", remedy)
    try:
        about = os.stat(path)
    except OSError as error:
        return no(
            f"XDG_RUNTIME_DIR is {path}: {error.strerror}", f"as root: mkdir -m 0700 {path} && chown {uid} {path}"
        )
    if about.st_uid != uid or stat.S_IMODE(about.st_mode) & 0o022:
        found = f"XDG_RUNTIME_DIR is {path}, of user {about.st_uid} with mode {stat.S_IMODE(about.st_mode):04o}"
        return no(found, f"as root: chown {uid} {path} && chmod 0700 {path}")
    return yes(path)


PROBES: Final = (
    Probe("state.root", _root, Need.EVERYBODY),
    Probe("state.tmpfs", _on_tmpfs),
    Probe("state.mount_options", _options),
    Probe("state.runtime_directory", _runtime_directory),
)
