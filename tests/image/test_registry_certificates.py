"""Certificates for registries: where they are looked for, what is wrong with them, and connections with them."""

from __future__ import annotations

import datetime as dt
import os
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
from attrs import evolve
from registry_homes import listening, own_home, write

from ocikit.errors import InvalidConfigurationError, InvalidReferenceError, LimitExceededError
from ocikit.image import SystemContext
from ocikit.image.registries import ClientCertificate, TLSMaterial, find_certificates, ssl_context

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate


class Authority:
    """Somebody who certifies hosts and clients, for the length of a test."""

    def __init__(self, name: str) -> None:
        self.certificate, self.key = certified(name, None)

    @property
    def pem(self) -> bytes:
        """Its certificate."""
        return pem_of(self.certificate)

    def pair(self, name: str) -> tuple[bytes, bytes]:
        """Return a certificate for a name, and its key."""
        certificate, key = certified(name, self)
        return pem_of(certificate), key_of(key)


def certified(name: str, by: Authority | None) -> tuple[Certificate, EllipticCurvePrivateKey]:
    """Make a key and its certificate, for a host or client, or for an authority of its own."""
    import ipaddress  # noqa: PLC0415

    from cryptography import x509  # noqa: PLC0415 - loaded when first needed
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if by is None else by.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
    )
    if by is not None:
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    return builder.sign(key if by is None else by.key, hashes.SHA256()), key


def pem_of(certificate: Certificate) -> bytes:
    """Return a certificate as a file has it."""
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    return certificate.public_bytes(Encoding.PEM)


def key_of(key: EllipticCurvePrivateKey, passphrase: bytes = b"") -> bytes:
    """Return a key as a file has it."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Give an authority."""
    return Authority("an authority")


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SystemContext:
    """Give a context without certificates."""
    return own_home(tmp_path, monkeypatch)


def test_where_certificates_are(tmp_path: Path, context: SystemContext) -> None:
    """The first directory that is there counts: of the user, of the system, of Docker; or what the caller names."""
    host = "a.example:5000"
    assert find_certificates(host, context) == TLSMaterial()
    places = [tmp_path / "root/etc/docker/certs.d", tmp_path / "root/etc/containers/certs.d"]
    places.append(tmp_path / "home/.config/containers/certs.d")
    for place in places:
        authority = write(place / host / "x.crt", "x")
        write(place / "a.example" / "y.crt", "y")
        found = find_certificates(host, context)
        assert (found.directory, found.authorities) == (str(place / host), (str(authority),))
    chosen = evolve(context, docker_per_host_cert_dir_path=str(places[0]))
    assert find_certificates(host, chosen).directory == str(places[0] / host)
    assert find_certificates("b.example", chosen) == TLSMaterial()
    for one in (host, "b.example"):
        assert find_certificates(one, evolve(chosen, docker_cert_path=str(tmp_path))).directory == str(tmp_path)
    (places[2] / host / "x.crt").unlink()
    assert find_certificates(host, context) == TLSMaterial(directory=str(places[2] / host))


@pytest.mark.parametrize("host", ["", "..", "../..", "a/b", "a\0", "a b", "[::1", "a" * 5000])
def test_what_is_no_registry(host: str, context: SystemContext) -> None:
    """No host leads out of the directory."""
    with pytest.raises(InvalidReferenceError, match="not a registry"):
        find_certificates(host, context)


def test_what_is_in_a_directory(tmp_path: Path) -> None:
    """Authorities, pairs by name, and nothing else; a half of a pair is an error that says what is missing."""
    sys = SystemContext(docker_cert_path=str(tmp_path))
    for name in ("b.crt", "a.crt", "c.cert", "c.key", "b.cert", "b.key", "readme", "x.pem", "crt"):
        write(tmp_path / name, "")
    assert find_certificates("[::1]:5000", sys) == TLSMaterial(
        directory=str(tmp_path),
        authorities=(f"{tmp_path}/a.crt", f"{tmp_path}/b.crt"),
        client_certificates=tuple(
            ClientCertificate(certificate=f"{tmp_path}/{name}.cert", key=f"{tmp_path}/{name}.key") for name in "bc"
        ),
    )
    (tmp_path / "b.key").unlink()
    with pytest.raises(InvalidConfigurationError, match=r"b.cert: .*expected b.key .* called b.crt"):
        find_certificates("a.example", sys)
    (tmp_path / "b.cert").rename(tmp_path / "b.key")
    with pytest.raises(InvalidConfigurationError, match=r"b.key: .*expected b.cert"):
        find_certificates("a.example", sys)
    for number in range(1001):
        (tmp_path / f"{number}").touch()
    with pytest.raises(LimitExceededError, match="limit 1,000"):
        find_certificates("a.example", sys)


def test_certificates_that_are_none(tmp_path: Path, authority: Authority) -> None:
    """What is no certificate, no key, the key of another or an encrypted one is an error with its file."""
    other = Authority("another")
    cert, key = authority.pair("client")
    files = {
        "none.crt": b"nothing",
        "empty.crt": b"",
        "broken.crt": authority.pem[:200] + b"\xff" + authority.pem[300:],
        "cut.crt": authority.pem[:-30],
        "none.key": b"nothing",
        "none.cert": b"nothing",
        "good.key": key,
        "good.cert": cert,
        "locked.key": key_of(other.key, b"passphrase"),
        "other.key": key_of(other.key),
    }
    for name, data in files.items():
        write(tmp_path / name, data)
    os.mkfifo(tmp_path / "pipe")
    for name in ("none.crt", "empty.crt", "broken.crt", "cut.crt", "pipe"):
        with pytest.raises(InvalidConfigurationError, match=rf"{name}: \$: expected"):
            ssl_context(TLSMaterial(authorities=(f"{tmp_path}/{name}",)))
    wrong = {("none.cert", "good.key"): "PEM", ("good.cert", "none.key"): "none.key", ("good.cert", "other.key"): "key"}
    wrong |= {
        ("good.cert", "locked.key"): "is encrypted",
        ("pipe", "good.key"): "no file",
        ("good.cert", "pipe"): "no f",
    }
    for (first, second), message in wrong.items():
        pair = ClientCertificate(certificate=f"{tmp_path}/{first}", key=f"{tmp_path}/{second}")
        with pytest.raises(InvalidConfigurationError, match=message):
            ssl_context(TLSMaterial(client_certificates=(pair,)))
    with pytest.raises(LimitExceededError, match="bytes of certificates"):
        ssl_context(TLSMaterial(authorities=("/dev/zero",)))
    assert ssl_context(TLSMaterial(authorities=(f"{tmp_path}/removed.crt",))).check_hostname


def serving(tmp_path: Path, authority: Authority, *, clients: Authority | None = None) -> ssl.SSLContext:
    """Return what a registry needs that an authority vouches for; with clients, it wants to know who asks."""
    cert, key = authority.pair("registry")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(write(tmp_path / "server.cert", cert), write(tmp_path / "server.key", key))
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients.pem.decode())
    return context


def answer(address: str, context: ssl.SSLContext) -> int:
    """Ask a registry whether it is there; return the status."""
    with urllib.request.urlopen(f"https://{address}/v2/", context=context) as response:
        return int(response.status)


def test_a_registry_is_verified(tmp_path: Path, authority: Authority) -> None:
    """With its authority a registry is talked to, without not, under another name not; unless that is given up."""
    material = TLSMaterial(authorities=(str(write(tmp_path / "ca.crt", "für uns\n".encode() + authority.pem)),))
    with listening(serving(tmp_path, authority)) as (address, asked):
        assert answer(address, ssl_context(material)) == 200
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            answer(address, ssl_context(TLSMaterial()))
        with pytest.raises(urllib.error.URLError, match=r"CERTIFICATE_VERIFY_FAILED.*localhost"):
            answer(address.replace("127.0.0.1", "localhost"), ssl_context(material))
        assert answer(address, ssl_context(TLSMaterial(), insecure=True)) == 200
        assert len(asked) == 2


def test_a_registry_that_asks_who_we_are(tmp_path: Path, authority: Authority) -> None:
    """A registry that wants a certificate gets that of its directory, of several with keys of one kind the first."""
    clients = Authority("clients")
    directory = tmp_path / "certs"
    for name, by in (("a", clients), ("b", authority)):
        cert, key = by.pair(f"client {name}")
        write(directory / f"{name}.cert", cert)
        write(directory / f"{name}.key", key)
    write(directory / "ca.crt", authority.pem)
    material = find_certificates("a.example", SystemContext(docker_cert_path=str(directory)))
    with listening(serving(tmp_path, authority, clients=clients)) as (address, _):
        assert answer(address, ssl_context(material)) == 200
        with pytest.raises((OSError, urllib.error.URLError)):
            answer(address, ssl_context(evolve(material, client_certificates=())))


@pytest.mark.parametrize("trusted", [True, False])
def test_as_skopeo(
    trusted: bool,  # noqa: FBT001
    tmp_path: Path,
    context: SystemContext,
    authority: Authority,
    peer: Callable[[str], str],
) -> None:
    """The directory that lets skopeo talk to a registry is found here, and lets us; and the other way round."""
    clients = Authority("clients")
    with listening(serving(tmp_path, authority, clients=clients)) as (address, asked):
        directory = tmp_path / "home/.config/containers/certs.d" / address
        cert, key = clients.pair("client")
        write(directory / "ca.crt", (authority if trusted else clients).pem)
        write(directory / "me.cert", cert)
        write(directory / "me.key", key)
        done = subprocess.run(
            [peer("skopeo"), "inspect", f"docker://{address}/x:1"], capture_output=True, text=True, check=False
        )
        assert ("certificate signed by unknown authority" in done.stderr) is not trusted, done.stderr
        assert ("/v2/x/manifests/1" in asked) is trusted
        ours = ssl_context(find_certificates(address, context))
        if trusted:
            assert answer(address, ours) == 200
        else:
            with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
                answer(address, ours)


def test_old_protocols_are_not_spoken(tmp_path: Path, authority: Authority) -> None:
    """TLS before 1.2 is refused."""
    server = serving(tmp_path, authority)
    server.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        server.minimum_version, server.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with listening(server) as (address, _):
        host, _, port = address.partition(":")
        client = ssl_context(TLSMaterial(), insecure=True)
        with socket.create_connection((host, int(port))) as plain, pytest.raises(ssl.SSLError):
            client.wrap_socket(plain)
