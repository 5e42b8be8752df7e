"""A pull that is killed again and again: each process downloads what is missing, and nothing else.

``soak_pulls.py [--kills N] [--mib N] [--seed N]``: it prints what came over the network beside what there was to come,
and fails with a list of everything that was not as it has to be. The registry is one of this process, and slow enough
for there to be a middle.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent / "image"))

from builders import check_layout
from partial_pulls import PREFIX, partials, start_pull

from ocikit.spec import Digest
from ocikit.testing import Delay, Fault, Registry

if TYPE_CHECKING:
    from collections.abc import Mapping

LAYERS = 4
#: What may be on its way when a process is killed, for each blob: the buffers of its socket and of the registry's.
UNDER_WAY = 8 << 20
LAYER = "application/vnd.oci.image.layer.v1.tar"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Soak(NamedTuple):
    """What is asked for."""

    kills: int
    mib: int
    seed: int


class Round(NamedTuple):
    """What a process did before it was killed, or ended."""

    #: The bytes of blobs that the registry sent.
    sent: int
    #: The bytes that are in the layout by now and were not before.
    kept: int
    #: From where blobs were wanted, by digest.
    wanted: dict[str, int]


def fill(registry: Registry, work: Path, mib: int) -> dict[str, int]:
    """Put an image with layers of so much into a registry; return the size of each of its blobs."""
    sizes: dict[str, int] = {}
    layers, diff_ids = [], []
    for number in range(LAYERS):
        file = work / f"layer{number}"
        with file.open("wb") as stream:
            for _ in range(mib // LAYERS):
                stream.write(os.urandom(1 << 20))
        digest = str(registry.add_blob("app", file))
        sizes[digest] = file.stat().st_size
        layers.append({"mediaType": LAYER, "digest": digest, "size": sizes[digest]})
        diff_ids.append(digest)
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    ).encode()
    digest = str(registry.add_blob("app", config))
    sizes[digest] = len(config)
    about = {"mediaType": CONFIG, "digest": digest, "size": len(config)}
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": about, "layers": layers}
    registry.add_manifest("app", "1", json.dumps(document).encode())
    return sizes


def in_layout(layout: Path) -> dict[str, int]:
    """Return how much of each blob is there, in parts and whole."""
    found = {}
    for file in partials(layout):
        algorithm, _, encoded = file.name.removeprefix(PREFIX).partition("-")[2].partition("-")
        found[f"{algorithm}:{encoded}"] = file.stat().st_size
    for file in (layout / "blobs").glob("*/*"):
        found[f"{file.parent.name}:{file.name}"] = file.stat().st_size
    return found


def pull(registry: Registry, work: Path, until: int | None) -> Round:
    """Pull in another process, which is killed when so much is in the layout; None lets it end."""
    registry.clear_requests()
    layout, before = work / "layout", in_layout(work / "layout")
    process = start_pull(registry, work / "conf", layout)
    while until is not None and process.poll() is None and sum(in_layout(layout).values()) < until:
        time.sleep(0.002)
    if until is not None:
        process.kill()
    _, err = process.communicate()
    if until is None and process.returncode:
        raise RuntimeError(err.decode())
    registry.wait_for(lambda one: one.outcome != "running", count=len(registry.requests))
    blobs = [one for one in registry.requests if one.kind == "blob"]
    after = in_layout(layout)
    wanted = {
        str(one.reference): int(one.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        for one in blobs
    }
    kept = sum(after.values()) - sum(before.values())
    return Round(sum(one.bytes_out for one in blobs), kept, wanted)


def faults_of(one: Round, before: Mapping[str, int], sizes: Mapping[str, int]) -> list[str]:
    """Return what a process did that it should not have done."""
    faults = [
        f"{digest}: wanted from {at:,} on, {before.get(digest, 0):,} were there"
        for digest, at in one.wanted.items()
        if at != before.get(digest, 0)
    ]
    faults += [f"{digest}: whole, and wanted again" for digest in one.wanted if before.get(digest) == sizes[digest]]
    if one.sent - one.kept > UNDER_WAY * LAYERS:
        faults.append(f"{one.sent:,} bytes were sent, of which {one.kept:,} were kept")
    return faults


def run(soak: Soak, work: Path) -> tuple[str, list[str]]:
    """Do it; return a summary and what was wrong."""
    chance = random.Random(soak.seed)  # noqa: S311 - the same for the same seed
    faults: list[str] = []
    with Registry() as registry:
        sizes = fill(registry, work, soak.mib)
        total = sum(sizes.values())
        registry.inject(Fault(kind="blob", do=Delay(seconds=0.01, every=1 << 19), times=None))
        rounds = []
        for at in sorted(chance.randrange(total // 100, total * 9 // 10) for _ in range(soak.kills)):
            before = in_layout(work / "layout")
            rounds.append(pull(registry, work, at))
            faults += faults_of(rounds[-1], before, sizes)
        registry.clear_faults()
        before = in_layout(work / "layout")
        last = pull(registry, work, None)
        faults += faults_of(last, before, sizes)
        missing = total - sum(before.get(digest, 0) for digest in sizes)
        if last.sent != missing:
            faults.append(f"the last one had {missing:,} bytes to download, and downloaded {last.sent:,}")
    if not {str(Digest(digest)) for digest in sizes} <= check_layout(work / "layout"):
        faults.append("not every blob is in the layout")
    if partials(work / "layout"):
        faults.append(f"parts are left: {partials(work / 'layout')}")
    sent = last.sent + sum(one.sent for one in rounds)
    return (
        f"{total:,} bytes, {soak.kills} times kill -9: {sent:,} bytes sent, {sent - total:,} of them were on their way "
        f"when somebody was killed; the last process downloaded {last.sent:,}"
    ), faults


def main() -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)  # noqa: T201
    with tempfile.TemporaryDirectory(prefix="ocikit-soak-") as work:
        try:
            summary, faults = run(Soak(asked.kills, asked.mib, asked.seed), Path(work))
        except subprocess.SubprocessError as error:
            summary, faults = "", [str(error)]
    print(summary)  # noqa: T201
    for fault in faults:
        print(f"wrong: {fault}")  # noqa: T201
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
