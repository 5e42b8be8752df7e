"""What keeps signatures, and what leaves them behind: edits of indexes, referrers, many attestations, messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from builders import Store
from kept_signatures import an_image, bundled, cosigned, one_of_each, openpgp, sign, signatures

from ocikit.errors import AmbiguousImageError, ImageNotFoundError, LimitExceededError
from ocikit.image import Policy, copy, index, parse_image_name, referrers
from ocikit.image.copy import CopyOptions, ImageListSelection
from ocikit.image.stored_signature import BUNDLE
from ocikit.spec import Digest

if TYPE_CHECKING:
    from pathlib import Path

ANY = Policy.insecure_accept_anything()
PROVENANCE = "https://slsa.dev/provenance/v1"
LINUX = {"os": "linux"}


def _an_index(place: Path) -> tuple[str, str, str]:
    """Write an index with two images, of which it and the first are signed; return its name, and their digests."""
    store = Store()
    first, second = store.image({"1": b""}), store.image({"2": b""})
    both = store.index(
        first | {"platform": {**LINUX, "architecture": "amd64"}},
        second | {"platform": {**LINUX, "architecture": "arm64"}},
    )
    name = f"oci:{store.layout(place, {'v1': both})}:v1"
    sign(name, *one_of_each(both["digest"]))
    sign(name, *one_of_each(first["digest"]), instance=first["digest"])
    return name, both["digest"], first["digest"]


def test_an_index_that_stays_the_same(tmp_path: Path) -> None:
    """An edit that changes nothing brings the signatures of the index along; a new index has none."""
    name, digest, first = _an_index(tmp_path / "l")
    done = index.edit(ANY, src=name, dest=f"oci:{tmp_path}/same:v1")
    assert done.digest == digest
    assert set(signatures(f"oci:{tmp_path}/same:v1")) == set(one_of_each(digest))
    other = index.edit(
        ANY, src=name, dest=f"oci:{tmp_path}/other:v1", change=lambda one: index.annotate(one, {"a": "b"})
    )
    assert other.digest != digest
    assert signatures(f"oci:{tmp_path}/other:v1") == ()
    for place in ("same", "other"):
        assert set(signatures(f"oci:{tmp_path}/{place}:v1", first)) == set(one_of_each(first))


def test_attestations_do_not_count(tmp_path: Path) -> None:
    """However many bundles state something else of an image, it can be signed, and copied with all of them."""
    name, digest = an_image(tmp_path / "l")
    for number in range(2):
        sign(name, *(bundled(digest, f"{number} {mark}", PROVENANCE) for mark in range(70)))
    sign(name, *one_of_each(digest))
    for dest in (f"oci:{tmp_path}/m:v1", f"oci-archive:{tmp_path}/a.tar:v1"):
        copy.image(ANY, dest=dest, src=name, options=CopyOptions(referrers=True))
        assert set(signatures(dest)) == set(one_of_each(digest))
        assert len(referrers(dest, BUNDLE)) == 141
    sign(name, *(openpgp(f"more {mark}") for mark in range(125)))
    with pytest.raises(LimitExceededError, match="128"):
        sign(name, openpgp("one too many"))


@pytest.mark.parametrize(
    ("options", "of_index", "of_image", "others"),
    [
        (CopyOptions(referrers=True, image_list_selection=ImageListSelection.ALL), 3, 3, 2),
        (
            CopyOptions(referrers=True, remove_list_signatures=True, image_list_selection=ImageListSelection.ALL),
            0,
            3,
            2,
        ),
        (CopyOptions(referrers=True, remove_signatures=True, image_list_selection=ImageListSelection.ALL), 0, 0, 2),
        (
            CopyOptions(referrers=(BUNDLE,), remove_signatures=True, image_list_selection=ImageListSelection.ALL),
            1,
            1,
            2,
        ),
    ],
)
def test_left_behind_in_every_form(
    tmp_path: Path, options: CopyOptions, of_index: int, of_image: int, others: int
) -> None:
    """Signatures that are left behind do not come along as referrers, unless their type is named; others do."""
    name, digest, first = _an_index(tmp_path / "l")
    sign(name, bundled(digest, predicate=PROVENANCE))
    sign(name, bundled(first, predicate=PROVENANCE), instance=first)
    dest = f"oci:{tmp_path}/m:v1"
    planned = copy.plan(ANY, dest=dest, src=name, options=options)
    assert copy.image(ANY, dest=dest, src=name, options=options).referrers == planned.referrers
    assert (len(signatures(dest)), len(signatures(dest, first))) == (of_index, of_image)
    with parse_image_name(dest).new_image_source() as source:
        bundles = [one for about in (digest, first) for one in source.get_referrers(Digest(about))]
    stated = [one for one in bundles if one.annotations.get("dev.sigstore.bundle.predicateType") == PROVENANCE]
    assert len(stated) == others


def test_messages_name_images(tmp_path: Path) -> None:
    """Who names no image, or none that is there, is told of images, and not of their signatures."""
    store = Store()
    images = {"a": store.image({"a": b""}), "b": store.image({"b": b""})}
    at = store.layout(tmp_path / "l", images)
    sign(f"oci:{at}:a", *one_of_each(images["a"]["digest"]), cosigned(images["a"]["digest"], "another"))
    with pytest.raises(AmbiguousImageError, match=r"there are 2 images in it.*names are 'a', 'b'$"):
        signatures(f"oci:{at}")
    with pytest.raises(ImageNotFoundError, match=r"names are 'a', 'b'$"):
        signatures(f"oci:{at}:c")
