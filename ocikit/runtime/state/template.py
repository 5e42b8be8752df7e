"""What further processes of a container start from: its configuration, as far as it is about processes.

Pure. It is kept beside the state of the container (``note``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from ocikit.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ocikit.runtime.seccomp import Filter
    from ocikit.spec import Process, User

__all__ = ["Template", "derive"]


@attrs.frozen(kw_only=True)
class Template:
    """What every process of a container has in common."""

    #: The process that arguments alone are completed with; None when nobody knows its configuration any more.
    process: Process | None
    #: What a process gets that does not say otherwise: the rights and limits of the configuration.
    defaults: Process
    #: Whether the container has a session keyring of its own.
    keyring: bool = True
    #: Its execution domain (personality(2)); None when it has none of its own.
    personality: int | None = None
    #: Its filter for system calls.
    seccomp: Filter | None = None
    #: Mode and nodes of its memory policy (set_mempolicy(2)); None when it has none of its own.
    memory_policy: tuple[int, bytes] | None = None


def derive(
    template: Template,
    wanted: Process | Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    user: User | None = None,
    terminal: bool | None = None,
) -> Process:
    """Complete what is asked for with what the container has.

    Args:
        template: Of the container.
        wanted: A process, which gets the rights and limits that it does not name; or arguments, which become the
            process of the configuration with these arguments.
        env: Variables in addition; the later value counts.
        cwd: Another working directory.
        user: Another user, with exactly the groups that are named.
        terminal: Whether it has a terminal; arguments alone do not, unless this says so.

    Raises:
        BundleError: Arguments cannot be completed, because the configuration of the container is gone.
        TypeError: That is neither a process nor arguments; the user has no ids, or the environment no names.
    """
    from ocikit.spec import Process, User  # noqa: PLC0415

    changed: dict[str, Any]
    if isinstance(wanted, Process):
        process, changed = wanted, _missing(wanted, template.defaults)
    else:
        if isinstance(wanted, (str, bytes)) or not all(isinstance(word, str) for word in wanted):
            raise TypeError(f"process: expected a Process or a sequence of arguments, found {wanted!r}")
        if template.process is None:
            raise BundleError("the configuration of the container is gone; give a Process instead of arguments")
        process = template.process
        changed = {"args": tuple(wanted), "terminal": False, "console_size": None}
        changed["no_new_privileges"] = process.no_new_privileges or template.defaults.no_new_privileges
    if user is not None:
        if not isinstance(user, User):
            raise TypeError(f"user: expected a User with ids (names: spec.resolve_user), found {user!r}")
        changed["user"] = user
    asked = changed.get("user", process.user)
    if asked.umask is None and template.defaults.user.umask is not None:
        changed["user"] = attrs.evolve(asked, umask=template.defaults.user.umask)
    if env:
        if not hasattr(env, "items"):
            raise TypeError(f"env: expected names and values (a mapping), found {env!r}")
        kept = (entry for entry in process.env if entry.partition("=")[0] not in env)
        changed["env"] = (*kept, *(f"{name}={value}" for name, value in env.items()))
    if cwd is not None:
        changed["cwd"] = cwd
    if terminal is not None:
        changed["terminal"] = terminal
    return attrs.evolve(process, **changed)


#: Attributes of a process that come from the container when the process does not name them.
_INHERITED = (
    "capabilities",
    "rlimits",
    "apparmor_profile",
    "selinux_label",
    "oom_score_adj",
    "scheduler",
    "io_priority",
    "exec_cpu_affinity",
)


def _missing(process: Process, defaults: Process) -> dict[str, Any]:
    found = {
        name: getattr(defaults, name)
        for name in _INHERITED
        if getattr(process, name) in (None, "", ()) and getattr(defaults, name) not in (None, "", ())
    }
    # A document cannot say that it wants to get rid of this, only not mention it.
    if defaults.no_new_privileges:
        found["no_new_privileges"] = True
    return found
