"""One state root, two programs: what one of them made, the other one uses, in every configuration and in both ways."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import pytest
from cgroup_host import HOST, V2
from executing import output
from probing import add_probe
from seccomp_profiles import number
from sharing import (
    CONFIGURATIONS,
    GROUPS,
    USERS,
    Commands,
    Library,
    Limits,
    Surroundings,
    configuration,
    ocikit_command,
)

from ocikit import runtime
from ocikit.runtime.cgroups.branch import PREFIX
from ocikit.runtime.state.resources import parse_resources
from ocikit.spec import LinuxResources, Process, Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sharing import Program

    NewCase = Callable[..., contextlib.AbstractContextManager["Case"]]

MB = 1 << 20

#: Each configuration: made by one, used by the other. Of the last ones, our side is the command line.
MATRIX = [
    *((maker, user, name) for maker, user in (("runc", "library"), ("library", "runc")) for name in CONFIGURATIONS),
    *((maker, user, "limited") for maker, user in (("runc", "command"), ("command", "runc"))),
]

#: What a process is, as it sees it: all that does not depend on which process it is.
LOOK = r"""
pwd; umask
busybox env | busybox sort
grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp|SigBlk|Cpus_allowed_list|Mems_allowed_list)' /proc/self/status
cd /proc/self
cat uid_map gid_map setgroups limits cgroup oom_score_adj
for one in ns/*; do echo $one $(busybox readlink $one); done
ls fd
set -- $(cat /proc/$$/stat)
[ $6 = $1 ] && echo "in a session of its own"
[ $7 = 0 ] && echo "without a terminal"
"""

#: What a process sees of that; of system calls the last one and the one before it.
SEEN = {
    "filtered": ("Seccomp: 2", "-77", "-88"),
    "mapped": ("0 600000 1000", "1000 700000 1", "0 610000 1000", "1000 710000 1", "Uid: 0 0 0 0"),
    "confined": (
        *("/tmp", "HELLO=wor ld", "EMPTY=", "321", "NoNewPrivs: 1", "Uid: 1000 1000 1000 1000"),
        *("Gid: 1001 1001 1001 1001", "Max open files 300 300 files", "Max core file size 0 7 bytes"),
        *(f"Cap{kind}: {value:016x}" for kind, value in (("Bnd", 0x2021), ("Inh", 0x21), ("Prm", 0x20))),
        *(f"Cap{kind}: {value:016x}" for kind, value in (("Eff", 0x20), ("Amb", 0x20))),
    ),
}
UMASKS = {"confined": "0027"}


class Programs(NamedTuple):
    """Those that share a state root."""

    root: Path
    runc: Commands
    library: Library
    command: Commands


class Case(NamedTuple):
    """A container, and who has to do with it."""

    id: str
    programs: Programs
    maker: Program
    user: Program
    name: str

    def stored(self) -> dict[str, Any]:
        """Return what state.json says."""
        found: dict[str, Any] = json.loads((self.programs.root / self.id / "state.json").read_bytes())
        return found

    def limit(self, file: str) -> str:
        """Return the text of a file in the cgroup of its controller."""
        paths, controller = self.stored()["cgroup_paths"], file.partition(".")[0]
        return Path(paths[HOST.key_of(controller)], file).read_text().strip()


@pytest.fixture(scope="module")
def place(rootfs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a directory with a root file system that every root of ours can reach."""
    made = add_probe(rootfs, tmp_path_factory.mktemp("probe") / "rootfs")
    path = Path(tempfile.mkdtemp(prefix="ocikit-test-"))
    path.chmod(0o711)
    subprocess.run(["cp", "-a", made, path / "rootfs"], check=True)
    os.chown(path / "rootfs", USERS[0][1], GROUPS[0][1])
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def make_bundle(place: Path) -> Callable[..., Path]:
    """Make bundles, with parts of the default configuration changed."""

    def make(name: str, *, process: Any = None, linux: Any = None, **top: Any) -> Path:
        default = Spec.default()
        assert default.process is not None
        assert default.process.capabilities is not None
        changed = {
            "args": ("sh", "-c", "busybox sleep 2000 & exec sleep 1000"),
            "terminal": False,
            "capabilities": attrs.evolve(default.process.capabilities, ambient=()),
        } | (process or {})
        assert default.root is not None
        spec = default.with_process(**changed).with_linux(**(linux or {}))
        spec = attrs.evolve(spec, root=attrs.evolve(default.root, path=str(place / "rootfs")), **top)
        path = place / name
        path.mkdir(mode=0o700)
        (path / "config.json").write_bytes(spec.to_json())
        return path

    return make


@pytest.fixture(scope="module")
def around(place: Path, make_bundle: Callable[..., Path], new_id: Callable[[], str]) -> Iterator[Surroundings]:
    """Give a place for hooks to write to, and a container whose namespaces others join."""
    with runtime.create(place / "others", new_id(), make_bundle("neighbour"), stdin="null") as container:
        container.start()
        yield Surroundings(place / "hooks.log", container.pid)


@pytest.fixture(scope="module")
def programs(place: Path, peer: Callable[[str], str]) -> Programs:
    """Give all programs, on the state root of these tests."""
    root = place / "state"
    return Programs(root, Commands(root, peer("runc")), Library(root), ocikit_command(root))


@pytest.fixture(scope="module")
def new_case(
    programs: Programs, make_bundle: Callable[..., Path], around: Surroundings, new_id: Callable[[], str]
) -> NewCase:
    """Create containers: by one program, for another one, in a configuration, and with more changes to that."""

    @contextlib.contextmanager
    def new(maker: str, user: str, name: str, **changed: Any) -> Iterator[Case]:
        container_id = new_id()
        bundle = make_bundle(container_id, **configuration(name, around) | changed)
        made = Case(container_id, programs, getattr(programs, maker), getattr(programs, user), name)
        try:
            made.maker.create(container_id, bundle)
            yield made
        finally:
            programs.library.remove(container_id)

    return new


@pytest.fixture(scope="module", params=MATRIX, ids="-".join)
def case(request: pytest.FixtureRequest, new_case: NewCase) -> Iterator[Case]:
    """Give a container that one program created and the other one started."""
    with new_case(*request.param) as found:
        told = found.user.execute(found.id, "cat", "/proc/1/comm")
        assert told[0] == 0, told
        assert_agreed(found, "created")
        found.user.start(found.id)
        yield found


def assert_agreed(case: Case, status: str) -> None:
    """Compare what the two tell of a container."""
    one, other = case.maker.state(case.id), case.user.state(case.id)
    assert one["status"] == other["status"] == status
    if isinstance(case.maker, Commands) and isinstance(case.user, Commands):
        assert one | {"owner": "root"} == other | {"owner": "root"}  # which runc tells in its list only
    for key in ("id", "pid", "bundle", "annotations"):
        assert (one.get(key) or None) == (other.get(key) or None), key  # runc tells the pid 0, too


def test_what_they_tell(case: Case) -> None:
    """Both say the same of it, and find the same processes."""
    assert_agreed(case, "running")
    assert case.user.ids() == [case.id]
    assert case.programs.command.described() == case.programs.runc.described() != []
    while len(case.user.processes(case.id)) < 2:
        os.sched_yield()
    assert sorted(case.user.processes(case.id)) == sorted(case.maker.processes(case.id))


def test_what_further_processes_are(case: Case) -> None:
    """Whoever starts them, they are the same; and they are what the configuration says."""
    ours, theirs = look(case, case.user), look(case, case.maker)
    umasks = {type(one): text.pop(1) for one, text in ((case.user, ours), (case.maker, theirs))}
    assert ours == theirs
    assert set(SEEN.get(case.name, ())) - set(ours) == set()
    # What runc 1.1 starts has the umask of whoever called it.
    assert umasks.get(Library, UMASKS.get(case.name, "0022")) == UMASKS.get(case.name, "0022")
    first = case.user.state(case.id)["pid"]
    for name in os.listdir(f"/proc/{first}/ns"):
        assert f"ns/{name} {os.readlink(f'/proc/{first}/ns/{name}')}" in ours
    cgroups = Path(f"/proc/{first}/cgroup").read_text().splitlines()
    assert case.id in cgroups[0]
    if case.name == "separate":
        cgroups = [f"{line.rpartition(':')[0]}:/" for line in cgroups]
    assert set(cgroups) - set(ours) == set()


def look(case: Case, program: Program) -> list[str]:
    """Return what a further process sees of itself."""
    calls = (f"n:{number('getsid')}:{1 << 30}", f"n:{number('setpriority')}:0:0:5")
    code, text = program.execute(case.id, "sh", "-c", f"{LOOK}\nprobe {' '.join(calls)}")
    assert code == 0, text
    # What the library starts has a cgroup of its own below the container's.
    return [
        " ".join(re.sub(rf"(?<!:)/{PREFIX}[-0-9]+$|(?<=:/){PREFIX}[-0-9]+$", "", line).split())
        for line in text.splitlines()
    ]


def test_paused(case: Case) -> None:
    """Nothing is started in it until it goes on."""
    case.user.pause(case.id)
    assert_agreed(case, "paused")
    for one in (case.user, case.maker):
        code, text = one.execute(case.id, "true")
        assert code is None
        assert "cannot exec in a paused container" in text
    case.maker.resume(case.id)
    assert case.user.execute(case.id, "true") == (0, "")
    case.maker.pause(case.id)
    case.user.resume(case.id)
    assert_agreed(case, "running")


def test_other_limits(case: Case) -> None:
    """One changes them, and the other goes on from there."""
    case.user.update(case.id, Limits(memory=80 * MB, swap=90 * MB, pids=30, quota=30000, period=60000))
    assert case.limit("pids.max") == "30"
    assert stored_limits(case) == (80 * MB, 90 * MB, 30, 30000, 60000)
    case.maker.limit_pids(case.id, 40)
    if V2:
        found = [case.limit(file) for file in ("memory.max", "memory.swap.max", "pids.max", "cpu.max")]
        assert found == [str(80 * MB), str(10 * MB), "40", "30000 60000"]
    else:
        files = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "pids.max")
        found = [case.limit(file) for file in (*files, "cpu.cfs_quota_us", "cpu.cfs_period_us")]
        assert found == [str(80 * MB), str(90 * MB), "40", "30000", "60000"]
    # What is not named, runc 1.1 leaves as it is, and forgets.
    kept = (80 * MB, 90 * MB, 40, 30000, 60000)
    forgotten = (None, None, 40, None, None)
    assert stored_limits(case) in ((kept, forgotten) if case.maker is case.programs.runc else (kept,))
    case.user.update(case.id, Limits(memory=70 * MB, swap=75 * MB, pids=40, quota=20000, period=50000))
    assert stored_limits(case) == (70 * MB, 75 * MB, 40, 20000, 50000)


def stored_limits(case: Case) -> tuple[int | None, ...]:
    """Return the limits that are written down."""
    config = case.stored()["config"]
    found = parse_resources(config["cgroups"], config["version"])
    memory, cpu, pids = found.memory, found.cpu, found.pids
    return (
        *((memory.limit, memory.swap) if memory is not None else (None, None)),
        pids.limit if pids is not None else None,
        *((cpu.quota, cpu.period) if cpu is not None else (None, None)),
    )


def test_what_it_uses(case: Case) -> None:
    """We count what runc counts, and more."""
    found = {one is case.programs.runc: one.usage(case.id) for one in (case.user, case.maker)}
    assert "\n".join(different(found[False], found[True])) == ""


#: What newer ones tell, too, and what is known of hugetlb in the v2 hierarchy of hybrid hosts, and of networks.
MORE = re.compile(r".*\.psi|\.hugetlb\..*|\.memory\.usage\.max|\.network_interfaces")


def different(ours: Any, theirs: Any, path: str = "") -> list[str]:
    """Return where two documents say different things. Numbers change between two looks, but not by much."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        keys = sorted(ours.keys() | theirs.keys())
        return [line for key in keys for line in different(ours.get(key), theirs.get(key), f"{path}.{key}")]
    if theirs is None and MORE.fullmatch(path):
        return []
    ours, theirs = (0 if one is None else one for one in (ours, theirs))  # left out
    numbers = isinstance(ours, int) and isinstance(theirs, int)
    near = numbers and abs(ours - theirs) <= max(8, ours // 4, MB if "memory" in path else 40_000_000)
    return [] if near or ours == theirs else [f"{path}: {ours} {theirs}"]


def test_the_end(case: Case, around: Surroundings) -> None:
    """It is killed and deleted, its hooks are run once, and nothing is left of it."""
    (first, *_) = case.user.processes(case.id)
    paths = case.stored()["cgroup_paths"].values()
    assert all(map(os.path.isdir, paths))
    case.user.kill(case.id, others=case.name in {"sharing", "joined"})
    assert_agreed(case, "stopped")
    case.user.delete(case.id)
    assert not (case.programs.root / case.id).exists()
    assert not any(map(os.path.exists, paths))
    assert not Path(f"/proc/{first}/root/bin/probe").exists()
    assert case.id not in case.maker.ids()
    if case.name == "hooked":
        told = map(json.loads, around.log.read_text().splitlines())
        (state,) = [state for state in told if state["id"] == case.id]
        assert (state["status"], state.get("pid", 0)) == ("stopped", 0)


BOTH_WAYS = pytest.mark.parametrize(("maker", "user"), [("runc", "command"), ("library", "runc")])


@BOTH_WAYS
def test_lack_of_memory(new_case: NewCase, maker: str, user: str) -> None:
    """Who waits for events of the other's container is told that its memory was used up."""
    script = "sleep 0.3; sh -c 'a=x; while :; do a=$a$a; done'; exec sleep 1000"
    limits = LinuxResources.from_dict({"memory": {"limit": 16 * MB, "swap": 16 * MB}})
    changed = {"process": {"args": ("sh", "-c", script)}, "linux": {"resources": limits}}
    with new_case(maker, user, "limited", **changed) as case, getattr(case.programs, user).events(case.id) as telling:
        try:
            case.user.start(case.id)
            assert telling.stdout is not None
            assert json.loads(telling.stdout.readline()) == {"type": "oom", "id": case.id}
        finally:
            telling.kill()


@pytest.mark.parametrize("maker", ["runc", "library"])
def test_a_process_that_says_nothing_of_rights(new_case: NewCase, maker: str) -> None:
    """It gets those of the configuration, whoever made the container: its limits are in no state of runc."""
    with new_case(maker, "library", "confined") as case:
        process = Process(args=("sh", "-c", LOOK), env=("PATH=/bin",), cwd="/")
        seen = output(runtime.load(case.programs.root, case.id), process=process)
        found = {" ".join(line.split()) for line in seen.splitlines()}
        assert {"0027", "Max open files 300 300 files", "321", "NoNewPrivs: 1", "Uid: 0 0 0 0"} <= found
        assert {f"CapBnd: {0x2021:016x}", f"CapInh: {0x21:016x}", f"CapPrm: {0x21:016x}"} <= found


# Not by runc where processes outlive the first one: 1.1 gives up on their cgroup if they take their time to end.
@pytest.mark.parametrize(
    ("maker", "user", "name"),
    [("runc", "command", "sharing"), ("runc", "command", "mapped"), ("library", "runc", "mapped")],
)
def test_forced_removal(new_case: NewCase, maker: str, user: str, name: str) -> None:
    """Even a paused container goes at once, with what outlives its first process."""
    with new_case(maker, user, name) as case:
        case.maker.start(case.id)
        while len(processes := case.maker.processes(case.id)) < 2:
            os.sched_yield()
        case.user.pause(case.id)
        paths = case.stored()["cgroup_paths"].values()
        container = runtime.load(case.programs.root, case.id)
        case.user.remove(case.id)
        assert not (case.programs.root / case.id).exists()
        container.wait(60)
        assert not any(map(os.path.exists, paths))
        assert not any(Path(f"/proc/{pid}/root/bin/probe").exists() for pid in processes)
