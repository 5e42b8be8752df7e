"""What of a certificate holds at a time: which keys may sign, since when and until when (RFC 9580 §5.2.3, §10.1).

The rules are those of GnuPG: what is newest counts, a revoked key is revoked for everything it ever signed, and an
expired one is expired today, whenever the signature was made.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ocikit.errors import InvalidSignatureError
from ocikit.image.signature.openpgp.signatures import Kind, Signature, Use, read_signature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ocikit.image.signature.openpgp.certificate import Certificate, Subkey, UserId
    from ocikit.image.signature.openpgp.keys import PublicKey

__all__ = ["Validity", "validity"]

_CERTIFICATIONS: Final = frozenset({Kind.CERTIFICATION, Kind.PERSONA, Kind.CASUAL, Kind.POSITIVE})
# The flag of keys that may sign data (RFC 9580 §5.2.3.29).
_MAY_SIGN: Final = 0x02


@frozen(kw_only=True)
class Validity:
    """What holds of a key that may sign.

    Attributes:
        user_ids: The names of the owner that hold.
        expires: When the key, or the primary key above it, expires.
    """

    user_ids: tuple[str, ...]
    expires: dt.datetime | None


def validity(certificate: Certificate, key: PublicKey, now: dt.datetime, others: Iterable[Certificate]) -> Validity:
    """Return what holds of a key of a certificate, which may sign.

    Args:
        certificate: The certificate.
        key: The primary key or a subkey of it.
        now: At which time.
        others: Certificates of those who may be allowed to revoke this one.

    Raises:
        InvalidSignatureError: The key may not sign: it is revoked or expired, or nothing proves that it may.
    """
    primary = certificate.primary
    _check_not_revoked(certificate, others)
    names = [(one, made) for one in certificate.user_ids if (made := _given(primary, one, now)) is not None]
    direct = [*_hold(certificate.signatures, {Kind.DIRECT_KEY}, primary, now, primary.framed)]
    if not direct and (primary.version == 6 or not names):
        raise InvalidSignatureError(_named(primary, _nothing_holds(certificate, now)))
    held = [(one, made) for one, made in names if not _taken_back(primary, one, made)]
    # A key of version 6 speaks of itself in signatures over itself alone (RFC 9580 §10.1.1).
    about = [] if primary.version == 6 else [made for _, made in held or names]
    expires = _expiry(primary, _said(direct, about, "key_expires_after"))
    _check_not_expired(primary, expires, now)
    if key is primary:
        _check_may_sign(primary, _said(direct, about, "flags"))
    else:
        ends = [expires, _bound_until(certificate, _subkey_of(certificate, key), now)]
        expires = min((one for one in ends if one is not None), default=None)
    return Validity(user_ids=tuple(one.text for one, _ in held), expires=expires)


def _said(direct: list[Signature], about: list[Signature], what: str) -> int | None:
    """Return what a key says of itself: over itself alone when it says it there, else with its newest name.

    Not every signature says everything: one that only names who may revoke the key changes nothing else.
    """
    alone = [one for one in direct if getattr(one.subpackets, what) is not None]
    newest = max(alone or about, key=_age, default=None)
    return None if newest is None else getattr(newest.subpackets, what)


def _named(key: PublicKey, reason: str) -> str:
    return f"the key {key.fingerprint} {reason}"


def _age(signature: Signature) -> dt.datetime:
    return signature.created


def _proves(signature: Signature, key: PublicKey, content: tuple[bytes, ...], use: Use) -> bool:
    """Say whether a signature of a certificate is one of a key; one that is not is as if it were not there."""
    if not signature.may_be_by(key):
        return False
    try:
        signature.check(key, *content, use=use)
    except InvalidSignatureError:
        return False
    return True


def _in_time(signature: Signature, key: PublicKey, now: dt.datetime) -> bool:
    try:
        signature.check_time(key, now)
    except InvalidSignatureError:
        return False
    return True


def _hold(
    signatures: Iterable[Signature],
    kinds: set[Kind] | frozenset[Kind],
    key: PublicKey,
    now: dt.datetime,
    *content: bytes,
) -> Iterator[Signature]:
    """Yield the signatures of some kinds by a key over some content that hold at a time."""
    return (
        one
        for one in signatures
        if one.kind in kinds and _in_time(one, key, now) and _proves(one, key, content, Use.SELF)
    )


def _revocations(
    signatures: Iterable[Signature], kind: Kind, key: PublicKey, content: Callable[[Signature], tuple[bytes, ...]]
) -> Iterator[Signature]:
    return (one for one in signatures if one.kind == kind and _proves(one, key, content(one), Use.REVOCATION))


def _check_not_revoked(certificate: Certificate, others: Iterable[Certificate]) -> None:
    """Return when neither the key itself nor one that it has named has revoked it (RFC 9580 §5.2.1.11)."""
    primary = certificate.primary
    for one in _revocations(certificate.signatures, Kind.KEY_REVOCATION, primary, lambda _: (primary.framed,)):
        raise InvalidSignatureError(_named(primary, f"was revoked at {one.created:%Y-%m-%d %H:%M:%S} UTC"))
    revokers = frozenset[str]().union(
        *(
            one.subpackets.revokers
            for one in certificate.signatures
            if one.kind == Kind.DIRECT_KEY
            and one.subpackets.revokers
            and _proves(one, primary, (primary.framed,), Use.SELF)
        )
    )
    for other in (one.primary for one in others if one.fingerprint in revokers):
        for one in _revocations(certificate.signatures, Kind.KEY_REVOCATION, other, lambda _: (primary.framed,)):
            when = f"at {one.created:%Y-%m-%d %H:%M:%S} UTC"
            raise InvalidSignatureError(
                _named(primary, f"was revoked {when} by the key {other.fingerprint}, as it may be")
            )


def _over_name(primary: PublicKey, name: UserId, signature: Signature) -> tuple[bytes, ...]:
    """Return what a signature over a name is over; in version 3 a name has no frame (RFC 9580 §5.2.4)."""
    return primary.framed, name.name if signature.version == 3 else name.framed


def _given(primary: PublicKey, name: UserId, now: dt.datetime) -> Signature | None:
    """Return the newest signature that gives a name to the key, and says what the key is for."""
    held = (
        one
        for one in name.signatures
        for _ in _hold([one], _CERTIFICATIONS, primary, now, *_over_name(primary, name, one))
    )
    return max(held, key=_age, default=None)


def _taken_back(primary: PublicKey, name: UserId, given: Signature) -> bool:
    """Say whether the key has taken a name back, and not given it again. The key is as good as before."""
    taken = _revocations(
        name.signatures, Kind.CERTIFICATION_REVOCATION, primary, lambda one: _over_name(primary, name, one)
    )
    return any(one.created >= given.created for one in taken)


def _nothing_holds(certificate: Certificate, now: dt.datetime) -> str:
    """Say why nothing that a key says of itself holds."""
    primary = certificate.primary
    said: list[tuple[Signature, tuple[bytes, ...]]]
    said = [(one, (primary.framed,)) for one in certificate.signatures if one.kind == Kind.DIRECT_KEY]
    said += [
        (one, _over_name(primary, name, one))
        for name in certificate.user_ids
        for one in name.signatures
        if one.kind in _CERTIFICATIONS
    ]
    if not said:
        return "has signed nothing about itself"
    reasons = []
    for one, content in said:
        try:
            one.check_time(primary, now)
            one.check(primary, *content, use=Use.SELF)
        except InvalidSignatureError as error:
            reasons.append(str(error))
    if not reasons:
        return "has signed nothing about itself alone, as those of version 6 have to"
    return f"has signed nothing about itself that holds: a signature {reasons[0]}"


def _expiry(key: PublicKey, seconds: int | None) -> dt.datetime | None:
    """Return when a key expires that does so some seconds after it was made (RFC 9580 §5.2.3.13)."""
    return key.created + dt.timedelta(seconds=seconds) if seconds else None


def _check_not_expired(key: PublicKey, expires: dt.datetime | None, now: dt.datetime) -> None:
    if expires is not None and expires <= now:
        raise InvalidSignatureError(_named(key, f"has expired at {expires:%Y-%m-%d %H:%M:%S} UTC"))


def _check_may_sign(key: PublicKey, flags: int | None) -> None:
    """A key without flags is for everything, as before there were flags."""
    if flags is not None and not flags & _MAY_SIGN:
        raise InvalidSignatureError(_named(key, f"is not for signing: its flags are 0x{flags:02X}"))


def _subkey_of(certificate: Certificate, key: PublicKey) -> Subkey:
    return next(one for one in certificate.subkeys if one.key is key)


def _bound_until(certificate: Certificate, subkey: Subkey, now: dt.datetime) -> dt.datetime | None:
    """Return until when a subkey is bound to the primary key, for signing (RFC 9580 §5.2.1.8)."""
    primary, key = certificate.primary, subkey.key
    content = (primary.framed, key.framed)
    for revoked in _revocations(subkey.signatures, Kind.SUBKEY_REVOCATION, primary, lambda _: content):
        raise InvalidSignatureError(_named(key, f"was revoked at {revoked.created:%Y-%m-%d %H:%M:%S} UTC"))
    held = _hold(subkey.signatures, {Kind.SUBKEY_BINDING}, primary, now, *content)
    binding = max((one for one in held if _in_time(one, key, now)), key=_age, default=None)
    if binding is None:
        raise InvalidSignatureError(_named(key, f"is not bound to {primary.fingerprint} by a signature that holds"))
    expires = _expiry(key, binding.subpackets.key_expires_after)
    _check_not_expired(key, expires, now)
    _check_may_sign(key, binding.subpackets.flags)
    _check_signed_back(binding, subkey, content, now)
    return expires


def _check_signed_back(binding: Signature, subkey: Subkey, content: tuple[bytes, ...], now: dt.datetime) -> None:
    """Without a signature by the subkey, anybody could adopt it, and call its signatures their own (§5.2.1.9)."""
    for body in binding.subpackets.embedded:
        try:
            back = read_signature(body)
        except InvalidSignatureError:
            continue
        if [*_hold([back], {Kind.PRIMARY_KEY_BINDING}, subkey.key, now, *content)]:
            return
    raise InvalidSignatureError(_named(subkey.key, "has not signed that it belongs to its primary key"))
