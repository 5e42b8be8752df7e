"""Signatures of several images in one layout, in whatever order images and signatures come, are copied and go."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builders import Store, check_layout
from hypothesis import given, settings
from hypothesis import strategies as st
from kept_signatures import bundled, cosigned, entries, openpgp, relist, sign, signatures

from ocikit.errors import OCIKitError
from ocikit.image import Policy, copy, delete, layout, list_images, parse_image_name

if TYPE_CHECKING:
    from collections.abc import Callable

ANY = Policy.insecure_accept_anything()
IMAGES, MARKS = range(3), ("x", "y")
KINDS: tuple[Callable[[str, str], bytes], ...] = (cosigned, bundled, lambda _, mark: openpgp(mark))

MOVES = st.one_of(
    st.tuples(
        st.just("sign"), st.sampled_from(IMAGES), st.sets(st.tuples(st.sampled_from(KINDS), st.sampled_from(MARKS)))
    ),
    st.tuples(st.just("delete"), st.sampled_from(IMAGES), st.none()),
    st.tuples(st.just("put"), st.sampled_from(IMAGES), st.none()),
    st.tuples(st.just("gc"), st.just(0), st.none()),
    st.tuples(st.just("archive"), st.sampled_from(IMAGES), st.none()),
    st.tuples(st.just("copy"), st.sampled_from(IMAGES), st.booleans()),
)


class Model:
    """A layout, and what must be in it."""

    def __init__(self, home: Path) -> None:
        self.home, self.store = home, Store()
        self.images = [self.store.image({"shared": b"s"}, {str(number): b""}) for number in IMAGES]
        self.source = self.store.layout(home / "source", {f"i{number}": one for number, one in enumerate(self.images)})
        self.names = {number: f"oci:{home}/l:i{number}" for number in IMAGES}
        self.there: dict[int, set[bytes]] = {}
        Store().layout(home / "l", {})

    def put(self, number: int) -> None:
        """Copy an image that is not signed; what is there of it keeps its signatures."""
        copy.image(ANY, dest=self.names[number], src=f"oci:{self.source}:i{number}")
        self.there.setdefault(number, set())

    def step(self, what: str, number: int, more: Any) -> None:
        """Do one thing to the layout and to what must be in it."""
        if what == "gc":
            layout.gc(self.home / "l")
        elif what == "put":
            self.put(number)
        elif number not in self.there:
            return
        elif what == "sign":
            blobs = {kind(self.images[number]["digest"], mark) for kind, mark in more}
            if blobs:
                sign(self.names[number], *blobs)
            self.there[number] |= blobs
        elif what == "delete":
            delete(self.names[number])
            del self.there[number]
        elif what == "archive":
            dest = f"oci-archive:{self.home}/a.tar"
            copy.image(ANY, dest=dest, src=self.names[number])
            assert set(signatures(dest)) == self.there[number]
            copy.image(ANY, dest=self.names[number], src=dest)
        else:
            dest = f"oci:{self.home}/other:i{number}"
            copy.image(ANY, dest=dest, src=self.names[number], options=copy.CopyOptions(referrers=more))
            assert set(signatures(dest)) >= self.there[number]

    def check(self) -> None:
        """Hold the layout against what must be in it."""
        at = self.home / "l"
        check_layout(at)
        assert {one.name for one in list_images(at)} == {f"i{number}" for number in self.there}
        for number, wanted in self.there.items():
            found = signatures(self.names[number])
            assert (set(found), len(found)) == (wanted, len(wanted))
        about = {one.get("artifactType") or one["annotations"].get("kind", "") for one in entries(at)}
        assert about or not self.there


@settings(max_examples=20, deadline=None)
@given(moves=st.lists(MOVES, max_size=10))
def test_any_order(moves: list[tuple[str, int, Any]]) -> None:
    """None is lost, doubled, or left behind by an image that goes."""
    with tempfile.TemporaryDirectory() as scratch:
        model = Model(Path(scratch))
        for number in IMAGES[:2]:
            model.put(number)
        for what, number, more in moves:
            model.step(what, number, more)
            model.check()
        for number in list(model.there):
            model.step("delete", number, None)
        assert entries(Path(scratch) / "l") == []
        layout.gc(Path(scratch) / "l")
        assert not [*(Path(scratch) / "l" / "blobs").glob("*/*")]


STORE = Store()
IMAGE = STORE.image()
TAG = f"{IMAGE['digest'].replace(':', '-')}.sig"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**40) | st.text(max_size=8) | st.sampled_from([TAG, IMAGE["digest"]]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = ("mediaType", "digest", "size", "annotations", "artifactType", "data", "layers", "config", "subject", "kind")


@settings(max_examples=50, deadline=None)
@given(
    manifest=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6),
    changes=st.dictionaries(st.sampled_from(KEYS[:6]), VALUES, max_size=2),
    payload=st.binary(max_size=30),
    kind=st.sampled_from(["sigs", "atts", "image", "none"]),
    name=st.sampled_from([TAG, None]),
)
def test_whatever_is_listed(
    manifest: dict[str, Any], changes: dict[str, Any], payload: bytes, kind: str, name: str | None
) -> None:
    """Whatever an entry and its manifest say, signatures are read or refused, and nothing else happens."""
    layer = STORE.blob("application/vnd.dev.cosign.simplesigning.v1+json", payload)
    media_type = "application/vnd.oci.image.manifest.v1+json"
    document = {"schemaVersion": 2, "mediaType": media_type, "config": layer, "layers": [layer]} | manifest
    notes = {"kind": f"dev.cosignproject.cosign/{kind}"} | ({"org.opencontainers.image.ref.name": name} if name else {})
    entry = STORE.json(media_type, document) | {"annotations": notes} | changes
    with tempfile.TemporaryDirectory() as scratch:
        at = STORE.layout(Path(scratch) / "l", {})
        relist(at, IMAGE | {"annotations": {"org.opencontainers.image.ref.name": "v1"}}, entry)
        before = (at / "index.json").read_bytes()
        try:
            with parse_image_name(f"oci:{at}:v1").new_image_source() as source:
                source.get_signatures()
        except OCIKitError:
            pass
        else:
            assert (at / "index.json").read_bytes() == before
            sign(f"oci:{at}:v1", openpgp())
        try:
            layout.fsck(at)
            delete(f"oci:{at}:v1")
        except OCIKitError:
            pass
