"""What the configuration may ask for: a table of the fields that ocikit does not act on.

A field that is set and not acted on is an error that names it. What the specification lets a runtime ignore (the
sections of other systems, properties it does not know) is not in here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ocikit.errors import UnsupportedFieldError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocikit.spec import Spec

__all__ = ["refuse_unsupported"]

_PROCESS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "terminal": (lambda p: p.terminal, "pseudo-terminals are not supported; set it to false"),
    "apparmorProfile": (lambda p: p.apparmor_profile, "AppArmor profiles are not supported"),
    "selinuxLabel": (lambda p: p.selinux_label, "SELinux labels are not supported"),
    "scheduler": (lambda p: p.scheduler, "scheduling policies are not supported"),
    "ioPriority": (lambda p: p.io_priority, "I/O priorities are not supported"),
    "execCPUAffinity": (lambda p: p.exec_cpu_affinity, "CPU affinity of further processes is not supported"),
}

_LINUX: dict[str, tuple[Callable[[Any], Any], str]] = {
    "seccomp": (lambda x: x.seccomp, "seccomp filters are not supported; remove it only if you can do without one"),
    "intelRdt": (lambda x: x.intel_rdt, "Intel RDT is not supported"),
    "memoryPolicy": (lambda x: x.memory_policy, "NUMA memory policies are not supported"),
    "netDevices": (lambda x: x.net_devices, "moving network devices is not supported"),
    "personality": (lambda x: x.personality, "execution domains are not supported"),
    "mountLabel": (lambda x: x.mount_label, "SELinux labels are not supported"),
}

_HOOKS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "prestart": (lambda h: h.prestart, "hooks are not supported"),
    "createRuntime": (lambda h: h.create_runtime, "hooks are not supported"),
    "createContainer": (lambda h: h.create_container, "hooks are not supported"),
    "startContainer": (lambda h: h.start_container, "hooks are not supported"),
    "poststart": (lambda h: h.poststart, "hooks are not supported"),
    "poststop": (lambda h: h.poststop, "hooks are not supported"),
}


def refuse_unsupported(spec: Spec) -> None:
    """Refuse a configuration that asks for something ocikit would have to ignore.

    Raises:
        UnsupportedFieldError: The first such field.
    """
    sections = ((spec.process, "$.process", _PROCESS), (spec.linux, "$.linux", _LINUX), (spec.hooks, "$.hooks", _HOOKS))
    for section, path, table in sections:
        if section is None:
            continue
        for name, (get, reason) in table.items():
            if get(section):
                raise UnsupportedFieldError(f"{path}.{name}", reason)
