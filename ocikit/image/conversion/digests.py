"""The digest that a manifest goes by: of its bytes, or, of Docker's signed schema 1, of what was signed.

A signed schema 1 manifest is a JSON document with its signatures inserted before the last brace (JWS, in the form of
libtrust). Each signature says in its protected header how many bytes stood before (``formatLength``) and what stood
after (``formatTail``); these two are the payload, and the digest is its. Whatever else the file says is covered by
nothing and must not be there.

The signatures themselves are not checked: the key comes with them, so that they prove nothing.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Final

from ocikit.errors import DigestMismatchError, LimitExceededError, ManifestError, ParseError
from ocikit.image.manifest import check_size
from ocikit.spec import Digest, mediatypes
from ocikit.spec._json import describe, loads

if TYPE_CHECKING:
    from ocikit.image.conversion.documents import Raw

__all__ = ["SCHEMA1", "manifest_digest", "schema1_digest", "schema1_payload", "verify_manifest"]

#: The types of Docker's schema 1. Servers mix them up: whether a manifest is signed is seen by its content.
SCHEMA1: Final = frozenset({mediatypes.DOCKER_MANIFEST_SCHEMA1, mediatypes.DOCKER_MANIFEST_SCHEMA1_SIGNED})

_SIGNATURES: Final = "signatures"
_MOST_SIGNATURES: Final = 64
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def manifest_digest(data: bytes, media_type: str, algorithm: str = "sha256") -> Digest:
    """Return the digest that a manifest goes by.

    Args:
        data: The manifest.
        media_type: Its type.
        algorithm: Of the digest.

    Raises:
        ManifestError: It is a signed manifest of Docker's schema 1 that is malformed.
        NotSupportedError: The algorithm is not sha256 or sha512.
    """
    return schema1_digest(data, algorithm) if media_type in SCHEMA1 else Digest.from_bytes(data, algorithm)


def verify_manifest(digest: Digest, data: bytes, media_type: str, *, what: str = "manifest") -> None:
    """Check that a manifest goes by a digest.

    Args:
        digest: The digest.
        data: The manifest.
        media_type: Its type.
        what: What it is, for the message.

    Raises:
        DigestMismatchError: It goes by another one.
        ManifestError: It is a signed manifest of Docker's schema 1 that is malformed.
        NotSupportedError: The algorithm is not sha256 or sha512.
    """
    actual = manifest_digest(data, media_type, digest.algorithm)
    if actual != digest:
        raise DigestMismatchError(what, digest, actual)


def schema1_digest(data: bytes, algorithm: str = "sha256") -> Digest:
    """Return the digest of a manifest of Docker's schema 1: that of its payload.

    Args:
        data: The manifest, signed or not.
        algorithm: Of the digest.

    Raises:
        ManifestError: It is malformed.
        LimitExceededError: It is larger than 4 MiB.
        NotSupportedError: The algorithm is not sha256 or sha512.
    """
    return Digest.from_bytes(schema1_payload(data), algorithm)


def schema1_payload(data: bytes) -> bytes:
    """Return what was signed of a manifest of Docker's schema 1; of an unsigned one all of it.

    Args:
        data: The manifest.

    Raises:
        ManifestError: It is malformed, its signatures are of different payloads, or it says more than what was signed.
        LimitExceededError: It is larger than 4 MiB, or has too many signatures.
    """
    document = _object(data, "the manifest")
    signatures = document.pop(_SIGNATURES, None)
    if signatures is None:
        return data
    if not isinstance(signatures, list) or not signatures:
        raise ManifestError(f"$.signatures: expected at least one signature, found {describe(signatures)}")
    if len(signatures) > _MOST_SIGNATURES:
        raise LimitExceededError("signatures of a schema 1 manifest", _MOST_SIGNATURES, len(signatures))
    formats = {_format(signature, f"$.signatures[{number}]") for number, signature in enumerate(signatures)}
    if len(formats) > 1:
        raise ManifestError("$.signatures: they are of different payloads; expected all of them to be of one")
    length, tail = formats.pop()
    if not 0 < length <= len(data):
        raise ManifestError(f"$.signatures: formatLength is {length:,}, the file has {len(data):,} bytes")
    payload = data[:length] + tail
    if _object(payload, "what was signed") != document:
        raise ManifestError("the file says something else, or more, than what was signed in it; use neither")
    return payload


def _format(signature: object, where: str) -> tuple[int, bytes]:
    protected = signature.get("protected") if isinstance(signature, dict) else None
    header = _object(_decoded(protected, f"{where}.protected"), f"{where}.protected")
    length = header.get("formatLength")
    if not isinstance(length, int) or isinstance(length, bool):
        raise ManifestError(f"{where}.protected: $.formatLength: expected a number of bytes, found {describe(length)}")
    tail = _decoded(header.get("formatTail"), f"{where}.protected: $.formatTail")
    return length, tail


def _decoded(text: object, where: str) -> bytes:
    """Decode base64url without padding, as JWS has it."""
    if not isinstance(text, str) or not _BASE64URL.fullmatch(text):
        found = repr(text[:80]) if isinstance(text, str) else describe(text)
        raise ManifestError(f"{where}: expected base64url without padding, found {found}")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise ManifestError(f"{where}: expected base64url without padding: {error}") from error


def _object(data: bytes, what: str) -> Raw:
    check_size(data, "manifest")
    try:
        document = loads(data)
    except ParseError as error:
        raise ManifestError(f"{what}: {error}") from error
    if not isinstance(document, dict):
        raise ManifestError(f"{what}: expected a JSON object, found {describe(document)}")
    return document
