"""Chains of certificates, from a signer's to an authority's (RFC 5280 §6), at a given time, for signing code.

The authority is whatever certificates the policy names. Those between come from anywhere, and prove nothing by
themselves. Nothing here asks whether a certificate was revoked: it is the short life of certificates, and the policy,
that ends trust. Why this is not left to a library: docs/decisions/0013-certificates.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ocikit.errors import InvalidSignatureError
from ocikit.image.signature.sigstore.certificates import extension_of, name_of, shown
from ocikit.image.signature.sigstore.name_constraints import check_names

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Iterator, Sequence

    from cryptography.x509 import Certificate

__all__ = ["MAX_CHAIN_LENGTH", "MAX_TRIED", "verify_chain"]

#: How long a chain may be, the signer's certificate and the authority's included.
MAX_CHAIN_LENGTH: Final = 8
#: How many certificates are tried as issuers in search for a chain: whoever signs can give many of one name.
MAX_TRIED: Final = 100

_MOST_REASONS: Final = 4
_LEAST_RSA_BITS: Final = 2048
_MOST_RSA_BITS: Final = 16384
_CURVES: Final = frozenset({"secp256r1", "secp384r1", "secp521r1"})
_HASHES: Final = frozenset({"sha256", "sha384", "sha512"})

# What is enforced, here and in name_constraints.py: basicConstraints, keyUsage, extKeyUsage, subjectAltName and
# nameConstraints. Any other extension that is marked as critical is a reason to refuse (RFC 5280 §4.2).
_ENFORCED: Final = frozenset({"2.5.29.19", "2.5.29.15", "2.5.29.37", "2.5.29.17", "2.5.29.30"})

_CODE_SIGNING: Final = "1.3.6.1.5.5.7.3.3"
_ANY_PURPOSE: Final = "2.5.29.37.0"


def verify_chain(
    leaf: Certificate,
    *,
    roots: Sequence[Certificate],
    intermediates: Sequence[Certificate],
    at: dt.datetime,
) -> tuple[Certificate, ...]:
    """Find a chain from a certificate to an authority in which all is in order.

    Args:
        leaf: The signer's certificate.
        roots: The certificates of the authority: what they issue is trusted, and so are they.
        intermediates: Certificates that may stand between, from anywhere.
        at: The time at which all of the chain must be valid.

    Returns:
        The chain, from the signer's certificate to the authority's.

    Raises:
        InvalidSignatureError: There is none; the message says what is wrong with the certificate and with those that
            could have led on from it.
    """
    _check_any(leaf, at)
    _check_signer(leaf)
    if leaf in roots:
        return (leaf,)
    return _Search(roots, intermediates, at).run(leaf)


class _Search:
    """One search, depth first, for a chain; each step costs one check of a signature at most, and is counted."""

    def __init__(self, roots: Sequence[Certificate], intermediates: Sequence[Certificate], at: dt.datetime) -> None:
        self._roots = _by_subject(roots)
        self._intermediates = _by_subject(intermediates)
        self._at = at
        self._tried = 0
        self._reasons: dict[str, None] = {}

    def run(self, leaf: Certificate) -> tuple[Certificate, ...]:
        found = self._extend((leaf,))
        if found is None:
            reasons = [*self._reasons][:_MOST_REASONS]
            raise InvalidSignatureError(
                f"no chain leads from the certificate {name_of(leaf)} to the authority: {'; '.join(reasons)}"
            )
        return found

    def _extend(self, path: tuple[Certificate, ...]) -> tuple[Certificate, ...] | None:
        last = path[-1]
        candidates = (self._roots.get(last.issuer, []), self._intermediates.get(last.issuer, []))
        if not any(candidates):
            issuer = shown(last.issuer.rfc4514_string())
            self._give_up(
                f"the certificate {name_of(last)} was issued by {issuer}, of which neither the authority nor the chain "
                "has a certificate"
            )
        for root in self._issuers(path, candidates[0]):
            if self._names_hold(complete := (*path, root)):
                return complete
        if len(path) + 1 >= MAX_CHAIN_LENGTH:
            self._give_up(f"the chain is longer than {MAX_CHAIN_LENGTH} certificates")
            return None
        for intermediate in self._issuers(path, candidates[1]):
            if (found := self._extend((*path, intermediate))) is not None:
                return found
        return None

    def _issuers(self, path: tuple[Certificate, ...], candidates: Iterable[Certificate]) -> Iterator[Certificate]:
        """Yield those of the candidates that issued the last certificate of the path, and may have done so."""
        for candidate in candidates:
            if candidate in path:
                self._give_up(f"the certificate {name_of(candidate)} leads back to itself, and is not of the authority")
                continue
            self._count()
            try:
                _check_any(candidate, self._at)
                _check_issuer(candidate, between=len(path) - 1)
                _check_signed(path[-1], candidate)
            except InvalidSignatureError as error:
                self._give_up(str(error))
                continue
            yield candidate

    def _names_hold(self, path: tuple[Certificate, ...]) -> bool:
        try:
            check_names(path)
        except InvalidSignatureError as error:
            self._give_up(str(error))
            return False
        return True

    def _count(self) -> None:
        if self._tried == MAX_TRIED:
            raise InvalidSignatureError(
                f"no chain to the authority was found among {MAX_TRIED} issuers of certificates"
            )
        self._tried += 1

    def _give_up(self, reason: str) -> None:
        self._reasons[reason] = None


def _by_subject(certificates: Iterable[Certificate]) -> dict[Any, list[Certificate]]:
    found: dict[Any, list[Certificate]] = {}
    for one in dict.fromkeys(certificates):
        found.setdefault(one.subject, []).append(one)
    return found


def _check_any(certificate: Certificate, at: dt.datetime) -> None:
    """Check what holds for every certificate of a chain."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begin <= at <= end:
        when = "not yet" if at < begin else "no longer"
        raise InvalidSignatureError(
            f"the certificate {name_of(certificate)} was {when} valid at {at.isoformat()}: it is from "
            f"{begin.isoformat()} to {end.isoformat()}"
        )
    for extension in certificate.extensions:
        if extension.critical and extension.oid.dotted_string not in _ENFORCED:
            raise InvalidSignatureError(
                f"the certificate {name_of(certificate)} has the critical extension {extension.oid.dotted_string}, "
                "which is not known here"
            )
    _check_purpose(certificate)
    _check_key(certificate)


def _check_purpose(certificate: Certificate) -> None:
    """Check that a certificate is for signing code, or leads to such (nested, as Go has it).

    One that says nothing of its purpose is for every purpose (RFC 5280 §4.2.1.12).
    """
    from cryptography.x509 import ExtendedKeyUsage  # noqa: PLC0415 - loaded when first needed

    usage = extension_of(certificate, ExtendedKeyUsage)
    found = None if usage is None else {one.dotted_string for one in usage}
    if found is not None and not found & {_CODE_SIGNING, _ANY_PURPOSE}:
        raise InvalidSignatureError(
            f"the certificate {name_of(certificate)} is not for signing code: its extended key usage says "
            f"{', '.join(sorted(found)[:5])}, expected {_CODE_SIGNING}"
        )


def _check_signer(leaf: Certificate) -> None:
    from cryptography.x509 import KeyUsage  # noqa: PLC0415 - loaded when first needed

    usage = extension_of(leaf, KeyUsage)
    if usage is not None and not usage.digital_signature:
        raise InvalidSignatureError(f"the key usage of the certificate {name_of(leaf)} does not allow signatures")


def _check_key(certificate: Certificate) -> None:
    """Check the kind and size of a key: neither weak, nor one that makes a verification cost too much."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415

    key = certificate.public_key()
    match key:
        case RSAPublicKey():
            good, kind = _LEAST_RSA_BITS <= key.key_size <= _MOST_RSA_BITS, f"RSA of {key.key_size:,} bits"
        case EllipticCurvePublicKey():
            good, kind = key.curve.name in _CURVES, f"a key on the curve {key.curve.name}"
        case _:
            good, kind = isinstance(key, Ed25519PublicKey), type(key).__name__
    if not good:
        raise InvalidSignatureError(
            f"the key of the certificate {name_of(certificate)} is {kind}; expected RSA of {_LEAST_RSA_BITS:,} to "
            f"{_MOST_RSA_BITS:,} bits, ECDSA on {', '.join(sorted(_CURVES))}, or Ed25519"
        )


def _check_issuer(certificate: Certificate, *, between: int) -> None:
    """Check that a certificate may issue others (RFC 5280 §4.2.1.3 and §4.2.1.9), so many others being between."""
    from cryptography.x509 import BasicConstraints, KeyUsage  # noqa: PLC0415 - loaded when first needed

    constraints = extension_of(certificate, BasicConstraints)
    if constraints is None or not constraints.ca:
        raise InvalidSignatureError(
            f"the certificate {name_of(certificate)} is none of an authority: its basic constraints do not say so"
        )
    usage = extension_of(certificate, KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        raise InvalidSignatureError(
            f"the key usage of the certificate {name_of(certificate)} does not allow it to issue certificates"
        )
    if constraints.path_length is not None and between > constraints.path_length:
        raise InvalidSignatureError(
            f"the certificate {name_of(certificate)} allows {constraints.path_length} certificates between it and the "
            f"signer's, found {between}"
        )


def _check_signed(certificate: Certificate, issuer: Certificate) -> None:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm  # noqa: PLC0415

    try:
        used = certificate.signature_hash_algorithm
        if used is not None and used.name not in _HASHES:  # None: of Ed25519
            raise InvalidSignatureError(
                f"the certificate {name_of(certificate)} is signed with {used.name}; expected one of "
                f"{', '.join(sorted(_HASHES))}"
            )
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError) as error:
        if isinstance(error, InvalidSignatureError):
            raise
        detail = f": {shown(str(error))}" if str(error) else ""
        raise InvalidSignatureError(
            f"the certificate {name_of(certificate)} was not signed by the key of the certificate "
            f"{name_of(issuer)}{detail}"
        ) from error
