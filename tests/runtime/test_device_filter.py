"""Rules for devices decide the same as a program for cgroup v2 as they say, one by one, in words."""

from __future__ import annotations

import struct
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocikit import runtime
from ocikit.errors import CgroupError
from ocikit.runtime.cgroups import limiting as cgroup_limits
from ocikit.runtime.cgroups import setup as cgroup_setup
from ocikit.runtime.cgroups import tree as cgroup_tree
from ocikit.runtime.cgroups.device_filter import device_program
from ocikit.runtime.cgroups.device_rules import WILDCARD, DeviceRule, device_rules
from ocikit.runtime.cgroups.hierarchies import UNIFIED, detect, place
from ocikit.spec import LinuxCapabilities, LinuxDeviceCgroup, LinuxResources

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

BITS = {"m": 1, "r": 2, "w": 4}
TYPES = {"b": 1, "c": 2}


def execute(program: bytes, kind: str, numbers: tuple[int, int], access: str) -> bool:
    """Execute a program as the kernel does."""
    context = [sum(BITS[letter] for letter in access) << 16 | TYPES[kind], *numbers]
    instructions = list(struct.iter_unpack("=BBhi", program))
    registers = [0] * 11
    at = 0
    while True:
        code, both, offset, value = instructions[at]
        to, source = both & 15, both >> 4
        at += 1
        match code:
            case 0x61:
                registers[to] = context[offset // 4]
            case 0x74:
                registers[to] >>= value
            case 0x54:
                registers[to] &= value & 0xFFFFFFFF
            case 0xB4:
                registers[to] = value
            case 0xBC:
                registers[to] = registers[source]
            case 0x15:
                at += offset if registers[to] == value else 0
            case 0x55:
                at += offset if registers[to] != value else 0
            case 0x95:
                return bool(registers[0])
            case _:
                pytest.fail(f"instruction {code:#x}")


def decide(rules: Sequence[DeviceRule], kind: str, numbers: tuple[int, int], access: str) -> bool:
    """Say what rules come to: the last one that mentions a device and an access decides over it."""

    def allowed(letter: str) -> bool:
        for rule in reversed(rules):
            if (
                rule.type in {"a", kind}
                and rule.major in {WILDCARD, numbers[0]}
                and rule.minor in {WILDCARD, numbers[1]}
                and letter in rule.access
            ):
                return rule.allow
        return False

    return all(map(allowed, access))


NUMBERS = st.sampled_from([0, 1, 2])
ACCESS = st.text("rwm", min_size=1, max_size=3)
RULES = st.lists(
    st.builds(
        DeviceRule,
        st.booleans(),
        st.sampled_from("abc"),
        NUMBERS | st.just(WILDCARD),
        NUMBERS | st.just(WILDCARD),
        ACCESS,
    ),
    max_size=6,
)


@given(RULES, st.sampled_from("bc"), st.tuples(NUMBERS, NUMBERS), ACCESS.map(lambda text: "".join(set(text))))
def test_programs_decide_as_their_rules(
    rules: list[DeviceRule], kind: str, numbers: tuple[int, int], access: str
) -> None:
    """For any rules, any device and any access."""
    assert execute(device_program(rules), kind, numbers, access) == decide(rules, kind, numbers, access)


def test_nothing_is_allowed_without_rules() -> None:
    """An empty program forbids."""
    assert not execute(device_program([]), "c", (1, 3), "r")


@pytest.fixture
def group(container_id: str) -> Callable[..., str]:
    """Make a v2 cgroup with rules, and tell what can be read of a device in it."""
    hierarchies = detect()
    path = {UNIFIED: place(hierarchies, "", container_id)[UNIFIED]}

    def read(rules: Sequence[DeviceRule], device: str) -> str:
        cgroup_setup.make(path, hierarchies, [])
        try:
            cgroup_limits.limit_devices(path, rules)
            script = f"echo 0 > {path[UNIFIED]}/cgroup.procs; exec head -c 1 {device}"
            done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=False)
            return "allowed" if done.returncode == 0 else done.stderr.decode()
        finally:
            cgroup_tree.remove(path.values())

    return read


def test_the_kernel_decides_as_the_program(group: Callable[..., str]) -> None:
    """What a container may read, it reads; of what it may not, it cannot even open the node."""
    asked = (LinuxDeviceCgroup(allow=False, access="rwm"),)
    assert group(device_rules(asked), "/dev/zero") == "allowed"
    none_of_zero = DeviceRule(allow=False, type="c", major=1, minor=5, access="r")
    assert "not permitted" in group((*device_rules(asked), none_of_zero), "/dev/zero")
    assert group((*device_rules(asked), none_of_zero), "/dev/urandom") == "allowed"
    assert group([DeviceRule(allow=True, type="a", major=-1, minor=-1, access="rwm")], "/dev/zero") == "allowed"


def test_rules_are_never_left_out(container_id: str) -> None:
    """Where there is neither the one nor the other way to limit devices, there is no container."""
    with pytest.raises(CgroupError, match=r"linux\.resources\.devices"):
        cgroup_limits.limit_devices({"memory": f"/sys/fs/cgroup/memory/{container_id}"}, device_rules(()))


@pytest.mark.parametrize("allow", [True, False])
def test_rules_hold_in_a_container(
    root: Path, make_bundle: Callable[..., Path], container_id: str, *, allow: bool
) -> None:
    """Who may make nodes can still use only those devices that a rule allows, on v1 and on v2."""
    console = {"allow": allow, "type": "c", "major": 5, "minor": 1, "access": "r"}
    resources = LinuxResources.from_dict({"devices": [{"allow": False, "access": "rwm"}, console]})
    may = ("CAP_MKNOD",)
    capabilities = LinuxCapabilities(bounding=may, effective=may, permitted=may)
    script = "busybox mknod /dev/other c 5 1 && head -c 0 /dev/other; head -c 1 /dev/zero"
    bundle = make_bundle("sh", "-c", script, linux={"resources": resources}, process={"capabilities": capabilities})
    done = runtime.run(root, container_id, bundle)
    assert done.stdout == b"\0"
    assert (b"not permitted" not in (done.stderr or b"")) == allow
