"""The rules of the test run itself: an unlisted skip, an expected failure and a leak each fail the run."""

from __future__ import annotations

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
def run(tmp_path: Path) -> Callable[[str], Run]:
    """Run pytest on the text of a test file, under the rules of this directory."""

    def run_tests(text: str) -> Run:
        for name in ("conftest.py", "leaks.py", "skips.py"):
            shutil.copy(TESTS / name, tmp_path)
        (tmp_path / "test_it.py").write_text("import os, subprocess, pathlib, pytest\n" + text)
        command = [
            sys.executable,
            "-B",
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            f"--rootdir={tmp_path}",
            str(tmp_path),
        ]
        environment = {**os.environ, "PYTEST_DEBUG_TEMPROOT": str(tmp_path)}
        # The file of its own keeps the run from reading the settings of this tree, whatever the directory.
        (tmp_path / "pytest.ini").write_text("[pytest]\n")
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path, env=environment)
        return Run(done.returncode, done.stdout)

    return run_tests


def test_a_clean_run_passes(run: Callable[[str], Run]) -> None:
    """Tests that leave nothing pass, files and children and mounts of their own or not."""
    found = run(
        "def test_it(tmp_path, container_id):\n"
        "    subprocess.run(['mount', '-t', 'tmpfs', container_id, str(tmp_path)], check=True)\n"
        "    subprocess.run(['umount', str(tmp_path)], check=True)\n"
    )
    assert found.code == 0, found.output


@pytest.mark.parametrize(
    "text",
    [
        "def test_it():\n    pytest.skip('no frobnicator')\n",
        "@pytest.mark.skip(reason='no frobnicator')\ndef test_it():\n    pass\n",
        "pytest.skip('no frobnicator', allow_module_level=True)\n",
        "pytest.importorskip('frobnicator')\n",
        "@pytest.mark.xfail(reason='no frobnicator')\ndef test_it():\n    assert False\n",
        "@pytest.mark.xfail(reason='no frobnicator')\ndef test_it():\n    pass\n",
    ],
)
def test_an_unlisted_skip_fails_the_run(run: Callable[[str], Run], text: str) -> None:
    """However a test is skipped or expected to fail, the run fails and says which and why."""
    found = run("def test_other():\n    pass\n" + text)
    assert found.code == 1, found.output
    assert "the run fails" in found.output
    assert "frobnicator" in found.output.partition("the run fails")[2]


def test_the_list_takes_a_test_and_a_reason() -> None:
    """A skip is allowed when both its test and its reason are listed, and not by one of them."""
    allowed = (Allowed("tests/runtime/test_a.py::*", "kernel without swap accounting", "since 3.6, if configured"),)
    assert is_allowed("tests/runtime/test_a.py::test_swap[1]", "kernel without swap accounting: no file", allowed)
    assert not is_allowed("tests/runtime/test_a.py::test_swap[1]", "no time", allowed)
    assert not is_allowed("tests/runtime/test_b.py::test_swap", "kernel without swap accounting", allowed)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("mount", "subprocess.run(['mount', '-t', 'tmpfs', 'none', str(tmp_path)], check=True)"),
        ("process", "subprocess.Popen(['sleep', '600'])"),
        ("process", "subprocess.run(['setsid', '--fork', 'sleep', '600'], check=True)"),
        ("descriptor", "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); s.detach()"),
        ("name", "subprocess.run(['ip', 'netns', 'add', container_id], check=True)"),
        ("cgroup", "print('CGROUP ' + str(new_cgroup(container_id)))"),
    ],
)
def test_what_is_left_behind_fails_the_run(run: Callable[[str], Run], kind: str, text: str) -> None:
    """Each kind of thing that outlives the tests is named, and fails the run."""
    helpers = (
        "import leaks\n"
        "leaks._SETTLING_SECONDS = 0.2\n"
        "def new_cgroup(name):\n"
        "    lines = pathlib.Path('/proc/self/mountinfo').read_text().splitlines()\n"
        "    place = next(line.split()[4] for line in lines if ' - cgroup' in line)\n"
        "    directory = pathlib.Path(place, name)\n"
        "    directory.mkdir()\n"
        "    return directory\n"
    )
    found = run(f"{helpers}def test_it(tmp_path, container_id):\n    {text}\n")
    try:
        assert found.code == 1, found.output
        assert "the tests left behind" in found.output
        assert f"\n{kind}: " in found.output
    finally:
        clean_up(found.output)


def clean_up(output: str) -> None:
    """Take away what a run has named as left behind."""
    for line in output.splitlines():
        kind, _, thing = line.partition(": ")
        match kind:
            case "mount" if thing.startswith("/"):
                subprocess.run(["umount", thing], check=True)
            case "process" if "(pid " in thing:
                os.kill(int(thing.partition("(pid ")[2].partition(",")[0]), signal.SIGKILL)
            case "name" if thing.startswith("/run/netns/"):
                subprocess.run(["ip", "netns", "delete", Path(thing).name], check=True)
            case "cgroup" if thing.startswith("/"):
                Path(thing).rmdir()


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_is_there(peer: Callable[[str], str], name: str) -> None:
    """What the tests compare with is installed."""
    assert os.access(peer(name), os.X_OK)
