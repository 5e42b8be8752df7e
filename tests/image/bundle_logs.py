"""Sigstore bundles made at run time, as trees of JSON that a test changes at will, and logs of every kind around them.

bundle = make_bundle(statement(digest), signer, logs=[log])
bundle["verificationMaterial"]["tlogEntries"][0]["logIndex"] = "-1"
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen
from authorities import Log, compact, new_key, public_pem, sign
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ocikit.image.signature.sigstore.keys import PublicKey
from ocikit.image.stored_signature import BUNDLE
from ocikit.spec import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

STATEMENT = "https://in-toto.io/Statement/v1"
IN_TOTO = "application/vnd.in-toto+json"
COSIGN = "https://sigstore.dev/cosign/sign/v1"
MANIFEST = b'{"schemaVersion":2}'
DIGEST = Digest.from_bytes(MANIFEST)


@frozen(kw_only=True)
class Signer:
    """Who signs a bundle: a key, and perhaps certificates, DER, the signer's first."""

    key: Any
    certificates: tuple[bytes, ...] = ()

    @classmethod
    def new(cls) -> Signer:
        """Make one with a key and nothing else."""
        return cls(key=new_key())

    @classmethod
    def certified(cls, *certified: Any) -> Signer:
        """Make one of a certificate and those above it."""
        ders = tuple(one.certificate.public_bytes(Encoding.DER) for one in certified)
        return cls(key=certified[0].key, certificates=ders)

    @property
    def public_key(self) -> PublicKey:
        """The public key."""
        return PublicKey(self.key.public_key())

    @property
    def pem(self) -> bytes:
        """What a log keeps of it: the certificate or the key, PEM."""
        if not self.certificates:
            return public_pem(self.key)
        return x509.load_der_x509_certificate(self.certificates[0]).public_bytes(Encoding.PEM)

    def sign(self, data: bytes) -> bytes:
        """Sign some bytes; what ``SigningKey`` asks for."""
        return sign(self.key, data)


def b64(data: bytes) -> str:
    """Write base64."""
    return base64.b64encode(data).decode()


def statement(*digests: Digest, name: str | None = None, **members: Any) -> bytes:
    """Write a statement about manifests; members of None are left out."""
    named = {"name": name} if name is not None else {}
    subjects = [{**named, "digest": {one.algorithm: one.hex}} for one in digests or (DIGEST,)]
    document = {"_type": STATEMENT, "subject": subjects, "predicateType": COSIGN, "predicate": {}, **members}
    return json.dumps({key: value for key, value in document.items() if value is not None}).encode()


def pae(payload: bytes, payload_type: str = IN_TOTO) -> bytes:
    """Return what is signed of an envelope."""
    return b" ".join(
        [b"DSSEv1", str(len(payload_type)).encode(), payload_type.encode(), str(len(payload)).encode(), payload]
    )


@frozen(kw_only=True)
class Content:
    """What was signed, by whom, and the signature: what the entries of logs are made of."""

    signer: Signer
    data: bytes
    signature: bytes
    payload: bytes = b""
    payload_type: str = IN_TOTO

    @classmethod
    def of_envelope(cls, payload: bytes, signer: Signer, payload_type: str = IN_TOTO) -> Content:
        """Sign a payload in an envelope."""
        data = pae(payload, payload_type)
        return cls(signer=signer, data=data, signature=signer.sign(data), payload=payload, payload_type=payload_type)

    @classmethod
    def of_file(cls, message: bytes, signer: Signer) -> Content:
        """Sign bytes as they are."""
        return cls(signer=signer, data=message, signature=signer.sign(message))

    def to_json(self) -> dict[str, Any]:
        """Return the member of a bundle."""
        if self.payload:
            signatures = [{"sig": b64(self.signature)}]
            envelope = {"payload": b64(self.payload), "payloadType": self.payload_type, "signatures": signatures}
            return {"dsseEnvelope": envelope}
        digest = {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(self.data).digest())}
        return {"messageSignature": {"messageDigest": digest, "signature": b64(self.signature)}}


# ------------------------------------------------------------------------------------------------- what is in the logs


def dsse(content: Content) -> dict[str, Any]:
    """Return an entry of the kind ``dsse`` 0.0.1, to be changed at will."""
    return _entry("dsse", "0.0.1", {
        "envelopeHash": {"algorithm": "sha256", "value": "0" * 64},
        "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(content.payload).hexdigest()},
        "signatures": [{"signature": b64(content.signature), "verifier": b64(content.signer.pem)}],
    })  # fmt: skip


def hashedrekord(content: Content) -> dict[str, Any]:
    """Return one of the kind ``hashedrekord`` 0.0.1."""
    return _entry("hashedrekord", "0.0.1", {
        "data": {"hash": {"algorithm": "sha256", "value": hashlib.sha256(content.data).hexdigest()}},
        "signature": {"content": b64(content.signature), "publicKey": {"content": b64(content.signer.pem)}},
    })  # fmt: skip


def intoto(content: Content) -> dict[str, Any]:
    """Return one of the kind ``intoto`` 0.0.2."""
    signature = {"sig": b64(b64(content.signature).encode()), "publicKey": b64(content.signer.pem)}
    return _entry("intoto", "0.0.2", {"content": {
        "envelope": {"payloadType": content.payload_type, "signatures": [signature]},
        "hash": {"algorithm": "sha256", "value": "0" * 64},
        "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(content.payload).hexdigest()},
    }})  # fmt: skip


def hashedrekord_v2(content: Content) -> dict[str, Any]:
    """Return one of the kind ``hashedrekord`` 0.0.2."""
    digest = {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(content.data).digest())}
    return _entry("hashedrekord", "0.0.2", {"hashedRekordV002": {"data": digest, "signature": _signature_v2(content)}})


def dsse_v2(content: Content) -> dict[str, Any]:
    """Return one of the kind ``dsse`` 0.0.2."""
    digest = {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(content.payload).digest())}
    return _entry("dsse", "0.0.2", {"dsseV002": {"payloadHash": digest, "signatures": [_signature_v2(content)]}})


def _entry(kind: str, version: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "spec": spec}


def _signature_v2(content: Content) -> dict[str, Any]:
    signer = content.signer
    verifier: dict[str, Any] = {"publicKey": {"rawBytes": b64(signer.public_key.der)}}
    if signer.certificates:
        verifier = {"x509Certificate": {"rawBytes": b64(signer.certificates[0])}}
    return {"content": b64(content.signature), "verifier": {"keyDetails": "PKIX_ECDSA_P256_SHA_256", **verifier}}


# -------------------------------------------------------------------------------------------------------------- bundles


def note(key: Any, text: str, *, name: str = "log.example.com", hint: bytes | None = None) -> str:
    """Sign any text as a checkpoint (C2SP signed-note)."""
    public = key.public_key()
    if isinstance(key, Ed25519PrivateKey):
        raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        own = hashlib.sha256(name.encode() + b"\n\x01" + raw).digest()[:4]
    else:
        own = bytes.fromhex(PublicKey(public).fingerprint)[:4]
    return f"{text}\n\u2014 {name} {b64((hint or own) + sign(key, text.encode()))}\n"


def checkpoint_text(log: Log, *, origin: str | None = None, size: int | None = None, root: bytes | None = None) -> str:
    """Return what a log signs about its tree."""
    return f"{origin or log.origin}\n{size or len(log.leaves)}\n{b64(root or log.root_hash())}\n"


def log_entry(log: Log, body: dict[str, Any], *, index: int = 7, promise: bool = True) -> dict[str, Any]:
    """Take an entry into a log, and return what a bundle has of it: a proof, and perhaps a promise."""
    data = compact(body)
    number = log.add(data)
    log_id = bytes.fromhex(log.log_id)
    name = log.origin.partition(" - ")[0]
    if isinstance(log.key, Ed25519PrivateKey):
        raw = log.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        log_id = hashlib.sha256(name.encode() + b"\n\x01" + raw).digest()
    payload = log.payload(data, index=index)
    entry = {
        "logIndex": str(index),
        "logId": {"keyId": b64(log_id)},
        "kindVersion": {"kind": body["kind"], "version": body["apiVersion"]},
        "inclusionProof": {
            "logIndex": str(number),
            "rootHash": b64(log.root_hash()),
            "treeSize": str(len(log.leaves)),
            "hashes": [b64(one) for one in log.inclusion(number)],
            "checkpoint": {"envelope": note(log.key, checkpoint_text(log), name=name)},
        },
        "canonicalizedBody": b64(data),
    }
    if promise:
        entry["integratedTime"] = str(payload["integratedTime"])
        entry["inclusionPromise"] = {"signedEntryTimestamp": log.promise(payload)}
    return entry


def material(signer: Signer, *entries: dict[str, Any]) -> dict[str, Any]:
    """Return what proves a bundle."""
    found: dict[str, Any] = {"tlogEntries": [*entries]} if entries else {}
    if not signer.certificates:
        return {"publicKey": {"hint": b64(bytes.fromhex(signer.public_key.fingerprint))}, **found}
    if len(signer.certificates) == 1:
        return {"certificate": {"rawBytes": b64(signer.certificates[0])}, **found}
    chain = [{"rawBytes": b64(one)} for one in signer.certificates]
    return {"x509CertificateChain": {"certificates": chain}, **found}


def make_bundle(
    payload: bytes,
    signer: Signer,
    *,
    logs: Sequence[Log] = (),
    kind: Callable[[Content], dict[str, Any]] = dsse,
    change: Callable[[dict[str, Any]], None] | None = None,
    about: Callable[[Content], Content] = lambda content: content,
    promise: bool = True,
    payload_type: str = IN_TOTO,
    media_type: str = BUNDLE,
) -> dict[str, Any]:
    """Make a bundle with an envelope.

    Args:
        payload: What is signed.
        signer: Who signs.
        logs: The logs that take it in.
        kind: What their entries are.
        change: Changes an entry before a log takes it in.
        about: What the entries are about, in place of what is signed.
        promise: Whether logs promise a time.
        payload_type: The type of the payload.
        media_type: What the bundle calls itself.
    """
    content = Content.of_envelope(payload, signer, payload_type)
    entries = []
    for log in logs:
        body = kind(about(content))
        if change is not None:
            change(body)
        entries.append(log_entry(log, body, promise=promise))
    return {"mediaType": media_type, "verificationMaterial": material(signer, *entries), **content.to_json()}


def file_bundle(message: bytes, signer: Signer, *, logs: Sequence[Log] = ()) -> dict[str, Any]:
    """Make a bundle without an envelope."""
    content = Content.of_file(message, signer)
    entries = [log_entry(log, hashedrekord(content)) for log in logs]
    return {"mediaType": BUNDLE, "verificationMaterial": material(signer, *entries), **content.to_json()}


def packed(bundle: Any) -> bytes:
    """Write a bundle."""
    return json.dumps(bundle).encode()


def another_signature(content: Content) -> Content:
    """Sign the same once more: ECDSA makes another signature each time."""
    return evolve(content, signature=content.signer.sign(content.data))
