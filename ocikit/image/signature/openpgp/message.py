"""Signed messages: content with a signature, in one file (RFC 9580 §10.3)."""

from __future__ import annotations

import bz2
import datetime as dt
import zlib
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from ocikit.errors import InvalidSignatureError, LimitExceededError
from ocikit.image.signature.openpgp.packets import Packet, Reader, Tag, read_packets
from ocikit.image.signature.openpgp.signatures import Kind, Signature, Use, read_signature
from ocikit.image.signature.openpgp.validity import validity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocikit.image.signature.openpgp.certificate import Certificate
    from ocikit.image.signature.openpgp.keyring import Keyring
    from ocikit.image.signature.openpgp.keys import PublicKey

__all__ = ["SignedMessage", "UnverifiedMessage", "unverified_message", "verify_message"]

_MOST_BYTES: Final = 4 * 1024 * 1024
_MOST_PACKETS: Final = 64
_WHAT: Final = "the OpenPGP message"

_ENCRYPTED: Final = "is encrypted; expected one that is signed and nothing else"
_UNEXPECTED: Final = {
    Tag.ENCRYPTED_SESSION_KEY: _ENCRYPTED,
    Tag.PASSWORD_SESSION_KEY: _ENCRYPTED,
    Tag.ENCRYPTED: _ENCRYPTED,
    Tag.ENCRYPTED_PROTECTED: _ENCRYPTED,
    Tag.ENCRYPTED_AEAD: _ENCRYPTED,
    Tag.COMPRESSED: "is compressed more than once, or in part; once and as a whole is accepted",
    Tag.PUBLIC_KEY: "is a public key, and no signature",
    Tag.SECRET_KEY: "is a secret key, and no signature",
}


@frozen(kw_only=True)
class SignedMessage:
    """A signed message, verified.

    Attributes:
        content: What is signed.
        fingerprint: The fingerprint of the primary key, hexadecimal in capitals: who signed it.
        key_fingerprint: That of the key which made the signature: the primary key or a subkey of it.
        user_ids: The names of the owner, as the key itself says.
        created: When the signature was made, as it says.
        expires: When the signature expires.
        key_expires: When the key expires.
    """

    content: bytes = field(repr=False)
    fingerprint: str
    key_fingerprint: str
    user_ids: tuple[str, ...]
    created: dt.datetime
    expires: dt.datetime | None = None
    key_expires: dt.datetime | None = None


@frozen(kw_only=True)
class UnverifiedMessage:
    """What a message says, and nothing proves.

    Attributes:
        untrusted_content: What is said to be signed.
        untrusted_issuers: Fingerprints and ids of the key that is said to have made the signature.
        untrusted_created: When it is said to have been made.
    """

    untrusted_content: bytes = field(repr=False)
    untrusted_issuers: tuple[str, ...]
    untrusted_created: dt.datetime


@frozen(kw_only=True)
class _Parts:
    """A message taken apart; the ids of keys are those that its one-pass packet and its signature name."""

    content: bytes
    signature: Signature
    issuers: tuple[str, ...]


def verify_message(message: bytes, keyring: Keyring, *, now: dt.datetime | None = None) -> SignedMessage:
    """Verify a signed message, and return what is signed and by whom.

    Exactly one signature is expected, over everything that is in the message.

    Args:
        message: The message, not armored.
        keyring: The certificates whose signatures are accepted.
        now: The time at which signature and key have to hold, with its time zone; the present when it is not given.

    Raises:
        InvalidSignatureError: It is malformed or of another form, or the signature is not one that is accepted; the
            reason says which check failed.
        LimitExceededError: It is larger than 4 MiB, or becomes so when it is decompressed.
    """
    now = dt.datetime.now(dt.UTC) if now is None else now
    parts = _take_apart(message)
    candidates = [*_candidates(parts, keyring)]
    if not candidates:
        raise _fault(
            f"is signed by the key {' or '.join(parts.issuers) or 'that it does not name'}, which is unknown here"
        )
    failure: InvalidSignatureError | None = None
    for certificate, key in candidates:
        try:
            return _verify(parts, certificate, key, now, keyring)
        except InvalidSignatureError as error:
            failure = failure or error
    raise _fault(f"is not accepted: {failure}") from failure


def unverified_message(message: bytes) -> UnverifiedMessage:
    """Take a signed message apart without any verification, for display and for messages only.

    Raises:
        InvalidSignatureError: It is malformed or of another form.
        LimitExceededError: It is larger than 4 MiB, or becomes so when it is decompressed.
    """
    parts = _take_apart(message)
    return UnverifiedMessage(
        untrusted_content=parts.content, untrusted_issuers=parts.issuers, untrusted_created=parts.signature.created
    )


def _verify(
    parts: _Parts, certificate: Certificate, key: PublicKey, now: dt.datetime, keyring: Keyring
) -> SignedMessage:
    signature = parts.signature
    try:
        signature.check(key, parts.content, use=Use.DOCUMENT)
        signature.check_time(key, now)
    except InvalidSignatureError as error:
        raise InvalidSignatureError(f"the signature that names the key {key.fingerprint} {error}") from error
    holds = validity(certificate, key, now, keyring.certificates)
    return SignedMessage(
        content=parts.content,
        fingerprint=certificate.fingerprint,
        key_fingerprint=key.fingerprint,
        user_ids=holds.user_ids,
        created=signature.created,
        expires=signature.expires,
        key_expires=holds.expires,
    )


def _candidates(parts: _Parts, keyring: Keyring) -> Iterator[tuple[Certificate, PublicKey]]:
    """Yield the keys that a message may be signed by: those that fit everything it says about its key."""
    if not parts.issuers:
        return
    for certificate in keyring.certificates:
        for key in (certificate.primary, *(one.key for one in certificate.subkeys)):
            if set(parts.issuers) <= {key.fingerprint, key.key_id}:
                yield certificate, key


def _fault(reason: str) -> InvalidSignatureError:
    return InvalidSignatureError(f"{_WHAT} {reason}")


def _take_apart(message: bytes) -> _Parts:
    """Take a message apart: perhaps compressed as a whole, then one-pass, literal, signature or signature, literal."""
    if len(message) > _MOST_BYTES:
        raise LimitExceededError(f"{_WHAT}: bytes", _MOST_BYTES, len(message))
    if not message:
        raise _fault("is empty")
    if message.lstrip()[:10] == b"-----BEGIN":
        raise _fault("is text, armored or clear-signed; expected a binary one with what it signs inside")
    packets = [*read_packets(message, what=_WHAT, most=_MOST_PACKETS)]
    if packets[0].tag == Tag.COMPRESSED:
        if len(packets) > 1:
            raise _fault(f"has {len(packets) - 1} packets behind the compressed one; expected nothing")
        packets = [*read_packets(_decompressed(packets[0].body), what=_WHAT, most=_MOST_PACKETS)]
    return _parts(packets)


def _parts(packets: list[Packet]) -> _Parts:
    tags = tuple(packet.tag for packet in packets)
    one_pass, literal, signature = Tag.ONE_PASS_SIGNATURE, Tag.LITERAL, Tag.SIGNATURE
    if tags == (one_pass, literal, signature):
        made = read_signature(packets[2].body)
        announced = _one_pass(packets[0].body, made)
        content = packets[1]
    elif tags == (signature, literal):
        made = read_signature(packets[0].body)
        announced = frozenset()
        content = packets[1]
        if made.version == 6:
            raise _fault(
                "has a signature of version 6 first; expected a one-pass packet first, as all who make them have"
            )
    else:
        raise _fault(_form(tags))
    if made.kind != Kind.BINARY:
        raise _fault(f"has a signature of the type 0x{made.kind:02X}; expected 0x00, one over binary data")
    names = announced | made.subpackets.issuer_ids | made.subpackets.issuer_fingerprints
    return _Parts(
        content=_literal(content.body), signature=made, issuers=tuple(sorted(names, key=lambda one: -len(one)))
    )


def _form(tags: tuple[int, ...]) -> str:
    """Say why packets with these tags are no signed message."""
    for tag in tags:
        if tag in _UNEXPECTED:
            return _UNEXPECTED[Tag(tag)]
    known = {Tag.ONE_PASS_SIGNATURE, Tag.LITERAL, Tag.SIGNATURE}
    count = tags.count(Tag.SIGNATURE)
    if not set(tags) <= known:
        return f"has a packet with the tag {min(set(tags) - known)}, which no signed message has"
    if Tag.LITERAL not in tags:
        return "is a detached signature, or one without content; expected what it signs inside" if tags else "is empty"
    if not count:
        return "has content and no signature" if tags == (Tag.LITERAL,) else "has no signature at its end"
    if count > 1:
        return f"has {count} signatures; expected exactly one"
    if tags.count(Tag.LITERAL) > 1:
        return "has content more than once"
    return f"has packets in an order that no signed message has: {', '.join(Tag(tag).name.lower() for tag in tags)}"


def _one_pass(body: bytes, signature: Signature) -> frozenset[str]:
    """Return the names of the key in a one-pass packet, which says beforehand what follows (RFC 9580 §5.4)."""
    reader = Reader(body, f"{_WHAT}: its one-pass packet")
    version = reader.number(1)
    if version not in {3, 6} or (version == 6) != (signature.version == 6):
        raise _fault(f"has a one-pass packet of version {version} with a signature of version {signature.version}")
    kind, hash_, algorithm = reader.number(1), reader.number(1), reader.number(1)
    salt = reader.take(reader.number(1)) if version == 6 else b""
    issuer = reader.take(32 if version == 6 else 8).hex().upper()
    last = reader.number(1)
    reader.end()
    if not last:
        raise _fault("announces a further signature over the same content; expected exactly one")
    if (kind, hash_, algorithm, salt) != (signature.kind, signature.hash.number, signature.algorithm, signature.salt):
        raise _fault("announces another kind of signature, key, hash or salt than the signature has")
    return frozenset({issuer})


def _literal(body: bytes) -> bytes:
    """Return what is in a literal packet; its file name and date are covered by no signature (RFC 9580 §5.9)."""
    reader = Reader(body, f"{_WHAT}: its literal packet")
    mode = reader.take(1)
    if mode not in {b"b", b"t", b"u"}:
        raise _fault(f"has content of the format {mode!r}; expected binary or text")
    reader.take(reader.number(1))
    reader.take(4)
    return reader.rest()


def _decompressed(body: bytes) -> bytes:
    """Return what is in a compressed packet (RFC 9580 §5.6)."""
    if body[:1] not in _DECOMPRESSORS:
        raise _fault(f"is compressed by the algorithm {body[:1].hex() or 'nothing'}; expected ZIP, ZLIB or BZip2")
    decompressor = _DECOMPRESSORS[body[:1]]()
    try:
        content: bytes = decompressor.decompress(body[1:], _MOST_BYTES + 1)
    except (zlib.error, OSError, ValueError, EOFError) as error:
        raise _fault(f"is damaged where it is compressed: {error}") from error
    if len(content) > _MOST_BYTES:
        raise LimitExceededError(f"{_WHAT}: bytes when decompressed", _MOST_BYTES)
    if not decompressor.eof:
        raise _fault("ends too early where it is compressed")
    if decompressor.unused_data:
        raise _fault(f"has {len(decompressor.unused_data):,} bytes behind what is compressed; expected nothing")
    return content


_DECOMPRESSORS: Final[dict[bytes, Callable[[], Any]]] = {
    b"\x01": lambda: zlib.decompressobj(-zlib.MAX_WBITS),
    b"\x02": zlib.decompressobj,
    b"\x03": bz2.BZ2Decompressor,
}
