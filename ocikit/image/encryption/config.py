"""For whom layers are encrypted, and by what they are decrypted: made of keys, or of the words that skopeo takes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, Self

from attrs import evolve, field, frozen

from ocikit.errors import EncryptionError, NotSupportedError
from ocikit.image.encryption.keys import (
    Certificate,
    JweRecipient,
    PrivateKey,
    read_certificate,
    read_private_key,
    read_recipient,
)
from ocikit.image.given import check_passphrase_kind, file_name, is_content

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DecryptConfig", "EncryptConfig"]

_MOST_BYTES: Final = 64 * 1024
_MOST_PASSPHRASE_BYTES: Final = 4096
_FORMS: Final = "jwe:FILE with a public key, or pkcs7:FILE with a certificate"
#: What ocicrypt knows besides, and what is wanting for it here.
_ELSEWHERE: Final = {
    "pgp": "OpenPGP",
    "pkcs11": "keys in a PKCS #11 token",
    "provider": "key providers, which are other programs",
}


@frozen(kw_only=True, eq=False)
class DecryptConfig:
    """What decrypts layers (DecryptConfig of ocicrypt). No secret of it is ever shown.

    Attributes:
        private_keys: The private keys, tried one after the other.
        certificates: The certificates of keys for PKCS #7: they say which recipient a key is. A key that has none here
            is tried on every recipient.
    """

    private_keys: tuple[PrivateKey, ...] = ()
    certificates: tuple[Certificate, ...] = field(default=(), repr=False)

    @classmethod
    def from_private_key(cls, key: bytes, *, passphrase: bytes | str | None = None) -> Self:
        """Decrypt with a key.

        Args:
            key: The private key: PEM or DER (PKCS #8, PKCS #1, SEC 1), or JSON (RFC 7517).
            passphrase: What it is encrypted with; text is UTF-8.

        Raises:
            EncryptionError: It is malformed, of a kind that unwraps nothing, or encrypted with something else.
        """
        passphrases = () if passphrase is None else (_encoded(passphrase),)
        return cls(private_keys=(read_private_key(key, passphrases, what="private key"),))

    @classmethod
    def from_certificate(cls, certificate: bytes) -> Self:
        """Say which recipient of PKCS #7 a key is.

        Args:
            certificate: The certificate, PEM or DER.

        Raises:
            EncryptionError: It is malformed, or for another key than one for RSA.
        """
        return cls(certificates=(read_certificate(certificate, what="certificate"),))

    @classmethod
    def from_keys(cls, *keys: str | os.PathLike[str]) -> Self:
        """Read keys and certificates from files (``--decryption-key`` of skopeo).

        Args:
            keys: For each file ``FILE``, ``FILE:PASSPHRASE``, ``FILE:pass=PASSPHRASE``, ``FILE:file=FILE`` or
                ``FILE:fd=NUMBER``. ``jwe:`` and ``pkcs7:`` may stand before it, and change nothing. A path is the
                name of a file and nothing else.

        Raises:
            EncryptionError: A file holds no private key for RSA or an elliptic curve, and no certificate.
            NotSupportedError: It is for OpenPGP, PKCS #11, or a key provider.
            OSError: It cannot be read.
        """
        return cls().combined(*map(cls._from_key, keys))

    @classmethod
    def _from_key(cls, text: str | os.PathLike[str]) -> Self:
        name, separator, given = _file_and_passphrase(text)
        data = _read(name)
        _check_kind(data, name)
        certificates: tuple[Certificate, ...] = ()
        if b"-----BEGIN CERTIFICATE-----" in data or b"-----BEGIN TRUSTED CERTIFICATE-----" in data:
            certificates = (read_certificate(data, what=name),)
            if b"PRIVATE KEY-----" not in data:
                return cls(certificates=certificates)
        try:
            key = read_private_key(data, _passphrases(given) if separator else (), what=name)
        except EncryptionError:
            if b"-----BEGIN" in data or not _is_certificate(data):
                raise
            return cls(certificates=(read_certificate(data, what=name),))
        return cls(private_keys=(key,), certificates=certificates)

    def combined(self, *others: DecryptConfig) -> Self:
        """Return what decrypts with any of these keys.

        Args:
            others: The others.
        """
        together: tuple[DecryptConfig, ...] = (self, *others)
        return evolve(
            self,
            private_keys=tuple(key for one in together for key in one.private_keys),
            certificates=tuple(certificate for one in together for certificate in one.certificates),
        )


@frozen(kw_only=True, eq=False)
class EncryptConfig:
    """For whom layers are encrypted (EncryptConfig of ocicrypt). Each of the recipients can decrypt them.

    Attributes:
        jwe: The recipients with a public key.
        pkcs7: The recipients with a certificate.
        decrypt_config: What unwraps the key of a layer that is encrypted already, so that the recipients are added to
            those that it has and the layer stays as it is; None to leave such layers alone.
    """

    jwe: tuple[JweRecipient, ...] = ()
    pkcs7: tuple[Certificate, ...] = ()
    decrypt_config: DecryptConfig | None = None

    def __attrs_post_init__(self) -> None:
        if not (self.jwe or self.pkcs7):
            raise EncryptionError("expected at least one recipient: nobody could decrypt what is encrypted for none")

    @classmethod
    def from_public_key(cls, key: bytes) -> Self:
        """Encrypt for somebody with a public key: the layer's key goes into a JWE.

        Args:
            key: The public key for RSA or on the curve P-256, P-384 or P-521: PEM or DER (SubjectPublicKeyInfo), or
                JSON (RFC 7517), whose ``alg`` is followed.

        Raises:
            EncryptionError: It is malformed, or of another kind.
        """
        return cls(jwe=(read_recipient(key, what="public key"),))

    @classmethod
    def from_certificate(cls, certificate: bytes) -> Self:
        """Encrypt for somebody with a certificate: the layer's key goes into PKCS #7.

        Args:
            certificate: The certificate of a key for RSA, PEM or DER. It is not verified: whoever names it trusts it.

        Raises:
            EncryptionError: It is malformed, or for another key.
        """
        return cls(pkcs7=(read_certificate(certificate, what="certificate"),))

    @classmethod
    def from_recipients(cls, *recipients: str, decrypt_config: DecryptConfig | None = None) -> Self:
        """Read the keys of recipients from files (``--encryption-key`` of skopeo).

        Args:
            recipients: ``jwe:FILE`` with a public key, or ``pkcs7:FILE`` with a certificate.
            decrypt_config: See :attr:`decrypt_config`.

        Raises:
            EncryptionError: There is none, one is in another form, or a file holds something else.
            NotSupportedError: One is for OpenPGP, PKCS #11, or a key provider.
            OSError: A file cannot be read.
        """
        jwe, pkcs7 = [], []
        for text in recipients:
            if not isinstance(text, str):
                raise TypeError(f"a recipient is text, {_FORMS}; found {type(text).__name__}")
            scheme, separator, name = text.partition(":")
            if separator and scheme in _ELSEWHERE:
                _refuse(scheme)
            if not separator or scheme not in {"jwe", "pkcs7"}:
                # What follows may be a passphrase, when one function was taken for the other.
                found = "PEM" if is_content(scheme) else repr(scheme[:200])
                where = "before the colon" if separator else "and no colon"
                raise EncryptionError(f"expected {_FORMS}, found {found} {where}")
            if scheme == "jwe":
                jwe.append(read_recipient(_read(name), what=name))
            else:
                pkcs7.append(read_certificate(_read(name), what=name))
        return cls(jwe=tuple(jwe), pkcs7=tuple(pkcs7), decrypt_config=decrypt_config)

    def combined(self, *others: EncryptConfig) -> Self:
        """Return what encrypts for the recipients of these, too.

        Args:
            others: The others; what they decrypt with goes along.
        """
        together: tuple[EncryptConfig, ...] = (self, *others)
        decrypting = [one.decrypt_config for one in together if one.decrypt_config is not None]
        return evolve(
            self,
            jwe=tuple(recipient for one in together for recipient in one.jwe),
            pkcs7=tuple(recipient for one in together for recipient in one.pkcs7),
            decrypt_config=decrypting[0].combined(*decrypting[1:]) if decrypting else None,
        )

    @property
    def count(self) -> int:
        """How many recipients there are."""
        return len(self.jwe) + len(self.pkcs7)


def _file_and_passphrase(key: str | os.PathLike[str]) -> tuple[str, str, str]:
    """Return the name of a file, and what says its passphrase, with the colon between them."""
    if not isinstance(key, str):
        return file_name(key, "a key for decryption", error=EncryptionError), "", ""
    scheme, separator, rest = key.partition(":")
    if separator and scheme in _ELSEWHERE:
        _refuse(scheme)
    return (rest if separator and scheme in {"jwe", "pkcs7"} else key).partition(":")


def _refuse(scheme: str) -> NoReturn:
    raise NotSupportedError(
        f"{scheme}: layers are not encrypted or decrypted by {_ELSEWHERE[scheme]} here; expected {_FORMS}"
    )


def _check_kind(data: bytes, name: str) -> None:
    if b"-----BEGIN PGP" in data:
        _refuse("pgp")
    if b"pkcs11:" in data[:_MOST_BYTES] and b"-----BEGIN" not in data:
        _refuse("pkcs11")
    if b"PUBLIC KEY-----" in data and b"PRIVATE KEY-----" not in data:
        raise EncryptionError(f"{name}: expected a private key or a certificate, found a public key")


def _is_certificate(data: bytes) -> bool:
    try:
        read_certificate(data, what="")
    except EncryptionError:
        return False
    return True


def _passphrases(given: str) -> tuple[bytes, ...]:
    """Return what a passphrase may be; a file with one often ends with the end of a line that is no part of it."""
    kind, separator, value = given.partition("=")
    read = _PASSPHRASES.get(kind) if separator else None
    if read is None:
        return (_given(given),)
    passphrase = read(value)
    return tuple(dict.fromkeys((passphrase, passphrase.removesuffix(b"\n").removesuffix(b"\r"))))


def _encoded(passphrase: bytes | str) -> bytes:
    check_passphrase_kind(passphrase)
    return _given(passphrase) if isinstance(passphrase, str) else passphrase


def _given(value: str) -> bytes:
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # Without its cause, which has the passphrase in it.
        raise EncryptionError("the passphrase has characters in it that are none") from None


def _from_fd(value: str) -> bytes:
    if not value.isascii() or not value.isdigit():
        raise EncryptionError("fd=: expected the number of a file descriptor with a passphrase")
    with os.fdopen(os.dup(int(value)), "rb") as stream:
        return _bounded(stream.read(_MOST_PASSPHRASE_BYTES + 1), _MOST_PASSPHRASE_BYTES, "a passphrase")


_PASSPHRASES: Final[dict[str, Callable[[str], bytes]]] = {
    "pass": _given,
    "file": lambda value: _read(value, _MOST_PASSPHRASE_BYTES, "a passphrase"),
    "fd": _from_fd,
}


def _read(name: str, most: int = _MOST_BYTES, what: str = "a key or a certificate") -> bytes:
    with Path(file_name(name, what, error=EncryptionError)).open("rb") as stream:
        return _bounded(stream.read(most + 1), most, f"{name}: {what}")


def _bounded(data: bytes, most: int, what: str) -> bytes:
    if len(data) > most:
        raise EncryptionError(f"{what} has at most {most:,} bytes, and there are more")
    return data
