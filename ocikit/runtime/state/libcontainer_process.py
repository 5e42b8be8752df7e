"""What runc's state says about every process of a container, as a process of the specification.

Pure; the way back from ``libcontainer.py``. It is what ``runc exec`` goes by, too: the ``config.json`` of the bundle
may say something else by now, and what confines a process is never taken from there alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ocikit._tuples import NamedTuple
from ocikit.errors import ParseError, StateError
from ocikit.runtime.plan.process import RLIMITS
from ocikit.runtime.state.attributes import read_affinity, read_memory_policy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocikit.spec import LinuxSeccomp, Process

__all__ = ["Kept", "read_config"]

_SETS = ("Bounding", "Effective", "Inheritable", "Permitted", "Ambient")


class Kept(NamedTuple):
    """What there is."""

    #: Rights and limits, without a program.
    process: Process
    #: Whether the container has a session keyring of its own.
    keyring: bool
    #: Its execution domain; None when it has none of its own.
    personality: int | None
    #: Its profile for system calls; None when it has none.
    seccomp: LinuxSeccomp | None
    #: Mode and nodes of its memory policy; None when it has none of its own.
    memory_policy: tuple[int, bytes] | None


def read_config(config: Mapping[str, Any], where: str) -> Kept:
    """Read ``config`` of a ``state.json``.

    Args:
        config: The plain data.
        where: What it was read from, for the error.

    Raises:
        StateError: Something in it that confines processes cannot be read.
    """
    from ocikit.runtime.seccomp.record import profile_of  # noqa: PLC0415
    from ocikit.spec import Process  # noqa: PLC0415 - the classes of the specification are many

    try:
        document = {name: value for name, value in _process(config).items() if value is not None}
        personality = config.get("personality")
        domain = int(personality["domain"]) if personality else None
        seccomp = profile_of(config.get("seccomp"))
        keyring = not config.get("no_new_keyring", False)
        policy = read_memory_policy(config.get("memory_policy"))
        return Kept(Process.from_dict(document), keyring, domain, seccomp, policy)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, ParseError) as error:
        raise StateError(f"{where}: what confines its processes cannot be read ({error})") from error


def _process(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a process as the specification writes it."""
    sets = config.get("capabilities")
    umask = config.get("umask")
    return {
        "cwd": "/",
        "user": {"uid": 0, "gid": 0} | ({"umask": umask} if umask is not None else {}),
        "capabilities": {name.lower(): sets.get(name) or [] for name in _SETS} if sets else {},
        "rlimits": [_rlimit(one) for one in config.get("rlimits") or ()],
        "noNewPrivileges": config.get("no_new_privileges", False),
        "apparmorProfile": config.get("apparmor_profile") or None,
        "selinuxLabel": config.get("process_label") or None,
        "oomScoreAdj": config.get("oom_score_adj"),
        "scheduler": _scheduler(config.get("scheduler")),
        "ioPriority": config.get("io_priority"),
        "execCPUAffinity": read_affinity(config.get("exec_cpu_affinity")),
    }


def _rlimit(one: Mapping[str, Any]) -> dict[str, Any]:
    names = {number: name for name, number in RLIMITS.items()}
    return {"type": names[one["type"]], "soft": one["soft"], "hard": one["hard"]}


def _scheduler(one: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return {name: value for name, value in one.items() if value is not None} if one else None
