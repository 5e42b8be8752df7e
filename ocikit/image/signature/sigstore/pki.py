"""Certificates of an authority of one's own, for a mail address or a host."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from ocikit.errors import InvalidSignatureError
from ocikit.image.signature.sigstore.certificates import (
    emails_of,
    name_of,
    read_certificate,
    read_chain,
    several,
)
from ocikit.image.signature.sigstore.chains import verify_chain
from ocikit.image.signature.sigstore.hostnames import check_hostname
from ocikit.image.signature.sigstore.keys import PublicKey
from ocikit.image.signature.sigstore.trust import Signatory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.x509 import Certificate

    from ocikit.image.signature.sigstore.trust import PkiTrust

__all__ = ["verify_pki", "verify_pki_certificate"]


def verify_pki(
    certificate_pem: str, chain_pem: str | None, trust: PkiTrust, *, at: dt.datetime | None = None
) -> Signatory:
    """Verify the certificate that a signature comes with.

    Args:
        certificate_pem: The certificate, PEM.
        chain_pem: Certificates that lead to the authority, PEM, in any order; nothing is trusted for being there.
        trust: The authority, and who is wanted: by mail address, host, or both.
        at: The time at which the certificate must be valid, with a time zone; now, when nothing is given.

    Returns:
        Who the certificate is for.

    Raises:
        InvalidSignatureError: It is malformed, of another authority or at another time, for another purpose, or for
            somebody else.
    """
    return verify_pki_certificate(read_certificate(certificate_pem), read_chain(chain_pem), trust, at=at)


def verify_pki_certificate(
    certificate: Certificate,
    intermediates: Sequence[Certificate],
    trust: PkiTrust,
    *,
    at: dt.datetime | None = None,
) -> Signatory:
    """Verify a certificate that was read already; otherwise :func:`verify_pki`.

    Args:
        certificate: The certificate.
        intermediates: Certificates that lead to the authority, beside those that the policy has.
        trust: The authority, and who is wanted.
        at: The time at which it must be valid; now, when nothing is given.

    Raises:
        InvalidSignatureError: As above.
    """
    if not trust.subject_email and not trust.subject_hostname:
        raise InvalidSignatureError("the policy names neither a mail address nor a host that a certificate must be for")
    verify_chain(
        certificate,
        roots=trust.roots,
        intermediates=(*trust.intermediates, *intermediates),
        at=at or dt.datetime.now(dt.UTC),
    )
    emails = emails_of(certificate)
    if trust.subject_email and trust.subject_email not in emails:
        raise InvalidSignatureError(
            f"the certificate {name_of(certificate)} is for the mail addresses {several(emails)}; expected "
            f"{trust.subject_email!r}"
        )
    if trust.subject_hostname:
        check_hostname(certificate, trust.subject_hostname)
    email = trust.subject_email or (emails[0] if len(emails) == 1 else None)
    return Signatory(key=PublicKey(certificate.public_key()), email=email, hostname=trust.subject_hostname or None)
