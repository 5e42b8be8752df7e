"""A profile as runc keeps it: ``config.seccomp`` of ``state.json``, by which ``runc exec`` filters what it adds.

Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ocikit.runtime.seccomp.codes import ACTIONS, ARCHITECTURES, OPERATORS
from ocikit.runtime.seccomp.profile import flags_of

if TYPE_CHECKING:
    from ocikit.spec import LinuxSeccomp, LinuxSyscall

__all__ = ["seccomp_record"]


def seccomp_record(seccomp: LinuxSeccomp | None) -> dict[str, Any] | None:
    """Return what runc's state says about a profile that was checked; None for none."""
    if seccomp is None:
        return None
    record: dict[str, Any] = {
        "default_action": ACTIONS[seccomp.default_action].in_state,
        "architectures": [ARCHITECTURES[name].name for name in seccomp.architectures] or None,
        "flags": list(flags_of(seccomp)),
        "syscalls": [entry for call in seccomp.syscalls for entry in _entries(call)],
        "default_errno_ret": seccomp.default_errno_ret,
    }
    if seccomp.listener_path:
        record["listener_path"] = seccomp.listener_path
    if seccomp.listener_metadata:
        record["listener_metadata"] = seccomp.listener_metadata
    return record


def _entries(call: LinuxSyscall) -> list[dict[str, Any]]:
    args = [
        {"index": one.index, "value": one.value, "value_two": one.value_two, "op": OPERATORS[one.op].in_state}
        for one in call.args
    ]
    about = {"action": ACTIONS[call.action].in_state, "errnoRet": call.errno_ret, "args": args}
    return [{"name": name, **about} for name in call.names]
