"""What changes when this process is not root, or root of a user namespace only: who it is, and what the host forbids.

What has been delegated to it of the cgroups is found out by :mod:`ocikit.runtime.cgroups.delegation`.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
from typing import TYPE_CHECKING, Final

from ocikit._tuples import NamedTuple
from ocikit.errors import NotSupportedError, SetupError
from ocikit.runtime.host.caller import Caller
from ocikit.runtime.host.procfs import own_status, read
from ocikit.runtime.plan.users import parse_map

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.runtime.plan.steps import Plan

__all__ = ["Forbidding", "check_user_namespaces", "explained", "forbidding", "sysctl", "this_process"]

_EVERYBODY: Final = ((0, 0, 0xFFFF_FFFF),)
_SYSCTLS: Final = "/proc/sys"
_REFUSALS: Final = frozenset({errno.EPERM, errno.EACCES, errno.ENOSPC, errno.EUSERS})


class Forbidding(NamedTuple):
    """A kernel parameter that keeps users from making user namespaces."""

    name: str
    #: The value that does.
    value: str
    #: Whether it concerns root, too.
    everybody: bool
    #: Whether there are exceptions, so that it can only be tried.
    perhaps: bool
    remedy: str


_SYSCTLS_THAT_FORBID: Final = (
    Forbidding("user.max_user_namespaces", "0", True, False, "sysctl -w user.max_user_namespaces=10000"),
    Forbidding("kernel.unprivileged_userns_clone", "0", False, False, "sysctl -w kernel.unprivileged_userns_clone=1"),
    Forbidding(
        "kernel.apparmor_restrict_unprivileged_userns",
        "1",
        False,
        True,
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile with 'userns,' for it",
    ),
)


def this_process(effective: int | None = None) -> Caller:
    """Return who this process is, and what it has the right to do.

    Args:
        effective: Mask of the capabilities in effect, if that is known already.
    """
    if effective is None:
        effective = own_status().effective
    initial = _is_initial(read("/proc/self/uid_map"))
    groups = read("/proc/self/setgroups") == b"allow\n"
    return Caller(os.geteuid(), os.getegid(), effective, initial, groups)


@functools.lru_cache(maxsize=8)
def _is_initial(uid_map: bytes) -> bool:
    return parse_map(uid_map.decode()) == _EVERYBODY


def check_user_namespaces(caller: Caller) -> None:
    """Refuse to make a user namespace where it is known that the kernel will.

    Raises:
        NotSupportedError: With the parameter of the kernel that has to be changed.
    """
    for one in forbidding(caller):
        if not one.perhaps:
            raise NotSupportedError(
                f"this host keeps user {caller.uid} from making user namespaces: the kernel parameter {one.name} is "
                f"{one.value}; change it (as root: {one.remedy})"
            )


@contextlib.contextmanager
def explained(caller: Caller, plan: Plan) -> Iterator[None]:
    """Add to errors of this block what may be the reason, when the kernel refuses rights in a new user namespace.

    Args:
        caller: Who this process is.
        plan: What is carried out in the block.
    """
    try:
        yield
    except SetupError as error:
        found = forbidding(caller) if plan.uid_map and error.errno in _REFUSALS else []
        if not found:
            raise
        one = found[0]
        reason = f"perhaps because the kernel parameter {one.name} is {one.value}: change it (as root: {one.remedy})"
        remedy = f"{error.remedy}; {reason}" if error.remedy else reason
        raise SetupError(error.action, error.errno or errno.EPERM, error.filename, remedy) from None


def forbidding(caller: Caller) -> list[Forbidding]:
    """Return the kernel parameters of this host that keep a caller from making user namespaces, or may do so."""
    return [
        one for one in _SYSCTLS_THAT_FORBID if (one.everybody or not caller.may_mount) and sysctl(one.name) == one.value
    ]


def sysctl(name: str) -> str | None:
    """Return the value of a kernel parameter; None where there is none of that name, or it cannot be read."""
    try:
        with open(f"{_SYSCTLS}/{name.replace('.', '/')}", encoding="ascii", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return None
