"""What is refused, and why: every way in which a signature can fail to prove what a policy asks, one change at a time.

Each case begins with what is accepted (the first test), changes one thing, and is refused for that reason and no other.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from authorities import NOW, SERVER, YEAR, Authority, Log, public_pem
from bundle_logs import Signer, statement
from cryptography.hazmat.primitives.asymmetric import rsa
from openpgp_maker import (
    Key,
    armored,
    certificate,
    compressed,
    direct,
    lasts,
    literal,
    message,
    named,
    packet,
    signature,
    with_subkey,
)
from openpgp_maker import bound as binding
from signed_scene import (
    CALLED,
    CERTIFICATE,
    DAY,
    EMAIL,
    HOST,
    NAME,
    PROMISE,
    PROVIDER,
    SIGNATURE,
    SIMPLE_TYPE,
    TODAY,
    Scene,
    annotated,
    document,
)

from ocikit.image.signature import (
    ExactReference,
    InsecureAcceptAnything,
    MatchDigest,
    MatchExact,
    PrivateKey,
    Reject,
    SignatureKind,
    SignedBaseLayer,
    SignedBy,
    SigstoreSigned,
)
from ocikit.image.stored_signature import SIGSTORE_PAYLOAD, SigstoreSignature
from ocikit.spec import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

OTHER = Digest.from_bytes(b"another manifest")


class Case(NamedTuple):
    """What is asked, what is there, and what has to be said of it."""

    name: str
    asked: Any
    signatures: tuple[bytes, ...]
    reason: str


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Everybody who signs, once."""
    return Scene(tmp_path_factory.mktemp("scene"))


def test_what_is_right_is_accepted(scene: Scene) -> None:
    """The cases below differ from these in one thing each."""
    between = scene.fulcio.below(begins=NOW - YEAR, ends=NOW + YEAR)
    below = between.issue(emails=[EMAIL], identity_provider=PROVIDER)
    accepted = [
        (scene.by_key(), scene.sigstore(), SignatureKind.SIGSTORE),
        (scene.by_logged_key(), scene.logged(), SignatureKind.SIGSTORE),
        (scene.by_fulcio(), scene.certified(scene.given()), SignatureKind.SIGSTORE),
        (scene.by_fulcio(), scene.certified(below, chain=between.text), SignatureKind.SIGSTORE),
        (scene.by_pki(), scene.by_certificate(scene.owned()), SignatureKind.SIGSTORE),
        (scene.by_pki(subject_hostname=HOST), scene.by_certificate(scene.owned(hosts=[HOST])), SignatureKind.SIGSTORE),
        (scene.by_openpgp(), scene.simple(), SignatureKind.SIMPLE),
        (scene.by_openpgp(), compressed(scene.simple()), SignatureKind.SIMPLE),
        (scene.by_key(), scene.bundle(), SignatureKind.BUNDLE),
        (scene.by_logged_key(), scene.bundle(logs=[scene.log]), SignatureKind.BUNDLE),
    ]
    for asked, blob, kind in accepted:
        (found,) = scene.verify(asked, blob).signatures
        assert found.kind is kind
        assert str(found.digest) == scene.digest
        assert found.docker_reference == NAME


# ------------------------------------------------------------------------------------------------- how they are stored


def stored(scene: Scene) -> Iterator[Case]:
    """Yield signatures that are none, or not of the kind that is asked for."""
    by_key, good = scene.by_key(), scene.sigstore()

    def case(name: str, blob: bytes, reason: str) -> Case:
        return Case(name, by_key, (blob,), reason)

    yield Case("no signature", by_key, (), "and the image has no signature")
    yield case("only an OpenPGP signature", scene.simple(), "only signatures of other kinds: 1")
    yield Case("only a sigstore signature", scene.by_openpgp(), (good,), "only signatures of other kinds: 1")
    yield case("an empty signature", b"", "signature 1: the signature is empty")
    yield case("text", b"signed by me", "begins with 73 69 67 6e")
    yield Case(
        "clear-signed",
        scene.by_openpgp(),
        (b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{}\n",),
        "expected an OpenPGP message that is not armored",
    )
    yield Case("armored", scene.by_openpgp(), (armored(scene.simple(), "MESSAGE"),), "that is not armored")
    yield case("another format", b"\0notation\n{}", "is in the format b'notation'")
    yield case("no name of a format", b"\0sigstore-json", "no line feed ends the name")
    yield case("no JSON", b"\0sigstore-json\n{", "is no JSON document")
    doubled = good.replace(b'"mimeType"', b'"mimeType":"x","mimeType"', 1)
    yield case("JSON with a key twice", doubled, "more than once")
    yield case("a payload that is no base64", b'\0sigstore-json\n{"mimeType":"a","payload":"%"}', "$.payload")
    number = b'\0sigstore-json\n{"mimeType":"a","payload":"","annotations":{"a":1}}'
    yield case("an annotation that is no text", number, "expected a string, found")
    other = SigstoreSignature(media_type="text/plain", payload=b"x").to_blob()
    yield case("another media type", other, "only signatures of other kinds: 1")


# --------------------------------------------------------------------------------------------------- what they say


def said(scene: Scene) -> Iterator[Case]:
    """Yield signatures by the right key that say something else, or say it in another way."""
    by_key = scene.by_key()

    def case(name: str, payload: bytes, reason: str) -> Case:
        return Case(name, by_key, (scene.sigstore(payload),), reason)

    def changed(what: str, reason: str, **changes: Any) -> Case:
        return case(what, scene.payload(**changes), reason)

    yield changed(
        "wrong digest",
        f"is about another manifest: {OTHER}",
        critical={"image": {"docker-manifest-digest": str(OTHER)}},
    )
    yield changed("another repository", "expected the repository", name="registry.example.com/team/other:1")
    yield changed("no name", "no name of an image", name="")
    yield changed("another payload type", "$.critical.type: expected", type=SIMPLE_TYPE)
    yield changed("a made-up payload type", "$.critical.type: expected", type="cosign container image signature ")
    yield changed("no digest", "expected a digest such as", critical={"image": {"docker-manifest-digest": "latest"}})
    yield changed(
        "a weak digest", "another manifest", critical={"image": {"docker-manifest-digest": "md5:" + "a" * 32}}
    )
    yield changed("more in critical", "$.critical.more: unknown", critical={"more": 1})
    yield changed("more in image", "unknown", critical={"image": {"docker-manifest-digest": scene.digest, "x": 1}})
    yield changed("more on top", "$.more: unknown", more=1)
    yield changed("a creator that is no text", "$.optional.creator", optional={"creator": 1})
    yield changed("a time that is no number", "$.optional.timestamp", optional={"timestamp": "now"})
    yield changed("a time in fractions", "expected a whole number", optional={"timestamp": 1.5})
    yield changed("optional is a list", "$.optional: expected an object", optional=[])
    whole = document(scene.digest)
    yield case("no optional", json.dumps({"critical": whole["critical"]}).encode(), "$.optional: missing")
    yield case("no critical", b'{"optional":{}}', "$.critical: missing")
    yield case("no JSON", b"not JSON", "what is signed is no JSON document")
    yield case(
        "JSON with a key twice",
        scene.payload().replace(b'"critical"', b'"critical":{},"critical"', 1),
        "more than once",
    )
    inner = scene.payload().replace(
        b'"docker-manifest-digest"', b'"docker-manifest-digest":"","docker-manifest-digest"'
    )
    yield case("JSON with a key twice within", inner, "more than once")
    yield case("JSON and something after it", scene.payload() + b"{}", "what is signed is no JSON document")
    yield Case(
        "another tag",
        SigstoreSigned(key_data=scene.key.public_key.pem, signed_identity=ExactReference(docker_reference=f"{NAME}1")),
        (scene.sigstore(),),
        f"expected exactly '{NAME}1'",
    )
    yield Case(
        "an image without a name",
        SigstoreSigned(key_data=scene.key.public_key.pem),
        (scene.sigstore(),),
        "exactReference or exactRepository",
    )


# ------------------------------------------------------------------------------------------------------------- keys


def keys(scene: Scene) -> Iterator[Case]:
    """Yield signatures that the key did not make, and keys that are none."""
    by_key, good = scene.by_key(), scene.sigstore()
    stranger = PrivateKey.generate()

    def asked(name: str, pem: bytes, reason: str) -> Case:
        return Case(name, SigstoreSigned(key_data=pem, signed_identity=CALLED), (good,), reason)

    yield Case("another key", by_key, (scene.sigstore(key=stranger),), "was not made by the key")
    yield Case("another payload", by_key, (scene.sigstore(signed=scene.payload() + b" "),), "was not made by the key")
    nothing = SigstoreSignature(media_type=SIGSTORE_PAYLOAD, payload=scene.payload()).to_blob()
    yield Case("no signature in it", by_key, (nothing,), SIGNATURE)
    broken = SigstoreSignature(media_type=SIGSTORE_PAYLOAD, payload=scene.payload(), annotations={SIGNATURE: "%%"})
    yield Case("no base64", by_key, (broken.to_blob(),), "base64")
    made = bytearray(scene.key.sign(scene.payload()))
    made[-1] ^= 1
    yield Case("corrupted", by_key, (annotated(scene.payload(), bytes(made), {}),), "was not made by the key")
    yield Case("cut off", by_key, (annotated(scene.payload(), bytes(made[:-9]), {}),), "was not made by the key")
    yield Case("nothing", by_key, (annotated(scene.payload(), b"", {}),), "was not made by the key")
    yield asked("a key that is none", b"key", "expected a public key, PEM")
    yield asked("a private key", scene.key.to_encrypted_pem("x"), "expected a public key, PEM")
    yield Case(
        "a key that is not there",
        SigstoreSigned(key_path="/nowhere/team.pub", signed_identity=CALLED),
        (good,),
        "/nowhere/team.pub cannot be read: No such file",
    )
    yield Case(
        "a second key that is damaged",
        SigstoreSigned(key_datas=[scene.key.public_key.pem, b"key"], signed_identity=CALLED),
        (good,),
        "the policy's keyData: expected a public key",
    )
    certified = scene.given()
    yield Case(
        "a certificate in place of the key", by_key, (scene.by_certificate(certified),), "was not made by the key"
    )


# -------------------------------------------------------------------------------------------------------------- logs


def logs(scene: Scene) -> Iterator[Case]:
    """Yield what a transparency log did not promise."""
    asked = scene.by_logged_key()
    other = PrivateKey.generate()

    def case(name: str, blob: bytes, reason: str) -> Case:
        return Case(name, asked, (blob,), reason)

    yield case("missing", scene.sigstore(), PROMISE)
    yield case("forged", scene.logged(log=Log()), "by none of the keys of the log")
    yield case("another log's name", scene.logged(log_id="0" * 64), "and is for the log")
    about = scene.logged(other={"verifier_pem": other.public_key.pem})
    yield case("about another key", about, "about another public key")
    yield case("about another signature", scene.logged(other={"signature": b"x" * 70}), "about another signature")
    yield case("about other content", scene.logged(other={"payload": b"other"}), "about content with the SHA-256")
    yield case("no JSON", scene.promised("soon"), "no JSON document")
    yield case("empty", scene.promised("{}"), "$.SignedEntryTimestamp: missing")
    body = Log.hashedrekord(scene.key.public_key.pem, scene.key.sign(scene.payload()), scene.payload())
    promised = scene.log.payload(body)
    moved = {"SignedEntryTimestamp": scene.log.promise(promised), "Payload": {**promised, "integratedTime": 1}}
    yield case("another time", scene.promised(json.dumps(moved)), "by none of the keys of the log")
    twice = scene.log.bundle(body).replace('"Payload"', '"Payload":{},"Payload"', 1)
    yield case("a key twice", scene.promised(twice), "more than once")
    wrong = scene.log.bundle(body.replace(b"hashedrekord", b"rekord"))
    yield case("another kind of entry", scene.promised(wrong), "$.kind: expected 'hashedrekord'")
    rsa_key = rsa.generate_private_key(65537, 2048)
    yield Case(
        "a log's key for RSA",
        scene.by_key(rekor_public_key_data=public_pem(rsa_key)),
        (scene.logged(),),
        "of the transparency log is none for ECDSA",
    )


# ------------------------------------------------------------------------------------------------------ certificates


def fulcio(scene: Scene) -> Iterator[Case]:
    """Yield certificates that Fulcio did not give to the one who is wanted, then."""
    asked, given = scene.by_fulcio(), scene.given()

    def case(name: str, blob: bytes, reason: str) -> Case:
        return Case(name, asked, (blob,), reason)

    yield case("no certificate", scene.logged(), CERTIFICATE)
    made = given.sign(scene.payload())
    yield case("no log", annotated(scene.payload(), made, {CERTIFICATE: given.text}), PROMISE)
    stranger = Authority.root("stranger").issue(emails=[EMAIL], identity_provider=PROVIDER)
    yield case("another authority", scene.certified(stranger), "authority")
    namesake = Authority.root("fulcio").issue(emails=[EMAIL], identity_provider=PROVIDER)
    yield case("an authority of the same name", scene.certified(namesake), "authority")
    yield case("expired when it was logged", scene.certified(given, at=NOW + YEAR / 2), "no longer valid")
    yield case("not yet given when it was logged", scene.certified(given, at=NOW - YEAR / 2), "not yet valid")
    wrong = scene.given(identity_provider="https://other.example.com")
    yield case("wrong issuer", scene.certified(wrong), "names the identity provider 'https://other.example.com'")
    yield case("no issuer", scene.certified(scene.given(identity_provider=None)), "names no identity provider")
    yield case(
        "wrong e-mail",
        scene.certified(scene.given(emails=["evil@example.com"])),
        "is for the mail addresses 'evil@example.com'",
    )
    yield case("two e-mails", scene.certified(scene.given(emails=["a@a.a", "b@b.b"])), "'a@a.a', 'b@b.b'; expected")
    yield case("a host", scene.certified(scene.given(emails=[], hosts=[HOST])), "is for the mail addresses none")
    yield case("for servers", scene.certified(scene.given(purposes=[SERVER])), "not for signing code")
    between = scene.fulcio.below(begins=NOW - YEAR, ends=NOW + YEAR)
    below = between.issue(emails=[EMAIL], identity_provider=PROVIDER)
    yield case("broken chain", scene.certified(below), "authority")
    old = scene.fulcio.below(begins=NOW - YEAR, ends=NOW - YEAR / 2)
    late = old.issue(emails=[EMAIL], identity_provider=PROVIDER)
    yield case("expired chain", scene.certified(late, chain=old.text), "no longer valid")
    leaf = scene.given(name="leaf", ca=False)
    below_leaf = Authority(certificate=leaf.certificate, key=leaf.key).issue(emails=[EMAIL], identity_provider=PROVIDER)
    yield case("below a certificate of a signer", scene.certified(below_leaf, chain=leaf.text), "authority")
    yield case("logged for another certificate", swapped(scene), "about another public key or certificate")


def swapped(scene: Scene) -> bytes:
    """Make a signature that shows another certificate of the same key than the log has seen."""
    first = scene.given()
    second = scene.given(key=first.key)
    payload, made = scene.payload(), first.sign(scene.payload())
    promise = scene.log.bundle(Log.hashedrekord(first.pem, made, payload))
    return annotated(payload, made, {CERTIFICATE: second.text, PROMISE: promise})


def pki(scene: Scene) -> Iterator[Case]:
    """Yield certificates of an authority of one's own that are not good today, or for somebody else."""
    asked, host = scene.by_pki(), scene.by_pki(subject_hostname=HOST)

    def case(name: str, blob: bytes, reason: str, requirement: SigstoreSigned = asked) -> Case:
        return Case(name, requirement, (blob,), reason)

    yield case("no certificate", scene.sigstore(), CERTIFICATE)
    expired = scene.owned(begins=TODAY - DAY, ends=TODAY - DAY / 2)
    yield case("expired", scene.by_certificate(expired), "no longer valid")
    yield case("wrong e-mail", scene.by_certificate(scene.owned(emails=["evil@example.com"])), "evil@example.com")
    yield case("wrong host", scene.by_certificate(scene.owned(hosts=["evil.example.com"])), HOST, host)
    yield case("no host", scene.by_certificate(scene.owned()), HOST, host)
    both = scene.by_pki(subject_email=EMAIL, subject_hostname=HOST)
    yield case("one of two", scene.by_certificate(scene.owned()), HOST, both)
    stranger = Authority.root("own", begins=TODAY - DAY, ends=TODAY + DAY)
    other = stranger.issue(emails=[EMAIL], begins=TODAY - DAY, ends=TODAY + DAY)
    yield case("another authority", scene.by_certificate(other), "authority")
    yield case("which brings itself", scene.by_certificate(other, chain=stranger.text), "authority")
    yield case("no PEM", annotated(scene.payload(), b"x", {CERTIFICATE: "certificate"}), "certificate")


# ----------------------------------------------------------------------------------------------------------- OpenPGP


def simple(scene: Scene) -> Iterator[Case]:
    """Yield simple signatures that are not valid, not by the key, or about something else."""
    key, other = scene.openpgp, Key(number=1)
    asked, content = scene.by_openpgp(), json.dumps(scene.simple_document()).encode()

    def case(name: str, blob: bytes, reason: str, keyring: bytes | None = None) -> Case:
        return Case(name, asked if keyring is None else scene.by_openpgp(keyring), (blob,), reason)

    def says(what: str, reason: str, **changed: Any) -> Case:
        return case(what, scene.simple(document_of=scene.simple_document(**changed)), reason)

    yield case("another key", scene.simple(key=other), "which is unknown here")
    yield case("unsigned literal", packet(11, literal(content)), "begins with cb")
    yield case("compressed unsigned literal", compressed(packet(11, literal(content))), "signature")
    yield case("detached", packet(2, signature(key, 0, content)), "the OpenPGP message")
    good = scene.simple()
    yield case("corrupted", good.replace(b"registry", b"registrY"), "not accepted")
    yield case("cut off", good[:-20], "the OpenPGP message")
    yield case("more after it", good + b"\0", "the OpenPGP message")
    yield case("over text", message(key, content, kind=1), "expected 0x00, one over binary data")
    yield case("with a weak hash", message(key, content, hash_name="sha1"), "SHA-1")
    yield case("expired signature", message(key, content, hashed=lasts(3, 1)), "expired")
    yield case("expired key", good, "expired", certificate(key, hashed=lasts(9, 1)))
    yield case(
        "revoked key",
        good,
        "revoked",
        packet(6, key.body) + direct(key, kind=0x20) + certificate(key)[len(packet(6, key.body)) :],
    )
    primary = Key(number=2)
    revoked = with_subkey(primary, key, binding(primary, key, kind=0x28, flag=None))
    yield case("revoked subkey", good, "revoked", revoked)
    yield case(
        "a subkey that is not signed back", good, "has not signed that it belongs", with_subkey(primary, key, back=None)
    )
    yield case("a key that may not sign", good, "sign", certificate(key, flag=0x01))
    yield case("a name that nobody has bound", good, "unknown", packet(6, other.body) + packet(13, b"x") + named(other))
    yield case("no keyring", good, "expected keys of OpenPGP", b"key")
    yield says("wrong digest", "another manifest", critical={"image": {"docker-manifest-digest": str(OTHER)}})
    yield says("another repository", "expected the repository", name="registry.example.com/other:1")
    yield says("another payload type", "$.critical.type", type="cosign container image signature")
    yield says("optional is null", "$.optional: expected an object", optional=None)
    yield says("more on top", "$.more: unknown", more=1)
    doubled = content.replace(b'"critical"', b'"critical":{},"critical"', 1)
    yield case("JSON with a key twice", message(key, doubled), "more than once")
    yield case("no JSON", message(key, b"signed"), "no JSON document")
    reserved = SignedBy(key_type="X509Certificates", key_data=certificate(key), signed_identity=CALLED)
    yield Case("a reserved type of keys", reserved, (good,), "reserved and never met")
    missing = SignedBy(key_path="/nowhere/keys.gpg", signed_identity=CALLED)
    yield Case("a keyring that is not there", missing, (good,), "/nowhere/keys.gpg cannot be read")


# ----------------------------------------------------------------------------------------------------------- bundles


def bundles(scene: Scene) -> Iterator[Case]:
    """Yield bundles that prove something else, or nothing."""
    asked, logged = scene.by_key(), scene.by_logged_key()

    def case(name: str, blob: bytes, reason: str, requirement: Any = asked) -> Case:
        return Case(name, requirement, (blob,), reason)

    yield case("another key", scene.bundle(signer=Signer.new()), "the sigstore bundle")
    yield case("another manifest", scene.bundle(digest=str(OTHER)), f"is about another manifest: {OTHER}")
    yield case("no name", scene.bundle(name=None), "does not say what the image is called")
    yield case("another name", scene.bundle(name="registry.example.com/other:1"), "expected the repository")
    told = statement(Digest(scene.digest), name=NAME, predicateType="https://slsa.dev/provenance/v1")
    yield case("says how it was built", scene.bundle(payload=told), "provenance")
    yield case("no log", scene.bundle(), "log", logged)
    yield case("another log", scene.bundle(logs=[Log()]), "log", logged)
    yield case("another payload type", scene.bundle(payload_type="text/plain"), "text/plain")


# -------------------------------------------------------------------------------------------------- several at once


def several(scene: Scene) -> Iterator[Case]:
    """Yield several requirements, of which one is not met, and too many signatures."""
    good, simple_one = scene.sigstore(), scene.simple()
    yield Case("reject beside", [scene.by_key(), Reject()], (good,), "[1] reject: every image is rejected")
    yield Case("both kinds, one there", [scene.by_key(), scene.by_openpgp()], (good,), "[1] signedBy: needs a simple")
    yield Case("both kinds, the other there", [scene.by_key(), scene.by_openpgp()], (simple_one,), "[0] sigstoreSigned")
    layer = SignedBaseLayer(base_layer_identity=MatchExact())
    yield Case("a base layer", [layer, InsecureAcceptAnything()], (good,), "[0] signedBaseLayer: is in the grammar")
    yield Case("nothing asked for", InsecureAcceptAnything(), (good,), "no requirement asks for a signature")
    yield Case("129 signatures", scene.by_key(), (good,) * 129, "128")
    two = (scene.sigstore(key=PrivateKey.generate()), scene.sigstore(scene.payload(name="x:1")))
    yield Case("two bad ones", scene.by_key(), two, "signature 1: ")
    yield Case("two bad ones, the second", scene.by_key(), two, "signature 2: ")


GROUPS = (stored, said, keys, logs, fulcio, pki, simple, bundles, several)


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_what_is_wrong_is_refused_for_its_reason(scene: Scene, group: Any) -> None:
    """One thing is wrong, and just that is said."""
    said_of = [(case, scene.refusal(case.asked, *case.signatures)) for case in group(scene)]
    assert [f"{case.name}: {said}" for case, said in said_of if case.reason not in said] == []


def test_a_bad_signature_spoils_no_good_one(scene: Scene) -> None:
    """Whatever lies beside it, and in whatever order, the good one counts, and it alone is shown."""
    bad = [signature for group in (stored, said, keys) for case in group(scene) for signature in case.signatures][:60]
    for blobs in ([*bad, scene.sigstore()], [scene.sigstore(), *bad], [*bad[:30], scene.sigstore(), *bad[30:]]):
        found = scene.verify(scene.by_key(), *blobs).signatures
        assert [one.docker_reference for one in found] == [NAME]


def test_nothing_unverified_is_said(scene: Scene) -> None:
    """What a signature claims is in no message before it was verified, nor in one that follows."""
    hidden = "registry.example.com/shown-to-nobody:1"
    wrong = scene.sigstore(scene.payload(name=hidden), key=PrivateKey.generate())
    simple_one = scene.simple(key=Key(number=1), document_of=scene.simple_document(name=hidden))
    bundle = scene.bundle(name=hidden, signer=Signer.new())
    for asked, blob in ((scene.by_key(), wrong), (scene.by_openpgp(), simple_one), (scene.by_key(), bundle)):
        assert "shown-to-nobody" not in scene.refusal(asked, blob)


def test_bundles_without_a_name_can_be_asked_for(scene: Scene) -> None:
    """``matchDigest`` takes what has no name; it is asked for by that word alone."""
    asked = SigstoreSigned(key_data=scene.key.public_key.pem, signed_identity=MatchDigest())
    (found,) = scene.verify(asked, scene.bundle(name=None)).signatures
    assert found.docker_reference is None
    assert "is about another manifest" in scene.refusal(asked, scene.bundle(name=None, digest=str(OTHER)))
