"""The registry for tests with clients that are no clients: bounded, never stopped, and gone at its end."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from asking import ask, connect, digest_of
from hypothesis import given
from hypothesis import strategies as st

import ocikit
from ocikit.errors import LimitExceededError, SystemCallError
from ocikit.testing import Fault, Hang, Registry, RegistryLimits
from ocikit.testing.faults import Corrupt
from ocikit.testing.messages import Refusal, parse_head
from ocikit.testing.pieces import FilePiece, corrupt, size, split, steps
from ocikit.testing.ranges import parse_content_range, parse_range

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ocikit.testing.pieces import Piece

#: What comes over a connection, and the status of the answer; None: there is none.
HOSTILE: list[tuple[bytes, int | None]] = [
    (b"", None),
    (b"GET", None),
    (b"\r\n\r\n", 400),
    (b"\0" * 100 + b"\r\n\r\n", 400),
    (b"GET / HTTP/2.0\r\n\r\n", 400),
    (b"GET  / HTTP/1.1\r\n\r\n", 400),
    (b"GET v2 HTTP/1.1\r\n\r\n", 400),
    (b"GET http://[ HTTP/1.1\r\n\r\n", 400),
    (b"GET ftp://host/v2/ HTTP/1.1\r\n\r\n", 400),
    (b"get / HTTP/1.1\r\n\r\n", 400),
    (b"\x16\x03\x01", 400),
    (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n folded: 1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 101 + b"\r\n", 431),
    (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 431),
    (b"GET /?" + b"a=b&" * 101 + b" HTTP/1.1\r\n\r\n", 414),
    (b"GET /v2/" + b"a/" * 9000 + b"tags/list HTTP/1.1\r\n\r\n", 400),
    (b"PUT /v2/a/manifests/1 HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
    (b"PUT /v2/a/manifests/1 HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    (b"PUT /v2/a/manifests/1 HTTP/1.1\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n", 400),
    (b"PUT /v2/a/manifests/1 HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n", 413),
    (b"PUT /v2/a/manifests/1 HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
    (b"PUT /v2/a/manifests/1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400),
    (b"PUT /v2/a/manifests/1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400),
    (b"PUT /v2/a/manifests/1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", 400),
    (b"PUT /v2/a/manifests/1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 200, 400),
    (b"PUT /v2/a/manifests/1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 20_000, None),
    (b"PUT /v2/a/manifests/1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffff\r\n" + b"a" * (5 << 20), 413),
    (b"GET /v2/ HTTP/1.0\r\n\r\n", 200),
    (b"GET http://host/v2/ HTTP/1.1\r\nConnection: close\r\n\r\n", 200),
    (b"GET /v2/a%0d%0aX:y/tags/list HTTP/1.1\r\nConnection: close\r\n\r\n", 404),
    (b"GET /v2/%00%ff/tags/list HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
    (b"GET /v2/a/blobs/sha256:../../../etc/passwd HTTP/1.1\r\nConnection: close\r\n\r\n", 404),
    (b"GET /v2/a/blobs/sha256:%2e%2e%2fetc HTTP/1.1\r\nConnection: close\r\n\r\n", 404),
    (b"GET /v2/ HTTP/1.1\r\nAuthorization: Basic \xff\xfe\r\nConnection: close\r\n\r\n", 200),
]


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    """A registry for all of them."""
    with Registry(limits=RegistryLimits(connections=8)) as one:
        yield one


def raw(registry: Registry, data: bytes) -> bytes:
    """Send bytes and nothing more; return all that comes back."""
    host, _, port = registry.address.rpartition(":")
    got = bytearray()
    with socket.create_connection((host, int(port)), timeout=30) as client:
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            while piece := client.recv(1 << 16):
                got += piece
        except ConnectionError:
            pass
    return bytes(got)


@pytest.mark.parametrize(("data", "status"), HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_requests(registry: Registry, data: bytes, status: int | None) -> None:
    """What is no request is refused, or the connection ends; the next client is served."""
    answer = raw(registry, data)
    if status is None:
        assert answer == b""
    else:
        assert answer.split(b"\r\n")[0].split(b" ")[:2] == [b"HTTP/1.1", b"%d" % status]
    assert ask(registry, "GET", "/v2/").status == 200


@given(st.binary(max_size=300))
def test_any_bytes_are_a_head_or_refused(data: bytes) -> None:
    """Reading a head ends in a head or in a refusal."""
    for head in (data, b"GET /" + data + b" HTTP/1.1", b"PUT / HTTP/1.1\r\n" + data):
        try:
            target = parse_head(head).target
        except Refusal as refusal:
            target = f"/{refusal.status}"
        assert target.startswith("/")


@given(st.text("bytes=0123456789-, ", max_size=40), st.integers(0, 50))
def test_any_range_is_within_the_blob(text: str, length: int) -> None:
    """Whatever a Range says, its parts are parts of the blob."""
    spans = parse_range(text, length)
    assert all(0 <= span.start < span.end <= length for span in spans or ())
    span = parse_content_range(text)
    assert span is None or span.start < span.end


def joined(body: Iterable[Piece]) -> bytes:
    """Return a body in one piece."""
    return b"".join(bytes(piece) for piece in body if not isinstance(piece, FilePiece))


@given(st.lists(st.binary(max_size=20), max_size=5), st.integers(-60, 60), st.integers(1, 9))
def test_bodies_are_cut_without_loss(body: list[bytes], at: int, step: int) -> None:
    """A body that is split, or sent in steps, is the same; a corrupt one differs in one byte."""
    whole = b"".join(body)
    before, after = (joined(part) for part in split(body, at))
    assert before + after == whole
    assert before == whole[: max(at, 0)]
    assert joined(steps(body, step)) == whole
    damaged = joined(corrupt(body, at))
    assert len(damaged) == len(whole) == size(body)
    assert sum(a != b for a, b in zip(damaged, whole, strict=True)) == bool(whole)


def test_pipelined_requests(registry: Registry) -> None:
    """Requests that come at once are answered in order, bodies that nobody wants are skipped."""
    body = b"PUT /v2/a/tags/list HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"
    answer = raw(registry, body + b"GET /v2/ HTTP/1.1\r\n\r\n" * 2)
    assert answer.count(b"HTTP/1.1 405 ") == 1
    assert answer.count(b"HTTP/1.1 200 OK") == 2


def test_connections_are_bounded(registry: Registry) -> None:
    """More connections than there are places for wait until one ends."""
    connections = [connect(registry) for _ in range(8)]
    for connection in connections:
        assert ask(registry, "GET", "/v2/", over=connection).status == 200
    statuses: list[int] = []
    waiting = threading.Thread(target=lambda: statuses.append(ask(registry, "GET", "/v2/").status))
    waiting.start()
    assert statuses == []
    connections.pop().close()
    waiting.join()
    assert statuses == [200]
    for connection in connections:
        connection.close()


def test_records_are_bounded() -> None:
    """When requests are no longer remembered, counting them is an error and not a wrong number."""
    with Registry(limits=RegistryLimits(records=3)) as registry:
        for _ in range(4):
            ask(registry, "GET", "/v2/")
        with pytest.raises(LimitExceededError, match="records"):
            _ = registry.requests
        registry.clear_requests()
        ask(registry, "GET", "/v2/")
        assert [one.number for one in registry.requests] == [5]


def test_port_that_is_taken() -> None:
    """A port can be chosen; that it is taken is one clear error."""
    with Registry() as registry:
        port = int(registry.address.rpartition(":")[2])
        with pytest.raises(SystemCallError, match=f"listen at 127.0.0.1:{port}"):
            Registry(port=port).start()
    with Registry(port=port) as again:
        assert again.address == f"127.0.0.1:{port}"


def test_before_the_start() -> None:
    """A registry that was never started has no address, can be filled, and can be closed."""
    registry = Registry()
    digest = registry.add_blob("a", b"a")
    with pytest.raises(RuntimeError, match="with statement"):
        _ = registry.address
    assert registry.has_blob("a", digest)
    registry.close()
    assert not registry.has_blob("a", digest)


def test_started_again() -> None:
    """A registry that died comes back where it was, with what it had, and numbers go on."""
    with Registry() as registry:
        registry.add_blob("a", b"a")
        address = registry.address
        connection = connect(registry)
        assert ask(registry, "GET", "/v2/", over=connection).status == 200
        registry.stop()
        with pytest.raises(OSError, match="refused"):
            connect(registry).connect()
        registry.stop()
        registry.start()
        registry.start()
        assert registry.address == address
        assert ask(registry, "GET", f"/v2/a/blobs/{digest_of(b'a')}").body == b"a"
        assert [one.connection for one in registry.requests] == [1, 2]
        connection.close()


def test_ipv6() -> None:
    """It listens at the other loopback address, too."""
    with Registry(host="::1") as registry:
        assert registry.address.startswith("[::1]:")
        with socket.create_connection(("::1", int(registry.address.rpartition(":")[2]))) as client:
            client.sendall(b"GET /v2/ HTTP/1.1\r\nConnection: close\r\n\r\n")
            assert client.recv(15) == b"HTTP/1.1 200 OK"


def descriptors() -> set[str]:
    """Return what the open descriptors of this process are."""
    gc.collect()
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one of the list
            found.add(os.readlink(f"/proc/self/fd/{name}"))
    return found


@pytest.mark.parametrize("tls", [False, True])
def test_nothing_is_left(tmp_path: Path, *, tls: bool) -> None:
    """In the middle of everything, the end is at once: no thread, no descriptor, no file is left."""
    before = descriptors()
    with Registry(tls=tls, directory=tmp_path) as registry:
        digest = registry.add_blob("a", bytes(50_000_000))
        location = ask(registry, "POST", "/v2/a/blobs/uploads/").location
        registry.inject(Fault(kind="ping", do=Hang()))
        clients = [connect(registry) for _ in range(5)]
        clients[0].request("GET", "/v2/")  # hangs
        clients[1].request("GET", f"/v2/a/blobs/{digest}")  # more than fits into any buffer
        clients[2].putrequest("PATCH", location)
        clients[2].putheader("Content-Length", "1000")
        clients[2].endheaders(b"a" * 10)  # comes no further
        clients[3].connect()  # says nothing
        with socket.create_connection(registry.address.rsplit(":", 1)) as silent:  # type: ignore[arg-type]  # no handshake
            registry.wait_for(lambda one: one.bytes_in == 10)
            registry.wait_for(lambda one: one.faults == ("Hang",))
            registry.wait_for(lambda one: one.kind == "blob")
            registry.close()
            registry.close()
            silent.close()
        for client in clients:
            client.close()
    port = registry.address.rpartition(":")[2]
    assert [one.name for one in threading.enumerate() if port in one.name] == []
    assert descriptors() - before == set()
    assert [*tmp_path.iterdir()] == []
    assert not tls or not os.path.lexists(registry.cert_directory or "")


FORKED = """
import os, socket, sys
from ocikit.testing import Fault, Registry, Reset

with Registry(directory=sys.argv[1]) as registry:
    address = registry.address.split(":")
    with socket.create_connection(address) as client:
        client.sendall(b"GET /v2/ HTTP/1.1\\r\\n\\r\\n")
        client.recv(1 << 16)
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            ours.close()
            registry.close()
            theirs.send(b".")
            theirs.recv(1)
            os._exit(0)
        theirs.close()
        ours.recv(1)
        assert registry.blob("a", registry.add_blob("a", b"a")) == b"a"
        registry.inject(Fault(do=Reset()))
        client.sendall(b"GET /v2/ HTTP/1.1\\r\\n\\r\\n")
        try:
            print(client.recv(1 << 16))
        except ConnectionResetError:
            print("reset", end=" ")
    registry.stop()
    try:
        socket.create_connection(address).close()
    except ConnectionRefusedError:
        print("refused", end=" ")
    ours.close()
    print(os.wait()[1])
"""


def test_forked_children_keep_nothing(tmp_path: Path) -> None:
    """A forked child keeps no connection, so that a reset is one, and takes nothing along at its end."""
    script = tmp_path / "forked.py"
    script.write_text(FORKED)
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(script), str(tmp_path)]
    root = str(Path(ocikit.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert (done.stdout, done.stderr) == ("reset refused 0\n", "")


def test_corrupt_is_shown_as_it_was_made() -> None:
    """An injection shows its fault."""
    with Registry() as registry:
        assert "Corrupt(at=3)" in repr(registry.inject(Fault(do=Corrupt(at=3))))
        assert "listening" in repr(registry)
