"""Looking at images: what a layout lists, what an image says of itself, verified."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from builders import OCI_CONFIG, OCI_INDEX, Store, digest_of

from ocikit.errors import (
    BlobNotFoundError,
    ImageNotFoundError,
    LayoutError,
    LimitExceededError,
    ManifestError,
    VerificationError,
)
from ocikit.image import SystemContext, image_name, inspect, list_images
from ocikit.spec import Index, Manifest

if TYPE_CHECKING:
    from pathlib import Path

AMD = SystemContext(os_choice="linux", architecture_choice="amd64")


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "dir"])
def test_an_image(tmp_path: Path, transport: str) -> None:
    """Manifest, configuration and layers of an image, wherever it is."""
    store = Store()
    top = store.image({"a": b""}, {"b": b""})
    make = {"oci": store.layout, "oci-archive": store.archive}
    path = make[transport](tmp_path / "x", {"n": top}) if transport in make else store.directory(tmp_path / "x", top)
    found = inspect(f"{transport}:{path}")
    assert (found.digest, found.manifest_digest, found.media_type) == (top["digest"], top["digest"], top["mediaType"])
    assert found.raw_manifest == store.blobs[top["digest"]]
    assert isinstance(found.manifest, Manifest)
    assert found.index is None
    assert found.config is not None
    assert found.config.config.cmd == ("/bin/sh",)
    assert [layer.size for layer in found.layers] == [
        layer["size"] for layer in json.loads(found.raw_manifest)["layers"]
    ]
    assert (found.created, dict(found.labels)) == (None, {})


def test_an_index(tmp_path: Path) -> None:
    """Of an index, or of one within another, the image for the platform is shown."""
    store = Store()
    amd, arm = store.image({"amd": b""}), store.image({"arm": b""}, architecture="arm64", variant="v8")
    inner = store.index(amd, platform={"os": "linux", "architecture": "amd64"})
    top = store.index(inner, arm)
    layout = store.layout(tmp_path / "l", {"x": top})
    found = inspect(f"oci:{layout}:x", AMD)
    assert (found.digest, found.manifest_digest) == (top["digest"], amd["digest"])
    assert isinstance(found.index, Index)
    assert [entry.digest for entry in found.index.manifests] == [inner["digest"], arm["digest"]]
    assert inspect(f"oci:{layout}:x", SystemContext(architecture_choice="arm64")).manifest_digest == arm["digest"]
    with pytest.raises(ImageNotFoundError, match="riscv64"):
        inspect(f"oci:{layout}:x", SystemContext(architecture_choice="riscv64"))


def test_indexes_without_end(tmp_path: Path) -> None:
    """Indexes within indexes are followed only so deep."""
    store = Store()
    platform = {"os": "linux", "architecture": "amd64"}
    top = store.image()
    for _ in range(9):
        top = store.index(top | {"platform": platform})
    layout = store.layout(tmp_path / "l", {"x": top})
    with pytest.raises(LimitExceededError, match="nested"):
        inspect(f"oci:{layout}:x", AMD)


def test_an_artifact(tmp_path: Path) -> None:
    """What is no image has a manifest and no configuration."""
    store = Store()
    empty = store.blob("application/vnd.oci.empty.v1+json", b"{}")
    store.blobs.pop(empty["digest"])
    top = store.image(extra={"config": empty, "artifactType": "application/x"})
    found = inspect(f"oci:{store.layout(tmp_path / 'l', {'x': top})}:x")
    assert found.config is None
    assert (found.labels, found.created) == ({}, None)
    assert isinstance(found.manifest, Manifest)
    assert found.manifest.artifact_type == "application/x"


def test_everything_is_verified(tmp_path: Path) -> None:
    """A configuration that is missing, another, malformed or too large is an error and never shown."""
    store = Store()
    good = store.image()
    config = json.loads(store.blobs[good["digest"]])["config"]
    rows = [
        (config | {"size": config["size"] + 1}, VerificationError, "config of"),
        (config | {"digest": digest_of(b"none")}, BlobNotFoundError, "not there"),
        (store.blob(OCI_CONFIG, b"[]"), ManifestError, "config of"),
        (config | {"size": 5 << 20}, LimitExceededError, "config of"),
    ]
    names = {str(number): store.image(extra={"config": row[0]}) for number, row in enumerate(rows)}
    layout = store.layout(tmp_path / "l", names)
    for number, (_, error, message) in enumerate(rows):
        with pytest.raises(error, match=message):
            inspect(f"oci:{layout}:{number}")
    blob = layout / "blobs" / "sha256" / config["digest"].partition(":")[2]
    blob.write_bytes(blob.read_bytes().replace(b"amd64", b"arm64"))
    store.layout(tmp_path / "m", {"x": good})
    blob = tmp_path / "m" / "blobs" / "sha256" / config["digest"].partition(":")[2]
    blob.write_bytes(blob.read_bytes().replace(b"amd64", b"arm64"))
    with pytest.raises(VerificationError):
        inspect(f"oci:{tmp_path}/m:x")


def test_listing_a_layout(tmp_path: Path) -> None:
    """Every image of a layout is listed with a reference that leads to it and to no other."""
    store = Store()
    one, two, three = (store.image({str(number): b""}) for number in range(3))
    other = store.blob("application/x", b"no image", annotations={"org.opencontainers.image.ref.name": "other"})
    index = store.index(one)
    layout = store.layout(tmp_path / "l", {"one": one, "": two, "not/a//name": three, "index": index})
    document = json.loads((layout / "index.json").read_bytes())
    document["manifests"].insert(0, other)
    document["manifests"].append(three | {"annotations": {"org.opencontainers.image.ref.name": "one"}})
    (layout / "index.json").write_text(json.dumps(document))
    found = list_images(layout)
    assert [(image.position, image.name) for image in found] == [
        (1, "one"),
        (2, None),
        (3, "not/a//name"),
        (4, "index"),
        (5, "one"),
    ]
    references = [image_name(image.reference) for image in found if image.reference is not None]
    assert references == [f"oci:{layout}:{rest}" for rest in ("@1", "@2", "@3", "index", "@5")]
    assert [inspect(name, AMD).digest for name in references] == [image.descriptor.digest for image in found]
    assert found[3].descriptor.media_type == OCI_INDEX
    assert list_images(f"oci:{layout}") == list_images(str(layout)) == found


def test_listing_an_archive(tmp_path: Path) -> None:
    """Images of an archive are listed the same way; one that cannot be asked for has no reference."""
    store = Store()
    one, two = store.image({"1": b""}), store.image({"2": b""})
    several = store.archive(tmp_path / "s.tar.gz", {"one": one, "": two}, compress="gzip")
    found = list_images(several)
    assert [str(image.reference) if image.reference else None for image in found] == [
        f"oci-archive:{several}:one",
        None,
    ]
    single = store.archive(tmp_path / "1.tar", {"": two})
    (image,) = list_images(f"oci-archive:{single}")
    assert str(image.reference) == f"oci-archive:{single}"
    assert image.descriptor.digest == two["digest"]


def test_listing_what_is_none(tmp_path: Path) -> None:
    """An empty layout lists nothing; what is no layout, or not there, is an error."""
    store = Store()
    store.image()
    assert list_images(store.layout(tmp_path / "l", {})) == ()
    with pytest.raises(LayoutError, match="not an OCI layout"):
        list_images(tmp_path)
    with pytest.raises(FileNotFoundError):
        list_images(tmp_path / "missing")


def test_listing_with_shared_blobs(tmp_path: Path) -> None:
    """A layout whose blobs are elsewhere needs none of its own to be listed."""
    store = Store()
    layout = store.layout(tmp_path / "l", {"x": store.image()})
    (layout / "blobs").rename(tmp_path / "shared")
    with pytest.raises(LayoutError, match="no such directory"):
        list_images(layout)
    (image,) = list_images(layout, SystemContext(oci_shared_blob_dir_path=str(tmp_path / "shared")))
    assert image.name == "x"


def test_a_colon_in_the_path_does_not_mislead(tmp_path: Path) -> None:
    """References of a listing lead to the listed place, whatever its name looks like."""
    store = Store()
    place = store.layout(tmp_path / "busy:box", {"one": store.image()})
    (found,) = list_images(place)
    assert found.reference is not None
    assert found.reference.policy_configuration_identity == str(place.resolve())
