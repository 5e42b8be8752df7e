"""Every kind of place to every other, with every image, by ocikit and by skopeo, each reading what the other wrote.

What there is stands in tables: images (``matrix_images``), places (``matrix_places``), what skopeo does otherwise
(``matrix_faults``). Here is what holds in every cell.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from builders import DOCKER_MANIFEST, OCI_MANIFEST, digest_of
from matrix_faults import READS, REFUSES, WRITES, effects
from matrix_images import IMAGES, PLATFORM, Original
from matrix_places import ANY, DESTINATIONS, SOURCES, Destination, Source, by_ocikit, by_skopeo
from matrix_seen import Seen, differences, read_dir, says
from moving import get
from podman_store import Podman
from trees import Node, snapshot
from trees import differences as tree_differences

from ocikit.errors import LayoutError
from ocikit.image import SystemContext, inspect, parse_image_name, unpack
from ocikit.spec import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

INDEXES = ("oci", "oci-archive", "dir")


class Prepared(NamedTuple):
    """An image in a place that it comes from.

    Attributes:
        original: The image.
        name: Its name there.
        plain_name: Its name there for skopeo.
        manifest: The bytes of the manifest there, of an index those for this platform.
        config: The bytes of the configuration there.
        traits: What is to be known of it there: ``docker`` (the type of the manifest), ``zstd`` (the manifest lists a
            layer in it), ``plain`` (a layer is plain), ``packed`` (the manifest lists a layer that is not plain).
    """

    original: Original
    name: str
    plain_name: str
    manifest: bytes
    config: bytes
    traits: frozenset[str]


class Matrix:
    """Images and where they were brought, each when it is first asked for.

    Args:
        base: A directory.
        host: Where Docker's API is served.
    """

    def __init__(self, base: Path, host: str) -> None:
        self.base = base
        self.host = host
        self.sys = SystemContext(docker_daemon_host=host, architecture_choice="amd64", os_choice="linux")
        self.known: dict[str, str] = {}
        self._originals: dict[str, Original] = {}
        self._prepared: dict[tuple[str, str], Prepared] = {}

    def original(self, image: str) -> Original:
        """Return an image."""
        if image not in self._originals:
            work = self.base / image
            work.mkdir()
            self._originals[image] = IMAGES[image](work)
        return self._originals[image]

    def prepared(self, image: str, key: str) -> Prepared:
        """Return an image in a place."""
        if (image, key) not in self._prepared:
            self._prepared[image, key] = self._prepare(image, SOURCES[key])
        return self._prepared[image, key]

    def _prepare(self, image: str, source: Source) -> Prepared:
        original = self.original(image)
        is_zstd = _is_zstd(original)
        files = {"ours": original.layers, "theirs": original.plain if is_zstd else original.layers}
        ours, theirs = (
            source.template.format(place=self.base / image, image=image, layers=":".join(map(str, paths)))
            for paths in files.values()
        )
        if source.transport == original.transport:
            ours, theirs = original.name, original.plain_name
        elif source.keeps_config:
            # Where skopeo refuses, ocikit brings it there.
            by = by_ocikit if is_zstd and source.transport.startswith("docker-") else by_skopeo
            by(self.host, original.plain_name, ours, everything=source.holds_indexes and original.is_index)
        return self._look(original, ours, theirs, keeps_layers=source.keeps_layers)

    def _look(self, original: Original, ours: str, theirs: str, *, keeps_layers: bool) -> Prepared:
        with parse_image_name(ours).new_image_source(self.sys) as opened:
            manifest, _ = opened.get_manifest()
            document = json.loads(manifest)
            if "manifests" in document:
                assert manifest == original.manifest
                entry = next(one for one in document["manifests"] if PLATFORM.items() <= one["platform"].items())
                manifest, _ = opened.get_manifest(Digest(entry["digest"]))
                document = json.loads(manifest)
            config = get(opened, document["config"]["digest"])
        diff_ids = json.loads(config)["rootfs"]["diff_ids"]
        listed = [one["digest"] for one in document["layers"]]
        found = {
            "docker": document.get("mediaType") == DOCKER_MANIFEST,
            "zstd": any("zstd" in one["mediaType"] for one in document["layers"]),
            "plain": not keeps_layers or any(one in diff_ids for one in listed),
            "packed": any(one not in diff_ids for one in listed),
        }
        return Prepared(original, ours, theirs, manifest, config, frozenset(name for name in found if found[name]))


def _is_zstd(original: Original) -> bool:
    return any(path.read_bytes()[:4] == b"\x28\xb5\x2f\xfd" for path in original.layers)


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory, peer: Callable[[str], str]) -> Iterator[Matrix]:
    """Give the images, with a service of Docker's API for those that go there."""
    base = tmp_path_factory.mktemp("matrix")
    with Podman(peer("podman")) as podman, podman.service() as host:
        yield Matrix(base, host)
    shutil.rmtree(base)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Give a directory that is gone after the test: there are many, and images are large."""
    yield tmp_path
    shutil.rmtree(tmp_path)


class Cell(NamedTuple):
    """An image that both brought from one place to another, read by who wrote it or by the other one.

    Attributes:
        ours: Written and read here.
        across: Written here, read by skopeo.
        theirs: Written by skopeo, read here; None where skopeo refuses.
        manifest: What the copy here said it has written.
    """

    ours: Seen
    across: Seen
    theirs: Seen | None
    manifest: bytes


def _carry(matrix: Matrix, source: Prepared, destination: Destination, place: Path, cell: str) -> Cell:
    names = {
        who: destination.template.format(place=place / who, cell=f"{cell}-{who}".lower()) for who in ("ours", "theirs")
    }

    def read(by: Callable[..., object], who: str, into: str) -> Seen:
        by(matrix.host, names[who], f"dir:{place / into}")
        return read_dir(place / into, matrix.known)

    result = by_ocikit(matrix.host, source.name, names["ours"])
    said = inspect(names["ours"], matrix.sys).config
    ours = read(by_ocikit, "ours", "ours-dir")
    assert said is not None
    assert says(said.to_json()) == says(ours.config)
    across = read(by_skopeo, "ours", "across-dir")
    try:
        by_skopeo(matrix.host, source.plain_name, names["theirs"])
    except AssertionError as error:
        assert "zstd compression is not supported" in str(error)  # noqa: PT017 - what was refused is a value here
        return Cell(ours, across, None, result.manifest)
    return Cell(ours, across, read(by_ocikit, "theirs", "theirs-dir"), result.manifest)


def _is_kept(source: Source, prepared: Prepared, destination: Destination) -> bool:
    """Whether the manifest at the destination is to be the very one that is at the source."""
    own = DOCKER_MANIFEST if "docker" in prepared.traits else OCI_MANIFEST
    takes = not destination.types or own in destination.types
    return takes and (source.keeps_layers or "packed" not in prepared.traits)


@pytest.mark.parametrize("destination", DESTINATIONS)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("image", IMAGES)
def test_cell(matrix: Matrix, place: Path, image: str, source: str, destination: str) -> None:
    """One image, one pair of places: both write the same image, each reads the other's, all that differs has a name."""
    prepared, there = matrix.prepared(image, source), DESTINATIONS[destination]
    cell = _carry(matrix, prepared, there, place, f"{image}-{source}")

    # ocikit: the configuration is never changed, the manifest only where it has to be.
    assert cell.ours.config == prepared.config
    assert json.loads(cell.ours.manifest) == json.loads(cell.manifest)
    assert cell.ours.type == (there.types[0] if there.types else OCI_MANIFEST) or not there.types
    if not destination.startswith("docker-"):  # there the manifest is made anew by whoever reads
        assert cell.ours.manifest == cell.manifest
        assert (cell.ours.manifest == prepared.manifest) is _is_kept(SOURCES[source], prepared, there)

    # Everybody: the image is what it was.
    diff_ids = json.loads(prepared.original.config)["rootfs"]["diff_ids"]
    for seen in filter(None, (cell.ours, cell.across, cell.theirs)):
        assert list(seen.diff_ids) == diff_ids
        if SOURCES[source].keeps_config:
            assert says(seen.config) == says(prepared.original.config)

    # skopeo: what it does otherwise is in the table, and only that.
    known = (source, destination, prepared.traits)
    assert differences(cell.ours, cell.across) == effects(READS, *known)
    assert (cell.theirs is None) == bool(effects(REFUSES, *known))
    if cell.theirs is not None:
        assert differences(cell.ours, cell.theirs) == effects(WRITES, *known)


def _files(path: Path) -> dict[str, str]:
    """Return what is in a ``dir`` directory, verified by the names of the blobs."""
    found = {one.name: digest_of(one.read_bytes()) for one in path.iterdir() if one.name != "version"}
    named = {name: digest for name, digest in found.items() if name != "manifest.json"}
    assert all(digest == f"sha256:{name.partition('.')[0]}" for name, digest in named.items()), path
    return found


@pytest.mark.parametrize("destination", INDEXES)
@pytest.mark.parametrize("source", INDEXES)
@pytest.mark.parametrize("image", [name for name in IMAGES if "platforms" in name])
def test_all_platforms(matrix: Matrix, place: Path, image: str, source: str, destination: str) -> None:
    """All of an index is brought along, byte for byte, by both, and read by the other one."""
    prepared, there = matrix.prepared(image, source), DESTINATIONS[destination]
    names = {who: there.template.format(place=place / who, cell="") for who in ("ours", "theirs")}
    result = by_ocikit(matrix.host, prepared.name, names["ours"], everything=True)
    assert result.manifest == prepared.original.manifest
    by_skopeo(matrix.host, prepared.name, names["theirs"], everything=True)
    by_skopeo(matrix.host, names["ours"], f"dir:{place}/across", everything=True)
    by_ocikit(matrix.host, names["theirs"], f"dir:{place}/back", everything=True)
    assert _files(place / "across") == _files(place / "back")
    assert len(result.instances) == len(json.loads(prepared.original.manifest)["manifests"])
    assert _files(place / "back")["manifest.json"] == result.digest


def _entries(layers: tuple[Path, ...]) -> set[bytes]:
    """Return the paths that layers have an entry for."""
    found: set[bytes] = set()
    for path in layers:
        with tarfile.open(path) as members:
            found |= {one.name.removeprefix("./").strip("/").encode("utf-8", "surrogateescape") for one in members}
    return found


def _comparable(tree: dict[bytes, Node], entries: set[bytes]) -> dict[bytes, Node]:
    """Leave out when directories were made that no layer has an entry for: for umoci that is now."""
    return {path: node if path in entries else node._replace(mtime_ns=0) for path, node in tree.items()}


@pytest.mark.parametrize("image", IMAGES)
def test_unpacked(matrix: Matrix, place: Path, image: str) -> None:
    """Unpacked from each place, an image is the tree that umoci makes of what skopeo has copied."""
    entries = _entries(matrix.original(image).plain)
    by_skopeo(matrix.host, matrix.prepared(image, "docker-archive").plain_name, f"oci:{place}/layout:x")
    umoci = ["umoci", "raw", "unpack", "--image", f"{place}/layout:x", f"{place}/umoci"]
    subprocess.run(umoci, check=True, capture_output=True)
    theirs = _comparable(snapshot(place / "umoci"), entries)
    (place / "private").mkdir(mode=0o700)
    for source in SOURCES:
        root = place / "private" / source
        unpack(matrix.prepared(image, source).name, root, policy=ANY, sys=matrix.sys)
        assert tree_differences(_comparable(snapshot(root), entries), theirs) == [], source
        shutil.rmtree(root)


def _skopeo(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["skopeo", "--insecure-policy", *words], check=False, capture_output=True, text=True)


@pytest.mark.parametrize("image", [name for name in IMAGES if "saved" in name])
def test_archives_that_are_compressed_as_a_whole(matrix: Matrix, image: str) -> None:
    """What skopeo 1.9.3 does not read, so that it is given it decompressed, is read here as it is."""
    original = matrix.original(image)
    assert _skopeo("inspect", original.name).returncode != 0
    assert _skopeo("inspect", original.plain_name).returncode == 0
    assert inspect(original.name).raw_manifest == inspect(original.plain_name).raw_manifest


def test_positions_in_layouts(matrix: Matrix) -> None:
    """Positions in the index of a layout are unknown to skopeo 1.9.3; here one leads to the same image as the name."""
    name = matrix.original("busybox").name
    path = name.removeprefix("oci:").partition(":")[0]
    assert "Invalid image @0" in _skopeo("inspect", f"oci:{path}:@0").stderr
    assert inspect(f"oci:{path}:@0").digest == inspect(name).digest


def test_archives_that_are_there(matrix: Matrix, place: Path) -> None:
    """Neither skopeo nor ocikit adds an image to a file of ``docker save`` that is there; it stays as it is."""
    name = f"docker-archive:{place}/a.tar:x:2"
    shutil.copy(matrix.prepared("busybox", "docker-archive").name.split(":")[1], place / "a.tar")
    before = (place / "a.tar").read_bytes()
    refused = _skopeo("copy", "-q", matrix.original("busybox").name, name)
    assert "modifying existing images" in refused.stderr
    with pytest.raises(LayoutError, match=r"a\.tar"):
        by_ocikit(matrix.host, matrix.original("busybox").name, name)
    assert (place / "a.tar").read_bytes() == before


def test_tar_files_in_zstd(matrix: Matrix, place: Path) -> None:
    """What skopeo 1.9.3 takes for a plain tar file, with a wrong diffID, is a layer in zstd here."""
    original = matrix.original("debian")
    assert _skopeo("copy", "-q", f"tarball:{original.layers[0]}", f"dir:{place}/theirs").returncode == 0
    by_ocikit(matrix.host, f"tarball:{original.layers[0]}", f"dir:{place}/ours")
    right, packed = (digest_of(path.read_bytes()) for path in (original.plain[0], original.layers[0]))
    assert _diff_ids(place / "theirs") == [packed]
    assert _diff_ids(place / "ours") == [right]


def _diff_ids(directory: Path) -> Any:
    manifest = json.loads((directory / "manifest.json").read_bytes())
    config = json.loads((directory / manifest["config"]["digest"].partition(":")[2]).read_bytes())
    return config["rootfs"]["diff_ids"]
