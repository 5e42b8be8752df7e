"""Killed at any moment, a synchronisation leaves whole images only, and the next one goes on where it stopped."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING, Any

import pytest
from builders import Store, check_layout, manifest_at, names_in
from test_copy_killed import kill, start, wait_until_ready

from ocikit.image import Policy, sync

if TYPE_CHECKING:
    from pathlib import Path

ANY = Policy.insecure_accept_anything()
KILLS = int(os.environ.get("OCIKIT_KILLS", "2"))
IMAGES = 12

PROGRAM = """
import sys
from ocikit.image import Policy, sync
source, dest, into, several = sys.argv[1:]
print("ready", flush=True)
tell = lambda one: print(one.outcome, one.destination, flush=True)
while True:
    sync(Policy.insecure_accept_anything(), source=source, dest=dest, into=into, max_images=int(several), progress=tell)
"""


def source(path: Path) -> dict[str, str]:
    """Make a layout of images that take a while; return their digests."""
    noise = random.Random(11)  # noqa: S311 - only has to be incompressible, and the same every time
    store = Store()
    shared = {"shared": noise.randbytes(200_000)}
    tops = {f"app:{n}": store.image(shared, {"own": noise.randbytes(150_000)}, platform=False) for n in range(IMAGES)}
    store.layout(path, tops)
    return {name: top["digest"] for name, top in tops.items()}


@pytest.mark.parametrize(("into", "several"), [("one", 1), ("one", 3), ("dir", 2)])
def test_killed_and_resumed(into: Any, several: int, tmp_path: Path) -> None:
    """What was finished stays finished and is not copied again; what was not is not to be seen."""
    moment = random.Random()  # noqa: S311 - any moment will do
    digests = source(tmp_path / "in")
    for round_ in range(KILLS):
        dest = tmp_path / f"out{round_}"
        process = start(PROGRAM, tmp_path / "in", dest, into, several)
        wait_until_ready([process])
        time.sleep(moment.random() * 0.25)
        finished = {words[1] for words in kill([process], moment) if words[0] in {"copied", "unchanged"}}
        if into == "one" and (dest / "oci-layout").exists():
            check_layout(dest)
            assert all(manifest_at(dest, name) == digests[name] for name in names_in(dest))
        report = sync(ANY, source=tmp_path / "in", dest=dest, into=into)
        assert [str(one.digest) for one in report.images] == list(digests.values())
        assert finished <= {str(one.destination) for one in report.unchanged}
        assert all(
            str(one.outcome) == "unchanged" for one in sync(ANY, source=tmp_path / "in", dest=dest, into=into).images
        )
        left = [name for _, names, files in os.walk(dest) for name in (*names, *files) if "tmp" in name]
        assert not left, "the next writer removes what the killed one left"


EMPTIER = """
import sys
from ocikit.image import Policy, sync
full, less, dest = sys.argv[1:]
policy = Policy.insecure_accept_anything()
print("ready", flush=True)
while True:
    sync(policy, source=full, dest=dest, into="dir")
    sync(policy, source=less, dest=dest, into="dir", delete_extra=True)
"""


def test_killed_while_it_deletes(tmp_path: Path) -> None:
    """An image that goes is there or it is not: nothing that is half removed is taken for an image."""
    moment = random.Random()  # noqa: S311 - any moment will do
    digests = source(tmp_path / "full")
    sync(ANY, source=tmp_path / "full", dest=tmp_path / "less", include="app:1*")
    dest = tmp_path / "out"
    for _ in range(KILLS):
        process = start(EMPTIER, tmp_path / "full", tmp_path / "less", dest)
        wait_until_ready([process])
        time.sleep(moment.random() * 0.5)
        kill([process], moment)
        visible = [path for path in dest.iterdir() if path.name[0] != "."] if dest.exists() else []
        for path in visible:
            if (path / "manifest.json").exists():
                report = sync(ANY, source=f"dir:{path}", dest=tmp_path / "check")
                assert str(report.images[0].digest) in digests.values()
    report = sync(ANY, source=tmp_path / "less", dest=dest, into="dir", delete_extra=True)
    assert report.ok
    sync(ANY, source=tmp_path / "full", dest=dest, into="dir")
    sync(ANY, source=tmp_path / "less", dest=dest, into="dir", delete_extra=True)
    assert sorted(os.listdir(dest)) == sorted(f"app-{n}" for n in range(IMAGES) if str(n).startswith("1"))
