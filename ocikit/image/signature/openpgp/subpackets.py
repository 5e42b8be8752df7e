"""What a signature says beside what it is over: subpackets, by the numbers that they have (RFC 9580 §5.2.3.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from ocikit.errors import InvalidSignatureError
from ocikit.image.signature.openpgp.packets import Reader

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Subpackets", "read_subpackets"]

# How many subpackets a signature may have; GnuPG writes ten.
_MOST: Final = 256

_CREATED, _EXPIRES, _KEY_EXPIRES, _REVOKER, _ISSUER, _NOTATION, _FLAGS, _EMBEDDED, _FINGERPRINT = (
    *(2, 3, 9, 12, 16, 20, 27, 32, 33),
)
# Those that may be critical and whose meaning is heeded, or whose meaning does not matter to whoever verifies:
# preferences of the owner (11, 21, 22, 30, 34, 39), the server of keys (23, 24), whether a certification may be
# exported (4) or revoked (7), the primary user ID (25), a policy (26), the signer's user ID (28), a reason (29).
_KNOWN: Final = frozenset(
    {
        *(_CREATED, _EXPIRES, _KEY_EXPIRES, _REVOKER, _ISSUER, _FLAGS, _EMBEDDED, _FINGERPRINT),
        *(4, 7, 11, 21, 22, 23, 24, 25, 26, 28, 29, 30, 34, 35, 39),
    }
)
# With one of these twice, a signature would say two things.
_ONCE: Final = frozenset({_CREATED, _EXPIRES, _KEY_EXPIRES, _FLAGS})


@frozen(kw_only=True)
class Subpackets:
    """What subpackets say.

    Attributes:
        created: When the signature was made, in seconds since the epoch.
        expires_after: After how many seconds it expires; 0 and None are never.
        key_expires_after: After how many seconds the key expires that it is about; 0 and None are never.
        flags: What that key is for (RFC 9580 §5.2.3.29), if it says so.
        issuer_ids: Ids of keys that are said to have made the signature.
        issuer_fingerprints: Fingerprints of such keys.
        embedded: Signature packets inside it.
        revokers: Fingerprints of keys that may revoke this one.
        refused: What is critical and not known, in words.
    """

    created: int | None = None
    expires_after: int | None = None
    key_expires_after: int | None = None
    flags: int | None = None
    issuer_ids: frozenset[str] = frozenset()
    issuer_fingerprints: frozenset[str] = frozenset()
    embedded: tuple[bytes, ...] = field(default=(), repr=False)
    revokers: frozenset[str] = frozenset()
    refused: tuple[str, ...] = ()

    def check_critical(self) -> None:
        """Return when nothing is critical that is not known.

        Raises:
            InvalidSignatureError: Something is.
        """
        if self.refused:
            raise InvalidSignatureError(f"has {self.refused[0]}, which is critical and not known here")


@frozen(kw_only=True)
class _Subpacket:
    kind: int
    critical: bool
    body: bytes


def _subpackets(area: bytes) -> Iterator[_Subpacket]:
    reader = Reader(area, "a signature packet: a subpacket")
    for _ in range(_MOST):
        if not reader.left:
            return
        size = reader.number(1)
        if size == 255:
            size = reader.number(4)
        elif size >= 192:
            size = ((size - 192) << 8) + reader.number(1) + 192
        if not size:
            raise InvalidSignatureError(f"{reader.what} has no kind")
        kind, body = reader.number(1), reader.take(size - 1)
        one = _Subpacket(kind=kind & 0x7F, critical=bool(kind & 0x80), body=body)
        if len(body) not in _SIZES.get(one.kind, {len(body)}):
            raise InvalidSignatureError(f"a signature packet: a subpacket of the kind {one.kind} of {len(body)} bytes")
        yield one
    if reader.left:
        raise InvalidSignatureError(f"a signature packet: more than {_MOST} subpackets")


def read_subpackets(hashed: bytes, unhashed: bytes) -> Subpackets:
    """Read the two areas of subpackets of a signature.

    Args:
        hashed: What the signature covers: all of it counts.
        unhashed: What it does not: who made it, and signatures that prove themselves.

    Raises:
        InvalidSignatureError: They are malformed, too many, or say twice what may be said once.
    """
    covered, loose = [*_subpackets(hashed)], [*_subpackets(unhashed)]
    for one in covered:
        if one.kind in _ONCE and sum(other.kind == one.kind for other in covered) > 1:
            raise InvalidSignatureError(f"a signature packet: more than one subpacket of the kind {one.kind}")
    said: dict[str, Any] = {_NUMBERS[one.kind]: _number(one) for one in covered if one.kind in _NUMBERS}
    both = covered + loose
    return Subpackets(
        **said,
        issuer_ids=frozenset(one.body.hex().upper() for one in both if one.kind == _ISSUER),
        # A version, and the fingerprint (RFC 9580 §5.2.3.35).
        issuer_fingerprints=frozenset(one.body[1:].hex().upper() for one in both if one.kind == _FINGERPRINT),
        embedded=tuple(one.body for one in both if one.kind == _EMBEDDED),
        # A class with its highest bit set, an algorithm, and the fingerprint (RFC 9580 §5.2.3.23).
        revokers=frozenset(
            one.body[2:].hex().upper() for one in covered if one.kind == _REVOKER and one.body[:1] >= b"\x80"
        ),
        refused=tuple(_in_words(one) for one in both if one.critical and one.kind not in _KNOWN),
    )


def _in_words(one: _Subpacket) -> str:
    if one.kind != _NOTATION:
        return f"a subpacket of the kind {one.kind}"
    # Four bytes of flags and the lengths of the name and the value, two bytes each (RFC 9580 §5.2.3.24).
    name = one.body[8 : 8 + int.from_bytes(one.body[4:6], "big")]
    return f"a notation {name.decode('ascii', 'backslashreplace')[:80]!r}"


_NUMBERS: Final = {
    _CREATED: "created",
    _EXPIRES: "expires_after",
    _KEY_EXPIRES: "key_expires_after",
    _FLAGS: "flags",
}
# How long subpackets may be; others may have any length.
_SIZES: Final = {
    _CREATED: {4},
    _EXPIRES: {4},
    _KEY_EXPIRES: {4},
    _ISSUER: {8},
    _FINGERPRINT: {21, 33},
    _REVOKER: {22, 34},
}


def _number(one: _Subpacket) -> int:
    # Of flags, the first byte has those that matter here.
    return int.from_bytes(one.body[:1] if one.kind == _FLAGS else one.body, "big")
