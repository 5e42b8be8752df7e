"""Private keys: made, read from files, written to files, and signed with.

A key signs as its public half verifies (:mod:`.keys`): ECDSA, RSA (PKCS #1 v1.5) and Ed25519, with SHA-256.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Self

from attrs import field, frozen

from ocikit.errors import SigningError
from ocikit.image.given import file_name, pem_bytes
from ocikit.image.signature.sigstore.key_files import (
    MAX_KEY_FILE_BYTES,
    PLAIN,
    decrypt_pkcs8,
    encrypt_pkcs8,
    passphrase_bytes,
    read_pem,
)
from ocikit.image.signature.sigstore.keys import PublicKey

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

__all__ = ["KeyKind", "KeyPair", "PrivateKey", "SigningKey", "check_signing_key", "generate_key_pair"]

#: The kinds of key that can be made.
KeyKind = Literal["ecdsa", "rsa", "ed25519"]

# The sizes of keys that can be made, in bits, the usual one first: specification of sigstore's signatures, "signature
# schemes".
_SIZES: Final[dict[str, tuple[int, ...]]] = {"ecdsa": (256, 384, 521), "rsa": (3072, 2048, 4096), "ed25519": (256,)}
_CURVES: Final = {256: "SECP256R1", 384: "SECP384R1", 521: "SECP521R1"}
# Smaller keys prove little; to check a larger one whole takes long.
_RSA_BITS: Final = (2048, 8192)
# PKCS #8 (RFC 5208 §5, RFC 5958 §2): a version, then the algorithm, a sequence. The older forms, one for each kind of
# key, have a number or a string there.
_PKCS8: Final = re.compile(rb"\x30(?:[\x00-\x7f]|\x81.|\x82..)\x02\x01[\x00\x01]\x30", re.DOTALL)


class SigningKey(Protocol):
    """What signs with one key: a :class:`PrivateKey`, or a key that is elsewhere, in a vault or on a card, say."""

    @property
    def public_key(self) -> PublicKey:
        """The public half."""

    def sign(self, data: bytes) -> bytes:
        """Sign some bytes; of ECDSA, with SHA-256, return DER; of RSA, PKCS #1 v1.5 with SHA-256."""


def check_signing_key(key: object) -> None:
    """Return when a key is one that signs (:class:`SigningKey`).

    Raises:
        TypeError: It is something else: the name of a file, a key of ``cryptography``.
    """
    if not isinstance(getattr(key, "public_key", None), PublicKey) or not callable(getattr(key, "sign", None)):
        raise TypeError(
            f"expected a PrivateKey to sign with, found {type(key).__name__}; from_private_key_file takes a file, "
            "PrivateKey(key) a key of cryptography"
        )


class PrivateKey:
    """A private key of a kind that sigstore signs with. Nothing that is shown of it is a secret.

    Args:
        key: The key as ``cryptography`` has it.

    Raises:
        SigningError: It is of another kind, or of a size that is not signed with.
    """

    def __init__(self, key: object) -> None:
        self._key: Any = _checked(key)

    @classmethod
    def generate(cls, kind: KeyKind = "ecdsa", *, size: int | None = None) -> Self:
        """Make a key.

        Args:
            kind: Its kind; every program knows ECDSA.
            size: Its size in bits: of ECDSA 256, 384 or 521, of RSA 2048, 3072 or 4096; None for the usual one.

        Raises:
            SigningError: There are no such keys.
        """
        sizes = _SIZES.get(kind)
        if sizes is None:
            raise SigningError(f"there are no keys of the kind {kind!r}; expected one of {', '.join(_SIZES)}")
        size = sizes[0] if size is None else size
        if size not in sizes:
            known = ", ".join(map(str, sorted(sizes)))
            raise SigningError(f"no key of the kind {kind} is made with {size} bits; expected one of {known}")
        return cls(_MAKERS[kind](size))

    @classmethod
    def read(cls, pem: bytes | str, passphrase: bytes | str | None, *, what: str) -> Self:
        """Read a key: a file of cosign, containers/image or ocikit, or PKCS #8 that is not encrypted.

        Keys that PKCS #8 itself encrypts are refused: such a file says how long it takes to decrypt, without a bound.

        Args:
            pem: The file.
            passphrase: What it is encrypted by; None for a key that is not encrypted.
            what: What it is, for messages.

        Raises:
            SigningError: The passphrase is another, or the file is damaged or of another kind.
            TypeError: Something is given that is no PEM, or no passphrase.
        """
        label, content = read_pem(pem_bytes(pem, what, "read_file reads files"), what=what)
        if label == PLAIN and passphrase is not None:
            raise SigningError(f"{what}: there is a passphrase, and the key is not encrypted")
        if label != PLAIN and passphrase is None:
            raise SigningError(f"{what}: the key is encrypted, and there is no passphrase")
        if passphrase is not None:
            content = decrypt_pkcs8(content, passphrase_bytes(passphrase), what=what)
        return cls._from_pkcs8(content, what)

    @classmethod
    def read_file(cls, path: str | os.PathLike[str], passphrase: bytes | str | None) -> Self:
        """Read a key from a file.

        Args:
            path: The file.
            passphrase: As for :meth:`read`.

        Raises:
            SigningError: It cannot be opened or read; or as :meth:`read`.
        """
        name = file_name(path, "private key", error=SigningError)
        try:
            with open(name, "rb") as file:
                pem = file.read(MAX_KEY_FILE_BYTES + 1)
        except OSError as error:
            raise SigningError(f"private key {name}: cannot be read: {error.strerror}") from error
        return cls.read(pem, passphrase, what=f"private key {name}")

    @classmethod
    def _from_pkcs8(cls, der: bytes, what: str) -> Self:
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - loaded when first needed
        from cryptography.hazmat.primitives.serialization import load_der_private_key  # noqa: PLC0415

        if not _PKCS8.match(der):
            raise SigningError(f"{what}: expected a private key, PKCS #8")
        try:
            # What it costs to check a key grows with it, so its size is looked at before.
            _checked(load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True))
            return cls(load_der_private_key(der, None))
        except SigningError as error:
            raise SigningError(f"{what}: {error}") from error
        except (ValueError, TypeError, OverflowError, UnsupportedAlgorithm) as error:
            raise SigningError(f"{what}: expected a private key for ECDSA, RSA or Ed25519: {error}") from error

    @cached_property
    def public_key(self) -> PublicKey:
        """The public half, which verifies what this key signs."""
        return PublicKey(self._key.public_key())

    def to_encrypted_pem(self, passphrase: bytes | str) -> bytes:
        """Write the key as a file that cosign, containers/image and ocikit read.

        Args:
            passphrase: What it is encrypted by; an empty one protects nothing.

        Raises:
            SigningError: The passphrase is text that has no UTF-8.
        """
        from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - loaded when first needed
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        pkcs8 = self._key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return encrypt_pkcs8(pkcs8, passphrase_bytes(passphrase))

    def sign(self, data: bytes) -> bytes:
        """Sign some bytes.

        Args:
            data: The bytes.

        Returns:
            The signature; of ECDSA, DER.
        """
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415

        signature: bytes
        if isinstance(self._key, EllipticCurvePrivateKey):
            signature = self._key.sign(data, ECDSA(SHA256()))
        elif isinstance(self._key, RSAPrivateKey):
            signature = self._key.sign(data, PKCS1v15(), SHA256())
        else:
            signature = self._key.sign(data)
        return signature

    def __repr__(self) -> str:
        return f"PrivateKey(public_key={self.public_key})"


@frozen(kw_only=True)
class KeyPair:
    """A new key as two files.

    Attributes:
        private_pem: The private key, encrypted: :meth:`PrivateKey.read`.
        public_pem: The public key, PEM: what a policy names as its ``keyPath``.
    """

    private_pem: bytes = field(repr=False)
    public_pem: bytes


def generate_key_pair(passphrase: bytes | str, kind: KeyKind = "ecdsa", *, size: int | None = None) -> KeyPair:
    """Make a key to sign images with, as files.

    Args:
        passphrase: What the private key is encrypted by.
        kind: As for :meth:`PrivateKey.generate`.
        size: Likewise.

    Raises:
        SigningError: There are no such keys, or the passphrase is text that has no UTF-8.
    """
    key = PrivateKey.generate(kind, size=size)
    return KeyPair(private_pem=key.to_encrypted_pem(passphrase), public_pem=key.public_key.pem)


def _ecdsa(size: int) -> object:
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - loaded when first needed

    return ec.generate_private_key(getattr(ec, _CURVES[size])())


def _rsa(size: int) -> object:
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415 - loaded when first needed

    return rsa.generate_private_key(public_exponent=65537, key_size=size)


def _ed25519(size: int) -> object:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    del size
    return Ed25519PrivateKey.generate()


_MAKERS: Final[dict[KeyKind, Callable[[int], object]]] = {"ecdsa": _ecdsa, "rsa": _rsa, "ed25519": _ed25519}


def _checked(key: object) -> object:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415

    if isinstance(key, EllipticCurvePrivateKey):
        if key.curve.name.upper() not in _CURVES.values():
            raise SigningError(f"a key for ECDSA over {key.curve.name}; expected P-256, P-384 or P-521")
    elif isinstance(key, RSAPrivateKey):
        least, most = _RSA_BITS
        if not least <= key.key_size <= most:
            raise SigningError(f"a key for RSA of {key.key_size:,} bits; expected {least:,} to {most:,}")
    elif not isinstance(key, Ed25519PrivateKey):
        raise SigningError(f"a key of the kind {type(key).__name__}; expected ECDSA, RSA or Ed25519")
    return key
