"""Authorities, signers' certificates and transparency logs, made at run time, right or wrong in any way.

    root = Authority.root()
    signer = root.issue(emails=["a@example.com"], identity_provider="https://idp.example.com")
    log = Log()
    bundle = log.bundle(log.hashedrekord(signer.pem, signer.sign(b"payload"), b"payload"))

Certificates are valid around :data:`NOW`, which is when logs take in their entries, too.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import ipaddress
import json
from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ocikit.image.signature.sigstore.keys import PublicKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

#: When everything happens.
NOW = dt.datetime(2024, 6, 1, 12, 0, 0, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)
YEAR = dt.timedelta(days=365)

CODE_SIGNING = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.3")
SERVER = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.1")
ANY_PURPOSE = x509.ObjectIdentifier("2.5.29.37.0")
ISSUER = "1.3.6.1.4.1.57264.1.1"
ISSUER_V2 = "1.3.6.1.4.1.57264.1.8"


def new_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    """Make a private key for ECDSA, on P-256 when nothing else is asked for."""
    return ec.generate_private_key(curve or ec.SECP256R1())


def sign(key: Any, data: bytes) -> bytes:
    """Sign as sigstore does, with a key of any kind."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(SHA256()))
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), SHA256())
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    return key.sign(data)


def public_pem(key: Any) -> bytes:
    """Return the public half of a key, PEM."""
    written: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return written


def named(name: str) -> x509.Name:
    """Return the name of a subject; the empty one has none, as Fulcio's."""
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)] if name else [])


def extension(oid: str, value: bytes) -> x509.UnrecognizedExtension:
    """Return an extension with any content."""
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)


def utf8_string(text: str) -> bytes:
    """Write text as a UTF8String, DER."""
    return der(0x0C, text.encode())


def key_usage(*allowed: str) -> x509.KeyUsage:
    """Return a key usage that allows what is named."""
    names = "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign"
    flags = (*names.split(), "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{one: one in allowed for one in flags})


@frozen(kw_only=True)
class Certified:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: Any = field(repr=False)

    @property
    def pem(self) -> bytes:
        """The certificate, PEM."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def text(self) -> str:
        """The certificate, PEM, as text."""
        return self.pem.decode()

    @property
    def public_key(self) -> PublicKey:
        """The public key in it."""
        return PublicKey(self.key.public_key())

    def sign(self, payload: bytes) -> bytes:
        """Sign with its private key."""
        return sign(self.key, payload)

    def remade(
        self,
        change: Callable[[list[bytes]], None],
        signed: Callable[[bytes], bytes],
        *,
        algorithm: bytes | None = None,
    ) -> Unchecked:
        """Make what no builder makes: the certificate with the elements of its content changed, and signed anew.

        The elements are version, serial number, algorithm, issuer, validity, subject, key and extensions.
        """
        content, said, _ = elements(self.certificate.public_bytes(Encoding.DER), inside=1)
        parts = elements(content, inside=1)
        parts[2] = algorithm or said
        change(parts)
        content = der(0x30, *parts)
        made = der(0x30, content, algorithm or said, der(0x03, b"\0" + signed(content)))
        return Unchecked(der=made, certificate=self.certificate, key=self.key)


@frozen(kw_only=True)
class Unchecked(Certified):
    """A certificate that nobody has read, made of another one."""

    der: bytes

    @property
    def pem(self) -> bytes:
        """The certificate, PEM."""
        return pem("CERTIFICATE", self.der)


@frozen(kw_only=True)
class Authority(Certified):
    """An authority, of its own or below another one."""

    @classmethod
    def root(cls, name: str = "root", **options: Any) -> Authority:
        """Make one; the options are those of :func:`make_certificate`."""
        return cls._made(make_certificate(name, None, **{"ca": True, **options}))

    def below(self, name: str = "between", **options: Any) -> Authority:
        """Make an authority below this one."""
        return self._made(make_certificate(name, self, **{"ca": True, **options}))

    def issue(self, name: str = "", **options: Any) -> Certified:
        """Make the certificate of a signer, for signing code unless something else is said."""
        return make_certificate(name, self, **{"purposes": (CODE_SIGNING,), **options})

    @classmethod
    def _made(cls, made: Certified) -> Authority:
        return cls(certificate=made.certificate, key=made.key)


def make_certificate(
    name: str,
    issuer: Certified | None,
    *,
    key: Any = None,
    ca: bool | None = None,
    path_length: int | None = None,
    usage: x509.KeyUsage | None = None,
    purposes: Iterable[x509.ObjectIdentifier] | None = None,
    emails: Iterable[str] = (),
    hosts: Iterable[str] = (),
    addresses: Iterable[str] = (),
    uris: Iterable[str] = (),
    names: Iterable[x509.GeneralName] = (),
    identity_provider: str | None = None,
    constraints: x509.NameConstraints | None = None,
    extensions: Iterable[x509.ExtensionType] = (),
    critical: Iterable[x509.ExtensionType] = (),
    begins: dt.datetime | None = None,
    ends: dt.datetime | None = None,
    hash_algorithm: SHA256 | SHA384 | SHA512 | None = None,
    issuer_name: str | None = None,
) -> Certified:
    """Make a certificate; without an issuer it issues itself. What is not asked for is left out."""
    key = key or new_key()
    signer = key if issuer is None else issuer.key
    above = named(name) if issuer is None else issuer.certificate.subject
    life = YEAR if ca else 5 * MINUTE
    builder = x509.CertificateBuilder(above if issuer_name is None else named(issuer_name), named(name))
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(begins or NOW - life).not_valid_after(ends or NOW + life)
    alternative = [
        *map(x509.RFC822Name, emails),
        *map(x509.DNSName, hosts),
        *(x509.IPAddress(ipaddress.ip_address(one)) for one in addresses),
        *map(x509.UniformResourceIdentifier, uris),
        *names,
    ]
    wanted: list[tuple[x509.ExtensionType | None, bool]] = [
        (None if ca is None else x509.BasicConstraints(ca=ca, path_length=path_length), True),
        (usage, True),
        (None if purposes is None else x509.ExtendedKeyUsage([*purposes]), False),
        (x509.SubjectAlternativeName(alternative) if alternative else None, not name),
        (extension(ISSUER, identity_provider.encode()) if identity_provider else None, False),
        (constraints, True),
        *((one, False) for one in extensions),
        *((one, True) for one in critical),
    ]
    for one, is_critical in wanted:
        if one is not None:
            builder = builder.add_extension(one, critical=is_critical)
    ed = isinstance(signer, ed25519.Ed25519PrivateKey)
    return Certified(certificate=builder.sign(signer, None if ed else hash_algorithm or SHA256()), key=key)


# ---------------------------------------------------------------------------------------------------------------- DER


def der(tag: int, *content: bytes) -> bytes:
    """Write one element of DER."""
    data = b"".join(content)
    size = len(data)
    if size < 0x80:
        return bytes([tag, size]) + data
    octets = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(octets)]) + octets + data


def elements(data: bytes, *, inside: int = 0) -> list[bytes]:
    """Take DER apart: the elements one after the other, or those in the first one, so many levels down."""
    found = []
    while data:
        size, head = data[1], 2
        if size & 0x80:
            head += size & 0x7F
            size = int.from_bytes(data[2:head])
        if inside:
            return elements(data[head : head + size], inside=inside - 1)
        found.append(data[: head + size])
        data = data[head + size :]
    return found


def pem(label: str, content: bytes) -> bytes:
    """Write PEM of anything."""
    text = base64.encodebytes(content).decode()
    return f"-----BEGIN {label}-----\n{text}-----END {label}-----\n".encode()


# --------------------------------------------------------------------------------------------------------------- logs


def hashedrekord(verifier_pem: bytes, signature: bytes, payload: bytes) -> dict[str, Any]:
    """Return the entry of a log about a signature over a payload, to be changed at will."""
    return {
        "apiVersion": "0.0.1",
        "kind": "hashedrekord",
        "spec": {
            "data": {"hash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()}},
            "signature": {
                "content": base64.b64encode(signature).decode(),
                "publicKey": {"content": base64.b64encode(verifier_pem).decode()},
            },
        },
    }


class Log:
    """A transparency log (Rekor): promises about entries, and a tree of them (RFC 6962 §2.1) with its proofs.

    Args:
        key: The private key of the log; a new one when there is none.
        origin: What the log calls itself in checkpoints.
    """

    def __init__(self, key: Any = None, *, origin: str = "log.example.com - 1") -> None:
        self.key = key or new_key()
        self.origin = origin
        self.leaves: list[bytes] = []

    @property
    def public_key(self) -> PublicKey:
        """The public key."""
        return PublicKey(self.key.public_key())

    @property
    def log_id(self) -> str:
        """What the log is called in its promises."""
        return self.public_key.fingerprint

    @staticmethod
    def hashedrekord(verifier_pem: bytes, signature: bytes, payload: bytes) -> bytes:
        """Return the entry about a signature over a payload, as the log writes it."""
        return compact(hashedrekord(verifier_pem, signature, payload))

    def payload(
        self, body: bytes, *, at: dt.datetime = NOW, index: int = 7, log_id: str | None = None
    ) -> dict[str, Any]:
        """Return what the log promises about an entry."""
        return {
            "body": base64.b64encode(body).decode(),
            "integratedTime": int(at.timestamp()),
            "logID": log_id or self.log_id,
            "logIndex": index,
        }

    def bundle(self, body: bytes, **options: Any) -> str:
        """Return the annotation of a signature about an entry; the options are those of :meth:`payload`."""
        return self.bundle_of(self.payload(body, **options))

    def bundle_of(self, payload: dict[str, Any]) -> str:
        """Return the annotation for any promise, signed."""
        return json.dumps({"SignedEntryTimestamp": self.promise(payload), "Payload": payload})

    def promise(self, payload: dict[str, Any]) -> str:
        """Sign a promise; return the signature, base64."""
        return base64.b64encode(sign(self.key, compact(payload))).decode()

    def add(self, body: bytes) -> int:
        """Add an entry to the tree; return its number."""
        self.leaves.append(hashlib.sha256(b"\0" + body).digest())
        return len(self.leaves) - 1

    def root_hash(self, size: int | None = None) -> bytes:
        """Return the hash of the tree, or of its first entries."""
        return tree_hash(self.leaves[:size])

    def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """Return the hashes that prove that an entry is in the tree (RFC 6962 §2.1.1)."""
        return audit_path(index, self.leaves[:size])

    def checkpoint(self, size: int | None = None, *, origin: str | None = None, extra: Sequence[str] = ()) -> str:
        """Return a signed note about the tree, or about its first entries."""
        origin = origin or self.origin
        size = len(self.leaves) if size is None else size
        root = base64.b64encode(self.root_hash(size)).decode()
        note = "".join(f"{line}\n" for line in (origin, size, root, *extra))
        hint = bytes.fromhex(self.log_id)[:4]
        signature = base64.b64encode(hint + sign(self.key, note.encode())).decode()
        return f"{note}\n\u2014 {origin} {signature}\n"


def compact(document: Any) -> bytes:
    """Write JSON in the one form of RFC 8785, as far as ASCII and whole numbers go."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def tree_hash(leaves: Sequence[bytes]) -> bytes:
    """Return the hash of a tree over hashes of leaves (RFC 6962 §2.1)."""
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    middle = split(len(leaves))
    return hashlib.sha256(b"\1" + tree_hash(leaves[:middle]) + tree_hash(leaves[middle:])).digest()


def audit_path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Return the hashes beside the way from a leaf to the root, from below (RFC 6962 §2.1.1)."""
    if len(leaves) < 2:
        return []
    middle = split(len(leaves))
    if index < middle:
        return [*audit_path(index, leaves[:middle]), tree_hash(leaves[middle:])]
    return [*audit_path(index - middle, leaves[middle:]), tree_hash(leaves[:middle])]


def split(size: int) -> int:
    """Return the largest power of two below a size."""
    return 1 << (size - 1).bit_length() - 1
