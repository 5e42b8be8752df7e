"""Images that a Docker API serves: podman's service on a socket, and services that answer badly."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import io
import ipaddress
import json
import socket
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from moving import get
from podman_store import Podman
from saved import config, layer, simple
from test_docker_archive_write import save

from ocikit.errors import (
    ImageNotFoundError,
    InvalidReferenceError,
    LayoutError,
    NotSupportedError,
    OCIKitError,
    SystemCallError,
)
from ocikit.image import Policy, SystemContext, copy, image_name, parse_image_name, transports
from ocikit.image.copy import CopyOptions
from ocikit.image.transports import _docker_api as api_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ANY = Policy.insecure_accept_anything()
LAYERS = [layer("a"), layer("b", 300_000)]
ID = "sha256:" + "0" * 64
TAKEN, REJECTED = [{"type": "insecureAcceptAnything"}], [{"type": "reject"}]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("busybox:1", "docker.io/library/busybox:1"),
        ("quay.io/a/b:x", "quay.io/a/b:x"),
        (ID, ID),
        (f"busybox@{ID}", f"docker.io/library/busybox@{ID}"),
        ("app:deadbeef", "docker.io/library/app:deadbeef"),
    ],
)
def test_names(text: str, name: str) -> None:
    """Names with a tag or a digest, and ids; a policy sees the names, and of ids nothing."""
    reference = parse_image_name(f"docker-daemon:{text}")
    assert image_name(reference) == f"docker-daemon:{name}"
    assert parse_image_name(image_name(reference)) == reference
    assert reference.policy_configuration_identity == ("" if text == ID else name)
    named = reference.docker_reference
    assert (str(named) if named is not None else None) == (name if "sha256" not in name else None)


NO_NAMES = ["busybox", "sha256:0123", "sha256", "0" * 64, "", "B:1", "a b:1", f"sha512:{'0' * 128}", f"b:1@{ID}"]


@pytest.mark.parametrize("text", NO_NAMES)
def test_what_is_no_name(text: str) -> None:
    """A name without a tag, what could be taken for an id, and what is outside the grammar; skopeo refuses it too."""
    with pytest.raises(InvalidReferenceError):
        parse_image_name(f"docker-daemon:{text}")
    done = subprocess.run(["skopeo", "inspect", f"docker-daemon:{text}"], check=False, capture_output=True)
    assert b"Error parsing image name" in done.stderr, done.stderr


def test_what_cannot_be_done() -> None:
    """An id is not given to an image, nothing is deleted, no scope is an id."""
    for name in (ID, f"busybox@{ID}"):
        with pytest.raises(InvalidReferenceError, match="a name with a tag"):
            parse_image_name(f"docker-daemon:{name}").new_image_destination()
    with pytest.raises(NotSupportedError, match="deleted by the service"):
        parse_image_name(f"docker-daemon:{ID}").delete_image()
    for scope in (ID, f"sha512:{'0' * 128}"):
        with pytest.raises(ValueError, match=r"can never match|ids of images are of sha256"):
            transports.get("docker-daemon").validate_policy_configuration_scope(scope)


def test_scopes_of_policies() -> None:
    """Those of skopeo and podman: names as in registries, most specific first; ids have the scope of the transport."""
    named = parse_image_name("docker-daemon:registry.example.com:5000/team/app:1")
    assert named.policy_configuration_namespaces == (
        "registry.example.com:5000/team/app",
        "registry.example.com:5000/team",
        "registry.example.com:5000",
        "*.example.com",
        "*.com",
    )
    scopes = {"": REJECTED, "localhost:5000": TAKEN, "*.example.com": TAKEN, "docker.io/library/app:1": TAKEN}
    policy = Policy.from_bytes(json.dumps({"default": REJECTED, "transports": {"docker-daemon": scopes}}).encode())
    asked = {
        "app:1": "docker.io/library/app:1",
        "app:2": "",
        "localhost:5000/x:1": "localhost:5000",
        "registry.example.com:5000/team/app:1": "*.example.com",
        ID: "",
    }
    for name, scope in asked.items():
        match = policy.requirements_for(parse_image_name(f"docker-daemon:{name}"))
        assert match.scope == f"docker-daemon:{scope}"


def test_podman_serves(tmp_path: Path, peer: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An image is loaded into podman and read back from it, by every name and its id, the same each time."""
    with Podman(peer("podman")) as podman, podman.service() as host:
        sys = SystemContext(docker_daemon_host=host, docker_archive_additional_tags=("quay.io/o/other:2",))
        written = save(parse_image_name("docker-daemon:app:1"), *LAYERS, sys=sys)
        identifier = json.loads(written)["config"]["digest"]
        names = ["docker.io/library/app:1", "quay.io/o/other:2"]
        assert podman.images() == [f"{identifier} {name}" for name in names]
        options = CopyOptions(source_ctx=SystemContext(docker_daemon_host=host))
        for name in (*names, identifier):
            result = copy.image(ANY, dest=f"dir:{tmp_path}/d", src=f"docker-daemon:{name}", options=options)
            assert result.manifest == written
        monkeypatch.setenv("DOCKER_HOST", host)
        with parse_image_name("docker-daemon:app:1").new_image_source() as source:
            assert get(source, identifier) == config(*LAYERS)
        with pytest.raises(ImageNotFoundError, match="not known"):
            parse_image_name("docker-daemon:never:1").new_image_source()
        assert len(podman.images()) == 2


class _Handler(BaseHTTPRequestHandler):
    timeout = 20
    answer: Callable[[_Handler], None]
    bodies: list[bytes]
    asked: list[str]

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        type(self).answer(self)

    def do_POST(self) -> None:
        type(self).bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).answer(self)

    def say(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def serving(
    answer: Callable[[Any], None], context: ssl.SSLContext | None = None
) -> Iterator[tuple[str, type[_Handler]]]:
    """Serve an API that answers in one way; give its address and what it was asked."""
    handler = type("Handler", (_Handler,), {"answer": staticmethod(answer), "bodies": [], "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = False
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # who is refused does not finish
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{server.server_port}", handler
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "error", "message"),
    [
        (404, b'{"message":"no such image"}', ImageNotFoundError, "app:1: no such image"),
        (500, b'{"cause":"a","message":"the disk is full"}', LayoutError, "500 .*the disk is full"),
        (500, b"plain words", LayoutError, "plain words"),
        (500, b"", LayoutError, "no reason given"),
        (301, b"", LayoutError, "301"),
        (200, b"", LayoutError, "not an archive of `docker save`"),
        (200, b"{}" * 1000, LayoutError, "is this a tar file"),
        (500, b"x" * 10_000_000, LayoutError, "xxx"),
    ],
)
def test_answers_that_are_no_image(status: int, body: bytes, error: type[OCIKitError], message: str) -> None:
    """What the service says went wrong is in the error, with its address; it may say only so much."""
    with serving(lambda handler: handler.say(status, body)) as (host, handler):
        sys = SystemContext(docker_daemon_host=host)
        with pytest.raises(error, match=message) as caught:
            parse_image_name("docker-daemon:app:1").new_image_source(sys)
    assert "127.0.0.1" in str(caught.value)
    assert len(str(caught.value)) < 100_000
    assert handler.asked == ["/images/docker.io/library/app:1/get"]


def test_an_image_that_ends_early(tmp_path: Path) -> None:
    """A body that is cut off is an error, whether its length was stated or not."""
    data = simple(tmp_path / "a", layers=LAYERS).read_bytes()[:200_000]
    for headers in ({}, {"Content_Length": "400000"}):
        with (
            serving(lambda handler, said=headers: handler.say(200, data, **said)) as (host, _),  # type: ignore[misc]
            pytest.raises(LayoutError, match="ends early"),
        ):
            parse_image_name("docker-daemon:app:1").new_image_source(SystemContext(docker_daemon_host=host))


def test_loads_that_fail() -> None:
    """An error in a body that began with success, or that comes before all was sent, is an error of the commit."""
    reference = parse_image_name("docker-daemon:app:1")
    lines = b'{"stream":"Loading"}\n' * 5000 + b'{"errorDetail":{"message":"x"},"error":"no space left"}\n'
    with (
        serving(lambda handler: handler.say(200, lines)) as (host, handler),
        pytest.raises(LayoutError, match="the image was not loaded: no space left"),
    ):
        save(reference, *LAYERS, sys=SystemContext(docker_daemon_host=host))
    assert len(handler.bodies) == 1
    with serving(lambda handler: handler.say(200, b'{"stream":"Loaded image: app:1"}\n')) as (host, handler):
        save(reference, *LAYERS, sys=SystemContext(docker_daemon_host=host))
    assert handler.bodies[0][257:262] == b"ustar"
    with (
        serving(lambda handler: handler.say(400, b'{"message":"not today"}')) as (host, _),
        pytest.raises(LayoutError, match=r"400 .*not today"),
    ):
        save(reference, *LAYERS, sys=SystemContext(docker_daemon_host=host))


def test_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket, nobody behind it, and somebody who never answers are errors that name the address."""
    reference = parse_image_name("docker-daemon:app:1")
    with pytest.raises(SystemCallError, match=r"Docker's API at unix:///.*docker_daemon_host") as caught:
        reference.new_image_source(SystemContext(docker_daemon_host=f"unix://{tmp_path}/none"))
    assert caught.value.errno == errno.ENOENT
    monkeypatch.setattr(api_module, "_ANSWER_SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        host = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(SystemCallError, match=f"{host}: .*timed out"):
            reference.new_image_source(SystemContext(docker_daemon_host=host))
    with pytest.raises(SystemCallError, match=f"{host}: Connection refused"):
        reference.new_image_source(SystemContext(docker_daemon_host=host))


@pytest.mark.parametrize(
    "host", ["", "/var/run/docker.sock", "unix://", "unix://x/y", "tcp://", "ftp://x", "tcp://h:x"]
)
def test_what_is_no_address(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no address is refused; an empty one is none at all."""
    monkeypatch.setenv("DOCKER_HOST", "nonsense://")
    with pytest.raises(InvalidReferenceError, match=host or "nonsense"):
        parse_image_name("docker-daemon:app:1").new_image_source(SystemContext(docker_daemon_host=host or None))


def _certificates(place: Path) -> None:
    """Make an authority and a certificate of a service."""
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("ca", "cert")}
    names = {name: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in keys}
    now = dt.datetime.now(dt.UTC)
    for name, key in keys.items():
        built = (
            x509.CertificateBuilder()
            .subject_name(names[name])
            .issuer_name(names["ca"])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
            .sign(keys["ca"], hashes.SHA256())
        )
        (place / f"{name}.pem").write_bytes(built.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (place / "key.pem").write_bytes(keys["cert"].private_bytes(serialization.Encoding.PEM, *private))


def test_behind_tls(tmp_path: Path) -> None:
    """A service is believed by its certificate, asks for ours, and is taken unseen only on request."""
    _certificates(tmp_path)
    data = simple(tmp_path / "a", layers=LAYERS).read_bytes()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    context.load_verify_locations(tmp_path / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    reference = parse_image_name("docker-daemon:app:1")
    with serving(lambda handler: handler.say(200, data), context) as (host, handler):
        sys = SystemContext(docker_daemon_host=host, docker_daemon_cert_path=str(tmp_path))
        with reference.new_image_source(sys) as source:
            assert source.get_manifest()[0]
        assert handler.asked
        with pytest.raises(SystemCallError, match=r"(?i)certificate"):
            reference.new_image_source(SystemContext(docker_daemon_host=host.replace("tcp", "https")))
    context.verify_mode = ssl.CERT_NONE
    with serving(lambda handler: handler.say(200, data), context) as (host, _):
        unseen = SystemContext(docker_daemon_host=host, docker_daemon_insecure_skip_tls_verify=True)
        with reference.new_image_source(unseen) as source:
            assert io.BytesIO(source.get_manifest()[0]).read()
