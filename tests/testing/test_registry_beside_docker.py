"""The registry for tests beside Docker's: one story of requests, the same answers but for what is meant to differ."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from asking import INDEX, MANIFEST, ask, digest_of, make_image

from ocikit.testing import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

IMAGE = make_image()
LAYER = digest_of(IMAGE.layer)
ROOT = "/v2/team/app"
TYPE = {"Content-Type": MANIFEST}

#: Headers that clients read.
COMPARED = frozenset(
    """
    range content-range docker-content-digest docker-distribution-api-version etag accept-ranges link content-length
    """.split()
)

#: Where this registry does what distribution-spec asks for, and Docker's of version 2.8 does not.
DIFFERENT = {
    "a chunk in the wrong place": (202, 416),
    "a blob in one request": (202, 201),
    "a manifest, whatever its type": (404, 200),
    "referrers": (404, 200),
    "a tag is deleted": (400, 202),
    "a manifest under no tag": (404, 400),
    "a name in capitals": (404, 400),
}


class Step(NamedTuple):
    """A request of the story."""

    name: str
    method: str
    #: Begins with ``=``: follows the last Location.
    path: str
    body: bytes | None = None
    headers: dict[str, str] | None = None


def pushed(data: bytes) -> list[Step]:
    """Return how a blob is pushed."""
    return [
        Step("an upload begins", "POST", f"{ROOT}/blobs/uploads/"),
        Step("its state", "GET", "="),
        Step("a stream", "PATCH", "=", data),
        Step("its state with something in it", "GET", "="),
        Step("it is finished", "PUT", f"=digest={digest_of(data)}"),
    ]


STORY = [
    Step("ping", "GET", "/v2/"),
    Step("tags of nothing", "GET", f"{ROOT}/tags/list"),
    *pushed(IMAGE.config),
    *pushed(IMAGE.layer),
    Step("a blob", "GET", f"{ROOT}/blobs/{LAYER}"),
    Step("whether it is there", "HEAD", f"{ROOT}/blobs/{LAYER}"),
    *(
        Step(f"bytes {one}", "GET", f"{ROOT}/blobs/{LAYER}", None, {"Range": f"bytes={one}"})
        for one in ("1-3", "5-", "-4")
    ),
    Step("no such blob", "GET", f"{ROOT}/blobs/{digest_of(b'')}"),
    Step("no digest", "GET", f"{ROOT}/blobs/sha256:12"),
    Step("a name in capitals", "GET", f"/v2/Team/blobs/{LAYER}"),
    Step("an upload begins", "POST", f"{ROOT}/blobs/uploads/"),
    Step("a wrong digest", "PUT", f"=digest={LAYER}", b"wrong"),
    Step("the state of what is gone", "GET", "="),
    Step("an upload begins", "POST", f"{ROOT}/blobs/uploads/"),
    Step("a chunk in the wrong place", "PATCH", "=", b"abc", {"Content-Range": "5-7"}),
    Step("an upload is given up", "DELETE", "="),
    Step("a blob in one request", "POST", f"{ROOT}/blobs/uploads/?digest={LAYER}", IMAGE.layer),
    Step("a mount", "POST", f"/v2/other/blobs/uploads/?mount={LAYER}&from=team/app"),
    Step("a mount of nothing", "POST", f"/v2/other/blobs/uploads/?mount={digest_of(b'')}&from=team/app"),
    Step("a manifest", "PUT", f"{ROOT}/manifests/1", IMAGE.manifest, TYPE),
    Step("a manifest that is none", "PUT", f"{ROOT}/manifests/1", b"{", TYPE),
    Step("a manifest of nothing", "PUT", f"{ROOT}/manifests/1", make_image(b"x").manifest, TYPE),
    Step("a manifest that is another", "PUT", f"{ROOT}/manifests/{LAYER}", IMAGE.manifest, TYPE),
    Step("a manifest under no tag", "PUT", f"{ROOT}/manifests/.x", IMAGE.manifest, TYPE),
    Step("the manifest", "GET", f"{ROOT}/manifests/1", None, {"Accept": MANIFEST}),
    Step("whether the manifest is there", "HEAD", f"{ROOT}/manifests/{IMAGE.digest}", None, {"Accept": MANIFEST}),
    Step("a manifest, whatever its type", "GET", f"{ROOT}/manifests/1"),
    Step("a manifest of another type", "GET", f"{ROOT}/manifests/1", None, {"Accept": INDEX}),
    Step("no such manifest", "GET", f"{ROOT}/manifests/2", None, {"Accept": MANIFEST}),
    Step("tags", "GET", f"{ROOT}/tags/list"),
    Step("repositories", "GET", "/v2/_catalog"),
    Step("referrers", "GET", f"{ROOT}/referrers/{LAYER}"),
    Step("a tag is deleted", "DELETE", f"{ROOT}/manifests/1"),
    Step("a manifest is deleted", "DELETE", f"{ROOT}/manifests/{IMAGE.digest}"),
    Step("again", "DELETE", f"{ROOT}/manifests/{IMAGE.digest}"),
    Step("a blob is deleted", "DELETE", f"{ROOT}/blobs/{LAYER}"),
    Step("again", "DELETE", f"{ROOT}/blobs/{LAYER}"),
]


class Docker(NamedTuple):
    """Docker's registry, as the one to be asked."""

    address: str
    ca_file: None = None


def is_there(address: str) -> bool:
    """Tell whether somebody listens."""
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port))).close()
    except ConnectionRefusedError:
        return False
    return True


@contextlib.contextmanager
def docker_registry(path: Path, program: str) -> Iterator[Docker]:
    """Run Docker's registry in a directory."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (path / "registry.yml").write_text(
        f"version: 0.1\nhttp: {{addr: '{address}'}}\n"
        f"storage: {{filesystem: {{rootdirectory: '{path}/registry'}}, delete: {{enabled: true}}}}\n"
    )
    command = [program, "serve", str(path / "registry.yml")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 60
            while not is_there(address):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield Docker(address)
        finally:
            process.kill()


def told(registry: Any) -> list[tuple[str, int, dict[str, str], str]]:
    """Tell the story to a registry; return the answers."""
    answers, location = [], ""
    for step in STORY:
        path = step.path
        if path.startswith("="):
            path = f"{location}{'&' if '?' in location else '?'}{path[1:]}".rstrip("?&")
        reply = ask(registry, step.method, path, step.body, step.headers)
        if "location" in reply.headers:
            location = reply.location
        headers = {name: value for name, value in reply.headers.items() if name in COMPARED}
        is_json = "json" in reply.headers.get("content-type", "") and step.method != "HEAD" and "errors" in reply.json
        if is_json or reply.headers.get("content-type", "").startswith("text/"):
            del headers["content-length"]  # of words
        answers.append((step.name, reply.status, headers, reply.code if is_json else ""))
    return answers


def test_the_same_story(tmp_path: Path, peer: Callable[[str], str]) -> None:
    """Statuses, codes and headers are those of Docker's registry, request by request."""
    with docker_registry(tmp_path, peer("docker-registry")) as docker:
        theirs = told(docker)
    with Registry() as registry:
        ours = told(registry)
    differences = {}
    for (name, status, headers, code), (_, our_status, our_headers, our_code) in zip(theirs, ours, strict=True):
        if name in DIFFERENT:
            differences[name] = (status, our_status)
            continue
        assert (name, our_status) == (name, status)
        # What is unknown about an upload has two names.
        assert (name, our_code) == (name, code.replace("BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN"))
        if name not in {"tags", "repositories"}:
            assert (name, our_headers | headers) == (name, our_headers)
    assert differences == DIFFERENT


def test_broken_pages_of_docker_are_not_ours(tmp_path: Path, peer: Callable[[str], str]) -> None:
    """A part that is not there breaks the answer of Docker's registry, and is refused by this one as it should be."""
    path, headers = f"{ROOT}/blobs/{digest_of(b'0123456789')}", {"Range": "bytes=99-"}
    with docker_registry(tmp_path, peer("docker-registry")) as docker:
        location = ask(docker, "POST", f"{ROOT}/blobs/uploads/").location  # type: ignore[arg-type]  # what is asked of it is there
        ask(docker, "PUT", f"{location}&digest={digest_of(b'0123456789')}", b"0123456789")  # type: ignore[arg-type]
        with pytest.raises(http.client.IncompleteRead):
            ask(docker, "GET", path, headers=headers)  # type: ignore[arg-type]
    with Registry() as registry:
        registry.add_blob("team/app", b"0123456789")
        assert ask(registry, "GET", path, headers=headers).status == 416
