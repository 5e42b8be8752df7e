"""Images in stores that the peers made: the manifests they came with, and every layer to the byte."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import struct
import subprocess
import tempfile
import threading
from typing import TYPE_CHECKING

import pytest
import trees
from builders import Store, check_layout, digest_of
from stores import RICH, Tar, fill, image_of, rich_layers, run, specifier

from ocikit._fs import DIRECTORY, Descriptor
from ocikit.errors import (
    BlobNotFoundError,
    DigestChangeError,
    DigestMismatchError,
    ImageNotFoundError,
    LayoutError,
    NotSupportedError,
)
from ocikit.image import BlobInfo, Policy, copy, inspect, list_images, parse_image_name, transports, unpack
from ocikit.image.context import SystemContext
from ocikit.image.storage import locks
from ocikit.image.transports.containers_storage import StorageReference
from ocikit.spec import Digest, mediatypes

if TYPE_CHECKING:
    from pathlib import Path

    from ocikit.image import ImageSource

DRIVERS = ("overlay", "vfs")
NAME = "localhost/app/rich:1"


class Made:
    """A directory with a store of each driver, and the image that skopeo copied into both."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layers = rich_layers()
        self.store = Store()
        self.top = image_of(self.store, self.layers)
        self.store.layout(root / "layout", {"rich": self.top})
        for driver in DRIVERS:
            fill(root, driver, f"oci:{root}/layout:rich", NAME)

    def name(self, driver: str, rest: str = NAME) -> str:
        """Return the name of an image in the store of a driver."""
        return f"containers-storage:{specifier(self.root, driver)}{rest}"

    def open(self, driver: str, rest: str = NAME) -> ImageSource:
        """Open an image in the store of a driver."""
        return parse_image_name(self.name(driver, rest)).new_image_source()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return stores of both drivers with one image."""
    return Made(tmp_path_factory.mktemp("stores"))


def content(source: ImageSource, info: BlobInfo, piece: int = -1) -> bytes:
    """Read a blob, in pieces on request."""
    stream, size = source.get_blob(info)
    with stream:
        data = stream.read() if piece < 0 else b"".join(iter(lambda: stream.read(piece), b""))
    assert size in {-1, len(data)}
    return data


def plain_layers(source: ImageSource, instance: Digest | None = None) -> list[bytes]:
    """Read every layer and hold it against its digest and size."""
    infos = source.layer_infos_for_copy(instance)
    assert infos is not None
    found = [content(source, info) for info in infos]
    assert [(info.digest, info.size) for info in infos] == [(digest_of(data), len(data)) for data in found]
    return found


@pytest.mark.parametrize("driver", DRIVERS)
def test_layers_come_back_to_the_byte(made: Made, driver: str) -> None:
    """Hard links, devices, attributes, whiteouts, odd names, links within a layer: the stream is the one that came."""
    with made.open(driver) as source:
        found = dict(zip(RICH, plain_layers(source), strict=True))
    assert {name for name in RICH if found[name] != made.layers[name]} == set()


@pytest.mark.parametrize("driver", DRIVERS)
def test_layers_in_pieces(made: Made, driver: str) -> None:
    """However little is asked for at once, the stream is the same and never says b"" before its end."""
    with made.open(driver) as source:
        infos = source.layer_infos_for_copy() or ()
        assert content(source, infos[0], 7) == made.layers["everything"]
        assert content(source, infos[-1], 1 << 16) == made.layers["large"]


@pytest.mark.parametrize("driver", DRIVERS)
def test_manifest_and_config_are_those_of_skopeo(made: Made, driver: str) -> None:
    """The manifest is what `skopeo inspect --raw` gives, and the one that was copied; so is the configuration."""
    raw = run("skopeo", "inspect", "--raw", made.name(driver))
    found = inspect(made.name(driver))
    assert found.raw_manifest == raw == made.store.blobs[made.top["digest"]]
    assert found.config is not None
    assert [str(one) for one in found.config.rootfs.diff_ids] == [digest_of(made.layers[name]) for name in RICH]
    assert run("skopeo", "inspect", "--config", "--raw", made.name(driver)) == content_of_config(made)


def content_of_config(made: Made) -> bytes:
    """Return the configuration of the image."""
    return made.store.blobs[json.loads(made.store.blobs[made.top["digest"]])["config"]["digest"]]


@pytest.mark.parametrize("driver", DRIVERS)
def test_media_types_are_truthful(made: Made, driver: str) -> None:
    """The manifest lists gzip, the store has plain tar and says so; a Docker image gets Docker's type."""
    store = Store()
    store.layout(made.root / f"docker-{driver}", {})
    top = image_of(store, {"one": Tar().add("docker", b"d").done()}, docker=True)
    store.directory(made.root / f"dir-{driver}", top)
    there = fill(made.root, driver, f"dir:{made.root}/dir-{driver}", "localhost/docker:1")
    for rest, plain in ((NAME, mediatypes.IMAGE_LAYER), (there.partition("]")[2], mediatypes.DOCKER_LAYER)):
        with made.open(driver, rest) as source:
            assert {info.media_type for info in source.layer_infos_for_copy() or ()} == {plain}
            assert plain_layers(source)


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_buildah_commits(tmp_path: Path, driver: str) -> None:
    """An image that was built in the store, layer on layer, with files changed and removed, can be read too."""
    place = ["--root", f"{tmp_path}/{driver}", "--runroot", f"{tmp_path}/run-{driver}", "--storage-driver", driver]
    (tmp_path / "a").mkdir()
    for name in ("one", "two"):
        (tmp_path / "a" / name).write_text(name * 2000)
    os.link(tmp_path / "a/one", tmp_path / "a/hard")
    (tmp_path / "a/link").symlink_to("one")
    base = run("buildah", *place, "from", "--pull-never", "scratch").decode().strip()
    run("buildah", *place, "copy", "-q", base, f"{tmp_path}/a", "/data")
    run("buildah", *place, "commit", "-q", base, "localhost/base")
    (tmp_path / "a/one").write_text("changed")
    upper = run("buildah", *place, "from", "--pull-never", "localhost/base").decode().strip()
    run("buildah", *place, "copy", "-q", upper, f"{tmp_path}/a/one", "/data/one")
    run("buildah", *place, "commit", "-q", upper, "localhost/upper:2")
    name = f"containers-storage:{specifier(tmp_path, driver)}localhost/upper:2"
    raw = run("skopeo", "inspect", "--raw", name)
    with parse_image_name(name).new_image_source() as source:
        assert source.get_manifest()[0] == raw
        layers = plain_layers(source)
    config = inspect(name).config
    assert config is not None
    assert [str(one) for one in config.rootfs.diff_ids] == [digest_of(data) for data in layers]
    assert len(layers) == 2
    assert {one.name for one in list_images(f"containers-storage:{specifier(tmp_path, driver)}")} == {
        "localhost/base:latest",
        "localhost/upper:2",
    }


@pytest.mark.parametrize("driver", DRIVERS)
def test_copies_out_of_a_store(made: Made, tmp_path: Path, driver: str) -> None:
    """A copy has the plain layers and says so, or compresses them; whoever wants its digest kept is told why not."""
    policy = Policy.insecure_accept_anything()
    plain = [digest_of(made.layers[name]) for name in RICH]
    copy.image(policy, dest=f"oci:{tmp_path}/out:plain", src=made.name(driver))
    found = inspect(f"oci:{tmp_path}/out:plain")
    assert [(str(one.digest), one.media_type) for one in found.layers] == [
        (one, mediatypes.IMAGE_LAYER) for one in plain
    ]
    seen = json.loads(run("skopeo", "inspect", f"oci:{tmp_path}/out:plain"))
    assert (seen["Digest"], seen["Layers"]) == (found.digest, plain)
    gzip = copy.CopyOptions(destination_ctx=SystemContext(compression_format="gzip"))
    copy.image(policy, dest=f"oci:{tmp_path}/out:gzip", src=made.name(driver), options=gzip)
    assert {one.media_type for one in inspect(f"oci:{tmp_path}/out:gzip").layers} == {mediatypes.IMAGE_LAYER_GZIP}
    check_layout(tmp_path / "out")
    configs = {inspect(f"oci:{tmp_path}/out:{name}").manifest.config.digest for name in ("plain", "gzip")}
    assert configs == {inspect(made.name(driver)).manifest.config.digest}
    strict = copy.CopyOptions(preserve_digests=True)
    with pytest.raises(DigestChangeError, match="layer 0 is kept at the source as"):
        copy.image(policy, dest=f"oci:{tmp_path}/out:strict", src=made.name(driver), options=strict)


@pytest.mark.parametrize("driver", DRIVERS)
def test_unpacked_from_a_store(made: Made, tmp_path: Path, driver: str) -> None:
    """An image is unpacked from a store into what it is unpacked into from a layout, verified against its config."""
    policy = Policy.insecure_accept_anything()
    unpack(made.name(driver), tmp_path / "store", policy=policy)
    unpack(f"oci:{made.root}/layout:rich", tmp_path / "layout", policy=policy)
    assert trees.differences(trees.snapshot(tmp_path / "store"), trees.snapshot(tmp_path / "layout")) == []


def test_what_podman_imports_and_tags(tmp_path: Path) -> None:
    """An image of podman is found by each of its names, and copied as it is: its manifest lists plain layers."""
    (tmp_path / "layer.tar").write_bytes(Tar().add("file", b"f" * 5000).done())
    with tempfile.TemporaryDirectory() as short:  # podman allows 50 characters
        place = ["--root", f"{tmp_path}/vfs", "--runroot", short, "--tmpdir", f"{tmp_path}/tmp"]
        podman = ["podman", *place, "--storage-driver", "vfs"]
        run(*podman, "import", "-q", f"{tmp_path}/layer.tar", "localhost/one:1")
        run(*podman, "tag", "localhost/one:1", "localhost/two:2")
    store = f"containers-storage:{specifier(tmp_path, 'vfs')}"
    listed = list_images(store)
    assert [one.name for one in listed] == ["localhost/one:1", "localhost/two:2"]
    policy = Policy.insecure_accept_anything()
    for number, one in enumerate(listed):
        assert one.reference is not None
        result = copy.image(policy, dest=f"oci:{tmp_path}/out:{number}", src=one.reference)
        assert result.digest == one.descriptor.digest
    assert str(result.digest) in check_layout(tmp_path / "out")


def test_images_of_an_index(tmp_path: Path) -> None:
    """An index in a store lists images of their own there: manifests, layers and configurations are found in those."""
    place = ["--root", f"{tmp_path}/vfs", "--runroot", f"{tmp_path}/run-vfs", "--storage-driver", "vfs"]
    tars = {name: Tar().add(name, name.encode()).done() for name in ("amd64", "arm64")}
    store = Store()
    tops = {name: image_of(store, {name: data}) for name, data in tars.items()}
    store.layout(tmp_path / "layout", tops)
    run("buildah", *place, "manifest", "create", "localhost/list")
    for name in tars:
        fill(tmp_path, "vfs", f"oci:{tmp_path}/layout:{name}", f"localhost/{name}:1")
        run("buildah", *place, "manifest", "add", "--arch", name, "localhost/list", f"localhost/{name}:1")
    reference = parse_image_name(f"containers-storage:{specifier(tmp_path, 'vfs')}localhost/list")
    with reference.new_image_source() as source:
        entries = json.loads(source.get_manifest()[0])["manifests"]
        assert source.layer_infos_for_copy() is None
        assert len(entries) == 2
        for entry in entries:
            digest = Digest(entry["digest"])
            manifest = source.get_manifest(digest)[0]
            digest.verify(manifest)
            assert plain_layers(source, digest) == [tars[entry["platform"]["architecture"]]]
            config = Digest(json.loads(manifest)["config"]["digest"])
            config.verify(content(source, BlobInfo(digest=config)))
        with pytest.raises(BlobNotFoundError, match="mostly holds those for one platform"):
            source.get_manifest(Digest.from_bytes(b"another"))
    assert inspect(reference, SystemContext(architecture_choice="arm64")).layers


@pytest.mark.parametrize("driver", DRIVERS)
def test_signatures(made: Made, tmp_path: Path, driver: str) -> None:
    """Signatures are cut where the metadata of the image says, and are there for the digest as well."""
    signatures = (b"\x90first", b"\x90the second one", b"\x90" + bytes(3000))
    made.store.directory(tmp_path / "dir", made.top)
    for number, signature in enumerate(signatures, 1):
        (tmp_path / "dir" / f"signature-{number}").write_bytes(signature)
    there = fill(made.root, driver, f"dir:{tmp_path}/dir", "localhost/signed:1")
    with made.open(driver, there.partition("]")[2]) as source:
        assert source.get_signatures() == signatures
        assert source.get_signatures(Digest.from_bytes(source.get_manifest()[0])) == signatures
    with made.open(driver, NAME) as source:
        # It is the same image, under another name.
        assert source.get_signatures() == signatures


@pytest.mark.parametrize("driver", DRIVERS)
def test_ways_to_an_image(made: Made, driver: str) -> None:
    """An image is found by name, by digest, by id, by the first digits of it, and by name and id; not by wrong ones."""
    id_ = json.loads(made.store.blobs[made.top["digest"]])["config"]["digest"].removeprefix("sha256:")
    digest = made.top["digest"]
    other = "localhost/app/other"
    for rest in (
        NAME,
        f"localhost/app/rich@{digest}",
        f"localhost/app/rich:other@{digest}",
        f"@{id_}",
        f"@{id_[:12]}",
        f"@{id_[:3]}",
        id_[:12],
        f"{NAME}@{id_}",
        f"localhost/app/rich:another@{id_[:9]}",
        f"localhost/app/rich@{digest}@{id_}",
    ):
        with made.open(driver, rest) as source:
            assert digest_of(source.get_manifest()[0]) == digest
            assert isinstance(source.reference, StorageReference)
            assert source.reference.id == id_
    for rest in (other, f"{other}@{digest}", f"{other}@{id_}", f"@{'0' * 64}", "localhost/app/rich:2", "rich:1"):
        with pytest.raises(ImageNotFoundError):
            made.open(driver, rest)
    with pytest.raises(ImageNotFoundError, match=r"in it are .*localhost/app/rich:1"):
        made.open(driver, other)


def test_a_copy_of_what_the_store_cannot_give_back(made: Made) -> None:
    """A layer with a sparse file in GNU's pax form is lost in the store, for the peers too; it is no other layer."""
    sparse = made.root / "sparse"
    sparse.mkdir()
    with (sparse / "holes").open("wb") as file:
        file.write(b"a" * 5000)
        file.seek(300_000)
        file.write(b"end")
    plain = run("tar", "--sparse", "--format=posix", "-C", str(sparse), "-cf", "-", "holes")
    store = Store()
    top = image_of(store, {"sparse": plain}, compress=False)
    store.layout(made.root / "sparse-layout", {"sparse": top})
    there = fill(made.root, "vfs", f"oci:{made.root}/sparse-layout:sparse", "localhost/sparse:1")
    with parse_image_name(f"containers-storage:{there}").new_image_source() as source:
        (info,) = source.layer_infos_for_copy() or ()
        assert info.digest is not None
        assert info.digest == digest_of(plain)
        stream, _ = source.get_blob(info)
        with stream, pytest.raises(DigestMismatchError):
            info.digest.verify(stream.read())
    peer = ["unshare", "--mount", "skopeo", "copy", "--insecure-policy", f"containers-storage:{there}"]
    refused = subprocess.run([*peer, f"dir:{made.root}/out"], capture_output=True, text=True, check=False)
    assert "Digest did not match" in refused.stderr


@pytest.mark.parametrize("driver", DRIVERS)
def test_blobs_that_are_not_there(made: Made, driver: str) -> None:
    """The compressed layers that the manifest lists are gone; the error says where the plain ones are."""
    with made.open(driver) as source:
        listed = json.loads(source.get_manifest()[0])["layers"][0]["digest"]
        with pytest.raises(BlobNotFoundError, match="layer_infos_for_copy"):
            source.get_blob(BlobInfo(digest=Digest(listed)))
        with pytest.raises(LayoutError, match="none was given"):
            source.get_blob(BlobInfo())


def test_threads_read_at_the_same_time(made: Made) -> None:
    """Several layers, and one several times, are read at once."""
    with made.open("overlay") as source:
        infos = [*(source.layer_infos_for_copy() or ())] * 3
        found: dict[int, str] = {}

        def read(number: int) -> None:
            found[number] = digest_of(content(source, infos[number], 5000))

        threads = [threading.Thread(target=read, args=(number,)) for number in range(len(infos))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == {number: info.digest for number, info in enumerate(infos)}


def test_nothing_is_written_and_nobody_may_write(made: Made) -> None:
    """While an image is open the layers are locked for those who write, and then no more; no file changes."""
    before = snapshot(made.root / "vfs")
    with (made.root / "vfs/vfs-layers/layers.lock").open("r+b") as file:
        with made.open("vfs") as source:
            plain_layers(source)
            with pytest.raises(BlockingIOError):
                fcntl.fcntl(file, fcntl.F_OFD_SETLK, write_lock())
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, write_lock())
    assert snapshot(made.root / "vfs") == before


def write_lock() -> bytes:
    """Return the request for the lock of those who write."""
    return struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


def snapshot(place: Path) -> dict[str, tuple[int, int, str]]:
    """Return everything below a directory with its times and content."""
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_ctime_ns, summary(path)) for path in place.rglob("*")}


def summary(path: Path) -> str:
    """Return a digest of a regular file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else ""


def test_a_store_that_is_locked_for_ever(made: Made) -> None:
    """Who holds the lock and never lets go is an error, not a wait without end."""
    layers = made.root / "vfs/vfs-layers"
    with (layers / "layers.lock").open("r+b") as file, Descriptor(os.open(layers, DIRECTORY)) as directory:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, write_lock())
        with pytest.raises(TimeoutError, match="has not let go"):
            locks.shared_lock(directory.fd, "layers.lock", "layers.lock", patience=0.05)


def test_writers_are_waited_for(made: Made) -> None:
    """Whoever opens a store while it is written waits until that has ended."""
    opened = threading.Event()
    with (made.root / "vfs/vfs-layers/layers.lock").open("r+b") as file:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, write_lock())

        def read() -> None:
            with made.open("vfs"):
                opened.set()

        thread = threading.Thread(target=read)
        thread.start()
        assert not opened.wait(0.2)
    thread.join()
    assert opened.is_set()


def test_stores_are_not_written(made: Made) -> None:
    """Writing and deleting are refused with what does them."""
    name = made.name("vfs")
    with pytest.raises(NotSupportedError, match="the tool that owns the store"):
        parse_image_name(name).new_image_destination()
    with pytest.raises(NotSupportedError, match="podman rmi"):
        transports.delete(name)


def test_listing(made: Made) -> None:
    """Every name of every image is listed with a reference that leads to it; the driver need not be named."""
    for store in (specifier(made.root, "vfs"), f"[{made.root}/vfs]"):
        listed = [one for one in list_images(f"containers-storage:{store}") if one.name == NAME]
        assert [str(one.descriptor.digest) for one in listed] == [made.top["digest"]]
        assert listed[0].reference is not None
        assert inspect(listed[0].reference).digest == made.top["digest"]


def test_a_further_store_that_is_only_read(made: Made, tmp_path: Path) -> None:
    """With an option imagestore, images of another store are found behind those of the store itself."""
    store = Store()
    store.layout(tmp_path / "layout", {"own": image_of(store, {"own": Tar().add("own", b"own").done()})})
    fill(tmp_path, "vfs", f"oci:{tmp_path}/layout:own", "localhost/own:1")
    option = f"[vfs@{tmp_path}/vfs+{tmp_path}/run:vfs.imagestore={made.root}/vfs,vfs.imagestore=/nowhere/at/all]"
    for rest in ("localhost/own:1", NAME):
        reference = parse_image_name(f"containers-storage:{option}{rest}")
        assert parse_image_name(str(reference)) == reference
        with reference.new_image_source() as source:
            assert plain_layers(source)
    assert {"localhost/own:1", NAME} <= {one.name for one in list_images(f"containers-storage:{option}")}
