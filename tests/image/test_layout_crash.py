"""Killed at every single step that changes something on disk, a place holds the old image or the new one, whole.

strace tells which system calls a program makes that change what is on disk, and then kills the program as it is
about to make each of them, one after the other. Copies that are killed at random moments are tested elsewhere.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from builders import Store, check_layout, names_in, skopeo_digest
from moving import move

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
CHANGES = "rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,rmdir,fchmod"

MOVE = "import sys; sys.path.insert(0, sys.argv[1]); from moving import move; move(*sys.argv[2:])"
DELETE = "import sys; from ocikit.image import delete; delete(sys.argv[2])"


def traced(options: list[str], trace: Path, command: list[str]) -> int:
    """Run a program under strace and return how it ended."""
    program, *arguments = command
    python = [sys.executable, "-Bc", program, str(HERE), *arguments]
    run = subprocess.run(
        ["strace", "-f", *options, "-o", str(trace), *python], capture_output=True, timeout=60, check=False
    )
    assert run.returncode in {0, -9}, run.stderr
    return run.returncode


def at_every_step(
    tmp_path: Path, start: Callable[[Path], None], command: Callable[[Path], list[str]], check: Callable[[Path], None]
) -> int:
    """Kill a program at each of its changes, every time from the start; check what is left. Return their number."""
    trace, whole = tmp_path / "trace", tmp_path / "whole"
    whole.mkdir()
    start(whole)
    assert traced(["-e", f"trace={CHANGES}"], trace, command(whole)) == 0
    check(whole)
    calls = Counter(re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.MULTILINE))
    for call, count in calls.items():
        for number in range(1, count + 1):
            place = tmp_path / f"{call}-{number}"
            place.mkdir()
            start(place)
            assert traced(["-e", f"inject={call}:signal=KILL:when={number}"], trace, command(place)) == -9
            check(place)
            shutil.rmtree(place)
    return calls.total()


@pytest.fixture
def source(tmp_path: Path) -> str:
    """Return an image with a layer."""
    store = Store()
    image = store.image({"b": b"b"})
    return f"oci:{store.layout(tmp_path / 'source', {'x': image})}:x"


@pytest.fixture
def old(tmp_path: Path) -> str:
    """Return an image that shares a layer with the other."""
    store = Store()
    image = store.image({"b": b"b"}, {"old": b"old"})
    return f"oci:{store.layout(tmp_path / 'old', {'x': image})}:x"


def no_leftovers(place: Path) -> None:
    """Check that there is nothing temporary."""
    assert [path for path in place.rglob("*") if "tmp" in path.name] == []


def test_a_new_layout(tmp_path: Path, source: str) -> None:
    """A directory becomes a layout in one step, and the image is in it in one step."""
    digest = skopeo_digest(source)

    def check(place: Path) -> None:
        if (place / "l" / "oci-layout").exists():
            seen = check_layout(place / "l")
            assert (names_in(place / "l"), digest in seen) in [(["y"], True), ([], False)]
        move(source, f"oci:{place}/l:y")
        assert names_in(place / "l") == ["y"]
        assert digest in check_layout(place / "l")
        no_leftovers(place)

    steps = at_every_step(tmp_path, lambda _: None, lambda place: [MOVE, source, f"oci:{place}/l:y"], check)
    assert steps >= 12


def test_an_image_takes_a_name(tmp_path: Path, source: str, old: str) -> None:
    """The name leads to the old image or to the new one."""
    digests = {skopeo_digest(source), skopeo_digest(old)}

    def check(place: Path) -> None:
        check_layout(place / "l")
        assert names_in(place / "l").count("y") == 1
        assert skopeo_digest(f"oci:{place}/l:y") in digests
        move(source, f"oci:{place}/l:z")
        no_leftovers(place)

    steps = at_every_step(
        tmp_path,
        lambda place: void(move(old, f"oci:{place}/l:y")),
        lambda place: [MOVE, source, f"oci:{place}/l:y"],
        check,
    )
    assert steps >= 5


def void(_: object) -> None:
    """Return nothing."""


def test_an_image_is_deleted(tmp_path: Path, source: str, old: str) -> None:
    """The image is there whole or not at all, and the other one always."""

    def start(place: Path) -> None:
        move(source, f"oci:{place}/l:y")
        move(old, f"oci:{place}/l:kept")

    def check(place: Path) -> None:
        check_layout(place / "l")
        assert names_in(place / "l") in [["y", "kept"], ["kept"]]

    assert at_every_step(tmp_path, start, lambda place: [DELETE, f"oci:{place}/l:y"], check) >= 3


def test_an_archive_is_replaced(tmp_path: Path, source: str, old: str) -> None:
    """The file holds the old image or the new one."""
    digests = {skopeo_digest(source), skopeo_digest(old)}

    def check(place: Path) -> None:
        assert skopeo_digest(f"oci-archive:{place}/a") in digests
        move(source, f"oci-archive:{place}/a")
        no_leftovers(place)

    steps = at_every_step(
        tmp_path,
        lambda place: void(move(old, f"oci-archive:{place}/a")),
        lambda place: [MOVE, source, f"oci-archive:{place}/a"],
        check,
    )
    assert steps >= 1


def test_a_directory_is_replaced(tmp_path: Path, source: str, old: str) -> None:
    """The directory holds the old image or the new one, and no signature that is not for it."""
    digests = {skopeo_digest(source), skopeo_digest(old)}

    def start(place: Path) -> None:
        move(old, f"dir:{place}/d")
        (place / "d" / "signature-1").write_bytes(b"of the old one")

    def check(place: Path) -> None:
        manifest = json.loads((place / "d" / "manifest.json").read_bytes())
        for blob in (manifest["config"], *manifest["layers"]):
            assert (place / "d" / blob["digest"].partition(":")[2]).stat().st_size == blob["size"]
        found = skopeo_digest(f"dir:{place}/d")
        assert found in digests
        assert found == skopeo_digest(old) or not (place / "d" / "signature-1").exists()
        move(source, f"dir:{place}/d")
        no_leftovers(place)
        assert len(list((place / "d").iterdir())) == 4

    assert at_every_step(tmp_path, start, lambda place: [MOVE, source, f"dir:{place}/d"], check) >= 8
