"""One sigstore signature in its usual form, annotations beside a payload, held against what is trusted.

The order is that of containers/image: who may have signed, then whether they did, then what it says. Nothing of the
payload is looked at before, and nothing of it is returned unless all of that holds.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

from attrs import evolve

from ocikit.errors import InvalidSignatureError
from ocikit.image.signature.payload import PayloadType, read_payload
from ocikit.image.signature.sigstore import fulcio, pki, rekor
from ocikit.image.signature.sigstore.annotations import BUNDLE, CERTIFICATE, CHAIN, SIGNATURE
from ocikit.image.signature.sigstore.trust import FulcioTrust, PkiTrust, Signatory
from ocikit.image.stored_signature import SIGSTORE_PAYLOAD, SigstoreSignature

if TYPE_CHECKING:
    import datetime as dt

    from ocikit.image.signature.payload import Payload
    from ocikit.image.signature.sigstore.trust import LogEntry, Trust
    from ocikit.image.stored_signature import StoredSignature

__all__ = ["is_attachment", "verify_attachment"]

# Base64 of what the largest key that is verified with (RSA of 16,384 bits) makes, and some more.
_MOST_SIGNATURE_CHARACTERS: Final = 4096


def is_attachment(signature: StoredSignature) -> bool:
    """Say whether this is a signature in that form; others, and other attachments, are no reason to refuse an image.

    Args:
        signature: The signature as it is stored.
    """
    return isinstance(signature, SigstoreSignature) and signature.media_type == SIGSTORE_PAYLOAD


def verify_attachment(
    signature: SigstoreSignature, trust: Trust, *, now: dt.datetime | None = None
) -> tuple[Signatory, Payload]:
    """Verify a signature, whole; whether it is about the image in question is another question.

    Args:
        signature: The signature as it is stored.
        trust: Who may have signed.
        now: When certificates of an authority of one's own have to be valid; None for the present.

    Returns:
        Who signed, and what the signature says.

    Raises:
        InvalidSignatureError: It does not prove what it should; the message says which check failed.
    """
    if not is_attachment(signature):
        raise InvalidSignatureError(
            f"the payload has the media type {signature.media_type[:100]!r}; expected {SIGSTORE_PAYLOAD}"
        )
    # Line breaks are what the program base64 writes, and ignored by every implementation.
    written = _annotation(signature, SIGNATURE).replace("\n", "").replace("\r", "")
    candidates = _candidates(signature, written, trust, now)
    signatory = _signed_by(candidates, _decoded(written), signature.payload)
    return signatory, read_payload(signature.payload, PayloadType.SIGSTORE)


# What whoever signed left out, for people who know policies and no annotations.
_MEANS: Final = {
    CERTIFICATE: ": it was signed by a key without a certificate",
    BUNDLE: ": it was not entered in a transparency log, or without its promise",
}


def _annotation(signature: SigstoreSignature, name: str) -> str:
    value = signature.annotations.get(name)
    if value is None:
        raise InvalidSignatureError(f"the annotation {name} is missing{_MEANS.get(name, '')}")
    return value


def _candidates(
    signature: SigstoreSignature, written: str, trust: Trust, now: dt.datetime | None
) -> tuple[Signatory, ...]:
    """Return who may have signed: each is trusted, and that one of them did is still to be shown."""
    # Which of several was meant cannot be told, and without any nobody is trusted.
    given = [one for one in (trust.keys or None, trust.fulcio, trust.pki) if one is not None]
    if len(given) != 1:
        raise InvalidSignatureError(
            f"nothing can be verified: expected one of keys, fulcio and pki to be trusted, found {len(given)}"
        )
    if trust.fulcio is not None:
        return (_by_fulcio(signature, written, trust, trust.fulcio),)
    if trust.pki is not None:
        return (_by_pki(signature, trust, trust.pki, now),)
    if trust.log_keys:
        return (_by_logged_key(signature, written, trust),)
    return tuple(Signatory(key=key) for key in trust.keys)


def _by_logged_key(signature: SigstoreSignature, written: str, trust: Trust) -> Signatory:
    """Return the one key that the log has an entry for; when that was made does not matter."""
    bundle = _annotation(signature, BUNDLE)
    failures = []
    for key in trust.keys:
        try:
            entry = _logged(bundle, trust, key.pem, written, signature.payload)
        except InvalidSignatureError as error:
            failures.append(f"{key}: {error}")
        else:
            return Signatory(key=key, entry=entry)
    raise InvalidSignatureError(f"no key that is trusted is in the transparency log: {'; '.join(failures)}")


def _by_fulcio(signature: SigstoreSignature, written: str, trust: Trust, authority: FulcioTrust) -> Signatory:
    """Return whose certificate was valid when the log took the signature in."""
    if not trust.log_keys:
        raise InvalidSignatureError(
            "nothing can be verified: fulcio is trusted, and no key of the log that says when its certificate was used"
        )
    bundle, certificate = _annotation(signature, BUNDLE), _annotation(signature, CERTIFICATE)
    entry = _logged(bundle, trust, _utf8(certificate, CERTIFICATE), written, signature.payload)
    chain = signature.annotations.get(CHAIN)
    return evolve(fulcio.verify_fulcio(certificate, chain, authority, at=entry.integrated_time), entry=entry)


def _by_pki(signature: SigstoreSignature, trust: Trust, authority: PkiTrust, now: dt.datetime | None) -> Signatory:
    if trust.log_keys:
        raise InvalidSignatureError("nothing can be verified: pki and the keys of a log are not trusted together")
    certificate = _annotation(signature, CERTIFICATE)
    return pki.verify_pki(certificate, signature.annotations.get(CHAIN), authority, at=now)


def _logged(bundle: str, trust: Trust, verifier_pem: bytes, written: str, payload: bytes) -> LogEntry:
    return rekor.verify_set(bundle, trust.log_keys, verifier_pem=verifier_pem, signature=written, payload=payload)


def _utf8(text: str, name: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidSignatureError(f"the annotation {name} is no text that UTF-8 can carry") from error


def _decoded(written: str) -> bytes:
    if len(written) > _MOST_SIGNATURE_CHARACTERS:
        raise InvalidSignatureError(
            f"the annotation {SIGNATURE} has {len(written):,} characters; at most {_MOST_SIGNATURE_CHARACTERS:,} are "
            "read"
        )
    try:
        decoded = base64.b64decode(written, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidSignatureError(f"the annotation {SIGNATURE} is not base64: {error}") from error
    # One signature is written in one way: bits that mean nothing are zero (RFC 4648 §3.5).
    if base64.b64encode(decoded).decode() != written:
        raise InvalidSignatureError(
            f"the annotation {SIGNATURE} is not base64 as it has to be written: bits are left over"
        )
    return decoded


def _signed_by(candidates: tuple[Signatory, ...], made: bytes, payload: bytes) -> Signatory:
    failures = []
    for candidate in candidates:
        try:
            candidate.key.verify(made, payload)
        except InvalidSignatureError as error:
            failures.append(str(error))
        else:
            return candidate
    raise InvalidSignatureError(f"the signature {'; it '.join(failures)}")
