"""A secret in a JWE (RFC 7516): its JSON forms and the compact one, for any number of recipients.

Written is what go-jose writes: the flattened form for one recipient (RFC 7516 §7.2.2), the general form for several
(§7.2.1), the content by A256GCM.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from ocikit.errors import EncryptionError, LimitExceededError, ParseError
from ocikit.image.encryption.jwe_algorithms import (
    CONTENT,
    CONTENT_KEY_BYTES,
    Sealed,
    open_content,
    seal,
    unwrap,
    wrap,
)
from ocikit.image.encryption.jwk import base64url, from_base64url
from ocikit.spec._json import describe, dumps, loads

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ocikit.image.encryption.keys import JweRecipient, PrivateKey

__all__ = ["unwrap_key", "wrap_keys"]

_MOST_BYTES: Final = 1 << 20
_MOST_RECIPIENTS: Final = 1024
_NESTED: Final = 8
_COMPACT_PARTS: Final = 5
_WHAT: Final = "JWE"


def wrap_keys(recipients: Sequence[JweRecipient], secret: bytes) -> bytes:
    """Encrypt a secret for recipients.

    Args:
        recipients: Who can decrypt it; at least one.
        secret: The secret.

    Raises:
        EncryptionError: The key of a recipient is too small.
    """
    content_key = secrets.token_bytes(CONTENT_KEY_BYTES)
    wrapped = [wrap(recipient, content_key) for recipient in recipients]
    header: dict[str, Any] = {"enc": CONTENT}
    if len(wrapped) == 1:
        # With one recipient everything is said in the protected header.
        header = wrapped[0][0] | header
        to: dict[str, Any] = {"encrypted_key": base64url(wrapped[0][1])}
    else:
        to = {"recipients": [{"header": one, "encrypted_key": base64url(key)} for one, key in wrapped]}
    protected = base64url(dumps(header))
    sealed = seal(content_key, secret, protected.encode())
    parts = {"iv": sealed.iv, "ciphertext": sealed.ciphertext, "tag": sealed.tag}
    return dumps({"protected": protected, **to, **{name: base64url(part) for name, part in parts.items()}})


def unwrap_key(data: bytes, keys: Sequence[PrivateKey]) -> bytes:
    """Decrypt a secret.

    Args:
        data: The JWE.
        keys: The keys that it may be for.

    Raises:
        EncryptionError: It is malformed or was changed, or none of the keys fits.
    """
    message = _read(data)
    failures = []
    for number, recipient in enumerate(message.recipients):
        what = f"{_WHAT}: recipient {number}" if len(message.recipients) > 1 else _WHAT
        for key in keys:
            try:
                content_key = unwrap(key, recipient.header, recipient.encrypted_key, what=what)
                return open_content(message.encryption, content_key, message.sealed, message.aad, what=what)
            except EncryptionError as error:
                failures.append(f"{error} ({key.name})")
    raise EncryptionError("; ".join(failures[:10]) or f"{_WHAT}: no private key is given")


@frozen(kw_only=True)
class _Recipient:
    header: Mapping[str, Any]
    encrypted_key: bytes


@frozen(kw_only=True)
class _Message:
    encryption: str
    recipients: tuple[_Recipient, ...]
    sealed: Sealed
    aad: bytes


def _read(data: bytes) -> _Message:
    members = _members(data)
    protected, aad = members.get("protected", ""), members.get("aad")
    # What is vouched for is the text as it came, not what it means (RFC 7516 §5.1, step 14).
    if not isinstance(protected, str) or not isinstance(aad, str | None):
        raise EncryptionError(f"{_WHAT}: protected and aad: expected text")
    bound = protected if aad is None else f"{protected}.{aad}"
    shared = _joined(_protected(protected), _object(members.get("unprotected"), "unprotected"))
    recipients = tuple(_recipients(members, shared))
    encryptions = {recipient.header["enc"] for recipient in recipients}
    if len(encryptions) != 1:
        raise EncryptionError(f"{_WHAT}: expected one way to encrypt the content (enc), found {len(encryptions)}")
    parts = {name: _part(members, name) for name in ("iv", "ciphertext", "tag")}
    return _Message(
        encryption=encryptions.pop(), recipients=recipients, sealed=Sealed(**parts), aad=bound.encode("utf-8")
    )


def _members(data: bytes) -> dict[str, Any]:
    """Return the members of the JSON forms; those of the compact form by the same names (RFC 7516 §7.1)."""
    if len(data) > _MOST_BYTES:
        raise EncryptionError(f"{_WHAT}: {len(data):,} bytes; at most {_MOST_BYTES:,} are read")
    if data.strip()[:1] == b"{":
        return _document(data, _WHAT)
    try:
        parts = data.strip().decode("ascii").split(".")
    except UnicodeDecodeError:
        parts = []
    if len(parts) != _COMPACT_PARTS:
        raise EncryptionError(f"{_WHAT}: expected an object, or five parts with dots between them")
    return dict(zip(("protected", "encrypted_key", "iv", "ciphertext", "tag"), parts, strict=True))


def _recipients(members: Mapping[str, Any], shared: Mapping[str, Any]) -> Iterator[_Recipient]:
    listed = members.get("recipients")
    if listed is None:
        listed = [members]
    # go-jose of old wrote the key of the first recipient a second time beside the list; the list is what counts.
    if not isinstance(listed, list) or not 1 <= len(listed) <= _MOST_RECIPIENTS:
        raise EncryptionError(f"{_WHAT}: recipients: expected an array of 1 to {_MOST_RECIPIENTS:,}")
    for entry in listed:
        entry_members = _object(entry, "recipients")
        header = _joined(shared, _object(entry_members.get("header"), "header"))
        _check_header(header)
        yield _Recipient(header=header, encrypted_key=_part(entry_members, "encrypted_key"))


def _check_header(header: Mapping[str, Any]) -> None:
    for name in ("crit", "zip"):
        if name in header:
            raise EncryptionError(f"{_WHAT}: {name}: is not understood, and may not be left out of account")
    for name in ("alg", "enc"):
        if not isinstance(header.get(name), str):
            raise EncryptionError(f"{_WHAT}: {name}: expected a string, found {describe(header.get(name))}")


def _protected(text: str) -> dict[str, Any]:
    return _document(from_base64url(text, what=f"{_WHAT}: protected"), f"{_WHAT}: protected") if text else {}


def _joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Join two headers, which have nothing in common (RFC 7516 §4)."""
    both = one.keys() & other.keys()
    if both:
        raise EncryptionError(f"{_WHAT}: {min(both)[:80]!r} is in two headers")
    return {**one, **other}


def _part(members: Mapping[str, Any], name: str) -> bytes:
    return from_base64url(members.get(name, ""), what=f"{_WHAT}: {name}")


def _object(value: object, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise EncryptionError(f"{_WHAT}: {name}: expected an object, found {describe(value)}")
    return value


def _document(data: bytes, what: str) -> dict[str, Any]:
    try:
        return _object(loads(data, max_bytes=_MOST_BYTES, max_depth=_NESTED), "document")
    except (ParseError, LimitExceededError) as error:
        raise EncryptionError(f"{what}: {error}") from None
