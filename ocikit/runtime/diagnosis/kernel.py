"""The kernel, and whether the compiled part of ocikit runs on it."""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING, Final

from ocikit import _sys
from ocikit._fs import Descriptor
from ocikit.errors import NotSupportedError
from ocikit.runtime.diagnosis.probing import Need, Probe, attempt, in_namespaces, no, partly, unknown, yes
from ocikit.runtime.diagnosis.reasons import ASK_THE_HOST, SECCOMP
from ocikit.runtime.host.rootless import sysctl

if TYPE_CHECKING:
    from ocikit.runtime.diagnosis.probing import Found, Host
    from ocikit.runtime.launch import Launch

__all__ = ["PROBES", "version"]

_OLDEST: Final = (5, 15)
_MACHINES: Final = frozenset({"x86_64", "aarch64"})


def version() -> tuple[int, int]:
    """Return the version of the kernel; (0, 0) when it says none."""
    found = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _version(_: Host) -> Found:
    found = f"Linux {os.uname().release}"
    oldest = ".".join(map(str, _OLDEST))
    if version() >= _OLDEST:
        return yes(found)
    return no(f"{found}; ocikit needs {oldest} or newer", f"boot a kernel of version {oldest} or newer")


def _architecture(_: Host) -> Found:
    machine = os.uname().machine
    if machine in _MACHINES:
        return yes(machine)
    return no(f"{machine}; the helper is for {' and '.join(sorted(_MACHINES))}", "use a machine of one of these kinds")


def _proc(host: Host) -> Found:
    if host.status.get("Pid"):
        return yes("/proc shows this process")
    return no("/proc shows nothing of this process", "mount -t proc proc /proc")


def _compiled_part(_: Host) -> Found:
    try:
        count = len(list(_sys.wire_operations()))
    except NotSupportedError as error:
        return no(str(error), "apt-get install gcc libc6-dev python3-dev && pip install --force-reinstall ocikit")
    return yes(f"loaded; the helper knows {count} steps")


def _helper(host: Host) -> Found:
    try:
        refusal = attempt(*in_namespaces((), host.caller))
    except NotSupportedError as error:
        return no(str(error), "sysctl -w vm.memfd_noexec=1")
    except PermissionError as error:
        setting = sysctl("vm.memfd_noexec")
        if setting in {"1", "2"}:
            return no(f"{error}; vm.memfd_noexec is {setting}", "sysctl -w vm.memfd_noexec=0")
        return no(f"a memory file may not be executed: {error}", ASK_THE_HOST)
    if refusal is None:
        return yes("executed from a sealed memory file, without a fork of the interpreter")
    if refusal.errno == errno.ENOSYS:
        return no("a seccomp filter around this process keeps clone3(2) from it", SECCOMP)
    return no(str(refusal), ASK_THE_HOST)


def _exit_codes(host: Host) -> Found:
    """Look whether the kernel still knows how a process ended that somebody else has waited for."""
    held: list[Descriptor] = []

    def hold(started: Launch) -> None:
        held.append(Descriptor(os.dup(started.pidfd)))

    refusal = attempt(*in_namespaces((), host.caller), look=hold)
    if refusal is not None:
        return unknown(f"not tried: {refusal}", "see kernel.helper")
    with held[0] as process:
        try:
            status = _sys.pidfd_exit_status(process.fd)
        except OSError as error:
            status = None
            if error.errno not in {errno.ENOTTY, errno.EINVAL, errno.ESRCH}:
                raise
    if status is not None:
        return yes("kept by the kernel (PIDFD_GET_INFO) for whoever holds a container")
    return partly(
        "known for children of this process only: the kernel does not tell of others (PIDFD_GET_INFO)",
        "boot a kernel of version 6.15 or newer",
    )


PROBES: Final = (
    Probe("kernel.version", _version, Need.EVERYBODY),
    Probe("kernel.architecture", _architecture, Need.EVERYBODY),
    Probe("kernel.proc", _proc, Need.EVERYBODY),
    Probe("kernel.compiled_part", _compiled_part, Need.EVERYBODY),
    Probe("kernel.helper", _helper, Need.EVERYBODY),
    Probe("kernel.exit_codes", _exit_codes),
)
