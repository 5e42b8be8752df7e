"""Namespaces: each kind is made, as the runtime would make it for this caller."""

from __future__ import annotations

import errno
import functools
from typing import TYPE_CHECKING, Final

from ocikit.runtime.diagnosis.probing import MAP_IDS, Need, Probe, Refusal, attempt, in_namespaces, no, unknown, yes
from ocikit.runtime.diagnosis.reasons import NOBODY, explain, start_with
from ocikit.runtime.host.rootless import forbidding
from ocikit.runtime.plan.capabilities import to_mask
from ocikit.runtime.plan.namespace_kinds import NAMESPACES
from ocikit.runtime.plan.steps import NO_SLOT, Op, Step

if TYPE_CHECKING:
    from ocikit.runtime.diagnosis.probing import Found, Host

__all__ = ["PROBES"]

_USER: Final = NAMESPACES["user"].flag
_KILL: Final = to_mask(["CAP_KILL"])[0]
_MOUNT: Final = NAMESPACES["mount"].flag


def _user(host: Host) -> Found:
    refusal = host.user_namespace
    return yes("made, mapped and entered") if refusal is None else explain("user", refusal, host)


def _kind(kind: str, host: Host) -> Found:
    if host.own and host.user_namespace is not None:
        found = explain("user", host.user_namespace, host)
        return found._replace(found=f"user {host.caller.uid} needs a user namespace for it: {found.found}")
    refusal = attempt(*in_namespaces({kind} | host.own, host.caller))
    return yes("made") if refusal is None else _refused(kind, refusal, host)


def _refused(kind: str, refusal: Refusal, host: Host) -> Found:
    if refusal.errno == errno.EPERM and host.own:
        # The namespace came to be, and gave no rights: so it is with AppArmor's restriction.
        for one in forbidding(host.caller):
            return no(f"refused in a user namespace: {one.name} is {one.value}", one.remedy)
    return explain(kind, refusal, host)


def _unprivileged(host: Host) -> Found:
    """Look what users without privileges can do: this one, or "nobody", whom root can become."""
    if not host.caller.may_map:  # as this user, who is one
        refusal = attempt(*in_namespaces({"user", "mount", "pid"}, host.caller))
        caller = host.caller
    else:
        # A helper that has become nobody is ended by whoever may end processes of others.
        may_end = host.caller.capabilities & _KILL == _KILL
        refusal = _as_nobody(host) if may_end else Refusal(_BECOME, errno.EPERM)
        caller = NOBODY
    who = "this user" if caller is host.caller else "user nobody, whom the helper became,"
    if refusal is None:
        return yes(f"{who} made one, and other namespaces in it")
    parameters = forbidding(caller)
    if parameters:
        return no(f"{parameters[0].name} is {parameters[0].value}", parameters[0].remedy)
    if refusal.action == _BECOME:
        found = f"no kernel parameter forbids it, but it was not tried: {refusal}"
        return unknown(found, start_with(("CAP_KILL", "CAP_SETUID", "CAP_SETGID")))
    return explain("user", refusal, host, caller)


_BECOME: Final = "become nobody"


def _as_nobody(host: Host) -> Refusal | None:
    steps = (
        Step(Op.GROUPS, _BECOME, (0,), (b"",)),
        Step(Op.IDS, _BECOME, (NOBODY.uid, NOBODY.gid)),
        Step(Op.UNSHARE, "make user namespace", (_USER,)),
        MAP_IDS,
        Step(Op.CLONE, "clone a process", (_MOUNT | NAMESPACES["pid"].flag, NO_SLOT)),
    )
    return attempt(steps, host.caller._replace(uid=NOBODY.uid, gid=NOBODY.gid))


#: What nobody's container can do without, in the table of kinds.
_OPTIONAL: Final = frozenset({"time", "uts", "ipc", "network", "cgroup"})


def _probes() -> tuple[Probe, ...]:
    found = []
    for kind in NAMESPACES:
        if kind == "user":
            found.append(Probe("namespaces.user", _user, Need.USERS))
        else:
            need = Need.NOBODY if kind in _OPTIONAL else Need.EVERYBODY
            found.append(Probe(f"namespaces.{kind}", functools.partial(_kind, kind), need))
    return (*found, Probe("user_namespaces.unprivileged", _unprivileged))


#: In the order of the table of kinds.
PROBES: Final = _probes()
