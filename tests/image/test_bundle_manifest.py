"""The manifest by which a sigstore bundle is attached to an image."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from attrs import evolve

from ocikit.errors import InvalidSignatureError, LimitExceededError, ManifestError, VerificationError
from ocikit.image.bundle_manifest import bundle_manifest, bundle_of, is_bundle_type, may_attach_bundle
from ocikit.image.stored_signature import BUNDLE, MAX_SIGNATURE_BYTES, SIGSTORE_PAYLOAD, SigstoreSignature
from ocikit.image.subject import describe_referrer
from ocikit.spec import Descriptor, Digest, Manifest, mediatypes

SUBJECT = evolve(
    Descriptor.from_content(mediatypes.IMAGE_MANIFEST, b"an image"), annotations={"a": "b"}, artifact_type="x/y"
)
STATEMENT = {"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://example.org/p", "subject": []}


def bundle(**members: object) -> SigstoreSignature:
    """Make something that looks like a bundle."""
    return SigstoreSignature(media_type=BUNDLE, payload=json.dumps({"mediaType": BUNDLE, **members}).encode())


def envelope(statement: object) -> dict[str, object]:
    """Make an envelope around a statement, which nobody signed."""
    return {"payload": base64.b64encode(json.dumps(statement).encode()).decode(), "signatures": []}


DSSE = bundle(dsseEnvelope=envelope(STATEMENT))


def read(manifest: bytes, found: tuple[bytes, ...]) -> SigstoreSignature:
    """Read a bundle back."""
    by_digest = {Digest.from_bytes(one): one for one in found}
    return bundle_of(manifest, lambda descriptor: by_digest[descriptor.digest])


def changed(**changes: object) -> bytes:
    """Make the manifest of a bundle with other members."""
    document = json.loads(bundle_manifest(DSSE, SUBJECT)[0])
    return json.dumps({**document, **changes}).encode()


def test_it_is_laid_out_as_cosign_does() -> None:
    """The manifest has the members that cosign's specification shows, and no time."""
    data, blobs = bundle_manifest(DSSE, SUBJECT)
    document = json.loads(data)
    assert document == {
        "schemaVersion": 2,
        "mediaType": mediatypes.IMAGE_MANIFEST,
        "artifactType": BUNDLE,
        "config": {"mediaType": mediatypes.EMPTY_JSON, "digest": Digest.from_bytes(b"{}"), "size": 2},
        "layers": [{"mediaType": BUNDLE, "digest": Digest.from_bytes(DSSE.payload), "size": len(DSSE.payload)}],
        "subject": {"mediaType": SUBJECT.media_type, "digest": SUBJECT.digest, "size": SUBJECT.size},
        "annotations": {
            "dev.sigstore.bundle.content": "dsse-envelope",
            "dev.sigstore.bundle.predicateType": "https://example.org/p",
        },
    }
    assert blobs == (b"{}", DSSE.payload)
    assert bundle_manifest(DSSE, SUBJECT) == (data, blobs)


def test_what_is_written_is_read_and_is_a_referrer() -> None:
    """A bundle comes back as it was, and lists of referrers show it under its type."""
    data, blobs = bundle_manifest(DSSE, SUBJECT)
    assert read(data, blobs) == DSSE
    found = describe_referrer(data, mediatypes.IMAGE_MANIFEST)
    assert found is not None
    assert (found[0], found[1].artifact_type) == (SUBJECT.digest, BUNDLE)


@pytest.mark.parametrize(
    ("signature", "annotations"),
    [
        (bundle(messageSignature={}), {"dev.sigstore.bundle.content": "message-signature"}),
        (bundle(dsseEnvelope={"payload": "!"}), {"dev.sigstore.bundle.content": "dsse-envelope"}),
        (bundle(dsseEnvelope={"payload": "é"}), {"dev.sigstore.bundle.content": "dsse-envelope"}),
        (bundle(dsseEnvelope=envelope([])), {"dev.sigstore.bundle.content": "dsse-envelope"}),
        (
            bundle(dsseEnvelope=envelope({"predicateType": "x" * 5000})),
            {"dev.sigstore.bundle.content": "dsse-envelope"},
        ),
        (bundle(dsseEnvelope=7), {}),
        (bundle(), {}),
        (evolve(DSSE, payload=b"no bundle"), {}),
        (evolve(DSSE, payload=b"[" * 5000), {}),
    ],
)
def test_what_makes_no_sense_is_carried(signature: SigstoreSignature, annotations: dict[str, str]) -> None:
    """A bundle that cannot be read is attached and read back: whether it proves anything is asked later."""
    data, blobs = bundle_manifest(signature, SUBJECT)
    assert Manifest.from_json(data).annotations == annotations
    assert read(data, blobs) == signature


def test_only_bundles_are_attached() -> None:
    """Signatures of another kind, and what is too large to be read again, are refused."""
    with pytest.raises(InvalidSignatureError, match="attached in another way"):
        bundle_manifest(evolve(DSSE, media_type=SIGSTORE_PAYLOAD), SUBJECT)
    with pytest.raises(LimitExceededError, match="bytes of a sigstore bundle"):
        bundle_manifest(evolve(DSSE, payload=b" " * (MAX_SIGNATURE_BYTES + 1)), SUBJECT)


@pytest.mark.parametrize(
    "media_type",
    [
        BUNDLE,
        "application/vnd.dev.sigstore.bundle+json;version=0.1",
        "application/vnd.dev.sigstore.bundle+json; version=0.3",
        "Application/vnd.dev.sigstore.bundle.v0.3+JSON",
    ],
)
def test_older_types_are_known(media_type: str) -> None:
    """Bundles of every version are found, and are of one type when they are read."""
    layer: dict[str, Any] = {
        "mediaType": media_type,
        "digest": Digest.from_bytes(DSSE.payload),
        "size": len(DSSE.payload),
    }
    assert is_bundle_type(media_type)
    assert read(changed(artifactType=media_type, layers=[layer]), (DSSE.payload,)) == DSSE


def test_lists_that_cosign_writes_lead_to_bundles() -> None:
    """In its lists cosign 3 states the type of the empty configuration; others say nothing, or the right thing."""
    listed = ("application/vnd.oci.empty.v1+json", "", BUNDLE, "text/plain")
    assert [may_attach_bundle(one) for one in listed] == [True, True, True, False]


def test_the_type_of_the_configuration_will_do() -> None:
    """A manifest without a type of artifact has that of its configuration (image specification, manifest.md)."""
    config = {"mediaType": BUNDLE, "digest": Digest.from_bytes(b"{}"), "size": 2}
    document = json.loads(changed(config=config))
    del document["artifactType"]
    assert read(json.dumps(document).encode(), (DSSE.payload,)) == DSSE


LAYER = {"mediaType": BUNDLE, "digest": Digest.from_bytes(DSSE.payload), "size": len(DSSE.payload)}
INDEX = json.dumps({"schemaVersion": 2, "mediaType": mediatypes.IMAGE_INDEX, "manifests": []}).encode()


@pytest.mark.parametrize(
    ("manifest", "error", "reason"),
    [
        (changed(artifactType="application/x"), ManifestError, "of the type 'application/x'"),
        (changed(artifactType="application/vnd.dev.sigstore.bundle.v0.3+json-patch"), ManifestError, "of the type"),
        (changed(layers=[]), ManifestError, "found 0"),
        (changed(layers=[LAYER, LAYER]), ManifestError, "found 2"),
        (changed(layers=[{**LAYER, "mediaType": "text/plain"}]), ManifestError, "layer of the artifact"),
        (changed(layers=[{**LAYER, "size": MAX_SIGNATURE_BYTES + 1}]), LimitExceededError, "sigstore bundle"),
        (changed(layers=[{**LAYER, "size": 5}]), VerificationError, "expected 5 bytes"),
        (INDEX, ManifestError, "found Index"),
        (b"{}", ManifestError, "not a manifest"),
        (b"\xff", ManifestError, "not UTF-8"),
        (b" " * (4 << 20) + b"{}", LimitExceededError, "manifest of a sigstore bundle"),
    ],
)  # fmt: skip
def test_other_manifests_are_refused(manifest: bytes, error: type[Exception], reason: str) -> None:
    """What does not attach one bundle is refused, with the reason."""
    with pytest.raises(error, match=reason):
        bundle_of(manifest, lambda _: DSSE.payload)


def test_another_blob_is_refused() -> None:
    """The blob must be the one that the manifest names."""
    data, _ = bundle_manifest(DSSE, SUBJECT)
    with pytest.raises(VerificationError, match="the sigstore bundle: expected digest"):
        bundle_of(data, lambda _: DSSE.payload[::-1])
