"""Profiles in few words."""

from __future__ import annotations

from typing import Any

from bpf_machine import MACHINE

from ocikit.runtime.seccomp import codes, filter_for
from ocikit.runtime.seccomp.library import library
from ocikit.spec import LinuxSeccomp

__all__ = ["NOTIFIED", "SUB", "arg", "call", "number", "profile", "program"]

#: What else runs on this machine, as far as the kernel tells filters about it.
SUB = {"SCMP_ARCH_X86_64": ("SCMP_ARCH_X86",), "SCMP_ARCH_AARCH64": ("SCMP_ARCH_ARM",)}[MACHINE]

#: The action of calls that an agent is asked about.
NOTIFIED = {"action": "SCMP_ACT_NOTIFY"}


def profile(default: str = "SCMP_ACT_ALLOW", *calls: dict[str, Any], **fields: Any) -> LinuxSeccomp:
    """Make a profile from what would stand in config.json."""
    return LinuxSeccomp.from_dict({"defaultAction": default, "syscalls": list(calls), **fields})


def call(*names: str, action: str = "SCMP_ACT_ERRNO", **fields: Any) -> dict[str, Any]:
    """Make an entry for some system calls."""
    return {"names": list(names), "action": action, **fields}


def arg(index: int, op: str, value: int, two: int = 0) -> dict[str, Any]:
    """Make a condition."""
    return {"index": index, "op": f"SCMP_CMP_{op}", "value": value, "valueTwo": two}


def number(name: str, architecture: str = MACHINE) -> int:
    """Return the number of a system call."""
    return library().resolve([name], codes.ARCHITECTURES[architecture].token)[name]


def program(seccomp: LinuxSeccomp) -> bytes:
    """Compile a profile; return its instructions."""
    compiled = filter_for(seccomp)
    assert compiled is not None
    return compiled.program
