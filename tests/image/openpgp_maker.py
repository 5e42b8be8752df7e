"""OpenPGP as it should be and as it should not: keys, certificates and messages made packet by packet (RFC 9580)."""

from __future__ import annotations

import base64
import bz2
import datetime as dt
import hashlib
import zlib
from functools import cache
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

if TYPE_CHECKING:
    from collections.abc import Callable

#: When keys were made, when they signed what binds them, when they signed messages, and when that is looked at.
MADE = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
BOUND = dt.datetime(2024, 1, 2, tzinfo=dt.UTC)
SIGNED = dt.datetime(2024, 6, 1, tzinfo=dt.UTC)
NOW = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
DAY = 24 * 60 * 60

CONTENT = b'{"content": "that is signed"}\n'
OWNER = b"Owner <owner@example.com>"

HASHES = {
    "md5": 1, "sha1": 2, "sha256": 8, "sha384": 9, "sha512": 10, "sha224": 11, "sha3_256": 12, "sha3_512": 14,
}  # fmt: skip
SALTS = {"sha224": 16, "sha256": 16, "sha384": 24, "sha512": 32, "sha3_256": 16, "sha3_512": 32}


def seconds(moment: dt.datetime) -> bytes:
    """Return a time as packets have it."""
    return int(moment.timestamp()).to_bytes(4, "big")


def mpi(number: int) -> bytes:
    """Return a number with its count of bits."""
    return number.bit_length().to_bytes(2, "big") + number.to_bytes((number.bit_length() + 7) // 8, "big")


def packet(tag: int, body: bytes) -> bytes:
    """Return a packet in the current format."""
    return bytes([0xC0 | tag, 0xFF]) + len(body).to_bytes(4, "big") + body


def old_packet(tag: int, body: bytes, kind: int = 1) -> bytes:
    """Return a packet in the old format; the kind 3 has no length."""
    return bytes([0x80 | tag << 2 | kind]) + (b"" if kind == 3 else len(body).to_bytes(1 << kind, "big")) + body


def partial(tag: int, body: bytes, power: int = 9) -> bytes:
    """Return a packet in parts of a power of two, and a last one."""
    size, made = 1 << power, bytes([0xC0 | tag])
    while len(body) > size:
        made, body = made + bytes([224 + power]) + body[:size], body[size:]
    return made + b"\xff" + len(body).to_bytes(4, "big") + body


def subpacket(kind: int, body: bytes, *, critical: bool = False) -> bytes:
    """Return a subpacket."""
    return b"\xff" + (len(body) + 1).to_bytes(4, "big") + bytes([kind | 0x80 * critical]) + body


def lasts(kind: int, days: int) -> bytes:
    """Return a subpacket with a duration: 3 of the signature, 9 of the key."""
    return subpacket(kind, (days * DAY).to_bytes(4, "big"))


def flags(value: int) -> bytes:
    """Return a subpacket that says what a key is for."""
    return subpacket(27, bytes([value]))


def notation(name: str, *, critical: bool) -> bytes:
    """Return a subpacket with a notation."""
    body = b"\x80\0\0\0" + len(name).to_bytes(2, "big") + b"\0\1" + name.encode() + b"x"
    return subpacket(20, body, critical=critical)


def armored(data: bytes, kind: str = "PUBLIC KEY BLOCK", *, headers: str = "Comment: made here\n") -> bytes:
    """Return data as text, with a checksum that is wrong."""
    text = base64.encodebytes(data).decode()
    return f"-----BEGIN PGP {kind}-----\n{headers}\n{text}=AAAA\n-----END PGP {kind}-----\n".encode()


@cache
def private_key(kind: str, number: int) -> Any:
    """Return a key; there are as many of a kind as there are numbers, and each is made once.

    Those over Edwards curves are the same in every process.
    """
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind[3:]))
    if kind == "p256":
        return ec.generate_private_key(ec.SECP256R1())
    seed = hashlib.shake_256(f"{kind} {number}".encode())
    if kind == "ed448":
        return ed448.Ed448PrivateKey.from_private_bytes(seed.digest(57))
    return ed25519.Ed25519PrivateKey.from_private_bytes(seed.digest(32))


ALGORITHMS = {"rsa1024": 1, "rsa2048": 1, "p256": 19, "legacy": 22, "ed25519": 27, "ed448": 28}
P256 = bytes.fromhex("082a8648ce3d030107")
LEGACY = bytes.fromhex("092b06010401da470f01")


class Key:
    """A key of some kind and version: what it is, and what it signs."""

    def __init__(self, kind: str = "legacy", number: int = 0, *, version: int = 4, created: dt.datetime = MADE) -> None:
        self.private, self.version = private_key(kind, number), version
        self.algorithm = ALGORITHMS[kind]
        material = self._material(kind)
        size = len(material).to_bytes(4, "big") if version == 6 else b""
        self.body = bytes([version]) + seconds(created) + bytes([self.algorithm]) + size + material
        if version == 6:
            self.framed = b"\x9b" + len(self.body).to_bytes(4, "big") + self.body
            self.fingerprint = hashlib.sha256(self.framed).digest()
            self.id = self.fingerprint[:8]
        else:
            self.framed = b"\x99" + len(self.body).to_bytes(2, "big") + self.body
            self.fingerprint = hashlib.sha1(self.framed).digest()  # noqa: S324 - fingerprints are SHA-1
            self.id = self.fingerprint[-8:]

    @property
    def name(self) -> str:
        """Its fingerprint as it is shown."""
        return self.fingerprint.hex().upper()

    def _material(self, kind: str) -> bytes:
        public = self.private.public_key()
        if kind.startswith("rsa"):
            return mpi(public.public_numbers().n) + mpi(65537)
        if kind == "p256":
            numbers = public.public_numbers()
            return P256 + mpi(
                int.from_bytes(b"\4" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big"), "big")
            )
        raw: bytes = public.public_bytes_raw()
        return LEGACY + mpi(int.from_bytes(b"\x40" + raw, "big")) if kind == "legacy" else raw

    def sign(self, digest: bytes, name: str) -> bytes:
        """Return what a signature packet has at its end."""
        hashed = Prehashed(getattr(hashes, name.upper())())
        if self.algorithm == 1:
            return mpi(int.from_bytes(self.private.sign(digest, padding.PKCS1v15(), hashed), "big"))
        if self.algorithm == 19:
            return b"".join(map(mpi, decode_dss_signature(self.private.sign(digest, ec.ECDSA(hashed)))))
        made: bytes = self.private.sign(digest)
        if self.algorithm == 22:
            return mpi(int.from_bytes(made[:32], "big")) + mpi(int.from_bytes(made[32:], "big"))
        return made


def signature(
    key: Key,
    kind: int,
    *content: bytes,
    hash_name: str = "sha256",
    created: dt.datetime | None = SIGNED,
    hashed: bytes = b"",
    unhashed: bytes = b"",
    issuer: bool = True,
    version: int | None = None,
    broken: bool = False,
) -> bytes:
    """Return the body of a signature packet.

    Args:
        key: Who signs.
        kind: The type of the signature.
        content: What is signed.
        hash_name: How it is hashed.
        created: When; None leaves it out.
        hashed: Further subpackets that are covered.
        unhashed: Further ones that are not.
        issuer: Whether it names the key.
        version: Of the packet; by itself as the key has it.
        broken: Whether the signature is one over something else, with a digest that begins right.
    """
    version = key.version if version is None else version
    head = bytes([version, kind, key.algorithm, HASHES[hash_name]])
    state = hashlib.new(hash_name)
    salt = b"s" * SALTS.get(hash_name, 0) if version == 6 else b""
    state.update(salt)
    for part in content:
        state.update(part)
    if version == 3:
        assert created is not None
        trailer = bytes([kind]) + seconds(created)
        state.update(trailer)
        digest = state.digest()
        return b"\3\5" + trailer + key.id + head[2:] + digest[:2] + key.sign(digest, hash_name)
    size = 4 if version == 6 else 2
    area = (subpacket(2, seconds(created)) if created is not None else b"") + hashed
    if issuer:
        area += subpacket(33, bytes([key.version]) + key.fingerprint)
        unhashed += subpacket(16, key.id) if version == 4 else b""
    covered = head + len(area).to_bytes(size, "big") + area
    state.update(covered + bytes([version, 0xFF]) + len(covered).to_bytes(4, "big"))
    digest = state.digest()
    values = key.sign(digest[:2] + bytes(len(digest) - 2) if broken else digest, hash_name)
    salted = bytes([len(salt)]) + salt if version == 6 else b""
    return covered + len(unhashed).to_bytes(size, "big") + unhashed + digest[:2] + salted + values


def over_name(key: Key, name: bytes = OWNER, *, version: int | None = None) -> tuple[bytes, bytes]:
    """Return what is signed when a key gets a name."""
    return key.framed, name if version == 3 else b"\xb4" + len(name).to_bytes(4, "big") + name


def named(key: Key, name: bytes = OWNER, *, kind: int = 0x13, flag: int | None = 0x03, **options: Any) -> bytes:
    """Return a packet that gives a key a name (or takes it: the kind 0x30)."""
    options["hashed"] = options.get("hashed", b"") + (flags(flag) if flag is not None else b"")
    made = signature(key, kind, *over_name(key, name, version=options.get("version")), **{"created": BOUND, **options})
    return packet(2, made)


def direct(key: Key, *, kind: int = 0x1F, by: Key | None = None, **options: Any) -> bytes:
    """Return a packet over a key alone: what it says of itself, or that it is revoked (the kind 0x20)."""
    return packet(2, signature(by or key, kind, key.framed, **{"created": BOUND, **options}))


def bound(
    primary: Key, sub: Key, *, flag: int | None = 0x02, back: Key | None = None, kind: int = 0x18, **options: Any
) -> bytes:
    """Return a packet that binds a subkey (or takes it back: the kind 0x28); it is signed back by ``back``."""
    content = (primary.framed, sub.framed)
    extra = flags(flag) if flag is not None else b""
    if back is not None:
        extra += subpacket(32, signature(back, 0x19, *content, created=BOUND, **options.pop("back_options", {})))
    options["hashed"] = options.get("hashed", b"") + extra
    return packet(2, signature(primary, kind, *content, **{"created": BOUND, **options}))


def certificate(key: Key, *more: bytes, name: bytes = OWNER, **options: Any) -> bytes:
    """Return a certificate with one name, and packets after it."""
    return packet(6, key.body) + packet(13, name) + named(key, name, **options) + b"".join(more)


def with_subkey(primary: Key, sub: Key, *more: bytes, **options: Any) -> bytes:
    """Return a certificate whose primary key certifies and whose subkey signs."""
    return certificate(primary, packet(14, sub.body), bound(primary, sub, **{"back": sub, **options}), *more, flag=0x01)


def literal(content: bytes = CONTENT, mode: bytes = b"b") -> bytes:
    """Return the body of a literal packet."""
    return mode + b"\4file" + seconds(SIGNED) + content


def one_pass(key: Key, *, kind: int = 0, hash_name: str = "sha256", last: int = 1) -> bytes:
    """Return the body of a one-pass packet."""
    head = bytes([3 if key.version == 4 else 6, kind, HASHES[hash_name], key.algorithm])
    salt = b"s" * SALTS.get(hash_name, 0)
    who = key.id if key.version == 4 else bytes([len(salt)]) + salt + key.fingerprint
    return head + who + bytes([last])


def message(key: Key, content: bytes = CONTENT, *, kind: int = 0, hash_name: str = "sha256", **options: Any) -> bytes:
    """Return a signed message of the usual form, not compressed."""
    made = signature(key, kind, content, hash_name=hash_name, **options)
    return packet(4, one_pass(key, kind=kind, hash_name=hash_name)) + packet(11, literal(content)) + packet(2, made)


def old_message(key: Key, content: bytes = CONTENT, **options: Any) -> bytes:
    """Return a signed message with the signature first."""
    return packet(2, signature(key, 0, content, **options)) + packet(11, literal(content))


def deflated(data: bytes) -> bytes:
    """Return data compressed as ZIP has it."""
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


def compressed(data: bytes, algorithm: int = 1) -> bytes:
    """Return packets in a compressed one, which says how long it is only in the algorithms 2 and 3."""
    ways: dict[int, Callable[[bytes], bytes]] = {1: deflated, 2: zlib.compress, 3: bz2.compress}
    made = ways[algorithm](data)
    body = bytes([algorithm]) + made
    return old_packet(8, body, 3) if algorithm == 1 else packet(8, body)
