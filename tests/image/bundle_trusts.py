"""Who signs bundles in tests, and who is trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from authorities import NOW, Authority, Log
from bundle_logs import Signer, packed
from cryptography.hazmat.primitives.serialization import Encoding

from ocikit.image.signature.sigstore.bundle import verify_bundle
from ocikit.image.signature.sigstore.trust import FulcioTrust, PkiTrust, Trust

if TYPE_CHECKING:
    from ocikit.image.signature.sigstore.statement import BundleClaim
    from ocikit.image.signature.sigstore.trust import Signatory

IDP, EMAIL, HOST = "https://idp.example.com", "a@example.com", "build.example.com"
PREFIX = "application/vnd.dev.sigstore.bundle+json;version="

ROOT = Authority.root()
ROOT_DER = ROOT.certificate.public_bytes(Encoding.DER)
BETWEEN = ROOT.below()
KEY = Signer.new()
FULCIO = Signer.certified(BETWEEN.issue(emails=[EMAIL], identity_provider=IDP), BETWEEN)
PKI = Signer.certified(ROOT.issue("signer", emails=[EMAIL], hosts=[HOST]))


def by_key(*logs: Log, signer: Signer = KEY) -> Trust:
    """Trust a key."""
    return Trust(keys=(signer.public_key,), log_keys=tuple(log.public_key for log in logs))


def by_fulcio(*logs: Log) -> Trust:
    """Trust an authority of short-lived certificates."""
    trust = FulcioTrust(roots=(ROOT.certificate,), oidc_issuer=IDP, subject_email=EMAIL)
    return Trust(fulcio=trust, log_keys=tuple(log.public_key for log in logs))


def by_pki(**wanted: str) -> Trust:
    """Trust an authority of one's own."""
    return Trust(pki=PkiTrust(roots=(ROOT.certificate,), **wanted or {"subject_email": EMAIL}))  # type: ignore[arg-type]


def verify(bundle: object, trust: Trust, **options: Any) -> tuple[Signatory, BundleClaim]:
    """Verify a bundle at the time at which everything happens."""
    return verify_bundle(packed(bundle), trust, now=NOW, **options)
