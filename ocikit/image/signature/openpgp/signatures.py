"""Signature packets: what they say, what they are over, and whether a key made them (RFC 9580 §5.2)."""

from __future__ import annotations

import datetime as dt
import enum
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from ocikit.errors import InvalidSignatureError
from ocikit.image.signature.openpgp.algorithms import SHA1_ENDS, Hash, hash_of, key_kind_of, verify
from ocikit.image.signature.openpgp.keys import moment
from ocikit.image.signature.openpgp.packets import Reader
from ocikit.image.signature.openpgp.subpackets import Subpackets, read_subpackets

if TYPE_CHECKING:
    from ocikit.image.signature.openpgp.keys import PublicKey

__all__ = ["CLOCK_SKEW", "Kind", "Signature", "Use", "read_signature"]

#: By how much clocks may differ before something is from the future.
CLOCK_SKEW: Final = dt.timedelta(minutes=5)


class Kind(enum.IntEnum):
    """What a signature is over, and what it says of that (RFC 9580 §5.2.1)."""

    BINARY = 0x00
    TEXT = 0x01
    CERTIFICATION = 0x10
    PERSONA = 0x11
    CASUAL = 0x12
    POSITIVE = 0x13
    SUBKEY_BINDING = 0x18
    PRIMARY_KEY_BINDING = 0x19
    DIRECT_KEY = 0x1F
    KEY_REVOCATION = 0x20
    SUBKEY_REVOCATION = 0x28
    CERTIFICATION_REVOCATION = 0x30


class Use(enum.Enum):
    """For what a signature is believed, which decides about weak hashes."""

    #: Somebody else chose what is signed, perhaps to have the signature for something else.
    DOCUMENT = enum.auto()
    #: A key speaks of itself: nobody else chooses, and another text of the same digest would have to be found.
    SELF = enum.auto()
    #: A key gives itself up: to believe it wrongly is the smaller harm.
    REVOCATION = enum.auto()


@frozen(kw_only=True)
class Signature:
    """A signature, unverified.

    Attributes:
        version: 3, 4 or 6.
        kind: What it is over, a number of :class:`Kind` or another.
        algorithm: The number of the kind of key.
        hash: The hash.
        salt: What is hashed first, from version 6 on.
        trailer: What is hashed last.
        left: The first two bytes of the digest.
        values: What the key made.
        created: When it was made.
        subpackets: What it says beside that; what is not covered by the signature is only there to find the key.
    """

    version: int
    kind: int
    algorithm: int
    hash: Hash
    salt: bytes = field(default=b"", repr=False)
    trailer: bytes = field(repr=False)
    left: bytes = field(repr=False)
    values: bytes = field(repr=False)
    created: dt.datetime
    subpackets: Subpackets

    @property
    def expires(self) -> dt.datetime | None:
        """When the signature expires, if ever (RFC 9580 §5.2.3.18)."""
        seconds = self.subpackets.expires_after
        return self.created + dt.timedelta(seconds=seconds) if seconds else None

    def may_be_by(self, key: PublicKey) -> bool:
        """Whether the signature names this key as its maker, or none."""
        ids, fingerprints = self.subpackets.issuer_ids, self.subpackets.issuer_fingerprints
        return ids <= {key.key_id} and fingerprints <= {key.fingerprint}

    def check(self, key: PublicKey, *content: bytes, use: Use) -> None:
        """Return when a key made the signature over some content.

        Args:
            key: The key.
            content: What is signed, in parts.
            use: For what it is to be believed.

        Raises:
            InvalidSignatureError: It did not, or the signature is not to be believed.
        """
        self._check_form(key, use)
        digest = self.hash.digest(self.salt, *content, self.trailer)
        if digest[:2] != self.left:
            raise InvalidSignatureError("is over something else: the digest has other first bytes than it says")
        verify(key.algorithm, key.material, self.values, digest, self.hash)

    def _check_form(self, key: PublicKey, use: Use) -> None:
        if (self.version == 6) != (key.version == 6):
            raise InvalidSignatureError(f"has the version {self.version}, the key has the version {key.version}")
        if key_kind_of(self.algorithm) is not key_kind_of(key.algorithm) and {self.algorithm, key.algorithm} != {1, 3}:
            raise InvalidSignatureError(f"is one by {key_kind_of(self.algorithm).name}, the key is of another kind")
        if use is not Use.REVOCATION:
            self._check_hash(use)
            self.subpackets.check_critical()

    def _check_hash(self, use: Use) -> None:
        if self.hash.strong:
            return
        if use is Use.DOCUMENT or self.hash.algorithm != "sha1":
            raise InvalidSignatureError(f"is over a digest by {self.hash.name}, which proves nothing any more")
        if self.created >= SHA1_ENDS:
            raise InvalidSignatureError(
                f"is over a digest by SHA-1, and of {self.created:%Y-%m-%d}; none are accepted from "
                f"{SHA1_ENDS:%Y-%m-%d} on"
            )

    def check_time(self, key: PublicKey, now: dt.datetime) -> None:
        """Return when the signature was not made before its key, or in the future, and has not expired.

        Raises:
            InvalidSignatureError: It was, or has.
        """
        if self.created < key.created:
            raise InvalidSignatureError(
                f"was made at {self.created:%Y-%m-%d %H:%M:%S}, before its key at {key.created:%Y-%m-%d %H:%M:%S}"
            )
        if self.created > now + CLOCK_SKEW:
            raise InvalidSignatureError(f"was made in the future, at {self.created:%Y-%m-%d %H:%M:%S} UTC")
        if self.expires is not None and self.expires <= now:
            raise InvalidSignatureError(f"has expired at {self.expires:%Y-%m-%d %H:%M:%S} UTC")


def read_signature(body: bytes) -> Signature:
    """Read the body of a signature packet.

    Raises:
        InvalidSignatureError: It is malformed, or of a version, hash or kind that is not known.
    """
    reader = Reader(body, "a signature packet")
    version = reader.number(1)
    if version == 3:
        return _version_3(reader)
    if version in _LENGTHS:
        return _version_4(reader, version)
    raise InvalidSignatureError(f"a signature packet of version {version}; expected 3, 4 or 6")


def _version_3(reader: Reader) -> Signature:
    """RFC 9580 §5.2.2."""
    if reader.number(1) != 5:
        raise InvalidSignatureError(f"{reader.what}: what is hashed is not 5 bytes long, as it is in version 3")
    trailer = reader.take(5)
    issuer = reader.take(8).hex().upper()
    algorithm, hash_ = reader.number(1), hash_of(reader.number(1))
    return Signature(
        version=3,
        kind=trailer[0],
        algorithm=algorithm,
        hash=hash_,
        trailer=trailer,
        left=reader.take(2),
        values=reader.rest(),
        created=moment(int.from_bytes(trailer[1:], "big")),
        subpackets=Subpackets(issuer_ids=frozenset({issuer})),
    )


# How many bytes the length of an area of subpackets has.
_LENGTHS: Final = {4: 2, 6: 4}


def _version_4(reader: Reader, version: int) -> Signature:
    """RFC 9580 §5.2.3; version 6 has longer areas and a salt."""
    kind, algorithm, hash_ = reader.number(1), reader.number(1), hash_of(reader.number(1))
    area = reader.take(reader.number(_LENGTHS[version]))
    hashed = reader.taken
    subpackets = read_subpackets(area, reader.take(reader.number(_LENGTHS[version])))
    if subpackets.created is None:
        raise InvalidSignatureError(f"{reader.what}: does not say when it was made, in what the signature covers")
    left = reader.take(2)
    salt = reader.take(reader.number(1)) if version == 6 else b""
    if version == 6 and len(salt) != hash_.salt:
        raise InvalidSignatureError(f"{reader.what}: has {len(salt)} bytes of salt; {hash_.name} has {hash_.salt}")
    return Signature(
        version=version,
        kind=kind,
        algorithm=algorithm,
        hash=hash_,
        salt=salt,
        # RFC 9580 §5.2.4: what is covered, then its length.
        trailer=hashed + bytes([version, 0xFF]) + len(hashed).to_bytes(4, "big"),
        left=left,
        values=reader.rest(),
        created=moment(subpackets.created),
        subpackets=subpackets,
    )
