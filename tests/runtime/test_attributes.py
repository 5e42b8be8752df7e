"""When, where and how a process is run: what a configuration says is what the kernel says of it in the container."""

from __future__ import annotations

import errno
import json
import os
import platform
import subprocess
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from executing import output

from ocikit import runtime
from ocikit.errors import SetupError, ValidationError
from ocikit.runtime.cgroups.hierarchies import detect
from ocikit.spec import (
    CPUAffinity,
    LinuxCPU,
    LinuxIDMapping,
    LinuxIOPriority,
    LinuxMemoryPolicy,
    LinuxNamespace,
    LinuxPersonality,
    LinuxResources,
    Process,
    Scheduler,
    User,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from peer_runc import Runc

DEADLINE = Scheduler(policy="SCHED_DEADLINE", runtime=42_000, deadline=1_000_000, period=1_000_000)


#: Whether this kernel knows of memory nodes (CONFIG_NUMA).
HAS_NODES = os.path.exists("/proc/self/numa_maps")


def machine_32() -> str:
    """Return what the kernel calls its machine in the execution domain LINUX32."""
    return subprocess.run(
        ["setarch", "linux32", "uname", "-m"], check=True, capture_output=True, text=True
    ).stdout.strip()


def realtime() -> dict[str, Any]:
    """Return what lets a process of a cgroup be a realtime one: v1 gives such time to nobody."""
    if detect().v2_only:
        return {}
    return {"resources": LinuxResources(cpu=LinuxCPU(realtime_runtime=5000, realtime_period=1_000_000))}


@pytest.fixture
def make(root: Path, make_bundle: Callable[..., Path], container_id: str) -> Iterator[Callable[..., runtime.Container]]:
    """Create and start containers that sleep, with fields of the process and of the linux section."""
    made = []

    def create(process: dict[str, Any] | None = None, **linux: Any) -> runtime.Container:
        bundle = make_bundle(process=process, linux=linux)
        container = runtime.create(root, container_id, bundle, stdin="null")
        made.append(container)
        container.start()
        return container

    yield create
    for container in made:
        container.destroy(force=True)


def scheduled(pid: int) -> tuple[int, int, int]:
    """Return policy, nice value and realtime priority of a process (proc_pid_stat(5), fields 41, 19 and 40)."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[38]), int(fields[16]), int(fields[37])


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (Scheduler(policy="SCHED_OTHER", nice=7), (0, 7, 0)),
        (Scheduler(policy="SCHED_OTHER", nice=-3), (0, -3, 0)),
        (Scheduler(policy="SCHED_BATCH", nice=19), (3, 19, 0)),
        (Scheduler(policy="SCHED_IDLE"), (5, 0, 0)),
        (Scheduler(policy="SCHED_FIFO", priority=3), (1, 0, 3)),
        (Scheduler(policy="SCHED_RR", priority=1), (2, 0, 1)),
    ],
)
def test_policies(make: Callable[..., runtime.Container], asked: Scheduler, expected: tuple[int, int, int]) -> None:
    """Policy, nice value and priority are those of the configuration, for further processes, too."""
    linux = realtime() if asked.priority else {}
    container = make({"scheduler": asked}, **linux)
    assert scheduled(container.pid) == expected
    with container.exec(("sleep", "1000"), stdin="null") as further:
        assert scheduled(further.pid) == expected


def test_deadlines(make: Callable[..., runtime.Container]) -> None:
    """The three times of a deadline are set, also where they are not to survive a fork."""
    flags = ("SCHED_FLAG_RESET_ON_FORK",)
    container = make(
        {"scheduler": Scheduler(policy="SCHED_DEADLINE", runtime=42_000, deadline=100_000, period=1_000_000)}
    )
    process = Process(args=("sleep", "1000"), cwd="/", scheduler=attrs.evolve(DEADLINE, flags=flags))
    with container.exec(process, stdin="null") as further:
        for pid, times in ((container.pid, "42000/100000/1000000"), (further.pid, "42000/1000000/1000000")):
            said = subprocess.run(["chrt", "-p", str(pid)], check=True, capture_output=True, text=True).stdout
            assert "SCHED_DEADLINE" in said
            assert times in said


def test_flags(make: Callable[..., runtime.Container]) -> None:
    """A process that is reset on fork keeps what it has, and its children do not get it."""
    asked = Scheduler(policy="SCHED_BATCH", nice=-5, flags=("SCHED_FLAG_RESET_ON_FORK",))
    container = make({"scheduler": asked, "args": ("sh", "-c", "sleep 1000 & wait")})
    assert scheduled(container.pid) == (3, -5, 0)
    child = next(pid for pid in wait_for_processes(container, 2) if pid != container.pid)
    assert scheduled(child) == (3, 0, 0)  # what is ahead of others is taken back


def wait_for_processes(container: runtime.Container, count: int) -> list[int]:
    """Return the processes of a container when there are as many as expected."""
    while len(found := container.processes()) < count:
        pass
    return found


def test_users_without_rights_have_them_set_all_the_same(
    make: Callable[..., runtime.Container], tmp_path: Path
) -> None:
    """Neither a user of its own nor a user namespace keeps a container from what the caller has the right to give."""
    mapping = (LinuxIDMapping(container_id=0, host_id=100_000, size=2000),)
    kinds = ("pid", "network", "ipc", "uts", "mount", "user")
    parents = [*tmp_path.parents][:3]
    modes = [parent.stat().st_mode for parent in parents]
    for parent in (tmp_path, *parents):
        parent.chmod(parent.stat().st_mode | 0o011)
    try:
        container = make(
            {
                "scheduler": Scheduler(policy="SCHED_OTHER", nice=-7),
                "io_priority": LinuxIOPriority(class_="IOPRIO_CLASS_RT", priority=2),
                "user": User(uid=1000, gid=1000),
            },
            namespaces=tuple(LinuxNamespace(type=kind) for kind in kinds),
            uid_mappings=mapping,
            gid_mappings=mapping,
        )
        assert scheduled(container.pid)[1] == -7
        assert output(container, "busybox", "ionice", "-p", "1") == "realtime: prio 2"
        with container.exec(("sleep", "1000"), stdin="null") as further:
            assert scheduled(further.pid)[1] == -7
    finally:
        for parent, mode in zip(parents, modes, strict=True):
            parent.chmod(mode)


def test_deadlines_need_every_cpu(make: Callable[..., runtime.Container]) -> None:
    """A container that is limited to some CPUs has no deadlines, and the error says that it is because of these."""
    if os.cpu_count() == 1:
        assert scheduled(make({"scheduler": DEADLINE}).pid)[0] == 6
        return
    resources = LinuxResources(cpu=LinuxCPU(cpus="0", mems="0"))
    with pytest.raises(
        SetupError, match=r"can't be used together with AllowedCPUs .linux.resources.cpu.cpus is 0."
    ) as caught:
        make({"scheduler": DEADLINE}, resources=resources)
    assert (caught.value.action, caught.value.filename) == ("set the scheduler", "$.process.scheduler")


def test_policies_that_no_kernel_has(make: Callable[..., runtime.Container]) -> None:
    """SCHED_ISO is a number that is reserved; the refusal is the kernel's."""
    with pytest.raises(SetupError, match="the kernel must know the policy"):
        make({"scheduler": Scheduler(policy="SCHED_ISO")})


@pytest.mark.parametrize(
    ("process", "message"),
    [
        ({"scheduler": Scheduler(policy="SCHED_OTHER", nice=20)}, r"scheduler.nice: expected a number from -20 to 19"),
        ({"scheduler": Scheduler(policy="SCHED_BATCH", nice=-21)}, r"scheduler.nice"),
        (
            {"scheduler": Scheduler(policy="SCHED_OTHER", priority=1)},
            r"scheduler.priority: only SCHED_FIFO and SCHED_RR",
        ),
        ({"scheduler": Scheduler(policy="SCHED_RR")}, r"scheduler.priority: expected a number from 1 to 99"),
        ({"scheduler": Scheduler(policy="SCHED_FIFO", priority=5, period=1)}, r"scheduler.period: only SCHED_DEADLINE"),
        ({"scheduler": attrs.evolve(DEADLINE, runtime=0)}, r"scheduler.runtime: SCHED_DEADLINE needs one"),
        ({"scheduler": attrs.evolve(DEADLINE, deadline=0)}, r"scheduler.deadline: SCHED_DEADLINE needs one"),
        ({"scheduler": attrs.evolve(DEADLINE, runtime=1023)}, r"scheduler.runtime: expected at least 1024 nanoseconds"),
        (
            {"scheduler": attrs.evolve(DEADLINE, runtime=1_000_001)},
            r"scheduler.runtime: must not exceed deadline, which is 1000000; found 1000001",
        ),
        ({"scheduler": attrs.evolve(DEADLINE, period=999_999)}, r"scheduler.deadline: must not exceed period"),
        (
            {"scheduler": attrs.evolve(DEADLINE, runtime=2**63, deadline=2**63, period=2**63)},
            r"scheduler.deadline: expected at most 9223372036854775807 nanoseconds",
        ),
        ({"scheduler": Scheduler(policy="SCHED_NONE")}, r"scheduler.policy"),
        ({"scheduler": Scheduler(policy="SCHED_OTHER", flags=("x",))}, r"scheduler.flags"),
        ({"io_priority": LinuxIOPriority(class_="IOPRIO_CLASS_BE", priority=8)}, r"ioPriority.priority"),
        ({"io_priority": LinuxIOPriority(class_="IOPRIO_CLASS_NONE")}, r"ioPriority.class"),
    ],
)
def test_attributes_that_contradict_themselves(
    make: Callable[..., runtime.Container], process: dict[str, Any], message: str
) -> None:
    """They are refused before anything is made, with the place."""
    with pytest.raises(ValidationError, match=message):
        make(process)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (LinuxIOPriority(class_="IOPRIO_CLASS_BE", priority=6), "best-effort: prio 6"),
        (LinuxIOPriority(class_="IOPRIO_CLASS_RT", priority=0), "realtime: prio 0"),
        (LinuxIOPriority(class_="IOPRIO_CLASS_IDLE"), "idle"),
    ],
)
def test_io_priorities(make: Callable[..., runtime.Container], asked: LinuxIOPriority, expected: str) -> None:
    """The first process has the one that is asked for, and so have those that come later, or another one of theirs."""
    container = make({"io_priority": asked})
    assert output(container, "busybox", "ionice", "-p", "1") == expected
    assert output(container, "busybox", "ionice") == expected
    own = LinuxIOPriority(class_="IOPRIO_CLASS_BE", priority=1)
    process = Process(args=("busybox", "ionice"), cwd="/", io_priority=own)
    assert output(container, process=process) == "best-effort: prio 1"


def test_execution_domains(make: Callable[..., runtime.Container]) -> None:
    """A container of LINUX32 is told of a machine of 32 bits, in every process."""
    container = make(personality=LinuxPersonality(domain="LINUX32"))
    with open(f"/proc/{container.pid}/personality", encoding="ascii") as file:
        assert int(file.read(), 16) & 0xFF == 8  # PER_LINUX32
    assert output(container, "busybox", "uname", "-m") == machine_32()


def test_the_usual_execution_domain(make: Callable[..., runtime.Container]) -> None:
    """LINUX is what there is without asking; flags are not defined."""
    container = make(personality=LinuxPersonality(domain="LINUX"))
    assert output(container, "busybox", "uname", "-m") == platform.machine()
    with pytest.raises(ValidationError, match=r"personality.flags"):
        make(personality=LinuxPersonality(domain="LINUX", flags=("ADDR_NO_RANDOMIZE",)))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (LinuxMemoryPolicy(mode="MPOL_BIND", nodes="0"), "bind:0"),
        (LinuxMemoryPolicy(mode="MPOL_BIND", nodes="0", flags=("MPOL_F_STATIC_NODES",)), "bind=static:0"),
        (
            LinuxMemoryPolicy(mode="MPOL_INTERLEAVE", nodes="0", flags=("MPOL_F_RELATIVE_NODES",)),
            "interleave=relative:0",
        ),
        (LinuxMemoryPolicy(mode="MPOL_PREFERRED", nodes="0"), "prefer:0"),
        (LinuxMemoryPolicy(mode="MPOL_PREFERRED_MANY", nodes="0-0"), "prefer (many):0"),
        (LinuxMemoryPolicy(mode="MPOL_LOCAL"), "local"),
        (LinuxMemoryPolicy(mode="MPOL_DEFAULT"), "default"),
    ],
)
def test_memory_policies(make: Callable[..., runtime.Container], asked: LinuxMemoryPolicy, expected: str) -> None:
    """Memory is taken from where the configuration says, by every process."""
    if not HAS_NODES:
        with pytest.raises(SetupError, match="set memory policy") as caught:
            make(memory_policy=asked)
        assert caught.value.errno == errno.ENOSYS
        return
    container = make(memory_policy=asked)
    for pid in (container.pid, None):
        if pid is None:
            lines = output(container, "head", "-n", "1", "/proc/self/numa_maps")
        else:
            with open(f"/proc/{pid}/numa_maps", encoding="ascii") as file:
                lines = file.read()
        assert lines.split(" ", 1)[1].startswith(expected + " ")


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        (LinuxMemoryPolicy(mode="MPOL_BIND", nodes="900"), SetupError, "container's cpuset, must have the nodes"),
        (LinuxMemoryPolicy(mode="MPOL_BIND"), ValidationError, "memoryPolicy.nodes"),
        (LinuxMemoryPolicy(mode="MPOL_LOCAL", nodes="0"), ValidationError, "memoryPolicy.nodes"),
        (LinuxMemoryPolicy(mode="MPOL_BIND", nodes="1-0"), ValidationError, "memoryPolicy.nodes"),
        (LinuxMemoryPolicy(mode="MPOL_BIND", nodes="70000"), ValidationError, "memoryPolicy.nodes"),
        (LinuxMemoryPolicy(mode="MPOL_NONE"), ValidationError, "memoryPolicy.mode"),
        (LinuxMemoryPolicy(mode="MPOL_LOCAL", flags=("x",)), ValidationError, "memoryPolicy.flags"),
    ],
)
def test_memory_policies_that_cannot_be(
    make: Callable[..., runtime.Container], asked: LinuxMemoryPolicy, error: type[Exception], message: str
) -> None:
    """What contradicts itself is refused before anything is made, what this host has not by the kernel."""
    with pytest.raises(error, match=message):
        make(memory_policy=asked)


def test_the_cpus_of_the_caller_are_its_own(make: Callable[..., runtime.Container]) -> None:
    """A host that keeps to one CPU makes containers that run on all CPUs of theirs."""
    before = os.sched_getaffinity(0)
    last = max(before)
    os.sched_setaffinity(0, {min(before)})
    try:
        container = make()
        assert os.sched_getaffinity(container.pid) == before
        container.destroy(force=True)
        if len(before) > 1:
            container = make(resources=LinuxResources(cpu=LinuxCPU(cpus=str(last), mems="0")))
            assert os.sched_getaffinity(container.pid) == {last}
    finally:
        os.sched_setaffinity(0, before)


def test_cpus_of_further_processes(make: Callable[..., runtime.Container]) -> None:
    """The affinity of the configuration is for processes that come later, and not for the first one."""
    cpus = os.sched_getaffinity(0)
    container = make({"exec_cpu_affinity": CPUAffinity(initial=str(min(cpus)), final=str(max(cpus)))})
    assert os.sched_getaffinity(container.pid) == cpus
    with container.exec(("sleep", "1000"), stdin="null") as further:
        assert os.sched_getaffinity(further.pid) == {max(cpus)}


def test_runc_reads_what_is_written(
    runc: Runc, root: Path, make_bundle: Callable[..., Path], container_id: str
) -> None:
    """The state has every attribute under its key and in its form, and runc goes on with the container."""
    process = {
        "scheduler": Scheduler(policy="SCHED_BATCH", nice=3),
        "io_priority": LinuxIOPriority(class_="IOPRIO_CLASS_BE", priority=5),
        "exec_cpu_affinity": CPUAffinity(initial="0", final="0-1,64"),
    }
    linux: dict[str, Any] = {"personality": LinuxPersonality(domain="LINUX32")}
    if HAS_NODES:
        linux["memory_policy"] = LinuxMemoryPolicy(mode="MPOL_BIND", nodes="0", flags=("MPOL_F_STATIC_NODES",))
    bundle = make_bundle(process=process, linux=linux)
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        config = json.loads((root / container_id / "state.json").read_text())["config"]
        assert config["scheduler"] == {"policy": "SCHED_BATCH", "nice": 3}
        assert config["io_priority"] == {"class": "IOPRIO_CLASS_BE", "priority": 5}
        assert config["exec_cpu_affinity"] == {"Initial": [1], "Final": [3, 1]}
        assert config["personality"] == {"domain": 8}
        expected = {"mode": 2, "flags": 1 << 15, "nodes": [1]} if HAS_NODES else None
        assert config.get("memory_policy") == expected
        runc("start", container_id)
        assert runc.status(container_id) == "running"
        # Without our own note, the state that runc would leave us is what further processes go by.
        (root / container_id / "ocikit.json").unlink()
        assert output(container, "busybox", "uname", "-m") == machine_32()
        with container.exec(Process(args=("sleep", "1000"), cwd="/"), stdin="null") as further:
            assert scheduled(further.pid) == (3, 3, 0)
            assert os.sched_getaffinity(further.pid) == os.sched_getaffinity(0) & {0, 1, 64}
            if HAS_NODES:
                with open(f"/proc/{further.pid}/numa_maps", encoding="ascii") as file:
                    assert " bind=static:0 " in file.readline()
