"""Certificates made when they are needed: an authority, what it signs for a server, and for a client."""

from __future__ import annotations

import ipaddress
import os
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from ocikit.errors import MissingDependencyError, SystemCallError
from ocikit.testing.options import TLSFiles

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Sequence

__all__ = ["TLS", "MadeFiles", "server_context"]


def _hosts(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


@frozen(kw_only=True)
class TLS:
    """Certificates that are made when the registry is, and gone with it.

    Attributes:
        hosts: The names and addresses that the certificate is for.
        expired: Whether its time is over.
        client_certificate: Whether clients must show a certificate; one is made, too.
    """

    hosts: tuple[str, ...] = field(default=("127.0.0.1", "localhost", "::1"), converter=_hosts)
    expired: bool = False
    client_certificate: bool = False


class MadeFiles:
    """Files with certificates, in a temporary directory.

    What clients need is in :attr:`directory`, in the form of ``certs.d``: ``ca.crt``, and ``client.cert`` with
    ``client.key`` when clients must show a certificate.

    Args:
        options: What certificates are wanted.
    """

    def __init__(self, options: TLS) -> None:
        self._root = tempfile.mkdtemp(prefix="ocikit-testing-")
        try:
            self.directory = os.path.join(self._root, "certs")
            server = os.path.join(self._root, "server")
            for path in (self.directory, server):
                os.mkdir(path, 0o700)
            authority = _Authority()
            ca_file = self._write(os.path.join(self.directory, "ca.crt"), authority.certificate)
            certificate, key = authority.issue(options.hosts, expired=options.expired)
            if options.client_certificate:
                shown, secret = authority.issue(["client"], is_client=True)
                self._write(os.path.join(self.directory, "client.cert"), shown)
                self._write(os.path.join(self.directory, "client.key"), secret)
            self.files = TLSFiles(
                certificate=self._write(os.path.join(server, "server.crt"), certificate),
                key=self._write(os.path.join(server, "server.key"), key),
                authority=ca_file,
                client_authority=ca_file if options.client_certificate else None,
            )
        except BaseException:
            self.remove()
            raise

    @staticmethod
    def _write(path: str, data: bytes) -> str:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        return path

    def remove(self) -> None:
        """Remove the files; a second time does nothing."""
        shutil.rmtree(self._root, ignore_errors=True)


class _Authority:
    """An authority that lives for a moment."""

    def __init__(self) -> None:
        try:
            from cryptography import x509  # noqa: PLC0415 - loaded when first needed
            from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - loaded when first needed
        except ImportError as error:
            raise MissingDependencyError(
                "certificates for tests are made with cryptography: pip install cryptography"
            ) from error
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("ocikit.testing authority")
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        extensions = [(x509.BasicConstraints(ca=True, path_length=0), True), (usage, True)]
        self._identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        self.certificate, _ = self._sign(self._name, self._key, [*extensions, (self._identifier, False)])

    def issue(self, hosts: Sequence[str], *, expired: bool = False, is_client: bool = False) -> tuple[bytes, bytes]:
        """Return a certificate and its key, in PEM."""
        from cryptography import x509  # noqa: PLC0415 - loaded when first needed
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - loaded when first needed
        from cryptography.x509.oid import ExtendedKeyUsageOID  # noqa: PLC0415 - loaded when first needed

        key = ec.generate_private_key(ec.SECP256R1())
        purpose = ExtendedKeyUsageOID.CLIENT_AUTH if is_client else ExtendedKeyUsageOID.SERVER_AUTH
        extensions: list[tuple[Any, bool]] = [
            (x509.SubjectAlternativeName([_general_name(host) for host in hosts]), False),
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (x509.ExtendedKeyUsage([purpose]), False),
            (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._identifier), False),
        ]
        return self._sign(_name(f"ocikit.testing {hosts[0]}"), key, extensions, expired=expired)

    def _sign(
        self,
        name: Any,  # noqa: ANN401 - of cryptography
        key: Any,  # noqa: ANN401 - of cryptography
        extensions: list[tuple[Any, bool]],
        *,
        expired: bool = False,
    ) -> tuple[bytes, bytes]:
        from cryptography import x509  # noqa: PLC0415 - loaded when first needed
        from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415 - loaded when first needed

        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + timedelta(days=-1 if expired else 30))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        certificate = builder.sign(self._key, hashes.SHA256())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return certificate.public_bytes(serialization.Encoding.PEM), private


def _name(text: str) -> Any:  # noqa: ANN401 - of cryptography
    from cryptography import x509  # noqa: PLC0415 - loaded when first needed
    from cryptography.x509.oid import NameOID  # noqa: PLC0415 - loaded when first needed

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(host: str) -> Any:  # noqa: ANN401 - of cryptography
    from cryptography import x509  # noqa: PLC0415 - loaded when first needed

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def server_context(files: TLSFiles) -> ssl.SSLContext:
    """Return how a server speaks TLS with these files.

    Raises:
        SystemCallError: A file cannot be read.
    """
    import ssl  # noqa: PLC0415 - loaded when first needed

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(files.certificate, files.key, password=_no_passphrase)
        if files.client_authority is not None:
            context.load_verify_locations(files.client_authority)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:
        raise SystemCallError(
            "load the certificate of the registry", error.errno or 0, str(files.certificate)
        ) from error
    return context


def _no_passphrase() -> str:
    # Otherwise OpenSSL would ask for one at the terminal.
    raise OSError("the key has a passphrase; expected one without")
