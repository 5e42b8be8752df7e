"""Signatures go between layouts and registries as skopeo moves them there: by the tag that is named after the image."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from builders import Store, digest_of
from kept_signatures import cosigned, entries, sign, signatures
from registries import running_registry

from ocikit.errors import LimitExceededError, ManifestError
from ocikit.image.attachment_manifest import (
    attached_signatures,
    attachment_layers,
    attachment_of,
    attachment_subject,
    attachment_tag,
    make_attachment,
    signed_digest,
)
from ocikit.image.stored_signature import SigstoreSignature, parse_signature
from ocikit.spec import Descriptor, Digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_to_a_registry_and_back(peer: Callable[[str], str], tmp_path: Path) -> None:
    """What skopeo attaches is read from a layout, and what a layout keeps is read by skopeo from the registry."""
    store = Store()
    image = store.image(platform=False)
    tag = attachment_tag(Digest(image["digest"]))
    directory = store.directory(tmp_path / "in", image)
    (directory / "signature-1").write_bytes(cosigned(image["digest"]))
    (tmp_path / "registries.d").mkdir()
    (tmp_path / "registries.d" / "a.yaml").write_text("default-docker: {use-sigstore-attachments: true}")
    skopeo = [peer("skopeo"), "--insecure-policy", "--registries.d", str(tmp_path / "registries.d"), "copy", "-q"]
    skopeo += ["--src-tls-verify=false", "--dest-tls-verify=false"]

    def move(source: str, destination: str) -> None:
        subprocess.run([*skopeo, source, destination], check=True)

    with running_registry(peer("docker-registry"), tmp_path) as address:
        there = f"docker://{address}/app"
        move(f"dir:{directory}", f"{there}:1")
        subprocess.run([*skopeo, "--remove-signatures", f"{there}:1", f"oci:{tmp_path}/l:1"], check=True)
        move(f"{there}:{tag}", f"oci:{tmp_path}/l:{tag}")
        assert signatures(f"oci:{tmp_path}/l:1") == (cosigned(image["digest"]),)
        sign(f"oci:{tmp_path}/l:1", cosigned(image["digest"], "two"))
        assert len(entries(tmp_path / "l")) == 2
        move(f"oci:{tmp_path}/l:1", f"{there}:1")
        move(f"oci:{tmp_path}/l:{tag}", f"{there}:{tag}")
        move(f"{there}:1", f"dir:{tmp_path}/out")
    found = [parse_signature(path.read_bytes()) for path in (tmp_path / "out").glob("signature-*")]
    wanted = {cosigned(image["digest"]), cosigned(image["digest"], "two")}
    assert {one.to_blob() for one in found} == wanted


def test_tags() -> None:
    """A tag says what it is about, and nothing else does."""
    digest = Digest(digest_of(b"x"))
    tag = attachment_tag(digest)
    assert tag == f"sha256-{digest.hex}.sig"
    assert (attachment_of(tag), attachment_subject(tag)) == (digest, digest)
    att = tag.replace(".sig", ".att")
    assert (attachment_of(att), attachment_subject(att)) == (None, digest)
    for name in (
        "",
        tag[:-1],
        tag.upper(),
        f"x{tag}",
        f"sha256-{digest.hex[1:]}.sig",
        f"md5-{digest.hex}.sig",
        f"{tag}\n",
    ):
        assert attachment_subject(name) is None, name


def test_made_and_read() -> None:
    """What is attached is read again; the same twice is attached once, the same bytes give the same manifest."""
    one, two = (parse_signature(cosigned(digest_of(b"x"), mark)) for mark in ("1", "2"))
    assert isinstance(one, SigstoreSignature)
    assert isinstance(two, SigstoreSignature)
    made = make_attachment([one, one, two])
    assert made == make_attachment([one, two])
    blobs = {Digest.from_bytes(blob): blob for blob in made.blobs}

    def read(layer: Descriptor) -> bytes:
        return blobs[layer.digest]

    layers = attachment_layers(made.manifest)
    assert attached_signatures(layers, read) == (one, two)
    assert make_attachment([two, one], layers).manifest == made.manifest
    assert signed_digest(one.payload) == digest_of(b"x")
    with pytest.raises(LimitExceededError, match="limit 128"):
        make_attachment([SigstoreSignature(media_type="a/b", payload=b"%d" % number) for number in range(129)])
    with pytest.raises(ManifestError, match="list of manifests"):
        attachment_layers(b'{"schemaVersion":2,"manifests":[]}')


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"[]", b"{}", b'{"critical":[]}', b'{"critical":{"image":{"docker-manifest-digest":7}}}', b"[" * 500],
)
def test_payloads_that_name_nothing(payload: bytes) -> None:
    """A payload that names no manifest is nobody's."""
    assert signed_digest(payload) is None
