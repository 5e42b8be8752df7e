"""Loading a filter takes a right: the process has it for that moment, and then exactly what was asked for."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from seccomp_profiles import call, profile

from ocikit import runtime
from ocikit.errors import SetupError
from ocikit.runtime.plan.capabilities import to_mask
from ocikit.runtime.plan.compiler import Surroundings, compile_plan
from ocikit.runtime.plan.steps import Op, Step
from ocikit.runtime.seccomp import filter_for
from ocikit.spec import LinuxCapabilities, LinuxIDMapping, LinuxNamespace, Root, Spec, User

if TYPE_CHECKING:
    from collections.abc import Callable

SECCOMP = profile("SCMP_ACT_ALLOW", call("getsid"))

#: Sets that all differ, and of which the ambient one is within both permitted and inheritable.
DIFFERENT = LinuxCapabilities(
    bounding=("CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_SETUID"),
    permitted=("CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"),
    effective=("CAP_CHOWN", "CAP_KILL"),
    inheritable=("CAP_KILL", "CAP_NET_RAW"),
    ambient=("CAP_KILL",),
)
NONE = LinuxCapabilities()
ADMIN = ("CAP_SYS_ADMIN", "CAP_KILL")
WITH_ADMIN = LinuxCapabilities(bounding=ADMIN, permitted=ADMIN, effective=ADMIN)

SETS = {
    "bounding": "CapBnd",
    "permitted": "CapPrm",
    "effective": "CapEff",
    "inheritable": "CapInh",
    "ambient": "CapAmb",
}

OWN_USERS = {
    "namespaces": tuple(LinuxNamespace(type=kind) for kind in ("user", "pid", "network", "ipc", "uts", "mount")),
    "uid_mappings": (LinuxIDMapping(container_id=0, host_id=0, size=65536),),
    "gid_mappings": (LinuxIDMapping(container_id=0, host_id=0, size=65536),),
}


def masks(status: str) -> dict[str, int]:
    """Return the capability sets of a process by the names of the specification."""
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return {name: int(lines[key], 16) for name, key in SETS.items()}


@pytest.mark.parametrize(
    ("asked", "uid", "nnp", "linux"),
    [
        *itertools.product((DIFFERENT, NONE, WITH_ADMIN), (0, 1000), (True, False), ({},)),
        *itertools.product((DIFFERENT, NONE), (0, 1000), (True, False), (OWN_USERS,)),
    ],
)
def test_the_sets_are_those_of_the_configuration(
    make_bundle: Callable[..., Path],
    root: Path,
    new_id: Callable[[], str],
    *,
    asked: LinuxCapabilities,
    uid: int,
    nnp: bool,
    linux: dict[str, Any],
) -> None:
    """Before the program is executed and after it, with a filter as without one."""
    process = {"capabilities": asked, "user": User(uid=uid, gid=uid), "no_new_privileges": nnp}
    created, executed = [], []
    for seccomp in (None, SECCOMP):
        bundle = make_bundle("cat", "/proc/self/status", process=process, linux=linux | {"seccomp": seccomp})
        container_id = new_id()
        with runtime.create(root, container_id, bundle, stdin="null", stdout="pipe") as container:
            created.append(Path(f"/proc/{container.pid}/status").read_text())
            container.start()
            assert container.stdout is not None
            executed.append(container.stdout.read().decode())
            assert container.wait(30).exit_code == 0
    configured = {name: to_mask(getattr(asked, name))[0] for name in SETS}
    assert [masks(status) for status in created] == [configured, configured]
    assert masks(executed[0]) == masks(executed[1])
    assert [f"Seccomp:\t{mode}\n" in status for status, mode in zip(executed, (0, 2), strict=True)] == [True, True]
    assert all(f"NoNewPrivs:\t{int(nnp)}\n" in status for status in created + executed)
    # What execve(2) makes of the sets: root gets all it may have, and no more than it had with no new privileges.
    as_root = (configured["bounding"] | configured["inheritable"]) & (configured["permitted"] if nnp else -1)
    expected = configured["ambient"] if uid else as_root
    assert masks(executed[1])["effective"] == masks(executed[1])["permitted"] == expected


@pytest.mark.parametrize("seccomp", [None, SECCOMP])
def test_programs_are_looked_for_with_the_rights_of_the_user(
    root: Path, make_spec: Callable[..., Spec], container_id: str, tmp_path: Path, seccomp: object
) -> None:
    """What the user may not execute fails creation, whatever init may do for a moment."""
    process = {"user": User(uid=1000, gid=1000), "no_new_privileges": False}
    spec = make_spec("private", process=process, linux={"seccomp": seccomp})
    assert spec.root is not None
    private = tmp_path / "rootfs"
    shutil.copytree(spec.root.path, private, symlinks=True)
    (private / "bin/private").write_bytes(b"#!/bin/sh\n")
    (private / "bin/private").chmod(0o700)
    spec = attrs.evolve(spec, root=Root(path=str(private)))
    with pytest.raises(SetupError, match="find 'private' in the root file system: Permission denied"):
        runtime.create(root, container_id, tmp_path, spec=spec)


def plan_of(available: int = 0xFFFF_FFFF_FFFF_FFFF, **process: Any) -> list[Step]:
    """Return the steps of a plan from the change of user on."""
    spec = Spec.default().with_process(terminal=False, **process).with_linux(seccomp=SECCOMP)
    around = Surroundings(bundle="/", seccomp=filter_for(SECCOMP), capabilities=available)
    steps = compile_plan(attrs.evolve(spec, mounts=()), around).steps
    return [*steps[[step.op for step in steps].index(Op.IDS) :]]


def test_the_order_of_the_steps() -> None:
    """The right is kept, but not in effect, until everything else is done, and gone right after."""
    admin = to_mask(["CAP_SYS_ADMIN"])[0]
    steps = [step for step in plan_of(no_new_privileges=False, capabilities=DIFFERENT) if step.op != Op.CWD]
    order = [
        Op.IDS,
        Op.KEEPCAPS,
        Op.CAPS,
        Op.AMBIENT,
        Op.FIND,
        Op.CAPS,
        Op.SECCOMP,
        Op.CAPS,
        Op.READY,
        Op.FIFO,
        Op.EXEC,
    ]
    assert [step.op for step in steps if step.op in order] == order
    kept, raised, final = (step.arguments for step in steps if step.op == Op.CAPS)
    wanted = tuple(to_mask(getattr(DIFFERENT, name))[0] for name in ("effective", "permitted", "inheritable"))
    assert final == wanted
    assert kept == (wanted[0], wanted[1] | admin, wanted[2])
    assert raised == (wanted[0] | admin, wanted[1] | admin, wanted[2])
    steps = plan_of(no_new_privileges=True)
    order = [Op.CAPS, Op.AMBIENT, Op.NO_NEW_PRIVS, Op.FIND, Op.SECCOMP, Op.READY]
    assert [step.op for step in steps if step.op in order] == order


def test_what_this_process_has_not_is_not_asked_for() -> None:
    """Without the right there is nothing to raise; the kernel then says what it takes."""
    available = to_mask(["CAP_KILL"])[0]
    steps = plan_of(available, no_new_privileges=False, capabilities=DIFFERENT)
    assert all(not argument & ~available for step in steps if step.op == Op.CAPS for argument in step.arguments)
    (loading,) = (step for step in steps if step.op == Op.SECCOMP)
    assert "without process.noNewPrivileges it takes CAP_SYS_ADMIN" in str(loading.remedy)
