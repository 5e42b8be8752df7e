"""The examples do what they say, as the programs that they are."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

import ocikit
from ocikit import image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str, *args: str | Path) -> list[str]:
    """Return the command that runs an example."""
    return [sys.executable, str(EXAMPLES / name), *(os.fspath(arg) for arg in args)]


def run(name: str, *args: str | Path) -> str:
    """Run an example to its end; return what it printed."""
    done = subprocess.run(example(name, *args), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of busybox that an example packs."""
    path = tmp_path_factory.mktemp("images") / "busybox.tar.gz"
    run("pack_busybox.py", path)
    return path


def test_packed_busybox_is_an_image_for_others(archive: Path, tmp_path: Path) -> None:
    """Skopeo finds nothing to complain of in what the example packs."""
    plain = tmp_path / "busybox.tar"
    plain.write_bytes(subprocess.run(["gunzip", "-c", archive], capture_output=True, check=True).stdout)
    command = ["skopeo", "inspect", "--config", f"oci-archive:{plain}"]
    assert '"Cmd"' in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_demo_shows_the_main_job() -> None:
    """The demo prints what the container saw and how it ended, and leaves nothing."""
    printed = run("demo.py")
    for seen in ("process     1", "host name   demo", "memory      67108864 bytes", "mount       /proc (proc)"):
        assert seen in printed
    assert "status created" in printed
    assert "got SIGTERM" in printed
    assert "exit code 7" in printed
    assert "left behind: nothing" in printed


def test_demo_takes_any_reference(archive: Path) -> None:
    """The demo works on the image that it is given."""
    assert "exit code 7" in run("demo.py", f"oci-archive:{archive}")


def test_an_air_gap_is_crossed() -> None:
    """What a service has signed runs on a host without a network, and what a stranger has signed does not."""
    printed = run("air_gap.py")
    assert "is signed by the key" in printed
    assert "| proven, unpacked and run" in printed
    assert "refused: [0] sigstoreSigned: needs a sigstore signature" in printed


def test_application_lives_and_leaves_nothing(archive: Path, tmp_path: Path) -> None:
    """The application imports, runs several at a time, and removes what goes on by itself."""
    printed = run("application.py", archive.parent, tmp_path / "work")
    assert "busybox: 8 runs" in printed
    assert "_busybox_kept: removed" in printed
    assert list((tmp_path / "work/state").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_application_that_is_told_to_stop(archive: Path, tmp_path: Path, number: int) -> None:
    """At whatever moment the application is told to stop, nothing of it stays."""
    work = tmp_path / "work"
    with subprocess.Popen(example("application.py", archive.parent, work), stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not list(work.glob("state/*/state.json")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(60) != 0
    assert list((work / "state").iterdir()) == []


def test_application_after_a_crash(archive: Path, tmp_path: Path) -> None:
    """What an application that was killed left behind, its next life removes."""
    work = tmp_path / "work"
    with subprocess.Popen(example("application.py", archive.parent, work), stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not list(work.glob("state/*_kept/state.json")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
        process.wait()
    # The bundles are files of the application, which it makes anew.
    subprocess.run(["rm", "-rf", work / "bundles"], check=True)
    assert "busybox: 8 runs" in run("application.py", archive.parent, work)
    assert list((work / "state").iterdir()) == []


def test_warden_of_containers_that_runc_made(
    archive: Path, tmp_path: Path, peer: Callable[[str], str], new_id: Callable[[], str]
) -> None:
    """It limits one, pauses another that is not well, and leaves one that was not started alone."""
    command = [peer("runc"), "--root", str(tmp_path / "state")]
    policy = image.Policy.insecure_accept_anything()
    bundle = ocikit.bundle.create(f"oci-archive:{archive}", tmp_path / "bundle", policy=policy, args=["sleep", "600"])
    well, ill, idle = (new_id() for _ in range(3))
    asked = {
        well: {"memory": str(48 << 20), "check": "test $(cat /proc/1/comm) = sleep"},
        ill: {"check": "echo the database is gone; exit 1"},
        idle: {},
    }
    try:
        for name, annotations in asked.items():
            told = {f"example.warden.{key}": value for key, value in annotations.items()}
            spec = attrs.evolve(bundle.spec, annotations=told)
            (tmp_path / "bundle/config.json").write_bytes(spec.to_json())
            subprocess.run(
                [*command, "create", "--bundle", tmp_path / "bundle", name], check=True, stdin=subprocess.DEVNULL
            )
            if name != idle:
                subprocess.run([*command, "start", name], check=True)
        assert sorted(run("with_runc.py", tmp_path / "state").splitlines()) == sorted(
            [
                f"{well}: limited to {48 << 20} bytes",
                f"{well}: well, with 1 processes",
                f"{ill}: paused: the database is gone",
                f"{idle}: created",
            ]
        )
        listed = json.loads(subprocess.run([*command, "list", "-f", "json"], capture_output=True, check=True).stdout)
        assert {one["id"]: one["status"] for one in listed} == {well: "running", ill: "paused", idle: "created"}
        usage = subprocess.run([*command, "events", "--stats", well], capture_output=True, check=True).stdout
        assert json.loads(usage)["data"]["memory"]["usage"]["limit"] == 48 << 20
        # The second round finds nothing to limit, and the same container ill.
        with subprocess.Popen(example("with_runc.py", tmp_path / "state", "0.01"), stdout=subprocess.PIPE) as warden:
            assert warden.stdout is not None
            lines = [warden.stdout.readline().decode().strip() for _ in range(6)]
            warden.terminate()
            assert warden.wait(60) == 128 + signal.SIGTERM
        assert sorted(lines) == sorted(2 * [f"{well}: well, with 1 processes", f"{ill}: paused", f"{idle}: created"])
    finally:
        for name in asked:
            subprocess.run([*command, "delete", "--force", name], check=False, stderr=subprocess.DEVNULL)


def test_work_inside_a_container(archive: Path) -> None:
    """A command is fed and read, another is read line by line, and a shell has a terminal of the size asked for."""
    printed = run("inside.py", f"oci-archive:{archive}").splitlines()
    assert printed[0] == "lines: 2, exit code 0"
    assert printed[1:5] == ["counted: 1", "counted: 2", "counted: 3", "ended: 0"]
    assert "| 40 120" in printed
    assert any(line.startswith("| /dev/pts/") for line in printed)
    assert printed[-1] == "the shell: 3"


def test_a_container_that_outlives_its_creator(archive: Path) -> None:
    """One process makes it; another talks to it, reads its log, and learns how it ended."""
    printed = run("detached.py", f"oci-archive:{archive}").splitlines()
    assert printed[:2] == ["found: running", "answered on stdout: got hello"]
    assert "then on stderr: bye" in printed
    assert "ended: exit code 3, out of memory: False, timed out: False" in printed
    logged = [line for line in printed if line.startswith("logged")]
    assert sorted(logged) == ["logged: stderr: bye", "logged: stdout: got hello", "logged: stdout: ready"]


def test_a_page_like_a_notebook(archive: Path, tmp_path: Path) -> None:
    """It is written with everything that a container shows of itself, and the terminal gets tables."""
    printed = run("notebook.py", f"oci-archive:{archive}", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    for seen in ("created", "oci-archive:", "container.ps()", "<svg", "limit 64.0 MiB", "exit code 3", "removed"):
        assert seen in page
    assert "<script" not in page
    head, first, *_ = printed.splitlines()
    assert head.split()[:3] == ["PID", "IN", "PPID"]
    assert first.split()[1] == "1"
    assert " samples in " in printed


def test_jobs_in_an_event_loop(archive: Path) -> None:
    """Each has its own end, and what happens to one is no matter for the others."""
    printed = run("asyncio_jobs.py", f"oci-archive:{archive}").splitlines()
    assert "quick: exit code 0, said 'quick'" in printed
    assert "asked: exit code 0, said 'forty-two'" in printed
    assert [line for line in printed if line.startswith("slow")] == [
        "slow: takes too long",
        "slow: ended by signal 9, said ''",
    ]
    assert printed.index("greedy: out of memory") < printed.index("greedy: ended by signal 9, said ''")


def test_an_agent_decides(archive: Path) -> None:
    """It is told of the container, refuses one call and makes up the result of another."""
    printed = run("seccomp_agent.py", f"oci-archive:{archive}")
    assert "with the metadata 'example'" in printed
    assert "refused\nbelieved\nocikit\n" in printed


def test_the_doctor_looks_at_this_host() -> None:
    """It prints a line for each thing that it looked at, and nothing that has to be done first where containers run."""
    printed = run("doctor.py").splitlines()
    assert any(line.split()[:2] == ["yes", "kernel.helper"] for line in printed)
    assert any(line.startswith("containers can be made here") for line in printed)
    assert [line for line in printed if line.startswith("first:")] == []


def without_root(reference: str) -> str:
    """Run the example for users without privileges; called in a process of such a user."""
    return run("rootless.py", reference)


@pytest.fixture
def home(new_id: Callable[[], str]) -> Iterator[Path]:
    """Give a directory that others may reach, unlike those of pytest."""
    with tempfile.TemporaryDirectory(prefix=f"{new_id()}-") as directory:
        yield Path(directory)


def test_without_root(archive: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without privileges runs an image, and is root in there and nowhere else."""
    for path in (EXAMPLES, Path(__file__).parent, Path(__file__).parent / "runtime"):
        monkeypatch.syspath_prepend(str(path))
    user = importlib.import_module("as_user").User(home).make()
    policy = image.Policy.insecure_accept_anything()
    image.copy.image(policy, dest=f"oci:{home}/images:busybox", src=f"oci-archive:{archive}")
    for path in (home / "images", *(home / "images").rglob("*")):
        os.chown(path, user.uid, user.gid)
    monkeypatch.setenv("TMPDIR", str(home))
    assert user.call(without_root, f"oci:{home}/images:busybox") == f"uid 0\nis {user.uid} outside, one of 1\n"
