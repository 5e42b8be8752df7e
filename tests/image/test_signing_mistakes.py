"""Mistakes of whoever signs: each is named for what it is, before anything is written, and shows no secret."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from authorities import Authority
from builders import Store
from openpgp_peers import GnuPG

from ocikit.errors import InvalidSignatureError, NotSupportedError, SigningError
from ocikit.image import Policy, PolicyContext, copy, sign, verify
from ocikit.image.copy import CopyOptions
from ocikit.image.signature import (
    ExactReference,
    Keyring,
    PrivateKey,
    PublicKey,
    SigstoreBundleSigner,
    SigstoreSigned,
    SigstoreSigner,
    SimpleSigner,
    generate_key_pair,
)

if TYPE_CHECKING:
    from collections.abc import Callable

WORDS, NAME = "some words", "registry.example.com/team/app:1"
PAIR = generate_key_pair(WORDS)
KEY = PrivateKey.read(PAIR.private_pem, WORDS, what="the key")
PLAIN_PEM = f"-----BEGIN {'PRIVATE'} KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0\n-----END PRIVATE KEY-----\n"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
FINGERPRINT = "A" * 40


class Mistake(NamedTuple):
    """What is done, the error, and what it says."""

    call: Callable[[Any], Any]
    error: type[Exception]
    said: str


TEXT_OR_BYTES = "a passphrase is text or bytes; found int"
A_KEY = "expected a PrivateKey to sign with, found {}; from_private_key_file takes a file"
A_SIGNER = r"expected signers, such as signature\.SigstoreSigner\(key\), found "
MISTAKES = {
    "number for a passphrase": Mistake(lambda _: generate_key_pair(7), TypeError, TEXT_OR_BYTES),  # type: ignore[arg-type]
    "none of gpg": Mistake(
        lambda _: SimpleSigner(key_fingerprint=FINGERPRINT, passphrase=7),  # type: ignore[arg-type]
        TypeError,
        TEXT_OR_BYTES,
    ),
    "bytes for a fingerprint": Mistake(
        lambda _: SimpleSigner(key_fingerprint=b"A" * 40),  # type: ignore[arg-type]
        TypeError,
        "key_fingerprint: expected text, hexadecimal digits, found bytes",
    ),
    "a key for its file": Mistake(
        lambda _: SigstoreSigner.from_private_key_file(PLAIN_PEM, None),
        SigningError,
        r"^private key: expected the name of a file, found the content of one \(PEM\)$",
    ),
    "a number for a file": Mistake(
        lambda _: SigstoreSigner.from_private_key_file(0, None),  # type: ignore[arg-type]
        TypeError,
        "private key: expected the name of a file, found int",
    ),
    "a file for a key": Mistake(
        lambda _: SigstoreSigner("team.key"),  # type: ignore[arg-type]
        TypeError,
        A_KEY.format("str"),
    ),
    "a key of another library": Mistake(lambda _: SigstoreSigner(KEY._key), TypeError, A_KEY.format("ECPrivateKey")),
    "the name of a certificate's file": Mistake(
        lambda _: SigstoreSigner(KEY, certificate_pem=Path("team.crt")),  # type: ignore[arg-type]
        TypeError,
        "certificate_pem: expected its bytes, found PosixPath; read the file first",
    ),
    "an archive that keeps no signatures": Mistake(
        lambda image: sign(f"docker-archive:{image[4:]}.tar:app:1", SigstoreSigner(KEY)),
        NotSupportedError,
        "no signatures are kept there; copy the image to oci:, oci-archive: or dir: and sign the copy",
    ),
    "the same for bundles": Mistake(lambda _: SigstoreBundleSigner(KEY._key), TypeError, A_KEY.format("ECPrivateKey")),
    "a public key for a private one": Mistake(
        lambda _: PrivateKey.read(PAIR.public_pem, WORDS, what="team.pub"),
        SigningError,
        "^team.pub: expected a private key, PEM, found PEM of PUBLIC KEY$",
    ),
    "a private key for a public one": Mistake(
        lambda _: PublicKey.read(PAIR.private_pem, what="team.key"),
        InvalidSignatureError,
        "found PEM of ENCRYPTED COSIGN PRIVATE KEY; that stays with who signs, here is the public half of it$",
    ),
    "a certificate for a public key": Mistake(
        lambda _: PublicKey.read(CERTIFICATE, what="team.crt"),
        InvalidSignatureError,
        "expected a public key, PEM, found PEM of CERTIFICATE; certificates are trusted by pki and fulcio$",
    ),
    "OpenPGP for sigstore": Mistake(
        lambda _: PublicKey.read("-----BEGIN PGP PUBLIC KEY BLOCK-----\n", what="team.asc"),
        InvalidSignatureError,
        "found PEM of PGP PUBLIC KEY BLOCK; keys of OpenPGP are for signedBy$",
    ),
    "a file for a keyring": Mistake(
        lambda _: Keyring.read(Path("keys.gpg"), what="keys"),  # type: ignore[arg-type]
        TypeError,
        "keys: expected its bytes, found PosixPath; read the file first",
    ),
    "a key for a signer": Mistake(lambda image: sign(image, KEY, identity=NAME), TypeError, f"{A_SIGNER}PrivateKey"),  # type: ignore[arg-type]
    "a list of signers": Mistake(
        lambda image: sign(image, [SigstoreSigner(KEY)], identity=NAME),  # type: ignore[arg-type]
        TypeError,
        f"{A_SIGNER}list",
    ),
    "a class for a signer": Mistake(
        lambda image: sign(image, SigstoreSigner, identity=NAME),  # type: ignore[arg-type]
        TypeError,
        f"{A_SIGNER}the class SigstoreSigner",
    ),
    "a number for a name": Mistake(
        lambda image: sign(image, SigstoreSigner(KEY), identity=7),  # type: ignore[arg-type]
        TypeError,
        "identity: expected what the image is called, such as .*, found int",
    ),
    "a key among the signers of a copy": Mistake(
        lambda _: CopyOptions(signers=(KEY,), sign_identity=NAME),  # type: ignore[arg-type]
        TypeError,
        f"{A_SIGNER}PrivateKey",
    ),
    "a signer that is no tuple": Mistake(
        lambda _: CopyOptions(signers=SigstoreSigner(KEY), sign_identity=NAME),  # type: ignore[arg-type]
        TypeError,
        "CopyOptions.signers: expected a tuple of signers, found SigstoreSigner",
    ),
    "a number for the name of a copy": Mistake(
        lambda _: CopyOptions(signers=(SigstoreSigner(KEY),), sign_identity=7),  # type: ignore[arg-type]
        TypeError,
        "identity: expected what the image is called, such as .*, found int",
    ),
    "a file for a policy": Mistake(
        lambda _: PolicyContext("policy.json"),  # type: ignore[arg-type]
        TypeError,
        r"^expected a policy, such as Policy.from_file\(path\), found str$",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(name: str, tmp_path: Path) -> None:
    """What was expected, and the kind of what was found; of a private key nothing is shown, whatever it was for."""
    call, kind, said = MISTAKES[name]
    store = Store()
    place = store.directory(tmp_path / "image", store.image(platform=False))
    before = sorted(place.iterdir())
    with pytest.raises(kind, match=said) as caught:
        call(f"dir:{place}")
    assert PLAIN_PEM.splitlines()[1] not in f"{caught.value}{caught.value.__cause__}"
    assert sorted(place.iterdir()) == before


def test_pem_is_text_or_bytes(tmp_path: Path) -> None:
    """Keys and certificates may be either, wherever PEM is taken: a certificate as bytes makes the same signature."""
    certified = Authority.root().issue(emails=["team@example.com"])
    key = PrivateKey(certified.key)
    store = Store()
    image = f"dir:{store.directory(tmp_path / 'image', store.image(platform=False))}"
    forms: tuple[bytes | str, ...] = (certified.text, certified.pem)
    for number, pem in enumerate(forms):
        signer = SigstoreSigner(key, certificate_pem=pem)
        signed = f"dir:{tmp_path}/{number}"
        options = CopyOptions(signers=(signer,), sign_identity=NAME)
        copy.image(Policy.insecure_accept_anything(), src=image, dest=signed, options=options)
    assert PublicKey.read(PAIR.public_pem.decode(), what="x") == PublicKey.read(PAIR.public_pem, what="x")
    assert PrivateKey.read(PAIR.private_pem.decode(), WORDS.encode(), what="x").public_key == KEY.public_key


def test_a_bundle_signer_of_a_file(tmp_path: Path) -> None:
    """Both kinds of signers are made of a file in the same way."""
    (tmp_path / "team.key").write_bytes(PAIR.private_pem)
    for kind in (SigstoreSigner, SigstoreBundleSigner):
        assert str(KEY.public_key) in kind.from_private_key_file(tmp_path / "team.key", WORDS).description


def test_a_plan_says_who_signs_and_who_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """What a copy refuses before it begins, a plan refuses: a name that is missing, a key that gpg has not, no gpg."""
    store = Store()
    image = f"dir:{store.directory(tmp_path / 'image', store.image(platform=False))}"
    arguments: dict[str, Any] = {"src": image, "dest": f"oci:{tmp_path}/out:1"}
    anything = Policy.insecure_accept_anything()
    planned = copy.plan(anything, **arguments, options=CopyOptions(signers=(SigstoreSigner(KEY),), sign_identity=NAME))
    assert f"signed by sigstore key {KEY.public_key} as {NAME}" in str(planned)
    home = tmp_path / "gnupg"
    request.addfinalizer(GnuPG(home).close)
    absent = SimpleSigner(key_fingerprint=FINGERPRINT, gnupg_home=home)
    cases = [
        (CopyOptions(signers=(SigstoreSigner(KEY),)), "have no name in a registry"),
        (CopyOptions(signers=(absent,), sign_identity=NAME), f"gpg has no secret key {FINGERPRINT} in {home}"),
    ]
    for options, said in cases:
        for call in (copy.plan, copy.image):
            with pytest.raises(SigningError, match=said):
                call(anything, **arguments, options=options)
    with monkeypatch.context() as without:
        without.setenv("PATH", "/nowhere")
        with pytest.raises(SigningError, match="signing needs the program gpg"):
            copy.image(anything, **arguments, options=CopyOptions(sign_by=FINGERPRINT, sign_identity=NAME))
    assert not (tmp_path / "out").exists()


class Vault:
    """A key that is elsewhere."""

    public_key = KEY.public_key

    def sign(self, data: bytes) -> bytes:
        """Ask for a signature."""
        return KEY.sign(data)


@pytest.mark.parametrize("kind", [SigstoreSigner, SigstoreBundleSigner])
def test_a_key_that_is_elsewhere(kind: Any, tmp_path: Path) -> None:
    """Whatever has the public half and signs bytes makes both kinds of signatures, which verify by that half."""
    store = Store()
    image = f"oci:{store.layout(tmp_path / 'images', {'1': store.image(platform=False)})}:1"
    sign(image, kind(Vault()), identity=NAME)
    exact = ExactReference(docker_reference=NAME)
    policy = Policy(requirements=[SigstoreSigned(key_data=PAIR.public_pem, signed_identity=exact)])
    assert verify(image, policy).signatures[0].key == KEY.public_key.fingerprint
