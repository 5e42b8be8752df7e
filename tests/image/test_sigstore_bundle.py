"""Sigstore bundles: which are accepted, and why every other one is not."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from authorities import MINUTE, NOW, SERVER, Authority, Log, new_key
from bundle_logs import (
    COSIGN,
    DIGEST,
    MANIFEST,
    Content,
    Signer,
    b64,
    dsse,
    dsse_v2,
    file_bundle,
    hashedrekord,
    hashedrekord_v2,
    intoto,
    make_bundle,
    packed,
    statement,
)
from bundle_trusts import (
    BETWEEN,
    EMAIL,
    FULCIO,
    HOST,
    IDP,
    KEY,
    PKI,
    PREFIX,
    ROOT_DER,
    by_fulcio,
    by_key,
    by_pki,
    verify,
)
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA384, SHA512

from ocikit.errors import InvalidSignatureError
from ocikit.image.signature.sigstore.bundle import verify_bundle
from ocikit.image.signature.sigstore.trust import PkiTrust, Trust
from ocikit.spec import Digest

if TYPE_CHECKING:
    from collections.abc import Callable

    Tree = dict[str, Any]


def test_a_key_will_do() -> None:
    """A bundle by a key that is trusted says what it is about, and without a name what cosign says."""
    signatory, claim = verify(make_bundle(statement(), KEY), by_key())
    assert (signatory.key, signatory.entry, signatory.email) == (KEY.public_key, None, None)
    assert claim.docker_references_of(DIGEST) == ()
    assert claim.predicate_type == COSIGN


def test_the_name_of_the_subject_is_what_the_image_is_called() -> None:
    """The identity stands where attestations have it."""
    _, claim = verify(make_bundle(statement(name="example.com/a:1"), KEY), by_key())
    assert claim.docker_references_of(DIGEST) == ("example.com/a:1",)


def test_each_subject_has_its_own_name() -> None:
    """A name is never taken from another subject than the one that was asked for."""
    other = Digest.from_bytes(b"other")
    subjects = [
        {"name": "example.com/a", "digest": {"sha256": DIGEST.hex, "gitCommit": "abc"}},
        {"name": "example.com/b", "digest": {"sha256": other.hex, "sha512": Digest.from_bytes(b"", "sha512").hex}},
        {"name": "example.com/c", "digest": {"sha256": other.hex}},
        {"name": "a commit", "digest": {"gitCommit": "abc"}},
        {"name": "a file", "uri": "https://example.com"},
    ]
    _, claim = verify(make_bundle(statement(subject=subjects), KEY), by_key())
    assert claim.docker_references_of(DIGEST) == ("example.com/a",)
    assert claim.docker_references_of(other) == ("example.com/b", "example.com/c")
    assert claim.docker_references_of(Digest.from_bytes(b"", "sha512")) == ("example.com/b",)
    with pytest.raises(InvalidSignatureError, match=r"about another manifest: expected sha256:.* found sha256:"):
        claim.docker_references_of(Digest.from_bytes(b"third"))


@pytest.mark.parametrize("signer", [KEY, FULCIO], ids=["key", "certificate"])
@pytest.mark.parametrize("kind", [dsse, hashedrekord, intoto, hashedrekord_v2, dsse_v2])
def test_every_kind_of_entry_is_bound(kind: Callable[[Content], Tree], signer: Signer) -> None:
    """What logs write about a bundle is recognised, for keys and for certificates, deep in a log as well."""
    log = Log()
    for number in range(5):
        log.add(b"another %d" % number)
    trust = by_key(log) if signer is KEY else by_fulcio(log)
    signatory, _ = verify(make_bundle(statement(), signer, logs=[log], kind=kind), trust)
    assert signatory.entry is not None
    assert (signatory.entry.integrated_time, signatory.entry.log_index) == (NOW, 7)
    assert (signatory.email, signatory.issuer) == ((None, None) if signer is KEY else (EMAIL, IDP))


@pytest.mark.parametrize("key", [ed25519.Ed25519PrivateKey.generate(), new_key()], ids=["Ed25519", "ECDSA"])
def test_a_log_without_times_proves_a_key(key: Any) -> None:
    """Rekor 2 promises nothing and signs by Ed25519 under its name; that an entry is in it is proven all the same."""
    log = Log(key, origin="log2.example.com")
    bundle = make_bundle(statement(), KEY, logs=[log], kind=hashedrekord_v2, promise=False)
    signatory, _ = verify(bundle, by_key(log))
    assert signatory.entry is None


def test_an_authority_of_ones_own_will_do() -> None:
    """Mail address and host are found in the certificate, without any log."""
    trust = by_pki(subject_email=EMAIL, subject_hostname=HOST)
    signatory, _ = verify(make_bundle(statement(), PKI), trust)
    assert (signatory.email, signatory.hostname, signatory.key) == (EMAIL, HOST, PKI.public_key)


def test_a_trusted_key_that_has_a_certificate_is_a_trusted_key() -> None:
    """A log may have the certificate, or the key in it."""
    log = Log()
    bundle = make_bundle(statement(), PKI, logs=[log])
    assert verify(bundle, by_key(log, signer=PKI))[0].key == PKI.public_key
    bundle = make_bundle(statement(), PKI, logs=[log], about=lambda one: evolve(one, signer=Signer(key=PKI.key)))
    assert verify(bundle, by_key(log, signer=PKI))[0].key == PKI.public_key


def test_any_of_several_keys_will_do() -> None:
    """Of keys of signers, and of keys of logs; what other logs say is not looked at."""
    trusted, other = Log(origin="a.example.com"), Log(origin="b.example.com")
    keys = (Signer.new().public_key, KEY.public_key)
    trust = Trust(keys=keys, log_keys=(Log().public_key, trusted.public_key))
    bundle = make_bundle(statement(), KEY, logs=[other, trusted])
    bundle["verificationMaterial"]["tlogEntries"][0]["canonicalizedBody"] = b64(b"nonsense")
    assert verify(bundle, trust)[0].entry is not None


@pytest.mark.parametrize("version", ["0.1", "0.2", "0.3"])
def test_older_versions_are_read(version: str) -> None:
    """Version 0.1 lives by the promise, and may have a proof that no checkpoint belongs to."""
    log = Log()
    bundle = make_bundle(statement(), FULCIO, logs=[log], media_type=PREFIX + version)
    verify(bundle, by_fulcio(log))
    entry = bundle["verificationMaterial"]["tlogEntries"][0]
    for key, holder in (("checkpoint", entry["inclusionProof"]), ("inclusionProof", entry)):
        del holder[key]
        if version == "0.1":
            verify(bundle, by_fulcio(log))
        else:
            with pytest.raises(InvalidSignatureError, match=r"which a bundle from version 0\.2 on must have"):
                verify(bundle, by_fulcio(log))


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(new_key(ec.SECP384R1()), SHA384()), (new_key(ec.SECP521R1()), SHA512())],
    ids=["P-384", "P-521"],
)
def test_each_curve_signs_with_its_own_hash(key: Any, algorithm: Any) -> None:
    """In bundles cosign signs with a hash of the size of the curve, and older programs with SHA-256."""

    class Own(Signer):
        def sign(self, data: bytes) -> bytes:
            signature: bytes = self.key.sign(data, ec.ECDSA(algorithm))
            return signature

    for signer in (Signer(key=key), Own(key=key)):
        verify(make_bundle(statement(), signer), by_key(signer=signer))
    with pytest.raises(InvalidSignatureError, match="not made by a key that is trusted"):
        verify(make_bundle(statement(), Own(key=key)), by_key(signer=Signer(key=new_key(key.curve))))


@pytest.mark.parametrize(
    "key",
    [ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(public_exponent=65537, key_size=2048)],
    ids=["Ed25519", "RSA"],
)
def test_other_kinds_of_keys_sign(key: Any) -> None:
    """Ed25519 and RSA sign bundles like anything else."""
    signer = Signer(key=key)
    assert verify(make_bundle(statement(), signer), by_key(signer=signer))[0].key == signer.public_key


def test_a_signature_over_a_file_needs_the_file() -> None:
    """Without an envelope a bundle is about bytes, which must be given; nobody signs images so."""
    log = Log()
    bundle = file_bundle(MANIFEST, KEY, logs=[log])
    _, claim = verify(bundle, by_key(log), message=MANIFEST)
    assert (claim.docker_references_of(DIGEST), claim.payload_type, claim.predicate_type) == ((), None, None)
    with pytest.raises(InvalidSignatureError, match=r"over a file .* in place of a statement about an image"):
        verify(bundle, by_key(log))
    with pytest.raises(InvalidSignatureError, match="about another file"):
        verify(bundle, by_key(log), message=b"other")
    del bundle["messageSignature"]["messageDigest"]
    verify(bundle, by_key(log), message=MANIFEST)
    with pytest.raises(InvalidSignatureError, match="not made by a key that is trusted"):
        verify(bundle, by_key(log), message=b"other")


def test_other_statements_are_taken_when_asked_for() -> None:
    """What may be said of an image is up to whoever asks; by itself, only that it is signed."""
    slsa = "https://slsa.dev/provenance/v1"
    bundle = make_bundle(statement(predicateType=slsa), KEY)
    assert verify(bundle, by_key(), predicate_types=(COSIGN, slsa))[1].predicate_type == slsa
    with pytest.raises(InvalidSignatureError, match=f"expected the predicate type {COSIGN}, found '{slsa}'"):
        verify(bundle, by_key())


def late(**options: Any) -> Signer:
    """Make a signer whose certificate is of another time, or for somebody else."""
    return Signer.certified(BETWEEN.issue(**{"emails": [EMAIL], "identity_provider": IDP, **options}), BETWEEN)


@pytest.mark.parametrize(
    ("signer", "reason"),
    [
        (late(begins=NOW + MINUTE), "not yet valid"),
        (late(ends=NOW - MINUTE), "no longer valid"),
        (late(emails=["b@example.com"]), "is for the mail addresses 'b@example.com'; expected 'a@example.com'"),
        (late(identity_provider="https://other.example.com"), "names the identity provider"),
        (late(purposes=(SERVER,)), "is not for signing code"),
        (Signer.certified(Authority.root("other").issue(emails=[EMAIL], identity_provider=IDP)), "by .CN=other."),
        (Signer.certified(BETWEEN.issue(emails=[EMAIL], identity_provider=IDP)), "issued by .CN=between."),
        (evolve(FULCIO, certificates=(*FULCIO.certificates, ROOT_DER)), "brings the root certificate"),
        (evolve(FULCIO, key=new_key()), "was not made by the key .* that of its certificate"),
        (evolve(FULCIO, certificates=(FULCIO.certificates[0], b"x")), "a certificate is malformed"),
        (KEY, "signed by a key without a certificate, and the policy asks for one"),
    ],
)  # fmt: skip
def test_certificates_are_held_against_the_authority(signer: Signer, reason: str) -> None:
    """At the time that the log vouches for, by the authority, for the identity."""
    log = Log()
    body = hashedrekord_v2  # takes certificates that nobody can read
    with pytest.raises(InvalidSignatureError, match=reason):
        verify(make_bundle(statement(), signer, logs=[log], kind=body), by_fulcio(log))


def test_short_lived_certificates_need_a_time() -> None:
    """Without a promise of a log nothing says when Fulcio's certificate was used; timestamps are named."""
    log = Log()
    bundle = make_bundle(statement(), FULCIO, logs=[log], promise=False)
    with pytest.raises(InvalidSignatureError, match=r"vouches for the time of the signature .* was valid$"):
        verify(bundle, by_fulcio(log))
    stamps = {"rfc3161Timestamps": [{"signedTimestamp": "AAAA"}]}
    bundle["verificationMaterial"]["timestampVerificationData"] = stamps
    with pytest.raises(InvalidSignatureError, match="its 1 timestamps are by authorities that nobody trusts"):
        verify(bundle, by_fulcio(log))
    bundle["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = str(int(NOW.timestamp()))
    with pytest.raises(InvalidSignatureError, match="vouches for the time of the signature"):
        verify(bundle, by_fulcio(log))
    with pytest.raises(InvalidSignatureError, match="the key of a transparency log is needed"):
        verify(bundle, by_fulcio())


def test_every_time_must_fit_the_certificate() -> None:
    """Of several logs, none may say that the certificate was used when it was not valid."""
    first, second = Log(), Log()
    bundle = make_bundle(statement(), FULCIO, logs=[first, second], kind=hashedrekord)
    verify(bundle, by_fulcio(first, second))
    entry = bundle["verificationMaterial"]["tlogEntries"][1]
    later = second.payload(b"", at=NOW + dt.timedelta(hours=1)) | {"body": entry["canonicalizedBody"]}
    entry["integratedTime"] = str(later["integratedTime"])
    entry["inclusionPromise"] = {"signedEntryTimestamp": second.promise(later)}
    verify(bundle, by_fulcio(first))
    with pytest.raises(InvalidSignatureError, match="no longer valid"):
        verify(bundle, by_fulcio(first, second))


@pytest.mark.parametrize(
    ("trust", "reason"),
    [
        (by_pki(subject_email="b@example.com"), "expected 'b@example.com'"),
        (by_pki(subject_hostname="other.example.com"), "other.example.com"),
        (Trust(), "nobody is trusted"),
        (
            Trust(pki=PkiTrust(roots=(Authority.root("x").certificate,), subject_email=EMAIL)),
            "no chain leads",
        ),
    ],
)
def test_ones_own_authority_vouches_for_somebody(trust: Trust, reason: str) -> None:
    """The certificate is for whom the policy names, by whom it names."""
    with pytest.raises(InvalidSignatureError, match=reason):
        verify(make_bundle(statement(), PKI), trust)


def test_certificates_of_ones_own_authority_end() -> None:
    """They must be valid now, whatever the time of the signature."""
    with pytest.raises(InvalidSignatureError, match="no longer valid"):
        verify_bundle(packed(make_bundle(statement(), PKI)), by_pki(), now=NOW + dt.timedelta(days=1))


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"x", "the signed statement is no JSON document"),
        (b"[]", "expected an object"),
        (statement(_type="https://in-toto.io/Statement/v2"), r"\$._type: expected .* found 'https://in-toto.io/St"),
        (statement(_type=None), r"\$._type: missing"),
        (statement(predicateType=None), r"\$.predicateType: missing"),
        (statement(predicateType="https://example.org"), "says something else of its subjects"),
        (statement(subject=[]), "expected a subject with a digest by sha256 or sha512, found none"),
        (statement(subject={}), "subject: expected a list"),
        (statement(subject=["x"]), r"subject\[0\]: expected an object"),
        (statement(subject=[{"digest": {"sha1": "0"}}]), "expected a subject with a digest by sha256"),
        (statement(subject=[{"digest": {"sha256": "0"}}]), r"digest.sha256: a sha256 digest has 64"),
        (statement(subject=[{"digest": {"sha256": DIGEST.hex.upper()}}]), r"digest.sha256: a sha256 digest has 64"),
        (statement(subject=[{"digest": {"sha256": 5}}]), "digest.sha256: expected a string"),
        (statement(subject=[{"digest": {"sha256": DIGEST.hex}, "name": 5}]), "name: expected a string, found 5"),
        (statement(subject=[{"digest": {"sha256": DIGEST.hex}}] * 1025), "1,025 items, at most 1024"),
        (json.dumps({"a": 1})[:-1].encode() + b',"a":2}', "appears more than once"),
    ],
)
def test_what_says_nothing_of_an_image_is_refused(payload: bytes, reason: str) -> None:
    """A good signature over something else than a statement about manifests is refused."""
    with pytest.raises(InvalidSignatureError, match=reason):
        verify(make_bundle(payload, KEY), by_key())


def test_other_types_of_payload_are_refused() -> None:
    """The type of the payload is signed, and only statements are read."""
    bundle = make_bundle(statement(), KEY, payload_type="application/json")
    with pytest.raises(InvalidSignatureError, match="a payload of the type 'application/json': expected a statement"):
        verify(bundle, by_key())


def test_nothing_of_the_payload_is_read_before_it_is_verified() -> None:
    """A payload that is malformed is not even looked at while its signature is wrong."""
    bundle = make_bundle(b"no statement", Signer.new())
    with pytest.raises(InvalidSignatureError, match="not made by a key that is trusted"):
        verify(bundle, by_key())
