"""Certificates: a primary key, and what it says of itself, of its owner and of further keys (RFC 9580 §10.1).

Only data, unverified: :mod:`.validity` decides what of it holds at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

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


def merged(certificates: Iterable[Certificate]) -> tuple[Certificate, ...]:
    """Return certificates with copies of one put together: a revocation counts in whichever copy it is."""
    found: dict[PublicKey, list[Certificate]] = {}
    for one in certificates:
        found.setdefault(one.primary, []).append(one)
    return tuple(_together(copies) if len(copies) > 1 else copies[0] for copies in found.values())


def _together(copies: list[Certificate]) -> Certificate:
    """Put copies of a certificate together, all at once: a keyring may have tens of thousands."""
    names: dict[bytes, list[UserId]] = {}
    subkeys: dict[PublicKey, list[Subkey]] = {}
    for one in copies:
        for name in one.user_ids:
            names.setdefault(name.name, []).append(name)
        for subkey in one.subkeys:
            subkeys.setdefault(subkey.key, []).append(subkey)
    return Certificate(
        primary=copies[0].primary,
        signatures=_all_of(copies),
        user_ids=tuple(UserId(name=name, signatures=_all_of(same)) for name, same in names.items()),
        subkeys=tuple(Subkey(key=key, signatures=_all_of(same)) for key, same in subkeys.items()),
    )


def _all_of(parts: Iterable[Certificate | UserId | Subkey]) -> tuple[Signature, ...]:
    return tuple(dict.fromkeys(signature for part in parts for signature in part.signatures))
