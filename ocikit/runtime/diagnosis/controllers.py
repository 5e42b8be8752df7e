"""Controllers of cgroups: whether a container can be limited by each of them, and if not, where it ends."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from ocikit._tuples import NamedTuple
from ocikit.runtime.cgroups.files import read_file
from ocikit.runtime.cgroups.hierarchies import UNIFIED
from ocikit.runtime.diagnosis.probing import no, yes

if TYPE_CHECKING:
    from ocikit.runtime.diagnosis.probing import Found, Host
    from ocikit.runtime.diagnosis.trial import Trial

__all__ = ["BOOT_V2", "CONTROLLERS", "DELEGATE", "GIVE_AWAY", "RUN_DELEGATED", "controller", "level_chain", "to_write"]

#: Where systemd is told what to delegate to users, and what.
DELEGATE: Final = (
    "as root: mkdir -p /etc/systemd/system/user@.service.d && "
    r"printf '[Service]\nDelegate=cpu cpuset io memory pids\n' > /etc/systemd/system/user@.service.d/delegate.conf && "
    "systemctl daemon-reload; then log in again"
)
#: How a user gets one without systemd.
GIVE_AWAY: Final = (
    "as root: mkdir /sys/fs/cgroup/USER && chown USER /sys/fs/cgroup/USER{,/cgroup.procs,/cgroup.subtree_control,"
    "/cgroup.threads}, and start the user's program in a cgroup below it"
)
#: How a host with systemd comes to have cgroup v2 and nothing else.
BOOT_V2: Final = "boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line"
#: How a user gets a cgroup to make others in.
RUN_DELEGATED: Final = "systemd-run --user --scope --property=Delegate=yes PROGRAM"


class Controller(NamedTuple):
    """A controller, by its names in v1 and v2, and what the kernel's configuration calls it."""

    v1: str
    v2: str
    configuration: str


#: By the name it has in findings.
CONTROLLERS: Final = {
    "cpu": Controller("cpu", "cpu", "CONFIG_CGROUP_SCHED"),
    "cpuset": Controller("cpuset", "cpuset", "CONFIG_CPUSETS"),
    "io": Controller("blkio", "io", "CONFIG_BLK_CGROUP"),
    "memory": Controller("memory", "memory", "CONFIG_MEMCG"),
    "pids": Controller("pids", "pids", "CONFIG_CGROUP_PIDS"),
    "devices": Controller("devices", "", "CONFIG_CGROUP_BPF"),
    "hugetlb": Controller("hugetlb", "hugetlb", "CONFIG_CGROUP_HUGETLB"),
    "rdma": Controller("rdma", "rdma", "CONFIG_CGROUP_RDMA"),
    "misc": Controller("misc", "misc", "CONFIG_CGROUP_MISC"),
}


def controller(name: str, host: Host) -> Found:
    """Look whether containers can be limited by a controller.

    Args:
        name: Of :data:`CONTROLLERS`.
        host: This host.
    """
    row = CONTROLLERS[name]
    trial = host.cgroups.by_key.get(row.v1)
    if trial is not None:
        return _made("v1", trial, host)
    unified = host.cgroups.unified
    if name == "devices" and unified is not None:
        return _filter(unified, host)
    if unified is None or row.v2 not in host.cgroups.hierarchies.v2_controllers:
        return _absent(name, row, host)
    if unified.error is not None:
        return _made("v2", unified, host)
    blocked = level_chain(row.v2, host)
    if blocked is None:
        return yes("v2")
    if not os.access(f"{blocked}/cgroup.subtree_control", os.W_OK, effective_ids=True):
        remedy = DELEGATE if host.caller.rootless else f"echo +{row.v2} > {blocked}/cgroup.subtree_control"
        return no(f"{blocked} does not give it to the cgroups in it", remedy)
    return no(
        f"there are processes in {blocked}, hence no limits in the cgroups below it",
        RUN_DELEGATED if host.caller.rootless else f"move the processes of {blocked} to a cgroup below it",
    )


def _made(where: str, trial: Trial, host: Host) -> Found:
    if trial.error is None:
        return yes(where)
    return no(f"no cgroup can be made in {trial.parent}: {trial.error.strerror}", to_write(trial.parent, host))


def to_write(parent: str, host: Host) -> str:
    """Return what lets this process make cgroups in a directory that it could not make one in."""
    if os.statvfs(parent).f_flag & os.ST_RDONLY:
        return "mount -o remount,rw it, or start the outer container with its cgroups writable"
    if host.caller.rootless:
        if not host.cgroups.hierarchies.v2_only:
            return f"run as root; or {BOOT_V2}"
        return RUN_DELEGATED if os.path.isdir("/run/systemd/system") else GIVE_AWAY
    return f"give this process the right to write to {parent}"


def level_chain(name: str, host: Host) -> str | None:
    """Return the cgroup, from the top of v2 down, that neither gives a controller to those in it nor could be made to.

    Args:
        name: Of the controller.
        host: This host.

    Returns:
        None when a container gets it.
    """
    trial = host.cgroups.unified
    top = host.cgroups.hierarchies.by_key[UNIFIED].mountpoint
    if trial is None:
        return top
    current = top
    for part in ("", *os.path.relpath(trial.parent, top).split("/")):
        current = os.path.normpath(f"{current}/{part}")
        if name not in (read_file(f"{current}/cgroup.subtree_control") or "").split() and not _could_give(current):
            return current
    return None


def _could_give(path: str) -> bool:
    """Tell whether a cgroup could be made to give a controller to those in it: by rights, and without processes."""
    if not os.access(f"{path}/cgroup.subtree_control", os.W_OK, effective_ids=True):
        return False
    # Only the cgroup at the very top, which has no type, may have both processes and limited cgroups in it.
    return not os.path.exists(f"{path}/cgroup.type") or not (read_file(f"{path}/cgroup.procs") or "").strip()


def _filter(trial: Trial, host: Host) -> Found:
    if trial.error is not None:
        return _made("v2", trial, host)
    if trial.filter_error is None:
        return yes("v2, by a program in the kernel (BPF)")
    found = f"rules for devices are programs in the kernel (BPF), and none can be loaded: {trial.filter_error.strerror}"
    if host.caller.rootless:
        return no(found, "none is needed without privileges: such containers make no devices; run as root for rules")
    return no(found, "run with CAP_BPF, CAP_NET_ADMIN and bpf(2) allowed, on a kernel with CONFIG_CGROUP_BPF=y")


def _absent(name: str, row: Controller, host: Host) -> Found:
    """Say why no hierarchy has a controller: it is switched off, or not mounted, or the kernel has none."""
    hierarchies = host.cgroups.hierarchies
    unified = hierarchies.by_key.get(UNIFIED)
    if row.v2 and unified is not None and os.path.exists(f"{unified.mountpoint}/cgroup.type"):
        # What is mounted begins below the top.
        return no("it is not given to the cgroups that are seen here", f"on the host, above: enable +{row.v2}")
    known = _of_kernel().get(row.v1)
    if known is None:
        return no(f"the kernel has no {name} controller ({row.configuration})", f"a kernel with {row.configuration}=y")
    if hierarchies.v2_only and known:
        return no("a hierarchy of cgroup v1 has it", "boot with cgroup_no_v1=all on the kernel's command line")
    if not known:
        remedy = f"boot with cgroup_enable={row.v1}, and without cgroup_disable, on the kernel's command line"
        return no("it is switched off on the kernel's command line", remedy)
    where = f"/sys/fs/cgroup/{row.v1}"
    return no("no hierarchy has it mounted", f"mkdir -p {where} && mount -t cgroup -o {row.v1} {row.v1} {where}")


def _of_kernel() -> dict[str, bool]:
    """Return the controllers of the kernel by their v1 names, and whether each is switched on (``/proc/cgroups``)."""
    found = {}
    with open("/proc/cgroups", encoding="ascii") as file:
        for line in file:
            name, *numbers = line.split()
            if not name.startswith("#"):
                found[name] = numbers[-1] == "1"
    return found
