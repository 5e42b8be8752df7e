"""Sigstore bundles that were changed, and entries of logs that prove nothing: why each is refused."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from authorities import Log, new_key
from bundle_logs import (
    MANIFEST,
    Content,
    Signer,
    another_signature,
    b64,
    checkpoint_text,
    dsse,
    dsse_v2,
    file_bundle,
    hashedrekord,
    hashedrekord_v2,
    intoto,
    log_entry,
    make_bundle,
    note,
    statement,
)
from bundle_trusts import BETWEEN, EMAIL, FULCIO, IDP, KEY, PREFIX, by_fulcio, by_key, verify

from ocikit.errors import InvalidSignatureError, LimitExceededError
from ocikit.image.signature.sigstore.bundle import verify_bundle
from ocikit.image.stored_signature import BUNDLE
from ocikit.spec import Digest

if TYPE_CHECKING:
    from collections.abc import Callable

    Tree = dict[str, Any]

# ------------------------------------------------------------------------------------------------------ what is refused


def at(tree: Tree, path: str) -> tuple[Any, Any]:
    """Return what holds the member at a path, and its key."""
    *way, last = [int(one) if one.isdigit() else one for one in path.split(".")]
    holder: Any = tree
    for one in way:
        holder = holder[one]
    return holder, last


ENTRY = "verificationMaterial.tlogEntries.0"
PROOF = f"{ENTRY}.inclusionProof"
GONE = object()

#: Where a good bundle by a key with an entry of a log is changed, to what, and why that is refused.
CHANGED: list[tuple[str, object, str]] = [
    ("mediaType", GONE, r"\$.mediaType: missing"),
    ("mediaType", PREFIX + "0.4", r"\$.mediaType: expected .* found '.*version=0.4'"),
    ("more", 1, r"\$.more: unknown"),
    ("verificationMaterial", GONE, "verificationMaterial: missing"),
    ("verificationMaterial.more", 1, "verificationMaterial.more: unknown"),
    ("verificationMaterial.publicKey", GONE, "expected exactly one of publicKey, .* found none"),
    ("verificationMaterial.certificate", {"rawBytes": "AA=="}, "found publicKey and certificate"),
    ("verificationMaterial.tlogEntries", {}, "tlogEntries: expected a list, found an object"),
    ("verificationMaterial.tlogEntries", [{}] * 33, "33 items, at most 32"),
    ("verificationMaterial.tlogEntries", [], "no entry of a transparency log that is trusted"),
    ("messageSignature", {"signature": "AA=="}, "exactly one of dsseEnvelope and messageSignature"),
    ("dsseEnvelope", GONE, "exactly one of dsseEnvelope and messageSignature"),
    ("dsseEnvelope", "x", "dsseEnvelope: expected an object, found a string"),
    ("dsseEnvelope.payload", GONE, "dsseEnvelope.payload: missing"),
    ("dsseEnvelope.payload", "not base64!", "dsseEnvelope.payload: not base64"),
    ("dsseEnvelope.payload", b64(statement(Digest.from_bytes(b"other"))), "not made by a key that is trusted"),
    ("dsseEnvelope.payloadType", "text/plain", "not made by a key that is trusted"),
    ("dsseEnvelope.signatures", [], "signatures: expected exactly one, found none"),
    ("dsseEnvelope.signatures", [{"sig": "AA=="}] * 2, "signatures: 2 items, at most 1"),
    ("dsseEnvelope.signatures.0.sig", "AA==", "not made by a key that is trusted"),
    ("dsseEnvelope.signatures.0.sig", "AB==", "sig: not base64"),
    ("dsseEnvelope.signatures.0.sig", 5, "sig: expected a string, found 5"),
    (f"{ENTRY}.logIndex", "-1", "logIndex: expected a whole number"),
    (f"{ENTRY}.logIndex", "8", "promise of the transparency log was made by none of the keys"),
    (f"{ENTRY}.logIndex", True, "logIndex: expected a whole number"),
    (f"{ENTRY}.logIndex", "\u0667", "logIndex: expected a whole number"),
    (f"{ENTRY}.logIndex", str(2**63), "logIndex: expected a whole number"),
    (f"{ENTRY}.integratedTime", "1", "promise of the transparency log was made by none of the keys"),
    (f"{ENTRY}.integratedTime", GONE, "promise of the transparency log was made by none of the keys"),
    (f"{ENTRY}.logId.keyId", b64(b"x" * 32), "no entry of a transparency log that is trusted"),
    (f"{ENTRY}.kindVersion.kind", "intoto", "an entry of the kind 'intoto', version '0.0.1': expected one of"),
    (f"{ENTRY}.kindVersion.kind", "hashedrekord", r"\$.kind: expected 'hashedrekord', found 'dsse'"),
    (f"{ENTRY}.kindVersion.version", "0.0.2", r"\$.apiVersion: expected '0.0.2', found '0.0.1'"),
    (f"{ENTRY}.inclusionPromise", {}, "signedEntryTimestamp: missing"),
    (f"{ENTRY}.inclusionPromise.signedEntryTimestamp", "AAAA", "made by none of the keys"),
    (f"{ENTRY}.canonicalizedBody", b64(b"{}"), "the proof leads to a log with the root"),
    (PROOF, GONE, "has no proof of inclusion"),
    (f"{PROOF}.checkpoint", GONE, "has no checkpoint with its proof of inclusion"),
    (f"{PROOF}.rootHash", b64(b"x" * 32), "the checkpoint is of a log with the root"),
    (f"{PROOF}.treeSize", "9", "checkpoint is of a log of 3 entries, the proof of one of 9"),
    (f"{PROOF}.logIndex", "3", "there is no entry 3 in a log of 3"),
    (f"{PROOF}.logIndex", "0", "the proof leads to a log with the root|hashes, (more|fewer) than"),
    (f"{PROOF}.hashes", [], "0 hashes, fewer than the way to the root"),
    (f"{PROOF}.hashes", [b64(b"x" * 32)] * 9, "9 hashes, more than the way to the root"),
    (f"{PROOF}.hashes", [b64(b"x" * 32)] * 64, "hashes: 64 items, at most 63"),
    (f"{PROOF}.hashes.0", b64(b"x" * 31), "a hash of the proof has 31 bytes"),
    (f"{PROOF}.hashes.0", b64(b"x" * 32), "the proof leads to a log with the root"),
    (f"{PROOF}.hashes.0", 5, "hashes: item 0 is not base64"),
    (f"{PROOF}.hashes.0", "!", "hashes: item 0 is not base64"),
    (f"{PROOF}.checkpoint.envelope", "", "envelope: missing"),
    (f"{PROOF}.checkpoint.envelope", "x", "the checkpoint has no signatures"),
    ("verificationMaterial.timestampVerificationData", {"rfc3161Timestamps": [{"x": 1}]}, "x: unknown"),
]


@pytest.fixture(scope="module", name="logged")
def logged_bundle() -> tuple[Tree, Log]:
    """A good bundle, third in a log of three."""
    log = Log()
    log.add(b"first")
    log.add(b"second")
    return make_bundle(statement(), KEY, logs=[log]), log


@pytest.mark.parametrize(("path", "value", "reason"), CHANGED, ids=range(len(CHANGED)))
def test_a_bundle_that_was_changed_is_refused(path: str, value: object, reason: str, logged: tuple[Tree, Log]) -> None:
    """Whatever is changed in a good bundle, it is refused for just that."""
    bundle = copy.deepcopy(logged[0])
    verify(bundle, by_key(logged[1]))
    holder, key = at(bundle, path)
    if value is GONE:
        del holder[key]
    else:
        holder[key] = value
    with pytest.raises(InvalidSignatureError, match=reason):
        verify(bundle, by_key(logged[1]))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no JSON document"),
        (b"[]", r"\$: expected an object, found an array"),
        (b"\xff", "no JSON document"),
        (b'{"mediaType":"a","mediaType":"b"}', "appears more than once"),
        (b"[" * 100_000, "no JSON document"),
        (b'{"a":' + b"9" * 10_000 + b"}", "no JSON document"),
    ],
)
def test_what_is_no_bundle_is_refused(data: bytes, reason: str) -> None:
    """Bytes that are no bundle are refused as such."""
    with pytest.raises(InvalidSignatureError, match=reason):
        verify_bundle(data, by_key())


def test_a_bundle_has_a_limit() -> None:
    """Nothing is parsed of more than is ever kept."""
    with pytest.raises(LimitExceededError, match="bytes of a sigstore bundle"):
        verify_bundle(b" " * (4 * 1024 * 1024 + 1), by_key())


def elsewhere(*way: Any, value: object) -> Callable[[Tree], None]:
    """Change an entry before a log takes it in: the log then vouches for what is wrong."""

    def change(body: Tree) -> None:
        holder, key = at(body, ".".join(map(str, way)))
        holder[key] = value

    return change


SIGNED_BY_ANOTHER = "is about a signature by another key or certificate"
OTHER = b64(Signer.new().pem)

#: What a log took in, which is not about the signature: the kind, what is wrong, and the reason.
UNRELATED: list[tuple[Callable[[Content], Tree], Callable[[Tree], None], str]] = [
    (dsse, elsewhere("spec.payloadHash.value", value="0" * 64), "payloadHash.value: is about other content"),
    (dsse, elsewhere("spec.payloadHash.algorithm", value="md5"), "algorithm: expected 'sha256'"),
    (dsse, elsewhere("spec.signatures", value=[]), "expected exactly one signature, found none"),
    (dsse, elsewhere("spec.signatures", value=[{}] * 2), "2 items, at most 1"),
    (dsse, elsewhere("spec.signatures.0.signature", value="AAAA"), "signature: is about another signature"),
    (dsse, elsewhere("spec.signatures.0.verifier", value=OTHER), SIGNED_BY_ANOTHER),
    (dsse, elsewhere("spec.signatures.0.verifier", value="AAAA"), "3 bytes are in no PEM block"),
    (hashedrekord, elsewhere("spec.data.hash.value", value="0" * 64), "is about other content"),
    (hashedrekord, elsewhere("spec.data.hash.algorithm", value="sha1"), "algorithm: expected 'sha256'"),
    (hashedrekord, elsewhere("spec.signature.content", value="AAAA"), "is about another signature"),
    (hashedrekord, elsewhere("spec.signature.publicKey.content", value=OTHER), SIGNED_BY_ANOTHER),
    (intoto, elsewhere("spec.content.payloadHash.value", value="0" * 64), "is about other content"),
    (intoto, elsewhere("spec.content.envelope.payloadType", value="x"), "payloadType: expected 'application/vnd.in"),
    (intoto, elsewhere("spec.content.envelope.signatures.0.sig", value=b64(b"!")), "sig: not base64 of base64"),
    (intoto, elsewhere("spec.content.envelope.signatures.0.sig", value=b64(b"AAAA")), "is about another signature"),
    (intoto, elsewhere("spec.content.envelope.signatures.0.publicKey", value=OTHER), SIGNED_BY_ANOTHER),
    (dsse_v2, elsewhere("spec.dsseV002.payloadHash.digest", value="AAAA"), "digest: is about other content"),
    (dsse_v2, elsewhere("spec.dsseV002.payloadHash.algorithm", value="SHA1"), "algorithm: expected 'SHA2_256'"),
    (dsse_v2, elsewhere("spec.dsseV002.signatures.0.content", value="AAAA"), "is about another signature"),
    (hashedrekord_v2, elsewhere("spec.hashedRekordV002.data.digest", value="AAAA"), "is about other content"),
    (hashedrekord_v2, elsewhere("spec.hashedRekordV002.signature.verifier", value={}), "publicKey: missing"),
    (
        hashedrekord_v2,
        elsewhere("spec.hashedRekordV002.signature.verifier.publicKey.rawBytes", value="AAAA"),
        SIGNED_BY_ANOTHER,
    ),
]


@pytest.mark.parametrize(("kind", "change", "reason"), UNRELATED, ids=range(len(UNRELATED)))
def test_an_entry_about_something_else_is_refused(
    kind: Callable[[Content], Tree], change: Callable[[Tree], None], reason: str
) -> None:
    """A log vouches for having an entry, and that it is about this signature is checked part by part."""
    log = Log()
    with pytest.raises(InvalidSignatureError, match=f"entry 0 of the transparency log: .*{reason}"):
        verify(make_bundle(statement(), KEY, logs=[log], kind=kind, change=change), by_key(log))


@pytest.mark.parametrize("kind", [dsse, hashedrekord, intoto, hashedrekord_v2, dsse_v2])
def test_an_entry_about_another_signature_by_the_same_key_is_refused(kind: Callable[[Content], Tree]) -> None:
    """A second signature over the same content is another one, and so is one over other content by the same key."""
    log = Log()
    bundle = make_bundle(statement(), KEY, logs=[log], kind=kind, about=another_signature)
    with pytest.raises(InvalidSignatureError, match="is about another signature"):
        verify(bundle, by_key(log))
    other = Content.of_envelope(statement(name="other"), KEY)
    with pytest.raises(InvalidSignatureError, match="is about other content"):
        verify(make_bundle(statement(), KEY, logs=[log], kind=kind, about=lambda _: other), by_key(log))


def test_an_entry_about_an_envelope_proves_no_file() -> None:
    """A bundle without an envelope has no entry about one."""
    log = Log()
    bundle = file_bundle(MANIFEST, KEY, logs=[log])
    content = Content.of_file(MANIFEST, KEY)
    bundle["verificationMaterial"]["tlogEntries"] = [log_entry(log, dsse(content))]
    with pytest.raises(InvalidSignatureError, match="is about an envelope, and the bundle has none"):
        verify(bundle, by_key(log), message=MANIFEST)


def test_the_key_in_the_log_is_not_the_certificate() -> None:
    """Where a certificate is asked for, the log must have that, and no other certificate of the same key."""
    log = Log()
    twin = Signer.certified(BETWEEN.issue(emails=[EMAIL], identity_provider=IDP, key=FULCIO.key))
    for other in (Signer(key=FULCIO.key), twin):
        bundle = make_bundle(statement(), FULCIO, logs=[log], about=lambda one, by=other: evolve(one, signer=by))  # type: ignore[misc]
        with pytest.raises(InvalidSignatureError, match=SIGNED_BY_ANOTHER):
            verify(bundle, by_fulcio(log))


def test_an_entry_counts_once() -> None:
    """The same entry twice is refused, whatever it would prove."""
    log = Log()
    bundle = make_bundle(statement(), KEY, logs=[log])
    bundle["verificationMaterial"]["tlogEntries"] *= 2
    with pytest.raises(InvalidSignatureError, match="entry 1 of the transparency log: is there twice"):
        verify(bundle, by_key(log))


def test_one_wrong_entry_of_a_trusted_log_is_enough() -> None:
    """A good entry makes no other one good."""
    log = Log()
    content = Content.of_envelope(statement(), KEY)
    bundle = make_bundle(statement(), KEY, logs=[log])
    bundle["verificationMaterial"]["tlogEntries"].append(log_entry(log, dsse(content), index=9))
    with pytest.raises(InvalidSignatureError, match=r"entry 1 of the transparency log: .*another signature"):
        verify(bundle, by_key(log))


def test_logs_are_not_asked_for_who_trusts_none() -> None:
    """Without a key of a log nothing that logs say can be verified, and nothing of it is needed."""
    bundle = make_bundle(statement(), KEY, logs=[Log()])
    bundle["verificationMaterial"]["tlogEntries"][0]["canonicalizedBody"] = b64(b"nonsense")
    assert verify(bundle, by_key())[0].entry is None
    with pytest.raises(InvalidSignatureError, match=r"no entry of a transparency log that is trusted: .* found none"):
        verify(make_bundle(statement(), KEY), by_key(Log()))


def test_version_0_1_needs_the_promise() -> None:
    """A bundle of version 0.1 is logged by a promise, and not by a proof alone."""
    log = Log()
    bundle = make_bundle(statement(), KEY, logs=[log], promise=False, media_type=PREFIX + "0.1")
    with pytest.raises(InvalidSignatureError, match=r"no promise of the log, which a bundle of version 0\.1 must have"):
        verify(bundle, by_key(log))
    bundle = make_bundle(statement(), KEY, logs=[log], media_type=PREFIX + "0.1")
    proof = bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
    del proof["checkpoint"]
    proof["rootHash"] = b64(b"x" * 32)
    with pytest.raises(InvalidSignatureError, match="the proof leads to a log with the root"):
        verify(bundle, by_key(log))


# ---------------------------------------------------------------------------------------------------------- checkpoints


def other_text(log: Log, text: str) -> str:
    """Sign something else."""
    return note(log.key, text)


CHECKPOINTS: list[tuple[Callable[[Log], str], str]] = [
    (lambda log: note(new_key(), checkpoint_text(log)), "not signed by the log: none of its 1 signatures"),
    (lambda log: note(log.key, checkpoint_text(log), name="other.example.com"), "none of its 1 signatures"),
    (lambda log: note(log.key, checkpoint_text(log), hint=b"\0\0\0\0"), "none of its 1 signatures"),
    (
        lambda log: note(new_key(), checkpoint_text(log), hint=bytes.fromhex(log.log_id)[:4]),
        "its signature was not made",
    ),
    (lambda log: note(log.key, checkpoint_text(log, size=2)), "the checkpoint is of a log of 2 entries"),
    (lambda log: note(log.key, checkpoint_text(log, root=b"x" * 32)), "the checkpoint is of a log with the root"),
    (lambda log: note(log.key, checkpoint_text(log, root=b"x" * 31)), "expected the root of the log, 32 bytes"),
    (lambda log: note(log.key, checkpoint_text(log).replace("\n1\n", "\n01\n")), "expected the size of the log"),
    (lambda log: note(log.key, checkpoint_text(log).replace("\n1\n", "\n-1\n")), "expected the size of the log"),
    (lambda log: note(log.key, "log.example.com\n1\n"), "expected lines with the origin, the size and the root"),
    (lambda log: note(log.key, checkpoint_text(log) + "\n"), "expected lines with the origin|has no signatures"),
    (lambda log: checkpoint_text(log) + "\n- log.example.com AAAAAAAA\n", "malformed signature"),
    (lambda log: checkpoint_text(log) + "\n\u2014 log.example.com AAAA\n", "malformed signature"),
    (lambda log: checkpoint_text(log) + "\n\u2014 log.example.com\n", "malformed signature"),
    (lambda log: note(log.key, checkpoint_text(log)).rstrip("\n"), "has no signatures"),
    (lambda log: note(log.key, checkpoint_text(log)) + "\u2014 a AAAAAAAA\n" * 64, "65 signatures, at most 64"),
    (lambda log: note(log.key, checkpoint_text(log) + "x" * 70_000 + "\n"), "characters, at most 65,536"),
]


@pytest.mark.parametrize(("make", "reason"), CHECKPOINTS, ids=range(len(CHECKPOINTS)))
def test_checkpoints_are_by_the_log_and_about_its_tree(make: Callable[[Log], str], reason: str) -> None:
    """What the proof leads to is what the log has signed, under its name, with its key."""
    log = Log()
    bundle = make_bundle(statement(), KEY, logs=[log])
    entry = bundle["verificationMaterial"]["tlogEntries"][0]
    entry["inclusionProof"]["checkpoint"]["envelope"] = make(log)
    with pytest.raises(InvalidSignatureError, match=f"entry 0 of the transparency log: .*{reason}"):
        verify(bundle, by_key(log))


def test_witnesses_and_further_lines_do_no_harm() -> None:
    """Others may have signed a checkpoint before and after the log, and the log may say more."""
    log = Log()
    bundle = make_bundle(statement(), KEY, logs=[log])
    text = checkpoint_text(log) + "Timestamp: 1\n"
    own, other = (note(key, text, name=name) for key, name in ((log.key, "log.example.com"), (new_key(), "witness")))
    entry = bundle["verificationMaterial"]["tlogEntries"][0]
    entry["inclusionProof"]["checkpoint"]["envelope"] = other + own.rpartition("\n\n")[2] + other.rpartition("\n\n")[2]
    assert verify(bundle, by_key(log))[0].entry is not None
    assert bundle["mediaType"] == BUNDLE
