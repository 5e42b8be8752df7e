"""A configuration becomes a plan: which steps, in which order, and what is refused before anything is done."""

from __future__ import annotations

import struct
from typing import Any

import attrs
import pytest

from ocikit.errors import UnsupportedFieldError, ValidationError
from ocikit.runtime.host.caller import Caller
from ocikit.runtime.plan.capabilities import NAMES, names_of, to_mask
from ocikit.runtime.plan.compiler import CgroupMount, Surroundings, compile_plan
from ocikit.runtime.plan.steps import NO_SLOT, Op, Plan, Slot, Step, Sync
from ocikit.spec import (
    Box,
    LinuxCapabilities,
    LinuxDevice,
    LinuxIDMapping,
    LinuxNamespace,
    LinuxSeccomp,
    LinuxTimeOffset,
    Mount,
    POSIXRlimit,
    Spec,
    User,
)

AROUND = Surroundings(bundle="/bundle", id="one", cgroup_mounts=(CgroupMount("memory", "/sys/fs/cgroup/memory/one"),))


def spec(*, process: dict[str, Any] | None = None, linux: dict[str, Any] | None = None, **top: Any) -> Spec:
    """Return the default configuration with some fields changed."""
    base = Spec.default()
    assert base.process is not None
    assert base.linux is not None
    changed = attrs.evolve(base.process, terminal=False, **(process or {}))
    return attrs.evolve(base, process=changed, linux=attrs.evolve(base.linux, **(linux or {})), **top)


def steps(of: Spec, op: Op) -> list[Step]:
    """Return the steps of one kind in the plan of a configuration."""
    return [step for step in compile_plan(of, AROUND).steps if step.op == op]


def position(plan: Plan, op: Op, action: str = "") -> int:
    """Return where the first step of a kind is."""
    return next(i for i, step in enumerate(plan.steps) if step.op == op and action in step.action)


def test_default_configuration_compiles() -> None:
    """What ``runc spec`` gives has a plan that ends with the execution of its program."""
    plan = compile_plan(spec(), AROUND)
    last = plan.steps[-1]
    assert last.op == Op.EXEC
    assert last.strings[0] == b"sh"
    assert [step.op for step in plan.steps[-4:]] == [Op.FIND, Op.READY, Op.FIFO, Op.EXEC]


def test_order_of_privileged_steps() -> None:
    """The order that safety depends on: cgroups, mounts, hiding, root, rights, user, rights again, program."""
    around = AROUND._replace(cgroup_join=("/sys/fs/cgroup/memory/one/tasks",))
    namespaces = (*(spec().linux.namespaces), LinuxNamespace(type="cgroup"))  # type: ignore[union-attr]
    plan = compile_plan(spec(linux={"namespaces": namespaces, "sysctl": {"net.ipv4.ip_forward": "1"}}), around)
    order = [
        position(plan, Op.CLONE),
        position(plan, Op.WRITE, "join cgroup"),
        position(plan, Op.UNSHARE),
        position(plan, Op.SETATTR, "propagation"),
        position(plan, Op.ROOT),
        position(plan, Op.ATTACH),
        position(plan, Op.NODE),
        position(plan, Op.WRITE, "net.ipv4.ip_forward"),
        position(plan, Op.READONLY, "make read-only"),
        position(plan, Op.PIVOT),
        position(plan, Op.SETATTR, "make root file system read-only"),
        position(plan, Op.RLIMIT),
        position(plan, Op.BOUND),
        position(plan, Op.IDS),
        position(plan, Op.CAPS),
        position(plan, Op.FIND),
    ]
    assert order == sorted(order)


def with_users() -> Spec:
    """Return a configuration with a user namespace and a range of users."""
    ranges = (LinuxIDMapping(container_id=0, host_id=100_000, size=65_536),)
    namespaces = (*spec().linux.namespaces, LinuxNamespace(type="user"))  # type: ignore[union-attr]
    return spec(linux={"namespaces": namespaces, "uid_mappings": ranges, "gid_mappings": ranges})


def test_only_a_new_network_gets_its_loopback_up() -> None:
    """A joined network namespace is left as it is."""
    assert len(steps(spec(), Op.LOOPBACK)) == 1
    joined = tuple(
        LinuxNamespace(type="network", path="/run/netns/x") if n.type == "network" else n
        for n in spec().linux.namespaces  # type: ignore[union-attr]
    )
    changed = spec(linux={"namespaces": joined})
    assert steps(changed, Op.LOOPBACK) == []
    assert steps(changed, Op.OPEN)[0].strings == (b"/run/netns/x",)
    assert steps(changed, Op.JOIN)[0].path == "/run/netns/x"


def test_namespaces_are_tried_on_both_sides_of_the_user_namespace() -> None:
    """What the host owns can be entered before a user namespace only, and what that owns perhaps only after it."""
    joined = tuple(LinuxNamespace(type=kind, path=f"/ns/{kind}") for kind in ("user", "mount", "network"))
    namespaces = (*joined, LinuxNamespace(type="pid"), LinuxNamespace(type="ipc"))
    changed = spec(linux={"namespaces": namespaces}, hostname="")
    found = [(step.path, step.arguments[2]) for step in steps(changed, Op.JOIN)]
    others = ("/ns/mount", "/ns/network")
    assert found == [*((path, 1) for path in others), ("/ns/user", 0), *((path, 0) for path in others)]
    plan = compile_plan(changed, AROUND)
    last_opened = max(number for number, step in enumerate(plan.steps) if step.op is Op.OPEN)
    assert last_opened < position(plan, Op.JOIN)


def test_the_root_is_reached_with_the_rights_of_the_host() -> None:
    """It is copied before the user namespace is entered, by whoever has the right to, else before init is its root."""
    of = with_users()
    plan = compile_plan(of, AROUND)
    assert position(plan, Op.COPY_ROOT) < position(plan, Op.UNSHARE) < position(plan, Op.CLONE)
    rootless = compile_plan(of, AROUND._replace(caller=Caller(uid=1000, gid=1000, capabilities=0)))
    assert position(rootless, Op.CLONE) < position(rootless, Op.COPY_ROOT) < position(rootless, Op.IDS)
    assert steps(spec(), Op.COPY_ROOT) == steps(spec(), Op.COVER) == []


def test_user_namespace_maps_ids_and_binds_devices() -> None:
    """A new user namespace asks the launcher for its maps, and shows the host's devices instead of making some."""
    of = with_users()
    plan = compile_plan(of, AROUND)
    assert plan.uid_map == plan.gid_map == ((0, 100_000, 65_536),)
    assert position(plan, Op.SYNC) < position(plan, Op.IDS)
    # In the mode of a node: that of the host is shown.
    assert {step.arguments[1] >> 32 for step in steps(of, Op.NODE)} == {1}


def test_time_offsets_are_set_before_anybody_is_inside() -> None:
    """The clocks of a time namespace can be set only while it is empty."""
    namespaces = (*spec().linux.namespaces, LinuxNamespace(type="time"))  # type: ignore[union-attr]
    offsets = {"boottime": LinuxTimeOffset(secs=7, nanosecs=5)}
    plan = compile_plan(spec(linux={"namespaces": namespaces, "time_offsets": offsets}), AROUND)
    write = position(plan, Op.WRITE, "clock boottime")
    assert plan.steps[write].strings[1] == b"boottime 7 5"
    assert position(plan, Op.UNSHARE) < write < position(plan, Op.CLONE)


def test_path_is_searched_in_the_environment_of_the_process() -> None:
    """Programs without a slash are looked for along the last PATH; an empty component is the working directory."""
    find = steps(spec(process={"env": ("PATH=/first", "PATH=/a::/b")}), Op.FIND)[0]
    assert find.strings == (b"/a/sh", b"./sh", b"/b/sh")
    assert steps(spec(process={"args": ("./run",)}), Op.FIND)[0].strings == (b"./run",)


def test_home_is_added_only_when_missing() -> None:
    """HOME comes from the caller when the configuration has none, and never replaces one."""
    around = AROUND._replace(home="/home/u")
    assert compile_plan(spec(), around).steps[-1].strings[-1] == b"HOME=/home/u"
    own = compile_plan(spec(process={"env": ("HOME=/x",)}), around).steps[-1]
    assert own.strings == (b"sh", b"HOME=/x")


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        ("A=1 B=2 A=3", "B=2 A=3 HOME=/home/u"),
        ("HOME= A=1", "A=1 HOME=/home/u"),
        ("HOME=/x HOME= A=1", "A=1 HOME=/home/u"),
        ("HOME= A= HOME=/x", "A= HOME=/x"),
    ],
)
def test_each_variable_is_there_once(configured: str, expected: str) -> None:
    """The last of several entries counts, and an empty HOME is none."""
    around = AROUND._replace(home="/home/u")
    plan = compile_plan(spec(process={"env": tuple(configured.split())}), around)
    assert plan.steps[-1].strings[1:] == tuple(expected.encode().split())


def test_capabilities_beyond_reach_are_warnings() -> None:
    """What cannot be granted is left out and said, as the specification asks; the rest is granted."""
    wanted = ("CAP_KILL", "CAP_SYS_ADMIN", "CAP_WHATEVER")
    caps = LinuxCapabilities(bounding=wanted, effective=wanted, permitted=wanted)
    around = AROUND._replace(capabilities=to_mask(["CAP_KILL"])[0])
    plan = compile_plan(spec(process={"capabilities": caps}), around)
    assert plan.steps[position(plan, Op.CAPS)].arguments == (1 << 5, 1 << 5, 0)
    assert any("CAP_WHATEVER" in warning for warning in plan.warnings)
    assert any("CAP_SYS_ADMIN" in warning for warning in plan.warnings)


def test_no_capabilities_section_means_none() -> None:
    """A configuration without capabilities gives none, not those of the caller."""
    plan = compile_plan(spec(process={"capabilities": None}), AROUND)
    assert plan.steps[position(plan, Op.CAPS)].arguments == (0, 0, 0)
    assert plan.steps[position(plan, Op.BOUND)].arguments == (0,)


def test_inheritable_is_never_implied() -> None:
    """The inheritable set is the configured one and nothing else."""
    plan = compile_plan(spec(), AROUND)
    assert plan.steps[position(plan, Op.CAPS)].arguments[2] == 0


def test_bind_mounts_start_at_the_bundle() -> None:
    """A relative source is one of the bundle's, an absolute one of the host's."""
    mounts = (
        Mount(destination="/a", source="data", options=("bind",)),
        Mount(destination="/b", source="/x", type="bind"),
    )
    binds = steps(spec(mounts=mounts), Op.BIND)
    assert [step.strings[0] for step in binds] == [b"/bundle/data", b"/x"]


def test_destinations_stay_below_the_root() -> None:
    """Destinations are absolute or relative to the root, and climb no higher."""
    mounts = (Mount(destination="a/../../../b", source="/x", type="bind"),)
    assert steps(spec(mounts=mounts), Op.ATTACH)[0].strings == (b"/b",)


def test_a_bound_dev_is_left_alone() -> None:
    """When the configuration binds a /dev, no device or link is made in it."""
    of = spec(mounts=(Mount(destination="/dev", source="/dev", type="bind", options=("rbind",)),))
    assert steps(of, Op.NODE) == []
    assert steps(of, Op.SYMLINK) == []


def test_asked_device_replaces_the_default_one() -> None:
    """A device of the configuration stands for the default device at the same path."""
    device = LinuxDevice(path="/dev/null", type="c", major=1, minor=3, file_mode=0o600, uid=5)
    nodes = [s for s in steps(spec(linux={"devices": (device,)}), Op.NODE) if s.strings == (b"/dev/null",)]
    assert [node.arguments[1:] for node in nodes] == [(0o020600, 1 << 32 | 3, 5, 0)]


def test_cgroups_of_v1_stand_side_by_side() -> None:
    """A mount of type cgroup shows each hierarchy of v1, and links to the members of joint ones."""
    around = AROUND._replace(
        cgroup_mounts=(
            CgroupMount("cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/x"),
            CgroupMount("pids", "/sys/fs/cgroup/pids/x"),
        )
    )
    plan = compile_plan(spec(), around)
    binds = [s.strings[0] for s in plan.steps if s.op == Op.BIND]
    assert binds == [b"/sys/fs/cgroup/cpu,cpuacct/x", b"/sys/fs/cgroup/pids/x"]
    links = [s.strings for s in plan.steps if s.op == Op.SYMLINK and b"cgroup" in s.strings[1]]
    assert links == [(b"cpu,cpuacct", b"/sys/fs/cgroup/cpu"), (b"cpu,cpuacct", b"/sys/fs/cgroup/cpuacct")]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("net.ipv4.ip_forward", "sys/net/ipv4/ip_forward"),
        ("net/ipv4/conf/eth0.1/rp_filter", "sys/net/ipv4/conf/eth0.1/rp_filter"),
        ("kernel.shmmax", "sys/kernel/shmmax"),
        ("fs.mqueue.msg_max", "sys/fs/mqueue/msg_max"),
    ],
)
def test_kernel_parameters_by_both_notations(name: str, file: str) -> None:
    """When the first separator is a slash, dots belong to names (sysctl.d(5))."""
    write = [s for s in steps(spec(linux={"sysctl": {name: "1"}}), Op.WRITE) if s.arguments[0] != NO_SLOT]
    assert write[0].strings == (file.encode(), b"1")


@pytest.mark.parametrize("name", ["kernel.core_pattern", "vm.swappiness", "kernel.sysrq", "user.max_user_namespaces"])
def test_parameters_of_the_host_are_refused(name: str) -> None:
    """A parameter that is not the container's own is refused before anything is done."""
    with pytest.raises(ValidationError, match=name.replace(".", r"\.")):
        compile_plan(spec(linux={"sysctl": {name: "1"}}), AROUND)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"linux": {"seccomp": LinuxSeccomp(default_action="SCMP_ACT_ALLOW")}}, "$.linux.seccomp"),
        ({"process": {"apparmor_profile": "x"}}, "$.process.apparmorProfile"),
        ({"process": {"selinux_label": "x"}}, "$.process.selinuxLabel"),
        ({"linux": {"mount_label": "x"}}, "$.linux.mountLabel"),
    ],
)
def test_fields_that_would_be_ignored_are_refused(changes: dict[str, Any], path: str) -> None:
    """A field that is set and not acted on is an error that names it."""
    with pytest.raises(UnsupportedFieldError) as caught:
        compile_plan(spec(**changes), AROUND)
    assert caught.value.path == path


@pytest.mark.parametrize(
    "changes",
    [
        {"process": {"args": ("sh", "a\0b")}},
        {"process": {"env": ("A=\0",)}},
        {"process": {"cwd": "/a\0b"}},
        {"hostname": "a\0b"},
        {"mounts": (Mount(destination="/x", source="/y\0z", type="bind"),)},
        {"linux": {"masked_paths": ("/proc/a\0b",)}},
    ],
)
def test_strings_with_a_nul_are_refused(changes: dict[str, Any]) -> None:
    """The kernel would see the string end where the configuration does not."""
    with pytest.raises(ValidationError, match="NUL"):
        compile_plan(spec(**changes), AROUND)


def test_more_arguments_than_a_plan_holds() -> None:
    """They are counted before they are packed, arguments and variables together."""
    assert compile_plan(spec(process={"args": ("a",) * 65_000, "env": ()}), AROUND)
    with pytest.raises(ValidationError, match=r"process: execute 'a': 65,536 arguments and variables; .* 65,535"):
        compile_plan(spec(process={"args": ("a",) * 65_530, "env": tuple(f"{name}=x" for name in "BCDEFG")}), AROUND)


def test_options_that_the_kernel_would_not_take() -> None:
    """A value of more than 255 bytes is an error that says so, and not one of the option's meaning."""
    mount = Mount(destination="/x", type="overlay", source="overlay", options=("lowerdir=" + "a" * 255,))
    assert compile_plan(spec(mounts=(mount,)), AROUND)
    for change in ({"options": ("lowerdir=" + "a" * 256,)}, {"source": "a" * 256}):
        with pytest.raises(ValidationError, match=r"mounts\[0\]: .* at most 255 bytes, found 256"):
            compile_plan(spec(mounts=(attrs.evolve(mount, **change),)), AROUND)


def test_a_terminal_is_made_before_the_root_is_closed() -> None:
    """A terminal is made when /dev is there and can still be written to, controls the session, and is handed over."""
    base = Spec.default()
    assert base.process is not None
    process = attrs.evolve(base.process, terminal=True, console_size=Box(height=24, width=80), user=User(uid=7))
    ops = [step.op for step in compile_plan(attrs.evolve(base, process=process), AROUND).steps]
    plan = compile_plan(attrs.evolve(base, process=process), AROUND)
    console = next(step for step in plan.steps if step.op == Op.CONSOLE)
    assert console.arguments == (Slot.ROOT, Slot.CONSOLE, 24 << 16 | 80, 7, 1)
    assert ops.index(Op.CLONE) < ops.index(Op.CONSOLE) < ops.index(Op.CTTY) < ops.index(Op.PIVOT)
    assert (Op.SYNC, (Sync.CONSOLE, Slot.CONSOLE)) in {(step.op, step.arguments) for step in plan.steps}


def test_a_terminal_of_an_impossible_size() -> None:
    """The kernel has 16 bits for rows and columns; more is refused rather than cut off."""
    base = Spec.default()
    assert base.process is not None
    process = attrs.evolve(base.process, terminal=True, console_size=Box(height=1 << 16, width=80))
    with pytest.raises(ValidationError, match="consoleSize"):
        compile_plan(attrs.evolve(base, process=process), AROUND)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"process": {"args": ()}}, "args"),
        ({"process": {"rlimits": (POSIXRlimit(type="RLIMIT_X", hard=1, soft=1),)}}, "RLIMIT_X"),
        ({"mounts": (Mount(destination="/", source="/x", type="bind"),)}, "root itself"),
        ({"mounts": (Mount(destination="/x/..", source="/x", type="bind"),)}, "root itself"),
        ({"linux": {"namespaces": (LinuxNamespace(type="mount"), LinuxNamespace(type="mount"))}}, "repeats"),
    ],
)
def test_what_contradicts_the_specification_is_refused(changes: dict[str, Any], message: str) -> None:
    """Bad input is a typed error with its place, before anything is done."""
    with pytest.raises(ValidationError, match=message):
        compile_plan(spec(**changes), AROUND)


def test_a_step_is_packed_as_the_wire_says() -> None:
    """A step is its head, five numbers, and strings each with length, NUL and padding to four."""
    packed = Step(Op.WRITE, "x", (1,), (b"ab", b"abc")).encode()
    length, op, strings, *numbers = struct.unpack_from("=IHH5Q", packed)
    assert (length, op, strings, numbers) == (len(packed), Op.WRITE, 2, [1, 0, 0, 0, 0])
    assert packed[48:64] == b"\x02\0\0\0ab\0\0" + b"\x03\0\0\0abc\0"
    assert len(packed) % 8 == 0


def test_user_and_groups_reach_the_steps() -> None:
    """Ids are taken from the configuration as they are."""
    of = spec(process={"user": User(uid=1000, gid=1001, additional_gids=(5, 6), umask=0o77)})
    assert steps(of, Op.IDS)[0].arguments == (1000, 1001)
    assert steps(of, Op.GROUPS)[0].strings == (struct.pack("=2I", 5, 6),)
    assert steps(of, Op.UMASK)[0].arguments == (0o77,)


def test_capability_names_round_trip() -> None:
    """Every name has its bit and every bit its name, CHECKPOINT_RESTORE being the fortieth."""
    assert names_of(to_mask(NAMES)[0]) == NAMES
    assert to_mask(["CAP_CHECKPOINT_RESTORE"]) == (1 << 40, ())


NEW_USER = (*spec().linux.namespaces, LinuxNamespace(type="user"))  # type: ignore[union-attr]
NO_UTS = tuple(one for one in spec().linux.namespaces if one.type != "uts")  # type: ignore[union-attr]
ONE_ID = (LinuxIDMapping(container_id=0, host_id=1, size=1),)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"linux": {"namespaces": NO_UTS}}, "$.hostname"),
        ({"linux": {"namespaces": NO_UTS}, "hostname": "", "domainname": "x"}, "$.domainname"),
        ({"hostname": "h" * 65}, "$.hostname"),
        ({"hostname": "ö" * 33}, "$.hostname"),
        ({"linux": {"time_offsets": {"boottime": LinuxTimeOffset(secs=1)}}}, "$.linux.timeOffsets"),
        ({"linux": {"uid_mappings": ONE_ID}}, "$.linux.uidMappings"),
        ({"linux": {"namespaces": NEW_USER}}, "$.linux.uidMappings"),
        ({"linux": {"masked_paths": ("/",)}}, "$.linux.maskedPaths[0]"),
        ({"linux": {"readonly_paths": ("/x", "//y/..")}}, "$.linux.readonlyPaths[1]"),
        ({"linux": {"devices": (LinuxDevice(path="//", type="c", major=1, minor=3),)}}, "$.linux.devices[0].path"),
        ({"linux": {"devices": (LinuxDevice(path="/x", type="c", major=-1, minor=3),)}}, "$.linux.devices[0].major"),
        (
            {"linux": {"devices": (LinuxDevice(path="/x", type="c", major=1, minor=1 << 20),)}},
            "$.linux.devices[0].minor",
        ),
        ({"process": {"user": User(uid=0xFFFF_FFFF, gid=0)}}, "$.process.user.uid"),
        ({"process": {"user": User(uid=0, gid=0xFFFF_FFFF)}}, "$.process.user.gid"),
        ({"process": {"user": User(additional_gids=(1, 0xFFFF_FFFF))}}, "$.process.user.additionalGids[1]"),
        ({"process": {"user": User(umask=0o1000)}}, "$.process.user.umask"),
        ({"process": {"args": ("", "x")}}, "$.process.args[0]"),
        ({"process": {"oom_score_adj": 1001}}, "$.process.oomScoreAdj"),
        ({"mounts": (Mount(destination="/x", type="bind"),)}, "$.mounts[0].source"),
    ],
)
def test_what_would_reach_the_host_or_mean_something_else_is_refused(changes: dict[str, Any], path: str) -> None:
    """An id that means "no change", a name for the host, a map without a namespace: refused, with the place."""
    with pytest.raises(ValidationError) as caught:
        compile_plan(spec(**changes), AROUND)
    assert caught.value.violations[0].startswith(f"{path}: ")


@pytest.mark.parametrize(
    "name",
    [
        "net/../kernel/core_pattern",
        "net...kernel.core_pattern",
        "net.//.kernel",
        "net//x",
        "net.",
        "user/../vm/swappiness",
    ],
)
def test_parameters_cannot_climb(name: str) -> None:
    """A name that begins like a parameter of the container leads to no other one."""
    ids = {"uid_mappings": ONE_ID, "gid_mappings": ONE_ID}
    with pytest.raises(ValidationError, match="sysctl"):
        compile_plan(spec(linux={"namespaces": NEW_USER, "sysctl": {name: "x"}} | ids), AROUND)


def test_namespaces_of_the_host_are_not_the_containers() -> None:
    """Joining the host's own namespace by path gives no right to change what is in it."""
    around = AROUND._replace(of_host=frozenset({"uts", "network"}))
    with pytest.raises(ValidationError) as caught:
        compile_plan(spec(linux={"sysctl": {"net.ipv4.ip_forward": "1"}}), around)
    assert [violation.partition(":")[0] for violation in caught.value.violations] == [
        "$.hostname",
        "$.linux.sysctl['net.ipv4.ip_forward']",
    ]
