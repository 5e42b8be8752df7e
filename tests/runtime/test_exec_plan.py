"""The plan of a further process, and what it is derived from: pure, so everything about its order can be said here."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from ocikit.errors import BundleError, NotSupportedError, StateError, UnsupportedFieldError, ValidationError
from ocikit.runtime.plan import cpulist
from ocikit.runtime.plan.further import JOINING, Enclosure, compile_exec
from ocikit.runtime.plan.steps import NO_SLOT, Op, Plan, Slot, Step
from ocikit.runtime.seccomp import Filter
from ocikit.runtime.seccomp.compile import Listener
from ocikit.runtime.seccomp.profile import HandOver
from ocikit.runtime.state.libcontainer_process import read_config
from ocikit.runtime.state.note import note, read_note
from ocikit.runtime.state.template import Template, derive
from ocikit.spec import CPUAffinity, LinuxCapabilities, POSIXRlimit, Process, User

NAMES = ("CAP_KILL", "CAP_CHOWN")
SETS = LinuxCapabilities(bounding=NAMES, effective=NAMES, permitted=NAMES)
PROCESS = Process(args=("true",), cwd="/", env=("PATH=/bin",), user=User(uid=7, gid=8), capabilities=SETS)
TEMPLATE = Template(process=PROCESS, defaults=PROCESS)
INSIDE = Enclosure(id="one", joined=frozenset({"mount", "pid", "network"}), cgroup_files=("/cg/tasks",))
FILTER = Filter(b"\0" * 16, 4, Listener("/agent", "about", HandOver.SENDMSG))


def compiled(inside: Enclosure = INSIDE, template: Template = TEMPLATE, **process: Any) -> Plan:
    """Return the plan of a process that differs a little from the usual one."""
    return compile_exec(attrs.evolve(PROCESS, **process), inside, template)


def ops(plan: Plan) -> list[Op]:
    """Return what is done, in order."""
    return [step.op for step in plan.steps]


def only(plan: Plan, op: Op) -> Step:
    """Return the one step of a kind."""
    (found,) = (step for step in plan.steps if step.op == op)
    return found


def test_there_is_no_plan_without_a_container() -> None:
    """A process that would keep the files of this host cannot be planned, whatever else it joins."""
    for joined in (frozenset[str](), frozenset({"pid", "network", "user", "ipc"})):
        with pytest.raises(NotSupportedError, match="mount namespace"):
            compiled(INSIDE._replace(joined=joined))


def test_nobody_sees_it_before_it_is_who_it_will_be() -> None:
    """What takes rights is done before the process exists that the container sees; the rest takes none."""
    plan = compiled(no_new_privileges=True, terminal=True, rlimits=(POSIXRlimit(type="RLIMIT_CORE", soft=0, hard=0),))
    order = ops(plan)
    made = order.index(Op.CLONE)
    assert set(order[made:]) == {Op.CLONE, Op.CTTY, Op.RLIMIT, Op.READY, Op.EXEC}
    for op in (Op.IDS, Op.CAPS, Op.BOUND, Op.AMBIENT, Op.NO_NEW_PRIVS, Op.GROUPS, Op.CWD, Op.UMASK, Op.FIND):
        assert max(number for number, one in enumerate(order) if one == op) < made
    # And nothing of what it became is undone.
    assert order.index(Op.IDS) < order.index(Op.CAPS) < order.index(Op.AMBIENT) < order.index(Op.FIND) < made


def test_what_is_of_the_host_is_done_on_the_host() -> None:
    """Cgroups, CPUs and the OOM score come before the namespaces; whoever waits for the process before all of it."""
    plan = compiled(oom_score_adj=5, exec_cpu_affinity=CPUAffinity(initial="0", final="1"))
    order = ops(plan)
    assert order[0] == Op.ATTEND
    enter = order.index(Op.JOIN_PROCESS)
    assert {Op.WRITE, Op.AFFINITY} <= set(order[:enter])
    assert {Op.WRITE, Op.AFFINITY}.isdisjoint(order[enter:])
    affinities = [number for number, op in enumerate(order) if op == Op.AFFINITY]
    joining = next(number for number, step in enumerate(plan.steps) if step.action == JOINING)
    assert affinities[0] < joining < affinities[1]


def test_all_namespaces_at_once_and_no_descriptor_left() -> None:
    """The namespaces are entered by the descriptor of the first process, which is let go of before there is a child."""
    plan = compiled(INSIDE._replace(joined=frozenset({"mount", "pid", "user", "time", "cgroup"})))
    assert only(plan, Op.JOIN_PROCESS).arguments == (Slot.PROCESS, 0x3202_0080)
    closes = [step.arguments[0] for step in plan.steps[: ops(plan).index(Op.CLONE)] if step.op == Op.CLOSE]
    assert Slot.PROCESS in closes
    assert only(plan, Op.CLONE).arguments == (0, NO_SLOT)


def test_limits_are_raised_early_and_set_late() -> None:
    """Only the host may raise a hard limit; a limit that is too low for the rest of the way in is set at its end."""
    limit = POSIXRlimit(type="RLIMIT_NOFILE", soft=3, hard=5)
    plan = compiled(rlimits=(limit,))
    first, second = (step for step in plan.steps if step.op == Op.RLIMIT)
    assert first.arguments == (7, 3, 5, 1)
    assert second.arguments == (7, 3, 5)
    order = [step is first or step is second for step in plan.steps]
    assert order.index(True) < ops(plan).index(Op.JOIN_PROCESS)
    assert plan.steps.index(second) > ops(plan).index(Op.CLONE)


def test_a_filter_comes_last() -> None:
    """Without giving up new privileges, the right to load it is kept, not in effect, exactly until it is loaded."""
    plan = compiled(template=attrs.evolve(TEMPLATE, seccomp=FILTER))
    order = ops(plan)
    assert order[order.index(Op.SECCOMP) :] == [Op.SECCOMP, Op.SYNC, Op.CLOSE, Op.CAPS, Op.READY, Op.EXEC]
    assert order[order.index(Op.CLONE) : order.index(Op.SECCOMP)] == [Op.CLONE, Op.CAPS]
    assert [step.arguments[0] >> 21 & 1 for step in plan.steps if step.op == Op.CAPS] == [0, 1, 0]
    plan = compiled(template=attrs.evolve(TEMPLATE, seccomp=FILTER), no_new_privileges=True)
    assert len([op for op in ops(plan) if op == Op.CAPS]) == 1


@pytest.mark.parametrize(("groups", "dropped"), [("drop", True), ("keep", False)])
def test_groups_that_cannot_be_set(groups: Any, dropped: bool) -> None:  # noqa: FBT001
    """Where a user namespace forbids it, those of the caller are dropped on the way in, or left if that is denied."""
    inside = INSIDE._replace(groups=groups, joined=INSIDE.joined | {"user"})
    plan = compiled(inside)
    assert [step.op == Op.GROUPS for step in plan.steps[: ops(plan).index(Op.JOIN_PROCESS)]].count(True) == int(dropped)
    assert Op.GROUPS not in ops(plan)[ops(plan).index(Op.JOIN_PROCESS) :]
    with pytest.raises(UnsupportedFieldError, match="additionalGids"):
        compiled(inside, user=User(uid=1, gid=1, additional_gids=(5,)))


# ------------------------------------------------------------------------------------------------------------ templates


def test_a_note_brings_back_what_was_noted() -> None:
    """What is kept for further processes is read back as it was, and damage is an error of the state."""
    policy = (1, b"\1" * 8)
    kept = json.loads(note(PROCESS, keyring=False, personality=8, memory_policy=policy, seccomp=FILTER))
    found = read_note(kept, "here")
    more: dict[str, Any] = {"personality": 8, "seccomp": FILTER, "memory_policy": policy}
    assert found == Template(process=PROCESS, defaults=PROCESS, keyring=False, **more)
    damaged: dict[str, Any]
    for damaged in ({}, kept | {"process": []}, kept | {"seccomp": {"program": "!", "flags": 0, "listener": None}}):
        with pytest.raises(StateError, match="here"):
            read_note(damaged, "here")


def test_arguments_are_completed() -> None:
    """Arguments become the process of the configuration, without its terminal."""
    template = Template(process=attrs.evolve(PROCESS, terminal=True, env=("A=1", "B=2", "A=3")), defaults=PROCESS)
    found = derive(template, ["x", "y"], env={"A": "4", "C": "5"}, cwd="/tmp", user=User(uid=1))
    assert found.args == ("x", "y")
    assert found.env == ("B=2", "A=4", "C=5")
    assert (found.cwd, found.user, found.terminal) == ("/tmp", User(uid=1), False)
    assert found.capabilities == SETS
    assert derive(template, ["x"], terminal=True).terminal
    with pytest.raises(BundleError):
        derive(Template(process=None, defaults=PROCESS), ["x"])


def test_what_a_process_does_not_say() -> None:
    """Rights, limits and the umask are the container's; what it says, it says."""
    limits = (POSIXRlimit(type="RLIMIT_CORE", soft=1, hard=2),)
    user = User(uid=9, umask=0o77)
    defaults = attrs.evolve(PROCESS, no_new_privileges=True, rlimits=limits, oom_score_adj=3, user=user)
    found = derive(Template(process=None, defaults=defaults), Process(args=("x",), cwd="/"))
    assert (found.capabilities, found.no_new_privileges, found.rlimits) == (SETS, True, limits)
    assert (found.oom_score_adj, found.user) == (3, User(umask=0o77))
    own = Process(args=("x",), cwd="/", capabilities=LinuxCapabilities(), oom_score_adj=0, user=User(umask=0))
    found = derive(Template(process=None, defaults=defaults), own)
    assert (found.capabilities, found.oom_score_adj, found.user.umask) == (LinuxCapabilities(), 0, 0)


def test_what_the_state_of_runc_says() -> None:
    """Every part of runc's state that confines a process is read, whichever version wrote it."""
    config = {
        "capabilities": {"Bounding": ["CAP_KILL"], "Permitted": ["CAP_KILL"], "Effective": None},
        "no_new_privileges": True,
        "rlimits": [{"type": 7, "hard": 9, "soft": 8}],
        "umask": 0o27,
        "oom_score_adj": 4,
        "personality": {"domain": 8},
        "exec_cpu_affinity": {"Initial": [1, 0], "Final": [4]},
        "no_new_keyring": True,
        "seccomp": {"default_action": 4, "syscalls": [{"name": "mkdir", "action": 2, "errnoRet": 1, "args": None}]},
    }
    kept = read_config(config, "here")
    assert kept.process.capabilities == LinuxCapabilities(bounding=("CAP_KILL",), permitted=("CAP_KILL",))
    assert kept.process.no_new_privileges
    assert kept.process.rlimits == (POSIXRlimit(type="RLIMIT_NOFILE", soft=8, hard=9),)
    assert kept.process.user.umask == 0o27
    assert kept.process.exec_cpu_affinity == CPUAffinity(initial="0", final="2")
    assert (kept.keyring, kept.personality) == (False, 8)
    assert kept.seccomp is not None
    assert kept.seccomp.default_action == "SCMP_ACT_ALLOW"
    # Nothing is the least: a state without capabilities gives none.
    assert read_config({}, "here").process.capabilities == LinuxCapabilities()


@pytest.mark.parametrize(
    "config",
    [
        {"rlimits": [{"type": 99, "hard": 1, "soft": 1}]},
        {"no_new_privileges": "yes"},
        {"seccomp": {"default_action": 77}},
        {"seccomp": []},
        {"personality": {"domain": "x"}},
        {"umask": -1},
    ],
)
def test_a_state_that_cannot_be_read(config: dict[str, Any]) -> None:
    """What would confine a process and cannot be read is never left out."""
    with pytest.raises((StateError, ValidationError), match="here"):
        read_config(config, "here")


def test_lists_of_cpus() -> None:
    """Lists become masks of whole words; what is none is refused."""
    assert cpulist.mask("0", "x") == b"\1" + bytes(7)
    assert cpulist.mask("1-3, 64", "x") == b"\x0e" + bytes(7) + b"\1" + bytes(7)
    for text in ("", "3-1", "a", "0-", "-1", "9999", "0,,1", "²"):
        with pytest.raises(ValidationError, match="x"):
            cpulist.mask(text, "x")
