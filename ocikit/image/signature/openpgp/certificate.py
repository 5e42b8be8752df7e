"""Certificates: a primary key, and what it says of itself, of its owner and of further keys (RFC 9580 §10.1).

Only data, unverified: :mod:`.validity` decides what of it holds at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from attrs import evolve, field, frozen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocikit.image.signature.openpgp.keys import PublicKey
    from ocikit.image.signature.openpgp.signatures import Signature

__all__ = ["Certificate", "Subkey", "UserId", "merged"]


@frozen(kw_only=True)
class UserId:
    """A name of the owner, and the signatures over it.

    Attributes:
        name: The name, in UTF-8 mostly.
        signatures: What the primary key may have signed over it; of others nothing is kept.
    """

    name: bytes
    signatures: tuple[Signature, ...] = field(default=(), repr=False)

    @property
    def framed(self) -> bytes:
        """Its bytes as signatures over it have them, from version 4 on (RFC 9580 §5.2.4)."""
        return b"\xb4" + len(self.name).to_bytes(4, "big") + self.name

    @property
    def text(self) -> str:
        """The name for people, with what is not UTF-8 escaped."""
        return self.name.decode("utf-8", "backslashreplace")


@frozen(kw_only=True)
class Subkey:
    """A further key, and the signatures that bind it to the primary key.

    Attributes:
        key: The key.
        signatures: The signatures.
    """

    key: PublicKey
    signatures: tuple[Signature, ...] = field(default=(), repr=False)


@frozen(kw_only=True)
class Certificate:
    """A primary key and what belongs to it.

    Attributes:
        primary: The primary key.
        signatures: Signatures over that alone.
        user_ids: Names of the owner.
        subkeys: Further keys.
    """

    primary: PublicKey
    signatures: tuple[Signature, ...] = field(default=(), repr=False)
    user_ids: tuple[UserId, ...] = ()
    subkeys: tuple[Subkey, ...] = ()

    @property
    def fingerprint(self) -> str:
        """What names the certificate: the fingerprint of the primary key, hexadecimal in capitals."""
        return self.primary.fingerprint

    def with_all_of(self, other: Self) -> Self:
        """Return the certificate with what another copy of it has beside."""
        names = {one.name: one for one in self.user_ids}
        for name in other.user_ids:
            known = names.get(name.name, name)
            names[name.name] = evolve(known, signatures=_both(known.signatures, name.signatures))
        subkeys = {one.key: one for one in self.subkeys}
        for subkey in other.subkeys:
            bound = subkeys.get(subkey.key, subkey)
            subkeys[subkey.key] = evolve(bound, signatures=_both(bound.signatures, subkey.signatures))
        return evolve(
            self,
            signatures=_both(self.signatures, other.signatures),
            user_ids=tuple(names.values()),
            subkeys=tuple(subkeys.values()),
        )


def _both(one: tuple[Signature, ...], other: tuple[Signature, ...]) -> tuple[Signature, ...]:
    return tuple(dict.fromkeys(one + other))


def merged(certificates: Iterable[Certificate]) -> tuple[Certificate, ...]:
    """Return certificates with copies of one put together: a revocation counts in whichever copy it is."""
    found: dict[PublicKey, Certificate] = {}
    for one in certificates:
        found[one.primary] = found[one.primary].with_all_of(one) if one.primary in found else one
    return tuple(found.values())
