"""User namespaces that root makes and joins: whose ids are whose, seen from both sides."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from ocikit import runtime
from ocikit.errors import SetupError, ValidationError
from ocikit.runtime.host.procfs import own_status
from ocikit.runtime.plan.capabilities import to_mask
from ocikit.spec import LinuxIDMapping, LinuxNamespace, LinuxTimeOffset, Mount, POSIXRlimit, Root, Spec, User

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from peer_runc import Runc

#: Three ranges that are next to each other neither inside nor outside.
USERS = ((0, 600_000, 1000), (1000, 700_000, 1), (2000, 800_000, 500))
GROUPS = ((0, 610_000, 1000), (1000, 710_000, 1), (2000, 810_000, 500))
HAS_CLOCKS = Path("/proc/self/ns/time").exists()
CLOCKS = "cat /proc/self/timens_offsets" if HAS_CLOCKS else "true"
MAY_RAISE = bool(own_status().passable & to_mask(["CAP_SYS_RESOURCE"])[0])
FILES = {"user": "user", "network": "net", "ipc": "ipc", "uts": "uts", "pid": "pid", "cgroup": "cgroup"}


def mapped(ranges: tuple[tuple[int, int, int], ...]) -> tuple[LinuxIDMapping, ...]:
    """Return ranges as mappings."""
    return tuple(LinuxIDMapping(container_id=one[0], host_id=one[1], size=one[2]) for one in ranges)


def with_users(spec: Spec, *kinds: str, users: Any = USERS, groups: Any = GROUPS, **linux: Any) -> Spec:
    """Add a user namespace, and others, to a configuration."""
    assert spec.linux is not None
    more = tuple(LinuxNamespace(type=kind) for kind in ("user", *kinds))
    given = {"namespaces": (*spec.linux.namespaces, *more)} | linux
    return spec.with_linux(uid_mappings=mapped(users), gid_mappings=mapped(groups), **given)


@pytest.fixture
def run(root: Path, container_id: str, tmp_path: Path) -> Callable[[Spec], str]:
    """Run a configuration, and return what it printed."""

    def run(spec: Spec) -> str:
        done = runtime.run(root, container_id, tmp_path, spec=spec)
        assert done.exit_code == 0, (done.stdout, done.stderr)
        return done.stdout.decode()

    return run


def process_of(spec: Spec, **user: Any) -> Spec:
    """Change the user of a configuration's process."""
    return spec.with_process(user=User(**user))


# ------------------------------------------------------------------------------------------------------------ new ones


def test_several_ranges(run: Callable[[Spec], str], make_spec: Callable[..., Spec], rootfs: Path) -> None:
    """Maps have every range; a process is in it with its user and groups; what it writes belongs to them outside."""
    directory = rootfs.parent / "written"
    directory.mkdir(exist_ok=True)
    directory.chmod(0o1777)
    script = "cd /proc/self; cat uid_map gid_map; id -u; id -g; id -G; echo x > /tmp/file; grep CapEff status"
    spec = with_users(make_spec("sh", "-c", script))
    spec = attrs.evolve(
        process_of(spec, uid=1000, gid=2001, additional_gids=(5, 1000)),
        mounts=(*spec.mounts, Mount(destination="/tmp", source=str(directory), type="bind", options=("bind",))),
    )
    lines = run(spec).splitlines()
    assert [tuple(map(int, line.split())) for line in lines[:6]] == [*USERS, *GROUPS]
    assert lines[6:9] == ["1000", "2001", "2001 5 1000"]
    assert int(lines[9].split()[1], 16) == 0  # the capabilities of the configuration are not ambient
    found = (directory / "file").stat()
    assert (found.st_uid, found.st_gid) == (700_000, 810_001)


def test_with_every_other_namespace(run: Callable[[Spec], str], make_spec: Callable[..., Spec]) -> None:
    """All namespaces are new, belong to the new user namespace, and the clocks of the new one are set."""
    names = ("user", "net", "ipc", "uts", "pid", "mnt", "cgroup")
    script = f"cd /proc/self; for one in {' '.join(names)}; do busybox readlink ns/$one; done; {CLOCKS}"
    kinds = ("cgroup", *(("time",) if HAS_CLOCKS else ()))
    offsets = {"boottime": LinuxTimeOffset(secs=1_000_000)} if HAS_CLOCKS else {}
    lines = run(with_users(make_spec("sh", "-c", script), *kinds, time_offsets=offsets)).splitlines()
    own = [os.readlink(f"/proc/self/ns/{name}") for name in names]
    assert not set(lines[:7]) & set(own)
    assert not HAS_CLOCKS or ["boottime", "1000000", "0"] in [line.split() for line in lines]


def test_root_of_the_container_is_who_it_is_mapped_to(
    root: Path, container_id: str, make_bundle: Callable[..., Path], make_spec: Callable[..., Spec]
) -> None:
    """The process, its fifo and its pipes belong to mapped ids, and it may open its pipes again."""
    spec = process_of(with_users(make_spec("sh", "-c", "echo again > /dev/stdout; sleep 1000")), uid=1000, gid=1000)
    with runtime.create(root, container_id, make_bundle(), spec=spec, stdout="pipe") as container:
        fifo = (root / container_id / "exec.fifo").stat()
        assert (fifo.st_uid, fifo.st_gid, stat.S_IMODE(fifo.st_mode)) == (600_000, 610_000, 0o622)
        process = Path(f"/proc/{container.pid}")
        status = dict(line.split(":\t") for line in (process / "status").read_text().splitlines())
        assert status["Uid"].split() == ["700000"] * 4
        assert status["Gid"].split() == ["710000"] * 4
        container.start()
        assert container.stdout is not None
        assert container.stdout.readline() == b"again\n"
        state = json.loads((root / container_id / "state.json").read_bytes())
        assert state["config"]["uid_mappings"] == [
            {"container_id": one[0], "host_id": one[1], "size": one[2]} for one in USERS
        ]
        assert "rootless_euid" not in state["config"]
        assert state["rootless"] is False


def test_devices_and_parameters(run: Callable[[Spec], str], make_spec: Callable[..., Spec]) -> None:
    """Devices are the host's, and can be used; parameters of user namespaces can be set, and are not the host's."""
    use = "head -c 3 /dev/zero > /dev/null; stat -c '%t:%T %u' /dev/null"
    script = f"{use}; cd /proc/sys; cat user/max_user_namespaces net/ipv4/ip_forward"
    parameters = {"user.max_user_namespaces": "17", "net.ipv4.ip_forward": "1"}
    before = Path("/proc/sys/user/max_user_namespaces").read_text()
    lines = run(with_users(make_spec("sh", "-c", script), sysctl=parameters)).splitlines()
    assert lines == ["1:3 65534", "17", "1"]
    assert Path("/proc/sys/user/max_user_namespaces").read_text() == before


def test_score_and_limits(run: Callable[[Spec], str], make_spec: Callable[..., Spec]) -> None:
    """The OOM score is the one asked for, and limits that are lower than the caller's are set in the namespace."""
    limits = (POSIXRlimit(type="RLIMIT_NOFILE", soft=100, hard=200), POSIXRlimit(type="RLIMIT_CORE", soft=0, hard=0))
    script = "cat /proc/self/oom_score_adj; ulimit -Sn; ulimit -Hn; ulimit -c"
    spec = with_users(make_spec("sh", "-c", script, process={"rlimits": limits, "oom_score_adj": 300}))
    assert run(spec).split() == ["300", "100", "200", "0"]


@pytest.mark.parametrize("users", [False, True])
def test_limits_above_those_of_the_caller(
    run: Callable[[Spec], str],
    make_spec: Callable[..., Spec],
    users: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """A hard limit is raised with the right of the host, which a user namespace does not have; or it is an error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = (POSIXRlimit(type="RLIMIT_NOFILE", soft=hard + 2, hard=hard + 3),)
    spec = make_spec("sh", "-c", "ulimit -Sn; ulimit -Hn", process={"rlimits": limits})
    spec = with_users(spec) if users else spec
    if MAY_RAISE:
        assert run(spec).split() == [str(hard + 2), str(hard + 3)]
    else:
        with pytest.raises(SetupError, match=r"RLIMIT_NOFILE: Operation not permitted.*CAP_SYS_RESOURCE"):
            run(spec)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)


def test_a_root_that_the_mapped_root_cannot_reach(
    root: Path, container_id: str, tmp_path: Path, make_spec: Callable[..., Spec], rootfs: Path
) -> None:
    """A bundle below a directory that lets nobody in, whoever owns that, is used with the rights of the host."""
    closed = tmp_path / "closed"
    bundle = closed / "bundle"
    bundle.mkdir(parents=True)
    os.chown(closed, 4321, 4321)
    closed.chmod(0o700)
    inner = bundle / "rootfs"
    subprocess.run(["cp", "-a", rootfs, inner], check=True)
    os.chown(inner, USERS[0][1], GROUPS[0][1])
    inner.chmod(0o700)
    spec = attrs.evolve(with_users(make_spec("sh", "-c", "id -u; echo x > /new")), root=Root(path="rootfs"))
    done = runtime.run(root, container_id, bundle, spec=spec)
    assert (done.stdout, done.stderr, done.exit_code) == (b"0\n", b"", 0)
    assert (inner / "new").stat().st_uid == USERS[0][1]
    assert mounts_at(tmp_path) == []


def mounts_at(path: Path) -> list[str]:
    """Return what the host has mounted at and below a directory."""
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(path) in line]


def test_mounts_below_a_copied_root_do_not_show_on_the_host(
    root: Path, container_id: str, tmp_path: Path, make_spec: Callable[..., Spec], rootfs: Path
) -> None:
    """Where the host shares the mount that the root file system is in, it sees nothing of what is mounted in it."""
    shared = tmp_path / "shared"
    shared.mkdir()
    with contextlib.ExitStack() as stack:
        subprocess.run(["mount", "--bind", rootfs, shared], check=True)
        stack.callback(lambda: subprocess.run(["umount", "--recursive", shared], check=True))
        subprocess.run(["mount", "--make-shared", shared], check=True)
        before = mounts_at(tmp_path)
        spec = attrs.evolve(with_users(make_spec("cat", "/proc/mounts")), root=Root(path=str(shared)))
        done = runtime.run(root, container_id, tmp_path, spec=spec)
        assert done.exit_code == 0
        assert b"/dev/shm" in done.stdout
        assert mounts_at(tmp_path) == before != []


# ------------------------------------------------------------------------------------------------------------- refused

WRONG: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "uid": ({}, {"uid": 1001}, r"\$\.process\.user\.uid: uid 1001 is not mapped; add it to linux\.uidMappings"),
    "gid": ({}, {"gid": 1999}, r"\$\.process\.user\.gid: gid 1999 is not mapped"),
    "group": ({}, {"additional_gids": (5, 3000)}, r"\$\.process\.user\.additionalGids\[1\]: gid 3000 is not mapped"),
    "no root": ({"users": ((1, 1000, 10),)}, {"uid": 1}, r"uidMappings: expected id 0 to be mapped"),
    "twice inside": ({"users": ((0, 1000, 10), (9, 5000, 10))}, {}, r"uidMappings: containerID 9 is in two ranges"),
    "twice outside": ({"groups": ((0, 1000, 10), (20, 1009, 1))}, {}, r"gidMappings: hostID 1009 is in two ranges"),
    "nothing": ({"users": ((0, 1000, 10), (10, 2000, 0))}, {}, r"uidMappings\[1\]: expected 1 or more ids"),
    "too many": ({"users": tuple((n, n, 1) for n in range(341))}, {}, r"341 ranges are more than the kernel takes"),
    "too long": (
        {"users": ((0, 4_000_000_000, 1), *((n, 1_000_000_000 + n, 1) for n in range(2_000_000_000, 2_000_000_200)))},
        {},
        r"201 ranges are more than the kernel takes \(340, 4095 bytes\)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_mappings_that_make_no_sense(
    root: Path, container_id: str, tmp_path: Path, make_spec: Callable[..., Spec], name: str
) -> None:
    """They are refused, by name, before anything is made."""
    linux, user, message = WRONG[name]
    spec = process_of(with_users(make_spec(), **linux), **user)
    with pytest.raises(ValidationError, match=message):
        runtime.create(root, container_id, tmp_path, spec=spec)
    assert not root.exists()


def test_mounts_of_what_the_host_owns(root: Path, container_id: str, tmp_path: Path, make_spec: Any) -> None:
    """A file system that shows a namespace takes that namespace, and owners of files have to be mapped."""
    spec = make_spec()
    kept = tuple(one for one in spec.linux.namespaces if one.type == "mount")
    spec = attrs.evolve(with_users(spec, namespaces=(*kept, LinuxNamespace(type="user"))), hostname="")
    with pytest.raises(ValidationError) as caught:
        runtime.create(root, container_id, tmp_path, spec=spec)
    text = str(caught.value)
    for kind, namespace in (("proc", "pid"), ("sysfs", "network"), ("mqueue", "ipc")):
        assert f"{kind} takes a {namespace} namespace of the container's own" in text
    spec = with_users(make_spec())
    tmpfs = Mount(destination="/tmp", type="tmpfs", source="t", options=("uid=1500",))
    with pytest.raises(ValidationError, match=r"\$\.mounts\[\d\]\.options: uid 1500 is not mapped"):
        runtime.create(root, container_id, tmp_path, spec=attrs.evolve(spec, mounts=(*spec.mounts, tmpfs)))


# -------------------------------------------------------------------------------------------------------------- joined


@pytest.fixture
def holder(
    root: Path, new_id: Callable[[], str], make_bundle: Callable[..., Path], make_spec: Callable[..., Spec]
) -> Iterator[runtime.Container]:
    """Give a running container with a user namespace, and namespaces that belong to it."""
    spec = with_users(make_spec(), "cgroup")
    with runtime.create(root, new_id(), make_bundle(), spec=spec, stdin="null") as container:
        container.start()
        yield container


def joining(spec: Spec, pid: int, *kinds: str, **linux: Any) -> Spec:
    """Have a configuration join namespaces of a process, with the user namespace in between the others."""
    joined = tuple(LinuxNamespace(type=kind, path=f"/proc/{pid}/ns/{FILES[kind]}") for kind in kinds)
    new = tuple(LinuxNamespace(type=kind) for kind in ("mount", "pid", "ipc", "uts", "network") if kind not in kinds)
    return spec.with_linux(namespaces=(*joined, *new), **linux)


@pytest.mark.parametrize("stated", [False, True])
def test_joined_with_what_it_owns(
    run: Callable[[Spec], str],
    holder: runtime.Container,
    make_spec: Callable[..., Spec],
    stated: bool,  # noqa: FBT001
) -> None:
    """All namespaces of another container are entered; ids are those of its maps, whether these are repeated or not."""
    links = f"for one in {' '.join(FILES.values())}; do busybox readlink ns/$one; done"
    script = f"cd /proc/self; {links}; cat uid_map; id -u"
    maps = {"uid_mappings": mapped(USERS), "gid_mappings": mapped(GROUPS)} if stated else {}
    spec = joining(make_spec("sh", "-c", script), holder.pid, "network", "user", "ipc", "uts", "pid", "cgroup", **maps)
    lines = run(process_of(attrs.evolve(spec, hostname=""), uid=2000, gid=2000)).splitlines()
    assert lines[:6] == [os.readlink(f"/proc/{holder.pid}/ns/{file}") for file in FILES.values()]
    assert [tuple(map(int, line.split())) for line in lines[6:9]] == list(USERS)
    assert lines[9] == "2000"


def test_joined_ids_are_known_on_the_host(
    root: Path, container_id: str, tmp_path: Path, holder: runtime.Container, make_spec: Callable[..., Spec]
) -> None:
    """What belongs to a container belongs to the ids that the joined maps say."""
    spec = process_of(
        joining(make_spec("sh", "-c", "echo again > /dev/stdout"), holder.pid, "user"), uid=1000, gid=1000
    )
    with runtime.create(root, container_id, tmp_path, spec=spec, stdout="pipe") as container:
        assert (root / container_id / "exec.fifo").stat().st_uid == 600_000
        state = json.loads((root / container_id / "state.json").read_bytes())
        assert state["config"]["uid_mappings"][1] == {"container_id": 1000, "host_id": 700_000, "size": 1}
        container.start()
        assert container.stdout is not None
        assert container.stdout.read() == b"again\n"
    with pytest.raises(ValidationError, match="uid 1001 is not mapped"):
        runtime.create(root, container_id, tmp_path, spec=process_of(spec, uid=1001))


def test_joined_with_what_the_host_owns(
    run: Callable[[Spec], str], holder: runtime.Container, make_spec: Callable[..., Spec]
) -> None:
    """Namespaces of the host are entered before the user namespace, and others after it."""
    with subprocess.Popen(["unshare", "--net", "sleep", "1000"]) as other:
        try:
            while os.readlink(f"/proc/{other.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
                os.sched_yield()
            script = "cd /proc/self/ns; busybox readlink net; busybox readlink uts"
            spec = joining(make_spec("sh", "-c", script), holder.pid, "user", "uts")
            assert spec.linux is not None
            network = LinuxNamespace(type="network", path=f"/proc/{other.pid}/ns/net")
            kept = tuple(one for one in spec.linux.namespaces if one.type != "network")
            # The network that a sysfs would show belongs to the host.
            mounts = tuple(one for one in spec.mounts if not one.destination.startswith("/sys"))
            spec = attrs.evolve(spec.with_linux(namespaces=(*kept, network)), hostname="", mounts=mounts)
            expected = [os.readlink(f"/proc/{other.pid}/ns/net"), os.readlink(f"/proc/{holder.pid}/ns/uts")]
            assert run(spec).split() == expected
        finally:
            other.kill()


def test_joined_with_other_maps(
    root: Path, container_id: str, tmp_path: Path, holder: runtime.Container, make_spec: Callable[..., Spec]
) -> None:
    """Maps beside a path are an error that says what the namespace has, unless they are the same."""
    maps = {"uid_mappings": mapped(USERS), "gid_mappings": mapped(GROUPS[:2])}
    with pytest.raises(
        ValidationError, match=r"\$\.linux\.gidMappings: .*another map \(0 610000 1000, 1000 710000 1, 2000"
    ):
        runtime.create(root, container_id, tmp_path, spec=joining(make_spec(), holder.pid, "user", **maps))
    assert not (root / container_id).exists()


def test_what_is_no_user_namespace(
    root: Path, container_id: str, tmp_path: Path, make_spec: Callable[..., Spec]
) -> None:
    """A path that leads nowhere, or to a namespace of another kind, is an error with that path; nothing is made."""
    for path in ("/nowhere/ns", "/proc/self/ns/net"):
        spec = joining(make_spec(), os.getpid())
        assert spec.linux is not None
        spec = spec.with_linux(namespaces=(*spec.linux.namespaces, LinuxNamespace(type="user", path=path)))
        with pytest.raises(SetupError, match=f"join user namespace at {path}"):
            runtime.create(root, container_id, tmp_path, spec=spec)
        assert not root.exists()


def test_our_own_user_namespace(run: Callable[[Spec], str], make_spec: Callable[..., Spec]) -> None:
    """To join the user namespace that the caller is in is to stay in it."""
    spec = joining(make_spec("busybox", "readlink", "/proc/self/ns/user"), os.getpid(), "user")
    assert run(spec).strip() == os.readlink("/proc/self/ns/user")


# ---------------------------------------------------------------------------------------------------------------- runc


@pytest.fixture
def reachable(rootfs: Path) -> Iterator[Path]:
    """Give a root file system that the mapped root can reach, and owns: runc takes no other."""
    place = Path(tempfile.mkdtemp(prefix="ocikit-test-"))
    place.chmod(0o711)
    subprocess.run(["cp", "-a", rootfs, place / "rootfs"], check=True)
    os.chown(place / "rootfs", USERS[0][1], GROUPS[0][1])
    yield place / "rootfs"
    shutil.rmtree(place)


def test_runc_and_user_namespaces(
    runc: Runc, root: Path, new_id: Callable[[], str], make_bundle: Callable[..., Path], reachable: Path
) -> None:
    """One state root, both ways: runc enters, kills and deletes ours, and we start, enter and destroy runc's."""
    linux = {
        "namespaces": tuple(LinuxNamespace(type=kind) for kind in ("pid", "network", "ipc", "uts", "mount", "user")),
        "uid_mappings": mapped(USERS),
        "gid_mappings": mapped(GROUPS),
    }
    bundle = make_bundle(linux=linux)
    spec = Spec.from_json((bundle / "config.json").read_bytes())
    (bundle / "config.json").write_bytes(attrs.evolve(spec, root=Root(path=str(reachable))).to_json())
    ours, theirs = new_id(), new_id()
    with runtime.create(root, ours, bundle, stdin="null") as container:
        runc("start", ours)
        assert runc("exec", ours, "cat", "/proc/self/uid_map").stdout.split()[:3] == ["0", "600000", "1000"]
        runc("kill", ours, "KILL")
        assert container.wait(30).signal == signal.SIGKILL
        runc("delete", ours)
    runc.create(theirs, bundle)
    other = runtime.load(root, theirs)
    other.start()
    with other.exec(["cat", "/proc/self/uid_map"], stdin="null", stdout="pipe") as further:
        assert further.stdout is not None
        assert further.stdout.read().split()[:3] == [b"0", b"600000", b"1000"]
    other.destroy(force=True)
    assert not list(root.iterdir())
