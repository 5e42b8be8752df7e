"""Fuzzing of the registry for tests: what comes over its connections, and what it reads in manifests."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import mutations
from builders import OCI_CONFIG, Store, digest_of
from made_images import KEYS
from refusing import refused

from ocikit.testing import BasicAuth, BearerAuth, Registry, RegistryLimits
from ocikit.testing.documents import read_manifest

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

PIECES = (
    *("GET ", "HEAD ", "PUT ", "POST ", "PATCH ", "DELETE ", " HTTP/1.1\r\n", " HTTP/1.0\r\n", "\r\n", "\r\n\r\n"),
    *("/v2/", "a/b", "/blobs/", "/blobs/uploads/", "/manifests/", "/tags/list", "/referrers/", "/token", "_catalog"),
    *("?digest=", "?mount=", "&from=a/b", "?n=1", "&last=", "?scope=repository:a/b:pull", "?artifactType=", "%00"),
    *("Range: bytes=", "Content-Range: ", "Content-Length: ", "Transfer-Encoding: chunked\r\n", "Expect: 100-continue"),
    *(
        "Authorization: Basic ",
        "Authorization: Bearer ",
        "Accept: ",
        "Content-Type: ",
        "If-Range: ",
        "Connection: close",
    ),
    *("0", "1", "5", "-", ",", "0-0", "5-1", "99", "YTpi", "a:b", "*/*", "{}", "sha256:", digest_of(b"a"), "latest"),
)

WHOLE = (
    "GET /v2/a/b/manifests/latest HTTP/1.1\r\nAccept: */*\r\n\r\n",
    f"GET /v2/a/b/blobs/{digest_of(b'a')} HTTP/1.1\r\nRange: bytes=0-0,0-,-1\r\n\r\n",
    f"POST /v2/a/b/blobs/uploads/?digest={digest_of(b'b')} HTTP/1.1\r\nContent-Length: 1\r\n\r\nb",
    "PUT /v2/a/b/manifests/1 HTTP/1.1\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "POST /token HTTP/1.1\r\nContent-Length: 36\r\n\r\ngrant_type=password&username=a&password=b",
)

PING = b"GET /v2/a/b/tags/list HTTP/1.1\r\nConnection: close\r\n\r\n"
USERS = {"a": "b"}


def asked(registry: Registry, data: bytes) -> bytes:
    """Send bytes to a registry; return what comes back."""
    host, _, port = registry.address.partition(":")
    got = bytearray()
    with socket.create_connection((host, int(port)), timeout=10) as client:
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            while piece := client.recv(1 << 16):
                got += piece
        except ConnectionError:
            pass
    return bytes(got)


def requests(random: Random, scratch: Path) -> None:
    """Requests that are none are refused, whoever sends them, and the next one is answered."""
    auth = random.choice([None, None, BasicAuth(users=USERS), BearerAuth(users=USERS, anonymous_pull=True)])
    limits = RegistryLimits(stored_bytes=100, manifest_bytes=1000, uploads=3, repositories=3)
    with Registry(auth=auth, limits=limits, directory=random.choice([None, scratch])) as registry:
        registry.add_blob("a/b", b"a")
        registry.add_manifest("a/b", "latest", b"{}")
        for _ in range(random.randrange(1, 5)):
            if random.random() < 0.5:
                data = mutations.text(random, PIECES, 20).encode(errors="surrogatepass")
            else:
                data = mutations.damaged(random, "".join(random.choices(WHOLE, k=random.randrange(1, 4))).encode())
            answer = asked(registry, data)
            assert not answer or answer.startswith(b"HTTP/1.1 "), answer[:100]
            assert b"HTTP/1.1 500" not in answer, answer
        assert asked(registry, PING).startswith(b"HTTP/1.1 401 " if auth else b"HTTP/1.1 200 ")


def pushed_manifests(random: Random, scratch: Path) -> None:
    """A manifest that is wrong is read as far as a registry does, or refused."""
    del scratch
    store = Store()
    manifest = store.image(extra={"subject": store.json(OCI_CONFIG, {}), "annotations": {"a": "b"}})
    document = json.loads(store.blobs[random.choice([manifest, store.index(manifest)])["digest"]])
    data = mutations.written(
        random, mutations.tree(random, document, (*KEYS, "subject", "artifactType", "annotations"))
    )
    refused(lambda: read_manifest(data))
    refused(lambda: read_manifest(mutations.damaged(random, data)))


#: The targets by name.
TARGETS = {"registry-requests": requests, "pushed-manifests": pushed_manifests}
