"""Signing with sigstore keys: what is signed, what goes along, and that others verify it."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest
from authorities import Authority, Certified, new_key

import ocikit
from ocikit.errors import SigningError
from ocikit.image.reference import parse_normalized_named
from ocikit.image.signature.payload import PayloadType, read_payload
from ocikit.image.signature.sigstore import PrivateKey, SigstoreSigner, generate_key_pair
from ocikit.image.signature.sigstore.annotations import CERTIFICATE, CHAIN, SIGNATURE
from ocikit.image.stored_signature import SIGSTORE_PAYLOAD, SigstoreSignature, parse_signature
from ocikit.spec import Digest

if TYPE_CHECKING:
    from pathlib import Path

    from ocikit.image.signature.signer import Signer

DIGEST = Digest.from_bytes(b"manifest")
NAME = parse_normalized_named("example.com/team/app:1.2")


def certified(key: PrivateKey) -> tuple[Certified, Authority, Authority]:
    """Return a certificate of a key, the authority that gave it, and the one above."""
    root = Authority.root()
    between = root.below()
    return between.issue("build", key=key._key, emails=["build@example.com"]), between, root


def test_what_is_signed(tmp_path: Path) -> None:
    """The payload names manifest, image, program and time; the signature over these bytes is an annotation."""
    pair = generate_key_pair("p")
    (tmp_path / "key").write_bytes(pair.private_pem)
    signer: Signer = SigstoreSigner.from_private_key_file(tmp_path / "key", b"p")
    before = int(time.time())
    signature = signer.sign(DIGEST, NAME)
    assert isinstance(signature, SigstoreSignature)
    assert signature.media_type == SIGSTORE_PAYLOAD
    assert set(signature.annotations) == {SIGNATURE}
    document = json.loads(signature.payload)
    assert document["critical"] == {
        "type": "cosign container image signature",
        "image": {"docker-manifest-digest": str(DIGEST)},
        "identity": {"docker-reference": "example.com/team/app:1.2"},
    }
    assert document["optional"].keys() == {"creator", "timestamp"}
    assert document["optional"]["creator"] == f"ocikit {ocikit.__version__}"
    assert before <= document["optional"]["timestamp"] <= time.time()
    for name, data in (
        ("pub", pair.public_pem),
        ("payload", signature.payload),
        ("sig", base64.b64decode(signature.annotations[SIGNATURE], validate=True)),
    ):
        (tmp_path / name).write_bytes(data)
    command = ["openssl", "dgst", "-sha256", "-verify", "pub", "-signature", "sig", "payload"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)


def test_signatures_are_stored_and_read_again() -> None:
    """What places keep is read as the same signature."""
    signature = SigstoreSigner(PrivateKey.generate("ed25519")).sign(DIGEST, NAME)
    assert parse_signature(signature.to_blob()) == signature
    assert read_payload(signature.payload, PayloadType.SIGSTORE).digest == DIGEST


@pytest.mark.parametrize("name", ["example.com/a:1", f"example.com/a@{DIGEST}", "docker.io/library/a:latest"])
def test_names_are_signed_in_full(name: str) -> None:
    """A tag or a digest is part of what is signed, and so is the registry."""
    signature = SigstoreSigner(PrivateKey.generate("ed25519")).sign(DIGEST, parse_normalized_named(name))
    assert read_payload(signature.payload, PayloadType.SIGSTORE).docker_reference == name


def test_names_without_tag_and_digest_are_not_signed() -> None:
    """Such a signature would hold for every version."""
    with pytest.raises(SigningError, match=r"example\.com/a: not signed, since it has neither a tag nor a digest"):
        SigstoreSigner(PrivateKey.generate("ed25519")).sign(DIGEST, parse_normalized_named("example.com/a"))


def test_certificates_go_along() -> None:
    """A certificate and its chain are annotations, byte for byte."""
    key = PrivateKey.generate()
    own, between, _ = certified(key)
    signer = SigstoreSigner(key, certificate_pem=own.text, chain_pem=between.text)
    annotations = signer.sign(DIGEST, NAME).annotations
    assert annotations[CERTIFICATE] == own.text
    assert annotations[CHAIN] == between.text


def test_certificates_that_nobody_would_accept() -> None:
    """A certificate of another key, none, two, one that is damaged, and a chain of nothing are refused at once."""
    key = PrivateKey.generate()
    own, between, root = certified(key)
    other = root.issue("other", key=new_key()).text
    for certificate, chain, match in (
        (other, None, r"the certificate is one of the key SHA256:\w+, and the key to sign with is SHA256:"),
        ("", None, r"the certificate of the key: expected PEM of a CERTIFICATE, found none"),
        (own.text * 2, None, r"the certificate of the key: expected one PEM block, found more"),
        (own.text[:-40], None, r"the certificate of the key: a PEM block is malformed"),
        ("\ud800", None, r"the certificate of the key: 1 bytes are in no PEM block"),
        (own.text, between.text[:-40], r"the chain of the certificate: a PEM block is malformed"),
        (own.text, between.text * 17, r"PEM blocks in the chain of the certificate: limit 16"),
        (None, between.text, r"there is a chain of certificates, and no certificate"),
    ):
        with pytest.raises(SigningError, match=match):
            SigstoreSigner(key, certificate_pem=certificate, chain_pem=chain)


def test_nothing_shows_more_than_the_public_key() -> None:
    """What is shown of a signer is the fingerprint of its key."""
    signer = SigstoreSigner(PrivateKey.generate())
    assert signer.description == f"sigstore key {signer.public_key}"
    assert repr(signer) == f"SigstoreSigner(sigstore key SHA256:{signer.public_key.fingerprint})"


def test_one_signer_for_many_threads() -> None:
    """Several threads sign with one key, and each signature verifies."""
    signer = SigstoreSigner(PrivateKey.generate())
    made: list[SigstoreSignature] = []
    threads = [threading.Thread(target=lambda: made.append(signer.sign(DIGEST, NAME))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    for one in made:
        signer.public_key.verify(base64.b64decode(one.annotations[SIGNATURE]), one.payload)
