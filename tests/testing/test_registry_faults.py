"""Everything that the registry for tests does wrong on demand: exactly that, to exactly those requests."""

from __future__ import annotations

import http.client
import struct
import threading
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from asking import Reply, ask, connect, digest_of, make_image

from ocikit.testing import (
    Answer,
    ChangeHeaders,
    Chunked,
    Corrupt,
    Delay,
    DropUpload,
    Fault,
    Hang,
    LieAboutLength,
    Redirect,
    Registry,
    RegistryLimits,
    Reset,
    Truncate,
    WrongDigest,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ocikit.testing import Action

DATA = bytes(range(256)) * 1000
DIGEST = digest_of(DATA)
BLOB = f"/v2/team/app/blobs/{DIGEST}"
START = "/v2/team/app/blobs/uploads/"
IMAGE = make_image()


@pytest.fixture(params=["plain", "file", "tls"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    """A registry with a blob and an image, over each way that bytes go."""
    with Registry(tls=request.param == "tls") as one:
        (tmp_path / "blob").write_bytes(DATA)
        one.add_blob("team/app", tmp_path / "blob" if request.param == "file" else DATA)
        IMAGE.put(one, "team/app", "1")
        yield one


@pytest.fixture
def plain() -> Iterator[Registry]:
    """A registry with a blob and an image."""
    with Registry() as one:
        one.add_blob("team/app", DATA)
        IMAGE.put(one, "team/app", "1")
        yield one


def read_until_error(registry: Registry, path: str = BLOB) -> tuple[bytes, type[BaseException] | None]:
    """Read as far as it goes; return what came and how it ended."""
    connection = connect(registry)
    got = bytearray()
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        while piece := response.read1(1 << 16):
            got += piece
        ended: type[BaseException] | None = http.client.IncompleteRead if response.length else None
    except (OSError, http.client.HTTPException) as error:
        ended = type(error)
    finally:
        connection.close()
    return bytes(got), ended


def outcomes(registry: Registry) -> list[tuple[str, int | None, int]]:
    """Return how all requests ended."""
    return [(one.outcome, one.status, one.bytes_out) for one in registry.requests]


@pytest.mark.parametrize("at", [0, 1, 100_000, len(DATA)])
def test_reset_at_a_byte(registry: Registry, at: int) -> None:
    """The client has the bytes before the position, then the connection is reset; the next request is answered."""
    injection = registry.inject(Fault(kind="blob", do=Reset(sent=at)))
    got, ended = read_until_error(registry)
    assert got == DATA[:at]
    # Python's TLS takes a reset for an end.
    cut = http.client.IncompleteRead if registry.ca_file else ConnectionResetError
    assert ended is (cut if at < len(DATA) else None)
    assert (injection.fired, injection.pending) == (1, False)
    assert ask(registry, "GET", BLOB).body == DATA
    assert outcomes(registry) == [("reset", 200, at), ("answered", 200, len(DATA))]
    assert [one.faults for one in registry.requests] == [("Reset",), ()]


@pytest.mark.parametrize("at", [0, 65_537])
def test_closed_too_early(registry: Registry, at: int) -> None:
    """The client has the bytes before the position, then the connection ends as if that were all."""
    registry.inject(Fault(kind="blob", do=Truncate(sent=at)))
    got, ended = read_until_error(registry)
    assert got == DATA[:at]
    assert ended is not None
    assert ended is not ConnectionResetError
    assert outcomes(registry) == [("truncated", 200, at)]


@pytest.mark.parametrize(
    ("action", "error"), [(Reset(), ConnectionResetError), (Truncate(), http.client.RemoteDisconnected)]
)
@pytest.mark.parametrize("done", [False, True])
def test_no_answer(plain: Registry, action: Reset | Truncate, error: type[Exception], *, done: bool) -> None:
    """A request goes unanswered, and is carried out or not, as the test wants it."""
    plain.inject(Fault(kind="manifest", method="DELETE", do=type(action)(done=done)))
    with pytest.raises(error):
        ask(plain, "DELETE", "/v2/team/app/manifests/1")
    assert ("1" in plain.tags("team/app")) != done
    assert plain.requests[0].status is None


@pytest.mark.parametrize("action", [Reset, Truncate, Hang])
def test_broken_off_while_sending(plain: Registry, action: type[Reset | Truncate | Hang]) -> None:
    """A request breaks off after so many bytes of its body; these are in the upload."""
    location = ask(plain, "POST", START).location
    plain.inject(Fault(kind="upload_patch", do=action(received=10_000)))
    connection = connect(plain)
    connection.putrequest("PATCH", location)
    connection.putheader("Content-Length", str(len(DATA)))
    connection.endheaders(DATA[:15_000])
    assert plain.wait_for(lambda one: one.bytes_in >= 10_000)[0].bytes_in == 10_000
    if action is not Hang:
        with pytest.raises((OSError, http.client.HTTPException)):  # noqa: PT012
            connection.send(DATA[15_000:])
            connection.getresponse()
    connection.close()
    plain.wait_for(lambda one: one.kind == "upload_patch" and one.ended is not None)
    assert ask(plain, "GET", location).headers["range"] == "0-9999"
    rest = {"Content-Range": f"10000-{len(DATA) - 1}"}
    assert ask(plain, "PUT", f"{location}&digest={DIGEST}", DATA[10_000:], rest).status == 201


@pytest.mark.parametrize("received", [0, 10])
def test_broken_off_without_a_body(plain: Registry, received: int) -> None:
    """A request without a body breaks off at once, and is not carried out."""
    plain.inject(Fault(kind="manifest", do=Reset(received=received)))
    with pytest.raises(ConnectionResetError):
        ask(plain, "DELETE", "/v2/team/app/manifests/1")
    assert [*plain.tags("team/app")] == ["1"]


def test_hang(registry: Registry) -> None:
    """Nothing more comes until the client goes, or the registry is stopped; that is at once."""
    registry.inject(Fault(kind="blob", do=Hang(sent=1000), times=2))
    connections = [connect(registry) for _ in range(2)]
    for connection in connections:
        connection.request("GET", BLOB)
        assert connection.getresponse().read(1000) == DATA[:1000]
        assert connection.sock is None or connection.sock.fileno() >= 0
    assert [(one.outcome, one.bytes_out) for one in registry.requests] == [("running", 1000)] * 2
    connections[0].close()
    registry.disconnect()
    registry.wait_for(lambda one: one.outcome == "gone", count=2)
    connections[1].close()
    registry.inject(Fault(kind="ping", do=Hang()))

    def wait() -> None:
        with pytest.raises((OSError, http.client.HTTPException)):
            ask(registry, "GET", "/v2/")

    waiting = threading.Thread(target=wait)
    waiting.start()
    registry.wait_for(lambda one: one.kind == "ping")
    registry.stop()
    waiting.join()


@pytest.mark.parametrize("at", [0, 77, 255_999, -1, 10**9])
def test_wrong_byte(registry: Registry, at: int) -> None:
    """One byte is another, and everything else is as it should be."""
    registry.inject(Fault(kind="blob", do=Corrupt(at=at)))
    body = ask(registry, "GET", BLOB).body
    position = min(at, len(DATA) - 1) % len(DATA)
    assert [index for index in range(len(DATA)) if body[index] != DATA[index]] == [position]
    assert len(body) == len(DATA)


def test_wrong_byte_of_a_part(plain: Registry, tmp_path: Path) -> None:
    """The position is that in what is sent."""
    plain.inject(Fault(kind="blob", do=Corrupt(at=1)))
    assert ask(plain, "GET", BLOB, headers={"Range": "bytes=10-12"}).body == bytes([10, 11 ^ 0xFF, 12])
    (tmp_path / "one").write_bytes(b"1")
    plain.add_blob("team/app", tmp_path / "one")
    plain.inject(Fault(kind="blob", do=Corrupt()))
    assert ask(plain, "GET", f"/v2/team/app/blobs/{digest_of(b'1')}").body == bytes([ord("1") ^ 0xFF])
    plain.add_blob("team/app", b"")
    plain.inject(Fault(kind="blob", do=Corrupt(at=1)))
    assert ask(plain, "GET", f"/v2/team/app/blobs/{digest_of(b'')}").body == b""


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 502, 503, 504])
def test_other_answers(plain: Registry, status: int) -> None:
    """Any status, with an error as the specification has them; the request is not carried out."""
    plain.inject(Fault(kind="manifest", do=Answer(status=status), times=2))
    for method in ("DELETE", "GET"):
        reply = ask(plain, method, "/v2/team/app/manifests/1")
        assert (reply.status, bool(reply.code)) == (status, True)
    assert ask(plain, "GET", "/v2/team/app/manifests/1").status == 200


def test_other_answers_break_off_too(plain: Registry) -> None:
    """What is sent instead of the right answer can be damaged and cut like that one."""
    page = Answer(status=200, body=b"0123456789")
    plain.inject(Fault(kind="blob", do=[page, Corrupt(at=0), Truncate(sent=5)]))
    got, ended = read_until_error(plain)
    assert (got, ended) == (bytes([ord("0") ^ 0xFF]) + b"1234", http.client.IncompleteRead)
    plain.inject(Fault(kind="blob", do=[Redirect(to="http://127.0.0.1:9"), ChangeHeaders(values={"Location": None})]))
    reply = ask(plain, "GET", BLOB)
    assert (reply.status, "location" in reply.headers) == (307, False)


def test_answers_of_choice(plain: Registry) -> None:
    """Code, body, headers and Retry-After, in seconds and as a date in any time zone."""
    when = datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    for action in (
        Answer(status=429, retry_after=2),
        Answer(status=503, retry_after=when, code="UNAVAILABLE", message="later"),
        Answer(status=200, body=b"{}", content_type="application/x", headers={"X-Own": "1"}),
        Answer.html_page(),
    ):
        plain.inject(Fault(kind="blob", do=action))
    replies = [ask(plain, "GET", BLOB) for _ in range(5)]
    assert (replies[0].headers["retry-after"], replies[0].code) == ("2", "TOOMANYREQUESTS")
    assert replies[1].headers["retry-after"] == "Wed, 02 Jan 2030 01:04:05 GMT"
    assert replies[1].json["errors"] == [{"code": "UNAVAILABLE", "message": "later"}]
    assert (replies[2].body, replies[2].headers["x-own"], replies[2].headers["content-type"]) == (
        b"{}",
        "1",
        "application/x",
    )
    assert replies[3].body.startswith(b"<!DOCTYPE html>")
    assert replies[4].body == DATA


def test_failure_that_was_none(plain: Registry) -> None:
    """What is answered with a failure may have been carried out."""
    plain.inject(Fault(kind="upload_start", do=Answer(status=500, done=True)))
    assert ask(plain, "POST", f"{START}?digest={digest_of(b'x')}", b"x").status == 500
    assert plain.has_blob("team/app", digest_of(b"x"))


def test_failure_in_the_middle_of_an_upload(plain: Registry) -> None:
    """An answer can come while the client is still sending, and the client gets it."""
    location = ask(plain, "POST", START).location
    for received, size in ((0, 5_000_000), (100, 5_000_000), (100, 50)):
        plain.inject(Fault(kind="upload_patch", do=Answer(status=503, received=received)))
        assert ask(plain, "PATCH", location, bytes(size)).status == 503
    assert ask(plain, "GET", location).headers["range"] == "0-149"
    assert [one.bytes_in for one in plain.requests if one.kind == "upload_patch"] == [0, 100, 50]


def test_first_matching_fault_takes_it(plain: Registry) -> None:
    """Faults for the same requests happen one after the other: a sequence is a list of them."""
    plain.inject(Fault(kind="blob", do=Answer(status=503), times=2))
    plain.inject(Fault(kind="blob", do=Answer(status=429)))
    plain.inject(Fault(kind="blob", do=Answer(status=500), skip=1, times=1))
    statuses = [ask(plain, "GET", BLOB).status for _ in range(6)]
    assert statuses == [503, 503, 429, 200, 500, 200]


def test_lasting_fault(plain: Registry) -> None:
    """A fault may last, until it is cancelled or all are."""
    lasting = plain.inject(Fault(kind="ping", do=Answer(status=500), times=None))
    assert [ask(plain, "GET", "/v2/").status for _ in range(3)] == [500] * 3
    assert (lasting.fired, lasting.pending) == (3, True)
    lasting.cancel()
    assert ask(plain, "GET", "/v2/").status == 200
    plain.inject(Fault(do=Answer(status=500), times=None))
    plain.clear_faults()
    assert ask(plain, "GET", "/v2/").status == 200
    with Registry(faults=[Fault(kind="ping", do=Answer(status=502))]) as other:
        assert [ask(other, "GET", "/v2/").status for _ in range(2)] == [502, 200]


@pytest.mark.parametrize(
    ("matching", "expected"),
    [
        ({"kind": "manifest"}, {"HEAD manifest", "GET manifest"}),
        ({"kind": ["ping", "blob"]}, {"GET ping", "GET blob"}),
        ({"method": "head"}, {"HEAD manifest"}),
        ({"repository": "team/*"}, {"HEAD manifest", "GET manifest", "GET blob"}),
        ({"reference": DIGEST}, {"GET blob"}),
        ({"reference": "1"}, {"HEAD manifest", "GET manifest"}),
        ({"where": lambda one: one.headers.get("range") is not None}, {"GET blob"}),
        ({}, {"GET ping", "HEAD manifest", "GET manifest", "GET blob"}),
    ],
)
def test_who_is_meant(plain: Registry, matching: dict[str, Any], expected: set[str]) -> None:
    """Requests are told apart by what they are about."""
    plain.inject(Fault(do=Answer(status=500), times=None, **matching))
    ask(plain, "GET", "/v2/")
    for method in ("HEAD", "GET"):
        ask(plain, method, "/v2/team/app/manifests/1")
    ask(plain, "GET", BLOB, headers={"Range": "bytes=0-1"})
    assert {f"{one.method} {one.kind}" for one in plain.requests if one.status == 500} == expected


def test_redirects(plain: Registry) -> None:
    """Clients are sent to another host, to the same path there or to a path of its own."""
    with Registry(contents_of=plain) as other:
        for status, to in ((307, other.url), (302, other.url + "/"), (308, f"{other.url}/v2/else?x=1")):
            plain.inject(Fault(kind="blob", do=Redirect(to=to, status=status)))
        replies = [ask(plain, "GET", f"{BLOB}?ns=docker.io") for _ in range(3)]
        assert [reply.status for reply in replies] == [307, 302, 308]
        assert [reply.headers["location"] for reply in replies] == [
            f"{other.url}{BLOB}?ns=docker.io",
            f"{other.url}{BLOB}?ns=docker.io",
            f"{other.url}/v2/else?x=1",
        ]
        assert ask(other, "GET", replies[0].location).body == DATA


def test_lies_about_digest_and_headers(plain: Registry) -> None:
    """Header lines are other ones, more, or missing."""
    path = "/v2/team/app/manifests/1"
    plain.inject(Fault(kind="manifest", do=WrongDigest()))
    changes: dict[str, str | None] = {"docker-content-digest": None, "content-type": "text/plain", "Link": "<x>"}
    plain.inject(Fault(kind="manifest", do=ChangeHeaders(values=changes)))
    first, second, third = (ask(plain, "GET", path) for _ in range(3))
    assert first.headers["docker-content-digest"] == digest_of(b"")
    assert (second.headers["content-type"], second.headers["link"]) == ("text/plain", "<x>")
    assert "docker-content-digest" not in second.headers
    assert {one.body for one in (first, second, third)} == {IMAGE.manifest}
    assert third.headers["docker-content-digest"] == IMAGE.digest


@pytest.mark.parametrize(("by", "expected"), [(5, len(DATA)), (-5, len(DATA) - 5), (-(10**9), 0)])
def test_lies_about_length(registry: Registry, by: int, expected: int) -> None:
    """A length is announced that is not that of the body; afterwards the connection is closed."""
    registry.inject(Fault(kind="blob", do=LieAboutLength(by=by)))
    got, _ = read_until_error(registry)
    assert got == DATA[:expected]
    registry.inject(Fault(kind="blob", do=LieAboutLength(by=by)))
    assert ask(registry, "HEAD", BLOB).headers["content-length"] == str(max(len(DATA) + by, 0))


def test_without_length(registry: Registry) -> None:
    """A body without its length is whole, and can break off all the same."""
    registry.inject(Fault(kind="blob", do=Chunked()))
    registry.inject(Fault(kind="blob", do=[Chunked(), Reset(sent=100)]))
    reply = ask(registry, "GET", BLOB)
    assert (reply.body, reply.headers["transfer-encoding"]) == (DATA, "chunked")
    assert "content-length" not in reply.headers
    got, ended = read_until_error(registry)
    assert (got, ended is not None) == (DATA[:100], True)


def test_upload_that_is_dropped(plain: Registry) -> None:
    """The registry forgets an upload in the middle of it."""
    location = ask(plain, "POST", START).location
    assert ask(plain, "PATCH", location, DATA).status == 202
    plain.inject(Fault(kind="upload_put", do=DropUpload()))
    reply = ask(plain, "PUT", f"{location}&digest={DIGEST}")
    assert (reply.status, reply.code) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert plain.uploads("team/app") == {}


def test_delays(plain: Registry) -> None:
    """A delay comes before the answer, or between the bytes; it ends when the registry is stopped."""
    plain.inject(Fault(kind="ping", do=Delay(seconds=0.05)))
    plain.inject(Fault(kind="blob", do=[Delay(seconds=0.01, every=100_000), Reset(sent=250_000)]))
    ask(plain, "GET", "/v2/")
    got, ended = read_until_error(plain)
    assert (got, ended) == (DATA[:250_000], ConnectionResetError)
    slow, slower = plain.requests
    for one, least in ((slow, 0.05), (slower, 0.02)):
        assert one.ended is not None
        assert one.ended - one.started >= least
    plain.inject(Fault(kind="ping", do=Delay(seconds=3600)))
    connection = connect(plain)
    connection.request("GET", "/v2/")
    plain.wait_for(lambda one: one.faults == ("Delay",) and one.kind == "ping", count=2)
    plain.stop()
    with pytest.raises((OSError, http.client.HTTPException)):
        connection.getresponse()
    connection.close()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Reset(sent=1, done=True),
        lambda: Hang(sent=1, received=1),
        lambda: Truncate(sent=-1),
        lambda: Delay(seconds=-1),
        lambda: Delay(seconds=1, every=0),
        lambda: Fault(do=[]),
        lambda: Fault(do="reset"),  # type: ignore[arg-type]
        lambda: Fault(do=Reset(), kind="layer"),  # type: ignore[arg-type]
        lambda: Fault(do=Reset(), skip=-1),
        lambda: RegistryLimits(connections=0),
    ],
)
def test_what_makes_no_sense(make: Any) -> None:
    """A fault that cannot happen is refused when it is made."""
    with pytest.raises(ValueError, match="expected"):
        make()


def test_reset_is_one(plain: Registry) -> None:
    """A reset is a reset on the wire, also for a client that has not read yet, which gets what came before."""
    plain.inject(Fault(kind="blob", do=Reset(sent=100)))
    connection = connect(plain)
    connection.request("GET", BLOB)
    plain.wait_for(lambda one: one.outcome == "reset")
    time.sleep(0.05)
    assert connection.sock.getsockopt(1, 4) in {0, 104}  # SO_ERROR, taken by whoever reads it
    response = connection.getresponse()
    assert response.read(100) == DATA[:100]
    connection.close()


def test_every_kind_of_request_can_fail(plain: Registry) -> None:
    """Each stage of pulling and pushing is a kind of its own."""
    location = ask(plain, "POST", START).location
    requests = {
        "ping": ("GET", "/v2/"),
        "token": ("GET", "/token"),
        "catalog": ("GET", "/v2/_catalog"),
        "tags": ("GET", "/v2/team/app/tags/list"),
        "manifest": ("GET", "/v2/team/app/manifests/1"),
        "blob": ("GET", BLOB),
        "referrers": ("GET", f"/v2/team/app/referrers/{DIGEST}"),
        "upload_start": ("POST", START),
        "upload_patch": ("PATCH", location),
        "upload_put": ("PUT", location),
        "upload_status": ("GET", location),
        "upload_cancel": ("DELETE", location),
        "other": ("GET", "/"),
    }
    for kind, (method, path) in requests.items():
        injection = plain.inject(Fault(kind=kind, do=Answer(status=418)))  # type: ignore[arg-type]
        reply: Reply = ask(plain, method, path)
        assert (reply.status, injection.fired) == (418, 1), kind
    assert ask(plain, "GET", location).status == 204


def _actions() -> list[Action]:
    return [Reset(), Truncate(), Hang(), Answer(status=500), Redirect(to="http://127.0.0.1:9"), DropUpload(), Chunked()]


@pytest.mark.parametrize("action", _actions(), ids=lambda one: type(one).__name__)
def test_no_fault_stops_the_registry(plain: Registry, action: Action) -> None:
    """Whatever happens to requests of any kind, the registry answers the next one."""
    for method, path in (("HEAD", BLOB), ("PUT", "/v2/team/app/manifests/1"), ("POST", START), ("BREW", "/pot")):
        plain.inject(Fault(do=action))
        connection = connect(plain)
        connection.sock = None
        try:
            connection.timeout = 0.2 if isinstance(action, Hang) else 30
            connection.request(method, path, b"x")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException, struct.error):
            pass
        finally:
            connection.close()
    assert ask(plain, "GET", BLOB).body == DATA
    assert plain.requests[-1].started <= datetime.now(UTC).timestamp() + time.monotonic()
