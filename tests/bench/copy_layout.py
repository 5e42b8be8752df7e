"""Copy an image from an archive into a layout, here and by skopeo: ``python tests/bench/copy_layout.py [MEGABYTES]``.

The two alternate, after one round that counts for neither; medians and their ratio are printed.
"""

from __future__ import annotations

import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "image"))

from builders import Store

from ocikit.image import Policy, copy

ROUNDS = 7
LAYERS = 4


def here(source: str, dest: Path) -> None:
    """Copy by ocikit, in this process."""
    copy.image(Policy.insecure_accept_anything(), dest=f"oci:{dest}:x", src=source)


def by_skopeo(source: str, dest: Path) -> None:
    """Copy by skopeo."""
    command = ["skopeo", "--insecure-policy", "copy", "--quiet", source, f"oci:{dest}:x"]
    subprocess.run(command, check=True, capture_output=True)


def main(work: Path, megabytes: int) -> None:
    """Measure in the directory ``work``."""
    noise = random.Random(1)  # noqa: S311 - only has to be incompressible, and the same every time
    store = Store()
    top = store.image(*[{"f": noise.randbytes(megabytes * 1_000_000 // LAYERS)} for _ in range(LAYERS)], platform=False)
    sources = {
        "oci": f"oci:{store.layout(work / 'layout', {'x': top})}:x",
        "oci-archive": f"oci-archive:{store.archive(work / 'archive.tar', {'x': top})}:x",
        "oci-archive, zstd": f"oci-archive:{store.archive(work / 'archive.tar.zst', {'x': top}, compress='zstd')}:x",
    }
    for what, source in sources.items():
        times: dict[str, list[float]] = {"ocikit": [], "skopeo": []}
        for number in range(ROUNDS + 1):
            for name, run in (("ocikit", here), ("skopeo", by_skopeo)):
                dest = work / "out"
                began = time.perf_counter()
                run(source, dest)
                if number:
                    times[name].append(time.perf_counter() - began)
                shutil.rmtree(dest)
        ours, theirs = (statistics.median(times[name]) for name in ("ocikit", "skopeo"))
        print(f"{what:20} ocikit {ours:6.2f} s   skopeo {theirs:6.2f} s   ratio {ours / theirs:.2f}")  # noqa: T201


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        main(Path(directory), int(sys.argv[1]) if len(sys.argv) > 1 else 200)
