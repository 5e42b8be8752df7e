"""The command line: what it prints, what it exits with, and where it says why; beside runc on one state root."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from command_line import PROGRAM, CommandLine

from ocikit import runtime
from ocikit.spec import LinuxNamespace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from peer_runc import Runc


@pytest.fixture
def ocikit(root: Path) -> Iterator[CommandLine]:
    """Give our command on the state root of the test, which is emptied at the end."""
    yield CommandLine(root)
    runtime.stop_and_remove(root, prefix="", all=True, timeout=0)


def message(text: str) -> str:
    """Return the message of a log line as it was meant."""
    found = re.search(r'msg=("(?:[^"\\]|\\.)*"|\S+)\s*$', text)
    assert found is not None, text
    return str(json.loads(found[1])) if found[1].startswith('"') else found[1]


# --------------------------------------------------------------------------------------------------- the usual life


def test_a_life(ocikit: CommandLine, runc: Runc, obedient: Path, container_id: str, tmp_path: Path) -> None:
    """Create, start, kill, delete; the command ends, the container stays; runc sees the same."""
    pid_file = tmp_path / "pid"
    ocikit.works("create", "--bundle", str(obedient), "--pid-file", str(pid_file), container_id)
    pid = int(pid_file.read_text())
    assert ocikit.status(container_id) == runc.status(container_id) == "created"
    assert ocikit.state(container_id)["pid"] == pid
    ocikit.works("start", container_id)
    assert ocikit.status(container_id) == runc.status(container_id) == "running"
    ocikit.works("kill", container_id)
    runtime.load(ocikit.root, container_id).wait(20)
    assert ocikit.status(container_id) == runc.status(container_id) == "stopped"
    ocikit.works("delete", container_id)
    assert runc("state", container_id, check=False).returncode == 1
    assert not (ocikit.root / container_id).exists()


def test_state_is_what_runc_prints(
    ocikit: CommandLine, runc: Runc, make_bundle: Callable[..., Path], container_id: str
) -> None:
    """The same keys in the same order with the same values, for a container of either."""
    bundle = make_bundle(annotations={"com.example.b": "2", "com.example.a": "1 & <2>"})
    runc.create(container_id, bundle)
    ocikit.works("create", "-b", str(bundle), f"{container_id}-ours")
    for name in (container_id, f"{container_id}-ours"):
        theirs = json.loads(runc("state", name).stdout)
        ours = ocikit.state(name)
        assert list(ours) == list(theirs)
        assert ours == theirs | {"owner": "root"}  # which runc tells in its list only


def test_list(ocikit: CommandLine, runc: Runc, bundle: Path, container_id: str) -> None:
    """As a table, as JSON and as ids; the same as runc's."""
    runc.create(container_id, bundle)
    ocikit.works("create", "-b", str(bundle), f"{container_id}-ours")
    assert ocikit.works("list") == runc("list").stdout
    assert json.loads(ocikit.works("list", "--format=json")) == json.loads(runc("list", "-f", "json").stdout)
    assert ocikit.works("list", "-q") == runc("list", "--quiet").stdout == f"{container_id}\n{container_id}-ours\n"


def test_list_of_nothing(ocikit: CommandLine, tmp_path: Path) -> None:
    """An empty root has no containers; one that was named and is not there is an error."""
    ocikit.root.mkdir()
    assert ocikit.works("list").split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert ocikit.works("list", "--format", "json") == "null\n"
    assert CommandLine(tmp_path / "nothing")("list").returncode == 1
    assert ocikit("list", "--format", "xml").stderr.endswith('msg="invalid format option"\n')


def test_ps(ocikit: CommandLine, bundle: Path, container_id: str) -> None:
    """Ids as JSON, and what ps says with the options given; nothing of a container that has ended."""
    ocikit.works("create", "-b", str(bundle), container_id)
    ocikit.works("start", container_id)
    pid = ocikit.state(container_id)["pid"]
    assert json.loads(ocikit.works("ps", "--format", "json", container_id)) == [pid]
    title, line = ocikit.works("ps", container_id, "-o", "pid,args", "-e").splitlines()
    assert title.split() == ["PID", "COMMAND"]
    assert line.split() == [str(pid), "sleep", "1000"]
    ocikit.works("kill", container_id, "KILL")
    runtime.load(ocikit.root, container_id).wait(20)
    assert ocikit.works("ps", "-f", "json", container_id) in {"[]\n", "null\n"}
    assert ocikit.works("ps", container_id, "-e", "-o", "pid,args").split() == ["PID", "COMMAND"]


# -------------------------------------------------------------------------------------------------------- the edges


def test_edges_of_no_container(ocikit: CommandLine, runc: Runc, bundle: Path) -> None:
    """What is said of a container that is not there: the exit codes of runc, and its words."""
    ocikit.root.mkdir()
    for words in (
        ("state", "nobody"),
        ("start", "nobody"),
        ("kill", "nobody"),
        ("kill", "nobody", "BOGUS"),
        ("delete", "nobody"),
        ("delete", "--force", "nobody"),
        ("delete", "nobody", "--force"),
        ("ps", "nobody"),
        ("state", ""),
        ("create", "--bundle", str(bundle), ""),
        ("state", "a/b"),
        ("--log-format", "xml", "list"),
        ("--root", "/", "state", "nobody"),
    ):
        ours, theirs = ocikit(*words), runc(*words, check=False)
        assert ours.returncode == theirs.returncode, (words, ours.stderr, theirs.stdout)
        if words[:2] == ("--root", "/"):
            continue  # runc 1.1.5 has no words for it
        if theirs.returncode:
            assert message(theirs.stdout).removeprefix("runc create failed: ") in message(ours.stderr), words


def test_edges_of_a_life(ocikit: CommandLine, runc: Runc, bundle: Path, container_id: str) -> None:
    """What is refused in each state of a container: the exit codes of runc, and its words, for both."""

    def refused(*words: str) -> None:
        ours, theirs = ocikit(*words), runc(*words, check=False)
        assert (ours.returncode, theirs.returncode) == (1, 1), (words, ours.stderr, theirs.stdout)
        assert message(theirs.stdout).strip().removeprefix("runc create failed: ") in message(ours.stderr)

    ocikit.works("create", "-b", str(bundle), container_id)
    refused("create", "-b", str(bundle), container_id)
    ocikit.works("start", container_id)
    refused("start", container_id)
    refused("delete", container_id)
    refused("kill", container_id, "BOGUS")
    runc("pause", container_id)
    refused("start", container_id)
    refused("delete", container_id)
    runc("resume", container_id)
    ocikit.works("kill", container_id, "9")
    runtime.load(ocikit.root, container_id).wait(20)
    refused("start", container_id)
    refused("kill", container_id)
    refused("kill", container_id, "0")
    ocikit.works("kill", "--all", container_id, "0")
    ocikit.works("delete", container_id)


def test_force(ocikit: CommandLine, runc: Runc, bundle: Path, container_id: str) -> None:
    """A forced deletion ends what runs and what is paused; a created container is deleted without it."""
    ocikit.works("create", "-b", str(bundle), container_id)
    ocikit.works("delete", container_id)
    for pause in (False, True):
        ocikit.works("run", "--detach", "-b", str(bundle), container_id)
        if pause:
            runc("pause", container_id)
        ocikit.works("delete", container_id, "-f")
    assert ocikit.works("list", "-q") == ""


def test_killing_what_outlived_the_first_process(
    ocikit: CommandLine, make_bundle: Callable[..., Path], container_id: str
) -> None:
    """In a shared pid namespace the others of a container do not end with its first process, and can be killed."""
    shared = tuple(LinuxNamespace(type=name) for name in ("mount", "uts", "ipc", "network"))
    bundle = make_bundle("sh", "-c", "sleep 1000 & sleep 1000", linux={"namespaces": shared})
    for words in (("kill", container_id, "KILL"), ("delete", container_id)):
        ocikit.works("run", "-d", "-b", str(bundle), container_id)
        container = runtime.load(ocikit.root, container_id)
        os.kill(container.pid, signal.SIGKILL)
        container.wait(20)
        left = [pid for pid in container.processes() if pid != container.pid]
        assert left
        ocikit.works(*words)
        assert [pid for pid in container.processes() if pid in left] == []
        assert ocikit("kill", container_id, "KILL").returncode == 1
        ocikit.works("delete", "--force", container_id)


@pytest.mark.parametrize("name", ["USR1", "SIGUSR1", "sigusr1", "usr1", "10"])
def test_signals_have_names(
    ocikit: CommandLine, make_bundle: Callable[..., Path], container_id: str, name: str
) -> None:
    """With and without SIG, in any case, and by number."""
    bundle = make_bundle("sh", "-c", "trap 'exit 7' USR1; while :; do sleep 0.01; done")
    with runtime.create(ocikit.root, container_id, bundle, stdin="null") as container:
        container.start()
        time.sleep(0.1)
        ocikit.works("kill", container_id, name)
        assert container.wait(20).exit_code in {7, None}


# ------------------------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("state",), '"state" requires exactly 1 argument(s)'),
        (("state", "a", "b"), '"state" requires exactly 1 argument(s)'),
        (("kill",), '"kill" requires a minimum of 1 argument(s)'),
        (("kill", "a", "b", "c"), '"kill" requires a maximum of 2 argument(s)'),
        (("ps",), '"ps" requires a minimum of 1 argument(s)'),
        (("list", "x"), '"list" requires exactly 0 argument(s)'),
        (("state", "--bogus", "x"), "flag provided but not defined: -bogus"),
        (("--bogus", "state", "x"), "flag provided but not defined: -bogus"),
        (("create", "--preserve-fds", "x", "y"), 'invalid value "x" for flag -preserve-fds: parse error'),
    ],
)
def test_misuse(ocikit: CommandLine, words: tuple[str, ...], said: str) -> None:
    """What is wrong with a command is on standard error, and how it is used on standard output."""
    done = ocikit(*words)
    assert done.returncode == 1
    assert done.stdout.startswith("Incorrect Usage")
    assert "USAGE:" in done.stdout
    assert said in message(done.stderr)


def test_help_and_version(ocikit: CommandLine) -> None:
    """Help is an answer, with an exit code of 0, in any place; a verb that there is not is 3."""
    assert ocikit.works("--version") == ocikit.works("-v")
    assert re.match(r"ocikit-runtime version \d+\.\d+\.\d+\nspec: \d+\.\d+\.\d+\n", ocikit.works("--version"))
    for word in ("", "--help", "-h", "help"):
        assert "   create" in ocikit.works(*word.split())
    assert ocikit.works("state", "--help") == ocikit.works("state", "x", "-h") == ocikit.works("help", "state")
    for words in ("bogus", "bogus -h"):
        done = ocikit(*words.split())
        assert (done.returncode, message(done.stderr)) == (3, "No help topic for 'bogus'")


# --------------------------------------------------------------------------------------------------------- messages


def test_messages_in_a_log(ocikit: CommandLine, tmp_path: Path) -> None:
    """With a log, lines are appended to it, and the message is on standard error without ornaments."""
    log = tmp_path / "log"
    done = ocikit("--log", str(log), "--log-format", "json", "state", "no-body")
    assert done.returncode == 1
    assert done.stderr.startswith("container does not exist")
    ocikit("--log", str(log), "--log-format", "json", "state", "no body")
    first, second = map(json.loads, log.read_text().splitlines())
    assert list(first) == ["level", "msg", "time"]
    assert first["level"] == "error"
    assert first["msg"].startswith("container does not exist")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", first["time"])
    assert second["msg"].startswith("invalid container ID format")
    ocikit("--log", str(log), "state", "no-body")
    assert re.fullmatch(r'time="\S+" level=error msg="container does not exist.*"', log.read_text().splitlines()[-1])


def test_a_log_that_cannot_be_written(ocikit: CommandLine, tmp_path: Path) -> None:
    """It is an error, and nothing is done."""
    done = ocikit("--log", str(tmp_path / "not" / "there"), "list")
    assert (done.returncode, "No such file" in done.stderr) == (1, True)


def test_warnings_are_carried_on(ocikit: CommandLine, make_bundle: Callable[..., Path], container_id: str) -> None:
    """What the library warns of is in the messages, and does not keep anything from being done."""
    bundle = make_bundle("true", process={"capabilities": None})
    document = json.loads((bundle / "config.json").read_text())
    document["process"]["capabilities"] = {"bounding": ["CAP_NO_SUCH_THING"]}
    (bundle / "config.json").write_text(json.dumps(document))
    done = ocikit("run", "-b", str(bundle), container_id)
    assert done.returncode == 0
    assert "level=warning" in done.stderr
    assert "CAP_NO_SUCH_THING" in done.stderr


def test_debugging(ocikit: CommandLine) -> None:
    """More is said when it is asked for."""
    ocikit.root.mkdir()
    assert "level=debug" in ocikit("--debug", "list").stderr
    assert ocikit("list").stderr == ""


def test_closed_streams(ocikit: CommandLine, bundle: Path, container_id: str) -> None:
    """A caller may have closed all three streams: the container has none then, and nothing else takes their place."""
    words = " ".join(ocikit.words("--log", f"{ocikit.root}.log", "create", "-b", str(bundle), container_id))
    subprocess.run(["sh", "-c", f"exec {words} <&- >&- 2>&-"], check=True, timeout=60)
    pid = ocikit.state(container_id)["pid"]
    links = [os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)]
    assert links == ["/dev/null"] * 3


# ---------------------------------------------------------------------------------------------- what is handed over


def test_a_container_that_cannot_be_handed_over_is_undone(
    ocikit: CommandLine, bundle: Path, container_id: str, tmp_path: Path
) -> None:
    """When the process id cannot be written, or nobody listens for the pidfd, there is no container afterwards."""
    for option, value in (("--pid-file", str(tmp_path / "no" / "file")), ("--pidfd-socket", str(tmp_path / "socket"))):
        done = ocikit("create", "-b", str(bundle), option, value, container_id)
        assert (done.returncode, ocikit.works("list", "-q") if ocikit.root.exists() else "") == (1, "")


def test_pid_files_are_written_where_the_caller_is(
    ocikit: CommandLine, bundle: Path, container_id: str, tmp_path: Path
) -> None:
    """A relative path is relative to the caller, not to the bundle; nothing else is left beside it."""
    here = tmp_path / "here"
    here.mkdir()
    ocikit.works("run", "-d", "-b", str(bundle), "--pid-file", "pid", container_id, cwd=here)
    assert (here / "pid").read_text() == str(ocikit.state(container_id)["pid"])
    assert os.listdir(here) == ["pid"]


def test_pidfd_socket(ocikit: CommandLine, bundle: Path, container_id: str, tmp_path: Path) -> None:
    """Whoever listens gets a descriptor of the process."""
    path = str(tmp_path / "pidfd.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        ocikit.works("create", "-b", str(bundle), "--pidfd-socket", path, container_id)
        connection, _ = listener.accept()
        with connection:
            name, fds, _, _ = socket.recv_fds(connection, 100, 1)
    assert name == b"standard"
    signal.pidfd_send_signal(fds[0], signal.SIGKILL)
    os.close(fds[0])
    runtime.load(ocikit.root, container_id).wait(20)
    assert ocikit.status(container_id) == "stopped"


def passing(tmp_path: Path, command: str) -> str:
    """Run a shell command with two files open as 3 and 4, and return what it wrote."""
    for name in ("three", "four"):
        (tmp_path / name).write_text(name)
    line = f"exec {command} 3<{tmp_path}/three 4<{tmp_path}/four"
    return subprocess.run(["sh", "-c", line], check=True, timeout=60, stdout=subprocess.PIPE, text=True).stdout


def test_preserved_descriptors(
    ocikit: CommandLine, make_bundle: Callable[..., Path], container_id: str, tmp_path: Path
) -> None:
    """As many as were asked for are passed on, with or without a log, and others are not."""
    bundle = make_bundle("sh", "-c", "cat <&3; echo; ls /proc/self/fd")
    words = " ".join(ocikit.words("--log", f"{tmp_path}/log", "run", "-b", str(bundle)))
    assert passing(tmp_path, f"{words} --preserve-fds 1 {container_id}").split() == ["three", "0", "1", "2", "3", "4"]
    done = ocikit("run", "-b", str(bundle), "--preserve-fds=1", container_id)
    assert (done.returncode, "unable to stat preserved-fd 0 (of 1)" in done.stderr) == (1, True)


def test_socket_activation(
    ocikit: CommandLine, make_bundle: Callable[..., Path], container_id: str, tmp_path: Path
) -> None:
    """Descriptors to listen at are passed on, before others, and the program is told, if they are meant for us."""
    bundle = make_bundle("sh", "-c", 'echo "$LISTEN_PID/$LISTEN_FDS"; cat <&3; cat <&4')
    words = " ".join(ocikit.words("run", "-b", str(bundle), "--preserve-fds", "1", container_id))
    meant = f"sh -c 'LISTEN_FDS=1 LISTEN_PID=$$ exec {words}'"
    assert passing(tmp_path, meant) == "1/1\nthreefour"
    other = make_bundle("sh", "-c", 'echo "$LISTEN_PID/$LISTEN_FDS"; cat <&3', name="other")
    words = " ".join(ocikit.words("run", "-b", str(other), "--preserve-fds", "1", container_id))
    assert passing(tmp_path, f"env LISTEN_FDS=1 LISTEN_PID=1 {words}") == "/\nthree"


# --------------------------------------------------------------------------------------------------------- documents


def test_spec(ocikit: CommandLine, runc: Runc, tmp_path: Path) -> None:
    """The configuration is that of runc, but for version and ambient capabilities; no file is written over."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for options in ((), ("--rootless",)):
        for path in (ours, theirs):
            path.mkdir(exist_ok=True)
            (path / "config.json").unlink(missing_ok=True)
        ocikit.works("spec", *options, "--bundle", str(ours))
        runc("spec", *options, "--bundle", str(theirs))
        documents = [json.loads((path / "config.json").read_text()) for path in (ours, theirs)]
        for document in documents:
            del document["ociVersion"]
        documents[1]["process"]["capabilities"].pop("ambient", None)  # not from runc 1.2 on: see Spec.default()
        assert documents[0] == documents[1]
    done = ocikit("spec", "-b", str(ours))
    assert (done.returncode, message(done.stderr)) == (1, "File config.json exists. Remove it first")


def test_features(ocikit: CommandLine) -> None:
    """What the command prints is what the library says, and every word in it is one of the specification."""
    found = json.loads(ocikit.works("features"))
    assert found == json.loads(runtime.features().to_json())
    assert found["ociVersionMax"] >= found["ociVersionMin"]
    assert {"bind", "rbind", "ro", "rro", "nosuid"} <= set(found["mountOptions"])
    assert {"pid", "user", "cgroup", "time"} <= set(found["linux"]["namespaces"])
    assert "CAP_SYS_ADMIN" in found["linux"]["capabilities"]
    assert runtime.features().validate() == ()


def test_a_verb_loads_what_it_needs() -> None:
    """The state of a container is printed without the classes of the specification, attrs and the compiled part."""
    program = (
        "import sys; from ocikit.runtime.cli.dispatch import main; "
        "code = main(['--root', '/nowhere/at/all', 'state', 'x']); "
        "print(sorted({'attr', 'ocikit.spec', 'ocikit._native', 'argparse', 'subprocess'} & set(sys.modules)), code)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[] 1\n"


def test_the_command_is_installed(peer: Callable[[str], str]) -> None:
    """It has a name of its own, beside that of the module."""
    del peer
    script = os.path.join(os.path.dirname(sys.executable), "ocikit-runtime")
    texts = [
        subprocess.run([*words, "--version"], check=True, capture_output=True, text=True, timeout=60).stdout
        for words in ((script,), PROGRAM)
    ]
    assert texts[0] == texts[1]
