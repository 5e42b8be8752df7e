"""Why the kernel refuses to make a namespace, and what to do: each cause has a trial that no other cause fails."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from ocikit.runtime.diagnosis.probing import MAP_IDS, Refusal, attempt, no, unknown
from ocikit.runtime.host.caller import Caller
from ocikit.runtime.host.procfs import unescape
from ocikit.runtime.host.rootless import forbidding, sysctl
from ocikit.runtime.plan.capabilities import names_of, to_mask
from ocikit.runtime.plan.namespace_kinds import NAMESPACES
from ocikit.runtime.plan.steps import NO_SLOT, Op, Slot, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocikit.runtime.diagnosis.probing import Found, Host

__all__ = ["ASK_THE_HOST", "NOBODY", "SECCOMP", "explain", "filtered", "missing_capabilities", "refused", "start_with"]

#: Some user without privileges: what Linux calls "nobody".
NOBODY: Final = Caller(65_534, 65_534, 0)

#: What to do about a filter around this process.
SECCOMP: Final = (
    "start the outer container with a profile that allows it: linux.seccomp.syscalls of its config.json, or "
    "--security-opt seccomp=PROFILE.json (podman, docker)"
)
#: What to do about a refusal that nothing here explains.
ASK_THE_HOST: Final = "look for a refusal of AppArmor, SELinux or another security module: journalctl -k -g denied"

_ENOUGH: Final = 10_000
_SETFCAP: Final = to_mask(["CAP_SETFCAP"])[0]

_CONFIGURATION: Final = {
    "user": "CONFIG_USER_NS",
    "uts": "CONFIG_UTS_NS",
    "ipc": "CONFIG_IPC_NS",
    "network": "CONFIG_NET_NS",
    "pid": "CONFIG_PID_NS",
    "time": "CONFIG_TIME_NS",
    "cgroup": "CONFIG_CGROUPS",
}

# CSIGNAL, which unshare(2) has no use for: the kernel answers EINVAL before it looks at any right, and what stands
# before the kernel answers something else.
_MEANINGLESS: Final = 0x1


#: What the runtime does with the rights of root.
_OF_RUNTIME: Final = tuple(
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER KILL SETGID SETUID SETPCAP NET_ADMIN SYS_CHROOT SYS_PTRACE "
        "SYS_ADMIN SYS_RESOURCE MKNOD SETFCAP"
    ).split()
)


def missing_capabilities(host: Host) -> tuple[str, ...]:
    """Return the capabilities that root's containers are made with, and this process has not."""
    return names_of(to_mask(_OF_RUNTIME)[0] & ~host.caller.capabilities)


def start_with(capabilities: Sequence[str]) -> str:
    """Return how this process comes to have some capabilities."""
    names = ",".join(name.removeprefix("CAP_") for name in capabilities)
    return f"start this process with them: --cap-add={names} (podman, docker), process.capabilities of its container"


def refused(refusal: object, number: int | None, host: Host) -> Found:
    """Say what may be the reason when a right is missing, or something else is.

    Args:
        refusal: What was refused, in words.
        number: Its errno.
        host: This host.
    """
    missing = missing_capabilities(host) if host.caller.may_mount else ()
    if number in {errno.EPERM, errno.EACCES} and missing:
        return no(f"{refusal}; this process has not {', '.join(missing)}", start_with(missing))
    return no(str(refusal), ASK_THE_HOST)


def explain(kind: str, refusal: Refusal, host: Host, caller: Caller | None = None) -> Found:
    """Say why a namespace could not be made.

    Args:
        kind: Of the namespace.
        refusal: What the kernel said.
        host: This host.
        caller: Who wanted to make it; None is this process.
    """
    caller = caller or host.caller
    if refusal.action == MAP_IDS.action and caller.uid == 0 and not caller.capabilities & _SETFCAP:
        return no(
            f"made, but {refusal}: mapping root takes CAP_SETFCAP, which this process has not",
            "start it with this capability: --cap-add=SETFCAP (podman, docker); or map other ids than root's",
        )
    if refusal.errno in {errno.ENOSPC, errno.EUSERS}:
        return _limited(kind)
    if refusal.errno == errno.ENOSYS:
        return no(f"{refusal}; a seccomp filter around this process keeps clone3(2) from it", SECCOMP)
    if filtered(NAMESPACES[kind].flag, host):
        return no(f"a seccomp filter around this process forbids unshare(2) of a {kind} namespace", SECCOMP)
    if refusal.errno == errno.EINVAL and kind in _CONFIGURATION:
        name = _CONFIGURATION[kind]
        return no(f"{refusal}; the kernel has no {kind} namespaces", f"a kernel with {name}=y")
    parameters = forbidding(caller)
    if kind == "user" and parameters:
        return no(f"{parameters[0].name} is {parameters[0].value}", parameters[0].remedy)
    if kind == "user" and _in_chroot(host):
        return no(
            "this process is in a chroot, where the kernel makes no user namespaces",
            "enter the root by pivot_root(2) instead of chroot(2): systemd-nspawn -D DIRECTORY, or podman run --rootfs",
        )
    return unknown(f"{refusal}; no kernel parameter, seccomp filter or chroot explains it", ASK_THE_HOST)


def _limited(kind: str) -> Found:
    name = f"user.max_{NAMESPACES[kind].file}_namespaces"
    value = sysctl(name)
    remedy = f"sysctl -w {name}={_ENOUGH}"
    if value is not None and int(value) < _ENOUGH:
        return no(f"{name} is {value}", remedy)
    return no(
        f"{name} is {value} here, but a user namespace around this one allows no more (or 32 are inside each other)",
        f"on the host: {remedy}",
    )


def filtered(flag: int, host: Host) -> bool:
    """Tell whether a seccomp filter, and not the kernel, refuses unshare(2) with a flag.

    Args:
        flag: CLONE_*.
        host: This host.
    """
    step = Step(Op.UNSHARE, "unshare nothing", (flag | _MEANINGLESS,))
    refusal = attempt((step, Step(Op.CLONE, "clone a process", (0, NO_SLOT))), host.caller)
    return refusal is not None and refusal.errno != errno.EINVAL


def _in_chroot(host: Host) -> bool:
    """Tell whether the root of this process is another one than that of its mount namespace."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        if not any(unescape(line.split(" ")[4]) == "/" for line in file):
            return True  # the root is no mount at all
    if not host.caller.may_mount:
        return False
    # Who enters its own mount namespace gets the root of it; if that makes the difference, it was the root.
    mount, path = NAMESPACES["mount"], "/proc/self/ns/mnt"
    steps = (
        Step(Op.OPEN, "open the mount namespace", (Slot.JOINED, 0), (path.encode(),), path),
        Step(Op.JOIN, "enter the mount namespace", (mount.flag, Slot.JOINED, 0)),
        Step(Op.UNSHARE, "make user namespace", (NAMESPACES["user"].flag,)),
        Step(Op.CLONE, "clone a process", (0, NO_SLOT)),
    )
    return attempt(steps, host.caller) is None
