"""The whole check of a sigstore bundle: who signed, that a log knows of it, and only then what was signed.

Everything is offline: the bundle brings what proves it, and what that is held against is in the policy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

from ocikit.errors import InvalidSignatureError
from ocikit.image.signature.sigstore.algorithms import verify_bundle_signature
from ocikit.image.signature.sigstore.bundle_document import read_bundle
from ocikit.image.signature.sigstore.certificates import name_of, parse_certificate
from ocikit.image.signature.sigstore.dsse import Envelope
from ocikit.image.signature.sigstore.fulcio import verify_fulcio_certificate
from ocikit.image.signature.sigstore.keys import PublicKey
from ocikit.image.signature.sigstore.log_bodies import Signed
from ocikit.image.signature.sigstore.log_entries import verify_entries
from ocikit.image.signature.sigstore.pki import verify_pki_certificate
from ocikit.image.signature.sigstore.statement import (
    COSIGN_SIGN,
    IN_TOTO,
    BundleClaim,
    SignedSubject,
    read_statement,
)
from ocikit.image.signature.sigstore.timestamps import verify_timestamps
from ocikit.image.signature.sigstore.trust import Signatory
from ocikit.spec import Digest

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Sequence

    from cryptography.x509 import Certificate

    from ocikit.image.signature.sigstore.bundle_document import Bundle, MessageSignature
    from ocikit.image.signature.sigstore.log_entries import VerifiedEntry
    from ocikit.image.signature.sigstore.trust import Trust

__all__ = ["verify_bundle"]

_WHAT: Final = "the sigstore bundle"


@frozen(kw_only=True)
class _Signer:
    """By what a signature was verified, and whether whoever has that is trusted: of a certificate, not yet."""

    key: PublicKey
    certificates: tuple[Certificate, ...]
    verifiers: frozenset[bytes]


def verify_bundle(
    data: bytes,
    trust: Trust,
    *,
    message: bytes | None = None,
    predicate_types: Collection[str] = (COSIGN_SIGN,),
    now: dt.datetime | None = None,
) -> tuple[Signatory, BundleClaim]:
    """Verify a bundle.

    What it claims is about whatever manifests it names: ask :meth:`BundleClaim.docker_references_of` next.

    Args:
        data: The bundle, JSON.
        trust: What it is held against.
        message: The bytes that a bundle without an envelope is over, such as a manifest. Nobody signs images in that
            way, so that such a bundle is refused without them.
        predicate_types: What may be said of the manifests. By itself only that they are signed, as cosign says it:
            who says how an image was built, or what is wrong with it, does not thereby vouch for it.
        now: When certificates of an authority of one's own must be valid, with a time zone; the present when not given.

    Returns:
        Who signed, and what.

    Raises:
        InvalidSignatureError: It is malformed, not signed by whom the policy names, not logged as it should be, or says
            something else; the message says which.
        LimitExceededError: It is larger than 4 MiB.
    """
    bundle = read_bundle(data)
    content, signed_data = _signed_data(bundle, message)
    signer = (
        _signer_by_key(bundle, signed_data, trust.keys) if trust.keys else _signer_by_certificate(bundle, signed_data)
    )
    signed = Signed(
        data=signed_data,
        envelope=content if isinstance(content, Envelope) else None,
        signature=content.signature,
        verifiers=signer.verifiers,
    )
    entries = verify_entries(bundle, signed, trust.log_keys) if trust.log_keys else ()
    signatory = _signatory(signer, trust, entries, bundle, now)
    promised = next((one.promised for one in entries if one.promised is not None), None)
    return evolve(signatory, entry=promised), _claim(content, signed_data, predicate_types)


def _signed_data(bundle: Bundle, message: bytes | None) -> tuple[Envelope | MessageSignature, bytes]:
    content = bundle.content
    if isinstance(content, Envelope):
        return content, content.signed
    if message is None:
        raise InvalidSignatureError(
            f"{_WHAT} has a signature over a file (messageSignature) in place of a statement about an image "
            "(dsseEnvelope), which is what cosign signs images by"
        )
    # The digest is a hint, and unsigned; but a bundle that contradicts itself is for something else.
    if content.algorithm == "sha256" and content.digest != bytes.fromhex(Digest.from_bytes(message).hex):
        raise InvalidSignatureError(f"{_WHAT} is about another file: its messageDigest is {content.digest.hex()[:128]}")
    return content, message


def _signer_by_key(bundle: Bundle, data: bytes, keys: Sequence[PublicKey]) -> _Signer:
    for key in keys:
        try:
            verify_bundle_signature(key, bundle.content.signature, data)
        except InvalidSignatureError:
            continue
        # Who signs by a key that has a certificate as well may have either in the log.
        certified = [der for der in bundle.certificates[:1] if _key_of(der) == key]
        return _Signer(key=key, certificates=(), verifiers=frozenset((key.der, *certified)))
    expected = ", ".join(map(str, keys[:5]))
    raise InvalidSignatureError(f"the signature of {_WHAT} was not made by a key that is trusted: expected {expected}")


def _key_of(der: bytes) -> PublicKey:
    return PublicKey(parse_certificate(der, what=f"the certificate of {_WHAT}").public_key())


def _signer_by_certificate(bundle: Bundle, data: bytes) -> _Signer:
    if not bundle.certificates:
        raise InvalidSignatureError(f"{_WHAT} is signed by a key without a certificate, and the policy asks for one")
    leaf, *above = (parse_certificate(der, what=f"the certificates of {_WHAT}") for der in bundle.certificates)
    for one in above:
        if one.issuer == one.subject:
            raise InvalidSignatureError(
                f"{_WHAT} brings the root certificate {name_of(one)}: roots are in the policy "
                "(sigstore_common.proto, X509CertificateChain)"
            )
    key = PublicKey(leaf.public_key())
    try:
        verify_bundle_signature(key, bundle.content.signature, data)
    except InvalidSignatureError as error:
        raise InvalidSignatureError(f"the signature of {_WHAT} {error}, that of its certificate") from error
    return _Signer(key=key, certificates=(leaf, *above), verifiers=frozenset((bundle.certificates[0],)))


def _signatory(
    signer: _Signer, trust: Trust, entries: Sequence[VerifiedEntry], bundle: Bundle, now: dt.datetime | None
) -> Signatory:
    if trust.keys:
        return Signatory(key=signer.key)
    leaf, *above = signer.certificates
    if trust.pki is not None:
        return verify_pki_certificate(leaf, above, trust.pki, at=now)
    if trust.fulcio is None:
        raise InvalidSignatureError("nobody is trusted: expected keys, Fulcio or an authority of one's own")
    if not trust.log_keys:
        raise InvalidSignatureError("certificates of Fulcio are short-lived: the key of a transparency log is needed")
    times = [one.time for one in entries if one.time is not None]
    if trust.timestamp_authorities:
        times += verify_timestamps(bundle.timestamps, bundle.content.signature, trust.timestamp_authorities)
    if not times:
        number = len(bundle.timestamps)
        more = f"; its {number} timestamps are by authorities that nobody trusts" if number else ""
        raise InvalidSignatureError(
            "nobody vouches for the time of the signature (Rekor 2 keeps none), so that nothing says that the "
            f"certificate was valid{more}"
        )
    found = [verify_fulcio_certificate(leaf, above, trust.fulcio, at=at) for at in times]
    return found[0]


def _claim(content: Envelope | MessageSignature, data: bytes, predicate_types: Collection[str]) -> BundleClaim:
    if not isinstance(content, Envelope):
        subject = SignedSubject(digests=(Digest.from_bytes(data),), docker_reference=None)
        return BundleClaim(subjects=(subject,), payload_type=None, predicate_type=None)
    if content.payload_type != IN_TOTO:
        raise InvalidSignatureError(
            f"{_WHAT} has a payload of the type {content.payload_type[:100]!r}: expected a statement, {IN_TOTO}"
        )
    claim = read_statement(content.payload)
    if claim.predicate_type not in predicate_types:
        raise InvalidSignatureError(
            f"{_WHAT} says something else of its subjects: expected the predicate type "
            f"{' or '.join(predicate_types)}, found {str(claim.predicate_type)[:100]!r}"
        )
    return claim
