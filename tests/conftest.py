"""What holds for every test: peers are there, nothing is skipped in silence, nothing is left behind."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
from typing import TYPE_CHECKING

import hypothesis
import pytest
from leaks import MARKER, left_behind, take_inventory
from skips import is_allowed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Names that this run of the tests gives to containers and the like begin with it.
TOKEN = f"ocikit-test-{os.getpid()}-{secrets.token_hex(3)}"

# The same examples in every run, and no database of them in the tree: a failure of one machine is one of all.
hypothesis.settings.register_profile("house", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("house")

_counter = itertools.count(1)
_unlisted = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Mark everything that is started from here on, and find what Debian puts where only root looks."""
    config.stash[_unlisted] = []
    os.environ[MARKER] = TOKEN
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    config.pluginmanager.register(_NothingInSilence(config), "ocikit-nothing-in-silence")


class _NothingInSilence:
    """Turns a run with a skip that is not in ``skips.py``, or with an expected failure, into a failed one."""

    def __init__(self, config: pytest.Config) -> None:
        self._found = config.stash[_unlisted]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Look at the outcome of a test."""
        if hasattr(report, "wasxfail"):
            self._found.append(f"{report.nodeid}: expected to fail ({report.wasxfail})")
        elif report.skipped:
            self._skipped(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Look at the outcome of reading a file."""
        if report.skipped:
            self._skipped(report)

    def _skipped(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        where = report.longrepr
        reason = where[2] if isinstance(where, tuple) else str(where)
        reason = reason.removeprefix("Skipped: ")
        if not is_allowed(report.nodeid, reason):
            self._found.append(f"{report.nodeid}: {reason}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run."""
        if self._found and session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say why."""
        if self._found:
            terminalreporter.section("skipped without being in tests/skips.py: the run fails", red=True)
            for line in self._found:
                terminalreporter.line(line)


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail the run when it leaves mounts, cgroups, processes, descriptors or names behind."""
    base = tmp_path_factory.getbasetemp()
    before = take_inventory(TOKEN, base)
    yield
    more = left_behind(before, TOKEN, base)
    if more:
        pytest.fail("the tests left behind:\n" + "\n".join(more), pytrace=False)


@pytest.fixture(scope="session")
def new_id() -> Callable[[], str]:
    """Give a name for a container (a cgroup, a network namespace …) that nobody else on this machine uses."""
    return lambda: f"{TOKEN}-{next(_counter)}"


@pytest.fixture
def container_id(new_id: Callable[[], str]) -> str:
    """Give the name for the one container of a test."""
    return new_id()


@pytest.fixture(scope="session")
def peer() -> Callable[[str], str]:
    """Find a program of somebody else; that it is missing is a failure, never a reason to skip."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            pytest.fail(f"{name} is not installed, and tests compare with it; 'make test' installs it", pytrace=False)
        return path

    return find
