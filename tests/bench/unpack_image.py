"""Unpack an image, here and by umoci: ``python tests/bench/unpack_image.py [LAYOUT:NAME]``.

Without an image, one is made of the standard library that runs this. The two alternate, after one round that counts for
neither, on disk and in memory, which say different things: in memory one sees the programs, on disk the file
system. Medians and their ratio are printed.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "image"))

from builders import Store
from layers import store_image

from ocikit.image import Policy, unpack

ROUNDS = 5


def make_image(layout: Path) -> str:
    """Make an image of the standard library, and return its name."""
    library = sysconfig.get_paths()["stdlib"]
    command = ["tar", "--format=posix", "--exclude=site-packages", "--exclude=test", "-C", library, "-cf", "-", "."]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    store = Store()
    store.layout(layout, {"image": store_image(store, data)})
    return f"{layout}:image"


def here(image: str, root: Path) -> None:
    """Unpack by ocikit, in this process."""
    unpack(f"oci:{image}", root, policy=Policy.insecure_accept_anything())


def by_umoci(image: str, root: Path) -> None:
    """Unpack by umoci."""
    subprocess.run(["umoci", "raw", "unpack", "--image", image, str(root)], check=True, capture_output=True)


def measure(image: str, what: str, work: Path) -> None:
    """Measure in the directory ``work``."""
    times: dict[str, list[float]] = {"ocikit": [], "umoci": []}
    for number in range(ROUNDS + 1):
        for name, run in (("ocikit", here), ("umoci", by_umoci)):
            began = time.perf_counter()
            run(image, work / "root")
            if number:
                times[name].append(time.perf_counter() - began)
            shutil.rmtree(work / "root")
    ours, theirs = (statistics.median(times[name]) for name in ("ocikit", "umoci"))
    print(f"{what:12} ocikit {ours:6.2f} s   umoci {theirs:6.2f} s   ratio {ours / theirs:.2f}")  # noqa: T201


def main(image: str | None) -> None:
    """Measure on disk and in memory."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as disk, tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        image = image or make_image(Path(disk) / "layout")
        measure(image, "on disk", Path(disk))
        measure(image, "in memory", Path(memory))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
