"""Blobs of the registry for tests: whole, in parts, mounted, deleted; and what can be turned off."""

from __future__ import annotations

import email.message
import email.parser
import os
from typing import TYPE_CHECKING

import pytest
from asking import ask, connect, digest_of, push_blob

from ocikit.errors import DigestMismatchError, InvalidReferenceError, LimitExceededError
from ocikit.testing import Features, Registry, RegistryLimits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = bytes(range(256)) * 40
REPOSITORY = "team/app"


@pytest.fixture(params=["memory", "directory", "file"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    """A registry that has the blob, wherever it keeps it."""
    directory = tmp_path if request.param == "directory" else None
    with Registry(directory=directory) as one:
        (tmp_path / "blob").write_bytes(DATA)
        one.add_blob(REPOSITORY, tmp_path / "blob" if request.param == "file" else DATA)
        yield one
    assert [path.name for path in tmp_path.iterdir()] == ["blob"]


def blob_path(data: bytes = DATA) -> str:
    """Return the path of a blob."""
    return f"/v2/{REPOSITORY}/blobs/{digest_of(data)}"


def test_ping_and_version() -> None:
    """The registry says that it is one, to GET and HEAD, on a connection that is kept."""
    with Registry() as registry:
        connection = connect(registry)
        for method, body in (("GET", b"{}"), ("HEAD", b""), ("GET", b"{}")):
            reply = ask(registry, method, "/v2/", over=connection)
            assert (reply.status, reply.body) == (200, body)
            assert reply.headers["docker-distribution-api-version"] == "registry/2.0"
        connection.close()
        assert {one.connection for one in registry.requests} == {1}
        assert ask(registry, "GET", "/v2").status == 200


def test_blob_whole(registry: Registry) -> None:
    """A blob comes whole, with its digest; HEAD says the same without it."""
    got, head = (ask(registry, method, blob_path()) for method in ("GET", "HEAD"))
    assert (got.status, got.body) == (200, DATA)
    assert (head.status, head.body) == (200, b"")
    assert got.headers == head.headers
    assert got.headers["docker-content-digest"] == digest_of(DATA)
    assert got.headers["content-length"] == str(len(DATA))
    assert got.headers["accept-ranges"] == "bytes"
    cached = ask(registry, "GET", blob_path(), headers={"If-None-Match": got.headers["etag"]})
    assert (cached.status, cached.body) == (304, b"")
    assert registry.blob(REPOSITORY, digest_of(DATA)) == DATA


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=5000-", slice(5000, None)),
        ("bytes=-7", slice(-7, None)),
        ("bytes=100-199", slice(100, 200)),
        ("bytes=10000-99999", slice(10000, None)),
        ("bytes=-99999", slice(0, None)),
        ("bytes=99999-,3-4", slice(3, 5)),
    ],
)
def test_blob_in_part(registry: Registry, wanted: str, expected: slice) -> None:
    """One part of a blob comes with its place in the whole."""
    reply = ask(registry, "GET", blob_path(), headers={"Range": wanted})
    first, last, _ = expected.indices(len(DATA))
    assert (reply.status, reply.body) == (206, DATA[expected])
    assert reply.headers["content-range"] == f"bytes {first}-{last - 1}/{len(DATA)}"
    assert registry.requests[-1].bytes_out == last - first


def test_blob_in_several_parts(registry: Registry) -> None:
    """Several parts come as one message with each in a part of it."""
    reply = ask(registry, "GET", blob_path(), headers={"Range": "bytes=0-2, 300-301,-1"})
    assert reply.status == 206
    head = f"Content-Type: {reply.headers['content-type']}\r\n\r\n".encode()
    parts = email.parser.BytesParser().parsebytes(head + reply.body).get_payload()
    size = len(DATA)
    messages = [part for part in parts if isinstance(part, email.message.Message)]
    found = [(part["Content-Range"], part.get_payload(decode=True)) for part in messages]
    assert found == [
        (f"bytes 0-2/{size}", DATA[:3]),
        (f"bytes 300-301/{size}", DATA[300:302]),
        (f"bytes {size - 1}-{size - 1}/{size}", DATA[-1:]),
    ]


@pytest.mark.parametrize("wanted", ["bytes=99999-", "bytes=-0", "bytes=5-3"])
def test_part_that_is_not_there(registry: Registry, wanted: str) -> None:
    """What lies outside is refused, with the size of the whole."""
    reply = ask(registry, "GET", blob_path(), headers={"Range": wanted})
    assert reply.status == 416
    assert reply.headers["content-range"] == f"bytes */{len(DATA)}"


@pytest.mark.parametrize(
    "wanted", ["items=0-1", "bytes=a-b", "bytes=", "bytes=-", "bytes=1-2,x", "bytes=0-1" + ",0-1" * 200]
)
def test_range_that_is_none(registry: Registry, wanted: str) -> None:
    """What is no Range is ignored, and so is one of hundreds of parts."""
    reply = ask(registry, "GET", blob_path(), headers={"Range": wanted})
    assert (reply.status, reply.body) == (200, DATA)


def test_range_under_a_condition(registry: Registry) -> None:
    """A part is sent if the blob is still the one that is meant, else everything."""
    etag = ask(registry, "HEAD", blob_path()).headers["etag"]
    for condition, status in ((etag, 206), ('"other"', 200)):
        headers = {"Range": "bytes=1-2", "If-Range": condition}
        assert ask(registry, "GET", blob_path(), headers=headers).status == status


def test_unknown_and_wrong(registry: Registry) -> None:
    """What is not there, and what is no digest or no repository, is refused with the code of the specification."""
    other = digest_of(b"other")
    cases = {
        f"/v2/{REPOSITORY}/blobs/{other}": (404, "BLOB_UNKNOWN"),
        f"/v2/no/such/blobs/{other}": (404, "NAME_UNKNOWN"),
        f"/v2/{REPOSITORY}/blobs/sha256:abc": (400, "DIGEST_INVALID"),
        f"/v2/{REPOSITORY}/blobs/md5:abc": (400, "DIGEST_INVALID"),
        f"/v2/UPPER/blobs/{other}": (400, "NAME_INVALID"),
        "/nothing": (404, "NAME_UNKNOWN"),
        "/v2/..%2f..%2fetc/blobs/" + other: (400, "NAME_INVALID"),
    }
    for path, expected in cases.items():
        reply = ask(registry, "GET", path)
        assert (reply.status, reply.code) == expected, path
    reply = ask(registry, "PUT", blob_path(), b"")
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD, DELETE")


def test_delete(registry: Registry) -> None:
    """A deleted blob is gone from its repository, and stays in others."""
    digest = digest_of(DATA)
    mount = f"/v2/other/blobs/uploads/?mount={digest}&from={REPOSITORY}"
    assert ask(registry, "POST", mount).status == 201
    assert ask(registry, "DELETE", blob_path()).status == 202
    assert ask(registry, "GET", blob_path()).status == 404
    assert ask(registry, "DELETE", blob_path()).status == 404
    assert ask(registry, "GET", f"/v2/other/blobs/{digest}").body == DATA
    assert ask(registry, "DELETE", f"/v2/other/blobs/{digest}").status == 202
    assert push_blob(registry, REPOSITORY, DATA) == digest
    assert ask(registry, "GET", blob_path()).body == DATA


def test_other_algorithm(registry: Registry) -> None:
    """Blobs have digests of sha512, too."""
    digest = registry.add_blob(REPOSITORY, b"long", digest_of(b"long", "sha512"))
    assert ask(registry, "GET", f"/v2/{REPOSITORY}/blobs/{digest}").body == b"long"


@pytest.mark.parametrize(
    ("off", "method", "headers", "status"),
    [
        ({"ranges": False}, "GET", {"Range": "bytes=1-2"}, 200),
        ({"multiple_ranges": False}, "GET", {"Range": "bytes=1-2,4-5"}, 200),
        ({"multiple_ranges": False}, "GET", {"Range": "bytes=1-2"}, 206),
        ({"delete_blobs": False}, "DELETE", {}, 405),
    ],
)
def test_turned_off(off: dict[str, bool], method: str, headers: dict[str, str], status: int) -> None:
    """What is turned off is not there, and nobody is told that it was."""
    with Registry(features=Features(**off)) as registry:  # type: ignore[arg-type]
        registry.add_blob(REPOSITORY, DATA)
        reply = ask(registry, method, blob_path(), headers=headers)
        assert reply.status == status
        assert ("accept-ranges" in reply.headers) == (off != {"ranges": False} and status != 405)


def test_headers_by_choice() -> None:
    """The digest can be kept back, and every answer of the API can warn."""
    with Registry(features=Features(digest_headers=False, warning="end of life")) as registry:
        registry.add_blob(REPOSITORY, DATA)
        reply = ask(registry, "GET", blob_path())
        assert "docker-content-digest" not in reply.headers
        assert reply.headers["warning"] == '299 - "end of life"'


def test_filled_by_hand(tmp_path: Path) -> None:
    """What is put in is verified unless it is to be wrong, and names are names."""
    with Registry() as registry:
        with pytest.raises(DigestMismatchError):
            registry.add_blob(REPOSITORY, DATA, digest_of(b""))
        (tmp_path / "blob").write_bytes(DATA)
        with pytest.raises(DigestMismatchError):
            registry.add_blob(REPOSITORY, tmp_path / "blob", digest_of(b""))
        with pytest.raises(InvalidReferenceError):
            registry.add_blob("No", DATA)
        registry.add_blob(REPOSITORY, DATA, digest_of(b""), verify=False)
        assert ask(registry, "GET", blob_path(b"")).body == DATA
        assert registry.blobs(REPOSITORY) == {digest_of(b"")}
    with Registry(limits=RegistryLimits(stored_bytes=10)) as registry, pytest.raises(LimitExceededError):
        registry.add_blob(REPOSITORY, DATA)


def test_file_that_is_gone(tmp_path: Path) -> None:
    """A file that is no more is the registry's failure, and not its end."""
    (tmp_path / "blob").write_bytes(DATA)
    with Registry() as registry:
        registry.add_blob(REPOSITORY, tmp_path / "blob")
        os.unlink(tmp_path / "blob")
        assert ask(registry, "GET", blob_path()).status == 500
        assert ask(registry, "GET", "/v2/").status == 200


def test_contents_of_another() -> None:
    """Two registries have the same contents, as a registry and the server that its blobs are kept at."""
    with Registry() as first, Registry(contents_of=first) as second:
        push_blob(first, REPOSITORY, DATA)
        assert ask(second, "GET", blob_path()).body == DATA
        assert len(second.requests) == 1
