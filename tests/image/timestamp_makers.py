"""Authorities that sign timestamps (RFC 3161), made at run time, and timestamps that are right or wrong in any way."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from authorities import NOW, YEAR, Certified, der, make_certificate, sign
from cryptography import x509

if TYPE_CHECKING:
    import datetime as dt

TIME_STAMPING = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.8")

SHA256 = bytes.fromhex("0609608648016503040201")
SHA512 = bytes.fromhex("0609608648016503040203")
MD5 = bytes.fromhex("06082a864886f70d0205")
ECDSA_SHA256 = bytes.fromhex("06082a8648ce3d040302")
EC = bytes.fromhex("06072a8648ce3d0201")
RSA = bytes.fromhex("06092a864886f70d010101")
RSA_SHA256 = bytes.fromhex("06092a864886f70d01010b")
ED25519 = bytes.fromhex("06032b6570")
SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
TST_INFO = bytes.fromhex("060b2a864886f70d0109100104")
CONTENT_TYPE = bytes.fromhex("06092a864886f70d010903")
MESSAGE_DIGEST = bytes.fromhex("06092a864886f70d010904")
POLICY = bytes.fromhex("06042a030405")

VERSION_1, VERSION_3 = bytes.fromhex("020101"), bytes.fromhex("020103")


def timestamp_authority(name: str = "tsa", **options: Any) -> Certified:
    """Make the certificate of an authority, which has issued it to itself."""
    wanted = {"purposes": (TIME_STAMPING,), "begins": NOW - YEAR, "ends": NOW + YEAR, **options}
    return make_certificate(name, None, **wanted)


def number(value: int) -> bytes:
    """Write an INTEGER."""
    return der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


@frozen(kw_only=True)
class Stamp:
    """A timestamp, part by part: what is not said is as it should be.

    Attributes:
        by: The authority.
        signature: What was seen.
        at: When, as it is written.
    """

    by: Certified = field(repr=False)
    signature: bytes
    at: bytes = NOW.strftime("%Y%m%d%H%M%SZ").encode()
    version: bytes = VERSION_1
    status: bytes = der(0x30, b"\x02\x01\x00")
    imprint_hash: bytes = SHA256
    imprint: bytes | None = None
    more: bytes = b""
    digest_algorithm: bytes = SHA256
    message_digest: bytes | None = None
    content_type: bytes = TST_INFO
    attributes: bytes | None = None
    algorithm: bytes = ECDSA_SHA256
    identifier: bytes | None = None
    outer_type: bytes = SIGNED_DATA
    inner_type: bytes = TST_INFO
    certificates: bytes = b""
    signers: int = 1
    key: Any = field(default=None, repr=False)
    after: bytes = b""

    def info(self) -> bytes:
        """Return what the authority says (TSTInfo)."""
        imprint = self.imprint if self.imprint is not None else hashlib.sha256(self.signature).digest()
        seen = der(0x30, der(0x30, self.imprint_hash, b"\x05\x00"), der(0x04, imprint))
        return der(0x30, self.version, POLICY, seen, number(99), der(0x18, self.at), self.more)

    def signer(self, info: bytes) -> bytes:
        """Return who signed that, and the signature (SignerInfo)."""
        digest = self.message_digest if self.message_digest is not None else hashlib.sha256(info).digest()
        kind = der(0x30, CONTENT_TYPE, der(0x31, self.content_type))
        attributes = self.attributes if self.attributes is not None else (
            kind + der(0x30, MESSAGE_DIGEST, der(0x31, der(0x04, digest)))
        )  # fmt: skip
        certificate = self.by.certificate
        identifier = self.identifier or der(0x30, certificate.issuer.public_bytes(), number(certificate.serial_number))
        signature = sign(self.key or self.by.key, der(0x31, attributes))
        return der(
            0x30,
            *(VERSION_1, identifier, der(0x30, self.digest_algorithm), der(0xA0, attributes)),
            *(der(0x30, self.algorithm), der(0x04, signature)),
        )

    def to_der(self) -> bytes:
        """Return the answer of the authority (TimeStampResp)."""
        info = self.info()
        content = der(0x30, self.inner_type, der(0xA0, der(0x04, info)))
        signers = der(0x31, *[self.signer(info)] * self.signers)
        data = der(0x30, VERSION_3, der(0x31, der(0x30, SHA256)), content, self.certificates, signers)
        return der(0x30, self.status, der(0x30, self.outer_type, der(0xA0, data)), self.after)


def written(at: dt.datetime) -> bytes:
    """Write a time as timestamps have it."""
    return at.strftime("%Y%m%d%H%M%SZ").encode()
