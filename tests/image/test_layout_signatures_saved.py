"""Layouts as `cosign save` writes them: bundles among the blobs that index.json does not list are found, and kept."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from builders import OCI_MANIFEST, Store, pack
from kept_signatures import bundled, entries, marked, relist, signatures

from ocikit.image import Policy, copy, delete, layout
from ocikit.image.stored_signature import BUNDLE

if TYPE_CHECKING:
    from pathlib import Path

ANY = Policy.insecure_accept_anything()


def _saved_with_bundles(place: Path) -> tuple[Path, str]:
    """Make what cosign 3 saves of an image with a bundle; return the layout and the digest of the image."""
    store = Store()
    image, other = store.image(), store.image({"other": b""})
    for one, mark in ((image, "ours"), (other, "another's")):
        text = json.loads(bundled(one["digest"], mark).partition(b"\n")[2])["payload"]
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": BUNDLE,
            "config": store.blob("application/vnd.oci.empty.v1+json", b"{}"),
            "layers": [store.blob(BUNDLE, base64.b64decode(text))],
            "subject": {key: one[key] for key in ("mediaType", "digest", "size")},
        }
        store.json(OCI_MANIFEST, document)
    at = store.layout(place, {})
    relist(at, marked(image, "image"))
    return at, image["digest"]


def test_bundles_that_nothing_lists(tmp_path: Path) -> None:
    """What cosign 3 saves of an image with bundles is an index.json without them: they are among the blobs."""
    at, digest = _saved_with_bundles(tmp_path / "l")
    archive = pack(at, tmp_path / "a.tar", compress="gzip")
    for name in (f"oci:{at}", f"oci-archive:{archive}"):
        assert signatures(name) == (bundled(digest, "ours"),)
    copy.image(ANY, dest=f"oci:{tmp_path}/kept:v1", src=f"oci:{at}")
    layout.gc(tmp_path / "kept")
    assert signatures(f"oci:{tmp_path}/kept:v1") == (bundled(digest, "ours"),)
    relist(at, {key: value for key, value in entries(at)[0].items() if key != "annotations"})
    assert signatures(f"oci:{at}") == ()


def test_nothing_loses_bundles_that_nothing_lists(tmp_path: Path) -> None:
    """They are no garbage as long as they are found, and are listed when their image gets a name."""
    at, digest = _saved_with_bundles(tmp_path / "l")
    assert len(layout.gc(at, dry_run=True).removed) == len(layout.gc(at).removed) > 0
    assert signatures(f"oci:{at}") == (bundled(digest, "ours"),)
    assert layout.fsck(at).problems == ()
    layout.tag(at, "@0", "v1")
    assert signatures(f"oci:{at}:v1") == (bundled(digest, "ours"),)
    plain, there = tmp_path / "plain", tmp_path / "again"
    copy.image(ANY, dest=f"oci:{plain}:v1", src=f"oci:{at}:v1", options=copy.CopyOptions(remove_signatures=True))
    _saved_with_bundles(there)
    copy.image(ANY, dest=f"oci:{there}:v1", src=f"oci:{plain}:v1")
    layout.gc(there)
    assert signatures(f"oci:{there}:v1") == (bundled(digest, "ours"),)
    delete(f"oci:{there}:v1")
    assert layout.gc(there).kept == 0
