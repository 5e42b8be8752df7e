"""A secret in PKCS #7 EnvelopedData (RFC 2315 §10, RFC 5652 §6), its key wrapped for keys for RSA.

ocicrypt writes AES-128-GCM with its parameters one element too deep: a primitive element with the tag of a SEQUENCE
around the SEQUENCE of nonce ([4]) and size of the tag. That is written, and read beside what RFC 5084 §3.2 says.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from ocikit._tuples import NamedTuple
from ocikit.errors import EncryptionError
from ocikit.image.encryption import der
from ocikit.image.encryption.der import OCTET_STRING, SEQUENCE, SET, Element, elements, only

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ocikit.image.encryption.keys import Certificate, PrivateKey

__all__ = ["unwrap_key", "wrap_keys"]

_MOST_BYTES: Final = 1 << 20
_MOST_RECIPIENTS: Final = 1024
_WHAT: Final = "PKCS #7"

_DATA, _ENVELOPED = "1.2.840.113549.1.7.1", "1.2.840.113549.1.7.3"
_RSA, _RSA_OAEP, _MGF1 = "1.2.840.113549.1.1.1", "1.2.840.113549.1.1.7", "1.2.840.113549.1.1.8"
_AES: Final = "2.16.840.1.101.3.4.1"
_AES_128_GCM: Final = f"{_AES}.6"
# The size of the key in bytes, by the way in which the content is encrypted (RFC 3565 §4.1, RFC 5084 §3.2).
_GCM: Final = {_AES_128_GCM: 16, f"{_AES}.26": 24, f"{_AES}.46": 32}
_CBC: Final = {f"{_AES}.2": 16, f"{_AES}.22": 24, f"{_AES}.42": 32}
_HASHES: Final = {
    "1.3.14.3.2.26": "SHA1",
    "2.16.840.1.101.3.4.2.1": "SHA256",
    "2.16.840.1.101.3.4.2.2": "SHA384",
    "2.16.840.1.101.3.4.2.3": "SHA512",
}
# The first bytes of what is tagged by its context: [0] constructed, [0] primitive, and [4] for the nonce of ocicrypt.
_TAGGED, _TAGGED_PRIMITIVE, _TAGGED_NONCE = 0xA0, 0x80, 0x84
_SEQUENCE_PRIMITIVE: Final = 0x10
_GCM_NONCE, _GCM_TAG, _CBC_IV = 12, 16, 16


def wrap_keys(recipients: Sequence[Certificate], secret: bytes) -> bytes:
    """Encrypt a secret for recipients, as ocicrypt does.

    Args:
        recipients: Who can decrypt it; at least one.
        secret: The secret.

    Raises:
        EncryptionError: The key of a recipient is too small.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - loaded when first needed

    key, nonce = secrets.token_bytes(_GCM[_AES_128_GCM]), secrets.token_bytes(_GCM_NONCE)
    parameters = der.encode(
        _SEQUENCE_PRIMITIVE,
        der.encode(SEQUENCE, der.encode(_TAGGED_NONCE, nonce), der.integer(_GCM_TAG)),
    )
    content = der.encode(
        SEQUENCE,
        der.write_oid(_DATA),
        der.encode(SEQUENCE, der.write_oid(_AES_128_GCM), parameters),
        der.encode(_TAGGED, der.encode(OCTET_STRING, AESGCM(key).encrypt(nonce, secret, None))),
    )
    infos = sorted(_recipient_info(recipient, key) for recipient in recipients)
    envelope = der.encode(SEQUENCE, der.integer(0), der.encode(SET, *infos), content)
    return der.encode(SEQUENCE, der.write_oid(_ENVELOPED), der.encode(_TAGGED, envelope))


def _recipient_info(recipient: Certificate, key: bytes) -> bytes:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - loaded when first needed
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15  # noqa: PLC0415

    try:
        wrapped = recipient.key.encrypt(key, PKCS1v15())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise EncryptionError(f"{_WHAT}: the key of the recipient: {error}") from error
    return der.encode(
        SEQUENCE,
        der.integer(0),
        recipient.issuer_and_serial,
        der.encode(SEQUENCE, der.write_oid(_RSA)),
        der.encode(OCTET_STRING, wrapped),
    )


def unwrap_key(data: bytes, keys: Sequence[PrivateKey], certificates: Sequence[Certificate]) -> bytes:
    """Decrypt a secret.

    Args:
        data: ContentInfo, DER.
        keys: The keys that it may be for; only those for RSA are tried.
        certificates: The certificates of the keys: they say which recipient a key is. A key without one is tried on
            every recipient.

    Raises:
        EncryptionError: It is malformed or was changed, or none of the keys fits.
    """
    recipients, algorithm, content = _read(data)
    failures = []
    for key in (one for one in keys if one.is_rsa):
        ours = [one for one in certificates if one.key.public_numbers() == key.key.public_key().public_numbers()]
        fitting = [one for one in recipients if not ours or any(one.is_for(certificate) for certificate in ours)]
        if not fitting:
            failures.append(f"{_WHAT}: none of the {len(recipients)} recipients has the certificate of {key.name}")
        for recipient in fitting:
            try:
                return _open(algorithm, content, _unwrapped(key, recipient))
            except EncryptionError as error:
                failures.append(f"{error} ({key.name})")
    raise EncryptionError("; ".join(failures[:10]) or f"{_WHAT}: no private key for RSA is given")


class _Recipient(NamedTuple):
    identifier: Element
    algorithm: tuple[str, tuple[Element, ...]]
    wrapped: bytes

    def is_for(self, certificate: Certificate) -> bool:
        """Whether the recipient is the one with a certificate (RFC 5652 §6.2.1)."""
        if self.identifier.tag == SEQUENCE:
            return bytes(self.identifier) == certificate.issuer_and_serial
        return self.identifier.content == _subject_key_identifier(certificate)


def _subject_key_identifier(certificate: Certificate) -> bytes | None:
    from cryptography import x509  # noqa: PLC0415 - loaded when first needed

    wrong = (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError)
    try:
        extension = certificate.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except wrong:
        return None
    identifier: bytes = extension.value.digest
    return identifier


def _read(data: bytes) -> tuple[list[_Recipient], tuple[str, tuple[Element, ...]], bytes]:
    """Return the recipients, how the content is encrypted, and the content."""
    if len(data) > _MOST_BYTES:
        raise EncryptionError(f"{_WHAT}: {len(data):,} bytes; at most {_MOST_BYTES:,} are read")
    kind, tagged = _exactly(only(data, SEQUENCE, what=_WHAT), 2, "ContentInfo")
    found = der.read_oid(kind, what=_WHAT)
    if found != _ENVELOPED or tagged.tag != _TAGGED:
        raise EncryptionError(f"{_WHAT}: expected EnvelopedData ({_ENVELOPED}), found {found}")
    members = list(elements(only(tagged.content, SEQUENCE, what=_WHAT), what=_WHAT))
    sets = [number for number, one in enumerate(members) if one.tag == SET][:1]
    if not sets or len(members) < sets[0] + 2 or members[sets[0] + 1].tag != SEQUENCE:
        raise EncryptionError(f"{_WHAT}: expected recipients and content in EnvelopedData")
    infos = elements(members[sets[0]].content, what=_WHAT)
    if len(infos) > _MOST_RECIPIENTS:
        raise EncryptionError(f"{_WHAT}: {len(infos):,} recipients; at most {_MOST_RECIPIENTS:,} are read")
    # Recipients of other kinds (RFC 5652 §6.2) have a tag of their own, and none of our keys.
    recipients = [_recipient(one) for one in infos if one.tag == SEQUENCE]
    _, algorithm, content = _exactly(members[sets[0] + 1].content, 3, "EncryptedContentInfo")
    return recipients, _algorithm(algorithm), _content(content)


def _recipient(info: Element) -> _Recipient:
    _, identifier, algorithm, wrapped = _exactly(info.content, 4, "KeyTransRecipientInfo")
    if identifier.tag not in {SEQUENCE, _TAGGED_PRIMITIVE} or wrapped.tag != OCTET_STRING:
        raise EncryptionError(f"{_WHAT}: expected a recipient by its certificate, and a wrapped key")
    return _Recipient(identifier, _algorithm(algorithm), wrapped.content)


def _exactly(data: bytes, number: int, name: str) -> tuple[Element, ...]:
    found = elements(data, what=_WHAT)
    if len(found) != number:
        raise EncryptionError(f"{_WHAT}: {name}: expected {number} elements, found {len(found)}")
    return found


def _algorithm(element: Element) -> tuple[str, tuple[Element, ...]]:
    """Return the name of an algorithm, and its parameters (RFC 5280 §4.1.1.2)."""
    found = elements(element.content, what=_WHAT)
    if element.tag != SEQUENCE or not found:
        raise EncryptionError(f"{_WHAT}: expected an algorithm")
    return der.read_oid(found[0], what=_WHAT), found[1:]


def _content(element: Element) -> bytes:
    """Return the content, which may be in several pieces (RFC 5652 §5.2.1 has the same)."""
    if element.tag == _TAGGED_PRIMITIVE:
        return element.content
    pieces = elements(element.content, what=_WHAT) if element.tag == _TAGGED else ()
    if element.tag != _TAGGED or any(piece.tag != OCTET_STRING for piece in pieces):
        raise EncryptionError(f"{_WHAT}: expected encrypted content")
    return b"".join(piece.content for piece in pieces)


def _unwrapped(key: PrivateKey, recipient: _Recipient) -> bytes:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - loaded when first needed

    padding = _padding(*recipient.algorithm)
    try:
        unwrapped: bytes = key.key.decrypt(recipient.wrapped, padding)
    except UnsupportedAlgorithm as error:
        raise EncryptionError(f"{_WHAT}: {error}") from error
    except ValueError:
        raise EncryptionError(f"{_WHAT}: is for another key") from None
    return unwrapped


def _padding(name: str, parameters: Sequence[Element]) -> Any:  # noqa: ANN401 - of cryptography
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - loaded when first needed
    from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PKCS1v15  # noqa: PLC0415

    if name == _RSA:
        return PKCS1v15()
    if name != _RSA_OAEP:
        raise EncryptionError(f"{_WHAT}: expected a key wrapped for RSA ({_RSA}, {_RSA_OAEP}), found {name}")
    # RFC 4055 §4.1: [0] the hash and [1] the mask, which both are of SHA-1 when nothing is said.
    said = dict(_oaep_parameters(parameters))
    wanted = said.get(0xA0, "SHA1"), said.get(0xA1, "SHA1")
    content, mask = (getattr(hashes, kind)() for kind in wanted)
    return OAEP(mgf=MGF1(mask), algorithm=content, label=None)


def _oaep_parameters(parameters: Sequence[Element]) -> Iterator[tuple[int, str]]:
    for one in elements(parameters[0].content, what=_WHAT) if parameters else ():
        name, inner = _algorithm(_exactly(one.content, 1, "RSAES-OAEP-params")[0])
        if one.tag == 0xA1 and name == _MGF1 and inner:
            name, _ = _algorithm(inner[0])
        if one.tag not in {0xA0, 0xA1} or name not in _HASHES:
            raise EncryptionError(f"{_WHAT}: RSAES-OAEP-params: {name} is not understood")
        yield one.tag, _HASHES[name]


def _open(algorithm: tuple[str, tuple[Element, ...]], content: bytes, key: bytes) -> bytes:
    name, parameters = algorithm
    if not parameters:
        raise EncryptionError(f"{_WHAT}: the content is encrypted without parameters")
    if name in _GCM:
        _check_key(key, _GCM[name])
        return _open_gcm(key, _gcm_nonce(parameters[0]), content)
    if name in _CBC:
        _check_key(key, _CBC[name])
        return _open_cbc(key, parameters[0], content)
    raise EncryptionError(f"{_WHAT}: the content is encrypted by {name}; AES-GCM and AES-CBC are read")


def _check_key(key: bytes, size: int) -> None:
    # A key that is not for us is unwrapped to something, of some size, on purpose (implicit rejection).
    if len(key) != size:
        raise EncryptionError(f"{_WHAT}: is for another key")


def _gcm_nonce(parameters: Element) -> bytes:
    members = elements(parameters.content, what=_WHAT)
    if parameters.tag == _SEQUENCE_PRIMITIVE or (members and members[0].tag == SEQUENCE):
        members = elements(only(parameters.content, SEQUENCE, what=_WHAT), what=_WHAT)
    if not members or members[0].tag not in {OCTET_STRING, _TAGGED_NONCE} or len(members[0].content) != _GCM_NONCE:
        raise EncryptionError(f"{_WHAT}: expected a nonce of {_GCM_NONCE} bytes for AES-GCM")
    # RFC 5084 §3.2: tags of 12 bytes when nothing is said; everybody writes 16.
    if [bytes(one) for one in members[1:]] != [der.integer(_GCM_TAG)]:
        raise EncryptionError(f"{_WHAT}: expected tags of {_GCM_TAG} bytes for AES-GCM")
    return members[0].content


def _open_gcm(key: bytes, nonce: bytes, content: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - loaded when first needed
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    try:
        return AESGCM(key).decrypt(nonce, content, None)
    except InvalidTag:
        raise EncryptionError(f"{_WHAT}: is for another key, or was changed: the tag does not fit") from None


def _open_cbc(key: bytes, parameters: Element, content: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # noqa: PLC0415
    from cryptography.hazmat.primitives.padding import PKCS7  # noqa: PLC0415

    if parameters.tag != OCTET_STRING or len(parameters.content) != _CBC_IV:
        raise EncryptionError(f"{_WHAT}: expected an initialisation vector of {_CBC_IV} bytes for AES-CBC")
    cipher = Cipher(algorithms.AES(key), modes.CBC(parameters.content)).decryptor()
    padding = PKCS7(128).unpadder()
    try:
        padded = cipher.update(content) + cipher.finalize()
        return padding.update(padded) + padding.finalize()
    except ValueError:
        raise EncryptionError(f"{_WHAT}: is for another key, or was changed: the padding is wrong") from None
