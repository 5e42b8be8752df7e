"""``exec`` from the command line: what is asked for by options arrives, in containers of ours and of runc."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from command_line import CommandLine

from ocikit import runtime
from ocikit.runtime.cli.dispatch import CommandError
from ocikit.runtime.cli.executing import changed_user, sub_cgroups, user_id
from ocikit.spec import User

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from peer_runc import Runc


@pytest.fixture
def ocikit(root: Path) -> Iterator[CommandLine]:
    """Give our command on the state root of the test, which is emptied at the end."""
    yield CommandLine(root)
    runtime.stop_and_remove(root, prefix="", all=True, timeout=0)


@pytest.fixture(params=["ocikit", "runc"])
def running(
    request: pytest.FixtureRequest, ocikit: CommandLine, runc: Runc, make_bundle: Callable[..., Path], container_id: str
) -> str:
    """Give the id of a container that runs, made by ocikit and by runc."""
    bundle = make_bundle("sh", "-c", "while :; do sleep 0.1; done")
    if request.param == "runc":
        runc("run", "--detach", "--bundle", str(bundle), container_id)
    else:
        ocikit.works("run", "--detach", "--bundle", str(bundle), container_id)
    return container_id


def both(ocikit: CommandLine, runc: Runc, *words: str) -> tuple[str, str]:
    """Return what an exec of ours writes, and what one of runc writes."""
    return ocikit.works("exec", *words), runc("exec", *words).stdout


@pytest.mark.parametrize(
    "words",
    [
        ("ID", "id"),
        ("--user", "1000", "ID", "id"),
        ("-u", "1000:1001", "-g", "5", "-g=6", "ID", "id"),
        ("--cwd", "/tmp", "ID", "sh", "-c", "pwd"),
        ("-e", "ONE=1,2", "-e=TWO=a b", "-e", "PATH=/bin", "ID", "sh", "-c", 'echo "$ONE $TWO $PATH $HOME"'),
        ("--cap", "CAP_NET_ADMIN", "--cap=CAP_SYS_ADMIN", "ID", "grep", "Cap", "/proc/self/status"),
        ("ID", "grep", "NoNewPrivs", "/proc/self/status"),
        ("ID", "echo", "-n", "--", "-x", "--bogus"),
    ],
    ids=lambda words: " ".join(words)[:30],
)
def test_options_arrive(ocikit: CommandLine, runc: Runc, running: str, words: tuple[str, ...]) -> None:
    """The program sees the same as when runc executes it."""
    words = tuple(running if word == "ID" else word for word in words)
    ours, theirs = both(ocikit, runc, *words)
    assert ours == theirs


def test_exit_codes(ocikit: CommandLine, runc: Runc, running: str) -> None:
    """The program's own, 128 and more for a signal, and 255 when there is no program; as with runc."""
    for words, code in (
        ((running, "sh", "-c", "exit 42"), 42),
        ((running, "sh", "-c", "kill -TERM $$"), 128 + 15),
        ((running, "no-such-program"), 255),
        ((running, "/no/such/program"), 255),
        (("nobody", "true"), 255),
        (("--pid-file", "/no/such/directory/pid", running, "true"), 255),
        ((running,), 255),
        (("--user", "1000x", running, "true"), 255),
        (("--console-socket", "/nowhere", running, "true"), 255),
        (("-d", "-t", running, "true"), 255),
    ):
        ours, theirs = ocikit("exec", *words), runc("exec", *words, check=False)
        assert (ours.returncode, theirs.returncode) == (code, code), (words, ours.stderr, theirs.stdout)
        if code == 255:
            assert "exec failed: " in ours.stderr


def test_refused_in_the_words_of_runc(ocikit: CommandLine, runc: Runc, running: str) -> None:
    """What does not go together, and containers that are paused or stopped."""

    def refused(*words: str, said: str) -> None:
        ours, theirs = ocikit("exec", *words), runc("exec", *words, check=False)
        assert (ours.returncode, theirs.returncode) == (255, 255)
        assert said in ours.stderr
        assert said in theirs.stdout

    refused("-d", "-t", running, "true", said="cannot allocate tty if runc will detach without setting console socket")
    refused("--console-socket", "/x", running, "true", said="cannot use console socket if runc will not detach")
    ocikit.works("pause", running)
    refused(running, "true", said="cannot exec in a paused container")
    ocikit.works("resume", running)
    ocikit.works("kill", running, "KILL")
    runtime.load(ocikit.root, running).wait(20)
    refused(running, "true", said="cannot exec in a stopped container")


def test_detached(ocikit: CommandLine, running: str, tmp_path: Path) -> None:
    """The command ends, the process goes on; its id is in the file."""
    ocikit.works("exec", "--detach", "--pid-file", str(tmp_path / "pid"), running, "sleep", "1000")
    pid = int((tmp_path / "pid").read_text())
    assert pid in json.loads(ocikit.works("ps", "-f", "json", running))
    assert pid != ocikit.state(running)["pid"]


def test_a_process_from_a_file(ocikit: CommandLine, runc: Runc, running: str, tmp_path: Path) -> None:
    """All of it is as the file says."""
    path = tmp_path / "process.json"
    document = {
        "args": ["sh", "-c", 'echo "$A"; pwd; id; umask'],
        "cwd": "/tmp",
        "env": ["A=from a file", "PATH=/bin"],
        "user": {"uid": 7, "gid": 8, "additionalGids": [9]},
    }
    path.write_text(json.dumps(document))
    ours, theirs = both(ocikit, runc, "--process", str(path), running)
    assert ours == theirs
    assert ours.startswith("from a file\n/tmp\nuid=7 gid=8 groups=")
    path.write_text('{"args": ["true"]}')
    done = ocikit("exec", "-p", str(path), running)
    assert (done.returncode, "cwd" in done.stderr) == (255, True)


def test_streams(ocikit: CommandLine, running: str) -> None:
    """Standard input, output and error are those of the command."""
    done = subprocess.run(
        ocikit.words("exec", running, "sh", "-c", "cat; echo error >&2"),
        input="input", capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("input", "error\n")


def test_preserved_descriptors(ocikit: CommandLine, running: str, tmp_path: Path) -> None:
    """As many as were asked for, and those of socket activation are not among them."""
    (tmp_path / "three").write_text("three")
    words = " ".join(ocikit.words("exec", "--preserve-fds=1", running, "cat", "/proc/self/fd/3"))
    line = f"LISTEN_FDS=1 LISTEN_PID=$$ exec {words} 3<{tmp_path}/three"
    done = subprocess.run(["sh", "-c", line], check=True, timeout=60, capture_output=True, text=True)
    assert done.stdout == "three"


def test_in_a_paused_container(ocikit: CommandLine, running: str) -> None:
    """Who asks for it may; the program goes on when the container does."""
    ocikit.works("pause", running)
    words = ocikit.words("exec", "--ignore-paused", running, "echo", "after all")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as command:
        ocikit.works("resume", running)
        assert command.communicate(timeout=60)[0] == "after all\n"


# ------------------------------------------------------------------------------------------------------- what is read


@pytest.mark.parametrize(
    "text", ["", "x", "1x", "-1", "+1", "1 ", " 1", "0x1", "1_0", "\u0661", "1.0", "4294967295", "9" * 30]
)
def test_ids_are_digits(text: str) -> None:
    """What is no number, or one that means something else to the kernel, is never taken for an id."""
    with pytest.raises(CommandError, match="bad uid"):
        user_id(text, "uid")


@pytest.mark.parametrize(
    "user", ["root", "1000x", ":", "1000:", ":1000", "-u", "0,1", "1000:5:6", "4294967295", "1 000"]
)
def test_no_user_is_guessed(user: str) -> None:
    """A user with anything beside digits is refused."""
    with pytest.raises(CommandError, match=r"bad [ug]id"):
        changed_user(User(uid=1, gid=2), user, ())


def test_what_is_not_said_of_the_user_stays() -> None:
    """A user without a group keeps that of the configuration, and groups are added to what there is."""
    configured = User(uid=1, gid=2, additional_gids=(3,))
    assert changed_user(configured, "", ()) == configured
    assert changed_user(configured, "7", (4,)) == User(uid=7, gid=2, additional_gids=(3, 4))
    assert changed_user(configured, "0007:08", ()) == User(uid=7, gid=8, additional_gids=(3,))
    with pytest.raises(CommandError, match="additional-gids"):
        changed_user(configured, "", (-1,))


def test_cgroups_by_controller() -> None:
    """One path for all, or paths with the controllers that they are for."""
    assert sub_cgroups(()) is None
    assert sub_cgroups(("a/b",)) == "a/b"
    assert sub_cgroups(("cpu,cpuacct:a", "memory:b")) == {"cpu": "a", "cpuacct": "a", "memory": "b"}
    for wrong in (("a", "b"), ("cpu:a", "b"), (":a",), ("cpu,:a",), ("cpu:a", "cpu:b")):
        with pytest.raises(CommandError, match="invalid --cgroup argument"):
            sub_cgroups(wrong)


# ------------------------------------------------------------------------------------------------------------ watching


def test_events(ocikit: CommandLine, runc: Runc, running: str) -> None:
    """Statistics once: the line that runc prints, as far as it is the same at two moments."""
    ours, theirs = (
        json.loads(ocikit.works("events", "--stats", running)),
        json.loads(runc("events", "--stats", running).stdout),
    )
    assert (ours["type"], ours["id"]) == (theirs["type"], theirs["id"]) == ("stats", running)
    assert ours["data"].keys() == theirs["data"].keys()
    assert ours["data"]["memory"]["usage"]["limit"] == theirs["data"]["memory"]["usage"]["limit"]


def test_events_until_the_end(ocikit: CommandLine, running: str) -> None:
    """Statistics again and again; the command ends with the container."""
    words = ocikit.words("events", "--interval", "50ms", running)
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        for _ in range(3):
            assert json.loads(command.stdout.readline())["type"] == "stats"
        ocikit.works("kill", running, "KILL")
        assert command.wait(30) == 0
    done = ocikit("events", running)
    assert (done.returncode, f"container with id {running} is not running" in done.stderr) == (1, True)
    assert "must be greater than 0" in ocikit("events", "--interval=0s", running).stderr


def test_events_of_memory(ocikit: CommandLine, make_bundle: Callable[..., Path], container_id: str) -> None:
    """That memory was used up is told."""
    from ocikit.spec import LinuxMemory, LinuxResources  # noqa: PLC0415

    hungry = "read go; a=x; while :; do a=$a$a; done"
    limit = 32 << 20
    bundle = make_bundle(
        "sh", "-c", f"sh -c '{hungry}'; sleep 1000",
        linux={"resources": LinuxResources(memory=LinuxMemory(limit=limit, swap=limit))},
    )  # fmt: skip
    reader, writer = os.pipe()
    ocikit.works("run", "-d", "-b", str(bundle), container_id, stdin=reader)
    with subprocess.Popen(
        ocikit.words("events", "--interval", "50ms", container_id), stdout=subprocess.PIPE, text=True
    ) as command:
        assert command.stdout is not None
        command.stdout.readline()
        os.write(writer, b"go\n")
        assert any(json.loads(line) == {"type": "oom", "id": container_id} for line in command.stdout)
        ocikit.works("delete", "--force", container_id)
        command.communicate(timeout=30)
    os.close(reader)
    os.close(writer)


# ------------------------------------------------------------------------------------------------------------ limiting


def test_update(ocikit: CommandLine, runc: Runc, running: str, tmp_path: Path) -> None:
    """Limits by option and from a file; runc sees what we set, and the other way round."""

    def limits() -> tuple[int, int]:
        data = json.loads(runc("events", "--stats", running).stdout)["data"]
        return data["memory"]["usage"]["limit"], data["pids"].get("limit", 0)

    ocikit.works("update", "--memory", "64m", "--pids-limit=20", "--cpu-share", "512", running)
    assert limits() == (64 << 20, 20)
    runc("update", "--memory", "48m", running)
    assert limits() == (48 << 20, 20)
    resources = tmp_path / "resources.json"
    resources.write_text('{"memory": {"limit": 33554432}}')
    ocikit.works("update", "--resources", str(resources), "--pids-limit", "7", running)
    assert limits() == (32 << 20, 20)
    done = subprocess.run(
        ocikit.words("update", "-r", "-", running), input=b'{"pids": {"limit": 30}}', check=False, timeout=60
    )
    assert (done.returncode, limits()) == (0, (32 << 20, 30))
    for words, said in (
        (("--memory", "64X"), "invalid value for memory"),
        (("--memory", "1.5.5m"), "invalid value for memory"),
        (("--cpu-quota", "x"), "invalid value for cpu-quota"),
    ):
        ours, theirs = ocikit("update", *words, running), runc("update", *words, running, check=False)
        assert (ours.returncode, theirs.returncode) == (1, 1)
        assert said in ours.stderr
        assert said in theirs.stdout
    assert limits() == (32 << 20, 30)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("512k", 1 << 19), ("1.5MiB", 3 << 19), ("2GB", 2 << 30), ("1 tb", 1 << 40), ("-1", -1)],
)
def test_sizes(text: str, size: int) -> None:
    """Sizes as people write them, in powers of two."""
    from ocikit.runtime.cli.limiting import _size  # noqa: PLC0415

    assert _size(text) == size


def test_pause_and_resume(ocikit: CommandLine, runc: Runc, running: str) -> None:
    """Each sees what the other did, and neither does it twice."""
    ocikit.works("pause", running)
    assert ocikit.status(running) == runc.status(running) == "paused"
    assert (ocikit("pause", running).returncode, "container not running" in ocikit("pause", running).stderr) == (
        1,
        True,
    )
    runc("resume", running)
    assert ocikit.status(running) == "running"
    done = ocikit("resume", running)
    assert (done.returncode, "container not paused" in done.stderr) == (1, True)
