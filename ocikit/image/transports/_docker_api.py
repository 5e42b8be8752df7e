"""Docker's API as far as images go through it: one request at a time, over a socket or TCP, with TLS or without.

podman's service answers the same requests. Every wait for the other side is bounded.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from ocikit._tuples import NamedTuple
from ocikit.errors import ImageNotFoundError, InvalidReferenceError, LayoutError, LimitExceededError

if TYPE_CHECKING:
    import ssl
    from typing import Self

    from ocikit.image.types import ByteStream, SystemContext

__all__ = ["DockerAPI"]

_DEFAULT: Final = "unix:///var/run/docker.sock"
_CONNECT_SECONDS: Final = 10
# A service packs or unpacks a whole image before it says anything.
_ANSWER_SECONDS: Final = 600
# How much of an error is read, and of a line, and how many lines.
_CHUNK: Final = 1 << 20
_MOST_TEXT: Final = 64 << 10
_PORT: Final = 2375
_TLS_PORT: Final = 2376
_MOST_LINES: Final = 100_000


class _Address(NamedTuple):
    """Where the API is served."""

    path: str | None  # of a socket
    host: str
    port: int
    context: ssl.SSLContext | None


class _Connection(http.client.HTTPConnection):
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
            LayoutError: It is not given, for the reason that the service states.
            OSError: The service cannot be reached, or takes too long.
        """
        answer = self._ask("GET", f"/images/{quote(name, safe='/:@')}/get", None, -1)
        try:
            self._check(answer, name)
        except BaseException:
            answer.close()
            raise
        return answer

    def load_image(self, archive: ByteStream, size: int) -> None:
        """Have an archive of ``docker save`` loaded.

        Args:
            archive: The archive, plain.
            size: Its size in bytes.

        Raises:
            LayoutError: It is not loaded, for the reason that the service states.
            OSError: The service cannot be reached, or takes too long.
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
            # Who refuses what is sent answers before all of it is there.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, body=body, headers=headers)
            return _Answer(connection.getresponse(), connection, self._host)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._unreachable(error) from error
        except BaseException:
            connection.close()
            raise

    def _unreachable(self, error: Exception) -> OSError:
        number = getattr(error, "errno", None)
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        message = f"{reason} (Docker's API at {self._host}; SystemContext(docker_daemon_host=…) names another)"
        return OSError(number, message) if number is not None else OSError(message)

    def _check(self, answer: _Answer, name: str | None = None) -> None:
        response = answer.response
        if response.status == http.client.OK:
            return
        reason = _reason(answer)
        if response.status == http.client.NOT_FOUND and name is not None:
            raise ImageNotFoundError(f"{self._host}: {name}: {reason}")
        raise LayoutError(f"{self._host}: {response.status} {response.reason}: {reason}")

    def _check_loaded(self, answer: _Answer) -> None:
        # What goes wrong while an image is loaded is said at the end of a body that began with success.
        for _ in range(_MOST_LINES):
            line = answer.response.readline(_MOST_TEXT)
            if not line:
                return
            error_text = _error_in(line)
            if error_text is not None:
                raise LayoutError(f"{self._host}: the image was not loaded: {error_text}")
        raise LimitExceededError(f"lines that {self._host} says about a load", _MOST_LINES)


class _Answer:
    """What comes back, until it is closed and the connection with it."""

    def __init__(self, response: http.client.HTTPResponse, connection: _Connection, host: str) -> None:
        self.response = response
        self._connection = connection
        self._host = host

    def read(self, size: int = -1, /) -> bytes:
        try:
            return self.response.read(size if size >= 0 else None)
        except http.client.HTTPException as error:
            raise LayoutError(f"{self._host}: the answer ends early: {type(error).__name__}") from error

    def close(self) -> None:
        self.response.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _address(host: str, sys: SystemContext | None) -> _Address:
    parts = urlsplit(host)
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


def _reason(answer: _Answer) -> str:
    """Return what the body of an error says; Docker has it under one name, podman under two."""
    text = answer.read(_MOST_TEXT).decode(errors="replace")
    with contextlib.suppress(ValueError):
        document = json.loads(text)
        if isinstance(document, dict):
            said = document.get("message") or document.get("cause")
            if isinstance(said, str):
                return said
    return text.strip() or "no reason given"


def _error_in(line: bytes) -> str | None:
    with contextlib.suppress(ValueError):
        document = json.loads(line)
        if isinstance(document, dict) and document.get("error"):
            return str(document["error"])
    return None
