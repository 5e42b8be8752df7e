"""Copies that take along what refers to an image, and those that cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from builders import DOCKER_MANIFEST, Store, check_layout
from test_referrers import EMPTY, SBOM, SIGNATURE, attach, digests, refer

from ocikit.errors import DigestChangeError, NotSupportedError
from ocikit.image import Policy, SystemContext, copy

if TYPE_CHECKING:
    from pathlib import Path

    from builders import Descriptor

ANY = Policy.insecure_accept_anything()
WITH = copy.CopyOptions(referrers=True)
ZSTD = SystemContext(compression_format="zstd")


@pytest.fixture
def attested(tmp_path: Path) -> tuple[Path, dict[str, Descriptor]]:
    """Return a layout with an image named x, an SBOM about it, a signature of that, and a signature of the image."""
    store = Store()
    parts = {"image": store.image(platform=False)}
    layout = store.layout(tmp_path / "in", {"x": parts["image"]})
    parts["sbom"] = refer(store, parts["image"])
    parts["of sbom"] = refer(store, parts["sbom"], SIGNATURE, content=b"of the sbom")
    parts["signature"] = refer(store, parts["image"], SIGNATURE, content=b"of the image")
    attach(store, f"oci:{layout}:x", parts["sbom"], parts["of sbom"], parts["signature"])
    return layout, parts


@pytest.mark.parametrize("dest", ["oci", "oci-archive", "dir"])
def test_referrers_go_along(attested: tuple[Path, dict[str, Descriptor]], tmp_path: Path, dest: str) -> None:
    """On request all of them do, with their blobs, and a copy of the copy has them too; without, none does."""
    layout, parts = attested
    name = "" if dest == "dir" else ":x"
    place = f"{dest}:{tmp_path}/out{name}"
    result = copy.image(ANY, dest=place, src=f"oci:{layout}:x", options=WITH)
    assert set(result.referrers) == {parts[one]["digest"] for one in ("sbom", "of sbom", "signature")}
    assert set(digests(place)) == {parts["sbom"]["digest"], parts["signature"]["digest"]}
    assert digests(place, digest=parts["sbom"]["digest"]) == [parts["of sbom"]["digest"]]
    copy.image(ANY, dest=f"oci:{tmp_path}/again:x", src=place, options=WITH)
    assert {one["digest"] for one in parts.values()} <= check_layout(tmp_path / "again")
    copy.image(ANY, dest=f"oci:{tmp_path}/bare:x", src=place)
    assert digests(f"oci:{tmp_path}/bare:x") == []


def test_types_of_referrers(attested: tuple[Path, dict[str, Descriptor]], tmp_path: Path) -> None:
    """Of some types only those go along that are of them, with what refers to them; a plan says which."""
    layout, parts = attested
    options = copy.CopyOptions(referrers=(SBOM,))
    planned = copy.plan(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x", options=options)
    result = copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x", options=options)
    assert set(result.referrers) == set(planned.referrers) == {parts["sbom"]["digest"], parts["of sbom"]["digest"]}
    assert len(planned.blobs) == len(result.blobs)
    assert {blob.media_type for blob in result.blobs} >= {EMPTY, "text/plain"}
    none = copy.CopyOptions(referrers=("application/vnd.example.other",))
    assert copy.image(ANY, dest=f"oci:{tmp_path}/none:x", src=f"oci:{layout}:x", options=none).referrers == ()


def test_instances_have_referrers_too(tmp_path: Path) -> None:
    """Of a whole index, what refers to one of its images goes along as what refers to the index."""
    store = Store()
    first, second = store.image({"a": b"1"}), store.image({"a": b"2"}, architecture="arm64")
    index = store.index(first, second)
    layout = store.layout(tmp_path / "in", {"x": index})
    about = [refer(store, one, content=one["digest"].encode()) for one in (first, index)]
    attach(store, f"oci:{layout}:x", *about)
    options = copy.CopyOptions(referrers=True, image_list_selection=copy.ImageListSelection.ALL)
    result = copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x", options=options)
    assert set(result.referrers) == {one["digest"] for one in about}
    assert result.digest in check_layout(tmp_path / "out")


def test_referrers_hold_for_a_digest(attested: tuple[Path, dict[str, Descriptor]], tmp_path: Path) -> None:
    """An image that changes cannot keep them: that is said, and nothing is copied."""
    layout, _ = attested
    options = copy.CopyOptions(referrers=True, destination_ctx=ZSTD)
    with pytest.raises(DigestChangeError, match=r"compressed by zstd.*2 manifests refer to it|3 manifests refer to it"):
        copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x", options=options)
    assert not (tmp_path / "out").exists()
    without = copy.CopyOptions(destination_ctx=ZSTD)
    copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x", options=without)


def test_places_without_referrers(tmp_path: Path) -> None:
    """A place that keeps none is an error when there are some, and none when there are none."""
    store = Store()
    image = store.image(docker=True, platform=False)
    directory = store.directory(tmp_path / "in", image)
    copy.image(ANY, dest=f"docker-archive:{tmp_path}/none.tar:example.com/x:1", src=f"dir:{directory}", options=WITH)
    about = refer(store, {**image, "mediaType": DOCKER_MANIFEST})
    attach(store, f"dir:{directory}", about)
    with pytest.raises((NotSupportedError, DigestChangeError), match=r"referrers|refer to an image"):
        copy.image(ANY, dest=f"docker-archive:{tmp_path}/x.tar:example.com/x:1", src=f"dir:{directory}", options=WITH)
