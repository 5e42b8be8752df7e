"""Keys and certificates that tests encrypt for: made once in a run, and what skopeo calls them."""

from __future__ import annotations

import datetime as dt
import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from ocikit.image import copy
from ocikit.image.encryption import DecryptConfig, EncryptConfig

if TYPE_CHECKING:
    from pathlib import Path

#: What the annotations of encrypted layers begin with.
ENC = "org.opencontainers.image.enc."

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
CURVES: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}


@functools.cache
def key(name: str) -> Key:
    """Return a private key: on the curve of the name, else for RSA; the same for the same name."""
    curve = CURVES.get(name.partition("/")[0])
    return ec.generate_private_key(curve) if curve else rsa.generate_private_key(65537, 2048)


def private_pem(name: str, passphrase: bytes | None = None) -> bytes:
    """Return a private key as PEM, PKCS #8."""
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key(name).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def public_pem(name: str) -> bytes:
    """Return a public key as PEM."""
    return key(name).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@functools.cache
def certificate(name: str) -> bytes:
    """Return a certificate of a key, signed by itself, as PEM."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder(
        issuer_name=subject,
        subject_name=subject,
        public_key=key(name).public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now,
        not_valid_after=now + dt.timedelta(days=36500),
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(key(name).public_key())
    return builder.add_extension(identifier, critical=False).sign(key(name), SHA256()).public_bytes(Encoding.PEM)


class Recipient(NamedTuple):
    """Somebody to encrypt for.

    Attributes:
        public: What ``--encryption-key`` of skopeo is given.
        private: What its ``--decryption-key`` is given, once for each.
    """

    public: str
    private: tuple[str, ...]


def recipient(place: Path, scheme: str, name: str = "rsa") -> Recipient:
    """Write the files of a recipient into a directory."""
    stem = name.replace("/", "-")
    files = {f"{stem}.key": private_pem(name), f"{stem}.pub": public_pem(name)}
    if scheme == "pkcs7":
        files[f"{stem}.crt"] = certificate(name)
    for file, content in files.items():
        (place / file).write_bytes(content)
    if scheme == "pkcs7":
        return Recipient(f"pkcs7:{place}/{stem}.crt", (f"{place}/{stem}.key", f"{place}/{stem}.crt"))
    return Recipient(f"jwe:{place}/{stem}.pub", (f"{place}/{stem}.key",))


def encrypting(*layers: int, public: str = "rsa", **more: Any) -> copy.CopyOptions:
    """Return options that encrypt layers, all of them when none is named."""
    config = EncryptConfig.from_public_key(public_pem(public))
    return copy.CopyOptions(oci_encrypt_config=config, oci_encrypt_layers=layers, **more)


def decrypting(config: DecryptConfig | None = None, **more: Any) -> copy.CopyOptions:
    """Return options that decrypt layers, by the key of :func:`encrypting` when none is given."""
    return copy.CopyOptions(oci_decrypt_config=config or DecryptConfig.from_private_key(private_pem("rsa")), **more)
