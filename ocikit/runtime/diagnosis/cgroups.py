"""Cgroups: where they are, whether those of a container can be made, and what they have."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Final

from ocikit.errors import CgroupError, MissingDependencyError, NotSupportedError
from ocikit.runtime.cgroups.files import read_file
from ocikit.runtime.cgroups.hierarchies import UNIFIED
from ocikit.runtime.diagnosis.controllers import (
    BOOT_V2,
    CONTROLLERS,
    DELEGATE,
    GIVE_AWAY,
    RUN_DELEGATED,
    controller,
    level_chain,
    to_write,
)
from ocikit.runtime.diagnosis.probing import Probe, no, partly, unknown, yes
from ocikit.runtime.host.rootless import this_process

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocikit.runtime.diagnosis.probing import Found, Host

__all__ = ["PROBES"]

_MOUNT_V2: Final = "mount -t cgroup2 cgroup2 /sys/fs/cgroup"


def _mode(host: Host) -> Found:
    by_key = host.cgroups.hierarchies.by_key
    v1 = sorted(key for key in by_key if key != UNIFIED)
    if not by_key:
        return no("none are mounted", _MOUNT_V2)
    if not v1:
        return yes(f"v2, at {by_key[UNIFIED].mountpoint}")
    told = f"v1 ({', '.join(v1)})"
    if UNIFIED not in by_key:
        return yes(told)
    v2 = ", ".join(sorted(host.cgroups.hierarchies.v2_controllers)) or "no controller"
    return yes(f"hybrid: {told} and v2 ({v2}) at {by_key[UNIFIED].mountpoint}")


def _writable(host: Host) -> Found:
    tried = host.cgroups.by_key
    if not tried:
        return no("no cgroups are mounted", _MOUNT_V2)
    failed = {key: trial for key, trial in tried.items() if trial.error is not None}
    if not failed:
        return yes(f"made, and removed: {_named(tried)}")
    first = next(iter(failed.values()))
    reason = first.error.strerror if first.error is not None else ""
    answer = no if len(failed) == len(tried) else partly
    return answer(f"refused: {_named(failed)} (in {first.parent}: {reason})", to_write(first.parent, host))


def _named(keys: Iterable[str]) -> str:
    return ", ".join(sorted(key or "v2" for key in keys))


def _subtree(host: Host) -> Found:
    trial = host.cgroups.unified
    if trial is None:
        return no("no cgroup v2 is mounted: there is no cgroup.subtree_control", _MOUNT_V2)
    has = (read_file(f"{trial.parent}/cgroup.controllers") or "").split()
    enabled = (read_file(f"{trial.parent}/cgroup.subtree_control") or "").split()
    missing = [name for name in has if name not in enabled]
    if not missing:
        return yes(f"{trial.parent} gives its containers {', '.join(enabled) or 'no controller, and has none'}")
    words = " ".join(f"+{name}" for name in missing)
    remedy = f"echo '{words}' > {trial.parent}/cgroup.subtree_control"
    if level_chain(missing[0], host) is None and os.access(f"{trial.parent}/cgroup.subtree_control", os.W_OK):
        return yes(f"{', '.join(missing)} not in {trial.parent}/cgroup.subtree_control; ocikit adds them when it can")
    return partly(f"{', '.join(missing)} not in {trial.parent}/cgroup.subtree_control", remedy)


def _delegation(host: Host) -> Found:
    if host.cgroups.unified is None or not host.cgroups.hierarchies.v2_only:
        return no("limits are those of cgroup v1, which are not delegated to users", BOOT_V2)
    if host.caller.rootless:
        return _own_delegation(host)
    return _delegation_of_users(host.cgroups.hierarchies.by_key[UNIFIED].mountpoint)


def _own_delegation(host: Host) -> Found:
    trial = host.cgroups.unified
    if trial is None or trial.error is not None:
        return no(f"user {host.caller.uid} may not make cgroups here", RUN_DELEGATED)
    return _compare(trial.parent, f"user {host.caller.uid} has")


def _compare(directory: str, who: str) -> Found:
    has = (read_file(f"{directory}/cgroup.controllers") or "").split()
    missing = [name for name in DELEGATED if name not in has]
    found = f"{who} {', '.join(has) or 'no controller'} in {directory}"
    return partly(f"{found}, without {', '.join(missing)}", DELEGATE) if missing else yes(found)


#: What a user's containers can be limited by.
DELEGATED: Final = ("cpu", "cpuset", "io", "memory", "pids")


def _delegation_of_users(top: str) -> Found:
    """Look what the managers of users, of those who are logged in, have been given by systemd."""
    slices = f"{top}/user.slice"
    for name in sorted(os.listdir(slices)) if os.path.isdir(slices) else ():
        uid = name.removeprefix("user-").removesuffix(".slice")
        manager = f"{slices}/{name}/user@{uid}.service"
        if os.path.isdir(manager):
            return _compare(manager, f"user {uid} has")
    if not os.path.isdir("/run/systemd/system"):
        return no("no systemd runs here that would delegate cgroups to users", GIVE_AWAY)
    return unknown("no user is logged in, whose cgroups could be looked at", DELEGATE)


# ----------------------------------------------------------------------------------- what the cgroup of a container has


def _freezer(host: Host) -> Found:
    trial = host.cgroups.by_key.get("freezer")
    if trial is not None and "freezer.state" in trial.files:
        return yes("v1")
    unified = host.cgroups.unified
    if unified is not None and "cgroup.freeze" in unified.files:
        return yes("v2 (cgroup.freeze)")
    return no(f"containers cannot be paused: {_why_nothing(host)}", _remedy_for_nothing(host))


def _kill(host: Host) -> Found:
    trial = host.cgroups.unified
    if trial is not None and "cgroup.kill" in trial.files:
        return yes("the kernel kills all that is in a container at once")
    if trial is not None and trial.error is None:
        return partly("processes are killed one by one: the kernel has no cgroup.kill", "boot a kernel of version 5.14")
    return partly(
        f"without a pid namespace of its own, a container is killed process by process: {_why_nothing(host)}",
        _remedy_for_nothing(host),
    )


def _pressure(_: Host) -> Found:
    try:
        with open("/proc/pressure/memory", encoding="ascii") as file:
            file.read()
    except FileNotFoundError:
        return no("the kernel does not count stalls (CONFIG_PSI)", "a kernel with CONFIG_PSI=y")
    except OSError:
        return no(
            "the kernel does not count stalls: it is switched off", "boot with psi=1 on the kernel's command line"
        )
    return yes("stalls are counted (/proc/pressure)")


def _swap(host: Host) -> Found:
    trial = host.cgroups.by_key.get("memory")
    if trial is not None and "memory.memsw.limit_in_bytes" in trial.files:
        return yes("v1 (memory.memsw)")
    if host.cgroups.hierarchies.v2_only and trial is None:
        trial = host.cgroups.unified
        if trial is not None and "memory.swap.max" in trial.files:
            return yes("v2 (memory.swap.max)")
        if trial is not None and "memory.max" not in trial.files:
            # Nobody has asked for the controller in there; it looks the same wherever it is in force.
            own = host.cgroups.hierarchies.by_key[UNIFIED]
            if any(os.path.exists(f"{path}/memory.swap.max") for path in (own.own, *_below(own.mountpoint))):
                return yes("v2 (memory.swap.max)")
            return unknown("no cgroup here has the memory controller", controller("memory", host).remedy or DELEGATE)
    if trial is None or trial.error is not None:
        return unknown(_why_nothing(host), controller("memory", host).remedy or _MOUNT_V2)
    return no(
        "swap of containers is neither counted nor limited", "boot with swapaccount=1 on the kernel's command line"
    )


def _below(path: str) -> list[str]:
    with os.scandir(path) as entries:
        return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]


def _why_nothing(host: Host) -> str:
    trial = host.cgroups.unified
    if trial is None:
        return "cgroup v2 is not mounted"
    return (
        f"no cgroup could be made in {trial.parent}: {trial.error.strerror if trial.error else 'it has no such file'}"
    )


def _remedy_for_nothing(host: Host) -> str:
    trial = host.cgroups.unified
    return _MOUNT_V2 if trial is None else to_write(trial.parent, host)


# ------------------------------------------------------------------------------------------------------------- systemd


def _sockets() -> list[str]:
    """Return where a systemd, or a bus that leads to one, would listen."""
    directory = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.geteuid() == 0:
        return ["/run/systemd/private", "/run/dbus/system_bus_socket"]
    return [f"{directory}/systemd/private", f"{directory}/bus"] if directory else []


def _systemd(_: Host) -> Found:
    caller = this_process()
    start = "boot with systemd" if caller.uid == 0 else f"log in by way of systemd: loginctl enable-linger {caller.uid}"
    if not any(os.path.exists(path) for path in _sockets()):
        return no(f"no systemd listens at {' or '.join(_sockets()) or 'XDG_RUNTIME_DIR, which is not set'}", start)
    from ocikit.runtime.systemd.units import manager_cgroup  # noqa: PLC0415 - it takes longer than all other probes

    try:
        return yes(f"reachable; its cgroup is {manager_cgroup() or '/'}")
    except MissingDependencyError as error:
        return no(str(error), "apt-get install libsystemd0")
    except (NotSupportedError, CgroupError) as error:
        return no(str(error), start)


PROBES: Final = (
    Probe("cgroups.mode", _mode),
    Probe("cgroups.writable", _writable),
    *(Probe(f"cgroups.{name}", functools.partial(controller, name)) for name in CONTROLLERS),
    Probe("cgroups.subtree_control", _subtree),
    Probe("cgroups.delegation", _delegation),
    Probe("cgroups.freezer", _freezer),
    Probe("cgroups.kill", _kill),
    Probe("cgroups.pressure", _pressure),
    Probe("cgroups.swap", _swap),
    Probe("cgroups.systemd", _systemd),
)
