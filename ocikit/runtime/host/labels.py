"""Which security modules this host has: what the labels of a configuration are good for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ocikit.runtime.plan.attributes import Modules

if TYPE_CHECKING:
    from ocikit.spec import Linux, Process

__all__ = ["apparmor", "find_modules", "selinux"]

_APPARMOR_ENABLED = "/sys/module/apparmor/parameters/enabled"
# The place of AppArmor's own since Linux 5.8, and the one that it shared with other modules before.
_APPARMOR_FILES = ("attr/apparmor/exec", "attr/exec")
_SELINUX = "/sys/fs/selinux/enforce"


def find_modules(process: Process | None, linux: Linux | None = None) -> Modules:
    """Look for the modules that there are labels for; without labels nothing is looked at.

    Args:
        process: The process of a configuration, or a further one.
        linux: The section of the configuration.
    """
    profiled = process is not None and bool(process.apparmor_profile)
    labelled = (process is not None and bool(process.selinux_label)) or (linux is not None and bool(linux.mount_label))
    return Modules(apparmor() if profiled else "", selinux() is not None if labelled else False)


def apparmor() -> str:
    """Return the file in ``/proc/PID`` that AppArmor takes profiles by; empty where it is not enabled."""
    try:
        with open(_APPARMOR_ENABLED, encoding="ascii", errors="replace") as file:
            if not file.read(1).startswith("Y"):
                return ""
    except OSError:
        return ""
    return next((name for name in _APPARMOR_FILES if os.path.exists(f"/proc/self/{name}")), "")


def selinux() -> str | None:
    """Return whether SELinux is "enforcing" or "permissive"; None where it is not enabled."""
    try:
        with open(_SELINUX, encoding="ascii", errors="replace") as file:
            return "enforcing" if file.read(1) == "1" else "permissive"
    except FileNotFoundError:
        return None
