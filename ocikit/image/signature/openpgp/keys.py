"""Public keys as packets have them, and what names them (RFC 9580 §5.5.2, §5.5.4)."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Final, Self

from attrs import field, frozen

from ocikit.errors import InvalidSignatureError
from ocikit.image.signature.openpgp.packets import Reader

__all__ = ["PublicKey", "moment"]

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
# What the bytes of a key begin with where they are hashed, and how long their length is (RFC 9580 §5.2.4).
_FRAMES: Final = {4: (b"\x99", 2), 6: (b"\x9b", 4)}


def moment(seconds: int) -> dt.datetime:
    """Return a time that packets have in seconds since the epoch (RFC 9580 §3.5)."""
    return _EPOCH + dt.timedelta(seconds=seconds)


@frozen(kw_only=True)
class PublicKey:
    """A public key, primary or not; whether its material makes sense is found out when something is verified.

    Attributes:
        version: 4 or 6.
        created: When it was made, as it says.
        algorithm: The number of its kind.
        material: What its kind says of it.
        framed: Its bytes as signatures over keys have them.
        fingerprint: What names it, hexadecimal in capitals: SHA-1 of :attr:`framed`, SHA-256 from version 6 on.
    """

    version: int
    created: dt.datetime
    algorithm: int
    material: bytes = field(repr=False)
    framed: bytes = field(repr=False)
    fingerprint: str

    @classmethod
    def read(cls, body: bytes) -> Self:
        """Read the body of a packet with a public key.

        Raises:
            InvalidSignatureError: It is malformed, or of a version that is not known.
        """
        reader = Reader(body, "a public key")
        version = reader.number(1)
        if version not in _FRAMES:
            raise InvalidSignatureError(f"a public key of version {version}; expected 4 or 6")
        created = moment(reader.number(4))
        algorithm = reader.number(1)
        if version == 6:
            size = reader.number(4)
            if size != reader.left:
                raise InvalidSignatureError(f"a public key with {reader.left:,} bytes of material says it has {size:,}")
        sign, size = _FRAMES[version]
        if len(body) >> 8 * size:
            raise InvalidSignatureError(f"a public key of {len(body):,} bytes")
        framed = sign + len(body).to_bytes(size, "big") + body
        digest = hashlib.sha1(framed, usedforsecurity=False) if version == 4 else hashlib.sha256(framed)
        return cls(
            version=version,
            created=created,
            algorithm=algorithm,
            material=reader.rest(),
            framed=framed,
            fingerprint=digest.hexdigest().upper(),
        )

    @property
    def key_id(self) -> str:
        """The short name of the key: the last 8 bytes of the fingerprint, the first 8 from version 6 on."""
        return self.fingerprint[-16:] if self.version == 4 else self.fingerprint[:16]
