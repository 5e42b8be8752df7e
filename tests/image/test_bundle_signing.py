"""Images signed with a key by way of bundles, attached, found again and verified."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from authorities import Log, new_key, public_pem
from bundle_logs import COSIGN, DIGEST, Signer, pae

from ocikit.errors import InvalidSignatureError
from ocikit.image.bundle_manifest import bundle_manifest, bundle_of
from ocikit.image.reference import parse_normalized_named
from ocikit.image.signature.sigstore.bundle import verify_bundle
from ocikit.image.signature.sigstore.bundle_signing import SigstoreBundleSigner
from ocikit.image.signature.sigstore.members import decode_base64
from ocikit.image.signature.sigstore.trust import Trust
from ocikit.image.stored_signature import BUNDLE, SigstoreSignature, parse_signature
from ocikit.spec import Descriptor, Digest, Manifest, mediatypes

if TYPE_CHECKING:
    from ocikit.image.signature.signer import Signer as AnySigner

NAME = parse_normalized_named("example.com/a/b:1")
KEY = Signer(key=new_key())


def signed() -> SigstoreSignature:
    """Sign a manifest."""
    signer: AnySigner = SigstoreBundleSigner(KEY)
    signature = signer.sign(DIGEST, NAME)
    assert isinstance(signature, SigstoreSignature)
    return signature


def test_what_is_signed_is_verified_wherever_it_was() -> None:
    """A bundle is verified after it was stored as a blob, and after it was attached to an image."""
    signature = signed()
    stored = parse_signature(signature.to_blob())
    assert stored == signature
    subject = Descriptor.from_content(mediatypes.IMAGE_MANIFEST, b"x")
    manifest, blobs = bundle_manifest(signature, subject)
    by_digest = {Digest.from_bytes(one): one for one in blobs}
    attached = bundle_of(manifest, lambda descriptor: by_digest[descriptor.digest])
    assert Manifest.from_json(manifest).annotations["dev.sigstore.bundle.predicateType"] == COSIGN
    for one in (signature, stored, attached):
        assert isinstance(one, SigstoreSignature)
        signatory, claim = verify_bundle(one.payload, Trust(keys=(KEY.public_key,)))
        assert signatory.key == KEY.public_key
        assert claim.docker_references_of(DIGEST) == ("example.com/a/b:1",)


def test_it_is_what_cosign_writes() -> None:
    """Members, types and the hint of the key are those of cosign 3 for a key without a log."""
    bundle = json.loads(signed().payload)
    hint = decode_base64(bundle["verificationMaterial"]["publicKey"]["hint"])
    assert hint is not None
    assert hint.hex() == KEY.public_key.fingerprint
    envelope = bundle["dsseEnvelope"]
    assert (bundle["mediaType"], envelope["payloadType"]) == (BUNDLE, "application/vnd.in-toto+json")
    payload = decode_base64(envelope["payload"])
    assert payload is not None
    assert json.loads(payload) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "example.com/a/b:1", "digest": {"sha256": DIGEST.hex}}],
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "predicate": {},
    }


def test_openssl_verifies_the_signature(tmp_path: Path) -> None:
    """Another implementation of ECDSA agrees on what is signed, and by which key."""
    envelope = json.loads(signed().payload)["dsseEnvelope"]
    payload, signature = decode_base64(envelope["payload"]), decode_base64(envelope["signatures"][0]["sig"])
    assert payload is not None
    assert signature is not None
    for name, data in (("key.pem", public_pem(KEY.key)), ("signature", signature), ("data", pae(payload))):
        (tmp_path / name).write_bytes(data)
    command = ["openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "signature", "data"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout == b"Verified OK\n"


def test_the_page_about_bundles_runs() -> None:
    """What the page shows signs a manifest and verifies that."""
    page = Path(__file__).parents[2] / "docs/bundles.md"
    (block,) = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    shown: dict[str, Any] = {}
    exec(compile(block, str(page), "exec", dont_inherit=True), shown)  # noqa: S102 - our own page
    found = shown["verify"](shown["sign"](KEY, DIGEST), public_pem(KEY.key), DIGEST)
    assert found == (KEY.public_key, ("example.com/app:1",))


def test_nothing_of_the_key_is_shown() -> None:
    """What is shown of a signer and a signature is the public key, and no content."""
    signer = SigstoreBundleSigner(KEY)
    assert signer.description == f"sigstore key SHA256:{KEY.public_key.fingerprint}"
    assert repr(signer) == f"SigstoreBundleSigner(SHA256:{KEY.public_key.fingerprint})"
    assert "payload" not in repr(signed())


def test_who_asks_for_a_log_gets_no_bundle_without_one() -> None:
    """A bundle that was made without a log satisfies no policy that names one."""
    trust = Trust(keys=(KEY.public_key,), log_keys=(Log().public_key,))
    with pytest.raises(InvalidSignatureError, match="no entry of a transparency log"):
        verify_bundle(signed().payload, trust)
