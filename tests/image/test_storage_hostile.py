"""Stores that somebody made to mislead: typed errors, nothing read from outside, and an end to everything."""

from __future__ import annotations

import base64
import gzip
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from builders import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, digest_of
from hypothesis import given, settings
from hypothesis import strategies as st
from unprivileged import NOBODY, in_child

from ocikit.errors import (
    BlobNotFoundError,
    CompressionError,
    ImageError,
    LayoutError,
    LimitExceededError,
    NotSupportedError,
    OCIKitError,
)
from ocikit.image import parse_image_name
from ocikit.image.storage.records import MOST_BYTES, big_data_file, parse_images, parse_layers
from ocikit.image.storage.store import MOST_LAYERS

if TYPE_CHECKING:
    from collections.abc import Callable

ID, LAYER = "1" * 64, "2" * 64
SECRET = b"what nobody may read"
PLAIN = b"header!!" + b"content" + b"padding!"

Entry = dict[str, Any]


def segment(data: bytes) -> Entry:
    """Return the line of a tar-split for a piece of the stream."""
    return {"type": 2, "payload": base64.b64encode(data).decode(), "position": 0}


def entry(name: str, size: int, **more: Any) -> Entry:
    """Return the line of a tar-split for a file."""
    return {"type": 1, "name": name, "size": size, "payload": "AAAAAAAAAAA=", "position": 1} | more


class Forged:
    """A store, written by hand, with one image of one layer; every part of it can be made wrong."""

    def __init__(self, root: Path, driver: str = "overlay") -> None:
        self.root, self.driver = root, driver
        self.diff = root / ("overlay" if driver == "overlay" else "vfs/dir") / LAYER
        self.diff = self.diff / "diff" if driver == "overlay" else self.diff
        self.diff.mkdir(parents=True)
        (self.diff / "file").write_bytes(b"content")
        self.data = root / f"{driver}-images" / ID
        self.data.mkdir(parents=True)
        (root / f"{driver}-layers").mkdir()
        config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}})
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": {"mediaType": OCI_CONFIG, "digest": digest_of(config.encode()), "size": len(config)},
                "layers": [{"mediaType": OCI_LAYER, "digest": digest_of(b"gz"), "size": 2}],
            }
        )
        keys = {"manifest": manifest, digest_of(config.encode()): config}
        for key, text in keys.items():
            (self.data / big_data_file(key)).write_text(text)
        self.images: list[Any] = [
            {"id": ID, "names": ["localhost/x:1"], "layer": LAYER, "big-data-names": list(keys), "metadata": "{}"}
        ]
        self.layers: list[Any] = [{"id": LAYER, "diff-digest": digest_of(PLAIN), "diff-size": len(PLAIN)}]
        self.split([segment(b"header!!"), entry("file", 7), segment(b"padding!")])
        self.write()

    @property
    def split_file(self) -> Path:
        """The tar-split."""
        return self.root / f"{self.driver}-layers" / f"{LAYER}.tar-split.gz"

    def split(self, lines: list[Entry]) -> None:
        """Write the tar-split."""
        self.split_file.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))

    def write(self, images: Any = None, layers: Any = None) -> None:
        """Write the records."""
        for kind, records in (("images", images), ("layers", layers)):
            default = self.images if kind == "images" else self.layers
            path = self.root / f"{self.driver}-{kind}" / f"{kind}.json"
            path.write_text(json.dumps(default if records is None else records))

    def read(self) -> bytes:
        """Read all there is, and return the layer."""
        name = f"containers-storage:[{self.driver}@{self.root}]localhost/x:1"
        with parse_image_name(name).new_image_source() as source:
            source.get_manifest()
            source.get_signatures()
            infos = source.layer_infos_for_copy() or ()
            data = b""
            for info in infos:
                stream, _ = source.get_blob(info)
                with stream:
                    data += stream.read()
            return data


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Return a directory outside of the store with something to read."""
    place = tmp_path / "outside"
    place.mkdir()
    for name in ("file", "secret"):
        (place / name).write_bytes(SECRET)
    return place


@pytest.mark.parametrize("driver", ["overlay", "vfs"])
def test_the_forged_store_is_sound_at_first(tmp_path: Path, driver: str) -> None:
    """Without damage it is read: what the other tests see is what they did."""
    assert Forged(tmp_path / "store", driver).read() == PLAIN


@pytest.mark.parametrize(
    "name", ["../../../../outside/secret", "link", "directory/secret", "absolute", "/etc/hostname", "hop"]
)
def test_no_name_leads_out_of_a_layer(tmp_path: Path, outside: Path, name: str) -> None:
    """Dots, links to files, to directories and to the root stay in the directory of the layer."""
    store = Forged(tmp_path / "store")
    (store.diff / "link").symlink_to(outside / "secret")
    (store.diff / "directory").symlink_to(outside)
    (store.diff / "absolute").symlink_to("/etc/hostname")
    (store.diff / "hop").symlink_to("../../../../outside/secret")
    store.split([entry(name, len(SECRET))])
    with pytest.raises(LayoutError, match=r"which is not there|found something else"):
        store.read()


def test_devices_are_not_opened(tmp_path: Path) -> None:
    """A tar-split that calls a device a file is refused before the device is opened: that might do something."""
    store = Forged(tmp_path / "store")
    os.mknod(store.diff / "device", 0o20600, os.makedev(0xFFF, 0xFFFFF))  # nothing has this number: opening is ENXIO
    store.split([entry("device", 7)])
    with pytest.raises(LayoutError, match="found something else"):
        store.read()


def test_files_that_may_not_be_read() -> None:
    """In a store of a user some files belong to other ids; who may not read them is told who may."""

    def refused() -> str:
        with pytest.raises(PermissionError) as caught:
            store.read()
        return str(caught.value)

    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        store = Forged(Path(place) / "store")
        for one in (store.root, *store.root.rglob("*")):
            os.chown(one, NOBODY, NOBODY)
        (store.diff / "file").chmod(0)
        os.chown(store.diff / "file", 0, 0)
        assert "podman unshare" in in_child(refused, user=NOBODY)
        assert store.read() == PLAIN


def test_links_within_a_layer_lead_where_they_led(tmp_path: Path) -> None:
    """A directory of the layer reached by a link of the layer is read, as when it was unpacked."""
    store = Forged(tmp_path / "store")
    (store.diff / "usr").mkdir()
    (store.diff / "usr/inner").write_bytes(b"content")
    (store.diff / "abs").symlink_to("/usr")
    store.split([segment(b"header!!"), entry("abs/inner", 7), segment(b"padding!")])
    assert store.read() == PLAIN


@pytest.mark.parametrize(
    "line",
    [
        entry("file", -1),
        entry("file", 7) | {"size": 7.5},
        entry("file", True),
        entry("file", 6),
        entry("file", 8),
        entry("file", 1 << 80),
        entry("missing", 7),
        entry("", 7),
        entry(".", 7),
        entry("file/below", 7),
        entry("a\0b", 7),
        entry("x" * 5000, 7),
        entry("pipe", 7),
        entry("sub", 7),
        entry("file", 7) | {"name": []},
        entry("file", 7, name_raw="%%%"),
        entry("file", 7, name_raw=7),
        {"type": 2, "payload": "no base64!"},
        {"type": 2, "payload": 5},
        {"type": 3},
        {"type": []},
        {},
        [],
        "text",
        None,
        7,
    ],
)
def test_lines_of_a_tar_split(tmp_path: Path, line: Any) -> None:
    """Whatever stands in a line that should not, the error names the line."""
    store = Forged(tmp_path / "store")
    os.mkfifo(store.diff / "pipe")
    (store.diff / "sub").mkdir()
    store.split([segment(b"header!!"), line])
    with pytest.raises(LayoutError, match="line 2 of its tar-split"):
        store.read()


def test_a_tar_split_that_is_none(tmp_path: Path) -> None:
    """Without one, cut short, damaged, no JSON, or a link: each says so."""
    store = Forged(tmp_path / "store")
    whole = store.split_file.read_bytes()
    for data, error in (
        (whole[:-12], CompressionError),
        (whole[:30] + b"\xff" * 8 + whole[38:], CompressionError),
        (gzip.compress(b'{"type":2'), LayoutError),
        (b"\x00\x01\x02", LayoutError),
        (gzip.compress(b"[" * 100_000), OCIKitError),
        (gzip.compress(b"{" + b" " * (20 << 20)), LimitExceededError),
    ):
        store.split_file.write_bytes(data)
        with pytest.raises(error):
            store.read()
    store.split_file.unlink()
    with pytest.raises(BlobNotFoundError, match="cannot be put together"):
        store.read()
    store.split_file.symlink_to("/etc/hostname")
    with pytest.raises(LayoutError, match="regular file"):
        store.read()
    store.split_file.unlink()
    os.mkfifo(store.split_file)
    with pytest.raises(LayoutError, match="regular file"):
        store.read()


@pytest.mark.parametrize("part", ["overlay", f"overlay/{LAYER}", f"overlay/{LAYER}/diff"])
def test_directories_that_are_links(tmp_path: Path, outside: Path, part: str) -> None:
    """A directory on the way to the files of a layer that was exchanged for a link out of the store is not followed."""
    store = Forged(tmp_path / "store")
    store.split([entry("secret", len(SECRET))])
    place = store.root / part
    place.rename(tmp_path / "away")
    for below in (outside / LAYER / "diff", outside / "diff"):
        below.mkdir(parents=True)
        (below / "secret").write_bytes(SECRET)
    place.symlink_to(outside)
    with pytest.raises(LayoutError, match="expected a directory"):
        store.read()


@pytest.mark.parametrize("part", ["overlay-images", "overlay-layers", f"overlay-images/{ID}"])
def test_records_that_are_links(tmp_path: Path, part: str) -> None:
    """The directories of the records are not followed when they are links."""
    store = Forged(tmp_path / "store")
    (store.root / part).rename(tmp_path / "away")
    (store.root / part).symlink_to(tmp_path / "away")
    with pytest.raises(LayoutError, match="expected a directory"):
        store.read()


@pytest.mark.parametrize("kind", ["images", "layers"])
def test_records_that_are_no_files(tmp_path: Path, kind: str) -> None:
    """images.json and layers.json as links, pipes and giants are refused at once; missing ones hold nothing."""
    store = Forged(tmp_path / "store")
    path = store.root / f"overlay-{kind}/{kind}.json"
    path.unlink()
    with pytest.raises(ImageError):
        store.read()
    path.symlink_to("/etc/hostname")
    with pytest.raises(LayoutError, match="regular file"):
        store.read()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(LayoutError, match="regular file"):
        store.read()
    path.unlink()
    path.touch()
    os.truncate(path, MOST_BYTES + 1)
    with pytest.raises(LimitExceededError):
        store.read()


def test_data_that_is_a_link(tmp_path: Path, outside: Path) -> None:
    """A manifest that is a link is not read, one that is too large neither."""
    store = Forged(tmp_path / "store")
    (store.data / "manifest").unlink()
    (store.data / "manifest").symlink_to(outside / "secret")
    with pytest.raises(LayoutError, match="regular file"):
        store.read()
    (store.data / "manifest").unlink()
    with pytest.raises(BlobNotFoundError, match="it is not"):
        store.read()
    (store.data / "manifest").touch()
    os.truncate(store.data / "manifest", 5 << 20)
    with pytest.raises(LimitExceededError):
        store.read()


IMAGES: dict[str, Any] = {
    "an id that leads out": {"id": "../../etc"},
    "an id with a slash": {"id": "a/b"},
    "no id": {"id": ""},
    "dots": {"id": ".."},
    "a layer that leads out": {"layer": "../x"},
    "a layer of no text": {"layer": 7},
    "names of no list": {"names": "x"},
    "names of no text": {"names": [1]},
    "metadata of no JSON": {"metadata": "{"},
    "metadata of no object": {"metadata": "[]"},
    "negative sizes": {"metadata": json.dumps({"signature-sizes": [-5, 5]})},
    "sizes of no numbers": {"metadata": json.dumps({"signature-sizes": ["1"]})},
    "too many signatures": {"metadata": json.dumps({"signature-sizes": [0] * 1000})},
    "signatures that are not there": {"metadata": json.dumps({"signature-sizes": [5]})},
    "data names of no list": {"big-data-names": {"a": 1}},
    "a layer that is missing": {"layer": "3" * 64},
    "no layer": {"layer": ""},
}
LAYERS: dict[str, Any] = {
    "its own parent": {"parent": LAYER},
    "a parent that leads out": {"parent": "../../x"},
    "a parent that is missing": {"parent": "4" * 64},
    "an id that leads out": {"id": "/etc"},
    "a negative size": {"diff-size": -7},
    "a size of no number": {"diff-size": "1"},
    "a size that is true": {"diff-size": True},
    "no digest": {"diff-digest": ""},
    "a digest of no grammar": {"diff-digest": "sha256:xyz"},
    "flags of no object": {"flags": [], "diff-digest": ""},
    "a flag of no digest": {"flags": {"expected-layer-diffid": "../.."}, "diff-digest": ""},
    "a flag of no text": {"flags": {"expected-layer-diffid": [1]}, "diff-digest": ""},
}


@pytest.mark.parametrize("case", IMAGES)
def test_records_of_images(tmp_path: Path, case: str) -> None:
    """Every field of an image that is not what it has to be is an error that names it."""
    store = Forged(tmp_path / "store")
    store.write(images=[store.images[0] | IMAGES[case]])
    with pytest.raises((LayoutError, BlobNotFoundError)):
        store.read()


@pytest.mark.parametrize("case", LAYERS)
def test_records_of_layers(tmp_path: Path, case: str) -> None:
    """Every field of a layer that is not what it has to be is an error that names it."""
    store = Forged(tmp_path / "store")
    store.write(layers=[store.layers[0] | LAYERS[case]])
    with pytest.raises((LayoutError, BlobNotFoundError)):
        store.read()


@pytest.mark.parametrize("records", [{}, "x", 7, [1], [None], [[]], [[[]]]])
@pytest.mark.parametrize("parse", [parse_images, parse_layers])
def test_records_that_are_none(parse: Callable[[bytes, str], object], records: Any) -> None:
    """Records are a list of objects."""
    with pytest.raises(LayoutError, match=r"x\.json"):
        parse(json.dumps(records).encode(), "x.json")


def test_chains_end(tmp_path: Path) -> None:
    """Layers in a circle, and more than any image has, are errors."""
    store = Forged(tmp_path / "store")
    ring = [f"{number:064x}" for number in range(10)]
    circle = [{"id": one, "parent": two} for one, two in zip(ring, ring[1:] + ring[3:4], strict=True)]
    store.write(layers=[store.layers[0] | {"parent": ring[0]}, *circle])
    with pytest.raises(LayoutError, match="its own parent"):
        store.read()
    ids = [f"{number:064x}" for number in range(MOST_LAYERS + 1)]
    line = [{"id": one, "parent": two} for one, two in zip(ids, [*ids[1:], ""], strict=True)]
    store.write(layers=[store.layers[0] | {"parent": ids[0]}, *line])
    with pytest.raises(LimitExceededError):
        store.read()


def test_places_that_are_no_stores(tmp_path: Path) -> None:
    """A directory without a store, one of another driver, and drivers that are not read say what is there."""
    store = Forged(tmp_path / "store")
    with pytest.raises(LayoutError, match="there is one of the driver overlay"):
        parse_image_name(f"containers-storage:[vfs@{store.root}]x").new_image_source()
    with pytest.raises(LayoutError, match="no store of the driver vfs"):
        parse_image_name(f"containers-storage:[vfs@{tmp_path}]x").new_image_source()
    with pytest.raises(FileNotFoundError):
        parse_image_name(f"containers-storage:[vfs@{tmp_path}/no]x").new_image_source()
    with pytest.raises(NotSupportedError, match="btrfs"):
        parse_image_name(f"containers-storage:[btrfs@{store.root}]x").new_image_source()
    with pytest.raises(NotSupportedError):
        parse_image_name(f"containers-storage:[../../etc@{store.root}]x").new_image_source()


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    """After errors in the middle of a layer nothing is left open."""
    store = Forged(tmp_path / "store")
    store.split([segment(b"header!!"), entry("file", 7), entry("missing", 5)])
    before = os.listdir("/proc/self/fd")
    for _ in range(5):
        with pytest.raises(LayoutError):
            store.read()
    assert os.listdir("/proc/self/fd") == before


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_KEYS = st.sampled_from(
    ["id", "names", "layer", "metadata", "big-data-names", "digest", "parent", "diff-digest", "diff-size", "flags"]
)


@given(st.dictionaries(_KEYS, _JSON, max_size=8), st.booleans())
def test_any_record(fields: dict[str, Any], layer: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    """Whatever is in a record, it is read or refused by a typed error."""
    data = json.dumps([{"id": "a"} | fields]).encode()
    parse: Callable[[bytes, str], object] = parse_layers if layer else parse_images
    try:
        parse(data, "x")
    except (LayoutError, LimitExceededError):
        return


@settings(max_examples=60)
@given(
    lines=st.lists(
        st.dictionaries(
            st.sampled_from(["type", "name", "size", "payload", "name_raw"]), _JSON | st.sampled_from([1, 2])
        )
    )
)
def test_any_tar_split(lines: list[Entry]) -> None:
    """Whatever is in a tar-split, it gives bytes or a typed error."""
    with tempfile.TemporaryDirectory() as place:
        store = Forged(Path(place) / "store")
        store.split(lines)
        try:
            store.read()
        except (ImageError, LimitExceededError):
            return


def test_records_of_nothing() -> None:
    """Millions of empty records are refused before memory is taken for each."""
    data = b"[" + b"{}," * 2_100_000 + b"{}]"
    for parse in (parse_images, parse_layers):
        with pytest.raises(LimitExceededError, match="values in it"):
            parse(data, "images.json")
