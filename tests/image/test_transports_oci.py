"""Images in layout directories: what others wrote is read, what is written here others read."""

from __future__ import annotations

import base64
import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from builders import (
    OCI_INDEX,
    OCI_MANIFEST,
    Store,
    check_layout,
    digest_of,
    manifest_at,
    names_in,
    skopeo_digest,
)
from moving import get, info_of, move, put

from ocikit.errors import (
    BlobNotFoundError,
    DigestMismatchError,
    ImageNotFoundError,
    LayoutError,
    LimitExceededError,
    ManifestTypeRejectedError,
    SizeMismatchError,
)
from ocikit.image import BlobInfo, SystemContext, parse_image_name
from ocikit.spec import Digest

if TYPE_CHECKING:
    from pathlib import Path


def test_reads_what_skopeo_and_umoci_write(tmp_path: Path) -> None:
    """An image goes from umoci's layout to ours to skopeo's and back, with the same digest at every stop."""
    (tmp_path / "file").write_bytes(b"content" * 10_000)
    layout = tmp_path / "umoci"
    for command in (
        ["init", "--layout", str(layout)],
        ["new", "--image", f"{layout}:v1"],
        ["insert", "--image", f"{layout}:v1", str(tmp_path / "file"), "/file"],
    ):
        subprocess.run(["umoci", *command], check=True, capture_output=True)
    digest = manifest_at(layout, "v1")
    ours, theirs = f"oci:{tmp_path}/ours:a/b:c@d+e", f"oci:{tmp_path}/skopeo:x"
    assert move(f"oci:{layout}:v1", ours) == digest == skopeo_digest(ours)
    subprocess.run(["skopeo", "copy", "-q", ours, theirs], check=True)
    assert move(theirs, f"oci:{tmp_path}/ours:again") == digest
    assert names_in(tmp_path / "ours") == ["a/b:c@d+e", "again"]
    check_layout(tmp_path / "ours")


def test_indexes_with_all_instances(tmp_path: Path) -> None:
    """An index is stored with its instances, which do not appear in index.json."""
    store = Store()
    nested = store.index(store.image(architecture="arm64"), store.image({"x": b""}, architecture="s390x"))
    top = store.index(store.image(), nested)
    store.layout(tmp_path / "in", {"x": top})
    assert (
        move(f"oci:{tmp_path}/in:x", f"oci:{tmp_path}/out:y") == top["digest"] == skopeo_digest(f"oci:{tmp_path}/out:y")
    )
    assert names_in(tmp_path / "out") == ["y"]
    assert check_layout(tmp_path / "out") == set(store.blobs)


def test_the_image_that_a_reference_leads_to(tmp_path: Path) -> None:
    """A name, a position or nothing at all lead to an image; its manifest comes with the type that is stated."""
    store = Store()
    one, two = store.image({"1": b""}), store.index(store.image({"2": b""}))
    layout = store.layout(tmp_path / "l", {"one": one, "": two})
    for name, wanted in (("one", one), ("@0", one), ("@1", two)):
        with parse_image_name(f"oci:{layout}:{name}").new_image_source() as source:
            assert source.get_manifest() == (store.blobs[wanted["digest"]], wanted["mediaType"])
            assert source.reference.string_within_transport == f"{layout}:{name}"
            assert source.has_thread_safe_get_blob
            assert (source.get_signatures(), source.layer_infos_for_copy()) == ((), None)
    with pytest.raises(ImageNotFoundError):
        parse_image_name(f"oci:{layout}:three").new_image_source()


def test_instances(tmp_path: Path) -> None:
    """The manifest of an instance is found by its digest."""
    store = Store()
    instance = store.image()
    layout = store.layout(tmp_path / "l", {"x": store.index(instance)})
    with parse_image_name(f"oci:{layout}:x").new_image_source() as source:
        assert source.get_manifest(Digest(instance["digest"]))[0] == store.blobs[instance["digest"]]
        with pytest.raises(BlobNotFoundError, match="it is not there"):
            source.get_manifest(Digest(digest_of(b"missing")))


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_manifests_are_verified(tmp_path: Path, algorithm: str) -> None:
    """A manifest that is not what index.json, or an index, lists is refused already here."""
    store = Store()
    instance = store.blob(OCI_MANIFEST, store.blobs[store.image()["digest"]], algorithm=algorithm)
    layout = store.layout(tmp_path / "l", {"x": instance})
    blob = layout / "blobs" / algorithm / instance["digest"].partition(":")[2]
    original = blob.read_bytes()
    with parse_image_name(f"oci:{layout}:x").new_image_source() as source:
        assert source.get_manifest()[0] == original
        blob.write_bytes(original.replace(b"2", b"3", 1))
        for wanted in (None, Digest(instance["digest"])):
            with pytest.raises(DigestMismatchError, match="manifest of oci:"):
                source.get_manifest(wanted)
        blob.write_bytes(original + b" ")
        with pytest.raises(SizeMismatchError):
            source.get_manifest()
        blob.write_bytes(b" " * ((4 << 20) + 1))
        with pytest.raises(LimitExceededError):
            source.get_manifest()


def test_a_manifest_within_the_index(tmp_path: Path) -> None:
    """A manifest that index.json has in it is used, once it is verified."""
    store = Store()
    image = store.image()
    data = store.blobs.pop(image["digest"])
    good = image | {"data": base64.b64encode(data).decode()}
    layout = store.layout(tmp_path / "l", {"x": good, "y": good | {"digest": digest_of(b"y")}})
    with parse_image_name(f"oci:{layout}:x").new_image_source() as source:
        assert source.get_manifest() == (data, OCI_MANIFEST)
    with parse_image_name(f"oci:{layout}:y").new_image_source() as source, pytest.raises(DigestMismatchError):
        source.get_manifest()


def test_blobs(tmp_path: Path) -> None:
    """A blob comes as a stream with its size; one that is missing is an error that names it."""
    store = Store()
    blob = store.blob("x", b"content")
    layout = store.layout(tmp_path / "l", {"x": store.image()})
    with parse_image_name(f"oci:{layout}:x").new_image_source() as source:
        assert get(source, blob["digest"]) == b"content"
        with pytest.raises(BlobNotFoundError, match=digest_of(b"none").partition(":")[2]):
            get(source, digest_of(b"none"))
        with pytest.raises(LayoutError, match="none was given"):
            source.get_blob(BlobInfo())


def test_blobs_that_are_there_are_reused(tmp_path: Path) -> None:
    """A blob of the right size is there already; a truncated one is not, and is replaced."""
    store = Store()
    image = store.image()
    layer = json.loads(store.blobs[image["digest"]])["layers"][0]
    layout = store.layout(tmp_path / "l", {"x": image})
    with parse_image_name(f"oci:{layout}:y").new_image_destination() as destination:
        assert destination.try_reusing_blob(info_of(layer)) == info_of(layer)
        unknown = destination.try_reusing_blob(BlobInfo(digest=Digest(layer["digest"])))
        assert unknown is not None
        assert unknown.size == layer["size"]
        assert destination.try_reusing_blob(BlobInfo()) is None
        assert destination.try_reusing_blob(BlobInfo(digest=Digest(digest_of(b"none")))) is None
        path = layout / "blobs" / "sha256" / layer["digest"].partition(":")[2]
        path.write_bytes(path.read_bytes()[:-1])
        assert destination.try_reusing_blob(info_of(layer)) is None
        put(destination, store.blobs[layer["digest"]])
    assert check_layout(layout)


def test_what_a_destination_refuses(tmp_path: Path) -> None:
    """Manifests of other types, of other digests and without end are refused, and so is committing none."""
    store = Store()
    docker, image = store.image(docker=True), store.image()
    with parse_image_name(f"oci:{tmp_path}/l:x").new_image_destination() as destination:
        assert destination.supported_manifest_mime_types == (OCI_MANIFEST, OCI_INDEX)
        assert (destination.has_thread_safe_put_blob, destination.must_match_runtime_os) == (True, False)
        assert destination.accepts_foreign_layer_urls
        with pytest.raises(ManifestTypeRejectedError, match="docker"):
            destination.put_manifest(store.blobs[docker["digest"]])
        with pytest.raises(DigestMismatchError):
            destination.put_manifest(store.blobs[image["digest"]], Digest(docker["digest"]))
        with pytest.raises(LimitExceededError):
            destination.put_manifest(b" " * ((4 << 20) + 1))
        with pytest.raises(LayoutError, match="no manifest was put"):
            destination.commit()
    assert names_in(tmp_path / "l") == []


def test_nothing_is_visible_before_commit(tmp_path: Path) -> None:
    """The image appears with commit; the one that had its name stays there without."""
    store = Store()
    old = store.image({"old": b""})
    new = store.image({"new": b""})
    layout = store.layout(tmp_path / "l", {"x": old})
    with parse_image_name(f"oci:{layout}:x").new_image_destination() as destination:
        destination.put_manifest(store.blobs[new["digest"]])
        assert manifest_at(layout, "x") == old["digest"]
        destination.commit()
    assert manifest_at(layout, "x") == new["digest"]
    assert sorted(names_in(layout)) == ["", "x"]


def test_shared_blobs(tmp_path: Path) -> None:
    """With a directory for blobs the layout holds the index only, and skopeo reads both."""
    store = Store()
    image = store.image()
    store.layout(tmp_path / "in", {"x": image})
    with_shared = SystemContext(oci_shared_blob_dir_path=str(tmp_path / "shared"))
    (tmp_path / "in" / "blobs").rename(tmp_path / "shared")
    (tmp_path / "in" / "blobs").mkdir()
    assert move(f"oci:{tmp_path}/in:x", f"oci:{tmp_path}/out:y", with_shared) == image["digest"]
    assert list((tmp_path / "out" / "blobs").iterdir()) == []
    command = ["skopeo", "copy", "-q", "--src-shared-blob-dir", str(tmp_path / "shared")]
    subprocess.run([*command, f"oci:{tmp_path}/out:y", f"oci:{tmp_path}/theirs:z"], check=True)
    assert manifest_at(tmp_path / "theirs", "z") == image["digest"]
