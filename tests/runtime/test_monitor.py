"""Containers that may outlive the process that made them, and the monitor that stays with them."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from ocikit import runtime
from ocikit._fs import Descriptor
from ocikit.errors import NotExistError
from ocikit.runtime import CreateOptions, LogOptions
from ocikit.runtime.cgroups.hierarchies import detect, place
from ocikit.runtime.host.procfs import start_time
from ocikit.spec import Hook, Hooks, LinuxNamespace, LinuxResources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 30.0

#: Makes a container, says its pid, and does as it is told.
OWNER = """
import os, sys, time
from ocikit import runtime
container = runtime.create(sys.argv[1], sys.argv[2], sys.argv[3], lifetime=sys.argv[4])
container.start()
print(container.pid, container._find_monitor().pid, flush=True)
exec(sys.argv[5])
"""


class Owner(NamedTuple):
    """A process that has made a container."""

    init: int
    monitor: int
    process: subprocess.Popen[bytes]

    def die(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def say(self, word: bytes = b"\n") -> None:
        """Let it go on to its end."""
        self.process.communicate(word, PATIENCE)


@pytest.fixture
def own(root: Path, container_id: str) -> Iterator[Callable[..., Owner]]:
    """Start processes that make a container and do something then."""
    with contextlib.ExitStack() as stack:

        def start(bundle: Path, then: str = "time.sleep(1000)", lifetime: str = "process") -> Owner:
            command = [sys.executable, "-c", OWNER, str(root), container_id, str(bundle), lifetime, then]
            process = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            stack.callback(process.kill)
            assert process.stdout is not None
            init, monitor = map(int, process.stdout.readline().split())
            return Owner(init, monitor, process)

        yield start


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended; on some hosts nobody reaps it."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    return True


def cgroups_of(name: str) -> list[str]:
    """Return those cgroups of a container that exist."""
    return [path for path in place(detect(), "", name).values() if os.path.exists(path)]


def recorded(root: Path, name: str) -> dict[str, Any]:
    """Read the exit.json of a container."""
    found: dict[str, Any] = json.loads((root / name / "exit.json").read_text())
    return found


@pytest.mark.parametrize("code", [0, 7, 255])
def test_the_end_is_written_down(
    root: Path, make_bundle: Callable[..., Path], container_id: str, own: Callable[..., Owner], code: int
) -> None:
    """Whoever asks learns from exit.json how a detached container ended, and when, also after its creator is gone."""
    owner = own(make_bundle("sh", "-c", f"exit {code}"), "", lifetime="detached")
    assert owner.process.wait(PATIENCE) == 0
    container = runtime.load(root, container_id)
    status = container.wait(PATIENCE)
    assert (status.exit_code, status.signal) == (code, None)
    found = recorded(root, container_id)
    assert (found["exit_code"], found["signal"], found["oom"], found["timed_out"]) == (code, None, False, False)
    state = container.state()
    assert state.exit_status == status
    assert state.started is not None
    assert state.finished is not None
    assert state.started <= state.finished
    assert status.user_time is not None
    eventually(lambda: is_gone(owner.monitor))
    container.destroy()
    assert list(root.iterdir()) == []


def test_a_signal_is_written_down(root: Path, bundle: Path, container_id: str) -> None:
    """A container that is killed was ended by that signal."""
    with runtime.create(root, container_id, bundle, lifetime="detached") as container:
        container.start()
        container.kill()
        assert container.wait(PATIENCE)[:2] == (None, signal.SIGKILL)
        assert recorded(root, container_id)["signal"] == signal.SIGKILL
        container.destroy()


@pytest.mark.parametrize("lifetime", ["scope", "detached"])
def test_running_out_of_memory_is_written_down(
    root: Path, make_bundle: Callable[..., Path], container_id: str, lifetime: Any
) -> None:
    """Whether the kernel killed for memory is part of how a container ended, with a monitor and without."""
    limited = {"resources": LinuxResources.from_dict({"memory": {"limit": 16 << 20, "swap": 16 << 20}})}
    bundle = make_bundle("sh", "-c", "x=x; while :; do x=$x$x; done", linux=limited)
    container = runtime.create(root, container_id, bundle, lifetime=lifetime)
    container.start()
    status = container.wait(PATIENCE)
    assert recorded(root, container_id)["oom"] is True
    container.destroy()
    assert status.oom is True
    assert not status.timed_out


@pytest.mark.parametrize("namespaces", ["own pids", "pids of the host"])
def test_time_is_up(root: Path, make_bundle: Callable[..., Path], container_id: str, namespaces: str) -> None:
    """The monitor ends a container when its time is up, with everything in it, and says so."""
    kinds = ("mount", "network", "ipc", "uts", *(("pid",) if namespaces == "own pids" else ()))
    linux = {"namespaces": tuple(LinuxNamespace(type=kind) for kind in kinds), "masked_paths": (), "readonly_paths": ()}
    bundle = make_bundle("sh", "-c", "sleep 1000 & sleep 1000", linux=linux)
    options = CreateOptions(timeout=0.3)
    container = runtime.create(root, container_id, bundle, lifetime="detached", options=options)
    time.sleep(0.5)
    assert container.status() is runtime.Status.CREATED, "the time begins with the program"
    container.start()
    pids = container.processes()
    status = container.wait(PATIENCE)
    assert (status.exit_code, status.signal, status.timed_out) == (None, signal.SIGKILL, True)
    eventually(lambda: all(map(is_gone, pids)))
    container.destroy()
    assert cgroups_of(container_id) == []


@pytest.mark.parametrize("seconds", [0, -1, 1e30, float("inf"), float("nan"), "3"])
def test_no_time(root: Path, bundle: Path, container_id: str, seconds: Any) -> None:
    """What is no time is refused, and nothing is left."""
    with pytest.raises(ValueError, match="timeout"):
        runtime.create(root, container_id, bundle, lifetime="detached", options=CreateOptions(timeout=seconds))
    assert list(root.iterdir()) == []


def test_a_container_of_a_process_ends_with_it(
    root: Path, bundle: Path, container_id: str, own: Callable[..., Owner]
) -> None:
    """A process that is killed takes its containers along: processes, cgroups and state."""
    owner = own(bundle)
    assert not is_gone(owner.init)
    owner.die()
    eventually(lambda: is_gone(owner.init) and is_gone(owner.monitor))
    assert list(root.iterdir()) == []
    assert cgroups_of(container_id) == []


def test_forked_children_do_not_keep_a_container(
    root: Path, bundle: Path, container_id: str, own: Callable[..., Owner]
) -> None:
    """A process that is killed takes its containers along, whatever forked children of it live on."""
    owner = own(bundle, "child = os.fork(); print(child, flush=True) if child else None; time.sleep(1000)")
    assert owner.process.stdout is not None
    with Descriptor(os.pidfd_open(int(owner.process.stdout.readline()))) as child:
        owner.die()
        eventually(lambda: is_gone(owner.init) and is_gone(owner.monitor))
        assert not select.select([child], [], [], 0)[0]
        assert list(root.iterdir()) == []
        assert cgroups_of(container_id) == []
        signal.pidfd_send_signal(child.fd, signal.SIGKILL)
        assert select.select([child], [], [], PATIENCE)[0]


def test_an_interpreter_that_ends_takes_its_containers_along(
    root: Path, bundle: Path, container_id: str, own: Callable[..., Owner]
) -> None:
    """A container of a process is destroyed when the interpreter ends, and not when its object is forgotten."""
    owner = own(bundle, "del container; import gc; gc.collect(); sys.stdin.readline()")
    assert runtime.load(root, container_id).status() is runtime.Status.RUNNING
    owner.say()
    assert is_gone(owner.init)
    assert is_gone(owner.monitor)
    assert list(root.iterdir()) == []
    assert cgroups_of(container_id) == []


def test_an_end_before_that_of_the_owner(
    root: Path, make_bundle: Callable[..., Path], container_id: str, own: Callable[..., Owner]
) -> None:
    """What is left of a container that has ended is there for its owner, and goes with it."""
    owner = own(make_bundle("sh", "-c", "exit 5"))
    assert runtime.load(root, container_id).wait(PATIENCE).exit_code == 5
    assert not is_gone(owner.monitor)
    owner.die()
    eventually(lambda: is_gone(owner.monitor))
    assert list(root.iterdir()) == []
    assert cgroups_of(container_id) == []


def test_cgroups_that_a_container_made(root: Path, bundle: Path, container_id: str, own: Callable[..., Owner]) -> None:
    """The monitor removes the cgroups that others made below those of the container, too."""
    owner = own(bundle)
    for path in cgroups_of(container_id):
        (Path(path) / "one" / "two").mkdir(parents=True)
    owner.die()
    eventually(lambda: is_gone(owner.init) and is_gone(owner.monitor))
    assert cgroups_of(container_id) == []
    assert list(root.iterdir()) == []


def test_hooks_are_left_to_others(
    root: Path, make_bundle: Callable[..., Path], container_id: str, own: Callable[..., Owner]
) -> None:
    """A monitor runs no hooks: a container that has some for its end is killed, and left to be destroyed."""
    owner = own(make_bundle(hooks=Hooks(poststop=(Hook(path="/bin/true"),))))
    owner.die()
    eventually(lambda: is_gone(owner.monitor))
    container = runtime.load(root, container_id)
    assert container.wait(PATIENCE).signal == signal.SIGKILL
    assert recorded(root, container_id)["owner_gone"] is True
    container.destroy()
    assert list(root.iterdir()) == []
    assert cgroups_of(container_id) == []


def test_a_monitor_that_is_killed(root: Path, bundle: Path, container_id: str, own: Callable[..., Owner]) -> None:
    """Its container goes on; how it ends is told by the kernel, where that keeps it, or unknown, and never invented."""
    owner = own(bundle, "", lifetime="detached")
    assert owner.process.wait(PATIENCE) == 0
    container = runtime.load(root, container_id)
    os.kill(owner.monitor, signal.SIGKILL)
    eventually(lambda: is_gone(owner.monitor))
    assert container.status() is runtime.Status.RUNNING
    container.kill()
    status = container.wait(PATIENCE)
    assert status[:2] in {(None, signal.SIGKILL), (None, None)}
    assert is_gone(owner.init)
    container.destroy()
    assert list(root.iterdir()) == []


def test_a_block_ends_only_what_belongs_to_it(root: Path, bundle: Path, container_id: str) -> None:
    """At the end of a block, a container of the process goes on."""
    with runtime.create(root, container_id, bundle, lifetime="process") as container:
        container.start()
    again = runtime.load(root, container_id)
    assert again.status() is runtime.Status.RUNNING
    again.destroy(force=True)
    with pytest.raises(NotExistError):
        runtime.load(root, container_id)


def test_what_is_forgotten_is_reaped(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """The monitor of a container whose object is gone is no zombie for long."""
    container = runtime.create(root, container_id, make_bundle("true"), lifetime="detached")
    monitor = container._find_monitor()
    assert monitor is not None
    pid = monitor.pid
    container.start()
    container.wait(PATIENCE)
    del container, monitor
    gc.collect()
    eventually(lambda: is_gone(pid))
    runtime.run(root, f"{container_id}-next", make_bundle("true"))
    assert not Path(f"/proc/{pid}").exists()
    runtime.load(root, container_id).destroy()


def test_nothing_of_the_host_is_kept_open(root: Path, bundle: Path, container_id: str) -> None:
    """A monitor holds what it was given and nothing else; a created container holds nothing of the monitor's."""
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    with runtime.create(root, container_id, bundle, lifetime="process") as container:
        monitor = container._find_monitor()
        assert monitor is not None

        def held(pid: int) -> list[str]:
            return sorted(os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir())

        eventually(lambda: "state.json" not in str(held(monitor.pid)) and len(held(monitor.pid)) == 10)
        kinds = Counter(one.partition(":")[0] for one in held(monitor.pid))
        # The owner and init; output, and what ends with the start; who attaches; the state, twice, for the log, too.
        state = f"{root}/{container_id}"
        assert kinds == {"anon_inode": 2, "pipe": 3, "socket": 1, str(root): 1, state: 2, f"{state}/log": 1}
        assert os.readlink(f"/proc/self/fd/{writing}") not in held(monitor.pid)
        assert not [one for one in held(container.pid) if str(root) in one and "exec.fifo" not in one]
        container.destroy(force=True)
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("lifetime", ["detached", "process"])
def test_what_cannot_be_made_leaves_nothing(
    root: Path, make_bundle: Callable[..., Path], container_id: str, lifetime: Any
) -> None:
    """A creation that fails leaves no monitor and nothing else."""
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="missing"):
        runtime.create(root, container_id, make_bundle("/missing"), lifetime=lifetime)
    assert list(root.iterdir()) == []
    assert cgroups_of(container_id) == []
    assert set(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_no_directory_of_the_host_is_kept_busy(
    root: Path, bundle: Path, container_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever stays with a container is in no directory that its creator happened to be in."""
    monkeypatch.chdir(tmp_path)
    with runtime.create(root, container_id, bundle, lifetime="process") as container:
        container.start()
        process = container.exec(["sleep", "1000"], stdin="null", stdout="null", stderr="null")
        monitor, attendant = container._find_monitor(), process._attendant
        assert monitor is not None
        assert attendant.pid != process.pid
        for one in (monitor, attendant):
            eventually(lambda one=one: os.readlink(f"/proc/{one.pid}/cwd") == "/")  # type: ignore[misc]
        process.end()
        container.destroy(force=True)


def test_without_a_monitor(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """Who is a monitor already does without; then this process waits for the container itself."""
    options = CreateOptions(monitor=False)
    with pytest.raises(ValueError, match="monitor"):
        runtime.create(root, container_id, make_bundle(), lifetime="detached", stdout="monitor", options=options)
    container = runtime.create(
        root, container_id, make_bundle("sh", "-c", "exit 4"), lifetime="detached", stdin="null", options=options
    )
    assert int(Path(f"/proc/{container.pid}/stat").read_text().rpartition(")")[2].split()[1]) == os.getpid()
    container.start()
    assert container.wait(PATIENCE).exit_code == 4
    container.destroy()


@pytest.mark.parametrize("options", [{"timeout": 3}, {"log": LogOptions(max_files=3)}])
def test_nothing_for_a_monitor_is_ignored(root: Path, bundle: Path, container_id: str, options: Any) -> None:
    """What only a monitor could heed is refused where there is none."""
    for made in (CreateOptions(**options), CreateOptions(monitor=False, **options)):
        for lifetime in ("scope", "detached") if not made.monitor else ("scope",):
            with pytest.raises(ValueError, match=next(iter(options))):
                runtime.create(root, container_id, bundle, lifetime=lifetime, options=made)


def test_a_bystander_that_a_note_names(root: Path, bundle: Path, container_id: str, own: Callable[..., Owner]) -> None:
    """A process that is no monitor is not ended with a container, whatever is noted."""
    owner = own(bundle, "", lifetime="detached")
    assert owner.process.wait(PATIENCE) == 0
    note = root / container_id / "ocikit.json"
    document = json.loads(note.read_text())
    with subprocess.Popen(["sleep", "1000"]) as bystander:
        try:
            started = start_time(bystander.pid)
            document["monitor"] |= {"pid": bystander.pid, "start_time": started}
            note.write_text(json.dumps(document))
            runtime.load(root, container_id).destroy(force=True)
            assert bystander.poll() is None
        finally:
            bystander.kill()
    eventually(lambda: is_gone(owner.monitor))
    assert not (root / container_id).exists()


def test_a_monitor_that_is_stopped(
    root: Path, bundle: Path, container_id: str, own: Callable[..., Owner], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for the end is told by the kernel when the monitor does not say, and the container can be destroyed."""
    monkeypatch.setattr("ocikit.runtime.handle._PATIENCE", 0.1)
    owner = own(bundle, "", lifetime="detached")
    assert owner.process.wait(PATIENCE) == 0
    container = runtime.load(root, container_id)
    os.kill(owner.monitor, signal.SIGSTOP)
    container.kill()
    assert container.wait().signal == signal.SIGKILL
    container.destroy()
    eventually(lambda: is_gone(owner.monitor))
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("namespaces", ["own", "shared"])
def test_a_namesake_is_left_alone(
    root: Path, make_bundle: Callable[..., Path], container_id: str, own: Callable[..., Owner], namespaces: str
) -> None:
    """The end of an owner does nothing to a container that has taken the name of one that was removed."""
    kinds = ("mount", "network", "ipc", "uts", *(("pid",) if namespaces == "own" else ()))
    linux = {"namespaces": tuple(LinuxNamespace(type=kind) for kind in kinds), "masked_paths": (), "readonly_paths": ()}
    bundle = make_bundle("sleep", "1000", linux=linux)
    owner = own(bundle)
    os.kill(owner.init, signal.SIGKILL)
    eventually((root / container_id / "exit.json").exists)
    # As runc would remove it: without a word to the monitor.
    os.kill(owner.monitor, signal.SIGSTOP)
    document = (root / container_id / "ocikit.json").read_text()
    other = json.loads(document)
    other["monitor"] = None
    (root / container_id / "ocikit.json").write_text(json.dumps(other))
    runtime.load(root, container_id).destroy(force=True)
    namesake = runtime.create(root, container_id, bundle, lifetime="detached")
    namesake.start()
    owner.die()
    os.kill(owner.monitor, signal.SIGCONT)
    eventually(lambda: is_gone(owner.monitor))
    assert namesake.status() is runtime.Status.RUNNING
    namesake.destroy(force=True)


def test_no_room_for_the_end(tmp_path: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """What a full state root has no room for is written down when there is room again."""
    root = tmp_path / "full"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", root], check=True)
    try:
        root.chmod(0o700)
        script = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done"
        options = CreateOptions(log=LogOptions(path=tmp_path / "log"))
        container = runtime.create(
            root, container_id, make_bundle("sh", "-c", script), lifetime="detached", options=options
        )
        container.start()
        with container.logs(follow=True) as log:
            assert next(iter(log)).text == "ready"
        filler = root / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        container.signal(signal.SIGTERM)
        assert container._init().wait(PATIENCE)
        monitor = container._find_monitor()
        assert monitor is not None
        assert not monitor.wait(0.2)
        written = root / container_id / "exit.json"
        assert not written.exists()
        filler.unlink()
        assert monitor.wait(PATIENCE)
        assert json.loads(written.read_text())["exit_code"] == 3
        assert container.wait(PATIENCE).exit_code == 3
        container.destroy()
    finally:
        subprocess.run(["umount", "--lazy", root], check=True)
