"""The memory that a copy takes at most does not grow with the image: the same work on 64 MB and on 128 MB.

Buffers are bounded, and both images are large enough to fill them. Each copy has a process of its own, which says at
its end how much memory it had at most. Nothing is timed.
"""

from __future__ import annotations

import gzip
import random
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest
from builders import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Store, config_of, digest_of, pack, tar_of
from stores import fill, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MEGABYTE: Final = 1 << 20
SIZES: Final = (64, 128)
#: How many megabytes more the larger image may take.
ALLOWED: Final = 10

MEASURED: Final = """
import sys
from ocikit.image import Policy, SystemContext, copy
source, destination, compression, *flags = sys.argv[1:]
options = copy.CopyOptions(
    # The threads of zstd have buffers of 2 MB at this level, of 8 MB and more at others, which 64 MB do not fill.
    destination_ctx=SystemContext(compression_format=compression or None, compression_level=1 if compression else None),
    verify_diff_ids="verify_diff_ids" in flags,
)
result = copy.image(Policy.insecure_accept_anything(), dest=destination, src=source, options=options)
assert len(result.copied + result.converted) == 3, result
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
READS_ALL: Final = """
import ocikit.image.copy, pathlib, sys
data = [path.read_bytes() for path in pathlib.Path(sys.argv[1]).rglob("*") if path.is_file()]
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


class Way(NamedTuple):
    """A copy.

    Attributes:
        source: The name of what is copied; ``{place}`` is where images of one size are, ``{store}`` a store.
        destination: Where to; ``{out}`` is a path that is not there yet.
        compression: The format that layers are to get; empty for none.
        flags: Options that are on.
    """

    source: str
    destination: str
    compression: str = ""
    flags: tuple[str, ...] = ()


WAYS: Final = {
    "oci to oci": Way("oci:{place}/layout:x", "oci:{out}:x"),
    "oci to oci, diffIDs verified": Way("oci:{place}/layout:x", "oci:{out}:x", flags=("verify_diff_ids",)),
    "oci to oci, gzip to zstd": Way("oci:{place}/layout:x", "oci:{out}:x", "zstd"),
    "oci to dir": Way("oci:{place}/layout:x", "dir:{out}"),
    "oci to oci-archive": Way("oci:{place}/layout:x", "oci-archive:{out}:x"),
    "oci to docker-archive": Way("oci:{place}/layout:x", "docker-archive:{out}:x:1"),
    "oci-archive, compressed, to oci": Way("oci-archive:{place}/a.tar.zst:x", "oci:{out}:x"),
    "docker-archive to oci": Way("docker-archive:{place}/saved.tar", "oci:{out}:x"),
    "containers-storage to oci": Way("containers-storage:{store}", "oci:{out}:x"),
}


def _make(place: Path, megabytes: int) -> str:
    """Make an image of two layers in every form; return its name in a store.

    What gzip cannot make smaller is large on both sides, and stored by it in no time.
    """
    noise = random.Random(megabytes)  # noqa: S311 - only has to be the same every time
    plain = [tar_of({name: noise.randbytes(megabytes * MEGABYTE // 2)}) for name in "ab"]
    store = Store()
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": store.json(OCI_CONFIG, config_of(*map(digest_of, plain))),
        "layers": [store.blob(OCI_LAYER, gzip.compress(one, compresslevel=0, mtime=0)) for one in plain],
    }
    store.layout(place / "layout", {"x": store.json(OCI_MANIFEST, document)})
    run("skopeo", "--insecure-policy", "copy", "-q", f"oci:{place}/layout:x", f"docker-archive:{place}/saved.tar")
    pack(place / "layout", place / "a.tar.zst", compress="zstd")
    return fill(place, "vfs", f"oci:{place}/layout:x", "localhost/x:1")


class Images(NamedTuple):
    """Where the images of each size are, and their names in the stores there."""

    places: dict[int, Path]
    stores: dict[int, str]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    """Make an image of each size in every form."""
    places = {size: tmp_path_factory.mktemp(f"memory-{size}") for size in SIZES}
    yield Images(places, {size: _make(place, size) for size, place in places.items()})
    for place in places.values():
        shutil.rmtree(place)


def _peak(*words: str) -> float:
    """Run a program in a new interpreter; return the megabytes that it says."""
    done = subprocess.run([sys.executable, "-c", *words], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout) / 1024


@pytest.mark.parametrize("way", WAYS)
def test_memory(images: Images, tmp_path: Path, way: str) -> None:
    """An image of twice the size takes the same memory, but for what varies from run to run."""
    copied = WAYS[way]
    peaks = {}
    for size in SIZES:
        out = tmp_path / str(size)
        names = {"place": images.places[size], "store": images.stores[size], "out": out}
        ends = [name.format(**names) for name in (copied.source, copied.destination)]
        peaks[size] = _peak(MEASURED, *ends, copied.compression, *copied.flags)
        shutil.rmtree(out) if out.is_dir() else out.unlink()
    small, large = (peaks[size] for size in SIZES)
    assert large - small < ALLOWED, peaks


def test_what_is_measured(images: Images) -> None:
    """What reads an image into memory is seen."""
    small, large = (_peak(READS_ALL, str(images.places[size] / "layout")) for size in SIZES)
    assert large - small > 50
