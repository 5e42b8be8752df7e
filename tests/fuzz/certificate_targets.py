"""Fuzzing of what proves a sigstore signature: promises of a log, certificates, damaged before or after signing."""

from __future__ import annotations

import base64
import functools
import json
from typing import TYPE_CHECKING, Any

import attrs
import mutations
from authorities import ISSUER_V2, NOW, Authority, Certified, Log, extension, hashedrekord, pem, sign, utf8_string
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ocikit.errors import InvalidSignatureError, LimitExceededError
from ocikit.image.signature.sigstore.certificates import read_certificates
from ocikit.image.signature.sigstore.fulcio import verify_fulcio
from ocikit.image.signature.sigstore.pki import verify_pki
from ocikit.image.signature.sigstore.rekor import verify_set
from ocikit.image.signature.sigstore.trust import FulcioTrust, PkiTrust

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

PAYLOAD, EMAIL, PROVIDER = b"payload", "who@example.com", "https://idp.example.com"
KEYS = (
    *("SignedEntryTimestamp", "Payload", "body", "integratedTime", "logIndex", "logID", "apiVersion", "kind", "spec"),
    *("data", "hash", "algorithm", "value", "signature", "content", "publicKey"),
)


@attrs.frozen
class Parties:
    """An authority, one below it, a signer and a log."""

    log: Log
    root: Authority
    between: Authority
    signer: Certified


@functools.cache
def parties() -> Parties:
    """Make them once; every case uses the same ones."""
    constraints = x509.NameConstraints([x509.RFC822Name("example.com"), x509.DNSName("example.com")], None)
    root = Authority.root()
    between = root.below(constraints=constraints, path_length=0)
    provider = extension(ISSUER_V2, utf8_string(PROVIDER))
    return Parties(Log(), root, between, between.issue(emails=[EMAIL], extensions=[provider]))


def accepted(call: Callable[[], Any]) -> Any:
    """Make a call; return None when it is refused with an error that bad input may be refused with."""
    try:
        return call()
    except (InvalidSignatureError, LimitExceededError):
        return None


def promises(random: Random, scratch: Path) -> None:
    """A promise is refused, or one that says what the log said."""
    del scratch
    log, signer = parties().log, parties().signer
    signature = signer.sign(PAYLOAD)
    entry = hashedrekord(signer.pem, signature, PAYLOAD)
    where = random.choice(["entry", "promise", "bundle"])
    body = _json(random, entry, wrong=where == "entry")
    payload = mutations.tree(random, log.payload(body), KEYS) if where == "promise" else log.payload(body)
    try:
        promise: Any = log.promise(payload)
    except (UnicodeError, ValueError):
        promise = ""
    bundle = _json(random, {"SignedEntryTimestamp": promise, "Payload": payload}, wrong=where == "bundle")
    text = bundle.decode("utf-8", "replace")
    found = accepted(
        lambda: verify_set(
            text,
            [log.public_key],
            verifier_pem=mutations.damaged(random, signer.pem) if random.random() < 0.1 else signer.pem,
            signature=base64.b64encode(signature).decode(),
            payload=PAYLOAD,
        )
    )
    if found is not None and where == "bundle":
        assert (found.integrated_time, found.log_index, found.log_id) == (NOW, 7, log.log_id), text


def _json(random: Random, document: Any, *, wrong: bool) -> bytes:
    return mutations.written(random, mutations.tree(random, document, KEYS)) if wrong else json.dumps(document).encode()


def certificates(random: Random, scratch: Path) -> None:
    """A certificate is refused, or one for whom the authority said."""
    del scratch
    made = parties()
    leaf = _certificate(random, made.signer, made.between)
    between = _certificate(random, made.between, made.root) if random.random() < 0.4 else made.between.pem
    chain = b"".join(random.choice([[between], [between, made.root.pem], [made.root.pem, between, between]]))
    if random.random() < 0.2:
        chain = mutations.damaged(random, chain)
    texts = leaf.decode("utf-8", "replace"), chain.decode("utf-8", "replace")
    roots = accepted(lambda: read_certificates(made.root.pem + random.choice([b"", b"x", chain]), what="roots"))
    roots = roots[:1] if roots else (made.root.certificate,)
    fulcio = FulcioTrust(roots=roots, oidc_issuer=PROVIDER, subject_email=EMAIL)
    found = accepted(lambda: verify_fulcio(*texts, fulcio, at=NOW))
    assert found is None or (found.email, found.issuer) == (EMAIL, PROVIDER)
    for wanted in ({"subject_email": EMAIL}, {"subject_hostname": random.choice(["a.example.com", "::1"])}):
        accepted(lambda wanted=wanted: verify_pki(*texts, PkiTrust(roots=roots, **wanted), at=NOW))  # type: ignore[misc]


def _certificate(random: Random, one: Certified, issuer: Certified) -> bytes:
    """Damage a certificate as text, as bytes, or in what is signed, which its authority then signs all the same."""
    match random.randrange(4):
        case 0:
            return mutations.damaged(random, one.pem)
        case 1:
            der = one.certificate.public_bytes(Encoding.DER)
            return pem("CERTIFICATE", mutations.damaged(random, der))
        case _:
            return one.remade(lambda parts: _damage(random, parts), lambda data: sign(issuer.key, data)).pem


def _damage(random: Random, parts: list[bytes]) -> None:
    """Change one bit or byte of what is in a certificate, or something larger, mostly in its extensions."""
    at = random.choice([len(parts) - 1, len(parts) - 1, random.randrange(len(parts))])
    data = bytearray(parts[at])
    for _ in range(random.choice([1, 1, 1, 2, 5])):
        where = random.randrange(len(data))
        data[where] = random.choice([data[where] ^ 1 << random.randrange(8), random.randrange(256)])
    parts[at] = bytes(data) if random.random() < 0.9 else mutations.damaged(random, parts[at])


#: The targets by name.
TARGETS: dict[str, Callable[[Random, Path], None]] = {"promises": promises, "certificates": certificates}
