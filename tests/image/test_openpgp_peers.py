"""OpenPGP against GnuPG and Sequoia: what they make is read, and nothing is accepted that neither of them accepts."""

from __future__ import annotations

import datetime as dt
import random
import secrets
from typing import TYPE_CHECKING

import pysequoia
import pytest
from openpgp_cases import CASES, KEY, OTHER, PLAIN, RSA, STRICTER, SUB, V6, Case, v6
from openpgp_maker import CONTENT, NOW, certificate, compressed, direct, message, old_message, packet, with_subkey
from openpgp_peers import GnuPG, by_gpgv, by_sequoia, copies_of, damaged_packets

from ocikit.errors import InvalidSignatureError, LimitExceededError
from ocikit.image.signature.openpgp.keyring import Keyring
from ocikit.image.signature.openpgp.message import SignedMessage, verify_message

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY = dt.timedelta(days=1)


@pytest.fixture(scope="module")
def gnupg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GnuPG]:
    """A home of GnuPG for this file."""
    made = GnuPG(tmp_path_factory.mktemp("gpg"))
    yield made
    made.close()


def verify(keyring: bytes, signed: bytes, now: dt.datetime | None = None) -> SignedMessage:
    """Verify a message here."""
    return verify_message(signed, Keyring.read(keyring, what="keys"), now=now)


# --------------------------------------------------------------------------------------------------- what GnuPG makes

ALGORITHMS = (
    *("rsa2048", "rsa4096", "dsa2048", "dsa3072", "ed25519", "nistp256", "nistp384", "nistp521"),
    *("brainpoolP256r1", "brainpoolP384r1", "brainpoolP512r1", "secp256k1"),
)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_kind_of_key(gnupg: GnuPG, algorithm: str) -> None:
    """What gpg signs by any kind of key that it makes is accepted, and not when it was changed."""
    key = gnupg.new_key(algorithm, algorithm)
    made = verify(gnupg.public(key), gnupg.signed(key, CONTENT, "--compress-algo", "none"))
    assert (made.content, made.fingerprint, made.user_ids) == (CONTENT, key, (algorithm,))
    changed = gnupg.signed(key, CONTENT, "--compress-algo", "none").replace(b"signed", b"sighed")
    with pytest.raises(InvalidSignatureError, match="is over something else"):
        verify(gnupg.public(key), changed)


FORMS = (
    *(("--compress-algo", name) for name in ("zip", "zlib", "bzip2")),
    *(("--digest-algo", name) for name in ("SHA224", "SHA384", "SHA512")),
    ("--set-notation", "a@example.com=b"),
    ("--set-filename", "x" * 200),
    ("--sig-policy-url", "!x"),
    ("--sender", "a@b.c"),
)


@pytest.mark.parametrize("words", FORMS, ids=lambda words: "-".join(words).strip("-")[:30])
def test_every_form_of_message(gnupg: GnuPG, rsa: str, words: tuple[str, ...]) -> None:
    """However gpg is told to compress, hash and annotate, it is accepted; large content comes in parts."""
    for content in (CONTENT, b"", b"\r\nx\r" * 40_000):
        assert verify(gnupg.public(rsa), gnupg.signed(rsa, content, *words)).content == content


@pytest.fixture(scope="module")
def rsa(gnupg: GnuPG) -> str:
    """A key that nothing changes."""
    return gnupg.new_key("unchanged", "rsa2048")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--digest-algo", "SHA1"], "a digest by SHA-1, which proves nothing"),
        (["--textmode"], "a signature of the type 0x01"),
        (["--armor"], "is text, armored or clear-signed"),
        (["--default-sig-expire", "1d", "--faked-system-time", "20250101T000000"], "has expired at"),
        (["--set-notation", "!a@example.com=b"], "has a notation 'a@example.com', which is critical"),
    ],
)
def test_messages_of_gnupg_that_are_refused(gnupg: GnuPG, words: list[str], reason: str) -> None:
    """What gpg makes when it is told so, and is not accepted here."""
    key = gnupg.new_key(f"old {reason}", "rsa2048", "--faked-system-time", "20240101T000000")
    with pytest.raises(InvalidSignatureError, match=reason):
        verify(gnupg.public(key), gnupg.signed(key, CONTENT, *words))


def test_clear_and_detached(gnupg: GnuPG, rsa: str) -> None:
    """Text that is signed in the clear, and signatures without what they sign, are none of ours."""
    words = ["--passphrase", "", "--local-user", rsa, "--output", "-"]
    with pytest.raises(InvalidSignatureError, match="clear-signed"):
        verify(gnupg.public(rsa), gnupg.run(*words, "--clear-sign", content=CONTENT))
    with pytest.raises(InvalidSignatureError, match="is a detached signature"):
        verify(gnupg.public(rsa), gnupg.run(*words, "--detach-sign", content=CONTENT))
    with pytest.raises(InvalidSignatureError, match="has content and no signature"):
        verify(gnupg.public(rsa), gnupg.run("--store", "--output", "-", content=CONTENT))


def test_two_signers(gnupg: GnuPG, rsa: str) -> None:
    """A message with two signatures is refused, though both are good: containers/image accepts exactly one."""
    other = gnupg.new_key("second", "ed25519")
    made = gnupg.signed(rsa, CONTENT, "--local-user", other)
    with pytest.raises(InvalidSignatureError, match="has 2 signatures; expected exactly one"):
        verify(gnupg.public(), made)


def test_life_of_a_key(gnupg: GnuPG) -> None:
    """It expires, is made to last longer, its name is taken back, and it is revoked."""
    key = gnupg.new_key("mortal", "ed25519", "--faked-system-time", "20240101T000000", expires="20240201T000000")
    made = gnupg.signed(key, CONTENT, "--faked-system-time", "20240110T000000")
    assert verify(gnupg.public(key), made, dt.datetime(2024, 1, 20, tzinfo=dt.UTC)).fingerprint == key
    with pytest.raises(InvalidSignatureError, match="has expired at 2024-02-01"):
        verify(gnupg.public(key), made)
    gnupg.run("--passphrase", "", "--quick-set-expire", key, "10y")
    assert verify(gnupg.public(key), made).user_ids == ("mortal",)
    gnupg.run("--passphrase", "", "--quick-add-uid", key, "renamed")
    gnupg.run("--passphrase", "", "--quick-revoke-uid", key, "mortal")
    assert verify(gnupg.public(key), made).user_ids == ("renamed",)
    before = gnupg.public(key)
    gnupg.revoke(key)
    with pytest.raises(InvalidSignatureError, match=f"the key {key} was revoked"):
        verify(gnupg.public(key), made)
    with pytest.raises(InvalidSignatureError, match=f"the key {key} was revoked"):
        verify(before + gnupg.public(key), made)


def test_life_of_a_subkey(gnupg: GnuPG) -> None:
    """It signs for its primary key, until it expires, or is revoked."""
    primary = gnupg.new_key("with subkeys", "nistp256", "--faked-system-time", "20240101T000000")
    for life in ("never", "20240201T000000"):
        words = ["--passphrase", "", "--faked-system-time", "20240102T000000", "--quick-add-key", primary]
        gnupg.run(*words, "ed25519", "sign", life)
    _, lasting, mortal = gnupg.fingerprints(primary)
    made = gnupg.signed(lasting, CONTENT)
    said = verify(gnupg.public(primary), made)
    assert (said.fingerprint, said.key_fingerprint) == (primary, lasting)
    old = gnupg.signed(mortal, CONTENT, "--faked-system-time", "20240110T000000")
    with pytest.raises(InvalidSignatureError, match=f"the key {mortal} has expired at 2024-02-01"):
        verify(gnupg.public(primary), old)
    gnupg.edit(primary, "key 1", "revkey", "y", "0", "", "y")
    with pytest.raises(InvalidSignatureError, match=f"the key {lasting} was revoked"):
        verify(gnupg.public(primary), made)


def test_armored_keys_of_gnupg(gnupg: GnuPG, rsa: str) -> None:
    """Armored keys are what the binary ones are."""
    binary, armored = gnupg.public(rsa), gnupg.run("--armor", "--export", rsa)
    assert Keyring.read(armored * 2, what="keys") == Keyring.read(binary, what="keys")


# ------------------------------------------------------------------------------------------------- what Sequoia makes


@pytest.mark.parametrize("profile", [pysequoia.Profile.RFC4880, pysequoia.Profile.RFC9580], ids=str)
def test_sequoia(profile: pysequoia.Profile) -> None:
    """What Sequoia signs is accepted, of either generation."""
    secret = pysequoia.Tsk.generate("Owner <owner@example.com>", profile=profile)
    public = secret.extract_certificate()
    made = pysequoia.sign(secret.signer(), CONTENT, mode=pysequoia.SignatureMode.INLINE, armor=False)
    said = verify(bytes(public), made)
    assert (said.content, said.fingerprint) == (CONTENT, public.fingerprint.upper())
    with pytest.raises(InvalidSignatureError, match="unknown here"):
        verify(PLAIN, made)


# ---------------------------------------------------------------------------------------------------- second opinions


@pytest.mark.parametrize("case", CASES, ids=lambda one: one.name.replace(" ", "-"))
def test_peers_agree(case: Case, tmp_path: Path) -> None:
    """What is accepted here is accepted by gpgv or Sequoia; what they accept is accepted, or in the list of reasons."""
    accepted = by_gpgv(case.keyring, case.message, tmp_path) or by_sequoia(case.keyring, case.message)
    if case.reason is None:
        assert accepted
    else:
        assert not accepted or case.name in STRICTER


PAIRS = (
    (PLAIN, message(KEY)),
    (PLAIN, old_message(KEY)),
    (PLAIN, compressed(message(KEY))),
    (certificate(RSA), message(RSA, version=3)),
    (with_subkey(KEY, SUB), message(SUB)),
    (PLAIN + certificate(OTHER) + packet(6, KEY.body) + direct(KEY, kind=0x20), message(OTHER)),
    (v6(V6), message(V6)),
)


@pytest.mark.parametrize("seed", [1, secrets.randbits(32)], ids=["same", "new"])
def test_damaged_packets(seed: int, tmp_path: Path) -> None:
    """Damaged messages and keys: what is still accepted says what was signed, and a peer accepts it, too."""
    source = random.Random(seed)  # noqa: S311 - a seed makes the same case again
    survived = 0
    for number in range(2500):
        keyring, signed = source.choice(PAIRS)
        if source.random() < 0.4:
            signed = damaged_packets(source, signed)
        else:
            keyring = damaged_packets(source, keyring)
        try:
            made = verify(keyring, signed, NOW)
        except (InvalidSignatureError, LimitExceededError):
            continue
        assert made.content == CONTENT, (seed, number)
        copies = copies_of(made.fingerprint, keyring)
        assert any(by_sequoia(one, signed) or by_gpgv(one, signed, tmp_path) for one in copies), (seed, number)
        survived += 1
    assert survived
