"""One sigstore signature against what is trusted: who signed is found out, or the check that failed is named."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from authorities import MINUTE, NOW, YEAR, Authority, Certified, Log
from hypothesis import given, settings
from hypothesis import strategies as st

from ocikit.errors import InvalidSignatureError
from ocikit.image.reference import parse_normalized_named
from ocikit.image.signature.payload import Payload, PayloadType
from ocikit.image.signature.sigstore import PrivateKey, PublicKey, SigstoreSigner
from ocikit.image.signature.sigstore.annotations import BUNDLE, CERTIFICATE, CHAIN, SIGNATURE
from ocikit.image.signature.sigstore.attachment import is_attachment, verify_attachment
from ocikit.image.signature.sigstore.trust import FulcioTrust, PkiTrust, Trust
from ocikit.image.stored_signature import BUNDLE as BUNDLE_TYPE
from ocikit.image.stored_signature import SIGSTORE_PAYLOAD, SigstoreSignature, SimpleSignature, parse_signature
from ocikit.spec import Digest

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

DIGEST = Digest.from_bytes(b"manifest")
NAME = parse_normalized_named("example.com/team/app:1.2")
PROVIDER, EMAIL, HOST = "https://idp.example.com", "build@example.com", "build.example.com"

KEY, OTHER_KEY = PrivateKey.generate(), PrivateKey.generate()
KEYS = Trust(keys=(KEY.public_key,))
SIGNED = SigstoreSigner(KEY).sign(DIGEST, NAME)
LOG, OTHER_LOG = Log(), Log()
LOGGED_KEYS = evolve(KEYS, log_keys=(LOG.public_key,))

ROOT = Authority.root()
BETWEEN = ROOT.below()
FULCIO_CERTIFICATE = BETWEEN.issue(emails=[EMAIL], identity_provider=PROVIDER)
FULCIO_TRUST = FulcioTrust(roots=(ROOT.certificate,), oidc_issuer=PROVIDER, subject_email=EMAIL)
FULCIO = Trust(fulcio=FULCIO_TRUST, log_keys=(LOG.public_key,))
PKI_CERTIFICATE = BETWEEN.issue("build", emails=[EMAIL], hosts=[HOST], begins=NOW - YEAR / 2, ends=NOW + YEAR / 2)
PKI = Trust(pki=PkiTrust(roots=(ROOT.certificate,), subject_email=EMAIL, subject_hostname=HOST))


def changed(signature: SigstoreSignature, /, **annotations: str | None) -> SigstoreSignature:
    """Return the signature with annotations added or changed; None takes one away."""
    names = {"signature": SIGNATURE, "certificate": CERTIFICATE, "chain": CHAIN, "bundle": BUNDLE}
    made = dict(signature.annotations) | {names[key]: value for key, value in annotations.items()}
    return evolve(signature, annotations={key: value for key, value in made.items() if value is not None})


def logged(signature: SigstoreSignature, verifier: bytes, log: Log = LOG, at: dt.datetime = NOW) -> SigstoreSignature:
    """Return the signature with the promise of a log."""
    made = base64.b64decode(signature.annotations[SIGNATURE])
    return changed(signature, bundle=log.bundle(log.hashedrekord(verifier, made, signature.payload), at=at))


def signed_by(certified: Certified) -> SigstoreSignature:
    """Return a signature by the key of a certificate, which comes with it."""
    signer = SigstoreSigner(PrivateKey(certified.key), certificate_pem=certified.text, chain_pem=BETWEEN.text)
    return signer.sign(DIGEST, NAME)


def over(payload: bytes, key: PrivateKey = KEY) -> SigstoreSignature:
    """Return a signature that is right over any payload."""
    made = base64.b64encode(key.sign(payload)).decode()
    return SigstoreSignature(media_type=SIGSTORE_PAYLOAD, payload=payload, annotations={SIGNATURE: made})


LOGGED = logged(SIGNED, KEY.public_key.pem)
BY_FULCIO = logged(signed_by(FULCIO_CERTIFICATE), FULCIO_CERTIFICATE.pem)
BY_PKI = signed_by(PKI_CERTIFICATE)


def promised_later(signature: SigstoreSignature) -> SigstoreSignature:
    """Return the signature with a promise that was changed after it was made."""
    bundle = json.loads(signature.annotations[BUNDLE])
    bundle["Payload"]["integratedTime"] += 1
    return changed(signature, bundle=json.dumps(bundle))


# ------------------------------------------------------------------------------------------------------------ accepted


def test_keys() -> None:
    """Any of the keys will do, and the one that did is named; the log is nobody's matter when none is trusted."""
    trust = Trust(keys=(OTHER_KEY.public_key, KEY.public_key))
    for signature in SIGNED, LOGGED, changed(SIGNED, bundle="nonsense", certificate="nonsense"):
        signatory, payload = verify_attachment(signature, trust)
        assert signatory.key == KEY.public_key
        assert (signatory.entry, signatory.email, signatory.hostname, signatory.issuer) == (None,) * 4
        assert payload.digest == DIGEST
        assert payload.docker_reference == "example.com/team/app:1.2"


@pytest.mark.parametrize(("kind", "size"), [("ecdsa", 384), ("ecdsa", 521), ("rsa", 2048), ("ed25519", None)])
def test_kinds_of_keys(kind: Any, size: int | None) -> None:
    """Every kind verifies by its public half, and by no other of the kind."""
    key, other = PrivateKey.generate(kind, size=size), PrivateKey.generate(kind, size=size)
    signature = parse_signature(SigstoreSigner(key).sign(DIGEST, NAME).to_blob())
    assert isinstance(signature, SigstoreSignature)
    assert verify_attachment(signature, Trust(keys=(key.public_key,)))[0].key == key.public_key
    with pytest.raises(InvalidSignatureError, match=f"was not made by the key {other.public_key}"):
        verify_attachment(signature, Trust(keys=(other.public_key,)))


def test_keys_in_a_log() -> None:
    """The one of the keys that the log has an entry for is named, with the entry; when it was made does not matter."""
    trust = Trust(keys=(OTHER_KEY.public_key, KEY.public_key), log_keys=(OTHER_LOG.public_key, LOG.public_key))
    for at in NOW, NOW - 30 * YEAR:
        signatory, _ = verify_attachment(logged(SIGNED, KEY.public_key.pem, at=at), trust)
        assert signatory.key == KEY.public_key
        assert signatory.entry is not None
        assert signatory.entry.integrated_time == at
        assert signatory.entry.log_id == LOG.log_id


def test_fulcio() -> None:
    """Who a certificate is for that was valid when the log took the signature in, long ago by now."""
    signatory, payload = verify_attachment(BY_FULCIO, FULCIO)
    assert (signatory.email, signatory.issuer, signatory.hostname) == (EMAIL, PROVIDER, None)
    assert signatory.key == FULCIO_CERTIFICATE.public_key
    assert signatory.entry is not None
    assert signatory.entry.integrated_time == NOW
    assert payload.digest == DIGEST


def test_pki() -> None:
    """Who a certificate is for that is valid at the time in question; no log is asked."""
    signatory, payload = verify_attachment(BY_PKI, PKI, now=NOW)
    assert (signatory.email, signatory.hostname, signatory.entry) == (EMAIL, HOST, None)
    assert signatory.key == PKI_CERTIFICATE.public_key
    assert payload.docker_reference == "example.com/team/app:1.2"


def test_line_breaks_in_base64() -> None:
    """A signature as the program ``base64`` writes it, with line breaks, is the same signature, in a log too."""
    for signature, trust in (SIGNED, KEYS), (LOGGED, LOGGED_KEYS):
        made = signature.annotations[SIGNATURE]
        broken = changed(signature, signature=f"{made[:40]}\r\n{made[40:]}\n")
        assert verify_attachment(broken, trust) == verify_attachment(signature, trust)


def test_which_signatures_are_in_this_form() -> None:
    """Others are told apart before they are verified, so that they can be passed over."""
    assert is_attachment(SIGNED)
    assert not is_attachment(evolve(SIGNED, media_type="text/plain"))
    assert not is_attachment(evolve(SIGNED, media_type=BUNDLE_TYPE))
    assert not is_attachment(SimpleSignature(message=b"\x90"))


# ------------------------------------------------------------------------------------------------------------- refused

SIMPLE = Payload(digest=DIGEST, docker_reference="a:1").to_json(PayloadType.SIMPLE)
DOUBLED = SIGNED.payload.replace(b'"optional":{', b'"optional":{"creator":"x",')
LONGER = SIGNED.payload.replace(b'"critical":{', b'"critical":{"more":1,')
FLIPPED = bytearray(base64.b64decode(SIGNED.annotations[SIGNATURE]))
FLIPPED[-1] ^= 1
NOT_CANONICAL = base64.b64encode(b"x" * 64).decode().replace("eA==", "eB==")

REFUSED: list[tuple[str, SigstoreSignature, Trust, str]] = [
    ("type", evolve(SIGNED, media_type="text/plain"), KEYS, r"media type 'text/plain'; expected application/vnd\.dev"),
    ("none", changed(SIGNED, signature=None), KEYS, rf"the annotation {SIGNATURE} is missing"),
    ("empty", changed(SIGNED, signature=""), KEYS, r"the signature was not made by the key SHA256:"),
    ("no base64", changed(SIGNED, signature="?"), KEYS, rf"the annotation {SIGNATURE} is not base64"),
    ("a space", changed(SIGNED, signature=SIGNED.annotations[SIGNATURE] + " "), KEYS, r"is not base64"),
    ("padding", changed(SIGNED, signature="eA=="[:3]), KEYS, r"is not base64"),
    ("not ascii", changed(SIGNED, signature="é"), KEYS, r"is not base64"),
    ("more", changed(SIGNED, signature=SIGNED.annotations[SIGNATURE] + "eA=="), KEYS, r"is not base64|not made by the"),
    (
        "bits",
        changed(SIGNED, signature=NOT_CANONICAL),
        KEYS,
        r"is not base64 as it has to be written: bits are left over",
    ),
    ("long", changed(SIGNED, signature="A" * 4100), KEYS, r"has 4,100 characters; at most 4,096"),
    ("flipped", changed(SIGNED, signature=base64.b64encode(FLIPPED).decode()), KEYS, r"the signature was not made by"),
    ("payload", evolve(SIGNED, payload=SIGNED.payload + b" "), KEYS, r"the signature was not made by the key SHA256:"),
    (
        "other key",
        over(SIGNED.payload, OTHER_KEY),
        KEYS,
        rf"was not made by the key {KEY.public_key} over this content$",
    ),
    (
        "other keys",
        SIGNED,
        Trust(keys=(OTHER_KEY.public_key, LOG.public_key)),
        rf"by the key {OTHER_KEY.public_key} over this content; it was not made by the key {LOG.public_key}",
    ),
    ("simple", over(SIMPLE), KEYS, r"\$\.critical\.type: expected 'cosign container image signature', found 'atomic"),
    ("no json", over(b"image"), KEYS, r"what is signed is no JSON document"),
    ("doubled", over(DOUBLED), KEYS, r"what is signed is no JSON document: .*creator"),
    ("longer", over(LONGER), KEYS, r"\$\.critical\.more: unknown"),
    (
        "nobody",
        SIGNED,
        Trust(),
        r"nothing can be verified: expected one of keys, fulcio and pki to be trusted, found 0",
    ),
    ("a log alone", LOGGED, Trust(log_keys=(LOG.public_key,)), r"nothing can be verified: .* found 0"),
    ("both", BY_FULCIO, evolve(FULCIO, keys=(KEY.public_key,)), r"nothing can be verified: .* found 2"),
    ("all", BY_FULCIO, evolve(FULCIO, pki=PKI.pki, keys=KEYS.keys), r"nothing can be verified: .* found 3"),
    ("log: none", SIGNED, LOGGED_KEYS, rf"the annotation {BUNDLE} is missing"),
    (
        "log: other",
        logged(SIGNED, KEY.public_key.pem, OTHER_LOG),
        LOGGED_KEYS,
        r"was made by none of the keys of the log",
    ),
    ("log: nonsense", changed(SIGNED, bundle="{"), LOGGED_KEYS, r"promise of the transparency log is no JSON document"),
    ("log: time", promised_later(LOGGED), LOGGED_KEYS, r"was made by none of the keys of the log"),
    (
        "log: other key",
        logged(SIGNED, OTHER_KEY.public_key.pem),
        LOGGED_KEYS,
        rf"no key that is trusted is in the transparency log: {KEY.public_key}: .* another public key or certificate",
    ),
    (
        # The log has the key; what the key signed is another thing.
        "log: of another",
        changed(over(SIGNED.payload), bundle=LOGGED.annotations[BUNDLE]),
        LOGGED_KEYS,
        r"is about another signature",
    ),
    (
        "log: not signed",
        logged(over(SIGNED.payload, OTHER_KEY), KEY.public_key.pem),
        LOGGED_KEYS,
        rf"the signature was not made by the key {KEY.public_key}",
    ),
    ("fulcio: no log", BY_FULCIO, evolve(FULCIO, log_keys=()), r"fulcio is trusted, and no key of the log"),
    ("fulcio: none", changed(BY_FULCIO, bundle=None), FULCIO, rf"the annotation {BUNDLE} is missing"),
    ("fulcio: whose", changed(BY_FULCIO, certificate=None), FULCIO, rf"the annotation {CERTIFICATE} is missing"),
    ("fulcio: utf-8", changed(BY_FULCIO, certificate="\ud800"), FULCIO, r"is no text that UTF-8 can carry"),
    ("fulcio: no chain", changed(BY_FULCIO, chain=None), FULCIO, r"no chain leads from the certificate"),
    (
        "fulcio: another certificate",
        changed(BY_FULCIO, certificate=BETWEEN.issue(emails=[EMAIL], identity_provider=PROVIDER).text),
        FULCIO,
        r"is about another public key or certificate",
    ),
    (
        "fulcio: late",
        logged(signed_by(FULCIO_CERTIFICATE), FULCIO_CERTIFICATE.pem, at=NOW + 10 * MINUTE),
        FULCIO,
        r"was no longer valid at",
    ),
    (
        "fulcio: somebody else",
        BY_FULCIO,
        evolve(FULCIO, fulcio=evolve(FULCIO_TRUST, subject_email="x@example.com")),
        r"is for the mail addresses 'build@example\.com'; expected 'x@example\.com'",
    ),
    (
        "fulcio: not signed",
        changed(
            logged(over(SIGNED.payload), FULCIO_CERTIFICATE.pem),
            certificate=FULCIO_CERTIFICATE.text,
            chain=BETWEEN.text,
        ),
        FULCIO,
        rf"the signature was not made by the key {FULCIO_CERTIFICATE.public_key}",
    ),
    (
        "pki: log",
        BY_PKI,
        evolve(PKI, log_keys=(LOG.public_key,)),
        r"pki and the keys of a log are not trusted together",
    ),
    ("pki: whose", changed(BY_PKI, certificate=None), PKI, rf"the annotation {CERTIFICATE} is missing"),
    ("pki: damaged", changed(BY_PKI, certificate=PKI_CERTIFICATE.text[:-40]), PKI, r"a PEM block is malformed"),
    (
        "pki: not signed",
        changed(SIGNED, certificate=PKI_CERTIFICATE.text, chain=BETWEEN.text),
        PKI,
        rf"the signature was not made by the key {PKI_CERTIFICATE.public_key}",
    ),
    ("pki: fulcio's", BY_FULCIO, PKI, r"is for the hosts none; expected 'build\.example\.com'"),
]


@pytest.mark.parametrize(("signature", "trust", "match"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(signature: SigstoreSignature, trust: Trust, match: str) -> None:
    """Whatever does not hold is named; nothing that a signature says is believed before."""
    with pytest.raises(InvalidSignatureError, match=match):
        verify_attachment(signature, trust, now=NOW)


def test_certificates_of_an_authority_of_ones_own_are_valid_now() -> None:
    """The time is the present when none is given, and this certificate is of the past."""
    with pytest.raises(InvalidSignatureError, match="was no longer valid at"):
        verify_attachment(BY_PKI, PKI)
    with pytest.raises(InvalidSignatureError, match="was no longer valid at"):
        verify_attachment(BY_PKI, PKI, now=NOW + YEAR)


def test_nothing_is_read_that_is_not_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A payload without a good signature is never parsed, so that nothing in it can be shown or do harm."""
    from ocikit.image.signature.sigstore import attachment  # noqa: PLC0415 - what is replaced

    def never(*_: object) -> None:
        pytest.fail("parsed")

    monkeypatch.setattr(attachment, "read_payload", never)
    evil = b'{"critical":"\x1b[31m'
    for signature in evolve(SIGNED, payload=evil), changed(SIGNED, signature="?"), over(evil, OTHER_KEY):
        with pytest.raises(InvalidSignatureError) as caught:
            verify_attachment(signature, KEYS)
        assert "\x1b" not in str(caught.value)


CHANGES: list[Callable[[SigstoreSignature, str], SigstoreSignature]] = [
    lambda signature, text: changed(signature, signature=text),
    lambda signature, text: changed(signature, certificate=text),
    lambda signature, text: changed(signature, chain=text),
    lambda signature, text: changed(signature, bundle=text),
    lambda signature, text: evolve(signature, media_type=text),
    lambda signature, text: evolve(signature, payload=text.encode("utf-8", "surrogatepass")),
]


@settings(max_examples=80)
@given(st.sampled_from(CHANGES), st.text(max_size=60), st.sampled_from([0, 1, 2, 3]))
def test_anything_in_place_of_a_part(
    change: Callable[[SigstoreSignature, str], SigstoreSignature], text: str, way: int
) -> None:
    """With any text in place of one part, a signature proves what it proved, or is refused with its one error."""
    signature, trust = [(SIGNED, KEYS), (LOGGED, LOGGED_KEYS), (BY_FULCIO, FULCIO), (BY_PKI, PKI)][way]
    try:
        found = verify_attachment(change(signature, text), trust, now=NOW)
    except InvalidSignatureError:
        return
    assert found == verify_attachment(signature, trust, now=NOW)


def test_equal_keys_are_equal() -> None:
    """Who signed can be compared with a key that was read from elsewhere."""
    assert verify_attachment(SIGNED, KEYS)[0].key == PublicKey.read(KEY.public_key.pem, what="key")
