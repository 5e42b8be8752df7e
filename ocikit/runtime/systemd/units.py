"""Start, change and stop the unit of a container."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from typing import TYPE_CHECKING, Final

from ocikit.errors import CgroupError
from ocikit.runtime.systemd.bus import Bus, Variant
from ocikit.runtime.systemd.names import bus_label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocikit.runtime.systemd.names import Unit

__all__ = ["change", "drivers", "manager_cgroup", "of_user", "start", "stop"]

_UNIT: Final = "org.freedesktop.systemd1.Unit"
_JOB_SECONDS: Final = 30.0
_PAUSE_SECONDS: Final = 0.001
_LONGEST_PAUSE: Final = 0.05


def of_user() -> bool:
    """Tell whether it is the user's manager that is asked, and not the system's: it is, unless we are root."""
    return os.geteuid() != 0


def manager_cgroup() -> str:
    """Return the cgroup that everything of a manager lies below: empty for that of the system.

    Raises:
        NotSupportedError: There is no systemd to ask.
        CgroupError: It does not answer.
    """
    with Bus(of_user=of_user()) as bus:
        return bus.text("/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "ControlGroup").rstrip("/")


def start(unit: Unit, properties: Mapping[str, Variant]) -> None:
    """Start a unit, and wait until its processes are in its cgroup.

    Raises:
        CgroupError: There is such a unit already, or systemd cannot start it.
        NotSupportedError: There is no systemd to ask.
    """
    arguments = (
        Variant("s", unit.full_name),
        Variant("s", "fail"),
        Variant("a(sv)", list(properties.items())),
        Variant("a(sa(sv))", []),
    )
    with Bus(of_user=of_user()) as bus:
        try:
            job = bus.call("StartTransientUnit", *arguments, reply="o")
        except CgroupError as error:
            if error.errno != errno.EEXIST or _state(bus, unit) not in {"failed", "inactive"}:
                raise
            # It is what is left of an earlier container of this name, kept so that people can see how that failed.
            bus.call("ResetFailedUnit", arguments[0])
            job = bus.call("StartTransientUnit", *arguments, reply="o")
        _await_job(bus, job or "", unit)


def _await_job(bus: Bus, job: str, unit: Unit) -> None:
    """Wait until systemd has started a unit."""
    if not _is_done(bus, job):
        remedy = f"the job has not ended after {_JOB_SECONDS:.0f} seconds"
        raise CgroupError(f"have systemd start {unit.full_name}", errno.ETIMEDOUT, None, remedy)
    state = _state(bus, unit)
    if state != "active":
        remedy = f"the unit is {state}; 'systemctl status {unit.full_name}' tells more"
        raise CgroupError(f"have systemd start {unit.full_name}", errno.EIO, None, remedy)


def _is_done(bus: Bus, job: str) -> bool:
    """Wait until a job is done, when it is no object of the bus any more; return whether it is, after a long time."""
    deadline = time.monotonic() + _JOB_SECONDS
    pause = _PAUSE_SECONDS
    while _exists(bus, job):
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)
    return True


def _exists(bus: Bus, job: str) -> bool:
    try:
        bus.text(job, "org.freedesktop.systemd1.Job", "State")
    except CgroupError:
        return False
    return True


def _state(bus: Bus, unit: Unit) -> str:
    return bus.text(_path(unit), _UNIT, "ActiveState")


def _path(unit: Unit) -> str:
    return f"/org/freedesktop/systemd1/unit/{bus_label(unit.full_name)}"


def change(unit: Unit, properties: Mapping[str, Variant]) -> None:
    """Change properties of a unit that runs, until the machine is restarted.

    Raises:
        CgroupError: systemd refuses.
        NotSupportedError: There is no systemd to ask.
    """
    with Bus(of_user=of_user()) as bus:
        changed = Variant("a(sv)", list(properties.items()))
        bus.call("SetUnitProperties", Variant("s", unit.full_name), Variant("b", 1), changed)


def stop(unit: Unit) -> None:
    """Stop a unit whose processes have ended, and let systemd forget it; one that is gone is nothing to do.

    Raises:
        CgroupError: systemd refuses.
        NotSupportedError: There is no systemd to ask.
    """
    with Bus(of_user=of_user()) as bus:
        name = Variant("s", unit.full_name)
        try:
            job = bus.call("StopUnit", name, Variant("s", "replace"), reply="o")
        except CgroupError as error:
            if error.errno != errno.ENOENT:
                raise
            return
        _is_done(bus, job or "")
        with contextlib.suppress(CgroupError):
            bus.call("ResetFailedUnit", name)


def drivers() -> dict[tuple[str, int], str]:
    """Return the names of device drivers by type ("b" or "c") and major number, from ``/proc/devices``."""
    found: dict[tuple[str, int], str] = {}
    kind = "c"
    with contextlib.suppress(OSError), open("/proc/devices", encoding="utf-8") as file:
        for line in file:
            number, _, name = line.strip().partition(" ")
            if line.startswith("Block"):
                kind = "b"
            elif number.isdecimal():
                found.setdefault((kind, int(number)), name)
    return found
