"""What a copy refuses: content that is not what it is claimed to be, and what a destination does not take."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, NamedTuple

import pytest
from builders import DOCKER_MANIFEST, OCI_MANIFEST, Store, check_layout, digest_of, skopeo_digest

from ocikit.errors import (
    BlobNotFoundError,
    DigestChangeError,
    DigestMismatchError,
    InvalidReferenceError,
    LimitExceededError,
    ManifestError,
    ManifestTypeRejectedError,
    NotSupportedError,
    OCIKitError,
    SizeMismatchError,
    VerificationError,
)
from ocikit.image import Policy, SystemContext, copy, inspect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ANY = Policy.insecure_accept_anything()
ALL = copy.CopyOptions(image_list_selection=copy.ImageListSelection.ALL)


def some_image(path: Path) -> Path:
    """Make a layout with an image of two layers named x."""
    store = Store()
    return store.layout(path, {"x": store.image({"a": b"a"}, {"b": b"b"}, platform=False)})


def damage(layout: Path, digest: str, change: Callable[[bytes], bytes | None]) -> None:
    """Change the bytes of a blob in place, or remove it."""
    file = layout / "blobs" / digest.replace(":", "/")
    changed = change(file.read_bytes())
    file.unlink()
    if changed is not None:
        file.write_bytes(changed)


def flip(data: bytes) -> bytes:
    """Change one bit in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


class Damage(NamedTuple):
    """A row of the table: what is changed, how, and what is found."""

    part: str
    change: Callable[[bytes], bytes | None]
    error: type[OCIKitError]


DAMAGES = [
    Damage("layer", flip, DigestMismatchError),
    Damage("layer", lambda data: data[:-1], SizeMismatchError),
    Damage("layer", lambda data: data + b"x", SizeMismatchError),
    Damage("layer", lambda _: b"", SizeMismatchError),
    Damage("layer", lambda _: None, BlobNotFoundError),
    Damage("config", flip, DigestMismatchError),
    Damage("config", lambda data: data + b" ", SizeMismatchError),
    Damage("manifest", flip, DigestMismatchError),
    Damage("manifest", lambda data: data + b" ", VerificationError),
    Damage("manifest", lambda _: b" " * (4 * 1024 * 1024 + 1), LimitExceededError),
    Damage("manifest", lambda _: None, BlobNotFoundError),
]


@pytest.mark.parametrize("parallel", [1, 4])
@pytest.mark.parametrize("index", [False, True])
@pytest.mark.parametrize("row", DAMAGES)
def test_damage_is_found_and_nothing_appears(
    tmp_path: Path,
    row: Damage,
    index: bool,  # noqa: FBT001 - a column of the table
    parallel: int,
) -> None:
    """Whatever was changed at the source, the destination keeps the image it had and gets no other."""
    store = Store()
    image = store.image({"a": b"a" * 5000}, {"b": b"b"})
    manifest = json.loads(store.blobs[image["digest"]])
    dest = some_image(tmp_path / "out")
    before = check_layout(dest)
    layout = store.layout(tmp_path / "in", {"x": store.index(image) if index else image})
    wrong = {"layer": manifest["layers"][0], "config": manifest["config"], "manifest": image}[row.part]
    damage(layout, wrong["digest"], row.change)
    options = copy.CopyOptions(image_list_selection=copy.ImageListSelection.ALL, max_parallel=parallel)
    for name in (f"oci:{dest}:x", f"dir:{tmp_path}/dir", f"oci-archive:{tmp_path}/x.tar:x"):
        with pytest.raises(row.error):
            copy.image(ANY, dest=name, src=f"oci:{layout}:x", options=options)
    assert check_layout(dest) == before
    assert not (tmp_path / "dir" / "manifest.json").exists()
    assert not (tmp_path / "x.tar").exists()


def test_descriptors_that_disagree(tmp_path: Path) -> None:
    """Two descriptors of one blob with different sizes cannot both be right."""
    store = Store()
    layer, diff_id = store.layer({"a": b"a"})
    lying = layer | {"size": layer["size"] + 1}
    config = store.json(
        "application/vnd.oci.image.config.v1+json",
        {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [diff_id, diff_id]}},
    )
    manifest = store.json(
        OCI_MANIFEST,
        {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer, lying]},
    )
    layout = store.layout(tmp_path / "in", {"x": manifest})
    with pytest.raises(SizeMismatchError):
        copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x")


def test_a_listed_type_that_is_another(tmp_path: Path) -> None:
    """A manifest that an index lists under another type than its own is refused."""
    store = Store()
    top = store.index(store.image() | {"mediaType": DOCKER_MANIFEST})
    layout = store.layout(tmp_path / "in", {"x": top})
    with pytest.raises(ManifestError):
        copy.image(ANY, dest=f"dir:{tmp_path}/out", src=f"oci:{layout}:x", options=ALL)


@pytest.mark.parametrize("call", [inspect, lambda name: copy.image(ANY, dest=f"{name}-copy", src=name)])
def test_errors_say_which_manifest(call: Callable[[str], object], tmp_path: Path) -> None:
    """Of several manifests, the error names the one that is malformed."""
    store = Store()
    digest = digest_of(b"")
    image = store.image(extra={"layers": [{"mediaType": OCI_MANIFEST, "digest": digest, "size": -1}]})
    layout = store.layout(tmp_path / "in", {"x": store.index(image)})
    with pytest.raises(ManifestError, match=rf"manifest of .*/in:x, instance {image['digest']}: \$\.layers\[0\]\.size"):
        call(f"oci:{layout}:x")


def test_a_configuration_of_unusual_size(tmp_path: Path) -> None:
    """A configuration larger than 4 MiB is refused before it is read."""
    store = Store()
    image = store.image(extra={"config": store.blob("application/vnd.oci.image.config.v1+json", b" " * (4 << 20 | 1))})
    layout = store.layout(tmp_path / "in", {"x": image})
    with pytest.raises(LimitExceededError, match="configuration"):
        copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x")


def test_a_digest_that_cannot_be_computed(tmp_path: Path) -> None:
    """What cannot be verified is refused before anything is written."""
    store = Store()
    odd = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": "md5:0123", "size": 3}
    layout = store.layout(tmp_path / "in", {"x": store.image(extra={"layers": [odd]})})
    with pytest.raises(NotSupportedError, match="md5"):
        copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x")
    assert not (tmp_path / "out").exists()


# Content in descriptors


def inline(tmp_path: Path, data: bytes) -> tuple[Path, str]:
    """Return a layout whose only layer is in its descriptor and nowhere else, and the layer's digest."""
    store = Store()
    layer, _ = store.layer({"a": b"a"})
    content = store.blobs.pop(layer["digest"])
    embedded = base64.b64encode(data or content).decode()
    image = store.image(extra={"layers": [layer, layer | {"data": embedded}]})
    return store.layout(tmp_path / "in", {"x": image}), layer["digest"]


def test_embedded_content_is_used(tmp_path: Path) -> None:
    """Content that travels in a descriptor need not be at the source; it is written as a blob."""
    layout, digest = inline(tmp_path, b"")
    result = copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x")
    assert digest in {blob.digest for blob in result.copied}
    assert digest in check_layout(tmp_path / "out")


@pytest.mark.parametrize(("data", "error"), [(b"short", SizeMismatchError), (b"\0" * 112, OCIKitError)])
def test_embedded_content_is_verified(tmp_path: Path, data: bytes, error: type[OCIKitError]) -> None:
    """Embedded content that is not the content is refused before anything is written."""
    layout, _ = inline(tmp_path, data)
    with pytest.raises(error):
        copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x")
    assert not (tmp_path / "out").exists()


def test_embedded_manifests_are_used(tmp_path: Path) -> None:
    """A manifest that travels in its index need not be at the source."""
    store = Store()
    image = store.image()
    data = base64.b64encode(store.blobs.pop(image["digest"])).decode()
    layout = store.layout(tmp_path / "in", {"x": store.index(image | {"data": data})})
    result = copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x", options=ALL)
    assert result.instances == (image["digest"],)
    assert image["digest"] in check_layout(tmp_path / "out")


def test_sha512(tmp_path: Path) -> None:
    """The other registered algorithm works for layers, configurations and listed manifests."""
    store = Store()
    layer = store.blob("application/vnd.oci.image.layer.v1.tar", b"\0" * 1024, algorithm="sha512")
    image = store.image(extra={"layers": [layer]})
    data = store.blobs.pop(image["digest"])
    again = store.blob(OCI_MANIFEST, data, algorithm="sha512")
    layout = store.layout(tmp_path / "in", {"x": store.index(again)})
    result = copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x", options=ALL)
    assert result.instances == (again["digest"],)
    assert {again["digest"], layer["digest"]} <= check_layout(tmp_path / "out")
    damage(layout, layer["digest"], flip)
    with pytest.raises(DigestMismatchError):
        copy.image(ANY, dest=f"oci:{tmp_path}/bad:x", src=f"oci:{layout}:x", options=ALL)


# What stays away, and what a destination does not take


def test_nondistributable_layers_stay_where_they_are(tmp_path: Path) -> None:
    """A layer with URLs is skipped where the destination takes URLs, and copied or missed where it does not."""
    store = Store()
    media_type = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    foreign = {"mediaType": media_type, "digest": digest_of(b"far"), "size": 3, "urls": ["https://a.example/x"]}
    plain, _ = store.layer({"a": b"a"})
    layout = store.layout(tmp_path / "in", {"x": store.image(extra={"layers": [foreign, plain]})})
    result = copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x")
    assert [blob.digest for blob in result.skipped] == [foreign["digest"]]
    assert len(result.copied) == 2
    with pytest.raises(BlobNotFoundError):
        copy.image(ANY, dest=f"dir:{tmp_path}/dir", src=f"oci:{layout}:x")


@pytest.mark.parametrize("several", [False, True])
def test_types_that_a_layout_does_not_take(tmp_path: Path, several: bool) -> None:  # noqa: FBT001 - a row of the table
    """Docker's manifests go from dir to dir unchanged; a layout gets them converted, or not at all."""
    store = Store()
    image = store.image(docker=True)
    top = store.index(image, docker=True) if several else image
    directory = store.directory(tmp_path / "in", top)
    result = copy.image(ANY, dest=f"dir:{tmp_path}/out", src=f"dir:{directory}", options=ALL)
    assert result.digest == top["digest"] == skopeo_digest(f"dir:{tmp_path}/out")
    frozen = copy.CopyOptions(image_list_selection=copy.ImageListSelection.ALL, preserve_digests=True)
    with pytest.raises(DigestChangeError, match=r"its type .* becomes .*preserve_digests was asked for"):
        copy.image(ANY, dest=f"oci:{tmp_path}/layout:x", src=f"dir:{directory}", options=frozen)
    forced = copy.CopyOptions(force_manifest_mime_type=DOCKER_MANIFEST)
    with pytest.raises(ManifestTypeRejectedError, match=r"takes manifests of the types .* was forced"):
        copy.image(ANY, dest=f"oci:{tmp_path}/layout:x", src=f"dir:{directory}", options=forced)
    assert not (tmp_path / "layout").exists()


def test_signatures(tmp_path: Path) -> None:
    """Signatures travel to where they are stored, are refused where they are not, and stay behind on request."""
    store = Store()
    directory = store.directory(tmp_path / "in", store.image())
    (directory / "signature-1").write_bytes(b"\x89first")
    (directory / "signature-2").write_bytes(b"\x89second")
    copy.image(ANY, dest=f"dir:{tmp_path}/out", src=f"dir:{directory}")
    assert (tmp_path / "out" / "signature-1").read_bytes() == b"\x89first"
    assert (tmp_path / "out" / "signature-2").read_bytes() == b"\x89second"
    with pytest.raises(NotSupportedError, match="remove_signatures=True"):
        copy.image(ANY, dest=f"docker-archive:{tmp_path}/a.tar:x:1", src=f"dir:{directory}")
    assert not (tmp_path / "a.tar").exists()
    without = copy.CopyOptions(remove_signatures=True)
    copy.image(ANY, dest=f"docker-archive:{tmp_path}/a.tar:x:1", src=f"dir:{directory}", options=without)
    copy.image(ANY, dest=f"dir:{tmp_path}/bare", src=f"dir:{directory}", options=without)
    assert not (tmp_path / "bare" / "signature-1").exists()


def test_a_compression_that_no_manifest_knows(tmp_path: Path) -> None:
    """A wish for a compression that layers do not have is an error, not ignored."""
    some_image(tmp_path / "in")
    options = copy.CopyOptions(destination_ctx=SystemContext(compression_format="xz"))
    with pytest.raises(NotSupportedError, match="compression_format"):
        copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{tmp_path}/in:x", options=options)


def test_names_that_are_none(tmp_path: Path) -> None:
    """What is not an image name is refused; nothing is opened."""
    some_image(tmp_path / "in")
    with pytest.raises(InvalidReferenceError):
        copy.image(ANY, dest=f"nowhere:{tmp_path}/out", src=f"oci:{tmp_path}/in:x")
