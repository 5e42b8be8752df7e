"""Docker's API as far as images go through it: one request at a time, over a socket or TCP, with TLS or without.

podman's service answers the same requests. Every wait for the other side is bounded: an answer has a deadline, an image
a least rate. What the service says is shown as far as it can be printed, and only so much of it.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import io
import os
import re
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import quote, urlsplit

from ocikit._display.text import printable
from ocikit._tuples import NamedTuple
from ocikit.errors import (
    ImageNotFoundError,
    InvalidReferenceError,
    LayoutError,
    LimitExceededError,
    OCIKitError,
    ParseError,
    SystemCallError,
)
from ocikit.spec import _json

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from typing import Self

    from ocikit.image.types import ByteStream, SystemContext

__all__ = ["DockerAPI"]

_DEFAULT: Final = "unix:///var/run/docker.sock"
_CONNECT_SECONDS: Final = 10
# A service packs or unpacks a whole image before it says anything.
_ANSWER_SECONDS: Final = 600
# Bytes per second below which nobody waits any longer.
_LEAST_RATE: Final = 1024
# What is sent at once: the speed is looked at in between.
_CHUNK: Final = 64 << 10
# How much is read of an error, and of what is said about a load, or before an answer; and how much is shown.
_MOST_TEXT: Final = 64 << 10
_MOST_SAID: Final = 4 << 20
_LONGEST_REASON: Final = 1000
_PORT: Final = 2375
_TLS_PORT: Final = 2376
_EARLY: Final = "the answer ends early"
_OTHER: Final = "SystemContext(docker_daemon_host=…) names another"
_STRING_OR_BRACKET: Final = r'"[^"\\]*+(?:\\.[^"\\]*+)*+("?)|[\[\]{}]'


class _Address(NamedTuple):
    """Where the API is served."""

    path: str | None  # of a socket
    host: str
    port: int
    context: ssl.SSLContext | None


class _Pace:
    """Whether there is some speed: looked at once in the time that an answer may take."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._size = 0

    def passed(self, seconds: float, size: int) -> None:
        self._seconds += seconds
        self._size += size
        if self._seconds >= _ANSWER_SECONDS:
            if self._size < self._seconds * _LEAST_RATE:
                raise TimeoutError(f"only {self._size:,} bytes in {self._seconds:.0f} seconds")
            self._seconds, self._size = 0.0, 0


class _Watched(io.RawIOBase):
    """What a socket gives: by a deadline, and no more than so much; once it is ``paced``, as long as there is speed.

    A socket's own timeout begins anew with each byte.
    """

    def __init__(self, sock: socket.socket, raw: io.RawIOBase) -> None:
        self._sock = sock
        self._raw = raw
        self._until = time.monotonic() + _ANSWER_SECONDS
        self._size = 0
        self._pace: _Pace | None = None
        self.reset_is_end = False

    def paced(self) -> None:
        self._pace = _Pace()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int | None:  # type: ignore[override]  # the reader gives no other
        began = time.monotonic()
        left = _ANSWER_SECONDS if self._pace is not None else self._until - began
        if left <= 0:
            raise TimeoutError(f"no whole answer in {_ANSWER_SECONDS} seconds")
        self._sock.settimeout(left)
        try:
            size = cast("int", self._raw.readinto(buffer))
        except ConnectionResetError:
            if not self.reset_is_end:
                raise
            return 0
        if self._pace is not None:
            # Only what is waited here: whoever reads may take its time.
            self._pace.passed(time.monotonic() - began, size)
        else:
            self._size += size
            if self._size > 2 * _MOST_SAID:
                raise http.client.HTTPException("there is no end to it")
        return size

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Buffered(io.BufferedReader):
    """What http.client reads from; it takes a chunk of -1 bytes for everything there is."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(_natural(size))

    def read1(self, size: int | None = -1, /) -> bytes:
        return super().read1(_natural(size))


def _natural(size: int | None) -> int:
    if size is None or size < 0:
        raise http.client.HTTPException("a chunk has no size")
    return size


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, debuglevel: int = 0, method: str | None = None) -> None:
        super().__init__(sock, debuglevel, method)
        self.watched = _Watched(sock, self.fp.detach())
        self.fp = _Buffered(self.watched, _CHUNK)


class _Paced:
    """A body that is sent, as long as it is taken at some speed."""

    def __init__(self, body: ByteStream) -> None:
        self._body = body
        self._pace = _Pace()
        self._left: float | None = None
        self._sent = 0

    def read(self, size: int = -1, /) -> bytes:
        if self._left is not None:
            self._pace.passed(time.monotonic() - self._left, self._sent)
        data = self._body.read(size)
        self._left, self._sent = time.monotonic(), len(data)
        return data


class _Connection(http.client.HTTPConnection):
    response_class = _Response

    def __init__(self, address: _Address) -> None:
        super().__init__(address.host, address.port, timeout=_CONNECT_SECONDS, blocksize=_CHUNK)
        self._address = address

    def connect(self) -> None:
        path, context = self._address.path, self._address.context
        if path is None:
            super().connect()
            if context is not None:
                self.sock = context.wrap_socket(self.sock, server_hostname=self._address.host)
        else:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(_CONNECT_SECONDS)
            self.sock.connect(path)
        self.sock.settimeout(_ANSWER_SECONDS)


class DockerAPI:
    """A service that answers Docker's API; a connection is made for each request.

    Args:
        sys: The circumstances: where it is served, and by what it proves itself.

    Raises:
        InvalidReferenceError: The address is none.
        OSError: A certificate cannot be read.
    """

    def __init__(self, sys: SystemContext | None) -> None:
        configured = sys.docker_daemon_host if sys is not None else None
        self._host = configured or os.environ.get("DOCKER_HOST") or _DEFAULT
        self._address = _address(self._host, sys)

    @property
    def host(self) -> str:
        """Where it is served."""
        return self._host

    def get_image(self, name: str) -> ByteStream:
        """Return an image as an archive of ``docker save``.

        Args:
            name: Its name or id.

        Raises:
            ImageNotFoundError: There is none.
            LayoutError: It is not given, for the reason that the service states; or the answer is none.
            SystemCallError: The service cannot be reached, or takes too long.
        """
        answer = self._ask("GET", f"/images/{quote(name, safe='/:@')}/get", None, -1)
        try:
            self._check(answer, name)
        except BaseException:
            answer.close()
            raise
        answer.response.watched.paced()
        return answer

    def load_image(self, archive: ByteStream, size: int) -> None:
        """Have an archive of ``docker save`` loaded.

        Args:
            archive: The archive, plain.
            size: Its size in bytes.

        Raises:
            LayoutError: It is not loaded, for the reason that the service states; or the answer is none, or not whole.
            LimitExceededError: The service says too much.
            SystemCallError: The service cannot be reached, or takes too long.
        """
        with self._ask("POST", "/images/load?quiet=1", archive, size) as answer:
            self._check(answer)
            self._check_loaded(answer)

    def _ask(self, method: str, path: str, body: ByteStream | None, size: int) -> _Answer:
        headers = {"Host": self._address.host, "Connection": "close"}
        if body is not None:
            headers |= {"Content-Type": "application/x-tar", "Content-Length": str(size)}
        connection = _Connection(self._address)
        try:
            try:
                connection.connect()
            except OSError as error:
                raise _unreachable(self._host, error) from error
            with _typed(self._host, "there is no answer"):
                taken = True
                try:
                    connection.request(method, path, body=_Paced(body) if body is not None else None, headers=headers)
                except ConnectionError:
                    # Who refuses what is sent answers before all of it is there.
                    taken = False
                return _Answer(cast("_Response", connection.getresponse()), connection, self._host, taken=taken)
        except BaseException:
            connection.close()
            raise

    def _check(self, answer: _Answer, name: str | None = None) -> None:
        response = answer.response
        if response.status == http.client.OK:
            return
        reason = printable(_reason(answer), _LONGEST_REASON)
        if response.status == http.client.NOT_FOUND and name is not None:
            raise ImageNotFoundError(f"{self._host}: {name}: {reason}")
        raise LayoutError(f"{self._host}: {response.status} {printable(response.reason)}: {reason}")

    def _check_loaded(self, answer: _Answer) -> None:
        # What goes wrong while an image is loaded is said at the end of a body that began with success.
        said = b"".join(answer.parts(_MOST_SAID + 1))
        if len(said) > _MOST_SAID:
            raise LimitExceededError(f"bytes that {self._host} says about a load", _MOST_SAID)
        try:
            reasons = map(_error_in, _documents(said.decode(errors="replace")))
            reason = next((one for one in reasons if one is not None), None)
        except (ParseError, LimitExceededError) as error:
            raise LayoutError(
                f"{self._host}: whether the image was loaded is not known: {printable(str(error), _LONGEST_REASON)}"
            ) from error
        if reason is not None:
            raise LayoutError(f"{self._host}: the image was not loaded: {printable(reason, _LONGEST_REASON)}")
        if not answer.taken:
            raise LayoutError(f"{self._host}: the image was not loaded: the service did not take all of it")


class _Answer:
    """What comes back, until it is closed and the connection with it.

    Attributes:
        response: The answer.
        taken: Whether all that was sent before was taken.
    """

    def __init__(self, response: _Response, connection: _Connection, host: str, *, taken: bool) -> None:
        self.response = response
        self.taken = taken
        self._connection = connection
        self._host = host

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(_CHUNK), b""))
        with _typed(self._host, _EARLY):
            return self._whole(self.response.read(size), size)

    def parts(self, limit: int) -> Iterator[bytes]:
        """Yield what there is as it arrives, up to a limit."""
        while limit > 0:
            with _typed(self._host, _EARLY):
                data = self._whole(self.response.read1(limit), limit)
            if not data:
                return
            limit -= len(data)
            yield data

    def _whole(self, data: bytes, size: int) -> bytes:
        # http.client takes an end before the length that was stated for an end.
        if size and not data and self.response.length:
            raise http.client.IncompleteRead(b"", self.response.length)
        return data

    def close(self) -> None:
        self.response.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _address(host: str, sys: SystemContext | None) -> _Address:
    if "@" in host and not host.startswith("unix:///"):
        # Not repeated: what is before the @ may be a password.
        raise InvalidReferenceError(
            "the address of Docker's API has a user or a password in it, which it does not take: expected tcp://host:port"
        )
    try:
        parts = urlsplit(host)
    except ValueError as error:
        raise InvalidReferenceError(f"{host!r}: {error}") from error
    if parts.scheme == "unix" and parts.netloc == "" and parts.path:
        return _Address(parts.path, "localhost", 0, None)
    if parts.scheme not in {"tcp", "http", "https"}:
        raise InvalidReferenceError(
            f"{host!r}: expected unix:///path or tcp://host:port as the address of Docker's API"
        )
    try:
        name, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidReferenceError(f"{host!r}: {error}") from error
    if not name:
        raise InvalidReferenceError(f"{host!r}: there is no host in it")
    context = _tls(sys) if _wants_tls(parts.scheme, sys) else None
    return _Address(None, name, port or (_PORT if context is None else _TLS_PORT), context)


def _wants_tls(scheme: str, sys: SystemContext | None) -> bool:
    said = sys is not None and (sys.docker_daemon_cert_path is not None or sys.docker_daemon_insecure_skip_tls_verify)
    return scheme == "https" or (scheme == "tcp" and said)


def _tls(sys: SystemContext | None) -> ssl.SSLContext:
    import ssl  # noqa: PLC0415 - most services are on a socket

    certificates = Path(sys.docker_daemon_cert_path) if sys is not None and sys.docker_daemon_cert_path else None
    authority = certificates / "ca.pem" if certificates is not None else None
    context = ssl.create_default_context(cafile=authority if authority is not None and authority.exists() else None)
    if sys is not None and sys.docker_daemon_insecure_skip_tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificates is not None and (certificates / "cert.pem").exists():
        context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    return context


@contextlib.contextmanager
def _typed(host: str, what: str) -> Iterator[None]:
    """Turn what goes wrong on a connection, or in http.client, into errors that say where."""
    try:
        yield
    except OCIKitError:
        raise  # of what is sent
    except TimeoutError as error:
        raise _unreachable(host, error) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = printable(str(error) or type(error).__name__, _LONGEST_REASON)
        # The cause would show what the service said as it stands.
        raise LayoutError(f"{host}: {what}: {reason}") from None


def _unreachable(host: str, error: OSError) -> SystemCallError:
    # Names that are not found and certificates that do not fit have numbers of their own, timeouts mostly none.
    number, reason = error.errno, ""
    if number is None or error.strerror != os.strerror(number):
        number = errno.ETIMEDOUT if isinstance(error, TimeoutError) else errno.EPROTO
        reason = printable(error.strerror or str(error) or type(error).__name__, _LONGEST_REASON) + "; "
    return SystemCallError(f"ask Docker's API at {host}", number, None, f"{reason}{_OTHER}")


def _reason(answer: _Answer) -> str:
    """Return what the body of an error says; Docker has it under one name, podman under two."""
    parts: list[bytes] = []
    # Who refuses what is sent may leave it unread, for which the system resets the connection; half a reason is one.
    answer.response.watched.reset_is_end = True
    with contextlib.suppress(LayoutError, OSError):
        parts.extend(answer.parts(_MOST_TEXT))
    text = b"".join(parts).decode(errors="replace")
    with contextlib.suppress(ParseError, LimitExceededError):
        document = next(_documents(text), None)
        if isinstance(document, dict):
            said = document.get("message") or document.get("cause")
            if isinstance(said, str):
                return said
    return text.strip() or "no reason given"


def _documents(text: str) -> Iterator[object]:
    """Yield the JSON objects that follow each other in a text, however they are laid out."""
    begin = depth = 0
    for found in re.finditer(_STRING_OR_BRACKET, text, re.DOTALL):
        first = text[found.start()]
        if first == '"' and not found[1]:
            raise ParseError("$", "not JSON: a string has no end")
        depth += (first in "[{") - (first in "]}")
        if first in "]}" and depth <= 0:
            yield _document(text[begin : found.end()])
            begin = found.end()
    if text[begin:].strip():
        yield _document(text[begin:])


def _document(text: str) -> object:
    return _json.loads(text, max_bytes=4 * len(text), allow_duplicate_keys=True)


def _error_in(document: object) -> str | None:
    if not isinstance(document, dict) or not (document.get("error") or document.get("errorDetail")):
        return None
    detail = document.get("errorDetail")
    said = document.get("error") or (detail.get("message") if isinstance(detail, dict) else detail)
    return said if isinstance(said, str) and said else "no reason given"
