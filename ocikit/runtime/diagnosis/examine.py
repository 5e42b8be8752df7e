"""The examination: every probe of every area, one after the other, none of which can end it."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final

from ocikit.runtime.diagnosis.findings import Diagnosis, Finding, FindingStatus
from ocikit.runtime.state.root import default_root

if TYPE_CHECKING:
    from ocikit.runtime.diagnosis.probing import Found, Host, Probe

__all__ = ["doctor"]

#: The areas in their order, and the modules that have their tables.
_AREAS: Final = (
    ("kernel", "kernel", "PROBES"),
    ("namespaces", "namespaces", "PROBES"),
    ("users", "users", "PROBES"),
    ("cgroups", "cgroups", "PROBES"),
    ("mounts", "mounts", "PROBES"),
    ("security", "security", "PROBES"),
    ("devices and libraries", "security", "FURTHER"),
    ("limits", "limits", "PROBES"),
    ("state", "places", "PROBES"),
)
_LINUX: Final = "run containers on Linux: a virtual machine, WSL 2, or another host"


def doctor(root: str | os.PathLike[str] | None = None) -> Diagnosis:
    """Find out what this host can and cannot do for containers of this caller.

    Things are tried, by a helper that lives for a moment, where that leaves nothing; else it is read what the kernel
    says. It takes some tenths of a second, and can be called by anybody, in a container, and off Linux.

    Args:
        root: The state root that is asked about; None is :func:`default_root`.

    Returns:
        What was found, with a remedy for everything that is not "yes". What could not be found out is "unknown"; no
        probe that fails is an error.
    """
    if sys.platform != "linux":
        return _elsewhere()
    from ocikit.runtime.diagnosis.probing import Host  # noqa: PLC0415 - nothing of it is there off Linux

    host = Host(os.path.abspath(os.fspath(root) if root is not None else default_root()))
    found = []
    for area, module, table in _AREAS:
        probes = getattr(import_module(f"ocikit.runtime.diagnosis.{module}"), table)
        found += [_examine(area, probe, host) for probe in probes]
    return Diagnosis(findings=tuple(found))


def _examine(area: str, probe: Probe, host: Host) -> Finding:
    try:
        found = probe.look(host)
    except Exception as error:  # noqa: BLE001 - whatever a host does to a probe, the others still look
        found = _failed(error)
    return _finding(area, probe, found, needed=_is_needed(probe, host))


def _failed(error: Exception) -> Found:
    from ocikit.runtime.diagnosis.probing import unknown  # noqa: PLC0415

    return unknown(
        f"{type(error).__name__}: {error}", "what is missing stands there; create() tells whether it matters"
    )


def _is_needed(probe: Probe, host: Host) -> bool:
    from ocikit.runtime.diagnosis.probing import Need  # noqa: PLC0415

    if probe.need is not Need.USERS:
        return probe.need is Need.EVERYBODY
    try:
        return bool(host.own)
    except OSError:
        return False


def _finding(area: str, probe: Probe, found: Found, *, needed: bool) -> Finding:
    return Finding(
        name=probe.name, area=area, status=found.status, found=found.found, remedy=found.remedy, needed=needed
    )


def _elsewhere() -> Diagnosis:
    """Return the findings for a system that is not Linux: one is known, and the others are not to be known."""
    from ocikit.runtime.diagnosis.probing import Need  # noqa: PLC0415

    findings = [
        Finding(
            name="kernel.linux",
            area="kernel",
            status=FindingStatus.NO,
            found=f"NotSupportedError: containers are Linux's; this is {sys.platform}",
            remedy=_LINUX,
            needed=True,
        )
    ]
    for area, module, table in _AREAS:
        findings += [
            Finding(
                name=probe.name,
                area=area,
                status=FindingStatus.UNKNOWN,
                found=f"not looked at: this is {sys.platform}, and no Linux",
                remedy=_LINUX,
                needed=probe.need is Need.EVERYBODY,
            )
            for probe in getattr(import_module(f"ocikit.runtime.diagnosis.{module}"), table)
        ]
    return Diagnosis(findings=tuple(findings))
