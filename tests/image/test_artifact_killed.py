"""Killed at any moment: what was attached is found, what was pulled is whole, and an index has all that it lists."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

from builders import Store, check_layout, manifest_at, skopeo_digest
from test_copy_killed import kill, start, wait_until_ready

from ocikit.image import Policy, artifact, referrers

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 4
KIND = "application/vnd.example.x"

# Attaches files to two images, pulls them again, and edits an index; says so when each is done.
WORKER = """
import sys
from ocikit.image import Policy, artifact, index
layout, directory, out, me = sys.argv[1:]
policy = Policy.insecure_accept_anything()
print("ready", flush=True)
for number in range(1_000_000):
    files = [artifact.ArtifactFile(content=f"{me}.{number}".encode() * 20_000, title=title) for title in ("a", "b/c")]
    for name in (f"oci:{layout}:image", f"dir:{directory}"):
        done = artifact.attach(name, files, artifact_type="application/vnd.example.x")
        print("attached", name, done.digest, flush=True)
    artifact.pull(policy, src=name, digest=done.digest, dest=f"{out}/{me}.{number}")
    note = {"number": f"{me}.{number}"}
    index.edit(policy, src=f"oci:{layout}:index", change=lambda one: index.annotate(one, note))
"""


def test_killed_at_random_moments(tmp_path: Path) -> None:
    """Two processes that attach, pull and edit in the same places, killed again and again."""
    moment = random.Random()  # noqa: S311 - any moment will do
    store = Store()
    image = store.image()
    layout = store.layout(tmp_path / "layout", {"image": image, "index": store.index(image)})
    directory = store.directory(tmp_path / "dir", image)
    out = tmp_path / "out"
    out.mkdir(mode=0o700)
    attached: set[tuple[str, str]] = set()
    for round_ in range(ROUNDS):
        processes = [start(WORKER, layout, directory, out, f"r{round_}.w{number}") for number in range(2)]
        wait_until_ready(processes)
        assert processes[0].stdout is not None
        first = processes[0].stdout.readline().decode().split()
        time.sleep(moment.random() * 0.3)
        attached |= {(name, digest) for _, name, digest in (first, *kill(processes, moment))}
        check_layout(layout)
        for name in (f"oci:{layout}:image", f"dir:{directory}"):
            assert skopeo_digest(name) == image["digest"]
            found = {str(one.digest) for one in artifact.list_attached(name, KIND)}
            assert found >= {digest for there, digest in attached if there == name}
        for pulled in out.glob("r*"):
            assert (pulled / "a").read_bytes() == (pulled / "b" / "c").read_bytes() == pulled.name.encode() * 20_000
    last = artifact.attach(f"dir:{directory}", artifact_type=KIND)
    assert last.digest in {one.digest for one in referrers(f"dir:{directory}")}
    assert not [path for path in directory.iterdir() if "tmp" in path.name], "the next writer removes what is left"
    assert manifest_at(layout, "index") == skopeo_digest(f"oci:{layout}:index")


def test_several_at_once(tmp_path: Path) -> None:
    """Threads that attach to one image lose nothing of each other."""
    store = Store()
    layout = store.layout(tmp_path / "l", {"x": store.image()})
    directory = store.directory(tmp_path / "d", store.image())
    for name in (f"oci:{layout}:x", f"dir:{directory}"):
        done: list[str] = []

        def attach(number: int, name: str = name, done: list[str] = done) -> None:
            done.append(artifact.attach(name, artifact_type=KIND, annotations={"n": f"{number}"}).digest)

        threads = [threading.Thread(target=attach, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(done)) == 8
        assert {one.digest for one in referrers(name)} == set(done)
    pulled = artifact.pull_into_memory(
        Policy.insecure_accept_anything(), src=f"dir:{directory}", digest=referrers(f"dir:{directory}")[0].digest
    )
    assert pulled.files == ()
