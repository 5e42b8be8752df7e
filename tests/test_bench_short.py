"""The benchmarks of the runtime run, and what they compare with is what they say it is. No time is looked at."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent / "bench"))

import floor
import pytest
from bundles import make_bundle, make_spec
from measuring import COLUMNS, Line, Missing, Row, table

from ocikit import runtime

if TYPE_CHECKING:
    from collections.abc import Callable

BENCH = Path(__file__).parent / "bench"

#: What has to be in the table.
ROWS = """
create, start, wait, destroy: crun run
create, start, wait, destroy: runc run
create, start, wait, destroy: the floor
the same, detached: scope
8 threads: 8 x crun run
from a process with 0.0625 GiB: from a small one
exec of true: crun exec
exec of true: runc exec
private memory of a created container
private memory of a monitor
ocikit-runtime state: python3 importing json
ocikit-runtime kill: python3 importing json
ocikit-runtime delete: python3 importing json
ocikit-runtime create: python3 importing json
import ocikit: a bare interpreter
a process up to its first create: one that imports attrs and json
oci-archive to oci: skopeo
oci to oci: skopeo
oci to oci, linked, verified before: skopeo
oci to oci-archive: skopeo
gzip to zstd: skopeo
memory, oci to oci: the same for 50 MB
memory, oci to oci-archive: the same for 50 MB
memory, gzip to zstd: the same for 50 MB
pull of a large image: skopeo
pull of a large image: curl and SHA-256
push of a large image: skopeo
pull of 4 small layers: skopeo
push of 4 small layers: skopeo
""".strip().splitlines()

#: What a container can see of itself.
LOOK = """
cut -d ' ' -f 4- /proc/self/mountinfo
grep -E '^(Umask|Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)' /proc/self/status
sed 's/.*://' /proc/self/cgroup
ls -l /dev /dev/pts /dev/shm /dev/mqueue
ls -ld /proc/acpi /proc/keys /proc/timer_list /sys/firmware /proc/self/fd/*
cut -d : -f 1 /proc/net/dev
hostname; pwd; ulimit -n
"""
TOOLS = ("cut", "grep", "sed", "ls", "hostname")


def test_every_row_is_measured(peer: Callable[[str], str]) -> None:
    """The short form of ``make bench`` measures everything, and every number is one."""
    for name in ("crun", "runc", "skopeo", "gcc", "unshare", "docker-registry", "curl"):
        peer(name)
    command: list[str | Path] = [
        sys.executable,
        BENCH / "run_all.py",
        "2",
        "--memory",
        "64",
        "--image",
        "2",
        "--markdown",
    ]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True).stdout
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in output.splitlines()]
    assert rows[0] == list(COLUMNS)
    found = {row[0]: row[1:] for row in rows[2:]}
    assert list(found) == ROWS
    for name in ROWS:
        ours, theirs, _, judged, target, _, met = found[name]
        for number in filter(None, (ours, theirs)):
            assert math.isfinite(float(number))
            assert float(number) > 0
        assert bool(judged) == bool(theirs)
        assert bool(target) == (met in {"stretch", "yes", "no"})


def seen(text: str) -> Counter[str]:
    """Return what a container saw; the order of mounts beside each other is nobody's promise, nor is a moment."""
    return Counter(re.sub(r"\b[A-Z][a-z]{2} +\d+ \d\d:\d\d\b|pipe:\[\d+\]", "", line) for line in text.splitlines())


def test_the_floor_makes_the_same_container(tmp_path: Path, container_id: str) -> None:
    """The C program that counts as the floor makes what ocikit makes: seen from inside, the two are alike."""
    bundle = make_bundle(tmp_path / "bundle", "sh")
    for tool in TOOLS:
        (bundle / "rootfs/bin" / tool).symlink_to("busybox")
    program = ("/bin/sh", "-c", LOOK)
    ours = runtime.run(tmp_path / "state", container_id, bundle, spec=make_spec(*program), stderr="stdout")
    for directory in ("floor", "states"):
        (tmp_path / directory).mkdir()
    command = floor.command(tmp_path / "floor", tmp_path / "states", container_id, bundle, program)
    done = subprocess.run(command, check=True, input="\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    *lines, nanoseconds = done.stdout.splitlines()
    assert int(nanoseconds) > 0
    assert ours.exit_code == 0, ours.stdout
    assert seen("\n".join(lines)) == seen(ours.stdout.decode())
    assert "Seccomp:\t2" in lines
    assert "/proc/keys" in done.stdout
    assert not list((tmp_path / "states").iterdir())


@pytest.mark.parametrize(
    ("row", "cells"),
    [
        (
            Row(name="x", ours=10, peer=40, target=0.35, stretch=0.25),
            ("x", "10.0", "40.0", "ms", "0.25", "≤ 0.35", "≤ 0.25", "stretch"),
        ),
        (Row(name="x", ours=10, peer=30, target=0.35, stretch=0.25), ("0.33", "yes")),
        (Row(name="x", ours=10, peer=20, target=0.35), ("0.50", "no")),
        (Row(name="x", ours=50, peer=20, target=2.5, stretch=4, more=True), ("2.50", "≥ 2.5", "yes")),
        (Row(name="x", ours=30, peer=20, kind="excess", target=5), ("+10.0 ms", "no")),
        (Row(name="x", ours=72, unit="kB", kind="amount", target=150), ("72.0", "kB", "yes")),
        (Row(name="x", ours=1, peer=2), ("0.50", "")),
        (Missing(name="x", reason="not yet"), ("x", "not yet")),
    ],
)
def test_rows_are_judged(row: Line, cells: tuple[str, ...]) -> None:
    """A row says how the two compare, and which goal that reaches; each stands in both forms of the table."""
    assert set(cells) <= set(row.cells)
    assert len(row.cells) == len(COLUMNS)
    assert table([row], markdown=True).splitlines()[2] == f"| {' | '.join(row.cells)} |"
    assert " ".join(cell for cell in row.cells if cell).split() == table([row], markdown=False).splitlines()[1].split()
