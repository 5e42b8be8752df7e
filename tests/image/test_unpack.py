"""Unpacking images: asked for by name, allowed, verified, whole or not at all."""

from __future__ import annotations

import base64
import errno
import gzip
import io
import json
import os
import resource
import shutil
import signal
import stat
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from builders import DOCKER_LAYER, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Store, digest_of
from layers import character, directory, file, layer, store_image, symlink, umoci_unpack
from trees import differences, snapshot
from unprivileged import NOBODY, in_child

from ocikit.errors import (
    CompressionError,
    DigestMismatchError,
    ImageNotFoundError,
    LayerError,
    LimitExceededError,
    ManifestError,
    NotSupportedError,
    OCIKitError,
    PolicyNotFoundError,
    PolicyRequirementError,
    SizeMismatchError,
    UnpackError,
)
from ocikit.image.compression import CompressedStream, Compression
from ocikit.image.limits import Limits
from ocikit.image.policy import Policy
from ocikit.image.types import SystemContext
from ocikit.image.unpacking import UnpackResult, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ANYTHING = Policy.insecure_accept_anything()
AMD64 = SystemContext(os_choice="linux", architecture_choice="amd64")

LOWER = layer(directory(b"./", mode=0o750), file(b"etc/one", b"1"), file(b"etc/two", b"2"), symlink(b"l", b"etc"))
UPPER = layer(file(b"etc/.wh.one"), file(b"l/three", b"3", owner=(5, 6)))


def zstd(data: bytes) -> bytes:
    """Compress with zstd."""
    return CompressedStream(io.BytesIO(data), Compression.ZSTD).read()


def unpack_to(place: Path, image: str, **options: Any) -> UnpackResult:
    """Unpack an image for amd64 under a policy that allows everything."""
    return unpack(image, place, policy=options.pop("policy", ANYTHING), sys=options.pop("sys", AMD64), **options)


def store_manifest(store: Store, layers: list[dict[str, Any]], diff_ids: list[str], **members: Any) -> dict[str, Any]:
    """Add an image of which everything can be wrong."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": members.pop("rootfs_type", "layers"), "diff_ids": diff_ids},
    }
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": store.json(members.pop("config_type", OCI_CONFIG), config),
        "layers": layers,
        **members,
    }
    return store.json(OCI_MANIFEST, document)


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """Make a layout with one image of two layers, called ``image``."""
    store = Store()
    return store.layout(tmp_path / "layout", {"image": store_image(store, LOWER, UPPER)})


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "dir"])
def test_an_image_becomes_a_tree(transport: str, tmp_path: Path) -> None:
    """From every kind of place the tree is the one that umoci makes, and the result says what it is."""
    store = Store()
    top = store_image(store, LOWER, UPPER)
    layout = store.layout(tmp_path / "layout", {"image": top})
    names = {
        "oci": f"oci:{layout}:image",
        "oci-archive": f"oci-archive:{store.archive(tmp_path / 'image.tar.gz', {'image': top}, compress='gzip')}:image",
        "dir": f"dir:{store.directory(tmp_path / 'dir', top)}",
    }
    result = unpack_to(tmp_path / "root", names[transport])
    assert (result.path, result.digest, result.layers) == (str(tmp_path / "root"), top["digest"], 2)
    assert (result.entries, result.total_bytes, result.skipped) == (6, 3, ())
    assert result.config.architecture == "amd64"
    expected = snapshot(umoci_unpack(layout, "image", tmp_path / "umoci"))
    found = snapshot(tmp_path / "root")
    # The directory that no entry describes, and the one it is made in, have the time of unpacking there.
    for tree in (found, expected):
        tree |= {path: tree[path]._replace(mtime_ns=0) for path in (b".", b"etc")}
    assert differences(found, expected) == []


def test_layers_in_every_compression(tmp_path: Path) -> None:
    """Plain, gzip and zstd layers, whatever their media types claim, and in the types of Docker too."""
    store = Store()
    plain = [layer(file(b"%d" % number, b"x" * number)) for number in range(5)]
    blobs = [
        store.blob("application/vnd.oci.image.layer.v1.tar", plain[0]),
        store.blob(OCI_LAYER, gzip.compress(plain[1])),
        store.blob("application/vnd.oci.image.layer.v1.tar+zstd", zstd(plain[2])),
        store.blob(OCI_LAYER, zstd(plain[3])),
        store.blob(DOCKER_LAYER, plain[4]),
    ]
    top = store_manifest(store, blobs, [digest_of(data) for data in plain])
    unpack_to(tmp_path / "root", f"oci:{store.layout(tmp_path / 'layout', {'': top})}")
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "root").iterdir()}
    assert sizes == {"0": 0, "1": 1, "2": 2, "3": 3, "4": 4}


def test_an_image_without_layers(tmp_path: Path) -> None:
    """It is an empty directory."""
    store = Store()
    layout = store.layout(tmp_path / "layout", {"": store_manifest(store, [], [])})
    assert unpack_to(tmp_path / "root", f"oci:{layout}").layers == 0
    assert list((tmp_path / "root").iterdir()) == []
    assert stat.S_IMODE((tmp_path / "root").stat().st_mode) == 0o755


def test_content_in_the_manifest(tmp_path: Path) -> None:
    """A config or layer that is embedded in its descriptor is used, and need not be anywhere else."""
    store = Store()
    data = gzip.compress(LOWER)
    blob = store.blob(OCI_LAYER, data) | {"data": base64.b64encode(data).decode()}
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest_of(LOWER)]}}
    text = json.dumps(config).encode()
    descriptor = store.blob(OCI_CONFIG, text) | {"data": base64.b64encode(text).decode()}
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor, "layers": [blob]}
    store.blobs.clear()
    layout = store.layout(tmp_path / "layout", {"": store.json(OCI_MANIFEST, document)})
    unpack_to(tmp_path / "root", f"oci:{layout}")
    assert (tmp_path / "root" / "etc" / "one").read_bytes() == b"1"


def test_the_platform_of_an_index(tmp_path: Path) -> None:
    """Of an index, also of one within another, the image for the platform is unpacked."""
    store = Store()
    images = [store.image({"arch": name.encode()}, architecture=name) for name in ("arm64", "amd64", "s390x")]
    inner = store.index(*images)
    layout = store.layout(tmp_path / "layout", {"": store.index(inner)})
    for name in ("amd64", "s390x"):
        unpack_to(tmp_path / name, f"oci:{layout}", sys=SystemContext(os_choice="linux", architecture_choice=name))
        assert (tmp_path / name / "arch").read_text() == name
    with pytest.raises(ImageNotFoundError, match="no image for linux/riscv64"):
        unpack_to(tmp_path / "no", f"oci:{layout}", sys=SystemContext(os_choice="linux", architecture_choice="riscv64"))
    assert not (tmp_path / "no").exists()


def test_no_policy_is_invented(layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a policy, and with one that rejects, nothing is unpacked."""
    monkeypatch.setenv("HOME", str(tmp_path))
    nowhere = SystemContext(root_for_implicit_absolute_paths=str(tmp_path))
    with pytest.raises(PolicyNotFoundError, match="insecure_accept_anything"):
        unpack(f"oci:{layout}:image", tmp_path / "root", sys=nowhere)
    reject = Policy.from_bytes(b'{"default": [{"type": "reject"}]}')
    with pytest.raises(PolicyRequirementError, match="not allowed"):
        unpack(f"oci:{layout}:image", tmp_path / "root", policy=reject)
    assert not (tmp_path / "root").exists()


GOOD = gzip.compress(LOWER, mtime=0)
DIFF = digest_of(LOWER)


def wrong_layer(blob: bytes = GOOD, diff_id: str = DIFF, **claims: Any) -> Callable[[Store], dict[str, Any]]:
    """Return what makes an image with one layer that is not what it claims to be."""

    def make(store: Store) -> dict[str, Any]:
        descriptor = store.blob(OCI_LAYER, blob) | claims
        store.blobs.setdefault(descriptor["digest"], blob)
        return store_manifest(store, [descriptor], [diff_id])

    return make


def wrong_manifest(count: int = 1, **members: Any) -> Callable[[Store], dict[str, Any]]:
    """Return what makes an image whose documents are wrong."""

    def make(store: Store) -> dict[str, Any]:
        kind = members.get("layer_type", OCI_LAYER)
        rest = {key: value for key, value in members.items() if key != "layer_type"}
        return store_manifest(store, [store.blob(kind, GOOD)], [DIFF] * count, **rest)

    return make


def duplicate_key(store: Store) -> dict[str, Any]:
    """Make an image with a config in which a key is there twice."""
    text = b'{"architecture":"amd64","os":"linux","os":"plan9","rootfs":{"type":"layers","diff_ids":["%s"]}}'
    config = store.blob(OCI_CONFIG, text % DIFF.encode())
    document = {"schemaVersion": 2, "config": config, "layers": [store.blob(OCI_LAYER, GOOD)]}
    return store.json(OCI_MANIFEST, document)


OTHER = digest_of(b"something else")
ZEROS = layer(file(b"zeros", bytes(300 << 20)))

WRONG: dict[str, tuple[Callable[[Store], dict[str, Any]], type[OCIKitError], str]] = {
    "a layer with another digest": (wrong_layer(digest=OTHER), DigestMismatchError, "layer 0 of oci:"),
    "a layer with another diffID": (wrong_layer(diff_id=OTHER), DigestMismatchError, "diffID of layer 0 of oci:"),
    "a diffID without the padding": (wrong_layer(diff_id=digest_of(LOWER[:-512])), DigestMismatchError, "diffID"),
    "a layer that is larger": (wrong_layer(size=len(GOOD) - 1), SizeMismatchError, "layer 0 of oci:"),
    "a layer that is smaller": (wrong_layer(size=len(GOOD) + 1), SizeMismatchError, "layer 0 of oci:"),
    "a truncated layer": (wrong_layer(GOOD[:-30]), CompressionError, "layer 0 of oci:.*truncated"),
    "a truncated layer of another digest": (wrong_layer(GOOD[:-30], digest=OTHER), DigestMismatchError, "layer 0"),
    "garbage after a layer": (wrong_layer(GOOD + b"garbage"), CompressionError, "followed by something"),
    "zeros after a layer": (wrong_layer(GOOD + bytes(100)), CompressionError, "followed by something"),
    "a layer that is no tar": (wrong_layer(b"hello" * 500, digest_of(b"hello" * 500)), LayerError, "layer 0 of oci:"),
    "another digest, and no tar": (wrong_layer(b"hello" * 500, digest=OTHER), DigestMismatchError, "layer 0 of oci:"),
    "a layer that leaves the root": (
        wrong_layer(layer(file(b".wh...")), digest_of(layer(file(b".wh...")))),
        LayerError,
        r"layer 0 of oci:.*, entry \.wh\.\.\.",
    ),
    "a bomb": (wrong_layer(gzip.compress(ZEROS), digest_of(ZEROS)), LimitExceededError, r"larger limits=Limits"),
    "a layer of an unknown type": (wrong_manifest(layer_type="text/plain"), ManifestError, "unknown type 'text/plain'"),
    "an encrypted layer": (wrong_manifest(layer_type=f"{OCI_LAYER}+encrypted"), NotSupportedError, "encrypted"),
    "more diffIDs than layers": (wrong_manifest(2), ManifestError, "1 layers in the manifest, 2 in the config"),
    "no diffIDs": (wrong_manifest(0), ManifestError, "1 layers in the manifest, 0 in the config"),
    "another kind of root": (wrong_manifest(rootfs_type="ostree"), ManifestError, "expected 'layers', found 'ostree'"),
    "an artifact": (wrong_manifest(config_type="application/x.thing+json"), ManifestError, "kind of artifact"),
    "two kinds of document in one": (wrong_manifest(manifests=[]), ManifestError, "manifests"),
    "a key that is there twice": (duplicate_key, ManifestError, "os"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_image_that_is_not_right(name: str, tmp_path: Path) -> None:
    """The error says what is wrong and where, and there is nothing: no tree, no temporary, no thread, no descriptor."""
    make, error, message = WRONG[name]
    store = Store()
    layout = store.layout(tmp_path / "layout", {"image": make(store)})
    before = (set(tmp_path.iterdir()), threading.active_count(), len(list(Path("/proc/self/fd").iterdir())))
    with pytest.raises(error, match=message) as caught:
        unpack_to(tmp_path / "root", f"oci:{layout}:image")
    assert type(caught.value) is error
    after = (set(tmp_path.iterdir()), threading.active_count(), len(list(Path("/proc/self/fd").iterdir())))
    assert after == before


def test_a_config_that_was_exchanged(tmp_path: Path) -> None:
    """Another config under the same name is found out."""
    store = Store()
    top = store_image(store, LOWER)
    layout = store.layout(tmp_path / "layout", {"": top})
    config = json.loads(store.blobs[top["digest"]])["config"]["digest"]
    path = layout / "blobs" / "sha256" / config.partition(":")[2]
    path.write_bytes(path.read_bytes().replace(b"amd64", b"arm64"))
    with pytest.raises(DigestMismatchError, match="config of oci:"):
        unpack_to(tmp_path / "root", f"oci:{layout}")
    assert not (tmp_path / "root").exists()


def test_limits_hold_for_all_layers_together(layout: Path, tmp_path: Path) -> None:
    """Layers, entries and bytes are counted over the image."""
    for limits, message in (
        (Limits(layers=1), r"layers of oci:.*: limit 1, found 2; .*Limits\(layers="),
        (Limits(entries=5), r"layer 1 of oci:.*entries of an image: limit 5"),
        (Limits(total_bytes=len(LOWER) + len(UPPER) - 1), r"layer 1 of oci:.*bytes of an image after decompression"),
    ):
        with pytest.raises(LimitExceededError, match=message):
            unpack_to(tmp_path / "root", f"oci:{layout}:image", limits=limits)
    assert not (tmp_path / "root").exists()
    assert unpack_to(tmp_path / "root", f"oci:{layout}:image", limits=Limits(layers=2, entries=6)).entries == 6


def test_the_place_is_taken(layout: Path, tmp_path: Path) -> None:
    """What is there stays as it is."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "file").write_text("mine")
    with pytest.raises(UnpackError, match="new or an empty directory"):
        unpack_to(tmp_path / "root", f"oci:{layout}:image")
    assert (tmp_path / "root" / "file").read_text() == "mine"


def test_several_threads_unpack_at_once(layout: Path, tmp_path: Path) -> None:
    """Unpacking beside each other, into one directory above, does not disturb."""
    results: list[UnpackResult] = []
    threads = [
        threading.Thread(
            target=lambda number=number: results.append(unpack_to(tmp_path / f"root{number}", f"oci:{layout}:image"))
        )
        for number in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    trees = [snapshot(Path(result.path)) for result in results]
    assert all(tree == trees[0] for tree in trees)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.fixture
def shared() -> Iterator[Path]:
    """Make a directory of the user nobody; the directories of pytest are closed to all but root."""
    path = Path(tempfile.mkdtemp())
    os.chown(path, NOBODY, NOBODY)
    yield path
    shutil.rmtree(path)


# cap_net_raw+ep, revision 2.
CAPABILITY = bytes.fromhex("0100000200200000002000000000000000000000")
ROOTLESS = layer(
    file(b"of-root", b"r", mode=0o4755, owner=(0, 0)),
    file(b"of-other", b"o", mode=0o640, owner=(1000, 2000), pax={b"SCHILY.xattr.user.kept": b"k"}),
    file(b"unreadable", b"u", mode=0o000, pax={b"SCHILY.xattr.user.kept": b"k"}),
    file(b"capable", b"c", pax={b"SCHILY.xattr.security.capability": CAPABILITY}),
    directory(b"closed", mode=0o000, owner=(3, 3), mtime=77),
    file(b"closed/inner/file", b"f"),
    directory(b"read-only", mode=0o555, pax={b"SCHILY.xattr.user.dir": b"d"}),
    file(b"read-only/file", b"f"),
    character(b"null", 1, 3),
    symlink(b"link", b"closed", owner=(9, 9)),
)
ROOTLESS_UPPER = layer(file(b"closed/inner/later", b"l"), file(b"read-only/.wh.file"), file(b".wh.of-other"))


def test_without_privileges(shared: Path, tmp_path: Path) -> None:
    """Rootless, every file is the caller's, with its mode and time; what needs root is left out and listed."""
    store = Store()
    layout = store.layout(shared / "layout", {"": store_image(store, ROOTLESS, ROOTLESS_UPPER)})
    unpack_to(tmp_path / "root", f"oci:{layout}")  # imports what nobody may not be able to read
    output = in_child(
        lambda: "\n".join(unpack_to(shared / "private" / "root", f"oci:{layout}", rootless=True).skipped),
        user=NOBODY,
    )
    assert output.splitlines() == [
        "capable: security.capability: Operation not permitted",
        "null: a character device needs root",
    ]
    root = shared / "private" / "root"
    assert {node.owner for node in snapshot(root).values()} == {(NOBODY, NOBODY)}
    modes = {path.name: oct(path.lstat().st_mode & 0o7777) for path in root.iterdir() if not path.is_symlink()}
    assert modes == {
        "of-root": "0o4755",
        "unreadable": "0o0",
        "capable": "0o644",
        "closed": "0o0",
        "read-only": "0o555",
    }
    assert (root / "closed").stat().st_mtime == 77
    assert os.getxattr(root / "unreadable", "user.kept") == b"k"
    assert os.getxattr(root / "read-only", "user.dir") == b"d"
    assert sorted(path.name for path in (root / "closed" / "inner").iterdir()) == ["file", "later"]
    assert list((root / "read-only").iterdir()) == []


def test_without_privileges_and_without_saying_so(shared: Path) -> None:
    """Owners cannot be set then, and the error says what to do; nothing is left."""
    store = Store()
    layout = store.layout(shared / "layout", {"": store_image(store, ROOTLESS)})

    def refused() -> str:
        with pytest.raises(UnpackError) as caught:
            unpack_to(shared / "private" / "root", f"oci:{layout}")
        assert caught.value.errno == errno.EPERM
        return str(caught.value)

    message = in_child(refused, user=NOBODY)
    assert "entry of-root" not in message
    assert "at of-root: Operation not permitted" in message
    assert "pass rootless=True" in message
    assert list((shared / "private").iterdir()) == []


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """A file that cannot be written is reported by its name, and nothing is left."""
    store = Store()
    big = store.layout(tmp_path / "big", {"": store_image(store, layer(file(b"dir/big", b"x" * 100_000)))})

    def refused() -> str:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        with pytest.raises(UnpackError) as caught:
            unpack_to(tmp_path / "root", f"oci:{big}")
        return str(caught.value)

    output = in_child(refused)
    assert "layer 0 of oci:" in output
    assert "at dir/big: File too large" in output
    assert [path.name for path in tmp_path.iterdir()] == ["big"]
