"""What the registry for tests remembers of requests, as tests count them."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest
from asking import MANIFEST, ask, connect, digest_of, make_image

from ocikit.testing import Answer, Fault, Registry

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = bytes(range(256)) * 1000
DIGEST = digest_of(DATA)
BLOB = f"/v2/team/app/blobs/{DIGEST}"
IMAGE = make_image()


@pytest.fixture
def plain() -> Iterator[Registry]:
    """A registry with a blob and an image."""
    with Registry() as one:
        one.add_blob("team/app", DATA)
        IMAGE.put(one, "team/app", "1")
        yield one


def test_requests_are_recorded(plain: Registry) -> None:
    """A record says everything that a test may want to count, and nothing secret."""
    connection = connect(plain)
    headers = {"Authorization": "Bearer secret", "Cookie": "secret", "Range": "bytes=0-9", "User-Agent": "agent/1"}
    ask(plain, "GET", f"{BLOB}?ns=x", headers=headers, over=connection)
    ask(plain, "PUT", "/v2/team/app/manifests/2", IMAGE.manifest, {"Content-Type": MANIFEST}, over=connection)
    connection.close()
    ask(plain, "GET", "/v2/")
    got, put, ping = plain.requests
    assert (got.number, got.method, got.target) == (1, "GET", f"{BLOB}?ns=x")
    assert (got.kind, got.repository, got.reference) == ("blob", "team/app", DIGEST)
    assert (got.headers["range"], got.headers["user-agent"]) == ("bytes=0-9", "agent/1")
    assert (got.authorization, got.token, got.status, got.bytes_out) == ("bearer", "unknown", 206, 10)
    assert (put.bytes_in, put.status, put.reference) == (len(IMAGE.manifest), 201, "2")
    assert [one.connection for one in (got, put, ping)] == [1, 1, 2]
    assert got.ended is not None
    assert got.started <= got.ended <= put.started
    assert "secret" not in str(plain.requests) + json.dumps([dict(one.headers) for one in plain.requests])
    plain.clear_requests()
    assert plain.requests == ()


def test_what_a_client_did_not_take_is_not_counted(plain: Registry) -> None:
    """When a client goes in the middle, no more is counted than its system and ours may have taken."""
    digest = plain.add_blob("team/app", bytes(100_000_000))
    connection = connect(plain)
    connection.request("GET", f"/v2/team/app/blobs/{digest}")
    assert len(connection.getresponse().read(1_000_000)) == 1_000_000
    connection.close()
    (gone,) = plain.wait_for(lambda one: one.outcome == "gone")
    assert 1_000_000 <= gone.bytes_out < 60_000_000


def test_waiting(plain: Registry) -> None:
    """A test waits for what is to happen, and is told what happened instead when it does not."""
    later = threading.Timer(0.05, ask, (plain, "GET", "/v2/"))
    later.start()
    assert [one.kind for one in plain.wait_for(lambda one: one.kind == "ping")] == ["ping"]
    later.join()
    with pytest.raises(TimeoutError, match=r"expected 2 requests .* found 1 of 1; the last ones: GET /v2/"):
        plain.wait_for(lambda _: True, count=2, timeout=0.01)


def test_many_at_once(plain: Registry) -> None:
    """Counts are exact when many threads ask at the same time."""
    failing = plain.inject(Fault(kind="blob", do=Answer(status=500), times=10))
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(ask(plain, "GET", BLOB).status)) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (statuses.count(500), statuses.count(200), failing.fired) == (10, 30, 10)
    assert sum(one.bytes_out for one in plain.requests if one.status == 200) == 30 * len(DATA)
    assert len({one.connection for one in plain.requests}) == 40
