"""Keyrings: certificates as files have them (RFC 9580 §10.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

from attrs import field, frozen

from ocikit.errors import InvalidSignatureError, LimitExceededError
from ocikit.image.given import bytes_of
from ocikit.image.signature.openpgp.armor import armored_blocks, is_armored
from ocikit.image.signature.openpgp.certificate import Certificate, Subkey, UserId, merged
from ocikit.image.signature.openpgp.keys import PublicKey
from ocikit.image.signature.openpgp.packets import Packet, Tag, read_packets
from ocikit.image.signature.openpgp.signatures import Kind, read_signature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ocikit.image.signature.openpgp.signatures import Signature

__all__ = ["Keyring"]

_MOST_BYTES: Final = 16 * 1024 * 1024
_MOST_PACKETS: Final = 100_000
# How many signatures are kept over one key or name: each may have to be verified.
_MOST_SIGNATURES: Final = 256
_PUBLIC_KEYS: Final = "PUBLIC KEY BLOCK"
_OVER_PRIMARY: Final = frozenset({Kind.DIRECT_KEY, Kind.KEY_REVOCATION})
# What GnuPG 2.1 and later keeps keys in by itself: the header of a keybox has this from byte 8 on.
_KEYBOX: Final = b"KBXf"


@frozen(kw_only=True)
class Keyring:
    """Certificates whose signatures are accepted.

    Attributes:
        certificates: The certificates, in the order of the file, each once.
        ignored: What is in the file and was not understood, in words: keys of versions that are not known.
    """

    certificates: tuple[Certificate, ...] = ()
    ignored: tuple[str, ...] = ()

    @classmethod
    def read(cls, data: bytes, *, what: str) -> Self:
        """Read certificates, one after the other, binary or armored, as ``gpg --export`` and ``pubring.gpg`` have them.

        Packets that have no meaning here are skipped; copies of one certificate are put together. Nothing is
        verified: that is done when a signature is.

        Args:
            data: The certificates.
            what: What they are, for messages.

        Raises:
            InvalidSignatureError: There is no certificate in it, or it is malformed, or a secret key.
            LimitExceededError: It is larger than 16 MiB, or has more than 256 signatures over one key or name.
            TypeError: Something is given that is no bytes.
        """
        data = bytes_of(data, what, "read the file first")
        if len(data) > _MOST_BYTES:
            raise LimitExceededError(f"{what}: bytes of a keyring", _MOST_BYTES, len(data))
        if data[8:12] == _KEYBOX:
            raise InvalidSignatureError(f"{what}: is a keybox, GnuPG's own; expected what gpg --export writes")
        if not data or (data[0] < 0x80 and not is_armored(data)):
            raise InvalidSignatureError(f"{what}: expected keys of OpenPGP, binary or armored, found neither")
        blocks = [data] if data[0] >= 0x80 else armored_blocks(data, _PUBLIC_KEYS, what=what)
        collector = _Collector(what)
        for block in blocks:
            collector.collect(read_packets(block, what=what, most=_MOST_PACKETS))
        if not collector.certificates:
            raise InvalidSignatureError("; ".join([f"{what}: has no public key", *collector.ignored]))
        return cls(certificates=merged(collector.certificates), ignored=tuple(collector.ignored))

    @classmethod
    def joined(cls, keyrings: Iterable[Self]) -> Self:
        """Return one keyring with everything that several have; a revocation in one of them counts."""
        rings = [*keyrings]
        return cls(
            certificates=merged(one for ring in rings for one in ring.certificates),
            ignored=tuple(line for ring in rings for line in ring.ignored),
        )


@frozen(kw_only=True)
class _Open:
    """What signatures are read for at the moment: the room for them, and how they are closed."""

    kind: type[Any]
    content: dict[str, Any] = field(factory=dict)
    signatures: list[Signature] = field(factory=list)


class _Collector:
    """Puts packets together to certificates."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.certificates: list[Certificate] = []
        self.ignored: list[str] = []
        # The primary key with what is over it, then names and subkeys; empty before the first key that is known.
        self._open: list[_Open] = []
        # Signatures over something that is not known belong to nothing.
        self._skipping = True

    def collect(self, packets: Iterable[Packet]) -> None:
        """Take packets in to the end of their block."""
        for packet in packets:
            handler = _HANDLERS.get(packet.tag)
            if handler is not None:
                handler(self, packet)
        self._close()

    def _close(self) -> None:
        if self._open:
            made = [one.kind(**one.content, signatures=tuple(one.signatures)) for one in self._open[1:]]
            primary = self._open[0]
            self.certificates.append(
                Certificate(
                    **primary.content,
                    signatures=tuple(primary.signatures),
                    user_ids=tuple(one for one in made if isinstance(one, UserId)),
                    subkeys=tuple(one for one in made if isinstance(one, Subkey)),
                )
            )
        self._open = []
        self._skipping = True

    def primary(self, packet: Packet) -> None:
        """Begin a certificate."""
        self._close()
        self._key(packet, Certificate, "primary")

    def subkey(self, packet: Packet) -> None:
        """Add a subkey to the certificate."""
        self._skipping = True
        if self._open:
            self._key(packet, Subkey, "key")

    def _key(self, packet: Packet, kind: type[Any], name: str) -> None:
        try:
            key = PublicKey.read(packet.body)
        except InvalidSignatureError as error:
            if len(self.ignored) < _MOST_SIGNATURES:
                self.ignored.append(str(error))
            return
        self._open.append(_Open(kind=kind, content={name: key}))
        self._skipping = False

    def user_id(self, packet: Packet) -> None:
        """Add a name to the certificate."""
        if self._open:
            self._open.append(_Open(kind=UserId, content={"name": packet.body}))
            self._skipping = False

    def user_attribute(self, packet: Packet) -> None:
        """Leave out a picture, and the signatures over it."""
        del packet
        self._skipping = True

    def signature(self, packet: Packet) -> None:
        """Add a signature to what comes before it, unless it is one of somebody else, or not understood."""
        if not self._open:
            return
        try:
            signature = read_signature(packet.body)
        except InvalidSignatureError:
            return  # of a version or with a hash that is not known: it proves nothing, and harms nothing
        # What is over the primary key alone counts wherever it is: a revocation at the end is one, too.
        if self._skipping and signature.kind not in _OVER_PRIMARY:
            return
        over = self._open[0] if signature.kind in _OVER_PRIMARY else self._open[-1]
        # Of others, only what may revoke the whole certificate can matter.
        if signature.kind != Kind.KEY_REVOCATION and not signature.may_be_by(self._open[0].content["primary"]):
            return
        if len(over.signatures) >= _MOST_SIGNATURES:
            raise LimitExceededError(f"{self.what}: signatures over one key or name", _MOST_SIGNATURES)
        over.signatures.append(signature)

    def secret(self, packet: Packet) -> None:
        """Refuse a secret key, which has no business where signatures are verified.

        Raises:
            InvalidSignatureError: Always.
        """
        del packet
        raise InvalidSignatureError(f"{self.what}: has a secret key; expected public ones, as gpg --export writes them")

    def foreign(self, packet: Packet) -> None:
        """Refuse a message.

        Raises:
            InvalidSignatureError: Always.
        """
        raise InvalidSignatureError(f"{self.what}: has a packet with the tag {packet.tag}, which is one of a message")


_HANDLERS: Final[dict[int, Callable[[_Collector, Packet], None]]] = {
    Tag.PUBLIC_KEY: _Collector.primary,
    Tag.PUBLIC_SUBKEY: _Collector.subkey,
    Tag.USER_ID: _Collector.user_id,
    Tag.USER_ATTRIBUTE: _Collector.user_attribute,
    Tag.SIGNATURE: _Collector.signature,
    Tag.SECRET_KEY: _Collector.secret,
    Tag.SECRET_SUBKEY: _Collector.secret,
    Tag.LITERAL: _Collector.foreign,
    Tag.COMPRESSED: _Collector.foreign,
    Tag.ONE_PASS_SIGNATURE: _Collector.foreign,
    Tag.ENCRYPTED_SESSION_KEY: _Collector.foreign,
    Tag.PASSWORD_SESSION_KEY: _Collector.foreign,
    Tag.ENCRYPTED: _Collector.foreign,
    Tag.ENCRYPTED_PROTECTED: _Collector.foreign,
    Tag.ENCRYPTED_AEAD: _Collector.foreign,
}
