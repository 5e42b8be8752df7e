"""The examples do what they say, as the programs that they are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

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
