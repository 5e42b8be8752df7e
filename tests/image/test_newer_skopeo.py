"""Signatures held against skopeo of Debian 13 (containers/image 5.34): what it signs, what it accepts, what it refuses.

That of Debian 12 was built without sigstore.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from builders import Store
from newer_peers import PASSPHRASE, newer, registry
from openpgp_maker import Key, certificate
from openpgp_peers import GnuPG
from signed_scene import CALLED, DAY, EMAIL, NAME, REPOSITORY, TODAY, Scene
from signed_verdicts import VERDICTS

from ocikit.errors import PolicyRequirementError, SigningError
from ocikit.image import Policy, copy, verify
from ocikit.image.signature import (
    ExactReference,
    MatchExact,
    MatchRepoDigestOrExact,
    MatchRepository,
    PrivateKey,
    RemapIdentity,
    SignedBy,
    SigstoreSigned,
    SigstoreSigner,
    SimpleSigner,
    generate_key_pair,
)

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


class Bench:
    """Skopeo, an image, and a way to hold both against a policy.

    Args:
        home: A directory of its own.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.skopeo: Peer = newer("skopeo", home / "home")
        self.passphrase = home / "passphrase"
        self.passphrase.write_text(PASSPHRASE)
        store = Store()
        self.image = store.image({"a": b"content"}, platform=False)
        self.layout = store.layout(home / "layout", {"one": self.image})
        self._numbers = itertools.count()

    def new(self, suffix: str = "") -> Path:
        """Return a path that nothing has."""
        return self.home / f"{next(self._numbers)}{suffix}"

    def keys(self, kind: str = "P-256") -> tuple[Path, Path]:
        """Make files of keys; return the private one and the public one."""
        name, size = KINDS[kind]
        pair = generate_key_pair(PASSPHRASE, name, size=size)
        private, public = self.new(".key"), self.new(".pub")
        private.write_bytes(pair.private_pem)
        public.write_bytes(pair.public_pem)
        return private, public

    def policy(self, policy: Policy) -> Path:
        """Write a policy."""
        path = self.new(".json")
        path.write_bytes(policy.to_json())
        return path

    def copied(self, policy: Policy, source: object, *options: object) -> Outcome:
        """Let skopeo copy an image under a policy."""
        return self.skopeo("--policy", self.policy(policy), "copy", "-q", *options, source, f"dir:{self.new()}")

    def signed_by_us(self, signer: Any, identity: str = NAME) -> Path:
        """Sign the image into a directory; return that."""
        path = self.new()
        options = copy.CopyOptions(signers=(signer,), sign_identity=identity)
        copy.image(ANYTHING, dest=f"dir:{path}", src=f"oci:{self.layout}:one", options=options)
        return path

    def signed_by_skopeo(self, *options: object, **environment: str) -> Path:
        """Let skopeo sign the image into a directory; return that."""
        path = self.new()
        words = ("copy", "-q", *options, "--sign-identity", NAME, f"oci:{self.layout}:one", f"dir:{path}")
        self.skopeo("--insecure-policy", *words, **environment).ok()
        return path


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Skopeo and an image."""
    return Bench(tmp_path_factory.mktemp("newer-skopeo"))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """An image, and everybody who could sign it."""
    return Scene(tmp_path_factory.mktemp("scene"))


def wanted(*, called: SignedIdentity = CALLED, **keys: Any) -> Policy:
    """Make a policy that asks for a signature of sigstore."""
    return Policy(requirements=[SigstoreSigned(signed_identity=called, **keys)])


def is_accepted(name: object, policy: Policy) -> bool:
    """Say whether we accept an image; any error but a refusal is one of the test."""
    try:
        verify(f"dir:{name}", policy)
    except PolicyRequirementError:
        return False
    return True


# ------------------------------------------------------------------------------------------------------------- by a key


def test_a_peer_that_is_missing(tmp_path: Path) -> None:
    """Is a failure, which says what to do."""
    with pytest.raises(pytest.fail.Exception, match=r"make \.make/newer"):
        newer("no-such-program", tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_both_ways_with_every_kind_of_key(bench: Bench, kind: str) -> None:
    """With our files of keys skopeo signs what we accept, and accepts what we sign; with others both refuse."""
    private, public = bench.keys(kind)
    _, other = bench.keys()
    words = ("--sign-by-sigstore-private-key", private, "--sign-passphrase-file", bench.passphrase)
    theirs = bench.signed_by_skopeo(*words)
    ours = bench.signed_by_us(SigstoreSigner.from_private_key_file(private, PASSPHRASE))
    for one in (theirs, ours):
        assert is_accepted(one, wanted(key_path=public))
        bench.copied(wanted(key_path=public), f"dir:{one}").ok()
        assert not is_accepted(one, wanted(key_path=other))
        bench.copied(wanted(key_path=other), f"dir:{one}").refused("Source image rejected")
    (found,) = verify(f"dir:{theirs}", wanted(key_path=public)).signatures
    assert (found.docker_reference, str(found.digest)) == (NAME, bench.image["digest"])
    assert (found.creator or "").startswith("containers/image")
    assert found.created is not None
    assert abs(dt.datetime.now(dt.UTC) - found.created) < DAY


def test_keys_that_skopeo_makes(bench: Bench) -> None:
    """Its files are read, sign, and open with nothing but their passphrase."""
    prefix = bench.new()
    bench.skopeo("generate-sigstore-key", "--output-prefix", prefix, "--passphrase-file", bench.passphrase).ok()
    private, public = prefix.with_suffix(".private"), prefix.with_suffix(".pub")
    key = PrivateKey.read_file(private, PASSPHRASE)
    assert key.public_key.pem == public.read_bytes()
    bench.copied(wanted(key_path=public), f"dir:{bench.signed_by_us(SigstoreSigner(key))}").ok()
    with pytest.raises(SigningError, match="passphrase"):
        PrivateKey.read_file(private, "another")


def test_several_signatures(bench: Bench) -> None:
    """Each adds one to those that are there, and the other finds its own among them."""
    (one, first), (two, second) = bench.keys(), bench.keys("Ed25519")
    signed = bench.signed_by_us(SigstoreSigner.from_private_key_file(one, PASSPHRASE))
    again = bench.new()
    by = ("--sign-by-sigstore-private-key", two, "--sign-passphrase-file", bench.passphrase)
    words = ("copy", "-q", *by, "--sign-identity", NAME, f"dir:{signed}", f"dir:{again}")
    bench.skopeo("--insecure-policy", *words).ok()
    (_, third), (_, fourth) = bench.keys(), bench.keys()
    for keys, good in ((first,), True), ((second,), True), ((third, second), True), ((third, fourth), False):
        policy = wanted(key_paths=keys)
        assert is_accepted(again, policy) == good
        assert (bench.copied(policy, f"dir:{again}").code == 0) == good


# ----------------------------------------------------------------------------------------------------- the same verdict


@pytest.mark.parametrize("name", VERDICTS)
def test_the_same_verdict(bench: Bench, scene: Scene, name: str) -> None:
    """Skopeo accepts and refuses what we accept and refuse."""
    good, maker = VERDICTS[name]
    requirement, *blobs = maker(scene)
    if good:
        scene.verify(requirement, *blobs)
    else:
        scene.refusal(requirement, *blobs)
    requirements = requirement if isinstance(requirement, list) else [requirement]
    outcome = bench.copied(Policy(requirements=requirements), f"dir:{scene.path}")
    if good:
        outcome.ok()
    else:
        outcome.refused("Source image rejected")


def test_a_chain_without_its_root(bench: Bench, scene: Scene) -> None:
    """The last certificate of a chain is left out by skopeo, which takes it for the root; we look at it."""
    below = scene.pki.below(begins=TODAY - DAY, ends=TODAY + DAY)
    signer = below.issue(emails=[EMAIL], begins=TODAY - DAY, ends=TODAY + DAY)
    scene.verify(scene.by_pki(), scene.by_certificate(signer, chain=below.text))
    outcome = bench.copied(Policy(requirements=[scene.by_pki()]), f"dir:{scene.path}")
    outcome.refused("certificate signed by unknown authority")


# ------------------------------------------------------------------------------------------------------- simple signing


@pytest.fixture(scope="module")
def gnupg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GnuPG]:
    """GnuPG with a key."""
    made = GnuPG(tmp_path_factory.mktemp("g"))
    made.new_key("open", "ed25519")
    yield made
    made.close()


def test_simple_signing(bench: Bench, gnupg: GnuPG) -> None:
    """What skopeo signs by GnuPG we accept, and the other way round; with the key of somebody else both refuse."""
    (key,) = gnupg.fingerprints("open")
    theirs = bench.signed_by_skopeo("--sign-by", key, GNUPGHOME=str(gnupg.home))
    ours = bench.signed_by_us(SimpleSigner(key_fingerprint=key, gnupg_home=gnupg.home))
    keys, other = bench.new(".gpg"), bench.new(".gpg")
    keys.write_bytes(gnupg.public(key))
    other.write_bytes(certificate(Key(number=1)))
    for one in (theirs, ours):
        right = Policy(requirements=[SignedBy(key_paths=(other, keys), signed_identity=CALLED)])
        wrong = Policy(requirements=[SignedBy(key_path=other, signed_identity=CALLED)])
        assert is_accepted(one, right)
        bench.copied(right, f"dir:{one}").ok()
        assert not is_accepted(one, wrong)
        bench.copied(wrong, f"dir:{one}").refused("Source image rejected")


# -------------------------------------------------------------------------------------------------------- in a registry


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry."""
    with registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


def in_registry(bench: Bench, *words: object) -> Outcome:
    """Run skopeo so that it keeps signatures in registries as cosign does."""
    settings = bench.home / "registries.d"
    settings.mkdir(exist_ok=True)
    (settings / "all.yaml").write_text("default-docker:\n  use-sigstore-attachments: true\n")
    return bench.skopeo("--registries.d", settings, *words)


def test_signed_by_skopeo_in_a_registry(bench: Bench, hub: Registry) -> None:
    """Copied from there, and taken from there as it is, an image has the signature; it is called what it is there."""
    private, public = bench.keys()
    name = f"{hub.host}/team/theirs"
    by = ("--sign-by-sigstore-private-key", private, "--sign-passphrase-file", bench.passphrase)
    places = (f"oci:{bench.layout}:one", f"docker://{name}:1")
    in_registry(bench, "--insecure-policy", "copy", "-q", *by, "--dest-tls-verify=false", *places).ok()
    right = wanted(key_path=public, called=ExactReference(docker_reference=f"{name}:1"))
    copied = bench.new()
    words = ("copy", "-q", "--src-tls-verify=false", f"docker://{name}:1", f"dir:{copied}")
    in_registry(bench, "--insecure-policy", *words).ok()
    assert is_accepted(copied, right)

    tag = bench.image["digest"].replace(":", "-") + ".sig"
    assert tag in hub.tags("team/theirs")
    store, entries = Store(), {}
    for one, reference in (("app", "1"), (tag, tag)):
        media_type, data = hub.get("team/theirs", reference)
        entries[one] = store.blob(media_type, data)
        for part in (json.loads(data)["config"], *json.loads(data)["layers"]):
            store.blob(part["mediaType"], hub.blob("team/theirs", part["digest"]))
    layout = store.layout(bench.new(), entries)
    (found,) = verify(f"oci:{layout}:app", right).signatures
    assert found.docker_reference == f"{name}:1"


def test_signed_by_us_in_a_registry(bench: Bench, hub: Registry) -> None:
    """Skopeo carries our signatures there, and there they meet what only names in registries can meet."""
    private, public = bench.keys()
    name = f"{hub.host}/team/ours"
    signed = bench.signed_by_us(SigstoreSigner.from_private_key_file(private, PASSPHRASE), f"{name}:1")
    for tag in ("1", "2"):
        words = ("copy", "-q", "--dest-tls-verify=false", f"dir:{signed}", f"docker://{name}:{tag}")
        in_registry(bench, "--insecure-policy", *words).ok()

    def take(tag: str, identity: SignedIdentity) -> Outcome:
        policy = bench.policy(wanted(key_path=public, called=identity))
        words = ("copy", "-q", "--src-tls-verify=false", f"docker://{name}{tag}", f"dir:{bench.new()}")
        return in_registry(bench, "--policy", policy, *words)

    digest = f"@{bench.image['digest']}"
    for tag in (":1", digest):
        take(tag, MatchRepoDigestOrExact()).ok()
    take(":1", MatchExact()).ok()
    take(":2", MatchRepository()).ok()
    for identity in (MatchExact(), MatchRepoDigestOrExact()):
        take(":2", identity).refused("Source image rejected")
    take(digest, MatchExact()).refused("Source image rejected")


def test_signed_for_another_place(bench: Bench, hub: Registry) -> None:
    """What is signed under the name of its origin is accepted at a mirror, and at no other."""
    private, public = bench.keys()
    signed = bench.signed_by_us(SigstoreSigner.from_private_key_file(private, PASSPHRASE))
    name = f"{hub.host}/mirror/app:1"
    words = ("copy", "-q", "--dest-tls-verify=false", f"dir:{signed}", f"docker://{name}")
    in_registry(bench, "--insecure-policy", *words).ok()
    origin = REPOSITORY.rpartition("/")[0]
    for prefix, good in ((f"{hub.host}/mirror", True), (f"{hub.host}/mirr", False), (f"{hub.host}/other", False)):
        policy = wanted(key_path=public, called=RemapIdentity(prefix=prefix, signed_prefix=origin))
        words = ("copy", "-q", "--src-tls-verify=false", f"docker://{name}", f"dir:{bench.new()}")
        outcome = in_registry(bench, "--policy", bench.policy(policy), *words)
        if good:
            outcome.ok()
        else:
            outcome.refused("Source image rejected")
