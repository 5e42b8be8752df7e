"""Images from and to a registry, here and by skopeo: ``tests/bench/run_registry.py [ROUNDS]``.

The registry is docker-registry of Debian on loopback. One image is a gigabyte that nothing compresses, in eight
layers; the other has 200 layers of a few kilobytes. Ours is a call in this process, skopeo's is its command. Every pull
goes to a layout that is not there yet, every push to a registry that has nothing.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).parents[1] / "image"))

from measuring import Row, Work, alternate, main, timed
from registries import running_registry

from ocikit.image import Policy, SystemContext, copy, docker

if TYPE_CHECKING:
    from collections.abc import Callable

    from measuring import Line

ANY: Final = Policy.insecure_accept_anything()
# A copy takes seconds, and its rounds differ less than those of a container.
MOST_ROUNDS: Final = 7
MEGABYTE: Final = 1 << 20
LARGE_LAYERS: Final = 8
SMALL_LAYERS: Final = 200
SMALL_BYTES: Final = 4096
KIND: Final = "application/vnd.oci.image"
INSECURE: Final = SystemContext(docker_insecure_skip_tls_verify=True)


def make_layout(path: Path, layers: int, size: int) -> str:
    """Make a layout with an image of so many layers, each of so many bytes; return its name."""
    noise = random.Random(layers)  # noqa: S311 - only has to be the same every time
    blobs = path / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    made, plain = [], []
    for number in range(layers):
        data = tar_of(f"file{number}", noise, size)
        plain.append(f"sha256:{hashlib.sha256(data).hexdigest()}")
        made.append(stored(blobs, f"{KIND}.layer.v1.tar+gzip", gzip.compress(data, 0, mtime=0)))
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": plain}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{KIND}.manifest.v1+json",
        "config": stored(blobs, f"{KIND}.config.v1+json", json.dumps(config).encode()),
        "layers": made,
    }
    entry = stored(blobs, f"{KIND}.manifest.v1+json", json.dumps(manifest).encode())
    named = entry | {"annotations": {"org.opencontainers.image.ref.name": "x"}}
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return f"oci:{path}:x"


def tar_of(name: str, noise: random.Random, size: int) -> bytes:
    """Return an archive with one file of noise."""
    content = b"".join(noise.randbytes(min(MEGABYTE, size)) for _ in range(0, size, MEGABYTE))
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def stored(blobs: Path, media_type: str, data: bytes) -> dict[str, Any]:
    """Store a blob; return its descriptor."""
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def here(source: str, dest: str) -> None:
    """Copy by ocikit, in this process."""
    options = copy.CopyOptions(source_ctx=INSECURE, destination_ctx=INSECURE)
    copy.image(ANY, dest=dest, src=source, options=options)


def by_skopeo(source: str, dest: str) -> None:
    """Copy by skopeo."""
    flags = ("--src-tls-verify=false", "--dest-tls-verify=false")
    command = ["skopeo", "--insecure-policy", "copy", "--quiet", *flags, source, dest]
    subprocess.run(command, check=True, capture_output=True)


def by_curl(address: str, layout: Path, place: Path) -> None:
    """Download the blobs of an image, several at a time, and hash them: what no client can do without."""
    blobs = layout / "blobs" / "sha256"
    index = json.loads((layout / "index.json").read_text())
    manifest = json.loads((blobs / index["manifests"][0]["digest"].partition(":")[2]).read_text())
    names = [one["digest"].partition(":")[2] for one in (manifest["config"], *manifest["layers"])]
    place.mkdir()
    command = ["curl", "--silent", "--show-error", "--fail", "--parallel", "--parallel-max", "6", "--create-dirs"]
    for name in names:
        command += ["--output", str(place / name), f"http://{address}/v2/app/blobs/sha256:{name}"]
    subprocess.run(command, check=True, capture_output=True)
    with ThreadPoolExecutor(2) as pool:
        for name, found in zip(names, pool.map(partial(digest_in, place), names), strict=True):
            if name != found:
                raise RuntimeError(f"{name} became {found}")


def digest_in(place: Path, name: str) -> str:
    """Return the SHA-256 of a file."""
    with (place / name).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Bench:
    """One image in two registries: one that has it, and one that has nothing.

    Args:
        work: What it has to work with.
        layout: The image.
        addresses: The registry that has it and the one that has nothing.
        stores: What the latter keeps.
    """

    def __init__(self, work: Work, layout: str, addresses: tuple[str, str], stores: Path) -> None:
        self._work = work
        self._layout = layout
        self._from, self._to = addresses
        self._stores = stores
        here(layout, f"docker://{self._from}/app:1")

    def pulls(self, *, floor: bool) -> dict[str, float]:
        """Return how long pulls take."""
        out = self._work.directory / "out"

        def time(work: Callable[[], object]) -> float:
            taken = _settled(work)
            shutil.rmtree(out)
            return taken

        source = f"docker://{self._from}/app:1"
        layout = Path(self._layout.split(":")[1])
        takers: dict[str, Callable[[], float]] = {
            "ocikit": partial(time, partial(here, source, f"oci:{out}:x")),
            "skopeo": partial(time, partial(by_skopeo, source, f"oci:{out}:x")),
        }
        if floor:
            takers["curl"] = partial(time, partial(by_curl, self._from, layout, out))
        return alternate(self._work, takers)

    def pushes(self) -> dict[str, float]:
        """Return how long pushes take."""
        dest = f"docker://{self._to}/app:1"

        def time(work: Callable[[str, str], object]) -> float:
            taken = _settled(lambda: work(self._layout, dest))
            shutil.rmtree(self._stores / "docker")
            return taken

        return alternate(self._work, {"ocikit": partial(time, here), "skopeo": partial(time, by_skopeo)})


def _settled(work: Callable[[], object]) -> float:
    """Measure with a disk at rest: what the registry, or who came before, has still to write is not waited for."""
    os.sync()
    return timed(work)


def lines(work: Work) -> list[Line]:
    """Measure, and return the rows."""
    work = work._replace(rounds=min(work.rounds, MOST_ROUNDS))
    rows: list[Line] = []
    with contextlib.ExitStack() as stack:
        stack.callback(docker.close_connections)
        program = shutil.which("docker-registry") or "docker-registry"
        places = (work.place("full"), work.place("empty"))
        full, empty = (stack.enter_context(running_registry(program, place)) for place in places)
        store = places[1] / "registry"
        layout = make_layout(work.place("large"), LARGE_LAYERS, work.image * MEGABYTE // LARGE_LAYERS)
        large = Bench(work, layout, (full, empty), store)
        pulls, pushes = large.pulls(floor=True), large.pushes()
        ours = pulls["ocikit"]
        rows += [
            Row(name="pull of a large image: skopeo", ours=ours, peer=pulls["skopeo"], target=0.4, stretch=0.3),
            Row(name="pull of a large image: curl and SHA-256", ours=ours, peer=pulls["curl"], target=1.5),
            Row(name="push of a large image: skopeo", ours=pushes["ocikit"], peer=pushes["skopeo"], target=0.8),
        ]
        layers = min(SMALL_LAYERS, max(work.image, 4))
        layout = make_layout(work.place("small"), layers, SMALL_BYTES)
        small = Bench(work, layout, (full, empty), store)
        for verb, times in (("pull", small.pulls(floor=False)), ("push", small.pushes())):
            name = f"{verb} of {layers} small layers: skopeo"
            rows.append(Row(name=name, ours=times["ocikit"], peer=times["skopeo"], target=0.5))
    return rows


if __name__ == "__main__":
    main(__doc__, lines)
