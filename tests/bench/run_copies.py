"""Copies of an image of a gigabyte, here and by skopeo: ``tests/bench/run_copies.py [ROUNDS]``.

The image is one layer of many files of text, which gzip makes a quarter of. Ours is a call in this process, skopeo's is
its command. Every copy goes to a place that is not there yet, on the same disk.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import random
import shutil
import subprocess
import sys
import tarfile
from functools import partial
from typing import TYPE_CHECKING, Final, Self

from measuring import Row, Work, alternate, main, timed

from ocikit.image import Policy, SystemContext, copy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from measuring import Line

ANY: Final = Policy.insecure_accept_anything()
# A copy takes seconds, and its rounds differ less than those of a container.
MOST_ROUNDS: Final = 7
MEGABYTE: Final = 1 << 20
FILE: Final = 32 << 10
PIECE: Final = 128
LETTERS: Final = bytes(b"etaoinshrdlu cmfwypvbgk\n"[min(number & number >> 4, 23)] for number in range(256))
SMALL: Final = 50


def make_layout(path: Path, megabytes: int) -> str:
    """Make a layout with an image of so many megabytes, uncompressed; return its name."""
    noise = random.Random(1)  # noqa: S311 - only has to be the same every time
    blobs = path / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    plain = hashlib.sha256()
    with (path / "layer").open("wb") as file, gzip.GzipFile("", "wb", 4, file, mtime=0) as packed:
        for number in range(megabytes * MEGABYTE // FILE):
            info = tarfile.TarInfo(f"directory{number % 100}/file{number}")
            info.size = FILE
            data = info.tobuf(tarfile.PAX_FORMAT) + _text(noise)
            plain.update(data)
            packed.write(data)
        plain.update(bytes(1024))
        packed.write(bytes(1024))
    with (path / "layer").open("rb") as stored:
        digest = hashlib.file_digest(stored, "sha256").hexdigest()
    size = (path / "layer").stat().st_size
    (path / "layer").rename(blobs / digest)
    kind = "application/vnd.oci.image"
    config = _document(
        blobs,
        f"{kind}.config.v1+json",
        {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{plain.hexdigest()}"]},
        },
    )
    layer = {"mediaType": f"{kind}.layer.v1.tar+gzip", "digest": f"sha256:{digest}", "size": size}
    manifest_type = f"{kind}.manifest.v1+json"
    manifest = _document(
        blobs, manifest_type, {"schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": [layer]}
    )
    manifest["annotations"] = {"org.opencontainers.image.ref.name": "x"}
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return f"oci:{path}:x"


def _text(noise: random.Random) -> bytes:
    """Return a file in which some letters are more frequent than others, and every passage comes twice."""
    passages = noise.randbytes(FILE // 2).translate(LETTERS)
    pieces = [passages[at : at + PIECE] for at in range(0, len(passages), PIECE)]
    noise.shuffle(pieces)
    return passages + b"".join(pieces)


def _document(blobs: Path, media_type: str, document: object) -> dict[str, object]:
    data = json.dumps(document).encode()
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def here(source: str, options: copy.CopyOptions, dest: str) -> None:
    """Copy by ocikit, in this process."""
    copy.image(ANY, dest=dest, src=source, options=options)


def by_skopeo(source: str, options: tuple[str, ...], dest: str) -> None:
    """Copy by skopeo."""
    command = ["skopeo", "--insecure-policy", "copy", "--quiet", *options, source, dest]
    subprocess.run(command, check=True, capture_output=True)


class Places:
    """Places that nothing was copied to yet, each with a name of its own; removed outside of what is timed.

    Args:
        directory: Where they are.
        kind: The transport.
        keep: Whether they stay until the end. A file that loses one of its names is touched by that, as far as anybody
            can tell; what is not linked goes at once, before it keeps the disk busy that the next one is written to.
    """

    def __init__(self, directory: Path, kind: str, *, keep: bool) -> None:
        self._directory = directory
        self._kind = kind
        self._keep = keep
        self._numbers = itertools.count()

    def __enter__(self) -> Self:
        self._directory.mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._directory)

    def time(self, work: Callable[[str], object]) -> float:
        """Return how long a copy to a new place takes, in seconds."""
        place = self._directory / str(next(self._numbers))
        taken = timed(lambda: work(f"{self._kind}:{place}:x"))
        if not self._keep:
            shutil.rmtree(place) if place.is_dir() else place.unlink()
        return taken


def lines(work: Work) -> list[Line]:
    """Measure, and return the rows."""
    work = work._replace(rounds=min(work.rounds, MOST_ROUNDS))
    layout = make_layout(work.place("layout"), work.image)
    archive = f"oci-archive:{work.directory / 'archive.tar'}:x"
    here(layout, copy.CopyOptions(), archive)
    zstd = SystemContext(compression_format="zstd")
    plain, linked, packed = (
        copy.CopyOptions(),
        copy.CopyOptions(link_blobs=True),
        copy.CopyOptions(destination_ctx=zstd),
    )
    cases = (
        ("oci-archive to oci", archive, "oci", plain, (), 0.2, 0.14),
        ("oci to oci", layout, "oci", plain, (), 0.25, 0.17),
        ("oci to oci, linked, verified before", layout, "oci", linked, (), 0.06, None),
        ("oci to oci-archive", layout, "oci-archive", plain, (), 0.3, None),
        ("gzip to zstd", layout, "oci", packed, ("--dest-compress-format", "zstd"), 0.7, None),
    )
    rows: list[Line] = []
    for name, source, kind, options, flags, target, stretch in cases:
        with Places(work.directory / "out", kind, keep=options.link_blobs) as places:
            times = alternate(
                work,
                {
                    "ocikit": partial(places.time, partial(here, source, options)),
                    "skopeo": partial(places.time, partial(by_skopeo, source, flags)),
                },
            )
        rows.append(
            Row(name=f"{name}: skopeo", ours=times["ocikit"], peer=times["skopeo"], target=target, stretch=stretch)
        )
    return [*rows, *memory(work, layout)]


#: A copy in a process of its own, which says how much memory it had at most, in KiB.
MEASURED: Final = """
import sys
from ocikit.image import Policy, SystemContext, copy
options = copy.CopyOptions(destination_ctx=SystemContext(compression_format=sys.argv[3] or None))
copy.image(Policy.insecure_accept_anything(), dest=sys.argv[1], src=sys.argv[2], options=options)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def memory(work: Work, layout: str) -> list[Line]:
    """Return how much more memory the copy of the large image takes than that of a small one."""
    small = make_layout(work.place("small"), min(SMALL, work.image))
    rows: list[Line] = []
    for name, kind, compression in (
        ("oci to oci", "oci", ""),
        ("oci to oci-archive", "oci-archive", ""),
        ("gzip to zstd", "oci", "zstd"),
    ):
        peaks = []
        for source in (layout, small):
            place = work.directory / "out"
            command = [sys.executable, "-c", MEASURED, f"{kind}:{place}:x", source, compression]
            peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024)
            shutil.rmtree(place) if place.is_dir() else place.unlink()
        rows.append(
            Row(
                name=f"memory, {name}: the same for {SMALL} MB",
                ours=peaks[0],
                peer=peaks[1],
                unit="MiB",
                kind="excess",
                target=10,
            )
        )
    return rows


if __name__ == "__main__":
    main(__doc__, lines)
