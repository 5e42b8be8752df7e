"""Simple signing: skopeo's signatures are verified here, ours by skopeo, and a signature that fails says why."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest
from builders import Store
from openpgp_cases import KEY, PLAIN
from openpgp_maker import message
from openpgp_peers import GnuPG

from ocikit import __version__
from ocikit.errors import InvalidSignatureError, SigningError
from ocikit.image.reference import parse_normalized_named
from ocikit.image.signature.openpgp.keyring import Keyring
from ocikit.image.signature.simple_signing import SimpleSigner, verify_simple
from ocikit.image.stored_signature import SimpleSignature, parse_signature
from ocikit.spec import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ocikit.image.signature.signer import Signer

NAME = parse_normalized_named("registry.example/app:1")
DIGEST = Digest.parse("sha256:" + "5" * 64)
PASSPHRASE = "correct horse, bättery"  # noqa: S105 - of a key that lives for this file


@pytest.fixture(scope="module")
def gnupg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GnuPG]:
    """A home of GnuPG for this file, with an open and a locked key."""
    made = GnuPG(tmp_path_factory.mktemp("gpg"))
    made.new_key("open", "ed25519")
    made.new_key("locked", "rsa2048", passphrase=PASSPHRASE)
    yield made
    made.close()


@pytest.fixture
def key(gnupg: GnuPG) -> str:
    """The key without a passphrase."""
    return gnupg.fingerprints("open")[0]


@pytest.fixture
def locked(gnupg: GnuPG) -> str:
    """The key with a passphrase, which the agent has forgotten."""
    subprocess.run(["gpgconf", "--homedir", str(gnupg.home), "--reload", "gpg-agent"], check=True)
    return gnupg.fingerprints("locked")[0]


def skopeo(gnupg: GnuPG, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run skopeo with the keys of a home."""
    environment = os.environ | {"GNUPGHOME": str(gnupg.home)}
    done = subprocess.run(["skopeo", *words], env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0 or not check, done.stderr
    return done


def image_in(path: Path) -> Path:
    """Write an image into a directory; return that."""
    store = Store()
    return store.directory(path, store.image({"a": b"content"}))


def policy_in(path: Path, keys: Path) -> str:
    """Write a policy that wants a signature by some keys under one repository."""
    identity = {"type": "exactRepository", "dockerRepository": "registry.example/app"}
    rule = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": str(keys), "signedIdentity": identity}
    path.write_text(json.dumps({"default": [{"type": "reject"}], "transports": {"dir": {"": [rule]}}}))
    return str(path)


def test_signature_of_skopeo(gnupg: GnuPG, key: str, tmp_path: Path) -> None:
    """An image that skopeo signed in a directory: who signed it, under which name, and which manifest."""
    source = image_in(tmp_path / "source")
    words = ["copy", "-q", "--sign-by", key, "--sign-identity", str(NAME), f"dir:{source}", f"dir:{tmp_path}/signed"]
    skopeo(gnupg, "--insecure-policy", *words)
    signature = parse_signature((tmp_path / "signed/signature-1").read_bytes())
    assert isinstance(signature, SimpleSignature)
    message, payload = verify_simple(signature, Keyring.read(gnupg.public(key), what="keys"))
    assert (message.fingerprint, message.user_ids) == (key, ("open",))
    assert payload.docker_reference == str(NAME)
    assert payload.digest == Digest.from_bytes((tmp_path / "signed/manifest.json").read_bytes())


def test_skopeo_accepts_ours(gnupg: GnuPG, key: str, tmp_path: Path) -> None:
    """Skopeo verifies a signature of ours by itself, and copies an image with it under a policy that wants it."""
    source = image_in(tmp_path / "source")
    digest = Digest.from_bytes((source / "manifest.json").read_bytes())
    made = SimpleSigner(key_fingerprint=key, gnupg_home=gnupg.home).sign(digest, NAME)
    (source / "signature-1").write_bytes(made.to_blob())
    words = ["standalone-verify", f"{source}/manifest.json", str(NAME), key, f"{source}/signature-1"]
    assert str(digest) in skopeo(gnupg, *words).stdout
    (tmp_path / "keys.gpg").write_bytes(gnupg.public(key))
    policy = policy_in(tmp_path / "policy.json", tmp_path / "keys.gpg")
    skopeo(gnupg, "--policy", policy, "copy", "-q", f"dir:{source}", f"dir:{tmp_path}/copied")
    assert (tmp_path / "copied/signature-1").read_bytes() == made.message
    (tmp_path / "keys.gpg").write_bytes(PLAIN)
    done = skopeo(gnupg, "--policy", policy, "copy", "-q", f"dir:{source}", f"dir:{tmp_path}/refused", check=False)
    assert done.returncode != 0


def test_what_a_signature_says(gnupg: GnuPG, key: str) -> None:
    """The payload has the name, the digest, who made it and when; a signature is a blob as places keep it."""
    signer: Signer = SimpleSigner(key_fingerprint=key, gnupg_home=gnupg.home)
    made = signer.sign(DIGEST, NAME)
    assert isinstance(made, SimpleSignature)
    assert parse_signature(made.to_blob()) == made
    message, payload = verify_simple(made, Keyring.read(gnupg.public(), what="keys"))
    assert (payload.digest, payload.docker_reference, payload.creator) == (DIGEST, str(NAME), f"ocikit {__version__}")
    assert payload.timestamp is not None
    assert abs(message.created.timestamp() - payload.timestamp) < 120
    assert signer.description == f"the OpenPGP key {key}"


def test_fingerprints_as_they_are_shown(gnupg: GnuPG, key: str) -> None:
    """Spaces and small letters are let through; what is shorter, or a name, is not."""
    spaced = " ".join(key[at : at + 4] for at in range(0, 40, 4)).lower()
    assert SimpleSigner(key_fingerprint=spaced, gnupg_home=gnupg.home).sign(DIGEST, NAME).message
    for wrong in ("", key[-16:], key[:-1], f"{key}!", "open", "--output=/etc/passwd"):
        with pytest.raises(SigningError, match="is not the fingerprint of a key"):
            SimpleSigner(key_fingerprint=wrong)


def test_a_passphrase(gnupg: GnuPG, locked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It opens the key; gpg gets it by a pipe, and neither words nor environment have it."""
    signer = SimpleSigner(key_fingerprint=locked, passphrase=PASSPHRASE, gnupg_home=gnupg.home)
    started: list[str] = []
    run = subprocess.run

    def watched(words: list[str], **options: object) -> object:
        started.append(repr((words, options)))
        return run(words, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", watched)
    message, _ = verify_simple(signer.sign(DIGEST, NAME), Keyring.read(gnupg.public(locked), what="keys"))
    assert message.fingerprint == locked
    assert "--passphrase-fd" in started[0]
    assert not any("horse" in one for one in [*started, repr(signer), str(signer), signer.description])


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("wrong horse", "the passphrase is wrong, or one is needed"),
        ("bättery\x80 \t", "the passphrase is wrong, or one is needed"),
        ("", "the passphrase is empty, and one is needed"),
    ],
)
def test_a_wrong_passphrase(gnupg: GnuPG, locked: str, wrong: str, reason: str) -> None:
    """It is refused in words that do not have it, and no descriptor stays open."""
    before = len(os.listdir("/proc/self/fd"))
    signer = SimpleSigner(key_fingerprint=locked, passphrase=wrong, gnupg_home=gnupg.home)
    with pytest.raises(SigningError, match=reason) as failed:
        signer.sign(DIGEST, NAME)
    assert "horse" not in str(failed.value)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("wrong", ["secret\n", "a\0secret", "secret" * 1000, "secret\ud800"])
def test_what_is_no_passphrase(key: str, wrong: str) -> None:
    """What gpg would take for another one is refused before, and is not in the error either."""
    with pytest.raises(SigningError, match="the passphrase") as failed:
        SimpleSigner(key_fingerprint=key, passphrase=wrong)
    assert "secret" not in repr(failed.value)
    assert failed.value.__cause__ is None


def test_keys_that_cannot_sign(gnupg: GnuPG, key: str) -> None:
    """No such key, one that was revoked, one that has expired: each is said."""
    absent = SimpleSigner(key_fingerprint="A" * 40, gnupg_home=gnupg.home)
    with pytest.raises(SigningError, match=f"with the key {'A' * 40} in {gnupg.home}: there is no secret key with"):
        absent.sign(DIGEST, NAME)
    revoked = gnupg.new_key("revoked", "ed25519")
    gnupg.revoke(revoked)
    with pytest.raises(SigningError, match="or it is revoked"):
        SimpleSigner(key_fingerprint=revoked, gnupg_home=gnupg.home).sign(DIGEST, NAME)
    words = ["--faked-system-time", "20240101T000000"]
    expired = gnupg.new_key("expired", "ed25519", *words, expires="20240201T000000")
    with pytest.raises(SigningError, match="has expired"):
        SimpleSigner(key_fingerprint=expired, gnupg_home=gnupg.home).sign(DIGEST, NAME)
    with pytest.raises(SigningError, match="has neither a tag nor a digest"):
        SimpleSigner(key_fingerprint=key, gnupg_home=gnupg.home).sign(
            DIGEST, parse_normalized_named("registry.example/app")
        )


def test_gpg_that_is_not_there(key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without gpg the error names the package."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SigningError, match="install the package gpg"):
        SimpleSigner(key_fingerprint=key).sign(DIGEST, NAME)


OCTAL = "".join(f"\\{byte:03o}" for byte in message(KEY))
DONE = "echo '[GNUPG:] SIG_CREATED S' >&2"
PROGRAMS = {
    "hangs": ("exec sleep 60", "did not answer within 0.5 s"),
    "fails": ("echo 'gpg: out of \033[31mluck' >&2; exit 3", r"exit code 3: gpg: out of \?\[31mluck"),
    "says nothing": ("exit 2", "exit code 2: it said nothing"),
    "signs nothing": ("exit 0", "made no signature"),
    "makes something else": (f"{DONE}; echo text", "made something else than a signed message"),
    "signs twice": (f"{DONE}; {DONE}", "signed with 2 keys"),
    "signs something else": (f"{DONE}; printf '{OCTAL}'", "signed something else than what it was given"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_gpg_that_misbehaves(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str) -> None:
    """A gpg that hangs, fails or makes anything but what was asked for is an error with a reason."""
    script, reason = PROGRAMS[name]
    (tmp_path / "gpg").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "gpg").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(SigningError, match=reason):
        SimpleSigner(key_fingerprint=key, timeout=0.5 if name == "hangs" else 30).sign(DIGEST, NAME)


def test_a_configuration_that_prefers_what_is_weak(gnupg: GnuPG, key: str) -> None:
    """Armor, text and SHA-1 in gpg.conf do not become part of a signature; a second signer is an error."""
    configuration = gnupg.home / "gpg.conf"
    signer = SimpleSigner(key_fingerprint=key, gnupg_home=gnupg.home)
    keyring = Keyring.read(gnupg.public(), what="keys")
    try:
        configuration.write_text("armor\ntextmode\npersonal-digest-preferences SHA1\ncompress-algo bzip2\n")
        assert verify_simple(signer.sign(DIGEST, NAME), keyring)[0].fingerprint == key
        configuration.write_text(f"local-user {gnupg.new_key('further', 'ed25519')}\n")
        with pytest.raises(SigningError, match="gpg signed with 2 keys; remove local-user"):
            signer.sign(DIGEST, NAME)
    finally:
        configuration.unlink()


def test_signing_in_several_threads(gnupg: GnuPG, key: str) -> None:
    """A signer may be used by several threads at once."""
    signer, made = SimpleSigner(key_fingerprint=key, gnupg_home=gnupg.home), list[SimpleSignature]()
    threads = [threading.Thread(target=lambda: made.append(signer.sign(DIGEST, NAME))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keyring = Keyring.read(gnupg.public(key), what="keys")
    assert [verify_simple(one, keyring)[0].fingerprint for one in made] == [key] * 4


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"This is not JSON\n", "what is signed is no JSON document"),
        (b'{"critical": {}, "optional": {}, "more": 1}', "unknown"),
        (b'{"critical": {"type": "cosign container image signature"}, "optional": {}}', "missing"),
    ],
)
def test_signed_and_no_payload(content: bytes, reason: str) -> None:
    """What is signed well and says nothing of an image is refused for that."""
    keyring = Keyring.read(PLAIN, what="keys")
    with pytest.raises(InvalidSignatureError, match=reason):
        verify_simple(SimpleSignature(message=message(KEY, content)), keyring)


def test_a_passphrase_that_nobody_can_be_asked_for(gnupg: GnuPG, locked: str) -> None:
    """Without a passphrase and without a terminal, gpg says "inappropriate ioctl"; what that means is said here."""
    signer = SimpleSigner(key_fingerprint=locked, gnupg_home=gnupg.home, timeout=20)
    with pytest.raises(SigningError, match=r"passphrase is needed, and there is no(body| terminal) to ask"):
        signer.sign(DIGEST, NAME)
    signed = SimpleSigner(key_fingerprint=locked, gnupg_home=gnupg.home, passphrase=PASSPHRASE.encode())
    assert signed.sign(DIGEST, NAME)
