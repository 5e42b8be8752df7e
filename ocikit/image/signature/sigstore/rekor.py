"""What a transparency log promises: that it took in an entry at a certain time (Rekor's *signed entry timestamp*).

The promise comes with the signature, and is verified offline: the log's key made it over the entry, and the entry is
about this signature, by this key or certificate, over this content.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Final

from ocikit.errors import InvalidSignatureError, LimitExceededError, ParseError
from ocikit.image.signature.sigstore.pem import CERTIFICATE, PUBLIC_KEY, read_block
from ocikit.image.signature.sigstore.trust import LogEntry
from ocikit.spec._json import describe, json_path, loads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocikit.image.signature.sigstore.keys import PublicKey
    from ocikit.image.signature.sigstore.pem import Block

__all__ = ["canonical_promise", "match_hashedrekord", "verify_promise", "verify_set"]

_WHAT: Final = "the promise of the transparency log"
_BODY: Final = "the entry of the transparency log"
_KIND: Final = "hashedrekord"
_VERSION: Final = "0.0.1"

_MOST_BYTES: Final = 1024 * 1024
_MOST_VERIFIER_BYTES: Final = 64 * 1024
# Numbers of JSON are doubles (RFC 8785 §3.2.2.3): up to here each whole number is written with its digits.
_MOST_WHOLE: Final = 2**53 - 1
_MOST_SECONDS: Final = 253_402_300_799  # the end of the year 9999
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


def verify_set(
    bundle: str, log_keys: Sequence[PublicKey], *, verifier_pem: bytes, signature: str, payload: bytes
) -> LogEntry:
    """Verify what a transparency log promised about a signature.

    Args:
        bundle: The annotation ``dev.sigstore.cosign/bundle``, JSON.
        log_keys: The public keys of the log, ECDSA; any of them will do.
        verifier_pem: The public key or the certificate of the signer, PEM.
        signature: The signature, base64.
        payload: What is signed.

    Returns:
        The entry: its time is what the log vouches for.

    Raises:
        InvalidSignatureError: The promise is malformed, was made by another log, or is about something else.
    """
    members = _exactly(_parse(bundle, _WHAT), "$", _WHAT, ("SignedEntryTimestamp", "Payload"))
    entry = _exactly(members["Payload"], "$.Payload", _WHAT, ("body", "integratedTime", "logIndex", "logID"))
    body = _text(entry["body"], "$.Payload.body", _WHAT)
    found = verify_promise(
        _base64(members["SignedEntryTimestamp"], "$.SignedEntryTimestamp", _WHAT),
        log_keys,
        body=body,
        integrated_time=_whole(entry["integratedTime"], "$.Payload.integratedTime", _MOST_SECONDS),
        log_index=_whole(entry["logIndex"], "$.Payload.logIndex", _MOST_WHOLE),
        log_id=_text(entry["logID"], "$.Payload.logID", _WHAT),
    )
    match_hashedrekord(
        _base64(body, "$.Payload.body", _WHAT),
        verifier_pem=verifier_pem,
        signature=_base64(signature, "$", "the signature"),
        digest=hashlib.sha256(payload).digest(),
    )
    return found


def verify_promise(
    signature: bytes,
    log_keys: Sequence[PublicKey],
    *,
    body: str,
    integrated_time: int,
    log_index: int,
    log_id: str,
) -> LogEntry:
    """Verify that a log promised to have taken in an entry, whatever the entry is about.

    Args:
        signature: The promise (*signed entry timestamp*).
        log_keys: The public keys of the log, ECDSA; any of them will do.
        body: The entry, base64.
        integrated_time: When the log took it in, in seconds since the epoch.
        log_index: The number of the entry.
        log_id: The log: SHA-256 of its public key, hexadecimal.

    Raises:
        InvalidSignatureError: None of the keys made the promise, or one did for another log.
    """
    for key in log_keys:
        if not key.is_ecdsa:
            raise InvalidSignatureError(f"the key {key} is no key of a transparency log: expected one for ECDSA")
    signed = canonical_promise(body=body, integrated_time=integrated_time, log_index=log_index, log_id=log_id)
    key = _maker(signature, signed, log_keys)
    if log_id != key.fingerprint:
        raise InvalidSignatureError(
            f"{_WHAT} was made by the log {key.fingerprint}, and is for the log {log_id[:80]!r}"
        )
    if not 0 < integrated_time <= _MOST_SECONDS:
        raise InvalidSignatureError(f"{_WHAT} is of no time: {describe(integrated_time)} seconds")
    return LogEntry(
        integrated_time=dt.datetime.fromtimestamp(integrated_time, dt.UTC), log_index=log_index, log_id=log_id
    )


def canonical_promise(*, body: str, integrated_time: int, log_index: int, log_id: str) -> bytes:
    """Write what a log signs, in the one form of RFC 8785.

    Its keys are ASCII and its numbers whole and below 2**53, so that sorting and writing them needs no more than this;
    strings are escaped as RFC 8785 §3.2.2.2 has it.

    Args:
        body: The entry, base64.
        integrated_time: When the log took it in, in seconds since the epoch.
        log_index: The number of the entry.
        log_id: The log: SHA-256 of its public key, hexadecimal.
    """
    entry = {"body": body, "integratedTime": integrated_time, "logID": log_id, "logIndex": log_index}
    text = json.dumps(entry, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")


def match_hashedrekord(body: bytes, *, verifier_pem: bytes, signature: bytes, digest: bytes) -> None:
    """Return when an entry (``hashedrekord`` 0.0.1) is about a signature.

    Args:
        body: The entry, JSON; the log vouches for it.
        verifier_pem: The public key or the certificate of the signer, PEM.
        signature: The signature.
        digest: SHA-256 of what is signed.

    Raises:
        InvalidSignatureError: It is malformed, or about something else; the message says which part differs.
    """
    entry = _exactly(_parse(body, _BODY), "$", _BODY, ("apiVersion", "kind", "spec"))
    for key, wanted in (("kind", _KIND), ("apiVersion", _VERSION)):
        if entry[key] != wanted:
            found = repr(entry[key][:80]) if isinstance(entry[key], str) else describe(entry[key])
            raise _fault(_BODY, f"$.{key}", f"expected {wanted!r}, found {found}")
    spec = _exactly(entry["spec"], "$.spec", _BODY, ("data", "signature"))
    signed = _exactly(spec["signature"], "$.spec.signature", _BODY, ("content", "publicKey"))
    public_key = _exactly(signed["publicKey"], "$.spec.signature.publicKey", _BODY, ("content",))
    verifier = _base64(public_key["content"], "$.spec.signature.publicKey.content", _BODY)
    if _verifier(verifier, f"the public key in {_BODY}") != _verifier(verifier_pem, "the public key of the signature"):
        raise InvalidSignatureError(f"{_BODY} is about another public key or certificate than the signature's")
    if _base64(signed["content"], "$.spec.signature.content", _BODY) != signature:
        raise InvalidSignatureError(f"{_BODY} is about another signature")
    found_digest = _digest(spec["data"])
    if found_digest != digest:
        raise InvalidSignatureError(
            f"{_BODY} is about content with the SHA-256 {found_digest.hex()}; what is signed has {digest.hex()}"
        )


def _maker(signature: bytes, signed: bytes, log_keys: Sequence[PublicKey]) -> PublicKey:
    for key in log_keys:
        try:
            key.verify(signature, signed)
        except InvalidSignatureError:
            continue
        return key
    known = ", ".join(str(key) for key in log_keys[:5]) or "none"
    raise InvalidSignatureError(f"{_WHAT} was made by none of the keys of the log that are trusted: {known}")


def _verifier(pem: bytes, what: str) -> Block:
    return read_block(pem, what=what, labels=(PUBLIC_KEY, CERTIFICATE), most_bytes=_MOST_VERIFIER_BYTES)


def _digest(value: object) -> bytes:
    data = _exactly(value, "$.spec.data", _BODY, ("hash",))
    members = _exactly(data["hash"], "$.spec.data.hash", _BODY, ("algorithm", "value"))
    if (algorithm := _text(members["algorithm"], "$.spec.data.hash.algorithm", _BODY)) != "sha256":
        raise _fault(_BODY, "$.spec.data.hash.algorithm", f"expected 'sha256', found {algorithm[:80]!r}")
    text = _text(members["value"], "$.spec.data.hash.value", _BODY)
    if not _SHA256.fullmatch(text):
        raise _fault(_BODY, "$.spec.data.hash.value", f"expected 64 hexadecimal digits, found {text[:80]!r}")
    return bytes.fromhex(text)


def _parse(data: bytes | str, what: str) -> object:
    try:
        return loads(data, max_bytes=_MOST_BYTES)
    except (ParseError, LimitExceededError) as error:
        raise InvalidSignatureError(f"{what} is no JSON document: {error}") from error


def _fault(what: str, path: str, reason: str) -> InvalidSignatureError:
    return InvalidSignatureError(f"{what}: {path}: {reason}")


def _exactly(value: object, path: str, what: str, keys: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _fault(what, path, f"expected an object, found {describe(value)}")
    for key in keys:
        if key not in value:
            raise _fault(what, json_path([key], path), "missing")
    for key in value:
        if key not in keys:
            raise _fault(what, json_path([key], path), f"unknown; expected {', '.join(keys)} and nothing else")
    return value


def _text(value: object, path: str, what: str) -> str:
    if not isinstance(value, str):
        raise _fault(what, path, f"expected a string, found {describe(value)}")
    return value


def _whole(value: object, path: str, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _fault(_WHAT, path, f"expected a whole number, found {describe(value)}")
    if not 0 <= value <= most:
        raise _fault(_WHAT, path, f"expected a number from 0 to {most}, found {describe(value)}")
    return value


def _base64(value: object, path: str, what: str) -> bytes:
    text = _text(value, path, what)
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _fault(what, path, f"not base64: {error}") from error
    if base64.b64encode(decoded).decode() != text:
        raise _fault(what, path, "base64 that nobody writes")
    return decoded
