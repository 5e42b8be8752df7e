"""Limits of the host that many containers run into."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Final

from ocikit.runtime.diagnosis.kernel import version
from ocikit.runtime.diagnosis.probing import Probe, attempt, in_namespaces, no, partly, yes
from ocikit.runtime.host.rootless import sysctl
from ocikit.runtime.plan.steps import Op, Step

if TYPE_CHECKING:
    from ocikit.runtime.diagnosis.probing import Found, Host

__all__ = ["PROBES"]

#: What the default configuration asks for, and what some hundred containers take of a process that holds them.
_FILES: Final = 1024
_PROCESSES: Final = 1024
_PIDS: Final = 32_768
_MEMLOCK: Final = 1 << 20
_FREE_KEYS: Final = 20


def _words(number: int) -> str:
    return "unlimited" if number == resource.RLIM_INFINITY else str(number)


def _is_enough(number: int, least: int) -> bool:
    return number == resource.RLIM_INFINITY or number >= least


def _nofile(_: Host) -> Found:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{_words(soft)} descriptors, at most {_words(hard)}"
    if _is_enough(soft, _FILES):
        return yes(found)
    remedy = f"ulimit -Sn {_FILES}" if _is_enough(hard, _FILES) else f"LimitNOFILE={_FILES} in the unit, as root"
    return partly(f"{found}; the default configuration asks for {_FILES}", remedy)


def _nproc(host: Host) -> Found:
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    found = f"{_words(soft)} processes and threads of user {host.caller.uid}, at most {_words(hard)}"
    if _is_enough(soft, _PROCESSES):
        return yes(found)
    remedy = (
        f"ulimit -Su {_PROCESSES}" if _is_enough(hard, _PROCESSES) else f"LimitNPROC={_PROCESSES} in the unit, as root"
    )
    return partly(f"{found}; those in containers count", remedy)


def _pid_max(_: Host) -> Found:
    number = int(sysctl("kernel.pid_max") or 0)
    found = f"kernel.pid_max is {number}"
    if number >= _PIDS:
        return yes(found)
    return partly(f"{found}; all containers share them", "sysctl -w kernel.pid_max=4194304")


def _keys(host: Host) -> Found:
    """Look whether a container can have a session keyring, and how many more can."""
    who = "root_maxkeys" if host.caller.uid == 0 else "maxkeys"
    name = f"kernel.keys.{who}"
    remedy = f"sysctl -w {name}=1000000 kernel.keys.{who.replace('keys', 'bytes')}=25000000"
    refusal = attempt(
        *in_namespaces((), host.caller, Step(Op.KEYRING, "make a session keyring", (), (b"ocikit-doctor",)))
    )
    limit = int(sysctl(name) or 0)
    if refusal is not None:
        return no(f"{refusal}; {name} is {limit}", f"{remedy}, or CreateOptions(no_new_keyring=True)")
    used = _keys_of(host.caller.uid)
    if used is None:
        return yes(f"made; {name} is {limit}")
    found = f"{used} of {limit} keys are in use; each container takes one"
    return yes(found) if limit - used >= _FREE_KEYS else partly(found, remedy)


def _keys_of(uid: int) -> int | None:
    """Return how many keys a user has (``/proc/key-users``); None when the kernel does not say."""
    try:
        with open("/proc/key-users", encoding="ascii") as file:
            for line in file:
                who, _, rest = line.partition(":")
                if int(who) == uid:
                    return int(rest.split()[2].split("/")[0])
    except OSError:
        return None
    return 0


def _memlock(_: Host) -> Found:
    if version() >= (5, 11):
        return yes("programs for devices (BPF) count as memory of the cgroup, not as locked memory")
    soft, _hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    found = f"{_words(soft)} bytes of locked memory, which programs for devices (BPF) count as here"
    return yes(found) if _is_enough(soft, _MEMLOCK) else partly(found, "ulimit -l unlimited, as root")


PROBES: Final = (
    Probe("limits.nofile", _nofile),
    Probe("limits.nproc", _nproc),
    Probe("limits.pid_max", _pid_max),
    Probe("limits.keys", _keys),
    Probe("limits.memlock", _memlock),
)
