"""An image in a ``dir`` directory, and everybody who could sign it, right but for one thing.

Everything is made at run time. What a test changes, it changes before or after it is signed, as an adversary would.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest
from authorities import NOW, Authority, Certified, Log, new_key, public_pem
from builders import Store
from bundle_logs import Signer, make_bundle, packed, statement
from openpgp_maker import Key, certificate, message

from ocikit.errors import PolicyRequirementError
from ocikit.image import Policy, verify
from ocikit.image.signature import ExactRepository, Fulcio, Pki, PrivateKey, SignedBy, SigstoreSigned
from ocikit.image.stored_signature import BUNDLE, SIGSTORE_PAYLOAD, SigstoreSignature
from ocikit.spec import Digest

if TYPE_CHECKING:
    from pathlib import Path

    from ocikit.image import Verification

TODAY = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)

SIMPLE_TYPE = "atomic container signature"
SIGSTORE_TYPE = "cosign container image signature"
REPOSITORY = "registry.example.com/team/app"
NAME = f"{REPOSITORY}:1"
EMAIL, PROVIDER, HOST = "signer@example.com", "https://id.example.com", "build.example.com"
CALLED = ExactRepository(docker_repository=REPOSITORY)

SIGNATURE = "dev.cosignproject.cosign/signature"
PROMISE = "dev.sigstore.cosign/bundle"
CERTIFICATE = "dev.sigstore.cosign/certificate"
CHAIN = "dev.sigstore.cosign/chain"


def document(digest: str, **changed: Any) -> dict[str, Any]:
    """Return what a signature says; ``changed`` takes the place of members, also of those within ``critical``."""
    critical = {
        "identity": {"docker-reference": changed.pop("name", NAME)},
        "image": {"docker-manifest-digest": digest},
        "type": changed.pop("type", SIGSTORE_TYPE),
    }
    critical |= changed.pop("critical", {})
    return {"critical": critical, "optional": None, **changed}


class Scene:
    """The image, and everybody who could sign it.

    Args:
        directory: Where to make it.
    """

    def __init__(self, directory: Path) -> None:
        store = Store()
        self.path = store.directory(directory / "image", store.image(platform=False))
        self.digest = str(Digest.from_bytes((self.path / "manifest.json").read_bytes()))

    # Who signs.

    @cached_property
    def raw_key(self) -> Any:
        """The key of sigstore that is trusted, as those who make bundles and logs want it."""
        return new_key()

    @cached_property
    def key(self) -> PrivateKey:
        """The key of sigstore that is trusted."""
        return PrivateKey(self.raw_key)

    @cached_property
    def log(self) -> Log:
        """The transparency log that is trusted."""
        return Log()

    @cached_property
    def fulcio(self) -> Authority:
        """The authority for short-lived certificates that is trusted."""
        return Authority.root("fulcio")

    @cached_property
    def pki(self) -> Authority:
        """The authority of one's own that is trusted."""
        return Authority.root("own", begins=TODAY - DAY, ends=TODAY + DAY)

    @cached_property
    def openpgp(self) -> Key:
        """The key of OpenPGP that is trusted."""
        return Key()

    # What is asked.

    def by_key(self, **options: Any) -> SigstoreSigned:
        """Ask for a signature by the key."""
        return SigstoreSigned(key_data=self.key.public_key.pem, signed_identity=CALLED, **options)

    def by_logged_key(self) -> SigstoreSigned:
        """Ask for one by the key that the log took in."""
        return self.by_key(rekor_public_key_data=public_pem(self.log.key))

    def by_fulcio(self) -> SigstoreSigned:
        """Ask for one by whoever the authority gave a certificate for the mail address."""
        fulcio = Fulcio(ca_data=self.fulcio.pem, oidc_issuer=PROVIDER, subject_email=EMAIL)
        return SigstoreSigned(fulcio=fulcio, rekor_public_key_data=public_pem(self.log.key), signed_identity=CALLED)

    def by_pki(self, **wanted: Any) -> SigstoreSigned:
        """Ask for one by whoever the authority of one's own gave a certificate."""
        pki = Pki(ca_roots_data=self.pki.pem, **(wanted or {"subject_email": EMAIL}))
        return SigstoreSigned(pki=pki, signed_identity=CALLED)

    def by_openpgp(self, keyring: bytes | None = None) -> SignedBy:
        """Ask for a simple signature."""
        return SignedBy(key_data=certificate(self.openpgp) if keyring is None else keyring, signed_identity=CALLED)

    # What is made.

    def payload(self, **changed: Any) -> bytes:
        """Return what sigstore signs."""
        return json.dumps(document(self.digest, **changed)).encode()

    def sigstore(self, payload: bytes | None = None, *, key: Any = None, signed: bytes | None = None) -> bytes:
        """Make a signature by a key, over ``signed`` where that is another thing than the payload."""
        payload = self.payload() if payload is None else payload
        made = (key or self.key).sign(payload if signed is None else signed)
        return annotated(payload, made, {})

    def promised(self, promise: str) -> bytes:
        """Make a signature with any promise of a log."""
        return annotated(self.payload(), self.key.sign(self.payload()), {PROMISE: promise})

    def logged(self, *, log: Log | None = None, other: dict[str, bytes] | None = None, **promised: Any) -> bytes:
        """Make a signature that a log took in; ``other`` is what the entry says in place of what is there."""
        payload = self.payload()
        made = self.key.sign(payload)
        entry = {"verifier_pem": self.key.public_key.pem, "signature": made, "payload": payload, **(other or {})}
        promise = (log or self.log).bundle(Log.hashedrekord(**entry), **promised)
        return annotated(payload, made, {PROMISE: promise})

    def certified(self, certified: Certified, *, chain: str | None = None, **promised: Any) -> bytes:
        """Make a signature by a certificate of Fulcio, logged."""
        payload = self.payload()
        made = certified.sign(payload)
        body = Log.hashedrekord(certified.pem, made, payload)
        annotations = {CERTIFICATE: certified.text, PROMISE: self.log.bundle(body, **{"at": NOW, **promised})}
        return annotated(payload, made, annotations | ({CHAIN: chain} if chain else {}))

    def owned(self, **options: Any) -> Certified:
        """Make a certificate of the authority of one's own, good today."""
        return self.pki.issue(**{"emails": [EMAIL], "begins": TODAY - DAY, "ends": TODAY + DAY, **options})

    def given(self, **options: Any) -> Certified:
        """Make a short-lived certificate."""
        return self.fulcio.issue(**{"emails": [EMAIL], "identity_provider": PROVIDER, **options})

    def by_certificate(self, certified: Certified, *, chain: str | None = None) -> bytes:
        """Make a signature by a certificate that no log knows of."""
        payload = self.payload()
        return annotated(
            payload, certified.sign(payload), {CERTIFICATE: certified.text} | ({CHAIN: chain} if chain else {})
        )

    def simple(self, *, key: Key | None = None, document_of: dict[str, Any] | None = None, **options: Any) -> bytes:
        """Make a simple signature."""
        content = self.simple_document() if document_of is None else document_of
        return message(key or self.openpgp, json.dumps(content).encode(), **options)

    def simple_document(self, **changed: Any) -> dict[str, Any]:
        """Return what a simple signature says."""
        return document(self.digest, **{"type": SIMPLE_TYPE, "optional": {}, **changed})

    def bundle(self, *, name: str | None = NAME, digest: str | None = None, **options: Any) -> bytes:
        """Make a bundle by the key, or another signer."""
        signer = options.pop("signer", Signer(key=self.raw_key))
        content = options.pop("payload", statement(Digest(digest or self.digest), name=name))
        bundle = packed(make_bundle(content, signer, **options))
        return SigstoreSignature(media_type=BUNDLE, payload=bundle).to_blob()

    # What comes of it.

    def verify(self, requirement: Any, *blobs: bytes, **options: Any) -> Verification:
        """Keep the signatures with the image, and hold it against a policy of one or several requirements."""
        for old in self.path.glob("signature-*"):
            old.unlink()
        for number, blob in enumerate(blobs, 1):
            (self.path / f"signature-{number}").write_bytes(blob)
        requirements = requirement if isinstance(requirement, list) else [requirement]
        return verify(f"dir:{self.path}", Policy(requirements=requirements), **options)

    def refusal(self, requirement: Any, *blobs: bytes) -> str:
        """Return why an image is refused; that it is, is what the tests are about."""
        with pytest.raises(PolicyRequirementError) as caught:
            self.verify(requirement, *blobs)
        assert all(failure in str(caught.value) for failure in caught.value.failures)
        return "; ".join(caught.value.failures)


def annotated(payload: bytes, made: bytes, annotations: dict[str, str]) -> bytes:
    """Put a signature together."""
    all_of_them = {SIGNATURE: base64.b64encode(made).decode(), **annotations}
    return SigstoreSignature(media_type=SIGSTORE_PAYLOAD, payload=payload, annotations=all_of_them).to_blob()
