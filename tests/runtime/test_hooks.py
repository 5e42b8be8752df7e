"""Hooks: programs of the configuration that run at six moments of a container's life, and what becomes of it if not."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ocikit import runtime
from ocikit.errors import HookError, SetupError, StateError, ValidationError
from ocikit.runtime.hook_commands import KINDS
from ocikit.spec import (
    Hook,
    Hooks,
    LinuxCapabilities,
    LinuxNamespace,
    LinuxSeccomp,
    LinuxSyscall,
    Mount,
    Spec,
    User,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from peer_runc import Runc

HOST_KINDS = ("prestart", "createRuntime", "poststart", "poststop")
FATAL_KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart")
SHARED_PIDS = tuple(LinuxNamespace(type=name) for name in ("network", "ipc", "uts", "mount"))


def shell(script: str, **more: Any) -> Hook:
    """Return a hook that runs a script, with the shell of the host or of the container."""
    return Hook(path="/bin/sh", args=("sh", "-c", script), **more)


def hooks_of(**kinds: Hook | tuple[Hook, ...]) -> Hooks:
    """Return the hooks of some kinds, by the names of the specification."""
    lists: dict[str, Any] = {
        KINDS[kind]: hooks if isinstance(hooks, tuple) else (hooks,) for kind, hooks in kinds.items()
    }
    return Hooks(**lists)


class Case:
    """What a test needs: a state root, an id, and bundles whose containers see the directory ``shared`` at /tmp."""

    def __init__(self, root: Path, make_bundle: Callable[..., Path], container_id: str, path: Path) -> None:
        self.root = root
        self.id = container_id
        self.path = path
        self.shared = path / "shared"
        self.shared.mkdir()
        self.shared.chmod(0o777)
        self._make_bundle = make_bundle

    def place(self, kind: str) -> Path:
        """Return the shared directory as a hook of some kind sees it."""
        return Path("/tmp") if kind == "startContainer" else self.shared

    def read(self, name: str) -> str:
        """Return what is in a file that a hook has written."""
        return (self.shared / name).read_text()

    def bundle(self, *args: str, **fields: Any) -> Path:
        """Make a bundle, with the arguments of ``make_spec``."""
        mount = Mount(destination="/tmp", type="bind", source=str(self.shared), options=("rbind", "rw"))
        return self._make_bundle(*args, mounts=(*Spec.default().mounts, mount), **fields)

    def create(self, bundle: Path, **options: Any) -> runtime.Container:
        """Create a container."""
        return runtime.create(self.root, self.id, bundle, stdin="null", **options)

    def run(self, *args: str, **fields: Any) -> runtime.Completed:
        """Run a container of a new bundle."""
        return runtime.run(self.root, self.id, self.bundle(*args, **fields))

    def nothing_left(self) -> bool:
        """Tell whether there is no container any more."""
        return list(self.root.iterdir()) == []


@pytest.fixture
def case(root: Path, make_bundle: Callable[..., Path], container_id: str, tmp_path: Path) -> Case:
    """Give what the tests of hooks need."""
    return Case(root, make_bundle, container_id, tmp_path)


def test_six_moments(case: Case) -> None:
    """Hooks run in their order around the program, and each reads the state of that moment."""

    def note(kind: str, directory: Path | str) -> tuple[Hook, ...]:
        text = f"{{ printf '{kind} '; cat; echo; }} >> {directory}/log"
        return shell(text), shell(f"echo {kind} again >> {directory}/log")

    hooks = hooks_of(**{kind: note(kind, case.place(kind)) for kind in KINDS})
    bundle = case.bundle("sh", "-c", "echo program >> /tmp/log; sleep 1000", hooks=hooks, annotations={"color": "blue"})
    with case.create(bundle) as container:
        assert "program" not in case.read("log")
        container.start()
        pid = container.pid
    lines = case.read("log").splitlines()
    told = {kind: json.loads(text) for kind, _, text in (line.partition(" ") for line in lines) if text[:1] == "{"}
    usual = {"ociVersion": "1.3.0", "id": case.id, "bundle": str(bundle), "annotations": {"color": "blue"}}
    assert told == {
        "prestart": usual | {"status": "created", "pid": pid},
        "createRuntime": usual | {"status": "creating", "pid": pid},
        "createContainer": usual | {"status": "creating", "pid": 1},
        "startContainer": usual | {"status": "created", "pid": 1},
        "poststart": usual | {"status": "running", "pid": pid},
        "poststop": usual | {"status": "stopped"},
    }
    order = [line.partition(" {")[0] for line in lines if line != "program"]
    assert order == [entry for kind in KINDS for entry in (kind, f"{kind} again")]
    assert lines.index("startContainer again") < lines.index("program")


def test_where_they_run(case: Case) -> None:
    """On the host in the bundle, in the container's namespaces in its root, in the container in its own directory."""
    show = "readlink /proc/self/ns/mnt /proc/self/ns/net; pwd -P; umask"
    hooks = hooks_of(
        createRuntime=shell(f"{{ {show}; }} > {case.shared}/createRuntime"),
        createContainer=shell(f"{{ {show}; }} > {case.shared}/createContainer"),
        startContainer=shell("{ pwd; umask; echo $(id -u); } > /tmp/startContainer"),
        poststart=shell(f"{{ {show}; }} > {case.shared}/poststart"),
        poststop=shell(f"{{ {show}; }} > {case.shared}/poststop"),
    )
    process = {"cwd": "/etc", "user": User(uid=1000, gid=1000, umask=0o027)}
    before = os.umask(0o037)
    try:
        bundle = case.bundle(hooks=hooks, process=process)
        with case.create(bundle) as container:
            inside = [os.readlink(f"/proc/{container.pid}/ns/{name}") for name in ("mnt", "net")]
            container.start()
            rootfs = container.rootfs
    finally:
        os.umask(before)
    host = [os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "net")]
    for kind in ("createRuntime", "poststart", "poststop"):
        assert case.read(kind).split() == [*host, str(bundle), "0037"]
    assert case.read("createContainer").split() == [*inside, rootfs, "0037"]
    assert case.read("startContainer").split() == ["/etc", "0027", "1000"]


def test_what_they_inherit(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment and the arguments of the configuration, three descriptors, and nothing of the host's secrets."""
    monkeypatch.setenv("SECRET", "of the host")
    environments: dict[str, tuple[str, ...]] = dict.fromkeys(KINDS, ("ONE=1", "TWO=a b")) | {
        "prestart": (),
        "startContainer": (),
    }
    hooks = {}
    for kind, environment in environments.items():
        file = f"{case.place(kind)}/{kind}"
        script = f"cd /proc/self; cat environ > {file}.environ; cat cmdline > {file}.cmdline; ls fd > {file}.fd; true"
        hooks[kind] = Hook(path="/bin/sh", args=("sh", "-c", script, "a b", ""), env=environment)
    inherited = os.open(case.path, os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        case.run("true", hooks=hooks_of(**hooks), process={"env": ("PATH=/bin", "OF=program")})
    finally:
        os.close(inherited)
    environments["startContainer"] = ("PATH=/bin", "OF=program", "HOME=/root")
    for kind, environment in environments.items():
        assert case.read(f"{kind}.environ").split("\0")[:-1] == list(environment)
        assert case.read(f"{kind}.cmdline").split("\0") == [*hooks[kind].args, ""]
        # A shell that redirects a command within itself has a copy of its own output at 10.
        assert set(case.read(f"{kind}.fd").split()) - {"10"} == {"0", "1", "2"}


def test_mounts_of_hooks_are_in_the_container(case: Case, rootfs: Path) -> None:
    """What a hook mounts below the root file system, in the container's mount namespace, is there when it starts."""
    for name in ("first", "second"):
        (case.path / name).write_text(name)
    pid = "$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/')"
    hooks = hooks_of(
        createRuntime=shell(f"nsenter -m -t {pid} mount --bind {case.path}/first {rootfs}/etc/passwd"),
        createContainer=shell(f"mount -t tmpfs none etc/../tmp && cp {case.path}/second tmp/second"),
        startContainer=shell("test -e /tmp/second"),
    )
    assert case.run("cat", "/etc/passwd", "/tmp/second", hooks=hooks).stdout == b"firstsecond"


@pytest.mark.parametrize("kind", FATAL_KINDS)
def test_a_hook_that_fails_ends_the_container(case: Case, kind: str) -> None:
    """The error says which hook it was, how it ended and what it wrote; no other is run, and the container is gone."""
    hooks: dict[str, Hook | tuple[Hook, ...]] = {
        kind: (shell("true"), shell("echo out; echo oops >&2; exit 3"), shell(f"touch {case.path}/third")),
        "poststop": shell(f"cat > {case.path}/poststop"),
    }
    bundle = case.bundle(hooks=hooks_of(**hooks))
    with pytest.raises(HookError, match=rf"{kind} hook #1: /bin/sh failed \(exit code 3\); it wrote: out") as caught:
        runtime.run(case.root, case.id, bundle)
    error = caught.value
    assert (error.path, error.program, error.exit_code) == (f"$.hooks.{kind}[1]", "/bin/sh", 3)
    assert (error.signal, error.output) == (None, b"out\noops\n")
    assert case.nothing_left()
    assert json.loads((case.path / "poststop").read_text())["status"] == "stopped"
    assert not (case.path / "third").exists()


@pytest.mark.parametrize("kind", FATAL_KINDS)
def test_hooks_that_take_too_long(case: Case, kind: str) -> None:
    """They are killed when their time is up, together with what they have started."""
    place = case.place(kind)
    slow = shell(f"sleep 1000 & echo $! > {place}/pid; wait", timeout=1)
    bundle = case.bundle(hooks=hooks_of(**{kind: slow}), linux={"namespaces": SHARED_PIDS})
    with pytest.raises(HookError, match="its time was up") as caught:
        runtime.run(case.root, case.id, bundle)
    assert caught.value.signal == signal.SIGKILL
    assert is_gone(int(case.read("pid")))
    assert case.nothing_left()


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended; what was killed may take a moment."""
    for _ in range(500):
        stat = Path(f"/proc/{pid}/stat")
        try:
            if stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("kind", FATAL_KINDS)
def test_how_hooks_end(case: Case, kind: str) -> None:
    """A signal, and a program that cannot be executed, are told apart from an exit code."""
    with pytest.raises(HookError, match=r"was killed: terminated \(signal 15\)") as caught:
        case.run(hooks=hooks_of(**{kind: shell("kill -TERM $$")}))
    assert (caught.value.exit_code, caught.value.signal) == (None, signal.SIGTERM)
    with pytest.raises(HookError, match="/no/such hook could not be executed: No such file or directory") as caught:
        case.run(hooks=hooks_of(**{kind: Hook(path="/no/such hook")}))
    assert (caught.value.program, caught.value.exit_code, caught.value.signal) == ("/no/such hook", None, None)
    assert case.nothing_left()


@pytest.mark.parametrize("kind", ["createRuntime", "createContainer", "startContainer"])
def test_hooks_that_talk(case: Case, kind: str) -> None:
    """However much a hook writes, it is not held up, and the end of it is in the error, made harmless."""
    script = "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done; printf 'last \\033[31m'; exit 1"
    with pytest.raises(HookError) as caught:
        case.run(hooks=hooks_of(**{kind: shell(script)}))
    assert caught.value.output.endswith(b"19998\n19999\nlast \033[31m")
    assert len(caught.value.output) == 2048
    assert "\033" not in str(caught.value)
    assert str(caught.value).endswith(r"last \x1b[31m")


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_state(case: Case, kind: str) -> None:
    """More than a pipe holds arrives whole, and does not hold up a hook that does not want to read it."""
    place = case.place(kind)
    hooks = hooks_of(**{kind: (shell("exec <&-; true"), shell(f"cat > {place}/state"))})
    text = "x" * 300_000
    case.run("true", hooks=hooks, annotations={"long": text})
    assert json.loads(case.read("state"))["annotations"] == {"long": text}


def test_what_a_hook_leaves_running_is_not_waited_for(case: Case) -> None:
    """A hook may start something that outlives it and keeps its pipes open."""
    hook = shell(f"sleep 1000 & echo $! > {case.path}/pid")
    done = case.run("true", hooks=hooks_of(createRuntime=hook))
    assert done.exit_code == 0
    pid = int((case.path / "pid").read_text())
    os.kill(pid, signal.SIGKILL)
    assert is_gone(pid)


def test_poststop_hooks_that_fail_are_logged(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    """The container is destroyed, and the others run (config.md, "Poststop")."""
    hooks = hooks_of(poststop=(shell("echo why; exit 5"), Hook(path="/no/such"), shell(f"touch {case.path}/third")))
    with caplog.at_level(logging.WARNING, "ocikit.runtime"):
        assert case.run("true", hooks=hooks).exit_code == 0
    assert "error running poststop hook #0: /bin/sh failed (exit code 5); it wrote: why" in caplog.text
    assert "error running poststop hook #1: /no/such could not be executed" in caplog.text
    assert (case.path / "third").exists()
    assert case.nothing_left()


def test_poststop_hooks_run_once_and_after_the_end(case: Case) -> None:
    """When they run there is no directory and no cgroup of the container any more, whoever destroys it."""
    hooks = hooks_of(poststop=shell(f"ls {case.root} >> {case.path}/root; echo once >> {case.path}/log"))
    bundle = case.bundle(hooks=hooks)
    case.create(bundle, lifetime="detached")
    report = runtime.stop_and_remove(case.root, prefix=case.id)
    assert report.removed == (case.id,)
    runtime.stop_and_remove(case.root, prefix=case.id)
    assert (case.path / "log").read_text() == "once\n"
    assert (case.path / "root").read_text() == ""


def test_rights_of_hooks_in_the_container(case: Case) -> None:
    """A createContainer hook has those of the container's root, a startContainer hook those of the program."""
    keys = "-e CapEff -e NoNewPrivs -e Seccomp: -e Uid"
    hooks = hooks_of(
        createContainer=shell(f"grep {keys} /proc/self/status > {case.shared}/create"),
        startContainer=shell(f"grep {keys} /proc/self/status > /tmp/start"),
    )
    profile = LinuxSeccomp(
        default_action="SCMP_ACT_ALLOW",
        # A common profile: new ways to make processes are said not to exist.
        syscalls=(LinuxSyscall(names=("clone3",), action="SCMP_ACT_ERRNO", errno_ret=38),),
    )
    empty = LinuxCapabilities()
    process = {"user": User(uid=1000, gid=1000), "capabilities": empty, "no_new_privileges": True}
    bundle = case.bundle("true", hooks=hooks, process=process, linux={"seccomp": profile})
    assert runtime.run(case.root, case.id, bundle).exit_code == 0

    def status(name: str) -> dict[str, str]:
        lines = case.read(name).splitlines()
        return {key: value.split()[0] for key, _, value in (line.partition(":") for line in lines)}

    assert status("start") == {"Uid": "1000", "CapEff": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"}
    assert status("create")["Uid"] == status("create")["Seccomp"] == "0"
    assert int(status("create")["CapEff"], 16) & 1 << 21  # CAP_SYS_ADMIN


def test_start_in_another_process(case: Case) -> None:
    """Who did not create the container hears, too, what became of its startContainer hooks and of its program."""
    bundle = case.bundle(hooks=hooks_of(startContainer=shell("echo inside; exit 4")))
    case.create(bundle, lifetime="detached").close()
    with pytest.raises(HookError, match=r"startContainer hook #0: /bin/sh failed .exit code 4.; it wrote: inside"):
        runtime.load(case.root, case.id).start()
    assert case.nothing_left()
    (case.shared / "program").write_text("none")
    (case.shared / "program").chmod(0o755)
    case.create(case.bundle("/tmp/program"), lifetime="detached").close()
    container = runtime.load(case.root, case.id)
    with pytest.raises(SetupError, match="execute the program: Exec format error"):
        container.start()
    container.destroy()


def test_poststart_comes_after_the_program(case: Case) -> None:
    """Also when somebody else starts the container, and although hooks come between start and the program."""
    hooks = hooks_of(
        startContainer=shell("sleep 0.3; echo startContainer >> /tmp/log"),
        poststart=shell(f"readlink /proc/$(cat {case.path}/pid)/exe >> {case.shared}/log"),
    )
    bundle = case.bundle(hooks=hooks)
    with case.create(bundle) as container:
        (case.path / "pid").write_text(str(container.pid))
        runtime.load(case.root, case.id).start()
    assert case.read("log") == "startContainer\n/bin/busybox\n"


@pytest.mark.parametrize("kind", [*FATAL_KINDS, "poststop"])
def test_interrupts_during_hooks(case: Case, kind: str) -> None:
    """Ctrl-C stops a hook that has no limit, and leaves nothing of it and of the container behind."""
    case.run("true")  # what is made once in a process is made
    descriptors = set(os.listdir("/proc/self/fd"))
    host_pid = f"echo $$ > {case.path}/pid; " if kind != "startContainer" else ""
    hooks = {kind: shell(f"{host_pid}exec sleep {'1' if kind == 'poststop' else '1000'}")}
    if kind != "poststop":
        hooks["poststop"] = shell(f"touch {case.path}/poststop")
    bundle = case.bundle("sleep", "0.2", hooks=hooks_of(**hooks), linux={"namespaces": SHARED_PIDS})
    main = threading.main_thread().ident
    assert main is not None
    press = threading.Timer(0.7, lambda: signal.pthread_kill(main, signal.SIGINT))
    press.start()
    with pytest.raises(KeyboardInterrupt):
        runtime.run(case.root, case.id, bundle)
    press.join()
    assert case.nothing_left()
    assert kind in {"startContainer", "poststop"} or is_gone(int((case.path / "pid").read_text()))
    assert kind == "poststop" or (case.path / "poststop").exists()
    assert set(os.listdir("/proc/self/fd")) <= descriptors
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize("kind", ["createRuntime", "createContainer"])
def test_a_host_that_is_killed(case: Case, kind: str) -> None:
    """The hook of a container that nobody makes any more ends, and the next creation removes what is left."""
    hook = shell(f"echo $$ > {case.path}/new; mv {case.path}/new {case.path}/pid; exec sleep 1000")
    bundle = case.bundle(hooks=hooks_of(**{kind: hook}), linux={"namespaces": SHARED_PIDS})
    script = "import sys; from ocikit import runtime; runtime.create(*sys.argv[1:], stdin='null')"
    environment = os.environ | {"PYTHONPATH": ":".join(filter(None, sys.path))}
    host = subprocess.Popen(
        [os.path.realpath("/proc/self/exe"), "-c", script, str(case.root), case.id, str(bundle)], env=environment
    )
    while not (case.path / "pid").exists():
        assert host.poll() is None
        time.sleep(0.01)
    host.kill()
    host.wait()
    assert is_gone(int((case.path / "pid").read_text()))
    with case.create(case.bundle(name="other")):
        pass
    assert case.nothing_left()


def test_a_host_that_reaps_everything(case: Case) -> None:
    """How a hook ended is known although SIGCHLD is ignored, and its exit code is that of the error."""
    good, bad = hooks_of(createRuntime=shell("exit 0")), hooks_of(createRuntime=shell("exit 6"))
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert case.run("true", hooks=good).exit_code in {0, None}
        with pytest.raises(HookError, match="exit code 6"):
            case.run("true", hooks=bad)
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_runc_deletes_ours(runc: Runc, case: Case) -> None:
    """Its delete runs our poststop hooks, with their environment and their time."""
    hooks = hooks_of(
        startContainer=shell("true"),
        poststop=(
            shell(f'cat > {case.shared}/state; echo "$WHO" > {case.path}/who', env=("WHO=it", "PATH=/bin"), timeout=9),
        ),
    )
    bundle = case.bundle(hooks=hooks)
    container = case.create(bundle, lifetime="detached")
    written = json.loads((case.root / case.id / "state.json").read_text())["config"]["Hooks"]
    assert written["poststop"][0]["timeout"] == 9_000_000_000
    runc("start", case.id)
    runc("delete", "--force", case.id)
    container.wait(30)
    container.close()
    assert json.loads(case.read("state"))["status"] == "stopped"
    assert (case.path / "who").read_text() == "it\n"


def test_we_destroy_runcs(runc: Runc, case: Case) -> None:
    """Destroying a container of runc runs its poststop hooks; its poststart hooks are run once, by runc."""
    hooks = hooks_of(poststart=shell(f"echo poststart >> {case.path}/log"), poststop=shell(f"cat >> {case.path}/log"))
    runc.create(case.id, case.bundle(hooks=hooks))
    container = runtime.load(case.root, case.id)
    container.start()
    container.destroy(force=True)
    first, _, state = (case.path / "log").read_text().partition("\n")
    assert first == "poststart"
    assert json.loads(state)["id"] == case.id


def test_hooks_of_a_state_that_are_none(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    """A container whose state has nonsense for hooks is not started with it, and can be destroyed."""
    case.create(case.bundle(), lifetime="detached").close()
    path = case.root / case.id / "state.json"
    state = json.loads(path.read_text())
    state["config"]["Hooks"] |= {"poststart": [{"path": "relative"}], "poststop": [7]}
    path.write_text(json.dumps(state))
    container = runtime.load(case.root, case.id)
    with pytest.raises(StateError, match=r"config.Hooks.poststart\[0\]: expected a hook"):
        container.start()
    assert container.status() == "created"
    with caplog.at_level(logging.WARNING, "ocikit.runtime"):
        container.destroy()
    assert "its poststop hooks were not run" in caplog.text
    assert case.nothing_left()


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        (Hook(path="relative"), "absolute"),
        (Hook(path="/bin/true", timeout=0), "timeout"),
        (Hook(path="/bin/true", args=("true", "a\0b")), r"\$.hooks.poststop\[0\]: a string with a NUL"),
        (Hook(path="/bin/true", env=("A=\0",)), "NUL"),
        (Hook(path="/bin/true", args=("x",) * 70_000), "70,001 arguments"),
    ],
)
def test_hooks_that_cannot_be_run_are_refused(case: Case, hook: Hook, message: str) -> None:
    """Before anything is made, whichever kind they are."""
    with pytest.raises(ValidationError, match=message):
        case.create(case.bundle(hooks=hooks_of(poststop=hook)))
    assert not case.root.exists()
