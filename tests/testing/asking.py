"""A client of the least kind for the registry for tests, and a small image to push to it."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import json
import ssl
import tarfile
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from ocikit.testing import Registry

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"


class Reply(NamedTuple):
    """What came back."""

    status: int
    #: By name in lower case; several lines of a name with commas between them.
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The one code of all errors in the body."""
        (code,) = {error["code"] for error in self.json["errors"] if error["message"]}
        return str(code)

    @property
    def location(self) -> str:
        """Path and query of Location."""
        where = self.headers["location"]
        return where if where.startswith("/") else "/" + where.split("/", 3)[3]


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """Return the digest of some bytes."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def connect(registry: Registry) -> http.client.HTTPConnection:
    """Return a connection to a registry."""
    host, _, port = registry.address.rpartition(":")
    if registry.ca_file:
        context = ssl.create_default_context(cafile=registry.ca_file)
        return http.client.HTTPSConnection(host, int(port), context=context, timeout=30)
    return http.client.HTTPConnection(host, int(port), timeout=30)


def ask(
    registry: Registry,
    method: str,
    path: str,
    body: bytes | Iterable[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    over: http.client.HTTPConnection | None = None,
) -> Reply:
    """Send a request, over a connection of its own unless there is one, and return the answer."""
    connection = over or connect(registry)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        data = response.read()
        names = {name.lower() for name, _ in response.getheaders()}
        return Reply(response.status, {name: response.getheader(name) or "" for name in names}, data)
    finally:
        if over is None:
            connection.close()


def push_blob(registry: Registry, repository: str, data: bytes) -> str:
    """Push a blob in two requests; return its digest."""
    started = ask(registry, "POST", f"/v2/{repository}/blobs/uploads/")
    assert started.status == 202
    digest = digest_of(data)
    assert ask(registry, "PUT", f"{started.location}&digest={digest}", data).status == 201
    return digest


class MadeImage(NamedTuple):
    """An image with one layer."""

    manifest: bytes
    config: bytes
    layer: bytes

    @property
    def digest(self) -> str:
        """The digest of its manifest."""
        return digest_of(self.manifest)

    def put(self, registry: Registry, repository: str, tag: str | None) -> str:
        """Put it into a registry without a request; return its digest."""
        registry.add_blob(repository, self.config)
        registry.add_blob(repository, self.layer)
        return registry.add_manifest(repository, tag, self.manifest)

    def layout(self, path: Path, tag: str) -> str:
        """Write it as a layout; return the name of it for others."""
        (path / "blobs/sha256").mkdir(parents=True)
        for data in self:
            (path / "blobs/sha256" / digest_of(data).partition(":")[2]).write_bytes(data)
        (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        name = {"org.opencontainers.image.ref.name": tag}
        entry = {"mediaType": MANIFEST, "digest": self.digest, "size": len(self.manifest), "annotations": name}
        (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
        return f"oci:{path}:{tag}"


def descriptor(media_type: str, data: bytes, **members: object) -> dict[str, object]:
    """Return the descriptor of some bytes."""
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data), **members}


def make_image(content: bytes = b"content", **members: object) -> MadeImage:
    """Make an image with one file, and with these members in its manifest."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        member = tarfile.TarInfo("file")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    layer = gzip.compress(stream.getvalue(), mtime=0)
    rootfs = {"type": "layers", "diff_ids": [digest_of(stream.getvalue())]}
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, config),
        "layers": [descriptor(LAYER, layer)],
    }
    return MadeImage(json.dumps(manifest | members).encode(), config, layer)
