"""Signatures as places keep them: one blob each, in the form that containers/image and its users write.

A blob is either an OpenPGP message (*simple signing*), or what sigstore makes: a media type, a payload and annotations.
The second begins with a zero byte, the name of the format and a line feed, which no OpenPGP message does. Nothing is
verified here, and nothing that is read here proves anything.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from ocikit.errors import InvalidSignatureError, LimitExceededError, ParseError
from ocikit.spec import Digest
from ocikit.spec._json import MAX_BYTES, describe, dumps, loads

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "BUNDLE",
    "MAX_SIGNATURES",
    "MAX_SIGNATURES_BYTES",
    "MAX_SIGNATURE_BYTES",
    "SIGSTORE_PAYLOAD",
    "SigstoreSignature",
    "SimpleSignature",
    "StoredSignature",
    "parse_signature",
    "signature_digest",
]

#: The size of one signature, in bytes.
MAX_SIGNATURE_BYTES: Final = MAX_BYTES
#: How many signatures of one manifest are looked at.
MAX_SIGNATURES: Final = 128
#: The size of all signatures of one manifest together, in bytes: they are held in memory before any is verified.
MAX_SIGNATURES_BYTES: Final = 32 * 1024 * 1024

#: The media type of the payload that cosign and containers/image sign.
SIGSTORE_PAYLOAD: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
#: The media type of a sigstore bundle, and the artifact type of the manifest that refers to an image with one.
BUNDLE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"

_SIMPLE: Final = b"simple-signing"
_SIGSTORE: Final = b"sigstore-json"

# Tags of the packets that an OpenPGP signature can begin with (RFC 9580 §5): signature, one-pass signature, compressed.
_PACKETS: Final = frozenset({2, 4, 8})


@frozen(kw_only=True)
class SimpleSignature:
    """An OpenPGP message that holds what it signs.

    Attributes:
        message: Its bytes.
    """

    message: bytes = field(repr=False)

    def to_blob(self) -> bytes:
        """Return the blob that places keep."""
        return self.message if _is_openpgp(self.message) else b"\0" + _SIMPLE + b"\n" + self.message


@frozen(kw_only=True)
class SigstoreSignature:
    """What sigstore makes: a payload, and what proves it as annotations.

    Attributes:
        media_type: What the payload is: :data:`SIGSTORE_PAYLOAD`, or :data:`BUNDLE`, which proves itself.
        payload: What is signed, byte for byte; of a bundle, the bundle.
        annotations: The signature, and perhaps a certificate, its chain, and what a transparency log says.
    """

    media_type: str
    payload: bytes = field(repr=False)
    annotations: Mapping[str, str] = field(factory=dict, repr=False)

    def to_blob(self) -> bytes:
        """Return the blob that places keep."""
        document = {
            "mimeType": self.media_type,
            "payload": base64.b64encode(self.payload).decode(),
            "annotations": dict(self.annotations),
        }
        return b"\0" + _SIGSTORE + b"\n" + dumps(document)


#: A signature of either form.
StoredSignature = SimpleSignature | SigstoreSignature


def parse_signature(blob: bytes) -> StoredSignature:
    """Tell which form a signature has, and take it apart; nothing is verified.

    Args:
        blob: The signature as it is stored.

    Raises:
        InvalidSignatureError: It has no form that is known, or is malformed.
        LimitExceededError: It is larger than 4 MiB.
    """
    if len(blob) > MAX_SIGNATURE_BYTES:
        raise LimitExceededError("bytes of a signature", MAX_SIGNATURE_BYTES, len(blob))
    if not blob:
        raise InvalidSignatureError("the signature is empty")
    if _is_openpgp(blob):
        return SimpleSignature(message=blob)
    if blob[0] != 0:
        raise InvalidSignatureError(
            f"the signature begins with {blob[:8].hex(' ')}: expected an OpenPGP message that is not armored, or a "
            "zero byte and the name of a format"
        )
    name, line_feed, content = blob[1:].partition(b"\n")
    if not line_feed:
        raise InvalidSignatureError(
            "the signature begins with a zero byte, and no line feed ends the name of its format"
        )
    if name == _SIMPLE:
        return SimpleSignature(message=content)
    if name == _SIGSTORE:
        return _sigstore(content)
    raise InvalidSignatureError(
        f"the signature is in the format {name[:40]!r}: expected {_SIMPLE.decode()} or {_SIGSTORE.decode()}"
    )


def signature_digest(blob: bytes) -> Digest:
    """Return what tells one signature from another, however the place writes it that keeps it.

    Args:
        blob: The signature as it is stored.
    """
    with contextlib.suppress(InvalidSignatureError, LimitExceededError):
        blob = parse_signature(blob).to_blob()
    return Digest.from_bytes(blob)


def _is_openpgp(blob: bytes) -> bool:
    """Say whether a blob begins like the packets of a signed message (RFC 9580 §4.2: both forms of headers)."""
    first = blob[0] if blob else 0
    if first & 0xC0 == 0xC0:
        return first & 0x3F in _PACKETS
    return first & 0xC0 == 0x80 and (first >> 2) & 0x0F in _PACKETS


def _sigstore(content: bytes) -> SigstoreSignature:
    try:
        document = loads(content)
    except ParseError as error:
        raise InvalidSignatureError(f"the sigstore signature is no JSON document: {error}") from error
    members = _object(document, "$")
    annotations = _object(members.get("annotations") or {}, "$.annotations")
    for key, value in annotations.items():
        _text(value, f"$.annotations[{key!r}]")
    return SigstoreSignature(
        media_type=_text(members.get("mimeType"), "$.mimeType"),
        payload=_base64(members.get("payload"), "$.payload"),
        annotations=annotations,
    )


def _object(value: object, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidSignatureError(f"{path} of the sigstore signature: expected an object, found {describe(value)}")
    return value


def _text(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise InvalidSignatureError(f"{path} of the sigstore signature: expected a string, found {describe(value)}")
    return value


def _base64(value: object, path: str) -> bytes:
    try:
        # Line breaks in it are ignored by every implementation.
        return base64.b64decode(_text(value, path).replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError) as error:
        if isinstance(error, InvalidSignatureError):
            raise
        raise InvalidSignatureError(f"{path} of the sigstore signature: not base64: {error}") from error
