"""Docker APIs that break off, lie, drip and never end: each is a typed error with the address, in bounded time."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
from saved import layer
from test_docker_archive_write import save

from ocikit.errors import InvalidReferenceError, LayoutError, OCIKitError, SystemCallError
from ocikit.image import SystemContext, parse_image_name
from ocikit.image.transports import _docker_api as api_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

REFERENCE = parse_image_name("docker-daemon:app:1")
LAYERS = [layer("a"), layer("b", 300_000)]
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
STREAM = b'{"stream":"x"}\n'


@contextlib.contextmanager
def raw(place: Path, answer: Callable[[socket.socket], object], *, drained: bool = True) -> Iterator[SystemContext]:
    """Answer one request on a socket with bytes as they are; give the circumstances that lead there."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place / "s"))
        server.listen()

        def run() -> None:
            with contextlib.suppress(OSError), server.accept()[0] as connection:
                connection.settimeout(20)
                with connection.makefile("rb") as file:
                    size = 0
                    while (line := file.readline()).strip():
                        if line.lower().startswith(b"content-length:"):
                            size = int(line.split(b":")[1])
                    file.read(size if drained else 0)
                answer(connection)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield SystemContext(docker_daemon_host=f"unix://{place}/s")
        finally:
            thread.join()


def load(place: Path, answer: bytes, *, drained: bool = True) -> None:
    """Load an image into a service that gives an answer."""
    with raw(place, lambda connection: connection.sendall(answer), drained=drained) as sys:
        save(REFERENCE, *LAYERS, sys=sys)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (OK + b"Content-Length: 500\r\n\r\n" + STREAM, "ends early"),
        (CHUNKED + b"500\r\n" + STREAM, "ends early"),
        (CHUNKED + b"zz\r\n" + STREAM, "ends early"),
        (CHUNKED + b"-1\r\n" + STREAM, "ends early"),
        (CHUNKED + b"-5\r\n" + STREAM, "ends early"),
        (OK + b"\r\n" + STREAM + b'{"errorDetail":{"message":"boom"}}\n', "not loaded: boom"),
        (OK + b'\r\n{"errorDetail":{"code":1}}\n', "not loaded: no reason given"),
        (OK + b'\r\n{"stream":"}"}{"error":"boom"}', "not loaded: boom"),
        (OK + b'\r\n{\n "error":\n "boom"\n}', "not loaded: boom"),
        (OK + b'\r\n{"error":"boom"}\n{"stream', "not loaded: boom"),
        (OK + b'\r\n{"stream":"' + b"x" * 70_000 + b'","error":"boom"}\n', "not loaded: boom"),
        (OK + b'\r\n{"stream":"x', "not known: .*a string has no end"),
        (OK + b'\r\n{"stream":"x"', "not known"),
        (OK + b"\r\n" + b"[" * 60_000, "not known: .*nesting depth"),
        (OK + b"\r\n" + b"[" * 60_000 + b"]" * 60_000, "not known: .*nesting depth"),
        (OK + b'\r\n{"error":' + b"9" * 60_000 + b"}\n", "not known"),
        (OK + b"\r\n]]]", "not known"),
        (b"HTTP/1.1 500 X\r\nContent-Length: 500\r\n\r\nhalf a reason", "500 X: half a reason"),
        (b"", "no answer"),
        (b"SSH-2.0-\x1b[31m" + b"x" * 9000 + b"\r\n", r"no answer: SSH-2.0-\\x1b\[31m"),
    ],
)
def test_loads_that_are_no_success(tmp_path: Path, answer: bytes, message: str) -> None:
    """An answer that is not whole, or has an error in it in any shape, is an error with the address."""
    with pytest.raises(LayoutError, match=message) as caught:
        load(tmp_path, answer)
    assert f"unix://{tmp_path}/s" in str(caught.value)
    assert len(str(caught.value)) < 1500


def test_loads_that_succeed(tmp_path: Path) -> None:
    """JSON objects however they are laid out, and nothing at all, are a success."""
    for number, body in enumerate([b"", STREAM * 3, b'{"a":{"b":"\\"}"}}{}\n{\n}\n']):
        for head in (OK + b"\r\n", OK + b"Content-Length: %d\r\n\r\n" % len(body)):
            place = tmp_path / f"{number}{len(head)}"
            place.mkdir()
            load(place, head + body)


def test_what_is_said_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service may say only so much about a load."""
    monkeypatch.setattr(api_module, "_MOST_SAID", 1000)
    with pytest.raises(OCIKitError, match=r"bytes that unix://.* says about a load: limit 1,000"):
        load(tmp_path, OK + b"\r\n" + STREAM * 100)


def test_who_answers_early(tmp_path: Path) -> None:
    """The reason of a service that does not take what is sent is not lost; its success is none."""
    big = [layer("a", 5_000_000)]
    answers = {
        b'HTTP/1.1 500 no\r\n\r\n{"message":"early"}': "500 no: early",
        OK + b"\r\n": "ends early|did not take all",
        OK + b"Content-Length: 0\r\n\r\n": "did not take all",
        b"": "no answer",
    }
    for number, (answer, message) in enumerate(answers.items()):
        (tmp_path / str(number)).mkdir()
        with (
            raw(tmp_path / str(number), lambda one, said=answer: one.sendall(said), drained=False) as sys,  # type: ignore[misc]
            pytest.raises(LayoutError, match=rf"unix://.*({message})"),
        ):
            save(REFERENCE, *big, sys=sys)


@pytest.mark.parametrize("size", [b"-1", b"-5", b"zz"])
def test_chunks_of_no_size(tmp_path: Path, size: bytes) -> None:
    """A chunk of -1 bytes is not everything that comes."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(CHUNKED + size + b"\r\n")
        for _ in range(1000):
            connection.sendall(bytes(1 << 16))

    with raw(tmp_path, answer) as sys, pytest.raises(LayoutError, match=r"unix://.* ends early"):
        REFERENCE.new_image_source(sys)


def test_what_a_service_says_is_printable(tmp_path: Path) -> None:
    """Escape sequences in a reason and in the line of the status do not reach a terminal, nor megabytes a log."""
    said = b'HTTP/1.1 500 \x1b[2J\r\n\r\n{"message":"\\u001b[31mred' + b"x" * 50_000 + b'"}'
    with (
        raw(tmp_path, lambda connection: connection.sendall(said)) as sys,
        pytest.raises(LayoutError, match=r"500 \\x1b\[2J: \\x1b\[31mred") as caught,
    ):
        REFERENCE.new_image_source(sys)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize("head", [b"", OK + b"\r\n", OK + b"Content-Length: 999\r\n\r\n", CHUNKED])
def test_drips(tmp_path: Path, head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte in each timeout does not hold anybody: neither before an answer, nor in a load's, nor in an image."""
    monkeypatch.setattr(api_module, "_ANSWER_SECONDS", 0.5)

    def answer(connection: socket.socket) -> None:
        connection.sendall(head or b"HTTP/1.1 100 Continue\r\nX: ")
        if head == CHUNKED:
            connection.sendall(b"fff\r\n")
        for _ in range(60):
            connection.sendall(b" ")
            time.sleep(0.1)

    uses: tuple[Callable[[SystemContext], object], ...] = (
        REFERENCE.new_image_source,
        lambda sys: save(REFERENCE, *LAYERS, sys=sys),
    )
    for number, use in enumerate(uses):
        (tmp_path / str(number)).mkdir()
        began = time.monotonic()
        with raw(tmp_path / str(number), answer) as sys, pytest.raises(SystemCallError, match=rf"unix://{tmp_path}"):
            use(sys)
        assert time.monotonic() - began < 4


def test_endless_continue(tmp_path: Path) -> None:
    """``100 Continue`` for ever is no answer, however fast it comes."""

    def answer(connection: socket.socket) -> None:
        for _ in range(10_000):
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)

    with raw(tmp_path, answer) as sys, pytest.raises(LayoutError, match="no end to it"):
        REFERENCE.new_image_source(sys)


def test_who_takes_slowly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that is taken slower than anybody waits for is not sent to its end."""
    monkeypatch.setattr(api_module, "_ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(api_module, "_LEAST_RATE", 100_000_000)

    def answer(connection: socket.socket) -> None:
        while connection.recv(1 << 16):
            time.sleep(0.1)

    big = [layer("a", 8_000_000)]
    with raw(tmp_path, answer, drained=False) as sys, pytest.raises(SystemCallError, match=r"only .* bytes in"):
        save(REFERENCE, *big, sys=sys)


@pytest.mark.parametrize(
    "host",
    ["tcp://u:SECRET@127.0.0.1:1", "u:SECRET@h", "https://SECRET@h", "tcp://u:SE/SECRET@h", "unix://u:SECRET@h/x"],
)
def test_a_password_is_kept(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password in an address is refused, and in no error or repr."""
    sys = SystemContext(docker_daemon_host=host)
    assert sys.docker_daemon_host == host
    assert "SECRET" not in repr(sys)
    monkeypatch.setenv("DOCKER_HOST", host)
    for one in (sys, None):
        with pytest.raises(InvalidReferenceError, match="a user or a password") as caught:
            REFERENCE.new_image_source(one)
        assert "SECRET" not in str(caught.value)


def test_addresses_without_one_are_shown() -> None:
    """What has no user in it is shown as it is; a socket may have any path."""
    for host in (None, "unix:///run/a@b/s", "tcp://127.0.0.1:2375"):
        assert f"docker_daemon_host={host!r}" in repr(SystemContext(docker_daemon_host=host))
