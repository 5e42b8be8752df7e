"""Signatures held against cosign 2.5: keys, signatures in registries and layouts, logs, certificates, bundles."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from authorities import NOW, Authority, Log, new_key, public_pem
from builders import OCI_MANIFEST, Store
from bundle_logs import (
    COSIGN,
    Signer,
    another_signature,
    dsse,
    file_bundle,
    intoto,
    make_bundle,
    packed,
    statement,
)
from newer_peers import PASSPHRASE, newer, registry
from signed_scene import EMAIL, NAME, PROVIDER, REPOSITORY, Scene

from ocikit.errors import InvalidSignatureError, PolicyRequirementError, SigningError
from ocikit.image import Policy, copy, parse_image_name, referrers, sign, verify
from ocikit.image.bundle_manifest import bundle_manifest
from ocikit.image.reference import parse_normalized_named
from ocikit.image.signature import (
    ExactRepository,
    MatchDigest,
    PolicyContext,
    PrivateKey,
    SigstoreBundleSigner,
    SigstoreSigned,
    SigstoreSigner,
    generate_key_pair,
)
from ocikit.image.signature.sigstore.bundle import verify_bundle
from ocikit.image.signature.sigstore.trust import FulcioTrust, Trust
from ocikit.image.stored_signature import BUNDLE
from ocikit.image.unparsed import UnparsedImage
from ocikit.spec import Descriptor, Digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from newer_peers import Outcome, Peer, Registry

    from ocikit.image.signature import SignedIdentity

ANYTHING = Policy.insecure_accept_anything()
KINDS: dict[str, tuple[Any, int | None]] = {
    "P-256": ("ecdsa", 256),
    "P-384": ("ecdsa", 384),
    "P-521": ("ecdsa", 521),
    "RSA": ("rsa", 2048),
    "Ed25519": ("ed25519", None),
}
UNLOGGED = "--insecure-ignore-tlog"
NOT_UPLOADED = ("--tlog-upload=false", "-y")


class Bench:
    """Cosign, an image, and a registry with it.

    Args:
        home: A directory of its own.
        hub: The registry.
    """

    def __init__(self, home: Path, hub: Registry) -> None:
        self.home, self.hub = home, hub
        self.cosign: Peer = newer("cosign", home / "home")
        self.store = Store()
        self.image = self.store.image({"a": b"content"}, platform=False)
        self.digest = Digest(self.image["digest"])
        self._numbers = itertools.count()
        # Without one, cosign asks the network for that of sigstore.
        self.no_root = self.file(b'{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}')

    def new(self, suffix: str = "") -> Path:
        """Return a path that nothing has."""
        return self.home / f"{next(self._numbers)}{suffix}"

    def file(self, data: bytes, suffix: str = "") -> Path:
        """Write a file."""
        path = self.new(suffix)
        path.write_bytes(data)
        return path

    def keys(self, kind: str = "P-256") -> tuple[Path, Path]:
        """Make files of keys; return the private one and the public one."""
        name, size = KINDS[kind]
        pair = generate_key_pair(PASSPHRASE, name, size=size)
        return self.file(pair.private_pem, ".key"), self.file(pair.public_pem, ".pub")

    def layout(self) -> Path:
        """Write a layout with the image."""
        return self.store.layout(self.new(), {"one": self.image})

    def pushed(self) -> str:
        """Put the image into the registry under a new name; return that, without a tag."""
        name = f"team/{next(self._numbers)}"
        manifest = self.store.blobs[str(self.digest)]
        for part in (json.loads(manifest)["config"], *json.loads(manifest)["layers"]):
            self.hub.put_blob(name, self.store.blobs[part["digest"]])
        self.hub.put(name, "1", manifest)
        return name

    def called(self, name: str) -> str:
        """Return what the image is called by its digest."""
        return f"{self.hub.host}/{name}@{self.digest}"

    def taken(self, name: str, tag: str = "1") -> Path:
        """Take an image from the registry with what cosign has added, byte for byte as they are there."""
        store, entries = Store(), {}
        attached = [(one, one) for one in self.hub.tags(name) if one.startswith("sha256-")]
        for one, reference in (("one", tag), *attached):
            media_type, data = self.hub.get(name, reference)
            entries[one] = store.blob(media_type, data)
            listed = [entry["digest"] for entry in json.loads(data).get("manifests", [])]
            manifests = [store.blob(*self.hub.get(name, digest)) for digest in listed] or [entries[one]]
            for document in (json.loads(store.blobs[manifest["digest"]]) for manifest in manifests):
                for part in (document["config"], *document["layers"]):
                    store.blob(part["mediaType"], self.hub.blob(name, part["digest"]))
        return store.layout(self.new(), entries)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Cosign, an image and a registry."""
    with registry(tmp_path_factory.mktemp("registry")) as hub:
        yield Bench(tmp_path_factory.mktemp("cosign"), hub)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """An image, and everybody who could sign it."""
    return Scene(tmp_path_factory.mktemp("scene"))


def by(key: Path, identity: SignedIdentity) -> Policy:
    """Ask for a signature by a key."""
    return Policy(requirements=[SigstoreSigned(key_path=key, signed_identity=identity)])


def repository(name: str) -> ExactRepository:
    """Ask for the name of a repository."""
    return ExactRepository(docker_repository=name)


# ----------------------------------------------------------------------------------------------------------------- keys


def test_keys_that_cosign_makes(bench: Bench) -> None:
    """Its files are read, and open with their passphrase alone."""
    prefix = bench.new()
    bench.cosign("generate-key-pair", "--output-key-prefix", prefix).ok()
    key = PrivateKey.read_file(prefix.with_suffix(".key"), PASSPHRASE)
    assert key.public_key.pem == prefix.with_suffix(".pub").read_bytes()
    with pytest.raises(SigningError, match="passphrase"):
        PrivateKey.read_file(prefix.with_suffix(".key"), "another")


@pytest.mark.parametrize("kind", KINDS)
def test_our_keys(bench: Bench, kind: str) -> None:
    """Cosign reads our files of keys of every kind, and nobody does with another passphrase."""
    private, public = bench.keys(kind)
    assert bench.cosign("public-key", "--key", private).ok().stdout.strip() == public.read_text().strip()
    wrong = {"COSIGN_PASSWORD": "another"}
    bench.cosign("public-key", "--key", private, **wrong).refused("decrypt")


# ------------------------------------------------------------------------------------------------------ signed by a key


@pytest.mark.parametrize("kind", KINDS)
def test_signed_by_cosign(bench: Bench, kind: str) -> None:
    """What it signs in a registry is accepted as it saves it, and as it is there; with another key it is not."""
    (private, public), (_, other) = bench.keys(kind), bench.keys()
    name = bench.pushed()
    bench.cosign("sign", "--key", private, *NOT_UPLOADED, "-a", "built=today", bench.called(name)).ok()
    saved = bench.new()
    bench.cosign("save", "--dir", saved, f"{bench.hub.host}/{name}:1").ok()
    right = repository(f"{bench.hub.host}/{name}")
    for place in (f"oci:{saved}", f"oci:{bench.taken(name)}:one"):
        (found,) = verify(place, by(public, right)).signatures
        assert (found.docker_reference, found.digest) == (f"{bench.hub.host}/{name}", bench.digest)
        for policy in (by(other, right), by(public, repository(REPOSITORY))):
            with pytest.raises(PolicyRequirementError):
                verify(place, policy)


@pytest.mark.parametrize("kind", KINDS)
def test_signed_by_us(bench: Bench, kind: str) -> None:
    """Cosign accepts our signature in our layout and in a registry that it loads it into, with no other key."""
    (private, public), (_, other) = bench.keys(kind), bench.keys()
    name, layout = f"{bench.hub.host}/loaded/{kind.lower()}:1", bench.layout()
    sign(f"oci:{layout}:one", SigstoreSigner.from_private_key_file(private, PASSPHRASE), identity=NAME)
    bench.cosign("load", "--dir", layout, name).ok()
    for place in ([name], ["--local-image", layout]):
        said = bench.cosign("verify", "--key", public, UNLOGGED, *place).ok().stdout
        (found,) = json.loads(said)
        assert found["critical"]["identity"] == {"docker-reference": NAME}
        assert found["critical"]["image"] == {"docker-manifest-digest": str(bench.digest)}
        assert found["optional"]["creator"].startswith("ocikit")
        bench.cosign("verify", "--key", other, UNLOGGED, *place).refused("no matching signatures")


def test_an_index_that_cosign_signs(bench: Bench) -> None:
    """What it signs with an index is accepted; it saves the signature of the index alone, which is for no image."""
    private, public = bench.keys()
    store = Store()
    images = [store.image({"a": content}, architecture=on) for content, on in ((b"1", "amd64"), (b"2", "arm64"))]
    index = store.index(*images)
    name = bench.pushed()
    for data in store.blobs.values():
        bench.hub.put_blob(name, data)
    for one in images:
        bench.hub.put(name, one["digest"], store.blobs[one["digest"]])
    bench.hub.put(name, "both", store.blobs[index["digest"]], index["mediaType"])
    called = f"{bench.hub.host}/{name}"
    bench.cosign("sign", "--recursive", "--key", private, *NOT_UPLOADED, f"{called}@{index['digest']}").ok()
    policy = by(public, repository(called))
    verified = verify(f"oci:{bench.taken(name, 'both')}:one", policy, all_instances=True)
    assert {str(one.digest) for one in verified.images} == {one["digest"] for one in images}
    saved = bench.new()
    bench.cosign("save", "--dir", saved, f"{called}:both").ok()
    with PolicyContext(policy) as context, parse_image_name(f"oci:{saved}").new_image_source() as source:
        (found,) = context.verify(UnparsedImage(source))
        assert str(found.digest) == index["digest"]
    with pytest.raises(PolicyRequirementError, match="no signature"):
        verify(f"oci:{saved}", policy, all_instances=True)


def test_signatures_of_both(bench: Bench) -> None:
    """What cosign saved and we then signed too has both signatures, for both."""
    (one, first), (two, second) = bench.keys(), bench.keys("Ed25519")
    name = bench.pushed()
    bench.cosign("sign", "--key", one, *NOT_UPLOADED, bench.called(name)).ok()
    saved, called = bench.new(), f"{bench.hub.host}/{name}"
    bench.cosign("save", "--dir", saved, f"{called}:1").ok()
    sign(f"oci:{saved}", SigstoreSigner.from_private_key_file(two, PASSPHRASE), identity=f"{called}:1")
    again = f"{bench.hub.host}/again/{next(bench._numbers)}:1"
    layout = bench.new()
    copy.image(by(first, repository(called)), dest=f"oci:{layout}:one", src=f"oci:{saved}")
    bench.cosign("load", "--dir", layout, again).ok()
    for key in (first, second):
        verify(f"oci:{layout}:one", by(key, repository(called)))
        bench.cosign("verify", "--key", key, UNLOGGED, again).ok()


# ------------------------------------------------------------------------------------------------ logs and certificates

LATE = NOW + dt.timedelta(hours=1)
#: What it is: whether both accept it, and what makes it. The first are by a key, the others by a certificate.
BY_KEY: dict[str, tuple[bool, Any]] = {
    "logged": (True, lambda s: s.logged()),
    "not logged": (False, lambda s: s.sigstore()),
    "another log": (False, lambda s: s.logged(log=Log())),
    "another payload in the log": (False, lambda s: s.logged(other={"payload": b"other"})),
    "another key in the log": (False, lambda s: s.logged(other={"verifier_pem": public_pem(new_key())})),
    "another key": (False, lambda s: s.sigstore(key=PrivateKey(new_key()))),
    "another digest": (False, lambda s: s.sigstore(s.payload(critical={"image": {"docker-manifest-digest": OTHER}}))),
}
BY_CERTIFICATE: dict[str, tuple[bool, Any]] = {
    "given and logged": (True, lambda s: s.certified(s.given())),
    "logged too late": (False, lambda s: s.certified(s.given(), at=LATE)),
    "another person": (False, lambda s: s.certified(s.given(emails=["other@example.com"]))),
    "another identity provider": (False, lambda s: s.certified(s.given(identity_provider="https://other.example.com"))),
    "another authority": (False, lambda s: s.certified(_foreign())),
    "not logged": (False, lambda s: s.by_certificate(s.given())),
}
OTHER = "sha256:" + "0" * 64


def _foreign() -> Any:
    return Authority.root("fulcio").issue(emails=[EMAIL], identity_provider=PROVIDER)


def in_layout(bench: Bench, scene: Scene, requirement: Any, blob: bytes, *, good: bool) -> Path:
    """Hold a signature against a policy; return a layout with it."""
    if good:
        scene.verify(requirement, blob)
    else:
        scene.refusal(requirement, blob)
    layout = bench.new()
    copy.image(ANYTHING, dest=f"oci:{layout}:one", src=f"dir:{scene.path}")
    return layout


def check(outcome: Outcome, *, good: bool) -> None:
    """Hold what a program says against what it should."""
    if good:
        outcome.ok()
    else:
        outcome.refused("Error:")


@pytest.mark.parametrize("name", BY_KEY)
def test_keys_and_logs(bench: Bench, scene: Scene, name: str) -> None:
    """Cosign, with the key of our log, has our verdict on signatures by a key."""
    good, maker = BY_KEY[name]
    layout = in_layout(bench, scene, scene.by_logged_key(), maker(scene), good=good)
    words = ("--key", bench.file(scene.key.public_key.pem), "--offline", "--local-image", layout)
    log = str(bench.file(public_pem(scene.log.key)))
    check(bench.cosign("verify", *words, SIGSTORE_REKOR_PUBLIC_KEY=log), good=good)


@pytest.mark.parametrize("name", BY_CERTIFICATE)
def test_certificates_and_logs(bench: Bench, scene: Scene, name: str) -> None:
    """Cosign, with our authority and the key of our log, has our verdict on signatures by certificates."""
    good, maker = BY_CERTIFICATE[name]
    layout = in_layout(bench, scene, scene.by_fulcio(), maker(scene), good=good)
    who = ("--certificate-identity", EMAIL, "--certificate-oidc-issuer", PROVIDER, "--insecure-ignore-sct")
    words = (*who, "--ca-roots", bench.file(scene.fulcio.pem), "--offline", "--local-image", layout)
    log = str(bench.file(public_pem(scene.log.key)))
    check(bench.cosign("verify", *words, SIGSTORE_REKOR_PUBLIC_KEY=log), good=good)


# -------------------------------------------------------------------------------------------------------------- bundles


def test_bundles_that_cosign_attaches(bench: Bench) -> None:
    """A statement that an image is signed is found by the list that cosign writes, and accepted; no other is."""
    (private, public), (_, other) = bench.keys(), bench.keys()
    predicate = bench.file(b"{}")
    for kind, good in ((COSIGN, True), ("https://example.com/built/v1", False)):
        name = bench.pushed()
        words = ("--new-bundle-format", "--type", kind, "--predicate", predicate, bench.called(name))
        bench.cosign("attest", "--key", private, *NOT_UPLOADED, *words).ok()
        place = f"oci:{bench.taken(name)}:one"
        assert [one.artifact_type for one in referrers(place)] == [BUNDLE]
        called = f"{bench.hub.host}/{name}"
        policies = [(by(public, MatchDigest()), good), (by(public, repository(called)), good)]
        policies += [(by(other, MatchDigest()), False), (by(public, repository(REPOSITORY)), False)]
        for policy, accepted in policies:
            if accepted:
                (found,) = verify(place, policy).signatures
                assert (found.digest, found.docker_reference) == (bench.digest, called)
            else:
                with pytest.raises(PolicyRequirementError):
                    verify(place, policy)


@pytest.mark.parametrize("kind", KINDS)
def test_bundles_that_we_attach(bench: Bench, kind: str) -> None:
    """Cosign finds our bundle from an image in a registry, and accepts it by its key alone."""
    (private, public), (_, other) = bench.keys(kind), bench.keys()
    name = bench.pushed()
    signer = SigstoreBundleSigner(PrivateKey.read_file(private, PASSPHRASE))
    signature = signer.sign(bench.digest, parse_normalized_named(f"{bench.hub.host}/{name}:1"))
    subject = Descriptor(media_type=OCI_MANIFEST, digest=bench.digest, size=bench.image["size"])
    manifest, blobs = bundle_manifest(signature, subject)
    for blob in blobs:
        bench.hub.put_blob(name, blob)
    bench.hub.refer(name, bench.digest, manifest)
    words = ("verify-attestation", "--new-bundle-format", "--type", COSIGN, UNLOGGED, "--trusted-root", bench.no_root)
    bench.cosign(*words, "--key", public, bench.called(name)).ok()
    bench.cosign(*words, "--key", other, bench.called(name)).refused("Error:")


#: What it is: whether both accept it; by a key or a certificate; and what makes it of the right signer and log.
BUNDLES: dict[str, tuple[bool, Any]] = {
    "logged as dsse": (True, lambda s, log: make_bundle(about(), s, logs=[log], kind=dsse)),
    "logged as intoto": (True, lambda s, log: make_bundle(about(), s, logs=[log], kind=intoto)),
    "not logged": (False, lambda s, _: make_bundle(about(), s)),
    "in another log": (False, lambda s, _: make_bundle(about(), s, logs=[Log()])),
    "about another image": (False, lambda s, log: make_bundle(about(Digest(OTHER)), s, logs=[log])),
    "another entry": (False, lambda s, log: make_bundle(about(), s, logs=[log], about=another_signature)),
    "no proof": (False, lambda s, log: _without(make_bundle(about(), s, logs=[log]), "inclusionProof")),
    "another index": (False, lambda s, log: _changed(make_bundle(about(), s, logs=[log]), logIndex="8")),
    "a later time": (False, lambda s, log: _changed(make_bundle(about(), s, logs=[log]), integratedTime="1717243300")),
}
MANIFEST = b'{"schemaVersion": 2, "made": "for bundles"}'


def about(digest: Digest | None = None, **members: Any) -> bytes:
    """Write a statement about the manifest."""
    return statement(digest or Digest.from_bytes(MANIFEST), **members)


def _entry(bundle: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = bundle["verificationMaterial"]["tlogEntries"][0]
    return entry


def _without(bundle: dict[str, Any], name: str) -> dict[str, Any]:
    del _entry(bundle)[name]
    return bundle


def _changed(bundle: dict[str, Any], **members: Any) -> dict[str, Any]:
    _entry(bundle).update(members)
    return bundle


@pytest.fixture(scope="module")
def trusted_root(bench: Bench, scene: Scene) -> Path:
    """Our authority and our log, as cosign writes down whom to trust."""
    path = bench.new()
    authority, log = bench.file(scene.fulcio.pem), bench.file(public_pem(scene.log.key))
    bench.cosign("trusted-root", "create", "--certificate-chain", authority, "--rekor-key", log, "--out", path).ok()
    return path


@pytest.mark.parametrize("certified", [False, True], ids=["key", "certificate"])
@pytest.mark.parametrize("name", BUNDLES)
def test_bundles_and_logs(bench: Bench, scene: Scene, trusted_root: Path, name: str, *, certified: bool) -> None:
    """Cosign has our verdict on bundles with entries of a log."""
    good, maker = BUNDLES[name]
    logs = (scene.log.public_key,)
    if certified:
        signer = Signer.certified(scene.given())
        fulcio = FulcioTrust(roots=(scene.fulcio.certificate,), oidc_issuer=PROVIDER, subject_email=EMAIL)
        trust = Trust(fulcio=fulcio, log_keys=logs)
        words = ["--certificate-identity", EMAIL, "--certificate-oidc-issuer", PROVIDER, "--insecure-ignore-sct"]
    else:
        signer = Signer(key=scene.raw_key)
        trust = Trust(keys=(scene.key.public_key,), log_keys=logs)
        words = ["--key", str(bench.file(scene.key.public_key.pem))]
    bundle = packed(maker(signer, scene.log))
    try:
        _, claim = verify_bundle(bundle, trust)
        claim.docker_references_of(Digest.from_bytes(MANIFEST))
    except InvalidSignatureError:
        assert not good
    else:
        assert good
    words += ["--type", COSIGN, "--new-bundle-format", "--bundle", str(bench.file(bundle))]
    outcome = bench.cosign("verify-blob-attestation", *words, "--trusted-root", trusted_root, bench.file(MANIFEST))
    check(outcome, good=good)


#: What we mind in bundles, and cosign does not.
STRICTER: dict[str, tuple[str, Any]] = {
    "of another type": ("predicate type", lambda s, log: make_bundle(about(predicateType=f"{COSIGN}x"), s, logs=[log])),
    "an entry about another payload": (
        "payload",
        lambda s, log: make_bundle(about(), s, logs=[log], about=lambda content: evolve(content, payload=b"{}")),
    ),
}


@pytest.mark.parametrize("name", STRICTER)
def test_where_we_are_stricter(bench: Bench, scene: Scene, trusted_root: Path, name: str) -> None:
    """A bundle whose statement says something else, or whose entry in the log is about another one, is refused."""
    said, maker = STRICTER[name]
    bundle = packed(maker(Signer(key=scene.raw_key), scene.log))
    trust = Trust(keys=(scene.key.public_key,), log_keys=(scene.log.public_key,))
    with pytest.raises(InvalidSignatureError, match=said):
        verify_bundle(bundle, trust)
    key = ("--key", bench.file(scene.key.public_key.pem), "--type", COSIGN, "--new-bundle-format")
    words = (*key, "--trusted-root", trusted_root, "--bundle", bench.file(bundle), bench.file(MANIFEST))
    bench.cosign("verify-blob-attestation", *words).ok()


def test_bundles_about_files(bench: Bench, scene: Scene, trusted_root: Path) -> None:
    """What cosign signs of a file we accept, and the other way round, logged or not; no other file."""
    private, public = bench.keys()
    key = PrivateKey.read_file(private, PASSPHRASE)
    file, other, theirs = bench.file(MANIFEST), bench.file(b"other"), bench.new()
    signing = ("--key", private, "--bundle", theirs, "--new-bundle-format", *NOT_UPLOADED)
    bench.cosign("sign-blob", *signing, file).ok()
    trust = Trust(keys=(key.public_key,))
    verify_bundle(theirs.read_bytes(), trust, message=MANIFEST)
    with pytest.raises(InvalidSignatureError, match="another file"):
        verify_bundle(theirs.read_bytes(), trust, message=b"other")
    logged = bench.file(packed(file_bundle(MANIFEST, Signer(key=key._key), logs=[scene.log])))
    words = ("--key", public, "--new-bundle-format", "--trusted-root", trusted_root)
    bench.cosign("verify-blob", *words, "--bundle", logged, file).ok()
    bench.cosign("verify-blob", *words, "--bundle", logged, other).refused("Error:")
    bench.cosign("verify-blob", *words, "--bundle", theirs, file).refused("log")
    bench.cosign("verify-blob", *words, UNLOGGED, "--bundle", theirs, file).ok()
