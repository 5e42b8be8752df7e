"""Keys and certificates: read from PEM, DER or JSON, held without ever being shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from ocikit.errors import EncryptionError
from ocikit.image.encryption import jwk
from ocikit.image.encryption.der import issuer_and_serial
from ocikit.image.given import bytes_of, in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Certificate", "JweRecipient", "PrivateKey", "read_certificate", "read_private_key", "read_recipient"]

_MOST_BYTES: Final = 64 * 1024
#: How keys are wrapped in a JWE, unless a key says another way: by the kind of the key, as ocicrypt has it.
_RSA, _EC = "RSA-OAEP", "ECDH-ES+A256KW"
#: The ways that a key may ask for, by its kind.
_MAY_ASK: Final = {
    _RSA: ("RSA-OAEP", "RSA-OAEP-256"),
    _EC: ("ECDH-ES+A128KW", "ECDH-ES+A192KW", "ECDH-ES+A256KW"),
}


@frozen(kw_only=True, eq=False)
class JweRecipient:
    """Somebody with a public key.

    Attributes:
        key: The key, as ``cryptography`` has it.
        algorithm: How keys are wrapped for it (RFC 7518 §4.1).
        key_id: What the key is called; empty for nothing.
        name: What it is called in messages: where it came from.
    """

    key: Any = field(repr=False)
    algorithm: str
    key_id: str = ""
    name: str = ""


@frozen(kw_only=True, eq=False)
class Certificate:
    """Somebody with a certificate for a key for RSA.

    Attributes:
        certificate: The certificate, as ``cryptography`` has it.
        issuer_and_serial: IssuerAndSerialNumber, DER (RFC 5652 §10.2.4).
        name: What it is called in messages: where it came from.
    """

    certificate: Any = field(repr=False)
    issuer_and_serial: bytes = field(repr=False)
    name: str = ""

    @property
    def key(self) -> Any:  # noqa: ANN401 - of cryptography
        """The public key."""
        return self.certificate.public_key()


@frozen(kw_only=True, eq=False)
class PrivateKey:
    """A private key.

    Attributes:
        key: The key, as ``cryptography`` has it.
        name: What it is called in messages: where it came from.
    """

    key: Any = field(repr=False)
    name: str

    @property
    def is_rsa(self) -> bool:
        """Whether it is one for RSA; if not, it is one for an elliptic curve."""
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415

        return isinstance(self.key, RSAPrivateKey)


def read_recipient(data: bytes, *, what: str) -> JweRecipient:
    """Read a public key.

    Args:
        data: The key: PEM or DER (SubjectPublicKeyInfo), or JSON (RFC 7517).
        what: What it is, for messages.

    Raises:
        EncryptionError: It is malformed, or of a kind that keys are not wrapped for.
    """
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - loaded when first needed
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        load_der_public_key,
        load_pem_public_key,
    )

    data = bytes_of(data, what, "from_recipients reads files")
    _check_size(data, what)
    algorithm = key_id = ""
    key: Any
    if _is_json(data):
        key, algorithm, key_id = jwk.public_key(data, what=what)
    else:
        try:
            key = load_pem_public_key(data) if _is_pem(data) else load_der_public_key(data)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise EncryptionError(
                f"{what}: expected a public key, PEM, DER or JSON, {_found(data, 'PUBLIC KEY', error)}"
            ) from error
    if isinstance(key, ec.EllipticCurvePublicKey):
        jwk.curve_of(key, what=what)
        usual = _EC
    elif isinstance(key, rsa.RSAPublicKey):
        _check_rsa(key, what)
        usual = _RSA
    else:
        raise EncryptionError(f"{what}: expected a key for RSA or an elliptic curve, found {type(key).__name__}")
    if algorithm and algorithm not in _MAY_ASK[usual]:
        raise EncryptionError(f"{what}: alg: expected {' or '.join(_MAY_ASK[usual])}, found {algorithm[:80]!r}")
    return JweRecipient(key=key, algorithm=algorithm or usual, key_id=key_id, name=what)


def read_certificate(data: bytes, *, what: str) -> Certificate:
    """Read a certificate; the first, where there are several.

    Args:
        data: The certificate, PEM or DER.
        what: What it is, for messages.

    Raises:
        EncryptionError: It is malformed, or for another key than one for RSA.
    """
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - loaded when first needed
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415
    from cryptography.x509 import load_der_x509_certificate, load_pem_x509_certificate  # noqa: PLC0415

    data = bytes_of(data, what, "from_recipients and from_keys read files")
    _check_size(data, what)
    try:
        found = load_pem_x509_certificate(data) if _is_pem(data) else load_der_x509_certificate(data)
        key, tbs = found.public_key(), found.tbs_certificate_bytes
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise EncryptionError(
            f"{what}: expected a certificate, PEM or DER, {_found(data, 'CERTIFICATE', error)}"
        ) from error
    if not isinstance(key, RSAPublicKey):
        raise EncryptionError(f"{what}: PKCS #7 takes keys for RSA, and the certificate has one of another kind")
    _check_rsa(key, what)
    return Certificate(certificate=found, issuer_and_serial=issuer_and_serial(tbs, what=what), name=what)


def read_private_key(data: bytes, passphrases: Sequence[bytes] = (), *, what: str) -> PrivateKey:
    """Read a private key.

    Args:
        data: The key: PEM or DER (PKCS #8, PKCS #1, SEC 1), or JSON (RFC 7517).
        passphrases: What it may be encrypted with; the first that fits is taken.
        what: Where it came from, for messages.

    Raises:
        EncryptionError: It is malformed, of a kind that unwraps nothing, or encrypted with another passphrase.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415 - loaded when first needed

    data = bytes_of(data, what, "from_keys reads files")
    _check_size(data, what)
    key = jwk.private_key(data, what=what) if _is_json(data) else _loaded(data, passphrases, what)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        jwk.curve_of(key, what=what)
    elif isinstance(key, rsa.RSAPrivateKey):
        _check_rsa(key, what)
    else:
        raise EncryptionError(f"{what}: expected a key for RSA or an elliptic curve, found {type(key).__name__}")
    return PrivateKey(key=key, name=what)


def _loaded(data: bytes, passphrases: Sequence[bytes], what: str) -> Any:  # noqa: ANN401 - of cryptography
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - loaded when first needed
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        load_der_private_key,
        load_pem_private_key,
    )

    load = load_pem_private_key if _is_pem(data) else load_der_private_key
    try:
        return load(data, None)
    except TypeError:
        if not passphrases:
            raise EncryptionError(f"{what}: the private key is encrypted; its passphrase is needed") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise EncryptionError(
            f"{what}: expected a private key, PEM, DER or JSON, {_found(data, 'PRIVATE KEY', error)}"
        ) from None
    for passphrase in passphrases:
        try:
            return load(data, passphrase)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            continue
    # What it was tried with is not told, and neither is what went wrong inside.
    raise EncryptionError(f"{what}: the private key is encrypted with another passphrase, or damaged") from None


def _found(data: bytes, wanted: str, error: Exception) -> str:
    """Say what is there; of PEM that says it is what was wanted, why it is not read."""
    found = in_words(data) if _is_pem(data) else "something else"
    return f"found {found}: {error}" if found.endswith(wanted) else f"found {found}"


def _check_size(data: bytes, what: str) -> None:
    if len(data) > _MOST_BYTES:
        raise EncryptionError(f"{what}: {len(data):,} bytes are no key and no certificate")


def _check_rsa(key: Any, what: str) -> None:  # noqa: ANN401 - of cryptography
    if key.key_size > jwk.MOST_RSA_BITS:
        raise EncryptionError(f"{what}: a key for RSA of {key.key_size:,} bits; at most {jwk.MOST_RSA_BITS:,} are used")


def _is_json(data: bytes) -> bool:
    return data.lstrip()[:1] == b"{"


def _is_pem(data: bytes) -> bool:
    return b"-----BEGIN" in data
