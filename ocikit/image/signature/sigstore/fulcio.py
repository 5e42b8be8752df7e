"""Certificates of Fulcio: short-lived, for whoever an identity provider says that the signer is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.errors import InvalidSignatureError
from ocikit.image.signature.sigstore.certificates import (
    emails_of,
    name_of,
    read_certificate,
    read_chain,
    several,
    shown,
)
from ocikit.image.signature.sigstore.chains import verify_chain
from ocikit.image.signature.sigstore.keys import PublicKey
from ocikit.image.signature.sigstore.trust import Signatory

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from cryptography.x509 import Certificate

    from ocikit.image.signature.sigstore.trust import FulcioTrust

__all__ = ["issuer_of", "verify_fulcio", "verify_fulcio_certificate"]

# The identity provider: as bare text, and as a string of DER, which took its place.
_ISSUER: Final = "1.3.6.1.4.1.57264.1.1"
_ISSUER_V2: Final = "1.3.6.1.4.1.57264.1.8"

_UTF8_STRING: Final = 0x0C


def verify_fulcio(certificate_pem: str, chain_pem: str | None, trust: FulcioTrust, *, at: dt.datetime) -> Signatory:
    """Verify the certificate that a signature comes with.

    Args:
        certificate_pem: The certificate, PEM.
        chain_pem: Certificates that lead to the authority, PEM, in any order; nothing is trusted for being there.
        trust: The authority, and who is wanted.
        at: When the signature was made, as the transparency log says: certificates live for minutes.

    Returns:
        Who the certificate is for, without an entry of a log.

    Raises:
        InvalidSignatureError: It is malformed, of another authority or at another time, not for signing code, or for
            somebody else.
    """
    return verify_fulcio_certificate(read_certificate(certificate_pem), read_chain(chain_pem), trust, at=at)


def verify_fulcio_certificate(
    certificate: Certificate, intermediates: Sequence[Certificate], trust: FulcioTrust, *, at: dt.datetime
) -> Signatory:
    """Verify a certificate that was read already; otherwise :func:`verify_fulcio`.

    Args:
        certificate: The certificate.
        intermediates: Certificates that lead to the authority.
        trust: The authority, and who is wanted.
        at: When the signature was made.

    Raises:
        InvalidSignatureError: As above.
    """
    verify_chain(certificate, roots=trust.roots, intermediates=intermediates, at=at)
    issuer = issuer_of(certificate)
    if issuer != trust.oidc_issuer:
        raise InvalidSignatureError(
            f"the certificate {name_of(certificate)} names the identity provider {shown(issuer)}; expected "
            f"{trust.oidc_issuer!r}"
        )
    emails = emails_of(certificate)
    if trust.subject_email not in emails:
        raise InvalidSignatureError(
            f"the certificate {name_of(certificate)} is for the mail addresses {several(emails)}; expected "
            f"{trust.subject_email!r}"
        )
    return Signatory(key=PublicKey(certificate.public_key()), email=trust.subject_email, issuer=issuer)


def issuer_of(certificate: Certificate) -> str:
    """Return the identity provider that a certificate names.

    Args:
        certificate: The certificate.

    Raises:
        InvalidSignatureError: It names none or two, or in a form that is malformed.
    """
    found = {one.oid.dotted_string: one.value.public_bytes() for one in certificate.extensions}
    issuers = [_text(found[_ISSUER])] if _ISSUER in found else []
    if _ISSUER_V2 in found:
        issuers.append(_text(_utf8_string(found[_ISSUER_V2])))
    if not issuers:
        raise InvalidSignatureError(
            f"the certificate {name_of(certificate)} names no identity provider: expected the extension "
            f"{_ISSUER_V2} or {_ISSUER}"
        )
    if issuers[0] != issuers[-1]:
        raise InvalidSignatureError(
            f"the certificate {name_of(certificate)} names two identity providers, {shown(issuers[0])} and "
            f"{shown(issuers[-1])}"
        )
    return issuers[0]


def _utf8_string(der: bytes) -> bytes:
    """Take the content out of a UTF8String, by writing anew what comes before it: DER has one form of each length."""
    for content in (der[2:], der[3:], der[4:]):
        if der == _header(len(content)) + content:
            return content
    raise InvalidSignatureError(
        f"the identity provider in the certificate (extension {_ISSUER_V2}) is {der[:16].hex(' ')}…: expected a "
        "UTF8String and nothing else"
    )


def _header(length: int) -> bytes:
    """Write tag and length of a UTF8String (X.690 §8.1.3, §10.1)."""
    if length < 0x80:
        return bytes([_UTF8_STRING, length])
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([_UTF8_STRING, 0x80 | len(octets)]) + octets


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidSignatureError("the identity provider in the certificate is no UTF-8") from error
