"""A profile as runc keeps it: ``config.seccomp`` of ``state.json``, by which ``exec`` filters what it adds.

Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ocikit.runtime.seccomp.codes import ACTIONS, ARCHITECTURES, OPERATORS
from ocikit.runtime.seccomp.profile import flags_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocikit.spec import LinuxSeccomp, LinuxSyscall

__all__ = ["profile_of", "seccomp_record"]


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


def profile_of(record: Mapping[str, Any] | None) -> LinuxSeccomp | None:
    """Read what runc's state says about a profile; None for none.

    Raises:
        KeyError: It has a number that stands for nothing.
        ParseError: A value in it has the wrong type.
        TypeError: It is no record.
    """
    if record is None:
        return None
    from ocikit.spec import LinuxSeccomp  # noqa: PLC0415 - needed for containers of runc only

    actions = {action.in_state: name for name, action in ACTIONS.items()}
    architectures = {one.name: name for name, one in ARCHITECTURES.items()}
    document: dict[str, Any] = {
        "defaultAction": actions[record["default_action"]],
        "defaultErrnoRet": record.get("default_errno_ret"),
        "architectures": [architectures[name] for name in record.get("architectures") or ()],
        "listenerPath": record.get("listener_path"),
        "listenerMetadata": record.get("listener_metadata"),
        "syscalls": [_syscall(entry, actions) for entry in record.get("syscalls") or ()],
    }
    # What runc before 1.2 left out was a matter of the runtime; what later ones write as null is none.
    if "flags" in record:
        document["flags"] = record["flags"] or []
    return LinuxSeccomp.from_dict({name: value for name, value in document.items() if value is not None})


def _syscall(entry: Mapping[str, Any], actions: Mapping[int, str]) -> dict[str, Any]:
    operators = {operator.in_state: name for name, operator in OPERATORS.items()}
    args = [
        {"index": one["index"], "value": one["value"], "valueTwo": one["value_two"], "op": operators[one["op"]]}
        for one in entry.get("args") or ()
    ]
    found = {"names": [entry["name"]], "action": actions[entry["action"]], "args": args}
    return found if entry.get("errnoRet") is None else found | {"errnoRet": entry["errnoRet"]}
