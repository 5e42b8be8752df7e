"""runc adds processes to containers of ours, and filters them as it filters its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from probing import add_probe
from seccomp_profiles import SUB, arg, call, number, profile

from ocikit import runtime

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from peer_runc import Runc

#: A profile with some of everything that a state can say.
FULL = profile(
    "SCMP_ACT_ALLOW",
    call("getsid", errnoRet=77),
    call("getpgid", action="SCMP_ACT_TRACE", errnoRet=9),
    call("getpriority", action="SCMP_ACT_LOG"),
    call("personality", "no_such_call", args=[arg(0, "MASKED_EQ", 0xF0, 0x30)], errnoRet=5),
    call("getppid", args=[arg(0, "GT", 3), arg(1, "NE", 1)], errnoRet=6),
    call("getpgrp", args=[arg(0, "LE", 3), arg(0, "GE", 8)], errnoRet=7) if SUB == ("SCMP_ARCH_X86",) else call("acct"),
    architectures=list(SUB),
    flags=["SECCOMP_FILTER_FLAG_LOG"],
)

CALLS = [
    *(f"n:{number(name)}" for name in ("getsid", "getpgid", "getpriority")),
    *(f"n:{number('personality')}:{value}" for value in ("0x3f", "0xffffffff")),
    *(f"n:{number('getppid')}:{values}" for values in ("3:0", "4:0", "4:1")),
]


@pytest.fixture(scope="module")
def rootfs(rootfs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a root file system with the program that makes system calls."""
    return add_probe(rootfs, tmp_path_factory.mktemp("probe") / "rootfs")


@pytest.mark.parametrize("nnp", [True, False])
def test_exec_of_runc_is_filtered(
    runc: Runc, root: Path, make_bundle: Callable[..., Path], container_id: str, *, nnp: bool
) -> None:
    """A process that runc adds has a filter, and gets the same answers as one of ours."""
    process = {"no_new_privileges": nnp}
    ours = runtime.run(
        root, f"{container_id}-ours", make_bundle("probe", *CALLS, process=process, linux={"seccomp": FULL})
    )
    bundle = make_bundle(process=process, linux={"seccomp": FULL})
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        container.start()
        assert "Seccomp:\t2\n" in runc("exec", container_id, "cat", "/proc/self/status").stdout
        theirs = runc("exec", container_id, "probe", *CALLS).stdout
    assert theirs.encode() == ours.stdout
    assert ours.stdout.split()[0] == b"-77"


def test_the_states_of_both(runc: Runc, root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """What we write down about a profile is what runc writes."""
    # Older ones (before 1.2) refuse flags, and write none.
    bundle = make_bundle(linux={"seccomp": attrs.evolve(FULL, flags=None)})
    runc.create(f"{container_id}-theirs", bundle)
    with runtime.create(root, container_id, bundle, stdin="null"):
        states = [_seccomp(root, name) for name in (container_id, f"{container_id}-theirs")]
    ours, theirs = states
    assert ours.pop("flags") == theirs.pop("flags", ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"])
    assert ours == theirs


def _seccomp(root: Path, container_id: str) -> dict[str, Any]:
    state = json.loads((root / container_id / "state.json").read_bytes())
    found: dict[str, Any] = state["config"]["seccomp"]
    return found
