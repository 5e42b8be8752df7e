"""OpenPGP messages and keyrings: what is accepted, and what is refused for which reason."""

from __future__ import annotations

import contextlib
import datetime as dt
import tracemalloc
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpgp_cases import CASES, KEY, OTHER, PLAIN, RSA, SIG, SIGN, STRICTER, SUB, Case
from openpgp_maker import (
    CONTENT,
    NOW,
    OWNER,
    SIGNED,
    Key,
    armored,
    certificate,
    compressed,
    direct,
    lasts,
    message,
    named,
    old_packet,
    packet,
    signature,
    with_subkey,
)

from ocikit.errors import InvalidSignatureError, LimitExceededError
from ocikit.image.signature.openpgp.algorithms import SHA1_ENDS
from ocikit.image.signature.openpgp.armor import armored_blocks
from ocikit.image.signature.openpgp.keyring import Keyring
from ocikit.image.signature.openpgp.message import unverified_message, verify_message
from ocikit.image.signature.openpgp.packets import read_packets
from ocikit.image.signature.openpgp.signatures import CLOCK_SKEW, read_signature

REFUSALS = (InvalidSignatureError, LimitExceededError)
DAY = dt.timedelta(days=1)


def ring(data: bytes) -> Keyring:
    """Read a keyring."""
    return Keyring.read(data, what="keys")


def test_cases_have_names_of_their_own() -> None:
    """A case is found by its name, and what is stricter here is one of them."""
    counted = Counter(one.name for one in CASES)
    assert [name for name, count in counted.items() if count > 1] == []
    assert STRICTER.keys() <= {one.name for one in CASES if one.reason is not None}


@pytest.mark.parametrize("case", CASES, ids=lambda one: one.name.replace(" ", "-"))
def test_what_is_accepted_and_what_is_not(case: Case) -> None:
    """Each message is accepted with the content that was signed, or refused for the reason that is true."""
    keyring = ring(case.keyring)
    if case.reason is not None:
        with pytest.raises(REFUSALS, match=case.reason):
            verify_message(case.message, keyring, now=NOW)
        return
    made = verify_message(case.message, keyring, now=NOW)
    assert made.content in {CONTENT, CONTENT * 90, b""}
    assert made.fingerprint in {one.fingerprint for one in keyring.certificates}


def test_what_is_said_of_a_message() -> None:
    """Who signed is the primary key; which key made the signature, names and times are there too."""
    keyring = ring(with_subkey(KEY, SUB, packet(13, b"Fran\xe7ois"), hashed=lasts(9, 300)))
    made = verify_message(message(SUB, hashed=lasts(3, 400)), keyring, now=NOW - 100 * DAY)
    assert (made.content, made.fingerprint, made.key_fingerprint) == (CONTENT, KEY.name, SUB.name)
    assert made.user_ids == (OWNER.decode(),)
    assert (made.created, made.expires) == (SIGNED, SIGNED + 400 * DAY)
    assert made.key_expires == dt.datetime(2024, 1, 1, tzinfo=dt.UTC) + 300 * DAY
    assert "that is signed" not in repr(made)


def test_names_that_hold_are_shown() -> None:
    """Names that nothing vouches for, or that were taken back, are not; odd bytes are escaped."""
    odd = packet(13, b"\xff odd") + named(KEY, b"\xff odd")
    gone = packet(13, b"gone") + named(KEY, b"gone") + named(KEY, b"gone", kind=0x30, flag=None)
    keyring = ring(PLAIN + odd + gone + packet(13, b"claimed"))
    assert verify_message(SIGN, keyring, now=NOW).user_ids == (OWNER.decode(), "\\xff odd")


@pytest.mark.parametrize(
    ("moment", "reason"),
    [
        (SIGNED - CLOCK_SKEW, None),
        (SIGNED - CLOCK_SKEW - dt.timedelta(seconds=1), "was made in the future"),
        (SIGNED + 10 * DAY - dt.timedelta(seconds=1), None),
        (SIGNED + 10 * DAY, "has expired at 2024-06-11"),
    ],
)
def test_time_at_its_edges(moment: dt.datetime, reason: str | None) -> None:
    """A signature holds from when it was made, clocks being what they are, until the second when it expires."""
    made = message(KEY, hashed=lasts(3, 10))
    if reason is None:
        assert verify_message(made, ring(PLAIN), now=moment).content == CONTENT
    else:
        with pytest.raises(InvalidSignatureError, match=reason):
            verify_message(made, ring(PLAIN), now=moment)


@pytest.mark.parametrize(("earlier", "good"), [(1, True), (0, False)])
def test_end_of_sha1(earlier: int, *, good: bool) -> None:
    """What a key says of itself with SHA-1 is believed when it said so before February 2023."""
    made = SHA1_ENDS - dt.timedelta(seconds=earlier)
    key = Key("rsa2048", created=SHA1_ENDS - DAY)
    keyring = ring(certificate(key, hash_name="sha1", created=made))
    if good:
        assert verify_message(message(key), keyring, now=NOW).fingerprint == key.name
    else:
        with pytest.raises(InvalidSignatureError, match="by SHA-1, and of 2023-02-01"):
            verify_message(message(key), keyring, now=NOW)


def test_now_is_the_present() -> None:
    """Without a time, it is now: what expired is refused, what holds is accepted."""
    assert verify_message(SIGN, ring(PLAIN)).created == SIGNED
    with pytest.raises(InvalidSignatureError, match="has expired"):
        verify_message(message(KEY, hashed=lasts(3, 1)), ring(PLAIN))


def test_without_verification() -> None:
    """A message is taken apart for display, with names that say what that is worth."""
    said = unverified_message(compressed(message(OTHER, broken=True)))
    assert (said.untrusted_content, said.untrusted_created) == (CONTENT, SIGNED)
    assert said.untrusted_issuers == (OTHER.name, OTHER.name[-16:])
    with pytest.raises(InvalidSignatureError, match="has content and no signature"):
        unverified_message(packet(11, b"b\0\0\0\0\0x"))


# ------------------------------------------------------------------------------------------------------------ keyrings


def test_a_key_is_there_once() -> None:
    """Copies of one certificate become one, with all names, subkeys and revocations of each."""
    more = with_subkey(KEY, SUB, packet(13, b"b"), named(KEY, b"b"))
    keyring = ring(PLAIN + certificate(RSA) + more + PLAIN)
    assert [one.fingerprint for one in keyring.certificates] == [KEY.name, RSA.name]
    assert [one.text for one in keyring.certificates[0].user_ids] == [OWNER.decode(), "b"]
    assert [one.key.fingerprint for one in keyring.certificates[0].subkeys] == [SUB.name]


def test_a_name_that_one_copy_has_twice() -> None:
    """What is said of it in the first place counts, when the second says nothing, with and without other copies."""
    twice = PLAIN + packet(13, OWNER)
    for keyring in (ring(twice), ring(twice + PLAIN), ring(packet(6, KEY.body) + twice), ring(twice + twice)):
        assert verify_message(SIGN, keyring, now=NOW).user_ids[0] == OWNER.decode()
    bare = packet(6, KEY.body) + packet(13, OWNER)
    assert verify_message(SIGN, ring(twice + bare), now=NOW).user_ids == (OWNER.decode(),)


def test_several_keyrings_are_one() -> None:
    """A revocation in one file counts for the copy in another."""
    revoked = packet(6, KEY.body) + direct(KEY, kind=0x20)
    both = Keyring.joined([ring(PLAIN), ring(certificate(RSA)), ring(revoked)])
    assert [one.fingerprint for one in both.certificates] == [KEY.name, RSA.name]
    with pytest.raises(InvalidSignatureError, match="was revoked"):
        verify_message(SIGN, both, now=NOW)
    assert verify_message(message(RSA), both, now=NOW).fingerprint == RSA.name


KEYRINGS = {
    "nothing": (b"", "expected keys of OpenPGP, binary or armored, found neither"),
    "text": (b"This is invalid", "expected keys of OpenPGP"),
    "a keybox": (b"\0\0\0\x20\1\1\0\2KBXf" + bytes(20), "is a keybox, GnuPG's own"),
    "a secret key": (packet(5, KEY.body + b"\0secret"), "has a secret key"),
    "a secret subkey": (PLAIN + packet(7, SUB.body + b"\0secret"), "has a secret key"),
    "a message": (SIGN, "has a packet with the tag 4, which is one of a message"),
    "a signature alone": (SIG, "has no public key"),
    "only unknown keys": (packet(6, b"\5" + bytes(30)), "has no public key; a public key of version 5"),
    "cut off": (PLAIN[:-1], "ends too early"),
    "bytes behind": (PLAIN + b"\n", "found the byte 0x0a"),
    "armored, a message": (armored(SIGN, "MESSAGE"), "expected blocks of PGP PUBLIC KEY BLOCK, found PGP MESSAGE"),
    "armored, secret": (armored(PLAIN, "PRIVATE KEY BLOCK"), "found PGP PRIVATE KEY BLOCK"),
    "armored, no end": (armored(PLAIN)[:-20], "has no end"),
    "armored, not base64": (armored(PLAIN).replace(b"\n\n", b"\n\n*"), "is not base64"),
    "armored, nothing": (b"-----BEGIN PGP \n", "found none"),
    "a key too short": (packet(6, b"\4\0\0"), "a public key: ends too early"),
    "a key of version 6 that lies": (packet(6, b"\6" + bytes(4) + b"\x1b\0\0\0\x21" + bytes(32)), "says it has 33"),
}


@pytest.mark.parametrize("name", KEYRINGS)
def test_keyrings_that_are_none(name: str) -> None:
    """What is no keyring is refused, and the reason begins with what was read."""
    data, reason = KEYRINGS[name]
    with pytest.raises(InvalidSignatureError, match=f"^trusted keys: .*{reason}"):
        Keyring.read(data, what="trusted keys")


def test_keyrings_have_limits() -> None:
    """Bytes, packets, and signatures over one key are counted."""
    with pytest.raises(LimitExceededError, match="bytes of a keyring: limit 16,777,216"):
        ring(b"\x99" + bytes(16 << 20))
    with pytest.raises(InvalidSignatureError, match="more than 100,000 packets"):
        ring(PLAIN + packet(12, b"") * 100_000)
    forged = direct(KEY, kind=0x20, broken=True)
    with pytest.raises(LimitExceededError, match="signatures over one key or name: limit 256"):
        ring(packet(6, KEY.body) + forged * 257)
    # Those of others are not even kept.
    assert ring(PLAIN + packet(2, signature(OTHER, 0x10, KEY.framed)) * 1000).certificates


@pytest.mark.parametrize("headers", ["", "Version: GnuPG v2\nComment: a\n"])
@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
def test_armor_as_people_have_it(headers: str, ends: bytes) -> None:
    """With or without headers and checksums, with line ends of either kind, in the middle of other text."""
    text = (b"Dear all,\n\n" + armored(PLAIN, headers=headers) + b"-- \nme").replace(b"\n", ends)
    assert ring(text) == ring(PLAIN)
    assert ring(text.replace(b"=AAAA" + ends, b"")) == ring(PLAIN)


def test_old_keyrings() -> None:
    """Packets of the old format, with every length of length, and a private packet in between."""
    body = packet(6, KEY.body)
    for kind in (0, 1, 2):
        old = PLAIN.replace(body, old_packet(6, KEY.body, kind)) + packet(63, b"x")
        assert ring(old) == ring(PLAIN)


# ------------------------------------------------------------------------------------------------------------- hostile


@pytest.mark.parametrize("data", [compressed(SIGN), message(RSA, version=3)], ids=["compressed", "version-3"])
def test_no_part_of_a_message_is_one(data: bytes) -> None:
    """A message that is cut off anywhere is refused."""
    keyring = ring(PLAIN + certificate(RSA))
    for size in range(len(data)):
        with pytest.raises(REFUSALS):
            verify_message(data[:size], keyring, now=NOW)


def test_no_part_of_a_keyring_makes_more_of_it() -> None:
    """A keyring that is cut off anywhere is refused, or holds whole packets only: a subkey counts when it is bound."""
    data = with_subkey(KEY, SUB)
    for size in range(len(data)):
        try:
            keyring = ring(data[:size])
        except InvalidSignatureError:
            continue
        with pytest.raises(InvalidSignatureError, match=r"unknown here|is not bound|nothing about itself"):
            verify_message(message(SUB), keyring, now=NOW)


HEADS = (b"", b"\x99\0\x40", b"\x88\x40", b"\xa3\1", b"\xc2\x40\4\0\x16\x08")


@given(st.binary(max_size=200), st.sampled_from(HEADS))
def test_any_bytes_are_refused(data: bytes, head: bytes) -> None:
    """Whatever it is, it is refused with an error of its own kind."""
    keyring = ring(PLAIN)
    with pytest.raises(REFUSALS):
        verify_message(head + data, keyring, now=NOW)
    with contextlib.suppress(*REFUSALS):
        ring(head + data)
    with contextlib.suppress(*REFUSALS):
        read_signature(data)


@given(st.lists(st.tuples(st.integers(0, 63), st.binary(max_size=300)), max_size=8))
def test_packets_are_read_as_written(packets: list[tuple[int, bytes]]) -> None:
    """Every packet comes back with its tag and its bytes, in whichever format it is."""
    made = b"".join(packet(*one) for one in packets)
    assert [(one.tag, one.body) for one in read_packets(made, what="it", most=8)] == packets
    old = [one for one in packets if one[0] < 16]
    made = b"".join(old_packet(*one, 1) for one in old)
    assert [(one.tag, one.body) for one in read_packets(made, what="it", most=8)] == old


@given(st.binary(min_size=1, max_size=300))
def test_armor_is_read_as_written(data: bytes) -> None:
    """What is armored comes back."""
    assert armored_blocks(armored(data), "PUBLIC KEY BLOCK", what="it") == [data]


def test_what_is_long_costs_no_time() -> None:
    """Headers of armor, copies of a key, a packet in tiny parts, each without end: gone through once, or given up."""
    text = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n" + b":\n" * 1_000_000 + b"-----END PGP PUBLIC KEY BLOCK-----\n"
    with pytest.raises(InvalidSignatureError, match="has no public key"):
        ring(text)
    copies = [packet(6, KEY.body) + packet(14, SUB.body[:-4] + n.to_bytes(4, "big")) for n in range(30_000)]
    (certificate_,) = ring(b"".join(copies)).certificates
    assert len(certificate_.subkeys) == len(copies)
    parts = bytes([0xCB, 233]) + bytes(512) + bytes([224, 0]) * 1_000_000 + b"\0"
    with pytest.raises(InvalidSignatureError, match="in more than 16,384 parts"):
        verify_message(parts, ring(PLAIN))


def test_a_bomb_costs_no_memory() -> None:
    """What grows without end when it is decompressed is given up at the limit."""
    bombs = [one for one in CASES if one.name == "a bomb"]
    keyring = ring(PLAIN)
    tracemalloc.start()
    try:
        for bomb in bombs:
            with pytest.raises(LimitExceededError):
                verify_message(bomb.message, keyring, now=NOW)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert bombs
    assert peak < 20 << 20
