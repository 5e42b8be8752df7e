"""Certificates with messages that are accepted, and many that are not, each with the reason that is given."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, NamedTuple

from openpgp_maker import (
    CONTENT,
    MADE,
    NOW,
    OWNER,
    SIGNED,
    Key,
    armored,
    bound,
    certificate,
    compressed,
    direct,
    flags,
    lasts,
    literal,
    message,
    named,
    notation,
    old_message,
    old_packet,
    one_pass,
    packet,
    partial,
    signature,
    subpacket,
    with_subkey,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class Case(NamedTuple):
    """A keyring, a message, and the reason for which it is refused; none when it is accepted."""

    name: str
    keyring: bytes
    message: bytes
    reason: str | None = None


def day(number: int) -> dt.datetime:
    """Return a day before or after the one on which messages are signed."""
    return SIGNED + dt.timedelta(days=number)


KEY, OTHER, SUB = Key(number=0), Key(number=1), Key(number=2)
RSA, SMALL, P256 = Key("rsa2048"), Key("rsa1024"), Key("p256")
V6, V6_SUB, ED448 = Key("ed25519", version=6), Key("ed25519", 1, version=6), Key("ed448", version=6)
PLAIN, SIGN = certificate(KEY), message(KEY)
ONE, LIT, SIG = packet(4, one_pass(KEY)), packet(11, literal()), packet(2, signature(KEY, 0, CONTENT))


def accepted() -> Iterator[Case]:
    """Yield what has to be accepted."""
    yield Case("usual", PLAIN, SIGN)
    yield Case("signature first", PLAIN, old_message(KEY))
    for algorithm, name in ((1, "ZIP"), (2, "ZLIB"), (3, "BZip2")):
        yield Case(f"compressed by {name}", PLAIN, compressed(SIGN, algorithm))
    yield Case("signature first, compressed", PLAIN, compressed(old_message(KEY)))
    yield Case("content in parts", PLAIN, ONE + partial(11, literal(CONTENT * 90)) + _over(CONTENT * 90))
    yield Case("packets of the old format", PLAIN, old_packet(4, one_pass(KEY), 0) + old_packet(11, literal()) + SIG)
    yield Case("text mode", PLAIN, ONE + packet(11, literal(mode=b"t")) + SIG)
    yield Case("empty content", PLAIN, message(KEY, b""))
    for key, name in ((RSA, "RSA"), (P256, "ECDSA"), (Key("ed25519"), "Ed25519")):
        yield Case(f"by {name}", certificate(key), message(key))
    for name in ("sha224", "sha384", "sha512"):
        yield Case(f"over {name}", certificate(RSA), message(RSA, hash_name=name))
    yield Case("version 3", certificate(RSA), message(RSA, version=3))
    yield Case("version 3 in the certificate", certificate(RSA, version=3, flag=None), message(RSA))
    yield Case("by a subkey", with_subkey(KEY, SUB), message(SUB))
    yield Case("without flags", certificate(KEY, flag=None), SIGN)
    yield Case("SHA-1 in an old certificate", certificate(KEY_2020, hash_name="sha1", created=Y2020), message(KEY_2020))
    yield Case("lasts long enough", certificate(KEY, hashed=lasts(9, 20000)), message(KEY, hashed=lasts(3, 20000)))
    longer = named(KEY, hashed=lasts(9, 20000), created=day(-1))
    yield Case("made to last longer", certificate(KEY, longer, hashed=lasts(9, 10)), SIGN)
    two = certificate(KEY, packet(13, b"two"), named(KEY, b"two"), named(KEY, kind=0x30, flag=None, created=day(-1)))
    yield Case("one name of two taken back", two, SIGN)
    lost = packet(13, b"lost") + named(KEY, b"lost", hashed=lasts(9, 9), created=day(-3))
    gone = named(KEY, b"lost", kind=0x30, flag=None, created=day(-2))
    yield Case("what came with a lost name", PLAIN + lost + gone, SIGN)
    taken = certificate(KEY, named(KEY, kind=0x30, flag=None, created=day(-1)))
    yield Case("its only name taken back", taken, SIGN)
    again = certificate(KEY, named(KEY, kind=0x30, flag=None, created=day(-2)), named(KEY, created=day(-1)))
    yield Case("a name given again", again, SIGN)
    yield Case("a notation", PLAIN, message(KEY, hashed=notation("a@example.com", critical=False)))
    yield Case("armored keys", armored(PLAIN), SIGN)
    yield Case(
        "armored keys, two blocks and text", b"text\n" + armored(certificate(OTHER)) + b"\n" + armored(PLAIN), SIGN
    )
    yield Case("several keys", certificate(OTHER) + PLAIN + certificate(RSA), SIGN)
    trust = packet(6, KEY.body) + old_packet(12, b"\0" * 6) + packet(13, OWNER) + packet(12, b"") + named(KEY)
    yield Case("trust packets", trust + packet(60, b"private") + old_packet(12, b"\0\3"), SIGN)
    foreign = packet(2, signature(OTHER, 0x10, KEY.framed, b"x"))
    yield Case("certified by others", PLAIN + foreign, SIGN)
    yield Case("a forged revocation", packet(6, KEY.body) + direct(KEY, kind=0x20, broken=True) + PLAIN, SIGN)
    picture = packet(17, b"\3\1\0") + packet(2, signature(KEY, 0x13, KEY.framed, b"picture"))
    yield Case("a picture", PLAIN + picture, SIGN)
    yield Case("keys of version 3 beside it", packet(6, b"\3" + b"\0" * 40) + packet(13, b"old") + PLAIN, SIGN)
    yield Case("version 6", v6(V6), message(V6))
    yield Case("version 6, ZIP", v6(V6), compressed(message(V6)))
    sub = packet(14, V6_SUB.body) + bound(V6, V6_SUB, back=V6_SUB)
    yield Case("version 6, by a subkey", v6(V6) + sub, message(V6_SUB))
    yield Case("version 6, by Ed448", v6(ED448, hash_name="sha512"), message(ED448, hash_name="sha512"))
    yield Case("version 6, SHA-3", v6(V6), message(V6, hash_name="sha3_256"))


def v6(key: Key, **options: Any) -> bytes:
    """Return a certificate of version 6: a signature over the key itself says what holds."""
    return packet(6, key.body) + direct(key, hashed=flags(0x03), **options)


Y2020 = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
KEY_2020 = Key(number=3, created=Y2020)


def _over(content: bytes) -> bytes:
    return packet(2, signature(KEY, 0, content))


def forms() -> Iterator[Case]:
    """Yield messages of forms that are not accepted."""
    yield Case("empty", PLAIN, b"", "is empty")
    yield Case("text", PLAIN, b"invalid signature", "expected a packet of OpenPGP, found the byte 0x69")
    yield Case("armored", PLAIN, armored(SIGN, "MESSAGE"), "is text, armored or clear-signed")
    clear = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nx\n" + armored(SIG, "SIGNATURE")
    yield Case("clear-signed", PLAIN, clear, "is text, armored or clear-signed")
    yield Case("unsigned", PLAIN, LIT, "has content and no signature")
    yield Case("unsigned, compressed", PLAIN, compressed(LIT), "has content and no signature")
    yield Case("without its signature", PLAIN, ONE + LIT, "has no signature at its end")
    yield Case("detached", PLAIN, SIG, "is a detached signature")
    yield Case("encrypted", PLAIN, packet(1, b"\3" + bytes(20)) + packet(18, b"\1" + bytes(40)), "is encrypted")
    yield Case("encrypted by a password", PLAIN, packet(3, b"\4\7\0\2"), "is encrypted")
    yield Case("encrypted, with AEAD", PLAIN, packet(20, bytes(40)), "is encrypted")
    yield Case("a key", PLAIN, PLAIN, "is a public key")
    yield Case("two signatures", PLAIN, packet(4, one_pass(KEY, last=0)) + ONE + LIT + SIG + SIG, "has 2 signatures")
    yield Case("two signatures first", PLAIN, SIG + SIG + LIT, "has 2 signatures")
    yield Case("a second signature behind", PLAIN, SIGN + SIG, "has 2 signatures")
    yield Case("two contents", PLAIN, ONE + LIT + LIT + SIG, "has content more than once")
    yield Case("content behind", PLAIN, SIGN + LIT, "has content more than once")
    yield Case("content before", PLAIN, LIT + SIGN, "has content more than once")
    yield Case("two messages", PLAIN, SIGN + SIGN, "has 2 signatures")
    yield Case("announced behind", PLAIN, LIT + ONE + SIG, "in an order that no signed message has")
    yield Case("bytes behind", PLAIN, SIGN + b"x", "expected a packet of OpenPGP, found the byte 0x78")
    yield Case("a line feed behind", PLAIN, SIGN + b"\n", "found the byte 0x0a")
    yield Case("a packet behind", PLAIN, SIGN + packet(12, b"x"), "has a packet with the tag 12")
    yield Case("a marker before", PLAIN, packet(10, b"PGP") + SIGN, "has a packet with the tag 10")
    yield Case("compressed twice", PLAIN, compressed(compressed(SIGN)), "compressed more than once")
    part = ONE + compressed(LIT, 2) + SIG
    yield Case("compressed in part", PLAIN, part, "compressed more than once, or in part")
    yield Case("bytes behind what is compressed", PLAIN, compressed(SIGN) + b"x", "1 bytes behind what is")
    yield Case("packets behind what is compressed", PLAIN, compressed(SIGN, 2) + LIT, "has 1 packets behind")
    yield Case("cut off where it is compressed", PLAIN, compressed(SIGN)[:-5], "ends too early where it is compressed")
    yield Case("compression that is damaged", PLAIN, packet(8, b"\2" + b"x" * 40), "is damaged where it is compressed")
    yield Case("compression that is not known", PLAIN, packet(8, b"\x09" + SIGN), "is compressed by the algorithm 09")
    yield Case("not compressed in a compressed packet", PLAIN, packet(8, b"\0" + SIGN), "by the algorithm 00")
    bomb = compressed(packet(11, b"b\0\0\0\0\0" + bytes(40 << 20)), 3)
    yield Case("a bomb", PLAIN, bomb, "bytes when decompressed: limit 4,194,304")
    yield Case("too large", PLAIN, bytes(4 << 20) + b"x", "bytes: limit 4,194,304")
    yield Case("many packets", PLAIN, packet(12, b"") * 65, "more than 64 packets")
    tiny = bytes([0xCB, 224]) + b"b" + bytes([224, 0]) * 5 + b"\0"
    yield Case("tiny parts", PLAIN, ONE + tiny + SIG, "the first part of a packet has less than 512 bytes")
    yield Case(
        "a signature in parts", PLAIN, ONE + LIT + partial(2, SIG[6:] + bytes(600)), "does not say how long it is"
    )
    yield Case("a signature without length", PLAIN, ONE + LIT + old_packet(2, SIG[6:], 3), "does not say how long")
    yield Case("cut off", PLAIN, SIGN[:-3], "ends too early")
    yield Case("version 6, signature first", v6(V6), old_message(V6), "has a signature of version 6 first")
    yield Case("content of local text", PLAIN, ONE + packet(11, literal(mode=b"l")) + SIG, "content of the format")
    yield Case("over text", PLAIN, message(KEY, kind=1), "a signature of the type 0x01")
    yield Case("a certification", PLAIN, message(KEY, kind=0x10), "a signature of the type 0x10")
    announced = packet(4, one_pass(KEY, hash_name="sha512")) + LIT + SIG
    yield Case("announced with another hash", PLAIN, announced, "announces another kind of signature")
    more = packet(4, one_pass(KEY, last=0)) + LIT + SIG
    yield Case("announced with a further one", PLAIN, more, "announces a further signature")
    yield Case("announced by another", PLAIN, packet(4, one_pass(OTHER)) + LIT + SIG, "which is unknown here")


def signatures() -> Iterator[Case]:
    """Yield messages whose signature is not accepted."""
    yield Case("by another key", PLAIN, message(OTHER), f"is signed by the key {OTHER.name} .*unknown here")
    yield Case("says it is by another key", PLAIN, _by_other(), "is not one of this key over this content")
    yield Case("over other content", PLAIN, ONE + packet(11, literal(b"else")) + SIG, "is over something else")
    yield Case("broken", PLAIN, message(KEY, broken=True), "is not one of this key over this content")
    yield Case("broken, RSA", certificate(RSA), message(RSA, broken=True), "is not one of this key over this content")
    yield Case(
        "broken, ECDSA", certificate(P256), message(P256, broken=True), "is not one of this key over this content"
    )
    yield Case("broken, version 6", v6(V6), message(V6, broken=True), "is not one of this key over this content")
    for name, shown in (("md5", "MD5"), ("sha1", "SHA-1")):
        made = message(RSA, hash_name=name)
        yield Case(f"over {shown}", certificate(RSA), made, f"a digest by {shown}, which proves nothing")
    short = message(P256, hash_name="sha224")
    yield Case("a hash too short", certificate(P256), short, "SHA-224, which is shorter")
    made = message(KEY, hashed=lasts(3, 10))
    yield Case("expired", PLAIN, made, "has expired at 2024-06-11 00:00:00 UTC")
    late = message(KEY, created=NOW + dt.timedelta(days=1))
    yield Case("from the future", PLAIN, late, "was made in the future, at 2025-01-02")
    yield Case("before its key", PLAIN, message(KEY, created=MADE - dt.timedelta(1)), "was made at .*, before its key")
    yield Case("without a time", PLAIN, message(KEY, created=None), "does not say when it was made")
    twice = message(KEY, hashed=subpacket(2, b"\0" * 4))
    yield Case("with two times", PLAIN, twice, "more than one subpacket of the kind 2")
    critical = message(KEY, hashed=subpacket(99, b"x", critical=True))
    yield Case("critical and unknown", PLAIN, critical, "has a subpacket of the kind 99, which is critical")
    noted = message(KEY, hashed=notation("a@example.com", critical=True))
    yield Case("a critical notation", PLAIN, noted, "has a notation 'a@example.com', which is critical")
    yield Case("names no key", PLAIN, old_message(KEY, issuer=False), "by the key that it does not name")
    several = old_message(KEY, unhashed=subpacket(16, OTHER.id))
    yield Case("names two keys", PLAIN, several, "unknown here")
    yield Case("many subpackets", PLAIN, message(KEY, hashed=subpacket(40, b"") * 300), "more than 256 subpackets")
    yield Case("a subpacket cut off", PLAIN, message(KEY, hashed=b"\x20\x01"), "ends too early")
    yield Case("a subpacket without kind", PLAIN, message(KEY, hashed=b"\0"), "a subpacket has no kind")
    odd = message(KEY, hashed=subpacket(3, b"\0"))
    yield Case("a duration of one byte", PLAIN, odd, "a subpacket of the kind 3 of 1 bytes")
    for version in (2, 5, 7):
        changed = SIGN.replace(SIG[6:], bytes([version]) + SIG[7:])
        yield Case(f"version {version}", PLAIN, changed, f"a signature packet of version {version}")
    number = ONE + LIT + SIG[:6] + bytes([4, 0, 22, 99]) + SIG[10:]
    yield Case("a hash that is not known", PLAIN, number, "the hash algorithm 99 is not known")
    yield Case("version 4 by a key of version 6", v6(V6), _old_by_v6(), "has the version 4, the key has the version 6")


def _by_other() -> bytes:
    """Return a message by another key that says it is by the usual one."""
    made = signature(OTHER, 0, CONTENT, issuer=False, unhashed=subpacket(16, KEY.id))
    return packet(4, one_pass(KEY)) + LIT + packet(2, made)


def _old_by_v6() -> bytes:
    made = signature(V6, 0, CONTENT, version=4, issuer=False, unhashed=subpacket(16, V6.id))
    return packet(2, made) + LIT


def certificates() -> Iterator[Case]:
    """Yield keys that may not have signed."""
    gone = "was revoked at 2024-01-02"
    revoked = packet(6, KEY.body) + direct(KEY, kind=0x20) + PLAIN[len(packet(6, KEY.body)) :]
    yield Case("revoked", revoked, SIGN, gone)
    yield Case("revoked at the end", PLAIN + direct(KEY, kind=0x20), SIGN, gone)
    picture = packet(17, b"\3\1\0")
    yield Case("revoked behind a picture", PLAIN + picture + direct(KEY, kind=0x20), SIGN, gone)
    md5 = packet(6, RSA.body) + direct(RSA, kind=0x20, hash_name="md5") + certificate(RSA)
    yield Case("revoked with MD5", md5, message(RSA), gone)
    yield Case("revoked in another copy", PLAIN + certificate(OTHER) + revoked, SIGN, gone)
    weakly = packet(6, KEY.body) + direct(KEY, kind=0x20, hash_name="sha1") + PLAIN[len(packet(6, KEY.body)) :]
    yield Case("revoked with SHA-1", weakly, SIGN, gone)
    later = packet(6, KEY.body) + direct(KEY, kind=0x20, created=NOW) + PLAIN[len(packet(6, KEY.body)) :]
    yield Case("revoked after it signed", later, SIGN, "was revoked at 2025-01-01")
    yield Case("a key that has expired", certificate(KEY, hashed=lasts(9, 10)), SIGN, "has expired at 2024-01-11")
    since = certificate(KEY, hashed=lasts(9, 200))
    yield Case("a key that has expired since", since, SIGN, "has expired at 2024-07-19")
    shorter = certificate(KEY, named(KEY, hashed=lasts(9, 160), created=day(-1)), hashed=lasts(9, 20000))
    yield Case("made to last shorter", shorter, SIGN, "has expired at 2024-06-09")
    yield Case("not for signing", certificate(KEY, flag=0x0D), SIGN, "is not for signing: its flags are 0x0D")
    yield Case("only for subkeys", with_subkey(KEY, SUB), SIGN, "is not for signing: its flags are 0x01")
    yield Case("nothing about itself", packet(6, KEY.body), SIGN, "has signed nothing about itself")
    yield Case(
        "a name that is not signed", packet(6, KEY.body) + packet(13, OWNER), SIGN, "signed nothing about itself"
    )
    broken = certificate(KEY, broken=True)
    yield Case(
        "a name that is signed wrongly", broken, SIGN, "nothing about itself that holds: a signature is not one of"
    )
    foreign = packet(6, KEY.body) + packet(13, OWNER) + packet(2, signature(OTHER, 0x13, KEY.framed, OWNER))
    yield Case("named by somebody else", foreign, SIGN, "has signed nothing about itself")
    weak = certificate(KEY, hash_name="sha1")
    yield Case("SHA-1 in a new certificate", weak, SIGN, "by SHA-1, and of 2024-01-02; none are")
    md5 = certificate(KEY_2020, hash_name="md5", created=Y2020)
    yield Case("MD5 in a certificate", md5, message(KEY_2020), "a digest by MD5")
    early = certificate(KEY, created=MADE - dt.timedelta(1))
    yield Case("signed before it was made", early, SIGN, "before its key")
    future = certificate(KEY, created=NOW + dt.timedelta(days=1))
    yield Case("signs in the future", future, SIGN, "was made in the future")
    ended = certificate(KEY, hashed=lasts(3, 1))
    yield Case("what it says has expired", ended, SIGN, "a signature has expired at 2024-01-03")
    critical = certificate(KEY, hashed=subpacket(99, b"", critical=True))
    yield Case("says something critical", critical, SIGN, "a subpacket of the kind 99, which is critical")
    yield Case("RSA of 1024 bits", certificate(SMALL), message(SMALL), "RSA of 1,024 bits")
    named_only = packet(6, V6.body) + packet(13, OWNER) + named(V6)
    yield Case("version 6 without what it needs", named_only, message(V6), "signed nothing about itself alone")
    huge = Key(number=4)
    huge.body = huge.body[:6] + b"\x09\x2b\x06\x01\x04\x01\xda\x47\x0f\x02" + huge.body[16:]
    huge.framed = b"\x99" + len(huge.body).to_bytes(2, "big") + huge.body
    import_id(huge)
    yield Case(
        "a curve that is not known",
        certificate(huge),
        message(huge),
        "on a curve that is not known: 2b06010401da470f02",
    )


def import_id(key: Key) -> None:
    """Name a key anew, after its body was changed."""
    import hashlib  # noqa: PLC0415 - for this one

    key.fingerprint = hashlib.sha1(key.framed).digest()  # noqa: S324 - fingerprints are SHA-1
    key.id = key.fingerprint[-8:]


def subkeys() -> Iterator[Case]:
    """Yield subkeys that may not have signed."""
    made = message(SUB)
    alone = certificate(KEY, packet(14, SUB.body), flag=0x01)
    yield Case("a subkey that is not bound", alone, made, "is not bound to")
    by_itself = certificate(KEY, packet(14, SUB.body) + packet(2, signature(SUB, 0x18, KEY.framed, SUB.framed)))
    yield Case("a subkey that binds itself", by_itself, made, "is not bound to")
    yield Case("a subkey bound wrongly", with_subkey(KEY, SUB, broken=True), made, "is not bound to")
    yield Case(
        "a subkey that did not sign back", with_subkey(KEY, SUB, back=None), made, "has not signed that it belongs"
    )
    yield Case("a subkey adopted", with_subkey(KEY, SUB, back=KEY), made, "has not signed that it belongs")
    wrong = with_subkey(KEY, SUB, back_options={"broken": True})
    yield Case("a subkey that signed back wrongly", wrong, made, "has not signed that it belongs")
    yield Case("a subkey not for signing", with_subkey(KEY, SUB, flag=0x0C), made, "its flags are 0x0C")
    yield Case("a subkey revoked", with_subkey(KEY, SUB, _subkey_revoked()), made, "was revoked at 2024-01-02")
    again = with_subkey(KEY, SUB, _subkey_revoked() + bound(KEY, SUB, back=SUB, created=day(-1)))
    yield Case("a subkey revoked and bound again", again, made, "was revoked at 2024-01-02")
    yield Case("a subkey expired", with_subkey(KEY, SUB, hashed=lasts(9, 5)), made, "has expired at 2024-01-06")
    bound_until = with_subkey(KEY, SUB, hashed=lasts(3, 5))
    yield Case("a subkey whose binding has expired", bound_until, made, "is not bound to")
    primary = packet(14, SUB.body) + bound(KEY, SUB, back=SUB)
    yield Case(
        "a subkey of an expired key", certificate(KEY, primary, hashed=lasts(9, 10)), made, "has expired at 2024-01-11"
    )
    gone = packet(6, KEY.body) + direct(KEY, kind=0x20) + packet(13, OWNER) + named(KEY) + primary
    yield Case("a subkey of a revoked key", gone, made, f"the key {KEY.name} was revoked at")
    yield Case("a subkey before any key", primary + PLAIN, made, "which is unknown here")


def _subkey_revoked() -> bytes:
    return bound(KEY, SUB, flag=None, kind=0x28)


def revokers() -> Iterator[Case]:
    """Yield a key that another may revoke: whether it did."""
    may = direct(KEY, hashed=flags(0x03) + subpacket(12, b"\x80\x16" + OTHER.fingerprint))
    head, rest = packet(6, KEY.body), packet(13, OWNER) + named(KEY)
    did = direct(KEY, by=OTHER, kind=0x20)
    yield Case(
        "revoked by whom it named", head + may + did + rest + certificate(OTHER), SIGN, "was revoked .* by the key"
    )
    later = direct(KEY, hashed=subpacket(12, b"\x80\x16" + OTHER.fingerprint), created=day(-1))
    ends = named(KEY, hashed=lasts(9, 10))
    yield Case("named a revoker, expired", head + later + packet(13, OWNER) + ends, SIGN, "has expired at 2024-01-11")
    weak = named(KEY, flag=0x01)
    yield Case("named a revoker, not for signing", head + later + packet(13, OWNER) + weak, SIGN, "its flags are 0x01")
    alone = direct(KEY, hashed=flags(0x01))
    yield Case("not for signing, over itself alone", head + alone + rest, SIGN, "its flags are 0x01")
    yield Case("revoked by somebody else", head + did + rest + certificate(OTHER), SIGN)
    forged = direct(KEY, by=OTHER, kind=0x20, broken=True)
    yield Case("revoked by whom it named, forged", head + may + forged + rest + certificate(OTHER), SIGN)


#: Every case.
CASES = [*accepted(), *forms(), *signatures(), *certificates(), *subkeys(), *revokers()]

#: What is refused here and accepted by GnuPG or Sequoia, and why it is refused. Nothing is the other way round.
STRICTER = {
    "armored": "places keep signatures binary, and containers/image reads no others",
    "a packet behind": "nothing that is not signed is let through",
    "a marker before": "nothing that is not signed is let through",
    "compressed twice": "no signer does",
    "bytes behind what is compressed": "nothing that is not signed is let through",
    "packets behind what is compressed": "nothing that is not signed is let through",
    "not compressed in a compressed packet": "no signer does",
    "content of local text": "no signer does",
    "over text": "what is signed would not be what is read, but for its line ends",
    "announced with a further one": "it is not what was announced",
    "announced by another": "it is not what was announced",
    "over SHA-1": "two documents of one digest can be made",
    "a hash too short": "as GnuPG has it",
    "from the future": "it was not made then",
    "with two times": "one reader takes the first and another the last",
    "names two keys": "it was made by one",
    "many subpackets": "everything has a limit",
    "revoked at the end": "a revocation counts wherever it stands",
    "revoked behind a picture": "a revocation counts wherever it stands",
    "revoked with MD5": "a revocation counts with any hash",
    "revoked in another copy": "gpgv looks at the first copy alone",
    "a key that has expired since": "as GnuPG and containers/image have it",
    "made to last shorter": "as GnuPG and containers/image have it",
    "SHA-1 in a new certificate": "as Sequoia has it",
    "not for signing, over itself alone": "as GnuPG has it",
    "signs in the future": "it was not made then",
    "what it says has expired": "as Sequoia has it",
    "RSA of 1024 bits": "as Sequoia has it",
    "version 6 without what it needs": "RFC 9580 asks for it",
    "revoked by whom it named": "Sequoia leaves this to its caller",
}
