"""Timestamps (RFC 3161): an authority saw a signature at a certain time, and signed that (CMS, RFC 5652).

The certificate of the authority is one that is trusted as it is: which one made a timestamp is never taken from there.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from ocikit.errors import InvalidSignatureError
from ocikit.image.signature.sigstore.certificates import extension_of, name_of
from ocikit.image.signature.sigstore.der import (
    OBJECT_IDENTIFIER,
    OCTET_STRING,
    SEQUENCE,
    SET,
    Elements,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cryptography.x509 import Certificate

__all__ = ["verify_timestamps"]

_WHAT: Final = "the timestamp"

# Object identifiers by their content in DER.
_SIGNED_DATA: Final = bytes.fromhex("2a864886f70d010702")  # 1.2.840.113549.1.7.2
_TST_INFO: Final = bytes.fromhex("2a864886f70d0109100104")  # 1.2.840.113549.1.9.16.1.4
_CONTENT_TYPE: Final = bytes.fromhex("2a864886f70d010903")  # 1.2.840.113549.1.9.3
_MESSAGE_DIGEST: Final = bytes.fromhex("2a864886f70d010904")  # 1.2.840.113549.1.9.4
_HASHES: Final = {
    bytes.fromhex("608648016503040201"): "sha256",  # 2.16.840.1.101.3.4.2.1
    bytes.fromhex("608648016503040202"): "sha384",
    bytes.fromhex("608648016503040203"): "sha512",
}
#: Algorithms of signatures, and the hash in their name; none where the message states it, or where there is none.
_SIGNATURES: Final[dict[bytes, tuple[str, str | None]]] = {
    bytes.fromhex("2a8648ce3d040302"): ("ecdsa", "sha256"),  # 1.2.840.10045.4.3.2
    bytes.fromhex("2a8648ce3d040303"): ("ecdsa", "sha384"),
    bytes.fromhex("2a8648ce3d040304"): ("ecdsa", "sha512"),
    bytes.fromhex("2a8648ce3d0201"): ("ecdsa", None),  # 1.2.840.10045.2.1
    bytes.fromhex("2a864886f70d010101"): ("rsa", None),  # 1.2.840.113549.1.1.1
    bytes.fromhex("2a864886f70d01010b"): ("rsa", "sha256"),  # 1.2.840.113549.1.1.11
    bytes.fromhex("2a864886f70d01010c"): ("rsa", "sha384"),
    bytes.fromhex("2a864886f70d01010d"): ("rsa", "sha512"),
    bytes.fromhex("2b6570"): ("ed25519", None),  # 1.3.101.112
}

_EXPLICIT_0: Final = 0xA0
_EXPLICIT_1: Final = 0xA1
_KEY_IDENTIFIER: Final = 0x80
_GENERALIZED_TIME: Final = 0x18
_TIME: Final = re.compile(rb"([0-9]{14})(?:\.[0-9]{1,9})?Z")
_TIME_STAMPING: Final = "1.3.6.1.5.5.7.3.8"
_GRANTED: Final = (0, 1)
_ATTRIBUTES: Final = 64


@frozen(kw_only=True)
class _SignerInfo:
    """Who signed, and how (RFC 5652 §5.3)."""

    issuer_and_serial: tuple[bytes, int] | None
    key_identifier: bytes | None
    digest: str
    attributes: bytes = field(repr=False)
    algorithm: tuple[str, str | None]
    signature: bytes = field(repr=False)


def verify_timestamps(
    responses: Sequence[bytes], signature: bytes, authorities: Sequence[Certificate]
) -> tuple[dt.datetime, ...]:
    """Verify when trusted authorities saw a signature; timestamps of others are not looked at.

    Args:
        responses: The timestamps, as an authority answers (``TimeStampResp``).
        signature: The signature.
        authorities: The certificates by which trusted authorities sign timestamps.

    Returns:
        The times.

    Raises:
        InvalidSignatureError: A timestamp is malformed, or one by a trusted authority is about something else, or is
            not by it.
    """
    found = []
    for number, response in enumerate(responses):
        try:
            content, signer = _parsed(response)
            certificate = next((one for one in authorities if _is_by(signer, one)), None)
            if certificate is not None:
                found.append(_verified(content, signer, signature, certificate))
        except InvalidSignatureError as error:
            raise InvalidSignatureError(f"timestamp {number}: {error}") from error
    return tuple(found)


def _parsed(response: bytes) -> tuple[bytes, _SignerInfo]:
    """Return what was signed (TSTInfo), and by whom (RFC 3161 §2.4.2; RFC 5652 §3, §5.1)."""
    outer = Elements(response, _WHAT)
    answer = outer.inside(SEQUENCE, "an answer")
    outer.end()
    status = answer.inside(SEQUENCE, "a status").whole("a status")
    if status not in _GRANTED:
        raise InvalidSignatureError(f"was not granted: its status is {status}")
    token = answer.inside(SEQUENCE, "a token")
    answer.end()
    _expect(token, _SIGNED_DATA, "signed data")
    data = token.inside(_EXPLICIT_0, "signed data").inside(SEQUENCE, "signed data")
    data.whole("a version")
    data.take(SET, "algorithms")
    encapsulated = data.inside(SEQUENCE, "the content")
    _expect(encapsulated, _TST_INFO, "a timestamp")
    content = encapsulated.inside(_EXPLICIT_0, "the content").take(OCTET_STRING, "the content").content
    data.optional(_EXPLICIT_0)  # certificates, of which none is trusted for being there
    data.optional(_EXPLICIT_1)
    signers = data.inside(SET, "signers")
    data.end()
    signer = _signer(signers.inside(SEQUENCE, "a signer"))
    signers.end()
    return content, signer


def _signer(info: Elements) -> _SignerInfo:
    info.whole("a version")
    issuer_and_serial = None
    identifier = info.optional(_KEY_IDENTIFIER)
    if identifier is None:
        name = info.inside(SEQUENCE, "the issuer and the serial number")
        issuer_and_serial = (name.take(SEQUENCE, "the issuer").raw, name.whole("the serial number"))
    digest = _hash_of(info.inside(SEQUENCE, "an algorithm"))
    attributes = info.take(_EXPLICIT_0, "signed attributes").raw
    algorithm = info.inside(SEQUENCE, "an algorithm").take(OBJECT_IDENTIFIER, "an algorithm").content
    if algorithm not in _SIGNATURES:
        raise InvalidSignatureError(f"is signed by an algorithm that is not known: {algorithm.hex()[:64]}")
    return _SignerInfo(
        issuer_and_serial=issuer_and_serial,
        key_identifier=identifier.content if identifier is not None else None,
        digest=digest,
        # RFC 5652 §5.4: what is signed is a set, and not the place that it stands at.
        attributes=bytes([SET]) + attributes[1:],
        algorithm=_SIGNATURES[algorithm],
        signature=info.take(OCTET_STRING, "a signature").content,
    )


def _is_by(signer: _SignerInfo, certificate: Certificate) -> bool:
    from cryptography.x509 import SubjectKeyIdentifier  # noqa: PLC0415 - loaded when first needed

    if signer.issuer_and_serial is not None:
        return signer.issuer_and_serial == (certificate.issuer.public_bytes(), certificate.serial_number)
    extension = extension_of(certificate, SubjectKeyIdentifier)
    return extension is not None and extension.digest == signer.key_identifier


def _verified(content: bytes, signer: _SignerInfo, signature: bytes, certificate: Certificate) -> dt.datetime:
    attributes = dict(_attributes(signer.attributes))
    # RFC 5652 §5.4, §11: both are required, and bind the signature to the content. RFC 5816 has the hash of the
    # certificate beside them, against an exchange of certificates: here none is taken from the message.
    if attributes.get(_CONTENT_TYPE) != bytes([OBJECT_IDENTIFIER, len(_TST_INFO)]) + _TST_INFO:
        raise InvalidSignatureError("is signed as content of another type")
    digest = hashlib.new(signer.digest, content).digest()
    if attributes.get(_MESSAGE_DIGEST) != bytes([OCTET_STRING, len(digest)]) + digest:
        raise InvalidSignatureError("is signed over other content: its message digest differs")
    _check_signature(signer, certificate)
    time = _time_of(content, signature)
    _check_certificate(certificate, time)
    return time


def _attributes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    outer = Elements(data, _WHAT)
    attributes = outer.inside(SET, "signed attributes")
    seen: set[bytes] = set()
    while attributes.next_tag is not None:
        attribute = attributes.inside(SEQUENCE, "an attribute")
        kind = attribute.take(OBJECT_IDENTIFIER, "the type of an attribute").content
        if kind in seen or len(seen) >= _ATTRIBUTES:
            raise InvalidSignatureError("has an attribute twice, or very many")
        seen.add(kind)
        yield kind, attribute.take(SET, "the value of an attribute").content


def _check_signature(signer: _SignerInfo, certificate: Certificate) -> None:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - loaded when first needed
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa  # noqa: PLC0415
    from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512  # noqa: PLC0415

    key: Any = certificate.public_key()
    kind, stated = signer.algorithm
    algorithm = {"sha256": SHA256(), "sha384": SHA384(), "sha512": SHA512()}[stated or signer.digest]
    kinds: dict[str, tuple[type[Any], tuple[Any, ...]]] = {
        "ecdsa": (ec.EllipticCurvePublicKey, (ec.ECDSA(algorithm),)),
        "rsa": (rsa.RSAPublicKey, (padding.PKCS1v15(), algorithm)),
        "ed25519": (ed25519.Ed25519PublicKey, ()),
    }
    expected, arguments = kinds[kind]
    if not isinstance(key, expected):
        raise InvalidSignatureError(f"is signed by {kind}, for which {name_of(certificate)} has no key")
    try:
        key.verify(signer.signature, signer.attributes, *arguments)
    except InvalidSignature as error:
        raise InvalidSignatureError(f"was not signed by the authority {name_of(certificate)}") from error


def _time_of(content: bytes, signature: bytes) -> dt.datetime:
    """Return when the signature was seen (RFC 3161 §2.4.2, TSTInfo)."""
    outer = Elements(content, _WHAT)
    info = outer.inside(SEQUENCE, "a timestamp")
    outer.end()
    if (version := info.whole("a version")) != 1:
        raise InvalidSignatureError(f"is of version {version}, expected 1")
    info.take(OBJECT_IDENTIFIER, "a policy")
    imprint = info.inside(SEQUENCE, "what was seen")
    algorithm = _hash_of(imprint.inside(SEQUENCE, "an algorithm"))
    if imprint.take(OCTET_STRING, "a hash").content != hashlib.new(algorithm, signature).digest():
        raise InvalidSignatureError("is about another signature")
    info.whole("a serial number")
    text = info.take(_GENERALIZED_TIME, "a time").content
    while info.next_tag is not None:
        if info.any().tag == _EXPLICIT_1:
            raise InvalidSignatureError("has extensions, of which none is known here")
    return _parsed_time(text)


def _parsed_time(text: bytes) -> dt.datetime:
    match = _TIME.fullmatch(text)
    try:
        if match is not None:
            return dt.datetime.strptime(match[1].decode(), "%Y%m%d%H%M%S").replace(tzinfo=dt.UTC)
    except ValueError:
        pass
    raise InvalidSignatureError(f"has a malformed time: {text[:40]!r}")


def _check_certificate(certificate: Certificate, at: dt.datetime) -> None:
    from cryptography.x509 import ExtendedKeyUsage  # noqa: PLC0415 - loaded when first needed

    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begin <= at <= end:
        raise InvalidSignatureError(
            f"is of {at.isoformat()}; the certificate of the authority {name_of(certificate)} is valid from "
            f"{begin.isoformat()} to {end.isoformat()}"
        )
    usage = extension_of(certificate, ExtendedKeyUsage)
    # RFC 3161 §2.3: for this purpose, and for no other.
    if usage is None or [one.dotted_string for one in usage] != [_TIME_STAMPING]:
        raise InvalidSignatureError(f"the certificate {name_of(certificate)} is not for signing timestamps")


def _hash_of(algorithm: Elements) -> str:
    identifier = algorithm.take(OBJECT_IDENTIFIER, "an algorithm").content
    if identifier not in _HASHES:
        raise InvalidSignatureError(f"has a hash that is not known: {identifier.hex()[:64]}")
    return _HASHES[identifier]


def _expect(elements: Elements, identifier: bytes, name: str) -> None:
    found = elements.take(OBJECT_IDENTIFIER, name).content
    if found != identifier:
        raise InvalidSignatureError(f"is of another type: expected {name}, found {found.hex()[:64]}")
