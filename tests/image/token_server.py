"""A token server for docker-registry: tokens are JWTs, signed with a key that the registry knows (RFC 7515, ES256)."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import http.server
import json
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["TokenServer", "token_server"]

ISSUER = "tests"
SERVICE = "registry"


class TokenServer(NamedTuple):
    """A token server that runs.

    Attributes:
        auth: The part ``auth`` of the configuration of a registry that believes it.
        asked: The scopes that it was asked for, in order.
    """

    auth: dict[str, Any]
    asked: list[tuple[str, ...]]


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _key_id(key: ec.EllipticCurvePublicKey) -> str:
    """Return the id of a key as libtrust has it: the digest of the key, in groups of four letters."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    text = base64.b32encode(hashlib.sha256(der).digest()[:30]).decode()
    return ":".join(text[at : at + 4] for at in range(0, len(text), 4))


def _certificate(key: ec.EllipticCurvePrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "token server of tests")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def _token(key: ec.EllipticCurvePrivateKey, user: str, scopes: tuple[str, ...]) -> str:
    access = []
    for scope in scopes:
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        access.append({"type": kind, "name": name, "actions": actions.split(",")})
    now = int(time.time())
    head = {"typ": "JWT", "alg": "ES256", "kid": _key_id(key.public_key())}
    claims = {"iss": ISSUER, "sub": user, "aud": SERVICE, "exp": now + 300, "nbf": now - 10, "iat": now, "jti": "1"}
    signed = ".".join(_b64(json.dumps(part).encode()) for part in (head, {**claims, "access": access}))
    r, s = utils.decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{_b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


@contextlib.contextmanager
def token_server(place: Path, user: str, password: str) -> Iterator[TokenServer]:
    """Run a token server for the length of a ``with`` block; it lets one user do everything.

    Args:
        place: A directory for the certificate that registries are to know.
        user: The user.
        password: The password.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    place.mkdir(parents=True, exist_ok=True)
    bundle = place / "token.pem"
    bundle.write_bytes(_certificate(key))
    expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    asked: list[tuple[str, ...]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            scopes = tuple(one for text in query.get("scope", []) for one in text.split())
            is_known = self.headers.get("Authorization") == expected
            asked.append(scopes)
            body = json.dumps({"token": _token(key, user, scopes)} if is_known else {"details": "who are you"}).encode()
            self.send_response(200 if is_known else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    realm = f"http://127.0.0.1:{server.server_port}/token"
    token = {"realm": realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": str(bundle)}
    try:
        yield TokenServer({"token": token}, asked)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
