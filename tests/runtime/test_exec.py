"""Further processes: where they are, who they are, how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from executing import facts, namespaces_of, output

from ocikit import runtime
from ocikit.errors import (
    UnsupportedFieldError,
    ValidationError,
)
from ocikit.runtime.cgroups import ownership as cgroup_ownership
from ocikit.runtime.cgroups.branch import PREFIX
from ocikit.spec import (
    CPUAffinity,
    LinuxCapabilities,
    LinuxIDMapping,
    LinuxNamespace,
    POSIXRlimit,
    Process,
    Spec,
    User,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

QUIET: dict[str, Any] = {"stdin": "null", "stdout": "null", "stderr": "null"}


@pytest.fixture
def open_to_users(tmp_path: Path) -> Iterator[None]:
    """Let users of other user namespaces pass through the directories of the test, which pytest keeps to itself."""
    parents = [*tmp_path.parents][:3]
    modes = [parent.stat().st_mode for parent in parents]
    for parent in (tmp_path, *parents):
        parent.chmod(parent.stat().st_mode | 0o011)
    yield
    for parent, mode in zip(parents, modes, strict=True):
        parent.chmod(mode)


# ------------------------------------------------------------------------------------------------- where they are


OWN = ("pid", "network", "ipc", "uts", "mount")
MAPPED = {
    name: (LinuxIDMapping(container_id=0, host_id=200_000, size=65_536),) for name in ("uid_mappings", "gid_mappings")
}


@pytest.mark.usefixtures("open_to_users")
@pytest.mark.parametrize(
    ("kinds", "linux"),
    [
        (OWN, {}),
        ((*OWN, "cgroup"), {}),
        ((*OWN, "cgroup", "user"), MAPPED),
        (("mount", "network"), {}),
        (("mount", "pid", "time"), {}),
    ],
    ids=["default", "cgroup", "user", "shared", "time"],
)
def test_it_is_in_the_namespaces_of_the_container(
    root: Path, make_bundle: Callable[..., Path], container_id: str, kinds: tuple[str, ...], linux: dict[str, Any]
) -> None:
    """It is in exactly those that the first process is in, made by the container or shared with the host."""
    if "time" in kinds and not os.path.exists("/proc/self/ns/time"):
        kinds = tuple(kind for kind in kinds if kind != "time")
    namespaces = tuple(LinuxNamespace(type=kind) for kind in kinds)
    more: dict[str, Any] = {"hostname": ""} if "uts" not in kinds else {}
    # What every host lets be mounted, and a /dev that is not the image's.
    more["mounts"] = tuple(one for one in Spec.default().mounts if one.destination in {"/proc", "/dev", "/dev/pts"})
    bundle = make_bundle(linux={"namespaces": namespaces, "sysctl": {}, **linux}, **more)
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        container.start()
        with container.exec(["sleep", "1000"], **QUIET) as process:
            assert namespaces_of(process.pid) == namespaces_of(container.pid)
            assert os.readlink(f"/proc/{process.pid}/root") == "/"
            assert os.path.samefile(f"/proc/{process.pid}/root", f"/proc/{container.pid}/root")


def test_joined_namespaces_count_as_well(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """Of namespaces that the container joined by path, a further process is in the same ones."""
    with subprocess.Popen(["unshare", "--net", "--uts", "sleep", "1000"]) as holder:
        try:
            while os.readlink(f"/proc/{holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
                os.sched_yield()
            namespaces = (
                *(LinuxNamespace(type=kind) for kind in ("mount", "pid", "ipc")),
                LinuxNamespace(type="network", path=f"/proc/{holder.pid}/ns/net"),
                LinuxNamespace(type="uts", path=f"/proc/{holder.pid}/ns/uts"),
            )
            bundle = make_bundle(linux={"namespaces": namespaces}, hostname="")
            with runtime.create(root, container_id, bundle, stdin="null") as container:
                container.start()
                with container.exec(["sleep", "1000"], **QUIET) as process:
                    assert namespaces_of(process.pid) == namespaces_of(container.pid)
                    assert namespaces_of(process.pid)["net"] == os.readlink(f"/proc/{holder.pid}/ns/net")
        finally:
            holder.kill()


def test_it_is_in_the_cgroups_of_the_container(running: runtime.Container) -> None:
    """It is counted and limited like everything in the container, in every hierarchy; in one of them by itself."""
    with running.exec(["sleep", "1000"], **QUIET) as process:
        found, first = cgroup_ownership.members(process.pid), cgroup_ownership.members(running.pid)
        different = {key: path for key, path in found.items() if path != first[key]}
        assert list(different) == [next(key for key in ("", "freezer") if key in first)]
        assert all(path.startswith(f"{first[key]}/{PREFIX}") for key, path in different.items())
        assert process.pid in running.processes()


def test_the_same_command_is_planned_once(running: runtime.Container, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a cgroup of its own, and the plan is the same but for its name."""
    assert output(running, "cat", "/proc/self/cgroup") != ""
    monkeypatch.setattr("ocikit.runtime.plan.further.compile_exec", None)
    again = [output(running, "cat", "/proc/self/cgroup") for _ in range(2)]
    assert PREFIX in again[0]
    assert again[0] != again[1]


def test_it_dies_with_the_container(root: Path, bundle: Path, container_id: str) -> None:
    """When the container is destroyed, its further processes are, too."""
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        container.start()
        process = container.exec(["sleep", "1000"], **QUIET)
    assert process.wait(timeout=30).signal == signal.SIGKILL


def test_a_created_container_can_be_entered(created: runtime.Container) -> None:
    """Before the program of the container runs, further ones can."""
    assert output(created, "echo", "early") == "early"


def test_from_another_process(running: runtime.Container) -> None:
    """Whoever finds the container can start processes in it, and gets their exit code."""
    script = (
        "import sys; from ocikit import runtime; container = runtime.load(*sys.argv[1:]);"
        "process = container.exec(['sh', '-c', 'id -u; exit 5'], stdin='null');"
        "sys.exit(process.wait().exit_code)"
    )
    command = [sys.executable, "-c", script, running.root, running.id]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (5, "0\n"), done.stderr


def test_at_the_same_time(running: runtime.Container) -> None:
    """Threads start processes in one container side by side."""
    codes: list[int | None] = []

    def run() -> None:
        for number in range(5):
            process = running.exec(["sh", "-c", f"exit {number}"], **QUIET)
            codes.append(process.wait().exit_code)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes, key=str) == sorted([*range(5)] * 6)


# ---------------------------------------------------------------------------------------------------- who they are


def configured(**changes: Any) -> dict[str, Any]:
    """Return a process that differs from the defaults in everything that can be seen."""
    names = ("CAP_KILL", "CAP_NET_RAW")
    return {
        "user": User(uid=7, gid=8, additional_gids=(9, 10), umask=0o27),
        "cwd": "/tmp",
        "env": ("PATH=/bin", "A=1", "B=2"),
        "capabilities": LinuxCapabilities(
            bounding=names, effective=names, permitted=names, inheritable=("CAP_KILL",), ambient=("CAP_KILL",)
        ),
        "rlimits": (POSIXRlimit(type="RLIMIT_NOFILE", soft=77, hard=99),),
        "no_new_privileges": True,
        "oom_score_adj": 123,
        **changes,
    }


@pytest.fixture
def particular(root: Path, make_bundle: Callable[..., Path], container_id: str) -> Iterator[runtime.Container]:
    """Give a running container whose process is like no other."""
    with runtime.create(root, container_id, make_bundle(process=configured()), stdin="null") as container:
        container.start()
        yield container


SEEN = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Uid", "Gid", "Groups", "Umask")


def test_arguments_get_the_process_of_the_configuration(particular: runtime.Container) -> None:
    """They replace its arguments, and everything else is as it is for the first process."""
    with open(f"/proc/{particular.pid}/status", encoding="ascii") as file:
        first = dict(line.split(":", 1) for line in file)
    found = facts(particular)
    assert {name: found[name] for name in SEEN} == {name: first[name].strip() for name in SEEN}
    shown = output(
        particular, "sh", "-c", "pwd; ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj; echo $A $B $HOME"
    )
    assert shown.split() == ["/tmp", "77", "99", "123", "1", "2", "/"]


def test_what_is_said_with_arguments_counts(particular: runtime.Container) -> None:
    """Variables are added or replaced; directory and user replace those of the configuration."""
    shown = output(
        particular,
        "sh", "-c", "pwd; id -u; id -g; id -G; echo $A $B $C; umask",
        env={"B": "two", "C": "3"}, cwd="/bin", user=User(uid=1000, gid=1001),
    )  # fmt: skip
    assert shown.split() == ["/bin", "1000", "1001", "1001", "1", "two", "3", "0027"]


def test_a_process_counts_as_it_stands(particular: runtime.Container) -> None:
    """What it names is what it gets; rights and limits that it does not name are those of the container."""
    process = Process(args=("cat", "/proc/self/status"), cwd="/", env=("PATH=/bin",))
    found = facts(particular, process)
    assert found["Uid"].split() == ["0"] * 4
    assert found["Groups"] == ""
    assert found["Umask"] == "0027"
    assert int(found["CapPrm"], 16) == 1 << 5 | 1 << 13
    assert found["NoNewPrivs"] == "1"
    shell = attrs.evolve(process, args=("sh", "-c", "ulimit -Sn; cat /proc/self/oom_score_adj; env; pwd"))
    assert output(particular, process=shell).split()[:2] == ["77", "123"]
    assert "A=1" not in output(particular, process=shell)


def test_more_capabilities_are_granted_only_when_they_are_named(particular: runtime.Container) -> None:
    """A process that names capabilities has these, and the inheritable set is never filled by itself."""
    names = ("CAP_CHOWN",)
    capabilities = LinuxCapabilities(bounding=names, effective=names, permitted=names)
    process = Process(args=("x",), cwd="/", env=("PATH=/bin",), capabilities=capabilities)
    found = facts(particular, attrs.evolve(process, args=("cat", "/proc/self/status")))
    assert {name: int(found[name], 16) for name in SEEN[:5]} == {
        "CapInh": 0,
        "CapPrm": 1,
        "CapEff": 1,
        "CapBnd": 1,
        "CapAmb": 0,
    }


def test_cpus(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """The affinity of the configuration holds; without one a process is not kept to the CPUs of whoever started it."""
    every = sorted(os.sched_getaffinity(0))
    last = str(every[-1])
    bundle = make_bundle(process={"exec_cpu_affinity": CPUAffinity(initial=str(every[0]), final=last)})
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        container.start()
        assert facts(container)["Cpus_allowed_list"] == last
    with runtime.create(root, container_id, make_bundle(name="other"), stdin="null") as container:
        container.start()
        os.sched_setaffinity(0, {every[0]})
        try:
            with container.exec(["sleep", "1000"], **QUIET) as process:
                allowed = os.sched_getaffinity(process.pid)
        finally:
            os.sched_setaffinity(0, every)
        assert set(every) <= allowed


@pytest.mark.parametrize(
    ("process", "error", "words"),
    [
        (Process(args=(), cwd="/"), ValidationError, r"process\.args"),
        (Process(args=("true",), cwd="relative"), ValidationError, r"process\.cwd"),
        (Process(args=("true",), cwd="/", apparmor_profile="x"), UnsupportedFieldError, "apparmorProfile"),
        (Process(args=("a\0b",), cwd="/"), ValidationError, "NUL"),
        ("true", TypeError, "sequence of arguments"),
        (["true", 1], TypeError, "sequence of arguments"),
    ],
)
def test_what_cannot_be_done_is_refused(
    running: runtime.Container, process: Any, error: type[Exception], words: str
) -> None:
    """What violates the specification, or would have to be ignored, is an error before anything is done."""
    with pytest.raises(error, match=words):
        running.exec(process)
    assert len(running.processes()) == 1


# ------------------------------------------------------------------------------------------------- what they are given


def test_nothing_of_the_host_is_inherited(running: runtime.Container) -> None:
    """Of descriptors there are the standard streams, of signals and sessions nothing."""
    with running.exec(["sleep", "1000"], **QUIET) as process:
        assert sorted(os.listdir(f"/proc/{process.pid}/fd")) == ["0", "1", "2"]
        with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
            status = dict(line.split(":", 1) for line in file)
        assert {status[name].strip() for name in ("SigIgn", "SigBlk", "SigCgt")} == {"0" * 16}
        assert os.getsid(process.pid) == process.pid
        assert os.path.basename(os.readlink(f"/proc/{process.pid}/exe")) == "busybox"


def test_descriptors_that_are_preserved(running: runtime.Container) -> None:
    """They become 3, 4, … in their order, and remain ours."""
    pipes = [os.pipe() for _ in range(3)]
    try:
        fds = [writing for _, writing in pipes]
        output(running, "sh", "-c", "for fd in 3 4 5; do eval 'echo $fd >&'$fd; done", preserve_fds=fds)
        for (reading, writing), expected in zip(pipes, b"345", strict=True):
            assert os.read(reading, 10) == b"%c\n" % expected
            os.fstat(writing)
    finally:
        for fd in (fd for pair in pipes for fd in pair):
            os.close(fd)


def test_pipes_belong_to_the_user_of_the_process(running: runtime.Container) -> None:
    """Whoever it runs as can open its own standard streams again."""
    assert output(running, "sh", "-c", "echo out > /dev/stdout", user=User(uid=1000, gid=1000)) == "out"


def test_input_and_errors(running: runtime.Container) -> None:
    """Each stream is what it was asked to be."""
    script = "cat; echo wrong >&2"
    with running.exec(["sh", "-c", script], stdin="pipe", stdout="pipe", stderr="pipe") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"in")
        process.stdin.close()
        assert process.stdout.read() == b"in"
        assert process.stderr.read() == b"wrong\n"
