"""The rules of the test run itself: an unlisted skip, an expected failure and a leak each fail the run."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from skips import Allowed, is_allowed

if TYPE_CHECKING:
    from collections.abc import Callable

TESTS = Path(__file__).parents[1]

#: What the tests of the house need beside the dependencies of ocikit; ``.ci/debian`` installs them.
PEERS = """
    runc crun skopeo umoci buildah podman docker-registry strace busybox zstd gzip tar setfattr setcap mount ip unshare
    setpriv newuidmap git gcc
""".split()


class Run(NamedTuple):
    """How a run of pytest ended."""

    code: int
    output: str


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Run]:
    """Run pytest on the texts of test files, under the rules of this directory."""

    def run_tests(*texts: str) -> Run:
        for name in ("conftest.py", "leaks.py", "skips.py"):
            shutil.copy(TESTS / name, tmp_path)
        for number, text in enumerate(texts):
            (tmp_path / f"test_{number}.py").write_text(f"import os, pathlib, socket, subprocess, pytest\n{text}")
        # A file of its own keeps the run from reading the settings of this tree, whatever the directory.
        (tmp_path / "pytest.ini").write_text("[pytest]\n")
        command = [sys.executable, "-B", "-m", "pytest", "-p", "no:cacheprovider", "--rootdir=.", "."]
        environment = {**os.environ, "PYTEST_DEBUG_TEMPROOT": str(tmp_path)}
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path, env=environment)
        return Run(done.returncode, done.stdout)

    return run_tests


def test_a_clean_run_passes(run: Callable[..., Run]) -> None:
    """Tests that leave nothing pass, though they had mounts, children and descriptors of their own."""
    found = run(
        "def test_it(tmp_path, container_id):\n"
        "    subprocess.run(['mount', '-t', 'tmpfs', container_id, str(tmp_path)], check=True)\n"
        "    subprocess.run(['umount', str(tmp_path)], check=True)\n"
    )
    assert found.code == 0, found.output


SKIPS = [
    "def test_other():\n    pass\n",
    "def test_it():\n    pytest.skip('reason 1')\n",
    "@pytest.mark.skip(reason='reason 2')\ndef test_it():\n    pass\n",
    "pytest.skip('reason 3', allow_module_level=True)\n",
    "pytest.importorskip('frobnicator', reason='reason 4')\n",
    "@pytest.mark.xfail(reason='reason 5')\ndef test_it():\n    assert False\n",
    "@pytest.mark.xfail(reason='reason 6')\ndef test_it():\n    pass\n",
]


def test_an_unlisted_skip_fails_the_run(run: Callable[..., Run]) -> None:
    """However tests are skipped or expected to fail, the run fails, and says of each which it was and why."""
    found = run(*SKIPS)
    assert found.code == 1, found.output
    said = found.output.partition("the run fails")[2]
    assert [f"test_{number}.py" in said and f"reason {number}" in said for number in range(1, 7)] == [True] * 6
    assert "test_0.py" not in said


def test_the_list_takes_a_test_and_a_reason() -> None:
    """A skip is allowed when both its test and its reason are listed, and not by one of them."""
    allowed = (Allowed("tests/runtime/test_a.py::*", "kernel without swap accounting", "since 3.6, if configured"),)
    assert is_allowed("tests/runtime/test_a.py::test_swap[1]", "kernel without swap accounting: no file", allowed)
    assert not is_allowed("tests/runtime/test_a.py::test_swap[1]", "no time", allowed)
    assert not is_allowed("tests/runtime/test_b.py::test_swap", "kernel without swap accounting", allowed)


LEAKS = """
import leaks
leaks._SETTLING_SECONDS = 0.2

def test_it(tmp_path, container_id):
    subprocess.run(["mount", "-t", "tmpfs", "none", str(tmp_path)], check=True)
    subprocess.Popen(["sleep", "600"])
    subprocess.run(["setsid", "--fork", "sleep", "600"], check=True)
    subprocess.run(["ip", "netns", "add", container_id], check=True)
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen()
    server.detach()
    lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    cgroups = next(line.split()[4] for line in lines if " - cgroup" in line)
    pathlib.Path(cgroups, container_id).mkdir()
"""


def test_what_is_left_behind_fails_the_run(run: Callable[..., Run]) -> None:
    """Each thing that outlives the tests is named, and fails the run."""
    found = run(LEAKS)
    try:
        assert found.code == 1, found.output
        said = found.output.partition("the tests left behind")[2].splitlines()
        kinds = [line.partition(": ")[0] for line in said if ": " in line]
        # The daemon that sleeps in a session of its own has lost its parent, and is found all the same; the network
        # namespace is a mount, too.
        for kind, count in {"mount": 2, "process": 2, "descriptor": 1, "name": 1, "cgroup": 1}.items():
            assert kinds.count(kind) >= count, found.output
    finally:
        clean_up(found.output)


def clean_up(output: str) -> None:
    """Take away what a run has named as left behind; what is gone by itself, or with another thing, is gone."""
    for line in output.splitlines():
        kind, _, thing = line.partition(": ")
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            match kind:
                case "mount" if thing.startswith("/"):
                    subprocess.run(["umount", thing], check=False, capture_output=True)
                    assert f" {thing} " not in Path("/proc/self/mountinfo").read_text()
                case "process" if "(pid " in thing:
                    os.kill(int(thing.partition("(pid ")[2].partition(",")[0]), signal.SIGKILL)
                case "name" if thing.startswith("/run/netns/"):
                    Path(thing).unlink()
                case "cgroup" if thing.startswith("/"):
                    Path(thing).rmdir()


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_is_there(peer: Callable[[str], str], name: str) -> None:
    """What the tests compare with is installed."""
    assert os.access(peer(name), os.X_OK)
