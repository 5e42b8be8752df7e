"""Uploads to the registry for tests: in every way that the specification knows, and in wrong ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from asking import Reply, ask, connect, digest_of, push_blob

from ocikit.testing import Features, Registry, RegistryLimits

if TYPE_CHECKING:
    import http.client
    from collections.abc import Iterator
    from pathlib import Path

DATA = bytes(range(256)) * 100
DIGEST = digest_of(DATA)
REPOSITORY = "team/app"
START = f"/v2/{REPOSITORY}/blobs/uploads/"


@pytest.fixture(params=["memory", "directory"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    """A registry, wherever it keeps what it gets."""
    with Registry(directory=tmp_path if request.param == "directory" else None) as one:
        yield one
    assert [*tmp_path.iterdir()] == []


def chunk(registry: Registry, location: str, start: int, end: int, **headers: str) -> Reply:
    """Send a chunk."""
    about = {"Content-Range": f"{start}-{end - 1}", **headers}
    return ask(registry, "PATCH", location, DATA[start:end], about)


def arrived(registry: Registry) -> bytes | None:
    """Return the blob."""
    return registry.blob(REPOSITORY, DIGEST)


def test_two_requests(registry: Registry) -> None:
    """POST, then PUT with the blob: it is there under its digest."""
    started = ask(registry, "POST", START)
    assert started.status == 202
    assert started.headers["location"].startswith(registry.url)
    assert started.headers["range"] == "0-0"
    done = ask(registry, "PUT", f"{started.location}&digest={DIGEST}", DATA)
    assert (done.status, done.headers["docker-content-digest"]) == (201, DIGEST)
    assert ask(registry, "GET", done.location).body == DATA
    assert registry.uploads(REPOSITORY) == {}


def test_one_request(registry: Registry) -> None:
    """POST with the blob."""
    assert ask(registry, "POST", f"{START}?digest={DIGEST}", DATA).status == 201
    assert arrived(registry) == DATA


@pytest.mark.parametrize("with_last", [False, True], ids=["all in PATCH", "the last in PUT"])
def test_chunks(registry: Registry, *, with_last: bool) -> None:
    """Chunks in order, each answered with how far it got."""
    location = ask(registry, "POST", START).location
    for start in (0, 10_000):
        reply = chunk(registry, location, start, start + 10_000)
        assert (reply.status, reply.headers["range"]) == (202, f"0-{start + 9_999}")
        location = reply.location
    state = ask(registry, "GET", location)
    assert (state.status, state.headers["range"], state.body) == (204, "0-19999", b"")
    if with_last:
        last = {"Content-Range": f"20000-{len(DATA) - 1}"}
        done = ask(registry, "PUT", f"{state.location}&digest={DIGEST}", DATA[20_000:], last)
    else:
        assert chunk(registry, location, 20_000, len(DATA)).status == 202
        done = ask(registry, "PUT", f"{state.location}&digest={DIGEST}")
    assert done.status == 201
    assert arrived(registry) == DATA


def test_chunk_in_the_wrong_place(registry: Registry) -> None:
    """A chunk that leaves a gap, or comes twice, is refused with where the upload is; PUT is no different."""
    location = ask(registry, "POST", START).location
    assert chunk(registry, location, 0, 100).status == 202
    for start in (0, 200):
        reply = chunk(registry, location, start, start + 100)
        assert (reply.status, reply.headers["range"], reply.location) == (416, "0-99", location)
    wrong = ask(registry, "PUT", f"{location}&digest={DIGEST}", DATA[50:], {"Content-Range": f"50-{len(DATA) - 1}"})
    assert wrong.status == 416
    assert registry.uploads(REPOSITORY) == {location.split("/")[-1].partition("?")[0]: 100}
    assert chunk(registry, location, 100, len(DATA)).status == 202
    assert ask(registry, "PUT", f"{location}&digest={DIGEST}").status == 201


@pytest.mark.parametrize("about", ["100", "a-b", "0-200", "9-3", "bytes"])
def test_range_that_does_not_fit(registry: Registry, about: str) -> None:
    """A Content-Range that is none, or not that of the body, is refused."""
    location = ask(registry, "POST", START).location
    reply = ask(registry, "PATCH", location, DATA[:100], {"Content-Range": about})
    assert (reply.status, reply.code) == (400, "SIZE_INVALID")


def test_stream(registry: Registry) -> None:
    """PATCH without a length, in the chunks of HTTP, as skopeo and docker send blobs."""
    location = ask(registry, "POST", START).location
    pieces = (DATA[start : start + 999] for start in range(0, len(DATA), 999))
    reply = ask(registry, "PATCH", location, pieces)
    assert (reply.status, reply.headers["range"]) == (202, f"0-{len(DATA) - 1}")
    assert ask(registry, "PUT", f"{location}&digest={DIGEST}").status == 201
    assert arrived(registry) == DATA
    assert [one.bytes_in for one in registry.requests] == [0, len(DATA), 0]


def test_invited_body(registry: Registry) -> None:
    """Who asks first (Expect: 100-continue) is told to go on, and is not when the request is refused."""
    location = ask(registry, "POST", START).location
    connection = connect(registry)
    for target, first in ((location, b"HTTP/1.1 100 "), (START + "unknown", b"HTTP/1.1 404 ")):
        connection.putrequest("PATCH", target)
        connection.putheader("Content-Length", "4")
        connection.putheader("Expect", "100-continue")
        connection.endheaders()
        assert connection.sock.recv(len(first)) == first
        connection.close()


def test_given_up(registry: Registry) -> None:
    """An upload that is given up is not there any more."""
    location = ask(registry, "POST", START).location
    assert chunk(registry, location, 0, 100).status == 202
    assert ask(registry, "DELETE", location).status == 204
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        reply = ask(registry, method, location)
        assert (reply.status, reply.code if reply.body else "") == (404, "BLOB_UPLOAD_UNKNOWN")
    assert registry.uploads(REPOSITORY) == {}


def test_wrong_digest(registry: Registry) -> None:
    """What is not what it is said to be is not kept, and neither is its upload."""
    for digest, status in (
        (digest_of(b"other"), 400),
        (digest_of(b"other", "sha512"), 400),
        ("sha256:1", 400),
        ("", 400),
    ):
        location = ask(registry, "POST", START).location
        reply = ask(registry, "PUT", f"{location}&digest={digest}", DATA)
        assert (reply.status, reply.code) == (status, "DIGEST_INVALID")
        assert ask(registry, "POST", f"{START}?digest={digest}", DATA).status == 400
    assert registry.blobs(REPOSITORY) == set()


def test_other_algorithm(registry: Registry) -> None:
    """Blobs are taken by sha512, announced or not; an algorithm that is not known is refused."""
    digest = digest_of(DATA, "sha512")
    for query in ("", "?digest-algorithm=sha512"):
        location = ask(registry, "POST", START + query).location
        assert ask(registry, "PUT", f"{location}&digest={digest}", DATA).status == 201
        assert ask(registry, "DELETE", f"/v2/{REPOSITORY}/blobs/{digest}").status == 202
    assert ask(registry, "POST", START + "?digest-algorithm=md5").status == 400


def test_url_as_it_was(registry: Registry) -> None:
    """An upload goes on only at the URL that was given, with its query, and in its repository."""
    location = ask(registry, "POST", START).location
    reply = ask(registry, "PUT", f"{location.partition('?')[0]}?digest={DIGEST}", DATA)
    assert (reply.status, reply.code) == (400, "BLOB_UPLOAD_INVALID")
    assert ask(registry, "GET", location.replace("team", "other")).status == 404


def test_mount(registry: Registry) -> None:
    """A blob of another repository is mounted; one that is not there begins an upload."""
    push_blob(registry, "source", DATA)
    mounted = ask(registry, "POST", f"{START}?mount={DIGEST}&from=source")
    assert (mounted.status, ask(registry, "GET", mounted.location).body) == (201, DATA)
    for query in (f"mount={digest_of(b'')}&from=source", f"mount={DIGEST}&from=none", f"mount={DIGEST}"):
        assert ask(registry, "POST", f"{START}?{query}").status == 202
    assert len(registry.uploads(REPOSITORY)) == 3
    registry.drop_uploads()
    assert registry.uploads(REPOSITORY) == {}


def test_turned_off() -> None:
    """Without mounts, single requests or chunks, an upload begins; streams are always taken."""
    with Registry(features=Features(mount=False, single_post=False, chunks=False)) as registry:
        push_blob(registry, "source", DATA)
        assert ask(registry, "POST", f"{START}?mount={DIGEST}&from=source").status == 202
        started = ask(registry, "POST", f"{START}?digest={DIGEST}", DATA)
        assert started.status == 202
        assert chunk(registry, started.location, 0, 100).status == 416
        assert ask(registry, "PATCH", started.location, DATA).status == 202


def test_smallest_chunk() -> None:
    """A chunk that is too small is the last one."""
    with Registry(features=Features(chunk_min_length=1000)) as registry:
        started = ask(registry, "POST", START)
        assert started.headers["oci-chunk-min-length"] == "1000"
        location = started.location
        assert chunk(registry, location, 0, 1000).status == 202
        assert chunk(registry, location, 1000, 1999).status == 202
        reply = chunk(registry, location, 1999, 5000)
        assert (reply.status, reply.code) == (400, "SIZE_INVALID")


def test_other_forms_of_location() -> None:
    """Locations may be paths only, and without a query."""
    with Registry(features=Features(relative_locations=True, location_state=False)) as registry:
        started = ask(registry, "POST", START)
        assert started.headers["location"].startswith(START)
        assert "?" not in started.headers["location"]
        done = ask(registry, "PUT", f"{started.location}?digest={DIGEST}", DATA)
        assert (done.status, done.headers["location"]) == (201, f"/v2/{REPOSITORY}/blobs/{DIGEST}")


@pytest.mark.parametrize("kept", [True, False])
def test_request_that_breaks_off(registry: Registry, *, kept: bool) -> None:
    """What came in before a client went is kept, or not, as registries differ in that."""
    with Registry(features=Features(keep_partial_chunks=kept), contents_of=registry) as other:
        location = ask(other, "POST", START).location
        assert chunk(other, location, 0, 1000).status == 202
        connection = connect(other)
        connection.putrequest("PATCH", location)
        connection.putheader("Content-Length", "10000")
        connection.endheaders(DATA[1000:1500])
        other.wait_for(lambda one: one.bytes_in == 500)
        connection.close()
        assert other.wait_for(lambda one: one.outcome == "gone")[0].status is None
        expected = 1500 if kept else 1000
        assert ask(other, "GET", location).headers["range"] == f"0-{expected - 1}"
        assert chunk(other, location, expected, len(DATA)).status == 202
        assert ask(other, "PUT", f"{location}&digest={DIGEST}").status == 201
    assert arrived(registry) == DATA


def test_too_much(tmp_path: Path) -> None:
    """What there is no room for is refused, gives its room back, and the registry goes on."""
    limits = RegistryLimits(stored_bytes=len(DATA) + 10, uploads=3, repositories=1)
    for directory in (None, tmp_path):
        with Registry(limits=limits, directory=directory) as registry:
            location = ask(registry, "POST", START).location
            assert ask(registry, "PUT", f"{location}&digest={DIGEST}", DATA * 2).status == 413
            assert ask(registry, "DELETE", location).status == 204
            assert push_blob(registry, REPOSITORY, DATA) == DIGEST
            assert ask(registry, "POST", f"{START}?digest={digest_of(b'x' * 99)}", b"x" * 99).status == 413
            assert ask(registry, "POST", "/v2/another/blobs/uploads/").status == 413
            statuses = [ask(registry, "POST", START).status for _ in range(4)]
            assert statuses == [202, 202, 202, 413]


def test_given_up_meanwhile(registry: Registry) -> None:
    """An upload that is given up while a chunk of it comes in is gone, and the chunk is told so."""
    location = ask(registry, "POST", START).location
    connection: http.client.HTTPConnection = connect(registry)
    connection.putrequest("PATCH", location)
    connection.putheader("Content-Length", str(len(DATA)))
    connection.endheaders(DATA[:100])
    registry.wait_for(lambda one: one.bytes_in == 100)
    assert ask(registry, "DELETE", location).status == 204
    connection.send(DATA[100:])
    assert connection.getresponse().status == 404
    connection.close()
