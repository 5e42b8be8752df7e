"""What an entry of a transparency log is about: this signature, by this key, over this content (Rekor's types).

The log vouches that it has the entry, and for nothing that the entry says; so each part is compared with what was
verified.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from ocikit.errors import InvalidSignatureError
from ocikit.image.signature.sigstore.members import Members, decode_base64
from ocikit.image.signature.sigstore.pem import CERTIFICATE, PUBLIC_KEY, read_block

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocikit.image.signature.sigstore.bundle_document import LoggedEntry
    from ocikit.image.signature.sigstore.dsse import Envelope

__all__ = ["Signed", "verify_body"]

_MOST_VERIFIER_BYTES: Final = 64 * 1024
_HASHES: Final = {"sha256": "sha256", "sha384": "sha384", "sha512": "sha512"}
_HASHES_V2: Final = {"SHA2_256": "sha256", "SHA2_384": "sha384", "SHA2_512": "sha512"}


@frozen(kw_only=True)
class Signed:
    """What was verified, and an entry must be about.

    Attributes:
        data: The bytes that the signature is over.
        envelope: The envelope that they are of; None when there is none.
        signature: The signature.
        verifiers: The public key or the certificate that it was verified by, DER; any of them will do.
    """

    data: bytes = field(repr=False)
    envelope: Envelope | None
    signature: bytes = field(repr=False)
    verifiers: frozenset[bytes] = field(repr=False)


def verify_body(entry: LoggedEntry, signed: Signed) -> None:
    """Return when an entry is about a signature.

    Args:
        entry: The entry.
        signed: What was verified.

    Raises:
        InvalidSignatureError: It is malformed, of a kind that is not known, or about something else.
    """
    match = _KINDS.get((entry.kind, entry.version))
    if match is None:
        known = ", ".join(" ".join(one) for one in _KINDS)
        raise InvalidSignatureError(
            f"an entry of the kind {entry.kind[:40]!r}, version {entry.version[:40]!r}: expected one of {known}"
        )
    body = Members.read(entry.body, "the body")
    body.exactly("kind", entry.kind)
    body.exactly("apiVersion", entry.version)
    match(body.object("spec"), signed)


def _hashedrekord(spec: Members, signed: Signed) -> None:
    stated = spec.object("data").object("hash")
    algorithm = _HASHES[stated.exactly("algorithm", *_HASHES)]
    _same_hash(stated, "value", stated.text("value").lower(), hashlib.new(algorithm, signed.data).hexdigest())
    signature = spec.object("signature")
    _same_signature(signature, "content", signature.base64("content"), signed)
    _same_pem(signature.object("publicKey"), "content", signed)


def _hashedrekord_v2(spec: Members, signed: Signed) -> None:
    record = spec.object("hashedRekordV002")
    _same_digest_v2(record.object("data"), signed.data)
    _same_signature_v2(record.object("signature"), signed)


def _dsse(spec: Members, signed: Signed) -> None:
    # The hash of the envelope is over one way of many to write it. Payload, signature and key, which it would bind
    # together, are each compared.
    envelope = _envelope_of(spec, signed)
    _same_payload(spec.object("payloadHash"), envelope)
    signature = _only(spec, "signatures")
    _same_signature(signature, "signature", signature.base64("signature"), signed)
    _same_pem(signature, "verifier", signed)


def _dsse_v2(spec: Members, signed: Signed) -> None:
    record = spec.object("dsseV002")
    _same_digest_v2(record.object("payloadHash"), _envelope_of(record, signed).payload)
    _same_signature_v2(_only(record, "signatures"), signed)


def _intoto(spec: Members, signed: Signed) -> None:
    content = spec.object("content")
    envelope = _envelope_of(content, signed)
    _same_payload(content.object("payloadHash"), envelope)
    logged = content.object("envelope")
    logged.exactly("payloadType", envelope.payload_type)
    signature = _only(logged, "signatures")
    # This version has base64 of base64.
    once = decode_base64(signature.base64("sig").decode("ascii", "replace"))
    if once is None:
        raise signature.fault("sig", "not base64 of base64")
    _same_signature(signature, "sig", once, signed)
    _same_pem(signature, "publicKey", signed)


_KINDS: Final[dict[tuple[str, str], Callable[[Members, Signed], None]]] = {
    ("hashedrekord", "0.0.1"): _hashedrekord,
    ("hashedrekord", "0.0.2"): _hashedrekord_v2,
    ("dsse", "0.0.1"): _dsse,
    ("dsse", "0.0.2"): _dsse_v2,
    ("intoto", "0.0.2"): _intoto,
}


def _envelope_of(spec: Members, signed: Signed) -> Envelope:
    if signed.envelope is None:
        raise InvalidSignatureError(f"{spec.what}: {spec.path}: is about an envelope, and the bundle has none")
    return signed.envelope


def _only(spec: Members, key: str) -> Members:
    found = spec.objects(key, 1)
    if not found:
        raise spec.fault(key, "expected exactly one signature, found none")
    return found[0]


def _same_payload(stated: Members, envelope: Envelope) -> None:
    stated.exactly("algorithm", "sha256")
    _same_hash(stated, "value", stated.text("value").lower(), hashlib.sha256(envelope.payload).hexdigest())


def _same_digest_v2(stated: Members, data: bytes) -> None:
    algorithm = _HASHES_V2[stated.exactly("algorithm", *_HASHES_V2)]
    _same_hash(stated, "digest", stated.base64("digest").hex(), hashlib.new(algorithm, data).hexdigest())


def _same_hash(stated: Members, key: str, found: str, expected: str) -> None:
    if found != expected:
        raise stated.fault(key, f"is about other content: expected the hash {expected}, found {found[:128]!r}")


def _same_signature(stated: Members, key: str, found: bytes, signed: Signed) -> None:
    if found != signed.signature:
        raise stated.fault(key, "is about another signature")


def _same_signature_v2(stated: Members, signed: Signed) -> None:
    _same_signature(stated, "content", stated.base64("content"), signed)
    verifier = stated.object("verifier")
    key = "x509Certificate" if verifier.has("x509Certificate") else "publicKey"
    if verifier.object(key).base64("rawBytes") not in signed.verifiers:
        raise verifier.fault(key, "is about a signature by another key or certificate")


def _same_pem(stated: Members, key: str, signed: Signed) -> None:
    what = f"{stated.what}: {stated.path}.{key}"
    block = read_block(stated.base64(key), what=what, labels=(PUBLIC_KEY, CERTIFICATE), most_bytes=_MOST_VERIFIER_BYTES)
    if block.der not in signed.verifiers:
        raise stated.fault(key, "is about a signature by another key or certificate")
