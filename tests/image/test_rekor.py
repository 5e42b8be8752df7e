"""What a transparency log promises: accepted when all is about the signature, otherwise refused with the reason."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import string
from typing import TYPE_CHECKING, Any

import pytest
from authorities import NOW, Authority, Log, compact, hashedrekord, pem, public_pem, sign
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import example, given
from hypothesis import strategies as st

from ocikit.errors import InvalidSignatureError
from ocikit.image.signature.sigstore.keys import PublicKey
from ocikit.image.signature.sigstore.rekor import canonical_promise, match_hashedrekord, verify_promise, verify_set

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocikit.image.signature.sigstore.trust import LogEntry

PAYLOAD = b'{"critical":{}}'
LOG = Log()
SIGNER = Authority.root().issue("signer")
SIGNATURE = SIGNER.sign(PAYLOAD)
ENTRY = hashedrekord(SIGNER.pem, SIGNATURE, PAYLOAD)
BUNDLE = LOG.bundle(compact(ENTRY))


def b64(data: bytes) -> str:
    """Write base64."""
    return base64.b64encode(data).decode()


def verify(bundle: str | None = None, **options: Any) -> LogEntry:
    """Verify a promise about the signature, by default one that is right."""
    asked: dict[str, Any] = {"verifier_pem": SIGNER.pem, "signature": b64(SIGNATURE), "payload": PAYLOAD} | options
    keys = asked.pop("log_keys", [LOG.public_key])
    return verify_set(BUNDLE if bundle is None else bundle, keys, **asked)


def test_a_promise_is_accepted_with_its_time() -> None:
    """What the log says of time, number and itself comes back, by whichever of several keys."""
    other = Log().public_key
    for keys in ([LOG.public_key], [other, LOG.public_key], [LOG.public_key, other]):
        found = verify(log_keys=keys)
        assert (found.integrated_time, found.log_index, found.log_id) == (NOW, 7, LOG.log_id)


def test_a_promise_about_a_bare_key_is_accepted() -> None:
    """A signature by a key without a certificate is in the log with the key."""
    body = LOG.hashedrekord(public_pem(SIGNER.key), SIGNATURE, PAYLOAD)
    assert verify(LOG.bundle(body), verifier_pem=public_pem(SIGNER.key)).log_index == 7


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()])
def test_logs_sign_on_any_curve(curve: ec.EllipticCurve) -> None:
    """The key of a log may be on another curve than P-256."""
    log = Log(ec.generate_private_key(curve))
    assert verify(log.bundle(compact(ENTRY)), log_keys=[log.public_key]).log_id == log.log_id


def test_how_a_promise_is_written_does_not_matter() -> None:
    """White space, the order of keys and escapes are not what the log signed: the one canonical form is."""
    payload = LOG.payload(compact(ENTRY))
    turned = dict(reversed(payload.items()))
    written = json.dumps({"Payload": turned, "SignedEntryTimestamp": LOG.promise(payload)}, indent=3)
    assert verify(written.replace(payload["logID"], f"\\u00{ord(payload['logID'][0]):x}{payload['logID'][1:]}"))


def changed(*steps: str, to: Any = ...) -> Callable[[], LogEntry]:
    """Verify a promise that the log made about an entry with one member changed, or left out."""

    def call() -> LogEntry:
        entry = json.loads(json.dumps(ENTRY))
        holder = entry
        for step in steps[:-1]:
            holder = holder[step]
        if to is ...:
            del holder[steps[-1]]
        else:
            holder[steps[-1]] = to
        return verify(LOG.bundle(compact(entry)))

    return call


def promised(to: Any = ..., **members: Any) -> Callable[[], LogEntry]:
    """Verify a promise with other members, signed by the log as they are."""

    def call() -> LogEntry:
        payload = {key: value for key, value in (LOG.payload(compact(ENTRY)) | members).items() if value is not ...}
        return verify(LOG.bundle_of(payload if to is ... else to))

    return call


def bundled(**members: Any) -> Callable[[], LogEntry]:
    """Verify an annotation with other members around the promise."""

    def call() -> LogEntry:
        document = json.loads(LOG.bundle(compact(ENTRY))) | members
        return verify(json.dumps({key: value for key, value in document.items() if value is not ...}))

    return call


def moved(**members: Any) -> Callable[[], LogEntry]:
    """Verify a promise whose members were changed after the log had signed them."""

    def call() -> LogEntry:
        document = json.loads(LOG.bundle(compact(ENTRY)))
        document["Payload"] |= members
        return verify(json.dumps(document))

    return call


KEY_PATH = ("spec", "signature", "publicKey")
HASH_PATH = ("spec", "data", "hash")
OTHER = Authority.root().issue("other")
TWICE = '{"SignedEntryTimestamp":"","Payload":{"body":"YQ==","body":"Yg==","integratedTime":1,"logIndex":1,"logID":""}}'

REFUSED: list[tuple[str, Callable[[], object], str]] = [
    ("empty", lambda: verify(""), "no JSON document"),
    ("no JSON", lambda: verify("promise"), "no JSON document"),
    ("no object", lambda: verify("[]"), r"\$: expected an object, found an array"),
    ("deep", lambda: verify("[" * 5000), "nesting depth"),
    ("large", lambda: verify(" " * 2**20 + "{}"), "JSON document bytes: limit 1,048,576"),
    ("a key twice", lambda: verify(TWICE), r"\$\.Payload\.body: key appears more than once"),
    ("not a number", lambda: verify('{"Payload":NaN}'), "NaN"),
    ("no timestamp", bundled(SignedEntryTimestamp=...), r"\$\.SignedEntryTimestamp: missing"),
    ("no payload", bundled(Payload=...), r"\$\.Payload: missing"),
    ("more than is known", bundled(more=1), r"\$\.more: unknown; expected SignedEntryTimestamp, Payload and nothing"),
    ("a payload that is none", bundled(Payload=None), r"\$\.Payload: expected an object, found null"),
    ("a timestamp that is none", bundled(SignedEntryTimestamp=1), r"SignedEntryTimestamp: expected a string, found 1"),
    ("a timestamp that is no base64", bundled(SignedEntryTimestamp="+"), r"SignedEntryTimestamp: not base64"),
    ("a timestamp with space", bundled(SignedEntryTimestamp="YQ==\n"), r"SignedEntryTimestamp: not base64"),
    ("loose bits", bundled(SignedEntryTimestamp="YR=="), r"SignedEntryTimestamp: base64 that nobody writes"),
    ("a timestamp that is no signature", bundled(SignedEntryTimestamp="YQ=="), "made by none of the keys"),
    ("an empty timestamp", bundled(SignedEntryTimestamp=""), "made by none of the keys"),
    *((f"without {key}", promised(**{key: ...}), rf"\$\.Payload\.{key}: missing") for key in LOG.payload(b"")),
    ("a promise with more", promised(more=1), r"\$\.Payload\.more: unknown"),
    ("a body that is none", promised(body=1), r"Payload\.body: expected a string, found 1"),
    ("a time that is text", promised(integratedTime="1"), r"integratedTime: expected a whole number, found a string"),
    ("a time with a fraction", promised(integratedTime=1.0), r"integratedTime: expected a whole number"),
    ("a time that is true", promised(integratedTime=True), r"integratedTime: expected a whole number, found true"),
    ("a time before all", promised(integratedTime=-1), r"integratedTime: expected a number from 0"),
    ("no time", promised(integratedTime=0), "is of no time"),
    ("a time after all", promised(integratedTime=10**12), r"integratedTime: expected a number from 0 to 253402300799"),
    ("a time of many digits", promised(integratedTime=10**400), "an integer of more than 128 bits"),
    ("an index that no double holds", promised(logIndex=2**53), r"logIndex: expected a number from 0 to"),
    ("an index below", promised(logIndex=-1), r"logIndex: expected a number from 0"),
    ("a log that is a number", promised(logID=1), r"logID: expected a string"),
    ("for another log", promised(logID="0" * 64), "made by the log [0-9a-f]{64}, and is for the log '0000"),
    ("for a log in capitals", promised(logID=LOG.log_id.upper()), "and is for the log"),
    ("by another log", lambda: verify(log_keys=[Log().public_key]), "made by none of the keys of the log"),
    ("no keys", lambda: verify(log_keys=[]), "that are trusted: none"),
    ("another time", moved(integratedTime=1), "made by none of the keys"),
    ("another index", moved(logIndex=1), "made by none of the keys"),
    ("another body", moved(body=b64(compact(ENTRY | {"kind": "x"}))), "made by none of the keys"),
    ("a body that is no base64", promised(body="+"), r"Payload\.body: not base64"),
    ("a body that is no JSON", promised(body=b64(b"\xff")), "the entry of the transparency log is no JSON"),
    ("a body with a key twice", promised(body=b64(b'{"a":1,"a":1}')), "key appears more than once"),
    ("a body that is a list", promised(body=b64(b"[]")), r"the entry of the transparency log: \$: expected an object"),
    *((f"entry without {key}", changed(key), rf"\$\.{key}: missing") for key in ENTRY),
    ("another kind", changed("kind", to="intoto"), r"\$\.kind: expected 'hashedrekord', found 'intoto'"),
    ("a kind of another kind", changed("kind", to={}), r"\$\.kind: expected 'hashedrekord', found an object"),
    ("another version", changed("apiVersion", to="0.0.2"), r"\$\.apiVersion: expected '0\.0\.1', found '0\.0\.2'"),
    ("no version", changed("apiVersion", to=None), r"\$\.apiVersion: expected '0\.0\.1', found null"),
    ("an entry with more", changed("Kind", to="x"), r"\$\.Kind: unknown"),
    ("no spec", changed("spec", to=None), r"\$\.spec: expected an object, found null"),
    ("no data", changed("spec", "data"), r"\$\.spec\.data: missing"),
    ("no hash", changed("spec", "data", "hash"), r"\$\.spec\.data\.hash: missing"),
    ("no algorithm", changed(*HASH_PATH, "algorithm"), r"\$\.spec\.data\.hash\.algorithm: missing"),
    ("no value", changed(*HASH_PATH, "value"), r"\$\.spec\.data\.hash\.value: missing"),
    ("another algorithm", changed(*HASH_PATH, "algorithm", to="sha512"), "expected 'sha256', found 'sha512'"),
    ("an odd number of digits", changed(*HASH_PATH, "value", to="a" * 63), "expected 64 hexadecimal digits"),
    ("no digits", changed(*HASH_PATH, "value", to="g" * 64), "expected 64 hexadecimal digits"),
    ("spaces", changed(*HASH_PATH, "value", to="aa " * 21 + "a"), "expected 64 hexadecimal digits"),
    ("another hash", changed(*HASH_PATH, "value", to="a" * 64), f"SHA-256 {'a' * 64}; what is signed has"),
    ("no signature", changed("spec", "signature"), r"\$\.spec\.signature: missing"),
    ("no content", changed("spec", "signature", "content"), r"\$\.spec\.signature\.content: missing"),
    ("an empty signature", changed("spec", "signature", "content", to=""), "is about another signature"),
    ("another signature", changed("spec", "signature", "content", to=b64(b"x")), "is about another signature"),
    ("a broken signature", changed("spec", "signature", "content", to="+"), r"signature\.content: not base64"),
    ("no public key", changed(*KEY_PATH), r"\$\.spec\.signature\.publicKey: missing"),
    ("no key in it", changed(*KEY_PATH, "content"), r"\$\.spec\.signature\.publicKey\.content: missing"),
    ("a key that is no base64", changed(*KEY_PATH, "content", to="+"), r"publicKey\.content: not base64"),
    ("a key that is no PEM", changed(*KEY_PATH, "content", to=b64(b"key")), "3 bytes are in no PEM block"),
    ("an empty key", changed(*KEY_PATH, "content", to=""), "expected PEM of a PUBLIC KEY or CERTIFICATE, found none"),
    ("two keys", changed(*KEY_PATH, "content", to=b64(SIGNER.pem * 2)), "expected one PEM block, found more"),
    ("something after", changed(*KEY_PATH, "content", to=b64(SIGNER.pem + b"x")), "1 bytes are in no PEM block"),
    (
        "another certificate",
        changed(*KEY_PATH, "content", to=b64(OTHER.pem)),
        "about another public key or certificate",
    ),
    (
        "the key alone",
        changed(*KEY_PATH, "content", to=b64(public_pem(SIGNER.key))),
        "another public key or certificate",
    ),
    ("a private key", changed(*KEY_PATH, "content", to=b64(pem("PRIVATE KEY", b"x"))), "found a PRIVATE KEY"),
    ("another payload", lambda: verify(payload=PAYLOAD + b" "), "is about content with the SHA-256"),
    ("a signature of another", lambda: verify(signature=b64(b"x")), "is about another signature"),
    ("a signature cut short", lambda: verify(signature=b64(SIGNATURE)[:-1]), "the signature: .*: not base64"),
    ("a signature with space", lambda: verify(signature=b64(SIGNATURE) + "\n"), "the signature: .*: not base64"),
    ("a signature of no ASCII", lambda: verify(signature="é"), "the signature: .*: not base64"),
    ("somebody else's certificate", lambda: verify(verifier_pem=OTHER.pem), "another public key or certificate"),
    ("no certificate", lambda: verify(verifier_pem=b""), "the public key of the signature: .* found none"),
    ("no PEM", lambda: verify(verifier_pem=b"this is not PEM"), "the public key of the signature: 15 bytes are in no"),
    ("two certificates", lambda: verify(verifier_pem=SIGNER.pem * 2), "the public key of the signature: expected one"),
    ("a large certificate", lambda: verify(verifier_pem=SIGNER.pem + b"\n" * 2**17), "limit 65,536"),
]


@pytest.mark.parametrize(("call", "reason"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_is_wrong_is_refused_with_its_reason(call: Callable[[], object], reason: str) -> None:
    """Everything is refused that is not a promise about this signature, and the message says what is not."""
    with pytest.raises(InvalidSignatureError, match=reason):
        call()


def test_only_keys_for_ecdsa_are_keys_of_logs() -> None:
    """A key of another kind is refused at once, also as one of several."""
    key = ed25519.Ed25519PrivateKey.generate()
    with pytest.raises(InvalidSignatureError, match="no key of a transparency log: expected one for ECDSA"):
        verify(log_keys=[LOG.public_key, PublicKey(key.public_key())])


def test_a_promise_alone_is_verified_for_whoever_knows_the_entry() -> None:
    """Bundles bring the parts of a promise apart: they are verified without an annotation around them."""
    payload = LOG.payload(b"anything")
    asked: dict[str, Any] = {
        "body": payload["body"],
        "integrated_time": payload["integratedTime"],
        "log_id": LOG.log_id,
    }
    made = sign(LOG.key, compact(payload))
    assert verify_promise(made, [LOG.public_key], log_index=7, **asked).integrated_time == NOW
    with pytest.raises(InvalidSignatureError, match="made by none of the keys"):
        verify_promise(made, [LOG.public_key], log_index=8, **asked)
    with pytest.raises(InvalidSignatureError, match="made by none of the keys"):
        verify_promise(made, [LOG.public_key], log_index=7, **asked | {"body": "\ud800"})


def test_an_entry_alone_is_matched() -> None:
    """So are entries."""
    match_hashedrekord(
        compact(ENTRY), verifier_pem=SIGNER.pem, signature=SIGNATURE, digest=hashlib.sha256(PAYLOAD).digest()
    )


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 2**53 - 1))
@example("".join(map(chr, range(0x80))) + "\u2028\U0001f600", 0)
def test_the_canonical_form_is_that_of_rfc_8785(text: str, number: int) -> None:
    """Only quotation marks, backslashes and control characters are escaped, each in its one way (§3.2.2.2)."""
    short = dict(zip('\b\t\n\f\r"\\', ("\\b", "\\t", "\\n", "\\f", "\\r", '\\"', "\\\\"), strict=True))
    escaped = "".join(short.get(one) or (f"\\u{ord(one):04x}" if one < " " else one) for one in text)
    expected = f'{{"body":"{escaped}","integratedTime":{number},"logID":"x","logIndex":3}}'
    assert canonical_promise(body=text, integrated_time=number, log_index=3, log_id="x") == expected.encode()


@given(st.data())
def test_no_byte_of_a_promise_can_be_changed(data: st.DataObject) -> None:
    """A changed character is refused, unless it only changes how the same is written."""
    at = data.draw(st.integers(0, 10_000)) % len(BUNDLE)
    other = data.draw(st.sampled_from(string.printable))
    made = BUNDLE[:at] + other + BUNDLE[at + 1 :]
    try:
        found = verify(made)
    except InvalidSignatureError:
        return
    assert json.loads(made) == json.loads(BUNDLE)
    assert found.integrated_time == NOW


def test_times_are_read_to_the_second() -> None:
    """The first and the last second there are come back as they are."""
    for seconds in (1, 253_402_300_799):
        at = dt.datetime.fromtimestamp(seconds, dt.UTC)
        assert verify(LOG.bundle(compact(ENTRY), at=at)).integrated_time == at
