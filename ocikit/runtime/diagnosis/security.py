"""What confines containers, and what this process may do: filters, security modules, capabilities; some devices."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Final

from ocikit.errors import MissingDependencyError
from ocikit.runtime.diagnosis.probing import Probe, no, partly, yes
from ocikit.runtime.diagnosis.reasons import missing_capabilities, start_with
from ocikit.runtime.host import labels
from ocikit.runtime.host.rootless import sysctl
from ocikit.runtime.plan.capabilities import names_of, to_mask
from ocikit.runtime.seccomp import codes, kernel
from ocikit.runtime.seccomp.library import library

if TYPE_CHECKING:
    from ocikit.runtime.diagnosis.probing import Found, Host

__all__ = ["FURTHER", "PROBES"]

_NO_SECCOMP: Final = "a kernel with CONFIG_SECCOMP_FILTER=y"


def _seccomp(_: Host) -> Found:
    actions = sysctl("kernel.seccomp.actions_avail")
    if actions is None:
        return no("the kernel has no filters for system calls", _NO_SECCOMP)
    if not kernel.supports(0):
        return no("seccomp(2) takes no filter", _NO_SECCOMP)
    return yes(f"{actions}; flags: {', '.join(kernel.supported_flags())}")


def _notify(_: Host) -> Found:
    if "user_notif" in (sysctl("kernel.seccomp.actions_avail") or "").split() and kernel.supports(codes.NEW_LISTENER):
        return yes("system calls can be left to an agent (SCMP_ACT_NOTIFY)")
    return no("system calls cannot be left to an agent (SCMP_ACT_NOTIFY)", "boot a kernel of version 5.5 or newer")


def _libseccomp(_: Host) -> Found:
    try:
        return yes(f"version {library().version}")
    except MissingDependencyError as error:
        return no(
            f"containers with linux.seccomp cannot be made: {error}",
            "apt-get install libseccomp2 (Debian, Ubuntu), or dnf install libseccomp (Fedora), apk add libseccomp",
        )


def _libmagic(_: Host) -> Found:
    name = "libmagic.so.1"
    try:
        ctypes.CDLL(name)
    except OSError as error:
        return no(
            f"types of files cannot be recognised; containers do without: {error}",
            "apt-get install libmagic1 (Debian, Ubuntu), or dnf install file-libs (Fedora), apk add libmagic",
        )
    return yes(name)


def _apparmor(_: Host) -> Found:
    if not labels.apparmor():
        return no(
            "not enabled: a configuration with apparmorProfile is refused",
            "boot with apparmor=1 security=apparmor on the kernel's command line, or remove apparmorProfile",
        )
    with open("/proc/self/attr/current", encoding="utf-8", errors="replace") as file:
        own = file.read().strip("\0\n")
    return yes(f"enabled: containers run under the profile that apparmorProfile names; this process is {own}")


def _selinux(_: Host) -> Found:
    mode = labels.selinux()
    if mode is None:
        return no(
            "not enabled: a configuration with selinuxLabel or mountLabel is refused",
            "boot with selinux=1 security=selinux on the kernel's command line, or remove the labels",
        )
    return yes(f"{mode}: containers run under selinuxLabel, and their files have mountLabel")


def _new_privileges(host: Host) -> Found:
    if host.status.get("NoNewPrivs") == "0":
        return yes("this process may gain privileges by executing programs, as newuidmap asks for")
    return no(
        "this process has given up new privileges: newuidmap and other set-uid programs are of no use to it",
        "start it without: NoNewPrivileges=no in its unit, process.noNewPrivileges of its container, or setpriv",
    )


#: What containers usually keep.
_OF_CONTAINERS: Final = ("CAP_FSETID", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_AUDIT_WRITE")


def _capabilities(host: Host) -> Found:
    bounding = int(host.status["CapBnd"], 16)
    if not host.caller.may_mount:
        return no(
            "none that containers by root take: this caller's are made in a user namespace",
            "run as root (sudo), or use user namespaces: Spec.default(rootless=True)",
        )
    missing = missing_capabilities(host)
    kept = names_of(to_mask(_OF_CONTAINERS)[0] & ~bounding)
    if not missing and not kept:
        return yes("all that containers by root take are in effect")
    words = [f"not in effect: {', '.join(missing)}"] if missing else []
    words += [f"containers cannot be given {', '.join(kept)}"] if kept else []
    return partly("; ".join(words), start_with((*missing, *kept)))


def _tun(_: Host) -> Found:
    path = "/dev/net/tun"
    try:
        # It does nothing before it is told which interface it is.
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return no(f"there is no {path}", f"modprobe tun && mkdir -p /dev/net && mknod -m 666 {path} c 10 200")
    except OSError as error:
        return no(
            f"{path}: {error.strerror}", f"modprobe tun && chmod 666 {path}, and a rule for devices that allows it"
        )
    return yes(f"{path} can be opened, for networks of users without privileges")


PROBES: Final = (
    Probe("security.seccomp", _seccomp),
    Probe("security.seccomp_notify", _notify),
    Probe("security.libseccomp", _libseccomp),
    Probe("security.apparmor", _apparmor),
    Probe("security.selinux", _selinux),
    Probe("security.new_privileges", _new_privileges),
    Probe("security.capabilities", _capabilities),
)

#: What is asked of devices and libraries beside.
FURTHER: Final = (Probe("devices.tun", _tun), Probe("libraries.libmagic", _libmagic))
