"""Attributes of processes as runc keeps them in its ``state.json``, there and back.

Pure. Sets of CPUs and of memory nodes are masks there, as numbers of one machine word each, the lowest first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ocikit.runtime.plan import cpulist
from ocikit.runtime.plan.attributes import memory_policy, personality

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ocikit.spec import CPUAffinity, Linux, Process

__all__ = ["linux_record", "process_record", "read_affinity", "read_memory_policy"]

_WORD: Final = 8  # bytes
_FLAGS: Final = 0x7 << 13  # MPOL_F_*


def process_record(process: Process) -> dict[str, Any]:
    """Return the keys of ``config`` for a process."""
    found: dict[str, Any] = {}
    if process.apparmor_profile:
        found["apparmor_profile"] = process.apparmor_profile
    if process.selinux_label:
        found["process_label"] = process.selinux_label
    if process.scheduler is not None:
        found["scheduler"] = process.scheduler.to_dict()
    if process.io_priority is not None:
        found["io_priority"] = process.io_priority.to_dict()
    if process.exec_cpu_affinity is not None:
        found["exec_cpu_affinity"] = _affinity(process.exec_cpu_affinity)
    return found


def linux_record(linux: Linux) -> dict[str, Any]:
    """Return the keys of ``config`` for what all processes have in common."""
    found: dict[str, Any] = {"mount_label": linux.mount_label}
    domain = personality(linux.personality)
    if domain is not None:
        found["personality"] = {"domain": domain}
    policy = memory_policy(linux.memory_policy)
    if policy is not None:
        mode, nodes = policy
        found["memory_policy"] = {"mode": mode & ~_FLAGS, "flags": mode & _FLAGS, "nodes": _words(nodes)}
    return found


def _affinity(asked: CPUAffinity) -> dict[str, list[int] | None]:
    path = "$.process.execCPUAffinity"
    return {
        name.capitalize(): _words(cpulist.mask(text, f"{path}.{name}")) if text else None
        for name, text in (("initial", asked.initial), ("final", asked.final))
    }


def _words(mask: bytes) -> list[int]:
    return [int.from_bytes(mask[at : at + _WORD], "little") for at in range(0, len(mask), _WORD)]


def _mask(words: Sequence[int]) -> int:
    return sum(word << (number * _WORD * 8) for number, word in enumerate(words))


def read_affinity(found: Mapping[str, Any] | None) -> dict[str, str] | None:
    """Read ``exec_cpu_affinity``, as the specification writes it.

    Raises:
        TypeError: It is something else.
    """
    if not found:
        return None
    masks = {name.lower(): _mask(found.get(name) or ()) for name in ("Initial", "Final")}
    return {name: ",".join(map(str, _bits(mask))) for name, mask in masks.items() if mask} or None


def _bits(mask: int) -> list[int]:
    return [number for number in range(mask.bit_length()) if mask >> number & 1]


def read_memory_policy(found: Mapping[str, Any] | None) -> tuple[int, bytes] | None:
    """Read ``memory_policy``, as :func:`ocikit.runtime.plan.attributes.memory_policy` returns it.

    Raises:
        TypeError: It is something else.
        ValueError: A word of its mask is larger than a word.
    """
    if not found:
        return None
    words = found.get("nodes") or ()
    mode = int(found.get("mode", 0)) | int(found.get("flags", 0))
    return mode, b"".join(int(word).to_bytes(_WORD, "little") for word in words)
