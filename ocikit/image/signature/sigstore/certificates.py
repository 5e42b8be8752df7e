"""Certificates (RFC 5280), read whole before anything of them is used, and described in messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from ocikit.errors import InvalidSignatureError, LimitExceededError
from ocikit.image.signature.sigstore.pem import CERTIFICATE, read_block, read_blocks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.x509 import Certificate, ExtensionType

    Kind = TypeVar("Kind", bound=ExtensionType)

__all__ = [
    "MAX_CERTIFICATES",
    "MAX_CERTIFICATE_BYTES",
    "MAX_CHAIN",
    "emails_of",
    "extension_of",
    "name_of",
    "parse_certificate",
    "read_certificate",
    "read_certificates",
    "read_chain",
    "several",
    "shown",
]

#: How many certificates an authority may have.
MAX_CERTIFICATES: Final = 1000
#: How many certificates may come with a signature, beside the signer's.
MAX_CHAIN: Final = 16
#: The size of one certificate of a signature, in bytes of PEM.
MAX_CERTIFICATE_BYTES: Final = 64 * 1024

_MOST_TRUSTED_BYTES: Final = 4 * 1024 * 1024


def read_certificates(pem: bytes, *, what: str) -> tuple[Certificate, ...]:
    """Read the certificates of an authority, from a file of whoever trusts it; text between them is allowed.

    Args:
        pem: The certificates, PEM.
        what: What they are, for messages.

    Raises:
        InvalidSignatureError: There is none, or one is malformed.
        LimitExceededError: There are more than 1,000, or more than 4 MiB.
    """
    blocks = read_blocks(
        pem, what=what, labels=(CERTIFICATE,), most=MAX_CERTIFICATES, most_bytes=_MOST_TRUSTED_BYTES, explained=True
    )
    return tuple(parse_certificate(one.der, what=what) for one in blocks)


def read_certificate(pem: bytes | str, *, what: str = "the certificate of the signature") -> Certificate:
    """Read the certificate that comes with a signature: exactly one, and nothing else.

    Args:
        pem: The certificate, PEM.
        what: What it is, for messages.

    Raises:
        InvalidSignatureError: It is not exactly one certificate, or malformed.
    """
    block = read_block(pem, what=what, labels=(CERTIFICATE,), most_bytes=MAX_CERTIFICATE_BYTES)
    return parse_certificate(block.der, what=what)


def read_chain(
    pem: bytes | str | None, *, what: str = "the certificate chain of the signature"
) -> tuple[Certificate, ...]:
    """Read the certificates that come with a signature to lead from the signer's to an authority.

    Args:
        pem: The certificates, PEM; none when there is no text.
        what: What they are, for messages.

    Raises:
        InvalidSignatureError: They are too many, or malformed.
    """
    if not pem:
        return ()
    most_bytes = MAX_CHAIN * MAX_CERTIFICATE_BYTES
    try:
        blocks = read_blocks(pem, what=what, labels=(CERTIFICATE,), most=MAX_CHAIN, most_bytes=most_bytes)
    except LimitExceededError as error:
        raise InvalidSignatureError(str(error)) from error
    return tuple(parse_certificate(one.der, what=what) for one in blocks)


def parse_certificate(der: bytes, *, what: str) -> Certificate:
    """Parse one certificate, whole: every part that is used later is looked at, so that nothing fails there.

    Args:
        der: The certificate, DER.
        what: What it is, for messages.

    Raises:
        InvalidSignatureError: It is malformed, not of version 3, or has a key or extension that cannot be read.
    """
    from cryptography import x509  # noqa: PLC0415 - loaded when first needed
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415

    faults = (
        *(ValueError, TypeError, OverflowError, UnsupportedAlgorithm),
        *(LookupError, AssertionError),  # of older versions, for names of odd kinds
        Warning,  # where warnings are errors
        *(x509.DuplicateExtension, x509.UnsupportedGeneralNameType, x509.InvalidVersion),
    )
    try:
        certificate = x509.load_der_x509_certificate(der)
        _parts(certificate)
        serial, version = certificate.serial_number, certificate.version
    except faults as error:
        raise InvalidSignatureError(f"{what}: a certificate is malformed: {shown(str(error))}") from error
    if version is not x509.Version.v3:
        raise InvalidSignatureError(f"{what}: a certificate of version {version.name[1:]}; expected version 3")
    if serial <= 0:  # RFC 5280 §4.1.2.2
        raise InvalidSignatureError(f"{what}: a certificate's serial number is not positive")
    for name in extension_of(certificate, x509.SubjectAlternativeName) or ():
        # RFC 5280 §4.2.1.6. Letters of other alphabets have small forms in ASCII, and are not those.
        if isinstance(name.value, str) and not name.value.isascii():
            raise InvalidSignatureError(f"{what}: the name {shown(name.value)} in a certificate is not ASCII")
    return certificate


def _parts(certificate: Certificate) -> tuple[object, ...]:
    """Read what is parsed only when it is asked for."""
    return (
        *(certificate.subject, certificate.issuer, certificate.extensions, certificate.public_key()),
        *(certificate.not_valid_before_utc, certificate.not_valid_after_utc),
    )


def extension_of(certificate: Certificate, kind: type[Kind]) -> Kind | None:
    """Return an extension, or None when the certificate has none of the kind.

    Args:
        certificate: The certificate.
        kind: The class of the extension.
    """
    from cryptography.x509 import ExtensionNotFound  # noqa: PLC0415 - loaded when first needed

    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except ExtensionNotFound:
        return None


def name_of(certificate: Certificate) -> str:
    """Name a certificate in messages: by its subject, or by its serial number when that is empty, as Fulcio's are."""
    subject = certificate.subject
    return shown(subject.rfc4514_string()) if subject else f"with the serial number {certificate.serial_number:x}"


def shown(text: str) -> str:
    """Return text from outside for a message: quoted, without control characters, and not too long."""
    return repr(text if len(text) <= 160 else f"{text[:157]}...")


def emails_of(certificate: Certificate) -> list[str]:
    """Return the mail addresses that a certificate is for: one of them is enough, whatever else it is for."""
    from cryptography.x509 import RFC822Name, SubjectAlternativeName  # noqa: PLC0415 - loaded when first needed

    names = extension_of(certificate, SubjectAlternativeName)
    return [] if names is None else names.get_values_for_type(RFC822Name)


def several(texts: Iterable[str]) -> str:
    """Return some texts from outside for a message."""
    found = [*texts]
    more = f" and {len(found) - 5:,} more" if len(found) > 5 else ""
    return f"{', '.join(map(shown, found[:5])) or 'none'}{more}"
