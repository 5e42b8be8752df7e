"""The script that runs the validation programs: what it counts, and when it is not content."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("run.py")

#: A runtime that knows of one container, until it is deleted.
RUNTIME = """#!/bin/sh
[ "$1" = --root ] || exit 1
case $3 in
create) mkdir -p "$2/left" && echo ours > "$2/left/name" ;;
delete) rm -r "$2/$5" && echo "$5" >> {log} ;;
esac
"""

#: Programs by name: how a good one and some bad ones end.
PROGRAMS = {
    "good": "echo TAP version 13; echo ok 1 - this; echo 'ok 2 # SKIP that'; echo 1..2",
    "silent": "$RUNTIME create",
    "bad": "echo ok 1 - this; echo not ok 2 - that",
    "failing": "echo ok 1 - this; exit 1",
    "told": """echo 1..0; echo '"error": "no"'""",
}


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """Give a directory with programs."""
    path = tmp_path / "tools"
    (path / "validation").mkdir(parents=True)
    for name in ("runtimetest", "rootfs-amd64.tar.gz"):
        (path / name).touch()
    for name, script in PROGRAMS.items():
        (path / "validation" / name).write_text(f"#!/bin/sh\n{script}\n")
        (path / "validation" / name).chmod(0o755)
    return path


def run(tools: Path, *programs: str) -> subprocess.CompletedProcess[str]:
    """Run programs with the runtime."""
    runtime = tools.parent / "runtime"
    runtime.write_text(RUNTIME.format(log=tools.parent / "log"))
    runtime.chmod(0o755)
    only = [f"--only={name}" for name in programs]
    environment = os.environ | {"OCIKIT_RUNTIME_TOOLS": str(tools), "TMPDIR": str(tools.parent)}
    return subprocess.run(
        [sys.executable, SCRIPT, *only, runtime], env=environment, capture_output=True, text=True, check=False
    )


def test_what_passes(tools: Path) -> None:
    """A program passes with subtests that are ok, or with no word about an error; what it leaves is removed."""
    done = run(tools, "good", "silent")
    assert done.returncode == 0, done.stderr
    assert "| good | pass 1/0 |" in done.stdout
    assert "| silent | pass 1/0 |" in done.stdout
    assert "| **subtests** ok/not ok/skip | 2/0/1 |" in done.stdout
    assert (tools.parent / "log").read_text() == "left\n"
    assert not list(tools.parent.glob("ocikit-conformance-*"))


@pytest.mark.parametrize(("program", "cell"), [("bad", "1/1"), ("failing", "1/0"), ("told", "0/0")])
def test_what_fails(tools: Path, program: str, cell: str) -> None:
    """A program fails with a subtest, its exit code, or an error that it writes; unless that is expected, so do we."""
    done = run(tools, program)
    assert done.returncode == 1
    assert f"| {program} | fail {cell} |" in done.stdout
    assert f"{program}: fail {cell}, and has to pass" in done.stderr


def test_what_is_missing(tools: Path) -> None:
    """Without the programs it says what to set and what is not there."""
    (tools / "runtimetest").unlink()
    done = run(tools)
    assert done.returncode == 1
    assert "OCIKIT_RUNTIME_TOOLS" in done.stderr
    assert "'runtimetest'" in done.stderr


def test_the_page_tells_the_same() -> None:
    """What is expected to fail, and why, stands in the page for readers word by word."""
    page = Path(__file__).parents[2].joinpath("docs/conformance.md").read_text()
    expected = tomllib.loads(SCRIPT.with_name("expected.toml").read_text())
    rows = [(name, row["reason"]) for kind in ("both", "v1", "v2") for name, row in expected[kind].items()]
    lines = [line for line in page.splitlines() if line.startswith("| `")]
    assert [row for row in rows if not any(f"`{row[0]}`" in line and row[1] in line for line in lines)] == []
