"""Run the validation programs of opencontainers/runtime-tools: ``tests/conformance/run.py [-o NAME]… RUNTIME [PEER]…``.

``OCIKIT_RUNTIME_TOOLS`` names a directory with what was built of them: ``validation/*``, ``runtimetest`` and
``rootfs-*.tar.gz`` (docs/conformance.md tells how). A table of all programs and runtimes goes to stdout; below it
stands what fails with the first runtime and not with a peer. The first runtime is held to ``expected.toml``: what that
does not list has to pass. Each program has a mount namespace, a state root and a temporary directory of its own,
because some leave containers and mounts behind. As root.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

TIME_LIMIT = 120  # seconds
TRIES = 5  # of a program whose outcome is a race
KIND = "v2" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "v1"
EXPECTED = Path(__file__).with_name("expected.toml")

#: What a runtime cannot have in its mount namespace: crun refuses a hybrid of both versions of cgroups.
HIDDEN = {"crun": "/sys/fs/cgroup/unified"}

#: What has to be done before each command of a runtime: crun before 1.9 takes no configuration of specification 1.1 or
#: later, and the programs write that of the newest.
BEFORE = {
    "crun": """\
for argument; do
    [ "$last" != --bundle ] || sed -i 's/"ociVersion": "1\\.[1-9][^"]*"/"ociVersion": "1.0.2"/' "$argument/config.json"
    last=$argument
done
"""
}

RESULT = re.compile(r"(?P<failed>not )?ok \d+(?: - )?(?P<what>.*?)(?P<skipped> ?# SKIP.*)?", re.IGNORECASE)

#: One row for each program, one column for each runtime.
Table = dict[str, dict[str, "Outcome"]]


@attrs.frozen(kw_only=True)
class Outcome:
    """What came of one program with one runtime."""

    ok: tuple[str, ...]
    failed: tuple[str, ...]
    skipped: int
    exit_code: int | None  # None: it took too long
    output: str

    @classmethod
    def of(cls, output: str, exit_code: int | None) -> Outcome:
        """Read what a program wrote.

        Some programs have no subtest: they write an error, or nothing, and count as one.
        """
        found = [match for line in output.splitlines() if (match := RESULT.fullmatch(line))]
        counted = [match for match in found if not match["skipped"]]
        ok = tuple(match["what"] for match in counted if not match["failed"])
        if not found and exit_code == 0 and '"error"' not in output:
            ok = ("no error",)
        failed = tuple(match["what"] for match in counted if match["failed"])
        return cls(ok=ok, failed=failed, skipped=len(found) - len(counted), exit_code=exit_code, output=output)

    @property
    def passed(self) -> bool:
        """Whether the program is content."""
        return self.exit_code == 0 and bool(self.ok) and not self.failed

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many subtests are ok, are not, and were skipped."""
        return len(self.ok), len(self.failed), self.skipped

    def __str__(self) -> str:
        """Give a cell of the table."""
        word = "pass" if self.passed else "fail" if self.exit_code is not None else "hang"
        return f"{word} {len(self.ok)}/{len(self.failed)}"


@attrs.frozen(kw_only=True)
class Runner:
    """One runtime under test."""

    name: str
    command: str
    tools: Path

    def run(self, program: str, tries: int = 1) -> Outcome:
        """Run a program until it passes, a number of times at most."""
        for _ in range(tries):
            with tempfile.TemporaryDirectory(prefix="ocikit-conformance-", ignore_cleanup_errors=True) as directory:
                outcome = self._run_once(program, Path(directory))
            if outcome.passed:
                break
        return outcome

    def _run_once(self, program: str, work: Path) -> Outcome:
        work.chmod(0o711)  # mapped users of containers reach their root file systems
        state, bundles, wrapper = work / "state", work / "bundles", work / "runtime"
        bundles.mkdir(mode=0o711)
        wrapper.write_text(f'#!/bin/sh\n{BEFORE.get(self.name, "")}exec {self.command} --root {state} "$@"\n')
        wrapper.chmod(0o755)
        environment = os.environ | {"RUNTIME": str(wrapper), "TMPDIR": str(bundles)}
        with (work / "output").open("w+") as output:
            exit_code = run_limited(
                [*self._apart(), str(self.tools / "validation" / program)], self.tools, environment, output
            )
            remove_containers(wrapper, state)
            output.seek(0)
            return Outcome.of(output.read(), exit_code)

    def _apart(self) -> list[str]:
        """Give the command that others run in: nothing that they mount stays on this machine."""
        hidden = HIDDEN.get(self.name, "")
        script = f'umount {hidden}; exec "$@"' if os.path.ismount(hidden) else 'exec "$@"'
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]


def run_limited(command: list[str], directory: Path, environment: dict[str, str], output: Any) -> int | None:
    """Run a command in a session of its own, and return its exit code, or None when its time is up."""
    with subprocess.Popen(
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    ) as process:
        try:
            return process.wait(TIME_LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None


def remove_containers(runtime: Path, state: Path) -> None:
    """Delete what a program has left of its containers."""
    for directory in sorted(state.iterdir()) if state.is_dir() else ():
        command = [str(runtime), "delete", "--force", directory.name]
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=TIME_LIMIT)


def measure(runners: list[Runner], programs: list[str], racy: dict[str, str]) -> Table:
    """Run every program with every runtime; what fails is told at once, with what it wrote."""
    table: Table = {}
    for number, program in enumerate(programs, 1):
        row = table[program] = {}
        for runner in runners:
            outcome = row[runner.name] = runner.run(program, TRIES if program in racy else 1)
            say(f"[{number}/{len(programs)}] {program} {runner.name}: {outcome}")
            if not outcome.passed and runner is runners[0]:
                say(re.sub(r"^", "    ", outcome.output.rstrip()[-4000:], flags=re.MULTILINE))
    return table


def markdown(table: Table, names: list[str]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"| program | {' | '.join(names)} |"
    yield f"|---|{'---|' * len(names)}"
    for program, row in table.items():
        yield f"| {program} | {' | '.join(str(row[name]) for name in names)} |"
    columns = [[row[name] for row in table.values()] for name in names]
    passed = (str(sum(one.passed for one in column)) for column in columns)
    yield f"| **pass**, of {len(table)} | {' | '.join(passed)} |"
    subtests = ("/".join(map(str, map(sum, zip(*(one.counts for one in column), strict=True)))) for column in columns)
    yield f"| **subtests** ok/not ok/skip | {' | '.join(subtests)} |"


def beaten(table: Table, first: str) -> Iterator[str]:
    """Yield what does not pass with the first runtime and passes with a peer: subtests, or programs that end early."""
    for program, row in table.items():
        ours = row[first]
        for peer, theirs in row.items():
            lost = sorted(set(ours.failed) & (set(theirs.ok) - set(theirs.failed)))
            if not ours.passed and theirs.passed and not lost:
                lost = ["the program"]
            yield from (f"{program}: {what} (passes with {peer})" for what in lost)


def unexpected(table: Table, first: str, expected: dict[str, Any]) -> Iterator[str]:
    """Yield in which way the first runtime is worse than what is expected of it."""
    for program, row in table.items():
        ours = row[first]
        if program not in expected:
            if not ours.passed:
                yield f"{program}: {ours}, and has to pass"
        elif not ours.passed and len(ours.ok) < expected[program]["ok"]:
            yield f"{program}: {ours}, and has to have {expected[program]['ok']} ok"


def say(line: str) -> None:
    """Tell how it goes."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def find_tools() -> Path:
    """Return where the programs are.

    Raises:
        SystemExit: The variable does not say, or they are not there.
    """
    tools = Path(os.environ.get("OCIKIT_RUNTIME_TOOLS", "")).absolute()
    missing = [name for name in ("validation", "runtimetest", "rootfs-*.tar.gz") if not any(tools.glob(name))]
    if "OCIKIT_RUNTIME_TOOLS" not in os.environ or missing:
        raise SystemExit(
            "error: set OCIKIT_RUNTIME_TOOLS to a directory with validation/*, runtimetest and rootfs-*.tar.gz of"
            f" opencontainers/runtime-tools; docs/conformance.md tells how they are built (missing: {missing})"
        )
    return tools


def find_runner(command: str, tools: Path) -> Runner:
    """Return how a runtime is run, given its name or path.

    Raises:
        SystemExit: There is none.
    """
    path = shutil.which(command)
    if path is None:
        raise SystemExit(f"error: no runtime {command!r} was found")
    return Runner(name=os.path.basename(command), command=os.path.abspath(path), tools=tools)


def main() -> int:
    """Run what the command line asks for; 0 when everything is as expected."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--only", metavar="NAME", action="append", help="a program; all of them otherwise")
    parser.add_argument("runtime", nargs="+", help="the runtime under test, and others to compare it with")
    arguments = parser.parse_args()
    tools = find_tools()
    runners = [find_runner(command, tools) for command in arguments.runtime]
    expected = tomllib.loads(EXPECTED.read_text())
    programs = arguments.only or sorted(path.name for path in (tools / "validation").iterdir())
    table = measure(runners, programs, expected["racy"])
    first = runners[0].name
    report = [
        *markdown(table, [runner.name for runner in runners]),
        f"\nFails with {first} and not with a peer:",
        *(list(beaten(table, first)) or ["nothing"]),
    ]
    print("\n".join(report), flush=True)  # noqa: T201
    wrong = list(unexpected(table, first, expected["both"] | expected[KIND]))
    say("\n".join([f"\nWorse than {EXPECTED.name} expects under cgroup {KIND}:", *(wrong or ["nothing"])]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
