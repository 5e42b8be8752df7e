"""What sigstore signatures are held against, read and parsed once, and who turned out to have signed. Only data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    import datetime as dt

    from cryptography.x509 import Certificate

    from ocikit.image.signature.sigstore.keys import PublicKey

__all__ = ["FulcioTrust", "LogEntry", "PkiTrust", "Signatory", "Trust"]


@frozen(kw_only=True)
class FulcioTrust:
    """An authority that gives short-lived certificates to known identities, and the identity that is wanted.

    Attributes:
        roots: The certificates of the authority.
        oidc_issuer: The URL of the identity provider.
        subject_email: The mail address of the signer.
    """

    roots: tuple[Certificate, ...]
    oidc_issuer: str
    subject_email: str


@frozen(kw_only=True)
class PkiTrust:
    """An authority of one's own, and the identity that is wanted: all of what is given of it.

    Attributes:
        roots: The certificates of the authority.
        intermediates: Certificates between those and the signer's.
        subject_email: The mail address in the signer's certificate.
        subject_hostname: The host name in it.
    """

    roots: tuple[Certificate, ...]
    intermediates: tuple[Certificate, ...] = ()
    subject_email: str | None = None
    subject_hostname: str | None = None


@frozen(kw_only=True)
class Trust:
    """What a signature is held against: exactly one of keys, fulcio and pki, and perhaps the keys of a log.

    Attributes:
        keys: Public keys; any of them will do.
        fulcio: An authority with a transparency log.
        pki: An authority of one's own.
        log_keys: The public keys of the transparency log (Rekor), any of which will do. When there are some, what they
            say is required.
        timestamp_authorities: The certificates by which authorities sign timestamps (RFC 3161): each is trusted as it
            is. They vouch for times where the log of a bundle keeps none. A policy.json has no place for them.
    """

    keys: tuple[PublicKey, ...] = ()
    fulcio: FulcioTrust | None = None
    pki: PkiTrust | None = None
    log_keys: tuple[PublicKey, ...] = ()
    timestamp_authorities: tuple[Certificate, ...] = ()


@frozen(kw_only=True)
class LogEntry:
    """What a transparency log promised, verified.

    Attributes:
        integrated_time: When it took the entry in.
        log_index: The number of the entry.
        log_id: The log: SHA-256 of its public key, hexadecimal.
    """

    integrated_time: dt.datetime
    log_index: int
    log_id: str


@frozen(kw_only=True)
class Signatory:
    """Who made a sigstore signature, verified.

    Attributes:
        key: The key that made it.
        email: The mail address in its certificate, when there is one.
        hostname: The host name that was asked for and is in its certificate.
        issuer: The identity provider that its certificate names.
        entry: What the transparency log promised, when that was asked for.
    """

    key: PublicKey
    email: str | None = None
    hostname: str | None = None
    issuer: str | None = None
    entry: LogEntry | None = None
